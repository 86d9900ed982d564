//! How an entry is, for whoever looks.

use serde::{Deserialize, Serialize};

use super::{EntryRole, Life};
use crate::queue::envelope::NodeId;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryReport {
    /// Position of the INIT of its life; `None`: it has none.
    pub incarnation: Option<u64>,
    /// The log is fed up to this position.
    pub fed: u64,
    /// The highest position that was resolved here.
    pub resolved: u64,
    /// Which storage feeds it.
    pub feeder: Option<NodeId>,
    /// Segments without a result.
    pub segments: u64,
    /// Bytes of these, and of what waits for a segment.
    pub bytes: u64,
    /// For so long clients may be told that they hold locks; 0: they may not.
    pub lease_left_us: u64,
}

impl EntryRole {
    /// How it is. `monotonic_us`: as in [`EntryRole::tick`].
    pub fn report(&self, monotonic_us: u64) -> EntryReport {
        let incarnation = if let Life::Present(incarnation) = self.life { Some(incarnation) } else { None };
        EntryReport {
            incarnation,
            fed: self.fed,
            resolved: self.resolved.as_ref().map_or(0, |(position, _)| *position),
            feeder: self.feeder.clone(),
            segments: self.unresolved.len() as u64,
            bytes: self.held_bytes as u64,
            lease_left_us: self.lease.left_us(monotonic_us, self.limits.lease_us, &self.members),
        }
    }
}
