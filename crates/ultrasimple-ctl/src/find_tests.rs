//! What the operator may write, and which databases are asked for their path.

use ultrasimple_core::CheckResult;

use super::*;
use crate::testing::{Memory, fields, stem};

fn put(memory: &mut Memory, key: &str, path: &str) {
    let time = "2024-01-15T13:05:00Z".parse().unwrap();
    memory.put_backup(key, fields(path.as_bytes(), time, CheckResult::Passed));
}

fn find(memory: &Memory, word: &str) -> anyhow::Result<KeyStem> {
    let wanted = Wanted::parse(OsStr::new(word), memory.location())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(super::stem(memory, &wanted))
}

#[test]
fn what_was_written() {
    let parse = |word: &str| Wanted::parse(OsStr::new(word), "s3://b/p");
    let key = "a/t1-20240115-140000.db.lz4";
    assert_eq!(parse("/d/t1.db").unwrap(), Wanted::Path(SourcePath::from_bytes(b"/d/t1.db")));
    assert_eq!(parse("a/t1").unwrap(), Wanted::Stem(stem("a/t1")));
    assert_eq!(parse(key).unwrap(), Wanted::Key(BackupKey::parse(key).unwrap()));
    assert_eq!(parse(&format!("s3://b/p/{key}")).unwrap(), parse(key).unwrap());
    assert!(
        matches!(parse("./t1.db").unwrap(), Wanted::Path(path) if path.as_path().is_absolute())
    );
    for wrong in ["", "a//b", "a/../b", ".ultrasimple/x"] {
        assert!(format!("{:#}", parse(wrong).unwrap_err()).contains("nor a key"), "{wrong}");
    }
}

#[test]
fn a_path_is_found_with_few_requests() {
    let mut memory = Memory::default();
    for n in 0..50 {
        let (key, path) =
            (format!("acme/t{n}/t{n}-20240115-140000.db.lz4"), format!("/data/acme/t{n}.db"));
        put(&mut memory, &key, &path);
    }
    assert_eq!(find(&memory, "/data/acme/t7.db").unwrap(), stem("acme/t7/t7"));
    // The cluster file, which is not there, and one footer.
    assert_eq!(memory.reads(), 2);
    let error = find(&memory, "/data/other/t7.db").unwrap_err().to_string();
    assert!(
        error.contains("no backup of /data/other/t7.db") && error.contains("--paths"),
        "{error}"
    );
}

#[test]
fn an_object_copied_by_hand_is_found_too() {
    let mut memory = Memory::default();
    put(&mut memory, "saved/before-20240115-140000.db.lz4", "/data/t1.db");
    put(&mut memory, "x/t1-20240115-140000.db.lz4", "/data/x/t1.db");
    assert_eq!(find(&memory, "/data/t1.db").unwrap(), stem("saved/before"));
}

#[test]
fn an_ambiguous_path_names_the_candidates() {
    let mut memory = Memory::default();
    put(&mut memory, "a/t1-20240115-140000.db.lz4", "/data/t1.db");
    put(&mut memory, "b/t1-20240115-140000.db.lz4", "/data/t1.db");
    let error = find(&memory, "/data/t1.db").unwrap_err().to_string();
    assert!(error.contains("\n  a/t1  (volume default, node n"), "{error}");
    assert!(error.contains("\n  b/t1  ") && error.contains("by its key stem"), "{error}");
}

#[test]
fn a_damaged_newest_backup_does_not_hide_a_database() {
    let mut memory = Memory::default();
    put(&mut memory, "a/t1-20240115-140000.db.lz4", "/data/t1.db");
    memory.put_bytes("a/t1-20240115-150000.db.lz4", b"damaged".to_vec());
    assert_eq!(find(&memory, "/data/t1.db").unwrap(), stem("a/t1"));
}

#[test]
fn of_very_many_with_one_name_the_likely_ones_come_first() {
    let stems: Vec<_> = (0..2_000).map(|n| stem(&format!("tenant-{n}/data"))).collect();
    let path = SourcePath::from_bytes(b"/srv/tenants/tenant-7/data.db");
    let order = order(&path, stems.iter());
    assert_eq!((order.first, order.left_out), (vec![&stems[7]], 1_999));
    let few = super::order(&path, stems[..900].iter());
    assert_eq!((few.first.len(), few.left_out), (900, 0));
}
