//! A sync with its disk: nothing is sent before what it promises is on disk.

use std::collections::VecDeque;

use fennec::queue::envelope::{Elected, Envelope, NodeId, OrderCommand, RoleMessage};
use fennec::queue::lease::LeaseWatch;
use fennec::queue::quorum::{Members, StoreId};
use fennec::queue::sync::{Output, Record, Standing, Start, SyncRole};

use crate::check::Facts;
use crate::entry::LEASE_US;
use crate::faults::Bug;

/// What is on disk.
#[derive(Clone)]
pub struct Promises {
    pub store: StoreId,
    pub records: Vec<Record>,
}

/// Records to be written, and what may be sent then.
pub struct Write {
    pub records: Vec<Record>,
    sends: Vec<Envelope>,
}

/// A process.
pub struct Sync {
    node: NodeId,
    role: SyncRole,
    watch: LeaseWatch,
    /// LOSTs that it backs.
    backed: Vec<OrderCommand>,
    position: u64,
    queue: VecDeque<Output>,
    is_writing: bool,
    next_ask: u64,
}

/// What a call leads to.
#[derive(Default)]
pub struct Acts {
    pub sends: Vec<Envelope>,
    pub write: Option<Write>,
    /// The disk is to be taken as lost.
    pub forgot: bool,
}

impl Sync {
    pub fn start(node: NodeId, members: Members, disk: &mut Promises, now: u64) -> Self {
        let start = Start { store: disk.store, records: disk.records.clone() };
        let role = SyncRole::new(node.clone(), members, start).expect("promises are as they were written");
        // A file that has grown is replaced.
        disk.records = role.records();
        let (watch, position) = (LeaseWatch::new(LEASE_US), role.position());
        let (backed, queue) = (Vec::new(), VecDeque::new());
        let mut sync = Self { node, role, watch, backed, position, queue, is_writing: false, next_ask: 0 };
        sync.watch_lives(now);
        sync
    }

    pub fn votes(&self) -> bool {
        self.role.standing() == Standing::Votes
    }

    pub fn connected(&mut self, facts: &mut Facts, now: u64, to: &NodeId) -> Acts {
        let mut out = Vec::new();
        self.role.connected(to, &mut out);
        self.act(facts, now, out)
    }

    pub fn disconnected(&mut self, facts: &mut Facts, now: u64, from: &NodeId) -> Acts {
        self.role.disconnected(from);
        self.act(facts, now, Vec::new())
    }

    pub fn handle(&mut self, facts: &mut Facts, (now, wall): (u64, u64), envelope: Envelope) -> Acts {
        let Envelope { from, message, .. } = envelope;
        let mut out = Vec::new();
        if let RoleMessage::Renew { incarnation, sent_us, .. } = message {
            let message = match self.watch.heard(now, &from, incarnation) {
                true => RoleMessage::Renewed { incarnation, sent_us },
                false => RoleMessage::RenewRefused { incarnation },
            };
            out.push(Output::Send(Envelope { from: self.node.clone(), to: from, message }));
        } else {
            self.role.handle(wall, &from, message, &mut out);
        }
        self.act(facts, now, out)
    }

    pub fn tick(&mut self, facts: &mut Facts, (now, wall): (u64, u64), disk: &Promises) -> Acts {
        let mut out = Vec::new();
        self.role.tick(wall, &mut out);
        let silent = self.watch.silent(now).into_iter();
        let lost: Vec<OrderCommand> =
            silent.map(|(entry, incarnation)| OrderCommand::Lost { entry, incarnation }).collect();
        for heard in self.backed.iter().filter(|command| !lost.contains(command)) {
            self.role.withdraw(heard, &mut out);
        }
        for command in &lost {
            self.role.handle(wall, &self.node, RoleMessage::AskCommand(command.clone()), &mut out);
        }
        self.backed = lost;
        self.ask_for_vote(now, disk.store, &mut out);
        self.act(facts, now, out)
    }

    /// As an operator would do it: the new disk is to have the vote of the old.
    fn ask_for_vote(&mut self, now: u64, store: StoreId, out: &mut Vec<Output>) {
        if self.role.standing() != Standing::Listens || self.role.position() == 0 || now < self.next_ask {
            return;
        }
        self.next_ask = now + 150_000;
        let mut members = self.role.order().members.clone();
        for member in members.syncs.iter_mut().filter(|member| member.node == self.node) {
            member.store = store;
        }
        for member in &members.syncs {
            let message = RoleMessage::AskCommand(OrderCommand::Members {
                behind: self.role.order().members_at,
                members: members.clone(),
            });
            if member.node == self.node {
                continue;
            }
            out.push(Output::Send(Envelope { from: self.node.clone(), to: member.node.clone(), message }));
        }
    }

    /// The disk has done it.
    pub fn written(&mut self, facts: &mut Facts, now: u64, write: Write) -> Acts {
        self.is_writing = false;
        let mut acts = self.act(facts, now, Vec::new());
        acts.sends.splice(0..0, write.sends);
        acts
    }

    fn act(&mut self, facts: &mut Facts, now: u64, out: Vec<Output>) -> Acts {
        for output in &out {
            if let Output::Note(Record::Decided { position, elected, .. }) = output {
                facts.decision(&self.node, *position, elected);
            }
        }
        self.queue.extend(out);
        if self.role.position() != self.position {
            self.position = self.role.position();
            self.watch_lives(now);
        }
        let mut acts = Acts::default();
        if !self.is_writing {
            while let Some(Output::Send(envelope)) = self.queue.pop_front_if(|first| matches!(first, Output::Send(_))) {
                acts.sends.push(envelope);
            }
            acts.write = self.write();
        }
        acts.forgot = self.role.standing() == Standing::Forgot;
        acts.sends.iter_mut().for_each(|envelope| tamper(facts, &mut envelope.message));
        acts
    }

    fn write(&mut self) -> Option<Write> {
        let mut write = Write { records: Vec::new(), sends: Vec::new() };
        for output in std::mem::take(&mut self.queue) {
            match output {
                Output::Send(envelope) => write.sends.push(envelope),
                Output::Promise(record) | Output::Note(record) => write.records.push(record),
                Output::Forgot => {}
            }
        }
        self.is_writing = !write.records.is_empty();
        self.is_writing.then_some(write)
    }

    fn watch_lives(&mut self, now: u64) {
        for (entry, life) in &self.role.order().lives {
            match life.lost {
                true => self.watch.ends(entry, life.incarnation),
                false => self.watch.begins(now, entry, life.incarnation),
            }
        }
    }
}

/// Bugs in what is sent.
fn tamper(facts: &Facts, message: &mut RoleMessage) {
    let strip = |challenger: &mut Option<Elected>| {
        if challenger.is_some() {
            *challenger = Some(Elected::Nothing);
        }
    };
    if facts.faults.has(Bug::OneWithoutChallenger) {
        match message {
            RoleMessage::State { challenger, .. } | RoleMessage::Vote { challenger, .. } => strip(challenger),
            _ => {}
        }
    }
}
