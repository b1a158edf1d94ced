//! Asks nodes by HTTP how it is about them and their shards: all at once, each with a short deadline.

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

/// How long a node may take for all that it is asked.
const DEADLINE: Duration = Duration::from_secs(2);
/// Nodes asked at once.
const AT_ONCE: usize = 128;
/// Far more than 65,536 shards of a volume come to.
const MOST_BYTES: usize = 64 << 20;

/// What a node says: see the daemon's `/api/v1`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) node: NodeSays,
    pub(crate) shards: BTreeMap<ShardKey, ShardSays>,
}

/// `/api/v1/node`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(crate) struct NodeSays {
    pub(crate) node: String,
    pub(crate) version: String,
    /// Where its backups go; older versions do not say.
    pub(crate) bucket: Option<String>,
    pub(crate) trusted: bool,
    pub(crate) lease_seconds: Option<f64>,
    pub(crate) databases: u64,
    pub(crate) pending: u64,
    pub(crate) failing: u64,
    pub(crate) exposure_seconds: f64,
    pub(crate) uptime_seconds: f64,
}

/// One of `/api/v1/shards`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ShardSays {
    volume: VolumeName,
    shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) phase: String,
    pub(crate) since: Timestamp,
    pub(crate) databases: u64,
    pub(crate) pending: u64,
    pub(crate) failing: u64,
    pub(crate) exposure_seconds: f64,
}

/// Asks all of them, each at its address; what each says, or why it does not.
pub(crate) async fn all(
    nodes: Vec<(NodeName, String)>,
    token: Option<&str>,
) -> BTreeMap<NodeName, Result<Answer, String>> {
    let asked = nodes.into_iter().map(|(node, address)| async move {
        let answer = one(&address, token).await.and_then(|answer| {
            // An address of one host alone leads to another node on another host.
            let is_it = answer.node.node == node.as_str();
            if is_it { Ok(answer) } else { Err(format!("{} answers there", answer.node.node)) }
        });
        (node, answer)
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

/// Asks the node at an address: `http://host:port`.
///
/// # Errors
/// Why it does not say.
pub(crate) async fn one(address: &str, token: Option<&str>) -> Result<Answer, String> {
    let asking = async {
        let (node, shards) = tokio::try_join!(
            get::<NodeSays>(address, "/api/v1/node", token),
            get::<Vec<ShardSays>>(address, "/api/v1/shards", token),
        )?;
        let key = |says: &ShardSays| ShardKey { volume: says.volume.clone(), shard: says.shard };
        let shards = shards.into_iter().map(|says| (key(&says), says)).collect();
        Ok(Answer { node, shards })
    };
    match tokio::time::timeout(DEADLINE, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn get<T: DeserializeOwned>(
    address: &str,
    path: &str,
    token: Option<&str>,
) -> Result<T, String> {
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
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(said)?;
        Ok::<_, String>((status, body.to_bytes()))
    };
    tokio::pin!(answering);
    // The connection must be driven until the answer is there.
    let (status, body) = tokio::select! {
        answer = &mut answering => answer?,
        ended = connection => {
            ended.map_err(said)?;
            answering.await?
        }
    };
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}")),
        StatusCode::UNAUTHORIZED => Err("it wants a token: -http-token-file".to_owned()),
        status => {
            let text = String::from_utf8_lossy(&body);
            let text: String = text.chars().take(200).filter(|c| !c.is_control()).collect();
            Err(format!("{path}: {status}: {text}"))
        }
    }
}
