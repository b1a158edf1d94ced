//! The table, the layers, the file, and words that nobody foresaw. Defaults and bounds are in `bounds`.

mod bounds;
mod fleet;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::pattern::Pattern;

pub(super) fn context() -> Context {
    Context {
        current_directory: "/home/me/a[b]".into(),
        temp_directory: "/tmp".into(),
        user: 7,
        host_name: "_db-01.example".into(),
        read_bucket: |word| match word.strip_prefix("file://") {
            Some(path) => Ok(Some(PathBuf::from(path))),
            None if word.contains(' ') => Err("not a bucket's name".into()),
            None => Ok(None),
        },
    }
}

fn flags(words: &[(Setting, &str)]) -> RawSettings {
    let mut raw = RawSettings::default();
    for &(setting, word) in words {
        raw.set(setting, Origin::Flag, vec![word.to_owned()]);
    }
    raw
}

fn variables(pairs: &[(&str, &str)]) -> RawSettings {
    RawSettings::from_variables(pairs.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))))
}

/// The settings with a bucket and these flags.
fn settings(words: &[(Setting, &str)]) -> Result<Settings, String> {
    let bucket = flags(&[(Setting::Bucket, "backups")]);
    Settings::check(&flags(words).over(bucket), &context()).map_err(|problems| problems.to_string())
}

