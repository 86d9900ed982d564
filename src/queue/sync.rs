//! The sync: turns nearly random advance ids into one total order.
//!
//! ```text
//! GENERATE_DRAFT (storage quorum) -> draft -> lowest challenges for the next position -> ELECT_SEGMENT
//! ```
//!
//! Commands go before drafts, drafts by advance segment and entry: "take the low". A draft may challenge only while its incarnation
//! is the present one of its entry and it follows the last elected segment of it: that keeps the order of an entry's
//! segments, and late repeats are not elected twice.
//!
//! One sync elects the challenger at once, and has nothing to remember: its storage keeps the position with the segment. Several
//! have to vote (PICK_CHALLENGER, STATE, VOTE), which is not done yet: [`SyncRole::new`] refuses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::envelope::{Draft, Elected, Envelope, NodeId, OrderCommand, RoleMessage, SegmentId};
use super::quorum::{Members, StoreId};

#[cfg(test)]
mod tests;

/// Where the order stands when a sync starts.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The last position that was decided; 0: none.
    pub position: u64,
    pub entries: Vec<(NodeId, Life)>,
}

/// What the order says of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Position of its last INIT.
    pub incarnation: u64,
    /// That life was ended by LOST.
    pub lost: bool,
    /// Last segment of that life that was elected; 0 if there is none.
    pub last: u64,
}

/// Why there is no sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    #[error("{0} syncs are configured: this version can order by one only")]
    Several(usize),
}

/// See the module.
#[derive(Debug)]
pub struct SyncRole {
    node: NodeId,
    members: Members,
    /// Decided up to here.
    position: u64,
    lives: BTreeMap<NodeId, Life>,
    commands: VecDeque<OrderCommand>,
    /// What storages have whole, and which of them.
    drafts: BTreeMap<Draft, BTreeSet<StoreId>>,
    /// Decisions that are not on disk everywhere.
    decisions: BTreeMap<u64, Elected>,
    /// How far each disk is.
    applied: BTreeMap<StoreId, u64>,
    /// What the last decision changed: the life of this entry was so before.
    before: Option<(NodeId, Life)>,
}

impl SyncRole {
    /// # Errors
    /// There is more than one sync.
    pub fn new(node: NodeId, members: Members, start: Start) -> Result<Self, SyncError> {
        match members.syncs.len() {
            0 | 1 => Ok(Self::alone(node, members, start)),
            several => Err(SyncError::Several(several)),
        }
    }

    /// The only sync of its members.
    pub(super) fn alone(node: NodeId, members: Members, start: Start) -> Self {
        Self {
            node,
            members,
            position: start.position,
            lives: start.entries.into_iter().collect(),
            commands: VecDeque::new(),
            drafts: BTreeMap::new(),
            decisions: BTreeMap::new(),
            applied: BTreeMap::new(),
            before: None,
        }
    }

    /// Takes a message of another role. What does not concern a sync that is alone, or what it has heard already, changes nothing.
    pub fn handle(&mut self, from: &NodeId, message: RoleMessage, out: &mut Vec<Envelope>) {
        match message {
            RoleMessage::GenerateDraft { store, draft } => self.draft(store, draft),
            RoleMessage::AskCommand(command) => self.ask(command),
            RoleMessage::FetchElected { after } => self.tell_decisions(after, from, out),
            RoleMessage::Applied { store, position } => self.forget_decisions(store, position),
            _ => {}
        }
        while let Some(elected) = self.challenger() {
            self.elect(elected, out);
        }
    }

    /// The last decision was not carried out, and is none: the only storage could not commit it.
    pub fn take_back(&mut self, position: u64) {
        assert_eq!(position, self.position, "only the last decision can be taken back");
        if self.decisions.remove(&position).is_some() {
            self.position = position - 1;
            self.lives.extend(self.before.take());
        }
    }

    fn draft(&mut self, store: StoreId, draft: Draft) {
        let is_member = self.members.slot(draft.slot).iter().any(|member| member.store == store);
        if is_member && self.lives.get(&draft.id.entry).is_none_or(|life| life.may_come(&draft.id)) {
            self.drafts.entry(draft).or_default().insert(store);
        }
    }

    fn ask(&mut self, command: OrderCommand) {
        // With more syncs this one could not go on alone, and it cannot vote.
        let is_possible = !matches!(&command, OrderCommand::Members(members) if members.syncs.len() > 1);
        if is_possible && !self.commands.contains(&command) {
            self.commands.push_back(command);
        }
    }

