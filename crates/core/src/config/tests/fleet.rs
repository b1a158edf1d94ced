//! Volumes, etcd and HTTP for other hosts: what belongs together, and what does not.

use std::path::PathBuf;
use std::time::Duration;

use super::{context, file_problems, flags, settings, variables};
use crate::config::{Group, Password, RawSettings, Setting, Settings};

const ETCD: (Setting, &str) = (Setting::Etcd, "http://10.0.0.1:2379");
const SECURE: (Setting, &str) = (Setting::Etcd, "https://10.0.0.1:2379");

#[test]
fn a_fleet_has_defaults_and_without_etcd_there_is_none() {
    assert!(settings(&[]).unwrap().fleet.is_none());
    let settings = settings(&[ETCD]).unwrap();
    let words = settings.describe();
    let fleet = settings.fleet.unwrap();
    assert_eq!((fleet.etcd, fleet.cluster.as_str()), (vec![ETCD.1.to_owned()], "default"));
    assert_eq!((fleet.lease_ttl, fleet.allow_unfenced), (Duration::from_secs(10), false));
    assert!((fleet.capacity.value() - 1.0).abs() < f64::EPSILON);
    assert!(fleet.login.is_none() && fleet.identity.is_none() && fleet.advertise.is_none());
    for (name, word) in [("etcd", ETCD.1), ("capacity", "1"), ("lease-ttl", "10s")] {
        assert!(words.contains(&(name, word.to_owned())), "{name}: {words:?}");
    }
}

