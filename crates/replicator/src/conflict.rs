//! What to do when another object already has the key: a decision without I/O.
//!
//! The store refused a write because something is there that this node did not expect. The footer of
//! what is there decides. This is where R5 (a key never goes back in time), R11 (nothing foreign is
//! touched) and the refusal to put a damaged capture over a good one are enforced.

use ultrasimple_core::footer::Footer;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This very state is there, and nothing has changed since: it counts as stored.
    Adopt,
    /// The same content is there, but the database may have had another one in between, and whoever owned it then may
    /// have a write of that still on its way, on condition that what is there has not changed: write it again, on that
    /// condition.
    Renew,
    /// It is older and ours: write over it, on condition that it is still the same.
    Overwrite,
    /// Leave it; this attempt failed.
    Leave(Reason),
    /// A later owner has written: this node must stop writing.
    Fenced,
}

/// Why an object is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is the backup of another database.
    OtherDatabase(String),
    /// Its capture is newer than this one.
    Newer(ultrasimple_core::Timestamp),
    /// It is good, and this capture is damaged.
    WouldReplaceGood,
}

/// Decides about the object with the footer `theirs`, which stands where `ours` was to be written.
pub(crate) fn decide(ours: &Footer, theirs: &Footer) -> Decision {
    if (&ours.volume, &ours.path) != (&theirs.volume, &theirs.path) {
        let other = format!("{} (volume {}, node {})", theirs.path, theirs.volume, theirs.node);
        return Decision::Leave(Reason::OtherDatabase(other));
    }
    if theirs.epoch > ours.epoch {
        return Decision::Fenced;
    }
    if (ours.blake3, ours.size) == (theirs.blake3, theirs.size) {
        return if is_same_state(ours, theirs) { Decision::Adopt } else { Decision::Renew };
    }
    if theirs.captured_at > ours.captured_at {
        return Decision::Leave(Reason::Newer(theirs.captured_at));
    }
    if ours.check.is_marked() && !theirs.check.is_marked() {
        return Decision::Leave(Reason::WouldReplaceGood);
    }
    Decision::Overwrite
}

/// Whether a database has not changed between two captures of it. That it has the same content again does not tell.
pub(crate) fn is_same_state(ours: &Footer, theirs: &Footer) -> bool {
    ours.blake3 == theirs.blake3
        && ours.fingerprint.is_some()
        && ours.fingerprint == theirs.fingerprint
}

#[cfg(test)]
mod tests {
    use ultrasimple_core::footer::FooterFields;
    use ultrasimple_core::{
        CheckResult, ContentHash, Epoch, FileStamp, Fingerprint, FingerprintDigest, ShardId,
        SourcePath,
    };

    use super::*;

    fn fingerprint(mtime_ns: i64) -> FingerprintDigest {
        let main = FileStamp { device: 1, inode: 1, size: 1, mtime_ns, ctime_ns: 1 };
        Fingerprint { main, wal: None, journal: false }.digest()
    }

    fn footer(change: impl FnOnce(&mut FooterFields), content: &[u8]) -> Footer {
        let mut fields = FooterFields {
            volume: "default".parse().unwrap(),
            path: SourcePath::from_bytes(b"/data/t.db"),
            shard: ShardId(1),
            mode: 0o644,
            captured_at: "2024-01-15T13:05:00Z".parse().unwrap(),
            node: "n1".parse().unwrap(),
            epoch: Epoch(5),
            check: CheckResult::Passed,
            fingerprint: Some(fingerprint(1)),
        };
        change(&mut fields);
        Footer::new(fields, ContentHash::of(content), content.len() as u64)
    }

    #[test]
    fn decisions() {
        let at = |text: &str| text.parse().unwrap();
        let earlier = at("2024-01-15T13:04:59Z");
        let later = at("2024-01-15T13:05:01Z");
        let damaged = || CheckResult::Failed("page 2".into());
        let ours = footer(|_| {}, b"new");
        let marked = footer(|f| f.check = damaged(), b"new");
        let unknown = footer(|f| f.fingerprint = None, b"new");
        let left = Decision::Leave;
        for (name, ours, theirs, expected) in [
            ("same state", &ours, footer(|f| f.epoch = Epoch(4), b"new"), Decision::Adopt),
            (
                "same content, other state",
                &ours,
                footer(|f| f.fingerprint = Some(fingerprint(2)), b"new"),
                Decision::Renew,
            ),
            ("state unknown", &ours, footer(|f| f.fingerprint = None, b"new"), Decision::Renew),
            ("neither known", &unknown, footer(|f| f.fingerprint = None, b"new"), Decision::Renew),
            ("older", &ours, footer(|f| f.captured_at = earlier, b"old"), Decision::Overwrite),
            ("same instant", &ours, footer(|_| {}, b"old"), Decision::Overwrite),
            (
                "newer capture, older epoch",
                &ours,
                footer(|f| (f.captured_at, f.epoch) = (later, Epoch(4)), b"old"),
                left(Reason::Newer(later)),
            ),
            ("later owner", &ours, footer(|f| f.epoch = Epoch(6), b"old"), Decision::Fenced),
            ("later owner, same", &ours, footer(|f| f.epoch = Epoch(6), b"new"), Decision::Fenced),
            (
                "damaged over good",
                &marked,
                footer(|f| f.captured_at = earlier, b"old"),
                left(Reason::WouldReplaceGood),
            ),
            (
                "damaged over damaged",
                &marked,
                footer(|f| (f.captured_at, f.check) = (earlier, damaged()), b"old"),
                Decision::Overwrite,
            ),
        ] {
            assert_eq!(decide(ours, &theirs), expected, "{name}");
        }
        for theirs in [
            footer(|f| f.path = SourcePath::from_bytes(b"/data/u.db"), b"new"),
            footer(|f| f.volume = "other".parse().unwrap(), b"new"),
            footer(|f| (f.path, f.epoch) = (SourcePath::from_bytes(b"/u.db"), Epoch(9)), b"x"),
        ] {
            assert!(matches!(
                decide(&ours, &theirs),
                Decision::Leave(Reason::OtherDatabase(other)) if other.contains(".db")
            ));
        }
    }
}
