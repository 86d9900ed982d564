//! The storage: keeps segments, applies them in the order of their positions, tells entries what became of them.
//!
//! ```text
//! BEGIN, KEEP … -> TRIM (no commit under way) -> OVER -> on disk -> GENERATE_DRAFT -> ELECT -> applied -> RESOLVED, FEED
//! ```
//!
//! A segment that is said whole needs no TRIM: RESOLVED of the one before told that there is room.
//!
//! With one storage and one sync in one process (`solo`) a segment is not written before it is elected: its position is in its own
//! commit, and what is lost before that was never acknowledged. Then, too, a commit may fail: the position is free again and the
//! segment is refused. A storage among several stops instead ([`StorageRole::apply_failed`]).
//!
//! Among several, a storage that missed something gets it from others ([`peers`]): bodies of segments that were elected without
//! it, and, when the syncs no longer keep the decisions that it missed, a copy of all that a peer has. One with an empty disk is
//! no different: it is far behind, under a store id that nobody knows. Its drafts count once MEMBERS has that id, which it asks for
//! when it has caught up.
//!
//! Every storage applies every segment, also of slots that are not its own: the state is a function of all of them. It gets those
//! bodies from the storages of their slot when they are elected, so a storage feeds and copies the whole log, and nothing has to
//! be merged. Slots say whose disks have to have a segment before it may be elected.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use self::buffer::{Begun, Buffer};
pub use self::lives::{Life, Lives};
use self::peers::{Copying, Wanted};
pub use self::report::StorageReport;
use super::envelope::{
    Draft, Elected, Envelope, NodeId, OrderCommand, Refusal, Resolution, Role, RoleMessage, SegmentId,
};
use super::quorum::{Members, StoreId};

mod buffer;
mod lives;
mod peers;
mod report;

/// Decisions that a storage holds and cannot apply yet. Further ones it asks for when it is that far.
const ELECTED_MAX: usize = 4096;

/// An entry's clock that is this far ahead of ours is wrong.
const AHEAD_US: u64 = 60_000_000;

/// What the driver of a storage has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Send(Envelope),
    /// Write these segments to disk, then call [`StorageRole::kept`]. Until then there is no other of these.
    Keep(Vec<(Draft, Bytes)>),
    /// Apply this to the state and commit it, then call [`StorageRole::applied`]. Until then there is no other of these.
    Apply {
        position: u64,
        apply: Apply,
    },
    /// Send FEED of all segments at positions above `after`, up to `until`, in order.
    Feed {
        to: NodeId,
        after: u64,
        until: u64,
    },
    /// Answer with BODY of the segment at this position, or BODY_MISSING if it is not kept as it was elected.
    ReadBody {
        to: NodeId,
        position: u64,
        draft: Draft,
    },
    /// Send a COPY_PART of this number, from 0 on. Number 0 begins a copy: segments behind position `after`, and all rows, as they
    /// are at one position. What is behind the last part is not answered.
    CopyOut {
        to: NodeId,
        after: u64,
        number: u32,
    },
    /// Write this aside, then call [`StorageRole::copied_part`]; if it is the last, put all of the copy in the place of what the
    /// disk has, and call [`StorageRole::copied`]. Until then there is no other of these.
    CopyIn {
        number: u32,
        part: Bytes,
        last: Option<u64>,
    },
    /// The disk has forgotten what it said: it is an older copy. Give it another name, then call [`StorageRole::renamed`]. What is on it
    /// is right all the same.
    Forgot,
    /// A copy is begun: forget parts of another but the segments that follow `after` without a gap.
    CopyBegun {
        after: u64,
    },
}

/// What takes a position.
#[derive(Clone, Debug, PartialEq)]
pub enum Apply {
    Segment { draft: Draft, body: Bytes },
    Command(OrderCommand),
    Nothing,
}

