//! Who owns which shard.
//!
//! ```text
//!            etcd ◀──requests── driver ◀──actions── Ownership (pure) ──▶ Membership ──▶ the replicator
//!                 ──replies,──▶ (etcd, ──events───▶                  ◀──── reports ────
//!                   watch        alone)
//! ```
//!
//! [`ownership`] decides, without I/O; [`placement`] says who should own what; [`records`] are what is stored in
//! etcd. A driver ([`alone`] for one node, [`etcd`] for a fleet) does what the state machine says and tells it what
//! happened. The replicator sees nothing of this but a [`Membership`].

pub mod alone;
pub mod etcd;
pub mod membership;
pub mod ownership;
pub mod placement;
pub mod records;

pub use membership::{
    Assignment, Assignments, Grant, Halted, Lease, Membership, Phase, Report, Sighting,
};
