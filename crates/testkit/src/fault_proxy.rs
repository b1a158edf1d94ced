//! A proxy between a client and an HTTP server on loopback that does what networks and servers do on bad
//! days: refuse, hang, cut, answer errors, lie.
//!
//! It understands just enough of HTTP/1.1 to find where messages begin and end (`wire`), and passes
//! them on byte for byte, so that signed requests stay valid. Connections are kept alive like those of a
//! server. Dropping it closes everything.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::wire::{Framing, Head, Wire};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    None,
    /// New connections are refused and those that are open are closed. Always holds for all requests.
    Refuse,
    /// The request is read, never passed on, and never answered.
    Hang,
    /// The request is passed on and carried out, but its answer never comes.
    HangAfter,
    /// The connection is closed after so many bytes of the request's body, which the server never gets.
    CutRequest(u64),
    /// The request is passed on and carried out, and the connection is closed before the answer.
    CutAfter,
    /// The connection is closed after so many bytes of the answer's body.
    CutResponse(u64),
    /// Not passed on; answered with this status and, in an S3 error document, this code.
    Answer(u16, &'static str),
    /// Passed on; the `ETag` in the answer's head or document is replaced by this one.
    LieAboutEtag(&'static str),
    /// Passed on; the first byte of the answer's body is changed.
    ChangeContent,
    /// Passed on; the answer comes so many milliseconds late.
    Delay(u64),
    /// Passed on; where the server refuses a condition (412), the answer says that all is well. So a server
    /// looks that ignores conditions.
    HideRefusals,
    /// Taken in whole, and passed on at [`FaultProxy::release`], even if the client is gone by then: a
    /// request that the network delays.
    Hold,
    /// So many bytes of the body are passed on, and no more are taken until [`FaultProxy::release`]: the
    /// client is in the middle of its request.
    HoldBody(u64),
}

/// A fault, and the requests it befalls.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    method: Option<&'static str>,
    in_target: Option<String>,
    every: u64,
}

impl Rule {
    /// Befalls all requests.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, in_target: None, every: 1 }
    }

    /// Only requests of this method.
    #[must_use]
    pub fn method(self, method: &'static str) -> Self {
        Self { method: Some(method), ..self }
    }

    /// Only requests whose path or query contains this.
    #[must_use]
    pub fn target(self, contains: impl Into<String>) -> Self {
        Self { in_target: Some(contains.into()), ..self }
    }

    /// Of these, only every `n`th.
    #[must_use]
    pub fn every(self, n: u64) -> Self {
        Self { every: n.max(1), ..self }
    }
}

#[derive(Debug)]
struct State {
    rule: Rule,
    /// Requests that the rule's method and target fit.
    fitting: u64,
    /// All requests by method.
    requests: BTreeMap<String, u64>,
    /// Those that wait for [`FaultProxy::release`], as `METHOD target`.
    held: Vec<String>,
}

