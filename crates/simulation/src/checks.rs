//! The rules, looked at after each step.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ultrasimple_cluster::ownership::Desired;
use ultrasimple_core::{Catalog, FingerprintDigest, Hour, ShardId, ShardKey};

use crate::clock::wall;
use crate::owners::Standing;
use crate::process::{Running, Stage};
use crate::truth::DatabaseNumber;
use crate::world::World;

/// How long after all was healed everything must be well again.
const WELL_WITHIN: Duration = Duration::from_mins(5);
/// Backups of this age are compared with the catalogs.
const COMPARED_AFTER: Duration = Duration::from_hours(3);
/// Requests to etcd that a process may wait for at once.
const MOST_CALLS: usize = 64;

impl World {
    /// Whether a rule is broken now.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let (violation, moved) = {
            let mut inner = self.kernel.lock();
            (inner.truth.violation.clone(), std::mem::take(&mut inner.truth.moved))
        };
        if let Some(violation) = violation {
            return Err(violation);
        }
        // What nothing was done to since the last look is as it was.
        let is_everywhere = !moved.is_empty();
        let (mut learned, mut gained) = (Vec::new(), false);
        for (at, host) in self.hosts.iter_mut().enumerate() {
            if let Some(running) = &mut host.running {
                gained |= std::mem::take(&mut running.has_gained);
                if std::mem::take(&mut running.owners.has_learned) {
                    learned.push(at);
                }
            }
        }
        if is_everywhere || !learned.is_empty() {
            self.check_clean(|at| is_everywhere || learned.contains(&at))?;
            self.check_bounds()?;
        }
        if gained { self.check_owners() } else { Ok(()) }
    }

    /// R3: what counts as backed up, by these nodes, is the newest in the bucket.
    fn check_clean(&self, nodes: impl Fn(usize) -> bool) -> Result<(), String> {
        let inner = self.kernel.lock();
        for (_, host) in self.hosts.iter().enumerate().filter(|(at, _)| nodes(*at)) {
            let Some(running) = &host.running else { continue };
            for (shard, held) in &running.owners.shards {
                for digest in held.owner.vouches() {
                    if digest == FingerprintDigest::NONE {
                        continue;
                    }
                    inner.truth.check_clean(digest).map_err(|why| {
                        let epoch = held.owner.grant().epoch;
                        let node = &running.start.node;
                        format!("{why}; so says {node}, owner of {shard} with epoch {epoch}")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// R8: no two nodes trust that they own the same shard.
    fn check_owners(&self) -> Result<(), String> {
        if self.is_deceived {
            return Ok(());
        }
        let mut owners: BTreeMap<&ShardKey, &Running> = BTreeMap::new();
        for running in self.running() {
            if running.stage != Stage::Running || !running.is_trusted() {
                continue;
            }
            for shard in running.owners.shards.keys() {
                if let Some(other) = owners.insert(shard, running) {
                    let (one, two) = (&other.start.node, &running.start.node);
                    return Err(format!("R8: {one} and {two} both trust that they own {shard}"));
                }
            }
        }
        Ok(())
    }

    /// R10: queues, tasks and requests are bounded.
    fn check_bounds(&self) -> Result<(), String> {
        let databases = self.settings.databases;
        let shards = self.volumes.len() * self.settings.shards as usize;
        for running in self.running() {
            let (node, process) = (&running.start.node, running.process());
            let waiting = running.owners.queue.waiting();
            let uploads = running.owners.uploads();
            let (calls, tasks) = (running.calls(), self.tasks_of(process));
            let requests = self.kernel.lock().waits_of(process);
            if waiting > 2 * databases {
                return Err(format!("R10: {node} has {waiting} uploads waiting"));
            }
            if uploads > self.settings.concurrent {
                return Err(format!("R10: {node} has {uploads} uploads in flight"));
            }
            if calls > MOST_CALLS {
                return Err(format!("R10: {node} waits for {calls} replies of etcd"));
            }
            if tasks > uploads + 3 * shards + 8 {
                return Err(format!("R10: {node} has {tasks} tasks"));
            }
            if requests > tasks + 20 * shards {
                return Err(format!("R10: {node} has {requests} requests in flight"));
            }
        }
        Ok(())
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardKey> + '_ {
        self.volumes.iter().flat_map(|volume| {
            (0..self.settings.shards)
                .map(|shard| ShardKey { volume: volume.clone(), shard: ShardId(shard) })
        })
    }

    /// Why not all is well yet.
    pub(crate) fn ill(&self) -> Option<String> {
        for host in &self.hosts {
            let Some(running) = &host.running else {
                return Some(format!("{} does not run", host.name));
            };
            if !running.is_trusted() {
                return Some(format!("{} does not trust its lease", host.name));
            }
            if running.is_leaving || running.stage != Stage::Running {
                return Some(format!("{} is {:?}", host.name, running.stage));
            }
        }
        let inner = self.kernel.lock();
        let view = inner.etcd.view();
        let desired = Desired::new(view, &self.volumes, self.settings.shards);
        for shard in self.shards() {
            let owner = view.claims.get(&shard).map(|claim| &claim.node);
            let wanted = desired.owner(&shard);
            if wanted.is_none() || owner != wanted {
                let said = self.running().filter_map(|running| {
                    let ownership = running.ownership.as_ref()?;
                    let says = ownership.desired(&shard);
                    Some(format!("{} wants {says:?}", running.start.node))
                });
                let said: Vec<_> = said.collect();
                let said = said.join(", ");
                return Some(format!(
                    "{shard} is owned by {owner:?}, and should be by {wanted:?}; {said}"
                ));
            }
            let held = self.running().find(|it| Some(&it.start.node) == owner);
            let held = held.and_then(|running| running.owners.shards.get(&shard));
            let standing = held.map(|held| held.standing);
            if !matches!(standing, Some(Standing::Ready { is_observed: true, .. })) {
                return Some(format!("{shard} is {standing:?} on {owner:?}"));
            }
            if let Some(pending) = held.map(|held| held.owner.pending()).filter(|&n| n > 0) {
                return Some(format!("{shard} has {pending} databases waiting"));
            }
        }
        let clean: HashSet<FingerprintDigest> = self
            .running()
            .flat_map(|running| running.owners.shards.values())
            .flat_map(|held| held.owner.vouches())
            .collect();
        for (at, database) in inner.truth.databases.iter().enumerate() {
            if !inner.truth.is_backed_up(DatabaseNumber(at)) {
                return Some(format!("{} is not backed up", database.stem));
            }
            if !database.state().is_some_and(|state| clean.contains(&state.digest)) {
                return Some(format!("{} counts as clean nowhere", database.stem));
            }
        }
        None
    }

    /// Whether all should be well by now.
    pub(crate) fn is_overdue(&self) -> bool {
        let now = self.kernel.now.get();
        let inner = self.kernel.lock();
        let numbers = 0..inner.truth.databases.len();
        // A clock that was ahead has stored for a time that has not come yet: until then nothing newer is stored.
        let newest = numbers.filter_map(|number| inner.truth.newest(DatabaseNumber(number)));
        let latest = newest.map(|(hour, newest)| hour.start().max(newest.captured_at)).max();
        let waits = latest
            .and_then(|hour| Duration::try_from(hour.duration_since(wall(self.calm_since))).ok());
        now > self.calm_since + waits.unwrap_or_default() + WELL_WITHIN
    }

    pub(crate) fn is_parting_overdue(&self) -> bool {
        self.kernel.now.get() > self.calm_since + WELL_WITHIN
    }

    /// At the end: the catalogs are final and say what there is. But for that of an owner who learned only when it
    /// wrote its last word that etcd had forgotten an owner in between: then nobody is told that the catalog says all
    /// there is, and the next owner looks at the bucket.
    pub(crate) fn check_the_end(&self) -> Result<(), String> {
        let inner = self.kernel.lock();
        for shard in self.shards() {
            if inner.truth.fenced.contains(&shard) && !inner.etcd.is_handed_over(&shard) {
                continue;
            }
            let key = shard.object_key();
            let databases = inner.truth.databases.iter().enumerate();
            let databases: Vec<_> = databases.filter(|(_, it)| it.shard == shard).collect();
            let Some((bytes, _)) = inner.bucket.get(key.as_str()) else {
                if databases.is_empty() {
                    continue;
                }
                return Err(format!("the end: {shard} has no catalog"));
            };
            let catalog = Catalog::parse(bytes, &shard).map_err(|why| format!("{shard}: {why}"))?;
            for (number, database) in databases {
                let there = inner.truth.backups(DatabaseNumber(number));
                let Some(record) = catalog.databases.get(&database.stem) else {
                    return Err(format!("the end: the catalog of {shard} lacks {}", database.stem));
                };
                let newest = there.last_key_value();
                let said = record.newest.as_ref();
                if said.map(|newest| newest.blake3) != newest.map(|(_, version)| version.content) {
                    return Err(format!(
                        "the end: the catalog has another newest of {}",
                        database.stem
                    ));
                }
                // Of the last hours, the daily comparison does not ask.
                let is_old = |hour: &Hour| *hour < Hour::of(wall(inner.now()) - COMPARED_AFTER);
                let is_unknown = |hour: &&Hour| is_old(hour) && record.hour(**hour).is_none();
                if let Some(unknown) = there.keys().find(is_unknown) {
                    return Err(format!(
                        "the end: the catalog does not know {} of {unknown}",
                        database.stem
                    ));
                }
            }
        }
        Ok(())
    }
}
