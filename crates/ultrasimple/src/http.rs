//! What is served by HTTP, on a loopback address: `/healthz` and `/stats`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// Gives the statistics of the moment.
pub(crate) type Statistics = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// A server that runs; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    task: JoinHandle<()>,
    #[cfg(test)]
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the address, so that a start fails early when somebody else has it.
///
/// # Errors
/// When the address cannot be had.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "-http {address}: cannot listen there; is another ultrasimple running? Give another port, \
             or -http off"
        )
    })
}

/// Serves until the result is dropped.
///
/// # Errors
/// When the listener does not know its address.
pub(crate) fn serve(listener: TcpListener, statistics: Statistics) -> anyhow::Result<Server> {
    let address = listener.local_addr().context("cannot tell where HTTP is served")?;
    info!("serving http://{address}/healthz and /stats");
    let routes = routes(statistics);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            warn!("HTTP is no longer served: {error}");
        }
    });
    Ok(Server {
        task,
        #[cfg(test)]
        address,
    })
}

fn routes(statistics: Statistics) -> Router {
    let stats = move || {
        let value = statistics();
        async move { Json(value) }
    };
    Router::new().route("/healthz", get(|| async { "ok" })).route("/stats", get(stats))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_and_statistics_are_served() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let statistics = Arc::new(|| serde_json::json!({"databases": 3}));
        let server = serve(listener, statistics).unwrap();

        let health = get(server.address, "/healthz").await;
        assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("\r\n\r\nok"), "{health}");
        let stats = get(server.address, "/stats").await;
        assert!(stats.contains("application/json"), "{stats}");
        assert!(stats.ends_with("{\"databases\":3}"), "{stats}");
        assert!(get(server.address, "/other").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn an_address_in_use_names_the_flag() {
        let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = format!("{:#}", bind(address).await.unwrap_err());
        assert!(error.contains(&format!("-http {address}")) && error.contains("in use"), "{error}");
    }
}
