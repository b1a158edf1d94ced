//! Nodes of a fleet, step by step: two replicators on the same files and the same bucket, with the cluster's part
//! played by the test.

use std::collections::BTreeSet;

use ultrasimple_cluster::membership::{Controls, membership};
use ultrasimple_cluster::{Assignment, Assignments, Phase, Report};
use ultrasimple_core::{Hour, SourcePath, Volume, Volumes, placement};
use ultrasimple_testkit::bank::{Bank, BankOptions};

use super::*;

pub(super) const FIRST: u64 = 10;
const SECOND: u64 = 20;

/// A node, and what the cluster tells it.
pub(super) struct Member {
    pub(super) session: Session,
    controls: Controls,
    assignments: Assignments,
}

fn shard(number: u32) -> ShardKey {
    ShardKey { volume: "default".parse().unwrap(), shard: ShardId(number) }
}

pub(super) fn grant(revision: u64, handed_over_by: Option<u64>) -> Grant {
    let handed_over_by = handed_over_by.map(|revision| Epoch::new(3, revision));
    Grant { epoch: Epoch::new(3, revision), handed_over_by }
}

impl Member {
    async fn start(world: &World, name: &str) -> Self {
        Self::start_as(world, world.builder().node(name)).await
    }

    async fn start_as(world: &World, builder: ReplicatorBuilder) -> Self {
        Self::start_with(world, builder.build().unwrap()).await
    }

    pub(super) async fn start_with(world: &World, replicator: Replicator) -> Self {
        let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
        let (membership, controls) = membership(clock);
        controls.trust_until(Duration::MAX);
        replicator.join(membership);
        let session = Session::start(replicator).await;
        Self { session, controls, assignments: Assignments::new() }
    }

    /// The cluster gives it shards.
    pub(super) async fn own(&mut self, shards: impl IntoIterator<Item = u32>, grant: Grant) {
        let owned = Assignment { grant, phase: Phase::Owned };
        self.assignments.extend(shards.into_iter().map(|number| (shard(number), owned)));
        self.assign().await;
    }

    /// The cluster wants shards back, and gets them: gives which catalogs are the last word.
    pub(super) async fn release(&mut self, shards: &[u32]) -> Vec<Option<u64>> {
        for &number in shards {
            self.assignments.get_mut(&shard(number)).unwrap().phase = Phase::Releasing;
        }
        self.controls.assign(self.assignments.clone());
        let mut last_words = Vec::new();
        let mut missing: BTreeSet<_> = shards.iter().map(|&number| shard(number)).collect();
        while !missing.is_empty() {
            match self.controls.next_report().await.unwrap() {
                Report::Released { shard, catalog, .. } => {
                    assert!(missing.remove(&shard), "{shard} twice");
                    last_words.push(catalog.map(Epoch::revision));
                    self.assignments.remove(&shard);
                }
                other => panic!("{other:?}"),
            }
        }
        self.assign().await;
        last_words
    }

    /// The cluster has taken shards away.
    async fn lose(&mut self, shards: impl IntoIterator<Item = u32>) {
        for number in shards {
            self.assignments.remove(&shard(number));
        }
        self.assign().await;
    }

    async fn assign(&mut self) {
        self.controls.assign(self.assignments.clone());
        // Until the roster is what was assigned, and all catalogs are read.
        let tree = self.session.node.tree().await.unwrap();
        loop {
            let shards = self.session.replicator.shards().await.unwrap();
            let is_so = |shard: &ShardStatus| {
                let key = ShardKey { volume: shard.key.volume.clone(), shard: shard.key.shard };
                let assigned = self.assignments.get(&key);
                let is_its = assigned.is_some_and(|a| a.grant.epoch == shard.epoch);
                is_its && shard.phase == "owned"
            };
            if shards.len() == self.assignments.len() && shards.iter().all(is_so) {
                return;
            }
            tree.settled_again().await;
        }
    }

    pub(super) async fn cycle(&mut self) -> CycleReport {
        self.session.cycle().await
    }
}

