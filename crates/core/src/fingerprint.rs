//! What `stat` tells of a database, and the 8 bytes of it that are remembered.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// What `stat` tells of one file. Compared with `==` only: times may go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Device the file is on.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of the content, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of content or inode, in nanoseconds since 1970. It moves even when a
    /// program puts the mtime back (`cp -p`, `rsync -t`, `touch -r`).
    pub ctime_ns: i64,
}

/// What `stat` tells of a database: of the main file and the `-wal`, and whether a `-journal` is there.
///
/// In WAL mode a commit moves nothing but the WAL's mtime (the main file stays as it is until a
/// checkpoint, and after a reset the WAL is overwritten in place), so both files count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The main file.
    pub main: FileStamp,
    /// The `-wal` beside it, if there is one.
    pub wal: Option<FileStamp>,
    /// Whether a `-journal` is beside it.
    pub journal: bool,
}

impl Fingerprint {
    /// Bytes that a capture of this database will have at most, as far as `stat` can tell.
    pub fn image_size_bound(&self) -> u64 {
        self.main.size.saturating_add(self.wal.map_or(0, |wal| wal.size))
    }

    /// Whether a file of the database was modified so shortly before (or after) `now_ns` that a further
    /// change might leave the fingerprint as it is: within `tick_ns`, the granularity of the file
    /// system's timestamps. Such a database is looked at again.
    pub fn is_racy(&self, now_ns: i64, tick_ns: i64) -> bool {
        let near = |stamp: &FileStamp| {
            stamp.mtime_ns.abs_diff(now_ns) <= tick_ns.unsigned_abs()
                || stamp.ctime_ns.abs_diff(now_ns) <= tick_ns.unsigned_abs()
        };
        near(&self.main) || self.wal.as_ref().is_some_and(near)
    }

    /// The 8 bytes that stand for this fingerprint in memory and in catalogs.
    ///
    /// The device is left out: device numbers may change when a host restarts.
    pub fn digest(&self) -> FingerprintDigest {
        let mut bytes = [0u8; 72];
        let mut rest = &mut bytes[..];
        let mut put = |value: [u8; 8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(8);
            head.copy_from_slice(&value);
            rest = tail;
        };
        for stamp in [Some(self.main), self.wal].into_iter().flatten() {
            put(stamp.inode.to_le_bytes());
            put(stamp.size.to_le_bytes());
            put(stamp.mtime_ns.to_le_bytes());
            put(stamp.ctime_ns.to_le_bytes());
        }
        put([u8::from(self.wal.is_some()), u8::from(self.journal), 0, 0, 0, 0, 0, 0]);
        FingerprintDigest(XxHash3_64::oneshot(&bytes).to_le_bytes())
    }
}

/// A fingerprint in 8 bytes: equal when the fingerprints are, different (but for one chance in 2^64, which a
/// hundred million changes a day meet in five hundred million years) when they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FingerprintDigest([u8; 8]);

impl FingerprintDigest {
    /// The digest that no database has: for what has never been seen.
    pub const NONE: Self = Self([0; 8]);
}

impl Serialize for FingerprintDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", u64::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for FingerprintDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let well_formed = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = u64::from_str_radix(&text, 16).ok().filter(|_| well_formed);
        let value =
            value.ok_or_else(|| serde::de::Error::custom("a fingerprint is 16 hex digits"))?;
        Ok(Self(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp() -> impl Strategy<Value = FileStamp> {
        (0..3u64, 0..3u64, 0..3i64, 0..3i64).prop_map(|(inode, size, mtime_ns, ctime_ns)| {
            FileStamp { device: 1, inode, size, mtime_ns, ctime_ns }
        })
    }

    fn fingerprint() -> impl Strategy<Value = Fingerprint> {
        (stamp(), proptest::option::of(stamp()), any::<bool>())
            .prop_map(|(main, wal, journal)| Fingerprint { main, wal, journal })
    }

    proptest! {
        #[test]
        fn digests_differ_exactly_when_fingerprints_do(a in fingerprint(), b in fingerprint()) {
            prop_assert_eq!(a == b, a.digest() == b.digest());
            let json = serde_json::to_string(&a.digest()).unwrap();
            prop_assert_eq!(serde_json::from_str::<FingerprintDigest>(&json).unwrap(), a.digest());
        }
    }

    #[test]
    fn a_recent_change_of_either_file_is_racy() {
        let old = FileStamp { device: 1, inode: 1, size: 1, mtime_ns: 0, ctime_ns: 0 };
        let new = FileStamp { mtime_ns: 1_000, ..old };
        let touched = FileStamp { ctime_ns: 1_000, ..old };
        let racy = |main, wal| Fingerprint { main, wal, journal: false }.is_racy(1_010, 10);
        assert!(!racy(old, None) && !racy(old, Some(old)));
        assert!(racy(new, None) && racy(old, Some(new)) && racy(touched, None));
        assert!(
            Fingerprint { main: new, wal: None, journal: false }.is_racy(995, 10),
            "future mtime"
        );
    }
}
