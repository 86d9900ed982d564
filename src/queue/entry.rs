//! The entry: takes messages from publishers and gets them into the log.
//!
//! ```text
//! submit -> BEGIN, KEEP … -> (storage quorum of TRIMs) -> OVER -> RESOLVED -> tickets, in order
//!        -> BEGIN, KEEP, OVER ---------------------------> RESOLVED
//! ```
//!
//! Messages join the open segment until a storage quorum has room for it; then it is closed and the next message opens the next.
//! So a segment is open for one round trip and the wait for a free place: no timer. With RESOLVED a storage tells that it has room for
//! the next already; if nothing else is under way then, and about as many messages come at once as the last time, there is nothing
//! to wait for, and the segment is said whole. Bodies are held until they are resolved, and said again, in order, to a storage
//! whose link is up anew.
//!
//! Among several processes: a segment whose slot has no storage quorum that is connected goes to the next slot that has one, as it
//! is; only one of the two drafts can be elected. One storage feeds the entry; if its link breaks, or it stays behind what others
//! resolved, another goes on behind the same position. And what clients hold is theirs as long as the [`super::lease`] is held.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

pub use self::report::EntryReport;
use self::segments::{Clock, End, Gathered, Part, Unresolved};
use super::envelope::{Envelope, NodeId, OrderCommand, Refusal, Resolution, Role, RoleMessage, SegmentId};
use super::lease::LeaseHolder;
use super::message::Batch;
use super::outcome::Refused;
use super::quorum::Members;

mod report;
mod segments;
#[cfg(test)]
mod tests;

/// Shards, that slots share.
const SHARDS: u32 = 1 << 20;

/// A storage that feeds is left if it has not fed for so long what others have resolved: so long are clients not told.
const FEED_LATE_US: u64 = 100_000;

/// Bounds of an entry.
#[derive(Clone, Copy, Debug)]
pub struct EntryLimits {
    /// Segments that are not resolved, the open one included. At so many, messages wait for the next. At least 1.
    pub unresolved_segments_max: usize,
    /// Bytes of one segment. A batch that does not fit goes to the next; one that is larger has a segment of its own.
    pub segment_bytes_max: usize,
    /// Bytes of bodies that wait or are not resolved, and of their tickets. From there on the entry is full: [`Refused::Full`].
    pub waiting_bytes_max: usize,
    /// An entry that was not heard of for so long is given up by the syncs: microseconds.
    pub lease_us: u64,
}

/// Messages of one submission within a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketRange {
    /// What was given with the batch.
    pub ticket: u64,
    /// Its first message in the segment, from 0 on.
    pub offset: u32,
    /// Its messages.
    pub count: u32,
}

/// What the driver of an entry has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Send(Envelope),
    /// The new life has begun: ports for clients may open.
    Accepted {
        incarnation: u64,
    },
    /// This life is over. All sessions have to be closed; what is not resolved by then never is. [`EntryRole::init`] begins anew,
    /// unless another process has our name.
    Ended {
        incarnation: u64,
    },
    /// INIT was void: another life of this entry is the present one.
    NotAccepted {
        present: u64,
    },
    /// All of these messages are in the log. Segments are told in their order.
    Resolved {
        position: u64,
        resolution: Resolution,
        tickets: Vec<TicketRange>,
    },
    /// There will be no result of these messages. In order with the resolved ones.
    Refused {
        why: Refusal,
        tickets: Vec<TicketRange>,
    },
    /// To be warned of: from now on the clock is not asked, for a storage quorum finds it a minute ahead (`true`), or it is again.
    ClockDropped(bool),
    /// From now on clients may be told that they hold locks; or (`false`) may not: sessions that hold some have to be closed, and
    /// what is granted must not be told.
    LeaseHeld(bool),
    /// The next part of the log, for subscribers.
    Fed {
        position: u64,
        segment: Bytes,
    },
}

