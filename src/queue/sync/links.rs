//! What a sync tells others: on a new link what they lack, then what is new.

use std::collections::BTreeSet;

use super::promises::{Phase, Record, Step};
use super::{Hello, Order, Output, SyncRole, Table};
use crate::queue::envelope::{Elected, Envelope, NodeId, Role, RoleMessage};
use crate::queue::faults::{Fault, has};
use crate::queue::quorum::{Member, Members, StoreId};

impl SyncRole {
    /// The link to a node is up, anew or for the first time. What was sent to it before may be lost.
    pub fn connected(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        if node.role == Role::Sync && !self.alone && !self.forgot {
            self.greet(node, out);
        }
        for member in self.order.members.storages().iter().filter(|member| member.node == *node && !self.alone) {
            self.doubted.insert(member.store, self.drafts.of_disk(member.store));
        }
    }

    /// The link to a node is down.
    pub fn disconnected(&mut self, node: &NodeId) {
        self.peers.remove(node);
        self.disks.remove(node);
        self.drafts.back(node, BTreeSet::new(), &self.order);
    }

    /// Whether so many others are there, and know nothing of us that we do not know, that we may say something new.
    pub(super) fn has_greeted(&self) -> bool {
        !self.waits && self.greeted() + 1 >= self.order.members.sync_majority()
    }

    /// How many others are there.
    fn greeted(&self) -> usize {
        let is_there = |member: &&Member| self.peers.contains_key(&member.node);
        self.order.members.syncs.iter().filter(is_there).count()
    }

    /// Another sync says first who it is.
    pub(super) fn hello(&mut self, from: &NodeId, hello: Hello, out: &mut Vec<Output>) {
        self.peers.insert(from.clone(), hello.position);
        let is_more = |(store, step)| store == self.store && step > self.last_step();
        if hello.heard.is_some_and(is_more) && !has(Fault::WipedSyncVotes) {
            return self.forget(out);
        }
        self.disks.insert(from.clone(), hello.store);
        self.waits &= self.greeted() + 1 < self.order.members.syncs.len();
        if let Some(founding) = &mut self.founding {
            founding.sync(from, hello.store, &hello.table);
            if hello.table == Table::Founded {
                // It has answered us before it knew; now it can tell the order.
                self.greet(from, out);
            }
            return self.go_on_founding(out);
        }
        let is_near = hello.table == Table::Founded && self.floor.position <= hello.position;
        if !is_near {
            let (order, members) = (self.floor.clone(), self.order.members.clone());
            self.send(from, RoleMessage::SyncOrder { order, members }, out);
        }
        self.tell_decisions(if is_near { hello.position } else { self.floor.position }, from, out);
        let backed: BTreeSet<_> = self.drafts.backed_by(&self.node).cloned().collect();
        if !backed.is_empty() {
            self.send(from, RoleMessage::BackCommands(backed), out);
        }
        let position = self.order.position + 1;
        for statement in self.vote.said() {
            self.send(from, statement.clone().message(position), out);
        }
    }

    /// Another sync tells what decisions come to that it does not keep any more, and the table that those it keeps lead to. It tells them
    /// next: they may be kept by few others, and whoever goes on from here has to keep them, too.
    pub(super) fn skip(&mut self, order: Order, members: Members, out: &mut Vec<Output>) {
        let is_member = |member: &Member| member.node == self.node && member.store == self.store;
        if let Some(founding) = &self.founding {
            // In a table that this disk does not know of: it was there, and is an older copy now.
            if founding.pledged(&self.node).is_none() && members.syncs.iter().any(is_member) {
                return self.forget(out);
            }
        } else if order.position <= self.order.position {
            return;
        }
        self.begin_anew(order.clone(), out);
        // What lies between is known here no more than there: nobody else may be linked who could tell it.
        let behind: Vec<NodeId> =
            self.peers.iter().filter(|(_, knows)| **knows < order.position).map(|(peer, _)| peer.clone()).collect();
        for peer in behind {
            let (order, members) = (order.clone(), members.clone());
            self.send(&peer, RoleMessage::SyncOrder { order, members }, out);
        }
    }

    /// Goes on with the foundation of the cluster, as far as is known who is there.
    pub(super) fn go_on_founding(&mut self, out: &mut Vec<Output>) {
        let Some(founding) = &mut self.founding else { return };
        if let Some(table) = founding.pledge(&self.node) {
            out.push(Output::Promise(Record::Pledged(table)));
            self.greet_all(out);
        }
        if let Some(table) = self.founding.as_ref().and_then(|founding| founding.founded(&self.node)) {
            self.begin_anew(Order::new(table.clone()), out);
        }
    }

