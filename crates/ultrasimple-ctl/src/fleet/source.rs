//! Gathers what there is to know of a fleet, or of one daemon.

use std::collections::BTreeMap;

use anyhow::Context;
use ultrasimple_cluster::connect::EtcdSettings;
use ultrasimple_cluster::operator::{Operator, Picture};
use ultrasimple_cluster::ownership::Desired;
use ultrasimple_command_line::secrets;
use ultrasimple_core::config::{FleetSettings, Settings};
use ultrasimple_core::{NodeName, ShardId, ShardKey, VolumeName};

use super::ask::{self, Answer};
use crate::Usage;

/// A fleet, as etcd and its nodes see it.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) picture: Picture,
    /// Of each node that has an address: what it says, or why it does not.
    pub(crate) answers: BTreeMap<NodeName, Result<Answer, String>>,
}

/// What asks.
pub(crate) struct Source {
    operator: Option<Operator>,
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
        let operator = match &settings.fleet {
            Some(fleet) => Some(operator(fleet).await?),
            None => None,
        };
        let daemon = settings.http.daemon.map(|address| format!("http://{address}"));
        Ok(Self { operator, daemon, token })
    }

    /// For what needs a fleet.
    ///
    /// # Errors
    /// Without `-etcd`.
    pub(crate) fn operator(&mut self) -> anyhow::Result<&mut Operator> {
        let missing = || Usage("-etcd is missing: without it there is no fleet".to_owned());
        Ok(self.operator.as_mut().ok_or_else(missing)?)
    }

    /// Looks, and asks.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub(crate) async fn look(&mut self) -> anyhow::Result<Found> {
        let token = self.token.as_deref();
        let Some(operator) = &mut self.operator else {
            let Some(address) = &self.daemon else {
                return Ok(Found::Nobody("-http is off".to_owned()));
            };
            return Ok(match ask::one(address, token).await {
                Ok(answer) => Found::Daemon(Box::new(answer)),
                Err(why) => Found::Nobody(format!("{address}: {why}")),
            });
        };
        let picture = operator.look().await.context("cannot tell how the fleet is")?;
        let nodes = picture.view.nodes.iter().map(|(node, it)| (node, &it.record.address));
        let asked = nodes.filter(|(_, address)| !address.is_empty());
        let asked = asked.map(|(node, address)| (node.clone(), address.clone())).collect();
        let answers = ask::all(asked, token).await;
        Ok(Found::Fleet(Box::new(Fleet { picture, answers })))
    }
}

async fn operator(settings: &FleetSettings) -> anyhow::Result<Operator> {
    let etcd = etcd_settings(settings)?;
    Ok(Operator::connect(etcd, &settings.cluster).await?)
}

/// Reads the files that belong to it.
fn etcd_settings(settings: &FleetSettings) -> anyhow::Result<EtcdSettings> {
    let read = |flag: &str, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| {
            Usage(format!("{flag} {}: cannot read this file: {error}", path.display()))
        })
    };
    let ca = settings.ca.as_deref().map(|path| read("-etcd-ca", path)).transpose()?;
    let identity = match &settings.identity {
        Some(it) => Some((read("-etcd-cert", &it.certificate)?, read("-etcd-key", &it.key)?)),
        None => None,
    };
    let login = settings.login.as_ref().map(secrets::login).transpose().map_err(Usage)?;
    Ok(EtcdSettings { members: settings.etcd.clone(), ca, identity, login })
}

impl Fleet {
    /// Into how many shards each volume is divided; 0 where no node has ever joined.
    pub(crate) fn shards(&self) -> u32 {
        self.picture.fleet.as_ref().map_or(0, |fleet| fleet.shards)
    }

    /// All volumes that nodes announce, or of which there is a trace.
    pub(crate) fn volumes(&self) -> std::collections::BTreeSet<VolumeName> {
        let view = &self.picture.view;
        let announced = view.nodes.values().flat_map(|node| node.record.volumes.keys());
        let traces = view.claims.keys().chain(&self.picture.let_go).map(|shard| &shard.volume);
        announced.chain(traces).cloned().collect()
    }

    /// All shards of all volumes, and any other that is claimed.
    pub(crate) fn all_shards(&self) -> std::collections::BTreeSet<ShardKey> {
        let volumes = self.volumes();
        let all = volumes.iter().flat_map(|volume| {
            (0..self.shards())
                .map(|shard| ShardKey { volume: volume.clone(), shard: ShardId(shard) })
        });
        all.chain(self.picture.view.claims.keys().cloned()).collect()
    }

    /// Who should own what.
    pub(crate) fn desired(&self) -> Desired {
        Desired::new(&self.picture.view, &self.volumes(), self.shards())
    }
}
