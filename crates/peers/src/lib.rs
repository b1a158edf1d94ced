//! Asks nodes by HTTP how it is about them and their shards: all at once, each with a short deadline.
//!
//! Both programs do: `ultrasimple-ctl` for its commands, and a node for its status page. What is asked for is the
//! daemon's `/api/v1`; what a node answers is its own word, and may be anything.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use ultrasimple_core::{Epoch, NodeName, ShardId, ShardKey, Timestamp, VolumeName};

/// What asking may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a node may take for all that it is asked.
    pub deadline: Duration,
    /// Nodes asked at once.
    pub at_once: usize,
    /// Bytes of an answer.
    pub bytes: usize,
}

impl Default for Limits {
    /// For a program that does nothing else: 2 s, 128 nodes, far more bytes than 65,536 shards of a volume come to.
    fn default() -> Self {
        Self { deadline: Duration::from_secs(2), at_once: 128, bytes: 64 << 20 }
    }
}

/// What a node says: see the daemon's `/api/v1`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Of itself.
    pub node: NodeSays,
    /// Of each of its shards.
    pub shards: BTreeMap<ShardKey, ShardSays>,
}

/// `/api/v1/node`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct NodeSays {
    /// Its name.
    pub node: String,
    /// Of the program.
    pub version: String,
    /// Where its backups go; older versions do not say.
    pub bucket: Option<String>,
    /// Whether it may act as a node of its fleet now.
    pub trusted: bool,
    /// How much longer; `None` without etcd.
    pub lease_seconds: Option<f64>,
    /// Databases known.
    pub databases: u64,
    /// Databases with a change that the bucket has not yet.
    pub pending: u64,
    /// Databases that fail.
    pub failing: u64,
    /// How long the oldest change has been waiting.
    pub exposure_seconds: f64,
    /// For how long it has been running.
    pub uptime_seconds: f64,
    /// Dollars a month for its requests; older versions do not say, young nodes cannot.
    #[serde(default)]
    pub month_dollars: Option<f64>,
    /// Bytes in the bucket, as far as its shards' catalogs say; older versions do not.
    #[serde(default)]
    pub stored_bytes: Option<u64>,
}

/// One of `/api/v1/shards`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ShardSays {
    /// Of which volume.
    pub volume: VolumeName,
    /// Which shard of it.
    pub shard: ShardId,
    /// Under which it writes.
    pub epoch: Epoch,
    /// How far along it is.
    pub phase: String,
    /// Since when it is the node's.
    pub since: Timestamp,
    /// Databases known.
    pub databases: u64,
    /// Databases with a change that the bucket has not yet.
    pub pending: u64,
    /// Databases that fail.
    pub failing: u64,
    /// How long the oldest change has been waiting.
    pub exposure_seconds: f64,
}

/// Asks all of them, each at its address; what each says, or why it does not.
pub async fn all(
    nodes: Vec<(NodeName, String)>,
    token: Option<&str>,
    limits: Limits,
) -> BTreeMap<NodeName, Result<Answer, String>> {
    let asked = nodes.into_iter().map(|(node, address)| async move {
        let answer = one(&address, token, limits).await.and_then(|answer| {
            // An address of one host alone leads to another node on another host.
            let is_it = answer.node.node == node.as_str();
            if is_it { Ok(answer) } else { Err(format!("{} answers there", answer.node.node)) }
        });
        (node, answer)
    });
    stream::iter(asked).buffer_unordered(limits.at_once).collect().await
}

/// Asks the node at an address: `http://host:port`.
///
/// # Errors
/// Why it does not say.
pub async fn one(address: &str, token: Option<&str>, limits: Limits) -> Result<Answer, String> {
    let asking = async {
        let (node, shards) = tokio::try_join!(
            get::<NodeSays>(address, "/api/v1/node", token, limits),
            get::<Vec<ShardSays>>(address, "/api/v1/shards", token, limits),
        )?;
        let key = |says: &ShardSays| ShardKey { volume: says.volume.clone(), shard: says.shard };
        let shards = shards.into_iter().map(|says| (key(&says), says)).collect();
        Ok(Answer { node, shards })
    };
    match tokio::time::timeout(limits.deadline, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", limits.deadline.as_secs_f64())),
    }
}

/// What a daemon says at a path for which it asks no token: whether that is 200, and the text.
///
/// # Errors
/// Why it does not say anything.
pub async fn open_path(
    address: &str,
    path: &str,
    limits: Limits,
) -> Result<(bool, String), String> {
    match tokio::time::timeout(limits.deadline, fetch(address, path, None, limits)).await {
        Ok(answer) => answer.map(|(status, body)| (status == StatusCode::OK, line(&body))),
        Err(_) => Err(format!("no answer within {} s", limits.deadline.as_secs_f64())),
    }
}

async fn get<T: DeserializeOwned>(
    address: &str,
    path: &str,
    token: Option<&str>,
    limits: Limits,
) -> Result<T, String> {
    let (status, body) = fetch(address, path, token, limits).await?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}")),
        StatusCode::UNAUTHORIZED => Err("it wants a token: -http-token-file".to_owned()),
        status => Err(format!("{path}: {status}: {}", line(&body))),
    }
}

/// A text of somebody else's, fit for a line of ours.
fn line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().take(200).filter(|c| !c.is_control()).collect()
}

async fn fetch(
    address: &str,
    path: &str,
    token: Option<&str>,
    limits: Limits,
) -> Result<(StatusCode, Bytes), String> {
    fn said(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let host = address.strip_prefix("http://").ok_or("its address is not http://")?;
    let stream = TcpStream::connect(host).await.map_err(said)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let mut request = Request::get(path).header(header::HOST, host);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(said)?;
    let answering = async {
        let response = sender.send_request(request).await.map_err(said)?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), limits.bytes).collect().await.map_err(said)?;
        Ok::<_, String>((status, body.to_bytes()))
    };
    tokio::pin!(answering);
    // The connection must be driven until the answer is there.
    tokio::select! {
        answer = &mut answering => answer,
        ended = connection => {
            ended.map_err(said)?;
            answering.await
        }
    }
}
