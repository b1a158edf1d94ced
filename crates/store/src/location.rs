//! What `-bucket` takes, read and checked: `NAME`, `s3://NAME/prefix` or `file:///dir`.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, PathBuf};
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

use crate::Location;

/// What must be escaped in the path of a `file:` URL for it to be read back the same.
const PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#').add(b'"').add(b'<').add(b'>');
/// Leaves half of a key's 1,024 bytes to the keys themselves.
const MAX_PREFIX_BYTES: usize = 512;

/// Why a text is not a location; names the flag, the value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("-bucket {value:?}: {reason}")]
pub struct InvalidLocation {
    /// What was given.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(value: &str) -> Result<Self, InvalidLocation> {
        parse(value).map_err(|reason| InvalidLocation { value: value.to_owned(), reason })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Directory(path) => {
                write!(f, "file://{}", percent_encode(path.as_os_str().as_bytes(), PATH))
            }
        }
    }
}

fn parse(value: &str) -> Result<Location, String> {
    if let Some(path) = value.strip_prefix("file:") {
        return directory(path).map(Location::Directory);
    }
    let (bucket, prefix) = match value.split_once("://") {
        Some(("s3", rest)) => rest.split_once('/').unwrap_or((rest, "")),
        Some(("http" | "https", _)) => {
            return Err(
                "this is an address: give it as -endpoint-url, and the bucket's name here \
                        (NAME or s3://NAME/prefix)"
                    .to_owned(),
            );
        }
        Some((scheme, _)) => {
            return Err(format!(
                "unknown scheme {scheme:?}: give NAME, s3://NAME/prefix or file:///dir"
            ));
        }
        None if value.starts_with(['/', '.', '~']) => {
            return Err("for a directory give file:///dir, with its absolute path".to_owned());
        }
        None => match value.split_once('/') {
            None => (value, ""),
            Some((bucket, prefix)) => {
                return Err(format!("for a prefix in a bucket give s3://{bucket}/{prefix}"));
            }
        },
    };
    check_bucket(bucket)?;
    Ok(Location::S3 { bucket: bucket.to_owned(), prefix: normalised_prefix(prefix)? })
}

/// The naming rules of S3 buckets, which its imitators share.
fn check_bucket(name: &str) -> Result<(), String> {
    let wrong = |what: &str| {
        Err(format!(
            "{name:?} is not a bucket's name: {what}; a name has 3 to 63 of the characters a-z, 0-9, \
             '-' and '.', and begins and ends with a letter or digit"
        ))
    };
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    if name.is_empty() {
        return wrong("it is empty");
    }
    if !(3..=63).contains(&bytes.len()) {
        return wrong(&format!("it has {} characters", bytes.len()));
    }
    if let Some(other) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')) {
        return wrong(&format!("it contains {other:?}"));
    }
    if !bytes.first().is_some_and(plain) || !bytes.last().is_some_and(plain) {
        return wrong("it begins or ends with '-' or '.'");
    }
    if name.contains("..") {
        return wrong("it contains '..'");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return wrong("it looks like an IP address");
    }
    Ok(())
}

/// Without leading, trailing and doubled slashes.
fn normalised_prefix(prefix: &str) -> Result<String, String> {
    let mut components = Vec::new();
    for component in prefix.split('/') {
        match component {
            "" => {}
            "." | ".." => return Err(format!("the prefix {prefix:?} contains '{component}'")),
            ultrasimple_core::key::RESERVED => {
                return Err(format!(
                    "the prefix {prefix:?} is inside '{component}', which is the replicator's own \
                     folder: give what is before it"
                ));
            }
            _ if component.chars().any(char::is_control) => {
                return Err(format!("the prefix {prefix:?} contains a control character"));
            }
            _ => components.push(component),
        }
    }
    let prefix = components.join("/");
    if prefix.len() > MAX_PREFIX_BYTES {
        let bytes = prefix.len();
        return Err(format!(
            "the prefix has {bytes} bytes; at most {MAX_PREFIX_BYTES} are possible"
        ));
    }
    Ok(prefix)
}

fn directory(rest: &str) -> Result<PathBuf, String> {
    // file:///dir and file:/dir; no host but this one.
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").filter(|p| p.starts_with('/')).unwrap_or(rest),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(format!(
            "the path is not absolute: give file:///{}",
            path.trim_start_matches("./")
        ));
    }
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    if bytes.contains(&0) {
        return Err("the path contains a zero byte".to_owned());
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    if path.components().any(|component| component == Component::ParentDir) {
        return Err("the path contains '..': give it without".to_owned());
    }
    if path.components().count() == 1 {
        return Err(
            "the file system's root is no place for backups: give a directory in it".to_owned()
        );
    }
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s3(bucket: &str, prefix: &str) -> Location {
        Location::S3 { bucket: bucket.into(), prefix: prefix.into() }
    }

    #[test]
    fn what_is_taken() {
        for (text, location) in [
            ("backups", s3("backups", "")),
            ("my.bucket-1", s3("my.bucket-1", "")),
            ("s3://backups", s3("backups", "")),
            ("s3://backups/", s3("backups", "")),
            ("s3://backups/a/b", s3("backups", "a/b")),
            ("s3://backups//a//b/", s3("backups", "a/b")),
            ("s3://backups/50%/é", s3("backups", "50%/é")),
            ("file:///srv/backups", Location::Directory("/srv/backups".into())),
            ("file:///srv/backups/", Location::Directory("/srv/backups".into())),
            ("file:///srv//./b", Location::Directory("/srv/b".into())),
            ("file:/srv/backups", Location::Directory("/srv/backups".into())),
            ("file://localhost/srv", Location::Directory("/srv".into())),
            ("file:///srv/my%20backups%25", Location::Directory("/srv/my backups%".into())),
        ] {
            assert_eq!(text.parse::<Location>().as_ref(), Ok(&location), "{text}");
        }
    }

    #[test]
    fn what_is_refused_and_with_which_help() {
        for (text, help) in [
            ("", "it is empty"),
            ("s3://", "it is empty"),
            ("s3:///prefix", "it is empty"),
            ("ab", "it has 2 characters"),
            ("My-Bucket", "contains 'M'"),
            ("my_bucket", "contains '_'"),
            ("-bucket", "begins or ends"),
            ("a..b", "contains '..'"),
            ("10.0.0.1", "IP address"),
            ("bucket/prefix", "give s3://bucket/prefix"),
            ("https://host/bucket", "-endpoint-url"),
            ("gs://bucket", "unknown scheme \"gs\""),
            ("/srv/backups", "file:///dir"),
            ("./backups", "file:///dir"),
            ("file://relative/dir", "give file:///relative/dir"),
            ("file:relative", "give file:///relative"),
            ("file:///srv/../etc", "'..'"),
            ("file:///srv/%00", "zero byte"),
            ("file:///", "root"),
            ("s3://bucket/a/../b", "contains '..'"),
            ("s3://bucket/.ultrasimple/v1", "own folder"),
            ("s3://bucket/a\tb", "control character"),
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(help), "{text}: {error}");
            assert!(error.starts_with("-bucket "), "{error}");
        }
        let long = format!("s3://bucket/{}", "p".repeat(513)).parse::<Location>().unwrap_err();
        assert!(long.reason.contains("513 bytes"), "{long}");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(path in prop::collection::vec("[^/\0]{1,8}", 1..4)) {
            let path = format!("/{}", path.join("/"));
            prop_assume!(!path.split('/').any(|part| part == ".." || part == "."));
            let location = Location::Directory(path.into());
            prop_assert_eq!(location.to_string().parse(), Ok(location));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = text.parse::<Location>();
        }
    }
}
