//! Which backup an object has to be, by its footer: the one way in which it is told here.

use ultrasimple_core::{Footer, Hour, SourcePath, VolumeName};

/// What the footer of a backup has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) volume: &'a VolumeName,
    pub(crate) path: &'a SourcePath,
    pub(crate) hour: Hour,
}

impl Identity<'_> {
    /// What the object is instead, if it is another database's backup, or another hour's.
    pub(crate) fn mismatch(&self, footer: &Footer) -> Option<String> {
        let Footer { volume, path, .. } = footer;
        if (self.volume, self.path) != (volume, path) {
            return Some(format!("is the backup of another database: {path} (volume {volume})"));
        }
        other_hour(self.hour, footer)
    }
}

/// What the object is instead, if it is another hour's backup: a copy under a key that is not its own. Under a
/// later hour's, an old state would pass for a new one.
pub(crate) fn other_hour(hour: Hour, footer: &Footer) -> Option<String> {
    let captured_at = footer.captured_at;
    let own = Hour::of(captured_at);
    (own != hour).then(|| {
        format!("is the backup of another hour: captured {captured_at}, which belongs to {own}")
    })
}
