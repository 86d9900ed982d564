//! A storage with its disk: what was not synced is lost in a crash.

use std::collections::BTreeMap;

use bytes::Bytes;
use fennec::queue::envelope::{Draft, Envelope, NodeId, OrderCommand, Resolution, RoleMessage, SegmentId};
use fennec::queue::quorum::{Members, StoreId};
use fennec::queue::relay;
use fennec::queue::state::{Rows, RowsFailed, Sealed, State, StateCommand};
use fennec::queue::storage::{Apply, Life, Output, Start, StorageRole};
use serde::{Deserialize, Serialize};

use crate::check::Facts;

/// Segments in a part of a copy.
const SEGMENTS_PER_PART: usize = 3;

/// What is on disk.
#[derive(Clone, Serialize, Deserialize)]
pub struct Disk {
    pub store: StoreId,
    pub position: u64,
    pub time_us: u64,
    /// Number of the last message.
    pub last: u64,
    members_at: u64,
    members: Members,
    lives: Vec<(NodeId, Life)>,
    kept: Vec<(Draft, Bytes)>,
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What each position came to.
    pub log: BTreeMap<u64, Logged>,
    /// Of a copy that is not complete.
    aside: BTreeMap<u64, Logged>,
    copied: u64,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Logged {
    /// As it was elected.
    body: Option<(Draft, Bytes)>,
    /// As entries are told.
    pub fed: Bytes,
}

/// A part of a copy.
#[derive(Serialize, Deserialize)]
struct Part {
    segments: Vec<(u64, Logged)>,
    /// In the last: all but the log.
    rest: Option<Disk>,
}

/// Something that the disk does.
pub enum Job {
    Keep(Vec<(Draft, Bytes)>),
    Commit(Box<Commit>),
    CopyIn { number: u32, part: Bytes, last: Option<u64> },
}

/// All that one position changes.
pub struct Commit {
    position: u64,
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    logged: Logged,
    time_us: u64,
    last: u64,
    life: Option<(NodeId, Life)>,
    members: Option<Members>,
    applied: Option<SegmentId>,
    resolution: Resolution,
}

/// A process.
pub struct Storage {
    node: NodeId,
    role: StorageRole,
    state: State,
    /// To whom a copy is sent, and its parts.
    copies: BTreeMap<NodeId, Vec<Bytes>>,
}

/// What a call leads to.
#[derive(Default)]
pub struct Acts {
    pub sends: Vec<Envelope>,
    pub jobs: Vec<Job>,
}

struct DiskRows<'a>(&'a BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows for DiskRows<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
        Ok(self.0.get(key).cloned())
    }
}

impl Disk {
    pub fn empty(store: StoreId, members: Members) -> Self {
        Self {
            store,
            position: 0,
            time_us: 0,
            last: 0,
            members_at: 0,
            members,
            lives: Vec::new(),
            kept: Vec::new(),
            rows: BTreeMap::new(),
            log: BTreeMap::new(),
            aside: BTreeMap::new(),
            copied: 0,
        }
    }

    fn start(&self) -> Start {
        Start {
            store: self.store,
            position: self.position,
            time_us: self.time_us,
            entries: self.lives.clone(),
            kept: self.kept.clone(),
            members_at: self.members_at,
            copied: self.copied,
        }
    }

    fn state(&self) -> State {
        let mut scan = |prefix: &[u8], after: Option<&[u8]>, limit: usize| {
            let from = after.map_or(prefix.to_vec(), |after| [after, b"\0"].concat());
            let rows = self.rows.range(from..).take_while(|(key, _)| key.starts_with(prefix)).take(limit);
            Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
        };
        State::load(&mut scan).expect("rows are as they were written")
    }

    /// Does all of a job, for good.
    pub fn write(&mut self, job: &Job) {
        match job {
            Job::Keep(kept) => {
                self.kept.retain(|(old, _)| kept.iter().all(|(new, _)| new.id != old.id));
                self.kept.extend(kept.iter().cloned());
            }
            Job::Commit(commit) => self.commit(commit),
            Job::CopyIn { part, last, .. } => self.copy_in(part, *last),
        }
    }

