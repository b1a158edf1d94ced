//! What is served by HTTP. What is said is in [`crate::observed`]; what may be asked, and by whom, is in `guard`.
//!
//! ```text
//! /                 the status page                                with the token, where there is one
//! /assets/…         its style sheet and script                     "
//! /healthz          the process lives                              for anybody
//! /readyz           it backs up what it is to back up              for anybody
//! /stats            what has happened so far                       with the token
//! /metrics          the same and more, as Prometheus reads it      "
//! /api/v1/node      how it is about the node                       "
//! /api/v1/shards    how it is about each of its shards             "
//! ```

mod guard;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use async_trait::async_trait;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::info;
use ultrasimple_telemetry::text::Format;

use guard::Limits;
pub(crate) use guard::Token;

use crate::page;

/// What can be asked of a node that runs.
#[async_trait]
pub(crate) trait Told: Send + Sync {
    /// What has happened so far.
    fn statistics(&self) -> Value;
    /// The same in numbers, and more.
    fn metrics(&self, format: Format) -> String;
    /// How it is about the node, or why that cannot be told now.
    async fn node(&self) -> Result<Value, String>;
    /// How it is about each of its shards.
    async fn shards(&self) -> Result<Value, String>;
    /// The status page; `query` is what follows the question mark. `None` when too many ask at once.
    async fn page(&self, query: &str) -> Option<String>;
    /// Why it does not back up all that it is to back up, if so.
    async fn unready(&self) -> Option<String>;
}

/// A server that runs; it ends when this is dropped. Until it is told of a node, it says that it starts.
pub(crate) struct Server {
    task: JoinHandle<()>,
    node: Slot,
    address: SocketAddr,
}

type Slot = Arc<OnceLock<Arc<dyn Told>>>;

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

impl Server {
    /// Serves until the result is dropped.
    ///
    /// # Errors
    /// When the listener does not know its address.
    pub(crate) fn start(listener: TcpListener, token: Option<Token>) -> anyhow::Result<Self> {
        Self::start_within(Limits::default(), listener, token)
    }

    fn start_within(
        limits: Limits,
        listener: TcpListener,
        token: Option<Token>,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("cannot tell where HTTP is served")?;
        let node = Slot::default();
        let task = tokio::spawn(guard::serve(listener, routes(Arc::clone(&node), token), limits));
        Ok(Self { task, node, address })
    }

    /// Where it is served: with the port that was taken.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it tells of this node.
    pub(crate) fn tell_of(&self, node: Arc<dyn Told>) {
        // There is one node in a process.
        let _ = self.node.set(node);
        info!(
            "serving http://{}/ (status page), /healthz, /readyz, /stats, /metrics and /api/v1",
            self.address
        );
    }
}

fn routes(node: Slot, token: Option<Token>) -> Router {
    let told = Router::new()
        .route("/", get(status_page))
        .route(page::STYLE_PATH, get(|| async { asset("text/css; charset=utf-8", page::STYLE) }))
        .route(
            page::SCRIPT_PATH,
            get(|| async { asset("text/javascript; charset=utf-8", page::SCRIPT) }),
        )
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .route("/api/v1/node", get(of_node))
        .route("/api/v1/shards", get(of_shards))
        .route_layer(middleware::from_fn_with_state(Arc::new(token), guard::ask_for_token));
    let open = Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(ready));
    told.merge(open).with_state(node)
}

/// Of the page and what belongs to it.
const CAREFUL: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, page::POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

async fn status_page(State(node): State<Slot>, RawQuery(query): RawQuery) -> Response {
    let kind =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    let Some(node) = node.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, CAREFUL, kind, page::starting()).into_response();
    };
    match node.page(&query.unwrap_or_default()).await {
        Some(page) => (CAREFUL, kind, page).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "too many ask at once").into_response(),
    }
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    // Its address changes with its content.
    let kept = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=86400")];
    (CAREFUL, kept, text).into_response()
}

async fn stats(State(node): State<Slot>) -> Response {
    match node.get() {
        Some(node) => Json(node.statistics()).into_response(),
        None => starting(),
    }
}

async fn metrics(State(node): State<Slot>, headers: HeaderMap) -> Response {
    let Some(node) = node.get() else { return starting() };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::wanted(accept.unwrap_or_default());
    ([(header::CONTENT_TYPE, format.content_type())], node.metrics(format)).into_response()
}

async fn of_node(State(node): State<Slot>) -> Response {
    match node.get() {
        Some(node) => answer(node.node().await),
        None => starting(),
    }
}

async fn of_shards(State(node): State<Slot>) -> Response {
    match node.get() {
        Some(node) => answer(node.shards().await),
        None => starting(),
    }
}

async fn ready(State(node): State<Slot>) -> Response {
    let Some(node) = node.get() else { return starting() };
    match node.unready().await {
        None => "ready".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

fn answer(told: Result<Value, String>) -> Response {
    match told {
        Ok(value) => Json(value).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

fn starting() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "starting").into_response()
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
