//! The sending end of one direction at work: reads the log by a consumer, records what is numbered, and makes batches.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::machine::numbering::{Item, Verdict};
use super::machine::sender::{Bounds, Found, Read, Sender, Values, Want};
use super::machine::wire::{Ack, Kind, Message, PASSED_MAX};
use crate::node::Node;
use crate::node::consumer::{self, Aside, Consumer, ConsumerError, News};
use crate::node::log::ClockFn;
use crate::node::past::Past;
use crate::node::realm::Realm;
use crate::queue::command::PropertiesRow;
use crate::queue::state::rows;
use crate::store::{StoreError, StoreReader};
use crate::types::topic::{Topic, TopicPattern};

/// Reads before others have their turn.
const READS: usize = 64;

/// What is recorded of a consumer beside its place, so that another list of topics is noticed.
type Settings = Vec<String>;

/// Why it cannot go on as it is: it has to be opened again.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    News(&'static str),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
}

impl From<News> for Trouble {
    fn from(news: News) -> Self {
        Self::News(match news {
            News::Nudged => "it was nudged",
            News::Changed => "it was changed",
            News::Elsewhere => "another entry of the cluster runs it",
            News::Removed => "it was removed",
        })
    }
}

type Committing = Pin<Box<dyn Future<Output = Result<(), ConsumerError>> + Send>>;

/// See the module.
pub struct Outgoing {
    node: Arc<Node>,
    realm: Arc<Realm>,
    clock: ClockFn,
    patterns: Vec<TopicPattern>,
    bounds: Bounds,
    consumer: Consumer,
    sender: Sender,
    live: Live,
    /// Reads the backlog, and which patterns of it.
    aside: Option<(Vec<u16>, Aside)>,
    /// Events that are ahead, as far as they are in memory.
    bodies: HashMap<u64, Past>,
    committing: Option<(u64, Committing)>,
    /// The other end, which gets nothing back that has passed it.
    peer: Option<String>,
    /// The oldest event that waits, and when it was published.
    oldest: Option<(u64, u64)>,
}

/// What the consumer has read for the live lane.
struct Live {
    /// All that there is from `start` on, and below `next`.
    read: VecDeque<Past>,
    start: u64,
    next: u64,
}

/// What there is to be told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub epoch: u64,
    pub sequence: u64,
    pub pending: u64,
    pub held_topics: usize,
    pub oldest_us: Option<u64>,
}

impl Outgoing {
    /// Opens the consumer of this name, or makes it, to send what these patterns match: behind the event of number `after`, else from
    /// now on.
    ///
    /// # Errors
    /// See [`ConsumerError`].
    pub async fn open(
        node: &Arc<Node>,
        realm: &str,
        name: &str,
        (patterns, after): (Vec<TopicPattern>, Option<u64>),
        bounds: Bounds,
        clock: ClockFn,
    ) -> Result<Self, ConsumerError> {
        let settings: Settings = patterns.iter().map(rows::pattern_text).collect();
        let settings = Bytes::from(rows::encode(&settings));
        let known = node.consumers.info(realm, name);
        let is_same = known.as_ref().is_some_and(|known| known.row.settings == settings);
        if !is_same {
            node.set_consumer(realm, name, &patterns, settings, after).await?;
        }
        let consumer = node.open_consumer(realm, name, clock.clone()).await?;
        let realm = node.realm(realm).ok_or(ConsumerError::NoRealm)?;
        let count = u16::try_from(patterns.len()).unwrap_or(u16::MAX);
        // Other topics make another stream: it begins in an epoch of its own.
        let restored = if is_same { Sender::restore(bounds, count, consumer.state()) } else { None };
        let sender = restored.unwrap_or_else(|| Sender::new(bounds, count, consumer.done_to()));
        let next = consumer.read_to() + 1;
        let live = Live { read: VecDeque::new(), start: next, next };
        Ok(Self {
            node: node.clone(),
            realm,
            clock,
            patterns,
            bounds,
            consumer,
            sender,
            live,
            aside: None,
            bodies: HashMap::new(),
            committing: None,
            peer: None,
            oldest: None,
        })
    }

    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub fn patterns(&self) -> &[TopicPattern] {
        &self.patterns
    }

    /// A connection is there or gone.
    pub fn connected(&mut self) {
        self.sender.connected();
    }

    /// Takes what the other end, a broker of this id, expects.
    pub fn hear(&mut self, answer: Ack, peer: &str) -> Verdict {
        self.peer = (!peer.is_empty()).then(|| peer.to_owned());
        let verdict = self.sender.hear(answer, (self.clock)());
        let wanted: std::collections::HashSet<u64> = self.sender.numbering().all().filter_map(number_of).collect();
        self.bodies.retain(|number, _| wanted.contains(number));
        verdict
    }

