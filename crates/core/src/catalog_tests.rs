use proptest::prelude::*;

use super::format::CatalogError;
use super::*;
use crate::ShardId;

const GOLDEN: &[u8] = include_bytes!("../golden/catalog-v1.jsonl.lz4");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn stem(text: &str) -> KeyStem {
    KeyStem::try_from(text.to_owned()).unwrap()
}

fn key() -> ShardKey {
    ShardKey { volume: "default".parse().unwrap(), shard: ShardId(7) }
}

fn empty() -> Catalog {
    Catalog::new(key(), 256, Epoch(3), "n1".parse().unwrap(), at("2024-01-15T14:00:01Z"))
}

fn newest(captured_at: &str, content: &[u8]) -> Newest {
    let (captured_at, size) = (at(captured_at), content.len() as u64);
    Newest { captured_at, blake3: ContentHash::of(content), size, marked: None }
}

fn stored(captured_at: &str, content: &[u8], tag: &str) -> StoredBackup {
    StoredBackup { bytes: 99, etag: ETag(tag.into()), newest: newest(captured_at, content) }
}

/// A change whose fingerprint is of what was stored last.
fn change(stem_text: &str, stored: Vec<StoredBackup>) -> Change {
    let content = stored.last().map_or(ContentHash::of(b""), |last| last.newest.blake3);
    Change {
        stem: stem(stem_text),
        path: SourcePath::from_bytes(format!("/data/{stem_text}.db").as_bytes()),
        stored,
        fingerprint: Some((FingerprintDigest::NONE, content.short())),
        failed_check: None,
        gone_since: None,
    }
}

/// The catalog of the golden file: every field once.
fn golden() -> Catalog {
    let mut catalog = empty();
    catalog.is_final = true;
    catalog.verified_at = Some(at("2024-01-15T12:00:00Z"));
    catalog.reconciled_at = Some(at("2024-01-15T03:00:00Z"));
    let two = vec![
        stored("2024-01-15T12:59:59Z", b"one", "\"e1\""),
        stored("2024-01-15T13:05:00Z", b"two", "\"e2\""),
    ];
    catalog.apply(change("acme/t1/t1", two));
    let mut damaged = stored("2024-01-15T13:05:00Z", b"x", "e3");
    damaged.newest.marked = Some("page 2".into());
    let mut gone = change("acme/t2/t2", vec![damaged]);
    gone.path = SourcePath::from_bytes(b"/data/\xff.db");
    gone.fingerprint = None;
    gone.failed_check = Some("page 3".into());
    gone.gone_since = Some(at("2024-01-15T13:59:00Z"));
    catalog.apply(gone);
    catalog.edit(Edit::Verified {
        stem: stem("acme/t1/t1"),
        hour: Hour::of(at("2024-01-15T12:30:00Z")),
        etag: ETag("\"e1\"".into()),
        at: at("2024-01-15T13:30:00Z"),
        fault: None,
    });
    let record = catalog.databases.get_mut(&stem("acme/t1/t1")).unwrap();
    record.hours[1].fault = Some("cut off".into());
    record.hours[1].foreign = Some("/data/other.db".into());
    catalog
}

fn unpack(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut decoder = lz4_flex::frame::FrameDecoder::new(bytes);
    std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
    text
}

fn pack(text: &str) -> Vec<u8> {
    let frame = lz4_flex::frame::FrameInfo::new().content_checksum(true);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_stored_form_stays_readable() {
    if std::env::var_os("ULTRASIMPLE_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/catalog-v1.jsonl.lz4");
        std::fs::write(path, golden().to_bytes().unwrap()).unwrap();
    }
    assert_eq!(Catalog::parse(GOLDEN, &key()).unwrap(), golden());
    assert_eq!(unpack(&golden().to_bytes().unwrap()), unpack(GOLDEN));
}

#[test]
fn keys() {
    let text = ".ultrasimple/v1/catalog/default/7.jsonl.lz4";
    assert_eq!(key().object_key().as_str(), text);
    assert_eq!(ShardKey::parse(text), Some(key()));
    for foreign in [
        ".ultrasimple/v1/catalog/default/07.jsonl.lz4",
        ".ultrasimple/v1/catalog/default/+7.jsonl.lz4",
        ".ultrasimple/v1/catalog/default/7.jsonl",
        ".ultrasimple/v1/catalog/7.jsonl.lz4",
        ".ultrasimple/v1/catalog/a/b/7.jsonl.lz4",
        "x/.ultrasimple/v1/catalog/default/7.jsonl.lz4",
    ] {
        assert_eq!(ShardKey::parse(foreign), None, "{foreign}");
    }
}

