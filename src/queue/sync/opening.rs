//! Who picks first. Any sync may, and none is waited for long: it is a hint that makes the picks of a vote the same.
//!
//! Drafts come to each sync in an order of its own, so syncs that pick at the same time pick other runs, and the position stays empty.
//! So the first of the table that is linked opens the vote, and the others pick what it picks. It says what that will be before it is
//! on its disk, so all write at the same time. One that does not open in time is left out for a while.
//!
//! Who opens waits a little for the drafts of entries that have begun a segment, or had one elected just now, for then the next is not
//! far. Entries whose segments are elected together get their results together, and go on together: one vote and one commit serve
//! all of them.
//!
//! With the picks of all syncs the vote is at its end ([`super::vote`]). So who has picked waits for the others a little before it
//! says more, which would have to be on disk first, too. And those who do not open leave it to the first to tell the decision; they tell it
//! later to those that do not seem to have it.

use std::collections::BTreeMap;

use super::{Output, SyncRole};
use crate::queue::envelope::{Draft, Elected, NodeId, RoleMessage};

/// For so long a sync that was late is not waited for, in microseconds.
const LEFT_OUT_US: u64 = 250_000;
/// After so long a decision is told by all to those that do not seem to know it, in microseconds.
const TOLD_BY_ALL_US: u64 = 20_000;

/// See the module. Times are microseconds of a clock that never goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Opening {
    /// How long another sync is waited for; 0: each opens when it can.
    patience_us: u64,
    now_us: u64,
    /// Since when another is waited for.
    since_us: Option<u64>,
    /// How long after its BEGIN, or after the election of the one before, a segment is waited for.
    gather_us: u64,
    /// Until when each entry's next segment is waited for.
    comes: BTreeMap<NodeId, u64>,
    /// What the sync that opens the vote is about to pick.
    opened: Option<Elected>,
    /// Until when segments are waited for.
    gathers_until_us: Option<u64>,
    /// Since when picks of others are waited for.
    picked_us: Option<u64>,
    /// The first position whose decision this sync has not told, and since when.
    untold: Option<(u64, u64)>,
    /// Who was late, and until when it is not waited for.
    left_out: BTreeMap<NodeId, u64>,
}

impl Opening {
    /// This sync has said something, or the position is decided.
    pub fn ends(&mut self) {
        (self.since_us, self.gathers_until_us, self.picked_us) = (None, None, None);
        self.opened = None;
    }

    /// What the sync that opens the vote is about to pick.
    pub fn opened(&self) -> Option<&Elected> {
        self.opened.as_ref()
    }

    /// Whether the decision on this position was not told to all yet.
    pub fn is_untold(&self, position: u64) -> bool {
        self.untold.is_some_and(|(first, _)| first <= position)
    }

    /// An entry has begun a segment, or will do so soon.
    pub fn comes(&mut self, entry: &NodeId) {
        if self.gather_us > 0 {
            self.comes.insert(entry.clone(), self.now_us + self.gather_us);
        }
    }

    fn is_waited_for(&self, node: &NodeId) -> bool {
        self.left_out.get(node).is_none_or(|until_us| *until_us <= self.now_us)
    }
}

impl SyncRole {
    /// From now on another sync is left to open the vote, for `patience_us` microseconds; and who opens it waits for segments until
    /// `gather_us` after they were begun, or the one before was elected.
    pub fn leave_opening(&mut self, patience_us: u64, gather_us: u64) {
        (self.opening.patience_us, self.opening.gather_us) = (patience_us, gather_us);
    }

    /// When [`SyncRole::tick`] has to be called at the latest; `None`: nothing is waited for.
    pub fn due_us(&self) -> Option<u64> {
        let Opening { since_us, picked_us, gathers_until_us, untold, patience_us, .. } = self.opening;
        let left = since_us.into_iter().chain(picked_us).map(|since_us| since_us + patience_us);
        let told = untold.map(|(_, since_us)| since_us + TOLD_BY_ALL_US);
        left.chain(gathers_until_us).chain(told).min()
    }

    /// What the clock says that never goes back, in microseconds.
    pub fn set_clock(&mut self, monotonic_us: u64) {
        self.opening.now_us = monotonic_us;
    }

