//! Gathers what there is to know of a fleet, or of one daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use ultrasimple_cluster::etcd::{Etcd, FleetState};
use ultrasimple_command_line::{etcd, secrets};
use ultrasimple_core::config::Settings;
use ultrasimple_core::{NodeName, ShardId, ShardKey};
use ultrasimple_peers::{self as peers, Answer, Limits};

use crate::Usage;

/// How long etcd may take to answer at all.
const DEADLINE: Duration = Duration::from_secs(5);

/// A fleet, as etcd and its nodes see it.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) state: FleetState,
    /// Of each node that has an address: what it says, or why it does not.
    pub(crate) answers: BTreeMap<NodeName, Result<Answer, String>>,
}

/// What asks.
pub(crate) struct Source {
    etcd: Option<Etcd>,
    /// Of the one daemon, where there is no fleet.
    daemon: Option<String>,
    token: Option<String>,
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// A fleet.
    Fleet(Box<Fleet>),
    /// One daemon, without etcd.
    Daemon(Box<Answer>),
    /// No daemon that answers, and why.
    Nobody(String),
}

impl Source {
    /// Gets ready. Nothing is asked yet.
    ///
    /// # Errors
    /// When a file with a secret cannot be used, or etcd does not know us.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let token = settings.http.token_file.as_deref().map(secrets::token).transpose();
        let token = token.map_err(Usage)?;
        let etcd = match &settings.fleet {
            Some(fleet) => {
                let how = etcd::settings(fleet).map_err(Usage)?;
                Some(Etcd::connect(&how, DEADLINE).await?)
            }
            None => None,
        };
        let daemon = settings.http.daemon.map(|address| format!("http://{address}"));
        Ok(Self { etcd, daemon, token })
    }

    /// For what needs a fleet.
    ///
    /// # Errors
    /// Without `-etcd`.
    pub(crate) fn etcd(&self) -> anyhow::Result<&Etcd> {
        let missing = || Usage("-etcd is missing: without it there is no fleet".to_owned());
        Ok(self.etcd.as_ref().ok_or_else(missing)?)
    }

    /// Looks, and asks.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub(crate) async fn look(&self) -> anyhow::Result<Found> {
        let token = self.token.as_deref();
        let Some(etcd) = &self.etcd else {
            let Some(address) = &self.daemon else {
                return Ok(Found::Nobody("-http is off".to_owned()));
            };
            return Ok(match peers::one(address, token, Limits::default()).await {
                Ok(answer) => Found::Daemon(Box::new(answer)),
                Err(why) => Found::Nobody(format!("{address}: {why}")),
            });
        };
        let state = etcd.state().await.context("cannot tell how the fleet is")?;
        let nodes = state.view.nodes.iter().map(|(node, it)| (node, &it.record.address));
        let asked = nodes.filter(|(_, address)| !address.is_empty());
        let asked = asked.map(|(node, address)| (node.clone(), address.clone())).collect();
        let answers = peers::all(asked, token, Limits::default()).await;
        Ok(Found::Fleet(Box::new(Fleet { state, answers })))
    }
}

impl Fleet {
    /// Into how many shards each volume is divided; 0 where no node has ever joined.
    pub(crate) fn shards(&self) -> u32 {
        self.state.fleet.as_ref().map_or(0, |fleet| fleet.shards)
    }

    /// All shards of all volumes, and any other that is claimed.
    pub(crate) fn all_shards(&self) -> BTreeSet<ShardKey> {
        let volumes = self.state.volumes();
        let all = volumes.iter().flat_map(|volume| {
            (0..self.shards())
                .map(|shard| ShardKey { volume: volume.clone(), shard: ShardId(shard) })
        });
        all.chain(self.state.view.claims.keys().cloned()).collect()
    }
}
