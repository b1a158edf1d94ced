//! R1 by construction: while a thread is sealed, SQLite finds itself on a read-only file system.
//!
//! SQLite's read-only modes still write: opening a WAL database whose `-wal` has just gone creates one;
//! as root it `fchown`s the `-shm`, which moves its ctime; a database of no pages makes it delete `-wal`
//! and `-journal`; a rollback in scratch may delete the super-journal that the journal names, in the
//! user's directory. So its system calls go through here (`xSetSystemCall` of the `unix` VFS): in a
//! sealed thread opening for writing and unlinking fail with `EROFS`, and changes of mode and owner do
//! nothing. SQLite then does what it does on read-only media. Other threads are not affected.
//!
//! What is left is `fcntl` locks: on a descriptor opened read-only the kernel grants shared ones only.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::ffi;
use rustix::io::Errno;

thread_local! {
    static SEALED: Cell<bool> = const { Cell::new(false) };
    /// The directory below which a sealed thread may write: its scratch. Empty: nowhere.
    static ALLOWED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, SQLite can't write in this thread. Not nested.
pub(crate) struct Seal(PhantomData<*const ()>);

impl Seal {
    /// Seals this thread, but for what is below `scratch`, if given.
    ///
    /// `None` if SQLite's system calls can't be replaced, which its documentation excludes for the `unix`
    /// VFS: the caller must not go on.
    pub(crate) fn new(scratch: Option<&Path>) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        ALLOWED.with_borrow_mut(|allowed| {
            allowed.clear();
            if let Some(scratch) = scratch {
                allowed.extend_from_slice(scratch.as_os_str().as_bytes());
                allowed.push(b'/');
            }
        });
        SEALED.set(true);
        Some(Self(PhantomData))
    }
}

impl Drop for Seal {
    fn drop(&mut self) {
        SEALED.set(false);
    }
}

type Open = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
type Unlink = unsafe extern "C" fn(*const c_char) -> c_int;
type Fchmod = unsafe extern "C" fn(c_int, c_uint) -> c_int;
type Fchown = unsafe extern "C" fn(c_int, c_uint, c_uint) -> c_int;

/// The system calls as SQLite had them.
struct Originals {
    open: Open,
    unlink: Unlink,
    fchmod: Fchmod,
    fchown: Fchown,
}

static ORIGINALS: OnceLock<Option<Originals>> = OnceLock::new();

/// The original calls, which the replacements pass on to. There once any replacement is in the table.
fn originals_in_use() -> Option<&'static Originals> {
    ORIGINALS.get()?.as_ref()
}

/// Puts the replacements in the table, once in the life of the process.
fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: the originals are kept before the first replacement, which needs them, is installed.
        ORIGINALS.get_or_init(|| unsafe { look_up() }).is_some() && unsafe { replace() }
    })
}

/// # Safety
/// The types are those of SQLite's `aSyscall` table (`os_unix.c`): `posixOpen(const char*, int, int)`,
/// `unlink`, `fchmod`, `fchown`.
unsafe fn look_up() -> Option<Originals> {
    // SAFETY: finds a VFS that is registered for the life of the process; names are C strings.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(c"unix".as_ptr());
        let get = vfs.as_ref()?.xGetSystemCall?;
        let find = |name: &CStr| get(vfs, name.as_ptr());
        Some(Originals {
            open: std::mem::transmute::<unsafe extern "C" fn(), Open>(find(c"open")?),
            unlink: std::mem::transmute::<unsafe extern "C" fn(), Unlink>(find(c"unlink")?),
            fchmod: std::mem::transmute::<unsafe extern "C" fn(), Fchmod>(find(c"fchmod")?),
            fchown: std::mem::transmute::<unsafe extern "C" fn(), Fchown>(find(c"fchown")?),
        })
    }
}

