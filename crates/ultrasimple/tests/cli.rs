//! The daemon's command line from outside: what is refused, in which words, with which status.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;
use ultrasimple_core::config::Setting;

/// Far more than a start that fails, or one cycle over nothing, can take.
const DEADLINE: Duration = Duration::from_mins(1);

/// The daemon in an empty directory, without any variable but the ones given.
struct Daemon {
    directory: TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl Daemon {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// What the daemon does with these words; it must end by itself.
    fn run(&self, words: &[&str]) -> Output {
        let child = Command::new(env!("CARGO_BIN_EXE_ultrasimple"))
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .env("TMPDIR", self.path())
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let output = receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            panic!("{words:?}: still running after {DEADLINE:?}");
        });
        output.unwrap()
    }

    /// The daemon must refuse these words as a usage error; what it says.
    fn refuse(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}{stdout}");
        assert_eq!(stdout, "", "{words:?}");
        // Nothing was begun.
        let left = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let left: Vec<_> = self.path().read_dir().unwrap().map(left).collect();
        let ours = left.iter().all(|name| name.to_string_lossy().ends_with(".toml"));
        assert!(ours, "{words:?}: {left:?}");
        stderr
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn bad_words_are_refused_by_name() {
    let daemon = Daemon::new();
    let bucket = ["-bucket", "file:///nowhere/backups"];
    for (words, said) in [
        (&["-unknown"][..], &["'--unknown'"][..]),
        (&["-bukcet", "x"], &["'--bukcet'", "'--bucket'"]),
        (&["-etcd", "localhost:2379"], &["-etcd \"localhost:2379\": it must be like http://"]),
        (&["-etcd", "http://localhost:2379", "-once"], &["-once has no meaning with -etcd"]),
        (&["-allow-unfenced"], &["-allow-unfenced has no meaning without -etcd"]),
        (&["-lease-ttl", "20s"], &["-lease-ttl has no meaning without -etcd"]),
        (&["-volume", "a", "-volume", "a"], &["-volume \"a a\": a and a stand for the same"]),
        (
            &["-http-open", "-http-token-file", "t"],
            &["-http-open and -http-token-file are both set"],
        ),
        (&["-interval", "0"], &["-interval \"0\": it must be a time from 100ms to 24h"]),
        (&["-interval", "0s"], &["-interval \"0s\": it must be"]),
        (&["-interval", "-5s"], &["-interval \"-5s\": it must be"]),
        (&["--interval=-5s"], &["-interval \"-5s\": it must be"]),
        (&["-interval", "15"], &["a unit is missing: 15s"]),
        (
            &["-concurrent", "-1"],
            &["-concurrent \"-1\": it must be a whole number from 1 to 10000"],
        ),
        (&["-once", "-put-budget", "9"], &["-put-budget has no meaning with -once"]),
        (&["-retention-days", "36501"], &["-retention-days \"36501\": it must be"]),
        (&["-keep", "daily"], &["-keep \"daily\": \"daily\" is not a rule"]),
        (&["-verify-percent-per-day", "-1"], &["-verify-percent-per-day \"-1\": it must be"]),
        (&["-reconcile-requests", "-1"], &["-reconcile-requests \"-1\": it must be"]),
        (&["-retention-days", "-30"], &["-retention-days \"-30\": it must be"]),
        (&["-put-budget", "-1"], &["-put-budget \"-1\": it must be"]),
        (&["-memory-budget", "-1GiB"], &["-memory-budget \"-1GiB\": it must be a size"]),
        (&["-min-upload-interval", "-1h"], &["-min-upload-interval \"-1h\": it must be"]),
        (&["-pattern", "/a//b"], &["-pattern \"/a//b\": ", "empty component"]),
        (&["-pattern", "/a/[b"], &["-pattern \"/a/[b\": "]),
        (&["-pattern", "~/a/*.db"], &["-pattern \"~/a/*.db\": ", "$HOME/a/*.db"]),
        (&["-exclude", "/a/**"], &["-exclude \"/a/**\": "]),
        (&["-path", "{{tenant"], &["-path \"{{tenant\": "]),
        (&["-check", "some"], &["-check \"some\": it must be off or quick or full"]),
        (&["-http", "0.0.0.0:9810"], &["-http \"0.0.0.0:9810\": ", "needs a token"]),
        (&["-log-format", "xml"], &["-log-format \"xml\": it must be text or json"]),
        (&["-node", "a/b"], &["-node \"a/b\": "]),
        (&["-region", "us-east-1"], &["-region has no meaning with -bucket file://"]),
        (&["-config", "absent.toml"], &["-config \"absent.toml\": cannot read this file: No such"]),
        (&["-config", "."], &["-config \".\": cannot read this file: Is a directory"]),
        (&["/a/1.db", "/a/2.db"], &["'/a/1.db'", "quotes"]),
    ] {
        let stderr = daemon.refuse(&[&bucket, words].concat());
        for part in said {
            assert!(stderr.contains(part), "{words:?}: {part} is not in: {stderr}");
        }
        assert!(stderr.starts_with("ultrasimple: ") && stderr.contains("-help"), "{stderr}");
    }
}

#[test]
fn a_bucket_is_needed_and_must_be_one() {
    let daemon = Daemon::new();
    let stderr = daemon.refuse(&[]);
    assert!(stderr.contains("-bucket is missing") && stderr.contains("file:///"), "{stderr}");
    assert!(daemon.refuse(&["-once"]).contains("-bucket is missing"));
    for bad in ["", "a b", "ftp://x", "/srv/backups", "file://relative", "https://s3.example.com/b"]
    {
        let stderr = daemon.refuse(&["-bucket", bad]);
        assert!(stderr.contains(&format!("-bucket {bad:?}: ")), "{stderr}");
    }
}

