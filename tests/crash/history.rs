//! What happened: every publication with what became of it, everything that subscribers saw, every lock.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a publisher publishes, which decides what is promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// MQTT QoS 1: at least once.
    #[default]
    AtLeastOnce,
    /// MQTT QoS 2 in a persistent session, and WAMP with `acknowledge`, which never sends again.
    ExactlyOnce,
}

/// How a subscriber reads, which decides what is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// MQTT session of QoS 1: all of it, some of it more than once.
    AtLeastOnce,
    /// Named durable subscription without acknowledgements: what was under way when a connection was lost may be lost, and come
    /// again after a crash.
    OnDelivery,
    /// MQTT session of QoS 2: what was published exactly once is seen exactly once.
    ExactlyOnce,
    /// WAMP, resumed each time behind the last event id it saw: the log as it is.
    ByEventId,
}

/// What became of a publication, as far as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sent, and not answered.
    Unknown,
    /// Acknowledged; WAMP tells its id.
    Acknowledged(Option<u64>),
    /// The broker has said no.
    Refused,
}

/// An event as a subscriber saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    pub publisher: String,
    /// Counts the publisher's publications, from 1 on.
    pub number: u64,
    pub event_id: Option<String>,
    pub publication: Option<u64>,
}

/// That a client held a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub lock: &'static str,
    pub by: String,
    pub token: u64,
    /// The life of the broker that granted it; no lock survives that.
    pub life: u32,
    /// When it was known to be granted, and when it was given up (before that was told to the broker). Counts all that happens.
    pub from: u64,
    pub to: Option<u64>,
}

/// The value of a key that only one client writes, numbers that grow, as that client read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRead {
    pub key: String,
    pub value: Option<u64>,
    /// The highest number that was acknowledged before, and that was sent.
    pub acknowledged: u64,
    pub sent: u64,
}

/// That a member of a consumer group was given an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its connection: a number follows the name.
    pub member: String,
    pub sight: Sight,
    /// The life of the broker.
    pub life: u32,
    /// When it came, and when the broker had answered that it is done with. Counts all that happens.
    pub from: u64,
    pub done: Option<u64>,
}

/// What the members of a consumer group were given, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Nobody is given what another member has, who is there, or had done: members may take as long as they want.
    pub exclusive: bool,
    pub works: Vec<Work>,
}

/// An attempt to write a number to the key to which all count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub number: u64,
    /// Names the attempt.
    pub by: String,
    pub fate: Fate,
    /// When that was known.
    pub at: u64,
}

/// That key, as a client read it: the number, and who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountRead {
    /// When the client asked.
    pub asked: u64,
    pub found: Option<(u64, String)>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By publisher.
    pub published: BTreeMap<String, (Promise, BTreeMap<u64, Fate>)>,
    /// By subscriber.
    pub seen: BTreeMap<String, (Reading, Vec<Sight>)>,
    /// All of it, read at the end.
    pub log: Vec<Sight>,
    pub holds: Vec<Hold>,
    /// From when to when a broker stops: it ends connections then, and clients learn that a little later.
    pub stops: Vec<(u64, Option<u64>)>,
    pub keys: Vec<KeyRead>,
    /// By name.
    pub groups: BTreeMap<&'static str, Group>,
    /// When members gave up their connections.
    pub gone: BTreeMap<String, u64>,
    pub counts: Vec<Count>,
    pub count_reads: Vec<CountRead>,
    /// What was refused while the store failed.
    pub troubles: u64,
    /// What clients found wrong themselves.
    pub problems: Vec<String>,
}

/// A history in the making, shared by all clients.
#[derive(Default)]
pub struct Recorder {
    inner: Mutex<Inner>,
    acknowledged: Condvar,
}

#[derive(Default)]
struct Inner {
    history: History,
    acknowledgements: u64,
    clock: u64,
    /// Of each group: the publishers and numbers of the events that members were given.
    given: BTreeMap<&'static str, HashSet<(String, u64)>>,
    /// Lives of the broker in which the store failed for a while.
    faulty: HashSet<u32>,
}

impl Inner {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before it is sent.
    pub fn sent(&self, publisher: &str, promise: Promise, number: u64) {
        let mut inner = self.lock();
        let all = inner.history.published.entry(publisher.to_owned()).or_insert((promise, BTreeMap::new()));
        all.1.insert(number, Fate::Unknown);
    }

    pub fn settled(&self, publisher: &str, number: u64, fate: Fate) {
        let mut inner = self.lock();
        if let Some((_, all)) = inner.history.published.get_mut(publisher) {
            all.insert(number, fate);
        }
        if matches!(fate, Fate::Acknowledged(_)) {
            inner.acknowledgements += 1;
            self.acknowledged.notify_all();
        }
    }

    pub fn saw(&self, subscriber: &str, reading: Reading, sight: Sight) {
        let mut inner = self.lock();
        inner.history.seen.entry(subscriber.to_owned()).or_insert((reading, Vec::new())).1.push(sight);
    }

