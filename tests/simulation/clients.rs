//! Clients at random entries. Each does one thing, and moves to another entry when its own is gone.
//!
//! - a *publisher* sends messages, some at a time;
//! - an *exact* one has a persistent session: QoS 2, repeated at the next entry until it is recorded, so that each message is in the
//!   log once;
//! - a *keys* one sets keys with conditions;
//! - a *locks* one takes locks and gives them back;
//! - a *reader* reads the log and resumes at another entry.

use std::collections::{BTreeMap, VecDeque};

use fennec::queue::command::{Command, Connect};
use fennec::queue::condition::{Condition, KeyWill, When};
use fennec::queue::envelope::NodeId;
use fennec::queue::message::{Batch, Extras, Head, PacketRow};
use fennec::queue::outcome::{Done, Outcome, Void, WaitEnd};
use fennec::types::event::Qos;
use fennec::types::ids::SessionId;
use fennec::types::payload::PayloadRef;

use crate::check::{Ack, Facts};
use crate::dice::Dice;
use crate::linear::{Kind, Operation};

pub const REALM: &str = "realm1";

/// So many of the messages of publishers stay, the last ones.
pub const NEWS_MAX: u64 = 60;

/// Operations on one key: then another is used.
const OPERATIONS_PER_KEY: usize = 40;

/// Whether a publisher has said this.
pub fn is_news(text: &str) -> bool {
    let client = text.split_once('.').and_then(|(client, _)| client.parse::<usize>().ok());
    client.is_some_and(|client| client.is_multiple_of(KINDS))
}

pub struct Client {
    pub id: usize,
    /// Where it is connected.
    pub at: Option<NodeId>,
    pub session: u64,
    made: u64,
    under_way: BTreeMap<u64, Request>,
    role: Role,
    /// Things done since it was last asked.
    pub done: u64,
    pub is_stopping: bool,
}

struct Request {
    sent: u64,
    what: What,
}

enum What {
    Publish(Vec<String>),
    Connect,
    Exact,
    Release,
    Key { key: String, at: usize },
    Lock(String),
    Unlock,
}

enum Role {
    Publisher,
    Exact { is_connected: bool, window: VecDeque<Exact> },
    Keys { known: BTreeMap<String, (usize, u64)> },
    Locks { wish: Wish },
    Reader { last: u64 },
}

/// A message of a persistent session on its way.
struct Exact {
    packet_id: u16,
    text: String,
    first_sent: u64,
    is_recorded: bool,
    ticket: u64,
}

enum Wish {
    Idle,
    Asked,
    Held { lock: String, until: u64 },
}

/// What a client sends.
pub struct Sent {
    pub batch: Batch,
    pub ticket: u64,
}

/// Number of kinds of clients.
pub const KINDS: usize = 5;

impl Client {
    pub fn new(id: usize) -> Self {
        let role = match id % KINDS {
            0 => Role::Publisher,
            1 => Role::Exact { is_connected: false, window: VecDeque::new() },
            2 => Role::Keys { known: BTreeMap::new() },
            3 => Role::Locks { wish: Wish::Idle },
            _ => Role::Reader { last: 0 },
        };
        let under_way = BTreeMap::new();
        Self { id, at: None, session: 0, made: 0, under_way, role, done: 0, is_stopping: false }
    }

    pub fn is_reader(&self) -> bool {
        matches!(self.role, Role::Reader { .. })
    }

    pub fn wants_locks(&self) -> bool {
        matches!(self.role, Role::Locks { .. })
    }

    /// Whether it waits for nothing. What is published exactly once has to be recorded.
    pub fn is_idle(&self) -> bool {
        let owes = matches!(&self.role, Role::Exact { window, .. } if !window.is_empty());
        self.under_way.is_empty() && !owes
    }

    pub fn connect(&mut self, entry: NodeId, session: u64) {
        (self.at, self.session) = (Some(entry), session);
    }

    /// The connection is gone, and nobody knows what becomes of what is under way.
    pub fn closed(&mut self, facts: &mut Facts) {
        self.at = None;
        self.under_way.clear();
        match &mut self.role {
            Role::Exact { is_connected, .. } => *is_connected = false,
            Role::Locks { wish } => {
                if let Wish::Held { lock, .. } = std::mem::replace(wish, Wish::Idle) {
                    facts.lets_go(&lock, self.id);
                }
            }
            _ => {}
        }
    }

