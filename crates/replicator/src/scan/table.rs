//! The table of all known directories and databases: what the last scan saw.
//!
//! Compact, for 100,000 databases and more: a database is 44 bytes and its name, kept in its directory's
//! arrays, sorted by name; there is no allocation per database. Written only by [`super::apply`],
//! between scans; read by the walk and by uploads that look up a path.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;

use ultrasimple_core::pattern::Reach;
use ultrasimple_core::{FingerprintDigest, Place, SourcePath};

use super::identity::{Gone, Identity, Naming, NonZeroKey};

/// A known database, while it is known. The index is used again after the database is gone, with
/// another generation: news of the old one never reach the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DatabaseId {
    index: u32,
    generation: u32,
}

/// A known directory: its index and one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DirectoryId(NonZeroU32);

impl DirectoryId {
    fn at(index: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What is beside a database, as its directory's listing told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Beside {
    pub(crate) wal: bool,
    pub(crate) journal: bool,
    /// The name is a symbolic link: what is beside the *target* counts, and is looked up each time.
    pub(crate) link: bool,
}

/// One database in its directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: DatabaseId,
    name: NameAndBeside,
    pub(crate) digest: FingerprintDigest,
    pub(crate) naming: Naming,
}

impl Entry {
    pub(crate) fn beside(&self) -> Beside {
        self.name.beside()
    }
}

/// All names of a directory with their NULs: tens of millions of databases.
pub(crate) const MAX_NAMES_BYTES: usize = (u32::MAX >> 3) as usize;

/// Where a NUL-terminated name begins in [`Directory::names`], in the lower 29 bits, and what is beside its database, in
/// the upper three.
#[derive(Debug, Clone, Copy)]
struct NameAndBeside(u32);

impl NameAndBeside {
    const NAME: u32 = u32::MAX >> 3;

    /// Of a name that begins below [`MAX_NAMES_BYTES`].
    fn new(name: usize, beside: Beside) -> Self {
        let name = u32::try_from(name).unwrap_or(Self::NAME).min(Self::NAME);
        let Beside { wal, journal, link } = beside;
        Self(name | u32::from(wal) << 29 | u32::from(journal) << 30 | u32::from(link) << 31)
    }

    fn name(self) -> usize {
        (self.0 & Self::NAME) as usize
    }

    /// The name, among those that it is one of, with its NUL.
    fn of(self, names: &[u8]) -> &[u8] {
        let rest = names.get(self.name()..).unwrap_or_default();
        let end = rest.iter().position(|&b| b == 0).map_or(rest.len(), |nul| nul + 1);
        rest.get(..end).unwrap_or_default()
    }

    fn beside(self) -> Beside {
        let is_set = |bit: u32| self.0 >> bit & 1 == 1;
        Beside { wal: is_set(29), journal: is_set(30), link: is_set(31) }
    }
}

/// Which state of a directory was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) mtime_ns: i64,
    /// It moves even when a program puts the mtime back (`tar -x`, `rsync -a`).
    pub(crate) ctime_ns: i64,
    /// Whether these were old enough when the directory was listed for any later change to move it.
    pub(crate) settled: bool,
}

impl Listed {
    /// The same, but to be listed again where `again` says so.
    pub(crate) fn unless(self, again: bool) -> Self {
        Self { settled: self.settled && !again, ..self }
    }
}

#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) parent: Option<DirectoryId>,
    /// NUL-terminated; `/` for the root.
    pub(crate) name: Box<[u8]>,
    /// The directory, or one above it, is reached through a symbolic link.
    pub(crate) via_link: bool,
    pub(crate) reach: Reach,
    /// `None`: never listed (or never in need of it).
    pub(crate) listed: Option<Listed>,
    names: Box<[u8]>,
    entries: Box<[Entry]>,
    pub(crate) children: Vec<DirectoryId>,
}

