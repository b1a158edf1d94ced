//! The keeper over a real store, and over one that fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod catalogs;
mod faulty;
mod holds;
mod prune;
mod prune_properties;
mod rebuild;
mod reconcile;
mod reconcile_properties;
mod verify;
mod world;
