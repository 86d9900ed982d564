//! The consumers that the log has, as this node knows them: which have something to read, and how far behind they are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use super::PASSED_MIN;
use crate::node::Node;
use crate::node::link::Link;
use crate::node::realm::Realm;
use crate::queue::command::ConsumerRow;
use crate::queue::segment::Segment;
use crate::queue::state::rows::{self, RowKey};
use crate::router::index::Index;
use crate::store::{StoreError, StoreReader, each_row};
use crate::types::topic::{Topic, TopicPattern};

/// Headers of segments that are counted at a time.
const HEADERS: usize = 4000;

/// Realm and name.
type Name = (Box<str>, Box<str>);
/// Whoever wants a pattern, of one realm.
type Patterns = Index<Vec<Arc<Known>>>;

/// All consumers that the log has.
#[derive(Default)]
pub struct Consumers {
    /// By realm and name.
    by_name: RwLock<BTreeMap<Name, Arc<Known>>>,
    /// By realm and pattern.
    index: RwLock<HashMap<Box<str>, Patterns>>,
    /// There are some.
    any: AtomicBool,
    /// Whoever waits for something was told of all messages up to this one.
    told: AtomicU64,
    watchers: Mutex<Vec<Arc<Watcher>>>,
}

/// What can be told of one.
#[derive(Clone, Debug)]
pub struct ConsumerInfo {
    pub realm: Box<str>,
    pub name: Box<str>,
    pub row: ConsumerRow,
}

/// What waits for a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Events that it has not done. Counted while it is open; a little too high where events were void.
    pub events: u64,
    /// When the oldest of those was published, microseconds since 1970, if it was read.
    pub oldest_us: Option<u64>,
}

/// Sees consumers come, go and change.
pub struct Watch(Arc<Watcher>);

#[derive(Default)]
struct Watcher {
    changed: AtomicBool,
    waker: AtomicWaker,
}

/// One consumer.
pub(super) struct Known {
    pub name: Box<str>,
    /// Woken when there is something to read, or something was changed.
    pub link: Arc<Link>,
    /// None: it was removed.
    row: Mutex<Option<ConsumerRow>>,
    seat: Mutex<Seat>,
}

/// A batch that its owner has and is not done with.
pub(super) struct Given {
    pub up_to: u64,
    pub events: u64,
    /// When its first event was published.
    pub at_us: u64,
}

#[derive(Default)]
struct Seat {
    /// It has read everything, and waits for the feed.
    idle: bool,
    /// Of an idle one: the first segment that the feed has for it.
    unseen: Option<u64>,
    /// It waits until it has so many to read.
    awaited: Option<u64>,
    /// Events that it has not read. Less than none while those of the past are still counted.
    unread: i64,
    /// Counts how often `unread` was known for sure: what was begun to be counted before is of no use then.
    sure: u64,
    given: VecDeque<Given>,
    done_to: u64,
}

impl Watch {
    /// Waits until a consumer has come, gone or changed since the last time.
    pub async fn changed(&mut self) {
        let changed = |context: &mut std::task::Context<'_>| {
            self.0.waker.register(context.waker());
            if self.0.changed.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        };
        std::future::poll_fn(changed).await
    }
}

impl Known {
    pub fn row(&self) -> Option<ConsumerRow> {
        self.row.lock().clone()
    }

    /// It is opened.
    pub fn begin(&self, done_to: u64) {
        let mut seat = self.seat.lock();
        *seat = Seat { done_to, sure: seat.sure + 1, ..Seat::default() };
    }

    /// It has read all that was fed, and what comes next is `next`.
    pub fn set_idle(&self, next: u64) {
        let mut seat = self.seat.lock();
        (seat.idle, seat.unread, seat.sure) = (true, 0, seat.sure + 1);
        seat.unseen = seat.unseen.filter(|first| *first >= next);
    }

    /// It waits no more. The number up to which it may pass by everything if it was idle; `told`: all up to there was told.
    pub fn take_idle(&self, told: u64) -> Option<u64> {
        let mut seat = self.seat.lock();
        let was_idle = std::mem::take(&mut seat.idle);
        let unseen = seat.unseen.take();
        was_idle.then(|| unseen.map_or(told, |first| first - 1))
    }

    /// The feed has so many events for it.
    fn tell(&self, first: u64, events: u32) {
        let mut seat = self.seat.lock();
        seat.unread += i64::from(events);
        let is_first = seat.idle && seat.unseen.is_none();
        if is_first {
            seat.unseen = Some(first);
        }
        let unread = seat.unread;
        let has_gathered = seat.awaited.take_if(|events| unread >= *events as i64).is_some();
        drop(seat);
        if is_first || has_gathered {
            self.link.wake();
        }
    }

