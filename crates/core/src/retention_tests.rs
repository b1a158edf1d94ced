//! The plan: a table of what is wanted of it. What holds for every history is in `properties`.

#[path = "retention_properties.rs"]
mod properties;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The hours of these captures: `2024-01-15T13` for those taken from 13:00 to 14:00.
fn hours(captures: &[&str]) -> Vec<Hour> {
    captures.iter().map(|capture| Hour::of(at(&format!("{capture}:00:00Z")))).collect()
}

fn rules(days: u32, keep: &str) -> RetentionRules {
    let keep = (!keep.is_empty()).then(|| keep.parse().unwrap());
    RetentionRules::new(days, keep).unwrap()
}

fn deleted(plan: &Plan) -> Vec<Hour> {
    plan.delete.iter().map(|(hour, _)| *hour).collect()
}

fn kept(plan: &Plan) -> Vec<Hour> {
    plan.keep.iter().map(|(hour, _)| *hour).collect()
}

fn plan_of(rules: &RetentionRules, now: &str, hours: &[Hour]) -> Plan {
    plan(rules, at(now), &History { hours, ..History::default() })
}

struct Case {
    name: &'static str,
    days: u32,
    keep: &'static str,
    now: &'static str,
    kept: &'static [&'static str],
    deleted: &'static [&'static str],
    next: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case {
        name: "nothing there",
        days: 30,
        keep: "",
        now: "2024-03-01T12:00:00Z",
        kept: &[],
        deleted: &[],
        next: None,
    },
    Case {
        name: "the only backup stays, however old",
        days: 1,
        keep: "",
        now: "2124-03-01T12:00:00Z",
        kept: &["2024-01-01T00"],
        deleted: &[],
        next: None,
    },
    Case {
        name: "the old backup of an idle tenant stays when a newer one has just been made",
        days: 30,
        keep: "",
        now: "2024-03-01T13:00:00Z",
        kept: &["2024-01-01T00", "2024-03-01T12"],
        deleted: &[],
        next: Some("2024-03-31T12:00:00Z"),
    },
    Case {
        name: "a nanosecond before the end of the 30 days it is still there",
        days: 30,
        keep: "",
        now: "2024-03-31T11:59:59.999999999Z",
        kept: &["2024-01-01T00", "2024-03-01T12"],
        deleted: &[],
        next: Some("2024-03-31T12:00:00Z"),
    },
    Case {
        name: "30 days after the newer one's hour it goes",
        days: 30,
        keep: "",
        now: "2024-03-31T12:00:00Z",
        kept: &["2024-03-01T12"],
        deleted: &["2024-01-01T00"],
        next: None,
    },
    Case {
        name: "of contiguous hours those go that are a day old",
        days: 1,
        keep: "",
        now: "2024-03-02T14:30:00Z",
        kept: &["2024-03-01T14", "2024-03-01T15", "2024-03-01T16"],
        deleted: &["2024-03-01T12", "2024-03-01T13"],
        next: Some("2024-03-02T15:00:00Z"),
    },
    Case {
        name: "each day has its last backup; midnight is the next day's",
        days: 1,
        keep: "hourly=1,daily=3",
        now: "2024-03-03T12:00:00Z",
        kept: &["2024-03-01T23", "2024-03-02T05", "2024-03-03T11"],
        deleted: &["2024-02-28T09", "2024-02-29T10", "2024-03-01T00", "2024-03-02T00"],
        next: Some("2024-03-04T00:00:00Z"),
    },
    Case {
        name: "each week has its last backup, weeks begin on Mondays",
        days: 1,
        keep: "hourly=1,weekly=2",
        now: "2024-03-06T12:00:00Z",
        kept: &["2024-03-03T23", "2024-03-05T00"],
        deleted: &["2024-02-25T23", "2024-02-26T00", "2024-03-04T00"],
        next: Some("2024-03-11T00:00:00Z"),
    },
    Case {
        name: "each month has its last backup, the 29th of February too",
        days: 1,
        keep: "hourly=1,monthly=2",
        now: "2024-03-31T23:30:00Z",
        kept: &["2024-02-29T23", "2024-03-31T22"],
        deleted: &["2024-01-31T23", "2024-02-01T00", "2024-03-01T00"],
        next: Some("2024-04-01T00:00:00Z"),
    },
    Case {
        name: "each year has its last backup",
        days: 1,
        keep: "hourly=1,yearly=2",
        now: "2025-01-01T00:30:00Z",
        kept: &["2024-12-31T23", "2025-01-01T00"],
        deleted: &["2023-12-31T23", "2024-06-01T00"],
        next: Some("2026-01-01T00:00:00Z"),
    },
    Case {
        name: "one backup stands for all months in which nothing changed",
        days: 1,
        keep: "hourly=1,monthly=3",
        now: "2024-06-15T12:00:00Z",
        kept: &["2024-01-10T05", "2024-06-15T11"],
        deleted: &[],
        next: Some("2024-08-01T00:00:00Z"),
    },
    Case {
        name: "without hourly= the days hold, and the other rules reach beyond",
        days: 1,
        keep: "monthly=2",
        now: "2024-03-02T12:30:00Z",
        kept: &["2024-02-29T23", "2024-03-01T12", "2024-03-02T12"],
        deleted: &["2024-01-31T23", "2024-03-01T11"],
        next: Some("2024-03-03T12:00:00Z"),
    },
    Case {
        name: "hourly= stands instead of the days",
        days: 30,
        keep: "hourly=2",
        now: "2024-03-02T12:30:00Z",
        kept: &["2024-03-02T11", "2024-03-02T12"],
        deleted: &["2024-03-02T09", "2024-03-02T10"],
        next: Some("2024-03-02T13:00:00Z"),
    },
    Case {
        name: "what lies in the future stays, and has replaced nothing yet",
        days: 1,
        keep: "",
        now: "2024-03-02T12:30:00Z",
        kept: &["2024-03-01T10", "2024-03-02T13", "2025-01-01T00"],
        deleted: &["2024-02-01T00"],
        next: Some("2024-03-03T13:00:00Z"),
    },
    Case {
        name: "a clock that stands years behind deletes nothing",
        days: 1,
        keep: "hourly=1,daily=1",
        now: "2001-01-01T00:00:00Z",
        kept: &["2024-03-01T10", "2024-03-01T11", "2024-03-02T10", "2024-03-02T11"],
        deleted: &[],
        next: Some("2024-03-01T11:00:00Z"),
    },
];

