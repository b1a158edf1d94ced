//! Backups read back: what is said of whole ones, of damaged ones, and of those in others' places.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use ultrasimple_core::catalog::Record;
use ultrasimple_keeper::verify::{Expected, VerifyError, verify};
use ultrasimple_keeper::{Verdict, Verified};
use ultrasimple_sqlite::{CaptureOptions, Capturer};
use ultrasimple_testkit::bank::{Bank, BankOptions, JournalMode};

use crate::world::{Backup, World, backup, key, newer, path, volume};

struct Bench {
    world: World,
    scratch: TempDir,
    capturer: Arc<Capturer>,
}

fn image() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bank.db");
    let options =
        BankOptions { accounts: 40, journal_mode: JournalMode::Delete, ..BankOptions::default() };
    let mut bank = Bank::open(&file, &options).unwrap();
    for _ in 0..5 {
        bank.commit().unwrap();
    }
    drop(bank);
    std::fs::read(&file).unwrap()
}

fn files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

impl Bench {
    async fn new() -> Self {
        Self::with_limit(1 << 30).await
    }

    async fn with_limit(spool_limit: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let options = CaptureOptions { spool_limit, ..CaptureOptions::new(scratch.path()) };
        let capturer = Arc::new(Capturer::new(options).unwrap());
        Self { world: World::new().await, scratch, capturer }
    }

    async fn try_verify(&self, expected: Option<Expected<'_>>) -> Result<Verified, VerifyError> {
        let verified = verify(&self.world.store, &self.capturer, &key("t1", 1), expected).await;
        assert_eq!((files(self.scratch.path()), self.capturer.spooled_bytes()), (0, 0));
        verified
    }

    async fn verify(&self) -> Verified {
        self.try_verify(None).await.unwrap()
    }

    /// What is said of these bytes under the key of `t1` at 1. The tag must always be that of the object.
    async fn verdict(&self, bytes: Vec<u8>) -> Verdict {
        let held = self.world.put_bytes(&key("t1", 1).object_key(), bytes).await;
        let verified = self.verify().await;
        assert_eq!(verified.etag, Some(held.etag), "{verified:?}");
        verified.verdict
    }
}

fn t1() -> Backup {
    backup("t1", 1).containing(&image())
}

fn failure(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Failure(why) => why,
        other => panic!("{other:?}"),
    }
}

fn warning(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Warning(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_whole_one_is_ok_and_costs_one_request() {
    let bench = Bench::new().await;
    let backup = t1();
    let held = bench.world.put(&backup).await;
    let before = bench.world.requests();
    let verified = bench.verify().await;
    assert_eq!(bench.world.requests() - before, 1);
    assert_eq!((verified.verdict, verified.etag), (Verdict::Ok, Some(held.etag)));
    assert_eq!(verified.footer, Some(backup.object().1));
    assert_eq!(bench.verdict(t1().containing(b"").object().0).await, Verdict::Ok, "an empty one");
}

#[tokio::test]
async fn no_flipped_bit_and_no_cut_goes_unnoticed() {
    let bench = Bench::new().await;
    let whole = t1().object().0;
    let step = whole.len() / 150;
    let ends = (0..16).chain(whole.len() - 80..whole.len());
    for place in ends.chain((16..whole.len() - 80).step_by(step)) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        let verdict = bench.verdict(bytes).await;
        assert!(matches!(verdict, Verdict::Failure(_)), "byte {place}: {verdict:?}");
    }
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 200, whole.len() - 1] {
        failure(&bench.verdict(whole[..length].to_vec()).await);
    }
    let mut longer = whole.clone();
    longer.push(0);
    failure(&bench.verdict(longer).await);
    failure(&bench.verdict([whole.clone(), whole].concat()).await);
    failure(&bench.verdict(b"a stranger's text".to_vec()).await);
}

#[tokio::test]
async fn what_was_damaged_only_on_the_way_is_not_called_damaged() {
    let bench = Bench::new().await;
    bench.world.put(&t1()).await;
    let mut damaged = t1().object().0;
    damaged[500] ^= 1;
    let key = key("t1", 1).to_string();
    bench.world.faults().other_bytes.insert(key, damaged);
    assert_eq!(bench.verify().await.verdict, Verdict::Ok);
    assert_eq!(bench.world.faults().reads.len(), 2);
}

