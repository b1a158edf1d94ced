//! Does what the state machine says, and tells it what happened.
//!
//! One task owns the machine; each request is a short task of its own with a deadline, whose end comes back through a
//! bounded queue. The machine bounds how many requests there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use ultrasimple_core::{Clock, Epoch};

use super::agreement::{REPLACED, Registration};
use super::connection::Etcd;
use super::error::Failure;
use super::join::JoinOptions;
use super::requests::Unclaim;
use crate::Report;
use crate::membership::{Controls, Looks, Sighting};
use crate::ownership::{Action, Claimed, Event, LeaseId, Ownership, Request, UNCLAIMS_AT_ONCE};
use crate::records::FleetRecord;

/// Ends of requests that may wait for the machine.
const EVENTS: usize = 1_024;

/// Events that may come between two looks at the assignments: with thousands of shards, thousands come at once, and
/// each look is at all shards.
const AT_ONCE: u32 = 256;

/// How long the bucket may take to say which generation to go on with.
const GENERATION_WITHIN: Duration = Duration::from_mins(1);

/// Where the generation comes from: the bucket.
#[async_trait::async_trait]
pub trait GenerationSource: Send + Sync {
    /// The generation to go on with after something of `fenced_by` was found: greater than `generation`. If the
    /// bucket still has that one, it is to be raised.
    ///
    /// # Errors
    /// When the bucket has another holder, or cannot be asked.
    async fn next(&self, generation: u64, fenced_by: Epoch) -> Result<u64, NoGeneration>;
}

/// Why there is no generation to go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoGeneration {
    /// The bucket is another's: this node must stop.
    Halt(String),
    /// It cannot be asked now; it will be again.
    Later(String),
}

/// What comes back from requests and the watch.
#[derive(Debug)]
pub(super) enum Told {
    Event(Event),
    /// The fleet's record was put, or deleted.
    Fleet(Option<Vec<u8>>),
    /// This node must stop.
    Halt(String),
}

/// How far joining has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Joined {
    NotYet,
    Yes,
    Refused(String),
}

/// The machine, and what it takes to serve it.
pub(super) struct Driver {
    etcd: Etcd,
    machine: Ownership,
    controls: Controls,
    looks: Looks,
    options: Arc<JoinOptions>,
    source: Arc<dyn GenerationSource>,
    clock: Arc<dyn Clock>,
    joined: watch::Sender<Joined>,
    events: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    requests: JoinSet<()>,
    watch: Option<AbortHandle>,
    published: crate::Assignments,
    /// Events since the assignments were last looked at.
    unpublished: u32,
}

impl Driver {
    pub(super) fn new(
        etcd: Etcd,
        options: Arc<JoinOptions>,
        source: Arc<dyn GenerationSource>,
        clock: Arc<dyn Clock>,
        (controls, looks): (Controls, Looks),
        joined: watch::Sender<Joined>,
    ) -> Self {
        let (events, told) = mpsc::channel(EVENTS);
        let machine = Ownership::new(options.ownership(), clock.monotonic());
        Self {
            etcd,
            machine,
            controls,
            looks,
            options,
            source,
            clock,
            joined,
            events,
            told,
            requests: JoinSet::new(),
            watch: None,
            published: crate::Assignments::new(),
            unpublished: 0,
        }
    }

    /// Until the membership is dropped, or the node has left or must stop.
    pub(super) async fn run(mut self) {
        let mut event = Some(Event::Tick);
        loop {
            if let Some(event) = event.take() {
                let actions = self.machine.handle(self.clock.monotonic(), event);
                self.publish();
                if !self.act(actions) {
                    break;
                }
            } else if self.unpublished > 0 {
                self.publish();
            }
            if self.machine.has_left() {
                self.controls.left();
                break;
            }
            let now = self.clock.monotonic();
            let wakeup = self.machine.next_wakeup().unwrap_or(now);
            event = tokio::select! {
                told = self.told.recv() => match told {
                    Some(Told::Event(event)) => Some(event),
                    Some(Told::Fleet(value)) => {
                        if self.is_another_fleet(value.as_deref()) {
                            break;
                        }
                        None
                    }
                    Some(Told::Halt(reason)) => {
                        self.halt(reason);
                        break;
                    }
                    None => break,
                },
                report = self.controls.next_report() => match report {
                    Some(report) => Some(of_report(report)),
                    None => break,
                },
                Some(look) = self.looks.recv() => {
                    // Who does not wait any more needs no answer.
                    let _ = look.send(self.sighting());
                    None
                }
                // Ended ones are forgotten; one that panicked is taken for lost by the machine.
                Some(_) = self.requests.join_next() => None,
                () = tokio::time::sleep(wakeup.saturating_sub(now)) => Some(Event::Tick),
            };
        }
        self.controls.trust_until(Duration::ZERO);
        self.controls.assign(crate::Assignments::new());
        self.requests.abort_all();
        // Whoever still has the membership is to see how it ended, not that nobody is here.
        while self.controls.next_report().await.is_some() {}
    }

