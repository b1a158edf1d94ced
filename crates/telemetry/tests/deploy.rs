//! What is in `deploy/observability` fits the catalogue and the runbook, and Prometheus' own tools accept it. That it
//! works, too, is seen in `tests/tests/observability.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use ultrasimple_telemetry::catalogue::{self, Kind, Label, Values};

/// Instruments that no dashboard shows, each with a reason. There is none.
const NOT_SHOWN: [&str; 0] = [];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn deployed(file: &str) -> String {
    let path = root().join("deploy/observability").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The dashboards, by file name.
fn dashboards() -> BTreeMap<String, Value> {
    let folder = root().join("deploy/observability/dashboards");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let parsed = files.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        (
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            serde_json::from_str(&text).unwrap(),
        )
    });
    parsed.collect()
}

/// All strings under this name, anywhere in the document.
fn strings<'a>(document: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match document {
        Value::Object(fields) => {
            for (field, value) in fields {
                if field == name {
                    found.extend(value.as_str());
                }
                strings(value, name, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| strings(value, name, found)),
        _ => {}
    }
}

fn queries(dashboard: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    strings(dashboard, "expr", &mut found);
    strings(dashboard, "definition", &mut found);
    found
}

/// What looks like the name of one of our series: recorded ones have a colon.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_part(c));
    let ours = |word: &&str| {
        let last = word.split(':').nth(1).unwrap_or(word);
        last.starts_with("ultrasimple_") || last.starts_with("process_")
    };
    words.filter(ours).map(str::to_owned).collect()
}

/// The instruments that are meant, by their names in Prometheus; anything else is an error.
fn instruments(text: &str, place: &str) -> BTreeSet<&'static str> {
    let of = |name: &str| {
        let found = catalogue::all().find(|instrument| match instrument.kind {
            Kind::Histogram(_) => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| name.strip_suffix(end) == Some(instrument.prometheus)),
            _ => instrument.prometheus == name,
        });
        found.unwrap_or_else(|| panic!("{place}: {name} is not in the catalogue")).prometheus
    };
    let told = names(text).into_iter().filter(|name| !name.contains(':'));
    told.map(|name| of(&name)).collect()
}

/// The values of lines that begin with this key.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let lines = yaml.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).collect()
}

fn without_comments(yaml: &str) -> String {
    let lines = yaml.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn dashboards_show_what_is_catalogued_and_nothing_else() {
    let mut shown = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        let found = queries(&dashboard);
        assert!(found.len() > 5, "{file}: {found:?}");
        for query in found {
            shown.extend(instruments(query, &file));
        }
    }
    let all: BTreeSet<_> = catalogue::all().map(|instrument| instrument.prometheus).collect();
    let missing: Vec<_> = all.difference(&shown).copied().collect();
    assert_eq!(missing, NOT_SHOWN, "in no dashboard, nor said not to be");
}

#[test]
fn what_is_recorded_is_shown_and_what_is_shown_is_recorded() {
    let recorded: BTreeSet<_> =
        values(&deployed("recording.yml"), "record").into_iter().map(str::to_owned).collect();
    let boards = dashboards();
    let shown: BTreeSet<_> = boards.values().flat_map(queries).flat_map(names).collect();
    let shown: BTreeSet<_> = shown.into_iter().filter(|name| name.contains(':')).collect();
    assert_eq!(recorded, shown);
}

#[test]
fn rules_ask_for_what_is_catalogued() {
    for file in ["alerts.yml", "recording.yml"] {
        let yaml = without_comments(&deployed(file));
        let recorded = yaml.lines().filter(|line| !line.trim_start().starts_with("- record:"));
        assert!(!instruments(&recorded.collect::<Vec<_>>().join("\n"), file).is_empty());
    }
}

