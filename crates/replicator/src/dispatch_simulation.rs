//! Months of 100,000 databases in virtual time: the real shards, dispatcher and budget, a model of the
//! scans, the uploads and the bill, and a book of what is true.
//!
//! An upload takes its time and may fail, may need a second PUT or many parts; others send requests, too;
//! now and then the store is down. Nothing here sleeps, and chance is seeded: a failure comes again.

use std::collections::BTreeMap;

use ultrasimple_core::catalog::{Newest, StoredBackup};
use ultrasimple_core::{ContentHash, FileStamp, Fingerprint, FingerprintDigest, Timestamp};
use ultrasimple_store::ETag;

use super::*;
use crate::budget::{Begin, MONTH};
use crate::scan::{test_id, test_identity};
use crate::scanner::{Changed, News};
use crate::shard::{Failure, Shard};

const DATABASES: u32 = 100_000;
/// These change before each scan.
const HOT: u32 = 250;
const SHARDS: usize = 4;
const CYCLE: Duration = Duration::from_secs(15);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// A request for each of the hot ones every 300 seconds.
const BUDGET: u64 = 2_160_000;
const FAIR_SHARE: Duration = Duration::from_mins(5);

/// What goes on besides the hot databases.
#[derive(Clone, Copy)]
struct Life {
    budget: Option<u64>,
    min_interval: Duration,
    /// Changes an hour of databases that are not hot.
    cold: u32,
    /// Second PUTs, large databases, catalogs, failures, a store that is down for a minute.
    rough: bool,
}

const CALM: Life = Life { budget: None, min_interval: Duration::ZERO, cold: 0, rough: false };

/// What is true of a database.
#[derive(Clone, Copy)]
struct Truth {
    /// As the last scan saw it: the cycle of its last change.
    version: u64,
    digest: FingerprintDigest,
    /// As the bucket has it.
    stored: u64,
    /// When a scan first saw a change that the bucket has not.
    waiting: Option<Duration>,
    /// The same, of the changes that came after the capture which is under way.
    later: Option<Duration>,
    stored_at: Option<Duration>,
    /// Offered, and not begun yet.
    queued: bool,
}

struct Flight {
    ticket: Ticket,
    shard: usize,
    id: u32,
    version: u64,
    digest: FingerprintDigest,
    outcome: Result<(), &'static str>,
    /// Requests that are counted when it ends.
    cost: u64,
}

struct World {
    life: Life,
    shards: Vec<Shard>,
    dispatcher: Dispatcher<usize>,
    budget: PutBudget,
    counted: u64,
    now: Duration,
    cycle: u64,
    /// The cycle of the last change of the hot ones.
    hot: u64,
    hot_digest: FingerprintDigest,
    /// Since when the change has been waiting that was served last.
    last_since: Duration,
    alarm: Option<Duration>,
    flights: BTreeMap<(Duration, u64), Flight>,
    flown: u64,
    truth: Vec<Truth>,
    /// Databases that the next upload of is a large one.
    large: u64,
    random: u64,
    /// Longest waits, hot and others, since they were last asked for.
    worst: [Duration; 2],
    /// Shortest time between two backups of one database.
    closest: Duration,
}

impl World {
    fn new(life: Life) -> Self {
        let truth = Truth {
            version: 0,
            digest: FingerprintDigest::NONE,
            stored: 0,
            waiting: None,
            later: None,
            stored_at: None,
            queued: false,
        };
        Self {
            life,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            dispatcher: Dispatcher::new(100),
            budget: PutBudget::new(life.budget, Begin::First, 0, Duration::ZERO),
            counted: 0,
            now: Duration::ZERO,
            cycle: 0,
            hot: 0,
            hot_digest: FingerprintDigest::NONE,
            last_since: Duration::ZERO,
            alarm: None,
            flights: BTreeMap::new(),
            flown: 0,
            truth: vec![truth; DATABASES as usize],
            large: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            worst: [Duration::ZERO; 2],
            closest: Duration::MAX,
        }
    }

    /// A bucket that has all: as when the catalogs have been read.
    fn all_stored(life: Life) -> Self {
        let mut world = Self::new(life);
        let all: Vec<_> = (0..DATABASES).collect();
        world.see(&all);
        for shard in 0..SHARDS {
            for offer in world.shards[shard].offers(world.now, Duration::ZERO) {
                let truth = &mut world.truth[number(offer.id)];
                (truth.stored, truth.waiting) = (truth.version, None);
                let outcome = stored(truth.digest, world.now);
                world.shards[shard].settle(offer.id, outcome, world.now);
            }
        }
        world
    }

    /// A number below `below`.
    fn chance(&mut self, below: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from(((self.random >> 32) * u64::from(below)) >> 32).unwrap()
    }

