//! One world: its hosts, and what happens to them, from the first start to the last farewell.

use std::sync::Arc;
use std::time::Duration;

use ultrasimple_core::{NodeName, VolumeName};

use crate::Sabotage;
use crate::beginning;
use crate::clock::HostClock;
use crate::kernel::{Event, Kernel, NodeEvent, Process};
use crate::network::{Network, NodeId, Quality};
use crate::plan::{self, Step};
use crate::process::{Running, Stage, Start};
use crate::random::Random;
use crate::settings::Settings;
use crate::tasks::{Polled, Tasks};
use crate::trace::Trace;
use crate::trial::Trial;
use crate::work::End;

/// How long a process that has ended stays down before it is started again.
const SUPERVISOR: Duration = Duration::from_secs(3);
/// Between two looks whether all is well.
pub(crate) const LOOK: Duration = Duration::from_secs(3);

/// A host, whether or not a process runs on it.
pub(crate) struct Host {
    pub(crate) name: NodeName,
    pub(crate) clock: Arc<HostClock>,
    volumes: Vec<VolumeName>,
    capacity: f64,
    lives: u32,
    pub(crate) running: Option<Running>,
    paused_at: Option<Duration>,
    is_frozen: bool,
    inbox: Vec<NodeEvent>,
    /// It is not to be started again.
    is_done: bool,
}

