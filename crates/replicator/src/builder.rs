//! The short way to a [`Replicator`], for programs that embed it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ultrasimple_core::config::{InvalidVerifyPercent, KeepSettings, VerifyPercent};
use ultrasimple_core::pattern::{InvalidPattern, Pattern, PatternSet};
use ultrasimple_core::retention::{DEFAULT_RETENTION_DAYS, InvalidRetention, Keep, RetentionRules};
use ultrasimple_core::template::{InvalidTemplate, PathTemplate};
use ultrasimple_core::{CheckLevel, Clock, NodeName, SystemClock, VolumeName, Volumes};
use ultrasimple_store::Store;

use crate::{Replicator, ReplicatorOptions, StartError};

/// Why a replicator could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No pattern was given.
    #[error("no pattern was given: say which files are databases")]
    NoPattern,
    /// No store was given.
    #[error("no store was given: say where the backups go")]
    NoStore,
    /// A pattern is not valid.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// The template is not valid.
    #[error(transparent)]
    Template(#[from] InvalidTemplate),
    /// A name is not valid.
    #[error(transparent)]
    Name(#[from] ultrasimple_core::ids::InvalidName),
    /// A number is outside its range.
    #[error("{what} must be at least 1")]
    TooSmall {
        /// Which.
        what: &'static str,
    },
    /// The retention is not valid.
    #[error(transparent)]
    Retention(#[from] InvalidRetention),
    /// The percentage of backups to verify is not valid.
    #[error("verify_percent_per_day: {0}")]
    VerifyPercent(#[from] InvalidVerifyPercent),
    /// The replicator cannot be prepared.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Collects settings; what is not given has the daemon's default.
#[derive(Debug, Clone)]
#[must_use]
pub struct ReplicatorBuilder {
    patterns: Vec<String>,
    excludes: Vec<String>,
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
    template: Option<String>,
    volume: String,
    node: String,
    shards: u32,
    concurrent: usize,
    retention_days: u32,
    keep: Option<String>,
    verify_percent_per_day: f64,
    reconcile_requests: u64,
    memory_budget: u64,
    check: CheckLevel,
    min_upload_interval: Duration,
    put_budget: Option<u64>,
    scratch: PathBuf,
    spool_limit: u64,
    drain_timeout: Duration,
}

impl Default for ReplicatorBuilder {
    fn default() -> Self {
        let keep = KeepSettings::default();
        Self {
            patterns: Vec::new(),
            excludes: Vec::new(),
            store: None,
            clock: Arc::new(SystemClock),
            template: None,
            volume: "default".to_owned(),
            node: "embedded".to_owned(),
            shards: 256,
            concurrent: 100,
            retention_days: DEFAULT_RETENTION_DAYS,
            keep: None,
            verify_percent_per_day: keep.verify_percent_per_day.percent(),
            reconcile_requests: keep.reconcile_requests,
            memory_budget: 256 << 20,
            check: CheckLevel::Quick,
            min_upload_interval: Duration::ZERO,
            put_budget: None,
            scratch: std::env::temp_dir().join("ultrasimple"),
            spool_limit: 16 << 30,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        $($(#[$doc])* pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        })*
    };
}

impl ReplicatorBuilder {
    /// Adds an absolute pattern of files that are databases.
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// Adds an absolute pattern of files or directories that are left out.
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.excludes.push(pattern.into());
        self
    }

    /// Where the backups go.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Where in the bucket a database's backups go, as in `{{tenant}}/{{database}}`.
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// The name of the volume that the databases are on.
    pub fn volume(mut self, volume: impl Into<String>) -> Self {
        self.volume = volume.into();
        self
    }

    /// The name of this node.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    /// How long a backup is kept after a newer one took its place, in days: 1 to 36,500, by default 30.
    /// The newest is kept for ever.
    pub fn retention_days(mut self, days: u32) -> Self {
        self.retention_days = days;
        self
    }

    /// Which backups are kept beyond the retention's days, as in `daily=30,weekly=12,monthly=12,yearly=3`:
    /// the last of each of so many days, weeks, months and years. `hourly=48` among them stands instead
    /// of [`Self::retention_days`].
    pub fn keep(mut self, rules: impl Into<String>) -> Self {
        self.keep = Some(rules.into());
        self
    }

    setters! {
        /// Where the time comes from.
        clock: Arc<dyn Clock>,
        /// Into how many shards the volume is divided; fixed for the life of the bucket.
        shards: u32,
        /// Uploads at once.
        concurrent: usize,
        /// How many percent of the backups are read back each day and proved restorable: 0 (none) to 100.
        verify_percent_per_day: f64,
        /// Requests a day, at most, to compare what is in the bucket with what should be; 0: none.
        reconcile_requests: u64,
        /// Bytes that captures and uploads may hold in memory, all together.
        memory_budget: u64,
        /// How captures are checked before the upload.
        check: CheckLevel,
        /// The least time between two uploads of one database.
        min_upload_interval: Duration,
        /// Requests in 30 days that cost what a PUT costs, whatever they are for; `None`: no limit.
        put_budget: Option<u64>,
        /// Where images go that do not fit into memory.
        scratch: PathBuf,
        /// Bytes that may be there at once.
        spool_limit: u64,
        /// How long uploads in flight may take to end when the replicator is stopped.
        drain_timeout: Duration,
    }

    /// Checks the settings and prepares the replicator.
    ///
    /// # Errors
    /// When a setting is missing or not valid, or the scratch directory cannot be used.
    pub fn build(self) -> Result<Replicator, BuildError> {
        if self.patterns.is_empty() {
            return Err(BuildError::NoPattern);
        }
        let at_least_one = [
            ("concurrent", self.concurrent as u64),
            ("shards", u64::from(self.shards)),
            ("memory_budget", self.memory_budget),
            ("put_budget", self.put_budget.unwrap_or(1)),
        ];
        if let Some(&(what, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(BuildError::TooSmall { what });
        }
        let parse = |texts: &[String]| -> Result<Vec<Pattern>, InvalidPattern> {
            texts.iter().map(|text| Pattern::parse(text)).collect()
        };
        let keep = self.keep_settings()?;
        let options = ReplicatorOptions {
            volumes: Volumes::one(self.volume.parse::<VolumeName>()?, self.shards),
            node: self.node.parse::<NodeName>()?,
            patterns: PatternSet::new(parse(&self.patterns)?, parse(&self.excludes)?),
            template: match &self.template {
                Some(template) => PathTemplate::parse(template)?,
                None => PathTemplate::standard(),
            },
            concurrent: self.concurrent,
            memory_budget: self.memory_budget,
            check: self.check,
            min_upload_interval: self.min_upload_interval,
            put_budget: self.put_budget,
            keep,
            scratch: self.scratch,
            spool_limit: self.spool_limit,
            drain_timeout: self.drain_timeout,
        };
        let store = self.store.ok_or(BuildError::NoStore)?;
        Ok(Replicator::new(options, store, self.clock)?)
    }

    fn keep_settings(&self) -> Result<KeepSettings, BuildError> {
        let keep = self.keep.as_deref().map(str::parse::<Keep>).transpose()?;
        let retention = RetentionRules::new(self.retention_days, keep)?;
        Ok(KeepSettings {
            retention,
            verify_percent_per_day: VerifyPercent::new(self.verify_percent_per_day)?,
            reconcile_requests: self.reconcile_requests,
        })
    }
}
