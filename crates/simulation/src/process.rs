//! A running process: the thin shell around the decisions, as the driver of the cluster and the actors of the
//! replicator are.
//!
//! This file has its life and its ownership of shards; `owners` has what it does with the shards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ultrasimple_cluster::Membership;
use ultrasimple_cluster::membership::{Controls, membership};
use ultrasimple_cluster::ownership::{Action, Event, Ownership, OwnershipOptions, Request};
use ultrasimple_cluster::records::{MountRecord, NodeRecord};
use ultrasimple_core::volumes::Volume;
use ultrasimple_core::{Clock, Epoch, NodeName, ShardKey, SourcePath, VolumeName, Volumes};
use ultrasimple_replicator::simulation::{Keeper, leashed};
use ultrasimple_store::Store;

use crate::Sabotage;
use crate::clock::HostClock;
use crate::etcd;
use crate::kernel::{self, CallId, Kernel, NodeEvent, Process};
use crate::owners::Owners;
use crate::settings::Settings;
use crate::store::SimulatedStore;
use crate::work::{self, Bench, End, Refused, Work};

/// Where a process is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It takes the bucket.
    Booting,
    /// It takes part.
    Running,
    /// It has ended, for this reason.
    Ended(String),
}

/// What a process is started with.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) process: Process,
    pub(crate) node: NodeName,
    pub(crate) clock: Arc<HostClock>,
    pub(crate) volumes: Vec<VolumeName>,
    pub(crate) capacity: f64,
    pub(crate) settings: Arc<Settings>,
    pub(crate) sabotage: Option<Sabotage>,
}

/// A request to etcd of whose end nothing is known yet.
struct Asked {
    request: etcd::Request,
    sent_at: Duration,
}

/// See the module.
pub(crate) struct Running {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) start: Start,
    pub(crate) stage: Stage,
    pub(crate) owners: Owners,
    pub(crate) ownership: Option<Ownership>,
    pub(crate) membership: Membership,
    controls: Controls,
    pub(crate) bench: Bench,
    calls: BTreeMap<CallId, Asked>,
    last_call: u64,
    watch: Option<u64>,
    /// When the ownership is looked at next, if anything is due.
    wakeup: Option<Duration>,
    expiry: Duration,
    pub(crate) is_leaving: bool,
    /// It has other shards, or trusts its lease where it did not, since this was last asked.
    pub(crate) has_gained: bool,
    /// Tasks to begin.
    pub(crate) begun: Vec<Work>,
}

impl Running {
    /// Starts a process. `None`: a name in it will not do.
    pub(crate) fn new(kernel: &Arc<Kernel>, start: Start) -> Option<Self> {
        let clock: Arc<dyn Clock> = Arc::clone(&start.clock) as Arc<dyn Clock>;
        let (membership, controls) = membership(Arc::clone(&clock));
        let store = SimulatedStore::new(Arc::clone(kernel), start.process, start.sabotage);
        let store: Arc<dyn Store> = Arc::new(store);
        let lease = membership.lease().clone();
        let leashed = leashed(Arc::clone(&store), lease.clone());
        let Settings { shards, ref concurrent, .. } = *start.settings;
        let keep = start.settings.keep();
        let keeper = Keeper::new(Arc::clone(&leashed), clock, keep, start.node.clone(), shards)?;
        let bench = Bench {
            kernel: Arc::clone(kernel),
            process: start.process,
            clock: Arc::clone(&start.clock),
            node: start.node.clone(),
            store,
            leashed,
            lease,
            keeper,
            shards,
            counts: Arc::default(),
            sabotage: start.sabotage,
        };
        let volumes = start.volumes.iter().map(|name| Volume {
            name: name.clone(),
            root: Some(SourcePath::from_bytes(format!("/data/{name}").as_bytes())),
        });
        let volumes = Volumes::new(volumes.collect(), shards).ok()?;
        let owners = Owners::new(volumes, *concurrent);
        let begun = vec![work::boot(bench.clone())];
        Some(Self {
            kernel: Arc::clone(kernel),
            start,
            stage: Stage::Booting,
            owners,
            ownership: None,
            membership,
            controls,
            bench,
            calls: BTreeMap::new(),
            last_call: 0,
            watch: None,
            wakeup: None,
            expiry: Duration::ZERO,
            is_leaving: false,
            has_gained: false,
            begun,
        })
    }

    pub(crate) fn process(&self) -> Process {
        self.start.process
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.clock.monotonic()
    }

    /// Tells of something, where it is asked for.
    pub(crate) fn tell(&self, text: std::fmt::Arguments<'_>) {
        let mut inner = self.kernel.lock();
        if inner.trace.is_kept() {
            let node = self.start.process.node.0;
            inner.tell(format_args!("n{node} {text}"));
        }
    }

    pub(crate) fn note(&self, name: &'static str) {
        self.kernel.lock().counts.note(name);
    }

    /// Has something happen to this process in so long, by its own clock.
    pub(crate) fn wake_in(&self, delay: Duration, event: NodeEvent) {
        self.wake_at(self.now() + delay, event);
    }

