//! Virtual time: what is to happen next, and everything that is not a node: the network, etcd, the bucket.
//!
//! One lock around all of it, held for a moment at a time and never while code of the product runs; there is one
//! thread, so it is always free. A request that was sent arrives whatever becomes of its sender.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use ultrasimple_cluster::ownership::{LeaseId, Revision};
use ultrasimple_store::StoreError;

use crate::bucket::{self, Bucket};
use crate::clock::{Now, nanos, wall};
use crate::counts::Counts;
use crate::etcd::{self, Etcd};
use crate::network::{Delivery, Direction, Network, NodeId, Service};
use crate::random::Random;
use crate::trace::Trace;
use crate::truth::Truth;

/// A process on a node: a restart makes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Process {
    pub(crate) node: NodeId,
    pub(crate) life: u32,
}

/// A wait of a task: for a reply, or for time to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaitId(u64);

/// A request to etcd, as the node that sent it numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// What happens.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A request reaches the bucket.
    ToBucket(NodeId, WaitId, bucket::Request),
    /// Its reply reaches who waits for it.
    FromBucket(WaitId, bucket::Reply),
    /// A wait has lasted long enough.
    Enough(WaitId),
    /// A request reaches etcd.
    ToEtcd(Process, CallId, etcd::Request),
    /// A lease may have ended.
    LeaseMayEnd(LeaseId),
    /// A watch has something to tell.
    Watch(Process, u64),
    /// For a process.
    Node(Process, NodeEvent),
    /// The next step of the plan.
    Step(usize),
}

/// What a process hears of.
#[derive(Debug, Clone)]
pub(crate) enum NodeEvent {
    /// A reply of etcd.
    Etcd(CallId, etcd::Reply),
    /// No reply came.
    EtcdTimeout(CallId),
    /// A watch tells.
    Changed { watch: u64, after: Revision, revision: Revision, changes: Vec<Change> },
    /// A watch has ended.
    WatchLost(u64),
    /// Time to look at the ownership again: by the process's own clock, as in the others below.
    Ownership(Duration),
    /// A cycle begins.
    Cycle,
    /// A scan has ended.
    Scanned(u64),
    /// The lease may have run out.
    Expiry(Duration),
    /// Something of a release may be overdue.
    Release(Duration),
}

use ultrasimple_cluster::ownership::Change;

#[derive(Debug)]
struct Scheduled {
    /// In nanoseconds, and then in the order in which it was asked for.
    at: Reverse<(u64, u64)>,
    /// Small, because the queue moves it about.
    event: Box<Event>,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// Whether a wait is over.
#[derive(Debug, Default)]
enum WaitEnd {
    #[default]
    Waiting,
    /// With the reply, if it was one that has one.
    Over(Option<bucket::Reply>),
}

#[derive(Debug, Default)]
struct Wait {
    process: Option<Process>,
    /// What to say when it has lasted too long.
    unheard: Option<bucket::Reply>,
    end: WaitEnd,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy)]
struct Watcher {
    number: u64,
    next: Revision,
    /// Something is on its way to it.
    is_busy: bool,
}

/// How the store behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StoreMood {
    /// In a thousand: requests that are refused, or fail in the middle.
    pub(crate) fails: u32,
    /// All are denied.
    pub(crate) denies: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) now: Arc<Now>,
    inner: Mutex<Inner>,
}

/// Everything that is not a node.
#[derive(Debug)]
pub(crate) struct Inner {
    now: Duration,
    queue: BinaryHeap<Scheduled>,
    scheduled: u64,
    waits: BTreeMap<WaitId, Wait>,
    last_wait: u64,
    watchers: BTreeMap<Process, Watcher>,
    held: Vec<(NodeId, Service, Event)>,
    /// How long a request to the store may take.
    pub(crate) store_deadline: Duration,
    pub(crate) mood: StoreMood,
    pub(crate) etcd_is_down: bool,
    /// In a thousand: captures after which a change may not show.
    pub(crate) unsettled: u32,
    pub(crate) random: Random,
    pub(crate) network: Network,
    pub(crate) bucket: Bucket,
    pub(crate) etcd: Etcd,
    pub(crate) truth: Truth,
    pub(crate) counts: Counts,
    pub(crate) trace: Trace,
}

