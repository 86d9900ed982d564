//! What waits for a position: commands first, then drafts, the lowest first.
//!
//! A draft is complete when a storage quorum of its slot has it, a command INIT or RETAIN when one node asks for it. LOST, TIME and
//! MEMBERS need a majority of syncs that back them, for each of them might be wrong about clocks, links, or what it was told. Each
//! sync finds by itself what it backs and tells the others, all of it each time, so what it takes back is left out.
//!
//! What is complete is a fact: whoever hears it from another sync need not count again.

use std::collections::{BTreeMap, BTreeSet};

use super::order::Order;
use crate::queue::envelope::{Draft, Elected, NodeId, OrderCommand, SegmentId};
use crate::queue::faults::{Fault, has};
use crate::queue::quorum::{Members, StoreId};

/// Deadlines that were asked for and have not come. Beyond, the farthest are forgotten: their storages ask again.
const TIMES_MAX: usize = 1024;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Drafts {
    /// What storages have whole.
    drafts: BTreeMap<Draft, Counted>,
    /// Complete commands.
    commands: BTreeSet<OrderCommand>,
    /// What syncs back, this one included.
    backed: BTreeMap<NodeId, BTreeSet<OrderCommand>>,
    /// TIMEs asked for that are ahead of our clock.
    times: BTreeSet<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Counted {
    /// Disks that have it, members or not.
    stores: BTreeSet<StoreId>,
    is_complete: bool,
}

impl Drafts {
    /// The disk `store` has it whole.
    pub fn count(&mut self, store: StoreId, draft: Draft, order: &Order) {
        // A disk that is not in the table yet may be by the time that this sync learns of it.
        if order.may_come(&draft.id) {
            let slot = draft.slot;
            let counted = self.drafts.entry(draft).or_default();
            counted.stores.insert(store);
            counted.is_complete = counted.is_complete || counted.is_quorum(slot, &order.members);
        }
    }

    /// Segments that this disk has.
    pub fn of_disk(&self, store: StoreId) -> BTreeSet<SegmentId> {
        let of_disk = self.drafts.iter().filter(|(_, counted)| counted.stores.contains(&store));
        of_disk.map(|(draft, _)| draft.id.clone()).collect()
    }

    /// Another sync has it complete.
    pub fn accept(&mut self, challenger: &Elected, order: &Order) {
        match challenger {
            Elected::Command(command) if !order.is_void(command) => drop(self.commands.insert(command.clone())),
            other => self.accept_drafts(other.drafts(), order),
        }
    }

    /// As [`Self::accept`], for drafts only: a command may have been elected since.
    pub fn accept_drafts(&mut self, drafts: &[Draft], order: &Order) {
        for draft in drafts.iter().filter(|draft| order.may_come(&draft.id)) {
            self.drafts.entry(draft.clone()).or_default().is_complete = true;
        }
    }

    /// One node asks for it: INIT, RETAIN.
    pub fn ask(&mut self, command: OrderCommand) {
        self.commands.insert(command);
    }

    /// TIME is asked for ahead of our clock.
    pub fn ask_later(&mut self, at_us: u64) {
        self.times.insert(at_us);
        if self.times.len() > TIMES_MAX {
            self.times.pop_last();
        }
    }

    /// The next deadline that has come.
    pub fn due(&mut self, now_us: u64) -> Option<OrderCommand> {
        let at_us = *self.times.first().filter(|at_us| **at_us <= now_us)?;
        self.times.remove(&at_us);
        Some(OrderCommand::Time { at_us })
    }

    /// What a sync backs, if it is anything.
    pub fn backed_by(&self, sync: &NodeId) -> impl Iterator<Item = &OrderCommand> {
        self.backed.get(sync).into_iter().flatten()
    }

    /// A sync backs these commands now, and no others.
    pub fn back(&mut self, sync: &NodeId, mut commands: BTreeSet<OrderCommand>, order: &Order) {
        commands.retain(|command| needs_majority(command) && !order.is_void(command));
        self.backed.insert(sync.clone(), commands);
        self.complete(order);
    }

    /// How many drafts and commands there are.
    pub fn waiting(&self) -> (usize, usize) {
        (self.drafts.len(), self.commands.len())
    }

    /// What challenges for the next position: a command, or the lowest drafts, one of each entry and `run_max` at most.
    pub fn lowest(&self, order: &Order, run_max: usize) -> Option<Elected> {
        if let Some(command) = self.commands.first() {
            return Some(Elected::Command(command.clone()));
        }
        let mut run: Vec<Draft> = Vec::new();
        for (draft, counted) in &self.drafts {
            let is_first = || run.iter().all(|other| other.id.entry != draft.id.entry);
            if counted.is_complete && order.is_next(draft) && is_first() {
                run.push(draft.clone());
            }
            if run.len() == run_max {
                break;
            }
        }
        match run.len() {
            0 | 1 => run.pop().map(Elected::Segment),
            _ => Some(Elected::Run(run)),
        }
    }

    /// The order has gone on by this: what can not come any more is dropped.
    pub fn decided(&mut self, elected: &Elected, order: &Order) {
        for Draft { id, .. } in elected.drafts() {
            self.keep_what_may_come(&id.entry, order);
            if has(Fault::LateDraft) {
                self.drafts.retain(|draft, _| draft.id != *id);
            }
        }
        match elected {
            // Log time has gone on: a TIME that is void with us and not with others would divide us at every position.
            Elected::Segment(_) | Elected::Run(_) => self.drop_void(order),
            Elected::Command(command) => {
                self.commands.remove(command);
                match command {
                    OrderCommand::Init { entry, .. } | OrderCommand::Lost { entry, .. } => {
                        self.keep_what_may_come(entry, order);
                    }
                    OrderCommand::Members { .. } => self.count_anew(order),
                    OrderCommand::Retain { .. } | OrderCommand::Time { .. } => {}
                }
                self.drop_void(order);
            }
            Elected::Nothing => {}
        }
    }

    /// The order has gone on by more than one decision, unknown to us.
    pub fn skipped(&mut self, order: &Order) {
        self.drafts.retain(|draft, _| order.may_come(&draft.id));
        self.count_anew(order);
        self.drop_void(order);
    }

    fn keep_what_may_come(&mut self, entry: &NodeId, order: &Order) {
        self.drafts.retain(|draft, _| draft.id.entry != *entry || order.may_come(&draft.id));
    }

    fn drop_void(&mut self, order: &Order) {
        self.commands.retain(|command| !order.is_void(command));
        self.backed.values_mut().for_each(|backed| backed.retain(|command| !order.is_void(command)));
    }

    /// The table of members has changed.
    fn count_anew(&mut self, order: &Order) {
        for (draft, counted) in &mut self.drafts {
            counted.is_complete = counted.is_quorum(draft.slot, &order.members);
        }
        self.commands.retain(|command| !needs_majority(command));
        self.complete(order);
    }

    /// Whatever a majority of syncs backs is complete.
    fn complete(&mut self, order: &Order) {
        for command in self.backed.values().flatten() {
            let backs = |sync: &NodeId| self.backed.get(sync).is_some_and(|backed| backed.contains(command));
            let backers = order.members.syncs.iter().filter(|member| backs(&member.node)).count();
            if backers >= order.members.sync_majority() {
                self.commands.insert(command.clone());
            }
        }
    }
}

impl Counted {
    fn is_quorum(&self, slot: u32, members: &Members) -> bool {
        members.is_storage_quorum(slot, |member| self.stores.contains(&member.store))
    }
}

/// Whether the command is complete only when a majority of syncs backs it.
pub fn needs_majority(command: &OrderCommand) -> bool {
    match command {
        OrderCommand::Lost { .. } | OrderCommand::Time { .. } | OrderCommand::Members { .. } => true,
        OrderCommand::Init { .. } | OrderCommand::Retain { .. } => false,
    }
}
