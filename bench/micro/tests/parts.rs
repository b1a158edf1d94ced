//! Every part can be run: what a bench would only find out when somebody asks for figures.

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ultrasimple-bench-micro");

#[test]
fn each_part_does_its_work_again_and_again() {
    let listed = Command::new(PROGRAM).arg("list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut parts = 0;
    for line in listed.lines() {
        let part: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = part["name"].as_str().unwrap();
        let mut count = Command::new(PROGRAM);
        count.args(["count", name, "--times", "1", "--folder"]).arg(folder.path());
        let done = count.output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        parts += 1;
    }
    assert!(parts > 10, "only these are listed:\n{listed}");
}