/// What a storage's disk holds when it starts.
#[derive(Clone, Debug, Default)]
pub struct Start {
    pub store: StoreId,
    /// The last that was applied; 0: none.
    pub position: u64,
    /// Log time: the highest segment or TIME that was applied.
    pub time_us: u64,
    pub entries: Vec<(NodeId, Life)>,
    /// Segments that were kept and not applied.
    pub kept: Vec<(Draft, Bytes)>,
    /// Position of the last MEMBERS; 0: there was none.
    pub members_at: u64,
    /// Segments up to here are on disk, of a copy that did not come to its end.
    pub copied: u64,
}

/// See the module.
#[derive(Debug)]
pub struct StorageRole {
    node: NodeId,
    store: StoreId,
    members: Members,
    /// Position of the MEMBERS that they are of; 0: they are the first.
    members_at: u64,
    solo: bool,
    /// Applied up to here.
    position: u64,
    /// The highest segment heard of.
    heard: u64,
    lives: BTreeMap<NodeId, Life>,
    buffers: BTreeMap<SegmentId, Buffer>,
    /// Decisions above `position`.
    elected: BTreeMap<u64, Elected>,
    applying: Option<Apply>,
    /// Syncs that were asked for the next decision, while later ones are here.
    asked: BTreeSet<NodeId>,
    /// Decisions were dropped, for there were too many.
    dropped: bool,
    connected: BTreeSet<NodeId>,
    /// Bodies that peers are asked for, by position.
    wanted: BTreeMap<u64, Wanted>,
    copying: Option<Copying>,
    /// Segments up to here are on disk, of a copy that did not come to its end.
    copied: u64,
    /// Where copies begin that peers get.
    copiers: BTreeMap<NodeId, u64>,
    /// Who needs a copy of a position that is not reached yet.
    await_copies: BTreeMap<NodeId, u64>,
    /// What the disk is writing before it is drafted.
    keeping: Vec<SegmentId>,
    /// Entries that are fed, and up to which position.
    followers: BTreeMap<NodeId, u64>,
}

impl StorageRole {
    /// `solo`: the only storage, with the only sync, in one process.
    pub fn new(node: NodeId, members: Members, solo: bool, start: Start) -> Self {
        let lives: BTreeMap<NodeId, Life> = start.entries.into_iter().collect();
        // The disk may have written a segment that was cut meanwhile.
        let may_come = |draft: &Draft| lives.get(&draft.id.entry).is_none_or(|life| life.may_come(&draft.id));
        let kept = start.kept.into_iter().filter(|(draft, _)| may_come(draft));
        let buffers = kept.map(|(draft, body)| (draft.id.clone(), Buffer::kept(draft, body))).collect();
        Self {
            node,
            store: start.store,
            members,
            members_at: start.members_at,
            solo,
            position: start.position,
            heard: start.time_us,
            lives,
            buffers,
            elected: BTreeMap::new(),
            applying: None,
            asked: BTreeSet::new(),
            dropped: false,
            connected: BTreeSet::new(),
            wanted: BTreeMap::new(),
            copying: None,
            copied: start.copied,
            copiers: BTreeMap::new(),
            await_copies: BTreeMap::new(),
            keeping: Vec::new(),
            followers: BTreeMap::new(),
        }
    }

    /// Applied up to here.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A peer copies, or is to copy, all that it has to here; or one did, and has not come to the end.
    pub fn is_copying(&self) -> bool {
        self.copying.is_some() || self.copied > self.position
    }

    /// The link to a node is up, anew or for the first time. What was sent to it before may be lost.
    pub fn connected(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        self.connected.insert(node.clone());
        match node.role {
            Role::Entry => {}
            Role::Storage => self.peer_connected(node, out),
            Role::Sync if self.members.syncs.iter().any(|member| member.node == *node) => {
                let (store, position) = (self.store, self.position);
                self.send(node, RoleMessage::Applied { store, position }, out);
                self.tell_drafts(node, out);
                // The last: it tells, too, that there is no more that this disk knows.
                self.send(node, RoleMessage::FetchElected { after: position }, out);
                self.join(out);
            }
            Role::Sync => {}
        }
    }

