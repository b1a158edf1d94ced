//! Litestream: one process that watches all databases of a folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ultrasimple_testkit::http;
use ultrasimple_testkit::process::{ServerProcess, clean_command, free_ports};
use ultrasimple_testkit::seaweed::{ADMIN, SeaweedFs};

use crate::databases::{Databases, Kind, Shape};
use crate::machine;
use crate::peers::{self, Took, rclone};

const STEP_WITHIN: Duration = Duration::from_mins(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// It is asked for a small part of the time only.
const ASK_SHARE: u32 = 30;
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// After everything was stored it compacts for a while: that is not rest.
const SETTLES_WITHIN: Duration = Duration::from_secs(45);

/// One that runs; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Litestream {
    process: ServerProcess,
    port: u16,
}

impl Litestream {
    /// Starts it over all databases below a folder, which it writes to: so they are its own.
    pub(crate) fn start(
        folder: &Path,
        store: &SeaweedFs,
        data: &Path,
        bucket: &str,
    ) -> Result<Self> {
        Self::start_over(folder, store, &[data.to_owned()], bucket)
    }

    /// Starts it over all databases below some folders. It keeps three files of each open.
    pub(crate) fn start_over(
        folder: &Path,
        store: &SeaweedFs,
        data: &[PathBuf],
        bucket: &str,
    ) -> Result<Self> {
        let [port] = free_ports();
        let config = configuration(store, data, bucket, port);
        let path = folder.join(format!("litestream-{port}.yml"));
        std::fs::write(&path, config)?;
        let mut command = clean_command(peers::program("litestream")?);
        command.arg("replicate").arg("-config").arg(&path);
        let process = ServerProcess::spawn(command, &folder.join("litestream.log"))?;
        Ok(Self { process, port })
    }

    /// Waits until each of so many databases has a first object in the bucket.
    pub(crate) fn stored(&mut self, databases: u32) -> Result<()> {
        let start = Instant::now();
        while self.puts()? < f64::from(databases) {
            if start.elapsed() > STEP_WITHIN {
                bail!("litestream did not store all: {} requests", self.puts()?);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// The objects that it has sent. It first sends one for each database.
    fn puts(&mut self) -> Result<f64> {
        if let Some(status) = self.process.ended()? {
            bail!("litestream ended ({status}):\n{}", self.process.log_tail());
        }
        let answer = http::request(self.port, "GET", "/metrics", "", ANSWER_WITHIN);
        // While it starts, nobody answers.
        let Ok(answer) = answer else { return Ok(0.0) };
        let is_put = |line: &&str| {
            line.starts_with("litestream_replica_operation_total") && line.contains("\"PUT\"")
        };
        let values = answer.body.lines().filter(is_put);
        Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// One `litestream restore` for each database, so many at once, to the same place below `to`.
    pub(crate) fn restore(
        folder: &Path,
        store: &SeaweedFs,
        databases: &Databases,
        bucket: &str,
        to: &Path,
        at_once: usize,
    ) -> Result<Command> {
        let mut names = String::new();
        for number in 0..databases.kind.count {
            let path = databases.path(number);
            let name = path.strip_prefix(&databases.root)?;
            std::fs::create_dir_all(to.join(name.parent().unwrap_or(Path::new(""))))?;
            // Writing to a string cannot fail.
            let _ = writeln!(names, "{}", name.display());
        }
        let list = folder.join("litestream-restore");
        std::fs::write(&list, names)?;
        let mut command = peers::of_aws(clean_command("xargs"));
        command.arg("-a").arg(&list).args(["-P", &at_once.to_string(), "-I", "{}"]);
        command.arg(peers::program("litestream")?).arg("restore").arg("-o").arg(to.join("{}"));
        command.arg(format!(
            "s3://{bucket}/databases/{{}}?endpoint={}&forcePathStyle=true&region=us-east-1",
            store.endpoint()
        ));
        Ok(command)
    }

    /// The processor's time that it takes in so long over so many databases, of which none changes.
    pub(crate) fn at_rest(
        folder: &Path,
        store: &SeaweedFs,
        databases: u32,
        watch: Duration,
    ) -> Result<Duration> {
        let kind = Kind { count: databases, shape: Shape::Thousands, bytes: 16_384 };
        let data = Databases::create(&folder.join("litestream"), kind)?;
        store.create_bucket_named("litestream")?;
        let mut litestream = Self::start(folder, store, &data.root, "litestream")?;
        litestream.stored(databases)?;
        std::thread::sleep(SETTLES_WITHIN);
        let process = litestream.process.id();
        let before = machine::processor_time(process)?;
        std::thread::sleep(watch);
        Ok(machine::processor_time(process)?.saturating_sub(before))
    }
}

/// Starts so many processes over all databases, and waits until each database is in the bucket, or for so long.
pub(crate) fn first(
    folder: &Path,
    store: &SeaweedFs,
    databases: &Databases,
    bucket: &str,
    processes: usize,
    within: Duration,
) -> Result<Took> {
    let folders = databases.folders()?;
    let share = folders.len().div_ceil(processes.max(1)).max(1);
    let all = databases.kind.count;
    let start = Instant::now();
    let mut running = Vec::new();
    for share in folders.chunks(share) {
        running.push(Litestream::start_over(folder, store, share, bucket)?);
    }
    loop {
        let asked = Instant::now();
        let puts = running.iter_mut().map(Litestream::puts).sum::<Result<f64>>()?;
        let took = start.elapsed();
        // They say how much they have sent, not of what: after the first objects there are others.
        let is_done = puts >= f64::from(all) && rclone::databases(store, bucket)? == all as usize;
        if is_done || took > within {
            return Ok(Took { seconds: took.as_secs_f64(), to_its_end: is_done });
        }
        // Of many databases they have much to say: the questions are not to cost them time.
        std::thread::sleep((ASK_SHARE * asked.elapsed()).clamp(LOOK_EVERY, ASK_WITHIN));
    }
}

fn configuration(store: &SeaweedFs, data: &[PathBuf], bucket: &str, port: u16) -> String {
    let mut text = format!(
        "addr: \"127.0.0.1:{port}\"
access-key-id: {}
secret-access-key: {}
dbs:
",
        ADMIN.access_key, ADMIN.secret_key
    );
    for folder in data {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "  - dir: {}
    pattern: \"*.db\"
    recursive: true
    replica:
      type: s3
      bucket: {bucket}
      path: databases
      endpoint: {}
      region: us-east-1
      force-path-style: true
",
            folder.display(),
            store.endpoint()
        );
    }
    text
}
