//! `completions` and `man`, of both programs; and the documents that must not drift.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{Bucket, Ran, files};

fn run(bucket: &Bucket, args: &[&str]) -> Ran {
    Ran::of(bucket.command().args(args))
}

#[test]
fn completions_know_the_commands_and_flags() {
    let bucket = Bucket::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&bucket, &["completions", shell]);
        for word in ["verify", "purge", "rebuild", "all-hours", "bucket", "retention-days"] {
            assert!(ran.well().stdout.contains(word), "{shell} {word}");
        }
        let daemon = run(&bucket, &["completions", shell, "ultrasimple"]);
        for word in ["retention-days", "pattern", "dry-run"] {
            assert!(daemon.well().stdout.contains(word), "{shell} {word}");
        }
    }
    run(&bucket, &["completions", "tcsh"]).failed(2, &["bash, zsh, fish"]);
    run(&bucket, &["completions", "bash", "other"]).failed(2, &["ultrasimple-ctl, ultrasimple"]);
}

#[test]
fn bash_takes_the_script() {
    let bucket = Bucket::new();
    let script = run(&bucket, &["completions", "bash"]).stdout;
    fs::write(bucket.out("script"), script).unwrap();
    let mut bash = Command::new("bash");
    let complete = "source ./script && COMP_WORDS=(ultrasimple-ctl ver) COMP_CWORD=1 && \
                    set -- $(complete -p ultrasimple-ctl | grep -o -- '-F [^ ]*') && \
                    $2 ultrasimple-ctl ver ultrasimple-ctl && echo ${COMPREPLY[@]}";
    bash.arg("-c").arg(complete).current_dir(bucket.out("")).stdin(Stdio::null());
    assert!(Ran::of(&mut bash).well().stdout.contains("verify"));
}

#[test]
fn manual_pages_are_made() {
    let bucket = Bucket::new();
    let ran = run(&bucket, &["man"]);
    assert!(
        ran.well().stdout.contains(".TH ultrasimple") && ran.stdout.contains("verify"),
        "{ran:?}"
    );
    let ran = run(&bucket, &["man", "ultrasimple"]);
    assert!(ran.well().stdout.contains("retention"), "{ran:?}");
    run(&bucket, &["man", "--to", "pages/man1"]).well();
    let pages = files(&bucket.out("pages/man1"));
    for page in ["ultrasimple.1", "ultrasimple-ctl.1", "ultrasimple-ctl-verify.1"] {
        assert!(pages.contains(&page.to_owned()), "{pages:?}");
    }
    fs::write(bucket.out("file"), b"").unwrap();
    run(&bucket, &["man", "--to", "file"]).failed(1, &["--to file"]);
}

/// Every command and flag that the help tells of is in the document, and every command of the document is one.
#[test]
fn the_document_tells_of_every_command_and_flag() {
    let bucket = Bucket::new();
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CTL.md"));
    let document = document.unwrap();
    let help = run(&bucket, &["--help"]).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next());
    for command in commands.filter(|command| *command != "help") {
        assert!(document.contains(&format!("`{command}")), "{command}");
        let help = run(&bucket, &[command, "--help"]).stdout;
        for word in help.split_whitespace().filter(|word| word.starts_with("--")) {
            let flag = word.trim_end_matches([',', '.', ':', ';', '=', ')']);
            let flag = flag.split(['=', '>']).next().unwrap();
            if ["--help", "--", "--json"].contains(&flag) {
                continue;
            }
            let one_dash = &flag[1..];
            assert!(document.contains(flag) || document.contains(one_dash), "{command} {flag}");
        }
    }
}
