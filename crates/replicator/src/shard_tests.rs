//! The state machine against a model of the truth: whatever happens in whatever order, a change is
//! never taken for backed up when it is not, and all is backed up in the end.

use proptest::prelude::*;
use ultrasimple_core::catalog::Newest;
use ultrasimple_core::{ContentHash, FileStamp, Fingerprint};

use super::*;
use crate::scan::test_id;

fn digest(version: u64) -> FingerprintDigest {
    let main = FileStamp { device: 1, inode: 1, size: version, mtime_ns: 0, ctime_ns: 0 };
    Fingerprint { main, wal: None, journal: false }.digest()
}

fn content(version: u64) -> ContentHash {
    ContentHash::of(&version.to_le_bytes())
}

fn stored(version: u64, settled: bool) -> Outcome {
    let newest = Newest {
        captured_at: Timestamp::UNIX_EPOCH,
        blake3: content(version),
        size: 8,
        marked: None,
    };
    let backup = StoredBackup { bytes: 9, etag: ETag(version.to_string().into()), newest };
    Outcome::Stored { digest: digest(version), settled, backup, at: Duration::ZERO }
}

fn path_of(id: DatabaseId) -> SourcePath {
    SourcePath::from_bytes(format!("/data/{id:?}.db").as_bytes())
}

fn stem_of(path: &SourcePath) -> KeyStem {
    KeyStem::try_from(path.key_name()).unwrap()
}

fn identity(id: DatabaseId) -> Identity {
    Identity::new(&path_of(id), &stem_of(&path_of(id)))
}

/// A scan sees this.
fn see(
    shard: &mut Shard,
    changed: &[(DatabaseId, FingerprintDigest)],
    gone: &[DatabaseId],
    now: Duration,
) {
    let changed = changed.iter();
    let news = News {
        changed: changed
            .map(|&(id, digest)| Changed { id, identity: identity(id), digest })
            .collect(),
        gone: gone
            .iter()
            .map(|&id| Gone { id, path: path_of(id), identity: identity(id), place: None })
            .collect(),
    };
    shard.observe(news, now, Timestamp::UNIX_EPOCH + now);
}

/// What the catalog would be told now.
fn changes(shard: &mut Shard) -> Vec<Change> {
    let place = |id| Some((path_of(id), stem_of(&path_of(id))));
    let mut changes = shard.begin_write(place, |path| Some(stem_of(path)));
    changes.sort_by(|a, b| a.stem.cmp(&b.stem));
    changes
}

/// What a catalog says of a database whose newest backup has this version.
fn recalled(id: DatabaseId, version: u64) -> Recalled {
    let Outcome::Stored { digest, backup, at, .. } = stored(version, true) else { panic!() };
    let held = Held { digest, backup: LastBackup::of(&backup, at) };
    Recalled { identity: identity(id), held, gone_since: None, doubted: None }
}

fn failed(kind: &'static str) -> Outcome {
    Outcome::Failed(Failure { kind, reason: kind.to_owned() })
}

const S: fn(u64) -> Duration = Duration::from_secs;

fn offered(shard: &mut Shard, now: Duration) -> Vec<DatabaseId> {
    shard.offers(now, Duration::ZERO).into_iter().map(|offer| offer.id).collect()
}

#[test]
fn a_change_is_offered_once_until_it_is_settled() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    assert_eq!(offered(&mut shard, S(1)), [id]);
    see(&mut shard, &[(id, digest(1))], &[], S(2));
    assert_eq!(offered(&mut shard, S(2)), []);
    shard.settle(id, stored(1, true), S(3));
    see(&mut shard, &[(id, digest(1))], &[], S(4));
    assert_eq!(offered(&mut shard, S(4)), [], "it is held");
    see(&mut shard, &[(id, digest(2))], &[], S(5));
    assert_eq!(offered(&mut shard, S(5)), [id]);
}

