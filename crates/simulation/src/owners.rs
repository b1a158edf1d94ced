//! What a process does with its shards: what the steward, the scanner, the uploader and the keeper do, in their order.

use std::collections::BTreeMap;
use std::time::Duration;

use ultrasimple_cluster::ownership::Event;
use ultrasimple_cluster::{Assignment, Phase};
use ultrasimple_core::{Clock, Epoch, FingerprintDigest, Hour, ShardKey, Volumes};
use ultrasimple_keeper::reconcile::ReconcileReport;
use ultrasimple_replicator::simulation::{
    Asked, Chair, Done, Offered, Outcome, Owner, Place, Queue, Recalled, Sent, Sight, Slot,
    Trusted, Turn, Undone,
};
use ultrasimple_store::StoreError;

use crate::Sabotage;
use crate::kernel::NodeEvent;
use crate::process::{Running, Stage};
use crate::truth::DatabaseNumber;
use crate::work::{self, Job};

/// Shards tended at once.
const TENDED_AT_ONCE: usize = 4;
/// What was given up gets so long to notice.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// How far along a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// What its catalog says is not known yet.
    New { is_reading: bool },
    /// Scans look at its databases.
    Ready { is_observed: bool, lacks_catalog: bool },
    /// It is to go to another node.
    Releasing { was_new: bool, part: Part, until: Duration },
}

/// A part of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is in flight ends.
    Ending,
    /// What is in flight was given up.
    GivingUp,
    /// The catalog is written.
    Telling,
    /// The cluster was told.
    Told,
}

/// A shard of this node.
pub(crate) struct Held {
    pub(crate) owner: Owner,
    pub(crate) standing: Standing,
}

/// What a scan saw.
struct Scan {
    shards: Vec<Chair>,
    seen: Vec<(DatabaseNumber, FingerprintDigest)>,
    gone: Vec<DatabaseNumber>,
}

/// A database that the last scan saw.
struct Known {
    place: Place,
    shard: ShardKey,
    digest: FingerprintDigest,
}

struct Upload {
    slot: Slot,
    chair: Chair,
    number: u32,
}

/// See the module.
pub(crate) struct Owners {
    pub(crate) volumes: Volumes,
    pub(crate) shards: BTreeMap<ShardKey, Held>,
    pub(crate) queue: Queue,
    known: BTreeMap<DatabaseNumber, Known>,
    numbers: BTreeMap<u32, DatabaseNumber>,
    last_number: u32,
    scans: BTreeMap<u64, Scan>,
    last_scan: u64,
    uploads: BTreeMap<u64, Upload>,
    last_upload: u64,
    /// Shards that are to be tended in this round.
    round: Vec<Chair>,
    tending: usize,
    is_comparing: bool,
    /// How often the bucket was compared with the catalogs to the end.
    pub(crate) compared: u32,
    /// Whether a catalog was read or a backup was settled since this was last asked.
    pub(crate) has_learned: bool,
}

impl Owners {
    pub(crate) fn new(volumes: Volumes, concurrent: usize) -> Self {
        Self {
            volumes,
            shards: BTreeMap::new(),
            queue: Queue::new(concurrent),
            known: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last_number: 0,
            scans: BTreeMap::new(),
            last_scan: 0,
            uploads: BTreeMap::new(),
            last_upload: 0,
            round: Vec::new(),
            tending: 0,
            is_comparing: false,
            compared: 0,
            has_learned: false,
        }
    }

    fn holds(&self, chair: &Chair) -> Option<&Held> {
        let held = self.shards.get(chair.shard());
        held.filter(|held| held.owner.grant().epoch == chair.epoch())
    }

    fn holds_mut(&mut self, chair: &Chair) -> Option<&mut Held> {
        let held = self.shards.get_mut(chair.shard());
        held.filter(|held| held.owner.grant().epoch == chair.epoch())
    }

    fn place(&self, number: u32) -> Option<Place> {
        let database = self.numbers.get(&number)?;
        let known = self.known.get(database)?;
        (known.place.number == number).then(|| known.place.clone())
    }

    /// Uploads in flight.
    pub(crate) fn uploads(&self) -> usize {
        self.uploads.len()
    }
}

