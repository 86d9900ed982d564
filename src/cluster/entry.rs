//! An entry node but for its links and threads: the entry role, and the node whose clients submit to it.
//!
//! ```text
//! Log::submit --take--> EntryRole --envelopes--> storages, syncs
//!                           \--Resolved, Fed--> Follower --> subscribers, mirrors, who submitted
//! ```
//!
//! A life of the entry: INIT is accepted, the log is taken up where a storage has it ([`Node::follow_log`]), the feed follows behind
//! that, then clients may come. When its life is cut, or the feed has a gap, all clients go and a new life begins: their
//! sessions go on here or at another entry.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;

use super::counts::Counts;
use super::ndb::number_of;
use super::retention::Policies;
use super::status::EntryStatus;
use crate::mqtt::mirror;
use crate::node::Node;
use crate::node::log::follow::{Follower, Lost};
use crate::queue::entry::{EntryLimits, EntryRole, Output};
use crate::queue::envelope::{Envelope, NodeId, Refusal, RoleMessage};
use crate::queue::outcome::Refused;
use crate::queue::quorum::Members;

/// What the shell of an entry has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// INIT is accepted: take up the log, then call [`Entry::took_up`].
    TakeUp,
    /// This life is over, for this reason: let all clients go. The next is another [`Entry`]'s.
    End(String),
}

/// See the module.
pub struct Entry {
    own: NodeId,
    number: u64,
    role: EntryRole,
    node: Arc<Node>,
    follower: Option<Follower>,
    /// What publishers are refused for.
    lacks: Option<&'static str>,
    /// Fed up to here, for those who ask storages.
    reached: Arc<AtomicU64>,
    tasks: Vec<Task>,
    outputs: Vec<Output>,
    out: Vec<Envelope>,
    /// By which our INITs are told from those of a twin.
    nonce: u64,
    /// The life that the last of them replaces.
    replaces: u64,
    counts: Arc<Counts>,
    /// Segments that were begun and have no result, and when.
    begun: VecDeque<(u64, Instant)>,
}

impl Entry {
    /// `reached` is raised to each position before anybody is told of it.
    pub fn new(own: NodeId, members: Members, limits: EntryLimits, node: Arc<Node>, reached: Arc<AtomicU64>) -> Self {
        let (number, nonce) = (number_of(&own), node.random());
        // A node is of one life of one entry.
        let _ = node.entry.set(number);
        let role = EntryRole::new(own.clone(), members, limits, 0);
        Self {
            own,
            number,
            role,
            node,
            follower: None,
            lacks: None,
            reached,
            tasks: Vec::new(),
            outputs: Vec::new(),
            out: Vec::new(),
            nonce,
            replaces: 0,
            counts: Arc::default(),
            begun: VecDeque::new(),
        }
    }

    pub fn own(&self) -> &NodeId {
        &self.own
    }

    /// What storages have to know of what is to stay.
    pub fn policies(&self) -> Policies {
        let (policies, others_bytes_max) = self.node.retention();
        Policies::of(policies, others_bytes_max)
    }

    /// Begins its life.
    pub fn begin(&mut self) {
        self.role.hold_feed();
        self.init(0);
    }

    fn init(&mut self, replaces: u64) {
        self.replaces = replaces;
        self.role.init(replaces, self.nonce, &mut self.outputs);
    }

    /// Has it count there.
    pub fn count_in(&mut self, counts: &Arc<Counts>) {
        self.counts = counts.clone();
    }

    /// How it is. `monotonic_us`: as in [`Entry::tick`].
    pub fn report(&self, monotonic_us: u64) -> EntryStatus {
        let (calls_out, calls_in) = self.node.peers.call_counts();
        EntryStatus {
            calls_out,
            calls_in,
            role: self.role.report(monotonic_us),
            trouble: self.node.log.health(),
            connections: self.node.metrics.connections_open(),
        }
    }

    /// The log was taken up as of this position.
    pub fn took_up(&mut self, position: u64, now_us: u64) {
        self.follower = Some(Follower::new(&self.node, position));
        self.role.follow_from(position, &mut self.outputs);
        self.carry_out(now_us);
    }

    /// The link to a node is up.
    pub fn connected(&mut self, now_us: u64, node: &NodeId) {
        self.role.connected(now_us, node, &mut self.outputs);
        self.carry_out(now_us);
    }

    /// The link to a node is down.
    pub fn disconnected(&mut self, now_us: u64, node: &NodeId) {
        self.role.disconnected(now_us, node, &mut self.outputs);
        self.carry_out(now_us);
    }

    /// Takes what another node says.
    pub fn handle(&mut self, now_us: u64, envelope: Envelope) {
        let Envelope { from, message, .. } = envelope;
        self.role.handle(now_us, &from, message, &mut self.outputs);
        self.carry_out(now_us);
    }

    /// Takes what the node's clients have submitted, and sends what may be sent.
    pub fn flush(&mut self, now_us: u64) {
        if let Some(follower) = &mut self.follower {
            for submitted in self.node.log.take_submitted() {
                let ticket = follower.ticket(&submitted);
                if let Err(why) = self.role.submit(submitted.batch, ticket) {
                    follower.refuse(ticket, why);
                }
            }
        }
        self.role.flush(now_us, &mut self.outputs);
        self.carry_out(now_us);
    }

