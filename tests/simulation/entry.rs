//! An entry: the role, and what the sessions at it are told.

use std::collections::{BTreeMap, VecDeque};

use fennec::queue::entry::{EntryLimits, EntryRole, Output, TicketRange};
use fennec::queue::envelope::{Envelope, NodeId, Refusal};
use fennec::queue::message::Batch;
use fennec::queue::outcome::{Outcome, Refused};
use fennec::queue::quorum::Members;
use fennec::queue::relay;

use crate::check::Facts;

/// How long an entry may be silent.
pub const LEASE_US: u64 = 1_200_000;

/// A process.
pub struct Entry {
    node: NodeId,
    role: EntryRole,
    nonce: u64,
    /// Ports are open: this life is accepted.
    pub is_open: bool,
    /// The last number of the feed.
    pub fed: u64,
    /// Publishes that wait for their condition, by what the state calls them: whose they are.
    waits: BTreeMap<u64, u64>,
    /// What became of such, told by the feed.
    later: BTreeMap<u64, Outcome>,
}

/// What those at the entry are told.
#[derive(Debug)]
pub enum Told {
    /// What became of the messages of a submission. The first in the log would have this number.
    Result { ticket: u64, first: u64, outcomes: Vec<Outcome> },
    /// What became of the wait of a submission.
    Later { ticket: u64, outcome: Outcome },
    /// Nobody will say what became of a submission.
    Unknown { ticket: u64 },
    /// All sessions are closed.
    Closed,
    /// Sessions are closed that hold locks or want some.
    LocksClosed,
}

/// What a call leads to.
#[derive(Default)]
pub struct Acts {
    pub sends: Vec<Envelope>,
    pub told: Vec<Told>,
}

impl Entry {
    pub fn start(node: NodeId, members: Members, nonce: u64) -> (Self, Acts) {
        let limits = EntryLimits {
            unresolved_segments_max: 8,
            segment_bytes_max: 4096,
            waiting_bytes_max: 1 << 16,
            lease_us: LEASE_US,
        };
        let role = EntryRole::new(node.clone(), members, limits, 0);
        let (waits, later) = (BTreeMap::new(), BTreeMap::new());
        let mut entry = Self { node, role, nonce, is_open: false, fed: 0, waits, later };
        let acts = entry.act(&mut Facts::default(), 0, |role, out| role.init(0, nonce, out));
        (entry, acts)
    }

    pub fn submit(&mut self, batch: Batch, ticket: u64) -> Result<(), Refused> {
        self.role.submit(batch, ticket)
    }

    pub fn is_lease_held(&self, monotonic_us: u64) -> bool {
        self.role.is_lease_held(monotonic_us)
    }

    pub fn flush(&mut self, facts: &mut Facts, wall_us: u64) -> Acts {
        self.act(facts, wall_us, |_, _| ())
    }

    pub fn tick(&mut self, facts: &mut Facts, wall_us: u64, monotonic_us: u64) -> Acts {
        self.act(facts, wall_us, |role, out| role.tick(monotonic_us, out))
    }

    pub fn connected(&mut self, facts: &mut Facts, wall_us: u64, to: &NodeId) -> Acts {
        self.act(facts, wall_us, |role, out| role.connected(wall_us, to, out))
    }

    pub fn disconnected(&mut self, facts: &mut Facts, wall_us: u64, from: &NodeId) -> Acts {
        self.act(facts, wall_us, |role, out| role.disconnected(wall_us, from, out))
    }

    pub fn handle(&mut self, facts: &mut Facts, wall_us: u64, envelope: Envelope) -> Acts {
        let Envelope { from, message, .. } = envelope;
        self.act(facts, wall_us, |role, out| role.handle(wall_us, &from, message, out))
    }

    fn act(&mut self, facts: &mut Facts, wall_us: u64, act: impl FnOnce(&mut EntryRole, &mut Vec<Output>)) -> Acts {
        let mut out = Vec::new();
        act(&mut self.role, &mut out);
        self.role.flush(wall_us, &mut out);
        let mut acts = Acts::default();
        let mut outputs = VecDeque::from(out);
        while let Some(output) = outputs.pop_front() {
            let mut anew = None;
            match output {
                Output::Send(envelope) => acts.sends.push(envelope),
                Output::Accepted { .. } => self.is_open = true,
                Output::NotAccepted { present } => anew = Some(present),
                Output::Ended { incarnation } => {
                    anew = Some(incarnation);
                    self.is_open = false;
                    self.waits.clear();
                    acts.told.push(Told::Closed);
                }
                Output::Resolved { resolution, tickets, .. } => {
                    let exceptions =
                        relay::read_exceptions(&resolution.results).expect("results are as they were written");
                    for range in tickets {
                        self.resolved(range, resolution.first, &exceptions, &mut acts);
                    }
                }
                Output::Refused { why, tickets } => {
                    assert_eq!(why, Refusal::Cut, "a storage among several stops rather than refuse");
                    acts.told.extend(tickets.iter().map(|range| Told::Unknown { ticket: range.ticket }));
                }
                Output::LeaseHeld(true) | Output::ClockDropped(_) => {}
                Output::LeaseHeld(false) => acts.told.push(Told::LocksClosed),
                Output::Fed { position, segment } => {
                    let fed = relay::read_fed(&segment).expect("what is fed is as it was written");
                    self.fed(fed, &mut acts);
                }
            }
            if let Some(replaces) = anew {
                let mut more = Vec::new();
                self.role.init(replaces, self.nonce, &mut more);
                outputs.extend(more);
            }
        }
        acts
    }

    fn resolved(&mut self, range: TicketRange, first: u64, exceptions: &relay::Exceptions, acts: &mut Acts) {
        let TicketRange { ticket, offset, count } = range;
        let outcome = |at: u32| {
            let exception = exceptions.iter().find(|(offset, _)| *offset == at);
            exception.map_or(Outcome::Events { first: first + u64::from(at), count: 1 }, |(_, outcome)| outcome.clone())
        };
        let outcomes: Vec<Outcome> = (offset..offset + count).map(outcome).collect();
        let waits = outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Waiting { ticket } => Some(*ticket),
            _ => None,
        });
        acts.told.push(Told::Result { ticket, first: first + u64::from(offset), outcomes });
        if let Some(wait) = waits {
            match self.later.get(&wait).cloned() {
                Some(outcome) => acts.told.push(Told::Later { ticket, outcome }),
                None => drop(self.waits.insert(wait, ticket)),
            }
        }
    }

    fn fed(&mut self, fed: relay::Fed, acts: &mut Acts) {
        if fed.segment.count > 0 {
            assert_eq!(fed.segment.first, self.fed + 1, "the feed of {} has a gap", self.node);
            self.fed = fed.segment.last();
        }
        for outcome in fed.later {
            let (Outcome::Granted { ticket: wait, .. } | Outcome::Ended { ticket: wait, .. }) = outcome else {
                continue;
            };
            if let Some(ticket) = self.waits.remove(&wait) {
                acts.told.push(Told::Later { ticket, outcome: outcome.clone() });
            }
            self.later.insert(wait, outcome);
        }
    }
}
