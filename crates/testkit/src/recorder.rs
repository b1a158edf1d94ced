//! A proxy in front of an S3 server that records every version of every object.
//!
//! All traffic of a test has to pass it. A write is taken in whole and passed on, one at a time for each
//! key, and recorded with what the server answered, whether or not the client still listens: so the order
//! of the records is the order in which the server took them. It breaks nothing; [`crate::link`] and
//! [`crate::fault_proxy`] do, and stand before it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use ultrasimple_core::{Clock as _, SystemClock};

use crate::process::free_ports;
use crate::wire::{Framing, Head, Wire};

/// Records that wait for their reader; then writes wait, too.
const WAITING: usize = 256;

/// One write, and what the server answered.
#[derive(Debug, Clone)]
pub struct Write {
    /// When it came, by the machine's monotonic clock.
    pub came: Duration,
    /// When the server had answered.
    pub answered: Duration,
    /// The server's status. Refused where it is 412 or 409.
    pub status: u16,
    /// The bucket and the key, as in the request's path, without `/` before it.
    pub path: String,
    /// What it did.
    pub what: What,
}

/// What a write did.
#[derive(Debug, Clone)]
pub enum What {
    /// Stored an object, in one request or in parts.
    Put {
        /// The object.
        body: Vec<u8>,
        /// `If-Match` or `If-None-Match` with its value; empty without a condition.
        condition: String,
        /// Of how many parts; 0 of one request.
        parts: usize,
        /// What the server calls it.
        etag: String,
    },
    /// Deleted an object, alone or with others.
    Delete,
}

impl Write {
    /// Whether the server did it.
    pub fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How many requests came, by method.
pub type Requests = BTreeMap<String, u64>;

#[derive(Debug, Default)]
struct State {
    requests: Requests,
    /// A lock for each key that is being written.
    keys: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// The parts of uploads under way, by upload and number.
    parts: HashMap<String, BTreeMap<u32, Vec<u8>>>,
}

/// A running recorder.
#[derive(Debug)]
pub struct Recorder {
    port: u16,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    /// Starts one before `upstream`, a port on loopback. The receiver gives its records, in their order;
    /// it has to be read.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(upstream: u16) -> io::Result<(Self, mpsc::Receiver<Write>)> {
        let [port] = free_ports();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let state = Arc::new(Mutex::new(State::default()));
        let (records, receiver) = mpsc::channel(WAITING);
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let connection =
                    Connection { upstream, state: Arc::clone(&shared), records: records.clone() };
                connections.spawn(connection.serve(client));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok((Self { port, state, accepting }, receiver))
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many requests came so far.
    pub fn requests(&self) -> Requests {
        lock(&self.state).requests.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    upstream: u16,
    state: Arc<Mutex<State>>,
    records: mpsc::Sender<Write>,
}

/// What a request is to the recorder.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Part { upload: String, number: u32 },
    Complete { upload: String },
    Abort { upload: String },
    Delete,
    DeleteMany,
    Other,
}

impl Kind {
    fn of(method: &str, target: &str) -> Self {
        let (_, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |name: &str| {
            let found = query.split('&').find_map(|pair| {
                let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
                (found == name).then_some(value)
            });
            found.map(str::to_owned)
        };
        let upload = parameter("uploadId");
        let number = parameter("partNumber").and_then(|number| number.parse().ok());
        match (method, upload, number) {
            ("PUT", Some(upload), Some(number)) => Self::Part { upload, number },
            ("PUT", None, _) => Self::Put,
            ("POST", Some(upload), _) => Self::Complete { upload },
            ("DELETE", Some(upload), _) => Self::Abort { upload },
            ("DELETE", None, _) => Self::Delete,
            ("POST", None, _) if parameter("delete").is_some() => Self::DeleteMany,
            _ => Self::Other,
        }
    }
}

impl Connection {
    async fn serve(self, client: TcpStream) {
        let _ = client.set_nodelay(true);
        // An error ends it, as it should.
        let _ = self.relay(Wire::new(client)).await;
    }

    async fn relay(&self, mut client: Wire) -> io::Result<()> {
        let mut server: Option<Wire> = None;
        while let Some(mut request) = client.read_head().await? {
            *lock(&self.state).requests.entry(request.method().to_owned()).or_default() += 1;
            if request.take_expectation() {
                client.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let body = client.raw_body(request.request_framing()).await?;
            let server = if let Some(server) = &mut server {
                server
            } else {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream)).await?;
                stream.set_nodelay(true)?;
                server.insert(Wire::new(stream))
            };
            let (head, answer, framing) = self.pass_on(server, &request, body).await?;
            client.stream.write_all(head.bytes()).await?;
            client.stream.write_all(&answer).await?;
            if framing == Framing::UntilClose {
                break;
            }
        }
        Ok(())
    }

