//! What all nodes of a fleet must agree on, and who may be one of them.

use std::fmt::Display;
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use ultrasimple_core::NodeName;

use super::connection::{Etcd, get_one};
use super::error::{EtcdError, Failure};
use super::keys::Key;
use crate::ownership::{LeaseId, View};
use crate::records::{FleetRecord, NodeRecord};

/// What became of a registration.
#[derive(Debug)]
pub(super) enum Registration {
    Done,
    NameTaken(LeaseId),
    /// The fleet that was joined is not there any more.
    Replaced,
    /// The fleet has agreed on something else: what differs.
    Refused(String),
}

/// The node goes on with nothing that it has learnt before.
pub(super) const REPLACED: &str = "what all nodes of the fleet agree on is not in etcd any more, or was replaced: \
    etcd was made anew, or somebody has changed it";

/// Between two looks whether a former self is gone.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Etcd {
    /// The fleet's random name. `candidate` becomes it, if the fleet has none yet.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn fleet_name(&self, candidate: &str) -> Result<String, EtcdError> {
        let key = self.keys().name();
        let is_new = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let put = TxnOp::put(key.clone(), candidate, None);
        let txn = Txn::new().when([is_new]).and_then([put]).or_else([TxnOp::get(key, None)]);
        let limit = self.request_timeout();
        let answer = self.transact(limit, txn.clone()).await;
        // It may have been done: asked again, it says so.
        let answer = match answer {
            Err(failure) if failure.is_of_the_member() => self.transact(limit, txn).await,
            other => other,
        };
        let answer = answer.map_err(|failure| self.error(&failure))?;
        Ok(first_value(&answer).map_or_else(
            || candidate.to_owned(),
            |value| String::from_utf8_lossy(value.value()).into_owned(),
        ))
    }

    /// What nodes that live have agreed on. `None` where there is no node: whoever comes may say anew.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses, or the record is of another version.
    pub async fn agreed(&self) -> Result<Option<FleetRecord>, EtcdError> {
        let (_, view) = self.list().await.map_err(|failure| self.error(&failure))?;
        if view.nodes.is_empty() {
            return Ok(None);
        }
        let key = self.keys().fleet();
        let there = self
            .ask_all(self.request_timeout(), move |mut client| get_one(&mut client, key.clone()));
        let there = there.await.map_err(|failure| self.error(&failure))?;
        let record = there.map(|kv| serde_json::from_slice(kv.value())).transpose();
        record.map_err(|error| {
            EtcdError::Refused(format!(
                "what the fleet has agreed on cannot be read, as if by another version: {error}"
            ))
        })
    }

    /// Puts the node's key, if the fleet agrees with what this node thinks. Only a node that `is_joining` may write
    /// down what is agreed on: one that has joined and finds nothing is on an etcd that was made anew, as another
    /// fleet.
    pub(super) async fn register(
        &self,
        node: &NodeName,
        lease: LeaseId,
        record: &NodeRecord,
        fleet: &FleetRecord,
        is_joining: bool,
    ) -> Result<Registration, Failure> {
        let limit = self.request_timeout();
        let key = self.keys().fleet();
        let there =
            self.ask_all(limit, move |mut client| get_one(&mut client, key.clone())).await?;
        let theirs = there.as_ref().map(|kv| serde_json::from_slice::<FleetRecord>(kv.value()));
        let differs = match theirs {
            Some(Ok(theirs)) => differences(&theirs, fleet),
            Some(Err(_)) => Some("it was written by another version".to_owned()),
            None => None,
        };
        if !is_joining && (there.is_none() || differs.is_some()) {
            return Ok(Registration::Replaced);
        }
        let write = |error: serde_json::Error| Failure::Other(format!("write a record: {error}"));
        let value = serde_json::to_vec(fleet).map_err(write)?;
        let put_fleet = TxnOp::put(self.keys().fleet(), value, None);
        let put_node = self.put_node(node, lease, record)?;
        let fleet_key = self.keys().fleet();
        let nobody = Compare::create_revision(self.keys().nodes(), CompareOp::Equal, 0);
        let txn = match (there, &differs) {
            (Some(there), None) => {
                let is_same =
                    Compare::mod_revision(fleet_key, CompareOp::Equal, there.mod_revision());
                Txn::new().when([is_same]).and_then([put_node])
            }
            (None, _) => {
                let is_new = Compare::create_revision(fleet_key, CompareOp::Equal, 0);
                Txn::new().when([is_new]).and_then([put_node, put_fleet])
            }
            (Some(there), Some(_)) => {
                // The last node has gone: what it stood for may be replaced.
                let is_same =
                    Compare::mod_revision(fleet_key, CompareOp::Equal, there.mod_revision());
                let put = [put_node, put_fleet];
                Txn::new().when([is_same, nobody.with_prefix()]).and_then(put)
            }
        };
        let answer = self.transact(limit, txn).await?;
        if !answer.succeeded() {
            return match differs {
                Some(differs) => Ok(Registration::Refused(differs)),
                None => Err(Failure::Other("another node came in between".to_owned())),
            };
        }
        Ok(registered(&answer))
    }

    /// Puts the node's key where there is none, or one that is bound to this very lease; else reads it.
    fn put_node(
        &self,
        node: &NodeName,
        lease: LeaseId,
        record: &NodeRecord,
    ) -> Result<TxnOp, Failure> {
        let key = self.keys().node(node);
        let value = serde_json::to_vec(record)
            .map_err(|error| Failure::Other(format!("write a record: {error}")))?;
        let put = TxnOp::put(key.clone(), value, Some(PutOptions::new().with_lease(lease.0)));
        let is_new = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let is_ours = Compare::lease(key.clone(), CompareOp::Equal, lease.0);
        let again = Txn::new().when([is_ours]).and_then([put.clone()]);
        let again = again.or_else([TxnOp::get(key, None)]);
        Ok(TxnOp::txn(Txn::new().when([is_new]).and_then([put]).or_else([TxnOp::txn(again)])))
    }

    /// Waits until the key of this node's former self is gone: at most as long as its lease lasts, and a little.
    pub(super) async fn wait_for_former_self(&self, node: &NodeName) -> Result<(), EtcdError> {
        let mut limit: Option<(LeaseId, tokio::time::Instant)> = None;
        loop {
            let key = self.keys().node(node);
            let there = self
                .ask_all(self.request_timeout(), move |mut client| {
                    get_one(&mut client, key.clone())
                })
                .await
                .map_err(|failure| self.error(&failure))?;
            let Some(there) = there else { return Ok(()) };
            let lease = LeaseId(there.lease());
            let now = tokio::time::Instant::now();
            match limit {
                Some((before, until)) if before == lease => {
                    if now >= until {
                        return Err(EtcdError::Refused(is_alive(node, &there)));
                    }
                }
                _ => {
                    let left = self.time_to_live(lease).await;
                    let left = left.map_err(|failure| self.error(&failure))?;
                    let granted = left.map_or(Duration::ZERO, |(granted, _)| granted);
                    // etcd looks for expired leases twice a second, and a new leader gives all of them a new term.
                    limit = Some((lease, now + granted * 2 + Duration::from_secs(2)));
                    tracing::info!(%node, "waits until what was registered under this name is gone");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Why this node cannot be part of the fleet, given those that were there before it: another one has another
    /// local file system under the same name.
    pub(super) async fn conflict(
        &self,
        node: &NodeName,
        record: &NodeRecord,
    ) -> Result<Option<String>, Failure> {
        let key = self.keys().nodes();
        let mut there = self
            .ask_all(self.request_timeout(), move |mut client: etcd_client::Client| {
                let key = key.clone();
                Box::pin(async move {
                    Ok(client.get(key, Some(GetOptions::new().with_prefix())).await?.take_kvs())
                })
            })
            .await?;
        let created = there.iter().find_map(|kv| {
            let is_ours = self.keys().parse(kv.key()) == Key::Node(node.clone());
            is_ours.then(|| kv.create_revision())
        });
        // Of two that come at once, one may stay.
        there.retain(|kv| created.is_none_or(|created| kv.create_revision() < created));
        let mut view = View::default();
        for change in there.iter().filter_map(|kv| self.keys().put(kv)) {
            view.apply(change);
        }
        Ok(conflict_in(&view, node, record))
    }
}

fn is_alive(node: &NodeName, there: &KeyValue) -> String {
    let record = serde_json::from_slice::<NodeRecord>(there.value()).ok();
    let address = record.map(|record| record.address).filter(|address| !address.is_empty());
    let at = address.map_or_else(String::new, |address| format!(", at {address}"));
    format!("another node that lives is called {node}, too{at}; give each its own -node")
}

/// The value that a transaction has read, if it has.
fn first_value(answer: &TxnResponse) -> Option<KeyValue> {
    answer.op_responses().into_iter().find_map(|answer| match answer {
        TxnOpResponse::Get(got) => got.kvs().first().cloned(),
        TxnOpResponse::Txn(inner) => first_value(&inner),
        _ => None,
    })
}

fn registered(answer: &TxnResponse) -> Registration {
    // Only where the key is another's it is read.
    let other = first_value(answer);
    other.map_or(Registration::Done, |other| Registration::NameTaken(LeaseId(other.lease())))
}

/// What the fleet has agreed on and this node does not, for people. `None` when all is the same.
pub fn differences(theirs: &FleetRecord, ours: &FleetRecord) -> Option<String> {
    fn differ(what: &str, theirs: impl Display, ours: impl Display) -> Option<String> {
        let (theirs, ours) = (theirs.to_string(), ours.to_string());
        (theirs != ours).then(|| format!("{what} is {theirs:?} there and {ours:?} here"))
    }
    let all = [
        differ("the format of what is stored in etcd", theirs.format, ours.format),
        differ("the number of shards (-shards)", theirs.shards, ours.shards),
        differ("the path template (-path)", &theirs.template, &ours.template),
        differ("the bucket, by its random name (-bucket),", &theirs.bucket, &ours.bucket),
        differ("the fleet's random name", &theirs.fleet, &ours.fleet),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// See [`Etcd::conflict`].
fn conflict_in(view: &View, node: &NodeName, record: &NodeRecord) -> Option<String> {
    let others = view.nodes.iter().filter(|(name, _)| *name != node);
    for (name, other) in others {
        for (volume, ours) in &record.volumes {
            let Some(theirs) = other.record.volumes.get(volume) else { continue };
            if let (Some(a), Some(b)) = (&theirs.filesystem, &ours.filesystem)
                && a != b
            {
                return Some(format!(
                    "the node {name} has a volume {volume}, too, on another local file system: what is on this \
                     node would not be backed up; give the volume of each host its own -volume"
                ));
            }
            if theirs.patterns != ours.patterns {
                tracing::warn!(
                    other = %name,
                    %volume,
                    "another node has other patterns for the same volume: which databases are backed up depends \
                     on which of them owns their shard"
                );
            }
        }
    }
    None
}
