//! What spans can say, one by one. What each means is in its `meaning`, which is also in `docs/METRICS.md`.
#![expect(missing_docs, reason = "each says what it means")]

use super::Attribute;

const fn attribute(name: &'static str, meaning: &'static str) -> Attribute {
    Attribute { name, meaning }
}

pub static ERROR_TYPE: Attribute = attribute(
    "error.type",
    "Of a span that failed: the word for the reason, which the log and the metrics have, too. The span's status has \
     the reason in full.",
);
pub static FILE_PATH: Attribute =
    attribute("file.path", "The database's file, as the pattern found it.");
pub static S3_BUCKET: Attribute = attribute("aws.s3.bucket", "The bucket, where it is one of S3.");
pub static S3_KEY: Attribute =
    attribute("aws.s3.key", "The whole key of the object, where it is in S3.");

pub static KEY: Attribute =
    attribute("ultrasimple.key", "The key of the object, without the store's prefix.");
pub static VOLUME: Attribute = attribute("ultrasimple.volume", "The volume.");
pub static SHARD: Attribute = attribute("ultrasimple.shard", "The number of the shard.");
pub static EPOCH: Attribute = attribute("ultrasimple.epoch", "The epoch of the shard's owner.");
pub static OUTCOME: Attribute =
    attribute("ultrasimple.outcome", "How it ended, in a word that the metrics have, too.");
pub static EXPOSURE: Attribute = attribute(
    "ultrasimple.exposure",
    "How long the change had been waiting when its upload began, in seconds.",
);
pub static METHOD: Attribute = attribute(
    "ultrasimple.capture.method",
    "How the database was read: `live`, `plain`, `recovered_wal`, `rolled_back` or `salvaged`.",
);
pub static LEVEL: Attribute =
    attribute("ultrasimple.check.level", "What was checked: `off`, `quick` or `full`.");
pub static IMAGE_SIZE: Attribute =
    attribute("ultrasimple.image.size", "Bytes of the database's image.");
pub static SENT: Attribute =
    attribute("ultrasimple.sent", "Bytes sent; 0 where the bucket had the same content.");

pub static DATABASES: Attribute =
    attribute("ultrasimple.databases", "Databases of this node, or of the shard.");
pub static CHANGED: Attribute =
    attribute("ultrasimple.changed", "Databases that the scan found new or changed.");
pub static PROBLEMS: Attribute =
    attribute("ultrasimple.problems", "Places that the scan could not look at.");
pub static OFFERED: Attribute =
    attribute("ultrasimple.offered", "Databases that were put into the queue.");
pub static STORED: Attribute =
    attribute("ultrasimple.stored", "Backups stored since the end of the cycle before.");
pub static UNCHANGED: Attribute = attribute(
    "ultrasimple.unchanged",
    "Captures since then that had the content of the last backup.",
);
pub static PENDING: Attribute = attribute(
    "ultrasimple.pending",
    "Databases with a change that the bucket did not have yet at the end.",
);
pub static FAILING: Attribute =
    attribute("ultrasimple.failing", "Databases that were failing at the end.");

pub static CHILDREN: Attribute = attribute(
    "ultrasimple.children",
    "Spans within it of which only a part is told: how many there were. The span itself is told when the last of them \
     has ended.",
);
pub static LEFT_OUT: Attribute =
    attribute("ultrasimple.children.left_out", "How many of these are not told.");
pub static FAILED_LEFT_OUT: Attribute = attribute(
    "ultrasimple.children.failed_left_out",
    "How many of those that are not told failed, all for a reason of which one is told.",
);

pub static DELETED: Attribute = attribute("ultrasimple.retention.deleted", "Backups deleted.");
pub static NOT_DELETED: Attribute = attribute(
    "ultrasimple.retention.failed",
    "Backups that could not be deleted now, and will be tried again.",
);
pub static UNPROVEN: Attribute = attribute(
    "ultrasimple.retention.unproven",
    "Objects that are not provably a backup of their database, and are left alone.",
);
pub static COMMAND: Attribute =
    attribute("ultrasimple.command", "Which command: `restore`, `verify` or `prune`.");

/// All of them.
pub const ATTRIBUTES: &[&Attribute] = &[
    &ERROR_TYPE,
    &FILE_PATH,
    &S3_BUCKET,
    &S3_KEY,
    &KEY,
    &VOLUME,
    &SHARD,
    &EPOCH,
    &OUTCOME,
    &EXPOSURE,
    &METHOD,
    &LEVEL,
    &IMAGE_SIZE,
    &SENT,
    &DATABASES,
    &CHANGED,
    &PROBLEMS,
    &OFFERED,
    &STORED,
    &UNCHANGED,
    &PENDING,
    &FAILING,
    &CHILDREN,
    &LEFT_OUT,
    &FAILED_LEFT_OUT,
    &DELETED,
    &NOT_DELETED,
    &UNPROVEN,
    &COMMAND,
];
