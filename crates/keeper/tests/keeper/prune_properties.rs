//! Whatever a catalog claims, and whatever is in the bucket: what must never go, stays.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use ultrasimple_core::catalog::{HeldHour, Newest, Record};
use ultrasimple_core::hold::Hold;
use ultrasimple_core::{BackupKey, Catalog, Hour, SourcePath, Timestamp, VolumeName};
use ultrasimple_keeper::{Holds, holds, prune};

use crate::world::{
    Backup, World, a_day, at, backup, empty_catalog, etag, hour, newer, path, stem,
};

const NAMES: [&str; 2] = ["t1", "t2"];
/// A few hours apart, so that some are expired at [`NOW`] only in certain histories.
const HOURS: [i64; 8] = [1, 2, 3, 20, 25, 26, 47, 60];
/// What was replaced up to 48 - 25 is expired, or so.
const NOW: i64 = 61;

/// What is under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Ours,
    Marked,
    OtherPath,
    OtherVolume,
    /// A copy of the next hour's.
    LaterHour,
    /// A copy of the hour's before.
    EarlierHour,
    Text,
    Cut,
    Newer,
}

/// What a catalog claims of it.
#[derive(Debug, Clone, Copy)]
enum Claim {
    Nothing,
    True,
    OtherTag,
    Foreign,
    Faulty,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "claims are independent")]
struct Claims {
    hours: Vec<Claim>,
    is_other_path: bool,
    has_newest: bool,
    is_marked: bool,
    failed_check: bool,
}

fn there() -> impl Strategy<Value = There> {
    use There::{
        Cut, EarlierHour, LaterHour, Marked, Newer, Nothing, OtherPath, OtherVolume, Ours, Text,
    };
    let rare = [Marked, OtherPath, OtherVolume, LaterHour, EarlierHour, Text, Cut, Newer];
    prop_oneof![3 => Just(Nothing), 8 => Just(Ours), 4 => proptest::sample::select(rare.to_vec())]
}

fn claims() -> impl Strategy<Value = Claims> {
    let claim = prop_oneof![
        3 => Just(Claim::Nothing),
        12 => Just(Claim::True),
        2 => Just(Claim::OtherTag),
        1 => Just(Claim::Foreign),
        1 => Just(Claim::Faulty),
    ];
    let rarely = || proptest::bool::weighted(0.1);
    (vec(claim, HOURS.len()), rarely(), any::<bool>(), rarely(), rarely()).prop_map(
        |(hours, is_other_path, has_newest, is_marked, failed_check)| Claims {
            hours,
            is_other_path,
            has_newest,
            is_marked,
            failed_check,
        },
    )
}

fn other(name: &str) -> String {
    format!("/other/{name}.db")
}

fn object(name: &str, number: i64, there: There) -> Option<Vec<u8>> {
    let whole = |backup: Backup| backup.object().0;
    let ours = backup(name, number);
    Some(match there {
        There::Nothing => return None,
        There::Ours => whole(ours),
        There::Marked => whole(ours.marked()),
        There::OtherPath => whole(ours.of(&other(name))),
        There::OtherVolume => whole(ours.on("v2")),
        There::LaterHour => whole(backup(name, number + 1)),
        There::EarlierHour => whole(backup(name, number - 1)),
        There::Text => b"a stranger's".to_vec(),
        There::Cut => whole(ours)[..60].to_vec(),
        There::Newer => newer(&whole(ours)),
    })
}

fn catalog(claims: &[Claims], held: &BTreeMap<BackupKey, HeldHour>) -> Catalog {
    let mut catalog = empty_catalog();
    for (name, claims) in NAMES.into_iter().zip(claims) {
        let of = if claims.is_other_path { other(name) } else { format!("/data/{name}.db") };
        let mut record = Record::new(path(&of));
        for (&number, claim) in HOURS.iter().zip(&claims.hours) {
            let invented = HeldHour::new(hour(number), 5, etag("invented"));
            let mut entry = held.get(&stem(name).at(hour(number))).cloned();
            let mut entry = entry.take().unwrap_or_else(|| invented.clone());
            match claim {
                Claim::Nothing => continue,
                Claim::True => {}
                Claim::OtherTag => entry = invented,
                Claim::Foreign => entry.foreign = Some("so it is said".into()),
                Claim::Faulty => entry.fault = Some("so it is said".into()),
            }
            record.put_hour(entry);
        }
        let last = claims.hours.iter().rposition(|claim| !matches!(claim, Claim::Nothing));
        let last = backup(name, HOURS[last.unwrap_or(0)]);
        let last = if claims.is_marked { last.marked() } else { last };
        record.newest = claims.has_newest.then(|| Newest::of(&last.object().1));
        record.failed_check = claims.failed_check.then(|| "so it is said".into());
        catalog.databases.insert(stem(name), record);
    }
    catalog
}

/// Whose backup an object provably is, and whether it is marked.
type Owners = BTreeMap<BackupKey, (VolumeName, SourcePath, bool)>;

fn owners(bucket: &[Vec<There>]) -> Owners {
    let mut owners = BTreeMap::new();
    for (name, objects) in NAMES.into_iter().zip(bucket) {
        for (&number, &there) in HOURS.iter().zip(objects) {
            let ours = backup(name, number);
            let found = match there {
                There::Ours => ours,
                There::Marked => ours.marked(),
                There::OtherPath => ours.of(&other(name)),
                There::OtherVolume => ours.on("v2"),
                _ => continue,
            };
            let is_marked = found.check.is_marked();
            owners.insert(found.key(), (found.volume, found.path, is_marked));
        }
    }
    owners
}

