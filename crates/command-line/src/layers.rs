//! From flags, variables and the file to one set of raw settings.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use ultrasimple_core::config::{Problem, RawSettings, Setting};
use ultrasimple_store::Location;

/// Far more than all settings can need; a greater file is some other file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Puts the variables below the flags, and the file that one of them names below both. What is wrong with
/// the file is told when the settings are checked.
pub fn gather(
    flags: RawSettings,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> RawSettings {
    let mut raw = flags.over(RawSettings::from_variables(variables));
    let named = raw.config_file().map(|(origin, path)| (origin.clone(), path.to_owned()));
    let Some((origin, path)) = named else { return raw };
    match read(&path) {
        Ok(text) => raw.over(RawSettings::from_file(&path, &text)),
        Err(error) => {
            let why = format!("cannot read this file: {error}");
            raw.problem(Problem::value(Setting::Config, &origin, &path, why));
            raw
        }
    }
}

fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let bytes = File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if bytes as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
}

/// What `-bucket` takes: the directory, when it is one.
///
/// # Errors
/// Why it does not do.
pub fn read_bucket(word: &str) -> Result<Option<PathBuf>, String> {
    match word.parse::<Location>() {
        Ok(Location::Directory(path)) => Ok(Some(path)),
        Ok(Location::S3 { .. }) => Ok(None),
        Err(error) => Err(error.reason),
    }
}
