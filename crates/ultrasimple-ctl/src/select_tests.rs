//! Which backup is chosen: a table, and an oracle that looks at everything at once.

use proptest::prelude::*;
use ultrasimple_core::CheckResult;
use ultrasimple_store::Inventory;

use super::*;
use crate::testing::{Memory, fields, hour, stem};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Marked,
    Lost,
}

/// Hour (from 1), minute of the capture within it, state.
type Backup = (u32, i64, State);

fn minute(hour: u32, minute: i64) -> Timestamp {
    Timestamp::from_second((i64::from(hour) - 1) * 3_600 + minute * 60).unwrap()
}

fn bucket(backups: &[Backup]) -> Memory {
    let mut memory = Memory::default();
    for &(index, at, state) in backups {
        let key = stem("t1").at(hour(index)).to_string();
        let check = match state {
            State::Marked => CheckResult::Failed("page 3".to_owned()),
            _ => CheckResult::Passed,
        };
        match state {
            State::Lost => memory.put_bytes(&key, b"not a backup".to_vec()),
            _ => memory.put_backup(&key, fields(b"/t1.db", minute(index, at), check)),
        }
    }
    memory
}

/// The index of the chosen hour, or the reason that there is none.
fn choose(memory: &Memory, rule: Rule) -> Result<u32, NoPick> {
    let run = async {
        let inventory = Inventory::list(memory, "", rule.at).await.unwrap();
        let Some(held) = inventory.databases().get(&stem("t1")) else {
            return Err(NoPick::NothingEarlyEnough(None));
        };
        Search::new(stem("t1"), held, rule).next(memory).await.map(|pick| pick.hour.index())
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run)
}

#[test]
fn the_capture_at_or_before_the_time_is_taken() {
    // Captured at 0:30 (hour 1), 1:10 (hour 2), 3:50 (hour 4).
    let memory = bucket(&[(1, 30, State::Good), (2, 10, State::Good), (4, 50, State::Good)]);
    for (at, expected) in [
        (None, Some(4)),
        (Some(minute(9, 0)), Some(4)),
        (Some(minute(4, 50)), Some(4)),
        (Some(minute(4, 49)), Some(2)),
        (Some(minute(4, 0)), Some(2)),
        (Some(minute(3, 0)), Some(2)),
        (Some(minute(2, 10)), Some(2)),
        (Some(minute(2, 9)), Some(1)),
        (Some(minute(1, 30)), Some(1)),
        (Some(minute(1, 29)), None),
    ] {
        let rule = Rule { at, ..Rule::default() };
        match (choose(&memory, rule), expected) {
            (Ok(index), Some(expected)) => assert_eq!(index, expected, "{at:?}"),
            (Err(NoPick::NothingEarlyEnough(oldest)), None) => {
                assert_eq!(oldest, Some(minute(1, 30)));
            }
            other => panic!("{at:?}: {other:?}"),
        }
    }
}