    /// Which of the patterns the other end accepts.
    pub fn accept(&mut self, accepted: &[bool]) {
        self.sender.accept(accepted);
    }

    /// Reads what there is to be read, and begins to record it.
    ///
    /// # Errors
    /// It has to be opened again.
    pub async fn fill(&mut self) -> Result<(), Trouble> {
        for _ in 0..READS {
            let last = self.node.log.fed();
            match self.sender.want(last) {
                None => break,
                Some(Want::Values { after, below, messages_max, bytes_max }) => {
                    if self.realm.is_loading() {
                        break;
                    }
                    let values = self.values(after.as_deref(), below, messages_max, bytes_max);
                    self.sender.take_values(values);
                }
                Some(Want::Events { lane, patterns, from, until, messages_max, bytes_max }) => {
                    let until = until.map_or(last, |until| last.min(until - 1));
                    let bounds = consumer::Bounds { events_max: messages_max, bytes_max, until: Some(until) };
                    let read = match lane {
                        0 => self.read_live(&patterns, from, bounds).await?,
                        _ => self.read_aside(&patterns, from, bounds).await,
                    };
                    let now_us = (self.clock)().saturating_mul(1000);
                    self.sender.take(lane, &read, now_us);
                }
            }
        }
        self.record();
        Ok(())
    }

    /// Begins to record what was numbered.
    fn record(&mut self) {
        if self.committing.is_some() {
            return;
        }
        if let Some(record) = self.sender.record() {
            let commit = self.consumer.commit(record.done_to, Bytes::from(record.state));
            self.committing = Some((record.version, Box::pin(commit)));
        }
    }

