//! Joining a fleet: what this node says of itself, and which stores it may do that with.
//!
//! Who owns what is decided in [`ultrasimple_cluster`]; here are the host and the bucket as this node finds them.

mod address;
mod fences;
mod mounts;
