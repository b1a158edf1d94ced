//! What backing up costs in a month of 30 days: a pure function of the workload, the settings and the prices.
//!
//! The steady state, after the first retention period. Where something is not known, the dearer case is
//! taken: every change is an upload of its own, and all changes of a day are in different hours. The numbers of
//! each line are told with it, so that the sum can be checked by hand.

use std::time::Duration;

use ultrasimple_core::retention::Keep;
use ultrasimple_store::S3Options;

use super::class::{Class, hourly_days, within_budget};
use super::figures::{bytes, number, span};
use super::prices::Prices;

/// Days in the month of this model.
pub(crate) const DAYS: f64 = 30.0;
const DAY_SECONDS: f64 = 86_400.0;
const HOURS: f64 = 24.0 * DAYS;
/// Objects in a page of a listing, and keys in a deletion.
const PAGE: f64 = 1_000.0;
/// Retention looks for what is due so often.
const RETENTION_PASSES: f64 = DAYS;
/// What a start costs besides the catalogs: the probe (5 PUT, 1 GET at most) and the cluster file (1, 1).
const START_PUTS: f64 = 6.0;
const START_GETS: f64 = 2.0;

/// What there is to be backed up. Given by flags, or read from the catalogs of a bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Workload {
    /// Databases, the hot ones included.
    pub(crate) databases: f64,
    /// Of these, those that change all the time: in each cycle.
    pub(crate) hot: f64,
    /// Changes a day of each of the others, on average.
    pub(crate) changes_per_day: f64,
    /// Bytes of a database's image, on average.
    pub(crate) image_bytes: f64,
    /// Stored bytes for each byte of an image.
    pub(crate) compression: f64,
    /// Databases that are no more; the newest backup of each stays.
    pub(crate) gone: f64,
    /// Catalogs, where they were counted.
    pub(crate) catalogs: Option<f64>,
    /// What is really held, where it is known and meant.
    pub(crate) held: Option<Held>,
}

/// What is held, as parts of what would be in the steady state: 1 where it is the same. So it is known also what
/// becomes of it when another number changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Held {
    /// Of the number of backups.
    pub(crate) objects: f64,
    /// Of their bytes.
    pub(crate) bytes: f64,
}

/// How they are backed up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    pub(crate) interval: Duration,
    pub(crate) min_upload_interval: Duration,
    /// Uploads a month, at most.
    pub(crate) put_budget: Option<f64>,
    /// `None` where `hourly=` of `keep` stands instead.
    pub(crate) retention_days: Option<f64>,
    pub(crate) keep: Option<Keep>,
    pub(crate) shards: f64,
    pub(crate) verify_percent_per_day: f64,
    /// Requests a day, at most.
    pub(crate) reconcile_requests: f64,
    pub(crate) restarts_per_month: f64,
}

/// What a request is billed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Put,
    List,
    Get,
    Delete,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Put, Self::List, Self::Get, Self::Delete];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::List => "LIST",
            Self::Get => "GET",
            Self::Delete => "DELETE",
        }
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Hot,
    Others,
    Catalogs,
    Starts,
    Reconciling,
    Verifying,
    Retention,
}

/// Requests of one kind for one cause.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) cause: Cause,
    pub(crate) kind: Kind,
    /// In a month.
    pub(crate) requests: f64,
    pub(crate) cost: f64,
    /// The numbers it is made of.
    pub(crate) arithmetic: String,
}

/// What is stored, on average over the month.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Storage {
    /// Backups held.
    pub(crate) objects: f64,
    /// Bytes of one, on average.
    pub(crate) object_bytes: f64,
    /// Bytes billed, by the month, that are not there any more.
    pub(crate) gone_bytes: f64,
    /// Gigabytes, as the provider counts them, billed for the month.
    pub(crate) billed_gb: f64,
    pub(crate) cost: f64,
    pub(crate) arithmetic: String,
}

/// All of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bill {
    pub(crate) lines: Vec<Line>,
    pub(crate) storage: Storage,
    /// Of each always-changing database: seconds from one upload to the next.
    pub(crate) hot_gap: Option<f64>,
    /// The put budget, and not the changes, says how many uploads there are.
    pub(crate) is_budgeted: bool,
    /// Bytes read by verification.
    pub(crate) verified_bytes: f64,
}

impl Bill {
    pub(crate) fn total(&self) -> f64 {
        self.lines.iter().map(|line| line.cost).sum::<f64>() + self.storage.cost
    }

    pub(crate) fn requests(&self, kind: Kind) -> f64 {
        self.lines.iter().filter(|line| line.kind == kind).map(|line| line.requests).sum()
    }
}

/// The bill for a month.
pub(crate) fn bill(workload: &Workload, policy: &Policy, prices: &Prices) -> Bill {
    Model::new(workload, policy, prices).bill()
}

