//! Nodes of a script: the roles, links between them that can be cut, and disks that take their time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::super::entry::{self, EntryLimits, EntryRole};
use super::super::envelope::{Draft, Elected, Envelope, NodeId, OrderCommand, Resolution, Role, RoleMessage};
use super::super::outcome::Refused;
use super::super::quorum::{Member, Members, StoreId};
use super::super::storage::{self, StorageRole};
use super::super::sync::{self, SyncRole};
use super::words::{applied, batch, id, said, text};

/// How a sync begins.
type Make = fn(NodeId, Members, sync::Start) -> Result<SyncRole, sync::StartError>;

/// Nodes, their links, and what happened since the last command.
#[derive(Default)]
pub struct Cluster {
    members: Option<Members>,
    limits: EntryLimits,
    solo: bool,
    now_us: u64,
    /// How far clocks of nodes are from `now_us`.
    clocks: BTreeMap<NodeId, u64>,
    entries: BTreeMap<NodeId, EntryRole>,
    storages: BTreeMap<NodeId, StorageRole>,
    syncs: BTreeMap<NodeId, SyncRole>,
    disks: BTreeMap<NodeId, Disk>,
    /// What survives a sync.
    promises: BTreeMap<NodeId, sync::Start>,
    /// Disks that there were.
    stores: u128,
    /// Of promises.
    copies: BTreeMap<NodeId, sync::Start>,
    make: Option<Make>,
    /// All that syncs decided, and where they put segments.
    decisions: BTreeMap<u64, BTreeSet<Elected>>,
    positions: BTreeMap<String, BTreeSet<u64>>,
    /// What each ticket stands for.
    published: Vec<String>,
    /// Links that are down.
    cut: BTreeSet<(NodeId, NodeId)>,
    under_way: VecDeque<Envelope>,
    trace: Vec<String>,
}

/// What survives a storage, and what it was asked to do.
#[derive(Default)]
struct Disk {
    start: storage::Start,
    /// Segments and commands, as they were applied.
    log: Vec<Bytes>,
    /// Messages in the log.
    count: u64,
    keeping: Option<Vec<(Draft, Bytes)>>,
    applying: Option<(u64, storage::Apply)>,
}

