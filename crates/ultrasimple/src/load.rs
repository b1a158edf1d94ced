//! Gathers the settings: flags, variables, the file, and what the checks want to know of the host.

use std::ffi::OsString;
use std::path::PathBuf;

use ultrasimple_command_line::layers;
use ultrasimple_core::config::{Context, Problem, Problems, RawSettings, Settings};

/// The checked settings.
///
/// # Errors
/// With everything that is wrong.
pub(crate) fn settings(
    flags: RawSettings,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    context: &Context,
) -> Result<Settings, Problems> {
    let raw = layers::gather(flags, variables);
    Settings::check(&raw, context)
}

/// This host, as the checks see it.
///
/// # Errors
/// When there is no current directory (it was deleted).
pub(crate) fn context() -> Result<Context, Problems> {
    let current_directory = std::env::current_dir().map_err(|error| {
        Problem::other(format!("cannot tell the current directory: {error}; change to another"))
    })?;
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let temp_directory = std::env::var_os("TMPDIR").filter(|value| !value.is_empty());
    Ok(Context {
        current_directory,
        temp_directory: temp_directory.map_or_else(|| "/tmp".into(), PathBuf::from),
        user: rustix::process::geteuid().as_raw(),
        host_name,
        read_bucket: layers::read_bucket,
    })
}
