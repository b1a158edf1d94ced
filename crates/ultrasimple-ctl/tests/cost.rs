//! `cost`: without a bucket, refusals by flag, the JSON, and the figures in docs/COST.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Exit status, stdout, stderr.
fn run(words: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ultrasimple-ctl"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ULTRASIMPLE_") {
            command.env_remove(name);
        }
    }
    let output = command.arg("cost").args(words).envs(variables.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(words: &[&str]) -> Value {
    let (status, stdout, stderr) = run(&[words, &["--json"]].concat(), &[]);
    assert_eq!(status, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[track_caller]
fn assert_near(found: &Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-6, "{found}, not {expected}");
}

/// One, and two hundred and fifty, that change all the time.
#[test]
fn the_json() {
    let one = json(&["--databases", "1", "--hot", "1"]);
    let uploads = &one["lines"][0];
    assert_eq!((&uploads["cause"], &uploads["kind"]), (&"hot_uploads".into(), &"put".into()));
    assert_eq!(uploads["requests"], 172_800);
    assert_near(&uploads["cost"], 0.864);
    assert_near(&uploads["per_1000"], 0.005);
    assert!(uploads["arithmetic"].as_str().unwrap().contains("172,800"));

    let many = json(&["--databases", "250", "--hot", "250", "-put-budget", "2_160_000"]);
    assert_eq!(many["lines"][0]["requests"], 2_160_000);
    assert_near(&many["lines"][0]["cost"], 10.8);
    assert_near(&many["hot_exposure_seconds"], 300.0);
    assert_eq!(many["limited_by_put_budget"], true);
    assert_eq!(many["settings"]["put_budget"], 2_160_000);
    assert_eq!(many["dominating_setting"], "-put-budget");
    assert_eq!(many["dominating_assumption"], "--hot");
    assert_eq!((&many["currency"], &many["month_days"]), (&"USD".into(), &30.into()));
    assert_eq!(many["provider"]["name"], "aws-us-east-1");
    assert_eq!(many["storage"]["objects"], 250 * 721);
    let lines = many["lines"].as_array().unwrap();
    let sum: f64 = lines.iter().map(|line| line["cost"].as_f64().unwrap()).sum();
    assert_near(&many["total"], sum + many["storage"]["cost"].as_f64().unwrap());
    let puts = lines.iter().filter(|line| line["kind"] == "put");
    let puts: u64 = puts.map(|line| line["requests"].as_u64().unwrap()).sum();
    assert_eq!(many["requests"]["put"], puts);
    let halved = many["halved"].as_array().unwrap();
    let first = &halved[0];
    for field in ["flag", "nature", "value", "half", "total", "change"] {
        assert!(!first[field].is_null(), "{field}: {first}");
    }
    let providers = json(&["--list-providers"]);
    assert!(providers["providers"].as_array().unwrap().len() >= 7);
}

#[test]
fn settings_come_from_the_daemons_file_and_variables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daemon.toml");
    fs::write(&file, "bucket = 'my-backups'\ninterval = '1m'\nretention-days = 7\n").unwrap();
    let file = file.to_str().unwrap();
    let words = ["--databases=2", "--hot=1", "-config", file, "-interval", "30s", "--json"];
    let variables = [("ULTRASIMPLE_SHARDS", "8"), ("ULTRASIMPLE_RETENTION_DAYS", "14")];
    let (status, stdout, stderr) = run(&words, &variables);
    assert_eq!(status, 0, "{stderr}");
    let settings = &serde_json::from_str::<Value>(&stdout).unwrap()["settings"];
    assert_near(&settings["interval_seconds"], 30.0);
    assert_eq!((&settings["retention_days"], &settings["shards"]), (&14.into(), &8.into()));

    fs::write(file, "intervall = '1m'\n").unwrap();
    let (status, _, stderr) = run(&["-config", file], &[]);
    assert_eq!(status, 2);
    assert!(stderr.contains("intervall") && stderr.contains("daemon.toml"), "{stderr}");
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_flag() {
    let folder = tempfile::tempdir().unwrap();
    let prices = folder.path().join("prices.toml");
    fs::write(&prices, "[[provider]]\nname = 'x'\n").unwrap();
    let prices = prices.to_str().unwrap();
    for (words, named) in [
        (&["--databases", "10", "--hot", "11"][..], "--hot 11"),
        (&["--databases", "0"], "--databases 0"),
        (&["--databases", "many"], "--databases"),
        (&["--changes-per-day", "-1"], "--changes-per-day"),
        (&["--size", "0"], "--size"),
        (&["--compression", "3"], "--compression"),
        (&["--restarts-per-month", "nan"], "--restarts-per-month"),
        (&["-interval", "0s"], "-interval"),
        (&["-min-upload-interval", "5"], "-min-upload-interval"),
        (&["-put-budget", "0"], "-put-budget"),
        (&["-retention-days", "0"], "-retention-days"),
        (&["-keep", "fortnightly=2"], "-keep"),
        (&["-verify-percent-per-day", "101"], "-verify-percent-per-day"),
        (&["-reconcile-requests", "-1"], "-reconcile-requests"),
        (&["-shards", "0"], "-shards"),
        (&["--provider", "amazon"], "--provider"),
        (&["--prices", prices], "--prices"),
        (&["--prices", "/does/not/exist"], "--prices /does/not/exist"),
        (&["-bucket", "b"], "-bucket"),
    ] {
        let (status, stdout, stderr) = run(words, &[]);
        assert_eq!((status, stdout.as_str()), (2, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(named), "{words:?}: {stderr}");
        assert!(!stderr.contains("is missing: say where"), "{words:?}: {stderr}");
    }
}

#[test]
fn prices_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.toml");
    let list = "[[provider]]\nname = 'ours'\ntitle = 'Ours'\nas_of = '2026'\nsource = 'a contract'\n\
                currency = 'EUR'\nput_per_1000 = 1\nlist_per_1000 = 0\nget_per_1000 = 0\n\
                delete_per_1000 = 0\nstorage_per_gb_month = 0\nbytes_per_gb = 1000000000\n";
    fs::write(&file, list).unwrap();
    let (status, stdout, stderr) =
        run(&["--prices", file.to_str().unwrap(), "--databases=1", "--hot=1"], &[]);
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.contains("Ours") && stdout.contains("€172.80"), "{stdout}");
}

/// Set to write the output of the commands into the document.
const UPDATE: &str = "UPDATE_COST_DOCUMENT";

/// Each block that begins with a command shows what the command prints.
#[test]
fn the_figures_in_the_document_are_those_of_the_command() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/COST.md");
    let document = fs::read_to_string(&path).unwrap();
    let mut parts = document.split("```console\n");
    let mut renewed = parts.next().unwrap().to_owned();
    let mut commands = 0;
    for part in parts {
        let (block, rest) = part.split_once("```\n").unwrap();
        let (line, _) = block.split_once('\n').unwrap();
        let words = line.strip_prefix("$ ultrasimple-ctl cost").unwrap();
        let (status, stdout, stderr) = run(&words.split_whitespace().collect::<Vec<_>>(), &[]);
        assert_eq!(status, 0, "{line}: {stderr}");
        assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
        renewed.extend(["```console\n", line, "\n", &stdout, "```\n", rest]);
        commands += 1;
    }
    assert!(commands >= 4, "{commands}");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, renewed).unwrap();
    } else {
        assert!(
            document == renewed,
            "docs/COST.md is not what is printed; set {UPDATE}=1 to renew"
        );
    }
}
