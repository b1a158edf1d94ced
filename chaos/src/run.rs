//! One run: set the stage, let the fleet settle, break things as the schedule says, heal all, and check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::block_in_place;
use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_testkit::link;
use ultrasimple_testkit::tree::Snapshot;

use crate::bucket::Bucket;
use crate::check::{self, Known, Listing, Violation};
use crate::faults::{self, Begun};
use crate::node::{Common, Node};
use crate::operator::Operator;
use crate::place::Place;
use crate::report::Report;
use crate::restore::{rebuild_catalogs, restore_all};
use crate::schedule::{Terms, clocks_apart, schedule};
use crate::stage::{BUCKET, MEMBERS, SHARDS, Stage, shards};
use crate::tenants::{Account, Tenants, strangers};
use crate::timeline::steps;
use crate::versions::Versions;
use crate::watcher::{Said, Watcher, disagreements, look};

const LEASE: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(1);
const DATABASES: u64 = 40;
/// The fleet's first start, with every database in the bucket.
const SETTLES_WITHIN: Duration = Duration::from_secs(90);
/// After the last fault: what is promised is the lease and a cycle; nodes that were just started have to
/// connect, and wait until the key of their former self has expired.
const OWNED_WITHIN: Duration = Duration::from_secs(20);
const STORED_WITHIN: Duration = Duration::from_mins(1);
/// Writers go on for so long after the last fault.
const HEALTHY: Duration = Duration::from_secs(3);
/// S3 takes requests whose time is at most 15 minutes off; a node's clock may be turned by some seconds more.
const MOST_TURNED: i64 = 14 * 60;
const TICK: Duration = Duration::from_millis(25);

/// What a run is given.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) lasts: Duration,
    pub(crate) daemon: PathBuf,
    pub(crate) ctl: PathBuf,
    /// Of the containers that the daemons run in. `None`: on this host.
    pub(crate) image: Option<String>,
    /// Without the fence of conditional writes: to see that the checks notice.
    pub(crate) unfenced: bool,
    /// An empty folder for all that the run leaves.
    pub(crate) folder: PathBuf,
}

/// A run under way.
struct Run {
    order: Order,
    stage: Stage,
    versions: Versions,
    bucket: Bucket,
    /// What was in the bucket before.
    foreign: Listing,
    watcher: Watcher,
    operator: Operator,
    /// By how much the clocks of the nodes differ at most.
    clocks_apart: Duration,
    report: Report,
}

/// Does it all. An error means that it could not be done; what was found is in the report.
pub(crate) async fn run(order: Order) -> Result<Report> {
    let data = order.folder.join("data");
    std::fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
    say("starting etcd, the S3 server and the writers");
    let common = Common {
        program: order.daemon.clone(),
        place: Place::new(order.image.as_deref())?,
        folder: order.folder.clone(),
        bucket: BUCKET.to_owned(),
        lease: LEASE,
        interval: INTERVAL,
        shards: SHARDS,
        turned: to_the_hour(SystemClock.now().as_second(), order.lasts),
        unfenced: order.unfenced,
    };
    let (stage, versions) = Stage::set(order.nodes, &common).await?;
    let bucket = Bucket::open(&stage.store).await?;
    let foreign = bucket.put_foreign().await?;
    let watcher = Watcher::start(stage.watched());
    let operator = Operator::start(order.ctl.clone(), stage.watched().etcd);
    let report = Report { seed: order.seed, nodes: order.nodes, ..Report::default() };
    let clocks_apart = Duration::ZERO;
    let mut run =
        Run { order, stage, versions, bucket, foreign, watcher, operator, clocks_apart, report };
    let tenants = Tenants::start(&data, DATABASES, run.order.seed)?;

    let outcome = async {
        run.settle(&tenants).await?;
        run.break_things().await?;
        run.heal().await
    };
    let outcome = outcome.await;
    let accounts = match outcome {
        Ok(()) => run.come_to_rest(tenants).await,
        Err(error) => Err(error),
    };
    run.keep_logs();
    let accounts = accounts?;
    run.judge(&data, &accounts).await
}

impl Run {
    /// Starts all nodes and waits until every shard is owned and every resting database is stored.
    async fn settle(&mut self, tenants: &Tenants) -> Result<()> {
        say(&format!("starting {} nodes", self.order.nodes));
        for node in &mut self.stage.nodes {
            node.start()?;
        }
        let start = SystemClock.monotonic();
        loop {
            self.stage.nodes.iter_mut().try_for_each(Node::supervise)?;
            let seen = self.watcher.seen();
            let newest = check::newest(&self.versions.objects());
            let accounts = tenants.ledger().read();
            let missing = accounts.keys().filter(|name| !newest.contains_key(*name)).count();
            if seen.all_owned(&shards()) && missing <= accounts.len() / 10 {
                self.watcher.measure();
                say(&format!("all is owned and stored after {:.1} s", since(start).as_secs_f64()));
                return Ok(());
            }
            let owned = seen.claims.len();
            ensure!(
                since(start) < SETTLES_WITHIN,
                "the fleet did not settle within {SETTLES_WITHIN:?}: {owned} shards are owned, {missing} of \
                 {} databases are not stored; see the logs in {}",
                accounts.len(),
                self.order.folder.display()
            );
            tokio::time::sleep(TICK * 4).await;
        }
    }

