//! A real etcd for tests: one member, or three, from Debian's package `etcd-server`.
//!
//! Each test has its own: members start in under two seconds, and a test may stop, pause or kill them. They
//! die with this process, however that ends. With [`Ports::advertised_peer`] a proxy can stand between the
//! members.
//!
//! Facts about it (3.4): its requests between members carry the header `X-Server-From`; a member that was
//! killed comes back from its folder under the same name; `/health` says `true` only with a leader.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::base64;
use crate::http;
use crate::process::{ServerProcess, clean_command, find_tool, free_ports};

const READY_WITHIN: Duration = Duration::from_mins(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
const TRIES: usize = 3;

/// Where a member listens, on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// For clients.
    pub client: u16,
    /// For other members.
    pub peer: u16,
    /// Where the other members look for it: `peer`, or a proxy to that.
    pub advertised_peer: u16,
}

impl Ports {
    /// Ports that are free now, without a proxy.
    pub fn free() -> Self {
        let [client, peer] = free_ports();
        Self { client, peer, advertised_peer: peer }
    }
}

/// A running etcd of one or more members, in a temporary folder of its own.
#[derive(Debug)]
pub struct Etcd {
    // Dropped in this order: first the processes, then what they leave.
    members: Vec<Member>,
    folder: TempDir,
}

#[derive(Debug)]
struct Member {
    ports: Ports,
    process: Option<ServerProcess>,
}

/// What a member says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Status {
    id: u64,
    leader: u64,
}

impl Etcd {
    /// Starts one member and waits until it takes requests.
    ///
    /// # Errors
    /// When its program is not installed, or it does not get ready.
    pub fn start_one() -> anyhow::Result<Self> {
        Self::start_free(1)
    }

    /// Starts three members and waits until all take requests.
    ///
    /// # Errors
    /// When its program is not installed, or it does not get ready.
    pub fn start_three() -> anyhow::Result<Self> {
        Self::start_free(3)
    }

    fn start_free(members: usize) -> anyhow::Result<Self> {
        let ports = || (0..members).map(|_| Ports::free()).collect::<Vec<_>>();
        let mut tried = Self::start(&ports());
        for _ in 1..TRIES {
            if tried.is_ok() {
                break;
            }
            // Most likely another process took one of the ports in between.
            tried = Self::start(&ports());
        }
        tried
    }

    /// Starts a member for each of these, and waits until all take requests.
    ///
    /// # Errors
    /// When its program is not installed, or it does not get ready.
    pub fn start(ports: &[Ports]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ultrasimple-etcd-").tempdir()?;
        let members = ports.iter().map(|ports| Member { ports: *ports, process: None }).collect();
        let mut etcd = Self { members, folder };
        for member in 0..ports.len() {
            etcd.spawn(member)?;
        }
        for member in 0..ports.len() {
            etcd.wait_ready(member)?;
        }
        Ok(etcd)
    }

    /// The URLs for clients, one for each member.
    pub fn endpoints(&self) -> Vec<String> {
        let url = |member: &Member| format!("http://127.0.0.1:{}", member.ports.client);
        self.members.iter().map(url).collect()
    }

