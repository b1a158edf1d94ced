//! How much of the catalogs may be in memory at once: the rule.

/// What is in a catalog, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Databases in it.
    pub(crate) databases: u64,
    /// Backups of all of them.
    pub(crate) backups: u64,
}

/// Backups in the catalogs that are in memory at once, in a round, unless it is one catalog. By the sizes of its fields
/// each takes some 150 bytes there: 10 MB in all.
pub(crate) const ROOM: u32 = 65_536;
/// The names of a database, and what is known of it, take as much as so many backups.
const DATABASE: u64 = 7;

impl Extent {
    /// How much of [`ROOM`] it takes: something, and never more than there is.
    pub(crate) fn share(self) -> u32 {
        let share = self.databases.saturating_mul(DATABASE).saturating_add(self.backups);
        u32::try_from(share).unwrap_or(ROOM).clamp(1, ROOM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_catalogs_have_room_or_one_of_any_size() {
        for (name, databases, backups, at_once) in [
            ("nothing known", 0, 0, ROOM),
            ("a small fleet", 400, 400, 20),
            ("a first backup of a million", 3_906, 3_906, 2),
            ("a day of each hour", 400, 400 * 24, 5),
            ("a month of each hour", 400, 400 * 720, 1),
            ("all that a counter holds", u64::MAX, u64::MAX, 1),
        ] {
            assert_eq!(ROOM / Extent { databases, backups }.share(), at_once, "{name}");
        }
    }
}
