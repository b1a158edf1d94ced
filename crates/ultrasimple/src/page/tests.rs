//! What the page says, how large it gets, and that nothing that is shown can be more than text.

use std::collections::BTreeMap;

use ultrasimple_core::catalog::HeldHour;
use ultrasimple_core::{ETag, Hour, ShardId, ShardKey, SourcePath, Timestamp};
use ultrasimple_replicator::{
    Ages, CycleReport, Database, DatabaseStatus, FailingDatabase, Findings, History, PastCycle,
    Portrait, RECENT_CYCLES, Trouble,
};
use ultrasimple_telemetry::Reading;

use super::draw::{Tone, Verdict};
use super::fleet::{FleetView, Health, Level, NodeCard, Sums};
use super::view::{DatabaseView, OfShards, SearchView, View};
use super::*;

const HOSTILE: &str =
    "/data/<script>alert(1)</script>\"'&\u{202e}gnp.\u{200b}\u{1b}[31m'onload=x.db";

fn card(name: &str, squares: Vec<Level>) -> NodeCard {
    let sums = Sums { databases: 100, ..Sums::default() };
    NodeCard {
        name: name.to_owned(),
        is_self: name == "a",
        link: None,
        health: Health::Well,
        why: None,
        squares,
        sums: Some(sums),
    }
}

fn fleet(nodes: Vec<NodeCard>) -> FleetView {
    let shards = nodes.iter().map(|node| node.squares.len() as u64).sum();
    let mut view = FleetView::default();
    (view.nodes, view.shards, view.volumes) = (nodes, shards, vec!["v".to_owned()]);
    view
}

/// A node at which all is well.
fn well() -> View {
    let statistics = fresh_statistics();
    View {
        now: "2026-01-15T13:05:00Z".parse().unwrap(),
        node: "a".to_owned(),
        version: "1",
        uptime: Duration::from_secs(90),
        bucket: "s3://backups".to_owned(),
        interval: Duration::from_secs(15),
        lease: None,
        limit: Some(Duration::from_mins(5)),
        unready: None,
        statistics,
        shards: Ok(OfShards { databases: 100, ..OfShards::default() }),
        portrait: Ok(Portrait::default()),
        cycles: Vec::new(),
        protected: Reading {
            buckets: vec![(15.0, 3), (60.0, 5)],
            count: 6,
            sum: 9.0,
            ..Reading::default()
        },
        fleet: fleet(vec![card("a", vec![Level::Calm; 4])]),
        search: None,
        database: None,
    }
}

fn fresh_statistics() -> ultrasimple_replicator::Statistics {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open = ultrasimple_store::DirectoryStore::open(folder.path(), true);
    let store = runtime.block_on(open).unwrap();
    let built = ultrasimple_replicator::ReplicatorBuilder::default()
        .pattern("/nowhere/*.db")
        .store(Arc::new(store))
        .scratch(folder.path().join("scratch"))
        .build();
    built.unwrap().statistics()
}

fn drawn(view: &View) -> String {
    draw::page(view, &ASSETS).into_string()
}

fn shard() -> ShardKey {
    ShardKey { volume: "v".parse().unwrap(), shard: ShardId(3) }
}

fn trouble(reason: &str) -> Trouble {
    let lasts = Duration::from_mins(5);
    Trouble { kind: "not_a_database", reason: reason.to_owned(), lasts, attempts: 20 }
}

fn hostile(bytes: &[u8]) -> View {
    let path = SourcePath::from_bytes(bytes);
    let mut view = well();
    let words = String::from_utf8_lossy(bytes).into_owned();
    view.unready = Some(words.clone());
    view.node.clone_from(&words);
    view.bucket.clone_from(&words);
    let why = trouble(&words);
    view.portrait = Ok(Portrait {
        failing: vec![FailingDatabase { path: path.clone(), shard: shard(), trouble: why.clone() }],
        ages: Vec::new(),
    });
    let status = DatabaseStatus { trouble: Some(why), ..DatabaseStatus::default() };
    let database = Database { path: path.clone(), shard: shard(), status: Some(status.clone()) };
    let found = Findings { databases: vec![database], count: 1, of: 2, is_partial: true };
    view.search = Some(SearchView { words: words.clone(), found: Ok(found) });
    let mut node = card(&words, vec![Level::Late]);
    (node.why, node.health) = (Some(words.clone()), Health::Silent);
    view.fleet = fleet(vec![card("a", vec![Level::Calm]), node]);
    view.fleet.volumes = vec![words.clone()];
    view.fleet.unseen = Some(words.clone());
    (view.fleet.unowned, view.fleet.unowned_names) = (1, vec![words]);
    view
}

/// All tags of a page are this program's: none is made by what is shown.
fn tags(html: &str) -> BTreeMap<String, usize> {
    let mut tags = BTreeMap::new();
    for after in html.split('<').skip(1) {
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '/' && c != '!');
        *tags.entry(after[..end.unwrap_or(after.len())].to_owned()).or_default() += 1;
    }
    tags
}

