//! Words on the command line, as they reach the settings.

use ultrasimple_core::config::{Context, RunMode, Settings};

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;

fn run(words: &[&str]) -> Result<Settings, String> {
    let words = ["ultrasimple"].iter().chain(words).map(OsString::from);
    let Request::Run(raw) = parse(words)? else { panic!("nothing to run") };
    let context = Context {
        current_directory: "/work".into(),
        temp_directory: "/tmp".into(),
        user: 7,
        host_name: "host".into(),
        read_bucket: |_| Ok(None),
    };
    Settings::check(&raw, &context).map_err(|problems| problems.to_string())
}

#[test]
fn the_documented_calls_are_understood_as_they_stand() {
    let dry = run(&["-dry-run", "-pattern", "/your/databases/*.db"]).unwrap();
    assert_eq!(dry.run, RunMode::DryRun);
    assert!(dry.scan.patterns.find(b"/your/databases/x.db").is_some());

    let pattern = "/data/tenants/*/databases/*.db";
    let path = "{{tenant}}/{{database}}";
    let saas = run(&["-bucket", "saas-backups", "-pattern", pattern, "-path", path]).unwrap();
    assert_eq!(saas.upload.template.to_string(), path);
    assert_eq!(saas.store.bucket.unwrap().text, "saas-backups");

    let pattern = "/home/*/projects/*/data/*.db";
    let dev = run(&["-bucket", "dev-backups", "-pattern", pattern, "-interval", "5m"]).unwrap();
    assert_eq!(dev.scan.interval.as_secs(), 300);

    let pattern = "/var/lib/myapp/shards/*/data/*.db";
    let words =
        ["-bucket", "prod-backups", "-pattern", pattern, "-concurrent", "50", "-interval", "1m"];
    let prod = run(&words).unwrap();
    assert_eq!((prod.upload.concurrent, prod.scan.interval.as_secs()), (50, 60));
}

#[test]
fn one_dash_or_two_a_space_or_an_equals_sign() {
    for words in [
        &["-bucket", "x"][..],
        &["-bucket=x"],
        &["--bucket", "x"],
        &["--bucket=x"],
        &["-once", "--bucket", "x"],
        &["-bucket", "x", "--once=true"],
        &["-once=false", "-bucket=x"],
    ] {
        let settings = run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert_eq!(settings.store.bucket.unwrap().text, "x");
        let once = words.iter().any(|word| word.contains("once") && !word.contains("false"));
        assert_eq!(settings.run == RunMode::Once, once, "{words:?}");
    }
    // An equals sign in the value is the value's.
    let settings = run(&["-bucket", "x", "-pattern", "/a=b/*.db", "-pattern=/c=d/*.db"]).unwrap();
    assert!(settings.scan.patterns.find(b"/a=b/1.db").is_some());
    assert!(settings.scan.patterns.find(b"/c=d/1.db").is_some());
}

#[test]
fn values_that_begin_with_a_dash_are_judged_for_what_they_say() {
    for words in [&["-bucket", "x", "-interval", "-5s"][..], &["--bucket=x", "--interval=-5s"]] {
        let error = run(words).unwrap_err();
        assert!(error.starts_with("-interval \"-5s\": it must be a time from"), "{error}");
    }
    assert!(
        run(&["-bucket", "x", "-concurrent", "-1"]).unwrap_err().contains("-concurrent \"-1\"")
    );
}

#[test]
fn usage_errors_name_the_flag() {
    for (words, said) in [
        (&["-bukcet", "x"][..], &["'--bukcet'", "'--bucket'"][..]),
        (&["--nonsense"], &["'--nonsense'"]),
        (&["-bucket"], &["'--bucket <BUCKET>'", "value is required"]),
        (&["-bucket", "-once"], &["'--bucket <BUCKET>'", "value is required"]),
        (&["-bucket", "-h"], &["'--bucket <BUCKET>'", "value is required"]),
        (&["-bucket", "x", "-bucket", "y"], &["'--bucket <BUCKET>'", "multiple times"]),
        (&["-bucket", "x", "/a/1.db"], &["'/a/1.db'", "quotes"]),
        (&["-bucket", "x", "--", "-once"], &["'-once'"]),
        (&["-x"], &["'-x'"]),
        (&["-"], &["'-'"]),
    ] {
        let error = run(words).map(|_| words).unwrap_err();
        for part in said {
            assert!(error.contains(part), "{words:?}: {error}");
        }
        assert!(error.ends_with("try 'ultrasimple -help'."), "{error}");
    }
}

#[test]
fn words_that_are_not_utf_8_are_refused_by_name() {
    let value = OsStr::from_bytes(b"/a/\xff*.db");
    let words = ["ultrasimple", "-dry-run", "-pattern"].iter().map(OsString::from);
    let Ok(Request::Run(raw)) = parse(words.chain([value.to_owned()])) else { panic!() };
    let context = crate::load::context().unwrap();
    let problems = Settings::check(&raw, &context).unwrap_err().to_string();
    assert!(problems.starts_with("-pattern") && problems.contains("not UTF-8"), "{problems}");
}

#[test]
fn help_and_version_are_printed() {
    let print = |word: &str| match parse(["ultrasimple", word].iter().map(OsString::from)) {
        Ok(Request::Print(text)) => text,
        other => panic!("{word}: {other:?}"),
    };
    for word in ["-h", "-help", "--help"] {
        let text = print(word);
        for &setting in Setting::ALL {
            assert!(text.contains(&format!("\n  {}", setting.flag())), "{setting:?}");
        }
        assert!(text.contains("Exit status:") && text.contains("Examples:"));
        let long = text.lines().find(|line| line.chars().count() > 100);
        assert_eq!(long, None);
    }
    for word in ["-V", "-version", "--version"] {
        assert_eq!(print(word).trim(), format!("ultrasimple {}", env!("CARGO_PKG_VERSION")));
    }
}

proptest::proptest! {
    #[test]
    fn no_words_panic(words in proptest::collection::vec("(-{0,3}(once|bucket|config|h|\\PC{0,4})=?\\PC{0,4})", 0..5)) {
        let words = ["ultrasimple".to_owned()].into_iter().chain(words);
        let _ = parse(words.map(OsString::from));
    }
}