    /// Whether there are so many events to be read; if not, it is woken when there are.
    pub fn has_gathered(&self, events: u64) -> bool {
        let mut seat = self.seat.lock();
        let has = seat.unread >= events as i64;
        seat.awaited = (!has).then_some(events);
        has
    }

    pub fn given(&self, given: Given) {
        let mut seat = self.seat.lock();
        seat.unread -= given.events as i64;
        seat.given.push_back(given);
    }

    pub fn has_given_nothing(&self) -> bool {
        self.seat.lock().given.is_empty()
    }

    /// All up to this number is done.
    pub fn done(&self, done_to: u64) {
        let mut seat = self.seat.lock();
        seat.done_to = done_to;
        seat.given.retain(|given| given.up_to > done_to);
    }

    /// What was given behind this number is read again.
    pub fn rewound(&self, after: u64) {
        let mut seat = self.seat.lock();
        seat.idle = false;
        let again: u64 = seat.given.iter().filter(|given| given.up_to > after).map(|given| given.events).sum();
        seat.unread += again as i64;
        seat.given.retain(|given| given.up_to <= after);
    }

    pub fn unread(&self) -> u64 {
        u64::try_from(self.seat.lock().unread).unwrap_or(0)
    }

    pub fn lag(&self) -> Lag {
        let seat = self.seat.lock();
        let given: u64 = seat.given.iter().map(|given| given.events).sum();
        let unread = u64::try_from(seat.unread).unwrap_or(0);
        Lag { events: unread + given, oldest_us: seat.given.front().map(|given| given.at_us) }
    }

    /// Time has passed: an idle one that has passed by much is to record that.
    fn tick(&self, told: u64) {
        let seat = self.seat.lock();
        let has_passed = seat.idle && seat.given.is_empty() && seat.done_to + PASSED_MIN <= told;
        drop(seat);
        if has_passed {
            self.link.wake();
        }
    }
}

impl Consumers {
    /// All messages up to this one were told to whoever waits for them.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    pub(super) fn get(&self, realm: &str, name: &str) -> Option<Arc<Known>> {
        self.by_name.read().get(&(realm.into(), name.into())).cloned()
    }

    /// One by its name.
    pub fn info(&self, realm: &str, name: &str) -> Option<ConsumerInfo> {
        let row = self.get(realm, name)?.row()?;
        Some(ConsumerInfo { realm: realm.into(), name: name.into(), row })
    }

    /// Those whose names begin so, by realm and name.
    pub fn list(&self, prefix: &str) -> Vec<ConsumerInfo> {
        let by_name = self.by_name.read();
        let named = by_name.iter().filter(|((_, name), _)| name.starts_with(prefix));
        let info = |((realm, name), known): (&Name, &Arc<Known>)| {
            Some(ConsumerInfo { realm: realm.clone(), name: name.clone(), row: known.row()? })
        };
        named.filter_map(info).collect()
    }

    /// What waits for one, as far as this node knows: it does of those it runs.
    pub fn lag(&self, realm: &str, name: &str) -> Lag {
        self.get(realm, name).map(|known| known.lag()).unwrap_or_default()
    }

    /// Sees them come, go and change.
    pub fn watch(&self) -> Watch {
        let watcher = Arc::new(Watcher { changed: AtomicBool::new(true), waker: AtomicWaker::new() });
        self.watchers.lock().push(watcher.clone());
        Watch(watcher)
    }

    fn note_change(&self) {
        // Whom nobody holds but this list is gone.
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| Arc::strong_count(watcher) > 1);
        for watcher in watchers.iter() {
            watcher.changed.store(true, Ordering::Release);
            watcher.waker.wake();
        }
    }

    /// The feed has begun to route a segment: whoever has something to read in it is told.
    pub(in crate::node) fn feed(&self, segment: &Segment) {
        if self.any.load(Ordering::Acquire) {
            let index = self.index.read();
            for share in &segment.topics {
                let Some(index) = index.get(&share.realm) else { continue };
                let Ok(topic) = Topic::from_name(&share.topic) else { continue };
                let mut found: SmallVec<[&Arc<Known>; 8]> = SmallVec::new();
                index.matches(&topic, |_, all| {
                    found.extend(all.iter());
                });
                found.sort_unstable_by_key(|known| Arc::as_ptr(known));
                found.dedup_by_key(|known| Arc::as_ptr(known));
                found.iter().for_each(|known| known.tell(segment.first, share.messages));
            }
        }
        self.told.fetch_max(segment.last(), Ordering::AcqRel);
    }

    pub(in crate::node) fn tick(&self) {
        let told = self.told();
        self.by_name.read().values().for_each(|known| known.tick(told));
    }

    fn patterns(row: Option<&ConsumerRow>) -> Vec<TopicPattern> {
        row.into_iter().flat_map(|row| &row.patterns).filter_map(|text| rows::read_pattern(text)).collect()
    }

    /// The log has a consumer, or (`None`) has it no more.
    fn follow(&self, realm: &Realm, name: &str, row: Option<ConsumerRow>) {
        let key: Name = (realm.name.as_ref().into(), name.into());
        let mut by_name = self.by_name.write();
        let fresh = || {
            let (link, row, seat) = (Arc::default(), Mutex::default(), Mutex::default());
            Arc::new(Known { name: name.into(), link, row, seat })
        };
        let known = match &row {
            Some(_) => by_name.entry(key).or_insert_with(fresh).clone(),
            None => match by_name.remove(&key) {
                Some(known) => known,
                None => return,
            },
        };
        let mut now = known.row.lock();
        let (before, after) = (Self::patterns(now.as_ref()), Self::patterns(row.as_ref()));
        *now = row;
        drop(now);
        let mut indexes = self.index.write();
        let index = indexes.entry(realm.name.as_ref().into()).or_default();
        for pattern in before.iter().filter(|pattern| !after.contains(pattern)) {
            realm.want(pattern, false);
            if let Some(all) = index.get_mut(pattern) {
                all.retain(|other| !Arc::ptr_eq(other, &known));
                if all.is_empty() {
                    index.remove(pattern);
                }
            }
        }
        for pattern in after.iter().filter(|pattern| !before.contains(pattern)) {
            realm.want(pattern, true);
            index.get_or_insert_with(pattern, Vec::new).push(known.clone());
        }
        self.any.store(!by_name.is_empty(), Ordering::Release);
        drop((indexes, by_name));
        known.link.wake();
        self.note_change();
    }
}