    /// What challenges for the next position.
    fn challenger(&mut self) -> Option<Elected> {
        if let Some(command) = self.commands.pop_front() {
            return Some(Elected::Command(command));
        }
        let members = &self.members;
        let lives = &self.lives;
        let may_challenge = |(draft, stores): &(&Draft, &BTreeSet<StoreId>)| {
            lives.get(&draft.id.entry).is_some_and(|life| life.is_next(draft))
                && members.is_storage_quorum(draft.slot, |member| stores.contains(&member.store))
        };
        let lowest = self.drafts.iter().find(may_challenge);
        lowest.map(|(draft, _)| Elected::Segment(draft.clone()))
    }

    fn elect(&mut self, elected: Elected, out: &mut Vec<Envelope>) {
        self.position += 1;
        self.before = None;
        match &elected {
            Elected::Segment(draft) => self.change(&draft.id.entry, |life| Life { last: draft.id.segment, ..life }),
            Elected::Command(command) => self.command(command),
            Elected::Nothing => {}
        }
        let storages: Vec<NodeId> = self.members.storages().into_iter().map(|member| member.node.clone()).collect();
        for to in storages {
            self.tell(&to, self.position, elected.clone(), out);
        }
        self.decisions.insert(self.position, elected);
    }

    fn command(&mut self, command: &OrderCommand) {
        let position = self.position;
        match command {
            OrderCommand::Init { entry, replaces, .. } => {
                if self.lives.get(entry).map_or(0, |life| life.incarnation) == *replaces {
                    self.change(entry, |_| Life { incarnation: position, ..Life::default() });
                }
            }
            OrderCommand::Lost { entry, incarnation } => {
                if self.lives.get(entry).is_some_and(|life| life.incarnation == *incarnation) {
                    self.change(entry, |life| Life { lost: true, ..life });
                }
            }
            OrderCommand::Members(members) => self.members = members.clone(),
            OrderCommand::Retain { .. } | OrderCommand::Time { .. } => {}
        }
    }

    /// Changes what the order says of an entry, and drops drafts that can never challenge after it.
    fn change(&mut self, entry: &NodeId, change: impl FnOnce(Life) -> Life) {
        let life = self.lives.entry(entry.clone()).or_default();
        self.before = Some((entry.clone(), *life));
        *life = change(*life);
        self.drafts.retain(|draft, _| draft.id.entry != *entry || life.may_come(&draft.id));
    }

    fn tell(&self, to: &NodeId, position: u64, elected: Elected, out: &mut Vec<Envelope>) {
        let message = RoleMessage::ElectSegment { position, elected };
        out.push(Envelope { from: self.node.clone(), to: to.clone(), message });
    }

    fn tell_decisions(&self, after: u64, to: &NodeId, out: &mut Vec<Envelope>) {
        let first = self.decisions.keys().next().map_or(self.position, |first| first - 1);
        if after < first {
            let message = RoleMessage::ElectedGone { until: first };
            out.push(Envelope { from: self.node.clone(), to: to.clone(), message });
        }
        for (position, elected) in self.decisions.range(after.saturating_add(1)..) {
            self.tell(to, *position, elected.clone(), out);
        }
    }

    /// Forgets decisions that a storage quorum of each slot has applied.
    fn forget_decisions(&mut self, store: StoreId, position: u64) {
        let applied = self.applied.entry(store).or_default();
        *applied = position.max(*applied);
        let is_far =
            |store: &StoreId, position: u64| self.applied.get(store).is_some_and(|applied| *applied >= position);
        let slots = 0..self.members.slots.len() as u32;
        let is_applied = |position: u64| {
            slots.clone().all(|slot| self.members.is_storage_quorum(slot, |member| is_far(&member.store, position)))
        };
        while let Some(first) = self.decisions.first_entry().filter(|first| is_applied(*first.key())) {
            first.remove();
        }
    }
}

impl Life {
    /// Whether the draft follows what was elected of its entry.
    fn is_next(&self, draft: &Draft) -> bool {
        draft.id.incarnation == self.incarnation
            && !self.lost
            && draft.previous == self.last
            && draft.id.segment > self.last
    }

    /// Whether the segment can be elected, now or later.
    fn may_come(&self, id: &SegmentId) -> bool {
        let is_present = id.incarnation == self.incarnation && !self.lost && id.segment > self.last;
        is_present || id.incarnation > self.incarnation
    }
}
