//! The one table of settings: what each is called, what it takes, its default, its bounds, its help.
//!
//! A setting has one name; flag, variable and key in the file are made from it, so that they cannot
//! differ.

use std::time::Duration;

/// What every variable of ours begins with.
pub const VARIABLE_PREFIX: &str = "ULTRASIMPLE_";

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing on the command line; `true` or `false` elsewhere.
    Switch,
    /// A word with a form of its own.
    Text,
    /// A word that is never printed.
    Secret,
    /// Several path patterns.
    Patterns,
    /// Several words with a form of their own.
    Texts,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A time span within these bounds, both included.
    Duration(Duration, Duration),
    /// A number of bytes within these bounds, both included.
    Size(u64, u64),
    /// A whole number within these bounds, both included.
    Count(u64, u64),
}

/// Which part of the program a setting concerns: the headings of the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Which databases, and when.
    Scan,
    /// Where the backups go.
    Store,
    /// Until when they are kept, and how it is known that they can be restored.
    Keep,
    /// How they get there, and at what cost.
    Upload,
    /// Who this is.
    Node,
    /// With whom it shares the work.
    Fleet,
    /// How the program runs and what it says.
    Run,
}

impl Group {
    /// All groups, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Scan, Self::Store, Self::Keep, Self::Upload, Self::Node, Self::Fleet, Self::Run];

    /// The heading in the help.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Scan => "Which databases, and when",
            Self::Store => "Where the backups go",
            Self::Keep => "How long they are kept, and how they are proved",
            Self::Upload => "How they get there",
            Self::Node => "Who this is",
            Self::Fleet => "The fleet",
            Self::Run => "Running",
        }
    }
}

/// What the table says of one setting.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    group: Group,
    kind: Kind,
    /// The name of the value in the help; empty for switches.
    value: &'static str,
    /// The word that stands where nothing is given.
    default: Option<&'static str>,
    help: &'static str,
}

macro_rules! settings {
    ($(
        $setting:ident = $name:literal $value:literal, $group:ident, $kind:expr, $default:expr;
        $help:literal;
    )*) => {
        /// A setting: a row of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Setting {
            $(#[doc = concat!("`-", $name, "`")] $setting,)*
        }

        impl Setting {
            /// All settings, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$setting,)*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$setting => Row {
                        name: $name,
                        group: Group::$group,
                        kind: $kind,
                        value: $value,
                        default: $default,
                        help: $help,
                    },)*
                }
            }
        }
    };
}

const DAY: Duration = Duration::from_hours(24);
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