#[test]
fn after_a_doubtful_attempt_the_owner_is_not_sure_until_a_write_is_confirmed() {
    let id = test_id(1);
    let hour = |hours| Hour::of(Timestamp::UNIX_EPOCH + Duration::from_hours(hours));
    let failure = || Failure { kind: "unknown_outcome", reason: "?".into() };
    for (outcome, expected) in [
        (failed("slow_down"), None),
        (Outcome::Deferred, None),
        (Outcome::Doubtful(failure(), hour(2)), Some(hour(2))),
        (Outcome::GivenUp(hour(2)), Some(hour(2))),
    ] {
        let mut shard = Shard::default();
        see(&mut shard, &[(id, digest(1))], &[], S(1));
        offered(&mut shard, S(1));
        shard.settle(id, stored(1, true), S(1));
        see(&mut shard, &[(id, digest(2))], &[], S(2));
        offered(&mut shard, S(2));
        let name = format!("{outcome:?}");
        shard.settle(id, outcome, S(2));
        assert_eq!(shard.is_sure(), expected.is_none(), "{name}");
        let known = shard.offers(S(3), Duration::ZERO).remove(0).known();
        assert_eq!((known.doubted, known.sure().is_some()), (expected, expected.is_none()));
        shard.settle(id, failed("busy"), S(3));
        assert_eq!(shard.is_sure(), expected.is_none(), "{name}: nothing was written");
        offered(&mut shard, S(4));
        shard.settle(id, Outcome::GivenUp(hour(1)), S(4));
        let known = shard.offers(S(5), Duration::ZERO).remove(0).known();
        assert_eq!(known.doubted, expected.or(Some(hour(1))), "{name}: the later one counts");
        shard.settle(id, stored(2, true), S(5));
        assert!(shard.is_sure(), "{name}");
    }
}

#[test]
fn a_doubt_outlives_the_database() {
    for is_settled in [true, false] {
        let (id, again) = (test_id(1), test_id(2));
        let known = |id| Changed { id, identity: identity(test_id(1)), digest: digest(1) };
        let mut shard = Shard::default();
        see(&mut shard, &[(id, digest(1))], &[], S(1));
        offered(&mut shard, S(1));
        shard.settle(id, stored(1, true), S(1));
        see(&mut shard, &[(id, digest(2))], &[], S(2));
        offered(&mut shard, S(2));
        let hour = Hour::of(Timestamp::UNIX_EPOCH);
        if is_settled {
            shard.settle(id, Outcome::GivenUp(hour), S(2));
        }
        see(&mut shard, &[], &[id], S(3));
        assert!(!shard.is_sure());
        // As the bucket had it before, to the fingerprint.
        let news = News { changed: vec![known(again)], gone: Vec::new() };
        shard.observe(news, S(4), Timestamp::UNIX_EPOCH);
        let known = shard.offers(S(4), Duration::ZERO).remove(0).known();
        assert_eq!(known.doubted, Some(hour), "{is_settled}");
    }
}

#[test]
fn an_owner_whose_catalog_may_be_stale_is_sure_when_all_its_databases_were_looked_at() {
    let (one, two, three) = (test_id(1), test_id(2), test_id(3));
    let mut shard = Shard::default();
    assert!(shard.is_sure(), "there was no catalog that could be stale");
    let all = [one, two, three].map(|id| recalled(id, 1)).into();
    shard.recall(all, Some(Hour::of(Timestamp::UNIX_EPOCH)));
    assert!(!shard.is_sure(), "no scan");
    see(&mut shard, &[(one, digest(1)), (two, digest(2))], &[], S(1));
    assert!(!shard.is_sure(), "one was not seen, and one has changed");
    offered(&mut shard, S(1));
    shard.settle(two, stored(2, true), S(1));
    assert!(!shard.is_sure(), "one was not seen");
    see(&mut shard, &[(three, digest(1))], &[], S(2));
    assert!(shard.is_sure());
}

