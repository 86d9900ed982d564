//! A storage node (`ndb`) but for its links and threads: the storage role, the log's state, and a store.
//!
//! ```text
//! envelopes --handle--> StorageRole --Keep, Apply--> work: State::apply, one commit --> envelopes
//!                            \--Feed, ReadBody, CopyOut--> recent positions, a reader --> envelopes
//! ```
//!
//! 1. What the role wants written waits until [`Ndb::work`], which writes all of it with one commit and one fsync: a segment that
//!    is kept and a position that is applied go together.
//! 2. Beside the state's rows the store has the node's own ([`rows::NODE`]): its store id, entries' lives, members, and
//!    segments that are kept and not applied.
//! 3. The last positions are in memory as they were fed, so that an entry that comes back soon misses nothing. One that was away
//!    longer has to begin a new life.
//! 4. A store that fails stops the node: what it knows may be less than it has said. Others go on; it starts again from its disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::retention::{Housekeeper, Seen, Work};
use crate::queue::digest::digest;
use crate::queue::envelope::{Draft, Envelope, NodeId, OrderCommand, Resolution, RoleMessage, SegmentId};
use crate::queue::quorum::{Member, Members, StoreId};
use crate::queue::relay::{self, Fed};
use crate::queue::segment::Segment;
use crate::queue::state::rows;
use crate::queue::state::{Applied, Sealed, State, StateCommand, StateError, StateLimits};
use crate::queue::storage::{Apply, Life, Output, Start, StorageReport, StorageRole};
use crate::store::state::{StoreRows, load};
use crate::store::{Commit, Row, Store, StoreError, StoreReader, each_row};

/// Bytes of fed positions that are kept in memory.
const RECENT_BYTES_MAX: usize = 64 << 20;
/// Positions whose feed is kept in memory.
const RECENT_MAX: usize = 1 << 16;
/// Bytes of one part of a copy, near enough.
const PART_BYTES_MAX: usize = 1 << 20;
/// Headers that are read at a time.
const HEADERS: usize = 4096;