    /// Carries the schedule out.
    async fn break_things(&mut self) -> Result<()> {
        let nodes = &self.stage.nodes;
        let terms = Terms {
            seed: self.order.seed,
            nodes: nodes.len(),
            members: MEMBERS,
            lease: LEASE,
            until: self.order.lasts,
            can_turn: nodes.iter().all(|node| node.clock.is_some()),
            can_fill: nodes.iter().all(|node| node.mount.is_some()),
        };
        let events = schedule(&terms);
        self.clocks_apart = clocks_apart(&events);
        say(&format!("breaking things for {:.0} s", terms.until.as_secs_f64()));
        let mut steps = steps(&events, nodes.len());
        let mut open: BTreeMap<usize, Begun> = BTreeMap::new();
        let start = SystemClock.monotonic();
        while let Some(step) = steps.first().copied() {
            self.stage.nodes.iter_mut().try_for_each(Node::supervise)?;
            if since(start) < step.at {
                tokio::time::sleep(TICK).await;
                continue;
            }
            steps.remove(0);
            let at = since(start).as_secs_f64();
            if step.begins {
                say(&format!("{at:>6.1} s  {} for {:.1} s", step.fault, step.lasts.as_secs_f64()));
                if step.counts {
                    *self.report.faults.entry(step.fault.kind()).or_default() += 1;
                }
                open.insert(step.number, faults::begin(&mut self.stage, step.fault).await?);
            } else if let Some(begun) = open.remove(&step.number) {
                faults::end(&mut self.stage, step.fault, begun).await?;
            }
        }
        Ok(())
    }

