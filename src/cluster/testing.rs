//! Clusters for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Cluster, ClusterKey, LinkAddress, Plan, Process, ProcessId};
use crate::queue::envelope::{NodeId, Role};

pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// `E1`, `N1` and `S1`: the first letter says the role.
pub fn node(name: &str) -> NodeId {
    match name.as_bytes().first() {
        Some(b'E') => NodeId::entry(name),
        Some(b'N') => NodeId::storage(name),
        _ => NodeId::sync(name),
    }
}

/// Of a process such as `E1,S1`.
pub fn nodes(names: &str) -> Vec<NodeId> {
    names.split(',').map(node).collect()
}

/// Processes such as `E1,S1`, each at its address.
pub fn cluster(name: &str, key: &str, processes: &[(&str, SocketAddr)]) -> Arc<Cluster> {
    let process = |(names, address): &(&str, SocketAddr)| {
        let nodes = nodes(names);
        Process {
            id: ProcessId::of(&nodes),
            nodes,
            link: LinkAddress { host: address.ip().to_string(), port: address.port() },
            bind: *address,
            tls: None,
            clients: Vec::new(),
            metrics: None,
            stores: Vec::new(),
        }
    };
    let mut cluster = Cluster {
        name: name.into(),
        key: ClusterKey::new(key).unwrap(),
        processes: processes.iter().map(process).collect(),
        slots: Vec::new(),
        storage_quorum: 1,
        silence: Duration::from_secs(3),
    };
    cluster.slots = vec![cluster.nodes_of(Role::Storage).cloned().collect()];
    Arc::new(cluster)
}

/// The plan of the process with these nodes.
pub fn plan(cluster: &Arc<Cluster>, names: &str) -> Plan {
    cluster.plan(&names.split(',').collect::<Vec<_>>(), None).unwrap()
}
