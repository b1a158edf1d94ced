use ultrasimple_core::catalog::{HeldHour, Newest, Record};
use ultrasimple_core::{ContentHash, ETag, Epoch, Hour, KeyStem, ShardId, SourcePath, Timestamp};

use super::*;
use crate::versions::Object;

const KEY: &str = "data/t1/t1-20300115-140000.db.lz4";
const CATALOG: &str = ".ultrasimple/v1/catalog/default/3.jsonl.lz4";

fn at(minute: i64) -> Timestamp {
    let start: Timestamp = "2030-01-15T13:00:00Z".parse().unwrap();
    start + Duration::from_secs(u64::try_from(minute * 60).unwrap())
}

fn backup(epoch: u64, minute: i64, commits: i64) -> Backup {
    Backup {
        stored: Duration::from_secs(u64::try_from(commits).unwrap() * 10),
        node: "n0".to_owned(),
        epoch: Epoch(epoch),
        captured_at: at(minute),
        commits,
        content: ContentHash::of(&commits.to_le_bytes()),
    }
}

fn object(backups: Vec<Backup>) -> Object {
    Object { backups, etag: Some("e".to_owned()), ..Object::default() }
}

fn one(backups: Vec<Backup>) -> Objects {
    Objects::from([(KEY.to_owned(), object(backups))])
}

fn accounts(commits: u64) -> BTreeMap<String, Account> {
    let commits = (1..=commits).map(Duration::from_secs).collect();
    BTreeMap::from([("t1".to_owned(), Account { commits, ..Account::default() })])
}

fn listing(held: &[(&str, &str, u64)]) -> Listing {
    let entry =
        |(key, etag, size): &(&str, &str, u64)| ((*key).to_owned(), ((*etag).to_owned(), *size));
    held.iter().map(entry).collect()
}

#[track_caller]
fn finds(violations: &[Violation], rule: &str, text: &str) {
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].rule, rule);
    assert!(violations[0].what.contains(text), "{violations:?}");
}

#[test]
fn a_key_that_goes_back_is_found() {
    let fine = vec![backup(1, 1, 1), backup(1, 1, 1), backup(2, 2, 5)];
    assert_eq!(never_back(&one(fine), Duration::ZERO), []);
    for (earlier, later, what) in [
        (backup(2, 1, 1), backup(1, 2, 2), "epoch"),
        (backup(1, 2, 1), backup(1, 1, 2), "time of capture"),
        (backup(1, 1, 2), backup(1, 2, 1), "commits"),
    ] {
        finds(&never_back(&one(vec![earlier, later]), Duration::ZERO), "R5", what);
    }
    let epochs = vec![Epoch(3), Epoch(2)];
    let catalog = Object { epochs, ..Object::default() };
    let catalogs = Objects::from([(CATALOG.to_owned(), catalog)]);
    finds(&never_back(&catalogs, Duration::from_hours(1)), "R5", "from 3 to 2");
}

#[test]
fn a_clock_that_is_set_back_excuses_the_time_of_capture_alone_and_only_by_as_much() {
    let turned = Duration::from_mins(2);
    let back = |by: i64| one(vec![backup(1, 10, 1), backup(1, 10 - by, 2)]);
    assert_eq!(never_back(&back(2), turned), []);
    finds(&never_back(&back(3), turned), "R5", "time of capture");
    let older = one(vec![backup(1, 10, 2), backup(1, 9, 1)]);
    finds(&never_back(&older, turned), "R5", "commits");
}

#[test]
fn a_write_without_a_condition_is_found() {
    assert_eq!(always_conditional(&one(vec![])), []);
    for key in [KEY, CATALOG] {
        let bare = Object { unconditional: 2, ..Object::default() };
        finds(&always_conditional(&Objects::from([(key.to_owned(), bare)])), "R8", "2 times");
    }
}

#[test]
fn a_commit_that_is_not_stored_is_found() {
    assert_eq!(all_is_stored(&one(vec![backup(1, 1, 3)]), &accounts(3)), []);
    finds(&all_is_stored(&one(vec![backup(1, 1, 2)]), &accounts(3)), "R3", "3 commits");
    finds(&all_is_stored(&Objects::new(), &accounts(1)), "R3", "None");
    // Deleted again.
    let mut objects = one(vec![backup(1, 1, 3)]);
    objects.get_mut(KEY).unwrap().etag = None;
    finds(&all_is_stored(&objects, &accounts(3)), "R3", "None");
    // The newest hour decides.
    let mut objects = one(vec![backup(1, 1, 3)]);
    let later = KEY.replace("140000", "150000");
    objects.insert(later, object(vec![backup(1, 61, 2)]));
    finds(&all_is_stored(&objects, &accounts(3)), "R3", "150000");
    // What is gone need not be there.
    let mut gone = accounts(3);
    gone.get_mut("t1").unwrap().gone = Some(Duration::ZERO);
    assert_eq!(all_is_stored(&Objects::new(), &gone), []);
}

