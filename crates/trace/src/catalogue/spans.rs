//! The spans, one by one. What each means is in its `meaning`, which is also in `docs/METRICS.md`.
#![expect(missing_docs, reason = "each says what it means")]

#[allow(clippy::wildcard_imports, reason = "they are made for this list")]
use super::attributes::*;
use super::{Attribute, By, Kind, SpanType};

const fn span(
    name: &'static str,
    parents: &'static [&'static str],
    attributes: &'static [&'static Attribute],
    meaning: &'static str,
) -> SpanType {
    SpanType {
        name,
        kind: Kind::Internal,
        by: By::Daemon,
        parents,
        is_root: parents.is_empty(),
        attributes,
        is_one_of_many: false,
        is_group: false,
        meaning,
    }
}

impl SpanType {
    const fn by(self, by: By) -> Self {
        Self { by, ..self }
    }

    const fn asks_others(self) -> Self {
        Self { kind: Kind::Client, ..self }
    }

    const fn one_of_many(self) -> Self {
        Self { is_one_of_many: true, ..self }
    }

    const fn or_alone(self) -> Self {
        Self { is_root: true, ..self }
    }

    const fn of_many(self) -> Self {
        Self { is_group: true, ..self }
    }
}

// A cycle

pub static CYCLE: SpanType = span(
    "cycle",
    &[],
    &[
        &DATABASES, &CHANGED, &PROBLEMS, &STORED, &UNCHANGED, &PENDING, &FAILING, &CHILDREN,
        &LEFT_OUT, &FAILED_LEFT_OUT, &ERROR_TYPE,
    ],
    "A cycle: from its beginning until all that it found was stored, or the next cycle was due. Its uploads may outlast \
     it.",
)
.of_many();
pub static SCAN: SpanType = span(
    "scan",
    &["cycle"],
    &[&DATABASES, &CHANGED, &PROBLEMS, &ERROR_TYPE],
    "The scan of all databases.",
);
pub static DISPATCH: SpanType = span(
    "dispatch",
    &["cycle"],
    &[&OFFERED, &ERROR_TYPE],
    "What the scan found is told to the shards' owners, who put what is to be backed up into the queue.",
);
pub static BACKUP: SpanType = span(
    "backup",
    &["cycle"],
    &[&FILE_PATH, &VOLUME, &SHARD, &EPOCH, &EXPOSURE, &OUTCOME, &ERROR_TYPE],
    "The upload of one database, from its turn until its owner knew how it ended. It belongs to the cycle in which it \
     began, which need not be the one that found the change.",
)
.one_of_many();
pub static CAPTURE: SpanType = span(
    "capture",
    &["backup"],
    &[&METHOD, &IMAGE_SIZE, &ERROR_TYPE],
    "Reading the database, the waits for its locks included.",
);
pub static CHECK: SpanType = span(
    "check",
    &["capture", "verification", "restore"],
    &[&LEVEL, &ERROR_TYPE],
    "Checking an image with SQLite, where that is wanted.",
)
.by(By::Both);
pub static COMPRESS: SpanType = span(
    "compress",
    &["backup", "put"],
    &[&IMAGE_SIZE, &ERROR_TYPE],
    "Hashing and compressing the image. That of a large one is compressed while it is sent, so that it waits for the \
     network.",
);
pub static PUT: SpanType = span(
    "put",
    &["backup"],
    &[&KEY, &S3_BUCKET, &S3_KEY, &SENT, &ERROR_TYPE],
    "Putting the object under its key, the look at what stood in its way included.",
)
.asks_others();
pub static COMMIT: SpanType = span(
    "commit",
    &["backup"],
    &[&ERROR_TYPE],
    "The owner takes the outcome in, the wait for its turn included.",
);

// Keeping the bucket