/// See the module.
#[derive(Debug)]
pub struct EntryRole {
    node: NodeId,
    members: Members,
    /// The position that `members` are of, if a storage told.
    members_at: u64,
    limits: EntryLimits,
    life: Life,
    lease: LeaseHolder,
    clock: Clock,
    /// What waits to join a segment. Pieces of at most `segment_bytes_max`, unless one batch is larger; only the last grows.
    gathered: VecDeque<Gathered>,
    /// In their order. Only the last may be open.
    unresolved: VecDeque<Unresolved>,
    /// Bytes of `gathered` and `unresolved`, and of their tickets.
    held_bytes: usize,
    /// The last segment that was closed and not refused; 0 if there is none in this life.
    previous: u64,
    /// All segments up to this one are settled.
    confirmed: u64,
    /// The next segment may be said whole; and of how many messages the last one was.
    room: Option<u32>,
    shard: u32,
    connected: BTreeSet<NodeId>,
    /// No feed is wanted yet: it is not known behind which position.
    holds_feed: bool,
    /// The storage that feeds us, and how far.
    feeder: Option<NodeId>,
    fed: u64,
    /// The highest position that was resolved, and who told of it.
    resolved: Option<(u64, NodeId)>,
    /// A position that the feed is behind, and since when it is, by the clock of [`EntryRole::tick`].
    late_since: Option<(u64, u64)>,
}

/// Whether the log knows of this life of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// INIT is not asked for.
    Unborn,
    /// INIT is asked for.
    Asked { replaces: u64, nonce: u64 },
    /// The position of INIT.
    Present(u64),
    /// Ended by another INIT, or LOST.
    Cut,
}

impl Default for EntryLimits {
    fn default() -> Self {
        Self {
            unresolved_segments_max: 64,
            segment_bytes_max: 8 << 20,
            waiting_bytes_max: 64 << 20,
            lease_us: 5_000_000,
        }
    }
}

impl EntryRole {
    /// `heard`: the highest segment or time of the log, if it is known. Messages may be submitted; they wait until INIT is accepted.
    pub fn new(node: NodeId, members: Members, limits: EntryLimits, heard: u64) -> Self {
        Self {
            node,
            members,
            members_at: 0,
            limits,
            life: Life::Unborn,
            lease: LeaseHolder::default(),
            clock: Clock { last: 0, heard, dropped: false },
            gathered: VecDeque::new(),
            unresolved: VecDeque::new(),
            held_bytes: 0,
            previous: 0,
            confirmed: 0,
            room: None,
            shard: 0,
            connected: BTreeSet::new(),
            holds_feed: false,
            feeder: None,
            fed: 0,
            resolved: None,
            late_since: None,
        }
    }

    /// Asks for a new life in place of the one of this incarnation; 0: there was none. What this entry had in an earlier life is
    /// refused; what was submitted after that waits for the new one. `nonce`: random, the same for all lives of this process.
    pub fn init(&mut self, replaces: u64, nonce: u64, out: &mut Vec<Output>) {
        if !self.unresolved.is_empty() {
            self.cut(0, out);
        }
        (self.previous, self.confirmed, self.room) = (0, 0, None);
        self.lease.reset();
        self.life = Life::Asked { replaces, nonce };
        self.ask(&OrderCommand::Init { entry: self.node.clone(), replaces, nonce }, out);
    }

    /// Wants no feed until [`EntryRole::follow_from`]. To be called before the first link is up, or to begin a new life.
    pub fn hold_feed(&mut self) {
        self.holds_feed = true;
    }

    /// Wants the feed behind this position.
    pub fn follow_from(&mut self, after: u64, out: &mut Vec<Output>) {
        (self.holds_feed, self.fed, self.late_since) = (false, after, None);
        self.feeder = None;
        self.follow(out);
    }

    /// Asks the syncs for a position for a command.
    pub fn ask(&self, command: &OrderCommand, out: &mut Vec<Output>) {
        for sync in &self.members.syncs {
            self.send(&sync.node, RoleMessage::AskCommand(command.clone()), out);
        }
    }

