//! How a storage is, for whoever looks.

use serde::{Deserialize, Serialize};

use super::StorageRole;
use crate::queue::quorum::{Members, StoreId};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageReport {
    /// Which disk this is.
    pub store: StoreId,
    /// Applied up to here.
    pub position: u64,
    /// Who takes part, since which position; `None`: it has not heard.
    pub members: Option<(u64, Members)>,
    /// Whether its disk is in that table: what it keeps counts.
    pub counts: bool,
    /// A peer copies all that it has to here.
    pub copies: bool,
    /// Segments that are not elected yet, open or closed.
    pub segments: u64,
    /// Of these the ones that are on disk.
    pub sealed: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Decisions that wait to be applied.
    pub elected: u64,
    /// Of these, segments whose bodies peers are asked for.
    pub wanted: u64,
    /// Entries that it feeds.
    pub followers: u64,
}

impl StorageRole {
    /// How it is.
    pub fn report(&self) -> StorageReport {
        let is_own = |store: StoreId, name| store == self.store && name == &self.node;
        let counts = self.members.storages().iter().any(|member| is_own(member.store, &member.node));
        StorageReport {
            store: self.store,
            position: self.position,
            members: self.members.has_stores().then(|| (self.members_at, self.members.clone())),
            counts: self.members.has_stores() && counts,
            copies: self.is_copying(),
            segments: self.buffers.len() as u64,
            sealed: self.buffers.values().filter(|buffer| buffer.drafted().is_some()).count() as u64,
            bytes: self.buffers.values().map(|buffer| buffer.bytes() as u64).sum(),
            elected: self.elected.len() as u64,
            wanted: self.wanted.len() as u64,
            followers: self.followers.len() as u64,
        }
    }
}