    pub(crate) fn wake_at(&self, monotonic: Duration, event: NodeEvent) {
        let at = self.start.clock.real(monotonic);
        self.kernel.lock().at(at, kernel::Event::Node(self.process(), event));
    }

    /// Takes in what happened. Tells whether anything came of it.
    pub(crate) fn hear(&mut self, event: NodeEvent) -> bool {
        if matches!(self.stage, Stage::Ended(_)) {
            return false;
        }
        match event {
            NodeEvent::Etcd(call, reply) => self.replied(call, reply),
            NodeEvent::EtcdTimeout(call) => {
                let Some(asked) = self.calls.remove(&call) else { return false };
                self.note("etcd: no answer in time");
                self.unanswered(asked.request);
            }
            NodeEvent::Changed { watch, after, revision, changes } => {
                if self.watch == Some(watch) {
                    self.own(Event::Changed { after, revision, changes });
                }
            }
            NodeEvent::WatchLost(watch) => {
                if self.watch == Some(watch) {
                    self.watch = None;
                    self.own(Event::WatchLost);
                }
            }
            NodeEvent::Ownership(due) => {
                if due > self.now() {
                    // The clock stood still meanwhile.
                    self.wake_at(due, event);
                    return false;
                }
                if self.wakeup != Some(due) {
                    return false;
                }
                self.wakeup = None;
                self.own(Event::Tick);
            }
            NodeEvent::Expiry(due) | NodeEvent::Release(due) if due > self.now() => {
                self.wake_at(due, event);
                return false;
            }
            NodeEvent::Expiry(_) => return self.expired(),
            NodeEvent::Cycle => self.cycle(),
            NodeEvent::Scanned(scan) => self.scanned(scan),
            NodeEvent::Release(_) => self.advance_releases(),
        }
        true
    }

    /// Takes in the end of a task.
    pub(crate) fn done(&mut self, end: End) {
        if matches!(self.stage, Stage::Ended(_)) {
            return;
        }
        if let Some((shard, epoch, by)) = work::fenced_by(&end) {
            self.fenced(shard, epoch, by);
        }
        match end {
            End::Booted(Ok(generation)) => self.join(generation),
            End::Booted(Err(why)) => self.end(format!("the bucket cannot be taken: {why}")),
            End::Generation(Ok(generation)) => {
                self.note("generations asked for");
                self.own(Event::Generation(generation));
            }
            End::Generation(Err(Refused::Failed(why))) => {
                self.tell(format_args!("cannot learn the generation: {why}"));
                self.own(Event::Failed(Request::Generation));
            }
            End::Generation(Err(Refused::Halt(why))) => self.end(why),
            End::Recalled { chair, outcome } => self.recalled(&chair, outcome),
            End::Rebuilt { scan, outcome } => self.rebuilt(scan, outcome),
            End::Uploaded { upload, sent } => self.uploaded(upload, sent),
            End::Tended { chair, asked, outcome } => self.tended(&chair, asked, outcome),
            End::Compared(outcome) => self.compared(outcome),
        }
        self.advance_releases();
    }

    fn join(&mut self, generation: u64) {
        self.stage = Stage::Running;
        let mounts = self.start.volumes.iter().map(|name| (name.clone(), MountRecord::default()));
        let record = NodeRecord {
            address: String::new(),
            volumes: mounts.collect(),
            capacity: self.start.capacity,
            version: String::new(),
            since: self.start.clock.now(),
            leaving: false,
            unwell: false,
        };
        let options = OwnershipOptions {
            node: self.start.node.clone(),
            record,
            shards: self.start.settings.shards,
            generation,
            lease_ttl: self.start.settings.lease_ttl,
        };
        self.ownership = Some(Ownership::new(options, self.now()));
        self.own(Event::Tick);
        self.wake_in(self.start.settings.interval, NodeEvent::Cycle);
    }

    /// The process ends.
    pub(crate) fn end(&mut self, why: String) {
        self.tell(format_args!("ends: {why}"));
        self.stage = Stage::Ended(why);
    }

    /// Begins to leave in order.
    pub(crate) fn leave(&mut self) {
        self.is_leaving = true;
        if self.ownership.is_none() {
            return self.end("left before it had joined".to_owned());
        }
        self.own(Event::Leave);
    }

    pub(crate) fn fenced(&mut self, shard: ShardKey, epoch: Epoch, by: Epoch) {
        self.note("fences");
        self.tell(format_args!("is fenced: {shard} under {epoch} by {by}"));
        self.kernel.lock().truth.fenced.insert(shard.clone());
        self.own(Event::Fenced { shard, epoch, by });
    }

    /// Gives the ownership an event, and does what it says.
    pub(crate) fn own(&mut self, event: Event) {
        let now = self.now();
        let Some(ownership) = &mut self.ownership else { return };
        let actions = ownership.handle(now, event);
        for action in actions {
            self.act(action);
        }
        self.publish();
    }