    /// The link to a node is down.
    pub fn disconnected(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        self.connected.remove(node);
        self.asked.remove(node);
        self.followers.remove(node);
        self.copiers.remove(node);
        self.await_copies.remove(node);
        self.buffers.iter_mut().filter(|(id, _)| id.entry == *node).for_each(|(_, buffer)| buffer.is_coming = false);
        self.peer_disconnected(node, out);
    }

    /// The life of the entry that what is being applied concerns, as it will be then: to be on disk with it.
    pub fn life_after(&self, resolution: &Resolution) -> Option<(NodeId, Life)> {
        let apply = self.applying.as_ref()?;
        let entry = match apply {
            Apply::Segment { draft, .. } => &draft.id.entry,
            Apply::Command(OrderCommand::Init { entry, .. } | OrderCommand::Lost { entry, .. }) => entry,
            Apply::Command(_) | Apply::Nothing => return None,
        };
        let mut life = self.lives.get(entry).cloned().unwrap_or_default();
        life.take(self.position + 1, apply, resolution).then(|| (entry.clone(), life))
    }

    /// Who takes part, since which position: to be on disk with that.
    pub fn members(&self) -> (u64, &Members) {
        (self.members_at, &self.members)
    }

    /// Takes a message of another role. What does not concern a storage, or what it has heard already, changes nothing.
    pub fn handle(&mut self, now_us: u64, from: &NodeId, message: RoleMessage, out: &mut Vec<Output>) {
        match message {
            RoleMessage::BeginAdvanceSegment { id, confirmed, clock_us, closed, .. } => {
                let ahead = clock_us > now_us.saturating_add(AHEAD_US);
                self.begin(from, id, confirmed, Begun { ahead, closed }, out);
            }
            RoleMessage::KeepAdvanceHistory { id, offset, count, body } => {
                if let Some(buffer) = self.buffers.get_mut(&id) {
                    buffer.keep(offset, count, body);
                }
            }
            RoleMessage::AdvanceSegmentOver(draft) => self.over(from, draft, out),
            RoleMessage::ElectSegment { position, elected } => {
                for (position, elected) in elected.apart(position) {
                    self.elect(from, position, elected, out);
                }
            }
            RoleMessage::FollowFeed { after } => self.follow(from, after, out),
            RoleMessage::DiskForgot { store } if store == self.store => out.push(Output::Forgot),
            RoleMessage::MembersAre { members, .. } if !self.members.has_stores() => {
                self.members = members;
                self.join(out);
            }
            other => self.handle_peer(from, other, out),
        }
    }

    /// The disk has another name now. What it has counts anew: when it has caught up, it asks for MEMBERS with that name. Segments that it
    /// may have had are told by the others.
    pub fn renamed(&mut self, store: StoreId, out: &mut Vec<Output>) {
        self.store = store;
        let position = self.position;
        for sync in &self.members.syncs {
            self.send(&sync.node, RoleMessage::Applied { store, position }, out);
            self.tell_drafts(&sync.node, out);
            self.send(&sync.node, RoleMessage::FetchElected { after: position }, out);
        }
        for peer in self.connected.iter().filter(|node| node.role == Role::Storage) {
            self.send(peer, RoleMessage::FetchPending, out);
        }
        self.join(out);
    }

    /// What has become whole since the last [`Output::Keep`], if the disk has not begun with that: it is a part of it then.
    pub fn keep_more(&mut self) -> Vec<(Draft, Bytes)> {
        let whole: Vec<_> = self.buffers.values_mut().filter_map(Buffer::take_whole).collect();
        self.keeping.extend(whole.iter().map(|(draft, _)| draft.id.clone()));
        whole
    }

