//! Who takes part in a cluster, where, and with which parts: what `cluster.toml` comes to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::queue::envelope::{NodeId, Role};
use crate::queue::quorum::{Member, Members, StoreId};
use crate::store::StoreUrl;

/// A process, named by all nodes that it plays: `E1`, or `E1,N1,S1`. Names order processes: the lower dials the higher.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ProcessId(Arc<str>);

/// The secret that all processes of a cluster share. Never shown, logged or sent.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey(Arc<[u8]>);

/// A cluster, as all its processes know it from the same file.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub name: Arc<str>,
    pub key: ClusterKey,
    /// In the order of the file; no two have a node, a link address or a client address in common.
    pub processes: Vec<Process>,
    /// The storages of each slot at the first start; all slots have the same number of them.
    pub slots: Vec<Vec<NodeId>>,
    /// Storages of a slot that must have a segment before it may be elected: from 1 to the size of a slot.
    pub storage_quorum: u32,
    /// A link that brings nothing for so long is dead.
    pub silence: Duration,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub id: ProcessId,
    /// At most one of each role; in the order entry, storage, sync.
    pub nodes: Vec<NodeId>,
    /// Where others dial it.
    pub link: LinkAddress,
    /// Where it listens for them.
    pub bind: SocketAddr,
    /// `None`: links are not encrypted.
    pub tls: Option<TlsFiles>,
    /// Of an entry: where clients come in.
    pub clients: Vec<ClientListener>,
    /// Where it answers those who look at metrics.
    pub metrics: Option<SocketAddr>,
    /// Where each storage and sync of it keeps what it must not forget.
    pub stores: Vec<(NodeId, StoreUrl)>,
}

/// Where a process is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinkAddress {
    /// An IP address without brackets, or a name that is looked up each time. A certificate must be made out to it.
    pub host: String,
    pub port: u16,
}

/// PEM files of a process. Whether they can be read is seen when links begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signs the certificates of all processes.
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Where clients come in at an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientListener {
    /// As the broker's configuration names it: `mqtt`, `https`, …
    pub protocol: &'static str,
    pub address: SocketAddr,
}

/// What one process has to know.
#[derive(Clone, Debug)]
pub struct Plan {
    pub cluster: Arc<Cluster>,
    pub own: Process,
    /// All other processes.
    pub peers: Vec<Process>,
}

/// Ids that make no process of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("there is no id {id:?}; there are {known}")]
    Unknown { id: String, known: String },
    #[error("{id} is {} in this cluster, not {}", role_name(*is), role_name(*asked))]
    OtherRole { id: String, is: Role, asked: Role },
    #[error("{asked} is no process of this cluster: {id} runs in {process}")]
    NotTogether { asked: String, id: String, process: ProcessId },
    #[error("no id is named")]
    Nobody,
}

impl ProcessId {
    /// Of the nodes that it plays.
    pub fn of(nodes: &[NodeId]) -> Self {
        let names: Vec<&str> = nodes.iter().map(|node| &*node.name).collect();
        Self(names.join(",").into())
    }

    /// Whether the process with this id is the one that dials `other`.
    pub fn dials(&self, other: &ProcessId) -> bool {
        self < other
    }
}