#[test]
fn table() {
    for case in CASES {
        let mut all = hours(case.kept);
        all.extend(hours(case.deleted));
        let plan = plan_of(&rules(case.days, case.keep), case.now, &all);
        assert_eq!(kept(&plan), hours(case.kept), "{}", case.name);
        assert_eq!(deleted(&plan), hours(case.deleted), "{}", case.name);
        assert_eq!(plan.next, case.next.map(at), "{}", case.name);
    }
}

#[test]
fn order_and_duplicates_do_not_matter() {
    let sorted = hours(&["2024-01-01T00", "2024-01-02T00", "2024-03-01T12"]);
    let [a, b, c] = sorted[..] else { panic!() };
    let expected = plan_of(&rules(30, ""), "2024-03-02T00:00:00Z", &sorted);
    assert_eq!(deleted(&expected), [a]);
    for mixed in [&[c, a, b][..], &[b, c, a, c, a], &[c, c, b, a]] {
        assert_eq!(plan_of(&rules(30, ""), "2024-03-02T00:00:00Z", mixed), expected);
    }
}

#[test]
fn a_block_says_why_and_keeps_all() {
    let hours = hours(&["2024-01-01T00", "2024-01-02T00", "2024-03-01T12"]);
    let free = History { hours: &hours, ..History::default() };
    let now = at("2024-03-02T00:00:00Z");
    assert_eq!(plan(&rules(30, ""), now, &free).delete.len(), 1);
    for (history, said) in [
        (History { is_held: true, ..free }, "the database is held"),
        (History { newest_is_bad: Some("page 7"), ..free }, "the newest backup is bad: page 7"),
        (
            History { last_check_failed: Some("page 8"), ..free },
            "the database's last check failed: page 8",
        ),
    ] {
        let plan = plan(&rules(30, ""), now, &history);
        assert_eq!((plan.delete.as_slice(), plan.next), (&[][..], None), "{said}");
        assert_eq!(plan.block.map(|block| block.to_string()).as_deref(), Some(said));
        let reasons: Vec<_> = plan.keep.iter().map(|(_, reason)| reason.to_string()).collect();
        let rule = "hourly, until 2024-03-31T12:00:00Z";
        assert_eq!(reasons, ["in no rule, but deletion is blocked", rule, "the newest"]);
    }
}