impl Kernel {
    pub(crate) fn new(
        random: Random,
        network: Network,
        bucket: Bucket,
        truth: Truth,
        trace: Trace,
    ) -> Self {
        Self {
            now: Arc::default(),
            inner: Mutex::new(Inner {
                now: Duration::ZERO,
                queue: BinaryHeap::new(),
                scheduled: 0,
                waits: BTreeMap::new(),
                last_wait: 0,
                watchers: BTreeMap::new(),
                held: Vec::new(),
                store_deadline: Duration::from_secs(20),
                mood: StoreMood::default(),
                etcd_is_down: false,
                unsettled: 0,
                random,
                network,
                bucket,
                etcd: Etcd::default(),
                truth,
                counts: Counts::default(),
                trace,
            }),
        }
    }

    /// Everything that is not a node. Not to be held while code of the product runs.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next thing that happens; time goes on to it. `None`: nothing does before `end`.
    pub(crate) fn advance(&self, end: Duration) -> Option<Event> {
        let mut inner = self.lock();
        let due = inner.queue.peek().map(|next| Duration::from_nanos(next.at.0.0));
        if due.is_none_or(|due| due > end) {
            inner.now = end;
            self.now.set(end);
            return None;
        }
        let Scheduled { at: Reverse((nanos, number)), event } = inner.queue.pop()?;
        inner.now = Duration::from_nanos(nanos);
        self.now.set(inner.now);
        inner.trace.mix(number);
        inner.trace.mix(nanos);
        Some(*event)
    }

    /// Asks the bucket.
    pub(crate) async fn ask(&self, process: Process, request: bucket::Request) -> bucket::Reply {
        let wait = self.lock().send_to_bucket(process, request);
        let waiting = Waiting { kernel: self, wait };
        waiting.done().await.unwrap_or(bucket::Reply::Time(Err(StoreError::Unavailable(
            "the simulation lost a reply".to_owned(),
        ))))
    }

    /// Lets time pass.
    pub(crate) async fn sleep(&self, process: Process, time: Duration) {
        let wait = {
            let mut inner = self.lock();
            let wait = inner.wait(process, None);
            inner.after(time, Event::Enough(wait));
            wait
        };
        Waiting { kernel: self, wait }.done().await;
    }
}

/// A task's wait. Dropping it takes nothing back that was sent.
struct Waiting<'a> {
    kernel: &'a Kernel,
    wait: WaitId,
}