    fn publish(&mut self) {
        self.controls.trust_until(self.machine.trusted_until());
        self.unpublished += 1;
        let is_more_there = !self.told.is_empty() || self.controls.has_report();
        if is_more_there && self.unpublished < AT_ONCE {
            return;
        }
        self.unpublished = 0;
        self.controls.unowned(self.machine.unowned());
        if *self.machine.assignments() != self.published {
            self.published.clone_from(self.machine.assignments());
            self.controls.assign(self.published.clone());
        }
    }

    fn sighting(&self) -> Sighting {
        Sighting {
            view: self.machine.view().clone(),
            is_current: self.machine.is_synced(),
            shards: self.options.fleet.shards,
        }
    }

    /// Stops at once: nothing may be acted upon any more. What is registered ends with the lease.
    fn halt(&mut self, reason: String) {
        self.let_go(&reason);
        tracing::error!("this node must stop: {reason}");
        self.controls.halt(reason);
    }

    fn let_go(&mut self, reason: &str) {
        self.controls.trust_until(Duration::ZERO);
        self.controls.assign(crate::Assignments::new());
        self.joined.send_if_modified(|joined| {
            let is_joining = *joined == Joined::NotYet;
            if is_joining {
                *joined = Joined::Refused(reason.to_owned());
            }
            is_joining
        });
    }

    fn is_another_fleet(&mut self, value: Option<&[u8]>) -> bool {
        let record = value.and_then(|value| serde_json::from_slice::<FleetRecord>(value).ok());
        if record.as_ref() == Some(&self.options.fleet) {
            return false;
        }
        self.let_go(REPLACED);
        tracing::error!("this node must join anew: {REPLACED}");
        self.controls.halt_to_rejoin(REPLACED.to_owned());
        true
    }

    /// Begins all of it. Returns whether to go on.
    fn act(&mut self, actions: Vec<Action>) -> bool {
        let mut unclaims = Vec::new();
        for action in actions {
            match action {
                Action::Unclaim { shard, created, handover } => {
                    unclaims.push(Unclaim { shard, created, handover });
                }
                Action::List => {
                    if let Some(before) = self.watch.take() {
                        before.abort();
                    }
                    let (clock, events) = (Arc::clone(&self.clock), self.events.clone());
                    let quiet = (self.options.lease_ttl / 4)
                        .clamp(Duration::from_millis(500), Duration::from_secs(5));
                    let watch = super::watch::watch(self.etcd.clone(), clock, quiet, events);
                    self.watch = Some(self.requests.spawn(watch));
                }
                Action::Halt { reason } => {
                    self.halt(reason);
                    return false;
                }
                action => self.begin(action),
            }
        }
        for unclaims in unclaims.chunks(UNCLAIMS_AT_ONCE) {
            let (etcd, events) = (self.etcd.clone(), self.events.clone());
            let unclaims = unclaims.to_vec();
            self.requests.spawn(async move {
                if let Err(failure) = etcd.unclaim(&unclaims).await {
                    tracing::warn!(
                        claims = unclaims.len(),
                        "claims were not given back: {failure}"
                    );
                    for unclaim in unclaims {
                        let failed = Event::Failed(Request::Unclaim(unclaim.shard));
                        let _ = events.send(Told::Event(failed)).await;
                    }
                }
            });
        }
        true
    }

    fn begin(&mut self, action: Action) {
        let asked = Asked {
            etcd: self.etcd.clone(),
            options: Arc::clone(&self.options),
            source: Arc::clone(&self.source),
            sent_at: self.clock.monotonic(),
            joined: self.joined.clone(),
        };
        let events = self.events.clone();
        self.requests.spawn(async move {
            let told = asked.answer(action).await;
            // Nobody listens any more when the driver has ended.
            let _ = events.send(told).await;
        });
    }
}

fn of_report(report: Report) -> Event {
    match report {
        Report::Released { shard, epoch, catalog } => Event::Released { shard, epoch, catalog },
        Report::Fenced { shard, epoch, by, what } => {
            tracing::warn!(%shard, %epoch, %by, "fenced: {what}");
            Event::Fenced { shard, epoch, by }
        }
        Report::Fit { is_fit } => Event::Fit { is_fit },
        Report::Leave => Event::Leave,
    }
}

/// One request of the machine.
struct Asked {
    etcd: Etcd,
    options: Arc<JoinOptions>,
    source: Arc<dyn GenerationSource>,
    sent_at: Duration,
    joined: watch::Sender<Joined>,
}