#[test]
fn whatever_is_shown_is_text() {
    let plain = hostile(b"/data/plain.db");
    for bytes in
        [HOSTILE.as_bytes(), b"/data/\xff\xfe<img src=x onerror=alert(1)>\n.db", b"/</title><body>"]
    {
        let mut page = hostile(bytes);
        let html = drawn(&page);
        assert_eq!(tags(&html), tags(&drawn(&plain)), "{html}");
        for bad in ["<script>alert", "<img", "\u{202e}", "\u{200b}", "\u{1b}", "\"'"] {
            assert!(!html.contains(bad), "{bad:?}");
        }
        assert!(html.contains("&lt;"), "it is shown all the same");
        // The same on the page of one database.
        let database = |page: &mut View, bytes: &[u8]| {
            page.search = None;
            page.database = Some(DatabaseView {
                path: SourcePath::from_bytes(bytes),
                shard: Some(String::from_utf8_lossy(bytes).into_owned()),
                elsewhere: Some((String::from_utf8_lossy(bytes).into_owned(), None)),
                status: None,
                history: Err(String::from_utf8_lossy(bytes).into_owned()),
            });
            drawn(page)
        };
        let mut other = hostile(b"/data/plain.db");
        assert_eq!(
            tags(&database(&mut page, bytes)),
            tags(&database(&mut other, b"/data/plain.db"))
        );
    }
}

#[test]
fn the_verdict_is_the_worst_there_is() {
    let told = |change: fn(&mut View)| {
        let mut view = well();
        change(&mut view);
        let verdict = Verdict::of(&view);
        (verdict.tone, verdict.headline)
    };
    let is = |(tone, text): (Tone, String), wanted, words: &str| {
        assert!(tone == wanted && text.contains(words), "{tone:?} {text}");
    };
    is(told(|_| {}), Tone::Good, "Every database is protected");
    is(told(|view| view.fleet.nodes[0].sums = None), Tone::Warn, "No database");
    let failing = |view: &mut View| {
        let sums = Sums { databases: 9, pending: 1, failing: 1, ..Sums::default() };
        view.fleet.nodes[0].sums = Some(sums);
    };
    is(told(failing), Tone::Warn, "1 database is failing");
    let late = |view: &mut View| {
        let sums = Sums { databases: 9, pending: 1, exposure: 301.0, ..Sums::default() };
        view.fleet.nodes[0].sums = Some(sums);
    };
    is(told(late), Tone::Warn, "longer than it should");
    is(told(|view| view.unready = Some("its lease".to_owned())), Tone::Bad, "not ready: its lease");
    is(told(|view| view.shards = Err("none".to_owned())), Tone::Bad, "does not answer");
    is(told(|view| view.fleet.unowned = 2), Tone::Bad, "2 shards have no owner");
    is(told(|view| view.fleet.nodes[0].health = Health::Suspended), Tone::Bad, "cut off");
    is(told(|view| view.fleet.is_old = true), Tone::Warn, "told last");
}

#[test]
fn an_empty_node_has_a_page() {
    let mut view = well();
    view.fleet = fleet(Vec::new());
    view.shards = Err("no answer within 1.5 s".to_owned());
    view.portrait = Err("no answer within 1.5 s".to_owned());
    view.protected = Reading::default();
    let html = drawn(&view);
    assert!(html.contains("This node does not answer") && html.contains("None has ended yet"));
    assert!(starting().contains("This node is starting"));
}

/// As much of everything as there can be.
#[test]
fn a_page_stays_small_however_much_there_is() {
    let mut view = well();
    let long = format!("/data/{}.db", "d/".repeat(200));
    let path = SourcePath::from_bytes(long.as_bytes());
    let why = trouble(&"long ".repeat(2_000));
    let failing = FailingDatabase { path: path.clone(), shard: shard(), trouble: why.clone() };
    view.portrait = Ok(Portrait {
        failing: vec![failing; 50],
        ages: vec![Ages { up_to: None, waiting: 90_000, failing: 10_000 }; 8],
    });
    view.shards = Ok(OfShards { databases: 100_000, failing: 10_000, ..OfShards::default() });
    let status = DatabaseStatus { trouble: Some(why), ..DatabaseStatus::default() };
    let database = Database { path, shard: shard(), status: Some(status) };
    let found =
        Findings { databases: vec![database; 50], count: 99_999, of: 100_000, is_partial: false };
    view.search = Some(SearchView { words: "d".to_owned(), found: Ok(found) });
    let report = CycleReport { databases: 100_000, changed: 99_999, ..CycleReport::default() };
    view.cycles = vec![PastCycle { at: view.now, report }; RECENT_CYCLES];
    let nodes = (0..200).map(|n| card(&format!("node-{n}"), vec![Level::Waiting; 65_536 / 200]));
    view.fleet = fleet(nodes.collect());
    let html = drawn(&view);
    assert!(html.len() < 400 << 10, "{} bytes", html.len());
    assert!(html.contains("And 9,950 more databases on this node"));
    assert!(html.contains("And 136 more nodes"));
    assert!(html.contains("the first 50 are shown"));
}