struct Model<'a> {
    workload: &'a Workload,
    policy: &'a Policy,
    prices: &'a Prices,
    hot: Class,
    others: Class,
    is_budgeted: bool,
    /// Shards that have databases.
    shards: f64,
    object_bytes: f64,
}

impl<'a> Model<'a> {
    fn new(workload: &'a Workload, policy: &'a Policy, prices: &'a Prices) -> Self {
        let interval = policy.interval.as_secs_f64();
        // Uploads begin in a cycle.
        let cycles = (policy.min_upload_interval.as_secs_f64() / interval).ceil().max(1.0);
        let gap = interval * cycles;
        let most = DAYS * DAY_SECONDS / gap;
        let hot = Class { databases: workload.hot, uploads: most };
        let uploads = (workload.changes_per_day * DAYS).min(most);
        let others = Class { databases: (workload.databases - workload.hot).max(0.0), uploads };
        let (is_budgeted, hot, others) = within_budget(policy.put_budget, hot, others);
        let shards = workload.catalogs.unwrap_or(policy.shards.min(workload.databases));
        let object_bytes = workload.image_bytes * workload.compression;
        Self { workload, policy, prices, hot, others, is_budgeted, shards, object_bytes }
    }

    fn bill(&self) -> Bill {
        let mut lines = vec![self.hot(), self.others()];
        lines.extend(self.catalogs());
        lines.extend(self.starts());
        lines.extend(self.reconciling());
        let verified = self.workload.databases * self.policy.verify_percent_per_day / 100.0 * DAYS;
        lines.push(self.verifying(verified));
        lines.extend(self.retention());
        lines.retain(|line| line.requests > 0.0);
        let hot_gap = (self.hot.databases > 0.0).then(|| DAYS * DAY_SECONDS / self.hot.uploads);
        Bill {
            lines,
            storage: self.storage(),
            hot_gap,
            is_budgeted: self.is_budgeted,
            verified_bytes: verified * self.object_bytes,
        }
    }

    fn line(&self, cause: Cause, kind: Kind, requests: f64, arithmetic: String) -> Line {
        let cost = requests / 1_000.0 * self.prices.per_1000(kind);
        Line { cause, kind, requests, cost, arithmetic }
    }

    /// Requests for one upload, and how that is said.
    fn per_upload(&self) -> (f64, String) {
        let S3Options { multipart_threshold, part_size, .. } = S3Options::default();
        if self.object_bytes <= float(multipart_threshold) {
            return (1.0, String::new());
        }
        // The beginning, the parts and the completion.
        let requests = (self.object_bytes / float(part_size)).ceil() + 2.0;
        (requests, format!(" x {} requests (in parts)", number(requests)))
    }

    fn hot(&self) -> Line {
        let (per_upload, parts) = self.per_upload();
        let Class { databases, uploads } = self.hot;
        let limit = if self.is_budgeted { ": -put-budget" } else { "" };
        let gap = span(DAYS * DAY_SECONDS / uploads);
        let why = format!("one every {gap}{limit}");
        let (databases, uploads) = (number(databases), number(uploads));
        let arithmetic = format!("{databases} databases x {uploads} uploads ({why}){parts}");
        let requests = self.hot.all_uploads() * per_upload;
        self.line(Cause::Hot, Kind::Put, requests, arithmetic)
    }

    fn others(&self) -> Line {
        let (per_upload, parts) = self.per_upload();
        let Class { databases, uploads } = self.others;
        let is_less = uploads < self.workload.changes_per_day * DAYS;
        let limit = match (is_less, self.is_budgeted) {
            (false, _) => "",
            (true, true) => ": more than -put-budget allows",
            (true, false) => ": some share an upload",
        };
        let (databases, uploads) = (number(databases), number(uploads));
        let a_day = number(self.workload.changes_per_day);
        let why = format!("changes a day: {a_day}{limit}");
        let arithmetic = format!("{databases} databases x {uploads} uploads ({why}){parts}");
        let requests = self.others.all_uploads() * per_upload;
        self.line(Cause::Others, Kind::Put, requests, arithmetic)
    }

    /// At most one write an hour, of the shards in which something was backed up; each reads first.
    fn catalogs(&self) -> [Line; 2] {
        let at_most = self.shards * HOURS;
        let backups = self.backups();
        let writes = at_most.min(backups);
        let arithmetic = if writes < at_most {
            format!("{} new backups, at most one catalog for each", number(backups))
        } else {
            format!("{} shards x {} hours, at most", number(self.shards), number(HOURS))
        };
        let read = "as many: read before it is written".to_owned();
        [
            self.line(Cause::Catalogs, Kind::Put, writes, arithmetic),
            self.line(Cause::Catalogs, Kind::Get, writes, read),
        ]
    }

