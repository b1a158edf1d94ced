//! What sort of database a bank is.

/// How transactions are made atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQLite's names")]
pub enum JournalMode {
    Wal,
    Delete,
    Truncate,
    Persist,
    Memory,
}

/// Whether the writer keeps its locks between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQLite's names")]
pub enum LockingMode {
    Normal,
    Exclusive,
}

/// How text is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQLite's names")]
pub enum Encoding {
    Utf8,
    Utf16le,
    Utf16be,
}

/// Whether the file shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQLite's names")]
pub enum AutoVacuum {
    None,
    Full,
    Incremental,
}

/// What sort of database a bank is, and how its writer treats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BankOptions {
    /// Number of accounts. 400 make some 300 KiB.
    pub accounts: u32,
    /// How transactions are made atomic.
    pub journal_mode: JournalMode,
    /// Whether the writer keeps its locks.
    pub locking_mode: LockingMode,
    /// Bytes of a page: a power of two from 512 to 65,536.
    pub page_size: u32,
    /// How text is stored.
    pub encoding: Encoding,
    /// Whether the file shrinks.
    pub auto_vacuum: AutoVacuum,
    /// Pages the writer keeps in memory. With few, a transaction writes to the main file before it
    /// commits, as it does when it outgrows the memory: a crash then leaves a journal that is hot.
    pub cache_pages: u32,
    /// Frames after which a WAL is checkpointed.
    pub checkpoint_frames: u32,
}

impl Default for BankOptions {
    fn default() -> Self {
        Self {
            accounts: 400,
            journal_mode: JournalMode::Wal,
            locking_mode: LockingMode::Normal,
            page_size: 4_096,
            encoding: Encoding::Utf8,
            auto_vacuum: AutoVacuum::None,
            cache_pages: 10_000,
            checkpoint_frames: 200,
        }
    }
}

impl BankOptions {
    /// The statements that make a connection so. What decides over the file's form comes first.
    pub(super) fn pragmas(&self) -> String {
        let encoding = match self.encoding {
            Encoding::Utf8 => "UTF-8",
            Encoding::Utf16le => "UTF-16le",
            Encoding::Utf16be => "UTF-16be",
        };
        let locking = match self.locking_mode {
            LockingMode::Normal => "NORMAL",
            LockingMode::Exclusive => "EXCLUSIVE",
        };
        format!(
            "PRAGMA page_size={}; PRAGMA encoding='{encoding}'; PRAGMA auto_vacuum={:?};
             PRAGMA locking_mode={locking}; PRAGMA journal_mode={:?};
             PRAGMA synchronous=OFF; PRAGMA cache_size={}; PRAGMA wal_autocheckpoint={};",
            self.page_size,
            self.auto_vacuum,
            self.journal_mode,
            self.cache_pages,
            self.checkpoint_frames
        )
    }

    /// As words of a command line.
    pub(super) fn to_words(self) -> String {
        format!(
            "{} {:?} {:?} {} {:?} {:?} {} {}",
            self.accounts,
            self.journal_mode,
            self.locking_mode,
            self.page_size,
            self.encoding,
            self.auto_vacuum,
            self.cache_pages,
            self.checkpoint_frames
        )
    }

    /// Undoes [`Self::to_words`].
    pub(super) fn from_words(words: &str) -> Option<Self> {
        let mut words = words.split(' ');
        let accounts = words.next()?.parse().ok()?;
        let journal_mode = match words.next()? {
            "Wal" => JournalMode::Wal,
            "Delete" => JournalMode::Delete,
            "Truncate" => JournalMode::Truncate,
            "Persist" => JournalMode::Persist,
            "Memory" => JournalMode::Memory,
            _ => return None,
        };
        let locking_mode = match words.next()? {
            "Normal" => LockingMode::Normal,
            "Exclusive" => LockingMode::Exclusive,
            _ => return None,
        };
        let page_size = words.next()?.parse().ok()?;
        let encoding = match words.next()? {
            "Utf8" => Encoding::Utf8,
            "Utf16le" => Encoding::Utf16le,
            "Utf16be" => Encoding::Utf16be,
            _ => return None,
        };
        let auto_vacuum = match words.next()? {
            "None" => AutoVacuum::None,
            "Full" => AutoVacuum::Full,
            "Incremental" => AutoVacuum::Incremental,
            _ => return None,
        };
        let cache_pages = words.next()?.parse().ok()?;
        let checkpoint_frames = words.next()?.parse().ok()?;
        Some(Self {
            accounts,
            journal_mode,
            locking_mode,
            page_size,
            encoding,
            auto_vacuum,
            cache_pages,
            checkpoint_frames,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_command_line() {
        let options = BankOptions {
            journal_mode: JournalMode::Persist,
            locking_mode: LockingMode::Exclusive,
            encoding: Encoding::Utf16be,
            auto_vacuum: AutoVacuum::Incremental,
            ..BankOptions::default()
        };
        assert_eq!(BankOptions::from_words(&options.to_words()), Some(options));
    }
}