#[test]
fn a_failure_is_retried_every_cycle_and_keeps_its_exposure() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(10));
    for attempt in 1..5 {
        assert_eq!(offered(&mut shard, S(10)), [id]);
        shard.settle(id, failed("busy"), S(10 + u64::from(attempt)));
        let failing = shard.failing(id).unwrap();
        assert_eq!((failing.attempts, failing.since), (attempt, S(11)));
        let glance = shard.glance(S(60));
        assert_eq!((glance.pending, glance.failing, glance.exposure), (1, 1, S(50)));
        assert_eq!((glance.failing_exposure, glance.waiting_exposure), (S(50), S(0)));
        see(&mut shard, &[], &[], S(20));
    }
    assert_eq!(offered(&mut shard, S(20)), [id]);
    shard.settle(id, stored(1, true), S(20));
    assert_eq!(shard.failing(id), None);
    assert_eq!(shard.glance(S(60)), Glance::default());
}

#[test]
fn a_change_during_the_upload_is_not_lost() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    see(&mut shard, &[(id, digest(2))], &[], S(2));
    shard.settle(id, stored(1, true), S(3));
    assert_eq!(offered(&mut shard, S(3)), [id]);
    // The capture may already have seen what the scan saw.
    see(&mut shard, &[(id, digest(3))], &[], S(4));
    shard.settle(id, stored(3, true), S(5));
    assert_eq!(offered(&mut shard, S(5)), []);
}

#[test]
fn an_unsettled_fingerprint_is_looked_at_again() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(id, stored(1, false), S(2));
    assert_eq!(offered(&mut shard, S(2)), [], "in the next cycle, not in this one");
    see(&mut shard, &[], &[], S(3));
    assert_eq!(offered(&mut shard, S(3)), [id]);
    shard.settle(id, Outcome::Unchanged { digest: digest(1), settled: true }, S(4));
    see(&mut shard, &[], &[], S(5));
    assert_eq!(offered(&mut shard, S(5)), []);
}

#[test]
fn the_least_interval_holds_back_but_never_drops() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(0));
    assert_eq!(shard.offers(S(0), S(60)).len(), 1);
    shard.settle(id, stored(1, true), S(0));
    see(&mut shard, &[(id, digest(2))], &[], S(15));
    assert_eq!(shard.offers(S(15), S(60)), []);
    let glance = shard.glance(S(45));
    assert_eq!((glance.exposure, glance.waiting_exposure), (S(30), S(30)));
    assert_eq!(glance.failing_exposure, S(0));
    assert_eq!(shard.offers(S(60), S(60)).len(), 1);
}

#[test]
fn damage_is_told_until_a_good_backup() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    let mut damaged = stored(1, true);
    if let Outcome::Stored { backup, .. } = &mut damaged {
        backup.newest.marked = Some("page 3".into());
    }
    shard.settle(id, damaged, S(1));
    assert_eq!(shard.glance(S(1)).failing, 1);
    assert!(shard.failing(id).unwrap().failure.reason.contains("page 3"));
    see(&mut shard, &[(id, digest(2))], &[], S(2));
    offered(&mut shard, S(2));
    shard.settle(id, stored(2, true), S(2));
    assert_eq!(shard.glance(S(2)).failing, 0);
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    see(&mut shard, &[], &[id], S(2));
    shard.settle(id, stored(1, false), S(3));
    see(&mut shard, &[], &[], S(4));
    assert_eq!(offered(&mut shard, S(4)), []);
    assert_eq!(shard.glance(S(4)), Glance::default());
}