    fn commit(&mut self, commit: &Commit) {
        assert_eq!(commit.position, self.position + 1, "positions are committed one after the other");
        self.position = commit.position;
        (self.time_us, self.last) = (commit.time_us, commit.last);
        for (key, value) in &commit.rows {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        self.log.insert(commit.position, commit.logged.clone());
        if let Some((entry, life)) = &commit.life {
            self.lives.retain(|(node, _)| node != entry);
            self.kept.retain(|(draft, _)| draft.id.entry != *entry || life.may_come(&draft.id));
            self.lives.push((entry.clone(), life.clone()));
        }
        self.kept.retain(|(draft, _)| Some(&draft.id) != commit.applied.as_ref());
        if let Some(members) = &commit.members {
            (self.members_at, self.members) = (commit.position, members.clone());
        }
    }

    fn copy_in(&mut self, part: &Bytes, last: Option<u64>) {
        let Part { segments, rest } = rmp_serde::from_slice(part).expect("a part is as it was written");
        self.copied = segments.last().map_or(self.copied, |(position, _)| *position);
        self.aside.extend(segments);
        let (Some(position), Some(rest)) = (last, rest) else { return };
        let mut log = std::mem::take(&mut self.log);
        log.extend(std::mem::take(&mut self.aside));
        let mut kept = std::mem::take(&mut self.kept);
        let lives: BTreeMap<_, _> = rest.lives.iter().cloned().collect();
        kept.retain(|(draft, _)| lives.get(&draft.id.entry).is_none_or(|life| life.may_come(&draft.id)));
        assert_eq!(rest.position, position);
        assert_eq!(log.len() as u64, position, "a copy has no gap");
        *self = Self { store: self.store, log, kept, copied: 0, ..rest };
    }

    fn parts(&self, after: u64) -> Vec<Bytes> {
        let segments: Vec<(u64, Logged)> =
            self.log.range(after + 1..).map(|(at, logged)| (*at, logged.clone())).collect();
        let mut parts: Vec<Part> =
            segments.chunks(SEGMENTS_PER_PART).map(|part| Part { segments: part.to_vec(), rest: None }).collect();
        let (log, kept, aside) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        parts.push(Part { segments: Vec::new(), rest: Some(Self { log, kept, aside, ..self.clone() }) });
        parts.iter().map(|part| rmp_serde::to_vec(part).expect("parts can be written").into()).collect()
    }
}

impl Storage {
    pub fn start(node: NodeId, disk: &Disk) -> Self {
        let role = StorageRole::new(node.clone(), disk.members.clone(), false, disk.start());
        Self { node, role, state: disk.state(), copies: BTreeMap::new() }
    }

    pub fn is_member(&self, disk: &Disk) -> bool {
        let (_, members) = self.role.members();
        members.storages().iter().any(|member| member.store == disk.store)
    }

    pub fn connected(&mut self, disk: &mut Disk, facts: &mut Facts, to: &NodeId) -> Acts {
        self.act(disk, facts, |role, out| role.connected(to, out))
    }

    pub fn disconnected(&mut self, disk: &mut Disk, facts: &mut Facts, from: &NodeId) -> Acts {
        self.copies.remove(from);
        self.act(disk, facts, |role, out| role.disconnected(from, out))
    }

    pub fn handle(&mut self, disk: &mut Disk, facts: &mut Facts, wall_us: u64, envelope: Envelope) -> Acts {
        let Envelope { from, message, .. } = envelope;
        self.act(disk, facts, |role, out| role.handle(wall_us, &from, message, out))
    }

    /// The disk has done it.
    pub fn done(&mut self, disk: &mut Disk, facts: &mut Facts, job: &Job) -> Acts {
        match job {
            Job::Keep(_) => self.act(disk, facts, |role, out| role.kept(out)),
            Job::Commit(commit) => {
                let (position, resolution) = (commit.position, commit.resolution.clone());
                // It takes long: now and then.
                if position % 61 == 0 {
                    assert!(disk.state() == self.state, "{} at {position}: rows are not the state", self.node);
                }
                self.act(disk, facts, |role, out| role.applied(position, resolution, out))
            }
            Job::CopyIn { last: Some(_), .. } => {
                self.state = disk.state();
                facts.copied += 1;
                let (members, start) = (disk.members.clone(), disk.start());
                self.act(disk, facts, |role, out| role.copied(members, start, out))
            }
            Job::CopyIn { number, last: None, .. } => {
                let copied = disk.copied;
                self.act(disk, facts, |role, out| role.copied_part(*number, copied, out))
            }
        }
    }

