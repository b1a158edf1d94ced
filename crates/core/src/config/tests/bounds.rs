//! Every default, every bound on both sides, and what is said about a value outside.

use std::time::Duration;

use super::settings;
use crate::config::{Group, KeepSettings, LogFormat, RunMode, Setting, Settings, VerifyPercent};

#[test]
fn defaults() {
    let settings = settings(&[]).unwrap();
    let words = settings.describe();
    let word = |name: &str| words.iter().find(|(n, _)| *n == name).unwrap().1.clone();
    for (name, default) in [
        ("pattern", "/data/*/databases/*/branches/*/tenants/*.db"),
        ("interval", "15s"),
        ("bucket", "backups"),
        ("endpoint-url", "none"),
        ("credentials", "AWS chain"),
        ("retention-days", "30"),
        ("keep", "none"),
        ("verify-percent-per-day", "1"),
        ("reconcile-requests", "5000"),
        ("concurrent", "100"),
        ("min-upload-interval", "0s"),
        ("put-budget", "none"),
        ("check", "quick"),
        ("memory-budget", "256MiB"),
        ("scratch", "/tmp/ultrasimple-7"),
        ("spool-limit", "16GiB"),
        ("node", "db-01.example"),
        ("volume", "default"),
        ("shards", "256"),
        ("http", "127.0.0.1:9810"),
        ("etcd", "none"),
    ] {
        assert_eq!(word(name), default, "{name}");
    }
    assert_eq!(settings.keep, KeepSettings::default());
    assert_eq!(settings.store.region, "us-east-1");
    assert_eq!(settings.upload.drain_timeout, Duration::from_secs(30));
    assert_eq!(settings.http.exposure_limit, Some(Duration::from_mins(5)));
    assert_eq!((settings.run, settings.log.format), (RunMode::Forever, LogFormat::Text));
}

/// What concerns a fleet is checked in one.
fn checked(setting: Setting, word: &str) -> Result<Settings, String> {
    let etcd = (Setting::Etcd, "http://10.0.0.1:2379");
    let fleet = setting.group() == Group::Fleet && setting != Setting::Etcd;
    let words: Vec<_> = [(setting, word)].into_iter().chain(fleet.then_some(etcd)).collect();
    settings(&words)
}

