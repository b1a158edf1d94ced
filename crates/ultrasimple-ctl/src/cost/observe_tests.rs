use ultrasimple_core::catalog::{HeldHour, Newest};
use ultrasimple_core::{ContentHash, ETag, Epoch, ShardId, ShardKey, SourcePath};

use super::*;
use crate::testing::{hour, stem};

/// The catalogs of these tests are written at 30 minutes past this hour, which is the last one closed.
const LAST: u32 = 480_000;
/// As long as with `-retention-days 30`.
const KEPT: f64 = 719.0;

fn at(hour: u32) -> Timestamp {
    Timestamp::from_second(i64::from(hour) * 3_600 + 1_800).unwrap()
}

/// A database with backups of 100 bytes in these hours, counted back from the last closed one, of an image of 400.
fn record(ago: impl IntoIterator<Item = u32>) -> Record {
    let mut record = Record::new(SourcePath::from_bytes(b"/data/t.db"));
    for ago in ago {
        record.put_hour(HeldHour::new(hour(LAST - ago), 100, ETag("e".into())));
    }
    let captured_at = record.newest_hour().map(|held| held.hour.start());
    let blake3 = ContentHash::of(b"");
    record.newest =
        captured_at.map(|captured_at| Newest { captured_at, blake3, size: 400, marked: None });
    record
}

fn catalog(shard: u32, written_at: Timestamp, records: Vec<(&str, Record)>) -> Catalog {
    let key = ShardKey { volume: "default".parse().unwrap(), shard: ShardId(shard) };
    let mut catalog = Catalog::new(key, 16, Epoch(1), "n".parse().unwrap(), written_at);
    catalog.databases = records.into_iter().map(|(name, record)| (stem(name), record)).collect();
    catalog
}

fn observed_within(catalogs: &[Catalog], kept_hours: f64) -> Observed {
    let mut census = Census::default();
    for catalog in catalogs {
        census.add(catalog);
    }
    census.finish(at(LAST + 1), kept_hours).unwrap()
}

fn observed(catalogs: &[Catalog]) -> Observed {
    observed_within(catalogs, KEPT)
}

/// One database alone.
fn of(record: Record) -> Observed {
    observed(&[catalog(0, at(LAST), vec![("a", record)])])
}

#[test]
fn hot_is_what_has_a_backup_in_nearly_every_hour() {
    let without =
        |missing: &'static [u32]| record((0..100).filter(move |ago| !missing.contains(ago)));
    for (record, is_hot) in [
        (without(&[]), true),
        (without(&[0, 23]), true),
        (without(&[0, 7, 23]), false),
        // Only the last 24 hours count.
        (without(&[0, 23, 24, 25, 26, 27]), true),
        (record(24..100), false),
        (record([0]), false),
        // Known for a part of these hours only.
        (record(0..12), true),
        (record((0..12).filter(|ago| *ago != 3)), true),
        (record((0..12).filter(|ago| ![3, 4].contains(ago))), false),
        (record(0..11), false),
    ] {
        let hours: Vec<_> = record.hours.iter().map(|held| LAST - held.hour.index()).collect();
        assert_eq!(of(record).hot == 1, is_hot, "{hours:?}");
    }
    assert_eq!((of(record(0..11)).too_young, of(record(0..12)).too_young), (1, 0));
}

#[test]
fn the_running_hour_does_not_count() {
    let mut running = record(2..100);
    running.put_hour(HeldHour::new(hour(LAST + 1), 100, ETag("e".into())));
    assert_eq!(of(running.clone()).hot, 1);
    // Were it counted, one hour less of 24 would be missing.
    let mut running = record(3..100);
    running.put_hour(HeldHour::new(hour(LAST + 1), 100, ETag("e".into())));
    assert_eq!(of(running).hot, 0);
}

#[test]
fn changes_are_hours_held_in_the_days_observed() {
    let week = 7.0 * 24.0;
    for (records, changes, hours, databases) in [
        // Seven hours of the last seven days, and an older one.
        (vec![record([0, 24, 48, 72, 96, 120, 144, 600])], 7.0, week, 1.0),
        // On the border: 168 hours back is out.
        (vec![record([167, 600])], 1.0, week, 1.0),
        (vec![record([168, 600])], 0.0, week, 1.0),
        // The first hour held is of no change, and begins what is observed.
        (vec![record([48])], 0.0, 48.0, 1.0),
        (vec![record([0, 10, 48])], 2.0, 48.0, 1.0),
        // A young one says less.
        (vec![record([0, 24, 48, 600]), record([0, 6])], 4.0, week + 6.0, 2.0),
        // Neither hot ones nor what is gone.
        (vec![record([30, 600]), record(0..200)], 1.0, week, 1.0),
        (
            vec![
                record([30, 600]),
                Record { gone_since: Some(at(LAST)), ..record([1, 2, 3, 600]) },
            ],
            1.0,
            week,
            1.0,
        ),
    ] {
        let names = ["a", "b"];
        let said = format!("{records:?}");
        let observed = observed(&[catalog(0, at(LAST), names.into_iter().zip(records).collect())]);
        let per_day = observed.changes_per_day.unwrap();
        assert!((per_day - changes / (hours / 24.0)).abs() < 1e-9, "{per_day} of {said}");
        assert!((observed.days - hours / 24.0 / databases).abs() < 1e-9, "{said}");
    }
    assert_eq!(of(record([0])).changes_per_day, None);
}