    /// A scan finds these changed.
    fn see(&mut self, changed: &[u32]) {
        self.cycle += 1;
        let main = FileStamp { device: 1, inode: 1, size: self.cycle, mtime_ns: 0, ctime_ns: 0 };
        let digest = Fingerprint { main, wal: None, journal: false }.digest();
        if self.hot == self.cycle {
            self.hot_digest = digest;
        }
        let mut news = vec![Vec::new(); SHARDS];
        for &id in changed {
            let truth = &mut self.truth[id as usize];
            (truth.version, truth.digest) = (self.cycle, digest);
            truth.waiting.get_or_insert(self.now);
            truth.later.get_or_insert(self.now);
            news[id as usize % SHARDS].push(seen(test_id(id), digest));
        }
        for (shard, news) in self.shards.iter_mut().zip(news) {
            let news = News { changed: news, gone: Vec::new() };
            shard.observe(news, self.now, Timestamp::UNIX_EPOCH);
        }
    }

    /// The hot ones, for the scan to find. Of one that waits in the queue its shard notes the last change,
    /// and does nothing about it: to save time it is told that when the upload begins.
    fn hot_ones(&mut self) -> Vec<u32> {
        self.hot = self.cycle + 1;
        (0..HOT).filter(|&id| !self.truth[id as usize].queued).collect()
    }

    /// One cycle: what ends before it, the scan, the offers.
    fn cycle(&mut self, hot: bool) {
        let due = CYCLE * u32::try_from(self.cycle).unwrap();
        self.run_until(due);
        let mut changed = if hot { self.hot_ones() } else { Vec::new() };
        if hot && self.chance(240) < self.life.cold {
            changed.push(HOT + self.chance(DATABASES - HOT));
        }
        if hot && self.life.rough {
            // Catalogs: 240 an hour.
            self.counted += 1;
            self.large += u64::from(self.cycle % 5_760 == 700);
        }
        self.see(&changed);
        self.dispatcher.new_cycle();
        for shard in 0..SHARDS {
            let mut offers = self.shards[shard].offers(self.now, self.life.min_interval);
            offers.sort_unstable_by_key(|offer| offer.id);
            for offer in &offers {
                let truth = &mut self.truth[number(offer.id)];
                truth.queued = true;
                assert_ne!(truth.version, truth.stored, "{:?} is offered, unchanged", offer.id);
            }
            self.dispatcher.offer(&shard, offers);
        }
        self.pump();
    }

    /// For so long, cycle by cycle.
    fn live(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.cycle(true);
        }
    }

    fn run_until(&mut self, due: Duration) {
        loop {
            let ending = self.flights.first_key_value().map(|(&(at, _), _)| at);
            let next = [ending, self.alarm].into_iter().flatten().min();
            let Some(at) = next.filter(|&at| at < due) else { break };
            self.now = at;
            if self.alarm == Some(at) {
                self.alarm = None;
            } else if let Some((_, flight)) = self.flights.pop_first() {
                self.end(flight);
            }
            self.pump();
        }
        self.now = due;
    }

    /// Does what the dispatcher says, as the uploader does.
    fn pump(&mut self) {
        self.budget.meter(self.counted, self.now);
        loop {
            match self.dispatcher.next(&self.budget) {
                Next::Begin(ticket, shard, offer) => self.begin(ticket, shard, &offer),
                Next::Defer(shard, id) => {
                    self.truth[number(id)].queued = false;
                    self.shards[shard].settle(id, Outcome::Deferred, self.now);
                }
                Next::Wait(wait) => {
                    let due = self.now + wait;
                    self.alarm = Some(self.alarm.map_or(due, |alarm| alarm.min(due)));
                    return;
                }
                Next::Nothing => return,
            }
        }
    }

    fn begin(&mut self, ticket: Ticket, shard: usize, offer: &Offer) {
        let id = u32::try_from(number(offer.id)).unwrap();
        let mut takes = Duration::from_millis(50 + u64::from(self.chance(2_000)));
        let (mut outcome, mut cost) = (Ok(()), 1);
        if self.life.rough {
            // For a minute, every six hours.
            let is_down = self.cycle % 1_440 >= 1_436;
            match self.chance(200) {
                _ if is_down => outcome = Err("unavailable"),
                0 => outcome = Err("unavailable"),
                1..11 => cost = 2,
                _ if self.large > 0 => {
                    self.large -= 1;
                    (cost, takes) = (66, takes * 10);
                }
                _ => {}
            }
        }
        if !self.life.rough && self.life.min_interval.is_zero() {
            assert!(offer.since >= self.last_since, "{:?} is served late", offer.id);
            self.last_since = offer.since;
        }
        // The first request is counted at once, or later.
        let at_once = u64::from(self.chance(2));
        self.counted += at_once;
        let truth = &mut self.truth[id as usize];
        if id < HOT && truth.version < self.hot {
            // See `hot_ones`.
            (truth.version, truth.digest) = (self.hot, self.hot_digest);
            let changed = vec![seen(offer.id, self.hot_digest)];
            let news = News { changed, gone: Vec::new() };
            self.shards[shard].observe(news, self.now, Timestamp::UNIX_EPOCH);
        }
        (truth.queued, truth.later) = (false, None);
        let (version, digest) = (truth.version, truth.digest);
        let cost = cost - at_once;
        let flight = Flight { ticket, shard, id, version, digest, outcome, cost };
        self.flown += 1;
        self.flights.insert((self.now + takes, self.flown), flight);
    }

    fn end(&mut self, flight: Flight) {
        let Flight { ticket, shard, id, version, digest, outcome, cost } = flight;
        self.counted += cost;
        let outcome = match outcome {
            Ok(()) => {
                let now = self.now;
                let truth = &mut self.truth[id as usize];
                truth.stored = version;
                let waiting = truth.waiting.expect("only what changed is uploaded");
                truth.waiting = truth.later.take();
                if let Some(last) = truth.stored_at.replace(now) {
                    self.closest = self.closest.min(now.saturating_sub(last));
                }
                let worst = &mut self.worst[usize::from(id >= HOT)];
                *worst = now.saturating_sub(waiting).max(*worst);
                stored(digest, now)
            }
            Err(kind) => Outcome::Failed(Failure { kind, reason: String::new() }),
        };
        self.budget.meter(self.counted, self.now);
        self.dispatcher.ended(ticket, Ended::of(&outcome, true), &mut self.budget);
        self.shards[shard].settle(test_id(id), outcome, self.now);
    }

    /// Nothing changes any more; a while later all is stored.
    fn ends_well(&mut self) {
        for _ in 0..100 {
            self.cycle(false);
        }
        assert!(self.dispatcher.is_idle());
        for (id, truth) in self.truth.iter().enumerate() {
            assert_eq!(truth.stored, truth.version, "the last change of {id} is lost");
        }
    }
}