#[test]
fn every_bound() {
    use Setting as S;
    let huge = "99999999999999999999999";
    for (setting, good, bad) in [
        (
            S::Interval,
            &["100ms", "1h30m", "1h 30m", "24h"][..],
            &["0", "0s", "99ms", "-5s", "24h1s", "15", "1.5", "1d", "x", "", huge, "5s ago"][..],
        ),
        (S::MinUploadInterval, &["0s", "24h"], &["-1s", "25h"]),
        (S::DrainTimeout, &["0s", "5m"], &["-1s", "25h"]),
        (S::ExposureLimit, &["0s", "1h"], &["-1s", "25h"]),
        (S::Concurrent, &["1", "10000", "10_000"], &["0", "10001", "-1", "1.5", "x", huge]),
        (S::RetentionDays, &["1", "30", "36500"], &["0", "36501", "-1", "30d", "1.5"]),
        (
            S::Keep,
            &["hourly=1", "yearly=1000000", "daily=30, weekly=12"],
            &["", "30", "daily", "daily=0", "daily=1,", "minutely=1", "daily=1,daily=1"],
        ),
        (
            S::VerifyPercentPerDay,
            &["0", "1", "0.5", "100", " 2.25 ", "100.0"],
            &["", "-1", "-0", "+1", "100.1", "101", "1%", "1e1", "nan", "inf", ".", "0,5", "0.5.5"],
        ),
        (S::ReconcileRequests, &["0", "1", "1_000_000_000"], &["-1", "1000000001", huge]),
        (S::Shards, &["1", "65536"], &["0", "65537"]),
        (S::PutBudget, &["1", "1000000000000"], &["0", "-1", huge]),
        (
            S::MemoryBudget,
            &["16MiB", "16777216", "1 GB", "16TiB"],
            &["0", "15MiB", "17TiB", "-1", "1e9", "MiB", "16 Mio"],
        ),
        (S::SpoolLimit, &["16MiB", "1PiB"], &["15MiB", "2PiB"]),
        (S::Check, &["off", "quick", "full"], &["on", "Full"]),
        (S::LogFormat, &["text", "json"], &["xml"]),
        (S::Once, &["true", "false"], &["maybe"]),
        (
            S::Http,
            &["off", "127.0.0.1:0", "[::1]:80", "localhost:1"],
            &["9810", ":9810", "0.0.0.0:9810", "10.0.0.1:1", "[::]:80", "example.com:80", "none"],
        ),
        (S::Region, &["eu-west-1", "auto"], &["eu west"]),
        (
            S::EndpointUrl,
            &["http://localhost:9000", "https://x/", "http://[::1]:9000/p"],
            &[
                "localhost:9000",
                "ftp://x",
                "http://",
                "http://:80",
                "http://k:s@x",
                "http://x:0",
                "http://x:99999",
                "http://x y",
                "http://x?a=b",
            ],
        ),
        (S::Node, &["n-1"], &["a/b", "-n"]),
        (
            S::Volume,
            &["v", "v=/data", "v=/data/acme/databases/"],
            &["", "a b", "=/data", "v=", "v=data", "v=/data/../x"],
        ),
        (S::HttpTokenFile, &["/etc/token", "token"], &["", "~/token"]),
        (S::HttpOpen, &["true", "false"], &["maybe"]),
        (S::Path, &["{{tenant}}/{{database}}", "x"], &["/x", "{{", "a//b"]),
        (
            S::Pattern,
            &["/a/*.db", "a/*.db", "./*.db", "../x/*.db"],
            &["", "~/a/*.db", "/a//b", "/a/../b", "/a/**", "/a/[", "a/"],
        ),
        (S::Exclude, &["/a/x"], &["/a//b"]),
        (S::Bucket, &["b", "file:///b"], &["", "b b"]),
        (S::Scratch, &["/scratch", "scratch"], &["", "~/s", "/data/p/databases/x/branches"]),
    ] {
        both_sides(setting, good, bad);
    }
}

#[test]
fn every_bound_of_a_fleet() {
    use Setting as S;
    for (setting, good, bad) in [
        (
            S::Etcd,
            &["http://10.0.0.1:2379", "http://[::1]:2379/", "http://a:1, http://b:2"][..],
            &[
                "",
                "10.0.0.1:2379",
                "http://10.0.0.1",
                "http://10.0.0.1:0",
                "etcd://a:2379",
                "http://a:2379/x",
                "http://me:pw@a:2379",
                "http://a:1,https://b:1",
            ][..],
        ),
        (S::Cluster, &["eu-1"], &["", "a/b", "-x"]),
        (
            S::Capacity,
            &["0.01", "1", "1000", "2.50"],
            &["", "0", "0.009", "1000.1", "-1", "1e2", "inf", "nan", "x"],
        ),
        (S::LeaseTtl, &["2s", "5m", "1m 30s"], &["", "1s", "1999ms", "2500ms", "5m1s", "10", "0s"]),
        (S::AllowUnfenced, &["true", "false"], &["maybe"]),
        (
            S::Advertise,
            &["http://10.0.0.7:9810", "http://db-1.example:80/"],
            &[
                "",
                "10.0.0.7:9810",
                "http://10.0.0.7",
                "https://a:1",
                "http://a:1/x",
                "http://a b:1",
            ],
        ),
    ] {
        both_sides(setting, good, bad);
    }
}

fn both_sides(setting: Setting, good: &[&str], bad: &[&str]) {
    for word in good {
        checked(setting, word).unwrap_or_else(|error| panic!("{error}"));
    }
    for word in bad {
        let error = checked(setting, word).map(|_| word).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with(&setting.flag()), "{error}");
        let shown = word.split([',', '=']).all(|part| error.contains(part.trim()));
        assert!(shown || setting.is_switch(), "{error}");
    }
}

