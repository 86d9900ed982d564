//! An entry: the entry node of the processes, the broker's node behind it, and what those who submitted there are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use fennec::cluster::entry::{self, Task};
use fennec::cluster::retention::Policies;
use fennec::node::log::Submission;
use fennec::node::log::follow::Readers;
use fennec::node::log::tickets::Owner;
use fennec::node::users::Users;
use fennec::node::{Node, RealmSettings, Settings};
use fennec::queue::entry::EntryLimits;
use fennec::queue::envelope::{Envelope, NodeId};
use fennec::queue::message::Batch;
use fennec::queue::outcome::Outcome;
use fennec::queue::quorum::Members;
use fennec::queue::retention::Policy;
use fennec::queue::state::rows::encode;
use fennec::router::authorize::{Authorizer, Role};
use fennec::router::rules::Rules;
use fennec::store::Store;
use fennec::types::ids::SessionId;
use fennec::types::limits::Limits;
use fennec::types::topic::TopicPattern;

use crate::clients::{NEWS_MAX, REALM};
use crate::dice::Dice;
use crate::storage::Disk;

/// How long an entry may be silent.
pub const LEASE_US: u64 = 600_000;

const LIMITS: EntryLimits =
    EntryLimits { unresolved_segments_max: 8, segment_bytes_max: 4096, waiting_bytes_max: 1 << 16, lease_us: LEASE_US };

/// A process.
pub struct Entry {
    id: NodeId,
    members: Members,
    dice: Dice,
    linked: BTreeSet<NodeId>,
    entry: entry::Entry,
    node: Arc<Node>,
    /// Ports are open: this life is accepted, and the log is taken up.
    pub is_open: bool,
    /// How many lives it has begun.
    pub life: u32,
    is_lease_held: bool,
    outcomes: Outcomes,
    under_way: BTreeMap<u64, UnderWay>,
}

/// What is told of submissions, by ticket.
type Outcomes = Arc<Mutex<Vec<(u64, Outcome)>>>;

/// A submission of which not all is known.
struct UnderWay {
    messages: u32,
    outcomes: Vec<Outcome>,
}

/// What those at the entry are told.
#[derive(Debug)]
pub enum Told {
    /// What became of the messages of a submission.
    Result { ticket: u64, outcomes: Vec<Outcome> },
    /// What became of the wait of a submission.
    Later { ticket: u64, outcome: Outcome },
    /// It was not taken.
    Refused { ticket: u64 },
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
    /// The log is to be taken up as a storage has it at this position or later.
    pub take_up: Option<u64>,
}

impl Entry {
    pub fn start(id: NodeId, members: Members, mut dice: Dice) -> Self {
        let node = broker(dice.next());
        let entry = new_entry(&id, &members, &node);
        let mut entry = Self {
            id,
            members,
            dice,
            linked: BTreeSet::new(),
            entry,
            node,
            is_open: false,
            life: 0,
            is_lease_held: false,
            outcomes: Outcomes::default(),
            under_way: BTreeMap::new(),
        };
        entry.entry.begin();
        entry
    }

    /// Another life begins, with nothing of the last.
    fn begin_anew(&mut self, wall_us: u64) {
        self.life += 1;
        self.is_open = false;
        self.node = broker(self.dice.next());
        self.entry = new_entry(&self.id, &self.members, &self.node);
        (self.outcomes, self.under_way) = Default::default();
        for node in &self.linked {
            self.entry.connected(wall_us, node);
        }
        self.entry.begin();
    }

    /// The number of the last message that it was fed.
    pub fn fed(&self) -> u64 {
        self.node.log.fed()
    }

    pub fn is_lease_held(&self, monotonic_us: u64) -> bool {
        self.entry.is_lease_held(monotonic_us)
    }

    pub fn submit(&mut self, batch: Batch, ticket: u64) {
        self.under_way.insert(ticket, UnderWay { messages: batch.count, outcomes: Vec::new() });
        let outcomes = self.outcomes.clone();
        let told = move |outcome| outcomes.lock().expect("nobody panics with it").push((ticket, outcome));
        self.node.submit(Submission { batch, owner: Owner::Function(Arc::new(told)) });
    }

    /// A session is gone.
    pub fn leave(&mut self, session: u64) {
        self.node.leave_log(REALM, SessionId(session), false);
    }

    /// Takes up the log from a disk.
    pub fn take_up(&mut self, wall_us: u64, disk: &Disk) {
        let disk = disk.clone();
        let readers: Readers = Arc::new(move || disk.reader().expect("it has readers"));
        let position = self.node.follow_log(&readers, &[7; 16]).expect("disks are as they were written");
        self.is_open = true;
        self.entry.took_up(position, wall_us);
    }