#[test]
fn what_the_catalog_says_is_held_where_the_fingerprint_is_the_same() {
    let mut shard = Shard::default();
    let ids = [test_id(1), test_id(2), test_id(3)];
    let since = Hour::of(Timestamp::UNIX_EPOCH);
    shard.recall(vec![recalled(ids[0], 1), recalled(ids[1], 1)], Some(since));
    let seen = [(ids[0], digest(1)), (ids[1], digest(2)), (ids[2], digest(1))];
    see(&mut shard, &seen, &[], S(1));
    let mut offers = shard.offers(S(1), Duration::ZERO);
    offers.sort_by_key(|offer| offer.id);
    let told = offers.into_iter().map(|offer| (offer.id, offer.known()));
    let told: Vec<_> = told.map(|(id, k)| (id, k.last.is_some(), k.unsure_since)).collect();
    assert_eq!(told, [(ids[1], true, Some(since)), (ids[2], false, Some(since))]);
    assert_eq!(shard.untold().changes, 0, "nothing has been stored");
    // Later ones nobody before can have stored.
    let id = test_id(4);
    see(&mut shard, &[(id, digest(1))], &[], S(2));
    let known = shard.offers(S(2), Duration::ZERO).remove(0).known();
    assert_eq!(known.unsure_since, None);
}

#[test]
fn a_database_that_comes_back_as_it_was_is_not_captured_again() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(id, stored(1, true), S(2));
    assert_eq!(changes(&mut shard).len(), 1);
    shard.written(&HashMap::new());
    see(&mut shard, &[], &[id], S(3));
    let absences = shard.untold_absences(Timestamp::UNIX_EPOCH);
    assert_eq!(absences, HashMap::from([(identity(id), Timestamp::UNIX_EPOCH + S(3))]));
    assert_eq!(shard.untold().changes, 1, "that it is gone");
    shard.written(&absences);
    assert_eq!(shard.untold().changes, 0);
    see(&mut shard, &[(id, digest(1))], &[], S(4));
    assert_eq!(offered(&mut shard, S(4)), []);
    let changes = changes(&mut shard);
    assert_eq!((changes.len(), changes[0].gone_since), (1, None), "that it is back");
}

#[test]
fn databases_that_no_scan_shows_are_not_gone_where_most_are_missing() {
    let mut shard = Shard::default();
    let ids = [test_id(1), test_id(2), test_id(3)];
    shard.recall(ids.map(|id| recalled(id, 1)).to_vec(), None);
    see(&mut shard, &[(ids[0], digest(1))], &[], S(1));
    assert!(shard.untold_absences(Timestamp::UNIX_EPOCH).is_empty(), "a lost mount?");
    see(&mut shard, &[(ids[1], digest(1))], &[], S(2));
    assert_eq!(shard.untold_absences(Timestamp::UNIX_EPOCH).len(), 1);
}

#[test]
fn databases_that_went_long_ago_do_not_keep_one_that_no_scan_shows_from_being_gone() {
    let mut shard = Shard::default();
    let ids = [1, 2, 3, 4].map(test_id);
    let mut all = ids.map(|id| recalled(id, 1));
    for long_gone in &mut all[2..] {
        long_gone.gone_since = Some(Timestamp::UNIX_EPOCH);
    }
    shard.recall(all.to_vec(), None);
    see(&mut shard, &[(ids[0], digest(1))], &[], S(1));
    let absences = shard.untold_absences(Timestamp::UNIX_EPOCH);
    assert_eq!(absences.into_keys().collect::<Vec<_>>(), [identity(ids[1])]);
}

#[test]
fn an_unsettled_fingerprint_is_not_told() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(id, stored(1, false), S(2));
    assert_eq!(changes(&mut shard)[0].fingerprint, None);
    see(&mut shard, &[], &[], S(3));
    offered(&mut shard, S(3));
    shard.settle(id, Outcome::Unchanged { digest: digest(1), settled: true }, S(4));
    shard.written(&HashMap::new());
    let changes = changes(&mut shard);
    assert_eq!(changes[0].fingerprint, Some((digest(1), content(1).short())));
    assert!(changes[0].stored.is_empty());
}