impl Directory {
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The name of one of this directory's entries, with its NUL.
    pub(crate) fn name_of(&self, entry: &Entry) -> &[u8] {
        entry.name.of(&self.names)
    }
}

/// The databases that [`Table::set_entries`] is to put into a directory, sorted by name. In two arrays, as in the
/// table: a first scan has all that there are in these, before the table has any.
#[derive(Debug, Default)]
pub(crate) struct NewEntries {
    names: Vec<u8>,
    entries: Vec<(NameAndBeside, NewEntry)>,
}

impl NewEntries {
    /// With room for so many, whose names have so many bytes in all, NULs included.
    pub(crate) fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { names: Vec::with_capacity(bytes), entries: Vec::with_capacity(count) }
    }

    /// Adds one; `name` has its NUL.
    pub(crate) fn push(&mut self, name: &[u8], beside: Beside, entry: NewEntry) {
        let at = NameAndBeside::new(self.names.len(), beside);
        self.names.extend_from_slice(name);
        self.entries.push((at, entry));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &NewEntry> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// Puts them in order, after some were added that come before others.
    pub(crate) fn sort(&mut self) {
        let Self { names, entries } = self;
        entries.sort_unstable_by(|(a, _), (b, _)| a.of(names).cmp(b.of(names)));
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) struct NewEntry {
    pub(crate) digest: FingerprintDigest,
    /// Known already under this number; else it gets one.
    pub(crate) id: Option<DatabaseId>,
    /// Known with another digest.
    pub(crate) changed: bool,
    pub(crate) naming: Naming,
    /// Device and inode, of a database reached through a symbolic link: it may have other names.
    pub(crate) linked: Option<Box<(u64, u64)>>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    generation: u32,
    /// Directory and index in it. `None`: free.
    place: Option<(DirectoryId, u32)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Table {
    directories: Vec<Option<Directory>>,
    free_directories: Vec<DirectoryId>,
    /// Where each database is.
    databases: Vec<Slot>,
    free_databases: Vec<u32>,
    /// The few that share a key with another.
    collisions: HashMap<NonZeroKey, Vec<DatabaseId>>,
    /// Databases reached through symbolic links, by device and inode: each is taken once.
    linked: HashMap<(u64, u64), DatabaseId>,
    links: HashMap<DatabaseId, (u64, u64)>,
}

/// What became of the databases of a directory.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) appeared: Vec<(DatabaseId, FingerprintDigest)>,
    pub(crate) gone: Vec<Gone>,
    /// One is the same file as another, reached through another link: it was left out, until the other
    /// is gone.
    pub(crate) passed_over: bool,
}

impl Table {
    /// A table that knows nothing but the root directory.
    pub(crate) fn new(reach: Reach) -> Self {
        let mut table = Self::default();
        table.add_directory(None, b"/\0", false, reach);
        table
    }

    /// The directory `/`.
    pub(crate) const ROOT: DirectoryId = DirectoryId(NonZeroU32::MIN);

    /// How many databases are known.
    pub(crate) fn len(&self) -> usize {
        self.databases.len() - self.free_databases.len()
    }

    pub(crate) fn directory(&self, id: DirectoryId) -> Option<&Directory> {
        self.directories.get(id.index())?.as_ref()
    }

    fn directory_mut(&mut self, id: DirectoryId) -> Option<&mut Directory> {
        self.directories.get_mut(id.index())?.as_mut()
    }

    /// All databases, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = DatabaseId> + '_ {
        (0u32..).zip(&self.databases).filter_map(|(index, slot)| {
            slot.place.map(|_| DatabaseId { index, generation: slot.generation })
        })
    }

    /// The path of a database, and whether it is a symbolic link. `None` when it is gone.
    pub(crate) fn locate(&self, id: DatabaseId) -> Option<(SourcePath, bool)> {
        let (directory, index) = self.place(id)?;
        let mut path = self.directory_path(directory);
        let directory = self.directory(directory)?;
        let entry = directory.entries.get(index as usize)?;
        let name = directory.name_of(entry);
        path.extend_from_slice(name.strip_suffix(b"\0").unwrap_or(name));
        Some((SourcePath::from_bytes(&path), entry.beside().link))
    }

    /// The path of a database. `None` when it is gone.
    pub(crate) fn path(&self, id: DatabaseId) -> Option<SourcePath> {
        Some(self.locate(id)?.0)
    }

    /// Where a database belongs. `None` when it is gone, or on none of this node's volumes.
    pub(crate) fn place_of(&self, id: DatabaseId) -> Option<Place> {
        self.entry(id)?.naming.place
    }

    /// Calls `visit` with the number, the place and the path of each database in `count` directories from the one of
    /// this index on. Gives the index to go on with, if there is more: so that nobody has to wait while all are seen.
    pub(crate) fn visit(
        &self,
        from: usize,
        count: usize,
        mut visit: impl FnMut(DatabaseId, Option<Place>, &[u8]),
    ) -> Option<usize> {
        let end = from.saturating_add(count).min(self.directories.len());
        for index in from..end {
            let id = DirectoryId::at(index);
            let Some(directory) = self.directory(id).filter(|it| !it.entries.is_empty()) else {
                continue;
            };
            let mut path = self.directory_path(id);
            let length = path.len();
            for entry in &directory.entries {
                path.truncate(length);
                let name = directory.name_of(entry);
                path.extend_from_slice(name.strip_suffix(b"\0").unwrap_or(name));
                visit(entry.id, entry.naming.place, &path);
            }
        }
        (end < self.directories.len()).then_some(end)
    }

    /// All databases as they are now, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> + '_ {
        self.directories.iter().flatten().flat_map(|directory| &directory.entries)
    }

    /// The path of a database, and by what it is known again. `None` when it is gone.
    pub(crate) fn identify(&self, id: DatabaseId) -> Option<(SourcePath, Identity)> {
        let path = self.path(id)?;
        let identity = Identity::of(&path, self.entry(id)?.naming.key);
        Some((path, identity))
    }

    /// A database that is about to be forgotten.
    fn going(&self, id: DatabaseId) -> Option<Gone> {
        let (path, identity) = self.identify(id)?;
        Some(Gone { id, path, identity, place: self.place_of(id) })
    }

    /// The path of a directory, with a trailing slash.
    pub(crate) fn directory_path(&self, id: DirectoryId) -> Vec<u8> {
        let mut names = Vec::new();
        let mut next = Some(id);
        while let Some(directory) = next.and_then(|id| self.directory(id)) {
            names.push(&directory.name[..]);
            next = directory.parent;
        }
        let mut path = Vec::with_capacity(64);
        for name in names.iter().rev() {
            path.extend_from_slice(name.strip_suffix(b"\0").unwrap_or(name));
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
        }
        path
    }

    /// The other databases that would have the same key as this one.
    pub(crate) fn sharing_key(&self, id: DatabaseId) -> Vec<DatabaseId> {
        let key = self.entry(id).and_then(|entry| entry.naming.key);
        let sharing = key.and_then(|key| self.collisions.get(&key)).map_or(&[][..], Vec::as_slice);
        sharing.iter().copied().filter(|&other| other != id).collect()
    }

    /// Finds out who shares a key with whom. To be called after databases appeared (`new`) or went.
    pub(crate) fn find_collisions(&mut self, new: &[DatabaseId]) {
        let mut collisions = std::mem::take(&mut self.collisions);
        for ids in collisions.values_mut() {
            ids.retain(|&id| self.place(id).is_some());
        }
        collisions.retain(|_, ids| ids.len() > 1);
        self.collisions = collisions;
        if new.is_empty() {
            return;
        }
        // In order: a hash table of all databases of a first scan would be its largest piece of memory.
        let mut keys = Vec::with_capacity(new.len());
        keys.extend(new.iter().filter_map(|&id| self.entry(id)?.naming.key));
        keys.sort_unstable();
        let keyed = self.entries().filter_map(|entry| Some((entry.naming.key?, entry.id)));
        let mut of_these = Vec::with_capacity(new.len());
        of_these.extend(keyed.filter(|(key, _)| keys.binary_search(key).is_ok()));
        let mut keyed = of_these;
        keyed.sort_unstable();
        let sharing = keyed.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
        let sharing = sharing.filter_map(|group| {
            let (key, _) = group.first()?;
            Some((*key, group.iter().map(|(_, id)| *id).collect()))
        });
        self.collisions.extend(sharing);
    }

    fn place(&self, id: DatabaseId) -> Option<(DirectoryId, u32)> {
        let slot = self.databases.get(id.index as usize)?;
        slot.place.filter(|_| slot.generation == id.generation)
    }

    fn entry(&self, id: DatabaseId) -> Option<&Entry> {
        let (directory, index) = self.place(id)?;
        self.directory(directory)?.entries.get(index as usize)
    }

    pub(crate) fn add_directory(
        &mut self,
        parent: Option<DirectoryId>,
        name: &[u8],
        via_link: bool,
        reach: Reach,
    ) -> DirectoryId {
        let directory = Directory {
            parent,
            name: name.into(),
            via_link,
            reach,
            listed: None,
            names: Box::default(),
            entries: Box::default(),
            children: Vec::new(),
        };
        let id = self.free_directories.pop().unwrap_or_else(|| {
            self.directories.push(None);
            DirectoryId::at(self.directories.len() - 1)
        });
        if let Some(slot) = self.directories.get_mut(id.index()) {
            *slot = Some(directory);
        }
        if let Some(parent) = parent.and_then(|parent| self.directory_mut(parent)) {
            parent.children.push(id);
        }
        id
    }

    pub(crate) fn set_listed(&mut self, id: DirectoryId, listed: Listed) {
        if let Some(directory) = self.directory_mut(id) {
            directory.listed = Some(listed);
        }
    }

    /// Sets the digest of a known database.
    pub(crate) fn set_digest(&mut self, id: DatabaseId, digest: FingerprintDigest) {
        let entry = self.place(id).and_then(|(directory, index)| {
            self.directory_mut(directory)?.entries.get_mut(index as usize)
        });
        if let Some(entry) = entry {
            entry.digest = digest;
        }
    }

    /// Replaces the databases of a directory. Those whose number is not among `entries` are gone.
    pub(crate) fn set_entries(&mut self, id: DirectoryId, entries: NewEntries) -> Placed {
        let kept: HashSet<_> = entries.iter().filter_map(|entry| entry.id).collect();
        let old = self.directory(id).map_or(&[][..], Directory::entries);
        let gone = old.iter().map(|e| e.id).filter(|id| !kept.contains(id));
        let mut gone: Vec<_> = gone.filter_map(|id| self.going(id)).collect();
        for gone in &gone {
            self.forget(gone.id);
        }
        let NewEntries { names, entries } = entries;
        let mut placed = Vec::with_capacity(entries.len());
        let mut appeared = Vec::with_capacity(entries.len() - kept.len());
        let mut passed_over = false;
        for (name, new) in entries {
            let is_taken = |linked: &(u64, u64)| {
                self.linked.get(linked).is_some_and(|&taken| Some(taken) != new.id)
            };
            if new.linked.as_deref().is_some_and(is_taken) {
                passed_over = true;
                if let Some(going) = new.id.and_then(|known| self.going(known)) {
                    self.forget(going.id);
                    gone.push(going);
                }
                continue;
            }
            let index = u32::try_from(placed.len()).unwrap_or(u32::MAX);
            let database = new.id.unwrap_or_else(|| self.new_database());
            if let Some(linked) = new.linked {
                self.unlink(database);
                self.linked.insert(*linked, database);
                self.links.insert(database, *linked);
            }
            if let Some(slot) = self.databases.get_mut(database.index as usize) {
                slot.place = Some((id, index));
            }
            placed.push(Entry { id: database, name, digest: new.digest, naming: new.naming });
            if new.id.is_none() {
                appeared.push((database, new.digest));
            }
        }
        if let Some(directory) = self.directory_mut(id) {
            // The name of one that was passed over stays among them: they are few.
            directory.names = names.into();
            directory.entries = placed.into();
        }
        Placed { appeared, gone, passed_over }
    }

    /// Removes directories with all below them and returns the databases that were there.
    pub(crate) fn remove_directories(&mut self, removed: &[DirectoryId]) -> Vec<Gone> {
        let removed: HashSet<_> = removed.iter().copied().collect();
        let parents: HashSet<_> =
            removed.iter().filter_map(|&id| self.directory(id)?.parent).collect();
        for parent in parents {
            if let Some(parent) = self.directory_mut(parent) {
                parent.children.retain(|child| !removed.contains(child));
            }
        }
        let mut below: Vec<_> = removed.into_iter().collect();
        let mut next = 0;
        while let Some(&id) = below.get(next) {
            below.extend(self.directory(id).into_iter().flat_map(|directory| &directory.children));
            next += 1;
        }
        below.sort_unstable();
        below.dedup();
        // Paths are known only as long as all directories above are.
        let entries =
            below.iter().filter_map(|&id| self.directory(id)).flat_map(|d| d.entries.iter());
        let gone: Vec<_> = entries.filter_map(|entry| self.going(entry.id)).collect();
        for gone in &gone {
            self.forget(gone.id);
        }
        for id in below {
            if self.directories.get_mut(id.index()).and_then(Option::take).is_some() {
                self.free_directories.push(id);
            }
        }
        gone
    }

    /// How many databases are in a directory and all below it.
    pub(crate) fn count_below(&self, id: DirectoryId) -> usize {
        let mut count = 0;
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            if let Some(directory) = self.directory(id) {
                count += directory.entries.len();
                pending.extend(&directory.children);
            }
        }
        count
    }

    fn new_database(&mut self) -> DatabaseId {
        let index = self.free_databases.pop().unwrap_or_else(|| {
            self.databases.push(Slot { generation: 0, place: None });
            u32::try_from(self.databases.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = self.databases.get(index as usize).map_or(0, |slot| slot.generation);
        DatabaseId { index, generation }
    }

    fn forget(&mut self, id: DatabaseId) {
        if let Some(slot) = self.databases.get_mut(id.index as usize)
            && slot.generation == id.generation
            && slot.place.take().is_some()
        {
            slot.generation = slot.generation.wrapping_add(1);
            self.free_databases.push(id.index);
            self.unlink(id);
        }
    }

    /// Forgets which file a database was, that was reached through a link.
    fn unlink(&mut self, id: DatabaseId) {
        if let Some(linked) = self.links.remove(&id) {
            self.linked.remove(&linked);
        }
    }
}

#[cfg(any(test, feature = "simulation"))]
pub(crate) fn test_id(index: u32) -> DatabaseId {
    DatabaseId { index, generation: 0 }
}

#[cfg(any(test, feature = "simulation"))]
impl DatabaseId {
    /// What [`test_id`] was given.
    pub(crate) fn test_number(self) -> u32 {
        self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_what_is_beside_it_do_not_disturb_each_other() {
        for name in [0, 1, 77_777, MAX_NAMES_BYTES] {
            for bits in 0..8 {
                let beside =
                    Beside { wal: bits & 1 > 0, journal: bits & 2 > 0, link: bits & 4 > 0 };
                let both = NameAndBeside::new(name, beside);
                assert_eq!((both.name(), both.beside()), (name, beside));
            }
        }
    }

    #[test]
    fn a_database_is_small() {
        assert!(size_of::<Entry>() + size_of::<Slot>() <= 44);
    }
}
