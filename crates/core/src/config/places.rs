//! Words that name a place: patterns, directories, addresses, names of hosts.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use glob::Pattern as Glob;

use crate::pattern::{PatternSet, Reach};

/// Refuses `~`, which shells expand and we do not.
pub(super) fn no_tilde(word: &str) -> Result<&str, String> {
    match word.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            Err(format!("'~' is not expanded here: write \"$HOME{rest}\""))
        }
        _ => Ok(word),
    }
}

/// Makes a pattern absolute: `./` and `../` in front are taken from the current directory, whose name is
/// meant literally.
pub(super) fn absolute_pattern(word: &str, current: &Path) -> Result<String, String> {
    let mut rest = no_tilde(word)?;
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    if rest.starts_with('/') {
        return Ok(rest.to_owned());
    }
    let mut directory = current;
    loop {
        if let Some(below) = rest.strip_prefix("./") {
            rest = below.trim_start_matches('/');
        } else if let Some(above) = rest.strip_prefix("../") {
            rest = above.trim_start_matches('/');
            directory = directory.parent().unwrap_or(directory);
        } else {
            break;
        }
    }
    let directory = directory.to_str().ok_or_else(|| {
        let shown = current.display();
        format!("the current directory {shown} is not UTF-8: write a pattern that begins with '/'")
    })?;
    let literal = Glob::escape(directory.trim_end_matches('/')).replace('{', "[{]");
    Ok(format!("{literal}/{rest}"))
}

/// Whether a pattern might match something below `directory`.
pub(super) fn may_match_below(patterns: &PatternSet, directory: &Path) -> bool {
    !reach_of(patterns, directory).is_empty()
}

/// Whether a pattern would match backups that are kept in `directory`: each scan would then back up the
/// backups of the one before.
pub(super) fn matches_backups_in(patterns: &PatternSet, directory: &Path) -> bool {
    const BACKUP: &[u8] = b"name-20240115-140000.db.lz4";
    /// Folders of a key, at most: patterns with more fixed levels than that are not looked through.
    const LEVELS: usize = 16;
    let deeper = |reach: &Reach| Some(patterns.descend(reach, b"name", false));
    std::iter::successors(Some(reach_of(patterns, directory)), deeper)
        .take(LEVELS)
        .any(|reach| patterns.matches_file(&reach, BACKUP))
}

fn reach_of(patterns: &PatternSet, directory: &Path) -> Reach {
    directory.components().fold(patterns.root(), |reach, component| match component {
        std::path::Component::Normal(name) => patterns.descend(&reach, name.as_bytes(), false),
        _ => reach,
    })
}

/// A region's name, as AWS and others have them (`us-east-1`, `auto`, `garage`).
pub(super) fn check_region(word: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = word.len() <= 64 && word.chars().all(fits);
    if good { Ok(word.to_owned()) } else { Err("it must be a region's name, such as us-east-1") }
}

/// A file. A relative one is meant from where the program runs.
pub(super) fn file(word: &str) -> Result<PathBuf, String> {
    let word = no_tilde(word)?;
    if word.chars().any(char::is_control) {
        return Err("it must not have control characters in it".to_owned());
    }
    Ok(PathBuf::from(word))
}

/// A member of etcd: `http://` or `https://`, a host and a port.
pub(super) fn check_etcd(word: &str) -> Result<String, String> {
    let expected = || {
        "it must be like http://10.0.0.1:2379 or https://etcd-1.example.com:2379, with the port"
            .to_owned()
    };
    if word.contains('@') {
        return Err("user and password belong in -etcd-user and -etcd-password-file".to_owned());
    }
    let url = check_url(word).map_err(|_| expected())?;
    if has_host_and_port_alone(&url) { Ok(url) } else { Err(expected()) }
}

/// Where others reach a node's HTTP: `http://`, a host and a port.
pub(super) fn check_advertised(word: &str) -> Result<String, String> {
    let url = check_url(word).ok().filter(|url| url.starts_with("http://"));
    url.filter(|url| has_host_and_port_alone(url)).ok_or_else(|| {
        "it must be like http://10.0.0.7:9810: others reach this node there".to_owned()
    })
}

/// What follows the scheme of a checked URL is a host and a port, nothing else.
fn has_host_and_port_alone(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    port && !rest.contains('/')
}

/// The address of an S3 server: `http://` or `https://`, a host, perhaps a port and a path.
pub(super) fn check_url(word: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "it must be like http://localhost:9000 or https://s3.example.com";
    let Some((scheme, rest)) = word.split_once("://") else {
        return Err(EXPECTED);
    };
    if !matches!(scheme, "http" | "https")
        || word.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Err(EXPECTED);
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if rest.contains(['?', '#']) {
        return Err("it must not have a '?' or '#' in it");
    }
    if authority.contains('@') {
        return Err("keys belong in -access-key and -secret-key, not in the address");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    if host.is_empty() || !port_fits {
        return Err(EXPECTED);
    }
    Ok(word.trim_end_matches('/').to_owned())
}

/// Where HTTP is served: `None` for `off`.
pub(super) fn http_address(word: &str) -> Result<Option<SocketAddr>, String> {
    if word == "off" {
        return Ok(None);
    }
    let numeric = match word.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => word.to_owned(),
    };
    let expected =
        |_| "it must be an address and a port, such as 127.0.0.1:9810, or off".to_owned();
    numeric.parse().map(Some).map_err(expected)
}

/// A host's name as the name of a node: other characters become `-`.
pub(super) fn node_name(host: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = host.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let name: String = name.chars().take(63).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}
