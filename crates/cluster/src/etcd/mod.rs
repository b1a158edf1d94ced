//! The driver for a fleet: [`crate::ownership`] on a real etcd. Nothing else knows etcd.
//!
//! ```text
//! connect ──▶ Etcd ──▶ fleet_name ──▶ (the bucket is taken) ──▶ join ──▶ Membership
//!                └──▶ state, drain, undrain: for operators
//! ```
//!
//! `connection` has the members and turns from one that does not answer to the next; `requests` is what is asked of
//! them, `watch` what they tell; `agreement` who may join; `driver` runs the state machine.

mod agreement;
mod connection;
mod driver;
mod error;
mod join;
mod keys;
mod operator;
mod requests;
mod settings;
mod watch;

pub use agreement::differences;
pub use connection::Etcd;
pub use driver::{GenerationSource, NoGeneration};
pub use error::EtcdError;
pub use join::{JoinOptions, join};
pub use operator::{FleetState, LeaseState};
pub use settings::EtcdSettings;
