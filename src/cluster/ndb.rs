//! A storage node (`ndb`) but for its links and threads: the storage role, the log's state, and a store.
//!
//! ```text
//! envelopes --handle--> StorageRole --Keep, Apply--> prepare: State::apply --> RESOLVED, FEED
//!                            |                          work: one commit --> all else
//!                            \--Feed, ReadBody, CopyOut--> recent positions, a reader --> envelopes
//! ```
//!
//! 1. What the role wants written waits until [`Ndb::work`], which writes all of it with one commit and one fsync: segments that
//!    are kept and positions that are applied go together, for which either waits a little ([`Ndb::rest`]). What became of a position follows from facts that are on disk, so it is told
//!    before that ([`Ndb::prepare`]); what this disk has, and that it has room, only then.
//! 2. Beside the state's rows the store has the node's own ([`rows::NODE`]): its store id, entries' lives, members, and
//!    segments that are kept and not applied.
//! 3. The last positions are in memory as they were fed, so that an entry that comes back soon misses nothing. One that was away
//!    longer has to begin a new life.
//! 4. A store that fails stops the node: what it knows may be less than it has said. Others go on; it starts again from its disk.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::counts::Counts;
use super::retention::{Housekeeper, Seen, Work};
use crate::queue::digest::digest;
use crate::queue::envelope::{Draft, Envelope, NodeId, OrderCommand, Resolution, Role, RoleMessage, SegmentId};
use crate::queue::quorum::{Members, StoreId};
use crate::queue::relay::{self, Fed};
use crate::queue::state::rows;
use crate::queue::state::{Applied, Sealed, State, StateCommand, StateError, StateLimits};
use crate::queue::storage::{Apply, Life, Output, Start, StorageReport, StorageRole};
use crate::store::state::{StoreRows, load};
use crate::store::{Commit, Store, StoreError, StoreReader, each_row};

use copy::{CopyIn, CopyOut, last_stored};
use pending::{Pending, PendingRows};
use recent::{Position, Recent};

mod copy;
mod pending;
mod recent;
#[cfg(test)]
mod tests;

/// How long positions that are applied wait for segments that are kept, to go with them.
const LINGER: Duration = Duration::from_millis(2);
/// How long segments that are kept wait for others.
const GATHER: Duration = Duration::from_micros(500);
/// For so long the next segment of an entry is waited for, once it was told that the last is in the log.
const TURN: Duration = Duration::from_millis(1);
/// Positions that are applied with one commit, and their bytes, near enough.
const APPLIED_AT_ONCE_MAX: usize = 64;
const APPLIED_BYTES_MAX: usize = 8 << 20;
/// The row with the id of the disk.
pub const STORE_ID: &[u8] = b"~store";
const MEMBERS: &[u8] = b"~members";
const LIFE: &[u8] = b"~life ";
const KEPT: &[u8] = b"~kept ";

/// Bounds of a storage.
#[derive(Clone, Copy, Debug)]
pub struct NdbLimits {
    /// Positions whose feed is kept in memory, and their bytes.
    pub recent_max: usize,
    pub recent_bytes_max: usize,
    /// Bytes of one part of a copy, near enough.
    pub part_bytes_max: usize,
}

impl Default for NdbLimits {
    fn default() -> Self {
        Self { recent_max: 1 << 16, recent_bytes_max: 64 << 20, part_bytes_max: 1 << 20 }
    }
}

