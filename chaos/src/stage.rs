//! All that a run needs: etcd of three members with a network between them, an S3 server behind a
//! recorder, and nodes.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use tokio::task::block_in_place;
use ultrasimple_testkit::etcd::{Etcd, Ports};
use ultrasimple_testkit::link::{Link, Mode};
use ultrasimple_testkit::recorder::Recorder;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::node::{Common, Node};
use crate::versions::Versions;
use crate::watcher::Watched;

pub(crate) const MEMBERS: usize = 3;
pub(crate) const SHARDS: u32 = 16;
pub(crate) const BUCKET: &str = "chaos";
/// The volume that a daemon has by default.
const VOLUME: &str = "default";

/// What a run is made of. Dropped in this order.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) nodes: Vec<Node>,
    /// `None` when it was taken down to read the last records.
    pub(crate) recorder: Option<Recorder>,
    pub(crate) etcd: Etcd,
    /// Before each member, what the other members send it.
    pub(crate) between: Vec<Link>,
    pub(crate) ids: Vec<u64>,
    pub(crate) store: SeaweedFs,
}

impl Stage {
    /// Starts the servers; makes the nodes, which do not run yet.
    pub(crate) async fn set(nodes: usize, common: &Common) -> Result<(Self, Versions)> {
        let store = block_in_place(SeaweedFs::start)?;
        store.create_bucket_named(BUCKET)?;
        let (recorder, records) = Recorder::start(store.port()).await?;
        let versions = Versions::read(records, common.folder.join("evidence"));
        let (mut ports, mut between) = (Vec::new(), Vec::new());
        for _ in 0..MEMBERS {
            let mut member = Ports::free();
            let link = Link::between_members(member.peer).await?;
            member.advertised_peer = link.port();
            ports.push(member);
            between.push(link);
        }
        let etcd = block_in_place(|| Etcd::start(&ports))?;
        let ids =
            block_in_place(|| (0..MEMBERS).map(|member| etcd.id(member)).collect::<Result<_>>());
        let clients: Vec<u16> = ports.iter().map(|ports| ports.client).collect();
        let mut all = Vec::new();
        for number in 0..nodes {
            all.push(Node::new(number, common, &clients, recorder.port()).await?);
        }
        let recorder = Some(recorder);
        Ok((Self { nodes: all, recorder, etcd, between, ids: ids?, store }, versions))
    }

    pub(crate) fn node(&mut self, node: usize) -> Result<&mut Node> {
        self.nodes.get_mut(node).context("no such node")
    }

    /// Cuts a member of etcd off from the others, both ways, or heals that.
    pub(crate) fn set_member(&self, member: usize, mode: Mode) {
        for (other, link) in self.between.iter().enumerate() {
            if other == member {
                link.set(mode);
            } else if let Some(id) = self.ids.get(member) {
                link.set_for(*id, mode);
            }
        }
    }

    /// Where the members of etcd answer, past all faults.
    pub(crate) fn etcd_ports(&self) -> Vec<u16> {
        let port = |member| Some(self.etcd.ports(member).ok()?.client);
        (0..MEMBERS).filter_map(port).collect()
    }

    /// Whom the watcher asks, and about which shards.
    pub(crate) fn watched(&self) -> Watched {
        let nodes = self.nodes.iter().map(|node| (node.name.clone(), node.http)).collect();
        Watched { etcd: self.etcd_ports(), nodes, shards: shards() }
    }
}

/// All shards, as `volume/shard`.
pub(crate) fn shards() -> BTreeSet<String> {
    (0..SHARDS).map(|shard| format!("{VOLUME}/{shard}")).collect()
}