/// # Safety
/// As [`look_up`]; each replacement has the type of what it replaces. The table is a static array of
/// pointers that SQLite reads whenever it calls: a pointer-sized store, old or new, both valid.
unsafe fn replace() -> bool {
    // SAFETY: as above.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(c"unix".as_ptr());
        let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) else {
            return false;
        };
        let put = |name: &CStr, call: *const ()| {
            let call = std::mem::transmute::<*const (), unsafe extern "C" fn()>(call);
            set(vfs, name.as_ptr(), Some(call)) == ffi::SQLITE_OK
        };
        put(c"open", sealed_open as *const ())
            && put(c"unlink", sealed_unlink as *const ())
            && put(c"fchmod", sealed_fchmod as *const ())
            && put(c"fchown", sealed_fchown as *const ())
    }
}

unsafe extern "C" {
    /// Where this thread's `errno` is (glibc and musl).
    fn __errno_location() -> *mut c_int;
}

/// What a read-only file system says.
fn refuse() -> c_int {
    // SAFETY: the C library returns a valid pointer for the life of the thread.
    unsafe { *__errno_location() = Errno::ROFS.raw_os_error() };
    -1
}

/// # Safety
/// `path` is a C string.
unsafe fn is_allowed(path: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    ALLOWED.with_borrow(|allowed| !allowed.is_empty() && path.starts_with(allowed))
}

unsafe extern "C" fn sealed_open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    use rustix::fs::OFlags;
    let writing = OFlags::WRONLY | OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
    let writes = OFlags::from_bits_retain(flags.cast_unsigned()).intersects(writing);
    // SAFETY: SQLite passes a C string; the originals are there, as this function is in the table.
    unsafe {
        if SEALED.get() && writes && !is_allowed(path) {
            return refuse();
        }
        match originals_in_use() {
            Some(originals) => (originals.open)(path, flags, mode),
            None => refuse(),
        }
    }
}

unsafe extern "C" fn sealed_unlink(path: *const c_char) -> c_int {
    // SAFETY: as in `sealed_open`.
    unsafe {
        if SEALED.get() && !is_allowed(path) {
            return refuse();
        }
        originals_in_use().map_or_else(refuse, |originals| (originals.unlink)(path))
    }
}

unsafe extern "C" fn sealed_fchmod(file: c_int, mode: c_uint) -> c_int {
    if SEALED.get() {
        return 0;
    }
    // SAFETY: as in `sealed_open`.
    originals_in_use().map_or_else(refuse, |originals| unsafe { (originals.fchmod)(file, mode) })
}

unsafe extern "C" fn sealed_fchown(file: c_int, user: c_uint, group: c_uint) -> c_int {
    if SEALED.get() {
        return 0;
    }
    // SAFETY: as in `sealed_open`.
    originals_in_use().map_or_else(refuse, |calls| unsafe { (calls.fchown)(file, user, group) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{Connection, OpenFlags};

    fn write(path: &Path) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        Connection::open_with_flags(path, flags)?
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(x)")
    }

    /// Why each call matters: `open` for the `-wal` of a WAL database, `unlink` for what lies beside an empty
    /// one, `fchown` for the ctime of a `-shm` as root.
    #[test]
    fn a_sealed_thread_finds_a_read_only_file_system() {
        let place = tempfile::TempDir::new().unwrap();
        let scratch = place.path().canonicalize().unwrap().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let database = place.path().join("db");
        write(&database).unwrap();
        let names = || std::fs::read_dir(place.path()).unwrap().count();
        assert_eq!(names(), 2, "closed cleanly");

        let seal = Seal::new(Some(&scratch)).unwrap();
        assert!(write(&place.path().join("new")).is_err());
        let reader =
            Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        assert!(reader.query_row("SELECT count(*) FROM t", [], |_| Ok(())).is_err());
        drop(reader);
        let empty = place.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        std::fs::write(place.path().join("empty-wal"), b"precious").unwrap();
        let reader = Connection::open_with_flags(&empty, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let _ = reader.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        drop(reader);
        assert_eq!(names(), 4, "nothing created, nothing deleted");
        write(&scratch.join("db")).unwrap();
        // Another thread is not sealed.
        let elsewhere = place.path().join("elsewhere");
        std::thread::scope(|scope| scope.spawn(|| write(&elsewhere)).join()).unwrap().unwrap();

        drop(seal);
        write(&place.path().join("new")).unwrap();
    }
}