/// What retention deletes did happen, so the hours before it must not count as quiet.
#[test]
fn nobody_looks_further_back_than_retention_keeps() {
    let catalogs = [catalog(0, at(LAST), vec![("a", record([0, 10, 20, 30, 100]))])];
    let two_days = observed_within(&catalogs, 47.0);
    assert!((two_days.changes_per_day.unwrap() - 4.0 / (47.0 / 24.0)).abs() < 1e-9);
    let hot = [catalog(0, at(LAST), vec![("a", record(0..30))])];
    assert_eq!((observed_within(&hot, 23.0).hot, observed_within(&hot, 23.0).too_young), (1, 0));
    assert_eq!((observed_within(&hot, 5.0).hot, observed_within(&hot, 5.0).too_young), (0, 1));
    assert_eq!(observed_within(&hot, 0.0).changes_per_day, None);
}

/// A shard in which nothing happens is not written: its hours are counted back from the time of the others.
#[test]
fn time_is_that_of_the_newest_catalog() {
    let quiet = catalog(0, at(LAST - 100), vec![("a", record(100..300))]);
    let busy = catalog(1, at(LAST), vec![("b", record(0..100))]);
    let both = observed(&[quiet.clone(), busy]);
    assert_eq!((both.hot, both.databases, both.catalogs, both.shards), (1, 2, 2, 16));
    assert_eq!((both.oldest_written_at, both.newest_written_at), (at(LAST - 100), at(LAST)));
    // The daemon has stopped, and these are its last days.
    assert_eq!(observed(&[quiet]).hot, 1);
    // A clock that is wrong does not make everything old.
    let ahead = catalog(0, at(LAST + 9_000), vec![("a", record(0..100))]);
    assert_eq!(observed(&[ahead]).hot, 1);
}

#[test]
fn sizes_and_what_is_held() {
    let mut large = record([5, 50]);
    large.newest.as_mut().unwrap().size = 1_600;
    let unknown = Record { newest: None, ..record([7]) };
    let gone = Record { gone_since: Some(at(LAST)), ..record([1, 2, 3]) };
    let mut foreign = record([1, 9]);
    foreign.hours[1].foreign = Some("another's".into());
    let records =
        vec![("a", large), ("b", record([1])), ("c", unknown), ("d", gone), ("e", foreign)];
    let observed = observed(&[catalog(0, at(LAST), records)]);
    assert_eq!((observed.databases, observed.gone), (4, 1));
    assert_eq!((observed.objects, observed.bytes), (2 + 1 + 1 + 3 + 1, 800));
    // Of the two that are known.
    assert_eq!(observed.image_bytes, Some(1_000.0));
    assert_eq!(observed.compression, Some(0.1));
}

#[test]
fn a_database_in_two_catalogs_is_one() {
    let before = catalog(0, at(LAST), vec![("a", record([10, 20, 30]))]);
    let after = catalog(1, at(LAST), vec![("a", record([5]))]);
    for catalogs in [[before.clone(), after.clone()], [after, before]] {
        let observed = observed(&catalogs);
        assert_eq!((observed.databases, observed.objects), (1, 1));
    }
}

#[test]
fn without_anything() {
    assert_eq!(Census::default().finish(at(LAST), KEPT), None);
    let empty = observed(&[catalog(0, at(LAST), vec![])]);
    assert_eq!((empty.databases, empty.objects, empty.hot), (0, 0, 0));
    assert_eq!((empty.changes_per_day, empty.image_bytes, empty.compression), (None, None, None));
    let mut nothing = record([1]);
    nothing.newest.as_mut().unwrap().size = 0;
    assert_eq!((of(nothing.clone()).image_bytes, of(nothing).compression), (None, None));
    // Times before all hours, and hours far beyond.
    let mut odd = record([0]);
    odd.put_hour(HeldHour::new(Hour::of(Timestamp::MAX), 1, ETag("e".into())));
    odd.put_hour(HeldHour::new(Hour::of(Timestamp::MIN), u64::MAX, ETag("e".into())));
    assert_eq!(observed(&[catalog(0, Timestamp::MIN, vec![("a", odd)])]).bytes, u64::MAX);
}