/// Why a storage node cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NdbError {
    #[error("the store {0}")]
    Store(#[from] StoreError),
    #[error("the state of the log: {0}")]
    State(#[from] StateError),
    /// Another process of the cluster has sent what cannot be read.
    #[error("a copy cannot be read: {0}")]
    Copy(String),
}

/// See the module.
pub struct Ndb {
    node: NodeId,
    store_id: StoreId,
    role: StorageRole,
    state: State,
    /// The last position that is on disk.
    written: u64,
    /// When entries were told that their last segment is in the log, and have not said the next since.
    resolved: HashMap<NodeId, Instant>,
    state_limits: StateLimits,
    limits: NdbLimits,
    store: Box<dyn Store>,
    reader: Box<dyn StoreReader>,
    recent: Recent,
    /// What the disk has to do: at most one of each.
    keep: Vec<(Draft, Bytes)>,
    apply: Option<(u64, Apply)>,
    pending: Pending,
    copy_in: VecDeque<CopyIn>,
    /// Segments up to here are in the store, of a copy that did not come to its end; 0 or less than the present position: none.
    stored: u64,
    /// Rows of a copy that has not come to its end.
    copied: Vec<(Bytes, Bytes)>,
    copies: HashMap<NodeId, CopyOut>,
    /// The disk is an older copy, and needs another name.
    forgot: bool,
    /// Another name for it.
    spare: StoreId,
    /// The last TIME that was asked for.
    asked_us: u64,
    house: Housekeeper,
    counts: Arc<Counts>,
    outputs: Vec<Output>,
    out: Vec<Envelope>,
}

/// The number by which the log's state knows an entry.
pub fn number_of(entry: &NodeId) -> u64 {
    digest(entry.name.as_bytes())
}

impl Ndb {
    /// Takes up where the store ends. `first`: who takes part at first; `fresh`: the id of the disk if it has none yet, or
    /// if it is found to be an older copy.
    ///
    /// # Errors
    /// The store cannot be read or written, or is damaged.
    pub fn open(
        node: NodeId,
        first: Members,
        mut store: Box<dyn Store>,
        state_limits: StateLimits,
        fresh: StoreId,
    ) -> Result<Self, NdbError> {
        let store_id = open_store_id(&mut *store, fresh)?;
        let mut reader = store.reader()?;
        let state = load(&mut *reader, state_limits)?;
        let (members_at, members) = match store.get(MEMBERS)? {
            Some(value) => decode(MEMBERS, &value)?,
            None => (0, first),
        };
        let stored = last_stored(&mut *reader)?;
        let start = Start {
            store: store_id,
            position: state.position(),
            time_us: state.time_us(),
            entries: read_all(&mut *reader, LIFE)?,
            kept: read_all(&mut *reader, KEPT)?,
            members_at,
            copied: Some(stored).filter(|last| *last > state.position()).unwrap_or(0),
        };
        let own = node.clone();
        Ok(Self {
            role: StorageRole::new(node.clone(), members, false, start),
            node,
            store_id,
            written: state.position(),
            resolved: HashMap::new(),
            state,
            state_limits,
            limits: NdbLimits::default(),
            store,
            reader,
            recent: Recent::default(),
            keep: Vec::new(),
            apply: None,
            pending: Pending::default(),
            copy_in: VecDeque::new(),
            stored,
            copied: Vec::new(),
            copies: HashMap::new(),
            forgot: false,
            spare: fresh,
            asked_us: 0,
            house: Housekeeper::new(own),
            counts: Arc::default(),
            outputs: Vec::new(),
            out: Vec::new(),
        })
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_limits(self, limits: NdbLimits) -> Self {
        Self { limits, ..self }
    }

    /// Which disk this is.
    pub fn store_id(&self) -> StoreId {
        self.store_id
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// How far readers of the store are: not always as far as the state.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether what this disk has counts: it is in the table of members.
    pub fn counts(&self) -> bool {
        is_in((&self.node, self.store_id), self.role.members().1)
    }

    /// What a position came to, as entries are told; `None`: it is not one of the last, or not known here.
    pub fn fed(&self, position: u64) -> Option<&Bytes> {
        self.recent.positions.get(&position).map(|position| &position.fed)
    }

    /// Has it count there.
    pub fn count_in(&mut self, counts: &Arc<Counts>) {
        self.counts = counts.clone();
    }

    /// How it is.
    pub fn report(&self) -> StorageReport {
        self.role.report()
    }

    /// A reader of the store, for those who ask about the past.
    ///
    /// # Errors
    /// The store has none left.
    pub fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.store.reader()
    }

    /// The link to a node is up.
    pub fn connected(&mut self, node: &NodeId) {
        if node.role == Role::Sync {
            // What was asked for may have gone with the link before.
            self.asked_us = 0;
        }
        self.house.connected(node);
        self.role.connected(node, &mut self.outputs);
        if self.pending.is_empty() {
            return self.carry_out();
        }
        // It tells how far the disk is, which has yet to be so.
        self.pending.held.append(&mut self.outputs);
    }

    /// The link to a node is down.
    pub fn disconnected(&mut self, node: &NodeId) {
        self.copies.remove(node);
        self.house.disconnected(node);
        self.role.disconnected(node, &mut self.outputs);
        self.carry_out();
    }

    /// Takes what another node says.
    pub fn handle(&mut self, now_us: u64, envelope: Envelope) {
        let Envelope { from, message, .. } = envelope;
        self.role.handle(now_us, &from, message, &mut self.outputs);
        self.carry_out();
    }

    /// Time has passed: log time is asked for if something is due.
    pub fn tick(&mut self, now_us: u64) {
        let due = self.state.next_deadline_us().filter(|at_us| *at_us <= now_us && *at_us > self.asked_us);
        let Some(at_us) = due else { return };
        self.asked_us = at_us;
        self.ask(&OrderCommand::Time { at_us });
    }

    fn ask(&mut self, command: &OrderCommand) {
        let syncs: Vec<NodeId> = self.role.members().1.syncs.iter().map(|member| member.node.clone()).collect();
        for to in syncs {
            self.send(to, RoleMessage::AskCommand(command.clone()));
        }
    }

    /// How long nothing is due.
    pub fn patience(&self, now_us: u64) -> Duration {
        let due = self.state.next_deadline_us().filter(|at_us| *at_us > self.asked_us);
        due.map_or(Duration::MAX, |at_us| Duration::from_micros(at_us.saturating_sub(now_us)))
    }

    /// An entry says what is to stay.
    pub fn tell_policies(&mut self, from: &NodeId, policies: &[u8]) {
        match rmp_serde::from_slice(policies) {
            Ok(policies) => self.house.tell(from, policies),
            Err(error) => tracing::error!(%error, entry = %from, "what is to stay cannot be read"),
        }
    }

    /// How long the disk can be left alone although there is work for it, now that all of it is prepared; `None`: it cannot.
    ///
    /// Nobody waits for positions that are applied, so they go with the next segments that are kept. Those wait a little for others that are
    /// about to be whole. So most commits hold both, of all entries: each costs much more than what it writes.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        let Self { forgot, keep, apply, copy_in, pending, .. } = self;
        let is_prepared = keep.is_empty() && apply.is_none() && copy_in.is_empty();
        if !is_prepared || *forgot || !pending.can_wait() || pending.segments.len() >= APPLIED_AT_ONCE_MAX {
            return None;
        }
        let until = match pending.kept_at {
            Some(kept_at) if self.role.awaits_segments() => kept_at + GATHER,
            Some(kept_at) => (kept_at + GATHER).min(*self.resolved.values().max()? + TURN),
            None => pending.applied_at? + LINGER,
        };
        until.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }

    /// A piece of housekeeping, if it is due: what need not stay is given up, and space goes back to the file system.
    ///
    /// # Errors
    /// As of [`Ndb::work`].
    pub fn tidy(&mut self, now_us: u64) -> Result<(), NdbError> {
        // What is under way may put another log in the place of this one.
        if !self.house.is_due(now_us) || self.role.is_copying() {
            return Ok(());
        }
        if !self.pending.is_empty() {
            self.work()?;
        }
        let seen = Seen {
            now_us,
            time_us: self.state.time_us(),
            wanted: self.state.min_cursor().map_or(u64::MAX, |done_to| done_to + 1),
            last: self.state.last_number(),
        };
        let begun = Instant::now();
        let Self { house, state, store, .. } = self;
        let mut more = false;
        match house.work(&seen, state.floors(), || store.reader())? {
            Work::Nothing => more = self.store.maintain()?,
            Work::Wait => {}
            Work::Ask(commands) => commands.iter().for_each(|command| self.ask(command)),
            Work::Delete(commit) => self.delete(&commit)?,
        }
        self.house.rest(now_us, begun.elapsed().as_micros() as u64, more);
        let (kept, lost) = self.house.report();
        self.counts.set_kept(kept, lost);
        Ok(())
    }

    fn delete(&mut self, commit: &Commit) -> Result<(), NdbError> {
        self.store.commit(commit)?;
        let (dropped, rewritten) = (commit.dropped.len(), commit.rewritten.len());
        tracing::debug!(node = %self.node, dropped, rewritten, "segments are given up");
        self.counts.given_up.fetch_add(dropped as u64, Ordering::Relaxed);
        let lost = self.house.deleted();
        if lost > 0 {
            tracing::warn!(node = %self.node, messages = lost, "given up before all had read them: limits.session_log_bytes_max");
        }
        Ok(())
    }

    /// What is to be sent, in order.
    pub fn take(&mut self) -> Vec<Envelope> {
        mem::take(&mut self.out)
    }

    /// Whether the disk has something to do.
    pub fn has_work(&self) -> bool {
        let Self { keep, apply, copy_in, pending, .. } = self;
        self.forgot || !keep.is_empty() || apply.is_some() || !copy_in.is_empty() || !pending.is_empty()
    }

    /// Applies what waits to the state. What became of it can be taken ([`Ndb::take`]) and sent at once; then [`Ndb::work`] is to be
    /// called, before anything else is handled.
    ///
    /// # Errors
    /// As [`Ndb::work`].
    pub fn prepare(&mut self) -> Result<(), NdbError> {
        if !self.copy_in.is_empty() {
            return Ok(());
        }
        let mut keep = mem::take(&mut self.keep);
        if !keep.is_empty() || self.pending.kept_at.is_some() {
            keep.extend(self.role.keep_more());
            keep.iter().for_each(|(draft, _)| _ = self.resolved.remove(&draft.id.entry));
            self.pending.keep(keep);
        }
        let (mut positions, mut bytes) = (0, 0);
        while positions < APPLIED_AT_ONCE_MAX
            && bytes < APPLIED_BYTES_MAX
            && let Some((position, apply)) = self.apply.take()
        {
            let Done { position, resolution, recent } = self.apply(position, apply)?;
            (positions, bytes) = (positions + 1, bytes + recent.bytes());
            self.recent.push(position, recent, &self.limits);
            self.role.applied(position, resolution, &mut self.outputs);
            self.pending.applied();
            self.carry_out_early();
        }
        Ok(())
    }

    /// Has the disk do what waits, with one commit.
    ///
    /// # Errors
    /// The node has to be opened again: nobody knows what of it is on disk.
    pub fn work(&mut self) -> Result<(), NdbError> {
        if mem::take(&mut self.forgot) {
            self.rename()?;
        }
        if self.pending.is_empty()
            && let Some(copy) = self.copy_in.pop_front()
        {
            self.take_part(copy)?;
            self.written = self.state.position();
            return Ok(());
        }
        self.prepare()?;
        let Pending { rows, segments, kept_at, held, .. } = mem::take(&mut self.pending);
        if !rows.is_empty() || !segments.is_empty() {
            let begun = Instant::now();
            self.store.commit(&Commit { rows: rows.into_iter().collect(), segments, ..Commit::default() })?;
            self.counts.disk.observe_us(begun.elapsed().as_micros() as u64);
        }
        self.written = self.state.position();
        if kept_at.is_some() {
            self.role.kept(&mut self.outputs);
        }
        self.outputs.extend(held);
        self.carry_out();
        Ok(())
    }

    /// Others heard more of this disk than it knows: its promises are not kept, so it is another.
    fn rename(&mut self) -> Result<(), NdbError> {
        if self.store_id == self.spare {
            return Ok(());
        }
        tracing::error!(node = %self.node, "this disk is an older copy: it does not count until the cluster has taken it in again");
        set_store_id(&mut *self.store, self.spare)?;
        self.store_id = self.spare;
        // What it says of that is sent behind the commit.
        self.role.renamed(self.store_id, &mut self.outputs);
        Ok(())
    }

    /// Applies a position to the state; what it changes is pending then.
    fn apply(&mut self, position: u64, apply: Apply) -> Result<Done, NdbError> {
        let mut rows = PendingRows { pending: &self.pending.rows, store: StoreRows(&mut *self.store) };
        // Log time alone: all storages must find the same.
        let at_us = self.state.time_us();
        let (mut segment, mut changed, mut ends_life) = (None, None, false);
        let mut applied = match apply {
            Apply::Segment { draft, body } => {
                let sealed = Sealed {
                    position,
                    at_us: draft.id.segment,
                    entry: number_of(&draft.id.entry),
                    body: &body,
                    count: draft.count,
                };
                let applied = self.state.apply(sealed, &mut rows)?;
                self.counts.segments.fetch_add(1, Ordering::Relaxed);
                self.counts.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
                self.pending.drop_kept(&draft.id);
                segment = Some((draft, body));
                applied
            }
            Apply::Command(command) => {
                tracing::debug!(node = %self.node, position, ?command, "a command has its place");
                if let OrderCommand::Members { members, .. } = &command {
                    let own = (&self.node, self.store_id);
                    if is_in(own, members) && !is_in(own, self.role.members().1) {
                        tracing::info!(node = %self.node, "this disk counts now");
                    }
                    changed = Some(rows::encode(&(position, members)));
                }
                ends_life = matches!(command, OrderCommand::Init { .. } | OrderCommand::Lost { .. });
                let at_us = if let OrderCommand::Time { at_us } = command { at_us } else { at_us };
                // What is nothing to the state lets it know how far the log is.
                let command = StateCommand::of(&command, number_of).unwrap_or(StateCommand::Time);
                self.state.command(position, at_us, command, &mut rows)?
            }
            Apply::Nothing => self.state.command(position, at_us, StateCommand::Time, &mut rows)?,
        };
        if let Some(members) = changed {
            self.pending.rows.insert(MEMBERS.to_vec(), Some(members));
        }
        let fed = relay::write_fed(&Fed::of(&applied));
        let results = relay::write_exceptions(&applied.exceptions);
        let resolution = Resolution { first: applied.segment.first, results };
        self.pending.rows.extend(mem::take(&mut applied.rows));
        if let Some((entry, life)) = self.role.life_after(&resolution) {
            if ends_life {
                self.drop_cut(&entry, &life);
            }
            self.pending.rows.insert([LIFE, entry.name.as_bytes()].concat(), Some(rows::encode(&(entry, life))));
        }
        let Applied { segment: stored, .. } = applied;
        // Those behind a copy that did not come to its end are there.
        if !stored.topics.is_empty() && position > self.stored {
            self.house.add(&stored);
            self.pending.segments.push(stored);
        }
        Ok(Done { position, resolution, recent: Position { fed, segment } })
    }

    /// Kept segments of a life that has ended are not wanted any more.
    fn drop_cut(&mut self, entry: &NodeId, life: &Life) {
        let is_cut = |draft: &Draft| draft.id.entry == *entry && life.has_cut(&draft.id);
        self.pending.drop_cut(is_cut);
        let kept: Result<Vec<(Draft, Bytes)>, _> = read_all(&mut *self.reader, KEPT);
        // Should that fail, they are found to be cut at the next start.
        for (draft, _) in kept.into_iter().flatten().filter(|(draft, _)| is_cut(draft)) {
            self.pending.rows.insert(kept_key(&draft.id), None);
        }
    }

    fn send(&mut self, to: NodeId, message: RoleMessage) {
        self.out.push(Envelope { from: self.node.clone(), to, message });
    }

    /// Does of what the role wants what need not wait for the commit: what became of a position is the same wherever it is applied, and
    /// the syncs do not forget it before it is on disk.
    fn carry_out_early(&mut self) {
        for output in mem::take(&mut self.outputs) {
            match output {
                Output::Send(envelope @ Envelope { message: RoleMessage::AdvanceSegmentResolved { .. }, .. }) => {
                    self.resolved.insert(envelope.to.clone(), Instant::now());
                    self.out.push(envelope);
                }
                Output::Send(envelope @ Envelope { message: RoleMessage::TrimAdvanceSegment { .. }, .. }) => {
                    self.out.push(envelope);
                }
                Output::Feed { to, after, until } => self.feed(&to, after, until),
                Output::Apply { position, apply } => self.apply = Some((position, apply)),
                other => self.pending.hold(other),
            }
        }
    }

    /// Does what the role wants, as far as the disk is not needed for it.
    fn carry_out(&mut self) {
        for output in mem::take(&mut self.outputs) {
            match output {
                Output::Send(envelope) => {
                    if let RoleMessage::FetchBody { .. } = envelope.message {
                        self.counts.fetched_bodies.fetch_add(1, Ordering::Relaxed);
                    }
                    self.out.push(envelope);
                }
                Output::Keep(segments) => self.keep = segments,
                Output::Apply { position, apply } => self.apply = Some((position, apply)),
                Output::Feed { to, after, until } => self.feed(&to, after, until),
                Output::ReadBody { to, position, draft } => self.tell_body(to, position, draft),
                Output::CopyOut { to, after, number } => self.copy_out(to, after, number),
                Output::CopyIn { number, part, last } => self.copy_in.push_back(CopyIn { number, part, last }),
                Output::CopyBegun { .. } => self.copied.clear(),
                Output::Forgot => self.forgot = true,
            }
        }
    }

    fn feed(&mut self, to: &NodeId, after: u64, until: u64) {
        // An entry that was away for too long finds a gap, and begins a new life.
        let recent: Vec<_> = self
            .recent
            .positions
            .range(after + 1..=until)
            .map(|(number, position)| (*number, position.fed.clone()))
            .collect();
        for (position, segment) in recent {
            self.send(to.clone(), RoleMessage::Feed { position, segment });
        }
    }

    fn tell_body(&mut self, to: NodeId, position: u64, draft: Draft) {
        let message = match self.recent.body(position, &draft) {
            Some(body) => RoleMessage::Body { draft, body: body.clone() },
            None => RoleMessage::BodyMissing { position, gone: true },
        };
        self.send(to, message);
    }
}

/// What comes of a position that is about to be committed.
struct Done {
    position: u64,
    resolution: Resolution,
    recent: Position,
}

/// Whether this disk of a storage is in the table.
fn is_in((node, store): (&NodeId, StoreId), members: &Members) -> bool {
    members.storages().iter().any(|member| member.node == *node && member.store == store)
}

/// Whether a row is part of what all storages have alike.
fn is_copied(key: &[u8]) -> bool {
    !key.starts_with(&[rows::NODE]) || key == MEMBERS || key.starts_with(LIFE)
}

fn kept_key(id: &SegmentId) -> Vec<u8> {
    [KEPT, &rows::encode(id)].concat()
}

fn open_store_id(store: &mut dyn Store, fresh: StoreId) -> Result<StoreId, NdbError> {
    if let Some(value) = store.get(STORE_ID)? {
        return decode(STORE_ID, &value);
    }
    set_store_id(store, fresh)?;
    Ok(fresh)
}

fn set_store_id(store: &mut dyn Store, id: StoreId) -> Result<(), StoreError> {
    let rows = vec![(STORE_ID.to_vec(), Some(rows::encode(&id)))];
    store.commit(&Commit { rows, ..Commit::default() })
}

fn read_all<T: serde::de::DeserializeOwned>(reader: &mut dyn StoreReader, prefix: &[u8]) -> Result<Vec<T>, NdbError> {
    let mut all = Vec::new();
    each_row(reader, prefix, |key, value| {
        all.push(decode(key, &value)?);
        Ok::<_, NdbError>(())
    })?;
    Ok(all)
}

fn decode<T: serde::de::DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, NdbError> {
    Ok(rows::decode(key, value)?)
}
