//! What a node says of itself when it is asked: how it is about its shards, and whether all is well.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use ultrasimple_core::config::Settings;
use ultrasimple_core::{Clock, NodeName};
use ultrasimple_replicator::{Replicator, ShardStatus};
use ultrasimple_telemetry::text::{self, Format};
use ultrasimple_telemetry::{Exporter, Otlp, OtlpError, Samples, Service, Source};

use crate::http::Told;
use crate::metrics::{Distributions, Figures, FleetFigures};
use crate::page::{self, Page};
use crate::readiness;

/// How long the actors may take to answer. Whoever asks waits a little longer.
const ANSWER: Duration = Duration::from_millis(1_500);

/// A node that runs.
pub(crate) struct Observed {
    node: NodeName,
    bucket: String,
    replicator: Arc<Replicator>,
    interval: Duration,
    lease_ttl: Option<Duration>,
    put_budget: Option<u64>,
    clock: Arc<dyn Clock>,
    /// How long things took.
    distributions: Arc<Distributions>,
    /// When it began, by the monotonic clock.
    since: Duration,
    /// How long a change may wait.
    limit: Option<Duration>,
    page: Page,
}

/// The JSON of `/api/v1/node`.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct NodeStatus {
    node: NodeName,
    version: &'static str,
    /// Where its backups go.
    bucket: String,
    /// How much longer its lease may be acted upon; `null` without etcd.
    lease_seconds: Option<f64>,
    trusted: bool,
    shards: usize,
    databases: u64,
    pending: u64,
    failing: u64,
    exposure_seconds: f64,
    uptime_seconds: f64,
    /// What its requests cost in a month that goes on as the last 24 hours went; `null` in the first minutes.
    month_dollars: Option<f64>,
    /// What the bucket holds of its shards, as far as their catalogs say.
    stored_bytes: u64,
}

impl Observed {
    pub(crate) fn new(
        settings: &Settings,
        bucket: String,
        replicator: Arc<Replicator>,
        clock: Arc<dyn Clock>,
        distributions: Arc<Distributions>,
        token: Option<String>,
    ) -> Self {
        let (since, interval) = (clock.monotonic(), settings.scan.interval);
        let node = settings.node.node.clone();
        let lease_ttl = settings.fleet.as_ref().map(|fleet| fleet.lease_ttl);
        let put_budget = settings.upload.put_budget;
        let page = Page::new(
            settings,
            &bucket,
            Arc::clone(&replicator),
            Arc::clone(&clock),
            Arc::clone(&distributions),
            token,
        );
        let limit = page::exposure_limit(settings);
        Self {
            node,
            bucket,
            replicator,
            interval,
            lease_ttl,
            put_budget,
            clock,
            distributions,
            since,
            limit,
            page,
        }
    }

    /// Begins to push its numbers to a collector.
    ///
    /// # Errors
    /// When the environment says something that cannot be done.
    pub(crate) fn export(
        self: &Arc<Self>,
        otlp: Otlp,
        service: &Service,
    ) -> Result<Exporter, OtlpError> {
        let (source, clock) = (Arc::clone(self) as Arc<dyn Source>, Arc::clone(&self.clock));
        otlp.start(service, source, &self.distributions.all(), clock)
    }

    async fn ask(&self) -> Result<Vec<ShardStatus>, String> {
        match tokio::time::timeout(ANSWER, self.replicator.shards()).await {
            Ok(shards) => shards.map_err(|error| error.to_string()),
            Err(_) => Err("the shards do not answer in time".to_owned()),
        }
    }

    fn is_trusted(&self) -> bool {
        self.replicator.lease().is_none_or(|lease| lease.is_trusted())
    }
}

#[async_trait]
impl Told for Observed {
    fn statistics(&self) -> Value {
        serde_json::to_value(self.replicator.statistics()).unwrap_or_default()
    }

    fn metrics(&self, format: Format) -> String {
        text::encode(&self.samples(), format)
    }

    async fn node(&self) -> Result<Value, String> {
        let shards = self.ask().await?;
        let now = self.replicator.statistics();
        let status = NodeStatus {
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION"),
            bucket: self.bucket.clone(),
            lease_seconds: self.replicator.lease().map(|lease| lease.remaining().as_secs_f64()),
            trusted: self.is_trusted(),
            shards: shards.len(),
            databases: shards.iter().map(|shard| shard.databases).sum(),
            pending: shards.iter().map(|shard| shard.pending).sum(),
            failing: shards.iter().map(|shard| shard.failing).sum(),
            exposure_seconds: shards.iter().map(|s| s.exposure_seconds).fold(0.0, f64::max),
            month_dollars: now.projected_month.map(|month| month.dollars),
            stored_bytes: now.kept.bytes,
            uptime_seconds: self.clock.monotonic().saturating_sub(self.since).as_secs_f64(),
        };
        serde_json::to_value(status).map_err(|error| error.to_string())
    }

    async fn shards(&self) -> Result<Value, String> {
        serde_json::to_value(self.ask().await?).map_err(|error| error.to_string())
    }

    async fn unready(&self) -> Option<String> {
        if !self.is_trusted() {
            return Some("the lease in etcd is not trusted: nothing is backed up".to_owned());
        }
        let statistics = self.replicator.statistics();
        let now = self.clock.now().as_millisecond();
        if let Some(why) = readiness::late(&statistics, now, self.interval) {
            return Some(why);
        }
        let shards = match self.ask().await {
            Ok(shards) => shards,
            Err(why) => return Some(why),
        };
        if let Some(why) = readiness::starting(&shards).or(readiness::exposed(&shards, self.limit))
        {
            return Some(why);
        }
        // What etcd does not tell is not held against the node: its lease says how long it may go on.
        let seen = tokio::time::timeout(ANSWER, self.replicator.fleet()).await.ok()??;
        readiness::lacking(&seen, &self.node)
    }

    async fn page(&self, query: &str) -> Option<String> {
        self.page.page(query, self.unready()).await
    }
}

impl Source for Observed {
    fn samples(&self) -> Samples {
        let replicator = &self.replicator;
        let in_fleet = replicator.lease().zip(self.lease_ttl).zip(replicator.unowned_shards());
        let fleet = in_fleet.map(|((lease, lease_ttl), unowned_shards)| FleetFigures {
            lease,
            lease_ttl,
            unowned_shards,
        });
        let figures = Figures {
            statistics: replicator.statistics(),
            distributions: &self.distributions,
            fleet,
            budget: self.put_budget.zip(replicator.budget_wait()),
            interval: self.interval,
            now: self.clock.now(),
            uptime: self.clock.monotonic().saturating_sub(self.since),
        };
        figures.samples()
    }
}
