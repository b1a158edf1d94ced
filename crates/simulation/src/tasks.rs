//! The tasks of all processes, polled one at a time: which of those that are ready goes first is left to chance.
//!
//! A process that is paused is not polled. One that has ended takes its tasks with it, wherever they were.
//!
//! In which order tasks are woken says nothing: tokio's channels wake those who wait in an order of their own, which
//! is another one in each run.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::kernel::Process;
use crate::random::Random;

/// What a task does until it has something to tell its process.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Tasks that are ready, in the order of their numbers.
type Ready = Arc<Mutex<Vec<u64>>>;

struct Alarm {
    task: u64,
    ready: Ready,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(at) = ready.binary_search(&self.task) {
            ready.insert(at, self.task);
        }
    }
}

struct Task<T> {
    process: Process,
    work: Work<T>,
    waker: Waker,
}

/// What became of a task that went on.
pub(crate) enum Polled<T> {
    /// There is none that is ready.
    None,
    /// It waits for something.
    Waits,
    Ended(Process, T),
}

/// See the module.
pub(crate) struct Tasks<T> {
    all: BTreeMap<u64, Task<T>>,
    last: u64,
    ready: Ready,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), last: 0, ready: Ready::default() }
    }
}

impl<T> Tasks<T> {
    /// Begins one.
    pub(crate) fn spawn(&mut self, process: Process, work: Work<T>) {
        self.last += 1;
        let task = self.last;
        let waker = Waker::from(Arc::new(Alarm { task, ready: Arc::clone(&self.ready) }));
        waker.wake_by_ref();
        self.all.insert(task, Task { process, work, waker });
    }

    /// Lets one of those that are ready go on.
    pub(crate) fn poll(
        &mut self,
        random: &mut Random,
        is_paused: impl Fn(Process) -> bool,
    ) -> Polled<T> {
        let Some(task) = self.pick(random, is_paused) else { return Polled::None };
        let Some(Task { process, work, waker }) = self.all.get_mut(&task) else {
            return Polled::Waits;
        };
        let (process, waker) = (*process, waker.clone());
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(end) => {
                self.all.remove(&task);
                Polled::Ended(process, end)
            }
            Poll::Pending => Polled::Waits,
        }
    }

    fn pick(&self, random: &mut Random, is_paused: impl Fn(Process) -> bool) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.retain(|task| self.all.contains_key(task));
        let may = |task: &u64| self.all.get(task).is_some_and(|task| !is_paused(task.process));
        let count = ready.iter().filter(|task| may(task)).count();
        if count == 0 {
            return None;
        }
        let chosen = if count == 1 { 0 } else { random.index(count) };
        let at = ready.iter().enumerate().filter(|(_, task)| may(task)).nth(chosen)?.0;
        Some(ready.remove(at))
    }

    /// A process has ended.
    pub(crate) fn kill(&mut self, process: Process) {
        self.all.retain(|_, task| task.process != process);
    }

    /// How many a process has.
    pub(crate) fn of(&self, process: Process) -> usize {
        self.all.values().filter(|task| task.process == process).count()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::network::NodeId;

    const ONE: Process = Process { node: NodeId(0), life: 1 };
    const TWO: Process = Process { node: NodeId(1), life: 1 };

    #[test]
    fn the_order_in_which_tasks_are_woken_says_nothing() {
        let order = |woken: &[usize]| {
            let (mut tasks, mut random) = (Tasks::default(), Random::new(3));
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..8).map(|_| futures::channel::oneshot::channel::<()>()).unzip();
            for (number, receiver) in (0..).zip(receivers) {
                tasks.spawn(ONE, Box::pin(receiver.map(move |_| number)));
            }
            assert!(run(&mut tasks, &mut random, &[]).is_empty());
            let mut senders: Vec<_> = senders.into_iter().map(Some).collect();
            for &at in woken {
                drop(senders[at].take());
            }
            run(&mut tasks, &mut random, &[])
        };
        assert_eq!(order(&[0, 1, 2, 3, 4, 5, 6, 7]), order(&[5, 1, 7, 0, 3, 6, 2, 4]));
    }

    fn run(tasks: &mut Tasks<u32>, random: &mut Random, paused: &[Process]) -> Vec<u32> {
        let mut ends = Vec::new();
        loop {
            match tasks.poll(random, |process| paused.contains(&process)) {
                Polled::None => return ends,
                Polled::Waits => {}
                Polled::Ended(_, end) => ends.push(end),
            }
        }
    }

    #[test]
    fn a_paused_process_does_nothing_and_a_dead_one_never_will() {
        let (mut tasks, mut random) = (Tasks::default(), Random::new(1));
        tasks.spawn(ONE, Box::pin(async { 1 }));
        tasks.spawn(TWO, Box::pin(async { 2 }));
        assert_eq!(run(&mut tasks, &mut random, &[ONE]), [2]);
        assert_eq!(run(&mut tasks, &mut random, &[]), [1]);
        tasks.spawn(ONE, Box::pin(std::future::pending()));
        assert!(run(&mut tasks, &mut random, &[]).is_empty());
        assert_eq!(tasks.of(ONE), 1);
        tasks.kill(ONE);
        assert_eq!((tasks.of(ONE), run(&mut tasks, &mut random, &[])), (0, vec![]));
    }

    #[test]
    fn chance_decides_who_goes_first_and_the_seed_decides_chance() {
        let order = |seed| {
            let (mut tasks, mut random) = (Tasks::default(), Random::new(seed));
            (0..8).for_each(|number| tasks.spawn(ONE, Box::pin(async move { number })));
            run(&mut tasks, &mut random, &[])
        };
        assert_eq!(order(3), order(3));
        assert_ne!(order(3), order(4));
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..8).collect::<Vec<_>>());
    }
}