impl Running {
    /// Makes the shards what the assignments say.
    pub(crate) fn adopt(&mut self) {
        let assignments = self.membership.assignments();
        let epoch_of = |shard: &ShardKey| assignments.get(shard).map(|it| it.grant.epoch);
        let gone = self
            .owners
            .shards
            .iter()
            .filter(|(shard, held)| epoch_of(shard) != Some(held.owner.grant().epoch));
        let gone: Vec<ShardKey> = gone.map(|(shard, _)| shard.clone()).collect();
        for shard in gone {
            if let Some(held) = self.owners.shards.remove(&shard) {
                self.tell(format_args!("has {shard} no more (epoch {})", held.owner.grant().epoch));
                held.owner.chair().abort();
            }
        }
        for (shard, assignment) in assignments.iter() {
            self.assign(shard, *assignment);
        }
        self.read_catalogs();
    }

    fn assign(&mut self, shard: &ShardKey, assignment: Assignment) {
        let Assignment { grant, phase } = assignment;
        match (self.owners.shards.get(shard).map(|held| held.standing), phase) {
            (None, Phase::Owned) => {
                let now = self.now();
                let Some(owner) = Owner::new(shard.clone(), grant, &self.owners.volumes, now)
                else {
                    return;
                };
                let (epoch, by) = (grant.epoch, grant.handed_over_by);
                self.tell(format_args!("owns {shard} (epoch {epoch}, handed over by {by:?})"));
                self.note(if by.is_some() { "shards handed over" } else { "shards taken" });
                let standing = Standing::New { is_reading: false };
                self.owners.shards.insert(shard.clone(), Held { owner, standing });
            }
            // Nothing was begun.
            (None, Phase::Releasing) => self.report_released(shard.clone(), grant.epoch, None),
            (Some(Standing::Releasing { .. }), _) | (Some(_), Phase::Owned) => {}
            (Some(standing), Phase::Releasing) => self.release(shard, standing),
        }
    }

    fn report_released(&mut self, shard: ShardKey, epoch: Epoch, catalog: Option<Epoch>) {
        self.tell(format_args!("lets go of {shard} (epoch {epoch}, catalog {catalog:?})"));
        self.own(Event::Released { shard, epoch, catalog });
    }

    fn read_catalogs(&mut self) {
        let trusted = match self.start.sabotage {
            Some(Sabotage::StaleHandover) => Trusted::Blindly,
            _ => Trusted::Grant,
        };
        for held in self.owners.shards.values_mut() {
            if held.standing == (Standing::New { is_reading: false }) {
                held.standing = Standing::New { is_reading: true };
                let chair = held.owner.chair();
                self.begun.push(work::recall(self.bench.clone(), chair, trusted));
            }
        }
    }

    pub(crate) fn recalled(&mut self, chair: &Chair, outcome: Result<Option<Recalled>, Undone>) {
        let Some(held) = self.owners.holds_mut(chair) else { return };
        let is_reading = held.standing == Standing::New { is_reading: true };
        match outcome {
            Ok(recalled) => {
                let lacks_catalog = recalled.is_none();
                if let Some(recalled) = recalled {
                    held.owner.recall(recalled);
                }
                if is_reading {
                    held.standing = Standing::Ready { is_observed: false, lacks_catalog };
                }
                self.owners.has_learned = true;
            }
            Err(_) if is_reading => held.standing = Standing::New { is_reading: false },
            Err(_) => {}
        }
    }

    /// A cycle begins.
    pub(crate) fn cycle(&mut self) {
        if self.stage != Stage::Running {
            return;
        }
        self.wake_in(self.start.settings.interval, NodeEvent::Cycle);
        self.read_catalogs();
        if !self.owners.scans.is_empty() {
            // The last one has not ended.
            return;
        }
        let ready = self.owners.shards.values();
        let ready = ready.filter(|held| matches!(held.standing, Standing::Ready { .. }));
        let shards = ready.map(|held| held.owner.chair()).collect();
        let mut scan = Scan { shards, seen: Vec::new(), gone: Vec::new() };
        let mut inner = self.kernel.lock();
        for (at, database) in inner.truth.databases.iter().enumerate() {
            let number = DatabaseNumber(at);
            if self.owners.volumes.place_of(&database.shard).is_none() {
                continue;
            }
            match database.state().filter(|_| database.is_there) {
                Some(state) => scan.seen.push((number, state.digest)),
                None => scan.gone.push(number),
            }
        }
        let took = inner.random.millis(1, 400);
        drop(inner);
        self.owners.last_scan += 1;
        let number = self.owners.last_scan;
        self.owners.scans.insert(number, scan);
        self.wake_in(took, NodeEvent::Scanned(number));
    }

