//! Who may ask, how long a question may take, and how many there may be at once.
//!
//! A connection is one question: whoever holds it open longer than it takes, or sends its headers slowly, loses it.
//! So no more than a fixed number of connections, files and bytes are ever held for those who ask.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// What those who ask are held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Questions at once; more wait in the listener's queue.
    pub(super) at_once: usize,
    /// How long the headers of a question may take.
    pub(super) headers: Duration,
    /// How long a question may take from beginning to end, the sending of the answer included.
    pub(super) whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_once: 64, headers: Duration::from_secs(5), whole: Duration::from_secs(20) }
    }
}

/// Bytes of headers, at most.
const HEADER_BYTES: usize = 16 * 1_024;
/// After the operating system gave no connection: out of files, mostly.
const PAUSE: Duration = Duration::from_millis(200);

/// What whoever asks must know. Kept as a hash, so that comparing it takes the same time whatever is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token(blake3::Hash);

impl Token {
    pub(crate) fn new(token: &str) -> Self {
        Self(blake3::hash(token.as_bytes()))
    }

    /// Whether these headers have it: as a bearer's token, or, as browsers send it, as the password of any user.
    fn is_in(&self, request: &Request) -> bool {
        let sent = request.headers().get(header::AUTHORIZATION);
        let Some(sent) = sent.map(HeaderValue::as_bytes) else { return false };
        let word = |scheme: &[u8]| {
            let (said, word) = sent.split_at_checked(scheme.len())?;
            said.eq_ignore_ascii_case(scheme).then_some(word)
        };
        if let Some(token) = word(b"Bearer ") {
            return self.is(token);
        }
        let login = word(b"Basic ").and_then(|word| BASE64_STANDARD.decode(word).ok());
        login.is_some_and(|login| {
            let colon = login.iter().position(|byte| *byte == b':');
            let password = colon.and_then(|colon| login.get(colon + 1..));
            password.is_some_and(|password| self.is(password))
        })
    }

    /// (Hashes are compared in constant time.)
    fn is(&self, token: &[u8]) -> bool {
        blake3::hash(token) == self.0
    }
}

/// Lets those pass who know the token, or anybody where there is none.
pub(super) async fn ask_for_token(
    State(token): State<Arc<Option<Token>>>,
    request: Request,
    next: Next,
) -> Response {
    match token.as_ref() {
        Some(token) if !token.is_in(&request) => {
            let challenges = AppendHeaders([
                (header::WWW_AUTHENTICATE, "Basic realm=\"ultrasimple\", charset=\"UTF-8\""),
                (header::WWW_AUTHENTICATE, "Bearer"),
            ]);
            let text = "the token of -http-token-file is needed: Authorization: Bearer TOKEN, or in a browser as the \
                        password of any user";
            (StatusCode::UNAUTHORIZED, challenges, text).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, routes: Router, limits: Limits) {
    let free = Arc::new(Semaphore::new(limits.at_once));
    let mut connections = JoinSet::new();
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("HTTP: cannot take a connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let routes = routes.clone();
        connections.spawn(async move {
            let _permit = permit;
            let answered = answer(stream, routes, limits.headers);
            match tokio::time::timeout(limits.whole, answered).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!("HTTP: {error}"),
                Err(_) => debug!("HTTP: a question took longer than {:?}", limits.whole),
            }
        });
    }
}

async fn answer(stream: TcpStream, routes: Router, headers: Duration) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(headers)
        .keep_alive(false)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await
}
