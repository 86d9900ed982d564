//! One position on its way through the state. See [`super`] for the order of things.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use super::rows;
use super::{Applied, Change, Rows, State, StateError};
use crate::queue::command::WillRow;
use crate::queue::message::{Batch, Extras, Head, Malformed, Run, Runs, read_command};
use crate::queue::outcome::Outcome;
use crate::queue::segment::{Segment, TopicShare};
use crate::types::event::Qos;
use crate::types::event_id::EventId;
use crate::types::ids::SessionId;
use crate::types::payload::PayloadRef;

/// What is done behind the body, where it gets its number.
pub(super) enum SetOff {
    /// An MQTT will.
    Will { realm: Box<str>, session: u64, will: Box<WillRow> },
    /// The will of a key, if the key is still held by that event.
    KeyWill { key: Box<str>, number: u64 },
    /// A key is cleared, if it still has the value of that event.
    Clear { key: Box<str>, number: u64, session: u64 },
}

/// See the module.
pub(super) struct Step<'a> {
    pub state: &'a mut State,
    pub out: Applied,
    /// Log time.
    pub now_us: u64,
    /// The entry that sealed the segment.
    pub entry: u64,
    rows: &'a mut dyn Rows,
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Of this position's event ids.
    prefix: (u32, u64),
    first: u64,
    /// Messages of the body.
    count: u32,
    set_off: Batch,
    pending: VecDeque<SetOff>,
    /// Keys that have changed and are waited for, once each.
    touched: VecDeque<Box<str>>,
    touched_keys: BTreeSet<Box<str>>,
}

/// Messages and bytes of each topic.
type Shares<'a> = HashMap<(&'a str, &'a str), (u32, u64)>;

impl<'a> Step<'a> {
    /// Enters a position.
    pub fn begin(state: &'a mut State, rows: &'a mut dyn Rows, position: u64, at_us: u64, entry: u64) -> Self {
        state.numbers.enter(position, at_us);
        let (now_us, first, prefix) = (state.numbers.time_us, state.numbers.last + 1, state.numbers.next_prefix());
        let segment = Segment { position, at_us, first, ..Segment::default() };
        Self {
            state,
            out: Applied { segment, ..Applied::default() },
            now_us,
            entry,
            rows,
            changed: BTreeMap::new(),
            prefix,
            first,
            count: 0,
            set_off: Batch::default(),
            pending: VecDeque::new(),
            touched: VecDeque::new(),
            touched_keys: BTreeSet::new(),
        }
    }

    /// Applies the messages of the body; there must be `count` of them.
    pub fn body(&mut self, body: &Bytes, count: u32) -> Result<(), StateError> {
        self.count = count;
        let mut shares = Shares::new();
        let mut offset = 0_u32;
        for run in Runs::new(body) {
            let messages = match run? {
                Run::Events(head, events) => {
                    let share = match (head.judged, head.retain) {
                        (true, _) => self.judged(offset, &head, &events)?,
                        (false, true) => self.retained(offset, &head, &events)?,
                        (false, false) => (events.count, events.len() as u64),
                    };
                    add_share(&mut shares, &head, share);
                    events.count
                }
                Run::Command(bytes) => {
                    let done = self.run(self.first + u64::from(offset), read_command(bytes)?)?;
                    self.out.exceptions.push((offset, Outcome::Done(done)));
                    1
                }
                Run::Gap(count) => count,
            };
            offset = offset.checked_add(messages).filter(|offset| *offset <= count).ok_or(Malformed)?;
        }
        if offset != count {
            return Err(Malformed.into());
        }
        self.out.segment.topics = topics(shares);
        self.out.segment.body = body.clone();
        Ok(())
    }

    /// The number of the message of the body at this offset.
    pub fn number(&self, offset: u32) -> u64 {
        self.first + u64::from(offset)
    }

    pub fn event_id(&self, number: u64) -> EventId {
        let (minute, generator) = self.prefix;
        EventId { minute, generator, offset: (number - self.first + 1) as u32 }
    }