settings! {
    Pattern = "pattern" "GLOB", Scan, Kind::Patterns,
        Some("/data/*/databases/*/branches/*/tenants/*.db");
        "Which files are databases: '*', '?', '[…]', '**' for any number of directories, '{{x}}' like \
         '*' and remembered for -path. A relative one is taken from the current directory. Put it in \
         quotes. May be repeated";
    Exclude = "exclude" "GLOB", Scan, Kind::Patterns, None;
        "Which files are not, although a pattern matches; a directory stands for all below it. May be \
         repeated";
    Interval = "interval" "TIME", Scan, Kind::Duration(Duration::from_millis(100), DAY), Some("15s");
        "Time from one scan to the next";
    Bucket = "bucket" "BUCKET", Store, Kind::Text, None;
        "Where the backups go: NAME, s3://NAME/prefix or file:///directory. Needed, except with \
         -dry-run";
    Path = "path" "TEMPLATE", Store, Kind::Text, None;
        "The folder of a database's backups in the bucket, such as {{tenant}}/{{database}}: {{x}} is \
         what follows a directory called x or its plural, or what a pattern's {{x}} matched. Default: \
         {{project}}/{{database}}/{{branch}}/{{tenant}} where these four have a value, else {{path}}, \
         the directory below the pattern's fixed part";
    Region = "region" "REGION", Store, Kind::Text, Some("us-east-1");
        "The bucket's region";
    EndpointUrl = "endpoint-url" "URL", Store, Kind::Text, None;
        "An S3 server other than AWS, such as http://localhost:9000";
    AccessKey = "access-key" "KEY", Store, Kind::Secret, None;
        "Access key, with -secret-key. Without the two: the AWS variables, files and roles. On the \
         command line other users can see it; the variable or the file is better";
    SecretKey = "secret-key" "KEY", Store, Kind::Secret, None;
        "Secret key, with -access-key";
    RetentionDays = "retention-days" "DAYS", Keep, Kind::Count(1, 36_500), Some("30");
        "How long a backup is kept after a newer one took its place, so that each full hour of the last \
         days can be restored. The newest is kept for ever";
    Keep = "keep" "RULES", Keep, Kind::Text, None;
        "Keeps more of the past, thinned out: hourly=48,daily=30,weekly=12,monthly=12,yearly=3 is what \
         was the newest at the end of each of so many hours, days, weeks, months and years (UTC), the \
         running one included. Any of the five may be left out. hourly= stands instead of \
         -retention-days";
    VerifyPercentPerDay = "verify-percent-per-day" "P", Keep, Kind::Text, Some("1");
        "Of how many percent of the databases the newest backup is read back each day and proved \
         restorable: 0 to 100, such as 0.5; 0 for none";
    ReconcileRequests = "reconcile-requests" "N", Keep, Kind::Count(0, 1_000_000_000), Some("5000");
        "Requests a day, at most, to compare what is in the bucket with what should be; 0 for none";
    Concurrent = "concurrent" "N", Upload, Kind::Count(1, 10_000), Some("100");
        "Uploads at once, at most";
    MinUploadInterval = "min-upload-interval" "TIME", Upload, Kind::Duration(Duration::ZERO, DAY),
        Some("0s");
        "Least time between two uploads of one database. It lowers the bill; the price is that a \
         change may wait that long";
    PutBudget = "put-budget" "N", Upload, Kind::Count(1, 1_000_000_000_000), None;
        "Requests a month that cost what a PUT costs (uploads, their parts, listings, all else that is \
         written), at most; of each node of a fleet by itself. Uploads share what is left of them by how long their changes have waited. \
         Without it there is no limit";
    Check = "check" "LEVEL", Upload, Kind::Choice(&["off", "quick", "full"]), Some("quick");
        "How a capture is checked before its upload: off, quick (PRAGMA quick_check) or full (PRAGMA \
         integrity_check). A damaged one is stored marked";
    MemoryBudget = "memory-budget" "SIZE", Upload, Kind::Size(16 * MIB, 16 * TIB), Some("256MiB");
        "Bytes of captures held in memory, at most; larger databases are streamed";
    Scratch = "scratch" "DIR", Upload, Kind::Text, None;
        "A directory for what has to be copied before it can be read: crashed databases and such. \
         Created when it is not there. Default: ultrasimple-UID below $TMPDIR or /tmp";
    SpoolLimit = "spool-limit" "SIZE", Upload, Kind::Size(16 * MIB, 1_024 * TIB), Some("16GiB");
        "Bytes in -scratch, at most";
    Node = "node" "NAME", Node, Kind::Text, None;
        "The name of this node. Default: the host's name";
    Volume = "volume" "NAME[=DIR]", Node, Kind::Texts, Some("default");
        "The name of the storage that the databases are on; NAME=/directory for those below that \
         directory alone. Nodes of a fleet that mount the same storage call it by the same name. May be \
         repeated";
    Shards = "shards" "N", Node, Kind::Count(1, 65_536), Some("256");
        "In how many parts a volume is divided. Fixed by the first start on a bucket";
    Etcd = "etcd" "URL", Fleet, Kind::Texts, None;
        "Joins the fleet of this etcd, which splits the databases between its nodes: http:// or https://, \
         host and port, such as http://10.0.0.1:2379. May be repeated, for each member. Not used by \
         -dry-run";
    Cluster = "cluster" "NAME", Fleet, Kind::Text, Some("default");
        "The name of the fleet, where several share one etcd";
    Capacity = "capacity" "X", Fleet, Kind::Text, Some("1.0");
        "This node's share of the work, relative to that of others: 0.01 to 1000";
    LeaseTtl = "lease-ttl" "TIME", Fleet,
        Kind::Duration(Duration::from_secs(2), Duration::from_mins(5)), Some("10s");
        "How long etcd keeps a node that is not heard of; then others take its shards. Whole seconds";
    AllowUnfenced = "allow-unfenced" "", Fleet, Kind::Switch, None;
        "Join although the store does not honour conditional writes: then nothing keeps a node that was \
         paused for longer than its lease from replacing a newer backup with an older one";
    Advertise = "advertise" "URL", Fleet, Kind::Text, None;
        "Where others reach this node's -http, such as http://10.0.0.7:9810. Default: the address of \
         -http, or the host's name where that is every address";
    EtcdCa = "etcd-ca" "FILE", Fleet, Kind::Text, None;
        "Certificates (PEM) of who signs those of etcd, for https://";
    EtcdCert = "etcd-cert" "FILE", Fleet, Kind::Text, None;
        "This node's certificate for etcd (PEM), with -etcd-key";
    EtcdKey = "etcd-key" "FILE", Fleet, Kind::Text, None;
        "The key of -etcd-cert (PEM)";
    EtcdUser = "etcd-user" "NAME", Fleet, Kind::Text, None;
        "A user of etcd, with -etcd-password or -etcd-password-file";
    EtcdPassword = "etcd-password" "WORD", Fleet, Kind::Secret, None;
        "The password of -etcd-user. On the command line other users can see it; the variable or a file \
         is better";
    EtcdPasswordFile = "etcd-password-file" "FILE", Fleet, Kind::Text, None;
        "A file with nothing but the password of -etcd-user";
    Once = "once" "", Run, Kind::Switch, None;
        "Do one cycle to its end, then exit";
    DryRun = "dry-run" "", Run, Kind::Switch, None;
        "Say for each database what would be done and why, then exit. Writes nothing to a bucket, and \
         needs none";
    DrainTimeout = "drain-timeout" "TIME", Run, Kind::Duration(Duration::ZERO, DAY), Some("30s");
        "How long uploads may take to finish after SIGTERM or Ctrl-C";
    Http = "http" "ADDRESS", Run, Kind::Text, Some("127.0.0.1:9810");
        "Where the status page (/), /healthz, /readyz, /stats, /metrics and /api/v1 are served; 'off' for \
         nowhere, port 0 for any free port. An address that other hosts reach needs -http-token-file or -http-open. Not used by \
         -dry-run, and by -once only when given";
    HttpTokenFile = "http-token-file" "FILE", Run, Kind::Text, None;
        "A file with the token (16 characters or more) that whoever asks -http for anything but /healthz \
         and /readyz must send: 'Authorization: Bearer TOKEN', or in a browser as the password of any user. The same on \
         all nodes of a fleet";
    HttpOpen = "http-open" "", Run, Kind::Switch, None;
        "Anybody who reaches -http may read what it says, without a token, from other hosts, too";
    ExposureLimit = "exposure-limit" "TIME", Run, Kind::Duration(Duration::ZERO, DAY), Some("5m");
        "How long a change may wait before /readyz says that this node is not ready and its status page \
         warns; 0s for no limit. -min-upload-interval comes on top. A database that is at fault itself, \
         such as a damaged one, does not count";
    LogFormat = "log-format" "FORMAT", Run, Kind::Choice(&["text", "json"]), Some("text");
        "Form of the log on stderr: text or json. RUST_LOG sets what is logged";
    Config = "config" "FILE", Run, Kind::Text, None;
        "A TOML file with any of these settings, by their names without dashes in front";
}

