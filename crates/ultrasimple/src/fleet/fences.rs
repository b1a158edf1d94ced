//! Whether a store keeps an owner that was paused past its lease from writing: it must honour conditional writes
//! (R8). A directory must do so for processes on other hosts, too.

use std::fs;
use std::path::Path;

use ultrasimple_store::Capabilities;

/// `f_type` of network file systems whose locks hold between hosts: NFS (see [`nfs_locks`]), Ceph, GFS2, OCFS2.
const NFS: u64 = 0x6969;
const LOCKING: [u64; 3] = [0x00C3_6400, 0x0116_1970, 0x7461_636F];
const MOUNTS: &str = "/proc/self/mounts";

/// Why the store at `directory` (`None`: an S3 server) does not keep late writers out, if so.
pub(super) fn missing(able: Capabilities, directory: Option<&Path>) -> Option<String> {
    if !able.put_if_absent || !able.put_if_matches {
        return Some(
            "it does not honour conditional writes (If-None-Match and If-Match)".to_owned(),
        );
    }
    of_directory(directory?)
}

/// A directory's conditions are locks on files of it (`flock`): they hold on one host, and where the file system
/// carries them to all others. Of local file systems other hosts see nothing, and have a bucket of their own there:
/// that shows by the bucket's name.
fn of_directory(directory: &Path) -> Option<String> {
    use ultrasimple_sqlite::{FilesystemKind, filesystem_kind};
    match filesystem_kind(directory) {
        Ok(FilesystemKind::Local) => return None,
        Ok(FilesystemKind::Network) => {}
        Err(error) => return Some(format!("its file system cannot be looked at: {error}")),
    }
    let magic = rustix::fs::statfs(directory).map_or(0, |it| it.f_type.cast_unsigned());
    match magic & 0xFFFF_FFFF {
        NFS => nfs_locks(&fs::read_to_string(MOUNTS).unwrap_or_default(), directory),
        magic if LOCKING.contains(&magic) => None,
        _ => Some(
            "it is a directory on a network file system whose locks may not hold between hosts (those of \
             NFS, CephFS, GFS2 and OCFS2 do)"
                .to_owned(),
        ),
    }
}

/// NFS carries locks to its server, unless it was mounted with them kept on each host. `mounts` is the text of
/// `/proc/self/mounts`.
fn nfs_locks(mounts: &str, directory: &Path) -> Option<String> {
    let of_line = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let point = words.next()?.replace("\\040", " ");
        let options = words.nth(1)?.to_owned();
        directory.starts_with(&point).then_some((point.len(), options))
    };
    // The last of those that are mounted over each other.
    let (_, options) = mounts.lines().filter_map(of_line).max_by_key(|(length, _)| *length)?;
    let is_local =
        |option: &str| matches!(option, "nolock" | "local_lock=all" | "local_lock=flock");
    let option = options.split(',').find(|option| is_local(option))?;
    Some(format!("it is a directory on NFS that is mounted with {option}: mount it without that"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_conditions_are_needed() {
        for (put_if_absent, put_if_matches, good) in
            [(true, true, true), (true, false, false), (false, true, false), (false, false, false)]
        {
            let able = Capabilities { put_if_absent, put_if_matches };
            assert_eq!(missing(able, None).is_none(), good, "{able:?}");
        }
        let able = Capabilities { put_if_absent: true, put_if_matches: true };
        let local = tempfile::tempdir_in(".").unwrap();
        let kind = ultrasimple_sqlite::filesystem_kind(local.path()).unwrap();
        if kind == ultrasimple_sqlite::FilesystemKind::Local {
            assert_eq!(missing(able, Some(local.path())), None);
        }
        assert!(missing(able, Some(Path::new("/nowhere"))).is_some());
    }

    #[test]
    fn nfs_may_be_mounted_without_locks() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\n\
            a:/x /mnt nfs4 rw,vers=4.2,local_lock=none,addr=10.0.0.1 0 0\n\
            a:/y /mnt/my\\040own nfs rw,nolock,local_lock=all 0 0\n";
        let lacks = |path: &str| nfs_locks(mounts, Path::new(path));
        assert_eq!(lacks("/mnt/backups"), None);
        assert!(lacks("/mnt/my own/backups").unwrap().contains("mounted with nolock"));
        assert_eq!(lacks("/mnt/my ownership"), None);
    }
}