    /// Time has passed. To be called before what arrived meanwhile is handled: a process that stood still may have lost its lease, and
    /// must not tell of locks then. `monotonic_us`: a clock that never goes back.
    pub fn tick(&mut self, now_us: u64, monotonic_us: u64) {
        self.role.tick(monotonic_us, &mut self.outputs);
        if self.follower.is_some() {
            let lacks = if !self.role.has_quorum() {
                Some("too few storages of the cluster are linked")
            } else if !self.role.has_sync_majority() {
                Some("too few syncs of the cluster are linked")
            } else if !self.role.is_lease_held(monotonic_us) {
                Some("the syncs of the cluster have not answered this entry for a while")
            } else {
                None
            };
            if std::mem::replace(&mut self.lacks, lacks) != lacks {
                self.node.log.set_trouble(lacks.map(str::to_owned));
            }
        }
        self.carry_out(now_us);
    }

    /// Whether it knows of positions that it has not been fed: [`Entry::tick`] is to be called often then.
    pub fn waits_for_feed(&self) -> bool {
        self.role.waits_for_feed()
    }

    /// Whether sessions here may believe that they hold locks. `monotonic_us`: as in [`Entry::tick`].
    pub fn is_lease_held(&self, monotonic_us: u64) -> bool {
        self.role.is_lease_held(monotonic_us)
    }

    /// Up to this position others were told, or will be before they hear of anything behind it.
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    /// What is to be sent, in order.
    pub fn take(&mut self) -> Vec<Envelope> {
        std::mem::take(&mut self.out)
    }

    /// What is to be done.
    pub fn take_tasks(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.tasks)
    }

    fn carry_out(&mut self, now_us: u64) {
        while !self.outputs.is_empty() {
            for output in std::mem::take(&mut self.outputs) {
                self.carry_out_one(output, now_us);
            }
        }
        if let Some(follower) = &mut self.follower {
            follower.tell();
        }
    }

    fn carry_out_one(&mut self, output: Output, now_us: u64) {
        match output {
            Output::Send(envelope) => {
                self.note_begun(&envelope.message);
                self.out.push(envelope);
            }
            Output::Accepted { incarnation } => {
                self.reached.fetch_max(incarnation, Ordering::AcqRel);
                self.counts.lives.fetch_add(1, Ordering::Relaxed);
                tracing::info!(entry = %self.own, incarnation, "this life of the entry has begun");
                self.tasks.push(Task::TakeUp);
            }
            // Each storage says so, and once more for each time that the question came to a sync.
            Output::NotAccepted { present } if present > self.replaces => self.init(present),
            Output::NotAccepted { .. } => {}
            Output::Resolved { position, resolution, tickets } => {
                // They are told in their order.
                if let Some((_, begun)) = self.begun.pop_front() {
                    self.counts.resolve.observe_us(begun.elapsed().as_micros() as u64);
                }
                let Some(follower) = &mut self.follower else { return };
                if let Err(lost) = follower.resolve(position, resolution.first, &resolution.results, &tickets) {
                    self.end_life(&lost.to_string());
                }
            }
            Output::Refused { why: Refusal::Unavailable, tickets } => {
                let Some(follower) = &mut self.follower else { return };
                tickets.iter().for_each(|range| follower.refuse(range.ticket, Refused::StoreUnavailable));
            }
            Output::Refused { why: Refusal::Cut, .. } | Output::Ended { .. } => {
                self.end_life("the cluster has given up this life of the entry")
            }
            Output::ClockDropped(true) => {
                tracing::warn!("the clock is a minute ahead of the cluster's: it is not asked any more")
            }
            Output::ClockDropped(false) => tracing::warn!("the clock agrees with the cluster's again"),
            Output::LeaseHeld(held) => {
                if !held {
                    self.node.end_holders();
                }
            }
            Output::Fed { position, segment } => self.fed(position, &segment, now_us),
        }
    }

    /// Each is begun at several storages, and again when a link comes.
    fn note_begun(&mut self, message: &RoleMessage) {
        if let RoleMessage::BeginAdvanceSegment { id, .. } = message
            && self.begun.back().is_none_or(|(last, _)| id.segment > *last)
        {
            self.begun.push_back((id.segment, Instant::now()));
        }
    }

    fn fed(&mut self, position: u64, segment: &Bytes, now_us: u64) {
        // What comes before the log is taken up comes again behind that.
        let Some(follower) = self.follower.as_mut().filter(|follower| follower.position() < position) else { return };
        // Whoever is told of it may ask at once, and must not be answered by a storage that is not there yet.
        self.reached.fetch_max(position, Ordering::AcqRel);
        match follower.feed(position, segment, now_us / 1000) {
            Ok(rows) => {
                if let Err(error) = mirror::follow(&self.node, self.number, &rows) {
                    tracing::error!(%error, position, "a session of another entry is not followed");
                }
                follower.tell();
            }
            Err(lost @ (Lost::Gap { .. } | Lost::Unreadable(_))) => self.end_life(&lost.to_string()),
        }
    }

    /// Nobody knows what became of what is not resolved: it may be in the log. So nobody is told anything, and all have to go.
    fn end_life(&mut self, why: &str) {
        self.follower = None;
        self.node.log.set_trouble(Some(why.to_owned()));
        let task = Task::End(why.to_owned());
        if !self.tasks.contains(&task) {
            tracing::warn!(entry = %self.own, why, "this life of the entry is over");
            self.tasks.push(task);
        }
    }
}
