//! A storage node (`ndb`) but for its links and threads: the storage role, the log's state, and a store.
//!
//! ```text
//! envelopes --handle--> StorageRole --Keep, Apply--> prepare: State::apply --> RESOLVED, FEED
//!                            |                          work: one commit --> all else
//!                            \--Feed, ReadBody, CopyOut--> recent positions, a reader --> envelopes
//! ```
//!
//! 1. What the role wants written waits until [`Ndb::work`], which writes all of it with one commit and one fsync: segments that
//!    are kept and positions that are applied go together. What became of a position follows from facts that are on disk, so it is told
//!    before that ([`Ndb::prepare`]); what this disk has, and that it has room, only then.
//! 2. Beside the state's rows the store has the node's own ([`rows::NODE`]): its store id, entries' lives, members, and
//!    segments that are kept and not applied.
//! 3. The last positions are in memory as they were fed, so that an entry that comes back soon misses nothing. One that was away
//!    longer has to begin a new life.
//! 4. A store that fails stops the node: what it knows may be less than it has said. Others go on; it starts again from its disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::retention::{Housekeeper, Seen, Work};
use crate::queue::digest::digest;
use crate::queue::envelope::{Draft, Envelope, NodeId, OrderCommand, Resolution, Role, RoleMessage, SegmentId};
use crate::queue::quorum::{Members, StoreId};
use crate::queue::relay::{self, Fed};
use crate::queue::segment::Segment;
use crate::queue::state::rows;
use crate::queue::state::{Applied, Rows, RowsFailed, Sealed, State, StateCommand, StateError, StateLimits};
use crate::queue::storage::{Apply, Life, Output, Start, StorageReport, StorageRole};
use crate::store::state::{StoreRows, load};
use crate::store::{Commit, Row, Store, StoreError, StoreReader, each_row};

/// Positions that are applied with one commit, and their bytes, near enough.
const APPLIED_AT_ONCE_MAX: usize = 64;
const APPLIED_BYTES_MAX: usize = 8 << 20;
/// Headers that are read at a time.
const HEADERS: usize = 4096;

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

/// What the next commit writes, and what has to wait for it.
#[derive(Default)]
struct Pending {
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    segments: Vec<Segment>,
    /// Segments are kept with it.
    keeps: bool,
    /// What the role wants done then.
    held: Vec<Output>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.segments.is_empty() && !self.keeps && self.held.is_empty()
    }

    /// A segment that is not wanted any more. If it is only being kept now, it need not be.
    fn drop_kept(&mut self, id: &SegmentId) {
        let key = kept_key(id);
        if !matches!(self.rows.remove(&key), Some(Some(_))) {
            self.rows.insert(key, None);
        }
    }

    /// Of what a disk has applied, only the last word counts.
    fn hold(&mut self, output: Output) {
        let told = |output: &Output| match output {
            Output::Send(Envelope { to, message: RoleMessage::Applied { .. }, .. }) => Some(to.clone()),
            _ => None,
        };
        if let Some(sync) = told(&output) {
            self.held.retain(|held| told(held).as_ref() != Some(&sync));
        }
        self.held.push(output);
    }
}

/// Rows as they will be behind what is pending.
struct PendingRows<'a> {
    pending: &'a BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    store: StoreRows<'a>,
}

impl Rows for PendingRows<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
        match self.pending.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(key),
        }
    }
}

struct CopyIn {
    number: u32,
    part: Bytes,
    last: Option<u64>,
}

/// A copy that a peer gets: rows as they were when it began, and the segments up to then.
struct CopyOut {
    position: u64,
    rows: VecDeque<Row>,
    /// The number from which on segments follow; `None`: there are no more.
    next: Option<u64>,
    until: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Part {
    rows: Vec<(Bytes, Bytes)>,
    segments: Vec<Segment>,
}

/// The last positions.
#[derive(Default)]
struct Recent {
    positions: BTreeMap<u64, Position>,
    bytes: usize,
}

struct Position {
    /// As it was fed.
    fed: Bytes,
    /// As it was elected, if it is a segment.
    segment: Option<(Draft, Bytes)>,
}

impl Position {
    fn bytes(&self) -> usize {
        self.fed.len() + self.segment.as_ref().map_or(0, |(_, body)| body.len())
    }
}

impl Recent {
    fn push(&mut self, number: u64, position: Position, limits: &NdbLimits) {
        self.bytes += position.bytes();
        self.positions.insert(number, position);
        while self.bytes > limits.recent_bytes_max || self.positions.len() > limits.recent_max {
            let Some((_, position)) = self.positions.pop_first() else { return };
            self.bytes -= position.bytes();
        }
    }

