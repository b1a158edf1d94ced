//! Stage two: checked values, grouped by the component they are for.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::words::{Capacity, DurationText, SizeText, VerifyPercent};
use crate::pattern::{Pattern, PatternSet};
use crate::retention::{Keep, RetentionRules};
use crate::template::PathTemplate;
use crate::{ClusterName, NodeName, Volumes};

/// Everything that can be set, checked. Made by [`Settings::check`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which databases, and when.
    pub scan: ScanSettings,
    /// Where the backups go.
    pub store: StoreSettings,
    /// How long they are kept, and how they are proved.
    pub keep: KeepSettings,
    /// How they get there.
    pub upload: UploadSettings,
    /// Who this is.
    pub node: NodeSettings,
    /// With whom it shares the work. `None`: with nobody.
    pub fleet: Option<FleetSettings>,
    /// What is served by HTTP.
    pub http: HttpSettings,
    /// What the log looks like.
    pub log: LogSettings,
    /// Whether to run on, once, or dry.
    pub run: RunMode,
}

/// Which databases, and when.
#[derive(Debug, Clone)]
pub struct ScanSettings {
    /// Includes (at least one) and excludes.
    pub patterns: PatternSet,
    /// From one scan to the next: 100 ms to 24 h.
    pub interval: Duration,
}

/// Where the backups go.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The bucket. `None` only in a dry run.
    pub bucket: Option<Bucket>,
    /// The bucket's region.
    pub region: String,
    /// Address of an S3 server other than AWS: `http://…` or `https://…`.
    pub endpoint_url: Option<String>,
    /// A key pair. Without one, the AWS chain of variables, files and roles.
    pub credentials: Option<Credentials>,
}

/// How long the backups are kept, and how they are proved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeepSettings {
    /// Which backups are kept.
    pub retention: RetentionRules,
    /// How much of what the bucket holds is read back each day.
    pub verify_percent_per_day: VerifyPercent,
    /// Requests a day, at most, that comparing the bucket with the catalogs may make. 0: it is not done.
    pub reconcile_requests: u64,
}

impl Default for KeepSettings {
    /// 30 days, one percent, 5,000 requests.
    fn default() -> Self {
        Self {
            retention: RetentionRules::default(),
            verify_percent_per_day: VerifyPercent::default(),
            reconcile_requests: 5_000,
        }
    }
}

/// A bucket, as it was given and found to be well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// `NAME`, `s3://NAME/prefix` or `file:///directory`.
    pub text: String,
    /// The directory, when it is one.
    pub directory: Option<PathBuf>,
}

/// A static key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key.
    pub access_key: Secret,
    /// Secret key.
    pub secret_key: Secret,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: for whoever signs requests, and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// How the backups get to the store.
#[derive(Debug, Clone)]
pub struct UploadSettings {
    /// The folder of a database's backups.
    pub template: PathTemplate,
    /// Uploads at once: 1 to 10,000.
    pub concurrent: usize,
    /// Least time between two uploads of one database: 0 to 24 h.
    pub min_upload_interval: Duration,
    /// Uploads a month, at least 1; without it there is no limit.
    pub put_budget: Option<u64>,
    /// How a capture is checked before its upload.
    pub check: CheckLevel,
    /// Bytes of captures in memory: 16 MiB to 16 TiB.
    pub memory_budget: u64,
    /// Where copies are made; absolute. Not below any pattern.
    pub scratch: PathBuf,
    /// Bytes in `scratch`: 16 MiB to 1 PiB.
    pub spool_limit: u64,
    /// How long uploads may take to finish when the daemon is told to stop: 0 to 24 h.
    pub drain_timeout: Duration,
}

/// Who this is.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// The node.
    pub node: NodeName,
    /// The volumes that the databases are on, each in 1 to 65,536 shards.
    pub volumes: Volumes,
}

/// With whom a node shares the work.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetSettings {
    /// The members of etcd, at least one, as `http://host:port` or all as `https://host:port`.
    pub etcd: Vec<String>,
    /// The fleet's name.
    pub cluster: ClusterName,
    /// This node's share of the work.
    pub capacity: Capacity,
    /// How long a lease lasts: 2 s to 5 min, in whole seconds.
    pub lease_ttl: Duration,
    /// To join although the store does not honour conditional writes.
    pub allow_unfenced: bool,
    /// Where others reach this node's HTTP, when that was said: `http://host:port`.
    pub advertise: Option<String>,
    /// Certificates of who signs etcd's. With `https://` alone.
    pub ca: Option<PathBuf>,
    /// This node's certificate and its key. With `https://` alone.
    pub identity: Option<EtcdIdentity>,
    /// As whom it speaks to etcd.
    pub login: Option<EtcdLogin>,
}

/// A certificate that a client of etcd shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdIdentity {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// A user of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdLogin {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: Password,
}