#[test]
fn what_is_cut_damaged_newer_or_foreign_is_told_apart() {
    let bytes = golden().to_bytes().unwrap();
    for cut in 0..bytes.len() {
        let error = Catalog::parse(&bytes[..cut], &key()).unwrap_err();
        assert!(matches!(error, CatalogError::Damaged(_)), "cut at {cut}: {error}");
    }
    let newer = pack("{\"format\":2,\"all\":\"else\"}\nmay be different\n");
    assert_eq!(Catalog::parse(&newer, &key()), Err(CatalogError::Newer(2)));
    let other = ShardKey { shard: ShardId(8), ..key() };
    assert!(matches!(Catalog::parse(&bytes, &other), Err(CatalogError::Foreign { .. })));
    for bad in ["", "\n", "{}\n", "[]\n", "{\"format\":1}\n", "{\"format\":1"] {
        let parsed = Catalog::parse(&pack(bad), &key());
        assert!(matches!(parsed, Err(CatalogError::Damaged(_))), "{bad}");
    }
    let text = unpack(&bytes);
    let shorter = text.split_inclusive('\n').take(2).collect::<String>();
    let error = Catalog::parse(&pack(&shorter), &key()).unwrap_err();
    assert!(error.to_string().contains("1 databases and says that it has 2"), "{error}");
}

#[test]
fn unknown_fields_are_passed_over() {
    let bytes = golden().to_bytes().unwrap();
    let text = unpack(&bytes);
    let more = text.replace("{\"", "{\"later\":[1],\"");
    assert_eq!(Catalog::parse(&pack(&more), &key()).unwrap(), golden());
}

#[test]
fn the_newest_backup_is_that_of_the_last_hour() {
    let mut catalog = empty();
    let later = vec![stored("2024-01-15T13:05:00Z", b"two", "e2")];
    catalog.apply(change("t1", later));
    // Learned of late: an hour before.
    catalog.apply(change("t1", vec![stored("2024-01-15T12:05:00Z", b"one", "e1")]));
    let record = &catalog.databases[&stem("t1")];
    assert_eq!(record.newest, Some(newest("2024-01-15T13:05:00Z", b"two")));
    assert_eq!(record.hours.len(), 2);
}

#[test]
fn another_object_under_the_key_was_not_verified() {
    let mut catalog = empty();
    catalog.apply(change("t1", vec![stored("2024-01-15T13:05:00Z", b"one", "e1")]));
    let hour = Hour::of(at("2024-01-15T13:05:00Z"));
    let now = at("2024-01-15T13:10:00Z");
    let record = |catalog: &mut Catalog| catalog.databases[&stem("t1")].hours[0].clone();
    let verify = |catalog: &mut Catalog, tag: &str| {
        let (stem, etag, fault) = (stem("t1"), ETag(tag.into()), Some("cut".into()));
        catalog.edit(Edit::Verified { stem, hour, etag, at: now, fault });
    };
    verify(&mut catalog, "e0");
    assert_eq!(record(&mut catalog).verified_at, None, "another object was");
    verify(&mut catalog, "e1");
    assert_eq!(record(&mut catalog).verified_at, Some(now));
    assert_eq!(catalog.databases[&stem("t1")].newest_is_bad(), Some("cut"));
    catalog.apply(change("t1", vec![stored("2024-01-15T13:05:00Z", b"one", "e1")]));
    assert_eq!(record(&mut catalog).verified_at, Some(now), "it is the same object");
    catalog.apply(change("t1", vec![stored("2024-01-15T13:15:00Z", b"two", "e2")]));
    assert_eq!(record(&mut catalog).verified_at, None);
    assert_eq!(catalog.databases[&stem("t1")].newest_is_bad(), None);
}

#[test]
fn a_fingerprint_never_outlives_the_backup_it_is_of() {
    let mut catalog = empty();
    let two = ["2024-01-15T12:05:00Z", "2024-01-15T13:05:00Z"];
    let all = two.map(|time| stored(time, time.as_bytes(), time)).to_vec();
    catalog.apply(change("t1", all));
    catalog.forget_hour(&stem("t1"), Hour::of(at(two[0])));
    assert!(catalog.databases[&stem("t1")].fingerprint.is_some());
    catalog.forget_hour(&stem("t1"), Hour::of(at(two[1])));
    assert!(catalog.databases.is_empty(), "nothing is held of it");
    catalog.apply(change("t1", Vec::new()));
    assert!(catalog.databases.is_empty(), "a fingerprint alone is not a backup");

    catalog.apply(change("t1", two.map(|time| stored(time, time.as_bytes(), time)).to_vec()));
    catalog.forget_hour(&stem("t1"), Hour::of(at(two[1])));
    catalog.apply(change("t1", Vec::new()));
    let record = &catalog.databases[&stem("t1")];
    assert_eq!((record.fingerprint, &record.newest), (None, &None));
}

#[test]
fn a_backup_that_was_found_is_not_the_state_the_fingerprint_is_of() {
    let mut catalog = empty();
    catalog.apply(change("t1", vec![stored("2024-01-15T12:05:00Z", b"one", "e1")]));
    let found = |time: &str, newest| Edit::Found {
        stem: stem("t1"),
        path: SourcePath::from_bytes(b"/data/t1.db"),
        held: HeldHour::new(Hour::of(at(time)), 9, ETag("e2".into())),
        newest,
        fingerprint: None,
    };
    catalog.edit(found("2024-01-15T11:05:00Z", None));
    let record = &catalog.databases[&stem("t1")];
    assert!(record.fingerprint.is_some() && record.newest.is_some(), "it is an older one");
    let later = newest("2024-01-15T13:05:00Z", b"two");
    catalog.edit(found("2024-01-15T13:05:00Z", Some(later.clone())));
    let record = &catalog.databases[&stem("t1")];
    assert_eq!((record.fingerprint, &record.newest), (None, &Some(later)));
    assert_eq!(record.hours.len(), 3);
}