    fn starts(&self) -> [Line; 2] {
        let line = |kind, besides: f64, what| {
            let starts = self.policy.restarts_per_month;
            let requests = starts * (self.shards + besides);
            let (starts, shards) = (number(starts), number(self.shards));
            let arithmetic =
                format!("{starts} starts x ({shards} catalogs {what} + {})", number(besides));
            self.line(Cause::Starts, kind, requests, arithmetic)
        };
        [line(Kind::Put, START_PUTS, "written at the end"), line(Kind::Get, START_GETS, "read")]
    }

    /// A pass lists all objects and reads each catalog twice. At most one a day.
    fn reconciling(&self) -> [Line; 2] {
        let objects = self.objects();
        let (pages, reads) = ((objects / PAGE).ceil(), 2.0 * self.shards);
        let passes = (self.policy.reconcile_requests / (pages + reads)).min(1.0) * DAYS;
        let times = number(passes);
        let listed = format!("{times} passes x {} pages of 1,000 objects", number(pages));
        let read = format!("{times} passes x 2 x {} catalogs", number(self.shards));
        [
            self.line(Cause::Reconciling, Kind::List, passes * pages, listed),
            self.line(Cause::Reconciling, Kind::Get, passes * reads, read),
        ]
    }

    fn verifying(&self, verified: f64) -> Line {
        let percent = number(self.policy.verify_percent_per_day);
        let databases = number(self.workload.databases);
        let arithmetic = format!("{percent}% of {databases} databases a day x {DAYS} days");
        self.line(Cause::Verifying, Kind::Get, verified, arithmetic)
    }

    /// Of what goes, each footer is read, and that of the database's newest backup in each pass.
    fn retention(&self) -> [Line; 2] {
        let deleted = self.backups();
        let due = |class: Class| class.databases * class.hours_per_day().min(1.0);
        let due = due(self.hot) + due(self.others);
        let (backups, databases) = (number(deleted), number(due));
        let read = format!(
            "2 x {backups} old backups + {databases} databases x {RETENTION_PASSES} passes"
        );
        let requests = RETENTION_PASSES * (deleted / RETENTION_PASSES / PAGE).ceil();
        [
            self.line(Cause::Retention, Kind::Get, 2.0 * deleted + due * RETENTION_PASSES, read),
            self.line(
                Cause::Retention,
                Kind::Delete,
                requests,
                format!("{backups} old backups, up to 1,000 in a request"),
            ),
        ]
    }

    fn backups(&self) -> f64 {
        self.hot.backups() + self.others.backups()
    }

    fn steady_objects(&self) -> f64 {
        let held = |class: Class| class.databases * class.held(self.policy);
        held(self.hot) + held(self.others) + self.workload.gone
    }

    fn objects(&self) -> f64 {
        let steady = self.steady_objects();
        self.workload.held.map_or(steady, |held| (steady * held.objects).round())
    }

    fn held_bytes(&self) -> f64 {
        let steady = self.steady_objects() * self.object_bytes;
        self.workload.held.map_or(steady, |held| steady * held.bytes)
    }

    fn storage(&self) -> Storage {
        let (objects, held_bytes) = (self.objects(), self.held_bytes());
        let minimum = self.prices.minimum_storage_days;
        let overwritten = self.hot.all_uploads() + self.others.all_uploads() - self.backups();
        let early = (minimum - hourly_days(self.policy)).max(0.0);
        // What is not there any more, and billed until it would be old enough.
        let gone = overwritten * minimum / DAYS + self.backups() * early / DAYS;
        let gone_bytes = gone * self.object_bytes;
        let gb = (held_bytes + gone_bytes) / self.prices.bytes_per_gb;
        let billed_gb = gb.max(self.prices.minimum_storage_gb);
        let (count, size) = (number(objects), bytes(self.workload.image_bytes));
        let (ratio, sum) = (number(self.workload.compression), bytes(held_bytes));
        let mut arithmetic = vec![match self.workload.held {
            Some(_) => format!("{count} backups held = {sum}, by the catalogs"),
            None => format!("{count} backups x {size} x {ratio} = {sum}"),
        }];
        if gone > 0.0 {
            let (gone, minimum) = (bytes(gone_bytes), number(minimum));
            arithmetic.push(format!("+ {gone} for what is stored less than {minimum} days"));
        }
        if billed_gb > gb {
            arithmetic.push(format!("(at least {} GB are billed)", number(billed_gb)));
        }
        let arithmetic = arithmetic.join(" ");
        let cost = billed_gb * self.prices.storage_per_gb_month;
        let object_bytes = held_bytes / objects.max(1.0);
        Storage { objects, object_bytes, gone_bytes, billed_gb, cost, arithmetic }
    }
}

/// Whole numbers beyond 2^53 are none that anybody counts.
#[expect(clippy::cast_precision_loss, reason = "more digits than anybody reads")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
