//! Work that begets work, shared between threads.
//!
//! Each worker keeps its own stack and gives half of it away when another has nothing to do. It ends when
//! all workers have nothing to do, or one of them panics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Does `first`, and all that comes of it, with so many threads; `work` gets a task, the worker's stack
/// for further ones, and the worker's own state. Returns the states.
pub(super) fn run<T: Send, S: Send + Default>(
    threads: usize,
    first: T,
    work: impl Fn(T, &mut Vec<T>, &mut S) + Sync,
) -> Vec<S> {
    let shared = Shared {
        tasks: Mutex::new(Tasks { waiting: vec![first], idle: 0 }),
        wake: Condvar::new(),
        hungry: AtomicUsize::new(0),
        workers: threads,
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| worker(&shared, &work))).collect();
        let mut states = vec![worker(&shared, &work)];
        for other in others {
            match other.join() {
                Ok(state) => states.push(state),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        states
    })
}

fn worker<T, S: Default>(shared: &Shared<T>, work: &impl Fn(T, &mut Vec<T>, &mut S)) -> S {
    let _alarm = Alarm(shared);
    let mut state = S::default();
    let mut own = Vec::new();
    while let Some(task) = own.pop().or_else(|| shared.take()) {
        work(task, &mut own, &mut state);
        if own.len() > 1 && shared.hungry.load(Ordering::Relaxed) > 0 {
            let given = own.drain(..own.len() / 2).collect();
            shared.give(given);
        }
    }
    state
}

struct Shared<T> {
    tasks: Mutex<Tasks<T>>,
    wake: Condvar,
    /// Workers that have nothing to do; looked at without the lock.
    hungry: AtomicUsize,
    workers: usize,
}

struct Tasks<T> {
    waiting: Vec<T>,
    idle: usize,
}

impl<T> Shared<T> {
    /// Waits for a task. `None` when all workers wait: nothing is left to do.
    fn take(&self) -> Option<T> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.idle += 1;
        self.hungry.fetch_add(1, Ordering::Relaxed);
        let task = loop {
            if let Some(task) = tasks.waiting.pop() {
                tasks.idle -= 1;
                break Some(task);
            }
            if tasks.idle >= self.workers {
                self.wake.notify_all();
                break None;
            }
            tasks = self.wake.wait(tasks).unwrap_or_else(PoisonError::into_inner);
        };
        self.hungry.fetch_sub(1, Ordering::Relaxed);
        task
    }

    fn give(&self, given: Vec<T>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).waiting.extend(given);
        self.wake.notify_all();
    }
}

/// When a worker panics, the others are told: they would wait for it for ever.
struct Alarm<'a, T>(&'a Shared<T>);

impl<T> Drop for Alarm<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.waiting.clear();
            tasks.idle = self.0.workers;
            self.0.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_comes_of_the_first_task_is_done_once() {
        for threads in 1..5 {
            let states = run(threads, 12u32, |depth, own, count: &mut u64| {
                *count += 1;
                own.extend((depth > 0).then(|| [depth - 1; 2]).into_iter().flatten());
            });
            assert_eq!(states.len(), threads);
            assert_eq!(states.iter().sum::<u64>(), (1 << 13) - 1);
        }
    }

    #[test]
    fn a_panic_ends_all_workers() {
        for threads in 1..5 {
            let panic = std::panic::catch_unwind(|| {
                run(threads, 12u32, |depth, own, (): &mut ()| {
                    assert!(depth > 3, "on purpose");
                    own.extend([depth - 1; 2]);
                })
            });
            assert!(panic.is_err());
        }
    }
}