#[tokio::test]
async fn one_in_the_place_of_another_is_told_with_a_record_and_without() {
    let bench = Bench::new().await;
    let record = Record::new(path("/data/t1.db"));
    let (here, elsewhere) = (volume(), "v2".parse().unwrap());
    let with = Some(Expected { volume: &here, record: &record });
    let put = async |backup: Backup| {
        bench.world.put_bytes(&key("t1", 1).object_key(), backup.object().0).await;
    };
    let both = async || {
        let with = bench.try_verify(with).await.unwrap();
        (bench.verify().await.verdict, with.verdict)
    };
    put(t1()).await;
    assert_eq!(both().await, (Verdict::Ok, Verdict::Ok));
    let of_another_volume = Some(Expected { volume: &elsewhere, record: &record });
    let verified = bench.try_verify(of_another_volume).await.unwrap();
    assert!(failure(&verified.verdict).contains("another database"));

    put(t1().of("/data/t2.db")).await;
    let (without, with) = both().await;
    assert!(failure(&without).contains("/data/t2.db"), "{without:?}");
    assert!(failure(&with).contains("/data/t2.db"), "{with:?}");
    // The key alone cannot tell these apart.
    put(t1().of("/elsewhere/t1.db")).await;
    let (without, with) = both().await;
    assert_eq!(without, Verdict::Ok);
    assert!(failure(&with).contains("/elsewhere/t1.db"));

    put(Backup { captured_at: crate::world::at(2), ..t1() }).await;
    let (without, with) = both().await;
    assert!(failure(&without).contains("another hour") && failure(&with).contains("another hour"));
    assert!(bench.verify().await.footer.is_some());
}

#[tokio::test]
async fn a_missing_one_is_a_failure_of_no_object() {
    let bench = Bench::new().await;
    let verified = bench.verify().await;
    assert_eq!(failure(&verified.verdict), "it is missing");
    assert_eq!((verified.etag, verified.footer), (None, None));
}

#[tokio::test]
async fn marked_ones_and_damaged_ones_are_told_apart() {
    let bench = Bench::new().await;
    let mut damaged = image();
    // The page of an account's table: its header says what no page is.
    let page = damaged.len() / 4_096 / 2 * 4_096;
    damaged[page..page + 8].fill(0xEE);
    let verdict = bench.verdict(t1().containing(&damaged).object().0).await;
    assert!(failure(&verdict).contains("integrity_check"), "{verdict:?}");
    let verdict = bench.verdict(t1().containing(&damaged).marked().object().0).await;
    assert!(warning(&verdict).contains("damaged then"), "{verdict:?}");
    let verdict = bench.verdict(t1().marked().object().0).await;
    assert!(warning(&verdict).contains("finds nothing"), "{verdict:?}");
    let text = "no database at all".repeat(100);
    failure(&bench.verdict(t1().containing(text.as_bytes()).object().0).await);
}

#[tokio::test]
async fn a_newer_one_is_not_judged() {
    let bench = Bench::new().await;
    let verdict = bench.verdict(newer(&t1().object().0)).await;
    assert!(warning(&verdict).contains("newer program"), "{verdict:?}");
}

#[tokio::test]
async fn what_the_store_or_scratch_cannot_do_says_nothing_of_the_backup() {
    let bench = Bench::new().await;
    bench.world.put(&t1()).await;
    bench.world.faults().gets.insert(key("t1", 1).to_string(), 1);
    assert!(matches!(bench.try_verify(None).await, Err(VerifyError::Store(_))));
    assert_eq!(bench.verify().await.verdict, Verdict::Ok);

    let small = Bench::with_limit(10_000).await;
    small.world.put(&t1()).await;
    let verified = small.try_verify(None).await;
    assert!(matches!(verified, Err(VerifyError::Scratch(_))), "{verified:?}");
}
