//! The words of the replicator: what every other crate speaks in.
//!
//! Ids, fingerprints, hours, keys and templates, the form of a stored backup, patterns, placement, the
//! retention plan and configuration. Pure values and pure functions: nothing here does I/O, reads a clock
//! or throws dice (time comes in through [`clock::Clock`]).

pub mod catalog;
pub mod clock;
pub mod cluster_file;
pub mod config;
pub mod etag;
pub mod fingerprint;
pub mod footer;
pub mod hold;
pub mod hour;
pub mod ids;
pub mod key;
pub mod object;
pub mod path;
pub mod pattern;
pub mod placement;
pub mod retention;
pub mod template;
pub mod volumes;

pub use catalog::{Catalog, ShardKey};
pub use clock::{Clock, SystemClock};
pub use config::CheckLevel;
pub use etag::ETag;
pub use fingerprint::{FileStamp, Fingerprint, FingerprintDigest};
pub use footer::{CheckResult, ContentHash, Footer, ShortHash};
pub use hour::Hour;
pub use ids::{ClusterName, Epoch, InvalidName, NodeName, ShardId, VolumeName};
pub use jiff::Timestamp;
pub use key::{BackupKey, KeyStem, ObjectKey};
pub use path::SourcePath;
pub use retention::RetentionRules;
pub use volumes::{Place, Volume, Volumes};