    /// What it sends now, if anything.
    pub fn act(&mut self, facts: &mut Facts, now: u64, ticket: u64, dice: &mut Dice) -> Vec<Sent> {
        let is_new_wanted = !self.is_stopping;
        match &self.role {
            Role::Publisher if is_new_wanted && self.under_way.len() < 4 => self.publish(facts, now, ticket, dice),
            Role::Exact { .. } => self.exact(facts, now, ticket, is_new_wanted, dice),
            Role::Keys { .. } if is_new_wanted && self.under_way.is_empty() => self.set_key(facts, now, ticket, dice),
            Role::Locks { .. } => self.lock(facts, now, ticket, is_new_wanted, dice),
            _ => Vec::new(),
        }
    }

    fn text(&mut self) -> String {
        self.made += 1;
        format!("{}.{}", self.id, self.made)
    }

    fn head<'a>(&self, topic: &'a str, retain: bool, judged: bool) -> Head<'a> {
        Head {
            realm: REALM,
            topic,
            publisher: Some(SessionId(self.session)),
            exclude_publisher: false,
            qos: Qos::AtLeastOnce,
            retain,
            format: None,
            judged,
        }
    }

    fn request(&mut self, now: u64, ticket: u64, what: What, batch: Batch) -> Vec<Sent> {
        self.under_way.insert(ticket, Request { sent: now, what });
        vec![Sent { batch, ticket }]
    }

    fn publish(&mut self, facts: &mut Facts, now: u64, ticket: u64, dice: &mut Dice) -> Vec<Sent> {
        let texts: Vec<String> = (0..dice.range(1, 4)).map(|_| self.text()).collect();
        let mut batch = Batch::default();
        for text in &texts {
            batch.message(&self.head("news", false, false), PayloadRef::Bytes(text.as_bytes()), None);
        }
        facts.sent.entry((self.id, self.session)).or_default().extend(texts.iter().cloned());
        self.request(now, ticket, What::Publish(texts), batch)
    }

    fn command(&mut self, now: u64, ticket: u64, what: What, command: &Command) -> Vec<Sent> {
        let mut batch = Batch::default();
        batch.command(command);
        self.request(now, ticket, what, batch)
    }

    fn client_id(&self) -> String {
        format!("client{}", self.id)
    }

    fn exact(&mut self, facts: &mut Facts, now: u64, ticket: u64, is_new_wanted: bool, dice: &mut Dice) -> Vec<Sent> {
        let (id, client_id, session) = (self.id, self.client_id(), self.session);
        let Role::Exact { is_connected, window } = &mut self.role else { return Vec::new() };
        if !*is_connected {
            if !self.under_way.is_empty() {
                return Vec::new();
            }
            let connect = Connect {
                realm: REALM.into(),
                client_id,
                session,
                connection: session,
                expiry_s: u32::MAX,
                ..Connect::default()
            };
            return self.command(now, ticket, What::Connect, &Command::Connect(Box::new(connect)));
        }
        // Repeated in their order before anything new.
        let again = window.iter_mut().find(|exact| !self.under_way.contains_key(&exact.ticket));
        if let Some(exact) = again {
            exact.ticket = ticket;
            if exact.is_recorded {
                let release = Command::Release { realm: REALM.into(), client_id, packet_id: exact.packet_id };
                return self.command(now, ticket, What::Release, &release);
            }
            let packet = PacketRow { client_id, connection: session, packet_id: exact.packet_id };
            let (text, sent) = (exact.text.clone(), exact.first_sent);
            let extras = Extras { packet: Some(packet), ..Extras::default() };
            let mut batch = Batch::default();
            batch.message(&self.head("exact", false, true), PayloadRef::Bytes(text.as_bytes()), Some(&extras));
            return self.request(sent, ticket, What::Exact, batch);
        }
        if is_new_wanted && window.len() < 3 && dice.chance(500) {
            let packet_id = (1..).find(|id| window.iter().all(|exact| exact.packet_id != *id)).expect("few are in use");
            let text = self.text();
            facts.sent.entry((id, 0)).or_default().push(text.clone());
            let exact = Exact { packet_id, text, first_sent: now, is_recorded: false, ticket: 0 };
            if let Role::Exact { window, .. } = &mut self.role {
                window.push_back(exact);
            }
            return self.exact(facts, now, ticket, false, dice);
        }
        Vec::new()
    }

    fn set_key(&mut self, facts: &mut Facts, now: u64, ticket: u64, dice: &mut Dice) -> Vec<Sent> {
        let slot = dice.roll(2);
        let used: usize =
            facts.keys.iter().filter(|(key, _)| key.starts_with(&format!("key{slot}/"))).map(|(_, h)| h.len()).sum();
        let key = format!("key{slot}/{}", used / OPERATIONS_PER_KEY);
        let text = self.text();
        let Role::Keys { known } = &self.role else { return Vec::new() };
        let (kind, when) = match (dice.roll(5), known.get(&key)) {
            (0, _) => (Kind::Put, None),
            (1..3, Some((at, number))) => (Kind::PutAfter(*at), Some(When::Number(*number))),
            (3, Some((at, number))) => (Kind::ClearAfter(*at), Some(When::Number(*number))),
            _ => (Kind::PutAbsent, Some(When::Absent)),
        };
        let payload = if matches!(kind, Kind::ClearAfter(_)) { "" } else { &text };
        let condition = Condition { when, ..Condition::default() };
        let extras = Extras { condition: Some(condition), ..Extras::default() };
        let mut batch = Batch::default();
        batch.message(&self.head(&key, true, true), PayloadRef::Bytes(payload.as_bytes()), Some(&extras));
        let history = facts.keys.entry(key.clone()).or_default();
        history.push(Operation { kind, invoked: now, heard: None });
        let at = history.len() - 1;
        self.request(now, ticket, What::Key { key, at }, batch)
    }

    fn lock(&mut self, facts: &mut Facts, now: u64, ticket: u64, is_new_wanted: bool, dice: &mut Dice) -> Vec<Sent> {
        let Role::Locks { wish } = &mut self.role else { return Vec::new() };
        match wish {
            Wish::Held { lock, until } if now >= *until => {
                let lock = lock.clone();
                *wish = Wish::Asked;
                facts.lets_go(&lock, self.id);
                let unlock = Command::Unlock { realm: REALM.into(), session: self.session, topic: lock, token: None };
                self.command(now, ticket, What::Unlock, &unlock)
            }
            Wish::Idle if is_new_wanted => {
                *wish = Wish::Asked;
                let lock = format!("lock{}", dice.roll(2));
                let condition = Condition {
                    when: Some(When::Absent),
                    watch: dice.chance(700),
                    timeout_ms: Some(dice.range(50, 500)),
                    will: Some(KeyWill::Erase),
                    stays: false,
                };
                let extras = Extras { condition: Some(condition), ..Extras::default() };
                let payload = format!("{lock} {}", self.text());
                let mut batch = Batch::default();
                batch.message(&self.head(&lock, true, true), PayloadRef::Bytes(payload.as_bytes()), Some(&extras));
                self.request(now, ticket, What::Lock(lock), batch)
            }
            _ => Vec::new(),
        }
    }

    /// What became of a submission.
    pub fn result(&mut self, facts: &mut Facts, now: u64, ticket: u64, outcomes: &[Outcome]) -> Heard {
        let first = match outcomes {
            [Outcome::Events { first, .. }, ..] => *first,
            _ => 0,
        };
        let Some(request) = self.under_way.remove(&ticket) else { return Heard::Well };
        self.done += 1;
        match request.what {
            What::Publish(texts) => {
                for (text, number) in texts.into_iter().zip(first..) {
                    facts.acks.push(Ack { text, number, sent: request.sent, at: now });
                }
            }
            What::Connect => {
                if let Role::Exact { is_connected, .. } = &mut self.role {
                    assert!(matches!(outcomes, [Outcome::Done(Done::Connected { .. })]), "{outcomes:?}");
                    *is_connected = true;
                }
            }
            What::Exact => return self.recorded(facts, now, ticket, (first, outcomes)),
            What::Release if outcomes == [Outcome::Done(Done::Stale)] => return Heard::Stale,
            What::Release => {
                if let Role::Exact { window, .. } = &mut self.role {
                    window.retain(|exact| exact.ticket != ticket);
                }
            }
            What::Key { key, at } => self.key_set(facts, now, &key, at, (first, outcomes)),
            What::Lock(lock) => match outcomes {
                [Outcome::Events { .. }] => return Heard::Granted(lock),
                [Outcome::Waiting { .. }] => {
                    drop(self.under_way.insert(ticket, Request { what: What::Lock(lock), ..request }))
                }
                _ => self.idle(),
            },
            What::Unlock => self.idle(),
        }
        Heard::Well
    }

    /// It is told that its messages are in the log, before anybody knows.
    pub fn is_told_early(&mut self, facts: &mut Facts, now: u64, ticket: u64) {
        let Some(Request { sent, what: What::Publish(texts) }) = self.under_way.get(&ticket) else { return };
        facts.acks.extend(texts.iter().map(|text| Ack { text: text.clone(), number: 0, sent: *sent, at: now }));
    }

    /// PUBREC comes before anybody knows: it does not repeat the message any more.
    pub fn is_recorded_early(&mut self, facts: &mut Facts, now: u64, ticket: u64) {
        let Role::Exact { window, .. } = &mut self.role else { return };
        let Some(exact) = window.iter_mut().find(|exact| exact.ticket == ticket && !exact.is_recorded) else { return };
        (exact.is_recorded, exact.ticket) = (true, 0);
        self.under_way.remove(&ticket);
        facts.acks.push(Ack { text: exact.text.clone(), number: 0, sent: exact.first_sent, at: now });
    }

    /// What became of a wait.
    pub fn later(&mut self, ticket: u64, outcome: &Outcome) -> Heard {
        let Some(Request { what: What::Lock(lock), .. }) = self.under_way.remove(&ticket) else { return Heard::Well };
        self.done += 1;
        match outcome {
            Outcome::Granted { .. } => return Heard::Granted(lock),
            Outcome::Ended { why: WaitEnd::SessionGone, .. } => return Heard::Stale,
            _ => self.idle(),
        }
        Heard::Well
    }

    /// A submission was not taken: it had better go elsewhere.
    pub fn refused(&mut self, ticket: u64) -> Heard {
        self.under_way.remove(&ticket).map_or(Heard::Well, |_| Heard::Stale)
    }

    /// It is told that it holds the lock.
    pub fn holds(&mut self, facts: &mut Facts, now: u64, lock: String, dice: &mut Dice) {
        facts.holds(&lock, self.id);
        self.role = Role::Locks { wish: Wish::Held { lock, until: now + dice.range(1_000, 150_000) } };
    }

    /// It has read all that is new, up to this number.
    pub fn has_read(&mut self, until: u64) {
        if let Role::Reader { last } = &mut self.role {
            *last = until;
            self.done += 1;
        }
    }

    /// Up to where it has read.
    pub fn last_read(&self) -> u64 {
        match self.role {
            Role::Reader { last } => last,
            _ => 0,
        }
    }

    /// It is not asked any more whether it believes to hold a lock.
    pub fn doubts(&mut self, facts: &mut Facts) {
        if let Role::Locks { wish: Wish::Held { lock, .. } } = &self.role {
            facts.lets_go(lock, self.id);
        }
    }

    fn idle(&mut self) {
        if let Role::Locks { wish } = &mut self.role {
            *wish = Wish::Idle;
        }
    }

    fn recorded(&mut self, facts: &mut Facts, now: u64, ticket: u64, (first, outcomes): (u64, &[Outcome])) -> Heard {
        let Role::Exact { window, .. } = &mut self.role else { return Heard::Well };
        let Some(exact) = window.iter_mut().find(|exact| exact.ticket == ticket) else { return Heard::Well };
        let number = match outcomes {
            [Outcome::Events { .. }] => first,
            [Outcome::Void(Void::Repeated)] => 0,
            [Outcome::Void(Void::Stale)] => return Heard::Stale,
            other => panic!("{} became {other:?}", exact.text),
        };
        (exact.is_recorded, exact.ticket) = (true, 0);
        facts.acks.push(Ack { text: exact.text.clone(), number, sent: exact.first_sent, at: now });
        Heard::Well
    }

    fn key_set(&mut self, facts: &mut Facts, now: u64, key: &str, at: usize, (first, outcomes): (u64, &[Outcome])) {
        let is_set = match outcomes {
            [Outcome::Events { .. }] => true,
            [Outcome::Void(Void::ConditionFailed)] => false,
            other => panic!("{key} became {other:?}"),
        };
        if let Some(operation) = facts.keys.get_mut(key).and_then(|history| history.get_mut(at)) {
            operation.heard = Some((now, is_set));
        }
        let Role::Keys { known } = &mut self.role else { return };
        match is_set {
            true => drop(known.insert(key.to_owned(), (at, first))),
            false => drop(known.remove(key)),
        }
    }
}

/// What an answer means to the connection.
pub enum Heard {
    Well,
    /// It has the lock, if its entry may say so.
    Granted(String),
    /// Another connection has taken over, or the session is gone: this one is closed.
    Stale,
}