/// See the module.
pub(crate) struct World {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) volumes: Vec<VolumeName>,
    tasks: Tasks<End>,
    pub(crate) random: Random,
    plan: Vec<(Duration, Step)>,
    sabotage: Option<Sabotage>,
    snapshot: Option<crate::etcd::Etcd>,
    /// A host stood still with its clock, or etcd was set back: what nodes trust since then proves nothing.
    pub(crate) is_deceived: bool,
    compared_before: u32,
    /// Since when nothing has gone wrong, but for the trial.
    pub(crate) calm_since: Duration,
    pub(crate) is_well_at: Option<Duration>,
    pub(crate) trial: Option<Trial>,
    pub(crate) is_over: bool,
    pub(crate) events: u64,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, is_traced: bool) -> Option<Self> {
        let mut random = Random::new(seed);
        let settings = Arc::new(Settings::draw(&mut random));
        let volumes: Vec<VolumeName> =
            ["a", "b"].iter().filter_map(|name| name.parse().ok()).collect();
        let plan = plan::draw(&mut random, &settings);
        let (bucket, truth) = beginning::make(&mut random, &settings, &volumes)?;
        let network = Network::new(settings.quality);
        let trace = Trace::new(is_traced);
        let kernel = Kernel::new(Random::new(random.next()), network, bucket, truth, trace);
        let kernel = Arc::new(kernel);
        let mut hosts = Vec::new();
        for node in 0..settings.nodes {
            let span = u64::try_from(settings.drift * 2 + 1).unwrap_or(1);
            let drift = i64::try_from(random.below(span)).unwrap_or(0) - settings.drift;
            let span = u64::try_from(settings.skew * 2 + 1).unwrap_or(1);
            let ahead = i64::try_from(random.below(span)).unwrap_or(0) - settings.skew;
            let clock = Arc::new(HostClock::new(Arc::clone(&kernel.now), drift));
            clock.set_ahead(ahead);
            // The second volume is that of the first two nodes.
            let mounted = if node < 2 { 2 } else { 1 };
            hosts.push(Host {
                name: format!("n{node}").parse().ok()?,
                clock,
                volumes: volumes.iter().take(mounted).cloned().collect(),
                capacity: 1.0,
                lives: 0,
                running: None,
                paused_at: None,
                is_frozen: false,
                inbox: Vec::new(),
                is_done: false,
            });
        }
        {
            let mut inner = kernel.lock();
            inner.store_deadline = settings.store_deadline;
            inner.unsettled = settings.unsettled;
            for (number, (at, step)) in plan.iter().enumerate() {
                inner.at(*at, Event::Step(number));
                inner.trace.line(*at, format_args!("to come: {step:?}"));
            }
        }
        Some(Self {
            kernel,
            hosts,
            settings,
            volumes,
            tasks: Tasks::default(),
            random,
            plan,
            sabotage,
            snapshot: None,
            is_deceived: false,
            compared_before: 0,
            calm_since: Duration::ZERO,
            is_well_at: None,
            trial: None,
            is_over: false,
            events: 0,
        })
    }

    /// Runs to the end, or to the first rule that is broken.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let end = self.settings.trouble + Duration::from_hours(2);
        while let Some(event) = self.kernel.advance(end) {
            self.events += 1;
            // Where nothing came of it, all is as it was when it was looked at last.
            if self.happen(event) {
                self.work()?;
            }
            if self.is_over {
                return Ok(());
            }
        }
        Err("it never ends".to_owned())
    }

    /// Tells whether anything may be different now for a process, or for the rules.
    fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::ToBucket(node, wait, request) => {
                self.kernel.lock().at_bucket(node, wait, &request);
            }
            Event::FromBucket(wait, reply) => {
                return self.kernel.lock().end_wait(wait, Some(reply));
            }
            Event::Enough(wait) => return self.kernel.lock().end_wait(wait, None),
            Event::ToEtcd(process, call, request) => {
                self.kernel.lock().at_etcd(process, call, &request);
            }
            Event::LeaseMayEnd(lease) => self.kernel.lock().lease_may_end(lease),
            Event::Watch(process, number) => self.kernel.lock().watch(process, number),
            Event::Node(process, event) => return self.hear(process, event),
            Event::Step(number) => {
                if let Some((_, step)) = self.plan.get(number).cloned() {
                    self.step(&step);
                }
            }
        }
        true
    }

    fn hear(&mut self, process: Process, event: NodeEvent) -> bool {
        let Some(host) = self.hosts.get_mut(process.node.0) else { return false };
        let Some(running) = host.running.as_mut().filter(|it| it.process() == process) else {
            return false;
        };
        if host.paused_at.is_some() {
            host.inbox.push(event);
            return false;
        }
        running.hear(event)
    }

    /// Lets everything go on that can, and looks at the rules after each step.
    fn work(&mut self) -> Result<(), String> {
        loop {
            self.begin_tasks();
            self.check()?;
            let hosts = &self.hosts;
            let is_paused = |process: Process| {
                hosts.get(process.node.0).is_some_and(|host| host.paused_at.is_some())
            };
            match self.tasks.poll(&mut self.random, is_paused) {
                Polled::None => break,
                Polled::Waits => {}
                Polled::Ended(process, end) => {
                    let host = self.hosts.get_mut(process.node.0);
                    let running = host.and_then(|host| host.running.as_mut());
                    if let Some(running) = running.filter(|it| it.process() == process) {
                        running.done(end);
                    }
                }
            }
        }
        self.bury();
        Ok(())
    }

    fn begin_tasks(&mut self) {
        for host in &mut self.hosts {
            let Some(running) = &mut host.running else { continue };
            let process = running.process();
            for work in std::mem::take(&mut running.begun) {
                self.tasks.spawn(process, work);
            }
        }
    }

    /// Processes that have ended are gone, and started again after a while.
    fn bury(&mut self) {
        for (at, host) in self.hosts.iter_mut().enumerate() {
            let is_over = |running: &Running| matches!(running.stage, Stage::Ended(_));
            let Some(ended) = host.running.take_if(|running| is_over(running)) else { continue };
            let process = ended.process();
            self.tasks.kill(process);
            let mut inner = self.kernel.lock();
            inner.forget(process);
            let goes_on = !ended.is_leaving && !host.is_done;
            if goes_on {
                inner.counts.note("processes that ended by themselves");
                let start = Step::Start(NodeId(at), host.capacity);
                self.plan.push((inner.now() + SUPERVISOR, start));
                inner.after(SUPERVISOR, Event::Step(self.plan.len() - 1));
            } else {
                inner.counts.note("processes that left in order");
            }
        }
    }

    pub(crate) fn schedule(&mut self, delay: Duration, step: Step) {
        let mut inner = self.kernel.lock();
        self.plan.push((inner.now() + delay, step));
        inner.after(delay, Event::Step(self.plan.len() - 1));
    }

    fn step(&mut self, step: &Step) {
        if !matches!(step, Step::Look | Step::Trial) {
            self.kernel.lock().tell(format_args!("==== {step:?}"));
        }
        match step {
            Step::Commit(number) => self.kernel.lock().truth.commit(*number),
            Step::Touch(number) => self.kernel.lock().truth.touch(*number),
            Step::Revert(number, back) => self.kernel.lock().truth.revert(*number, *back),
            Step::Vanish(number) => self.set_there(*number, false),
            Step::Appear(number) => self.set_there(*number, true),
            Step::Crash(node) => self.crash(*node),
            Step::Start(node, capacity) => self.start(*node, *capacity),
            Step::Leave(node) => self.leave(*node),
            Step::Pause(node) => self.pause(*node, false),
            Step::Freeze(node) => self.pause(*node, true),
            Step::Resume(node) => self.resume(*node),
            Step::Drain(node, is_drained) => {
                let Some(host) = self.hosts.get(node.0) else { return };
                let mut inner = self.kernel.lock();
                inner.counts.note("drains");
                inner.etcd.drain(&host.name, *is_drained);
                inner.wake_watchers();
            }
            Step::Clock(node, ahead) => {
                if let Some(host) = self.hosts.get(node.0) {
                    host.clock.set_ahead(*ahead);
                }
                self.kernel.lock().counts.note("clock jumps");
            }
            Step::Compare => self.compare(),
            Step::Heal => self.heal(),
            Step::Look => self.look(),
            Step::Trial => self.watch_trial(),
            Step::Farewell => self.farewell(),
            other => self.disturb(other),
        }
    }

    /// What is done to what is not a node.
    fn disturb(&mut self, step: &Step) {
        let mut inner = self.kernel.lock();
        match step {
            Step::Cut(node, service, directions) => {
                inner.counts.note(if directions.len() == 1 {
                    "partitions, one way"
                } else {
                    "partitions"
                });
                for direction in directions {
                    inner.network.cut(*node, *service, *direction);
                }
            }
            Step::Mend(node, service) => {
                inner.network.mend(*node, *service);
                inner.release_held();
            }
            Step::Mood(mood) => inner.mood = *mood,
            Step::EtcdDown => {
                inner.counts.note("etcd: outages");
                inner.etcd_is_down = true;
            }
            Step::EtcdUp => {
                inner.etcd_is_down = false;
                let now = inner.now();
                inner.etcd.elect(now);
            }
            Step::Elect => {
                inner.counts.note("etcd: elections");
                let now = inner.now();
                inner.etcd.elect(now);
            }
            Step::Compact => {
                inner.counts.note("etcd: compactions");
                inner.etcd.compact();
            }
            Step::LoseWatches => inner.lose_all_watches(),
            Step::Snapshot => self.snapshot = Some(inner.etcd.clone()),
            Step::Restore => {
                if let Some(snapshot) = &self.snapshot {
                    inner.counts.note("etcd: restored from a snapshot");
                    // What leases it granted since, it has forgotten.
                    self.is_deceived = true;
                    let now = inner.now();
                    inner.etcd.restore(snapshot, now);
                    for lease in inner.etcd.leases() {
                        inner.after(Duration::from_secs(1), Event::LeaseMayEnd(lease));
                    }
                    inner.lose_all_watches();
                }
            }
            _ => {}
        }
    }

    fn set_there(&mut self, number: crate::truth::DatabaseNumber, is_there: bool) {
        let mut inner = self.kernel.lock();
        inner.counts.note(if is_there { "databases that came back" } else { "databases gone" });
        if let Some(database) = inner.truth.databases.get_mut(number.0) {
            database.is_there = is_there;
        }
    }

    pub(crate) fn crash(&mut self, node: NodeId) {
        let Some(host) = self.hosts.get_mut(node.0) else { return };
        let Some(running) = host.running.take() else { return };
        let process = running.process();
        self.tasks.kill(process);
        (host.paused_at, host.is_frozen) = (None, false);
        host.inbox.clear();
        let mut inner = self.kernel.lock();
        inner.counts.note("crashes");
        inner.forget(process);
    }

    fn start(&mut self, node: NodeId, capacity: f64) {
        let Some(host) = self.hosts.get_mut(node.0) else { return };
        if host.running.is_some() || host.is_done {
            return;
        }
        host.lives += 1;
        host.capacity = capacity;
        let start = Start {
            process: Process { node, life: host.lives },
            node: host.name.clone(),
            clock: Arc::clone(&host.clock),
            volumes: host.volumes.clone(),
            capacity,
            settings: Arc::clone(&self.settings),
            sabotage: self.sabotage,
        };
        host.running = Running::new(&self.kernel, start);
        self.kernel.lock().counts.note("starts");
    }

    pub(crate) fn leave(&mut self, node: NodeId) {
        let host = self.hosts.get_mut(node.0).filter(|host| host.paused_at.is_none());
        if let Some(running) = host.and_then(|host| host.running.as_mut()) {
            self.kernel.lock().counts.note("leaves");
            running.leave();
        }
    }

    fn pause(&mut self, node: NodeId, is_frozen: bool) {
        let now = self.kernel.now.get();
        let Some(host) = self.hosts.get_mut(node.0) else { return };
        if host.running.is_some() && host.paused_at.is_none() {
            host.paused_at = Some(now);
            host.is_frozen = is_frozen;
            self.is_deceived |= is_frozen;
            let mut inner = self.kernel.lock();
            inner.counts.note(if is_frozen { "hosts frozen" } else { "pauses" });
        }
    }

    fn resume(&mut self, node: NodeId) {
        let now = self.kernel.now.get();
        let Some(host) = self.hosts.get_mut(node.0) else { return };
        let Some(since) = host.paused_at.take() else { return };
        if host.is_frozen {
            host.clock.lose(now.saturating_sub(since));
        }
        let mut inbox = std::mem::take(&mut host.inbox);
        let Some(process) = host.running.as_ref().map(Running::process) else { return };
        // In what order it hears of what it has missed, nobody knows.
        let mut inner = self.kernel.lock();
        while let Some(event) = self.random.take(&mut inbox) {
            inner.after(Duration::ZERO, Event::Node(process, event));
        }
    }

    /// All that went wrong ends.
    fn heal(&mut self) {
        self.calm_since = self.kernel.now.get();
        self.compared_before = self.running().map(|running| running.owners.compared).sum();
        for at in 0..self.hosts.len() {
            self.resume(NodeId(at));
            if let Some(host) = self.hosts.get(at) {
                host.clock.set_ahead(0);
            }
        }
        {
            let mut inner = self.kernel.lock();
            inner.network.mend_all();
            inner.network.quality = Quality::GOOD;
            inner.unsettled = 0;
            inner.release_held();
            inner.mood = crate::kernel::StoreMood::default();
            if inner.etcd_is_down {
                inner.etcd_is_down = false;
                let now = inner.now();
                inner.etcd.elect(now);
            }
            for host in &self.hosts {
                inner.etcd.drain(&host.name, false);
            }
            inner.wake_watchers();
            for number in 0..inner.truth.databases.len() {
                if let Some(database) = inner.truth.databases.get_mut(number) {
                    database.is_there = true;
                }
            }
        }
        for at in 0..self.hosts.len() {
            self.start(NodeId(at), 1.0);
        }
        self.schedule(LOOK, Step::Look);
    }

    fn compare(&mut self) {
        for host in self.hosts.iter_mut().filter(|host| host.paused_at.is_none()) {
            if let Some(running) = &mut host.running {
                running.compare();
            }
        }
    }

    /// Whether the bucket was compared with the catalogs since all was healed.
    fn is_compared(&self) -> bool {
        self.running().map(|running| running.owners.compared).sum::<u32>() > self.compared_before
    }

    fn look(&mut self) {
        for at in 0..self.hosts.len() {
            // Those that were leaving when all was healed come back.
            self.start(NodeId(at), 1.0);
        }
        match self.ill() {
            None if !self.is_compared() => {
                self.is_well_at.get_or_insert(self.kernel.now.get());
                self.compare();
                self.schedule(LOOK, Step::Look);
            }
            None => {
                let now = self.kernel.now.get();
                self.is_well_at.get_or_insert(now);
                self.kernel.lock().tell(format_args!("==== all is well"));
                // What was sent on bad days and is late has arrived by then.
                let calm_at = self.settings.trouble + self.settings.quality.late;
                if self.trial.is_none() && now < calm_at {
                    self.schedule(calm_at.saturating_sub(now), Step::Look);
                } else if self.trial.is_none() {
                    self.begin_trial();
                } else {
                    self.end_trial();
                    self.calm_since = now;
                    self.schedule(Duration::ZERO, Step::Farewell);
                }
            }
            Some(why) if self.is_overdue() => {
                let mut inner = self.kernel.lock();
                inner.truth.violation.get_or_insert(format!("liveness: {why}"));
            }
            Some(_) => self.schedule(LOOK, Step::Look),
        }
    }

    fn farewell(&mut self) {
        let is_first = self.hosts.iter().any(|host| !host.is_done);
        for host in &mut self.hosts {
            host.is_done = true;
            if let Some(running) = host.running.as_mut().filter(|_| is_first) {
                running.leave();
            }
        }
        if self.hosts.iter().any(|host| host.running.is_some()) {
            if self.is_parting_overdue() {
                let mut inner = self.kernel.lock();
                inner.truth.violation.get_or_insert("liveness: a node does not leave".to_owned());
            }
            return self.schedule(LOOK, Step::Farewell);
        }
        self.is_over = true;
        if let Err(why) = self.check_the_end() {
            self.kernel.lock().truth.violation.get_or_insert(why);
        }
    }

    /// The processes that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Running> {
        self.hosts.iter().filter_map(|host| host.running.as_ref())
    }

    /// Tasks of a process.
    pub(crate) fn tasks_of(&self, process: Process) -> usize {
        self.tasks.of(process)
    }
}