    /// Passes a request on, and records it when it is a write.
    async fn pass_on(
        &self,
        server: &mut Wire,
        request: &Head,
        body: Vec<u8>,
    ) -> io::Result<(Head, Vec<u8>, Framing)> {
        let kind = Kind::of(request.method(), request.target());
        let path = path(request.target());
        let key = match kind {
            Kind::Put | Kind::Complete { .. } | Kind::Delete => Some(self.lock_of(&path)),
            _ => None,
        };
        let _turn = match &key {
            Some(key) => Some(key.lock().await),
            None => None,
        };
        let came = SystemClock.monotonic();
        let answer = exchange(server, request, &body).await;
        let answered = SystemClock.monotonic();
        let outcome = Outcome::of(answer.as_ref().ok());
        for (path, status, what) in self.writes(kind, path, request, body, &outcome) {
            // Fails only when nobody reads any more: the test is over.
            let _ = self.records.send(Write { came, answered, status, path, what }).await;
        }
        answer
    }

    fn writes(
        &self,
        kind: Kind,
        path: String,
        request: &Head,
        body: Vec<u8>,
        outcome: &Outcome,
    ) -> Vec<(String, u16, What)> {
        let status = outcome.status;
        let put = |body, parts| {
            let condition = ["If-Match", "If-None-Match"]
                .iter()
                .find_map(|name| request.header(name).map(|value| format!("{name}: {value}")));
            let (condition, etag) = (condition.unwrap_or_default(), outcome.etag.clone());
            What::Put { body, condition, parts, etag }
        };
        match kind {
            Kind::Put => vec![(path, status, put(body, 0))],
            Kind::Part { upload, number } => {
                if status == 200 {
                    let mut state = lock(&self.state);
                    state.parts.entry(upload).or_default().insert(number, body);
                }
                Vec::new()
            }
            Kind::Complete { upload } => {
                let text = String::from_utf8_lossy(&body);
                let numbers: Vec<u32> = elements(&text, "PartNumber")
                    .filter_map(|number| number.parse().ok())
                    .collect();
                // It can fail inside a 200.
                let status = if status == 200 && outcome.etag.is_empty() { 500 } else { status };
                let mut state = lock(&self.state);
                let parts = if status == 200 {
                    state.parts.remove(&upload).unwrap_or_default()
                } else {
                    state.parts.get(&upload).cloned().unwrap_or_default()
                };
                let whole: Vec<&[u8]> = numbers
                    .iter()
                    .filter_map(|number| parts.get(number))
                    .map(Vec::as_slice)
                    .collect();
                vec![(path, status, put(whole.concat(), numbers.len()))]
            }
            Kind::Abort { upload } => {
                lock(&self.state).parts.remove(&upload);
                Vec::new()
            }
            Kind::Delete => vec![(path, status, What::Delete)],
            Kind::DeleteMany => {
                let failed: Vec<String> = elements(&outcome.body, "Error")
                    .flat_map(|error| elements(error, "Key").map(unescape).collect::<Vec<_>>())
                    .collect();
                let text = String::from_utf8_lossy(&body);
                let status_of = |key: &String| if failed.contains(key) { 500 } else { status };
                let bucket = path.trim_end_matches('/');
                elements(&text, "Key")
                    .map(unescape)
                    .map(|key| (format!("{bucket}/{key}"), status_of(&key), What::Delete))
                    .collect()
            }
            Kind::Other => Vec::new(),
        }
    }

    fn lock_of(&self, path: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = lock(&self.state);
        state.keys.retain(|_, key| Arc::strong_count(key) > 1);
        Arc::clone(state.keys.entry(path.to_owned()).or_default())
    }
}

/// What an answer says of a write.
#[derive(Debug, Default)]
struct Outcome {
    /// 0 when there was no answer: perhaps done.
    status: u16,
    etag: String,
    body: String,
}

impl Outcome {
    fn of(answer: Option<&(Head, Vec<u8>, Framing)>) -> Self {
        let Some((head, body, _)) = answer else { return Self::default() };
        let body = String::from_utf8_lossy(body).into_owned();
        let etag = head.header("ETag").map(str::to_owned);
        let etag = etag.or_else(|| elements(&body, "ETag").next().map(unescape));
        let etag = etag.unwrap_or_default().trim_matches('"').to_owned();
        Self { status: head.status(), etag, body }
    }
}

async fn exchange(
    server: &mut Wire,
    request: &Head,
    body: &[u8],
) -> io::Result<(Head, Vec<u8>, Framing)> {
    server.stream.write_all(request.bytes()).await?;
    server.stream.write_all(body).await?;
    let head = loop {
        let head = server.read_head().await?;
        let head = head.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if head.status() != 100 {
            break head;
        }
    };
    let framing =
        if request.method() == "HEAD" { Framing::Length(0) } else { head.response_framing() };
    let answer = server.raw_body(framing).await?;
    Ok((head, answer, framing))
}

/// The path of a request's target without its first slash, its percent signs resolved.
fn path(target: &str) -> String {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let mut bytes = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let code = others.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            bytes.push(byte);
            rest = others.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What stands in each element of this name.
fn elements<'a>(document: &'a str, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = document;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (inside, behind) = after.split_once(&close)?;
        rest = behind;
        Some(inside)
    })
}

fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", "\"");
    text.replace("&quot;", "\"").replace("&apos;", "'").replace("&#39;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let upload = "u1".to_owned();
        for (method, target, kind) in [
            ("PUT", "/b/k?x-id=PutObject", Kind::Put),
            (
                "PUT",
                "/b/k?partNumber=3&uploadId=u1",
                Kind::Part { upload: upload.clone(), number: 3 },
            ),
            ("POST", "/b/k?uploadId=u1", Kind::Complete { upload: upload.clone() }),
            ("POST", "/b/k?uploads", Kind::Other),
            ("DELETE", "/b/k?uploadId=u1", Kind::Abort { upload }),
            ("DELETE", "/b/k", Kind::Delete),
            ("POST", "/b/?delete", Kind::DeleteMany),
            ("GET", "/b/k", Kind::Other),
        ] {
            assert_eq!(Kind::of(method, target), kind, "{method} {target}");
        }
    }

    #[test]
    fn paths_and_documents_are_read() {
        assert_eq!(path("/b/a%20b/%C3%A4?x=1"), "b/a b/ä");
        assert_eq!(path("/b/50%"), "b/50%");
        let document = "<D><Key>a&amp;b</Key><Key>c</Key></D>";
        assert_eq!(elements(document, "Key").map(unescape).collect::<Vec<_>>(), ["a&b", "c"]);
    }

    /// A server that answers each request with the next of these, and says what it got.
    async fn server(answers: Vec<&'static str>) -> u16 {
        let [port] = free_ports();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut wire = Wire::new(stream);
            for answer in answers {
                let head = wire.read_head().await.unwrap().unwrap();
                wire.discard(head.request_framing()).await.unwrap();
                wire.stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        port
    }

    async fn send(wire: &mut Wire, request: &str, body: &str) -> u16 {
        let length = body.len();
        let text = format!("{request} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
        wire.stream.write_all(text.as_bytes()).await.unwrap();
        let head = wire.read_head().await.unwrap().unwrap();
        wire.discard(head.response_framing()).await.unwrap();
        head.status()
    }

    #[tokio::test]
    async fn every_write_is_recorded_with_its_answer() {
        let upstream = server(vec![
            "HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n<ETag>e-2</ETag> ",
            "HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n<Error><Key>y</Key></Error>    ",
        ])
        .await;
        let (recorder, mut records) = Recorder::start(upstream).await.unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, recorder.port())).await.unwrap();
        let mut wire = Wire::new(stream);
        send(&mut wire, "PUT /b/k", "one").await;
        assert_eq!(send(&mut wire, "PUT /b/k", "two").await, 412);
        send(&mut wire, "PUT /b/m?partNumber=2&uploadId=u", "second").await;
        send(&mut wire, "PUT /b/m?partNumber=1&uploadId=u", "first").await;
        let complete = "<PartNumber>1</PartNumber><PartNumber>2</PartNumber>";
        send(&mut wire, "POST /b/m?uploadId=u", complete).await;
        send(&mut wire, "POST /b/?delete", "<Key>x</Key><Key>y</Key>").await;
        let mut said = Vec::new();
        for _ in 0..5 {
            let write = records.recv().await.unwrap();
            said.push(match &write.what {
                What::Put { body, parts, etag, .. } => {
                    let body = String::from_utf8_lossy(body);
                    format!("{} {} {body} {parts} {etag}", write.path, write.status)
                }
                What::Delete => format!("{} {} deleted", write.path, write.status),
            });
        }
        let expected = [
            "b/k 200 one 0 e1",
            "b/k 412 two 0 ",
            "b/m 200 firstsecond 2 e-2",
            "b/x 200 deleted",
            "b/y 500 deleted",
        ];
        assert_eq!(said, expected);
        assert_eq!(recorder.requests().get("PUT"), Some(&4));
    }
}