#[test]
fn each_setting_of_a_fleet_is_refused_without_etcd() {
    let of_fleet = Setting::ALL.iter().filter(|setting| setting.group() == Group::Fleet);
    for &setting in of_fleet.filter(|&&setting| setting != Setting::Etcd) {
        let word = match setting {
            Setting::Capacity => "2",
            Setting::LeaseTtl => "5s",
            Setting::AllowUnfenced => "true",
            Setting::Advertise => "http://a:1",
            _ => "x",
        };
        let error = settings(&[(setting, word)]).map(|_| word).unwrap_err();
        let said = format!("{} has no meaning without -etcd", setting.flag());
        assert!(error.contains(&said), "{error}");
        let raw = RawSettings::from_file("/f", &format!("{} = '{word}'", setting.name()));
        let raw = if setting.is_switch() {
            RawSettings::from_file("/f", &format!("{} = true", setting.name()))
        } else {
            raw
        };
        let error = Settings::check(&raw, &context()).unwrap_err().to_string();
        let said = format!("{} (/f, line 1) has no meaning without -etcd", setting.name());
        assert!(error.contains(&said), "{error}");
    }
    settings(&[(Setting::AllowUnfenced, "false")]).unwrap();
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    use Setting as S;
    for (words, said) in [
        (&[(S::Etcd, "http://a:2379,")][..], "-etcd \"\": it must be like"),
        (&[ETCD, (S::Once, "true")], "-once has no meaning with -etcd"),
        (&[ETCD, (S::Path, "{{node}}/{{tenant}}")], "{{node}} has no meaning with -etcd"),
        (&[SECURE, (S::EtcdCert, "c")], "-etcd-cert is set, but -etcd-key is not"),
        (&[SECURE, (S::EtcdKey, "k")], "-etcd-key is set, but -etcd-cert is not"),
        (&[ETCD, (S::EtcdCa, "ca")], "-etcd-ca has no meaning with -etcd http://"),
        (
            &[ETCD, (S::EtcdUser, "u")],
            "-etcd-user is set, but -etcd-password or -etcd-password-file",
        ),
        (&[ETCD, (S::EtcdPassword, "hush")], "-etcd-password is set, but -etcd-user is not"),
        (&[ETCD, (S::EtcdPasswordFile, "f")], "-etcd-password-file is set, but -etcd-user is not"),
        (
            &[ETCD, (S::EtcdUser, "u"), (S::EtcdPassword, "hush"), (S::EtcdPasswordFile, "f")],
            "-etcd-password and -etcd-password-file are both set",
        ),
        (
            &[(S::HttpOpen, "true"), (S::HttpTokenFile, "f")],
            "-http-open and -http-token-file are both",
        ),
        (
            &[(S::Http, "off"), (S::HttpTokenFile, "f")],
            "-http-token-file has no meaning with -http off",
        ),
        (&[(S::Http, "off"), (S::HttpOpen, "true")], "-http-open has no meaning with -http off"),
        (
            &[ETCD, (S::Http, "off"), (S::Advertise, "http://a:1")],
            "-advertise has no meaning with -http off",
        ),
        (&[(S::Http, "10.0.0.7:9810")], "-http \"10.0.0.7:9810\": other hosts reach this address"),
    ] {
        let error = settings(words).map(|_| words).unwrap_err();
        assert!(error.contains(said), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn certificates_and_logins() {
    use Setting as S;
    let words = [SECURE, (S::EtcdCa, "/ca.pem"), (S::EtcdCert, "c.pem"), (S::EtcdKey, "/k.pem")];
    let fleet = settings(&words).unwrap().fleet.unwrap();
    let identity = fleet.identity.unwrap();
    assert_eq!((fleet.ca, identity.key), (Some("/ca.pem".into()), PathBuf::from("/k.pem")));
    assert_eq!(identity.certificate, PathBuf::from("c.pem"), "from where the program runs");
    settings(&[SECURE]).unwrap();

    let login = [ETCD, (S::EtcdUser, "backup"), (S::EtcdPassword, "hush")];
    let with_login = settings(&login).unwrap();
    let shown = format!("{with_login:?} {:?}", with_login.describe());
    assert!(shown.contains("backup") && !shown.contains("hush"), "{shown}");
    let Some(Password::Given(secret)) = with_login.fleet.unwrap().login.map(|l| l.password) else {
        panic!("no password");
    };
    assert_eq!(secret.expose(), "hush");
    let file = [ETCD, (S::EtcdUser, "backup"), (S::EtcdPasswordFile, "/run/secret")];
    let password = settings(&file).unwrap().fleet.unwrap().login.unwrap().password;
    assert_eq!(password, Password::File("/run/secret".into()));
}

#[test]
fn members_come_from_several_flags_lines_or_commas() {
    let of = |raw: RawSettings| {
        let raw = raw.over(flags(&[(Setting::Bucket, "backups")]));
        Settings::check(&raw, &context()).unwrap().fleet.unwrap().etcd
    };
    let expected = ["http://a:1", "http://b:2"];
    assert_eq!(of(variables(&[("ULTRASIMPLE_ETCD", "http://a:1\nhttp://b:2/")])), expected);
    assert_eq!(of(variables(&[("ULTRASIMPLE_ETCD", "http://a:1,http://b:2")])), expected);
    assert_eq!(of(RawSettings::from_file("/f", "etcd = ['http://a:1', 'http://b:2']")), expected);
    assert_eq!(file_problems("etcd = 'http://a:1'"), "", "a dry run does without");
}

#[test]
fn a_pattern_may_have_a_node_of_its_own() {
    use Setting as S;
    let path = (S::Path, "{{node}}/{{tenant}}");
    settings(&[ETCD, path, (S::Pattern, "/data/{{node}}/tenants/*.db")]).unwrap();
    settings(&[path]).unwrap();
}

#[test]
fn volumes_and_patterns_must_meet() {
    use Setting as S;
    let problems = |volumes: &[&str], patterns: &[&str]| {
        let mut raw = flags(&[(S::Bucket, "backups")]);
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        raw.set(S::Volume, crate::config::Origin::Flag, words(volumes));
        raw.set(S::Pattern, crate::config::Origin::Flag, words(patterns));
        Settings::check(&raw, &context()).map_or_else(|e| e.to_string(), |_| String::new())
    };
    assert_eq!(problems(&["a=/mnt/a", "b=/mnt/b"], &["/mnt/*/*.db"]), "");
    assert_eq!(problems(&["a=/mnt/a", "rest"], &["/mnt/a/*.db", "/srv/*.db"]), "");
    assert_eq!(
        problems(&["a=/mnt/a"], &["x/*.db"]),
        "",
        "below a directory that is not known here"
    );
    let lost = problems(&["a=/mnt/a"], &["/mnt/a/*.db", "/srv/*.db"]);
    assert!(
        lost.starts_with("-pattern \"/srv/*.db\": it finds no database in the directory of any")
    );
    let empty = problems(&["a=/mnt/a", "rest"], &["/srv/*.db"]);
    assert!(empty.starts_with("-volume \"a=/mnt/a\": no -pattern looks for databases"), "{empty}");
    for twice in [["a", "a=/srv"], ["a", "b"], ["a=/srv", "b=/srv/"]] {
        assert!(problems(&twice, &["/srv/*.db"]).contains("stand for the same"), "{twice:?}");
    }
}

#[test]
fn http_for_others_needs_a_token_or_the_explicit_word() {
    use Setting as S;
    let all = (S::Http, "0.0.0.0:9810");
    let http = settings(&[all, (S::HttpTokenFile, "/t")]).unwrap().http;
    assert_eq!((http.address, http.token_file), ("0.0.0.0:9810".parse().ok(), Some("/t".into())));
    assert!(settings(&[all, (S::HttpOpen, "true")]).unwrap().http.token_file.is_none());
    assert!(settings(&[all, (S::HttpOpen, "false")]).is_err());
    let own = settings(&[(S::HttpTokenFile, "/t")]).unwrap().http;
    assert!(own.token_file.is_some(), "on this host alone it may be asked for, too");
    let dry = settings(&[(S::DryRun, "true")]).unwrap().http;
    assert_eq!((dry.address, dry.daemon), (None, "127.0.0.1:9810".parse().ok()));
}