impl Cluster {
    /// Does what a line says. What it leads to, to the last message.
    ///
    /// ```text
    /// nodes E1 N1 N2 S1 … [solo|quorum=n] [unresolved=n] [segment=bytes]  all linked, the disk of a storage works slowly; no sync: S1
    /// found E1 N1 S1 … [without=S1]  as `nodes`, but the syncs do not know the store ids; a node that is not started
    /// init E1 | init E1 7          begins a life that replaces the last one on a disk, or that of incarnation 7
    /// clock us | clock E1 us       sets all clocks, or how far one is ahead
    /// publish E1 a b c             a submission each
    /// kept N1 | applied N1         the disk has done what it was asked
    /// failed N1                    it could not
    /// cut E1 N1 | heal E1 N1       a link
    /// lose N1 E1                   what is sent from one to the other, until the link is cut and healed
    /// stop N1 | start N1           a process
    /// rewrite S1                   its file is replaced by a short one
    /// wipe S1                      it stops and starts with an empty disk
    /// copy S1 | restore S1         of its disk; it stops and starts with that
    /// lost E1 incarnation [S1 …]   these syncs, or all, have not heard of it
    /// heard E1 incarnation S1      this one has, again
    /// time us [S1 …] | tick        these syncs, or all, are asked for a TIME | look at their clocks
    /// members [S1 …]               all syncs are asked to be these, with the disks that all have now
    /// ```
    pub fn command(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["nodes", ref nodes @ ..] => self.nodes(nodes, SyncRole::new),
            ["found", ref nodes @ ..] => self.nodes(nodes, SyncRole::found),
            ["init", entry] => self.init(&node(entry)),
            ["init", entry, replaces] => {
                self.entry(&node(entry), |role, out| role.init(replaces.parse().unwrap(), 0, out));
            }
            ["clock", us] => self.now_us = us.parse().unwrap(),
            ["clock", entry, us] => drop(self.clocks.insert(node(entry), us.parse().unwrap())),
            ["publish", entry, ref messages @ ..] => self.publish(entry, messages),
            ["kept", storage] => self.kept(storage),
            ["applied", storage] => self.applied(storage),
            ["failed", storage] => self.failed(storage),
            ["cut", a, b] => self.cut(&node(a), &node(b)),
            ["lose", from, to] => drop(self.cut.insert((node(from), node(to)))),
            ["heal", a, b] => self.heal(&node(a), &node(b)),
            ["stop", name] => self.stop(&node(name)),
            ["start", name] => self.start(&node(name)),
            ["rewrite", sync] => self.rewrite(&node(sync)),
            ["wipe", sync] => self.wipe(&node(sync)),
            ["copy", sync] => drop(self.copies.insert(node(sync), self.promises[&node(sync)].clone())),
            ["restore", sync] => {
                self.stop(&node(sync));
                self.promises.insert(node(sync), self.copies[&node(sync)].clone());
                self.start(&node(sync));
            }
            ["lost", entry, incarnation, ref syncs @ ..] => {
                let command = OrderCommand::Lost { entry: node(entry), incarnation: incarnation.parse().unwrap() };
                self.ask(syncs, &command);
            }
            ["heard", entry, incarnation, sync] => {
                let command = OrderCommand::Lost { entry: node(entry), incarnation: incarnation.parse().unwrap() };
                self.sync(&node(sync), |role, out| role.withdraw(&command, out));
            }
            ["time", at_us, ref syncs @ ..] => {
                self.ask(syncs, &OrderCommand::Time { at_us: at_us.parse().unwrap() });
            }
            ["tick"] => {
                for sync in self.syncs.keys().cloned().collect::<Vec<_>>() {
                    let now_us = self.clock(&sync);
                    self.sync(&sync, |role, out| role.tick(now_us, out));
                }
            }
            ["members", ref syncs @ ..] => self.ask_members(syncs),
            _ => panic!("no command: {line}"),
        }
        self.run();
        std::mem::take(&mut self.trace)
    }

    /// The messages of a storage's log, in order.
    pub fn log(&self, storage: &str) -> Vec<String> {
        let bodies = self.disks[&node(storage)].log.iter();
        bodies.flat_map(|body| text(body).split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// All decisions that syncs ever knew are the same, and no segment has two positions.
    pub fn check_order(&self) {
        for (segment, positions) in &self.positions {
            assert_eq!(positions.len(), 1, "{segment} has several positions: {positions:?}");
        }
        for (position, decisions) in &self.decisions {
            assert_eq!(decisions.len(), 1, "position {position} is decided otherwise: {decisions:?}");
        }
    }

    fn nodes(&mut self, words: &[&str], make: Make) {
        self.make = Some(make);
        let mut storage_quorum = 1;
        let (mut nodes, mut absent) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once('=') {
                Some(("quorum", count)) => storage_quorum = count.parse().unwrap(),
                Some(("without", name)) => absent.push(node(name)),
                Some(("unresolved", count)) => self.limits.unresolved_segments_max = count.parse().unwrap(),
                Some(("segment", bytes)) => self.limits.segment_bytes_max = bytes.parse().unwrap(),
                _ if *word == "solo" => self.solo = true,
                _ => nodes.push(node(word)),
            }
        }
        if !nodes.iter().any(|node| node.role == Role::Sync) {
            nodes.push(NodeId::sync("S1"));
        }
        let (mut storages, mut syncs) = (Vec::new(), Vec::new());
        for node in nodes.iter().filter(|node| node.role != Role::Entry) {
            let store = self.new_store();
            let member = Member { node: node.clone(), store };
            if node.role == Role::Storage {
                let start = storage::Start { store, ..storage::Start::default() };
                self.disks.insert(node.clone(), Disk { start, ..Disk::default() });
                storages.push(member);
            } else {
                self.promises.insert(node.clone(), sync::Start { store, records: Vec::new() });
                syncs.push(member);
            }
        }
        let members = Members { syncs, slots: vec![storages], storage_quorum };
        members.check().unwrap();
        self.members = Some(members);
        nodes.sort_by_key(|node| node.role != Role::Sync);
        for node in nodes.iter().filter(|node| !absent.contains(node)) {
            self.start(node);
        }
    }

    fn new_store(&mut self) -> StoreId {
        self.stores += 1;
        StoreId(self.stores)
    }

    fn start(&mut self, node: &NodeId) {
        let members = self.members.clone().unwrap();
        if let Some(disk) = self.disks.get_mut(node) {
            (disk.keeping, disk.applying) = (None, None);
            let role = StorageRole::new(node.clone(), members, self.solo, disk.start.clone());
            self.storages.insert(node.clone(), role);
        } else if let Some(start) = self.promises.get_mut(node) {
            let role = match self.solo {
                true => SyncRole::alone(node.clone(), members, 0, BTreeMap::new()),
                false => self.make.unwrap()(node.clone(), members, start.clone()).unwrap(),
            };
            if start.records.is_empty() {
                start.records = role.records();
            }
            self.syncs.insert(node.clone(), role);
        } else {
            self.entries.insert(node.clone(), EntryRole::new(node.clone(), members, self.limits, 0));
        }
        for other in self.running() {
            if other != *node {
                self.connect(node, &other);
            }
        }
    }

    fn running(&self) -> Vec<NodeId> {
        self.entries.keys().chain(self.storages.keys()).chain(self.syncs.keys()).cloned().collect()
    }

    fn stop(&mut self, node: &NodeId) {
        self.entries.remove(node);
        self.storages.remove(node);
        self.syncs.remove(node);
        for other in self.running() {
            self.disconnect(&other, node);
        }
    }

    fn cut(&mut self, a: &NodeId, b: &NodeId) {
        self.cut.extend([(a.clone(), b.clone()), (b.clone(), a.clone())]);
        self.disconnect(a, b);
        self.disconnect(b, a);
    }

    fn heal(&mut self, a: &NodeId, b: &NodeId) {
        self.cut.remove(&(a.clone(), b.clone()));
        self.cut.remove(&(b.clone(), a.clone()));
        self.connect(a, b);
    }

    fn connect(&mut self, a: &NodeId, b: &NodeId) {
        if !self.is_linked(a, b) {
            return;
        }
        for (at, to) in [(a, b), (b, a)] {
            let now_us = self.clock(at);
            self.entry(at, |role, out| role.connected(now_us, to, out));
            self.storage(at, |role, out| role.connected(to, out));
            self.sync(at, |role, out| role.connected(to, out));
        }
    }

    /// Whether what one sends arrives at the other.
    fn is_linked(&self, from: &NodeId, to: &NodeId) -> bool {
        let is_running =
            |node| self.entries.contains_key(node) || self.storages.contains_key(node) || self.syncs.contains_key(node);
        is_running(from) && is_running(to) && !self.cut.contains(&(from.clone(), to.clone()))
    }

    fn disconnect(&mut self, at: &NodeId, from: &NodeId) {
        let now_us = self.clock(at);
        self.entry(at, |role, out| role.disconnected(now_us, from, out));
        self.storage(at, |role, out| role.disconnected(from, out));
        self.sync(at, |role, _| role.disconnected(from));
    }

    fn init(&mut self, entry: &NodeId) {
        let lives = self.disks.values().flat_map(|disk| &disk.start.entries);
        let replaces = lives.filter(|(node, _)| node == entry).map(|(_, life)| life.incarnation).max().unwrap_or(0);
        self.entry(entry, |role, out| role.init(replaces, 0, out));
    }

    fn publish(&mut self, entry: &str, messages: &[&str]) {
        let entry = node(entry);
        let now_us = self.clock(&entry);
        for message in messages {
            let ticket = self.published.len() as u64;
            self.published.push((*message).to_owned());
            let role = self.entries.get_mut(&entry).unwrap();
            match role.submit(batch(message), ticket) {
                Ok(()) => {}
                Err(Refused::Full) => self.trace.push(format!("{entry} is full: {message}")),
                Err(why) => self.trace.push(format!("{entry} refuses {message}: {why}")),
            }
        }
        self.entry(&entry, |role, out| role.flush(now_us, out));
    }

    fn kept(&mut self, storage: &str) {
        let storage = node(storage);
        let disk = self.disks.get_mut(&storage).unwrap();
        let Some(kept) = disk.keeping.take() else { return self.trace.push(format!("{storage} was not keeping")) };
        disk.start.kept.extend(kept);
        self.storage(&storage, |role, out| role.kept(out));
    }

    fn applied(&mut self, storage: &str) {
        let storage = node(storage);
        let disk = self.disks.get_mut(&storage).unwrap();
        let Some((position, apply)) = disk.applying.take() else {
            return self.trace.push(format!("{storage} was not applying"));
        };
        let resolution = disk.apply(position, &apply);
        self.storage(&storage, |role, out| role.applied(position, resolution, out));
    }

    fn failed(&mut self, storage: &str) {
        let storage = node(storage);
        let (position, _) = self.disks.get_mut(&storage).unwrap().applying.take().unwrap();
        self.sync(&NodeId::sync("S1"), |role, _| role.take_back(position));
        self.storage(&storage, |role, out| role.apply_failed(position, out));
    }

    /// These syncs, or all, are asked for a command.
    fn ask(&mut self, syncs: &[&str], command: &OrderCommand) {
        let asked = |sync: &&NodeId| syncs.is_empty() || syncs.contains(&&*sync.name);
        for sync in self.syncs.keys().filter(asked) {
            let message = RoleMessage::AskCommand(command.clone());
            self.under_way.push_back(Envelope { from: sync.clone(), to: sync.clone(), message });
        }
    }

    fn ask_members(&mut self, syncs: &[&str]) {
        let member = |name: &&str| Member { node: node(name), store: self.promises[&node(name)].store };
        let syncs = syncs.iter().map(member).collect();
        let members = Members { syncs, ..self.members.clone().unwrap() };
        let behind = self.syncs.values().map(|sync| sync.order().members_at).max().unwrap_or(0);
        self.ask(&[], &OrderCommand::Members { behind, members });
    }

    fn rewrite(&mut self, sync: &NodeId) {
        self.promises.get_mut(sync).unwrap().records = self.syncs[sync].records();
    }

    fn wipe(&mut self, sync: &NodeId) {
        self.stop(sync);
        let store = self.new_store();
        self.promises.insert(sync.clone(), sync::Start { store, records: Vec::new() });
        self.start(sync);
    }

    fn clock(&self, node: &NodeId) -> u64 {
        self.now_us + self.clocks.get(node).copied().unwrap_or(0)
    }

    /// Hands over messages until there are none, in the order of their sending. Then drivers let entries go on.
    fn run(&mut self) {
        loop {
            while let Some(envelope) = self.under_way.pop_front() {
                self.deliver(envelope);
            }
            for entry in self.entries.keys().cloned().collect::<Vec<_>>() {
                let now_us = self.clock(&entry);
                self.entry(&entry, |role, out| role.flush(now_us, out));
            }
            if self.under_way.is_empty() {
                return;
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        let line = format!("{from} -> {to} {}", said(&message));
        if !self.is_linked(&from, &to) {
            return self.trace.push(format!("{line} (lost)"));
        }
        self.trace.push(line);
        let now_us = self.clock(&to);
        match to.role {
            Role::Entry => self.entry(&to, |role, out| role.handle(now_us, &from, message, out)),
            Role::Storage => self.storage(&to, |role, out| role.handle(now_us, &from, message, out)),
            Role::Sync => self.sync(&to, |role, out| role.handle(now_us, &from, message, out)),
        }
    }

    /// Lets a sync that is running do something. Its disk is fast.
    fn sync(&mut self, node: &NodeId, act: impl FnOnce(&mut SyncRole, &mut Vec<sync::Output>)) {
        let Some(role) = self.syncs.get_mut(node) else { return };
        let mut out = Vec::new();
        act(role, &mut out);
        let mut has_forgotten = false;
        for output in out {
            match output {
                sync::Output::Send(envelope) => self.under_way.push_back(envelope),
                sync::Output::Promise(record) | sync::Output::Note(record) => {
                    if let sync::Record::Decided { position, elected, .. } = &record {
                        for (position, elected) in elected.clone().apart(*position) {
                            for draft in elected.drafts() {
                                self.positions.entry(id(&draft.id)).or_default().insert(position);
                            }
                            self.decisions.entry(position).or_default().insert(elected);
                        }
                    }
                    self.promises.get_mut(node).unwrap().records.push(record);
                }
                sync::Output::Forgot => has_forgotten = true,
            }
        }
        if has_forgotten {
            self.trace.push(format!("{node} forgot what it said"));
            self.wipe(node);
        }
    }

    /// Lets an entry that is running do something.
    fn entry(&mut self, node: &NodeId, act: impl FnOnce(&mut EntryRole, &mut Vec<entry::Output>)) {
        let Some(role) = self.entries.get_mut(node) else { return };
        let mut out = Vec::new();
        act(role, &mut out);
        for output in out {
            let line = match output {
                entry::Output::Send(envelope) => {
                    self.under_way.push_back(envelope);
                    continue;
                }
                entry::Output::Accepted { incarnation } => format!("begins life {incarnation}"),
                entry::Output::NotAccepted { present } => format!("is not accepted, for life {present} goes on"),
                entry::Output::Resolved { position, resolution, tickets } => {
                    format!(
                        "acknowledges{} (position {position}, from number {})",
                        self.names(&tickets),
                        resolution.first
                    )
                }
                entry::Output::Refused { why, tickets } => format!("refuses{} ({why:?})", self.names(&tickets)),
                entry::Output::ClockDropped(true) => "drops its clock".to_owned(),
                entry::Output::ClockDropped(false) => "takes up its clock".to_owned(),
                entry::Output::Ended { incarnation } => format!("ends life {incarnation}"),
                entry::Output::LeaseHeld(is_held) => format!("has its lease: {is_held}"),
                entry::Output::Fed { position, segment } => format!("tells subscribers {position}:{}", text(&segment)),
            };
            self.trace.push(format!("{node} {line}"));
        }
    }

    /// Lets a storage that is running do something.
    fn storage(&mut self, node: &NodeId, act: impl FnOnce(&mut StorageRole, &mut Vec<storage::Output>)) {
        let Some(role) = self.storages.get_mut(node) else { return };
        let mut out = Vec::new();
        act(role, &mut out);
        let disk = self.disks.get_mut(node).unwrap();
        for output in out {
            match output {
                storage::Output::Send(envelope) => self.under_way.push_back(envelope),
                storage::Output::Keep(segments) => {
                    let names: String = segments.iter().map(|(draft, _)| format!(" {}", id(&draft.id))).collect();
                    self.trace.push(format!("{node} keeps{names} …"));
                    assert!(disk.keeping.replace(segments).is_none(), "one at a time");
                }
                storage::Output::Apply { position, apply } => {
                    self.trace.push(format!("{node} applies {position}: {} …", applied(&apply)));
                    assert!(disk.applying.replace((position, apply)).is_none(), "one at a time");
                }
                storage::Output::ReadBody { to, position, draft } => {
                    let message = RoleMessage::Body { draft, body: disk.log[position as usize - 1].clone() };
                    self.under_way.push_back(Envelope { from: node.clone(), to, message });
                }
                storage::Output::Forgot => panic!("scripts do not restore disks of storages"),
                storage::Output::CopyBegun { .. }
                | storage::Output::CopyOut { .. }
                | storage::Output::CopyIn { .. } => panic!("scripts do not copy"),
                storage::Output::Feed { to, after, until } => {
                    for position in after + 1..=until {
                        let message = RoleMessage::Feed { position, segment: disk.log[position as usize - 1].clone() };
                        self.under_way.push_back(Envelope { from: node.clone(), to: to.clone(), message });
                    }
                }
            }
        }
    }

    fn names(&self, tickets: &[entry::TicketRange]) -> String {
        tickets.iter().map(|range| format!(" {}", self.published[range.ticket as usize])).collect()
    }
}

impl Disk {
    /// Commits what took the next position.
    fn apply(&mut self, position: u64, apply: &storage::Apply) -> Resolution {
        assert_eq!(position, self.start.position + 1);
        let resolution = Resolution { first: self.count + 1, results: Bytes::new() };
        self.start.position = position;
        self.log.push(Bytes::new());
        match apply {
            storage::Apply::Segment { draft, body } => {
                self.count += u64::from(draft.count);
                self.log[position as usize - 1] = body.clone();
                self.start.time_us = self.start.time_us.max(draft.id.segment);
                self.start.kept.retain(|(kept, _)| kept.id != draft.id);
                self.life(&draft.id.entry).take(position, apply, &resolution);
            }
            storage::Apply::Command(OrderCommand::Init { entry, .. } | OrderCommand::Lost { entry, .. }) => {
                self.life(entry).take(position, apply, &resolution);
                let life = self.life(entry).clone();
                self.start.kept.retain(|(kept, _)| kept.id.entry != *entry || life.may_come(&kept.id));
            }
            storage::Apply::Command(_) | storage::Apply::Nothing => {}
        }
        resolution
    }

    fn life(&mut self, entry: &NodeId) -> &mut storage::Life {
        let entries = &mut self.start.entries;
        let at = entries.iter().position(|(node, _)| node == entry).unwrap_or_else(|| {
            entries.push((entry.clone(), storage::Life::default()));
            entries.len() - 1
        });
        &mut entries[at].1
    }
}

fn node(name: &str) -> NodeId {
    match name.as_bytes()[0] {
        b'E' => NodeId::entry(name),
        b'N' => NodeId::storage(name),
        b'S' => NodeId::sync(name),
        _ => panic!("no node: {name}"),
    }
}
