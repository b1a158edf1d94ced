//! A schedule as beginnings and ends, in their order.

use std::time::Duration;

use crate::schedule::{Event, Fault};

/// The beginning or the end of a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) begins: bool,
    pub(crate) number: usize,
    pub(crate) fault: Fault,
    pub(crate) lasts: Duration,
    /// It is one of the schedule, not a part of one.
    pub(crate) counts: bool,
}

/// Beginnings and ends, in their order. A rolling restart is made of leaves.
pub(crate) fn steps(events: &[Event], nodes: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |number: usize, event: Event, counts: bool| {
        let Event { at, lasts, fault } = event;
        for (at, begins) in [(at, true), (at + lasts, false)] {
            steps.push(Step { at, begins, number, fault, lasts, counts });
        }
    };
    for (number, event) in events.iter().enumerate() {
        add(number, *event, true);
        if event.fault == Fault::RollingRestart {
            let each = event.lasts / u32::try_from(nodes).unwrap_or(1);
            for node in 0..nodes {
                let at = event.at + each * u32::try_from(node).unwrap_or(0);
                let fault = Fault::Leave { node };
                let number = 1_000_000 + number * 100 + node;
                add(number, Event { at, lasts: each / 3, fault }, false);
            }
        }
    }
    steps.sort_by_key(|step| (step.at, step.begins));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rolling_restart_takes_one_node_after_the_other() {
        let second = Duration::from_secs(1);
        let event = Event { at: second, lasts: second * 9, fault: Fault::RollingRestart };
        let steps = steps(&[event], 3);
        let mut down = 0;
        let leaves = steps.iter().filter(|step| matches!(step.fault, Fault::Leave { .. }));
        for step in leaves.clone() {
            down += if step.begins { 1 } else { -1 };
            assert!((0..=1).contains(&down), "{steps:?}");
        }
        assert_eq!((leaves.count(), down), (6, 0));
        assert_eq!(steps.iter().filter(|step| step.begins && step.counts).count(), 1);
    }
}