/// The newest of each database and stem, of all or of the good ones.
fn newest(owners: &Owners, good_only: bool) -> BTreeMap<String, Hour> {
    let mut newest = BTreeMap::new();
    for (key, (volume, path, is_marked)) in owners {
        if !good_only || !is_marked {
            let hour = newest.entry(format!("{} {volume} {path}", key.stem)).or_insert(key.hour);
            *hour = key.hour.max(*hour);
        }
    }
    newest
}

/// Copies of later backups under the keys of earlier hours: as old as these, though never the newest.
fn copies(bucket: &[Vec<There>]) -> Owners {
    let mut copies = BTreeMap::new();
    for (name, objects) in NAMES.into_iter().zip(bucket) {
        for (&number, _) in
            HOURS.iter().zip(objects).filter(|(_, there)| **there == There::LaterHour)
        {
            let Backup { volume, path, .. } = backup(name, number);
            copies.insert(stem(name).at(hour(number)), (volume, path, false));
        }
    }
    copies
}

async fn check(
    bucket: Vec<Vec<There>>,
    stale: Vec<Claims>,
    fresh: Vec<Claims>,
    held_name: Option<usize>,
) -> Result<usize, TestCaseError> {
    let world = World::new().await;
    let mut held = BTreeMap::new();
    for (name, objects) in NAMES.into_iter().zip(&bucket) {
        for (&number, &there) in HOURS.iter().zip(objects) {
            let key = stem(name).at(hour(number));
            if let Some(bytes) = object(name, number, there) {
                held.insert(key.clone(), world.put_bytes(&key.object_key(), bytes).await);
            }
        }
    }
    let (rules, now): (_, Timestamp) = (a_day(), at(NOW));
    let plan = prune::plan_shard(&catalog(&stale, &held), &rules, now, &Holds::default());
    let mut catalog = catalog(&fresh, &held);
    if let Some(name) = held_name {
        let hold = Hold::new(stem(NAMES[name]), now, None);
        holds::place(&world.store, &hold).await.unwrap();
    }
    let holds = world.holds().await;
    let before = world.keys().await;
    let records = catalog.databases.clone();
    let report = prune::act(&world.store, &catalog, &plan, &holds).await;
    report.edits.iter().for_each(|edit| catalog.edit(edit.clone()));

    let deleted: BTreeSet<_> = report.deleted.iter().map(ToString::to_string).collect();
    let expected: BTreeSet<_> = before.difference(&deleted).cloned().collect();
    prop_assert_eq!(world.keys().await, expected, "what is told to be deleted is what is gone");

    let owned = owners(&bucket);
    let mut left = owned.clone();
    left.retain(|key, _| !deleted.contains(&key.to_string()));
    // R4: of each database of which there was one, the newest is there, and so is the newest good one.
    for good_only in [false, true] {
        prop_assert_eq!(newest(&left, good_only), newest(&owned, good_only));
    }
    let owned: Owners = owned.into_iter().chain(copies(&bucket)).collect();
    for key in deleted.iter().map(|key| BackupKey::parse(key).unwrap()) {
        // R11: it was provably a backup of the database that the catalog speaks of.
        let owner = owned.get(&key);
        prop_assert!(owner.is_some(), "{key} was not provably anybody's");
        let (volume, path, is_marked) = owner.unwrap();
        prop_assert_eq!((volume, path), (&catalog.key.volume, &records[&key.stem].path));
        prop_assert!(!holds.holds(&key.stem));
        // What is really there gives it up, not only what the catalog claims: and for no worse one.
        let took_its_place =
            owned.iter().any(|(newer, (new_volume, new_path, newer_is_marked))| {
                let is_newer = newer.stem == key.stem && newer.hour > key.hour;
                let is_same = (new_volume, new_path) == (volume, path);
                let is_worse = *newer_is_marked && !is_marked;
                let fault =
                    records[&key.stem].hour(key.hour).is_some_and(|held| held.fault.is_some());
                let is_expired = is_newer && rules.wanted_until(key.hour, newer.hour).0 <= now;
                is_expired && is_same && (!is_worse || fault)
            });
        prop_assert!(took_its_place, "{key} was still wanted");
    }
    // Nothing is done twice, and nothing foreign is asked for twice.
    let again = prune::act(&world.store, &catalog, &plan, &holds).await;
    prop_assert!(again.failed.is_empty() && report.failed.is_empty());
    let plan = prune::plan_shard(&catalog, &rules, now, &holds);
    let again = prune::act(&world.store, &catalog, &plan, &holds).await;
    let new: Vec<_> = again.unproven.iter().filter(|(_, why)| !why.contains("newer")).collect();
    let told: BTreeSet<_> = report.unproven.iter().map(|(key, _)| key).collect();
    prop_assert!(new.iter().all(|(key, _)| !told.contains(key)), "{new:?}");
    Ok(report.deleted.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_newest_provable_backup_of_every_database_survives_every_catalog(
        bucket in vec(vec(there(), HOURS.len()), NAMES.len()),
        stale in vec(claims(), NAMES.len()),
        fresh in vec(claims(), NAMES.len()),
        same in any::<bool>(),
        held in proptest::option::weighted(0.2, 0..NAMES.len()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fresh = if same { stale.clone() } else { fresh };
        runtime.block_on(check(bucket, stale, fresh, held))?;
    }
}

/// The property would hold of a retention that deletes nothing.
#[tokio::test]
async fn the_property_speaks_of_deletions() {
    let claims = Claims {
        hours: vec![Claim::True; HOURS.len()],
        is_other_path: false,
        has_newest: true,
        is_marked: false,
        failed_check: false,
    };
    let all = vec![claims.clone(), claims];
    let bucket = vec![vec![There::Ours; HOURS.len()]; NAMES.len()];
    let deleted = check(bucket, all.clone(), all, None).await.unwrap();
    assert_eq!(deleted, 2 * 5);
}
