//! A fleet: a real etcd, a real S3 server behind a recorder, and daemons that share one folder of
//! databases, each with a proxy of its own before the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_testkit::bank::BankOptions;
use ultrasimple_testkit::etcd::{Etcd, range};
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::{Bucket, Daemon, Proxy, Recorded, Yard, eventually};

/// As short as it may be.
pub const LEASE: Duration = Duration::from_secs(2);
/// Between two scans.
pub const INTERVAL: Duration = Duration::from_millis(200);

/// A fleet without nodes yet.
#[derive(Debug)]
pub struct Fleet {
    /// Where the databases are (`data`), and all else.
    pub yard: Yard,
    /// The members of etcd.
    pub etcd: Etcd,
    /// What was written to the store.
    pub recorded: Recorded,
    /// The bucket, past proxies and recorder.
    pub bucket: Bucket,
    shards: u32,
}

/// A node of it.
#[derive(Debug)]
pub struct FleetNode {
    /// How it is called.
    pub name: String,
    /// Its daemon.
    pub daemon: Daemon,
    /// Between it and the store.
    pub proxy: Proxy,
}

/// Which node has the claim of each shard (by number), and the revision that created the claim.
pub type Owners = BTreeMap<u32, (String, u64)>;

impl Fleet {
    /// An etcd of one member and an empty bucket.
    pub fn new(shards: u32) -> Self {
        let server = SeaweedFs::shared();
        let etcd = Etcd::start_one().unwrap();
        let recorded = Recorded::start(server.port());
        Self { yard: Yard::new(), etcd, recorded, bucket: Bucket::new_in(server), shards }
    }

    /// A bank in the folder of databases, with so many more commits. Gives its path.
    pub fn bank(&self, name: &str, commits: u32) -> PathBuf {
        let options = BankOptions { accounts: 30, ..BankOptions::default() };
        self.yard.bank(format!("data/{name}.db"), &options, commits)
    }

    /// The words that join a node to this fleet.
    pub fn words(&self, node: &str) -> Vec<String> {
        let mut words = vec!["-pattern".to_owned(), "data/*.db".to_owned()];
        for endpoint in self.etcd.endpoints() {
            words.extend(["-etcd".to_owned(), endpoint]);
        }
        let interval = format!("{}ms", INTERVAL.as_millis());
        let (lease, shards) = (format!("{}s", LEASE.as_secs()), self.shards.to_string());
        for (flag, value) in [
            ("-node", node),
            ("-interval", &interval),
            ("-lease-ttl", &lease),
            ("-shards", &shards),
            ("-drain-timeout", "5s"),
        ] {
            words.extend([flag, value].map(str::to_owned));
        }
        words
    }

    /// A proxy between a node and the store.
    pub fn proxy(&self) -> Proxy {
        Proxy::start(self.recorded.port())
    }

    /// The command of a node behind this proxy, with these words more.
    pub fn command(&self, node: &str, proxy: &Proxy, words: &[&str]) -> std::process::Command {
        let mut all = self.words(node);
        if words.contains(&"-shards") {
            // Once only.
            let at = all.iter().position(|word| word == "-shards").unwrap();
            all.drain(at..at + 2);
        }
        all.extend(words.iter().map(|word| (*word).to_owned()));
        let mut command = self.yard.daemon(&self.bucket.through(proxy.endpoint()), &all);
        let scratch = self.yard.path(format!("tmp/{node}"));
        std::fs::create_dir_all(&scratch).unwrap();
        command.env("TMPDIR", scratch);
        command
    }

    /// Starts a node.
    pub fn node(&self, name: &str, words: &[&str]) -> FleetNode {
        let proxy = self.proxy();
        let daemon = Daemon::start(self.command(name, &proxy, words));
        FleetNode { name: name.to_owned(), daemon, proxy }
    }

    /// Who owns what now, as etcd has it.
    pub fn owners(&self) -> Owners {
        let port = self.etcd.ports(0).unwrap().client;
        let prefix = "/ultrasimple/default/shards/default/";
        let (_, found) = range(port, prefix).unwrap();
        found
            .into_iter()
            .map(|claim| {
                let record: serde_json::Value = serde_json::from_str(&claim.value).unwrap();
                let node = record["node"].as_str().unwrap().to_owned();
                (claim.key[prefix.len()..].parse().unwrap(), (node, claim.created))
            })
            .collect()
    }

    /// Waits until every shard is owned, each by one of these nodes, and each of these owns one; gives who
    /// owns what, and how long it took.
    #[track_caller]
    pub fn until_owned_by(&self, nodes: &[&FleetNode]) -> (Owners, Duration) {
        let start = SystemClock.monotonic();
        let names: BTreeSet<_> = nodes.iter().map(|node| node.name.clone()).collect();
        let owners = eventually(&format!("{names:?} own all shards"), || {
            let owners = self.owners();
            let found: BTreeSet<_> = owners.values().map(|(node, _)| node.clone()).collect();
            (owners.len() == self.shards as usize && found == names).then_some(owners)
        });
        (owners, SystemClock.monotonic().saturating_sub(start))
    }

    /// Waits until who owns what has not changed for so long, and gives it.
    #[track_caller]
    pub fn until_steady(&self, steady: Duration) -> Owners {
        let (mut last, mut since) = (self.owners(), SystemClock.monotonic());
        eventually("ownership is steady", || {
            let now = self.owners();
            if now != last || now.len() != self.shards as usize {
                (last, since) = (now, SystemClock.monotonic());
            }
            (SystemClock.monotonic().saturating_sub(since) > steady).then(|| last.clone())
        })
    }

    /// The commits that the newest backup of a bank has, as `lz4 -d` gives it.
    pub fn commits_of(&self, name: &str) -> Option<i64> {
        let backups = self.bucket.backups();
        let (_, keys) = backups
            .iter()
            .find(|(stem, _)| stem.as_str() == name || stem.ends_with(&format!("/{name}")))?;
        let object = self.yard.path(format!("{name}.object"));
        let image = self.yard.path(format!("{name}.image"));
        std::fs::write(&object, self.bucket.get(keys.last()?)).unwrap();
        crate::unpack(&object, &image).unwrap();
        Some(ultrasimple_testkit::bank::verify(&image).unwrap())
    }

    /// Waits until the newest backup of a bank has so many commits.
    #[track_caller]
    pub fn until_stored(&self, name: &str, commits: i64) {
        eventually(&format!("{name} is stored with {commits} commits"), || {
            (self.commits_of(name) == Some(commits)).then_some(())
        });
    }
}

/// How many shards have another owner now.
pub fn moved(before: &Owners, after: &Owners) -> usize {
    let other = |(shard, (node, _)): &(&u32, &(String, u64))| {
        after.get(shard).is_none_or(|(now, _)| now != node)
    };
    before.iter().filter(other).count()
}
