//! Gathers the settings: flags, variables, the file, and what the checks want to know of the host.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use ultrasimple_core::config::{Context, Problem, Problems, RawSettings, Setting, Settings};

use crate::store;

/// Far more than all settings can need; a greater file is some other file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The checked settings.
///
/// # Errors
/// With everything that is wrong.
pub(crate) fn settings(
    flags: RawSettings,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    context: &Context,
) -> Result<Settings, Problems> {
    let mut raw = flags.over(RawSettings::from_variables(variables));
    let named = raw.config_file().map(|(origin, path)| (origin.clone(), path.to_owned()));
    if let Some((origin, path)) = named {
        match read(&path) {
            Ok(text) => raw = raw.over(RawSettings::from_file(&path, &text)),
            Err(error) => {
                let why = format!("cannot read this file: {error}");
                raw.problem(Problem::value(Setting::Config, &origin, &path, why));
            }
        }
    }
    Settings::check(&raw, context)
}

fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let bytes = File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if bytes as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
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
        read_bucket: store::read_bucket,
    })
}
