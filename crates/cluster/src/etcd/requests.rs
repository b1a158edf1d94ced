//! What the state machine asks for, as requests to etcd.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error as ClientError, GetOptions, PutOptions, Txn,
    TxnOp, TxnOpResponse, TxnResponse,
};
use ultrasimple_core::{Epoch, NodeName, ShardKey};

use super::connection::Etcd;
use super::error::Failure;
use crate::ownership::{Claimed, LeaseId, Revision, View};
use crate::records::{ClaimRecord, HandoverRecord};

/// Keys in one answer to a list.
const PAGE: i64 = 2_000;

/// A claim that is to go.
#[derive(Debug, Clone)]
pub(super) struct Unclaim {
    pub(super) shard: ShardKey,
    pub(super) created: Revision,
    pub(super) handover: Option<Epoch>,
}

fn invalid(error: &serde_json::Error) -> Failure {
    Failure::Other(format!("write a record: {error}"))
}

fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

/// A number of etcd's, which are signed.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

impl Etcd {
    pub(super) async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), Failure> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX);
        let limit = self.request_timeout().min(ttl / 2);
        self.ask_all(limit, move |mut client: Client| {
            Box::pin(async move {
                let granted = client.lease_grant(seconds, None).await?;
                let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0));
                Ok((LeaseId(granted.id()), ttl))
            })
        })
        .await
    }

    /// One request on a stream of its own: it goes to another member as soon as this one does not answer.
    pub(super) async fn keep_alive(&self, lease: LeaseId, limit: Duration) -> Result<(), Failure> {
        self.ask_all(limit, move |mut client: Client| {
            // Waits for the first answer, and fails where there is no such lease.
            Box::pin(async move { client.lease_keep_alive(lease.0).await.map(drop) })
        })
        .await
    }

    pub(super) async fn revoke(&self, lease: LeaseId) -> Result<(), Failure> {
        let revoked = self.ask_all(self.request_timeout(), move |mut client: Client| {
            Box::pin(async move { client.lease_revoke(lease.0).await.map(drop) })
        });
        match revoked.await {
            Err(Failure::NoLease) => Ok(()),
            other => other,
        }
    }

    /// How long a lease was granted for, and how much is left of it. `None` when it is gone.
    pub(super) async fn time_to_live(
        &self,
        lease: LeaseId,
    ) -> Result<Option<(Duration, Duration)>, Failure> {
        self.ask_all(self.request_timeout(), move |mut client: Client| {
            Box::pin(async move {
                let answer = client.lease_time_to_live(lease.0, None).await?;
                let seconds = |number| u64::try_from(number).ok().map(Duration::from_secs);
                Ok(seconds(answer.granted_ttl()).zip(seconds(answer.ttl())))
            })
        })
        .await
    }

    pub(super) async fn transact(&self, limit: Duration, txn: Txn) -> Result<TxnResponse, Failure> {
        self.ask(limit, move |mut client: Client| {
            let txn = txn.clone();
            Box::pin(async move { client.txn(txn).await })
        })
        .await
    }

    /// Claims what is unclaimed, all in one transaction.
    pub(super) async fn claim(
        &self,
        node: &NodeName,
        lease: LeaseId,
        generation: u64,
        shards: &[ShardKey],
    ) -> Result<Vec<(ShardKey, Claimed)>, Failure> {
        let record = ClaimRecord { node: node.clone(), generation };
        let value = serde_json::to_vec(&record).map_err(|error| invalid(&error))?;
        let claim = |shard: &ShardKey| {
            let key = self.keys().claim(shard);
            let put =
                TxnOp::put(key.clone(), value.clone(), Some(PutOptions::new().with_lease(lease.0)));
            let note = self.keys().handover(shard);
            let take = TxnOp::delete(note, Some(DeleteOptions::new().with_prev_key()));
            let is_free = Compare::create_revision(key, CompareOp::Equal, 0);
            TxnOp::txn(Txn::new().when([is_free]).and_then([put, take]))
        };
        let txn = Txn::new().and_then(shards.iter().map(claim).collect::<Vec<_>>());
        let answer = self.transact(self.request_timeout(), txn).await?;
        let created = revision(answer.header().map_or(0, etcd_client::ResponseHeader::revision));
        let outcome = |answer: TxnOpResponse| match answer {
            TxnOpResponse::Txn(answer) if answer.succeeded() => {
                Claimed::Won { created, handed_over_by: handover_in(&answer) }
            }
            TxnOpResponse::Txn(_) => Claimed::Held,
            _ => Claimed::Unknown,
        };
        Ok(shards.iter().cloned().zip(answer.op_responses().into_iter().map(outcome)).collect())
    }

    /// Deletes claims that are still the same, and leaves word of their handover, all in one transaction.
    pub(super) async fn unclaim(&self, claims: &[Unclaim]) -> Result<(), Failure> {
        let mut ops = Vec::new();
        for Unclaim { shard, created, handover } in claims {
            let key = self.keys().claim(shard);
            let is_same = Compare::create_revision(key.clone(), CompareOp::Equal, signed(*created));
            let mut then = vec![TxnOp::delete(key, None)];
            if let Some(epoch) = handover {
                let record = HandoverRecord { epoch: *epoch };
                let value = serde_json::to_vec(&record).map_err(|error| invalid(&error))?;
                then.push(TxnOp::put(self.keys().handover(shard), value, None));
            }
            ops.push(TxnOp::txn(Txn::new().when([is_same]).and_then(then)));
        }
        let txn = Txn::new().and_then(ops);
        self.transact(self.request_timeout(), txn).await.map(drop)
    }

    /// All that a node needs to know, as of one revision.
    pub(super) async fn list(&self) -> Result<(Revision, View), Failure> {
        let mut view = View::default();
        let mut as_of = 0;
        for folder in [self.keys().nodes(), self.keys().drains(), self.keys().claims()] {
            let end = after_all(&folder);
            let mut from = folder;
            loop {
                let (start, end, at) = (from.clone(), end.clone(), as_of);
                let mut page = self
                    .ask_all(self.request_timeout(), move |client: Client| {
                        let (start, end) = (start.clone(), end.clone());
                        Box::pin(read_page(client, start, end, at))
                    })
                    .await?;
                if as_of == 0 {
                    as_of = page.header().map_or(0, etcd_client::ResponseHeader::revision);
                }
                let kvs = page.take_kvs();
                for change in kvs.iter().filter_map(|kv| self.keys().put(kv)) {
                    view.apply(change);
                }
                let Some(last) = kvs.last().filter(|_| page.more()) else { break };
                from = format!("{}\0", String::from_utf8_lossy(last.key()));
            }
        }
        Ok((revision(as_of), view))
    }
}

async fn read_page(
    client: Client,
    start: String,
    end: Vec<u8>,
    as_of: i64,
) -> Result<etcd_client::GetResponse, ClientError> {
    // The first page is linearizable; the others are of the same revision.
    let options = GetOptions::new().with_range(end).with_limit(PAGE).with_revision(as_of);
    let mut client = client.kv_client().max_decoding_message_size(super::connection::MOST_BYTES);
    client.get(start, Some(options)).await
}

/// The least key that is greater than all that begin so.
fn after_all(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn handover_in(answer: &TxnResponse) -> Option<Epoch> {
    let deleted = answer.op_responses().into_iter().find_map(|answer| match answer {
        TxnOpResponse::Delete(deleted) => deleted.prev_kvs().first().cloned(),
        _ => None,
    })?;
    serde_json::from_slice::<HandoverRecord>(deleted.value()).ok().map(|record| record.epoch)
}
