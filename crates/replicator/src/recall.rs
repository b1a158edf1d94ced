//! What a shard's catalog says when the shard comes to this node, before its databases are looked at: so that what
//! has not changed is not captured.
//!
//! One request for each catalog. What they say is never more than a hint: a fingerprint that differs, or a database
//! they do not have, is captured, and the bucket's own conditions decide.

use std::collections::HashSet;

use ultrasimple_cluster::Grant;
use ultrasimple_core::{
    Catalog, Epoch, FingerprintDigest, Hour, KeyStem, NodeName, Timestamp, placement,
};
use ultrasimple_keeper::catalogs::{self, ReadError};
use ultrasimple_keeper::rebuild::rebuild;
use ultrasimple_store::StoreError;

use crate::agenda::Facts;
use crate::held::Held;
use crate::keeping::Kept;
use crate::scan::Identity;
use crate::shard::{LastBackup, Recalled};
use crate::shard_owner::Seat;
use crate::tending::Tender;

/// What a catalog says to the shard's owner.
#[derive(Debug)]
pub(crate) struct Recollection {
    pub(crate) databases: Vec<Recalled>,
    /// Since which hour the bucket may have more.
    pub(crate) unsure_since: Option<Hour>,
    pub(crate) facts: Facts,
    pub(crate) kept: Kept,
    /// The epoch of the catalog, if it says all there is.
    pub(crate) last_word: Option<Epoch>,
    pub(crate) reconciled_at: Option<Timestamp>,
}

/// Why a catalog says nothing now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecallError {
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A later owner has written it: what it says would let this one write over what is that one's.
    #[error("a later owner has written a catalog: node {node} with epoch {epoch}")]
    Fenced { node: NodeName, epoch: Epoch },
}

impl RecallError {
    /// A word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::Fenced { .. } => "fenced",
        }
    }
}

/// How much a catalog is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It says all there is if this grant says so.
    Grant(Grant),
    /// The bucket may have more: this node has had the shard before and forgot what it did, or the catalog was just
    /// made from the objects of those databases that a scan showed. What came in since, or is of others, it lacks.
    None,
}

impl Trust {
    fn is_last_word(self, catalog: &Catalog) -> bool {
        let Self::Grant(grant) = self else { return false };
        let Some(epoch) = grant.handed_over_by else { return false };
        let ended_in_order = if epoch.revision() > 0 {
            // Word of a handover stays in etcd, whoever has the bucket meanwhile. Only a raised generation tells.
            epoch.generation() == grant.epoch.generation()
        } else {
            // A start without etcd knows only that nobody was in between, not how the one before ended.
            catalog.is_final
        };
        catalog.epoch == epoch && ended_in_order
    }
}

/// Reads the catalog of a shard. `None` where there is none that can be used.
///
/// # Errors
/// When the store cannot be read, to be tried again; or when a later owner has written.
pub(crate) async fn recall(
    tender: &Tender,
    seat: &Seat,
    trust: Trust,
) -> Result<Option<Recollection>, RecallError> {
    match catalogs::read(&*tender.store, &seat.shard).await {
        Ok(Some((Catalog { epoch, node, .. }, _))) if epoch > seat.grant.epoch => {
            Err(RecallError::Fenced { node, epoch })
        }
        Ok(Some((catalog, _))) => Ok(Some(recollect(tender, &catalog, trust).await)),
        Ok(None) => Ok(None),
        // What nobody may read now will not be readable in the next cycle: backups do not wait for that.
        Err(ReadError::Store(error)) if !matches!(error, StoreError::Denied(_)) => {
            Err(error.into())
        }
        Err(error) => {
            let key = seat.shard.object_key();
            tracing::warn!(%key, %error, "The catalog {key} cannot be used: {error}");
            Ok(None)
        }
    }
}

/// Makes the catalogs of shards that have databases and no usable catalog, on a bucket that is not new, from the
/// objects of these databases. Costs a listing of the whole bucket.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn rebuild_missing(
    tender: &Tender,
    shards: usize,
    stems: &HashSet<u64>,
) -> Result<(), StoreError> {
    let author = tender.author(None, false);
    let is_wanted = |stem: &KeyStem| stems.contains(&placement::key_hash(stem));
    let rebuilt = rebuild(&*tender.store, &author, is_wanted).await?;
    if rebuilt.backups == 0 {
        return Ok(());
    }
    let databases = rebuilt.databases;
    tracing::warn!(
        shards,
        databases,
        "{shards} shards have databases and no usable catalog; {databases} databases were found in the \
         bucket, and their catalogs made from the objects"
    );
    for (stem, why) in &rebuilt.unreadable {
        tracing::warn!(%stem, "No backup of {stem} can be read: {why}");
    }
    for (key, why) in &rebuilt.failed {
        let key = key.object_key();
        tracing::warn!(%key, "{key} could not be written: {why}");
    }
    Ok(())
}

async fn recollect(tender: &Tender, catalog: &Catalog, trust: Trust) -> Recollection {
    let (now, time) = (tender.clock.monotonic(), tender.clock.now());
    let databases = catalog.databases.iter().filter_map(|(stem, record)| {
        let newest = record.newest.as_ref()?;
        let held = record.newest_hour().filter(|held| held.hour == newest.hour())?;
        let is_lost = held.fault.is_some();
        // What cannot be restored is as good as not there.
        if held.foreign.is_some() || is_lost && record.gone_since.is_some() {
            return None;
        }
        let age = time.duration_since(newest.captured_at);
        let stored_at = now.saturating_sub(age.try_into().unwrap_or_default());
        let backup = LastBackup {
            content: newest.blake3.short(),
            hour: held.hour,
            etag: held.etag.clone(),
            damage: newest.marked.clone(),
            stored_at,
        };
        let digest = record.fingerprint.unwrap_or(FingerprintDigest::NONE);
        Some(Recalled {
            identity: Identity::new(&record.path, stem),
            held: Held { digest, backup },
            gone_since: record.gone_since,
            // By its footer it would be taken for what it should be.
            doubted: is_lost.then_some(held.hour),
        })
    });
    let is_last_word = trust.is_last_word(catalog);
    Recollection {
        databases: databases.collect(),
        unsure_since: (!is_last_word).then(|| Hour::of(catalog.written_at)),
        facts: tender.facts(catalog).await,
        kept: Kept::of(catalog),
        last_word: is_last_word.then_some(catalog.epoch),
        reconciled_at: catalog.reconciled_at,
    }
}
