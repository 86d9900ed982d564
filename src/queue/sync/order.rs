//! What the decisions so far come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::queue::envelope::{Draft, Elected, NodeId, OrderCommand, SegmentId};
use crate::queue::faults::{Fault, has};
use crate::queue::quorum::Members;

/// All that a sync has to know to take part in the next position: also what it is given when it is far behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Order {
    /// The last position that was decided; 0: none.
    pub position: u64,
    /// Who takes part in the next.
    pub members: Members,
    /// Position of the MEMBERS that they are of; 0: they are the first.
    pub members_at: u64,
    pub lives: BTreeMap<NodeId, Life>,
    /// Log time: the highest segment or TIME, in microseconds since 1970.
    pub time_us: u64,
}

/// What the order says of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life {
    /// Position of its last INIT.
    pub incarnation: u64,
    /// That life was ended by LOST.
    pub lost: bool,
    /// Last segment of that life that was elected; 0 if there is none.
    pub last: u64,
}

impl Order {
    /// Before the first position.
    pub fn new(members: Members) -> Self {
        Self { position: 0, members, members_at: 0, lives: BTreeMap::new(), time_us: 0 }
    }

    /// The next position is decided, or positions.
    pub fn take(&mut self, elected: &Elected) {
        self.position += elected.positions();
        for Draft { id, .. } in elected.drafts() {
            self.time_us = self.time_us.max(id.segment);
            self.life(&id.entry).last = id.segment;
        }
        if let Elected::Command(command) = elected {
            self.command(command);
        }
    }

    /// Whether the draft may challenge for the next position: it follows what was elected of its entry.
    pub fn is_next(&self, draft: &Draft) -> bool {
        self.lives.get(&draft.id.entry).is_some_and(|life| life.is_next(draft))
    }

    /// Whether the segment can be elected, now or later.
    pub fn may_come(&self, id: &SegmentId) -> bool {
        self.lives.get(&id.entry).is_none_or(|life| life.may_come(id))
    }

    /// Whether the command would change nothing. A void INIT has to be elected all the same: it is answered.
    pub fn is_void(&self, command: &OrderCommand) -> bool {
        match command {
            OrderCommand::Lost { entry, incarnation } => {
                self.lives.get(entry).is_none_or(|life| life.incarnation != *incarnation || life.lost)
            }
            OrderCommand::Time { at_us } => *at_us <= self.time_us,
            OrderCommand::Members { behind, members } => {
                *behind != self.members_at || *members == self.members || !members.may_follow(&self.members)
            }
            OrderCommand::Init { .. } | OrderCommand::Retain { .. } => false,
        }
    }

    fn command(&mut self, command: &OrderCommand) {
        let position = self.position;
        match command {
            OrderCommand::Init { entry, replaces, .. } => {
                let life = self.life(entry);
                if life.incarnation == *replaces {
                    *life = Life { incarnation: position, ..Life::default() };
                }
            }
            OrderCommand::Lost { entry, incarnation } => {
                let life = self.lives.get_mut(entry).filter(|life| life.incarnation == *incarnation);
                life.into_iter().for_each(|life| life.lost = true);
            }
            OrderCommand::Members { members, .. } if !self.is_void(command) => {
                (self.members_at, self.members) = (position, members.clone());
            }
            OrderCommand::Members { .. } => {}
            OrderCommand::Time { at_us } => self.time_us = self.time_us.max(*at_us),
            OrderCommand::Retain { .. } => {}
        }
    }

    fn life(&mut self, entry: &NodeId) -> &mut Life {
        self.lives.entry(entry.clone()).or_default()
    }
}

impl Life {
    fn is_next(&self, draft: &Draft) -> bool {
        draft.id.incarnation == self.incarnation
            && !self.lost
            && (draft.previous == self.last || has(Fault::NoPrevious) || has(Fault::LateDraft))
            && (draft.id.segment > self.last || has(Fault::LateDraft))
    }

    fn may_come(&self, id: &SegmentId) -> bool {
        let is_present =
            id.incarnation == self.incarnation && !self.lost && (id.segment > self.last || has(Fault::LateDraft));
        is_present || id.incarnation > self.incarnation
    }
}
