//! The driver on a real etcd: nodes in this process, members of etcd in their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod agreement;
mod faults;
mod fleet;
mod moves;
mod operator;
mod security;