    pub fn connected(&mut self, wall_us: u64, to: &NodeId) {
        self.linked.insert(to.clone());
        self.entry.connected(wall_us, to);
    }

    pub fn disconnected(&mut self, wall_us: u64, from: &NodeId) {
        self.linked.remove(from);
        self.entry.disconnected(wall_us, from);
    }

    pub fn handle(&mut self, wall_us: u64, envelope: Envelope) {
        self.entry.handle(wall_us, envelope);
    }

    /// Time has passed; to be called before anything is handled.
    pub fn tick(&mut self, wall_us: u64, monotonic_us: u64) -> Vec<Told> {
        self.entry.tick(wall_us, monotonic_us);
        let was_held = std::mem::replace(&mut self.is_lease_held, self.entry.is_lease_held(monotonic_us));
        if was_held && !self.is_lease_held { vec![Told::LocksClosed] } else { Vec::new() }
    }

    /// The broker's own work.
    pub fn keep_house(&mut self, wall_us: u64) {
        self.node.tick(wall_us / 1000);
        self.node.house.work(&self.node, wall_us / 1000);
    }

    /// What comes of all that was handled.
    pub fn act(&mut self, wall_us: u64) -> Acts {
        self.entry.flush(wall_us);
        let mut acts = Acts { sends: self.entry.take(), ..Acts::default() };
        let outcomes = std::mem::take(&mut *self.outcomes.lock().expect("nobody panics with it"));
        acts.told = outcomes.into_iter().filter_map(|(ticket, outcome)| self.told(ticket, outcome)).collect();
        for task in self.entry.take_tasks() {
            match task {
                Task::TakeUp => acts.take_up = Some(self.entry.reached()),
                Task::End(_) => {
                    acts.take_up = None;
                    acts.told.push(Told::Closed);
                    self.begin_anew(wall_us);
                    acts.sends.extend(self.entry.take());
                    break;
                }
            }
        }
        acts
    }

    fn told(&mut self, ticket: u64, outcome: Outcome) -> Option<Told> {
        let messages = match &outcome {
            Outcome::Granted { .. } | Outcome::Ended { .. } => return Some(Told::Later { ticket, outcome }),
            Outcome::Refused { .. } => return Some(Told::Refused { ticket }),
            Outcome::Events { count, .. } => *count,
            Outcome::Void(_) | Outcome::Waiting { .. } | Outcome::Done(_) => 1,
        };
        let under_way = self.under_way.get_mut(&ticket)?;
        under_way.outcomes.push(outcome);
        under_way.messages = under_way.messages.checked_sub(messages).expect("no message has two outcomes");
        if under_way.messages > 0 {
            return None;
        }
        let UnderWay { outcomes, .. } = self.under_way.remove(&ticket)?;
        Some(Told::Result { ticket, outcomes })
    }
}

fn new_entry(id: &NodeId, members: &Members, node: &Arc<Node>) -> entry::Entry {
    entry::Entry::new(id.clone(), members.clone(), LIMITS, node.clone(), Arc::new(AtomicU64::new(0)))
}

/// A broker without connections.
fn broker(seed: u64) -> Arc<Node> {
    let settings = Settings {
        limits: Limits::default(),
        realms: vec![RealmSettings { name: REALM.to_owned(), ..RealmSettings::default() }],
        auto_realms: false,
        default_realm: REALM.to_owned(),
        authorize: Box::new(|_| Authorizer::new([Role::unrestricted("anyone")])),
        users: Users::new([]).expect("nobody is no mistake"),
        policies: policy(),
        rules: Rules::default(),
    };
    Node::new(settings, seed)
}

/// What is to stay: of what publishers say little, so that something is given up, and all else.
fn policy() -> Vec<Policy> {
    let topics = [("news", NEWS_MAX)].into_iter();
    let topics = topics.chain(["exact", "key0/#", "key1/#", "lock0", "lock1"].map(|topic| (topic, u64::MAX)));
    let policy = |(topic, messages_max)| Policy {
        realm: None,
        pattern: TopicPattern::from_filter(topic).expect("a topic filter"),
        age_us_max: u64::MAX,
        bytes_max: u64::MAX,
        messages_max,
    };
    topics.map(policy).collect()
}

/// The same as an entry tells it to storages.
pub fn policies() -> Vec<u8> {
    encode(&Policies::of(&policy(), u64::MAX))
}