#[test]
fn half_a_key_pair_is_refused_and_not_shown() {
    let mut daemon = Daemon::new();
    let stderr = daemon.refuse(&["-bucket", "backups", "-access-key", "AKIA123"]);
    assert!(stderr.contains("-access-key is set, but -secret-key is not"), "{stderr}");
    assert!(!stderr.contains("AKIA123"), "{stderr}");
    daemon.variables = vec![("ULTRASIMPLE_SECRET_KEY", "hush")];
    let stderr = daemon.refuse(&["-bucket", "backups"]);
    assert!(stderr.contains("ULTRASIMPLE_SECRET_KEY is set, but -access-key is not"), "{stderr}");
    assert!(!stderr.contains("hush"), "{stderr}");
}

#[test]
fn the_file_is_refused_by_path_and_line() {
    let daemon = Daemon::new();
    for (text, said) in [
        (
            &b"bucket = 'backups'\nintervall = '1m'"[..],
            "u.toml, line 2: \"intervall\": there is no such setting; did you mean interval?",
        ),
        (
            b"bucket = 'backups'\ninterval = 0",
            "u.toml, line 2: interval = \"0\": it must be a time",
        ),
        (b"bucket = 'backups'\nconcurrent = -1", "u.toml, line 2: concurrent = \"-1\": it must be"),
        (b"bucket = backups", "u.toml, line 1: this is not TOML"),
        (b"bucket = ['backups']", "u.toml, line 1: bucket: it takes one value, not an array"),
        (b"etcd = 'http://x'", "u.toml, line 1: etcd = \"http://x\": it must be like http://"),
        (b"bucket = '\xff'", "-config \"u.toml\": cannot read this file"),
    ] {
        daemon.write("u.toml", text);
        let stderr = daemon.refuse(&["-config", "u.toml"]);
        assert!(stderr.contains(said), "{said} is not in: {stderr}");
    }
    daemon.write("u.toml", "#".repeat((1 << 20) + 1));
    assert!(daemon.refuse(&["-config", "u.toml"]).contains("more than 1 MiB"));
}

#[test]
fn unknown_variables_are_refused() {
    let mut daemon = Daemon::new();
    daemon.variables = vec![("ULTRASIMPLE_BUKET", "backups")];
    let stderr = daemon.refuse(&["-bucket", "backups"]);
    assert!(
        stderr.contains("ULTRASIMPLE_BUKET") && stderr.contains("ULTRASIMPLE_BUCKET?"),
        "{stderr}"
    );
    daemon.variables = vec![("RUST_LOG", "ultrasimple=loud")];
    let stderr = daemon.refuse(&["-dry-run"]);
    assert!(stderr.contains("RUST_LOG=\"ultrasimple=loud\""), "{stderr}");
}

/// Each layer has a wrong value: only that of the strongest may be complained about.
#[test]
fn flag_beats_variable_beats_file() {
    let mut daemon = Daemon::new();
    daemon.write("u.toml", "bucket = 'backups'\ninterval = '3ms'");
    daemon.variables = vec![("ULTRASIMPLE_CONFIG", "u.toml")];
    let stderr = daemon.refuse(&[]);
    assert!(stderr.contains("u.toml, line 2: interval = \"3ms\""), "{stderr}");

    daemon.variables.push(("ULTRASIMPLE_INTERVAL", "2ms"));
    let stderr = daemon.refuse(&[]);
    assert!(stderr.contains("ULTRASIMPLE_INTERVAL=\"2ms\"") && !stderr.contains("3ms"), "{stderr}");

    let stderr = daemon.refuse(&["-interval", "1ms"]);
    assert!(stderr.contains("-interval \"1ms\""), "{stderr}");
    assert!(!stderr.contains("2ms") && !stderr.contains("3ms"), "{stderr}");

    // The flag's file beats the variable's.
    daemon.write("v.toml", "bucket = 'backups'\nshards = 0");
    daemon.variables.pop();
    let stderr = daemon.refuse(&["-config", "v.toml"]);
    assert!(stderr.contains("v.toml, line 2") && !stderr.contains("u.toml"), "{stderr}");
}

#[test]
fn all_problems_are_told_at_once() {
    let mut daemon = Daemon::new();
    daemon.write("u.toml", "shards = 0\nnonsense = 1");
    daemon.variables = vec![("ULTRASIMPLE_CHECK", "some")];
    let stderr = daemon.refuse(&["-interval", "0s", "-config", "u.toml"]);
    for said in
        ["-bucket is missing", "-interval", "ULTRASIMPLE_CHECK", "line 1: shards", "\"nonsense\""]
    {
        assert!(stderr.contains(said), "{said} is not in: {stderr}");
    }
}

#[test]
fn the_help_mentions_every_setting() {
    let daemon = Daemon::new();
    for word in ["--help", "-help", "-h"] {
        let output = daemon.run(&[word]);
        assert!(output.status.success());
        let help = text(&output.stdout);
        for setting in Setting::ALL {
            assert!(help.contains(&format!("\n  {}", setting.flag())), "{setting:?}");
        }
    }
    let output = daemon.run(&["-version"]);
    assert_eq!(text(&output.stdout).trim(), concat!("ultrasimple ", env!("CARGO_PKG_VERSION")));
}
