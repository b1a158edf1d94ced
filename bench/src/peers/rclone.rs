//! rclone and s5cmd: they copy files to a bucket as they are, and rclone tells what a bucket holds.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use ultrasimple_testkit::process::clean_command;
use ultrasimple_testkit::seaweed::{ADMIN, SeaweedFs};

use crate::peers;

/// Where rclone's remote is known as.
const REMOTE: &str = "bench";

/// rclone, which knows the server as a remote. It reads no file of settings.
pub(crate) fn rclone(store: &SeaweedFs) -> Result<Command> {
    let mut command = clean_command(peers::program("rclone")?);
    command.env("RCLONE_CONFIG", "/dev/null");
    for (setting, value) in [
        ("TYPE", "s3"),
        ("PROVIDER", "SeaweedFS"),
        ("ACCESS_KEY_ID", ADMIN.access_key),
        ("SECRET_ACCESS_KEY", ADMIN.secret_key),
        ("ENDPOINT", &store.endpoint()),
        ("FORCE_PATH_STYLE", "true"),
        ("NO_CHECK_BUCKET", "true"),
    ] {
        command.env(format!("RCLONE_CONFIG_{}_{setting}", REMOTE.to_uppercase()), value);
    }
    Ok(command)
}

/// A bucket, as rclone calls it.
pub(crate) fn remote(bucket: &str) -> String {
    format!("{REMOTE}:{bucket}")
}

/// Copies all files below a folder to a bucket.
pub(crate) fn copy(store: &SeaweedFs, data: &Path, bucket: &str, more: &[&str]) -> Result<Command> {
    let mut command = rclone(store)?;
    command.arg("copy").args(more).arg(data).arg(remote(bucket));
    Ok(command)
}

/// The same by s5cmd, with its defaults.
pub(crate) fn s5cmd(store: &SeaweedFs, data: &Path, bucket: &str) -> Result<Command> {
    let mut command = peers::of_aws(clean_command(peers::program("s5cmd")?));
    command.args(["--log", "error", "--endpoint-url", &store.endpoint(), "cp"]);
    command.arg(format!("{}/", data.display())).arg(format!("s3://{bucket}/"));
    Ok(command)
}

/// The keys in a bucket.
pub(crate) fn keys(store: &SeaweedFs, bucket: &str) -> Result<Vec<String>> {
    let mut command = rclone(store)?;
    let told = peers::run(command.args([
        "lsf",
        "--recursive",
        "--files-only",
        "--fast-list",
        &remote(bucket),
    ]))?;
    Ok(told.lines().map(str::to_owned).collect())
}

/// How many databases a bucket has something of: each program has the number of the database in its keys, between
/// two slashes or before what it appends.
pub(crate) fn databases(store: &SeaweedFs, bucket: &str) -> Result<usize> {
    let keys = keys(store, bucket)?;
    let numbers: BTreeSet<u32> = keys.iter().filter_map(|key| number(key)).collect();
    Ok(numbers.len())
}

fn number(key: &str) -> Option<u32> {
    if key.starts_with(".ultrasimple/") {
        return None;
    }
    key.split('/').find_map(|component| {
        let stem = component.split(['.', '-']).next()?;
        let number = stem.parse::<u32>().ok()?;
        // `00007` is a folder of databases or what a program counts.
        (number.to_string() == stem).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_the_database() {
        for (key, wanted) in [
            ("00001/1234.db", Some(1_234)),
            ("00001/1234/1234-20240115-140000.db.lz4", Some(1_234)),
            ("databases/00001/1234.db/0000/0000000000000001-0000000000000001.ltx", Some(1_234)),
            ("1234/0000/0000000000000001.hadbp", Some(1_234)),
            (".ultrasimple/v1/catalog/default/7.jsonl.lz4", None),
        ] {
            assert_eq!(number(key), wanted, "{key}");
        }
    }
}
