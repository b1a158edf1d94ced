//! The fleet, as it is now: what etcd says, and what each node says of itself.
//!
//! ```text
//! with -etcd:    etcd ──▶ who lives, who owns what ──▶ each node's HTTP, all at once ──▶ rows
//! without:       the HTTP of the one daemon (-http), where it answers; else the bucket
//! ```
//!
//! A node that does not answer leaves blanks in the rows, nothing more. `ultrasimple-peers` asks nodes, [`source`] gathers,
//! [`shards`], [`nodes`] and [`glance`] make rows of it, purely; [`drain`] is the one command that changes something.

pub(crate) mod drain;
pub(crate) mod glance;
pub(crate) mod nodes;
pub(crate) mod shards;
pub(crate) mod source;
pub(crate) mod watch;
