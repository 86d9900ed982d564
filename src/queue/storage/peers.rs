//! What a storage gets from others: bodies of segments that were elected without it, and all of the log if it is far behind.
//!
//! ```text
//! ELECT, no body:      FETCH_BODY -> a storage of the slot, else another, else the entry;  <- BODY, or BODY_MISSING: the next one
//! ELECTED_GONE:        COPY_FROM -> a storage that is that far;  <- COPY_PART …, each answered with COPY_MORE when it is on disk
//! nobody is that far: <- COPY_NONE, and COPY_READY when it is;  COPY_FROM again
//! copy is on disk:     FETCH_PENDING;  <- BODY … of what is whole and not elected;  then decisions from the syncs, as ever
//! ```
//!
//! Nobody waits for a clock: who is asked answers or its link goes down, and who comes back is asked again.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::buffer::Buffer;
use super::{Output, Start, StorageRole};
use crate::queue::envelope::{Draft, Elected, NodeId, OrderCommand, Role, RoleMessage};
use crate::queue::quorum::Members;

/// Bodies that are asked for at once.
const WANTED_MAX: usize = 64;

/// Parts of a copy that are under way at once.
const PARTS_UNDER_WAY: u32 = 4;

/// A body that peers are asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Who was asked and has not answered.
    asked: Option<NodeId>,
    /// Who has not got it.
    without: BTreeSet<NodeId>,
}

/// A copy that we need.
#[derive(Debug)]
pub(super) struct Copying {
    /// It has to be of this position at least.
    need: u64,
    from: Option<NodeId>,
    /// Who is not that far.
    without: BTreeSet<NodeId>,
    /// The part that is next; parts before it are here.
    next: u32,
    /// Parts that wait for the disk: it writes one at a time.
    parts: std::collections::VecDeque<(u32, Bytes, Option<u64>)>,
    is_writing: bool,
}

impl Copying {
    /// Whether the disk has begun with it: then nothing else may change the state.
    pub fn is_begun(&self) -> bool {
        self.from.is_some() || self.is_writing
    }
}

impl StorageRole {
    pub(super) fn handle_peer(&mut self, from: &NodeId, message: RoleMessage, out: &mut Vec<Output>) {
        match message {
            RoleMessage::FetchBody { position, draft } => self.tell_body(from, position, draft, out),
            RoleMessage::Body { draft, body } => self.take_body(draft, body, out),
            RoleMessage::BodyMissing { position, gone } => self.body_missing(from, position, gone, out),
            RoleMessage::ElectedGone { until } => self.elected_gone(until, out),
            RoleMessage::CopyFrom { after, need } => self.begin_copy_out(from, after, need, out),
            RoleMessage::CopyMore { number } => self.copy_out(from, number.saturating_add(PARTS_UNDER_WAY), out),
            RoleMessage::CopyNone { need } => self.copy_none(from, need, out),
            RoleMessage::CopyReady => self.copy_ready(from, out),
            RoleMessage::CopyPart { number, part, last } => self.copy_part(from, number, part, last, out),
            RoleMessage::FetchPending => self.tell_pending(from, out),
            _ => {}
        }
    }

    pub(super) fn peer_connected(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        for wanted in self.wanted.values_mut() {
            wanted.without.remove(node);
            // An entry does not answer if it has it no more.
            wanted.asked.take_if(|asked| asked.role == Role::Entry);
        }
        if let Some(copying) = &mut self.copying {
            copying.without.remove(node);
        }
        self.want_bodies(out);
        self.begin_copy(out);
    }

    pub(super) fn peer_disconnected(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        for wanted in self.wanted.values_mut() {
            wanted.asked.take_if(|asked| asked == node);
        }
        if let Some(copying) = &mut self.copying
            && copying.from.take_if(|from| from == node).is_some()
        {
            copying.parts.clear();
        }
        self.want_bodies(out);
        self.begin_copy(out);
    }

    /// Asks for the bodies that decisions name and that neither are here nor come by themselves.
    pub(super) fn want_bodies(&mut self, out: &mut Vec<Output>) {
        let mut asks = Vec::new();
        for (position, elected) in self.elected.iter().take(WANTED_MAX) {
            let Elected::Segment(draft) = elected else { continue };
            // Of one that was begun here and closed in another slot the entry says nothing more.
            let is_of_slot = self.members.slot(draft.slot).iter().any(|member| member.node == self.node);
            let is_coming = |buffer: &Buffer| is_of_slot && buffer.is_open() && buffer.is_coming;
            let buffer = self.buffers.get(&draft.id);
            if buffer.is_some_and(|buffer| buffer.body(draft).is_some() || is_coming(buffer)) {
                continue;
            }
            let wanted = self.wanted.entry(*position).or_default();
            if wanted.asked.is_none()
                && let Some(node) = whom_to_ask(draft, &self.members, &self.connected, &self.node, &wanted.without)
            {
                wanted.asked = Some(node.clone());
                asks.push((*position, draft.clone(), node));
            }
        }
        for (position, draft, node) in asks {
            let message = match node.role {
                Role::Entry => RoleMessage::SegmentMissing { id: draft.id },
                _ => RoleMessage::FetchBody { position, draft },
            };
            self.send(&node, message, out);
        }
    }

