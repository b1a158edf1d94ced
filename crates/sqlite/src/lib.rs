//! Reads consistent images out of live SQLite databases without touching them, checks them, and puts
//! restored ones in place.
//!
//! The only crate that links SQLite. All of it is synchronous and may block: call it from worker
//! threads. A [`Capturer`] takes captures; [`check_file`] proves a restored file; [`Installation`]
//! puts one in place. [`fingerprint`] and [`stat_at`] are what the scanner is made of.
//!
//! How a database is read depends on its state; `plan.rs` has the table, and `seal.rs` is why nothing of
//! it can write to the user's directories (R1).

pub mod stat;

mod capture;
mod check;
mod error;
mod image;
mod plain;
mod plan;
mod restore;
mod scratch;
mod scratch_file;
mod seal;
mod source;
mod turn;

pub use capture::{Capture, CaptureOptions, Capturer, Method};
pub use check::{CheckError, CheckLevel, check_file};
pub use error::CaptureError;
pub use image::{Image, ImageReader};
pub use restore::{InstallOptions, Installation, RestoreError, sync_directory};
pub use scratch_file::ScratchFile;
pub use stat::{
    FileKind, FilesystemKind, Follow, Freshness, Stat, filesystem_kind, fingerprint, stat_at,
    timestamp_tick,
};