#[test]
fn reasons_are_readable() {
    let hours = hours(&["2024-01-01T00", "2024-01-31T20", "2024-02-29T12", "2024-03-09T00"]);
    let plan = plan_of(&rules(7, "monthly=2"), "2024-03-01T00:00:00Z", &hours);
    let lines = plan.keep.iter().map(|(hour, reason)| format!("{hour}: {reason}"));
    let gone = plan.delete.iter().map(|(hour, reason)| format!("{hour}: {reason}"));
    assert_eq!(
        lines.chain(gone).collect::<Vec<_>>(),
        [
            "20240131-210000: hourly, until 2024-03-07T12:00:00Z",
            "20240229-130000: monthly, until 2024-04-01T00:00:00Z",
            "20240309-010000: the newest",
            "20240101-010000: replaced by 20240131-210000, in no rule since 2024-02-07T20:00:00Z",
        ]
    );
}

#[test]
fn the_longest_retention_has_no_end_in_sight() {
    let hours = hours(&["2023-01-01T00", "2024-01-02T00", "9999-12-01T00"]);
    let rules = rules(MAX_RETENTION_DAYS, "yearly=1000000");
    let plan = plan_of(&rules, "9999-12-30T00:00:00Z", &hours);
    assert_eq!((deleted(&plan), plan.next), (vec![], None));
}

#[test]
fn rules_are_checked_and_shown_as_they_are_given() {
    for (text, shown) in [
        ("hourly=48,daily=30,weekly=12,monthly=12,yearly=3", None),
        ("yearly=1000000", None),
        (" monthly=2 , daily=007", Some("daily=7,monthly=2")),
    ] {
        let keep: Keep = text.parse().unwrap();
        assert_eq!(keep.to_string(), shown.unwrap_or(text));
        assert_eq!(keep.to_string().parse(), Ok(keep));
    }
    for (bad, said) in [
        ("", "\"\" is not a rule: each is hourly, daily"),
        ("daily=1,", "\"\" is not a rule"),
        ("30", "\"30\" is not a rule"),
        ("daily", "\"daily\" is not a rule"),
        ("daily=", "\"daily=\" is not a rule"),
        ("daily=0", "from 1 to 1000000"),
        ("daily=1000001", "from 1 to 1000000"),
        ("daily=99999999999999999999", "from 1 to 1000000"),
        ("daily=+1", "is not a rule"),
        ("daily=-1", "is not a rule"),
        ("daily=1.5", "is not a rule"),
        ("daily=1 weekly=2", "is not a rule"),
        ("Daily=1", "is not a rule"),
        ("minutely=1", "is not a rule"),
        ("daily=1,weekly=1,daily=2", "daily= is there twice"),
    ] {
        let error = bad.parse::<Keep>().unwrap_err().to_string();
        assert!(error.contains(said), "{bad}: {error}");
    }
    for (days, keep, shown, hourly) in [
        (30, "", "30 days", Some(30)),
        (7, "daily=30", "7 days,daily=30", Some(7)),
        (7, "hourly=2,daily=30", "hourly=2,daily=30", None),
    ] {
        let rules = rules(days, keep);
        assert_eq!((rules.to_string().as_str(), rules.retention_days()), (shown, hourly));
    }
    for days in [0, MAX_RETENTION_DAYS + 1] {
        assert_eq!(RetentionRules::days(days), Err(InvalidRetention::Days { days }));
    }
    assert_eq!(RetentionRules::days(30), Ok(RetentionRules::default()));
}

#[test]
fn a_clock_that_jumped_ahead_deletes_nothing() {
    let store = at("2024-03-01T12:00:00Z");
    for (local, now) in [
        ("2024-03-01T12:00:00Z", store),
        ("2024-03-01T12:15:00Z", store),
        ("2024-03-01T11:59:59Z", at("2024-03-01T11:59:59Z")),
        ("1970-01-01T00:00:00Z", at("1970-01-01T00:00:00Z")),
    ] {
        assert_eq!(safe_now(at(local), store), Ok(now), "{local}");
    }
    for local in ["2024-03-01T12:15:00.000000001Z", "2034-03-01T12:00:00Z"] {
        let error = safe_now(at(local), store).unwrap_err().to_string();
        assert!(error.contains(local) && error.contains("2024-03-01T12:00:00Z"), "{error}");
        assert!(error.contains("more than 15 minutes ahead"), "{error}");
    }
}
