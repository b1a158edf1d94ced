//! A second run, where a catalog tells of an earlier state than the bucket has.

use ultrasimple_core::{CheckResult, ContentHash, object};
use ultrasimple_store::Inventory;

use super::*;
use crate::testing::{Memory, fields, hour, stem};

/// What comes of a database of which a catalog `told`, and of which `there` is in its place. The bucket has `later`, or
/// what is no backup any more.
async fn came(told: &[u8], there: &[u8], is_lost: bool, how: How) -> Line {
    let captured_at = |second| Timestamp::from_second(second).unwrap();
    let mut memory = Memory::default();
    let key = stem("t1").at(hour(1)).to_string();
    let footer = fields(b"/t1.db", captured_at(600), CheckResult::Passed);
    let (object, _) = object::encode(b"later", footer).unwrap();
    memory.put_bytes(&key, if is_lost { object[..object.len() - 9].to_vec() } else { object });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t1.db"), there).unwrap();
    let rule = Rule { or_older: true, ..Rule::default() };
    let (to, filter, json, parallel) = (folder.path(), None, true, 1);
    let task = Task { to, filter, by_volume: false, rule, how, parallel, json };
    let inventory = Inventory::list(&memory, "", None).await.unwrap();
    let mut search = Search::new(stem("t1"), &inventory.databases()[&stem("t1")], rule);
    let facts = Facts {
        volume: "default".parse().unwrap(),
        path: SourcePath::from_bytes(b"/t1.db"),
        captured_at: captured_at(if told == b"later" { 600 } else { 300 }),
        blake3: ContentHash::of(told),
        size: 5,
        marked: None,
    };
    search.hint(hour(1), facts);
    let pick = search.next(&memory).await.unwrap();
    let (place, progress) = (Ok("t1.db".into()), Progress::new(true));
    restore_one(&memory, &task, folder.path(), search, pick, place, &progress).await
}

#[tokio::test]
async fn what_is_there_is_right_if_the_bucket_says_so() {
    let keep = How { force: false, check: false };
    for (told, there, expected) in [
        (&b"later"[..], &b"later"[..], Came::Skipped),
        // An earlier state is not replaced without --force, and it is said that it is in the way.
        (b"early", b"early", Came::Failed),
        (b"early", b"later", Came::Skipped),
        (b"later", b"early", Came::Failed),
    ] {
        let line = came(told, there, false, keep).await;
        assert_eq!(line.result, expected, "{told:?} {there:?}: {:?}", line.reason);
    }
    let replace = How { force: true, check: false };
    assert_eq!(came(b"early", b"early", false, replace).await.result, Came::Restored);
}

/// Else --force and --or-older would put an older state in the place of what is right.
#[tokio::test]
async fn what_is_there_is_right_where_only_a_catalog_knows() {
    let replace = How { force: true, check: false };
    assert_eq!(came(b"later", b"later", true, replace).await.result, Came::Skipped);
    assert_eq!(came(b"later", b"early", true, replace).await.result, Came::Failed);
}