#[test]
fn retention_is_days_or_rules_or_both() {
    use Setting as S;
    let shown = |words: &[(S, &str)]| {
        let settings = settings(words).unwrap();
        (settings.keep.retention.to_string(), settings.keep.retention.retention_days())
    };
    assert_eq!(shown(&[(S::RetentionDays, "7")]), ("7 days".into(), Some(7)));
    let thinned = [(S::RetentionDays, "7"), (S::Keep, "daily=30,monthly=12")];
    assert_eq!(shown(&thinned), ("7 days,daily=30,monthly=12".into(), Some(7)));
    let hourly = (S::Keep, "monthly=12,hourly=48");
    assert_eq!(shown(&[hourly]), ("hourly=48,monthly=12".into(), None));
    let both = [(S::RetentionDays, "30"), hourly];
    assert_eq!(shown(&both), ("hourly=48,monthly=12".into(), None), "hourly= stands instead");
}

#[test]
fn percents_are_read_as_they_are_shown() {
    use Setting as S;
    for (word, percent, shown) in [("0", 0.0, "0"), ("00.50", 0.5, "0.5"), ("100", 100.0, "100")] {
        let keep = settings(&[(S::VerifyPercentPerDay, word)]).unwrap().keep;
        let read = keep.verify_percent_per_day;
        assert_eq!(
            (read, read.to_string().as_str()),
            (VerifyPercent::new(percent).unwrap(), shown)
        );
        assert_eq!((read.percent().to_bits(), read.is_off()), (percent.to_bits(), word == "0"));
    }
    assert_eq!(VerifyPercent::new(-0.0), Ok(VerifyPercent::OFF));
    assert_eq!(VerifyPercent::new(-0.0).unwrap().to_string(), "0");
    for bad in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
        assert!(VerifyPercent::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_say_what_would_be_right() {
    use Setting as S;
    for (setting, word, said) in [
        (S::Interval, "0s", "-interval \"0s\": it must be a time from 100ms to 24h, such as 15s"),
        (S::Interval, "15", "a unit is missing: 15s, 15m or 15h"),
        (S::Interval, "1d", "in hours"),
        (S::Concurrent, "-1", "-concurrent \"-1\": it must be a whole number from 1 to 10000"),
        (S::MemoryBudget, "1MiB", "a size from 16MiB to 16TiB"),
        (S::RetentionDays, "0", "it must be a whole number from 1 to 36500"),
        (S::Keep, "daily=0", "a whole number from 1 to 1000000, as in hourly=48,daily=30"),
        (S::Keep, "daily=1,daily=2", "daily= is there twice"),
        (S::VerifyPercentPerDay, "1%", "a number of percent from 0 to 100, such as 1 or 0.5"),
        (S::Check, "all", "it must be off or quick or full"),
        (S::Http, "0.0.0.0:80", "it needs a token (-http-token-file FILE), or -http-open"),
        (S::Pattern, "~/x/*.db", "$HOME/x/*.db"),
        (S::EndpointUrl, "http://k:s@x", "-access-key"),
        (S::Scratch, "/data", "-exclude"),
    ] {
        let error = settings(&[(setting, word)]).map(|_| word).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn copies_and_backups_must_not_look_like_databases() {
    use Setting as S;
    let problems = |pattern, exclude, scratch, bucket| {
        let words = [(S::Pattern, pattern), (S::Scratch, scratch), (S::Bucket, bucket)];
        let exclude = (!str::is_empty(exclude)).then_some((S::Exclude, exclude));
        let words: Vec<_> = words.into_iter().chain(exclude).collect();
        settings(&words).err().map_or(0, |problems| problems.lines().count())
    };
    let elsewhere = "file:///elsewhere";
    assert_eq!(problems("/data/**/*.db", "", "/s", "file:///data/backups"), 0);
    assert_eq!(problems("/data/**/*", "", "/s", "file:///data/backups"), 1);
    assert_eq!(problems("/data/**/*", "", "/s", "file:///data"), 1);
    assert_eq!(problems("/data/*/*/*", "", "/s", "file:///data"), 1);
    assert_eq!(problems("/data/**/*", "/data/backups", "/s", "file:///data/backups"), 0);
    assert_eq!(problems("/data/**/*.db", "", "/data/s", elsewhere), 1);
    assert_eq!(problems("/data/**/*.db", "/data/s", "/data/s", elsewhere), 0);
    assert_eq!(problems("/data/**/*", "", "/data/s", "file:///data/backups"), 2);
}