    /// A scan has ended: where catalogs are lacking they are made first.
    pub(crate) fn scanned(&mut self, number: u64) {
        let Some(scan) = self.owners.scans.get(&number) else { return };
        let lacks = |chair: &&Chair| {
            let standing = self.owners.holds(chair).map(|held| held.standing);
            matches!(standing, Some(Standing::Ready { lacks_catalog: true, .. }))
        };
        let lacking: Vec<Chair> = scan.shards.iter().filter(lacks).cloned().collect();
        let inner = self.kernel.lock();
        let of_them = scan.seen.iter().filter_map(|(number, _)| {
            let database = inner.truth.database(*number)?;
            let is_theirs = lacking.iter().any(|chair| *chair.shard() == database.shard);
            is_theirs.then(|| database.stem.clone())
        });
        let stems: Vec<_> = of_them.collect();
        drop(inner);
        if stems.is_empty() {
            return self.observed(number);
        }
        self.note("catalogs rebuilt");
        self.begun.push(work::rebuild(self.bench.clone(), number, lacking, stems));
    }

    pub(crate) fn rebuilt(
        &mut self,
        scan: u64,
        outcome: Result<Vec<(Chair, Option<Recalled>)>, Undone>,
    ) {
        for (chair, recalled) in outcome.unwrap_or_default() {
            if let (Some(held), Some(recalled)) = (self.owners.holds_mut(&chair), recalled) {
                held.owner.recall(recalled);
                self.owners.has_learned = true;
            }
        }
        for held in self.owners.shards.values_mut() {
            if let Standing::Ready { lacks_catalog, .. } = &mut held.standing {
                *lacks_catalog = false;
            }
        }
        self.observed(scan);
    }

    /// Tells the owners what a scan saw.
    fn observed(&mut self, scan: u64) {
        let Some(scan) = self.owners.scans.remove(&scan) else { return };
        let (now, time) = (self.now(), self.start.clock.now());
        let (changed, gone) = self.apply_scan(&scan);
        self.owners.queue.new_cycle();
        let mut offers: Vec<(Chair, Offered)> = Vec::new();
        for chair in &scan.shards {
            let Some(held) = self.owners.shards.get_mut(chair.shard()) else { continue };
            if held.owner.grant().epoch != chair.epoch() {
                continue;
            }
            let mut sight = Sight::default();
            let is_fresh = !matches!(held.standing, Standing::Ready { is_observed: true, .. });
            for (number, known) in &self.owners.known {
                if known.shard == *chair.shard() && (is_fresh || changed.contains(number)) {
                    sight.changed.push((&known.place, known.digest));
                }
            }
            let is_its = |known: &&Known| known.shard == *chair.shard();
            sight.gone = gone.iter().filter(is_its).map(|known| &known.place).collect();
            let offered = held.owner.observe(sight, now, time);
            offers.extend(offered.into_iter().map(|offered| (chair.clone(), offered)));
            if let Standing::Ready { is_observed, .. } = &mut held.standing {
                *is_observed = true;
            }
        }
        self.owners.has_learned = true;
        for (chair, offered) in offers {
            self.owners.queue.offer(&chair, offered);
        }
        self.dispatch();
        if self.owners.round.is_empty() && self.owners.tending == 0 {
            self.owners.round = scan.shards;
        }
        self.tend_next();
    }

    /// Takes in what a scan saw. Gives what changed, and what is gone.
    fn apply_scan(&mut self, scan: &Scan) -> (Vec<DatabaseNumber>, Vec<Known>) {
        let mut changed = Vec::new();
        let owners = &mut self.owners;
        let inner = self.kernel.lock();
        for &(number, digest) in &scan.seen {
            let Some(database) = inner.truth.database(number) else { continue };
            match owners.known.get_mut(&number) {
                // Whoever owns it looks at it.
                Some(_) if !scan.shards.iter().any(|it| *it.shard() == database.shard) => {}
                Some(known) if known.digest == digest => {}
                Some(known) => {
                    known.digest = digest;
                    changed.push(number);
                }
                None => {
                    owners.last_number += 1;
                    let place = Place {
                        number: owners.last_number,
                        path: database.path.clone(),
                        stem: database.stem.clone(),
                    };
                    owners.numbers.insert(place.number, number);
                    let shard = database.shard.clone();
                    owners.known.insert(number, Known { place, shard, digest });
                    changed.push(number);
                }
            }
        }
        let gone = scan.gone.iter().filter_map(|number| owners.known.remove(number));
        (changed, gone.collect())
    }