/// Where a password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// Here.
    Given(Secret),
    /// In this file, which has nothing else in it.
    File(PathBuf),
}

/// What is served by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where this run serves it, if it does.
    pub address: Option<SocketAddr>,
    /// Where a daemon with these settings serves it: for who asks one.
    pub daemon: Option<SocketAddr>,
    /// The file with the token that is asked for. `None`: none is.
    pub token_file: Option<PathBuf>,
    /// How long a change may wait while the node calls itself ready, besides `-min-upload-interval`. `None`: for ever.
    pub exposure_limit: Option<Duration>,
}

/// What the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// Its form.
    pub format: LogFormat,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line for each event.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

/// How a capture is checked before its upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum CheckLevel {
    /// Not at all.
    Off,
    /// `PRAGMA quick_check`: the structure of all pages, but not that indexes match their tables.
    #[default]
    Quick,
    /// `PRAGMA integrity_check`.
    Full,
}

impl fmt::Display for CheckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Quick => "quick",
            Self::Full => "full",
        })
    }
}

/// Whether to run on, once, or dry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// Until told to stop.
    Forever,
    /// One cycle to its end.
    Once,
    /// One scan, and say what would be done.
    DryRun,
}

impl Settings {
    /// The settings as words for the log line at the start: names as in the file, without secrets.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        use super::Setting as S;
        let (store, keep, upload, node) = (&self.store, &self.keep, &self.upload, &self.node);
        let days = keep.retention.retention_days();
        let includes = self.scan.patterns.includes();
        let patterns: Vec<_> = includes.iter().map(Pattern::as_str).collect();
        let none = || "none".to_owned();
        let credentials = match (&store.bucket, &store.credentials) {
            (Some(Bucket { directory: Some(_), .. }) | None, _) => none(),
            (_, Some(_)) => "key pair".to_owned(),
            (_, None) => "AWS chain".to_owned(),
        };
        let volumes: Vec<_> = node.volumes.iter().map(ToString::to_string).collect();
        let mut words = vec![
            (S::Pattern.name(), patterns.join(" ")),
            (S::Interval.name(), DurationText(self.scan.interval).to_string()),
            (S::Bucket.name(), store.bucket.as_ref().map_or_else(none, |b| b.text.clone())),
            (S::EndpointUrl.name(), store.endpoint_url.clone().unwrap_or_else(none)),
            ("credentials", credentials),
            (S::RetentionDays.name(), days.map_or_else(none, |days| days.to_string())),
            (S::Keep.name(), keep.retention.keep().as_ref().map_or_else(none, Keep::to_string)),
            (S::VerifyPercentPerDay.name(), keep.verify_percent_per_day.to_string()),
            (S::ReconcileRequests.name(), keep.reconcile_requests.to_string()),
            (S::Path.name(), upload.template.to_string()),
            (S::Concurrent.name(), upload.concurrent.to_string()),
            (S::MinUploadInterval.name(), DurationText(upload.min_upload_interval).to_string()),
            (S::PutBudget.name(), upload.put_budget.map_or_else(none, |n| n.to_string())),
            (S::Check.name(), upload.check.to_string()),
            (S::MemoryBudget.name(), SizeText(upload.memory_budget).to_string()),
            (S::Scratch.name(), upload.scratch.display().to_string()),
            (S::SpoolLimit.name(), SizeText(upload.spool_limit).to_string()),
            (S::Node.name(), node.node.to_string()),
            (S::Volume.name(), volumes.join(" ")),
            (S::Shards.name(), node.volumes.shards().to_string()),
            (S::ExposureLimit.name(), self.exposure_limit()),
            (S::Http.name(), self.http.address.map_or_else(|| "off".to_owned(), |a| a.to_string())),
        ];
        match &self.fleet {
            None => words.push((S::Etcd.name(), none())),
            Some(fleet) => words.extend(fleet.describe()),
        }
        words
    }
}

impl Settings {
    fn exposure_limit(&self) -> String {
        self.http
            .exposure_limit
            .map_or_else(|| "none".to_owned(), |limit| DurationText(limit).to_string())
    }
}

impl FleetSettings {
    fn describe(&self) -> Vec<(&'static str, String)> {
        use super::Setting as S;
        let none = || "none".to_owned();
        let login = self.login.as_ref();
        vec![
            (S::Etcd.name(), self.etcd.join(" ")),
            (S::Cluster.name(), self.cluster.to_string()),
            (S::Capacity.name(), self.capacity.to_string()),
            (S::LeaseTtl.name(), DurationText(self.lease_ttl).to_string()),
            (S::AllowUnfenced.name(), self.allow_unfenced.to_string()),
            (S::EtcdUser.name(), login.map_or_else(none, |login| login.user.clone())),
        ]
    }
}