impl Setting {
    /// The setting's one name: `min-upload-interval`. Also its key in the file.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// As a flag: `-min-upload-interval`.
    pub fn flag(self) -> String {
        format!("-{}", self.name())
    }

    /// As a variable: `ULTRASIMPLE_MIN_UPLOAD_INTERVAL`.
    pub fn variable(self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name().to_ascii_uppercase().replace('-', "_"))
    }

    /// The setting of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|setting| setting.name() == name)
    }

    /// What it takes.
    pub const fn kind(self) -> Kind {
        self.row().kind
    }

    /// Under which heading it belongs.
    pub const fn group(self) -> Group {
        self.row().group
    }

    /// What its value is called in the help; empty for a switch.
    pub const fn value_name(self) -> &'static str {
        self.row().value
    }

    /// The word that stands where nothing is given.
    pub const fn default_word(self) -> Option<&'static str> {
        self.row().default
    }

    /// What it is for, without a full stop at the end. Default and bounds are not in it, except where
    /// the default is not a word.
    pub const fn help(self) -> &'static str {
        self.row().help
    }

    /// Whether it is a switch, which takes no value on the command line.
    pub fn is_switch(self) -> bool {
        self.kind() == Kind::Switch
    }

    /// Whether its value is never printed.
    pub fn is_secret(self) -> bool {
        self.kind() == Kind::Secret
    }

    /// Whether it may be given several times.
    pub fn is_repeatable(self) -> bool {
        matches!(self.kind(), Kind::Patterns | Kind::Texts)
    }

    /// What would be right, for an error and for the help: `100ms to 1d`.
    pub fn expected(self) -> String {
        use super::words::{DurationText, SizeText};
        match self.kind() {
            Kind::Duration(min, max) => {
                format!("a time from {} to {}, such as 15s", DurationText(min), DurationText(max))
            }
            Kind::Size(min, max) => {
                format!("a size from {} to {}, such as 256MiB", SizeText(min), SizeText(max))
            }
            Kind::Count(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Choice(words) => words.join(" or "),
            Kind::Switch => "true or false".to_owned(),
            Kind::Text | Kind::Secret | Kind::Patterns | Kind::Texts => "a text".to_owned(),
        }
    }
}