    fn body(&self, position: u64, draft: &Draft) -> Option<&Bytes> {
        let (known, body) = self.positions.get(&position)?.segment.as_ref()?;
        known.is_same_body(draft).then_some(body)
    }
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
        self.carry_out();
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

    /// A piece of housekeeping, if it is due: what need not stay is given up, and space goes back to the file system.
    ///
    /// # Errors
    /// As of [`Ndb::work`].
    pub fn tidy(&mut self, now_us: u64) -> Result<(), NdbError> {
        // What is under way may put another log in the place of this one.
        if !self.house.is_due(now_us) || self.role.is_copying() {
            return Ok(());
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
        let keep = mem::take(&mut self.keep);
        self.pending.keeps |= !keep.is_empty();
        for (draft, body) in &keep {
            self.pending.rows.insert(kept_key(&draft.id), Some(rows::encode(&(draft, body))));
        }
        let (mut positions, mut bytes) = (0, 0);
        while positions < APPLIED_AT_ONCE_MAX
            && bytes < APPLIED_BYTES_MAX
            && let Some((position, apply)) = self.apply.take()
        {
            let Done { position, resolution, recent } = self.apply(position, apply, &keep)?;
            (positions, bytes) = (positions + 1, bytes + recent.bytes());
            self.recent.push(position, recent, &self.limits);
            self.role.applied(position, resolution, &mut self.outputs);
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
            return self.take_part(copy);
        }
        self.prepare()?;
        let Pending { rows, segments, keeps, held } = mem::take(&mut self.pending);
        if !rows.is_empty() || !segments.is_empty() {
            let begun = Instant::now();
            self.store.commit(&Commit { rows: rows.into_iter().collect(), segments, ..Commit::default() })?;
            self.counts.disk.observe_us(begun.elapsed().as_micros() as u64);
        }
        if keeps {
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
        self.role.renamed(self.store_id, &mut self.outputs);
        self.carry_out();
        Ok(())
    }

    /// Applies a position to the state; what it changes is pending then.
    fn apply(&mut self, position: u64, apply: Apply, keep: &[(Draft, Bytes)]) -> Result<Done, NdbError> {
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
                self.drop_cut(&entry, &life, keep);
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
    fn drop_cut(&mut self, entry: &NodeId, life: &Life, keep: &[(Draft, Bytes)]) {
        let is_cut = |draft: &Draft| draft.id.entry == *entry && life.has_cut(&draft.id);
        keep.iter().filter(|(draft, _)| is_cut(draft)).for_each(|(draft, _)| self.pending.drop_kept(&draft.id));
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

/// Copies for peers that are far behind.
impl Ndb {
    fn copy_out(&mut self, to: NodeId, after: u64, number: u32) {
        if number == 0 {
            match self.begin_copy(after) {
                Ok(copy) => drop(self.copies.insert(to.clone(), copy)),
                Err(error) => return tracing::error!(%error, peer = %to, "a copy for a peer cannot be read"),
            }
        }
        let Some(copy) = self.copies.get_mut(&to) else { return };
        match copy.part(&mut *self.reader, self.limits.part_bytes_max) {
            Ok(part) => {
                let last = copy.is_done().then_some(copy.position);
                if last.is_some() {
                    self.copies.remove(&to);
                }
                self.send(to, RoleMessage::CopyPart { number, part: part.into(), last });
            }
            Err(error) => tracing::error!(%error, peer = %to, "a copy for a peer cannot be read"),
        }
    }

    /// Rows change with every position: they are taken at once, segments as they are asked for.
    fn begin_copy(&mut self, after: u64) -> Result<CopyOut, StoreError> {
        let mut rows = VecDeque::new();
        each_row(&mut *self.reader, b"", |key, value| {
            if is_copied(key) {
                rows.push_back((key.to_vec(), value));
            }
            Ok::<_, StoreError>(())
        })?;
        let next = first_behind(&mut *self.reader, after)?;
        Ok(CopyOut { position: self.state.position(), rows, next, until: self.state.last_number() })
    }

    /// Takes a part of a copy of a peer.
    fn take_part(&mut self, copy: CopyIn) -> Result<(), NdbError> {
        let CopyIn { number, part, last } = copy;
        self.counts.copied_bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
        let Part { rows, segments } =
            rmp_serde::from_slice(&part).map_err(|error| NdbError::Copy(error.to_string()))?;
        self.copied.extend(rows);
        if !segments.is_empty() {
            self.store.commit(&Commit { segments, ..Commit::default() })?;
        }
        match last {
            None => {
                self.stored = last_stored(&mut *self.reader)?;
                self.role.copied_part(number, self.stored, &mut self.outputs);
            }
            Some(position) => self.finish_copy(position)?,
        }
        self.carry_out();
        Ok(())
    }

    /// Puts all of a copy in the place of what was here.
    fn finish_copy(&mut self, position: u64) -> Result<(), NdbError> {
        let copied = mem::take(&mut self.copied).into_iter().map(|(key, value)| (Vec::from(key), value));
        let copied: BTreeMap<Vec<u8>, Bytes> = copied.collect();
        let mut rows = Vec::new();
        each_row(&mut *self.reader, b"", |key, _| {
            if is_copied(key) && !copied.contains_key(key) {
                rows.push((key.to_vec(), None));
            }
            Ok::<_, StoreError>(())
        })?;
        rows.extend(copied.into_iter().map(|(key, value)| (key, Some(value.into()))));
        self.store.commit(&Commit { rows, ..Commit::default() })?;
        self.state = load(&mut *self.reader, self.state_limits)?;
        self.recent = Recent::default();
        self.house.begin_anew();
        let (members_at, members) = match self.store.get(MEMBERS)? {
            Some(value) => decode(MEMBERS, &value)?,
            None => (0, self.role.members().1.clone()),
        };
        let start = Start {
            position,
            time_us: self.state.time_us(),
            entries: read_all(&mut *self.reader, LIFE)?,
            members_at,
            ..Start::default()
        };
        self.role.copied(members, start, &mut self.outputs);
        Ok(())
    }
}

impl CopyOut {
    fn is_done(&self) -> bool {
        self.rows.is_empty() && self.next.is_none()
    }

    /// The next part.
    fn part(&mut self, reader: &mut dyn StoreReader, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        let mut part = Part::default();
        let mut bytes = 0;
        if let Some(from) = self.next.take() {
            part.segments = reader.segments(from, None, bytes_max)?;
            part.segments.retain(|segment| segment.first <= self.until);
            bytes = part.segments.iter().map(Segment::bytes).sum();
            self.next = part.segments.last().map(|last| last.last() + 1).filter(|next| *next <= self.until);
        }
        while bytes < bytes_max
            && let Some((key, value)) = self.rows.pop_front()
        {
            bytes += key.len() + value.len();
            part.rows.push((key.into(), value.into()));
        }
        Ok(rows::encode(&part))
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

/// Number of the first message of the first segment behind a position; `None`: there is none.
fn first_behind(reader: &mut dyn StoreReader, position: u64) -> Result<Option<u64>, StoreError> {
    let mut from = 0;
    loop {
        let headers = reader.headers(from, HEADERS)?;
        if let Some(found) = headers.iter().find(|header| header.position > position) {
            return Ok(Some(found.first));
        }
        match headers.last() {
            Some(last) => from = last.first + 1,
            None => return Ok(None),
        }
    }
}

/// Position of the last segment of the store; 0: there is none.
fn last_stored(reader: &mut dyn StoreReader) -> Result<u64, StoreError> {
    Ok(reader.segment_before(u64::MAX)?.map_or(0, |segment| segment.position))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::envelope::Elected;
    use crate::queue::message::{Batch, Head};
    use crate::queue::quorum::Member;
    use crate::store::memory::MemoryStore;
    use crate::types::event::Qos;
    use crate::types::payload::PayloadRef;

    /// What N1 hears of a message in a segment of the first life of E1, and of the positions of both.
    fn heard() -> Vec<(NodeId, RoleMessage)> {
        let (e1, s1) = (NodeId::entry("E1"), NodeId::sync("S1"));
        let mut batch = Batch::default();
        let head = Head {
            realm: "realm1",
            topic: "news",
            publisher: None,
            exclude_publisher: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            format: None,
            judged: false,
        };
        batch.message(&head, PayloadRef::Bytes(b"a"), None);
        let body = batch.into_bytes();
        let id = SegmentId { segment: 7, entry: e1.clone(), incarnation: 1 };
        let draft = Draft { id: id.clone(), slot: 0, count: 1, digest: digest(&body), previous: 0 };
        let init = OrderCommand::Init { entry: e1.clone(), replaces: 0, nonce: 0 };
        let elect = |position, elected| (s1.clone(), RoleMessage::ElectSegment { position, elected });
        vec![
            elect(1, Elected::Command(init)),
            (e1.clone(), RoleMessage::BeginAdvanceSegment { id: id.clone(), slot: 0, confirmed: 0, clock_us: 0 }),
            (e1.clone(), RoleMessage::KeepAdvanceHistory { id, offset: 1, count: 1, body }),
            (e1, RoleMessage::AdvanceSegmentOver(draft.clone())),
            elect(2, Elected::Segment(draft)),
        ]
    }

    /// A storage on this disk, that has heard all this.
    fn lives_on(disk: &MemoryStore) -> Ndb {
        let first = Members { syncs: Vec::new(), slots: vec![Vec::new()], storage_quorum: 1 };
        let store = Box::new(disk.clone());
        let mut ndb = Ndb::open(NodeId::storage("N1"), first, store, StateLimits::default(), StoreId(1)).unwrap();
        for (from, message) in heard() {
            ndb.handle(0, Envelope { from, to: NodeId::storage("N1"), message });
            while ndb.has_work() {
                ndb.work().unwrap();
            }
        }
        ndb
    }

    #[test]
    fn decisions_go_on_where_a_copy_has_left_segments_behind() {
        let (whole, begun) = (MemoryStore::default(), MemoryStore::default());
        assert_eq!(lives_on(&whole).state().position(), 2);
        let segments = whole.reader().unwrap().segments(0, None, usize::MAX).unwrap();
        assert_eq!(segments.iter().map(|segment| segment.position).collect::<Vec<_>>(), [2]);
        begun.clone().commit(&Commit { segments: segments.clone(), ..Commit::default() }).unwrap();
        assert_eq!(lives_on(&begun).state().position(), 2);
        assert_eq!(begun.reader().unwrap().segments(0, None, usize::MAX).unwrap(), segments);
    }

    #[test]
    fn a_disk_that_others_heard_more_of_takes_another_name_and_asks_to_count_again() {
        let (n1, s1) = (NodeId::storage("N1"), NodeId::sync("S1"));
        let member = |node: &NodeId, store| Member { node: node.clone(), store: StoreId(store) };
        let first = Members { syncs: vec![member(&s1, 9)], slots: vec![vec![member(&n1, 1)]], storage_quorum: 1 };
        let disk = MemoryStore::default();
        let open = |fresh| {
            let store = Box::new(disk.clone());
            Ndb::open(n1.clone(), first.clone(), store, StateLimits::default(), StoreId(fresh)).unwrap()
        };
        assert!(open(1).counts());
        let mut ndb = open(2);
        ndb.connected(&s1);
        let hear = |ndb: &mut Ndb, message| ndb.handle(0, Envelope { from: s1.clone(), to: n1.clone(), message });
        hear(&mut ndb, RoleMessage::ElectSegment { position: 1, elected: Elected::Nothing });
        ndb.work().unwrap();
        ndb.take();
        hear(&mut ndb, RoleMessage::DiskForgot { store: StoreId(3) });
        assert!(!ndb.has_work(), "another disk is meant");
        hear(&mut ndb, RoleMessage::DiskForgot { store: StoreId(1) });
        ndb.work().unwrap();
        assert_eq!((ndb.store_id(), ndb.counts(), ndb.state().position()), (StoreId(2), false, 1));
        let said: Vec<RoleMessage> = ndb.take().into_iter().map(|sent| sent.message).collect();
        assert!(said.contains(&RoleMessage::Applied { store: StoreId(2), position: 1 }));
        let asks = |message: &&RoleMessage| matches!(message, RoleMessage::AskCommand(_));
        assert_eq!(said.iter().filter(asks).count(), 1, "MEMBERS");
        assert_eq!(open(3).store_id(), StoreId(2));
    }
}