impl Waiting<'_> {
    async fn done(self) -> Option<bucket::Reply> {
        std::future::poll_fn(|context| {
            let mut inner = self.kernel.lock();
            let Some(wait) = inner.waits.get_mut(&self.wait) else { return Poll::Ready(None) };
            if let WaitEnd::Over(reply) = &mut wait.end {
                return Poll::Ready(reply.take());
            }
            wait.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.kernel.lock().waits.remove(&self.wait);
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Has something happen in so long.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Has something happen then.
    pub(crate) fn at(&mut self, at: Duration, event: Event) {
        self.scheduled += 1;
        let at = Reverse((nanos(at.max(self.now)), self.scheduled));
        self.queue.push(Scheduled { at, event: Box::new(event) });
    }

    /// Tells of something, where it is asked for.
    pub(crate) fn tell(&mut self, text: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, text);
    }

    fn wait(&mut self, process: Process, unheard: Option<bucket::Reply>) -> WaitId {
        self.last_wait += 1;
        let wait = WaitId(self.last_wait);
        let waiting = Wait { process: Some(process), unheard, ..Wait::default() };
        self.waits.insert(wait, waiting);
        wait
    }

    /// Waits of a process: what it has in flight.
    pub(crate) fn waits_of(&self, process: Process) -> usize {
        self.waits.values().filter(|wait| wait.process == Some(process)).count()
    }

    fn send_to_bucket(&mut self, process: Process, request: bucket::Request) -> WaitId {
        let unheard = request.failed(request.unheard("no answer in time"));
        let wait = self.wait(process, Some(unheard));
        self.after(self.store_deadline, Event::Enough(wait));
        if self.trace.is_kept() {
            let (node, subject) = (process.node.0, request.subject());
            self.tell(format_args!("n{node} ──▶ store: {} {subject}", request.name()));
        }
        let event = Event::ToBucket(process.node, wait, request);
        self.transmit(process.node, Service::Store, Direction::Request, event);
        wait
    }

    /// Sends a message: it arrives, or not.
    pub(crate) fn transmit(
        &mut self,
        node: NodeId,
        service: Service,
        direction: Direction,
        event: Event,
    ) {
        match self.network.send(&mut self.random, node, service, direction) {
            Delivery::After(delay) => self.after(delay, event),
            Delivery::Twice(first, second) => {
                self.counts.note("messages doubled");
                self.after(first, event.clone());
                self.after(second, event);
            }
            Delivery::Lost => self.counts.note("messages lost"),
            Delivery::Held => {
                self.counts.note("messages held up");
                self.held.push((node, service, event));
            }
        }
    }

    /// A way is whole again: what was held up goes on.
    pub(crate) fn release_held(&mut self) {
        for (node, service, event) in std::mem::take(&mut self.held) {
            let is_cut = [Direction::Request, Direction::Reply]
                .iter()
                .any(|&direction| self.network.is_cut(node, service, direction));
            if is_cut {
                self.held.push((node, service, event));
            } else {
                let delay = self.network.delay(&mut self.random);
                self.after(delay, event);
            }
        }
    }

    /// A request has reached the bucket.
    pub(crate) fn at_bucket(&mut self, node: NodeId, wait: WaitId, request: &bucket::Request) {
        let mood = self.mood;
        let reply = if mood.denies {
            self.counts.note("store: denied");
            request.failed(StoreError::Denied("AccessDenied".to_owned()))
        } else if self.random.chance(mood.fails) {
            self.failing(request)
        } else {
            self.apply(request)
        };
        if self.trace.is_kept() {
            let (name, subject) = (request.name(), request.subject());
            let end = reply.error().map_or_else(|| "done".to_owned(), ToString::to_string);
            self.tell(format_args!("      store: {name} {subject} of n{}: {end}", node.0));
        }
        if matches!(reply.error(), Some(StoreError::ConditionFailed)) {
            self.counts.note("store: 412");
        }
        let event = Event::FromBucket(wait, reply);
        self.transmit(node, Service::Store, Direction::Reply, event);
    }

    /// One of the ways in which a request fails.
    fn failing(&mut self, request: &bucket::Request) -> bucket::Reply {
        let error = match self.random.below(4) {
            0 => {
                self.counts.note("store: slow down");
                StoreError::SlowDown("503".to_owned())
            }
            1 => {
                self.counts.note("store: unavailable");
                StoreError::Unavailable("connection refused".to_owned())
            }
            2 => {
                self.counts.note("store: 500, not done");
                request.unheard("500")
            }
            _ => {
                self.counts.note("store: 500, done");
                self.apply(request);
                request.unheard("500")
            }
        };
        request.failed(error)
    }

    fn apply(&mut self, request: &bucket::Request) -> bucket::Reply {
        let time = wall(self.now);
        let (reply, changes) = self.bucket.apply(request, time);
        for change in changes {
            self.counts.note(match &change {
                bucket::Change::Stored { .. } => "store: written",
                bucket::Change::Deleted { .. } => "store: deleted",
            });
            self.truth.take_in(&change, time);
        }
        reply
    }

    /// A reply has reached who waits for it, or will never. Tells whether anybody still waited.
    pub(crate) fn end_wait(&mut self, wait: WaitId, reply: Option<bucket::Reply>) -> bool {
        let Some(waiting) = self.waits.get_mut(&wait) else { return false };
        if let WaitEnd::Over(_) = waiting.end {
            return false;
        }
        let unheard = waiting.unheard.take();
        if reply.is_none() && unheard.is_some() {
            self.counts.note("store: no answer in time");
        }
        waiting.end = WaitEnd::Over(reply.or(unheard));
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        true
    }

    /// Asks etcd. The reply comes as an event, and so does it when none comes within `limit`.
    pub(crate) fn send_to_etcd(
        &mut self,
        process: Process,
        call: CallId,
        request: etcd::Request,
        limit: Duration,
    ) {
        self.after(limit, Event::Node(process, NodeEvent::EtcdTimeout(call)));
        let event = Event::ToEtcd(process, call, request);
        self.transmit(process.node, Service::Etcd, Direction::Request, event);
    }

    /// A request has reached etcd.
    pub(crate) fn at_etcd(&mut self, process: Process, call: CallId, request: &etcd::Request) {
        if self.etcd_is_down {
            return;
        }
        let before = self.etcd.revision();
        let reply = self.etcd.apply(request, self.now);
        if self.trace.is_kept() {
            let (asked, said) = (request.brief(), reply.brief());
            self.tell(format_args!("       etcd: n{} {asked}: {said}", process.node.0));
        }
        match (&reply, request) {
            (etcd::Reply::Granted { lease, .. }, _) => {
                if let Some(ends) = self.etcd.ends(*lease) {
                    self.at(ends, Event::LeaseMayEnd(*lease));
                }
            }
            (etcd::Reply::Listed { revision, .. }, _) => {
                let before = self.watchers.get(&process);
                // A request that was overtaken has been given up by then.
                if before.is_none_or(|before| before.number < call.0) {
                    let watcher = Watcher { number: call.0, next: *revision, is_busy: false };
                    self.watchers.insert(process, watcher);
                }
            }
            (etcd::Reply::Claimed { .. }, _) => self.counts.note("etcd: claims"),
            (_, etcd::Request::Unclaim { handover: Some(_), .. }) => {
                self.counts.note("etcd: hand-overs");
            }
            _ => {}
        }
        let event = Event::Node(process, NodeEvent::Etcd(call, reply));
        self.transmit(process.node, Service::Etcd, Direction::Reply, event);
        if self.etcd.revision() != before {
            self.wake_watchers();
        }
    }

    /// A lease has ended, unless it was kept alive.
    pub(crate) fn lease_may_end(&mut self, lease: LeaseId) {
        let Some(ends) = self.etcd.ends(lease) else { return };
        if ends > self.now || self.etcd_is_down {
            let again = ends.max(self.now + Duration::from_secs(1));
            self.at(again, Event::LeaseMayEnd(lease));
            return;
        }
        // etcd looks now and then.
        if self.random.chance(300) {
            let late = self.random.millis(1, 1_000);
            self.after(late, Event::LeaseMayEnd(lease));
            return;
        }
        self.tell(format_args!("       etcd: lease {} has ended", lease.0));
        self.counts.note("etcd: leases ended");
        self.etcd.end(lease);
        self.wake_watchers();
    }

    /// Something changed in etcd.
    pub(crate) fn wake_watchers(&mut self) {
        let processes: Vec<_> = self.watchers.keys().copied().collect();
        for process in processes {
            let delay = self.network.delay(&mut self.random);
            if let Some(watcher) = self.watchers.get_mut(&process).filter(|it| !it.is_busy) {
                watcher.is_busy = true;
                let number = watcher.number;
                self.after(delay, Event::Watch(process, number));
            }
        }
    }

    /// A watch tells what it has to tell.
    pub(crate) fn watch(&mut self, process: Process, number: u64) {
        let Some(watcher) = self.watchers.get(&process).copied() else { return };
        if watcher.number != number {
            return;
        }
        let is_cut = self.network.is_cut(process.node, Service::Etcd, Direction::Reply);
        if is_cut || self.etcd_is_down {
            // A connection that is cut may hold, or break.
            if self.random.chance(100) {
                self.lose_watch(process);
            } else {
                self.after(Duration::from_secs(1), Event::Watch(process, number));
            }
            return;
        }
        let Some((revision, changes)) = self.etcd.since(watcher.next) else {
            return self.lose_watch(process);
        };
        let after = watcher.next;
        if self.trace.is_kept() {
            let (node, count) = (process.node.0, changes.len());
            let (from, to) = (after.0, revision.0);
            self.tell(format_args!("       etcd: n{node} hears {count} changes, {from} to {to}"));
        }
        if let Some(watcher) = self.watchers.get_mut(&process) {
            (watcher.next, watcher.is_busy) = (revision, false);
        }
        let changed = NodeEvent::Changed { watch: number, after, revision, changes };
        self.at(self.now, Event::Node(process, changed));
    }

    /// A watch ends.
    pub(crate) fn lose_watch(&mut self, process: Process) {
        if let Some(watcher) = self.watchers.remove(&process) {
            self.counts.note("etcd: watches lost");
            let lost = NodeEvent::WatchLost(watcher.number);
            self.after(Duration::from_millis(1), Event::Node(process, lost));
        }
    }

    /// All watches end.
    pub(crate) fn lose_all_watches(&mut self) {
        let processes: Vec<_> = self.watchers.keys().copied().collect();
        for process in processes {
            self.lose_watch(process);
        }
    }

    /// A process is gone, and what it had open.
    pub(crate) fn forget(&mut self, process: Process) {
        self.watchers.remove(&process);
    }
}