fn file_problems(text: &str) -> String {
    let raw = flags(&[(Setting::DryRun, "true")]).over(RawSettings::from_file("/etc/u.toml", text));
    Settings::check(&raw, &context())
        .map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[test]
fn every_setting_has_one_name_in_three_forms() {
    let mut variables = BTreeSet::new();
    for &setting in Setting::ALL {
        let name = setting.name();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
        assert_eq!(Setting::named(name), Some(setting));
        assert_eq!(setting.flag(), format!("-{name}"));
        assert!(variables.insert(setting.variable()), "{name} is there twice");
        assert!(!setting.help().is_empty() && !setting.help().ends_with('.'), "{name}");
        assert_eq!(setting.value_name().is_empty(), setting.is_switch(), "{name}");
    }
    assert_eq!(Setting::MinUploadInterval.variable(), "ULTRASIMPLE_MIN_UPLOAD_INTERVAL");
}

/// Each setting is refused in the same words whether a flag, a variable or the file says it: so each of
/// the three reaches the same check.
#[test]
fn flag_variable_and_key_reach_the_same_check() {
    for &setting in Setting::ALL.iter().filter(|&&s| s != Setting::Config && !s.is_secret()) {
        let bad = "~/\u{1} bad";
        let check = |raw: RawSettings| {
            let problems = Settings::check(&raw, &context()).unwrap_err();
            let starts = [setting.flag(), setting.variable(), "/f, line 1: ".into()];
            let ours = |line: &&str| starts.iter().any(|start| line.starts_with(start.as_str()));
            let text = problems.to_string();
            let line = text.lines().find(ours).unwrap_or_else(|| panic!("{setting:?}: {text}"));
            line.rsplit(": ").next().unwrap().to_owned()
        };
        let flag = check(flags(&[(setting, bad)]));
        assert_eq!(flag, check(variables(&[(&setting.variable(), bad)])));
        let text = format!("{} = \"~/\\u0001 bad\"", setting.name());
        assert_eq!(flag, check(RawSettings::from_file("/f", &text)));
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let raw = flags(&[(Setting::Interval, "0s"), (Setting::Concurrent, "0")])
        .over(variables(&[("ULTRASIMPLE_SHARDS", "0"), ("ULTRASIMPLE_BUKET", "b")]))
        .over(RawSettings::from_file("/f", "check = 'all'\nintervall = '1s'\nvolume = 1.5"));
    let problems = Settings::check(&raw, &context()).unwrap_err();
    let text = problems.to_string();
    for said in [
        "-interval \"0s\"",
        "-concurrent \"0\"",
        "ULTRASIMPLE_SHARDS=\"0\"",
        "ULTRASIMPLE_BUKET: there is no such variable; did you mean ULTRASIMPLE_BUCKET?",
        "/f, line 1: check = \"all\"",
        "/f, line 2: \"intervall\": there is no such setting; did you mean interval?",
        "-bucket is missing",
    ] {
        assert!(text.contains(said), "{said} is not in:\n{text}");
    }
    assert_eq!(problems.iter().count(), 7, "{text}");
}

#[test]
fn flag_beats_variable_beats_file() {
    let file = "interval = '3s'\nshards = 3\nconcurrent = 3\npattern = ['/f/*.db', '/g/*.db']";
    let raw = flags(&[(Setting::Interval, "1s"), (Setting::Bucket, "b")])
        .over(variables(&[
            ("ULTRASIMPLE_INTERVAL", "2s"),
            ("ULTRASIMPLE_SHARDS", "2"),
            ("ULTRASIMPLE_CONCURRENT", ""),
            ("ULTRASIMPLE_EXCLUDE", "/v/1\n /v/2 \n\n"),
            ("OTHER", "x"),
        ]))
        .over(RawSettings::from_file("/f", file));
    let settings = Settings::check(&raw, &context()).unwrap();
    assert_eq!(settings.scan.interval, Duration::from_secs(1));
    assert_eq!((settings.node.volumes.shards(), settings.upload.concurrent), (2, 3));
    let includes = settings.scan.patterns.includes();
    assert_eq!(includes.iter().map(Pattern::as_str).collect::<Vec<_>>(), ["/f/*.db", "/g/*.db"]);
    assert!(settings.scan.patterns.find(b"/f/x.db").is_some());
}

#[test]
fn the_file() {
    let good = "pattern = '/a/*.db'\ninterval = \"1m\"\nconcurrent = 0x10\nonce = false\n\
                memory-budget = 33554432\n# comment\n";
    assert_eq!(file_problems(good), "");
    for (text, said) in [
        ("interval = ", "/etc/u.toml, line 1: this is not TOML: "),
        ("\n\ninterval", "line 3: this is not TOML"),
        ("shards = 1\nshards = 2", "line 2: this is not TOML"),
        ("interval = 15", "/etc/u.toml, line 1: interval = \"15\": it must be a time"),
        ("\nshards = -1", "line 2: shards = \"-1\": it must be a whole number from 1 to 65536"),
        ("shards = 99999999999999999999", "shards"),
        ("shards = 0xFFFFFFFFFFFFFFFFFF", "this number is too great"),
        ("shards = [1]", "it takes one value, not an array"),
        ("pattern = [1]", "an array of strings"),
        ("pattern = []", "no pattern in it"),
        ("once = 1", "it must be true or false"),
        ("[store]\nbucket = 'x'", "line 1: \"store\": there is no such setting"),
        ("[bucket]\nname = 'x'", "it takes one value, not a table"),
        ("memory_budget = 1", "did you mean memory-budget?"),
        ("config = 'x'", "a file cannot name another file"),
        ("etcd = 'http://x'", "line 1: etcd = \"http://x\": it must be like http://10.0.0.1:2379"),
        ("etcd = [1]", "an array of strings"),
        ("etcd = []", "no address in it"),
        ("node = 2024-01-01", "a date does not fit"),
    ] {
        let problems = file_problems(text);
        assert!(problems.contains(said), "{text:?}: {problems:?}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn variables_of_kubernetes_are_not_ours() {
    let raw = variables(&[
        ("ULTRASIMPLE_SERVICE_HOST", "10.0.0.1"),
        ("ULTRASIMPLE_SERVICE_PORT_HTTP", "1"),
        ("ULTRASIMPLE_PORT", "tcp://10.0.0.1:1"),
        ("ULTRASIMPLE_HTTP_PORT_9810_TCP_ADDR", "10.0.0.1"),
        ("ULTRASIMPLE_BUCKET", "b"),
    ]);
    Settings::check(&raw, &context()).unwrap();
    for &setting in Setting::ALL {
        assert!(!setting.variable().contains("_PORT"), "{setting:?}");
    }
}

#[test]
fn keys_come_in_pairs_and_are_never_shown() {
    use Setting as S;
    let pair = [(S::AccessKey, "AKIAXYZ"), (S::SecretKey, "geheim")];
    let settings_of_pair = settings(&pair).unwrap();
    let shown = format!("{settings_of_pair:?} {:?}", settings_of_pair.describe());
    assert!(!shown.contains("AKIAXYZ") && !shown.contains("geheim"), "{shown}");
    assert_eq!(settings_of_pair.store.credentials.unwrap().secret_key.expose(), "geheim");
    for half in pair {
        let error = settings(&[half]).unwrap_err();
        assert!(error.contains("is not: give both, or none"), "{error}");
        assert!(!error.contains(half.1), "{error}");
    }
    let error = settings(&[pair[0], (S::SecretKey, "")]).unwrap_err();
    assert!(error.starts_with("-secret-key") && error.contains("it is empty"), "{error}");
    let error = settings(&[(S::Bucket, "file:///b"), pair[0], pair[1]]).unwrap_err();
    assert_eq!(error.matches("has no meaning with -bucket file://").count(), 2, "{error}");
}

#[test]
fn relative_patterns_are_below_the_current_directory() {
    for (word, path) in [
        ("x/*.db", &b"/home/me/a[b]/x/1.db"[..]),
        ("./*.db", b"/home/me/a[b]/1.db"),
        (".//*.db", b"/home/me/a[b]/1.db"),
        ("../*.db", b"/home/me/1.db"),
        ("../../../../*.db", b"/1.db"),
        ("*.db", b"/home/me/a[b]/1.db"),
    ] {
        let settings = settings(&[(Setting::Pattern, word)]).unwrap();
        assert!(settings.scan.patterns.find(path).is_some(), "{word}");
        assert!(settings.scan.patterns.find(b"/home/me/ab/1.db").is_none(), "{word}");
    }
}

#[test]
fn the_run_mode_decides_on_http() {
    use Setting as S;
    let http = (S::Http, "127.0.0.1:1");
    let port = |words: &[_]| settings(words).unwrap().http.address.map(|address| address.port());
    assert_eq!(port(&[]), Some(9810));
    assert_eq!(port(&[(S::Http, "off")]), None);
    assert_eq!(port(&[(S::Once, "true")]), None);
    assert_eq!(port(&[(S::Once, "true"), http]), Some(1));
    assert_eq!(port(&[(S::DryRun, "true"), http]), None);
    let raw = flags(&[(S::DryRun, "true"), (S::Once, "true")]);
    assert_eq!(Settings::check(&raw, &context()).unwrap().run, RunMode::DryRun);
}

fn any_setting() -> impl Strategy<Value = Setting> {
    proptest::sample::select(Setting::ALL)
}

proptest! {
    #[test]
    fn no_word_panics(words in proptest::collection::vec((any_setting(), "\\PC*"), 0..6)) {
        let raw = words.iter().map(|(s, w)| (*s, w.as_str())).collect::<Vec<_>>();
        let _ = settings(&raw);
        for (setting, word) in &raw {
            let text = format!("{} = {word}", setting.name());
            let _ = Settings::check(&RawSettings::from_file("f", &text), &context());
            let name = format!("{VARIABLE_PREFIX}{word}").replace(['=', '\0'], "");
            let _ = Settings::check(&variables(&[(&name, word)]), &context());
        }
    }

    #[test]
    fn no_file_panics(text in "[a-z\\-\\[\\]={}'\"0-9 .\n#]{0,60}") {
        let _ = Settings::check(&RawSettings::from_file("f", &text), &context());
    }

    #[test]
    fn a_host_name_always_makes_a_node(host_name in "\\PC*") {
        let context = Context { host_name, ..context() };
        let raw = flags(&[(Setting::DryRun, "true")]);
        prop_assert!(Settings::check(&raw, &context).is_ok());
    }

    #[test]
    fn times_and_sizes_are_shown_as_they_can_be_given(
        millis in 100u64..86_400_000,
        bytes in (16u64 << 20)..(16 << 40),
    ) {
        let interval = Duration::from_millis(millis);
        let (time, size) = (DurationText(interval).to_string(), SizeText(bytes).to_string());
        let words = [(Setting::Interval, &*time), (Setting::MemoryBudget, &*size)];
        let settings = settings(&words).unwrap();
        prop_assert_eq!((settings.scan.interval, settings.upload.memory_budget), (interval, bytes));
    }

    #[test]
    fn the_nearest_name_is_found(setting in any_setting(), at in 0usize..4) {
        let mut name = setting.name().to_owned();
        name.remove(at.min(name.len() - 1));
        let found = nearest(&name, Setting::ALL.iter().map(|s| s.name())).unwrap_or_default();
        prop_assert!(Setting::named(&found).is_some(), "{name}: {found}");
    }
}