    fn act(
        &mut self,
        disk: &mut Disk,
        facts: &mut Facts,
        act: impl FnOnce(&mut StorageRole, &mut Vec<Output>),
    ) -> Acts {
        let mut out = Vec::new();
        act(&mut self.role, &mut out);
        let mut acts = Acts::default();
        for output in out {
            match output {
                Output::Send(envelope) => acts.sends.push(envelope),
                Output::Keep(segments) => acts.jobs.push(Job::Keep(segments)),
                Output::Apply { position, apply } => {
                    facts.elected(&self.node, position, &apply);
                    acts.jobs.push(Job::Commit(Box::new(self.apply(disk, facts, position, apply))));
                }
                Output::Feed { to, after, until } => {
                    for (position, logged) in disk.log.range(after + 1..=until) {
                        self.send(
                            &to,
                            RoleMessage::Feed { position: *position, segment: logged.fed.clone() },
                            &mut acts,
                        );
                    }
                }
                Output::ReadBody { to, position, draft } => {
                    let body = disk.log.get(&position).and_then(|logged| logged.body.clone());
                    let message = match body.filter(|(own, _)| own.is_same_body(&draft)) {
                        Some((_, body)) => RoleMessage::Body { draft, body },
                        None => RoleMessage::BodyMissing { position, gone: true },
                    };
                    self.send(&to, message, &mut acts);
                }
                Output::CopyBegun { after } => drop(disk.aside.split_off(&(after + 1))),
                Output::CopyOut { to, after, number } => self.copy_out(disk, to, after, number, &mut acts),
                Output::CopyIn { number, part, last } => acts.jobs.push(Job::CopyIn { number, part, last }),
            }
        }
        acts
    }

    fn send(&self, to: &NodeId, message: RoleMessage, acts: &mut Acts) {
        acts.sends.push(Envelope { from: self.node.clone(), to: to.clone(), message });
    }

    fn copy_out(&mut self, disk: &Disk, to: NodeId, after: u64, number: u32, acts: &mut Acts) {
        if number == 0 {
            self.copies.insert(to.clone(), disk.parts(after));
        }
        let Some(parts) = self.copies.get(&to) else { return };
        let is_last = number as usize + 1 == parts.len();
        if let Some(part) = parts.get(number as usize).cloned() {
            // All parts are of the position at which the copy was begun.
            let last = is_last.then(|| {
                let Part { rest, .. } = rmp_serde::from_slice(&part).expect("a part is as it was written");
                rest.expect("the last part has the rest").position
            });
            self.send(&to, RoleMessage::CopyPart { number, part, last }, acts);
        }
    }

    fn apply(&mut self, disk: &Disk, facts: &mut Facts, position: u64, apply: Apply) -> Commit {
        let mut rows = DiskRows(&disk.rows);
        let mut members = None;
        let (result, body, id) = match &apply {
            Apply::Segment { draft, body } => {
                let (at_us, entry) = (draft.id.segment, number_of(&draft.id.entry));
                let sealed = Sealed { position, at_us, entry, body, count: draft.count };
                (self.state.apply(sealed, &mut rows), Some((draft.clone(), body.clone())), Some(draft.id.clone()))
            }
            other => {
                let (at_us, command) = match other {
                    Apply::Command(OrderCommand::Init { entry, replaces, .. }) => {
                        (0, facts.faults.init(number_of(entry), *replaces))
                    }
                    Apply::Command(OrderCommand::Lost { entry, incarnation }) => {
                        (0, StateCommand::Lost { entry: number_of(entry), incarnation: *incarnation })
                    }
                    Apply::Command(OrderCommand::Time { at_us }) => (*at_us, StateCommand::Time),
                    Apply::Command(OrderCommand::Members { members: table, .. }) => {
                        members = Some(table.clone());
                        (0, StateCommand::Time)
                    }
                    _ => (0, StateCommand::Time),
                };
                (self.state.command(position, at_us, command, &mut rows), None, None)
            }
        };
        let applied = result.expect("what was sealed can be applied");
        let fed = relay::write_fed(&relay::Fed::of(&applied));
        let results = relay::write_exceptions(&applied.exceptions);
        let resolution = Resolution { first: applied.segment.first, results };
        facts.applied(&self.node, position, &fed, &resolution);
        Commit {
            position,
            rows: applied.rows,
            logged: Logged { body, fed },
            time_us: self.state.time_us(),
            last: self.state.last_number(),
            life: self.role.life_after(&resolution),
            members,
            applied: id,
            resolution,
        }
    }

    /// Log time at which something is due.
    pub fn deadline(&self) -> Option<u64> {
        self.state.next_deadline_us()
    }
}

/// The state knows entries by numbers.
pub fn number_of(entry: &NodeId) -> u64 {
    entry.name[1..].parse().expect("entries are E1, E2 …")
}