    fn tell_body(&mut self, to: &NodeId, position: u64, draft: Draft, out: &mut Vec<Output>) {
        if let Some(body) = self.buffers.get(&draft.id).and_then(|buffer| buffer.body(&draft)) {
            self.send(to, RoleMessage::Body { draft, body }, out);
        } else if position <= self.position {
            out.push(Output::ReadBody { to: to.clone(), position, draft });
        } else {
            self.send(to, RoleMessage::BodyMissing { position, gone: false }, out);
        }
    }

    fn take_body(&mut self, draft: Draft, body: Bytes, out: &mut Vec<Output>) {
        let id = draft.id.clone();
        let is_elected = |elected: &Elected| matches!(elected, Elected::Segment(own) if own.is_same_body(&draft));
        let position = self.elected.iter().find(|(_, elected)| is_elected(elected)).map(|(position, _)| *position);
        if let Some(position) = position {
            let is_right = self.buffers.entry(id).or_default().fetch(draft, body);
            if is_right {
                self.wanted.remove(&position);
            }
            return self.advance(out);
        }
        // One that is pending, for a disk that has nothing.
        if self.lives.get(&id.entry).is_none_or(|life| life.may_come(&id)) {
            let buffer = self.buffers.entry(id.clone()).or_default();
            if buffer.is_open() {
                buffer.keep(1, draft.count, body);
                if buffer.over(draft) {
                    self.whole(&id, out);
                }
            }
        }
    }

    fn body_missing(&mut self, from: &NodeId, position: u64, gone: bool, out: &mut Vec<Output>) {
        if gone && position > self.position {
            return self.need_copy(position, out);
        }
        if let Some(wanted) = self.wanted.get_mut(&position) {
            wanted.asked.take_if(|asked| asked == from);
            wanted.without.insert(from.clone());
        }
        self.want_bodies(out);
    }

    /// The syncs do not keep all decisions that we miss.
    fn elected_gone(&mut self, until: u64, out: &mut Vec<Output>) {
        let first = self.position + 1 + u64::from(self.applying.is_some());
        if (first..=until).any(|position| !self.elected.contains_key(&position)) {
            self.need_copy(until, out);
        }
    }

    fn need_copy(&mut self, need: u64, out: &mut Vec<Output>) {
        let (from, without, parts) = (None, BTreeSet::new(), std::collections::VecDeque::new());
        let copying = self.copying.get_or_insert(Copying { need, from, without, next: 0, parts, is_writing: false });
        copying.need = copying.need.max(need);
        self.begin_copy(out);
    }

    /// Asks a peer for a copy, if none does it. What is being applied is done first.
    fn begin_copy(&mut self, out: &mut Vec<Output>) {
        let Some(copying) = &mut self.copying else { return };
        if copying.from.is_some() || copying.is_writing || self.applying.is_some() {
            return;
        }
        if self.position >= copying.need {
            self.copying = None;
            return self.advance(out);
        }
        let is_peer = |node: &&NodeId| node.role == Role::Storage && **node != self.node;
        let peers = self.connected.iter().filter(is_peer);
        let Some(peer) = peers.filter(|node| !copying.without.contains(*node)).min().cloned() else { return };
        let (after, need) = (self.copied.max(self.position), copying.need);
        copying.next = 0;
        copying.from = Some(peer.clone());
        self.send(&peer, RoleMessage::CopyFrom { after, need }, out);
        out.push(Output::CopyBegun { after });
    }

    fn begin_copy_out(&mut self, to: &NodeId, after: u64, need: u64, out: &mut Vec<Output>) {
        if self.position < need {
            self.await_copies.insert(to.clone(), need);
            return self.send(to, RoleMessage::CopyNone { need }, out);
        }
        self.copiers.insert(to.clone(), after);
        for number in 0..PARTS_UNDER_WAY {
            self.copy_out(to, number, out);
        }
    }

    fn copy_out(&mut self, to: &NodeId, number: u32, out: &mut Vec<Output>) {
        if let Some(after) = self.copiers.get(to) {
            out.push(Output::CopyOut { to: to.clone(), after: *after, number });
        }
    }

    fn copy_none(&mut self, from: &NodeId, need: u64, out: &mut Vec<Output>) {
        if let Some(copying) = &mut self.copying
            && copying.from.take_if(|peer| peer == from && need <= copying.need).is_some()
        {
            copying.without.insert(from.clone());
        }
        self.begin_copy(out);
    }

    /// Those who were told that there is no copy yet may ask again, if there is one now.
    pub(super) fn offer_copies(&mut self, out: &mut Vec<Output>) {
        let position = self.position;
        let ready: Vec<NodeId> =
            self.await_copies.extract_if(.., |_, need| *need <= position).map(|(node, _)| node).collect();
        for node in ready {
            self.send(&node, RoleMessage::CopyReady, out);
        }
    }

