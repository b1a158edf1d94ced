//! Keeps what is in the bucket: catalogs, holds, retention, verification, reconciliation.
//!
//! All that is done to the bucket besides storing backups, by the daemon's shard owners and by the operator's
//! tool alike: reading and writing [`catalogs`], placing and reading [`holds`], deleting what retention gives
//! up ([`mod@prune`]), reading backups back to prove them ([`mod@verify`]), and comparing the catalogs with the
//! objects ([`reconcile`], [`rebuild`]). The decisions are `core`'s; when something is done is the caller's.
//!
//! Nothing here trusts a catalog over the objects: before a deletion the footers are read (R4, R11).

pub mod catalogs;
pub mod holds;
mod identity;
pub mod prune;
pub mod rebuild;
pub mod reconcile;
pub mod verify;

pub use catalogs::{Author, Loaded, ReadError, UpdateError};
pub use holds::Holds;
pub use prune::{PruneReport, ShardPlan};
pub use verify::{Verdict, Verified};
