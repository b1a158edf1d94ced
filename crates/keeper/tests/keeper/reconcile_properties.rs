//! However often a pass has to stop, it comes to the same as one that never does.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use ultrasimple_core::catalog::{Edit, HeldHour};
use ultrasimple_core::{Catalog, ShardKey};
use ultrasimple_keeper::reconcile::{Budget, Pass, ReconcileReport};

use crate::reconcile::pass;
use crate::world::{World, at, backup, catalog_key, etag, hour, key, owner, path, stem, volume};

#[derive(Debug, Clone, Copy)]
enum Happened {
    Removed,
    Added(i64),
    Replaced,
    Overwritten,
    OfAnother,
    Claimed(i64),
    New,
    NewElsewhere,
    Strange,
}

fn happened() -> impl Strategy<Value = Happened> {
    use Happened::{
        Added, Claimed, New, NewElsewhere, OfAnother, Overwritten, Removed, Replaced, Strange,
    };
    prop_oneof![
        4 => Just(Removed), 4 => (0i64..9).prop_map(Added), 2 => Just(Replaced),
        1 => Just(Overwritten), 1 => Just(OfAnother), 2 => (0i64..9).prop_map(Claimed),
        2 => Just(New), 1 => Just(NewElsewhere), 1 => Just(Strange),
    ]
}

async fn happen(world: &World, name: &str, number: i64, what: Happened) {
    let there = key(name, number).object_key();
    let new = format!("new-{name}");
    match what {
        Happened::Removed => world.remove(&key(name, number)).await,
        Happened::Added(number) => drop(world.put(&backup(name, number)).await),
        Happened::Replaced => drop(world.put(&backup(name, number).containing(b"other")).await),
        Happened::Overwritten => drop(world.put_bytes(&there, b"text".to_vec()).await),
        Happened::OfAnother => drop(world.put(&backup(name, number).of("/x/y.db")).await),
        Happened::New => drop(world.put(&backup(&new, number)).await),
        Happened::NewElsewhere => drop(world.put(&backup(&new, number).on("v2")).await),
        Happened::Strange => {
            world.put_bytes(&key(&new, number).object_key(), b"text".to_vec()).await;
        }
        Happened::Claimed(number) => {
            let of = path(&format!("/data/{name}.db"));
            let held = HeldHour::new(hour(number), 3, etag("claimed"));
            let (path, newest, fingerprint) = (of.clone(), None, None);
            let claim = Edit::Found { stem: stem(name), path, held, newest, fingerprint };
            world.update(&catalog_key(&volume(), &of), &owner(1), &[claim]).await;
        }
    }
}

type Compared = (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>, BTreeSet<ShardKey>);

fn compared(report: ReconcileReport) -> Compared {
    let ReconcileReport { found, missing, foreign, changed, failed } = report;
    assert!(failed.is_empty());
    let each = |keys: Vec<ultrasimple_core::BackupKey>| {
        let count = keys.len();
        let keys: BTreeSet<_> = keys.iter().map(ToString::to_string).collect();
        assert_eq!(keys.len(), count, "told twice");
        keys
    };
    let foreign = foreign.into_iter().map(|(key, _)| key).collect();
    (each(found), each(missing), each(foreign), changed)
}

async fn contents(world: &World) -> Vec<Catalog> {
    world.catalogs().await.into_values().collect()
}

async fn check(
    happenings: Vec<(usize, i64, Happened)>,
    budgets: Vec<u64>,
) -> Result<(), TestCaseError> {
    let names = ["t1", "t2", "t3", "t4", "t5"];
    let world = World::new().await;
    let mut backups = Vec::new();
    for name in names {
        backups.extend((0..4).map(|number| backup(name, number)));
    }
    world.store_and_write(&backups).await;
    for (name, number, what) in happenings {
        happen(&world, names[name], number, what).await;
    }
    let whole = world.copy().await;
    let expected = compared(pass(&whole).await);

    let mut begun = Budget(0);
    let mut pieces = Pass::begin(&world.store, at(100), &mut begun).await.unwrap();
    let mut report = None;
    for budget in budgets.iter().cycle().take(1_000) {
        let (before, mut left) = (world.requests(), Budget(*budget));
        report = pieces.go_on(&world.store, &owner(99), &mut left).await.unwrap();
        // One database looked at: a listing, nine hours at most, and the writing of what was found.
        prop_assert!(world.requests() - before <= budget + 16);
        if report.is_some() {
            break;
        }
    }
    let Some(report) = report else { panic!("it does not come to an end") };
    prop_assert_eq!(compared(report), expected);
    prop_assert_eq!(contents(&world).await, contents(&whole).await);
    // All is told and mended: there is nothing left but what is foreign.
    let again = pass(&world).await;
    prop_assert!(again.found.is_empty() && again.missing.is_empty() && again.changed.is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_pass_in_pieces_comes_to_the_same_as_one_in_one_go(
        happenings in vec((0usize..5, 0i64..4, happened()), 0..12),
        budgets in vec(1u64..8, 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(happenings, budgets))?;
    }
}
