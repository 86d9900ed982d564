//! The way of an entry's questions to all others ([`crate::node::house`]: one view of the cluster).

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::mesh::{Asked, Mesh};
use crate::node::Node;
use crate::queue::envelope::{NodeId, Role};

/// How long an entry may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has a node, which is the entry `own`, ask the other entries of the cluster as it is then.
pub fn open(own: NodeId, node: &Node, mesh: &Mesh) {
    let (name, mesh) = (own.name.clone(), mesh.clone());
    let ask = move |question: Bytes, take: crate::node::house::TakeSaid| {
        let others: Vec<NodeId> =
            mesh.cluster().nodes_of(Role::Entry).filter(|entry| **entry != own).cloned().collect();
        let asked = others.into_iter().map(|entry| {
            let name = entry.name.clone();
            // Without a link there is no answer.
            let asked = mesh.ask(own.clone(), entry, question.clone()).ok();
            async move { (name, reply(asked).await) }
        });
        let asked: Vec<_> = asked.collect();
        mesh.runtime().spawn(async move { take(join_all(asked).await) });
    };
    node.house.ask_entries_by(&name, Box::new(ask));
}

async fn reply(asked: Option<Asked>) -> Option<Bytes> {
    timeout(PATIENCE, asked?.reply()).await.ok().flatten()
}