/// The shard of a database.
fn shard_of(world: &World, n: usize) -> u32 {
    let path = SourcePath::new(&world.data(&format!("t{n}.db")));
    placement::shard_of(&"default".parse().unwrap(), &path, 4).0
}

/// How many databases there must be so that each shard has one.
fn enough(world: &World) -> usize {
    let mut shards = BTreeSet::new();
    let all = |n: &usize| {
        shards.insert(shard_of(world, *n));
        shards.len() == 4
    };
    (0..10_000).find(all).unwrap() + 1
}

/// A world with some databases, and a member that has backed them all up and rests.
async fn at_rest(count: usize) -> (World, Member) {
    let world = World::new().await;
    at_rest_in(world, count).await
}

/// As [`at_rest`], with a database in each shard at least.
async fn all_at_rest() -> (World, Member, u64) {
    let world = World::new().await;
    let count = enough(&world);
    let (world, first) = at_rest_in(world, count).await;
    (world, first, count as u64)
}

async fn at_rest_in(world: World, count: usize) -> (World, Member) {
    for n in 0..count {
        drop(world.bank(&format!("t{n}.db")));
    }
    let mut first = Member::start(&world, "n1").await;
    first.own(0..4, grant(FIRST, None)).await;
    assert_eq!(first.cycle().await.stored, count as u64);
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(15));
        first.cycle().await;
    }
    (world, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_of_a_later_owner_is_a_fence() {
    let world = World::new().await;
    drop(world.bank("t1.db"));
    let mut second = Member::start(&world, "second").await;
    second.own(0..4, grant(SECOND, None)).await;
    second.cycle().await;
    second.release(&[0, 1, 2, 3]).await;
    let mut first = Member::start(&world, "first").await;
    let owned = Assignment { grant: grant(FIRST, Some(SECOND)), phase: Phase::Owned };
    first.controls.assign((0..4).map(|number| (shard(number), owned)).collect());
    let report = first.controls.next_report().await.unwrap();
    let expected = (shard_of(&world, 1), Epoch::new(3, FIRST), Epoch::new(3, SECOND));
    let Report::Fenced { shard, epoch, by, .. } = report else { panic!("{report:?}") };
    assert_eq!((shard.shard.0, epoch, by), expected);
    drop(world.bank("t1.db"));
    assert_eq!(first.cycle().await.stored, 0, "nothing is written under the earlier epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_handed_over_is_neither_captured_nor_sent_again() {
    let (world, mut first, count) = all_at_rest().await;
    assert_eq!(first.release(&[1, 2]).await, [Some(FIRST), Some(FIRST)]);
    let mut second = Member::start(&world, "n2").await;
    let before = world.requests();
    second.own([1, 2], grant(SECOND, Some(FIRST))).await;
    let report = second.cycle().await;
    let rest = first.cycle().await;
    assert!(report.databases > 0 && rest.databases > 0);
    assert_eq!(report.databases + rest.databases, count, "each is one node's");
    assert_eq!((report.stored, report.unchanged, report.pending), (0, 0, 0));
    let after = world.requests();
    assert_eq!((after.puts - before.puts, after.lists - before.lists), (0, 0));
    assert_eq!(after.gets - before.gets, 2, "the catalogs");
    // Nobody has touched them: whoever comes next may believe the same catalog.
    assert_eq!(second.release(&[1, 2]).await, [Some(FIRST), Some(FIRST)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_database_is_backed_up_by_the_owner_of_its_shard_alone() {
    let (world, mut first, count) = all_at_rest().await;
    first.release(&[0, 1]).await;
    let mut second = Member::start(&world, "n2").await;
    second.own([0, 1], grant(SECOND, Some(FIRST))).await;
    second.cycle().await;
    for n in 0..count {
        Bank::open(&world.data(&format!("t{n}.db")), &BankOptions::default())
            .unwrap()
            .commit()
            .unwrap();
    }
    world.clock.advance(Duration::from_secs(15));
    let (mine, theirs) = (first.cycle().await, second.cycle().await);
    assert_eq!(mine.stored, mine.databases);
    assert_eq!(theirs.stored, theirs.databases);
    assert_eq!(mine.stored + theirs.stored, count);
    for n in 0..count {
        world.restored(&format!("t{n}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crashed_owner_stored_is_not_sent_again() {
    let (world, first) = at_rest(8).await;
    // It has written no catalog.
    first.session.kill().await;
    let mut second = Member::start(&world, "n2").await;
    second.own(0..4, grant(SECOND, None)).await;
    let before = world.requests().puts;
    let report = second.cycle().await;
    assert_eq!((report.databases, report.stored, report.pending), (8, 0, 0));
    let puts = world.requests().puts - before;
    assert_eq!(world.catalog().await.len(), 8);
    let catalogs = ultrasimple_keeper::catalogs::list(&*world.store, None).await.unwrap();
    assert_eq!(puts, catalogs.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_confirmed_lease_nothing_is_written_and_nothing_is_forgotten() {
    let (world, mut first) = at_rest(1).await;
    let mut bank = Bank::open(&world.data("t0.db"), &BankOptions::default()).unwrap();
    let commits = bank.commit().unwrap();
    first.controls.trust_until(Duration::ZERO);
    world.clock.advance(Duration::from_secs(15));
    let before = world.requests().puts;
    let report = first.cycle().await;
    assert_eq!((report.stored, report.pending, report.failed), (0, 1, 0));
    assert_eq!(world.requests().puts, before);
    first.controls.trust_until(Duration::MAX);
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(first.cycle().await.stored, 1);
    assert_eq!(world.restored("t0"), commits);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_given_up_when_the_lease_ends_or_the_shard_is_taken_away() {
    let (world, mut first) = at_rest(1).await;
    let mut bank = Bank::open(&world.data("t0.db"), &BankOptions::default()).unwrap();
    for (round, is_lease) in [(1, true), (2, false)] {
        let commits = bank.commit().unwrap();
        world.fault(Fault::Hang);
        world.clock.advance(Duration::from_secs(15));
        let tree = first.session.node.tree().await.unwrap();
        tree.scan_and_offer().await.unwrap();
        world.until_hanging(round).await;
        world.fault(Fault::None);
        if is_lease {
            first.controls.trust_until(Duration::ZERO);
            tree.when_idle().await.unwrap();
            first.controls.trust_until(Duration::MAX);
        } else {
            first.lose(0..4).await;
            tree.when_idle().await.unwrap();
            first.own(0..4, grant(FIRST + 1, None)).await;
        }
        assert_eq!(first.cycle().await.stored, 1);
        assert_eq!(world.restored("t0"), commits);
    }
}

/// Makes databases in two shards, one each.
fn two_shards(world: &World) -> [u32; 2] {
    let one = shard_of(world, 0);
    let other =
        (1..10_000).map(|n| (n, shard_of(world, n))).find(|&(_, shard)| shard != one).unwrap();
    drop(world.bank("t0.db"));
    drop(world.bank(&format!("t{}.db", other.0)));
    [one, other.1]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_others_keeps_no_shard_from_being_given_back() {
    let world = World::new().await;
    let shards = two_shards(&world);
    let builder = world.builder().node("n1").concurrent(1).drain_timeout(Duration::from_hours(9));
    let mut node = Member::start_as(&world, builder).await;
    node.own(shards, grant(FIRST, None)).await;
    world.fault(Fault::Hang);
    let tree = node.session.node.tree().await.unwrap();
    tree.scan_and_offer().await.unwrap();
    world.until_hanging(1).await;
    // Which of the two hangs is not known. The other one is given back at once, the hanging one not at all.
    for shard in node.assignments.values_mut() {
        shard.phase = Phase::Releasing;
    }
    node.controls.assign(node.assignments.clone());
    assert!(matches!(node.controls.next_report().await.unwrap(), Report::Released { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_hangs_keeps_no_shard_from_being_given_back() {
    let (world, mut first) = at_rest(1).await;
    world.clock.advance(Duration::from_hours(1));
    world.store.hang_catalog.store(true, Ordering::SeqCst);
    first.cycle().await;
    world.until_hanging(1).await;
    let last_words = first.release(&[0, 1, 2, 3]).await;
    assert_eq!(last_words.iter().flatten().collect::<Vec<_>>(), [&FIRST]);
    assert_eq!(world.catalog().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_uploads_do_not_end_is_given_back_with_what_was_stored_in_its_catalog() {
    let world = World::new().await;
    let shards = two_shards(&world);
    let builder = world.builder().node("n1").drain_timeout(Duration::from_secs(1));
    let mut node = Member::start_as(&world, builder).await;
    node.own(shards, grant(FIRST, None)).await;
    assert_eq!(node.cycle().await.stored, 2);
    Bank::open(&world.data("t0.db"), &BankOptions::default()).unwrap().commit().unwrap();
    world.fault(Fault::Hang);
    world.clock.advance(Duration::from_secs(15));
    let tree = node.session.node.tree().await.unwrap();
    tree.scan_and_offer().await.unwrap();
    world.until_hanging(1).await;
    node.release(&shards).await;
    assert_eq!(world.catalog().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_that_are_made_anew_do_not_believe_what_was_handed_over_before_they_wrote() {
    let (world, mut first) = at_rest(1).await;
    first.release(&[0, 1, 2, 3]).await;
    let old = std::fs::read(world.data("t0.db")).unwrap();
    let mut second = Member::start(&world, "n2").await;
    second.own(0..4, grant(SECOND, Some(FIRST))).await;
    second.cycle().await;
    world.clock.advance(Duration::from_hours(1));
    Bank::open(&world.data("t0.db"), &BankOptions::default()).unwrap().commit().unwrap();
    assert_eq!(second.cycle().await.stored, 1);
    // No catalog tells of it. The actors fail, and an older state is restored: the one that the catalog tells of.
    let tree = second.session.node.tree().await.unwrap();
    tree.kill();
    while Arc::ptr_eq(&tree, &second.session.node.tree().await.unwrap()) {
        tokio::task::yield_now().await;
    }
    std::fs::write(world.data("t0.db"), &old).unwrap();
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(second.cycle().await.stored, 1, "it is the newest again");
    assert_eq!(world.restored_from(world.backups().last().unwrap()), 2);
}

/// Each report of whether a node can do its work, that is there by now.
async fn fits(member: &mut Member) -> Vec<bool> {
    let mut fits = Vec::new();
    loop {
        let next = Box::pin(member.controls.next_report());
        match tokio::time::timeout(Duration::from_millis(1), next).await {
            Ok(Some(Report::Fit { is_fit })) => fits.push(is_fit),
            Ok(other) => panic!("{other:?}"),
            Err(_) => return fits,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sees_nothing_of_what_was_handed_over_says_so_until_it_does() {
    let (world, mut first) = at_rest(3).await;
    first.release(&[0, 1, 2, 3]).await;
    // Mounted on one node, and not (yet) on the other.
    std::fs::rename(world.data(""), world.folder.path().join("elsewhere")).unwrap();
    std::fs::create_dir(world.data("")).unwrap();
    let mut second = Member::start(&world, "n2").await;
    second.own(0..4, grant(SECOND, Some(FIRST))).await;
    second.cycle().await;
    assert_eq!(second.controls.next_report().await, Some(Report::Fit { is_fit: false }));
    assert!(second.session.replicator.statistics().is_unwell);
    // Others have taken over: it cannot know any more what should be there.
    second.lose(0..4).await;
    second.cycle().await;
    assert!(fits(&mut second).await.is_empty(), "it has not changed");
    std::fs::remove_dir(world.data("")).unwrap();
    std::fs::rename(world.folder.path().join("elsewhere"), world.data("")).unwrap();
    second.cycle().await;
    assert_eq!(second.controls.next_report().await, Some(Report::Fit { is_fit: true }));
    assert!(!second.session.replicator.statistics().is_unwell);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_of_the_owner_before_does_not_bring_back_what_was_in_between() {
    for (hours, is_told) in [(0, false), (0, true), (1, false), (1, true)] {
        let (world, mut first) = at_rest(1).await;
        let (content, commits) =
            (std::fs::read(world.data("t0.db")).unwrap(), world.restored("t0"));
        if is_told {
            world.clock.advance(Duration::from_mins(2));
            first.session.cycle_and_keep().await;
            assert_eq!(world.catalog().await.len(), 1);
        }
        // It is lost while a write of a later state is on its way.
        world.clock.advance(Duration::from_hours(hours));
        drop(world.bank("t0.db"));
        world.fault(Fault::Late);
        first.session.node.tree().await.unwrap().scan_and_offer().await.unwrap();
        world.until_hanging(1).await;
        world.fault(Fault::None);
        first.session.kill().await;
        // When another one has the shard, the database has again the content that the bucket has.
        std::fs::write(world.data("t0.db"), &content).unwrap();
        let mut second = Member::start(&world, "n2").await;
        second.own(0..4, grant(SECOND, None)).await;
        let report = second.cycle().await;
        assert_eq!((report.pending, report.failed), (0, 0), "it counts as backed up");
        let ends = world.late_writes().await;
        assert!(
            matches!(ends[..], [Err(ultrasimple_store::StoreError::ConditionFailed)]),
            "{ends:?}"
        );
        let newest = world.backups().pop().unwrap();
        assert_eq!(world.restored_from(&newest), commits, "{hours} {is_told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_scan_showed_when_catalogs_were_made_again_stays_in_doubt() {
    let world = World::new().await;
    let other = (1..10_000).find(|&n| shard_of(&world, n) == shard_of(&world, 0)).unwrap();
    drop(world.bank("t0.db"));
    let old = std::fs::read(world.data("t0.db")).unwrap();
    let mut first = Member::start(&world, "n1").await;
    first.own(0..4, grant(FIRST, None)).await;
    assert_eq!(first.cycle().await.stored, 1);
    let commits = world.restored("t0");
    world.clock.advance(Duration::from_mins(2));
    first.session.cycle_and_keep().await;
    assert_eq!(world.catalog().await.len(), 1);
    // Of this no catalog tells.
    world.clock.advance(Duration::from_hours(1));
    drop(world.bank("t0.db"));
    assert_eq!(first.cycle().await.stored, 1);
    first.session.kill().await;
    // The next owner finds no catalog. Its scan does not show the database, and when it makes the catalog of the one
    // that it shows, there is a catalog after all.
    std::fs::remove_file(world.data("t0.db")).unwrap();
    drop(world.bank(&format!("t{other}.db")));
    let (catalogs, aside) = (world.object(".ultrasimple/v1/catalog"), world.object("aside"));
    std::fs::rename(&catalogs, &aside).unwrap();
    let mut second = Member::start(&world, "n2").await;
    second.own(0..4, grant(SECOND, None)).await;
    std::fs::rename(&aside, &catalogs).unwrap();
    assert_eq!(second.cycle().await.stored, 1);
    // It comes back with the state that this catalog tells of.
    std::fs::write(world.data("t0.db"), &old).unwrap();
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(second.cycle().await.stored, 1, "it is the newest again");
    assert_eq!(world.restored("t0"), commits);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_of_before_somebody_else_had_the_bucket_is_not_believed() {
    let (world, mut first) = at_rest(1).await;
    let last_words = first.release(&[0, 1, 2, 3]).await;
    assert_eq!(last_words.iter().flatten().collect::<Vec<_>>(), [&FIRST]);
    first.session.kill().await;
    let old = std::fs::read(world.data("t0.db")).unwrap();
    // A node without etcd is run meanwhile. It ends before it has written a catalog.
    let mut alone = world.session().await;
    world.clock.advance(Duration::from_hours(1));
    Bank::open(&world.data("t0.db"), &BankOptions::default()).unwrap().commit().unwrap();
    assert_eq!(alone.cycle().await.stored, 1);
    alone.kill().await;
    // The fleet again, on the state that the old catalog tells of.
    std::fs::write(world.data("t0.db"), &old).unwrap();
    world.clock.advance(Duration::from_hours(1));
    let mut second = Member::start(&world, "n2").await;
    let handed_over_by = Some(Epoch::new(3, FIRST));
    second.own(0..4, Grant { epoch: Epoch::new(9, SECOND), handed_over_by }).await;
    assert_eq!(second.cycle().await.stored, 1, "it is the newest again");
    assert_eq!(world.restored_from(world.backups().last().unwrap()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wakes_up_late_is_fenced_and_says_so() {
    let (world, mut first) = at_rest(1).await;
    let mut bank = Bank::open(&world.data("t0.db"), &BankOptions::default()).unwrap();
    let mut second = Member::start(&world, "n2").await;
    second.own(0..4, grant(SECOND, None)).await;
    bank.commit().unwrap();
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(second.cycle().await.stored, 1);
    let commits = bank.commit().unwrap();
    assert_eq!(second.cycle().await.stored, 1);
    // The first one still believes.
    first.cycle().await;
    match first.controls.next_report().await.unwrap() {
        Report::Fenced { epoch, by, what, .. } => {
            assert_eq!((epoch, by), (Epoch::new(3, FIRST), Epoch::new(3, SECOND)));
            assert!(what.contains("node n2") && what.contains("t0.db"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(first.session.replicator.statistics().fences, 1);
    assert_eq!(world.restored("t0"), commits, "R5");
    // Nor does it get its catalog through, once the other has written one.
    let last_words = second.release(&[0, 1, 2, 3]).await;
    assert_eq!(last_words.iter().flatten().collect::<Vec<_>>(), [&SECOND]);
    bank.commit().unwrap();
    first.session.node.tree().await.unwrap().scan_and_offer().await.unwrap();
    for assignment in first.assignments.values_mut() {
        assignment.phase = Phase::Releasing;
    }
    first.controls.assign(first.assignments.clone());
    let mut released = 0;
    while released < 4 {
        match first.controls.next_report().await.unwrap() {
            Report::Released { catalog, .. } => {
                assert_eq!(catalog, None, "it has the last word in nothing");
                released += 1;
            }
            Report::Fenced { by, .. } => assert_eq!(by, Epoch::new(3, SECOND)),
            other => panic!("{other:?}"),
        }
    }
    assert!(first.session.replicator.statistics().fences > 1, "the catalog's");
    assert_eq!(world.restored("t0"), commits, "R5");
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_have_catalogs_of_their_own_and_what_is_on_none_is_told() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        std::fs::create_dir(world.data(name)).unwrap();
        drop(world.bank(&format!("{name}/t.db")));
    }
    let volume = |name: &str| -> Volume {
        format!("{name}={}", world.data(name).display()).parse().unwrap()
    };
    let mut replicator = world.builder().pattern(world.data("*/*.db").to_str().unwrap());
    replicator = replicator.template("{{volume}}/{{name}}");
    let mut replicator = replicator.build().unwrap();
    replicator.options.volumes = Volumes::new(vec![volume("a"), volume("b")], 4).unwrap();
    let mut session = Session::start(replicator).await;
    let report = session.cycle().await;
    assert_eq!((report.databases, report.stored, report.problems), (2, 2, 1));
    session.stop().await;
    let found = ultrasimple_keeper::catalogs::list(&*world.store, None).await.unwrap();
    let volumes: Vec<_> = found.iter().map(|key| key.volume.as_str()).collect();
    assert_eq!(volumes, ["a", "b"]);
    let hour = Hour::of(world.clock.now());
    for volume in ["a", "b"] {
        world.restored_from(&format!("{volume}/t/t-{hour}.db.lz4"));
    }
}