    /// Begins the uploads whose turn it is.
    pub(crate) fn dispatch(&mut self) {
        loop {
            match self.owners.queue.next_turn() {
                Turn::Begin(slot, chair, offered) => self.begin(slot, chair, offered),
                Turn::Defer(chair, number) => {
                    self.note("uploads deferred");
                    self.settle(&chair, number, Outcome::deferred());
                }
                Turn::Nothing => return,
            }
        }
    }

    fn begin(&mut self, slot: Slot, chair: Chair, offered: Offered) {
        let number = offered.number();
        let database = self.owners.numbers.get(&number).copied();
        let database = database.filter(|_| self.owners.place(number).is_some());
        let (false, true, Some(database)) = (chair.is_retired(), self.is_trusted(), database)
        else {
            let outcome = Outcome::deferred();
            self.owners.queue.ended(slot, &outcome, false);
            self.settle(&chair, number, outcome);
            return;
        };
        if offered.is_unsure() {
            self.note("uploads that look first");
        }
        self.owners.last_upload += 1;
        let upload = self.owners.last_upload;
        let (delays, settled) = {
            let mut inner = self.kernel.lock();
            let most = if inner.random.chance(30) { 8_000 } else { 100 };
            let delays = [inner.random.millis(0, most), inner.random.millis(0, 50)];
            let unsettled = inner.unsettled;
            (delays, !inner.random.chance(unsettled))
        };
        let job = Job { upload, chair: chair.clone(), offered, database, delays, settled };
        self.begun.push(work::upload(self.bench.clone(), job));
        self.owners.uploads.insert(upload, Upload { slot, chair, number });
    }

    pub(crate) fn uploaded(&mut self, upload: u64, sent: Sent) {
        let Some(Upload { slot, chair, number }) = self.owners.uploads.remove(&upload) else {
            return;
        };
        let (outcome, sent) = match sent {
            Sent::Ended(outcome, sent) => (outcome, sent),
            Sent::Fenced(by) => {
                self.fenced(chair.shard().clone(), chair.epoch(), by);
                (Outcome::given_up(Hour::of(self.start.clock.now())), true)
            }
        };
        self.note(outcome.name());
        self.tell(format_args!("backed up {}: {}", chair.shard(), outcome.name()));
        self.owners.queue.ended(slot, &outcome, sent);
        self.settle(&chair, number, outcome);
        self.dispatch();
    }

    fn settle(&mut self, chair: &Chair, number: u32, outcome: Outcome) {
        let now = self.now();
        if let Some(held) = self.owners.holds_mut(chair) {
            held.owner.settle(number, outcome, now);
            self.owners.has_learned = true;
        }
    }

    /// Begins to tend the next shards of the round.
    fn tend_next(&mut self) {
        while self.owners.tending < TENDED_AT_ONCE {
            let Some(chair) = self.owners.round.pop() else { return };
            let looks = self.kernel.lock().random.chance(100);
            self.tend(&chair, if looks { Asked::Look } else { Asked::Due });
        }
    }

    /// Does in one shard what is asked for. Tells whether there is anything to do.
    fn tend(&mut self, chair: &Chair, asked: Asked) -> bool {
        let (now, time) = (self.now(), self.start.clock.now());
        let Owners { shards, known, numbers, .. } = &mut self.owners;
        let held = shards.get_mut(chair.shard());
        let held = held.filter(|held| held.owner.grant().epoch == chair.epoch());
        let place = |number: u32| {
            let known = known.get(numbers.get(&number)?)?;
            (known.place.number == number).then(|| known.place.clone())
        };
        let work = held.and_then(|held| held.owner.begin_tending(asked, &place, now, time));
        let Some(work) = work else { return false };
        self.owners.tending += 1;
        self.begun.push(work::tend(self.bench.clone(), chair.clone(), asked, work));
        true
    }

    pub(crate) fn tended(
        &mut self,
        chair: &Chair,
        asked: Asked,
        outcome: Option<Result<Done, Undone>>,
    ) {
        self.owners.tending = self.owners.tending.saturating_sub(1);
        let (now, time) = (self.now(), self.start.clock.now());
        let end = match &outcome {
            None => "catalogs given up",
            Some(Ok(_)) => "catalogs tended",
            Some(Err(Undone::Fenced(_))) => "catalogs fenced",
            Some(Err(Undone::Failed(_))) => "catalogs failed",
        };
        self.note(end);
        let why = match &outcome {
            Some(Err(Undone::Failed(why))) => why.as_str(),
            _ => "",
        };
        self.tell(format_args!("tended {} ({asked:?}): {end} {why}", chair.shard()));
        let done = outcome.and_then(Result::ok);
        let Owners { shards, known, numbers, .. } = &mut self.owners;
        let held = shards.get_mut(chair.shard());
        if let Some(held) = held.filter(|held| held.owner.grant().epoch == chair.epoch()) {
            let place = |number: u32| {
                let known = known.get(numbers.get(&number)?)?;
                (known.place.number == number).then(|| known.place.clone())
            };
            let lost = held.owner.end_tending(done, &place, now, time);
            self.owners.has_learned = true;
            if lost > 0 {
                self.note("backups found lost or replaced");
            }
        }
        self.tend_next();
    }