const STORE_ID: &[u8] = b"~store";
const MEMBERS: &[u8] = b"~members";
const LIFE: &[u8] = b"~life ";
const KEPT: &[u8] = b"~kept ";

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
    limits: StateLimits,
    store: Box<dyn Store>,
    reader: Box<dyn StoreReader>,
    recent: Recent,
    /// What the disk has to do: at most one of each.
    keep: Vec<(Draft, Bytes)>,
    apply: Option<(u64, Apply)>,
    copy_in: VecDeque<CopyIn>,
    /// Rows of a copy that has not come to its end.
    copied: Vec<(Bytes, Bytes)>,
    copies: HashMap<NodeId, CopyOut>,
    /// The last TIME that was asked for.
    asked_us: u64,
    house: Housekeeper,
    counts: Arc<Counts>,
    outputs: Vec<Output>,
    out: Vec<Envelope>,
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
    fn push(&mut self, number: u64, position: Position) {
        self.bytes += position.bytes();
        self.positions.insert(number, position);
        while self.bytes > RECENT_BYTES_MAX || self.positions.len() > RECENT_MAX {
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
    /// Takes up where the store ends. `first`: who takes part at first; `fresh`: the id of the disk if it has none yet.
    ///
    /// # Errors
    /// The store cannot be read or written, or is damaged.
    pub fn open(
        node: NodeId,
        first: Members,
        mut store: Box<dyn Store>,
        limits: StateLimits,
        fresh: StoreId,
    ) -> Result<Self, NdbError> {
        let store_id = open_store_id(&mut *store, fresh)?;
        let mut reader = store.reader()?;
        let state = load(&mut *reader, limits)?;
        let (members_at, members) = match store.get(MEMBERS)? {
            Some(value) => decode(MEMBERS, &value)?,
            None => (0, first),
        };
        let start = Start {
            store: store_id,
            position: state.position(),
            time_us: state.time_us(),
            entries: read_all(&mut *reader, LIFE)?,
            kept: read_all(&mut *reader, KEPT)?,
            members_at,
            copied: Some(last_stored(&mut *reader)?).filter(|last| *last > state.position()).unwrap_or(0),
        };
        let own = node.clone();
        Ok(Self {
            role: StorageRole::new(node.clone(), members, false, start),
            node,
            store_id,
            state,
            limits,
            store,
            reader,
            recent: Recent::default(),
            keep: Vec::new(),
            apply: None,
            copy_in: VecDeque::new(),
            copied: Vec::new(),
            copies: HashMap::new(),
            asked_us: 0,
            house: Housekeeper::new(own),
            counts: Arc::default(),
            outputs: Vec::new(),
            out: Vec::new(),
        })
    }

    pub fn state(&self) -> &State {
        &self.state
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
        !self.keep.is_empty() || self.apply.is_some() || !self.copy_in.is_empty()
    }

    /// Has the disk do what waits, with one commit.
    ///
    /// # Errors
    /// The node has to be opened again: nobody knows what of it is on disk.
    pub fn work(&mut self) -> Result<(), NdbError> {
        if let Some(copy) = self.copy_in.pop_front() {
            return self.take_part(copy);
        }
        let keep = mem::take(&mut self.keep);
        let apply = self.apply.take();
        let mut commit = Commit::default();
        for (draft, body) in &keep {
            commit.rows.push((kept_key(&draft.id), Some(rows::encode(&(draft, body)))));
        }
        let done = apply.map(|(position, apply)| self.apply(position, apply, &keep, &mut commit)).transpose()?;
        if !commit.rows.is_empty() || !commit.segments.is_empty() {
            let begun = Instant::now();
            self.store.commit(&commit)?;
            self.counts.disk.observe_us(begun.elapsed().as_micros() as u64);
        }
        if !keep.is_empty() {
            self.role.kept(&mut self.outputs);
        }
        if let Some(Done { position, resolution, recent }) = done {
            self.recent.push(position, recent);
            self.role.applied(position, resolution, &mut self.outputs);
        }
        self.carry_out();
        Ok(())
    }

    /// Applies a position to the state; what it changes is added to the commit.
    fn apply(
        &mut self,
        position: u64,
        apply: Apply,
        keep: &[(Draft, Bytes)],
        commit: &mut Commit,
    ) -> Result<Done, NdbError> {
        let mut rows = StoreRows(&mut *self.store);
        // Log time alone: all storages must find the same.
        let at_us = self.state.time_us();
        let (mut segment, mut ends_life) = (None, false);
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
                // If it is only being kept now, it need not be.
                let key = kept_key(&draft.id);
                commit.rows.retain(|(known, _)| *known != key);
                if !keep.iter().any(|(kept, _)| kept.id == draft.id) {
                    commit.rows.push((key, None));
                }
                segment = Some((draft, body));
                applied
            }
            Apply::Command(command) => {
                tracing::debug!(node = %self.node, position, ?command, "a command has its place");
                if let OrderCommand::Members { members, .. } = &command {
                    let own = |member: &&Member| member.node == self.node && member.store == self.store_id;
                    let counts = |members: &Members| members.storages().iter().any(&own);
                    if counts(members) && !counts(self.role.members().1) {
                        tracing::info!(node = %self.node, "this disk counts now");
                    }
                    commit.rows.push((MEMBERS.to_vec(), Some(rows::encode(&(position, members)))));
                }
                ends_life = matches!(command, OrderCommand::Init { .. } | OrderCommand::Lost { .. });
                let at_us = if let OrderCommand::Time { at_us } = command { at_us } else { at_us };
                // What is nothing to the state lets it know how far the log is.
                let command = StateCommand::of(&command, number_of).unwrap_or(StateCommand::Time);
                self.state.command(position, at_us, command, &mut rows)?
            }
            Apply::Nothing => self.state.command(position, at_us, StateCommand::Time, &mut rows)?,
        };
        let fed = relay::write_fed(&Fed::of(&applied));
        let results = relay::write_exceptions(&applied.exceptions);
        let resolution = Resolution { first: applied.segment.first, results };
        commit.rows.append(&mut applied.rows);
        if let Some((entry, life)) = self.role.life_after(&resolution) {
            if ends_life {
                self.drop_cut(&entry, &life, keep, commit);
            }
            commit.rows.push(([LIFE, entry.name.as_bytes()].concat(), Some(rows::encode(&(entry, life)))));
        }
        let Applied { segment: stored, .. } = applied;
        if !stored.topics.is_empty() {
            self.house.add(&stored);
            commit.segments.push(stored);
        }
        Ok(Done { position, resolution, recent: Position { fed, segment } })
    }

    /// Kept segments of a life that has ended are not wanted any more.
    fn drop_cut(&mut self, entry: &NodeId, life: &Life, keep: &[(Draft, Bytes)], commit: &mut Commit) {
        let is_cut = |draft: &Draft| draft.id.entry == *entry && life.has_cut(&draft.id);
        for (draft, _) in keep.iter().filter(|(draft, _)| is_cut(draft)) {
            let key = kept_key(&draft.id);
            commit.rows.retain(|(known, _)| *known != key);
        }
        let kept: Result<Vec<(Draft, Bytes)>, _> = read_all(&mut *self.reader, KEPT);
        // Should that fail, they are found to be cut at the next start.
        for (draft, _) in kept.into_iter().flatten().filter(|(draft, _)| is_cut(draft)) {
            commit.rows.push((kept_key(&draft.id), None));
        }
    }

    fn send(&mut self, to: NodeId, message: RoleMessage) {
        self.out.push(Envelope { from: self.node.clone(), to, message });
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
        match copy.part(&mut *self.reader) {
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
                let until = last_stored(&mut *self.reader)?;
                self.role.copied_part(number, until, &mut self.outputs);
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
        self.state = load(&mut *self.reader, self.limits)?;
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
    fn part(&mut self, reader: &mut dyn StoreReader) -> Result<Vec<u8>, StoreError> {
        let mut part = Part::default();
        let mut bytes = 0;
        if let Some(from) = self.next.take() {
            part.segments = reader.segments(from, None, PART_BYTES_MAX)?;
            part.segments.retain(|segment| segment.first <= self.until);
            bytes = part.segments.iter().map(Segment::bytes).sum();
            self.next = part.segments.last().map(|last| last.last() + 1).filter(|next| *next <= self.until);
        }
        while bytes < PART_BYTES_MAX
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
    let rows = vec![(STORE_ID.to_vec(), Some(rows::encode(&fresh)))];
    store.commit(&Commit { rows, ..Commit::default() })?;
    Ok(fresh)
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