pub static TEND: SpanType = span(
    "tend",
    &["release"],
    &[
        &VOLUME, &SHARD, &EPOCH, &DATABASES, &CHILDREN, &LEFT_OUT, &FAILED_LEFT_OUT, &ERROR_TYPE,
    ],
    "What was due in a shard: its catalog is read, what changed is entered, retention and verification do their work, and \
     it is written.",
)
.of_many()
.or_alone();
pub static CATALOG: SpanType = span(
    "catalog",
    &["tend"],
    &[&KEY, &S3_BUCKET, &S3_KEY, &ERROR_TYPE],
    "Writing the catalog, on condition that nobody else did.",
)
.asks_others();
pub static RETENTION: SpanType = span(
    "retention",
    &["tend", "command"],
    &[&VOLUME, &SHARD, &DELETED, &NOT_DELETED, &UNPROVEN, &ERROR_TYPE],
    "Deleting what the rules give up in a shard, after a look at the footers.",
)
.by(By::Both);
pub static VERIFICATION: SpanType = span(
    "verification",
    &["tend", "command"],
    &[&KEY, &S3_BUCKET, &S3_KEY, &OUTCOME, &ERROR_TYPE],
    "Reading a backup back, and proving that it can be restored.",
)
.one_of_many()
.by(By::Both);
pub static DOWNLOAD: SpanType = span(
    "download",
    &["verification", "restore"],
    &[&KEY, &S3_BUCKET, &S3_KEY, &ERROR_TYPE],
    "Fetching a backup, unpacking it on the way, and comparing it with its footer.",
)
.asks_others()
.by(By::Both);

// Shards that come and go

pub static TAKE_OVER: SpanType = span(
    "take_over",
    &[],
    &[&CHILDREN, &LEFT_OUT, &FAILED_LEFT_OUT, &ERROR_TYPE],
    "Shards became this node's, at a start or when others gave them back or died.",
)
.of_many();
pub static CLAIM: SpanType = span(
    "claim",
    &["take_over"],
    &[&VOLUME, &SHARD, &EPOCH, &DATABASES, &ERROR_TYPE],
    "Taking over one of them: its catalog is read. Before, nothing of it is backed up.",
)
.one_of_many();
pub static GIVE_BACK: SpanType = span(
    "give_back",
    &[],
    &[&CHILDREN, &LEFT_OUT, &FAILED_LEFT_OUT, &ERROR_TYPE],
    "Shards are to go to other nodes, or the daemon stops.",
)
.of_many();
pub static HAND_OVER: SpanType = span(
    "hand_over",
    &["give_back"],
    &[&VOLUME, &SHARD, &EPOCH, &ERROR_TYPE],
    "Giving one of them back, from the decision until the claim is gone.",
)
.one_of_many();
pub static RELEASE: SpanType = span(
    "release",
    &["hand_over"],
    &[&ERROR_TYPE],
    "Ending what is in flight in it, and writing its catalog for the last time.",
);

// By hand

pub static RUN: SpanType = span(
    "command",
    &[],
    &[&COMMAND, &CHILDREN, &LEFT_OUT, &FAILED_LEFT_OUT, &ERROR_TYPE],
    "A run of `ultrasimple-ctl`.",
)
.of_many()
.by(By::Tool);
pub static RESTORE: SpanType = span(
    "restore",
    &["command"],
    &[&FILE_PATH, &IMAGE_SIZE, &ERROR_TYPE],
    "Restoring one database; `file.path` is where to.",
)
.one_of_many()
.by(By::Tool);

/// All of them.
pub const SPANS: &[&SpanType] = &[
    &CYCLE,
    &SCAN,
    &DISPATCH,
    &BACKUP,
    &CAPTURE,
    &CHECK,
    &COMPRESS,
    &PUT,
    &COMMIT,
    &TEND,
    &CATALOG,
    &RETENTION,
    &VERIFICATION,
    &DOWNLOAD,
    &TAKE_OVER,
    &CLAIM,
    &GIVE_BACK,
    &HAND_OVER,
    &RELEASE,
    &RUN,
    &RESTORE,
];