#[test]
fn commits_that_were_never_made_are_found() {
    assert_eq!(nothing_invented(&one(vec![backup(1, 1, 3)]), &accounts(3)), []);
    finds(&nothing_invented(&one(vec![backup(1, 1, 5)]), &accounts(3)), "R2", "5 commits of 3");
}

#[test]
fn a_bucket_that_is_not_as_written_is_found() {
    let objects = one(vec![backup(1, 1, 1)]);
    let before = listing(&[("notes.txt", "n", 4)]);
    let check =
        |held: &[(&str, &str, u64)]| bucket_is_as_written(&listing(held), &objects, &before);
    assert_eq!(check(&[("notes.txt", "n", 4), (KEY, "e", 9)]), []);
    finds(&check(&[("notes.txt", "x", 4), (KEY, "e", 9)]), "R11", "notes.txt was not ours");
    finds(&check(&[(KEY, "e", 9)]), "R11", "notes.txt");
    finds(&check(&[("notes.txt", "n", 4)]), "R4", "is None");
    finds(&check(&[("notes.txt", "n", 4), (KEY, "f", 9)]), "R4", KEY);
    let more = [("notes.txt", "n", 4), (KEY, "e", 9), ("more", "m", 1)];
    finds(&check(&more), "R11", "more is there");
    let foreign = Objects::from([("notes".to_owned(), object(vec![]))]);
    let found = bucket_is_as_written(&listing(&[("notes", "e", 1)]), &foreign, &Listing::new());
    finds(&found, "R11", "no key of ours");
}

#[test]
fn a_catalog_that_does_not_agree_is_found() {
    let stem = KeyStem::new("data/t1/t1", 1_024).unwrap();
    let mut record = Record::new(SourcePath::new(std::path::Path::new("/data/t1.db")));
    record.put_hour(HeldHour::new(Hour::of(at(1)), 9, ETag("e".into())));
    record.newest =
        Some(Newest { captured_at: at(1), blake3: ContentHash::of(b""), size: 1, marked: None });
    let catalog = Catalog {
        key: ShardKey { volume: "default".parse().unwrap(), shard: ShardId(3) },
        shards: 16,
        epoch: Epoch(1),
        node: "n0".parse().unwrap(),
        written_at: at(1),
        is_final: true,
        verified_at: None,
        reconciled_at: None,
        databases: BTreeMap::from([(stem, record)]),
    };
    let catalogs = [catalog];
    let check = |held: &[(&str, &str, u64)]| {
        catalogs_agree(&catalogs, &listing(held), &accounts(1), Known::Newest)
    };
    assert_eq!(check(&[(KEY, "e", 9), ("notes", "n", 1)]), []);
    finds(&check(&[(KEY, "f", 9)]), "catalog", KEY);
    finds(&check(&[(KEY, "e", 8)]), "catalog", KEY);
    finds(&check(&[]), "catalog", "None");
    let later = KEY.replace("140000", "150000");
    finds(&check(&[(KEY, "e", 9), (&later, "e", 9)]), "catalog", "is in no catalog");
    // An earlier hour may have been missed, but not for ever.
    let earlier = KEY.replace("140000", "130000");
    let both = [(KEY, "e", 9), (earlier.as_str(), "d", 9)];
    assert_eq!(check(&both), []);
    let strict = catalogs_agree(&catalogs, &listing(&both), &accounts(1), Known::All);
    finds(&strict, "catalog", "130000");
    let mut gone = accounts(1);
    gone.get_mut("t1").unwrap().gone = Some(Duration::ZERO);
    assert_eq!(catalogs_agree(&catalogs, &Listing::new(), &gone, Known::All), []);
}

#[test]
fn exposure_is_reckoned_from_the_oldest_commit_that_waits() {
    // Commits at 1, 2 and 3 s; stored at 10 s with the first, at 30 s with all.
    let objects = one(vec![backup(1, 1, 1), backup(1, 2, 3)]);
    let longest = longest_exposure(&objects, &accounts(3));
    assert_eq!(longest, Some((Duration::from_secs(28), "t1, until 30s".to_owned())));
    assert_eq!(longest_exposure(&Objects::new(), &accounts(3)), None);
}

#[test]
fn repeated_uploads_are_counted() {
    let objects = one(vec![backup(1, 1, 1), backup(2, 2, 1), backup(2, 3, 2)]);
    assert_eq!(repeated(&objects), 1);
}
