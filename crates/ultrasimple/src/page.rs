//! The status page: `/` of each node, and what it is made of.
//!
//! ```text
//! address ──query──▶ gather ──View──▶ draw ──▶ HTML
//!                      ▲ this node's actors, etcd's last word, the other nodes, a catalog: each with a deadline
//! ```
//!
//! Written by the server, and whole without JavaScript; the script only asks for it again. Nothing comes from another
//! host: the policy that goes with it forbids it. The cost of a page does not grow with the number of databases, except
//! for a search, which goes through all paths once. Why it is made by hand: docs/adr/0030-status-page.md.

mod draw;
mod fleet;
mod gather;
mod markup;
mod query;
mod view;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use ultrasimple_core::Clock;
use ultrasimple_core::config::Settings;
use ultrasimple_replicator::Replicator;

use crate::metrics::Distributions;
use draw::Assets;
use gather::Sources;
use query::Query;

/// How the page looks.
pub(crate) const STYLE: &str = include_str!("page/style.css");
/// What keeps it up to date.
pub(crate) const SCRIPT: &str = include_str!("page/page.js");
/// Where the style sheet is.
pub(crate) const STYLE_PATH: &str = "/assets/style.css";
/// Where the script is.
pub(crate) const SCRIPT_PATH: &str = "/assets/page.js";
/// What a browser may do with the page: show it, with what comes from this node, in no other page's frame.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Pages that are made at once; more wait.
const AT_ONCE: usize = 4;
/// How long they wait.
const TURN: Duration = Duration::from_secs(5);

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let address = |path: &str, text: &str| {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        format!("{path}?{}", hash.get(..12).unwrap_or_default())
    };
    Assets { style: address(STYLE_PATH, STYLE), script: address(SCRIPT_PATH, SCRIPT) }
});

/// The page of a node that cannot tell anything yet.
pub(crate) fn starting() -> String {
    draw::starting(&ASSETS).into_string()
}

/// What the page is made of.
pub(crate) struct Page {
    sources: Sources,
    turns: Semaphore,
}

impl Page {
    pub(crate) fn new(
        settings: &Settings,
        bucket: &str,
        replicator: Arc<Replicator>,
        clock: Arc<dyn Clock>,
        distributions: Arc<Distributions>,
        token: Option<String>,
    ) -> Self {
        let since = clock.monotonic();
        let sources = Sources {
            node: settings.node.node.clone(),
            bucket: gather::in_words(bucket),
            replicator,
            interval: settings.scan.interval,
            limit: exposure_limit(settings),
            clock,
            distributions,
            since,
            token,
            seen: tokio::sync::Mutex::default(),
            histories: Mutex::new(VecDeque::new()),
            catalogs: Semaphore::new(1),
        };
        Self { sources, turns: Semaphore::new(AT_ONCE) }
    }

    /// The page. `query`: what follows the question mark of its address. `None` when too many ask at once.
    pub(crate) async fn page(
        &self,
        query: &str,
        unready: impl Future<Output = Option<String>> + Send,
    ) -> Option<String> {
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await;
        let _turn = turn.ok()?.ok()?;
        let view = self.sources.view(Query::parse(query), unready).await;
        Some(draw::page(&view, &ASSETS).into_string())
    }
}

/// How long a change may wait: what `-min-upload-interval` keeps waiting waits by order.
pub(crate) fn exposure_limit(settings: &Settings) -> Option<Duration> {
    settings.http.exposure_limit.map(|limit| limit + settings.upload.min_upload_interval)
}

#[cfg(test)]
#[path = "page/tests.rs"]
mod tests;