    /// Whether this sync is to pick first, now that it could.
    pub(super) fn may_open(&mut self) -> bool {
        while let Some(first) = self.first_before() {
            let since_us = *self.opening.since_us.get_or_insert(self.opening.now_us);
            if self.opening.now_us < since_us + self.opening.patience_us {
                return false;
            }
            self.opening.since_us = None;
            self.opening.left_out.insert(first, self.opening.now_us + LEFT_OUT_US);
        }
        true
    }

    /// Tells the others what this sync is about to pick, if it opens the vote. No promise: they may pick what they like.
    pub(super) fn open_vote(&self, challenger: &Elected, out: &mut Vec<Output>) {
        if self.opening.patience_us > 0 && self.vote.picked().is_none() && self.first_before().is_none() {
            let (position, challenger) = (self.order.position + 1, challenger.clone());
            self.tell_members(&RoleMessage::OpenVote { position, challenger }, out);
        }
    }

    /// Another sync is about to pick this, if it is the one that opens the vote.
    pub(super) fn hear_opening(&mut self, from: &NodeId, position: u64, challenger: Elected) {
        if position == self.order.position + 1 && self.first_before().as_ref() == Some(from) {
            self.drafts.accept(&challenger, &self.order);
            self.opening.opened = Some(challenger);
        }
    }

    /// Whether picks of others are waited for, with which the vote would be at its end.
    pub(super) fn awaits_picks(&mut self) -> bool {
        let lacking = self.vote.lacks_picks();
        if self.opening.patience_us == 0 || lacking.is_empty() {
            return false;
        }
        let members = &self.order.members.syncs;
        let lacking: Vec<NodeId> = lacking.iter().filter_map(|place| Some(members.get(*place)?.node.clone())).collect();
        if !lacking.iter().all(|node| self.peers.contains_key(node) && self.opening.is_waited_for(node)) {
            return false;
        }
        let until_us = *self.opening.picked_us.get_or_insert(self.opening.now_us) + self.opening.patience_us;
        if self.opening.now_us < until_us {
            return true;
        }
        let left_out_us = self.opening.now_us + LEFT_OUT_US;
        self.opening.left_out.extend(lacking.into_iter().map(|node| (node, left_out_us)));
        false
    }

    /// Tells a decision to those that have to know it soon, unless that is left to another. Syncs mostly decide by themselves.
    pub(super) fn tell_decision(&mut self, position: u64, elected: &Elected, out: &mut Vec<Output>) {
        if self.opening.patience_us == 0 {
            self.tell_storages(position, elected, out);
            return self.tell_syncs(position, elected, out);
        }
        self.opening.untold.get_or_insert((position, self.opening.now_us));
        if self.first_before().is_none() {
            self.tell_storages(position, elected, out);
        }
    }

    /// Tells what was not told, once its time has come, to those that do not seem to have it.
    pub(super) fn tell_late(&mut self, out: &mut Vec<Output>) {
        let is_due = |(_, since_us): &mut (u64, u64)| *since_us + TOLD_BY_ALL_US <= self.opening.now_us;
        let Some((untold, _)) = self.opening.untold.take_if(is_due) else { return };
        for (position, elected) in self.decisions.range(untold..) {
            self.tell_storages(*position, elected, out);
            self.tell_syncs(*position, elected, out);
        }
    }

    /// Whether more drafts than these are to come soon.
    pub(super) fn gathers(&mut self, drafts: &[Draft]) -> bool {
        let is_there = |entry: &NodeId| drafts.iter().any(|draft| draft.id.entry == *entry);
        let Opening { comes, now_us, .. } = &mut self.opening;
        comes.retain(|_, until_us| until_us > now_us);
        let until_us = comes.iter().filter(|(entry, _)| !is_there(entry)).map(|(_, until_us)| *until_us).max();
        self.opening.gathers_until_us = until_us;
        until_us.is_some()
    }

    /// Who is to open the vote, if that is another.
    fn first_before(&self) -> Option<NodeId> {
        if self.opening.patience_us == 0 {
            return None;
        }
        let is_there = |node: &&NodeId| self.peers.contains_key(*node) && self.opening.is_waited_for(node);
        let syncs = self.order.members.syncs.iter().map(|member| &member.node);
        syncs.take_while(|node| **node != self.node).find(is_there).cloned()
    }
}
