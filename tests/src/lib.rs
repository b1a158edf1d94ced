//! What the black-box tests share: the built programs, a bucket to look into, a folder to work in.
//!
//! The tests run `ultrasimple` and `ultrasimple-ctl` as a user does and judge by what comes out: exit
//! statuses, logs, `/stats`, the bucket's objects, restored files. Nothing here knows the programs'
//! insides; of our crates only the store is used, as the S3 client that copies a bucket to a folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "for tests only: they fail by panicking"
)]

mod bucket;
mod daemon;
mod fleet;
pub mod prometheus;
mod proxy;
mod recorded;
mod run;
mod turned_clock;
mod unpack;
mod yard;

pub use bucket::Bucket;
pub use daemon::Daemon;
pub use fleet::{Fleet, FleetNode, INTERVAL, LEASE, Owners, moved};
pub use proxy::Proxy;
pub use recorded::{Recorded, Written};
pub use run::{DEADLINE, Ran, clean, eventually, program, run};
pub use turned_clock::TurnedClock;
pub use ultrasimple_testkit::mount::{Mount, is_root};
pub use unpack::{copy_tree, dump, sqlite3, unpack};
pub use yard::{Yard, keep_clear_of_the_hour};