    /// A row as it is by now.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.changed.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.rows.get(key)?),
        }
    }

    pub fn set(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changed.insert(key, Some(value));
    }

    pub fn remove(&mut self, key: Vec<u8>) {
        self.changed.insert(key, None);
    }

    /// To be done behind the body.
    pub fn set_off(&mut self, what: SetOff) {
        self.pending.push_back(what);
    }

    /// A key has changed, or lost its value to time: who waits for it is asked behind the body.
    pub fn touch(&mut self, key: &str) {
        if self.state.waits.has(key) && self.touched_keys.insert(key.into()) {
            self.touched.push_back(key.into());
        }
    }

    pub fn is_touched(&self, key: &str) -> bool {
        self.touched_keys.contains(key)
    }

    /// Does what was set off, then gives away the keys that have changed.
    pub fn settle(&mut self) -> Result<(), StateError> {
        while let Some(what) = self.pending.pop_front() {
            self.do_set_off(what)?;
        }
        // A grant changes its own key alone.
        while let Some(key) = self.touched.pop_front() {
            self.grant(&key)?;
        }
        Ok(())
    }

    fn do_set_off(&mut self, what: SetOff) -> Result<(), StateError> {
        match what {
            SetOff::Will { realm, session, will } => self.publish_will(&realm, session, *will),
            SetOff::KeyWill { key, number } => self.publish_key_will(&key, number),
            SetOff::Clear { key, number, session } => self.clear(&key, number, session),
        }
    }

    fn publish_will(&mut self, realm: &str, session: u64, will: WillRow) -> Result<(), StateError> {
        let head = Head {
            realm,
            topic: &will.topic,
            publisher: Some(SessionId(session)),
            exclude_publisher: false,
            qos: qos(will.qos),
            retain: will.retain,
            format: None,
            judged: false,
        };
        let expires_at_ms = will.expiry_s.map(|expiry_s| self.now_us / 1000 + u64::from(expiry_s) * 1000);
        let extras = Extras { properties: will.properties, expires_at_ms, ..Extras::default() };
        self.publish(&head, PayloadRef::Bytes(&will.payload), extras).map(|_| ())
    }

    /// Appends an event behind the body and does what it does to its key. Returns its number.
    pub fn publish(&mut self, head: &Head<'_>, payload: PayloadRef<'_>, extras: Extras) -> Result<u64, StateError> {
        let extras = (extras != Extras::default()).then_some(extras);
        let offset = self.count.checked_add(self.set_off.count).filter(|offset| *offset < u32::MAX).ok_or(Malformed)?;
        let number = self.number(offset);
        self.set_off.message(head, payload, extras.as_ref());
        if head.retain {
            let raw_extras = extras.as_ref().map(rows::encode);
            self.set_key(head, number, payload, raw_extras.as_deref());
        }
        Ok(number)
    }

    /// What the position did.
    pub fn finish(mut self) -> Result<Applied, StateError> {
        let total = self.count.checked_add(self.set_off.count).ok_or(Malformed)?;
        let set_off = std::mem::take(&mut self.set_off).into_bytes();
        if total > 0 {
            let numbers = &mut self.state.numbers;
            numbers.last += u64::from(total);
            (numbers.minute, numbers.generator) = self.prefix;
            let segment = &mut self.out.segment;
            (segment.minute, segment.generator) = self.prefix;
            segment.count = total;
            add_set_off_shares(&set_off, &mut segment.topics)?;
            segment.set_off = set_off;
        }
        self.changed.insert(vec![rows::NUMBERS], Some(rows::encode(&self.state.numbers)));
        self.out.rows = self.changed.into_iter().collect();
        Ok(self.out)
    }

    /// The event at this offset of the body counts for nothing.
    pub fn except(&mut self, offset: u32, outcome: Outcome) {
        self.out.segment.voids.push(offset);
        self.out.exceptions.push((offset, outcome));
    }

    pub fn lock_held(&mut self, key: &str, session: Option<u64>) {
        let (realm, topic) = rows::split_topic(key);
        self.out.changes.push(Change::LockHeld { realm, topic, session });
    }
}

/// A QoS of a row.
pub(super) fn qos(qos: u8) -> Qos {
    match qos {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

fn add_share<'a>(shares: &mut Shares<'a>, head: &Head<'a>, (messages, bytes): (u32, u64)) {
    if messages > 0 {
        let share = shares.entry((head.realm, head.topic)).or_default();
        share.0 += messages;
        share.1 += bytes;
    }
}

/// Sorted by realm and topic.
fn topics(shares: Shares<'_>) -> Vec<TopicShare> {
    let share = |((realm, topic), (messages, bytes)): ((&str, &str), _)| TopicShare {
        realm: realm.into(),
        topic: topic.into(),
        messages,
        bytes,
    };
    let mut topics: Vec<_> = shares.into_iter().map(share).collect();
    topics.sort_unstable_by(|a, b| (&a.realm, &a.topic).cmp(&(&b.realm, &b.topic)));
    topics
}

fn add_set_off_shares(set_off: &[u8], into: &mut Vec<TopicShare>) -> Result<(), StateError> {
    if set_off.is_empty() {
        return Ok(());
    }
    let body = std::mem::take(into);
    let mut shares: Shares<'_> =
        body.iter().map(|share| ((&*share.realm, &*share.topic), (share.messages, share.bytes))).collect();
    for run in Runs::new(set_off) {
        if let Run::Events(head, events) = run? {
            add_share(&mut shares, &head, (events.count, events.len() as u64));
        }
    }
    *into = topics(shares);
    Ok(())
}
