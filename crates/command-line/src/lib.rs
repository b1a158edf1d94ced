//! What the command lines of the two programs have in common, so that one file, one environment and one way
//! of writing flags serve both.
//!
//! [`argv`]: one dash or two. [`daemon`]: the daemon's flags. [`layers`]: flag beats variable beats file. [`etcd`] and
//! [`secrets`]: files that settings name. What the settings are called and
//! which values they take is core's ([`ultrasimple_core::config`]).

pub mod argv;
pub mod daemon;
pub mod etcd;
pub mod layers;
pub mod secrets;
