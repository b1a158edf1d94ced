//! MD5, the checksum that every S3 server knows: of bodies, and in `ETag`s.
//!
//! About 1.5 ms for a megabyte; large bodies are summed on a blocking thread.

use aws_smithy_types::base64;
use bytes::Bytes;
use md5::{Digest, Md5};

/// Above this, summing takes longer than a task should hold its thread (about 0.4 ms).
const INLINE: usize = 256 * 1024;

/// The MD5 of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Md5Digest([u8; 16]);

impl Md5Digest {
    pub(super) async fn of(body: &Bytes) -> Self {
        if body.len() <= INLINE {
            return Self::of_now(body);
        }
        let bytes = body.clone();
        match tokio::task::spawn_blocking(move || Self::of_now(&bytes)).await {
            Ok(digest) => digest,
            // Only when the runtime is going down; then so is this task.
            Err(_) => Self::of_now(body),
        }
    }

    pub(super) fn of_now(body: &[u8]) -> Self {
        Self(Md5::digest(body).into())
    }

    /// As in the header Content-MD5.
    pub(super) fn base64(&self) -> String {
        base64::encode(self.0)
    }

    /// As in an `ETag`, without quotes.
    pub(super) fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The `ETag` of an object that was uploaded in these parts: the MD5 of their MD5s, and their number.
    pub(super) fn of_parts(parts: &[Self]) -> String {
        let mut all = Md5::new();
        for part in parts {
            all.update(part.0);
        }
        format!("{}-{}", hex(&all.finalize()), parts.len())
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether `etag` looks as if it were made in the same way as `expected`: an MD5, with the same number of
/// parts or none. Servers may make their tags otherwise; such tags say nothing about the content.
pub(super) fn same_form(etag: &str, expected: &str) -> bool {
    let form = |tag: &str| {
        let (sum, parts) = tag.split_once('-').unwrap_or((tag, ""));
        let is_md5 = sum.len() == 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_md5.then(|| parts.to_owned())
    };
    form(bare(etag)).is_some_and(|etag| form(bare(expected)) == Some(etag))
}

/// Whether the tags are the same but for quotes and case.
pub(super) fn same(etag: &str, expected: &str) -> bool {
    bare(etag).eq_ignore_ascii_case(bare(expected))
}

fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn known_sums() {
        let hello = Md5Digest::of(&Bytes::from_static(b"hello")).await;
        assert_eq!(hello.hex(), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(hello.base64(), "XUFAKrxLKna5cZ2REBfFkg==");
        let large = Bytes::from(vec![0; INLINE + 1]);
        assert_eq!(Md5Digest::of(&large).await, Md5Digest::of_now(&large));
        // What SeaweedFS said of an upload in one part, "partdata".
        let part = Md5Digest::of_now(b"partdata");
        assert_eq!(Md5Digest::of_parts(&[part]), "46b99ab55d83ec04c6f54f62c6f78868-1");
    }

    #[test]
    fn only_tags_of_the_same_form_are_compared() {
        let expected = "5d41402abc4b2a76b9719d911017c592";
        assert!(same_form("\"5D41402ABC4B2A76B9719D911017C592\"", expected));
        assert!(same("\"5D41402ABC4B2A76B9719D911017C592\"", expected));
        assert!(!same("\"0d41402abc4b2a76b9719d911017c592\"", expected));
        assert!(!same_form("\"5d41402abc4b2a76b9719d911017c592-1\"", expected));
        assert!(!same_form("\"some-uuid\"", expected));
        assert!(!same_form("\"5d41402abc4b2a76b9719d911017c592-2\"", &format!("{expected}-1")));
        assert!(same_form("\"5d41402abc4b2a76b9719d911017c592-1\"", &format!("{expected}-1")));
    }
}