    /// Whether further batches are refused: stop reading publishers until it is not.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.held_bytes >= self.limits.waiting_bytes_max
    }

    /// Whether the storages of some slot are connected, as many as a segment needs: refuse publishers while there are not.
    pub fn has_quorum(&self) -> bool {
        (0..self.members.slots.len() as u32).any(|slot| self.is_reachable(slot))
    }

    /// Whether enough syncs are connected to give positions: refuse publishers while there are not.
    pub fn has_sync_majority(&self) -> bool {
        let connected = self.members.syncs.iter().filter(|member| self.connected.contains(&member.node));
        connected.count() >= self.members.sync_majority()
    }

    /// Takes messages for the log; [`Self::flush`] sends them. `ticket` comes back when they are resolved or refused. A batch
    /// without messages is forgotten.
    ///
    /// # Errors
    /// Nothing of it was taken: [`Refused::Full`], or [`Refused::StoreUnavailable`] when this life of the entry has ended.
    #[inline]
    pub fn submit(&mut self, batch: Batch, ticket: u64) -> Result<(), Refused> {
        if self.is_full() {
            return Err(Refused::Full);
        }
        if self.life == Life::Cut {
            return Err(Refused::StoreUnavailable);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.held_bytes += batch.len() + size_of::<TicketRange>();
        let room = self.limits.segment_bytes_max.saturating_sub(batch.len());
        match self.gathered.back_mut() {
            Some(piece) if piece.batch.len() <= room => piece.push(batch, ticket),
            _ => self.gathered.push_back(Gathered::of(batch, ticket)),
        }
        Ok(())
    }

    /// Sends what was submitted, as far as there may be segments for it. To be called when a burst of submissions, or of messages
    /// of other roles, is handled.
    pub fn flush(&mut self, now_us: u64, out: &mut Vec<Output>) {
        let Life::Present(incarnation) = self.life else { return };
        while !self.gathered.is_empty() {
            let is_open = self.unresolved.back().is_some_and(Unresolved::is_open);
            if !is_open && self.unresolved.len() < self.limits.unresolved_segments_max.max(1) {
                let closed = self.may_close_at_once();
                self.begin(incarnation, now_us, closed, out);
                self.keep(out);
                if closed {
                    self.close(out);
                }
            } else if self.fits() {
                self.keep(out);
            } else {
                return;
            }
        }
    }

    /// The link to a node is up, anew or for the first time. What was sent to it before may be lost.
    pub fn connected(&mut self, now_us: u64, node: &NodeId, out: &mut Vec<Output>) {
        self.connected.insert(node.clone());
        self.feeder.take_if(|feeder| feeder == node);
        if let Life::Asked { replaces, nonce } = self.life {
            // The answer may have been lost as well as the question. A second INIT of the same is void.
            self.ask(&OrderCommand::Init { entry: self.node.clone(), replaces, nonce }, out);
        }
        self.change_slots(now_us, out);
        for segment in &self.unresolved {
            let is_kept_there = self.members.slot(segment.slot).iter().any(|member| member.node == *node);
            if segment.end.is_none() && is_kept_there {
                self.resend(segment, now_us, node, out);
            }
        }
        self.follow(out);
    }

    /// The link to a node is down.
    pub fn disconnected(&mut self, now_us: u64, node: &NodeId, out: &mut Vec<Output>) {
        self.connected.remove(node);
        self.feeder.take_if(|feeder| feeder == node);
        self.change_slots(now_us, out);
        self.follow(out);
    }

    /// Whether it knows of positions that it has not been fed.
    pub fn waits_for_feed(&self) -> bool {
        self.resolved.as_ref().is_some_and(|(position, _)| *position > self.fed)
    }

    /// To be called often, against the lease and [`FEED_LATE_US`], with a monotonic clock.
    pub fn tick(&mut self, monotonic_us: u64, out: &mut Vec<Output>) {
        if let Life::Present(incarnation) = self.life
            && self.lease.is_due(monotonic_us, self.limits.lease_us)
        {
            // One that is to be a member, too: it must not find this entry silent when it is.
            let linked = self.connected.iter().filter(|node| node.role == Role::Sync);
            let syncs: BTreeSet<&NodeId> = self.members.syncs.iter().map(|member| &member.node).chain(linked).collect();
            let members_at = self.members.has_stores().then_some(self.members_at);
            for sync in syncs {
                self.send(sync, RoleMessage::Renew { incarnation, sent_us: monotonic_us, members_at }, out);
            }
        }
        out.extend(self.lease.update(monotonic_us, self.limits.lease_us, &self.members).map(Output::LeaseHeld));
        if matches!(self.life, Life::Present(_))
            && self.lease.is_spoilt(monotonic_us, self.limits.lease_us, &self.members)
        {
            self.cut(0, out);
        }
        self.leave_late_feeder(monotonic_us, out);
    }

    /// Whether a client may be told now that it holds a lock: to be asked each time, for a process that stood still has not ticked.
    pub fn is_lease_held(&self, monotonic_us: u64) -> bool {
        self.lease.is_held(monotonic_us, self.limits.lease_us, &self.members)
    }

    /// Takes a message of another role. What does not concern an entry, or what it has heard already, changes nothing.
    pub fn handle(&mut self, now_us: u64, from: &NodeId, message: RoleMessage, out: &mut Vec<Output>) {
        match message {
            RoleMessage::TrimAdvanceSegment { id, heard, ahead } => self.trim(from, &id, heard, ahead, out),
            RoleMessage::AdvanceSegmentResolved { id, position, resolution, heard, room } => {
                self.clock.hear(heard);
                if let Some(segment) = self.unresolved.iter().find(|segment| segment.id == id) {
                    self.room = room.then_some(segment.count);
                }
                if self.resolved.as_ref().is_none_or(|(highest, _)| *highest < position) {
                    self.resolved = Some((position, from.clone()));
                }
                self.end(&id, End::Resolved { position, resolution }, out);
            }
            RoleMessage::AdvanceSegmentRefused { id, why } => self.refuse(&id, why, out),
            RoleMessage::SegmentMissing { id } => {
                if let Some(segment) = self.unresolved.iter().find(|segment| segment.id == id) {
                    self.resend(segment, now_us, from, out);
                }
            }
            RoleMessage::InitEntryAccepted { incarnation, nonce, heard } => {
                self.accepted(incarnation, nonce, heard, out);
            }
            RoleMessage::Renewed { incarnation, sent_us } if self.life == Life::Present(incarnation) => {
                self.lease.answered(from, sent_us);
            }
            RoleMessage::RenewRefused { incarnation }
                if self.life == Life::Present(incarnation) && self.lease.refused(from, &self.members) =>
            {
                self.cut(0, out);
            }
            // The first table as the file has it may not be the one that there is.
            RoleMessage::MembersAre { position, members }
                if position > self.members_at || !self.members.has_stores() =>
            {
                self.change_members(now_us, position, members, out);
            }
            RoleMessage::InitEntryRefused { present } if matches!(self.life, Life::Asked { .. }) => {
                out.push(Output::NotAccepted { present });
            }
            RoleMessage::Feed { position, segment } if position > self.fed => {
                self.fed = position;
                out.push(Output::Fed { position, segment });
            }
            _ => {}
        }
    }

    /// Gives up what was submitted and is in no segment yet. Whose it was, in order; the offsets mean nothing.
    pub fn refuse_waiting(&mut self) -> Vec<TicketRange> {
        let mut tickets = Vec::new();
        for mut piece in self.gathered.drain(..) {
            self.held_bytes -= piece.batch.len() + piece.tickets.len() * size_of::<TicketRange>();
            tickets.append(&mut piece.tickets);
        }
        tickets
    }

    fn send(&self, to: &NodeId, message: RoleMessage, out: &mut Vec<Output>) {
        out.push(Output::Send(Envelope { from: self.node.clone(), to: to.clone(), message }));
    }

    /// Tells the storages of a slot.
    fn tell(&self, slot: u32, message: &RoleMessage, out: &mut Vec<Output>) {
        for member in self.members.slot(slot) {
            self.send(&member.node, message.clone(), out);
        }
    }

    fn accepted(&mut self, incarnation: u64, nonce: u64, heard: u64, out: &mut Vec<Output>) {
        self.clock.hear(heard);
        // Each storage says it; and one that is behind may tell of an INIT before the last, even of another process.
        let is_own = |replaces, asked| incarnation > replaces && nonce == asked;
        if matches!(self.life, Life::Asked { replaces, nonce } if is_own(replaces, nonce)) {
            self.life = Life::Present(incarnation);
            out.push(Output::Accepted { incarnation });
        }
    }

    /// Whether the next segment can do without a round trip: storages have room, and what has gathered is no small part of what is
    /// to come. Publishers that wait for their results go on together, so there are about as many messages as the last time.
    fn may_close_at_once(&mut self) -> bool {
        let gathered: u32 = self.gathered.iter().map(|piece| piece.batch.count).sum();
        let is_enough = self.room.take().is_some_and(|last| gathered >= last / 2);
        is_enough && self.unresolved.is_empty() && !self.clock.dropped
    }

    /// Opens a segment. `closed`: all of it is said at once.
    fn begin(&mut self, incarnation: u64, now_us: u64, closed: bool, out: &mut Vec<Output>) {
        let slot = self.reachable_from(self.shard % self.members.slots.len().max(1) as u32);
        self.shard = (self.shard + 1) % SHARDS;
        let id = SegmentId { segment: self.clock.next(now_us), entry: self.node.clone(), incarnation };
        let confirmed = self.confirmed;
        let begin = RoleMessage::BeginAdvanceSegment { id: id.clone(), slot, confirmed, clock_us: now_us, closed };
        self.tell(slot, &begin, out);
        // Their drafts come so soon that the syncs need not be told that they will.
        for sync in self.members.syncs.iter().filter(|_| !closed) {
            self.send(&sync.node, begin.clone(), out);
        }
        self.unresolved.push_back(Unresolved::new(id, slot));
    }

    /// Whether a storage quorum of the slot is connected.
    fn is_reachable(&self, slot: u32) -> bool {
        self.members.is_storage_quorum(slot, |member| self.connected.contains(&member.node))
    }

    /// The slot itself, or the next one with a storage quorum if it has none and there is one.
    fn reachable_from(&self, slot: u32) -> u32 {
        let slots = self.members.slots.len().max(1) as u32;
        if slots == 1 {
            return 0;
        }
        (0..slots).map(|n| (slot + n) % slots).find(|slot| self.is_reachable(*slot)).unwrap_or(slot)
    }

    /// Who takes part has changed: storages that are new in a slot have to be told its segments.
    fn change_members(&mut self, now_us: u64, position: u64, members: Members, out: &mut Vec<Output>) {
        self.members_at = position;
        let before = std::mem::replace(&mut self.members, members);
        for segment in self.unresolved.iter().filter(|segment| segment.end.is_none()) {
            let was_there = |node: &NodeId| before.slot(segment.slot).iter().any(|member| member.node == *node);
            for member in self.members.slot(segment.slot).iter().filter(|member| !was_there(&member.node)) {
                self.resend(segment, now_us, &member.node, out);
            }
        }
        self.change_slots(now_us, out);
        self.follow(out);
    }

    /// Has segments whose slot has no storage quorum go to one that has.
    fn change_slots(&mut self, now_us: u64, out: &mut Vec<Output>) {
        for at in 0..self.unresolved.len() {
            let slot = self.reachable_from(self.unresolved[at].slot);
            let segment = &mut self.unresolved[at];
            if segment.slot == slot || segment.end.is_some() {
                continue;
            }
            segment.change_slot(slot);
            for member in self.members.slot(slot) {
                self.resend(&self.unresolved[at], now_us, &member.node, out);
            }
        }
    }

    /// Has another storage feed us if the one that does stays behind what others have.
    fn leave_late_feeder(&mut self, now_us: u64, out: &mut Vec<Output>) {
        // A feed that goes on is not late, however much it is behind.
        self.late_since.take_if(|(position, _)| *position <= self.fed);
        let Some((position, ahead)) = self.resolved.as_ref().filter(|(position, _)| *position > self.fed) else {
            return;
        };
        let (_, since_us) = *self.late_since.get_or_insert((*position, now_us));
        if now_us < since_us + FEED_LATE_US || self.feeder.as_ref() == Some(ahead) || !self.connected.contains(ahead) {
            return;
        }
        let ahead = ahead.clone();
        if let Some(late) = self.feeder.take() {
            self.send(&late, RoleMessage::FollowFeed { after: u64::MAX }, out);
        }
        self.send(&ahead, RoleMessage::FollowFeed { after: self.fed }, out);
        self.feeder = Some(ahead);
        self.late_since = None;
    }

    /// Whether the first piece that waits may join the open segment.
    fn fits(&self) -> bool {
        let open = self.unresolved.back().filter(|open| open.is_open());
        let room = open.map(|open| self.limits.segment_bytes_max.saturating_sub(open.bytes));
        self.gathered.front().is_some_and(|piece| room.is_some_and(|room| piece.batch.len() <= room))
    }

    /// Lets the first piece that waits join the open segment.
    fn keep(&mut self, out: &mut Vec<Output>) {
        let (Some(open), Some(piece)) = (self.unresolved.back_mut(), self.gathered.pop_front()) else { return };
        let (slot, id) = (open.slot, open.id.clone());
        let Part { offset, count, body } = open.push(piece);
        self.tell(slot, &RoleMessage::KeepAdvanceHistory { id, offset, count, body }, out);
    }

    fn trim(&mut self, from: &NodeId, id: &SegmentId, heard: u64, ahead: bool, out: &mut Vec<Output>) {
        self.clock.hear(heard);
        let Some(open) = self.unresolved.back_mut().filter(|open| open.id == *id && open.is_open()) else { return };
        if !open.trims.iter().any(|(node, _)| node == from) {
            open.trims.push((from.clone(), ahead));
        }
        let has_room = |node: &NodeId| open.trims.iter().any(|(trimmed, _)| trimmed == node);
        if !self.members.is_storage_quorum(open.slot, |member| has_room(&member.node)) {
            return;
        }
        let dropped = open.trims.iter().all(|(_, ahead)| *ahead);
        self.close(out);
        if self.clock.dropped != dropped {
            self.clock.dropped = dropped;
            out.push(Output::ClockDropped(dropped));
        }
    }

    /// Closes the open segment. What came in since the last flush may join as well.
    fn close(&mut self, out: &mut Vec<Output>) {
        while self.fits() {
            self.keep(out);
        }
        let Some(open) = self.unresolved.back_mut() else { return };
        let draft = open.close(self.previous);
        self.previous = draft.id.segment;
        self.tell(draft.slot, &RoleMessage::AdvanceSegmentOver(draft.clone()), out);
    }

    /// Says all of a segment again.
    fn resend(&self, segment: &Unresolved, now_us: u64, to: &NodeId, out: &mut Vec<Output>) {
        let (id, slot, confirmed, closed) = (segment.id.clone(), segment.slot, self.confirmed, segment.over.is_some());
        self.send(to, RoleMessage::BeginAdvanceSegment { id, slot, confirmed, clock_us: now_us, closed }, out);
        for Part { offset, count, body } in segment.parts.iter().cloned() {
            self.send(to, RoleMessage::KeepAdvanceHistory { id: segment.id.clone(), offset, count, body }, out);
        }
        if let Some(draft) = &segment.over {
            self.send(to, RoleMessage::AdvanceSegmentOver(draft.clone()), out);
        }
    }

    /// A segment has no result, and so have those behind it not: each is elected only next after the one before.
    fn refuse(&mut self, id: &SegmentId, why: Refusal, out: &mut Vec<Output>) {
        let Some(first) = self.unresolved.iter().position(|segment| segment.id == *id) else { return };
        if why == Refusal::Cut {
            return self.cut(first, out);
        }
        if let Some(draft) = &self.unresolved[first].over {
            self.previous = draft.previous;
        }
        for segment in self.unresolved.iter_mut().skip(first).filter(|segment| !segment.is_open()) {
            segment.end = Some(End::Refused(why));
        }
        self.settle(out);
    }

    /// This life has ended. Of segments before `first` there may be results yet.
    fn cut(&mut self, first: usize, out: &mut Vec<Output>) {
        if let Life::Present(incarnation) = self.life {
            out.push(Output::Ended { incarnation });
        }
        self.life = Life::Cut;
        for segment in self.unresolved.iter_mut().skip(first) {
            segment.end.get_or_insert(End::Refused(Refusal::Cut));
        }
        self.settle(out);
    }

    fn end(&mut self, id: &SegmentId, end: End, out: &mut Vec<Output>) {
        if let Some(segment) = self.unresolved.iter_mut().find(|segment| segment.id == *id) {
            segment.end.get_or_insert(end);
            self.settle(out);
        }
    }

    /// Tells of segments that have ended, in their order, whatever the order in which that was heard.
    fn settle(&mut self, out: &mut Vec<Output>) {
        while let Some(segment) = self.unresolved.pop_front_if(|segment| segment.end.is_some()) {
            self.confirmed = segment.id.segment;
            self.held_bytes -= segment.bytes + segment.tickets.len() * size_of::<TicketRange>();
            let tickets = segment.tickets;
            out.extend(segment.end.map(|end| match end {
                End::Resolved { position, resolution } => Output::Resolved { position, resolution, tickets },
                End::Refused(why) => Output::Refused { why, tickets },
            }));
        }
        if self.life == Life::Cut && self.unresolved.is_empty() && !self.gathered.is_empty() {
            let tickets = self.refuse_waiting();
            out.push(Output::Refused { why: Refusal::Cut, tickets });
        }
    }

    /// Has one of the connected storages feed us.
    fn follow(&mut self, out: &mut Vec<Output>) {
        if self.holds_feed {
            return;
        }
        let storages = self.members.storages();
        let Some(storage) = storages.into_iter().find(|member| self.connected.contains(&member.node)) else { return };
        if self.feeder.is_none() {
            let node = storage.node.clone();
            self.send(&node, RoleMessage::FollowFeed { after: self.fed }, out);
            self.feeder = Some(node);
        }
    }
}
