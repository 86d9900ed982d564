//! How a sync is, for whoever looks.

use serde::{Deserialize, Serialize};

use super::{Standing, SyncRole};
use crate::queue::envelope::{NodeId, Role};
use crate::queue::quorum::{Members, StoreId};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncReport {
    /// Which disk this is.
    pub store: StoreId,
    /// Knows the order up to here.
    pub position: u64,
    pub standing: Standing,
    /// Who takes part, since which position; `None`: there is no table yet.
    pub members: Option<(u64, Members)>,
    /// Storages and syncs that are linked to it, and itself: which disk, and up to which position it has everything.
    pub disks: Vec<(NodeId, StoreId, u64)>,
    /// Segments that storages have whole and that are not elected.
    pub drafts: u64,
    /// Commands that wait for a position.
    pub commands: u64,
    /// Decisions that are kept, for not all storages that have to have applied them.
    pub decisions: u64,
    /// Entries and the positions of their last INIT; of those that were not lost.
    pub lives: Vec<(NodeId, u64)>,
}

impl SyncRole {
    fn disks(&self) -> Vec<(NodeId, StoreId, u64)> {
        let far = |node: &NodeId, store: &StoreId| match node.role {
            Role::Sync => self.peers.get(node).copied(),
            _ => self.applied.get(store).copied(),
        };
        let others = self.disks.iter().map(|(node, store)| (node.clone(), *store, far(node, store).unwrap_or(0)));
        others.chain([(self.node.clone(), self.store, self.order.position)]).collect()
    }

    /// How it is.
    pub fn report(&self) -> SyncReport {
        let (drafts, commands) = self.drafts.waiting();
        let lives = self.order.lives.iter().filter(|(_, life)| life.incarnation > 0 && !life.lost);
        SyncReport {
            store: self.store,
            position: self.order.position,
            standing: self.standing(),
            members: self.founding.is_none().then(|| (self.order.members_at, self.order.members.clone())),
            disks: self.disks(),
            drafts: drafts as u64,
            commands: commands as u64,
            decisions: self.decisions.len() as u64,
            lives: lives.map(|(entry, life)| (entry.clone(), life.incarnation)).collect(),
        }
    }
}
