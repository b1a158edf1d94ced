//! Configuration in two stages.
//!
//! Stage one, [`RawSettings`]: the words as they were given, by flag, variable or file, each with where
//! it came from. Stage two, [`Settings`]: checked values, grouped by component. [`Setting`] is the one
//! table of names, help texts, defaults and bounds; the daemon builds its flags from it.
//!
//! Nothing here does I/O: whoever calls reads the file and the environment, and says in [`Context`]
//! what the host is like. All problems are reported at once ([`Problems`]).

mod check;
mod file;
mod places;
mod problem;
mod raw;
mod settings;
mod table;
mod words;

pub use check::Context;
pub use problem::{Problem, Problems, nearest};
pub use raw::{Origin, RawSettings};
pub use settings::{
    Bucket, CheckLevel, Credentials, EtcdIdentity, EtcdLogin, FleetSettings, HttpSettings,
    KeepSettings, LogFormat, LogSettings, NodeSettings, Password, RunMode, ScanSettings, Secret,
    Settings, StoreSettings, UploadSettings,
};
pub use table::{Group, Kind, Setting, VARIABLE_PREFIX};
pub use words::{
    Capacity, DurationText, InvalidCapacity, InvalidVerifyPercent, SizeText, VerifyPercent,
};

#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;