#[test]
fn a_lost_backup_is_made_again_and_what_is_newer_than_the_catalog_is_not_lost() {
    let mut shard = Shard::default();
    let ids = [test_id(1), test_id(2)];
    see(&mut shard, &ids.map(|id| (id, digest(1))), &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(ids[0], stored(1, true), S(2));
    changes(&mut shard);
    shard.settle(ids[1], stored(1, true), S(2));
    shard.written(&HashMap::new());
    assert_eq!(shard.forget(|_, _| Some(Lost::Unusable), S(3)), 1);
    let mut offers = shard.offers(S(3), Duration::ZERO);
    assert_eq!((offers.len(), offers[0].id), (1, ids[0]));
    assert_eq!(offers.remove(0).known().last, None);
}

#[test]
fn an_unsettled_fingerprint_is_not_told_while_it_is_looked_at_again() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(id, stored(1, false), S(2));
    see(&mut shard, &[], &[], S(3));
    assert_eq!(offered(&mut shard, S(3)), [id]);
    assert_eq!(changes(&mut shard)[0].fingerprint, None);
    // The end comes before it was looked at.
    shard.settle(id, Outcome::Deferred, S(4));
    shard.not_written();
    assert_eq!(changes(&mut shard)[0].fingerprint, None);
}

#[test]
fn what_was_unsettled_when_it_went_is_looked_at_when_it_is_back() {
    for is_offered in [false, true] {
        let mut shard = Shard::default();
        let ids = [test_id(1), test_id(2)];
        see(&mut shard, &[(ids[0], digest(1))], &[], S(1));
        offered(&mut shard, S(1));
        shard.settle(ids[0], stored(1, false), S(2));
        if is_offered {
            see(&mut shard, &[], &[], S(3));
            offered(&mut shard, S(3));
        }
        see(&mut shard, &[], &[ids[0]], S(4));
        assert_eq!(changes(&mut shard)[0].fingerprint, None, "{is_offered}");
        let back = Changed { id: ids[1], identity: identity(ids[0]), digest: digest(1) };
        let news = News { changed: vec![back], gone: Vec::new() };
        shard.observe(news, S(5), Timestamp::UNIX_EPOCH);
        assert_eq!(offered(&mut shard, S(5)), [ids[1]], "{is_offered}");
    }
}

#[test]
fn what_cannot_be_looked_at_is_never_taken_for_held() {
    let mut shard = Shard::default();
    let id = test_id(1);
    let mut without_fingerprint = recalled(id, 1);
    without_fingerprint.held.digest = FingerprintDigest::NONE;
    shard.recall(vec![without_fingerprint], None);
    see(&mut shard, &[(id, FingerprintDigest::NONE)], &[], S(1));
    assert_eq!(offered(&mut shard, S(1)), [id]);
}

#[test]
fn a_backup_that_is_lost_while_nothing_new_is_found_is_made_again() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(id, stored(1, true), S(2));
    changes(&mut shard);
    // Touched: on its way, with what is about to be lost in mind.
    see(&mut shard, &[(id, digest(2))], &[], S(3));
    assert_eq!(offered(&mut shard, S(3)), [id]);
    shard.written(&HashMap::new());
    assert_eq!(shard.forget(|_, _| Some(Lost::Unusable), S(4)), 1);
    shard.settle(id, Outcome::Unchanged { digest: digest(2), settled: true }, S(5));
    let mut offers = shard.offers(S(6), Duration::ZERO);
    assert_eq!((offers.len(), offers[0].since), (1, S(3)));
    assert_eq!(offers.remove(0).known().last, None);
    shard.settle(id, stored(1, true), S(7));
    assert_eq!(shard.glance(S(8)).pending, 0);
}

#[test]
fn what_a_write_was_to_tell_is_untold_until_it_has_ended_well() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(id, stored(1, true), S(2));
    assert_eq!(changes(&mut shard).len(), 1);
    // Given up at the end of the daemon: nobody said how it ended.
    assert_eq!(shard.untold().changes, 1);
    assert_eq!(changes(&mut shard).len(), 1);
    shard.written(&HashMap::new());
    assert_eq!(shard.untold().changes, 0);
}

