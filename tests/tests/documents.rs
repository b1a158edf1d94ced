//! What the documents tell people to type works as it stands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;

use ultrasimple_tests::{Yard, clean, keep_clear_of_the_hour, program, run};

/// The lines between ```` ```sh ```` and ```` ``` ```` of a document.
fn commands(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.collect()
}

#[test]
fn the_tutorial_restores_what_was_lost() {
    keep_clear_of_the_hour();
    let yard = Yard::new();
    let mut shell = clean("bash");
    let folder = program("ultrasimple").parent().unwrap().to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    shell.args(["-euc", &commands("TUTORIAL.md")]).env("PATH", path);
    shell.env("TMPDIR", yard.path("tmp")).current_dir(yard.path(""));
    let ran = run(shell);
    ran.expect(0, &[]);
    let said = &ran.stdout;
    for line in [
        "a first order of bob\na second order of bob\n",
        "restored 3 databases",
        "verified 3 backups",
        "a first order of alice\n",
    ] {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    for name in ["restored.db", "alice.db"] {
        assert!(yard.path(name).exists(), "{name}");
    }
}