#[test]
fn the_oldest_is_named_when_every_hour_begins_too_late() {
    let memory = bucket(&[(5, 30, State::Good), (6, 10, State::Good)]);
    let rule = Rule { at: Some(minute(2, 0)), ..Rule::default() };
    match choose(&memory, rule) {
        Err(NoPick::NothingEarlyEnough(oldest)) => assert_eq!(oldest, Some(minute(5, 30))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_marked_or_lost_one_is_an_error_that_offers_the_next() {
    for (state, word) in [(State::Marked, "its check failed"), (State::Lost, "footer")] {
        let memory = bucket(&[(1, 30, State::Good), (2, 10, State::Lost), (3, 10, state)]);
        let Err(NoPick::Bad(text)) = choose(&memory, Rule::default()) else { panic!("{state:?}") };
        assert!(text.contains(word) && text.contains("t1-19700101-030000"), "{text}");
        assert!(text.contains("--or-older the one captured at 1970-01-01T00:30:00Z"), "{text}");
        assert_eq!(text.contains("--marked-ok"), state == State::Marked, "{text}");
        let older = Rule { or_older: true, ..Rule::default() };
        assert_eq!(choose(&memory, older).unwrap(), 1);
    }
    let memory = bucket(&[(1, 30, State::Marked)]);
    assert_eq!(choose(&memory, Rule { marked_ok: true, ..Rule::default() }).unwrap(), 1);
    let older = Rule { or_older: true, ..Rule::default() };
    let Err(NoPick::Bad(text)) = choose(&memory, older) else { panic!() };
    assert!(text.contains("there is no older good one"), "{text}");
}

#[test]
fn no_more_footers_are_read_than_needed() {
    let backups: Vec<_> = (1..200).map(|index| (index, 30, State::Good)).collect();
    let memory = bucket(&backups);
    assert_eq!(choose(&memory, Rule::default()).unwrap(), 199);
    assert_eq!(memory.reads(), 1);
    let rule = Rule { at: Some(minute(50, 10)), ..Rule::default() };
    assert_eq!(choose(&memory, rule).unwrap(), 49);
    assert_eq!(memory.reads(), 3);
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![4 => Just(State::Good), 1 => Just(State::Marked), 1 => Just(State::Lost)]
}

proptest! {
    #[test]
    fn as_the_oracle_says(
        backups in proptest::collection::btree_map(1u32..12, (0i64..60, state()), 0..12),
        at in proptest::option::of((1u32..13, 0i64..60)),
        or_older: bool,
        marked_ok: bool,
    ) {
        let at = at.map(|(hour, min)| minute(hour, min));
        let backups: Vec<Backup> = backups.into_iter().map(|(h, (m, s))| (h, m, s)).collect();
        let early = |&&(h, m, _): &&Backup| at.is_none_or(|at| minute(h, m) <= at);
        let good = |&&(_, _, s): &&Backup| s == State::Good || (s == State::Marked && marked_ok);
        // Of a lost one nobody knows when it was captured: it counts if it may have been early enough.
        let counts = |b: &&Backup| {
            if b.2 == State::Lost { at.is_none_or(|at| hour(b.0).start() <= at) } else { early(b) }
        };
        let newest = backups.iter().rfind(counts);
        let expected = if or_older {
            backups.iter().filter(counts).rfind(good)
        } else {
            newest.filter(good)
        };
        let chosen = choose(&bucket(&backups), Rule { at, or_older, marked_ok });
        match (chosen, expected) {
            (Ok(index), Some(backup)) => prop_assert_eq!(index, backup.0),
            (Err(NoPick::Bad(_)), None) => prop_assert!(newest.is_some()),
            (Err(NoPick::NothingEarlyEnough(_)), None) => prop_assert!(newest.is_none()),
            (other, _) => prop_assert!(false, "{:?} instead of {:?}", other, expected),
        }
    }
}

#[test]
fn what_a_catalog_told_is_taken_unread_where_it_is_what_is_asked_for() {
    let memory = bucket(&[(1, 30, State::Good), (2, 10, State::Good)]);
    let facts = |index, marked: Option<&str>| Facts {
        volume: "default".parse().unwrap(),
        path: ultrasimple_core::SourcePath::from_bytes(b"/t1.db"),
        captured_at: minute(index, 10),
        blake3: ultrasimple_core::ContentHash::of(b"image"),
        size: 5,
        marked: marked.map(Into::into),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (hint, at, expected, reads, what) in [
        ((hour(2), facts(2, None)), None, 2, 0, "told, and asked for"),
        ((hour(2), facts(2, Some("page 3"))), None, 2, 1, "told to be marked"),
        ((hour(3), facts(3, None)), None, 2, 1, "of an hour that is not there"),
        ((hour(2), facts(2, None)), Some(minute(2, 9)), 1, 2, "told to be too late"),
    ] {
        let before = memory.reads();
        let search = async {
            let rule = Rule { at, ..Rule::default() };
            let inventory = Inventory::list(&memory, "", at).await.unwrap();
            let held = &inventory.databases()[&stem("t1")];
            let mut search = Search::new(stem("t1"), held, rule);
            search.hint(hint.0, hint.1);
            search.next(&memory).await.unwrap().hour.index()
        };
        assert_eq!(runtime.block_on(search), expected, "{what}");
        assert_eq!(memory.reads() - before, reads, "{what}");
    }
}
