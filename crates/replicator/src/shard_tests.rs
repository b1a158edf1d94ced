//! The state machine against a model of the truth: whatever happens in whatever order, a change is
//! never taken for backed up when it is not, and all is backed up in the end.

use proptest::prelude::*;
use ultrasimple_core::{FileStamp, Fingerprint};

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
    let backup = LastBackup {
        content: content(version),
        hour: Hour::of(ultrasimple_core::Timestamp::UNIX_EPOCH),
        etag: ETag(version.to_string().into()),
        damage: None,
        stored_at: Duration::ZERO,
    };
    Outcome::Stored { digest: digest(version), settled, backup }
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
    shard.observe(&[(id, digest(1))], &[], S(1));
    assert_eq!(offered(&mut shard, S(1)), [id]);
    shard.observe(&[(id, digest(1))], &[], S(2));
    assert_eq!(offered(&mut shard, S(2)), []);
    shard.settle(id, stored(1, true), S(3));
    shard.observe(&[(id, digest(1))], &[], S(4));
    assert_eq!(offered(&mut shard, S(4)), [], "it is held");
    shard.observe(&[(id, digest(2))], &[], S(5));
    assert_eq!(offered(&mut shard, S(5)), [id]);
}

#[test]
fn a_failure_is_retried_every_cycle_and_keeps_its_exposure() {
    let mut shard = Shard::default();
    let id = test_id(1);
    shard.observe(&[(id, digest(1))], &[], S(10));
    for attempt in 1..5 {
        assert_eq!(offered(&mut shard, S(10)), [id]);
        shard.settle(id, failed("busy"), S(10 + u64::from(attempt)));
        let failing = shard.failing(id).unwrap();
        assert_eq!((failing.attempts, failing.since), (attempt, S(11)));
        let glance = shard.glance(S(60));
        assert_eq!((glance.pending, glance.failing, glance.exposure), (1, 1, S(50)));
        shard.observe(&[], &[], S(20));
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
    shard.observe(&[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.observe(&[(id, digest(2))], &[], S(2));
    shard.settle(id, stored(1, true), S(3));
    assert_eq!(offered(&mut shard, S(3)), [id]);
    // The capture may already have seen what the scan saw.
    shard.observe(&[(id, digest(3))], &[], S(4));
    shard.settle(id, stored(3, true), S(5));
    assert_eq!(offered(&mut shard, S(5)), []);
}

#[test]
fn an_unsettled_fingerprint_is_looked_at_again() {
    let mut shard = Shard::default();
    let id = test_id(1);
    shard.observe(&[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.settle(id, stored(1, false), S(2));
    assert_eq!(offered(&mut shard, S(2)), [], "in the next cycle, not in this one");
    shard.observe(&[], &[], S(3));
    assert_eq!(offered(&mut shard, S(3)), [id]);
    shard.settle(id, Outcome::Unchanged { digest: digest(1), settled: true }, S(4));
    shard.observe(&[], &[], S(5));
    assert_eq!(offered(&mut shard, S(5)), []);
}

#[test]
fn the_least_interval_holds_back_but_never_drops() {
    let mut shard = Shard::default();
    let id = test_id(1);
    shard.observe(&[(id, digest(1))], &[], S(0));
    assert_eq!(shard.offers(S(0), S(60)).len(), 1);
    shard.settle(id, stored(1, true), S(0));
    shard.observe(&[(id, digest(2))], &[], S(15));
    assert_eq!(shard.offers(S(15), S(60)), []);
    assert_eq!(shard.glance(S(45)).exposure, S(30));
    assert_eq!(shard.offers(S(60), S(60)).len(), 1);
}

#[test]
fn damage_is_told_until_a_good_backup() {
    let mut shard = Shard::default();
    let id = test_id(1);
    shard.observe(&[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    let Outcome::Stored { digest: d, settled, mut backup } = stored(1, true) else { panic!() };
    backup.damage = Some("page 3".into());
    shard.settle(id, Outcome::Stored { digest: d, settled, backup }, S(1));
    assert_eq!(shard.glance(S(1)).failing, 1);
    assert!(shard.failing(id).unwrap().failure.reason.contains("page 3"));
    shard.observe(&[(id, digest(2))], &[], S(2));
    offered(&mut shard, S(2));
    shard.settle(id, stored(2, true), S(2));
    assert_eq!(shard.glance(S(2)).failing, 0);
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let mut shard = Shard::default();
    let id = test_id(1);
    shard.observe(&[(id, digest(1))], &[], S(1));
    offered(&mut shard, S(1));
    shard.observe(&[], &[id], S(2));
    shard.settle(id, stored(1, false), S(3));
    shard.observe(&[], &[], S(4));
    assert_eq!(offered(&mut shard, S(4)), []);
    assert_eq!(shard.glance(S(4)), Glance::default());
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
                    shard.observe(if seen == version { &[] } else { &news }, &[], now);
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