    /// Compares the bucket with the catalogs, if this node has the first shard of the first volume.
    pub(crate) fn compare(&mut self) {
        let first = self.owners.volumes.keys().next();
        let held = first.and_then(|first| self.owners.shards.get(&first));
        let is_ready = held.is_some_and(|it| matches!(it.standing, Standing::Ready { .. }));
        if is_ready && !self.owners.is_comparing {
            self.owners.is_comparing = true;
            self.begun.push(work::compare(self.bench.clone()));
        }
    }

    pub(crate) fn compared(&mut self, outcome: Result<ReconcileReport, StoreError>) {
        self.owners.is_comparing = false;
        let report = match outcome {
            Ok(report) => report,
            Err(error) => return self.tell(format_args!("could not compare: {error}")),
        };
        self.note("comparisons");
        let (found, missing) = (report.found.len(), report.missing.len());
        self.tell(format_args!("compared: found {found}, missing {missing}"));
        if found + missing > 0 {
            self.note("comparisons that found something");
        }
        self.owners.compared += u32::from(report.failed.is_empty());
        for shard in &report.changed {
            if let Some(held) = self.owners.shards.get(shard) {
                let chair = held.owner.chair();
                self.tend(&chair, Asked::Look);
            }
        }
    }

    fn release(&mut self, shard: &ShardKey, standing: Standing) {
        let now = self.now();
        let Some(held) = self.owners.shards.get_mut(shard) else { return };
        let until = now + self.start.settings.drain;
        let was_new = matches!(standing, Standing::New { .. });
        held.standing = Standing::Releasing { was_new, part: Part::Ending, until };
        let chair = held.owner.chair();
        chair.retire();
        self.tell(format_args!("is to let go of {shard}"));
        for number in self.owners.queue.withdraw(shard) {
            self.settle(&chair, number, Outcome::deferred());
        }
        self.wake_at(until, NodeEvent::Release(until));
        self.advance_releases();
    }

    /// Goes on with what is being released.
    pub(crate) fn advance_releases(&mut self) {
        let releasing = self.owners.shards.iter().filter_map(|(shard, held)| {
            let Standing::Releasing { was_new, part, until } = held.standing else { return None };
            (part != Part::Told).then(|| (shard.clone(), was_new, part, until))
        });
        let releasing: Vec<_> = releasing.collect();
        for (shard, was_new, part, until) in releasing {
            self.advance_release(&shard, was_new, part, until);
        }
    }

    fn advance_release(&mut self, shard: &ShardKey, was_new: bool, part: Part, until: Duration) {
        let (now, drain) = (self.now(), self.start.settings.drain);
        let Some(held) = self.owners.shards.get(shard) else { return };
        let (quiet, chair) = (held.owner.quiet(), held.owner.chair());
        let is_late = now >= until;
        let told = match (part, quiet) {
            (Part::Ending | Part::GivingUp, Some(_)) if was_new => None,
            (Part::Ending | Part::GivingUp, Some(quiet)) => {
                self.set_part(shard, was_new, Part::Telling, now + drain);
                if self.tend(&chair, Asked::Final) {
                    return;
                }
                quiet
            }
            (Part::Ending, None) if is_late => {
                self.note("releases that gave up what was in flight");
                chair.abort();
                return self.set_part(shard, was_new, Part::GivingUp, now + GIVEN_UP);
            }
            (Part::Telling, Some(quiet)) => quiet,
            (Part::GivingUp | Part::Telling, None) if is_late => None,
            _ => return,
        };
        self.set_part(shard, was_new, Part::Told, until);
        self.report_released(shard.clone(), chair.epoch(), told);
    }

    fn set_part(&mut self, shard: &ShardKey, was_new: bool, part: Part, until: Duration) {
        if let Some(held) = self.owners.shards.get_mut(shard) {
            held.standing = Standing::Releasing { was_new, part, until };
        }
        self.wake_at(until, NodeEvent::Release(until));
    }
}