    /// Whether the segment can be elected, now or later.
    pub fn may_come(&self, id: &SegmentId) -> bool {
        self.lives.get(&id.entry).is_none_or(|life| life.may_come(id))
    }

    /// Whether segments are about to be whole.
    pub fn awaits_segments(&self) -> bool {
        self.buffers.values().any(Buffer::is_closing)
    }

    /// What the last [`Output::Keep`] held is on disk, and what was more.
    pub fn kept(&mut self, out: &mut Vec<Output>) {
        for id in std::mem::take(&mut self.keeping) {
            self.draft(&id, out);
        }
        self.keep(out);
        self.trim(out);
    }

    /// What the last [`Output::Apply`] held is committed, with this outcome if it was a segment.
    pub fn applied(&mut self, position: u64, resolution: Resolution, out: &mut Vec<Output>) {
        let Some(applied) = self.take_applying(position) else { return };
        self.position = position;
        self.wanted.remove(&position);
        match applied {
            Apply::Segment { draft, .. } => self.resolved(draft.id, position, resolution, out),
            Apply::Command(command) => self.commanded(position, command, out),
            Apply::Nothing => {}
        }
        for sync in &self.members.syncs {
            self.send(&sync.node, RoleMessage::Applied { store: self.store, position }, out);
        }
        self.feed(out);
        self.advance(out);
        self.trim(out);
        self.offer_copies(out);
        self.catch_up(out);
    }

    /// What the last [`Output::Apply`] held is not in the store, and never was: its segment is refused, its position taken back by
    /// the sync ([`super::sync::SyncRole::take_back`]). Only alone: among several the decision is a fact, so a storage whose disk
    /// fails stops, and others go on.
    pub fn apply_failed(&mut self, position: u64, out: &mut Vec<Output>) {
        assert!(self.solo, "a storage among several stops when its disk fails");
        if let Some(Apply::Segment { draft, .. }) = self.take_applying(position) {
            self.buffers.remove(&draft.id);
            let entry = draft.id.entry.clone();
            let refused = RoleMessage::AdvanceSegmentRefused { id: draft.id, why: Refusal::Unavailable };
            self.send(&entry, refused, out);
        }
        self.trim(out);
    }

    fn send(&self, to: &NodeId, message: RoleMessage, out: &mut Vec<Output>) {
        out.push(Output::Send(Envelope { from: self.node.clone(), to: to.clone(), message }));
    }

    fn begin(&mut self, from: &NodeId, id: SegmentId, confirmed: u64, begun: Begun, out: &mut Vec<Output>) {
        self.heard = self.heard.max(id.segment);
        if let Some(life) = self.lives.get_mut(&id.entry) {
            if life.has_cut(&id) {
                return self.send(from, RoleMessage::AdvanceSegmentRefused { id, why: Refusal::Cut }, out);
            }
            if id.incarnation == life.incarnation {
                life.confirm(confirmed);
                if id.segment <= life.last {
                    return self.resolve_again(id, from, out);
                }
            }
        }
        self.buffers.entry(id).or_default().begin(begun);
        self.trim(out);
    }

    fn over(&mut self, from: &NodeId, draft: Draft, out: &mut Vec<Output>) {
        let id = draft.id.clone();
        let Some(buffer) = self.buffers.get_mut(&id).filter(|buffer| buffer.awaits(&draft)) else { return };
        if !buffer.over(draft) {
            return self.send(from, RoleMessage::SegmentMissing { id }, out);
        }
        self.whole(&id, out);
    }

    /// All of a segment is here.
    fn whole(&mut self, id: &SegmentId, out: &mut Vec<Output>) {
        if self.solo {
            self.draft(id, out);
        } else {
            self.keep(out);
        }
        self.advance(out);
    }

