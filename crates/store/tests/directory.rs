//! What only a directory has: links, modes, leftovers, other processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, reason = "the modules of a test are its own")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures::TryStreamExt;
use ultrasimple_core::{Clock, SystemClock, Timestamp};
use ultrasimple_store::{
    ByteRange, Condition, DirectoryStore, Location, S3Options, Store, StoreError, open, probe,
};

use support::{content, key, listed, names, noise, put};

async fn store() -> (DirectoryStore, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("backups");
    (DirectoryStore::open(&root, true).await.unwrap(), root, folder)
}

#[tokio::test]
async fn a_missing_directory_is_made_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b");
    let missing = DirectoryStore::open(&root, false).await.unwrap_err();
    assert!(matches!(missing, StoreError::Denied(_)), "{missing:?}");
    assert!(missing.to_string().contains("does not exist: create it"), "{missing}");
    let store = DirectoryStore::open(&root, true).await.unwrap();
    assert_eq!(store.location(), format!("file://{}", root.display()));
    // Backups are nobody else's business.
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let wrong = DirectoryStore::open(&file, false).await.unwrap_err();
    assert!(wrong.to_string().contains("not a directory"), "{wrong}");
}

#[tokio::test]
async fn objects_are_plain_private_files() {
    let (store, root, _folder) = store().await;
    put(&store, "a/b/object", &noise(1, 10), Condition::Absent).await.unwrap();
    let path = root.join("a/b/object");
    assert_eq!(fs::read(&path).unwrap(), noise(1, 10));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // What others put there is listed and read, too.
    fs::create_dir(root.join("c")).unwrap();
    fs::write(root.join("c/foreign"), "hello").unwrap();
    assert_eq!(content(&store, "c/foreign").await, "hello");
    assert_eq!(names(&store, "", None).await, ["a/b/object", "c/foreign"]);
}

#[tokio::test]
async fn keys_are_listed_in_the_order_of_their_bytes() {
    let (store, _, _folder) = store().await;
    let keys = ["a!/x", "a-b/c", "a.b", "a/b", "a/b-x", "a/b.y/z", "a/bb/c", "a0", "z/z/z", "é"];
    for name in keys.iter().rev() {
        put(&store, name, &noise(1, 1), Condition::Absent).await.unwrap();
    }
    assert!(keys.is_sorted());
    assert_eq!(names(&store, "", None).await, keys);
    for after in ["", "a", "a-b/", "a/", "a/b", "a/b.", "a/b/", "a/c", "zz"] {
        let expected: Vec<&str> = keys.iter().copied().filter(|name| *name > after).collect();
        assert_eq!(names(&store, "", Some(after)).await, expected, "after {after}");
    }
}

#[tokio::test]
async fn symbolic_links_are_never_followed() {
    let (store, root, folder) = store().await;
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, root.join("folder")).unwrap();
    symlink(outside.join("secret"), root.join("file")).unwrap();
    symlink(outside.join("nothing"), root.join("dangling")).unwrap();

    for name in ["folder/secret", "file", "dangling"] {
        assert!(store.get(&key(name), ByteRange::Full).await.unwrap().is_none(), "{name}");
        assert_eq!(store.head(&key(name)).await.unwrap(), None, "{name}");
        assert!(store.delete(&[key(name)]).await.unwrap().is_empty());
        for condition in [Condition::Absent, Condition::Always] {
            let refused = put(&store, name, &noise(1, 10), condition).await;
            assert!(matches!(refused, Err(StoreError::Invalid(_))), "{name}: {refused:?}");
        }
    }
    assert_eq!(names(&store, "", None).await, [""; 0]);
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    assert!(!outside.join("nothing").exists());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn a_name_is_a_file_or_a_folder() {
    let (store, _, _folder) = store().await;
    put(&store, "a/b", &noise(1, 10), Condition::Absent).await.unwrap();
    for name in ["a", "a/b/c"] {
        let refused = put(&store, name, &noise(1, 10), Condition::Always).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused:?}");
        assert!(refused.to_string().contains("not both"), "{refused}");
    }
    let long = format!("folder/{}", "k".repeat(256));
    let refused = put(&store, &long, &noise(1, 10), Condition::Always).await.unwrap_err();
    assert!(refused.to_string().contains("255 bytes"), "{refused}");
    assert_eq!(store.head(&key(&long)).await.unwrap(), None);
}

