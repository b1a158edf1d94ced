//! Who may ask, how long a question may take, and how many there may be at once.
//!
//! A connection is one question: whoever holds it open longer than it takes, or sends its headers slowly, loses it.
//! So no more than a fixed number of connections, files and bytes are ever held for those who ask.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
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

    /// Whether these headers have it. (Hashes are compared in constant time.)
    fn is_in(&self, request: &Request) -> bool {
        let sent = request.headers().get(header::AUTHORIZATION);
        let word = sent.and_then(|value| value.as_bytes().split_at_checked(b"Bearer ".len()));
        word.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && blake3::hash(token) == self.0
        })
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
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            let text = "the token of -http-token-file is needed: Authorization: Bearer TOKEN";
            (StatusCode::UNAUTHORIZED, challenge, text).into_response()
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