#[test]
fn a_backup_that_was_found_tells_its_fingerprint_where_its_footer_does() {
    let time = "2024-01-15T13:05:00Z";
    let found = |fingerprint| Edit::Found {
        stem: stem("t1"),
        path: SourcePath::from_bytes(b"/data/t1.db"),
        held: HeldHour::new(Hour::of(at(time)), 9, ETag("e".into())),
        newest: Some(newest(time, b"one")),
        fingerprint,
    };
    let told = Some(FingerprintDigest::NONE);
    for (first, then, expected) in [(None, told, told), (told, None, told), (None, None, None)] {
        let mut catalog = empty();
        catalog.edit(found(first));
        catalog.edit(found(then));
        assert_eq!(catalog.databases[&stem("t1")].fingerprint, expected);
    }
}

#[test]
fn a_fingerprint_is_kept_only_with_the_content_it_is_of() {
    let mut catalog = empty();
    let two = ["2024-01-15T12:05:00Z", "2024-01-15T13:05:00Z"];
    catalog.apply(change("t1", two.map(|time| stored(time, time.as_bytes(), time)).to_vec()));
    // Somebody deletes the newest; what is left is found, and what it is.
    catalog.forget_hour(&stem("t1"), Hour::of(at(two[1])));
    catalog.edit(Edit::Found {
        stem: stem("t1"),
        path: SourcePath::from_bytes(b"/data/t1.db"),
        held: HeldHour::new(Hour::of(at(two[0])), 99, ETag(two[0].into())),
        newest: Some(newest(two[0], two[0].as_bytes())),
        fingerprint: None,
    });
    let fingerprint = |catalog: &mut Catalog, content: &str| {
        let mut touched = change("t1", Vec::new());
        touched.fingerprint =
            Some((FingerprintDigest::NONE, ContentHash::of(content.as_bytes()).short()));
        catalog.apply(touched);
        catalog.databases[&stem("t1")].fingerprint
    };
    // Its owner does not know, and goes on.
    assert_eq!(fingerprint(&mut catalog, two[1]), None, "that content is in no backup any more");
    assert!(fingerprint(&mut catalog, two[0]).is_some());
}

#[test]
fn an_object_of_others_does_not_hide_that_the_newest_is_bad() {
    let mut catalog = empty();
    let two = ["2024-01-15T12:05:00Z", "2024-01-15T13:05:00Z"];
    catalog.apply(change("t1", two.map(|time| stored(time, time.as_bytes(), time)).to_vec()));
    let record = catalog.databases.get_mut(&stem("t1")).unwrap();
    record.hours[0].fault = Some("cut".into());
    assert_eq!(record.newest_is_bad(), None);
    record.hours[1].foreign = Some("/data/other.db".into());
    assert_eq!(record.newest_own().unwrap().hour, Hour::of(at(two[0])));
    assert_eq!(record.newest_is_bad(), Some("cut"));
}

#[test]
fn a_key_that_passes_to_another_database_forgets_the_state_of_the_first() {
    let mut catalog = empty();
    catalog.apply(change("t1", vec![stored("2024-01-15T12:05:00Z", b"one", "e1")]));
    let mut moved = change("t1", Vec::new());
    moved.path = SourcePath::from_bytes(b"/elsewhere/t1.db");
    catalog.apply(moved);
    let record = &catalog.databases[&stem("t1")];
    assert_eq!((record.fingerprint, &record.newest), (None, &None));
}

proptest! {
    #[test]
    fn round_trip(
        hours in proptest::collection::btree_set(0u32..3_000, 1..40),
        tags in proptest::collection::vec(".{0,12}", 40),
        path in proptest::collection::vec(1u8.., 1..40),
    ) {
        let mut catalog = empty();
        let stored = hours.iter().zip(&tags).map(|(&hour, tag)| {
            let time = Timestamp::from_second(i64::from(hour) * 3_600).unwrap().to_string();
            stored(&time, tag.as_bytes(), tag)
        });
        let mut change = change("a b/t%25", stored.collect());
        change.path = SourcePath::from_bytes(&path);
        catalog.apply(change);
        let bytes = catalog.to_bytes().unwrap();
        prop_assert_eq!(Catalog::parse(&bytes, &key()).unwrap(), catalog);
    }

    #[test]
    fn no_bytes_make_it_panic_and_no_flipped_bit_goes_unnoticed(
        at in 0usize..1_000, bit in 0u8..8, noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assert!(Catalog::parse(&noise, &key()).is_err());
        let mut bytes = golden().to_bytes().unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(parsed) = Catalog::parse(&bytes, &key()) {
            // Some bits of the frame's descriptor mean nothing to the content.
            prop_assert_eq!(parsed, golden());
        }
    }
}
