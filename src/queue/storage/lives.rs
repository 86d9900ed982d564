//! What the log says of the entries: a function of the log, and of what entries have confirmed.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::Apply;
use crate::queue::envelope::{NodeId, OrderCommand, Resolution, SegmentId};

/// What the log says of an entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// Position of its last INIT.
    pub incarnation: u64,
    /// That life was ended by LOST.
    pub lost: bool,
    /// Last segment of that life in the log; 0 if there is none.
    pub last: u64,
    /// What became of its segments, until the entry has confirmed that it knows. Segment, position, result.
    pub results: VecDeque<(u64, u64, Resolution)>,
}

/// Of all entries.
pub type Lives = BTreeMap<NodeId, Life>;

impl Life {
    /// What the position makes of it, if it concerns this entry. Whether that changes anything.
    pub fn take(&mut self, position: u64, apply: &Apply, resolution: &Resolution) -> bool {
        match apply {
            Apply::Segment { draft, .. } => {
                self.resolved(draft.id.segment, position, resolution.clone());
                true
            }
            Apply::Command(OrderCommand::Init { replaces, .. }) if self.incarnation == *replaces => {
                *self = Self { incarnation: position, ..Self::default() };
                true
            }
            Apply::Command(OrderCommand::Lost { incarnation, .. }) if self.is_present(*incarnation) => {
                self.lost = true;
                true
            }
            Apply::Command(_) | Apply::Nothing => false,
        }
    }

    pub(super) fn resolved(&mut self, segment: u64, position: u64, resolution: Resolution) {
        self.last = segment;
        self.results.push_back((segment, position, resolution));
    }

    pub(super) fn is_present(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation && !self.lost
    }

    /// Whether the segment is not in the log and may be, some time.
    pub fn may_come(&self, id: &SegmentId) -> bool {
        !self.has_cut(id) && (id.incarnation > self.incarnation || id.segment > self.last)
    }

    /// Whether the segment can not be elected any more, if it is not elected yet.
    pub fn has_cut(&self, id: &SegmentId) -> bool {
        id.incarnation < self.incarnation || self.lost && id.incarnation == self.incarnation && id.segment > self.last
    }

    pub(super) fn confirm(&mut self, confirmed: u64) {
        while self.results.pop_front_if(|(segment, ..)| *segment <= confirmed).is_some() {}
    }
}