    /// A decision is told to storages that may not know it.
    pub(super) fn tell_storages(&self, position: u64, elected: &Elected, out: &mut Vec<Output>) {
        let storages = self.order.members.storages();
        let is_member = |node: &NodeId| storages.iter().any(|member| member.node == *node);
        let last = position + elected.positions() - 1;
        let lacks = |store: &StoreId| self.applied.get(store).is_none_or(|at| *at < last);
        let members = storages.iter().filter(|member| lacks(&member.store)).map(|member| &member.node);
        // Those that are to be members, and those that were, follow.
        let others = self.disks.iter().filter(|(node, store)| node.role == Role::Storage && lacks(store));
        let others = others.map(|(node, _)| node).filter(|node| !is_member(node));
        for storage in members.chain(others) {
            self.send(storage, RoleMessage::ElectSegment { position, elected: elected.clone() }, out);
        }
    }

    /// The same of syncs.
    pub(super) fn tell_syncs(&self, position: u64, elected: &Elected, out: &mut Vec<Output>) {
        let last = position + elected.positions() - 1;
        for (sync, _) in self.peers.iter().filter(|(_, knows)| **knows < last) {
            self.send(sync, RoleMessage::ElectSegment { position, elected: elected.clone() }, out);
        }
    }

    /// Another sync has said something on a position beyond its pick: if it is decided, that one does not know it.
    pub(super) fn tell_behind(&self, to: &NodeId, position: u64, out: &mut Vec<Output>) {
        if position <= self.order.position
            && self.opening.is_untold(position)
            && let Some((first, elected)) = self.decisions.range(..=position).next_back()
        {
            self.send(to, RoleMessage::ElectSegment { position: *first, elected: elected.clone() }, out);
        }
    }

    /// Tells the decisions behind `after`; a storage that is too far behind for that has to copy what they came to.
    pub(super) fn tell_decisions(&self, after: u64, to: &NodeId, out: &mut Vec<Output>) {
        if to.role == Role::Storage {
            self.tell_table(to, out);
        }
        let until = self.floor.position;
        if after < until && to.role == Role::Storage && self.founding.is_none() {
            self.send(to, RoleMessage::ElectedGone { until }, out);
        }
        // A storage may have applied a part of a run.
        let begun = self.decisions.range(..=after).next_back();
        let begun = begun.filter(|(first, elected)| *first + elected.positions() - 1 > after);
        let behind = self.decisions.range(after.saturating_add(1)..);
        for (position, elected) in begun.into_iter().chain(behind) {
            self.send(to, RoleMessage::ElectSegment { position: *position, elected: elected.clone() }, out);
        }
    }

    /// Tells the other syncs that have a vote.
    pub(super) fn tell_members(&self, message: &RoleMessage, out: &mut Vec<Output>) {
        for member in self.order.members.syncs.iter().filter(|member| self.peers.contains_key(&member.node)) {
            self.send(&member.node, message.clone(), out);
        }
    }

    /// A storage cannot know the first table by itself.
    fn tell_table(&self, to: &NodeId, out: &mut Vec<Output>) {
        if self.founds && self.founding.is_none() {
            let (position, members) = (self.order.members_at, self.order.members.clone());
            self.send(to, RoleMessage::MembersAre { position, members }, out);
        }
    }

    fn begin_anew(&mut self, order: Order, out: &mut Vec<Output>) {
        let was_founded = self.founding.is_none();
        self.begin(order.clone());
        out.push(Output::Note(Record::Order(order)));
        if !was_founded {
            self.greet_all(out);
            self.order.members.storages().iter().for_each(|member| self.tell_table(&member.node, out));
        }
    }

    fn greet_all(&self, out: &mut Vec<Output>) {
        self.peers.keys().for_each(|peer| self.greet(peer, out));
    }

    fn greet(&self, to: &NodeId, out: &mut Vec<Output>) {
        let member = self.order.members.syncs.iter().find(|member| member.node == *to);
        let heard = member.and_then(|member| Some((member.store, *self.all_heard().get(&member.store)?)));
        let table = match &self.founding {
            None => Table::Founded,
            Some(founding) => founding.pledged(&self.node).cloned().map_or(Table::Unknown, Table::Pledged),
        };
        let hello = Hello { store: self.store, position: self.order.position, table, heard };
        self.send(to, RoleMessage::SyncHello(hello), out);
    }

    fn forget(&mut self, out: &mut Vec<Output>) {
        self.forgot = true;
        out.push(Output::Forgot);
    }

    /// Up to here we know what we have said.
    fn last_step(&self) -> Step {
        let known = Step { position: self.order.position, round: u32::MAX, phase: Phase::Vote };
        self.vote.said().last().map_or(known, |last| last.step(self.order.position + 1))
    }

    pub(super) fn send(&self, to: &NodeId, message: RoleMessage, out: &mut Vec<Output>) {
        out.push(Output::Send(Envelope { from: self.node.clone(), to: to.clone(), message }));
    }
}