fn number(id: DatabaseId) -> usize {
    id.test_number() as usize
}

fn stored(digest: FingerprintDigest, now: Duration) -> Outcome {
    let (captured_at, size) = (Timestamp::UNIX_EPOCH, 0);
    let newest = Newest { captured_at, blake3: ContentHash([0; 32]), size, marked: None };
    let etag = ETag("\"d41d8cd98f00b204e9800998ecf8427e\"".into());
    let backup = StoredBackup { bytes: 1, etag, newest };
    Outcome::Stored { digest, settled: true, backup, at: now }
}

fn seen(id: DatabaseId, digest: FingerprintDigest) -> Changed {
    Changed { id, identity: test_identity(id), digest }
}

/// The proof of `-put-budget`.
#[test]
fn a_month_of_100_000_databases_stays_within_its_budget_and_is_fair() {
    let life = Life { budget: Some(BUDGET), cold: 20, rough: true, ..CALM };
    let mut world = World::all_stored(life);
    world.live(MONTH);
    let (counted, [hot, cold]) = (world.counted, world.worst);
    println!("{counted} requests, {} uploads, waits {hot:?} and {cold:?}", world.flown);
    assert!(counted <= BUDGET, "{counted} requests");
    assert!(counted >= BUDGET * 9 / 10, "{counted} requests: the budget is not used");
    assert!(hot.max(cold) <= 2 * FAIR_SHARE, "waits {hot:?} and {cold:?}");
    world.ends_well();
}

/// All that has no backup at all goes first; then all is as ever.
#[test]
fn first_backups_of_100_000_databases_keep_to_the_budget_and_end() {
    let life = Life { budget: Some(BUDGET), ..CALM };
    let mut world = World::new(life);
    let all: Vec<_> = (0..DATABASES).collect();
    world.see(&all);
    world.live(DAY);
    let never = |world: &World| world.truth.iter().filter(|truth| truth.stored == 0).count();
    assert_eq!(never(&world), 0);
    let [hot, cold] = world.worst;
    println!("{} requests, waits {hot:?} and {cold:?}", world.counted);
    // What a first start may send at once, and then the rate.
    let rest = u64::from(DATABASES) - BUDGET / 32;
    let expected = MONTH * u32::try_from(rest).unwrap() / u32::try_from(BUDGET / 32 * 30).unwrap();
    assert!(hot.max(cold) <= expected + 8 * CYCLE, "waits {hot:?} and {cold:?}");
    world.worst = [Duration::ZERO; 2];
    world.live(HOUR);
    assert!(world.worst[0] <= 2 * FAIR_SHARE, "waits {:?}", world.worst);
    world.ends_well();
}

#[test]
fn the_least_interval_is_kept_and_costs_no_more_than_that() {
    let min_interval = Duration::from_mins(10);
    let mut world = World::all_stored(Life { min_interval, cold: 20, ..CALM });
    world.live(min_interval + 2 * CYCLE);
    (world.counted, world.worst) = (0, [Duration::ZERO; 2]);
    world.live(DAY);
    let [hot, cold] = world.worst;
    println!("{} requests, waits {hot:?} and {cold:?}", world.counted);
    assert!(world.closest + Duration::from_secs(1) >= min_interval, "{:?}", world.closest);
    assert!(world.counted <= u64::from(HOT) * 144 + 20 * 24, "{} requests", world.counted);
    assert!(hot <= min_interval + CYCLE + Duration::from_secs(3), "waits {hot:?}");
    assert!(cold <= Duration::from_secs(3), "waits {cold:?}: it rested long ago");
    world.ends_well();
}