/// A running proxy.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    upstream: u16,
    state: Arc<Mutex<State>>,
    /// Counts the calls of [`Self::release`].
    releases: watch::Sender<u64>,
    accepting: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy to `upstream`, a port on loopback, without a fault.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(upstream: u16) -> io::Result<Self> {
        let [port] = crate::process::free_ports();
        let rule = Rule::new(Fault::None);
        let state = State { rule, fitting: 0, requests: BTreeMap::new(), held: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let (releases, _) = watch::channel(0);
        let mut proxy = Self { port, upstream, state, releases, accepting: None };
        proxy.accept().await?;
        Ok(proxy)
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port of [`Self::endpoint`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on this fault befalls all requests. `Fault::None` heals.
    ///
    /// # Errors
    /// When its port cannot be had again after [`Fault::Refuse`].
    pub async fn set(&mut self, fault: Fault) -> io::Result<()> {
        self.set_rule(Rule::new(fault)).await
    }

    /// From now on this rule holds, for requests that begin from now on.
    ///
    /// # Errors
    /// When its port cannot be had again after [`Fault::Refuse`].
    pub async fn set_rule(&mut self, rule: Rule) -> io::Result<()> {
        let refuse = rule.fault == Fault::Refuse;
        {
            let mut state = lock(&self.state);
            state.rule = rule;
            state.fitting = 0;
        }
        if refuse {
            self.close().await;
        } else if self.accepting.is_none() {
            self.accept().await?;
        }
        Ok(())
    }

    /// How many requests of this method have come.
    pub fn requests(&self, method: &str) -> u64 {
        lock(&self.state).requests.get(method).copied().unwrap_or_default()
    }

    /// The requests that [`Fault::Hold`] or [`Fault::HoldBody`] holds now, as `METHOD target`.
    pub fn held(&self) -> Vec<String> {
        lock(&self.state).held.clone()
    }

    /// Lets all requests go on that are held now.
    pub fn release(&self) {
        lock(&self.state).held.clear();
        self.releases.send_modify(|releases| *releases += 1);
    }

    async fn accept(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let (upstream, state) = (self.upstream, Arc::clone(&self.state));
        let releases = self.releases.subscribe();
        self.accepting = Some(tokio::spawn(async move {
            // Ends with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let connection = serve(client, upstream, Arc::clone(&state), releases.clone());
                connections.spawn(connection);
                while connections.try_join_next().is_some() {}
            }
        }));
        Ok(())
    }

    async fn close(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // Ends as cancelled; then the listener is closed.
            let _ = accepting.await;
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a request and tells what is to befall it.
fn fault_for(state: &Mutex<State>, request: &Head) -> Fault {
    let mut state = lock(state);
    *state.requests.entry(request.method().to_owned()).or_default() += 1;
    let rule = state.rule.clone();
    let fits = rule.method.is_none_or(|method| method == request.method())
        && rule.in_target.is_none_or(|text| request.target().contains(&text));
    if !fits {
        return Fault::None;
    }
    state.fitting += 1;
    if state.fitting.is_multiple_of(rule.every) { rule.fault } else { Fault::None }
}

/// One client's connection, until either side closes it. An error ends it, as it should.
async fn serve(
    client: TcpStream,
    upstream: u16,
    state: Arc<Mutex<State>>,
    releases: watch::Receiver<u64>,
) {
    let _ = client.set_nodelay(true);
    let _ = relay(Wire::new(client), upstream, &state, releases).await;
}

/// Waits until the requests that are held now may go on.
async fn hold(request: &Head, state: &Mutex<State>, releases: &mut watch::Receiver<u64>) {
    releases.mark_unchanged();
    lock(state).held.push(format!("{} {}", request.method(), request.target()));
    // Fails only when the proxy is gone, and this task with it.
    let _ = releases.changed().await;
}

async fn relay(
    mut client: Wire,
    upstream: u16,
    state: &Mutex<State>,
    mut releases: watch::Receiver<u64>,
) -> io::Result<()> {
    let mut server: Option<Wire> = None;
    while let Some(mut request) = client.read_head().await? {
        let fault = fault_for(state, &request);
        if request.take_expectation() {
            client.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let framing = request.request_framing();
        match &fault {
            Fault::Hang => {
                client.discard(framing).await?;
                return client.until_closed().await;
            }
            Fault::CutRequest(bytes) => {
                // Whoever waits for the rest of the body gets a reset: not all was read.
                return client.discard_some(framing, *bytes).await;
            }
            Fault::Answer(status, code) => {
                client.discard(framing).await?;
                let answer = error_answer(*status, code, request.method() == "HEAD");
                client.stream.write_all(answer.as_bytes()).await?;
                continue;
            }
            _ => {}
        }
        let server = if let Some(server) = &mut server {
            server
        } else {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await?;
            stream.set_nodelay(true)?;
            server.insert(Wire::new(stream))
        };
        match &fault {
            Fault::Hold => {
                let body = client.raw_body(framing).await?;
                hold(&request, state, &mut releases).await;
                server.stream.write_all(request.bytes()).await?;
                server.stream.write_all(&body).await?;
            }
            Fault::HoldBody(bytes) => {
                server.stream.write_all(request.bytes()).await?;
                let rest = client.copy_some(framing, &mut server.stream, *bytes).await?;
                hold(&request, state, &mut releases).await;
                client.copy(rest, &mut server.stream, u64::MAX).await?;
            }
            _ => {
                server.stream.write_all(request.bytes()).await?;
                client.copy(framing, &mut server.stream, u64::MAX).await?;
            }
        }
        let bodiless = request.method() == "HEAD";
        if !answer(&mut client, server, &fault, bodiless).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Passes the server's answer on. Whether the connection lives on.
async fn answer(
    client: &mut Wire,
    server: &mut Wire,
    fault: &Fault,
    bodiless: bool,
) -> io::Result<bool> {
    let mut head = loop {
        let Some(head) = server.read_head().await? else {
            return Ok(false);
        };
        if head.status() != 100 {
            break head;
        }
    };
    let framing = if bodiless { Framing::Length(0) } else { head.response_framing() };
    match fault {
        Fault::HangAfter => {
            client.until_closed().await?;
            return Ok(false);
        }
        Fault::CutAfter => return Ok(false),
        Fault::CutResponse(bytes) => {
            client.stream.write_all(head.bytes()).await?;
            server.copy(framing, &mut client.stream, *bytes).await?;
            return Ok(false);
        }
        Fault::LieAboutEtag(etag) => {
            let body = server.body(framing).await?;
            let body = replace_etag(&String::from_utf8_lossy(&body), etag);
            head.set("ETag", &format!("\"{etag}\""), false);
            head.set_length(body.len(), bodiless);
            client.stream.write_all(head.bytes()).await?;
            client.stream.write_all(body.as_bytes()).await?;
        }
        Fault::HideRefusals if head.status() == 412 => {
            server.discard(framing).await?;
            let answer = "HTTP/1.1 200 OK\r\nETag: \"00ff\"\r\nContent-Length: 0\r\n\r\n";
            client.stream.write_all(answer.as_bytes()).await?;
        }
        Fault::ChangeContent => {
            let mut body = server.body(framing).await?;
            if let Some(first) = body.first_mut() {
                *first ^= 1;
            }
            head.set_length(body.len(), bodiless);
            client.stream.write_all(head.bytes()).await?;
            client.stream.write_all(&body).await?;
        }
        _ => {
            if let Fault::Delay(millis) = fault {
                tokio::time::sleep(Duration::from_millis(*millis)).await;
            }
            client.stream.write_all(head.bytes()).await?;
            server.copy(framing, &mut client.stream, u64::MAX).await?;
        }
    }
    Ok(framing != Framing::UntilClose)
}

fn error_answer(status: u16, code: &str, bodiless: bool) -> String {
    let body = if code.is_empty() {
        String::new()
    } else {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>injected</Message><RequestId>fault</RequestId></Error>"
        )
    };
    let length = body.len();
    let body = if bodiless { "" } else { &body };
    format!(
        "HTTP/1.1 {status} Injected\r\nContent-Type: application/xml\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Replaces the text of each `<ETag>` element.
fn replace_etag(document: &str, etag: &str) -> String {
    let mut parts = document.split("<ETag>");
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once("</ETag>").map_or("", |(_, rest)| rest);
        for piece in ["<ETag>\"", etag, "\"</ETag>", rest] {
            replaced.push_str(piece);
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that keeps the bodies of the requests on one connection and answers each.
    async fn server() -> (u16, tokio::sync::mpsc::Receiver<Vec<u8>>) {
        let [port] = crate::process::free_ports();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (sender, bodies) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.read_head().await.unwrap() {
                sender.send(wire.body(head.request_framing()).await.unwrap()).await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                if wire.stream.write_all(answer).await.is_err() {
                    break;
                }
            }
        });
        (port, bodies)
    }

    async fn put(proxy: &FaultProxy, body: &[u8]) -> Wire {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        let mut wire = Wire::new(stream);
        let head = "PUT /b/k HTTP/1.1\r\nContent-Length: 6\r\n\r\n";
        wire.stream.write_all(head.as_bytes()).await.unwrap();
        wire.stream.write_all(body).await.unwrap();
        wire
    }

    async fn until_held(proxy: &FaultProxy) {
        let held = async {
            while proxy.held().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), held).await.unwrap();
        assert_eq!(proxy.held(), ["PUT /b/k"]);
    }

    #[tokio::test]
    async fn a_held_request_arrives_after_its_client_has_gone() {
        let (port, mut bodies) = server().await;
        let mut proxy = FaultProxy::start(port).await.unwrap();
        proxy.set(Fault::Hold).await.unwrap();
        drop(put(&proxy, b"delays").await);
        until_held(&proxy).await;
        assert!(bodies.try_recv().is_err());
        proxy.release();
        assert_eq!(bodies.recv().await.unwrap(), b"delays");
    }

    #[tokio::test]
    async fn a_client_is_held_within_its_request() {
        let (port, mut bodies) = server().await;
        let mut proxy = FaultProxy::start(port).await.unwrap();
        proxy.set(Fault::HoldBody(2)).await.unwrap();
        let mut client = put(&proxy, b"del").await;
        until_held(&proxy).await;
        proxy.release();
        client.stream.write_all(b"ays").await.unwrap();
        assert_eq!(client.read_head().await.unwrap().unwrap().status(), 200);
        assert_eq!(bodies.recv().await.unwrap(), b"delays");
    }
}