    fn elect(&mut self, from: &NodeId, position: u64, elected: Elected, out: &mut Vec<Output>) {
        let next = self.position + 1 + u64::from(self.applying.is_some());
        if position < next {
            return;
        }
        if position > next && !self.elected.contains_key(&next) && self.asked.insert(from.clone()) {
            // A sync that was far behind itself did not learn the decisions between.
            self.send(from, RoleMessage::FetchElected { after: next - 1 }, out);
        }
        let is_far =
            self.elected.len() >= ELECTED_MAX && self.elected.keys().next_back().is_none_or(|last| position > *last);
        if is_far {
            self.dropped = true;
        } else {
            self.elected.entry(position).or_insert(elected);
            self.advance(out);
        }
    }

    /// Has the disk write what is whole and not there yet, if it is free.
    fn keep(&mut self, out: &mut Vec<Output>) {
        if !self.keeping.is_empty() {
            return;
        }
        let whole = self.keep_more();
        if !whole.is_empty() {
            out.push(Output::Keep(whole));
        }
    }

    fn draft(&mut self, id: &SegmentId, out: &mut Vec<Output>) {
        // It may have been applied, or cut, while the disk was writing.
        let Some(draft) = self.buffers.get_mut(id).and_then(Buffer::draft).cloned() else { return };
        for sync in &self.members.syncs {
            self.send(&sync.node, RoleMessage::GenerateDraft { store: self.store, draft: draft.clone() }, out);
        }
    }

    fn tell_drafts(&self, sync: &NodeId, out: &mut Vec<Output>) {
        for draft in self.buffers.values().filter_map(Buffer::drafted) {
            self.send(sync, RoleMessage::GenerateDraft { store: self.store, draft: draft.clone() }, out);
        }
    }

    /// Puts out what has the next position, if nothing is under way, and asks for bodies that are not here.
    fn advance(&mut self, out: &mut Vec<Output>) {
        let position = self.position + 1;
        if !self.solo {
            self.want_bodies(out);
        }
        if self.applying.is_some() || self.copying.as_ref().is_some_and(Copying::is_begun) {
            return;
        }
        let apply = match self.elected.get(&position) {
            // Runs are taken apart before they come here.
            None | Some(Elected::Run(_)) => return,
            Some(Elected::Nothing) => Apply::Nothing,
            Some(Elected::Command(command)) => Apply::Command(command.clone()),
            Some(Elected::Segment(draft)) => match self.buffers.get(&draft.id).and_then(|buffer| buffer.body(draft)) {
                Some(body) => Apply::Segment { draft: draft.clone(), body },
                None => return,
            },
        };
        self.elected.remove(&position);
        self.asked.clear();
        self.applying = Some(apply.clone());
        out.push(Output::Apply { position, apply });
    }

    fn take_applying(&mut self, position: u64) -> Option<Apply> {
        let applying = self.applying.take()?;
        assert_eq!(position, self.position + 1, "positions are applied one after the other");
        Some(applying)
    }

    fn resolved(&mut self, id: SegmentId, position: u64, resolution: Resolution, out: &mut Vec<Output>) {
        let buffer = self.buffers.remove(&id);
        let room = !self.solo && buffer.is_some_and(|buffer| buffer.has_room());
        let life = self.lives.entry(id.entry.clone()).or_default();
        life.resolved(id.segment, position, resolution.clone());
        let (entry, heard) = (id.entry.clone(), self.heard);
        self.send(&entry, RoleMessage::AdvanceSegmentResolved { id, position, resolution, heard, room }, out);
    }

    /// Tells the result of an applied segment once more.
    fn resolve_again(&self, id: SegmentId, to: &NodeId, out: &mut Vec<Output>) {
        let results = self.lives.get(&id.entry).into_iter().flat_map(|life| &life.results);
        // None: the entry has confirmed that it knows.
        for (_, position, resolution) in results.filter(|(segment, ..)| *segment == id.segment).take(1) {
            let (id, position, resolution, heard) = (id.clone(), *position, resolution.clone(), self.heard);
            let again = RoleMessage::AdvanceSegmentResolved { id, position, resolution, heard, room: false };
            self.send(to, again, out);
        }
    }