    /// Mends whatever may still be broken, and measures until every shard is owned.
    async fn heal(&mut self) -> Result<()> {
        for node in &mut self.stage.nodes {
            node.store.set(link::Mode::Pass);
            node.etcd.iter().for_each(|link| link.set(link::Mode::Pass));
            node.connect(true);
            let always = node.always();
            node.answers.set(always).await?;
            node.answers.release();
            node.free_scratch();
            if node.paused {
                node.resume();
            }
        }
        faults::undrain_all(&self.stage).await?;
        let start = SystemClock.monotonic();
        say("all is healed");
        while !self.watcher.seen().all_owned(&shards()) || self.watcher.seen().at < start {
            self.stage.nodes.iter_mut().try_for_each(Node::supervise)?;
            if since(start) > OWNED_WITHIN {
                let claims = self.watcher.seen().claims;
                let what = format!("after {OWNED_WITHIN:?} not every shard is owned: {claims:?}");
                self.violate("R8", what);
                break;
            }
            tokio::time::sleep(TICK).await;
        }
        self.report.owned_after = since(start);
        while since(start) < HEALTHY {
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// Ends the writers, waits until all is stored, and stops the nodes in order.
    async fn come_to_rest(&mut self, tenants: Tenants) -> Result<BTreeMap<String, Account>> {
        let accounts = block_in_place(|| tenants.finish())?;
        say("the writers have ended");
        let start = SystemClock.monotonic();
        let data = self.order.folder.join("data");
        let before = Snapshot::take(&data)?;
        loop {
            self.stage.nodes.iter_mut().try_for_each(Node::supervise)?;
            let missing = check::all_is_stored(&self.versions.objects(), &accounts);
            if missing.is_empty() {
                break;
            }
            if since(start) > STORED_WITHIN {
                self.report.violations.extend(missing);
                break;
            }
            tokio::time::sleep(TICK * 4).await;
        }
        self.report.stored_after = since(start);
        self.ask_the_nodes().await;
        say(&format!("all is stored after {:.1} s", since(start).as_secs_f64()));
        for node in &mut self.stage.nodes {
            self.report.starts += node.starts;
            self.report.ends.append(&mut node.ends);
            node.leave();
        }
        let mut stuck = 0;
        for node in &mut self.stage.nodes {
            node.has_ended().await?;
            stuck += node.stuck;
        }
        if stuck > 0 {
            self.violate("R10", format!("{stuck} times a daemon did not end after SIGTERM"));
        }
        let not_well = self.stage.nodes.iter_mut().flat_map(|node| node.ends.drain(..));
        for end in not_well.collect::<Vec<_>>() {
            self.violate("end", end);
        }
        let changes = before.diff(&Snapshot::take(&data)?);
        for change in changes {
            self.violate("R1", change);
        }
        for stranger in strangers(&data, &accounts)? {
            self.violate("R1", format!("{stranger} was made beside the databases"));
        }
        Ok(accounts)
    }

    /// At rest, what the nodes say of themselves is what etcd says of them: soon, and of all.
    async fn ask_the_nodes(&mut self) {
        let start = SystemClock.monotonic();
        let mut watched = self.stage.watched();
        loop {
            let (claims, said) = block_in_place(|| {
                let said =
                    watched.nodes.iter().map(|(node, port)| (node.clone(), Said::ask(*port).ok()));
                let said: Vec<_> = said.collect();
                (look(&mut watched.etcd).unwrap_or_default(), said)
            });
            let found = disagreements(&claims, &said);
            if found.is_empty() {
                return;
            }
            if since(start) > OWNED_WITHIN {
                for what in found {
                    self.violate("R8", what);
                }
                return;
            }
            tokio::time::sleep(TICK * 4).await;
        }
    }

    /// All that is checked when nothing moves any more.
    async fn judge(mut self, data: &Path, accounts: &BTreeMap<String, Account>) -> Result<Report> {
        say("checking");
        let listing = self.bucket.list().await?;
        let catalogs = self.bucket.catalogs(&listing).await?;
        let (proved, wrong) = self.bucket.prove(&listing).await?;
        self.report.proved = proved;
        self.report.violations.extend(wrong);
        let recorder = self.stage.recorder.take().context("the recorder")?;
        self.report.requests = recorder.requests();
        drop(recorder);
        let (objects, at_once) = block_in_place(|| self.versions.finish());
        let seen = block_in_place(|| self.watcher.finish());
        let looked = block_in_place(|| self.operator.finish());
        let mut report = self.report;
        let violations = [
            at_once,
            seen.violations,
            looked.violations,
            check::never_back(&objects, self.clocks_apart),
            if self.order.unfenced { Vec::new() } else { check::always_conditional(&objects) },
            check::nothing_invented(&objects, accounts),
            check::bucket_is_as_written(&listing, &objects, &self.foreign),
            check::catalogs_agree(&catalogs, &listing, accounts, Known::Newest),
        ];
        report.violations.extend(violations.into_iter().flatten());
        match block_in_place(|| restore_all(&self.order, &self.stage, data, accounts)) {
            Ok(restored) => report.restored = restored,
            Err(error) => report.violations.push(Violation::new("R9", format!("{error:#}"))),
        }
        let catalogs = match block_in_place(|| rebuild_catalogs(&self.order, &self.stage)) {
            Ok(()) => self.bucket.catalogs(&listing).await,
            Err(error) => Err(error),
        };
        match catalogs {
            Ok(catalogs) => {
                let wrong = check::catalogs_agree(&catalogs, &listing, accounts, Known::All);
                report.violations.extend(wrong);
            }
            Err(error) => report.violations.push(Violation::new("catalog", format!("{error:#}"))),
        }
        let total = |count: fn(&crate::versions::Object) -> u64| objects.values().map(count).sum();
        report.refused = total(|object| object.refused);
        report.unknown = total(|object| object.unknown);
        report.uploads = objects.values().map(|object| object.backups.len()).sum();
        report.repeated = check::repeated(&objects);
        report.longest_exposure = check::longest_exposure(&objects, accounts);
        report.databases = accounts.len();
        report.vanished = accounts.values().filter(|account| account.gone.is_some()).count();
        report.commits = accounts.values().map(|account| account.commits.len()).sum();
        (report.hand_overs, report.renewed) = (seen.hand_overs, seen.renewed);
        (report.shown, report.not_shown) = (looked.well, looked.not_well);
        (report.shown_within, report.ctl_said) = (looked.longest, looked.said);
        (report.looks, report.blind, report.compared) = (seen.looks, seen.blind, seen.compared);
        (report.longest_unowned, report.longest_of) = (seen.longest_unowned, seen.longest_of);
        Ok(report)
    }

    fn violate(&mut self, rule: &'static str, what: String) {
        self.report.violations.push(Violation::new(rule, what));
    }

    /// The logs of etcd lie in a folder that goes with it.
    fn keep_logs(&self) {
        for member in 0..MEMBERS {
            let log = self.stage.etcd.folder().join(format!("{member}.log"));
            // That a log is missing is no reason to fail.
            let _ = std::fs::copy(log, self.order.folder.join(format!("etcd-{member}.log")));
        }
    }
}

/// By how many seconds to turn clocks that say `now`, for the hour to turn in the middle of the faults. Not
/// at all where that is more than S3 takes for an honest mistake: then the hour turns or it doesn't.
fn to_the_hour(now: i64, lasts: Duration) -> i64 {
    let settling = 10;
    let middle = now + settling + i64::try_from(lasts.as_secs() / 2).unwrap_or_default();
    let past = middle.rem_euclid(3_600);
    // Whichever way is shorter.
    let turned = if past < 1_800 { -past } else { 3_600 - past };
    if turned.abs() < MOST_TURNED { turned } else { 0 }
}

fn since(start: Duration) -> Duration {
    SystemClock.monotonic().saturating_sub(start)
}

/// Tells it, with the machine's monotonic time, by which what is recorded is ordered.
fn say(text: &str) {
    println!("chaos {:.1}: {text}", SystemClock.monotonic().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_turns_in_the_middle() {
        let lasts = Duration::from_mins(2);
        for now in [0, 600, 2_900, 3_529, 3_599] {
            let turned = to_the_hour(now, lasts);
            assert_eq!((now + turned + 10 + 60) % 3_600, 0, "{now}");
        }
        assert_eq!(to_the_hour(1_700, lasts), 0);
    }
}