    fn act(&mut self, action: Action) {
        let node = self.start.node.clone();
        let request = match action {
            Action::GrantLease { ttl } => etcd::Request::Grant { ttl },
            Action::KeepAlive { lease } => etcd::Request::KeepAlive { lease },
            Action::Register { lease, record } => etcd::Request::Register { node, lease, record },
            Action::List => etcd::Request::List,
            Action::Claim { lease, generation, shards } => {
                etcd::Request::Claim { node, lease, generation, shards }
            }
            Action::Unclaim { shard, created, handover } => {
                etcd::Request::Unclaim { shard, created, handover }
            }
            Action::Revoke { lease } => etcd::Request::Revoke { lease },
            Action::AskGeneration { generation, fenced_by } => {
                self.tell(format_args!("asks for a generation: {fenced_by} fenced {generation}"));
                self.begun.push(work::ask_generation(self.bench.clone(), generation));
                return;
            }
            Action::Halt { reason } => return self.end(reason),
        };
        self.last_call += 1;
        let call = CallId(self.last_call);
        if matches!(request, etcd::Request::List) {
            self.watch = Some(call.0);
        }
        let asked = Asked { request: request.clone(), sent_at: self.now() };
        self.calls.insert(call, asked);
        let limit = self.start.settings.etcd_deadline;
        self.kernel.lock().send_to_etcd(self.process(), call, request, limit);
    }

    fn replied(&mut self, call: CallId, reply: etcd::Reply) {
        // A copy of a reply is given to the machine as well: it must not mind. But only the first has a request.
        let Some(Asked { sent_at, .. }) = self.calls.remove(&call) else { return };
        let event = match reply {
            etcd::Reply::Granted { lease, ttl } => Event::LeaseGranted { lease, sent_at, ttl },
            etcd::Reply::Kept { lease, ttl } => Event::LeaseKept { lease, sent_at, ttl },
            etcd::Reply::Gone { lease } => Event::LeaseGone { lease },
            etcd::Reply::Registered { lease } => Event::Registered { lease },
            etcd::Reply::NameTaken { lease } => Event::NameTaken { lease },
            etcd::Reply::Listed { revision, view } => Event::Listed { sent_at, revision, view },
            etcd::Reply::Claimed { lease, generation, outcomes } => {
                Event::Claimed { lease, generation, outcomes }
            }
            etcd::Reply::Done => return,
        };
        let again = self.kernel.lock().random.chance(20);
        if again {
            self.note("etcd: replies doubled");
            self.own(event.clone());
        }
        self.own(event);
    }

    fn unanswered(&mut self, request: etcd::Request) {
        let request = match request {
            etcd::Request::Grant { .. } => Request::Grant,
            etcd::Request::KeepAlive { .. } => Request::KeepAlive,
            etcd::Request::Register { .. } => Request::Register,
            etcd::Request::List => Request::List,
            etcd::Request::Unclaim { shard, .. } => Request::Unclaim(shard),
            etcd::Request::Revoke { .. } => Request::Revoke,
            etcd::Request::Claim { lease, generation, shards, .. } => {
                let unknown = ultrasimple_cluster::ownership::Claimed::Unknown;
                let outcomes = shards.into_iter().map(|shard| (shard, unknown)).collect();
                return self.own(Event::Claimed { lease, generation, outcomes });
            }
        };
        self.own(Event::Failed(request));
    }

    /// Makes known what the ownership says now.
    fn publish(&mut self) {
        let was_trusted = self.is_trusted();
        let Some(ownership) = &self.ownership else { return };
        let is_new = *self.membership.assignments() != *ownership.assignments();
        if is_new {
            self.controls.assign(ownership.assignments().clone());
        }
        let until = ownership.trusted_until();
        let (wakeup, has_left) = (ownership.next_wakeup(), ownership.has_left());
        let is_endless = self.start.sabotage == Some(Sabotage::EndlessTrust);
        self.controls.trust_until(if is_endless { Duration::MAX } else { until });
        self.has_gained |= is_new || !was_trusted && self.is_trusted();
        if until > self.expiry {
            self.expiry = until;
            self.wake_at(until, NodeEvent::Expiry(until));
        }
        if let Some(at) = wakeup
            && self.wakeup.is_none_or(|before| at < before || before <= self.now())
        {
            self.wakeup = Some(at);
            self.wake_at(at, NodeEvent::Ownership(at));
        }
        if has_left {
            return self.end("left".to_owned());
        }
        if is_new {
            self.adopt();
        }
    }

    /// The lease may not be trusted any more, unless it was kept. Tells whether that is so.
    fn expired(&mut self) -> bool {
        let Some(ownership) = &self.ownership else { return false };
        let until = ownership.trusted_until();
        let is_expired = until <= self.now() && until > Duration::ZERO;
        if is_expired {
            self.note("leases not trusted");
            self.tell(format_args!("does not trust its lease any more"));
            // Wakes those who wait for it: their timers are not of this world.
            if self.start.sabotage != Some(Sabotage::EndlessTrust) {
                self.controls.trust_until(until.saturating_sub(Duration::from_nanos(1)));
            }
        }
        is_expired
    }

    /// Whether it may act as the owner of its shards.
    pub(crate) fn is_trusted(&self) -> bool {
        self.membership.lease().is_trusted()
    }

    /// Requests to etcd of whose end nothing is known yet.
    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }
}