#[tokio::test]
async fn the_working_folders_are_hidden_and_closed() {
    let (store, root, _folder) = store().await;
    put(&store, ".ultrasimple/v1/cluster.json", &noise(1, 10), Condition::Absent).await.unwrap();
    assert!(root.join(".ultrasimple/locks").is_dir() && root.join(".ultrasimple/tmp").is_dir());
    assert_eq!(names(&store, "", None).await, [".ultrasimple/v1/cluster.json"]);
    assert_eq!(names(&store, ".ultrasimple/", None).await, [".ultrasimple/v1/cluster.json"]);
    for name in [".ultrasimple/tmp/x", ".ultrasimple/locks/00", ".ultrasimple/tmp"] {
        let refused = put(&store, name, &noise(1, 10), Condition::Always).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
        assert_eq!(store.delete(&[key(name)]).await.unwrap().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn empty_folders_are_removed_after_a_deletion() {
    let (store, root, _folder) = store().await;
    put(&store, "a/b/c/object", &noise(1, 10), Condition::Absent).await.unwrap();
    put(&store, "a/other", &noise(1, 10), Condition::Absent).await.unwrap();
    store.delete(&[key("a/b/c/object")]).await.unwrap();
    assert!(root.join("a/other").exists() && !root.join("a/b").exists());
    store.delete(&[key("a/other")]).await.unwrap();
    assert!(!root.join("a").exists() && root.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_that_come_and_go_lose_no_write() {
    let (store, _, _folder) = store().await;
    let store = Arc::new(store);
    let tasks = (0..4).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..50 {
                let name = format!("shared/folder/{task}");
                put(&*store, &name, &noise(round, 10), Condition::Absent).await.unwrap();
                assert!(store.delete(&[key(&name)]).await.unwrap().is_empty());
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    assert_eq!(names(&*store, "", None).await, [""; 0]);
}

#[tokio::test]
async fn no_write_leaves_a_temporary_file() {
    let (store, root, _folder) = store().await;
    put(&store, "a", &noise(1, 10), Condition::Absent).await.unwrap();
    put(&store, "a", &noise(1, 10), Condition::Absent).await.unwrap_err();
    let failed = support::streamed(noise(1, 100_000), 1_000, None);
    store.put(&key("b"), failed, Condition::Absent).await.unwrap_err();
    assert_eq!(fs::read_dir(root.join(".ultrasimple/tmp")).unwrap().count(), 0);
}

/// A clock that stands still.
#[derive(Debug)]
struct Standing(Timestamp);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        self.0
    }
    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

#[tokio::test]
async fn versions_differ_even_when_the_clock_stands_still_or_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let open = |second| {
        let clock = Standing(Timestamp::from_second(second).unwrap());
        DirectoryStore::open_with_clock(folder.path(), true, Arc::new(clock))
    };
    let mut tags = Vec::new();
    for second in [1_700_000_000, 1_700_000_000, 1_600_000_000] {
        let store = open(second).await.unwrap();
        for round in 0..3 {
            let stored = put(&store, "object", &noise(round, 10), Condition::Always).await.unwrap();
            assert!(!tags.contains(&stored.etag), "{:?}", stored.etag);
            tags.push(stored.etag);
        }
    }
}

#[tokio::test]
async fn the_time_is_not_that_of_this_program() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Standing(Timestamp::from_second(1_600_000_000).unwrap());
    let store = DirectoryStore::open_with_clock(folder.path(), true, Arc::new(clock));
    let store = store.await.unwrap();
    let before = SystemClock.now();
    let first = store.time().await.unwrap();
    // Kernels give files the time of the last timer tick.
    assert!(first.as_second() >= before.as_second() - 1, "{first}, asked at {before}");
    assert!(store.time().await.unwrap() >= first);
    let left = fs::read_dir(folder.path().join(".ultrasimple/tmp")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn old_leftovers_are_removed_at_the_start_and_new_ones_are_not() {
    let (store, root, _folder) = store().await;
    put(&store, "object", &noise(1, 10), Condition::Absent).await.unwrap();
    drop(store);
    let tmp = root.join(".ultrasimple/tmp");
    for name in ["old", "new"] {
        fs::write(tmp.join(name), "half").unwrap();
    }
    let touched = Command::new("touch").args(["-d", "25 hours ago"]).arg(tmp.join("old")).status();
    assert!(touched.unwrap().success());
    DirectoryStore::open(&root, false).await.unwrap();
    assert!(!tmp.join("old").exists() && tmp.join("new").exists());
}

#[tokio::test]
async fn a_copy_that_keeps_times_keeps_the_tags() {
    let (store, root, folder) = store().await;
    put(&store, "a/object", &noise(1, 10), Condition::Absent).await.unwrap();
    let copy = folder.path().join("copy");
    assert!(Command::new("cp").arg("-a").arg(&root).arg(&copy).status().unwrap().success());
    let copy = DirectoryStore::open(&copy, false).await.unwrap();
    assert_eq!(listed(&copy, "", None).await, listed(&store, "", None).await);
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_read_as_it_was() {
    let (store, _, _folder) = store().await;
    let (old, new) = (noise(1, 1_000_000), noise(2, 1_000_000));
    put(&store, "object", &old, Condition::Absent).await.unwrap();
    let mut reading = store.get(&key("object"), ByteRange::Full).await.unwrap().unwrap();
    let first = reading.body.try_next().await.unwrap().unwrap();
    put(&store, "object", &new, Condition::Always).await.unwrap();
    let rest: Vec<_> = reading.body.try_collect().await.unwrap();
    assert!([first.to_vec(), rest.concat()].concat() == old);
    assert!(content(&store, "object").await == new);
}

#[tokio::test]
async fn an_object_that_shrinks_while_it_is_read_is_an_error() {
    let (store, root, _folder) = store().await;
    put(&store, "object", &noise(1, 1_000_000), Condition::Absent).await.unwrap();
    let mut reading = store.get(&key("object"), ByteRange::Full).await.unwrap().unwrap();
    reading.body.try_next().await.unwrap().unwrap();
    let file = fs::OpenOptions::new().write(true).open(root.join("object")).unwrap();
    file.set_len(300_000).unwrap();
    let rest: Result<Vec<_>, _> = reading.body.try_collect().await;
    assert!(matches!(rest, Err(StoreError::Untrustworthy(_))), "{rest:?}");
}

const CHILD: &str = "ULTRASIMPLE_TEST_DIRECTORY";
const ROUNDS: u64 = 60;

/// Not a test of its own: what the processes of the next one run.
#[tokio::test]
async fn child_process_that_counts() {
    let Some(root) = std::env::var_os(CHILD) else {
        return;
    };
    let store = DirectoryStore::open(PathBuf::from(root), false).await.unwrap();
    for _ in 0..ROUNDS {
        add_one(&store).await;
    }
}

/// Adds one to a number in an object, by compare and swap.
async fn add_one(store: &DirectoryStore) {
    loop {
        let object = store.get(&key("number"), ByteRange::Full).await.unwrap().unwrap();
        let etag = object.info.etag.clone();
        let text = String::from_utf8(support::read(object).await.unwrap().to_vec()).unwrap();
        let next = (text.parse::<u64>().unwrap() + 1).to_string();
        match put(store, "number", &next.into(), Condition::Matches(etag)).await {
            Ok(_) => return,
            Err(StoreError::ConditionFailed) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn conditions_hold_between_processes() {
    let (store, root, _folder) = store().await;
    put(&store, "number", &"0".into(), Condition::Absent).await.unwrap();
    let children: Vec<_> = (0..3).map(|_| spawn_counter(&root)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(content(&store, "number").await, (3 * ROUNDS).to_string());
}

fn spawn_counter(root: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process_that_counts"])
        .env(CHILD, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_directory_that_may_not_be_written_can_still_be_read() {
    let (store, root, _folder) = store().await;
    put(&store, "object", &noise(1, 10), Condition::Absent).await.unwrap();
    drop(store);
    fs::remove_dir_all(root.join(".ultrasimple")).unwrap();
    let store = DirectoryStore::open(&root, false).await.unwrap();
    assert_eq!(content(&store, "object").await, noise(1, 10));
    assert_eq!(names(&store, "", None).await, ["object"]);
    // Reading makes no folders.
    assert!(!root.join(".ultrasimple").exists());
}

#[tokio::test]
async fn what_the_operator_names_is_opened_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let location: Location = format!("file://{}/new", folder.path().display()).parse().unwrap();
    let options = S3Options::default();
    let counters = Arc::clone(&options.counters);
    let missing = open(&location, options.clone(), false).await;
    assert!(matches!(missing, Err(StoreError::Denied(_))));
    let store = open(&location, options, true).await.unwrap();
    assert_eq!(store.location(), location.to_string());
    probe(&*store).await.unwrap();
    assert_eq!(names(&*store, "", None).await, [""; 0]);
    store.time().await.unwrap();
    let counted = counters.snapshot();
    assert_eq!((counted.puts, counted.gets, counted.lists, counted.deletes), (4, 1, 1, 1));
    assert_eq!(counted.heads, 1);
}
