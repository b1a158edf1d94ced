//! What is served, to whom, and how those fare who hold the server up.

use super::*;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TOKEN: &str = "0123456789abcdef";

/// A node that says what it was told to say.
#[derive(Default)]
struct Fake {
    unready: Option<String>,
    silent: bool,
}

#[async_trait]
impl Told for Fake {
    fn statistics(&self) -> Value {
        json!({"databases": 3})
    }

    fn metrics(&self, format: Format) -> String {
        format!("{format:?}")
    }

    async fn node(&self) -> Result<Value, String> {
        if self.silent { Err("it does not answer".to_owned()) } else { Ok(json!({"node": "n"})) }
    }

    async fn shards(&self) -> Result<Value, String> {
        Ok(json!([{"shard": 1}]))
    }

    async fn page(&self, query: &str) -> Option<String> {
        (!self.silent).then(|| format!("<h1>{}</h1>", query.replace('<', "")))
    }

    async fn unready(&self) -> Option<String> {
        self.unready.clone()
    }
}

async fn server(token: Option<&str>, node: Option<Fake>) -> Server {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let server = Server::start(listener, token.map(Token::new)).unwrap();
    if let Some(node) = node {
        server.tell_of(Arc::new(node));
    }
    server
}

async fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(server: &Server, path: &str, header: &str) -> String {
    send(server.address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n")).await
}

#[tokio::test]
async fn all_is_served_and_a_connection_is_one_question() {
    let server = server(None, Some(Fake::default())).await;
    let health = get(&server, "/healthz", "Connection: keep-alive\r\n").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("\r\n\r\nok"), "{health}");
    let stats = get(&server, "/stats", "").await;
    assert!(stats.contains("application/json"), "{stats}");
    assert!(stats.ends_with("{\"databases\":3}"), "{stats}");
    assert!(get(&server, "/readyz", "").await.ends_with("\r\n\r\nready"));
    assert!(get(&server, "/api/v1/node", "").await.ends_with("{\"node\":\"n\"}"));
    assert!(get(&server, "/api/v1/shards", "").await.ends_with("[{\"shard\":1}]"));
    let metrics = get(&server, "/metrics", "").await;
    assert!(metrics.contains("text/plain; version=0.0.4") && metrics.ends_with("Prometheus"));
    let metrics = get(&server, "/metrics", "Accept: application/openmetrics-text\r\n").await;
    assert!(metrics.contains("application/openmetrics-text; version=1.0.0"), "{metrics}");
    assert!(metrics.ends_with("OpenMetrics"), "{metrics}");
    assert!(get(&server, "/other", "").await.starts_with("HTTP/1.1 404"));
    let post = "POST /stats HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx";
    assert!(send(server.address, post).await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn with_a_token_only_the_probes_are_open() {
    let server = server(Some(TOKEN), Some(Fake::default())).await;
    for path in ["/healthz", "/readyz"] {
        assert!(get(&server, path, "").await.starts_with("HTTP/1.1 200"), "{path}");
    }
    for path in ["/", "/stats", "/metrics", "/api/v1/node", "/api/v1/shards", page::STYLE_PATH] {
        for bad in [
            "",
            // nobody:0123456789abcdeX, the token as the user, no colon, no Base64
            "Authorization: Basic bm9ib2R5OjAxMjM0NTY3ODlhYmNkZVg=\r\n",
            "Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZjo=\r\n",
            "Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZg==\r\n",
            "Authorization: Basic %%%\r\n",
            "Authorization: Bearer 0123456789abcdeX\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Basic 0123456789abcdef\r\n",
            "Authorization: 0123456789abcdef\r\n",
        ] {
            let answer = get(&server, path, bad).await;
            assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains('{'), "{answer}");
        }
        // As a browser sends it: nobody:0123456789abcdef, and with another user and case.
        for good in [
            format!("authorization: bearer {TOKEN}\r\n"),
            "Authorization: Basic bm9ib2R5OjAxMjM0NTY3ODlhYmNkZWY=\r\n".to_owned(),
            "authorization: basic OjAxMjM0NTY3ODlhYmNkZWY=\r\n".to_owned(),
        ] {
            assert!(get(&server, path, &good).await.starts_with("HTTP/1.1 200"), "{path}: {good}");
        }
    }
    let answer = get(&server, "/", "").await.to_lowercase();
    assert!(answer.contains("www-authenticate: basic realm=\"ultrasimple\""), "{answer}");
    assert!(answer.contains("www-authenticate: bearer"), "{answer}");
}

#[tokio::test]
async fn the_page_is_served_with_what_keeps_it_from_others() {
    let served = server(None, Some(Fake::default())).await;
    let answer = get(&served, "/?q=a%20b", "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("<h1>q=a%20b</h1>"), "{answer}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(answer.contains(header), "no {header} in {answer}");
    }
    let style = get(&served, page::STYLE_PATH, "").await;
    assert!(style.contains("text/css") && style.ends_with(page::STYLE), "{style}");
    let script = get(&served, page::SCRIPT_PATH, "").await;
    assert!(script.contains("text/javascript") && script.ends_with(page::SCRIPT), "{script}");

    let starting = server(None, None).await;
    let answer = get(&starting, "/", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("This node is starting"),
        "{answer}"
    );
    let busy = server(None, Some(Fake { unready: None, silent: true })).await;
    assert!(get(&busy, "/", "").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn what_cannot_be_told_is_said_with_the_reason() {
    let starting = server(None, None).await;
    assert!(get(&starting, "/healthz", "").await.starts_with("HTTP/1.1 200"));
    for path in ["/readyz", "/stats", "/metrics", "/api/v1/node", "/api/v1/shards"] {
        let answer = get(&starting, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("starting"), "{answer}");
    }
    let node = Fake { unready: Some("the lease is not trusted".to_owned()), silent: true };
    let unwell = server(None, Some(node)).await;
    let answer = get(&unwell, "/readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not trusted"), "{answer}");
    let answer = get(&unwell, "/api/v1/node", "").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not answer"), "{answer}");
}

/// More connections than are served at once, none of which says anything: they are put out, and who comes after
/// them is served.
#[tokio::test]
async fn those_who_hold_the_server_up_are_put_out() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let headers = Duration::from_millis(200);
    let limits = Limits { at_once: 4, headers, whole: Duration::from_secs(1) };
    let server = Server::start_within(limits, listener, None).unwrap();
    server.tell_of(Arc::new(Fake::default()));
    let mut silent = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /stats HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let served = tokio::time::timeout(Duration::from_mins(1), get(&server, "/healthz", ""));
    assert!(served.await.unwrap().starts_with("HTTP/1.1 200"));
    let large = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // It may be put out before all of it is sent.
    let _ = stream.write_all(large.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn an_address_in_use_names_the_flag() {
    let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = format!("{:#}", bind(address).await.unwrap_err());
    assert!(error.contains(&format!("-http {address}")) && error.contains("in use"), "{error}");
}