impl Asked {
    async fn answer(self, action: Action) -> Told {
        let sent_at = self.sent_at;
        let event = match action {
            Action::GrantLease { ttl } => match self.etcd.grant(ttl).await {
                Ok((lease, ttl)) => Event::LeaseGranted { lease, sent_at, ttl },
                Err(failure) => failed("a lease was not granted", &failure, Request::Grant),
            },
            Action::KeepAlive { lease } => self.keep_alive(lease).await,
            Action::Register { lease, record } => return self.register(lease, record).await,
            Action::Claim { lease, generation, shards } => {
                let node = &self.options.node;
                match self.etcd.claim(node, lease, generation, &shards).await {
                    Ok(outcomes) => Event::Claimed { lease, generation, outcomes },
                    Err(Failure::NoLease) => Event::LeaseGone { lease },
                    Err(failure) => {
                        tracing::warn!(
                            shards = shards.len(),
                            "a claim's outcome is unknown: {failure}"
                        );
                        let outcomes = shards.into_iter().map(|shard| (shard, Claimed::Unknown));
                        Event::Claimed { lease, generation, outcomes: outcomes.collect() }
                    }
                }
            }
            Action::Revoke { lease } => match self.etcd.revoke(lease).await {
                Ok(()) => Event::LeaseGone { lease },
                Err(failure) => failed("a lease was not revoked", &failure, Request::Revoke),
            },
            Action::AskGeneration { generation, fenced_by } => {
                return self.ask_generation(generation, fenced_by).await;
            }
            // These are dealt with where they come in.
            Action::List | Action::Unclaim { .. } | Action::Halt { .. } => Event::Tick,
        };
        Told::Event(event)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Event {
        let ttl = self.options.lease_ttl;
        // Each member in turn, all within the margin by which this node stops to trust the lease early.
        let limit = (ttl / 10).min(self.etcd.request_timeout()).max(Duration::from_millis(100));
        match self.etcd.keep_alive(lease, limit).await {
            // Not less than was granted.
            Ok(()) => Event::LeaseKept { lease, sent_at: self.sent_at, ttl },
            Err(Failure::NoLease) => Event::LeaseGone { lease },
            Err(failure) => failed("the lease was not kept alive", &failure, Request::KeepAlive),
        }
    }

    async fn register(&self, lease: LeaseId, record: crate::records::NodeRecord) -> Told {
        let JoinOptions { node, fleet, .. } = &*self.options;
        let is_joining = *self.joined.borrow() == Joined::NotYet;
        match self.etcd.register(node, lease, &record, fleet, is_joining).await {
            Ok(Registration::Done) => self.registered(lease).await,
            Ok(Registration::NameTaken(lease)) => Told::Event(Event::NameTaken { lease }),
            Ok(Registration::Replaced) => Told::Fleet(None),
            Ok(Registration::Refused(differs)) => Told::Halt(format!(
                "this node cannot join the fleet of {}: {differs}",
                self.etcd.keys().prefix()
            )),
            Err(Failure::NoLease) => Told::Event(Event::LeaseGone { lease }),
            Err(failure) => {
                Told::Event(failed("the node was not registered", &failure, Request::Register))
            }
        }
    }

    /// The key is there. Of two nodes that came at once and cannot both be here, each sees the other by now.
    async fn registered(&self, lease: LeaseId) -> Told {
        let is_joining = *self.joined.borrow() == Joined::NotYet;
        if is_joining {
            match self.etcd.conflict(&self.options.node, &self.options.record).await {
                Ok(Some(conflict)) => {
                    let _ = self.etcd.revoke(lease).await;
                    return Told::Halt(conflict);
                }
                Ok(None) => {}
                Err(failure) => {
                    let failed =
                        failed("the other nodes are not known", &failure, Request::Register);
                    return Told::Event(failed);
                }
            }
            self.joined.send_if_modified(|joined| {
                let is_joining = *joined == Joined::NotYet;
                if is_joining {
                    *joined = Joined::Yes;
                }
                is_joining
            });
        }
        Told::Event(Event::Registered { lease })
    }

    async fn ask_generation(&self, generation: u64, fenced_by: Epoch) -> Told {
        let asked = self.source.next(generation, fenced_by);
        match tokio::time::timeout(GENERATION_WITHIN, asked).await {
            Ok(Ok(next)) => {
                tracing::info!(before = generation, next, %fenced_by, "goes on with another generation");
                Told::Event(Event::Generation(next))
            }
            Ok(Err(NoGeneration::Halt(reason))) => Told::Halt(reason),
            Ok(Err(NoGeneration::Later(reason))) => {
                tracing::warn!("the bucket's generation is not known: {reason}");
                Told::Event(Event::Failed(Request::Generation))
            }
            Err(_) => {
                tracing::warn!("the bucket's generation is not known: no answer in a minute");
                Told::Event(Event::Failed(Request::Generation))
            }
        }
    }
}

fn failed(what: &str, failure: &Failure, request: Request) -> Event {
    if failure.is_of_the_member() {
        // That etcd does not answer was told already.
        tracing::debug!("{what}: {failure}");
    } else {
        tracing::warn!("{what}: {failure}");
    }
    Event::Failed(request)
}
