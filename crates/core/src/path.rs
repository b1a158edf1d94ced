//! The path of a database as bytes, and the one way in which bytes are written into text.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are never written as they are: controls, `%` itself (so that the encoding can be undone),
/// and all that is not ASCII (handled apart: valid UTF-8 stays readable in [`encode`]).
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Writes `bytes` as readable text: valid UTF-8 stays, controls, `%` and invalid bytes become `%XX`.
/// Injective, and undone by [`decode`].
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '%' {
                let mut buffer = [0; 4];
                let encoded = c.encode_utf8(&mut buffer).bytes();
                encoded.for_each(|b| push_escaped(&mut text, b));
            } else {
                text.push(c);
            }
        }
        chunk.invalid().iter().for_each(|&b| push_escaped(&mut text, b));
    }
    text
}

fn push_escaped(text: &mut String, byte: u8) {
    text.push_str(percent_encoding::percent_encode_byte(byte));
}

/// Undoes [`encode`].
pub fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// A component without a trailing `.db`, where that leaves anything.
pub fn without_db(component: &[u8]) -> &[u8] {
    match component.strip_suffix(b".db") {
        Some(stem) if !stem.is_empty() => stem,
        _ => component,
    }
}

/// The last component of a path, without a trailing `.db`.
pub(crate) fn name(path: &[u8]) -> &[u8] {
    let last = path.rsplit(|&byte| byte == b'/').find(|component| !component.is_empty());
    without_db(last.unwrap_or_default())
}

/// The absolute path of a database, as the bytes the file system knows.
///
/// In JSON it is percent-encoded ASCII-safe text; `Display` shows readable text in which controls and
/// invalid UTF-8 are escaped, so that one path is always one line of a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePath(Box<[u8]>);

impl SourcePath {
    /// Takes the path as it is. Callers pass absolute paths.
    pub fn new(path: &Path) -> Self {
        Self::from_bytes(path.as_os_str().as_bytes())
    }

    /// Takes the path's bytes as they are.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last part of the keys of its backups: the file's name without a trailing `.db`, [`encode`]d.
    pub fn key_name(&self) -> String {
        encode(name(&self.0))
    }

    /// The path, to open it.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The path, owned.
    pub fn to_path_buf(&self) -> PathBuf {
        PathBuf::from(std::ffi::OsString::from_vec(self.0.to_vec()))
    }
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&encode(&self.0), f)
    }
}

impl Serialize for SourcePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&percent_encode(&self.0, ESCAPED))
    }
}

impl<'de> Deserialize<'de> for SourcePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(decode(&text).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_readable_and_one_line() {
        for (bytes, text) in [
            (&b"/data/a b.db"[..], "/data/a b.db"),
            ("/data/zo\u{eb}.db".as_bytes(), "/data/zoë.db"),
            (b"/data/a\nb.db", "/data/a%0Ab.db"),
            (b"/data/100%.db", "/data/100%25.db"),
            (b"/data/\xff.db", "/data/%FF.db"),
            ("/data/\u{85}.db".as_bytes(), "/data/%C2%85.db"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(SourcePath::from_bytes(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn encoding_can_be_undone(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), bytes.clone());
            let path = SourcePath::from_bytes(&bytes);
            let json = serde_json::to_string(&path).unwrap();
            prop_assert!(json.is_ascii());
            prop_assert_eq!(serde_json::from_str::<SourcePath>(&json).unwrap(), path);
        }
    }
}