#[test]
fn a_failed_check_whose_capture_is_not_stored_is_told() {
    let mut shard = Shard::default();
    let id = test_id(1);
    see(&mut shard, &[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(id, stored(1, true), S(2));
    changes(&mut shard);
    shard.written(&HashMap::new());
    see(&mut shard, &[(id, digest(2))], &[], S(3));
    offered(&mut shard, S(3));
    shard.settle(id, failed(DAMAGED_KEPT), S(3));
    let told = changes(&mut shard);
    assert_eq!(told[0].failed_check.as_deref(), Some(DAMAGED_KEPT));
    assert_eq!(told[0].fingerprint, Some((digest(1), content(1).short())), "of what was stored");
    shard.written(&HashMap::new());
    see(&mut shard, &[], &[], S(4));
    offered(&mut shard, S(4));
    shard.settle(id, failed(DAMAGED_KEPT), S(4));
    assert_eq!(shard.untold().changes, 0, "it is told once");
}

/// What may happen to one database, in any order.
#[derive(Debug, Clone, Copy)]
enum Step {
    Commit,
    Scan,
    Capture,
    Confirm,
    Fail,
    Defer,
}

proptest! {
    /// R3 in the model: when the shard calls a database clean, the bucket has its newest version or a
    /// scan is still to see it. And after a last scan and enough successful uploads, the bucket has it.
    #[test]
    fn no_change_is_ever_taken_for_backed_up(
        steps in proptest::collection::vec(
            prop_oneof![
                Just(Step::Commit), Just(Step::Scan), Just(Step::Capture), Just(Step::Confirm),
                Just(Step::Fail), Just(Step::Defer)
            ],
            0..60,
        ),
    ) {
        let mut shard = Shard::default();
        let id = test_id(1);
        let (mut version, mut seen, mut bucket) = (1u64, 0u64, 0u64);
        // Offered; then captured, at some version.
        let mut job: Option<Option<u64>> = None;
        let mut now = S(1);
        let finish = [Step::Scan, Step::Capture, Step::Confirm].repeat(3);
        for step in steps.into_iter().chain(finish) {
            now += S(1);
            match step {
                Step::Commit => version += 1,
                Step::Scan => {
                    let news = [(id, digest(version))];
                    see(&mut shard, if seen == version { &[] } else { &news }, &[], now);
                    seen = version;
                    if !offered(&mut shard, now).is_empty() {
                        prop_assert!(job.is_none(), "offered twice");
                        job = Some(None);
                    }
                }
                Step::Capture => if let Some(captured @ None) = &mut job {
                    *captured = Some(version);
                },
                Step::Confirm => if let Some(Some(captured)) = job {
                    bucket = captured;
                    shard.settle(id, stored(captured, true), now);
                    job = None;
                },
                Step::Fail => if job.take().is_some() {
                    shard.settle(id, failed("unavailable"), now);
                },
                Step::Defer => if job.take().is_some() {
                    shard.settle(id, Outcome::Deferred, now);
                },
            }
            let clean = shard.glance(now).pending == 0;
            prop_assert!(!clean || bucket >= seen, "clean, but the bucket lacks what was seen");
        }
        prop_assert_eq!(bucket, version);
    }
}

/// Else the rest of a first backup would wait for the hour.
#[test]
fn what_is_stored_while_a_catalog_is_written_is_still_new_to_it() {
    let mut shard = Shard::default();
    let all: Vec<_> = (0..5).map(|number| (test_id(number), digest(1))).collect();
    see(&mut shard, &all, &[], S(0));
    offered(&mut shard, S(0));
    let untold = |shard: &Shard| (shard.untold().new, shard.untold().changes);
    for number in 0..3 {
        shard.settle(test_id(number), stored(1, true), S(1));
    }
    assert_eq!(changes(&mut shard).len(), 3);
    shard.settle(test_id(3), stored(1, true), S(1));
    assert_eq!(untold(&shard), (4, 4), "not yet told");
    shard.not_written();
    assert_eq!(changes(&mut shard).len(), 4);
    shard.settle(test_id(4), stored(1, true), S(1));
    shard.written(&HashMap::new());
    assert_eq!(untold(&shard), (1, 1));
}