    /// How many members it has, whether they run or not.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The ports of a member, for a proxy before it.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn ports(&self, member: usize) -> anyhow::Result<Ports> {
        self.members.get(member).map(|member| member.ports).context("no such member")
    }

    /// The id that a member has in the cluster: see [`crate::link::Link::set_for`].
    ///
    /// # Errors
    /// When it does not answer.
    pub fn id(&self, member: usize) -> anyhow::Result<u64> {
        Ok(Status::of(self.ports(member)?.client)?.id)
    }

    /// The member that a majority follows now.
    ///
    /// # Errors
    /// When those that answer know of none.
    pub fn leader(&self) -> anyhow::Result<usize> {
        let status: Vec<_> =
            self.members.iter().map(|member| Status::of(member.ports.client).ok()).collect();
        let followers = |id| status.iter().flatten().filter(|status| status.leader == id).count();
        let is_leader = |status: &Option<Status>| {
            status.is_some_and(|status| {
                status.id == status.leader && followers(status.id) * 2 > self.members.len()
            })
        };
        status.iter().position(is_leader).with_context(|| format!("no leader: {status:?}"))
    }

    /// Stops a member in order (SIGTERM). Its folder stays.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub fn stop(&mut self, member: usize) -> anyhow::Result<()> {
        self.running(member)?.stop(STOPPED_WITHIN)?;
        self.kill(member)
    }

    /// Kills a member at once (SIGKILL), as a crash would. Its folder stays.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        if let Some(mut process) = self.member(member)?.process.take() {
            process.kill();
        }
        Ok(())
    }

    /// Stops a member where it stands (SIGSTOP): its connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&mut self, member: usize) -> anyhow::Result<()> {
        self.running(member)?.pause()
    }

    /// Lets a member go on after [`Self::pause`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&mut self, member: usize) -> anyhow::Result<()> {
        self.running(member)?.resume()
    }

    /// Starts a member that was killed or stopped, from its folder. Does not wait for it: without a majority it
    /// cannot get ready. See [`Self::wait_ready`].
    ///
    /// # Errors
    /// When it runs, or cannot be started.
    pub fn restart(&mut self, member: usize) -> anyhow::Result<()> {
        ensure!(self.member(member)?.process.is_none(), "member {member} runs");
        self.spawn(member)
    }

    /// Waits until a member takes requests.
    ///
    /// # Errors
    /// When it ends, or does not within a minute: with the tail of its log.
    pub fn wait_ready(&mut self, member: usize) -> anyhow::Result<()> {
        let port = self.ports(member)?.client;
        self.running(member)?.wait_ready(READY_WITHIN, || is_healthy(port))
    }

    /// Whether a member takes requests now.
    pub fn is_ready(&self, member: usize) -> bool {
        self.ports(member).is_ok_and(|ports| is_healthy(ports.client))
    }

    /// The id of a member's process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&mut self, member: usize) -> anyhow::Result<u32> {
        Ok(self.running(member)?.id())
    }

    /// Where the members keep their data and write their logs (`0.log` and so on).
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn member(&mut self, member: usize) -> anyhow::Result<&mut Member> {
        self.members.get_mut(member).context("no such member")
    }

    fn running(&mut self, member: usize) -> anyhow::Result<&mut ServerProcess> {
        self.member(member)?.process.as_mut().with_context(|| format!("member {member} is down"))
    }

    fn spawn(&mut self, member: usize) -> anyhow::Result<()> {
        let program = find_tool("etcd", "ULTRASIMPLE_ETCD")?;
        let Ports { client, peer, advertised_peer } = self.ports(member)?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster = self.members.iter().enumerate();
        let cluster =
            cluster.map(|(other, it)| format!("m{other}={}", url(it.ports.advertised_peer)));
        let cluster: Vec<String> = cluster.collect();
        let data: PathBuf = self.folder.path().join(format!("{member}"));
        let mut command = clean_command(program);
        command.current_dir(self.folder.path());
        command.args([
            format!("--name=m{member}"),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={}", url(client)),
            format!("--advertise-client-urls={}", url(client)),
            format!("--listen-peer-urls={}", url(peer)),
            format!("--initial-advertise-peer-urls={}", url(advertised_peer)),
            format!("--initial-cluster={}", cluster.join(",")),
        ]);
        command.args([
            "--initial-cluster-state=new",
            "--initial-cluster-token=ultrasimple-test",
            "--heartbeat-interval=100",
            "--election-timeout=1000",
            "--logger=zap",
            "--log-outputs=stderr",
            "--log-level=warn",
        ]);
        let log = self.folder.path().join(format!("{member}.log"));
        let process = ServerProcess::spawn(command, &log)?;
        self.member(member)?.process = Some(process);
        Ok(())
    }
}

impl Status {
    fn of(port: u16) -> anyhow::Result<Self> {
        let status = call(port, "/v3/maintenance/status", &json!({}))?;
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let id = status.get("header").and_then(|header| header.get("member_id"));
        let id = id.and_then(number).context("no member_id")?;
        let leader = status.get("leader").and_then(number).unwrap_or_default();
        Ok(Self { id, leader })
    }
}

fn is_healthy(port: u16) -> bool {
    http::request(port, "GET", "/health", "", ANSWER_WITHIN)
        .is_ok_and(|answer| answer.status == 200 && answer.body.contains("\"true\""))
}