/// `label="word"` and `label=~"word|word"` of a label that has words.
#[test]
fn labels_are_compared_with_words_that_they_can_have() {
    let mut known: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for instrument in catalogue::all() {
        if let Some(Label { name, values: Values::Words(words) }) = instrument.label {
            known.entry(name.replace('.', "_")).or_default().extend(words);
        }
    }
    let boards = dashboards();
    let mut texts: Vec<String> = boards.values().flat_map(queries).map(str::to_owned).collect();
    // What Prometheus tells of alerts is not ours.
    texts.retain(|text| !text.starts_with("ALERTS{"));
    texts.extend(["alerts.yml", "recording.yml"].map(deployed));
    let mut compared = 0;
    for text in &texts {
        for (label, words) in &known {
            for start in ["=\"", "=~\""].map(|sign| format!("{label}{sign}")) {
                for rest in text.split(&start).skip(1) {
                    for word in rest.split('"').next().unwrap().split('|') {
                        assert!(words.contains(word), "{label}: {word} in {text}");
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn every_alert_has_its_place_in_the_runbook_and_its_test() {
    let (rules, tests) = (deployed("alerts.yml"), deployed("alerts.test.yml"));
    let runbook = std::fs::read_to_string(root().join("docs/RUNBOOK.md")).unwrap();
    let alerts: BTreeSet<_> = values(&rules, "alert").into_iter().collect();
    assert_eq!(alerts.len(), values(&rules, "alert").len(), "one name twice");
    let chapters: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("### Ultrasimple")).collect();
    let named: BTreeSet<_> =
        alerts.iter().map(|alert| alert.strip_prefix("Ultrasimple").unwrap()).collect();
    assert_eq!(named, chapters);
    for chapter in runbook.split("\n### Ultrasimple").skip(1) {
        let name = chapter.lines().next().unwrap();
        for part in ["**What it means.**", "**Look at**", "**Do**"] {
            assert!(chapter.contains(part), "{name}: no {part}");
        }
    }
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let url = values(rule, "runbook_url");
        assert!(
            url.first().unwrap().ends_with(&format!("docs/RUNBOOK.md#{}", name.to_lowercase()))
        );
        assert!(["critical", "warning"].contains(values(rule, "severity").first().unwrap()));
        assert!(rule.contains("summary: ") && rule.contains("description: "), "{name}");
        let expects = format!("alertname: {name}\n        exp_alerts:");
        let expected: Vec<_> = tests.split(&expects).skip(1).collect();
        let is_silent = |rest: &&&str| rest.starts_with(" []\n");
        assert!(expected.iter().any(|rest| !is_silent(&rest)), "{name} is never seen to fire");
        // Once where nothing is wrong, once before its time or beside what is.
        assert!(expected.iter().filter(is_silent).count() > 1, "{name} is never seen silent");
    }
}

fn promtool(words: &[&str]) {
    let ran = Command::new("promtool")
        .args(words)
        .current_dir(root().join("deploy/observability"))
        .output()
        .expect("promtool, of Debian's package prometheus, which `cargo xtask test` installs");
    let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    assert!(ran.status.success() && !said.contains("FAILED"), "promtool {words:?}: {said}");
}

#[test]
fn promtool_accepts_rules_and_configuration() {
    promtool(&["check", "rules", "alerts.yml", "recording.yml"]);
    promtool(&["check", "config", "--syntax-only", "prometheus.yml"]);
}

#[test]
fn alerts_fire_when_they_should_and_are_silent_when_not() {
    promtool(&["test", "rules", "alerts.test.yml"]);
}

#[test]
fn dashboards_hang_together() {
    let boards = dashboards();
    let uids: BTreeSet<_> = boards.values().map(|board| board["uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), boards.len());
    for (file, board) in &boards {
        let variables = board["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["datasource", "traces", "cluster", "node"], "{file}");
        assert_eq!(board["links"][0]["tags"], board["tags"], "{file}: links to its like");
        let mut urls = Vec::new();
        strings(board, "url", &mut urls);
        for url in urls {
            let uid = url.strip_prefix("/d/").and_then(|url| url.split('?').next()).unwrap();
            assert!(uids.contains(uid), "{file}: {url}");
        }
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {title}");
            if panel["type"] == "row" {
                continue;
            }
            assert!(panel["description"].as_str().unwrap().ends_with('.'), "{file}: {title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {title}");
            let grid = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            assert!(grid("x") + grid("w") <= 24, "{file}: {title}");
            let mut expressions = Vec::new();
            strings(panel, "expr", &mut expressions);
            for expression in expressions {
                assert!(expression.contains("$cluster"), "{file}: {title}: {expression}");
            }
        }
    }
}

/// Every component of a pipeline of the collector is configured, and every one that is configured is used.
#[test]
fn the_pipelines_of_the_collector_are_whole() {
    let yaml = without_comments(&deployed("collector.yaml"));
    let mut configured = BTreeSet::new();
    let mut used = BTreeSet::new();
    let mut section = "";
    for line in yaml.lines().filter(|line| !line.is_empty()) {
        let indent = line.len() - line.trim_start().len();
        let key = line.trim().split(':').next().unwrap();
        if indent == 0 {
            section = key;
        } else if section == "service" {
            let listed = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
            if let Some((names, _)) = listed {
                let kind = key.trim_start_matches("- ");
                used.extend(names.split(", ").map(|name| format!("{kind}/{name}")));
            }
        } else if indent == 2 {
            configured.insert(format!("{section}/{key}"));
        }
    }
    assert!(configured.len() > 5, "{configured:?}");
    assert_eq!(configured, used);
}
