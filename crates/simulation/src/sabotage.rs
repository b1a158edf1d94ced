//! Ways to break the product on purpose, to see that the rules notice: a simulation that cannot fail shows nothing.
//!
//! Most are lies told between the product and the bucket, by the store that the product talks to.

use bytes::Bytes;
use ultrasimple_core::{Epoch, Footer};

/// One part of what protects the backups is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing is written on conditions: the lease is all there is.
    NoConditions,
    /// The epoch of what stands under a key is not looked at.
    NoEpoch,
    /// The lease is trusted for ever, once it was granted.
    EndlessTrust,
    /// A write of which nothing was heard counts as stored.
    UnknownIsStored,
    /// With what retention deletes, the newest backup goes.
    DeleteNewest,
    /// Every catalog is believed to say all there is.
    StaleHandover,
    /// What stands under a key is adopted whatever it is.
    AdoptBlindly,
    /// What stands under a key is adopted when it has the same content, whatever was in between.
    AdoptContent,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoConditions,
        Self::NoEpoch,
        Self::EndlessTrust,
        Self::UnknownIsStored,
        Self::DeleteNewest,
        Self::StaleHandover,
        Self::AdoptBlindly,
        Self::AdoptContent,
    ];

    /// By what it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoConditions => "no-conditions",
            Self::NoEpoch => "no-epoch",
            Self::EndlessTrust => "endless-trust",
            Self::UnknownIsStored => "unknown-is-stored",
            Self::DeleteNewest => "delete-newest",
            Self::StaleHandover => "stale-handover",
            Self::AdoptBlindly => "adopt-blindly",
            Self::AdoptContent => "adopt-content",
        }
    }
}

/// The last bytes of an object, as if nobody had ever owned its database: for [`Sabotage::NoEpoch`].
pub(crate) fn without_epoch(suffix: &Bytes) -> Bytes {
    let Ok((mut footer, frame_bytes)) = Footer::from_suffix(suffix) else { return suffix.clone() };
    footer.epoch = Epoch(0);
    let Ok(frame) = footer.to_frame() else { return suffix.clone() };
    let kept = suffix.len().saturating_sub(usize::try_from(frame_bytes).unwrap_or(usize::MAX));
    let mut bytes = suffix.slice(..kept).to_vec();
    bytes.extend_from_slice(&frame);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use ultrasimple_core::footer::FooterFields;
    use ultrasimple_core::{CheckResult, ShardId, SourcePath, object};

    use super::*;

    #[test]
    fn nothing_but_the_epoch_is_taken_away() {
        let fields = FooterFields {
            volume: "v".parse().unwrap(),
            path: SourcePath::from_bytes(b"/data/t.db"),
            shard: ShardId(1),
            mode: 0,
            captured_at: "2024-01-15T12:10:00Z".parse().unwrap(),
            node: "n".parse().unwrap(),
            epoch: Epoch(123_456),
            check: CheckResult::Passed,
            fingerprint: None,
        };
        let (object, mut footer) = object::encode(b"image", fields).unwrap();
        footer.epoch = Epoch(0);
        let changed = without_epoch(&object.into());
        let mut image = Vec::new();
        let read = object::decode(&changed[..], &mut image).unwrap();
        assert_eq!((read, &image[..]), (footer, &b"image"[..]));
        let foreign = Bytes::from_static(b"something else");
        assert_eq!(without_epoch(&foreign), foreign);
    }
}