    fn commanded(&mut self, position: u64, command: OrderCommand, out: &mut Vec<Output>) {
        match command {
            OrderCommand::Init { entry, replaces, nonce } => self.init(position, entry, (replaces, nonce), out),
            OrderCommand::Lost { entry, incarnation } => {
                if let Some(life) = self.lives.get_mut(&entry).filter(|life| life.is_present(incarnation)) {
                    life.lost = true;
                    self.cut(&entry, out);
                }
            }
            OrderCommand::Time { at_us } => self.heard = self.heard.max(at_us),
            OrderCommand::Members { members, .. } => self.change_members(position, members, out),
            OrderCommand::Retain { .. } => {}
        }
    }

    /// Who takes part has changed: drafts are counted anew, and entries have to know where slots are.
    fn change_members(&mut self, position: u64, members: Members, out: &mut Vec<Output>) {
        (self.members_at, self.members) = (position, members);
        for sync in &self.members.syncs {
            self.tell_drafts(&sync.node, out);
        }
        for entry in self.followers.keys() {
            self.send(entry, RoleMessage::MembersAre { position, members: self.members.clone() }, out);
        }
    }

    fn init(&mut self, position: u64, entry: NodeId, (replaces, nonce): (u64, u64), out: &mut Vec<Output>) {
        let life = self.lives.entry(entry.clone()).or_default();
        if life.incarnation != replaces {
            let present = life.incarnation;
            return self.send(&entry, RoleMessage::InitEntryRefused { present }, out);
        }
        *life = Life { incarnation: position, ..Life::default() };
        self.cut(&entry, out);
        self.send(&entry, RoleMessage::InitEntryAccepted { incarnation: position, nonce, heard: self.heard }, out);
    }

    /// Drops what earlier lives of an entry have not got elected.
    fn cut(&mut self, entry: &NodeId, out: &mut Vec<Output>) {
        let Some(life) = self.lives.get(entry) else { return };
        let cut: Vec<SegmentId> =
            self.buffers.keys().filter(|id| id.entry == *entry && life.has_cut(id)).cloned().collect();
        for id in cut {
            self.buffers.remove(&id);
            self.send(entry, RoleMessage::AdvanceSegmentRefused { id, why: Refusal::Cut }, out);
        }
    }

    /// Has every open segment closed, if the disk could take it.
    fn trim(&mut self, out: &mut Vec<Output>) {
        let is_busy = self.applying.is_some() || !self.keeping.is_empty();
        if is_busy || self.solo && self.buffers.values().any(|buffer| !buffer.is_open()) {
            return;
        }
        let heard = self.heard;
        let mut trimmed = Vec::new();
        for (id, buffer) in &mut self.buffers {
            trimmed.extend(buffer.trim().map(|ahead| (id.clone(), ahead)));
        }
        for (id, ahead) in trimmed {
            let entry = id.entry.clone();
            self.send(&entry, RoleMessage::TrimAdvanceSegment { id, heard, ahead }, out);
        }
    }

    fn follow(&mut self, entry: &NodeId, after: u64, out: &mut Vec<Output>) {
        if after == u64::MAX {
            self.followers.remove(entry);
            return;
        }
        self.followers.insert(entry.clone(), after);
        if self.members_at > 0 {
            let (position, members) = (self.members_at, self.members.clone());
            self.send(entry, RoleMessage::MembersAre { position, members }, out);
        }
        self.feed(out);
    }

    fn feed(&mut self, out: &mut Vec<Output>) {
        for (entry, fed) in &mut self.followers {
            if *fed < self.position {
                out.push(Output::Feed { to: entry.clone(), after: *fed, until: self.position });
                *fed = self.position;
            }
        }
    }
}
