//! The example of the library does what it says.

#[allow(dead_code, reason = "its main is for people")]
#[path = "../examples/embed.rs"]
mod embed;

use std::time::Duration;

use ultrasimple_testkit::bank::{Bank, BankOptions};

#[tokio::test(flavor = "multi_thread")]
async fn the_example_backs_up_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let databases = folder.path().canonicalize().unwrap().join("tenants");
    std::fs::create_dir(&databases).unwrap();
    for name in ["a.db", "b.db"] {
        Bank::open(&databases.join(name), &BankOptions::default()).unwrap().commit().unwrap();
    }
    let backups = folder.path().join("backups");
    let mut statistics = embed::run(&databases, &backups, Duration::from_secs(1)).await.unwrap();
    // However slow the machine: a first cycle that had no time is given more.
    while statistics.uploads_success < 2 {
        statistics = embed::run(&databases, &backups, Duration::from_secs(5)).await.unwrap();
    }
    assert_eq!((statistics.databases, statistics.uploads_failed), (2, 0));
    assert!(statistics.bytes_uploaded > 0);
}