impl From<String> for ProcessId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for ProcessId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<ProcessId> for String {
    fn from(id: ProcessId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClusterKey {
    /// Bytes of the shortest key that is taken: guessing one must be hopeless.
    pub const BYTES_MIN: usize = 32;

    /// `None`: it is too short.
    pub fn new(text: &str) -> Option<Self> {
        (text.len() >= Self::BYTES_MIN).then(|| Self(text.as_bytes().into()))
    }

    /// A key for another purpose, which tells nothing of this one.
    pub fn derive(&self, purpose: &str) -> [u8; 16] {
        let mut derived = [0; 16];
        // HMAC takes keys of any length, and gives 32 bytes.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) {
            mac.update(b"fennec key: ");
            mac.update(purpose.as_bytes());
            derived.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        }
        derived
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(secret)")
    }
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Cluster {
    /// All nodes, process by process.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.processes.iter().flat_map(|process| &process.nodes)
    }

    /// All nodes of a role.
    pub fn nodes_of(&self, role: Role) -> impl Iterator<Item = &NodeId> {
        self.nodes().filter(move |node| node.role == role)
    }

    /// The process that plays the node.
    pub fn process_of(&self, node: &NodeId) -> Option<&Process> {
        self.processes.iter().find(|process| process.nodes.contains(node))
    }

    /// Storages of a slot.
    pub fn copies(&self) -> u32 {
        self.slots.first().map_or(0, Vec::len) as u32
    }

    /// Syncs that decide: more than a half, whatever is configured.
    pub fn sync_quorum(&self) -> u32 {
        self.nodes_of(Role::Sync).count() as u32 / 2 + 1
    }

    /// The table of members at the first start, with the disk of each.
    pub fn members(&self, store: impl Fn(&NodeId) -> StoreId) -> Members {
        let member = |node: &NodeId| Member { node: node.clone(), store: store(node) };
        Members {
            syncs: self.nodes_of(Role::Sync).map(member).collect(),
            slots: self.slots.iter().map(|slot| slot.iter().map(member).collect()).collect(),
            storage_quorum: self.storage_quorum,
        }
    }

    /// The process with exactly these ids, in whatever order. `role`: the only one that it may play.
    ///
    /// # Errors
    /// There is no such process.
    pub fn plan(self: &Arc<Self>, ids: &[impl AsRef<str>], role: Option<Role>) -> Result<Plan, PlanError> {
        let mut nodes = Vec::new();
        for id in ids {
            let id = id.as_ref();
            let unknown = || PlanError::Unknown { id: id.to_owned(), known: self.known() };
            let node = self.nodes().find(|node| *node.name == *id).ok_or_else(unknown)?;
            if let Some(asked) = role.filter(|asked| *asked != node.role) {
                return Err(PlanError::OtherRole { id: id.to_owned(), is: node.role, asked });
            }
            nodes.push(node.clone());
        }
        nodes.sort();
        nodes.dedup();
        let own = nodes.first().and_then(|node| self.process_of(node)).ok_or(PlanError::Nobody)?;
        if own.nodes != nodes {
            let asked = ProcessId::of(&nodes).to_string();
            let elsewhere = nodes.iter().find(|node| !own.nodes.contains(node)).unwrap_or(&nodes[0]);
            let process = self.process_of(elsewhere).unwrap_or(own).id.clone();
            return Err(PlanError::NotTogether { asked, id: elsewhere.name.to_string(), process });
        }
        let peers = self.processes.iter().filter(|process| process.id != own.id).cloned().collect();
        Ok(Plan { cluster: self.clone(), own: own.clone(), peers })
    }

    fn known(&self) -> String {
        self.nodes().map(|node| &*node.name).collect::<Vec<_>>().join(", ")
    }
}

/// What commands and configuration call a role.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Entry => "entry",
        Role::Storage => "ndb",
        Role::Sync => "sync",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(processes: &[&[NodeId]]) -> Arc<Cluster> {
        let process = |(index, nodes): (usize, &&[NodeId])| Process {
            id: ProcessId::of(nodes),
            nodes: nodes.to_vec(),
            link: LinkAddress { host: "127.0.0.1".to_owned(), port: 7000 + index as u16 },
            bind: SocketAddr::from(([127, 0, 0, 1], 7000 + index as u16)),
            tls: None,
            clients: Vec::new(),
            metrics: None,
            stores: Vec::new(),
        };
        let mut cluster = Cluster {
            name: "test".into(),
            key: ClusterKey::new(&"k".repeat(32)).unwrap(),
            processes: processes.iter().enumerate().map(process).collect(),
            slots: Vec::new(),
            storage_quorum: 1,
            silence: Duration::from_secs(3),
        };
        cluster.slots = vec![cluster.nodes_of(Role::Storage).cloned().collect()];
        Arc::new(cluster)
    }

    #[test]
    fn a_process_is_named_by_all_its_nodes_in_any_order() {
        let all = [NodeId::entry("E1"), NodeId::storage("N1"), NodeId::sync("S1")];
        let cluster = cluster(&[&all, &[NodeId::entry("E2")]]);
        let plan = cluster.plan(&["S1", "E1", "N1"], None).unwrap();
        assert_eq!((plan.own.id.to_string().as_str(), plan.peers.len()), ("E1,N1,S1", 1));
        let plan = cluster.plan(&["E2"], Some(Role::Entry)).unwrap();
        assert_eq!(plan.own.nodes, [NodeId::entry("E2")]);
    }

    #[test]
    fn ids_that_make_no_process_are_an_error() {
        let both = [NodeId::entry("E1"), NodeId::sync("S1")];
        let cluster = cluster(&[&both, &[NodeId::storage("N1")]]);
        let says = |ids: &[&str], role| cluster.plan(ids, role).unwrap_err().to_string();
        assert_eq!(says(&["E7"], None), "there is no id \"E7\"; there are E1, S1, N1");
        assert_eq!(says(&["N1"], Some(Role::Entry)), "N1 is ndb in this cluster, not entry");
        assert_eq!(says(&["E1"], None), "E1 is no process of this cluster: E1 runs in E1,S1");
        assert_eq!(says(&["E1", "S1", "N1"], None), "E1,N1,S1 is no process of this cluster: N1 runs in N1");
        assert_eq!(says(&[], None), "no id is named");
    }

    #[test]
    fn a_key_is_never_shown() {
        let cluster = cluster(&[&[NodeId::entry("E1")]]);
        let shown = format!("{cluster:?} {:?}", cluster.plan(&["E1"], None));
        assert!(!shown.contains("kkkk") && !shown.contains("107, 107"), "{shown}");
        assert_eq!(ClusterKey::new(&"k".repeat(31)), None);
    }

    #[test]
    fn the_first_table_of_members_is_that_of_the_file() {
        let nodes = [NodeId::storage("N1"), NodeId::sync("S1")];
        let members = cluster(&[&nodes]).members(|node| StoreId(node.name.len() as u128));
        assert_eq!(members.check(), Ok(()));
        assert_eq!(members.syncs, [Member { node: NodeId::sync("S1"), store: StoreId(2) }]);
        assert_eq!(members.slots, [[Member { node: NodeId::storage("N1"), store: StoreId(2) }]]);
    }
}