/// One call of etcd's JSON gateway, to the member whose clients' port this is. Bytes are in base64, and
/// 64-bit numbers are text.
///
/// # Errors
/// When it does not answer within two seconds, or refuses.
pub fn call(port: u16, method: &str, request: &Value) -> anyhow::Result<Value> {
    let answer = http::request(port, "POST", method, &request.to_string(), ANSWER_WITHIN)?;
    if answer.status != 200 {
        bail!("etcd answered {} to {method}: {}", answer.status, answer.body.trim());
    }
    serde_json::from_str(&answer.body).with_context(|| format!("read what {method} answered"))
}

/// What is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The revision that created the key.
    pub created: u64,
    /// The revision that changed it last.
    pub modified: u64,
}

/// All keys that begin so, as the majority of the members has them now; and the revision of that.
///
/// # Errors
/// When the member does not answer within two seconds, as without a majority.
pub fn range(port: u16, prefix: &str) -> anyhow::Result<(u64, Vec<KeyValue>)> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let [key, end] = [prefix.as_bytes(), &end].map(base64::encode);
    let answer = call(port, "/v3/kv/range", &json!({"key": key, "range_end": end}))?;
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let text = |value: Option<&Value>| {
        let bytes = base64::decode(value.and_then(Value::as_str).unwrap_or_default());
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let found = answer.get("kvs").and_then(Value::as_array).into_iter().flatten();
    let found = found.map(|found| KeyValue {
        key: text(found.get("key")),
        value: text(found.get("value")),
        created: number(found.get("create_revision")),
        modified: number(found.get("mod_revision")),
    });
    let header = answer.get("header").context("no header")?;
    Ok((number(header.get("revision")), found.collect()))
}

/// Stores a value under a key, without a lease.
///
/// # Errors
/// When the member does not answer within two seconds, as without a majority.
pub fn put(port: u16, key: &str, value: &str) -> anyhow::Result<()> {
    let [key, value] = [key, value].map(|text| base64::encode(text.as_bytes()));
    call(port, "/v3/kv/put", &json!({"key": key, "value": value})).map(drop)
}

/// Deletes a key; that it was not there is no failure.
///
/// # Errors
/// When the member does not answer within two seconds, as without a majority.
pub fn delete(port: u16, key: &str) -> anyhow::Result<()> {
    let key = base64::encode(key.as_bytes());
    call(port, "/v3/kv/deleterange", &json!({"key": key})).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_member_starts_and_ends_with_its_folder() {
        let mut etcd = Etcd::start_one().unwrap();
        assert_eq!(etcd.leader().unwrap(), 0);
        let (folder, pid) = (etcd.folder().to_owned(), etcd.pid(0).unwrap());
        drop(etcd);
        assert!(!folder.exists() && !Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn what_was_put_survives_a_kill_of_its_member() {
        let mut etcd = Etcd::start_one().unwrap();
        let port = etcd.ports(0).unwrap().client;
        put(port, "folder/key", "value").unwrap();
        put(port, "other", "value").unwrap();
        etcd.kill(0).unwrap();
        assert!(!etcd.is_ready(0));
        etcd.restart(0).unwrap();
        etcd.wait_ready(0).unwrap();
        let (revision, found) = range(port, "folder/").unwrap();
        let value = "value".to_owned();
        let expected = KeyValue { key: "folder/key".to_owned(), value, created: 2, modified: 2 };
        assert_eq!((revision, found), (3, vec![expected]));
        delete(port, "folder/key").unwrap();
        assert_eq!(range(port, "folder/").unwrap(), (4, vec![]));
    }

    #[test]
    fn of_three_members_two_go_on_without_their_leader() {
        let mut etcd = Etcd::start_three().unwrap();
        let first = etcd.leader().unwrap();
        etcd.pause(first).unwrap();
        let heir = (0..3).find(|member| *member != first).unwrap();
        // Ready means that there is a leader again.
        etcd.wait_ready(heir).unwrap();
        assert_ne!(etcd.leader().unwrap(), first);
        etcd.resume(first).unwrap();
        etcd.wait_ready(first).unwrap();
        etcd.stop(heir).unwrap();
        etcd.restart(heir).unwrap();
        etcd.wait_ready(heir).unwrap();
    }
}
