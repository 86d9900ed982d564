//! All nodes, what is under way between them, and what happens to them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use fennec::cluster::sync::Write;
use fennec::queue::envelope::{Envelope, NodeId, Role, RoleMessage};
use fennec::queue::faults::{self, Fault};
use fennec::queue::quorum::{Member, Members, StoreId};

use crate::check::{Facts, Logged, messages_of};
use crate::clients::{Client, Heard};
use crate::dice::Dice;
use crate::entry::{self, Entry, Told};
use crate::faults::{Bug, Faults};
use crate::net::{Net, Pair, pair};
use crate::storage::{self, Disk, Storage};
use crate::sync::{self, File, Sync};

/// Wall clocks begin here: microseconds since 1970.
const WALL_US: u64 = 1_700_000_000_000_000;

const MS: u64 = 1000;

/// How many there are, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub entries: usize,
    pub storages: usize,
    /// Storages of each slot; the last of one is the first of the next.
    pub copies: usize,
    pub syncs: usize,
    pub storage_quorum: u32,
    pub clients: usize,
    /// Things fail for so long; then everything works again.
    pub trouble_us: u64,
    pub bug: Option<Bug>,
}

struct Node {
    process: Process,
    /// How often it was started.
    life: u32,
    started: u64,
    paused_until: u64,
    /// It is a sync with an older disk, and not all others have told it so.
    is_restored: bool,
    /// How far its wall clock is ahead.
    skew_us: i64,
    /// Of a storage.
    disk: Disk,
    /// Of a sync.
    file: File,
    /// What its file was once.
    older: Option<File>,
    /// What the disk of a storage was once.
    older_disk: Option<Disk>,
    /// How far a sync has heard that disks are, in this life.
    heard: BTreeMap<StoreId, u64>,
    /// What the disk of a sync is doing.
    write: Option<Write>,
    /// Longest time of the disk.
    disk_us: u64,
    /// It lost its disk, and has not got everything back.
    is_recovering: bool,
}

enum Process {
    Down,
    Entry(Box<Entry>),
    Storage(Box<Storage>),
    Sync(Box<Sync>),
}

enum Event {
    Arrive {
        epoch: u32,
        envelope: Envelope,
    },
    /// A node notices that a link is gone.
    Down {
        at: NodeId,
        life: u32,
        from: NodeId,
    },
    /// A link is tried.
    Up {
        pair: Pair,
        epoch: u32,
    },
    /// A disk has done what it was told.
    Done {
        at: NodeId,
        life: u32,
    },
    TakeUp {
        at: NodeId,
        /// Of the process, and of the entry in it.
        life: (u32, u32),
        position: u64,
    },
    Tick {
        at: NodeId,
        life: u32,
    },
    Client(usize),
    Trouble,
    Start(NodeId),
    Flow(Pair, u32),
    Mend(Pair),
    Hasten(NodeId),
}

pub struct World {
    plan: Plan,
    pub now: u64,
    events: BTreeMap<(u64, u64), Event>,
    counter: u64,
    dice: Dice,
    net: Net,
    nodes: BTreeMap<NodeId, Node>,
    members: Members,
    clients: Vec<Client>,
    pub facts: Facts,
    is_calm: bool,
    /// The last thing that happened, for who looks for a fault.
    pub trace: Option<Vec<String>>,
}

/// The numbers of the storages of each slot.
fn slots(plan: &Plan) -> impl Iterator<Item = RangeInclusive<usize>> {
    let Plan { storages, copies, .. } = *plan;
    (1..storages).step_by(copies - 1).map(move |first| first..=first + copies - 1)
}

