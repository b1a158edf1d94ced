//! What a node says of itself when it is asked: how it is about its shards, and whether all is well.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use ultrasimple_core::config::Settings;
use ultrasimple_core::{Clock, NodeName};
use ultrasimple_replicator::{Replicator, ShardStatus, Statistics};
use ultrasimple_telemetry::text::{self, Format};
use ultrasimple_telemetry::{Exporter, Otlp, OtlpError, Samples, Service, Source};

use crate::http::Told;
use crate::metrics::{Distributions, Figures, FleetFigures};

/// How long the actors may take to answer. Whoever asks waits a little longer.
const ANSWER: Duration = Duration::from_millis(1_500);
/// Besides three intervals: how long ago the last scan may have begun.
const SLACK: Duration = Duration::from_mins(1);

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
}

impl Observed {
    pub(crate) fn new(
        settings: &Settings,
        bucket: String,
        replicator: Arc<Replicator>,
        clock: Arc<dyn Clock>,
        distributions: Arc<Distributions>,
    ) -> Self {
        let (since, interval) = (clock.monotonic(), settings.scan.interval);
        let node = settings.node.node.clone();
        let lease_ttl = settings.fleet.as_ref().map(|fleet| fleet.lease_ttl);
        let put_budget = settings.upload.put_budget;
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
        if let Some(why) = late(&statistics, self.clock.now().as_millisecond(), self.interval) {
            return Some(why);
        }
        match self.ask().await {
            Ok(shards) => starting(&shards),
            Err(why) => Some(why),
        }
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

/// Whether the last scan is too long ago. `now`: milliseconds, by the wall clock.
fn late(statistics: &Statistics, now: i64, interval: Duration) -> Option<String> {
    let Some(last) = statistics.last_scan else {
        return Some("the first scan is not done yet".to_owned());
    };
    let age = Duration::from_millis(u64::try_from(now - last.as_millisecond()).unwrap_or(0));
    let limit = interval * 3 + Duration::from_secs_f64(statistics.last_scan_seconds) + SLACK;
    (age > limit).then(|| format!("the last scan that was finished began {} s ago", age.as_secs()))
}

/// Shards whose catalog is not read yet: nothing of them is backed up.
fn starting(shards: &[ShardStatus]) -> Option<String> {
    let count = shards.iter().filter(|shard| shard.phase == "starting").count();
    (count > 0).then(|| format!("{count} of {} shards are not being backed up yet", shards.len()))
}