impl Node {
    /// The log has a consumer, or (`None`) has it no more.
    pub(in crate::node) fn follow_consumer(&self, realm: &str, name: &str, row: Option<ConsumerRow>) {
        match self.realm(realm) {
            Some(realm) => self.consumers.follow(&realm, name, row),
            None => tracing::warn!(realm, name, "a consumer of a realm that is not configured rests"),
        }
    }

    /// Makes the consumers known that the log has.
    pub(in crate::node) fn load_consumers(&self, reader: &mut dyn StoreReader) -> Result<(), StoreError> {
        each_row(reader, &[rows::CONSUMER], |key, value| {
            let row = rows::decode(key, &value).map_err(|error| StoreError::Damaged(error.to_string()))?;
            if let Some(RowKey::Consumer { realm, name }) = RowKey::parse(key) {
                self.follow_consumer(&realm, &name, Some(row));
            }
            Ok(())
        })
    }

    /// Has it counted what a consumer that was opened has not read of the past. If too many ask, it is counted as it is read.
    pub(super) fn count_unread(self: &Arc<Self>, realm: &Arc<Realm>, known: &Arc<Known>, done_to: u64) {
        let (fed, sure) = (self.log.history.fed(), known.seat.lock().sure);
        let patterns = Consumers::patterns(known.row().as_ref());
        if patterns.is_empty() {
            return;
        }
        let count = Count { realm: realm.name.clone(), known: known.clone(), patterns, sure, to: fed };
        count.go_on(self, done_to + 1);
    }
}

/// What of the past a consumer has not read, while it is counted.
struct Count {
    realm: Arc<str>,
    known: Arc<Known>,
    patterns: Vec<TopicPattern>,
    sure: u64,
    to: u64,
}

impl Count {
    fn go_on(self, node: &Arc<Node>, from: u64) {
        if from > self.to {
            return;
        }
        // If too many ask, the lag is too low for a while.
        let _ = node.ask_history(move |node, reader| match self.slice(reader, from) {
            Ok(Some(from)) => self.go_on(node, from),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "what a consumer has not read cannot be counted"),
        });
    }

    /// Counts some segments; from where it is to go on.
    fn slice(&self, reader: &mut dyn StoreReader, from: u64) -> Result<Option<u64>, StoreError> {
        let headers = reader.headers(from, HEADERS)?;
        let wanted = |name: &str| {
            Topic::from_name(name).is_ok_and(|topic| self.patterns.iter().any(|pattern| pattern.matches(&topic)))
        };
        let mut events = 0;
        for header in headers.iter().take_while(|header| header.first <= self.to) {
            let shares = header.topics.iter().filter(|share| *share.realm == *self.realm && wanted(&share.topic));
            events += shares.map(|share| i64::from(share.messages)).sum::<i64>();
        }
        let mut seat = self.known.seat.lock();
        if seat.sure != self.sure {
            return Ok(None);
        }
        seat.unread += events;
        let last = headers.last().filter(|last| headers.len() == HEADERS && last.first <= self.to);
        Ok(last.map(|last| last.first + 1))
    }
}