impl World {
    pub fn new(plan: Plan, seed: u64) -> Self {
        // Disks are known when all have met.
        let storage = |n: usize| Member { node: NodeId::storage(&format!("N{n}")), store: StoreId::default() };
        let sync = |n: usize| Member { node: NodeId::sync(&format!("S{n}")), store: StoreId::default() };
        let members = Members {
            syncs: (1..=plan.syncs).map(sync).collect(),
            slots: slots(&plan).map(|slot| slot.map(storage).collect()).collect(),
            storage_quorum: plan.storage_quorum,
        };
        members.check().expect("the plan is possible");
        faults::plant(Faults(plan.bug).of_roles());
        let mut facts = Facts::default();
        facts.faults = Faults(plan.bug);
        let clients = (0..plan.clients).map(Client::new).collect();
        let mut world = Self {
            plan,
            now: 0,
            events: BTreeMap::new(),
            counter: 0,
            dice: Dice::new(seed),
            net: Net::default(),
            nodes: BTreeMap::new(),
            members,
            clients,
            facts,
            is_calm: false,
            trace: None,
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        let entries = (1..=self.plan.entries).map(|n| NodeId::entry(&format!("E{n}")));
        let storages = (1..=self.plan.storages).map(|n| NodeId::storage(&format!("N{n}")));
        let syncs = self.members.syncs.iter().map(|member| member.node.clone());
        let ids: Vec<NodeId> = entries.chain(storages).chain(syncs).collect();
        for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (a, b))) {
            if a < b && (a.role, b.role) != (Role::Entry, Role::Entry) {
                self.net.add(pair(a, b));
            }
        }
        for (n, id) in ids.iter().enumerate() {
            let node = Node {
                process: Process::Down,
                life: 0,
                started: 0,
                paused_until: 0,
                is_restored: false,
                skew_us: 0,
                disk: Disk::default(),
                file: File::new(),
                older: None,
                older_disk: None,
                heard: BTreeMap::new(),
                write: None,
                disk_us: 3 * MS,
                is_recovering: false,
            };
            self.nodes.insert(id.clone(), node);
            self.at(n as u64, Event::Start(id.clone()));
        }
        for pair in self.net.pairs() {
            let delay = self.dice.range(100, 20 * MS);
            self.at(delay, Event::Up { pair, epoch: 0 });
        }
        for client in 0..self.clients.len() {
            let delay = self.dice_delay(30 * MS);
            self.at(delay, Event::Client(client));
        }
        self.at(100 * MS, Event::Trouble);
    }

    fn dice_delay(&mut self, max: u64) -> u64 {
        self.dice.range(1, max)
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.counter += 1;
        self.events.insert((self.now + delay, self.counter), event);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} {}", now, line()));
        }
    }

    /// Lets things happen until a time.
    pub fn run_until(&mut self, until: u64) {
        while let Some(first) = self.events.first_entry().filter(|first| first.key().0 <= until) {
            let ((at, number), event) = first.remove_entry();
            self.now = at;
            self.happen(number, event);
        }
        self.now = until;
    }

    fn happen(&mut self, number: u64, event: Event) {
        let paused =
            |world: &Self, node: &NodeId| world.nodes[node].paused_until.checked_sub(world.now).filter(|us| *us > 0);
        let concerned = match &event {
            Event::Arrive { envelope, .. } => Some(&envelope.to),
            Event::Down { at, .. } | Event::Done { at, .. } | Event::Tick { at, .. } | Event::TakeUp { at, .. } => {
                Some(at)
            }
            _ => None,
        };
        if let Some(rest) = concerned.and_then(|node| paused(self, node)) {
            // In the order in which it was sent.
            self.events.insert((self.now + rest, number), event);
            return;
        }
        match event {
            Event::Arrive { epoch, envelope } => self.arrive(epoch, envelope),
            Event::Down { at, life, from } => {
                if self.nodes[&at].life == life {
                    self.note(|| format!("{at} has no link to {from}"));
                    self.link_event(&at, &from, false);
                }
            }
            Event::Up { pair, epoch } => self.up(pair, epoch),
            Event::Done { at, life } => self.disk_done(&at, life),
            Event::TakeUp { at, life, position } => self.take_up(&at, life, position),
            Event::Tick { at, life } => self.tick(&at, life),
            Event::Client(client) => self.client(client),
            Event::Trouble => self.trouble(),
            Event::Start(node) => self.start(&node),
            Event::Flow(pair, epoch) => self.flow(&pair, epoch),
            Event::Mend(pair) => self.net.link(&pair).is_cut = false,
            Event::Hasten(node) => self.node(&node).disk_us = 3 * MS,
        }
    }

    fn node(&mut self, id: &NodeId) -> &mut Node {
        self.nodes.get_mut(id).expect("all nodes are there, running or not")
    }

    fn wall(&self, id: &NodeId) -> u64 {
        (WALL_US + self.now).saturating_add_signed(self.nodes[id].skew_us)
    }

    // What nodes do.

    fn start(&mut self, id: &NodeId) {
        if !matches!(self.nodes[id].process, Process::Down) {
            return;
        }
        self.note(|| format!("{id} starts"));
        let random = self.dice.next();
        let (members, now) = (self.members.clone(), self.now);
        let node = self.node(id);
        node.life += 1;
        node.started = now;
        node.heard.clear();
        let life = node.life;
        match id.role {
            Role::Entry => {
                node.process = Process::Entry(Box::new(Entry::start(id.clone(), members, Dice::new(random))));
            }
            Role::Storage => {
                let fresh = StoreId(u128::from(random));
                node.process = Process::Storage(Box::new(Storage::start(id.clone(), members, &node.disk, fresh)));
            }
            Role::Sync => {
                node.process =
                    Process::Sync(Box::new(Sync::start(id.clone(), members, &mut node.file, Dice::new(random))));
            }
        }
        self.at(1, Event::Tick { at: id.clone(), life });
    }

    /// The process dies. What its disk was doing may be done, or not.
    fn crash(&mut self, id: &NodeId) {
        self.note(|| format!("{id} crashes"));
        if let Some(write) = self.node(id).write.take() {
            let thousandths = self.dice.range(0, 1500).min(1000);
            sync::write(&mut self.node(id).file, &write, thousandths);
        }
        let (is_written, is_all) = (self.dice.chance(500), self.dice.chance(500));
        let node = self.nodes.get_mut(id).expect("all nodes are there");
        if let Process::Storage(storage) = &mut node.process
            && storage.is_working
            && is_written
        {
            storage.work(&mut self.facts, &node.disk, is_all);
        }
        let node = self.node(id);
        node.process = Process::Down;
        node.paused_until = 0;
        node.life += 1;
        for pair in self.net.of(id) {
            self.cut(pair);
        }
        self.close_clients(id, |_| true);
    }

    fn cut(&mut self, pair: Pair) {
        if !self.net.link(&pair).is_up {
            return;
        }
        self.net.link(&pair).cut();
        let epoch = self.net.link(&pair).epoch;
        for (at, from) in [(&pair.0, &pair.1), (&pair.1, &pair.0)] {
            let (delay, life) = (self.dice_delay(50 * MS), self.nodes[at].life);
            self.at(delay, Event::Down { at: at.clone(), life, from: from.clone() });
        }
        let delay = self.dice.range(60 * MS, 120 * MS);
        self.at(delay, Event::Up { pair, epoch });
    }

    fn up(&mut self, pair: Pair, epoch: u32) {
        let is_running = |node: &Node, now| {
            !matches!(node.process, Process::Down) && (node.paused_until == 0 || node.paused_until < now)
        };
        let can_talk = [&pair.0, &pair.1].into_iter().all(|id| is_running(&self.nodes[id], self.now));
        let link = self.net.link(&pair);
        if link.epoch != epoch || link.is_up {
            return;
        }
        if !can_talk || link.is_cut {
            return self.at(20 * MS, Event::Up { pair, epoch });
        }
        link.is_up = true;
        self.note(|| format!("{} and {} are linked", pair.0, pair.1));
        self.link_event(&pair.0, &pair.1, true);
        self.link_event(&pair.1, &pair.0, true);
    }

    fn link_event(&mut self, at: &NodeId, other: &NodeId, is_up: bool) {
        let wall = self.wall(at);
        let node = self.nodes.get_mut(at).expect("all nodes are there");
        match &mut node.process {
            Process::Entry(entry) => {
                match is_up {
                    true => entry.connected(wall, other),
                    false => entry.disconnected(wall, other),
                }
                self.entry_goes_on(at);
            }
            Process::Storage(storage) => {
                match is_up {
                    true => {
                        storage.ndb.connected(other);
                        if other.role == Role::Entry {
                            storage.ndb.tell_policies(other, &entry::policies());
                        }
                    }
                    false => storage.ndb.disconnected(other),
                }
                self.storage_goes_on(at);
            }
            Process::Sync(sync) => {
                match is_up {
                    true => sync.connected(other),
                    false => sync.disconnected(other),
                }
                self.sync_goes_on(at);
            }
            Process::Down => {}
        }
    }

    fn arrive(&mut self, epoch: u32, envelope: Envelope) {
        let link = self.net.link(&pair(&envelope.from, &envelope.to));
        if link.epoch != epoch {
            return;
        }
        self.note(|| format!("{} -> {} {:?}", envelope.from, envelope.to, envelope.message));
        let to = envelope.to.clone();
        let (wall, now) = (self.wall(&to), self.now);
        let node = self.nodes.get_mut(&to).expect("all nodes are there");
        match &mut node.process {
            Process::Entry(entry) => {
                let told = entry.tick(wall, now);
                told.into_iter().for_each(|told| self.told(&to, told));
                if let Process::Entry(entry) = &mut self.node(&to).process {
                    entry.handle(wall, envelope);
                }
                self.entry_goes_on(&to);
            }
            Process::Storage(storage) => {
                let is_begin = matches!(envelope.message, RoleMessage::BeginAdvanceSegment { .. });
                storage.ndb.handle(wall, envelope);
                if is_begin && self.facts.faults.has(Bug::NoResolvedAgain) {
                    let mut said = storage.ndb.take();
                    said.retain(|said| !matches!(said.message, RoleMessage::AdvanceSegmentResolved { .. }));
                    self.send(said);
                }
                self.storage_goes_on(&to);
            }
            Process::Sync(sync) => {
                if let RoleMessage::Applied { store, position } = envelope.message {
                    let heard = node.heard.entry(store).or_default();
                    if position < *heard {
                        self.facts.forgotten.insert((envelope.from.clone(), store, to.clone(), node.life));
                    }
                    *heard = position.max(*heard);
                }
                sync.handle((now, wall), envelope);
                self.sync_goes_on(&to);
            }
            Process::Down => {}
        }
    }

    fn tick(&mut self, id: &NodeId, life: u32) {
        if self.nodes[id].life != life {
            return;
        }
        let (wall, now) = (self.wall(id), self.now);
        let decided = self.facts.decided;
        let has_met_syncs = self.has_met_syncs(id);
        let node = self.nodes.get_mut(id).expect("all nodes are there");
        match &mut node.process {
            Process::Entry(entry) => {
                let told = entry.tick(wall, now);
                entry.keep_house(wall);
                told.into_iter().for_each(|told| self.told(id, told));
                self.entry_goes_on(id);
            }
            Process::Storage(storage) => {
                // One with an older copy has to be told first that it is one.
                let is_back = storage.ndb.counts() && storage.written() == decided;
                node.is_recovering &= !(is_back && has_met_syncs);
                storage.ndb.tick(wall);
                storage.tidy(wall);
                self.storage_goes_on(id);
            }
            Process::Sync(sync) => {
                node.is_recovering &= !(sync.votes() && has_met_syncs);
                node.is_restored &= !has_met_syncs;
                sync.tick((now, wall));
                self.sync_goes_on(id);
            }
            Process::Down => return,
        }
        self.at(20 * MS, Event::Tick { at: id.clone(), life });
    }

    /// Whether it has had time to be told by all syncs what they know of it.
    fn has_met_syncs(&mut self, id: &NodeId) -> bool {
        let is_of_sync = |(a, b): &Pair| [a, b].iter().any(|end| *end != id && end.role == Role::Sync);
        let pairs: Vec<Pair> = self.net.of(id).into_iter().filter(is_of_sync).collect();
        self.now > self.nodes[id].started + 500 * MS && pairs.iter().all(|pair| self.net.link(pair).is_up)
    }

    fn send(&mut self, envelopes: Vec<Envelope>) {
        for envelope in envelopes {
            self.facts.said(&envelope.from, &envelope.message);
            if let Some((at, epoch, envelope)) = self.net.send(self.now, envelope, &mut self.dice) {
                self.at(at - self.now, Event::Arrive { epoch, envelope });
            }
        }
    }

    /// What a storage says now, and what its disk has to do.
    fn storage_goes_on(&mut self, id: &NodeId) {
        let node = self.nodes.get_mut(id).expect("all nodes are there");
        let Process::Storage(storage) = &mut node.process else { return };
        storage.prepare(&mut self.facts);
        let said = storage.ndb.take();
        let begins = storage.ndb.has_work() && !storage.is_working;
        storage.is_working |= begins;
        self.send(said);
        if begins {
            self.disk_begins(id);
        }
    }

    fn sync_goes_on(&mut self, id: &NodeId) {
        let node = self.nodes.get_mut(id).expect("all nodes are there");
        let Process::Sync(sync) = &mut node.process else { return };
        let acts = sync.act(&mut self.facts, &node.file);
        let begins = acts.write.is_some();
        node.write = acts.write.or(node.write.take());
        self.send(acts.sends);
        if begins {
            self.disk_begins(id);
        }
    }

    fn disk_begins(&mut self, id: &NodeId) {
        let Node { disk_us, life, .. } = self.nodes[id];
        let delay =
            if self.dice.chance(20) { self.dice.range(disk_us, 10 * disk_us) } else { self.dice_delay(disk_us) };
        self.at(delay, Event::Done { at: id.clone(), life });
    }

    fn disk_done(&mut self, id: &NodeId, life: u32) {
        let (is_copied, is_all) = (self.dice.chance(10), self.dice.chance(400));
        let node = self.nodes.get_mut(id).expect("all nodes are there");
        if node.life != life {
            return;
        }
        match &mut node.process {
            Process::Storage(storage) => {
                storage.work(&mut self.facts, &node.disk, is_all);
                if is_copied {
                    node.older_disk = Some(node.disk.copy());
                }
                self.storage_goes_on(id);
            }
            Process::Sync(sync) => {
                let Some(write) = node.write.take() else { return };
                sync::write(&mut node.file, &write, 1000);
                if is_copied {
                    node.older = Some(node.file.clone());
                }
                sync.written();
                self.send(write.sends);
                self.sync_goes_on(id);
            }
            Process::Entry(_) | Process::Down => {}
        }
    }

    // What clients do.

    /// What an entry says now, to nodes and to clients.
    fn entry_goes_on(&mut self, id: &NodeId) {
        let wall = self.wall(id);
        let Process::Entry(entry) = &mut self.node(id).process else { return };
        let entry::Acts { sends, told, take_up } = entry.act(wall);
        let entry_life = entry.life;
        self.send(sends);
        told.into_iter().for_each(|told| self.told(id, told));
        if let Some(position) = take_up {
            let (delay, life) = (self.dice_delay(20 * MS), self.nodes[id].life);
            self.at(delay, Event::TakeUp { at: id.clone(), life: (life, entry_life), position });
        }
        self.read(id);
    }

    /// An entry takes up the log from a storage that is linked and so far.
    fn take_up(&mut self, id: &NodeId, life: (u32, u32), position: u64) {
        let is_present =
            |node: &Node| matches!(&node.process, Process::Entry(entry) if (node.life, entry.life) == life);
        if !is_present(&self.nodes[id]) {
            return;
        }
        let is_far = |node: &Node| matches!(&node.process, Process::Storage(storage) if storage.written() >= position);
        let far: Vec<NodeId> = self.nodes.iter().filter(|(_, node)| is_far(node)).map(|(id, _)| id.clone()).collect();
        let linked: Vec<NodeId> = far.into_iter().filter(|other| self.net.link(&pair(id, other)).is_up).collect();
        let Some(from) = self.dice.pick(&linked) else {
            return self.at(20 * MS, Event::TakeUp { at: id.clone(), life, position });
        };
        let (disk, wall) = (self.nodes[from].disk.clone(), self.wall(id));
        self.note(|| format!("{id} takes up the log"));
        if let Process::Entry(entry) = &mut self.node(id).process {
            entry.take_up(wall, &disk);
        }
        self.entry_goes_on(id);
    }

    fn told(&mut self, id: &NodeId, told: Told) {
        self.note(|| format!("{id} tells {told:?}"));
        let Process::Entry(entry) = &self.nodes[id].process else { return };
        let is_lease_held = entry.is_lease_held(self.now);
        let whose = |ticket: u64| (ticket % 1000) as usize;
        let (ticket, heard) = match &told {
            Told::Closed => return self.close_clients(id, |_| true),
            Told::LocksClosed => return self.close_clients(id, Client::wants_locks),
            Told::Refused { ticket } => (*ticket, self.clients[whose(*ticket)].refused(*ticket)),
            Told::Result { ticket, outcomes } => {
                (*ticket, self.clients[whose(*ticket)].result(&mut self.facts, self.now, *ticket, outcomes))
            }
            Told::Later { ticket, outcome } => (*ticket, self.clients[whose(*ticket)].later(*ticket, outcome)),
        };
        match heard {
            Heard::Well => {}
            Heard::Granted(lock) if is_lease_held => {
                self.clients[whose(ticket)].holds(&mut self.facts, self.now, lock, &mut self.dice);
            }
            Heard::Granted(_) | Heard::Stale => self.close_client(whose(ticket)),
        }
    }

    fn close_clients(&mut self, at: &NodeId, which: impl Fn(&Client) -> bool) {
        for client in 0..self.clients.len() {
            if self.clients[client].at.as_ref() == Some(at) && which(&self.clients[client]) {
                self.close_client(client);
            }
        }
    }

    /// The connection is gone: an entry that is alive says so to the log.
    fn close_client(&mut self, client: usize) {
        let Some(at) = self.clients[client].at.clone() else { return };
        let session = self.clients[client].session;
        self.note(|| format!("client {client} is closed at {at}"));
        self.clients[client].closed(&mut self.facts);
        if let Process::Entry(entry) = &mut self.node(&at).process {
            entry.leave(session);
        }
    }

    fn client(&mut self, client: usize) {
        let delay = self.dice_delay(if self.is_calm { 120 * MS } else { 60 * MS });
        self.at(delay, Event::Client(client));
        if self.clients[client].at.is_none() {
            return self.connect(client);
        }
        let at = self.clients[client].at.clone().expect("it is connected");
        if self.nodes[&at].paused_until > self.now {
            return;
        }
        if self.dice.chance(5) && !self.is_calm {
            return self.close_client(client);
        }
        self.counter += 1;
        let ticket = self.counter * 1000 + client as u64;
        let sent = self.clients[client].act(&mut self.facts, self.now, ticket, &mut self.dice);
        for sent in sent {
            let Process::Entry(entry) = &mut self.node(&at).process else { return };
            entry.submit(sent.batch, sent.ticket);
            if self.facts.faults.has(Bug::AckBeforeResolved) {
                self.clients[client].is_told_early(&mut self.facts, self.now, sent.ticket);
            }
            if self.facts.faults.has(Bug::PubrecBeforeResolved) {
                self.clients[client].is_recorded_early(&mut self.facts, self.now, sent.ticket);
            }
        }
        self.entry_goes_on(&at);
    }

    fn connect(&mut self, client: usize) {
        let is_open = |node: &Node| matches!(&node.process, Process::Entry(entry) if entry.is_open);
        let open: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(_, node)| is_open(node) && node.paused_until <= self.now)
            .map(|(id, _)| id.clone())
            .collect();
        if let Some(at) = self.dice.pick(&open).cloned() {
            self.counter += 1;
            let session = self.counter;
            self.clients[client].connect(at.clone(), session);
            self.read(&at);
        }
    }

    /// Readers at an entry get what it was fed, and what was before that from the store of a storage that is that far.
    fn read(&mut self, at: &NodeId) {
        let Process::Entry(entry) = &self.nodes[at].process else { return };
        let fed = entry.fed();
        for client in 0..self.clients.len() {
            let reader = &self.clients[client];
            if !reader.is_reader() || reader.at.as_ref() != Some(at) || reader.last_read() >= fed {
                continue;
            }
            let last = reader.last_read();
            let storage = self.nodes.values().find_map(|node| match &node.process {
                Process::Storage(storage) if storage.last_number >= fed => Some(storage),
                _ => None,
            });
            let Some(storage) = storage else { continue };
            // What was given up it is told.
            let first = storage.first_available().max(last + 1).min(fed + 1);
            let segments = storage.reader().segments(first, None, usize::MAX).expect("memory can be read");
            let mut messages = Vec::new();
            segments.iter().for_each(|segment| messages_of(segment, &mut messages));
            messages.retain(|message: &Logged| message.number >= first && message.number <= fed);
            self.facts.read(client, (first - 1, fed), &messages);
            self.clients[client].has_read(fed);
        }
    }

    // What fails.

    fn trouble(&mut self) {
        if self.is_calm {
            return;
        }
        let delay = self.dice.range(5 * MS, 75 * MS);
        self.at(delay, Event::Trouble);
        let ids: Vec<NodeId> =
            self.nodes.keys().filter(|id| id.role != Role::Sync || self.plan.syncs > 0).cloned().collect();
        let pairs = self.net.pairs();
        let (Some(id), Some(pair)) = (self.dice.pick(&ids).cloned(), self.dice.pick(&pairs).cloned()) else { return };
        if self.is_restored() && [&id, &pair.0, &pair.1].iter().any(|id| id.role == Role::Sync) {
            return;
        }
        match self.dice.roll(20) {
            0..4 => self.crash_for_a_while(&id),
            4..7 => self.break_link(pair, 500 * MS),
            7..10 => self.stall_link(pair),
            10 => self.net.of(&id).into_iter().for_each(|pair| self.break_link(pair, 800 * MS)),
            11 => self.net.of(&id).into_iter().for_each(|pair| self.stall_link(pair)),
            12..14 => self.pause(&id),
            14 => {
                self.node(&id).disk_us = 40 * MS;
                let delay = self.dice_delay(1000 * MS);
                self.at(delay, Event::Hasten(id));
            }
            15 => self.jump(&id),
            16 if self.dice.chance(300) => self.power_loss(),
            17 | 18 if id.role == Role::Sync => self.lose_promises(&id),
            17 | 18 => self.lose_disk(&id),
            _ => {
                let delay = self.dice.range(200, 20 * MS);
                self.net.link(&pair).slow(delay);
            }
        }
    }

    fn crash_for_a_while(&mut self, id: &NodeId) {
        if !matches!(self.nodes[id].process, Process::Down) {
            self.crash(id);
            let max = if self.dice.chance(200) { 1500 * MS } else { 200 * MS };
            let delay = self.dice.range(MS, max);
            self.at(delay, Event::Start(id.clone()));
        }
    }

    fn break_link(&mut self, pair: Pair, max: u64) {
        self.note(|| format!("{} and {} are cut", pair.0, pair.1));
        self.cut(pair.clone());
        self.net.link(&pair).is_cut = true;
        let delay = self.dice_delay(max);
        self.at(delay, Event::Mend(pair));
    }

    /// One way, until it goes on or the link is given up.
    fn stall_link(&mut self, pair: Pair) {
        let direction = self.dice.roll(2) as usize;
        let link = self.net.link(&pair);
        link.stall(direction);
        let epoch = link.epoch;
        let delay = self.dice.range(10 * MS, 400 * MS);
        self.at(delay, Event::Flow(pair, epoch));
    }

    fn flow(&mut self, pair: &Pair, epoch: u32) {
        if self.net.link(pair).epoch != epoch {
            return;
        }
        if self.dice.chance(500) && !self.is_calm {
            return self.cut(pair.clone());
        }
        let held = self.net.link(pair).flow();
        self.send(held);
    }

    fn pause(&mut self, id: &NodeId) {
        if matches!(self.nodes[id].process, Process::Down) {
            return;
        }
        let max = if self.dice.chance(300) { 1300 * MS } else { 100 * MS };
        let pause = self.dice.range(MS, max);
        self.note(|| format!("{id} is paused for {pause}"));
        let until = self.nodes[id].paused_until.max(self.now + pause);
        self.node(id).paused_until = until;
        // Against a paused holder only fencing tokens help: it is not asked what it believes.
        for client in 0..self.clients.len() {
            if self.clients[client].at.as_ref() == Some(id) {
                self.clients[client].doubts(&mut self.facts);
            }
        }
    }

    fn jump(&mut self, id: &NodeId) {
        let by = self.dice.roll(240_000_000) as i64 - 120_000_000;
        let by = if self.dice.chance(500) { by } else { by / 100 };
        self.note(|| format!("the clock of {id} is now {by} ahead"));
        self.node(id).skew_us = by;
    }

    fn power_loss(&mut self) {
        let ids: Vec<NodeId> =
            self.nodes.keys().filter(|id| id.role != Role::Sync || self.plan.syncs > 0).cloned().collect();
        for id in ids.into_iter().filter(|id| id.role != Role::Sync || !self.is_restored()).collect::<Vec<_>>() {
            self.crash_for_a_while(&id);
        }
    }

    /// A disk is empty from now on, or an older copy, if all others have everything.
    fn lose_disk(&mut self, id: &NodeId) {
        let is_lost = |(id, node): &(&NodeId, &Node)| id.role == Role::Storage && node.is_recovering;
        let is_recovering = self.nodes.iter().filter(is_lost).count();
        if id.role != Role::Storage || self.facts.decided == 0 || is_recovering + 1 >= self.plan.storage_quorum as usize
        {
            return;
        }
        self.crash(id);
        self.note(|| format!("{id} loses its disk"));
        let is_restored = self.dice.chance(500);
        let node = self.node(id);
        node.is_recovering = true;
        node.disk = node.older_disk.take().filter(|_| is_restored).unwrap_or_default();
        let position = storage::state(&node.disk).position();
        self.facts.forgotten.retain(|(storage, ..)| storage != id);
        self.note(|| format!("its disk is now as it was at {position}"));
        let delay = self.dice.range(MS, 300 * MS);
        self.at(delay, Event::Start(id.clone()));
    }

    /// A sync's disk is empty, or what it was once.
    fn lose_promises(&mut self, id: &NodeId) {
        let is_recovering = |(id, node): (&NodeId, &Node)| id.role == Role::Sync && node.is_recovering;
        let recovering = self.nodes.iter().filter(|(id, node)| is_recovering((id, node))).count();
        if self.facts.decided == 0 || recovering >= self.members.sync_faults() {
            return;
        }
        let is_mistaken = self.facts.faults.has(Bug::Role(Fault::WipedSyncVotes));
        self.crash(id);
        // Nobody can know of a copy but those who have heard more: they are there.
        let is_restored = self.dice.chance(500) && self.others_are_there(id);
        let first = self.facts.first.clone();
        let node = self.node(id);
        let older = node.older.take().filter(|_| is_restored);
        node.is_restored = older.is_some();
        node.is_recovering = true;
        node.file = match (older, first) {
            (Some(older), _) => older,
            (None, Some(first)) if is_mistaken => sync::forgetful(&node.file, &first),
            (None, _) => File::new(),
        };
        let len = node.file.len();
        self.note(|| format!("{id} begins with a disk of {len} bytes"));
        self.at(10 * MS, Event::Start(id.clone()));
    }

    fn is_restored(&self) -> bool {
        self.nodes.values().any(|node| node.is_restored)
    }

    /// Whether all other syncs run, and can be linked with this one at once.
    fn others_are_there(&mut self, id: &NodeId) -> bool {
        let now = self.now;
        let mut others = self.nodes.iter().filter(|(other, _)| other.role == Role::Sync && *other != id);
        let are_up = others.all(|(_, other)| matches!(other.process, Process::Sync(_)) && other.paused_until <= now);
        let is_of_sync = |(a, b): &Pair| [a, b].iter().all(|end| end.role == Role::Sync);
        let pairs: Vec<Pair> = self.net.of(id).into_iter().filter(is_of_sync).collect();
        are_up && pairs.iter().all(|pair| !self.net.link(pair).is_cut)
    }

    /// Everything works from now on.
    fn calm(&mut self, without: &[NodeId]) {
        self.is_calm = true;
        self.note(|| format!("all is well from now on, without {without:?}"));
        let ids: Vec<NodeId> = self.nodes.keys().filter(|id| !without.contains(id)).cloned().collect();
        for id in ids {
            let node = self.node(&id);
            node.disk_us = 3 * MS;
            self.at(1, Event::Start(id));
        }
        self.events.retain(|_, event| !matches!(event, Event::Start(id) if without.contains(id)));
        for id in
            without.iter().filter(|id| !matches!(self.nodes[*id].process, Process::Down)).cloned().collect::<Vec<_>>()
        {
            self.crash(&id);
        }
        for pair in self.net.pairs() {
            self.net.link(&pair).is_cut = false;
            self.net.link(&pair).slow(2 * MS);
            let held = self.net.link(&pair).flow();
            self.send(held);
        }
    }

    /// All of it: trouble, then peace; and what must hold then.
    pub fn live(&mut self) {
        self.run_until(self.plan.trouble_us);
        while self.is_restored() {
            self.run_until(self.now + 20 * MS);
        }
        let missing = self.choose_missing();
        self.calm(&missing);
        let blind = self.choose_blind(&missing);
        self.run_until(self.now + 100 * MS);
        self.clients.iter_mut().for_each(|client| client.done = 0);
        self.run_while(4500 * MS, Self::what_stands_still);
        self.calm(&[]);
        blind.into_iter().for_each(|pair| self.net.link(&pair).is_cut = false);
        self.run_until(self.now + 100 * MS);
        self.clients.iter_mut().for_each(|client| client.is_stopping = true);
        self.run_while(3000 * MS, Self::what_is_left);
        self.check_disks();
        self.facts.check();
    }

    /// Lets things happen until nothing is wrong, for so long.
    #[track_caller]
    fn run_while(&mut self, patience: u64, wrong: impl Fn(&Self) -> Option<String>) {
        let until = self.now + patience;
        while let Some(why) = wrong(self) {
            assert!(self.now < until, "{why}");
            self.run_until(self.now + 100 * MS);
        }
    }

    /// A minority of the syncs and a storage that is not needed for a quorum may be gone.
    fn choose_missing(&mut self) -> Vec<NodeId> {
        let spare = |role: Role| match role {
            Role::Entry => 0,
            Role::Storage => self.plan.storages - self.plan.storage_quorum as usize,
            Role::Sync => self.members.sync_faults(),
        };
        let mut missing = Vec::new();
        for role in [Role::Storage, Role::Sync] {
            let of_role = |(id, node): &(&NodeId, &Node)| id.role == role && !node.is_recovering;
            let healthy: Vec<NodeId> = self.nodes.iter().filter(of_role).map(|(id, _)| id.clone()).collect();
            let are_all_healthy = healthy.len() == self.nodes.keys().filter(|id| id.role == role).count();
            if spare(role) > 0 && are_all_healthy && self.dice.chance(500) {
                missing.extend(self.dice.pick(&healthy).cloned());
            }
        }
        missing
    }

    /// A storage and a sync that do not see each other: what one knows, others pass on.
    fn choose_blind(&mut self, missing: &[NodeId]) -> Option<Pair> {
        let of_role = |role| self.nodes.keys().filter(move |id| id.role == role && !missing.contains(id)).cloned();
        let (storages, syncs): (Vec<_>, Vec<_>) = (of_role(Role::Storage).collect(), of_role(Role::Sync).collect());
        if syncs.len() < 2 || !self.dice.chance(700) {
            return None;
        }
        let pair = pair(self.dice.pick(&storages)?, self.dice.pick(&syncs)?);
        self.note(|| format!("{} and {} do not see each other", pair.0, pair.1));
        self.cut(pair.clone());
        self.net.link(&pair).is_cut = true;
        Some(pair)
    }

    /// 6. Liveness: who gets nothing done.
    fn what_stands_still(&self) -> Option<String> {
        let client = self.clients.iter().find(|client| client.done == 0)?;
        Some(format!("client {} at {:?} gets nothing done", client.id, client.at))
    }

    /// Who has not got all of it, when nobody wants anything new.
    fn what_is_left(&self) -> Option<String> {
        if let Some(client) = self.clients.iter().find(|client| !client.is_idle()) {
            return Some(format!("client {} still waits", client.id));
        }
        let last = self.facts.last_number();
        if let Some(client) = self.clients.iter().find(|client| client.is_reader() && client.last_read() < last) {
            return Some(format!("reader {} has not got all", client.id));
        }
        for (id, node) in &self.nodes {
            match &node.process {
                Process::Storage(storage) if storage.written() == self.facts.decided => {}
                Process::Storage(_) => return Some(format!("{id} is behind")),
                Process::Sync(sync) if !sync.votes() => return Some(format!("{id} has no vote")),
                Process::Down => return Some(format!("{id} is down")),
                Process::Sync(_) | Process::Entry(_) => {}
            }
        }
        None
    }

    /// All disks have the same, and none goes on under the name of one that knew more.
    fn check_disks(&mut self) {
        for (storage, store, sync, life) in &self.facts.forgotten {
            let is_known = self.nodes[sync].life == *life;
            let present = storage::store_id(&self.nodes[storage].disk);
            assert!(!is_known || present != *store, "{storage} was restored, and goes on as if nothing had happened");
        }
        let disks = self.nodes.iter().filter(|(id, _)| id.role == Role::Storage).map(|(_, node)| &node.disk);
        let mut disks = disks.map(|disk| (storage::state(disk).position(), storage::shared_rows(disk)));
        let first = disks.next().expect("there is a storage");
        assert_eq!(first.0, self.facts.decided, "a disk is behind");
        assert!(disks.all(|disk| disk == first), "states differ");
        self.check_retention();
    }

    /// 7. What has to stay is there, on every disk that keeps all.
    fn check_retention(&mut self) {
        let Self { nodes, plan, facts, .. } = self;
        for (id, Node { disk, .. }) in nodes.iter().filter(|(id, _)| id.role == Role::Storage) {
            let first = storage::first_available(&storage::state(disk));
            facts.check_kept(id, first);
            if plan.copies == plan.storages {
                facts.check_disk(id, first, &storage::messages(disk, first));
            }
        }
    }
}
