//! What happens when the object at a key is replaced between the look at its footer and the download,
//! as the current hour's is by a running daemon; or when a catalog told what it is, and it is not.

use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::{CheckResult, ContentHash, SourcePath, Timestamp, object};
use ultrasimple_store::Inventory;

use super::*;
use crate::testing::{Memory, fields, hour, stem};

const HOW: How = How { force: false, check: false };

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn put(memory: &mut Memory, hour_index: u32, image: &[u8], fields: FooterFields) {
    let key = stem("t1").at(hour(hour_index)).to_string();
    memory.put_bytes(&key, object::encode(image, fields).unwrap().0);
}

/// Picks under `rule`, lets `then` change the bucket, and restores what was picked. Gives the image, or
/// the reason that there is none.
async fn restored(
    memory: Memory,
    rule: Rule,
    then: impl FnOnce(&mut Memory),
) -> Result<Vec<u8>, String> {
    restored_by(memory, rule, None, then).await
}

/// The same, where a catalog told of hour 2 what it is.
async fn restored_by(
    mut memory: Memory,
    rule: Rule,
    hint: Option<Facts>,
    then: impl FnOnce(&mut Memory),
) -> Result<Vec<u8>, String> {
    let inventory = Inventory::list(&memory, "", rule.at).await.unwrap();
    let mut search = Search::new(stem("t1"), &inventory.databases()[&stem("t1")], rule);
    if let Some(facts) = hint {
        search.hint(hour(2), facts);
    }
    let pick = search.next(&memory).await.unwrap();
    then(&mut memory);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("t1.db");
    let progress = Progress::new(true);
    match restore(&memory, &mut search, pick, &target, HOW, &progress).await {
        Ok(_) => Ok(std::fs::read(target).unwrap()),
        Err(NoPick::Bad(reason) | NoPick::Store(reason)) => {
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            Err(reason)
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// Captures at 0:30 and 1:10.
fn bucket() -> Memory {
    let mut memory = Memory::default();
    put(&mut memory, 1, b"at 0:30", fields(b"/t1.db", at(30), CheckResult::Passed));
    put(&mut memory, 2, b"at 1:10", fields(b"/t1.db", at(70), CheckResult::Passed));
    memory
}

#[tokio::test]
async fn a_newer_capture_is_taken_instead() {
    for image in [&b"at 1:20"[..], b"at 1:20, and longer", b"short"] {
        let replace =
            |m: &mut Memory| put(m, 2, image, fields(b"/t1.db", at(80), CheckResult::Passed));
        let rule = Rule { at: Some(at(90)), ..Rule::default() };
        assert_eq!(restored(bucket(), rule, replace).await.unwrap(), image);
    }
}

#[tokio::test]
async fn one_that_is_too_late_by_now_is_not() {
    let replace =
        |m: &mut Memory| put(m, 2, b"at 1:20", fields(b"/t1.db", at(80), CheckResult::Passed));
    let rule = Rule { at: Some(at(75)), ..Rule::default() };
    assert_eq!(restored(bucket(), rule, replace).await.unwrap(), b"at 0:30");
}

#[tokio::test]
async fn one_that_is_marked_gone_or_another_by_now_is_refused() {
    let marked = |m: &mut Memory| {
        let check = CheckResult::Failed("page 3".to_owned());
        put(m, 2, b"at 1:20", fields(b"/t1.db", at(80), check));
    };
    let other =
        |m: &mut Memory| put(m, 2, b"other", fields(b"/t2.db", at(80), CheckResult::Passed));
    let damaged =
        |m: &mut Memory| m.put_bytes(&stem("t1").at(hour(2)).to_string(), b"damaged".to_vec());
    for (then, word) in [
        (&marked as &dyn Fn(&mut Memory), "page 3"),
        (&other, "by now a backup of /t2.db"),
        (&damaged, "footer"),
    ] {
        let reason = restored(bucket(), Rule::default(), then).await.unwrap_err();
        assert!(reason.contains(word) && reason.contains("--or-older"), "{reason}");
        let rule = Rule { or_older: true, ..Rule::default() };
        assert_eq!(restored(bucket(), rule, then).await.unwrap(), b"at 0:30");
    }
}

fn told(path: &str, captured_at: Timestamp, image: &[u8]) -> Facts {
    Facts {
        volume: "default".parse().unwrap(),
        path: SourcePath::from_bytes(path.as_bytes()),
        captured_at,
        blake3: ContentHash::of(image),
        size: image.len() as u64,
        marked: None,
    }
}

#[tokio::test]
async fn what_a_catalog_tells_is_not_believed_over_the_object() {
    let nothing = |_: &mut Memory| {};
    let rule = Rule { at: Some(at(75)), ..Rule::default() };
    for (hint, says) in [
        (told("/t1.db", at(70), b"at 1:10"), "what is there"),
        (told("/t1.db", at(65), b"at 1:05"), "an earlier capture"),
        (told("/t1.db", at(65), b"1"), "a smaller one"),
    ] {
        let image = restored_by(bucket(), rule, Some(hint), nothing).await;
        assert_eq!(image.unwrap(), b"at 1:10", "it told of {says}");
    }
    // Early enough by the catalog, too late by its own footer.
    let rule = Rule { at: Some(at(69)), ..rule };
    let hint = told("/t1.db", at(65), b"at 1:05");
    assert_eq!(restored_by(bucket(), rule, Some(hint), nothing).await.unwrap(), b"at 0:30");
    let hint = told("/t2.db", at(70), b"at 1:10");
    let reason = restored_by(bucket(), Rule::default(), Some(hint), nothing).await.unwrap_err();
    assert!(reason.contains("a backup of /t1.db") && reason.contains("rebuild"), "{reason}");
}