    fn copy_ready(&mut self, from: &NodeId, out: &mut Vec<Output>) {
        if let Some(copying) = &mut self.copying {
            copying.without.remove(from);
        }
        self.begin_copy(out);
    }

    fn copy_part(&mut self, from: &NodeId, number: u32, part: Bytes, last: Option<u64>, out: &mut Vec<Output>) {
        let Some(copying) = &mut self.copying else { return };
        if copying.from.as_ref() == Some(from) && number == copying.next {
            copying.next += 1;
            copying.parts.push_back((number, part, last));
            self.copy_in(out);
        }
    }

    fn copy_in(&mut self, out: &mut Vec<Output>) {
        let Some(copying) = self.copying.as_mut().filter(|copying| !copying.is_writing) else { return };
        if let Some((number, part, last)) = copying.parts.pop_front() {
            copying.is_writing = true;
            out.push(Output::CopyIn { number, part, last });
        }
    }

    /// A part that was not the last is on disk, and segments up to `copied`.
    pub fn copied_part(&mut self, number: u32, copied: u64, out: &mut Vec<Output>) {
        self.copied = copied;
        let Some(copying) = &mut self.copying else { return };
        copying.is_writing = false;
        if let Some(from) = copying.from.clone() {
            self.send(&from, RoleMessage::CopyMore { number }, out);
        }
        self.copy_in(out);
        // It may be that the link broke meanwhile.
        self.begin_copy(out);
    }

    /// The disk has a copy in place of what it had.
    pub fn copied(&mut self, members: Members, start: Start, out: &mut Vec<Output>) {
        let Start { position, time_us, entries, members_at, .. } = start;
        let (from, need) = self.copying.take().map_or((None, 0), |copying| (copying.from, copying.need));
        (self.position, self.copied) = (position, 0);
        self.heard = self.heard.max(time_us);
        self.lives = entries.into_iter().collect();
        self.elected = self.elected.split_off(&(position + 1));
        self.wanted = self.wanted.split_off(&(position + 1));
        let lives = &self.lives;
        self.buffers.retain(|id, _| lives.get(&id.entry).is_none_or(|life| life.may_come(id)));
        self.change_members(members_at, members, out);
        let (store, syncs) = (self.store, self.members.syncs.clone());
        for sync in syncs {
            self.send(&sync.node, RoleMessage::Applied { store, position }, out);
            self.send(&sync.node, RoleMessage::FetchElected { after: position }, out);
        }
        if let Some(from) = from {
            self.send(&from, RoleMessage::FetchPending, out);
        }
        self.feed(out);
        self.advance(out);
        self.trim(out);
        self.offer_copies(out);
        if self.position < need {
            // While it came, a peer has said that even later ones are gone.
            self.need_copy(need, out);
        }
    }

    fn tell_pending(&self, to: &NodeId, out: &mut Vec<Output>) {
        for buffer in self.buffers.values() {
            if let Some((draft, body)) = buffer.drafted().and_then(|draft| Some((draft, buffer.body(draft)?))) {
                self.send(to, RoleMessage::Body { draft: draft.clone(), body }, out);
            }
        }
    }

    /// Goes on with what waited until something was applied.
    pub(super) fn catch_up(&mut self, out: &mut Vec<Output>) {
        self.begin_copy(out);
        if self.dropped && self.elected.is_empty() {
            self.dropped = false;
            for sync in &self.members.syncs {
                self.send(&sync.node, RoleMessage::FetchElected { after: self.position }, out);
            }
        }
        self.join(out);
    }

    /// Asks that drafts of this disk count, if another has been known under our name.
    pub(super) fn join(&self, out: &mut Vec<Output>) {
        if !self.members.has_stores() {
            return;
        }
        let is_behind = self.position == 0 || !self.elected.is_empty() || self.copying.is_some();
        if is_behind || self.applying.is_some() {
            return;
        }
        let mut members = self.members.clone();
        let is_old =
            |member: &&mut super::super::quorum::Member| member.node == self.node && member.store != self.store;
        let old: Vec<_> = members.slots.iter_mut().flatten().filter(is_old).collect();
        if old.is_empty() {
            return;
        }
        old.into_iter().for_each(|member| member.store = self.store);
        for sync in &self.members.syncs {
            let ask =
                RoleMessage::AskCommand(OrderCommand::Members { behind: self.members_at, members: members.clone() });
            self.send(&sync.node, ask, out);
        }
    }
}

/// A storage of the slot, for these have it. Else another, which may have applied it. Else the entry.
fn whom_to_ask(
    draft: &Draft,
    members: &Members,
    connected: &BTreeSet<NodeId>,
    own: &NodeId,
    without: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    let can_ask = |node: &&NodeId| connected.contains(*node) && *node != own && !without.contains(*node);
    let of_slot = members.slot(draft.slot).iter().map(|member| &member.node);
    let others = connected.iter().filter(|node| node.role == Role::Storage);
    of_slot.chain(others).chain([&draft.id.entry]).find(can_ask).cloned()
}
