//! Files with one secret and nothing else in them: the token of HTTP, the password of etcd.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ultrasimple_core::config::{EtcdLogin, Password, Setting};

/// Far more than a secret has.
const MAX_BYTES: u64 = 4_096;
/// A shorter token can be guessed.
const LEAST_TOKEN: usize = 16;

/// The token in a file: 16 printable characters or more, without spaces.
///
/// # Errors
/// With the setting, the file, and why it does not do. Never with what is in it.
pub fn token(path: &Path) -> Result<String, String> {
    let token = read(Setting::HttpTokenFile, path)?;
    let fits = token.len() >= LEAST_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return Ok(token);
    }
    let (flag, path) = (Setting::HttpTokenFile.flag(), path.display());
    Err(format!(
        "{flag} {path}: a token has {LEAST_TOKEN} characters or more, all of them letters, digits or \
         signs, no spaces: 'openssl rand -hex 32' makes a good one"
    ))
}

/// User and password for etcd.
///
/// # Errors
/// As [`token`].
pub fn login(login: &EtcdLogin) -> Result<(String, String), String> {
    let password = match &login.password {
        Password::Given(secret) => secret.expose().to_owned(),
        Password::File(path) => read(Setting::EtcdPasswordFile, path)?,
    };
    Ok((login.user.clone(), password))
}

/// What is in a file, without the line's end.
fn read(setting: Setting, path: &Path) -> Result<String, String> {
    let refuse = |why: String| format!("{} {}: {why}", setting.flag(), path.display());
    let mut text = String::new();
    let bytes = File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| refuse(format!("cannot read this file: {error}")))?;
    if bytes as u64 > MAX_BYTES {
        return Err(refuse("it has more than 4 KiB: is it the right file?".to_owned()));
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() || secret.contains('\n') {
        return Err(refuse("it must have one line, which is not empty".to_owned()));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_long_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |content: &str| {
            std::fs::write(&path, content).unwrap();
            token(&path)
        };
        for good in ["0123456789abcdef", "0123456789abcdef\n", "0123456789abcdef\r\n"] {
            assert_eq!(read(good).unwrap(), "0123456789abcdef");
        }
        for bad in
            ["", "\n", "short", "0123456789abcde ", "0123456789abcdef\nx", &"x".repeat(5_000)]
        {
            let error = read(bad).unwrap_err();
            let start = format!("-http-token-file {}: ", path.display());
            assert!(error.starts_with(&start), "{error}");
            assert!(bad.len() < 2 || !error.contains(bad), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(token(&path).unwrap_err().contains("cannot read this file: No such file"));
    }
}