#[test]
fn the_hours_of_a_database_are_shown_by_day() {
    let mut view = well();
    let hour = |text: &str| Hour::of(text.parse::<Timestamp>().unwrap());
    let mut faulty = HeldHour::new(hour("2026-01-15T11:30:00Z"), 5, ETag("x".into()));
    faulty.fault = Some("bad".into());
    let mut foreign = HeldHour::new(hour("2026-01-15T12:30:00Z"), 7, ETag("x".into()));
    foreign.foreign = Some("another's".into());
    let hours = vec![
        HeldHour::new(hour("2026-01-13T23:30:00Z"), 1_024, ETag("x".into())),
        HeldHour::new(hour("2026-01-15T10:30:00Z"), 1_024, ETag("x".into())),
        faulty,
        foreign,
    ];
    let history = History { written_at: view.now, hours, newest: None, gone_since: None };
    let status =
        DatabaseStatus { newest: Some(hour("2026-01-15T13:01:00Z")), ..DatabaseStatus::default() };
    view.database = Some(DatabaseView {
        path: SourcePath::from_bytes(b"/data/a.db"),
        shard: Some("3 of v".to_owned()),
        elsewhere: None,
        status: Some(status),
        history: Ok(Some(history)),
    });
    let html = drawn(&view);
    for text in [
        "3 hours in the bucket, 2.0 KiB",
        "<th scope=\"row\">2026-01-15</th><td>10:00 11:00</td>",
        "<th scope=\"row\">2026-01-13</th><td>23:00</td>",
        "since then that of 2026-01-15 13:00 to 14:00 was stored",
        "ultrasimple-ctl restore /data/a.db -o",
        "class=\"late\"",
    ] {
        assert!(html.contains(text), "no {text:?} in {html}");
    }
}

/// What a hand-written check of accessibility can tell without a browser.
#[test]
fn the_structure_can_be_read_aloud() {
    let mut view = hostile(b"/data/plain.db");
    view.cycles = vec![PastCycle { at: view.now, report: CycleReport::default() }; 3];
    let html = drawn(&view);
    let count = |text: &str| html.matches(text).count();
    assert!(html.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    for (text, times) in
        [("<h1>", 1), ("<main ", 1), ("<header>", 1), ("<footer>", 1), ("role=\"search\"", 1)]
    {
        assert_eq!(count(text), times, "{text}");
    }
    assert_eq!(count("<table"), count("<caption"), "each table has a caption");
    assert_eq!(count("<input "), count("<label for="), "each input has a label");
    for svg in html.split("<svg ").skip(1) {
        let head = svg.split('>').next().unwrap();
        let is_named = head.contains("role=\"img\" aria-labelledby=");
        assert!(is_named || head.contains("aria-hidden=\"true\""), "{head}");
    }
    let ids: Vec<_> = html.split(" id=\"").skip(1).filter_map(|at| at.split('"').next()).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "each id once: {ids:?}");
    for name in html.split("aria-labelledby=\"").skip(1).filter_map(|at| at.split('"').next()) {
        assert!(ids.contains(&name), "nothing is called {name}");
    }
    assert_eq!(count(" style=\""), 0, "the policy forbids it");
    assert_eq!(count("//"), 0, "nothing from elsewhere: only relative addresses");
}

fn palette(block: &str) -> BTreeMap<String, [f64; 3]> {
    let colours =
        block.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"));
    let channel = |hex: &str, at: usize| {
        let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let linear = |(name, hex): (&str, &str)| {
        (name.to_owned(), [channel(hex, 0), channel(hex, 2), channel(hex, 4)])
    };
    colours.map(linear).collect()
}

/// By WCAG 2.2: text 4.5, what a picture is made of and the focus 3.
#[test]
fn colours_can_be_told_apart() {
    let (light, rest) = STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
    let dark = rest.split_once("* {").unwrap().0;
    for palette in [palette(light), palette(dark)] {
        assert_eq!(palette.len(), 13, "{palette:?}");
        let luminance = |name: &str| {
            let [red, green, blue] = palette[name];
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        };
        let contrast = |a: &str, b: &str| {
            let (a, b) = (luminance(a), luminance(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        for (front, back, least) in [
            ("ink", "card", 7.0),
            ("ink", "paper", 7.0),
            ("ink", "warn-soft", 7.0),
            ("ink", "bad-soft", 7.0),
            ("muted", "card", 4.5),
            ("muted", "paper", 4.5),
            ("accent", "card", 4.5),
            ("accent", "paper", 4.5),
            ("on-accent", "accent", 4.5),
            ("warn", "card", 4.5),
            ("warn", "warn-soft", 4.5),
            ("bad", "card", 4.5),
            ("bad", "bad-soft", 4.5),
            ("edge", "card", 3.0),
            ("edge", "paper", 3.0),
            ("accent", "soft", 3.0),
        ] {
            let found = contrast(front, back);
            assert!(found >= least, "{front} on {back}: {found:.2}, not {least}");
        }
    }
}

#[test]
fn a_directory_is_not_named() {
    assert_eq!(gather::in_words("file:///srv/backups"), "a directory");
    assert_eq!(gather::in_words("s3://backups/x"), "s3://backups/x");
}