    /// A broker is about to be told to stop.
    pub fn stops(&self) {
        let mut inner = self.lock();
        let now = inner.tick();
        inner.history.stops.push((now, None));
    }

    /// It has stopped, and all know it.
    pub fn has_stopped(&self) {
        let mut inner = self.lock();
        let now = inner.tick();
        for (_, to) in &mut inner.history.stops {
            to.get_or_insert(now);
        }
    }

    /// A grant that has just come; gives the number of the hold.
    pub fn granted(&self, lock: &'static str, by: &str, token: u64, life: u32) -> usize {
        let mut inner = self.lock();
        let hold = Hold { lock, by: by.to_owned(), token, life, from: inner.tick(), to: None };
        inner.history.holds.push(hold);
        inner.history.holds.len() - 1
    }

    /// The hold is over, or will be as soon as the broker learns of it.
    pub fn gave_up(&self, hold: usize) {
        let mut inner = self.lock();
        let now = inner.tick();
        inner.history.holds[hold].to.get_or_insert(now);
    }

    /// An event that a member of a group was given; gives the number of the work.
    pub fn began(&self, group: &'static str, exclusive: bool, work: Work) -> usize {
        let mut inner = self.lock();
        let from = inner.tick();
        inner.given.entry(group).or_default().insert((work.sight.publisher.clone(), work.sight.number));
        let group = inner.history.groups.entry(group).or_default();
        group.exclusive = exclusive;
        group.works.push(Work { from, ..work });
        group.works.len() - 1
    }

    /// The broker has answered that the work is done.
    pub fn did(&self, group: &'static str, work: usize) {
        let mut inner = self.lock();
        let now = inner.tick();
        if let Some(group) = inner.history.groups.get_mut(group) {
            group.works[work].done = Some(now);
        }
    }

    /// A member has given up its connection; the broker may not know yet.
    pub fn went(&self, member: String) {
        let mut inner = self.lock();
        let now = inner.tick();
        inner.history.gone.insert(member, now);
    }

    /// Waits until members of each group were given all of this, far behind as they may be; or until they get no further for so
    /// long: then the checker tells.
    pub fn wait_for_groups(&self, log: &[Sight], limit: Duration) {
        let (mut given, mut since) = (0, Instant::now());
        while !self.groups_were_given(log) && since.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.given_to_groups();
            if now > given {
                (given, since) = (now, Instant::now());
            }
        }
    }

    /// Whether members of each group were given all of this.
    fn groups_were_given(&self, log: &[Sight]) -> bool {
        let inner = self.lock();
        let has =
            |given: &HashSet<(String, u64)>, sight: &Sight| given.contains(&(sight.publisher.clone(), sight.number));
        inner.given.values().all(|given| log.iter().rev().all(|sight| has(given, sight)))
    }

    /// Events that members of groups were given, of each group the different ones.
    fn given_to_groups(&self) -> usize {
        self.lock().given.values().map(HashSet::len).sum()
    }

    /// The time, which counts all that happens.
    pub fn now(&self) -> u64 {
        self.lock().tick()
    }

    /// Before it is sent; gives the number of the attempt.
    pub fn counts(&self, number: u64, by: String) -> usize {
        let mut inner = self.lock();
        inner.history.counts.push(Count { number, by, fate: Fate::Unknown, at: 0 });
        inner.history.counts.len() - 1
    }

    pub fn counted(&self, attempt: usize, fate: Fate) {
        let mut inner = self.lock();
        let at = inner.tick();
        let count = &mut inner.history.counts[attempt];
        (count.fate, count.at) = (fate, at);
    }

    pub fn read_count(&self, asked: u64, found: Option<(u64, String)>) {
        self.lock().history.count_reads.push(CountRead { asked, found });
    }

    /// The store is about to fail.
    pub fn fails_in(&self, life: u32) {
        self.lock().faulty.insert(life);
    }

    /// What may happen in a life of the broker in which the store fails, and in no other.
    pub fn trouble(&self, life: u32, what: &str) {
        let mut inner = self.lock();
        if inner.faulty.contains(&life) {
            inner.history.troubles += 1;
        } else {
            inner.history.problems.push(what.to_owned());
        }
    }

    pub fn troubles(&self) -> u64 {
        self.lock().history.troubles
    }

    pub fn read_key(&self, read: KeyRead) {
        self.lock().history.keys.push(read);
    }

    pub fn problem(&self, what: String) {
        self.lock().history.problems.push(what);
    }

    pub fn problems(&self) -> Vec<String> {
        self.lock().history.problems.clone()
    }

    pub fn acknowledgements(&self) -> u64 {
        self.lock().acknowledgements
    }

    /// Waits until so many publications are acknowledged; false: not in time.
    pub fn wait_for(&self, acknowledgements: u64, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut inner = self.lock();
        while inner.acknowledgements < acknowledgements {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.acknowledged.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub fn finish(&self, log: Vec<Sight>) -> History {
        let mut inner = self.lock();
        inner.history.log = log;
        inner.history.clone()
    }
}