    /// Waits until something changes by itself: a record is committed, or there is something new to read.
    ///
    /// # Errors
    /// It has to be opened again.
    pub async fn changed(&mut self) -> Result<(), Trouble> {
        let waits = self.live.read.is_empty() && self.sender.has_room();
        if waits {
            self.seek_live(self.sender.lanes().live().next);
        }
        let bounds =
            consumer::Bounds { events_max: self.bounds.messages_max, bytes_max: self.bounds.bytes_max, until: None };
        let Self { consumer, committing, live, sender, .. } = self;
        tokio::select! {
            done = committed(committing) => {
                let (version, done) = done;
                *committing = None;
                sender.recorded(version, done.is_ok());
                match done {
                    // It is tried again.
                    Err(ConsumerError::Refused(_) | ConsumerError::Unreadable(_)) | Ok(()) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            read = next(consumer, bounds, waits) => match read {
                Ok(batch) => {
                    live.next = batch.up_to + 1;
                    live.read.extend(batch.events);
                    Ok(())
                }
                Err(News::Nudged) => Ok(()),
                Err(news) => Err(news.into()),
            }
        }
    }

    /// Waits until all that was numbered is recorded.
    ///
    /// # Errors
    /// It is not; it has to be opened again, or tried later.
    pub async fn recorded(&mut self) -> Result<(), Trouble> {
        loop {
            let Some((version, committing)) = &mut self.committing else { return Ok(()) };
            let (version, done) = (*version, committing.as_mut().await);
            self.committing = None;
            self.sender.recorded(version, done.is_ok());
            done?;
            self.record();
        }
    }

    /// The next batch, and its bytes.
    pub async fn batch(&mut self) -> (Vec<Message>, usize) {
        let items: Vec<Item> = self.sender.batch().cloned().collect();
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for (at, item) in items.iter().enumerate() {
            let message = match item {
                Item::Event(number) => match self.event(*number).await {
                    Some(message) => message,
                    None => {
                        self.sender.lost(at);
                        Message { lost_max: 1, ..Message::of(Kind::Gap) }
                    }
                },
                Item::Value(topic) => self.value(topic).await,
                Item::Gap { after, until } => Message { lost_max: until - after, ..Message::of(Kind::Gap) },
            };
            if !messages.is_empty() && bytes + message.bytes() > self.bounds.bytes_max {
                break;
            }
            bytes += message.bytes();
            messages.push(message);
        }
        (messages, bytes)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let last = self.node.log.fed();
        let oldest = self.sender.oldest(last);
        Progress {
            epoch: self.sender.numbering().epoch(),
            sequence: self.sender.numbering().sequence(),
            pending: self.sender.pending(last, self.consumer.unread() + self.live.read.len() as u64),
            held_topics: self.sender.lanes().iter().filter(|lane| lane.held && lane.until.is_none()).count(),
            oldest_us: self.oldest.filter(|(number, _)| oldest.is_some_and(|oldest| oldest <= *number)).map(|it| it.1),
        }
    }

    /// Looks up when the oldest event that waits was published.
    pub async fn look_up_oldest(&mut self) {
        let last = self.node.log.fed();
        let Some(first) = self.sender.oldest(last) else { return self.oldest = None };
        if self.oldest.is_some_and(|(number, _)| number >= first) {
            return;
        }
        let bounds = consumer::Bounds { events_max: 1, bytes_max: 1, until: Some(last) };
        let found = self.consumer.aside(&self.patterns, first - 1).read(bounds).await.events.into_iter().next();
        self.oldest = found.and_then(|past| Some((past.event.place?.number, past.at_us)));
    }

    /// Retained values behind a topic.
    fn values(&self, after: Option<&str>, below: Option<u64>, messages_max: usize, bytes_max: usize) -> Values {
        let mut values = Values::default();
        let Ok(all) = TopicPattern::from_filter("#") else { return values };
        let after = after.and_then(|name| Topic::from_name(name).ok());
        let accepted = &self.sender.lanes().live().patterns;
        let mut bytes = 0;
        let now_ms = (self.clock)();
        let more = self.realm.walk_retained(&all, after.as_ref(), now_ms, &mut |event| {
            let is_to_come = event.place.is_some_and(|place| below.is_some_and(|below| place.number >= below));
            let is_sent = self.pattern_of(&event.topic).is_some_and(|pattern| accepted.contains(&pattern));
            if is_sent && !is_to_come && event.filter.is_none() {
                bytes += event.bytes();
                values.topics.push((event.topic.name().to_owned(), event.bytes()));
            }
            values.topics.len() < messages_max && bytes < bytes_max
        });
        values.more = more;
        values
    }

    /// The first pattern that matches a topic.
    fn pattern_of(&self, topic: &Topic) -> Option<u16> {
        self.patterns.iter().position(|pattern| pattern.matches(topic)).and_then(|at| u16::try_from(at).ok())
    }

    /// The number from which on nothing of these patterns was given up.
    fn first_available(&self, patterns: &[u16]) -> u64 {
        let wanted = patterns.iter().filter_map(|at| self.patterns.get(usize::from(*at)));
        wanted.map(|pattern| self.node.log.first_available(&self.realm.name, pattern)).max().unwrap_or(0)
    }

    /// Has the consumer read the live lane from this number on.
    fn seek_live(&mut self, from: u64) {
        if from != self.live.start {
            self.live.read.clear();
            self.consumer.rewind(from - 1);
            (self.live.start, self.live.next) = (from, from);
        }
    }

    async fn read_live(&mut self, patterns: &[u16], from: u64, bounds: consumer::Bounds) -> Result<Read, Trouble> {
        self.seek_live(from);
        let first_available = self.first_available(patterns);
        if self.live.read.is_empty() {
            match self.consumer.next(bounds).await {
                Ok(batch) => {
                    self.live.next = batch.up_to + 1;
                    self.live.read.extend(batch.events);
                }
                Err(News::Nudged) => {}
                Err(news) => return Err(news.into()),
            }
        }
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(past) = self.live.read.pop_front() {
            let size = past.event.bytes();
            if events.len() >= bounds.events_max || (!events.is_empty() && bytes + size > bounds.bytes_max) {
                self.live.read.push_front(past);
                break;
            }
            if let Some(found) = self.take(past, patterns) {
                bytes += found.bytes;
                events.push(found);
            }
        }
        let first_left = self.live.read.front().and_then(|past| past.event.place);
        let next = first_left.map_or(self.live.next, |place| place.number);
        self.live.start = next;
        Ok(Read { events, next, first_available })
    }

    async fn read_aside(&mut self, patterns: &[u16], from: u64, bounds: consumer::Bounds) -> Read {
        let first_available = self.first_available(patterns);
        let is_there = |(of, aside): &(Vec<u16>, Aside)| *of == patterns && aside.read_to() + 1 == from;
        let mut aside = match self.aside.take().filter(is_there) {
            Some((_, aside)) => aside,
            None => self.consumer.aside(&self.patterns, from - 1),
        };
        let batch = aside.read(bounds).await;
        self.aside = Some((patterns.to_vec(), aside));
        let next = batch.up_to + 1;
        let events = batch.events.into_iter().filter_map(|past| self.take(past, patterns)).collect();
        Read { events, next, first_available }
    }

    /// Keeps an event that was read, if it is one of these patterns'.
    fn take(&mut self, past: Past, patterns: &[u16]) -> Option<Found> {
        let number = past.event.place?.number;
        if !self.pattern_of(&past.event.topic).is_some_and(|pattern| patterns.contains(&pattern)) {
            return None;
        }
        let has_passed = self.peer.as_ref().is_some_and(|peer| past.passed.contains(peer));
        let returns = has_passed || past.passed.len() >= PASSED_MAX;
        let found = Found { number, bytes: past.event.bytes(), at_us: past.at_us, returns };
        if !returns {
            self.bodies.insert(number, past);
        }
        Some(found)
    }

    /// The event of this number as it is sent; `None`: it is gone.
    async fn event(&mut self, number: u64) -> Option<Message> {
        if !self.bodies.contains_key(&number) {
            let bounds = consumer::Bounds { events_max: 1, bytes_max: 1, until: Some(number) };
            let batch = self.consumer.aside(&self.patterns, number - 1).read(bounds).await;
            let found = batch.events.into_iter().next()?;
            self.bodies.insert(number, found);
        }
        let past = self.bodies.get(&number)?;
        let now_ms = (self.clock)();
        let event = &past.event;
        let expires_in_ms = event.expires_at_ms.map(|at_ms| at_ms.saturating_sub(now_ms));
        if expires_in_ms == Some(0) {
            return Some(Message::of(Kind::Nothing));
        }
        let mut message = Message {
            topic: event.topic.name().to_owned(),
            qos: event.qos as u8,
            retain: event.retain && !self.is_replaced(&event.topic, number, event.payload.as_ref().is_empty()),
            expires_in_ms,
            properties: event.properties.as_ref().map(|properties| PropertiesRow::from(&**properties)),
            passed: self.passed(&past.passed),
            ..Message::of(Kind::Event)
        };
        message.set_payload(&event.payload);
        Some(message)
    }

    /// Whether the key has changed since the event that set it: it is sent as an event, for the key's later value may be sent before.
    fn is_replaced(&self, topic: &Topic, number: u64, clears: bool) -> bool {
        if self.node.log.history.routed() < number || self.realm.is_loading() {
            return false;
        }
        match self.realm.retained(topic, (self.clock)()) {
            Some(value) => value.place.is_some_and(|place| place.number > number),
            None => !clears,
        }
    }

    /// The retained value of a key as it is now.
    async fn value(&mut self, name: &str) -> Message {
        let nothing = Message::of(Kind::Nothing);
        let (tell, told) = oneshot::channel();
        let key = rows::key(&self.realm.name, name);
        let asked = self.node.ask_store(move |reader| {
            // Nobody may wait any more.
            let _ = tell.send(read_value(reader, &key));
        });
        let Ok(Some(mut message)) = (match asked {
            Ok(()) => told.await,
            Err(_) => return nothing,
        }) else {
            return nothing;
        };
        let now_ms = (self.clock)();
        message.expires_in_ms = message.expires_in_ms.map(|at_ms| at_ms.saturating_sub(now_ms));
        let returns = self.peer.as_ref().is_some_and(|peer| message.passed.contains(peer));
        if returns || message.passed.len() >= PASSED_MAX || message.expires_in_ms == Some(0) {
            return nothing;
        }
        name.clone_into(&mut message.topic);
        message.passed = self.passed(&message.passed);
        message
    }

    /// The brokers that a message has passed when it leaves this one.
    fn passed(&self, before: &[String]) -> Vec<String> {
        before.iter().cloned().chain([broker_id(&self.node)]).collect()
    }
}

/// What tells a broker, or a cluster, from all others: made with its store.
pub fn broker_id(node: &Node) -> String {
    format!("{:014x}", node.log.publication_of(1).0)
}

fn number_of(item: &Item) -> Option<u64> {
    match item {
        Item::Event(number) => Some(*number),
        Item::Gap { .. } | Item::Value(_) => None,
    }
}

/// The row of a key, with its absolute time of expiry in place of what is left.
fn read_value(reader: &mut dyn StoreReader, key: &[u8]) -> Option<Message> {
    let found: Result<Vec<_>, StoreError> = reader.scan(key, None, 1);
    let (found, value) = found.ok()?.into_iter().next()?;
    let row = rows::KeyRow::decode(&value).ok().filter(|_| *found == *key)?;
    let extras = row.extras().ok()?.unwrap_or_default();
    // What is for some here is for nobody there.
    if extras.filter.is_some() {
        return None;
    }
    let mut message = Message {
        qos: row.qos as u8,
        retain: true,
        expires_in_ms: extras.expires_at_ms,
        properties: extras.properties,
        passed: extras.entered.map(|entered| entered.passed).unwrap_or_default(),
        ..Message::of(Kind::Value)
    };
    message.set_payload(&row.payload.to_owned());
    Some(message)
}

async fn committed(committing: &mut Option<(u64, Committing)>) -> (u64, Result<(), ConsumerError>) {
    match committing {
        Some((version, commit)) => (*version, commit.as_mut().await),
        None => std::future::pending().await,
    }
}

async fn next(consumer: &mut Consumer, bounds: consumer::Bounds, waits: bool) -> Result<consumer::Batch, News> {
    if waits { consumer.next(bounds).await } else { Err(consumer.news().await) }
}
