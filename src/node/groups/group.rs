//! One group: its cursor, who of its members gets which event, and their connections.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use super::machine::{Machine, MemberId, Rules, Undone};
use crate::node::link::Link;
use crate::node::reader::position::Position;
use crate::node::reader::pull::{Around, Pulled, Reader, Take};
use crate::node::reader::wants::Want;
use crate::queue::command::{Cursor, DurableRow, Flight};
use crate::router::broker::Options;
use crate::types::event::Qos;
use crate::types::fields::Documents;
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::TopicPattern;

/// Numbers that a live group has passed by before that is worth recording.
const PASSED_MIN: u64 = 1000;

/// See the module.
pub struct Group {
    /// Of the realm's groups of this process.
    pub id: u64,
    /// Of its row and cursor in the log.
    pub name: Arc<str>,
    pub pattern: TopicPattern,
    inner: Mutex<Inner>,
}

struct Inner {
    row: Row,
    machine: Machine,
    reader: Reader,
    links: HashMap<MemberId, Arc<Link>>,
    /// It has moved since it was recorded.
    dirty: bool,
    closed: bool,
    /// The time, as far as it has been told.
    now_ms: u64,
    /// Since when nobody is there who would keep it.
    abandoned_ms: Option<u64>,
}

/// What a group's row says of how it works.
#[derive(Clone, Debug, Default)]
struct Row {
    /// As an MQTT topic name.
    dead_letter_topic: Option<String>,
    /// Members say when they are done; else an event is done when its connection takes it.
    acknowledged: bool,
    order_by: Option<String>,
}

impl From<&DurableRow> for Row {
    fn from(row: &DurableRow) -> Self {
        Self {
            dead_letter_topic: row.dead_letter_topic.clone(),
            acknowledged: row.acknowledged,
            order_by: row.order_by.clone(),
        }
    }
}

fn rules(row: &DurableRow) -> Rules {
    Rules { ack_timeout_ms: row.ack_timeout_ms, deliveries_max: row.deliveries_max }
}

/// Where a group begins.
#[derive(Clone, Copy, Debug)]
pub enum Begin<'a> {
    /// It is a new one: events with higher numbers are its.
    After(u64),
    /// Where it was recorded.
    At(&'a Cursor),
}

/// Whose turn it was, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub number: u64,
    /// How often the event was sent before.
    pub attempts: u16,
}

impl Group {
    /// A group without members. See [`super::Groups::open`].
    pub fn new(id: u64, name: &str, pattern: TopicPattern, row: &DurableRow, begin: Begin<'_>) -> Self {
        let mut machine = Machine::new(rules(row));
        let next = match begin {
            Begin::After(number) => number + 1,
            Begin::At(at) => {
                let undone = at.inflight.iter().map(|it| Undone { number: it.number, attempts: it.attempts });
                machine.restore(at.sent_to, undone);
                at.inflight.first().map_or(at.sent_to + 1, |first| first.number)
            }
        };
        // All that matches, whatever its QoS: what a member gets of it is a matter of its subscription.
        let options =
            Options::Merged { qos: Qos::ExactlyOnce, no_local: false, retain_as_published: false, identifier: None };
        let (subscription, pattern_wanted) = (SubscriptionId(0), pattern.clone());
        let want = Want { pattern: pattern_wanted, options, subscription, since: next - 1, follows: true };
        let mut reader = Reader::for_one(want, Position::new(next, None));
        reader.for_all = true;
        let inner = Inner {
            row: row.into(),
            machine,
            reader,
            links: HashMap::new(),
            dirty: false,
            closed: false,
            now_ms: 0,
            abandoned_ms: None,
        };
        Self { id, name: name.into(), pattern, inner: Mutex::new(inner) }
    }

    /// Its row has changed.
    pub(super) fn follow(&self, row: &DurableRow) {
        let mut inner = self.inner.lock();
        inner.row = row.into();
        inner.machine.rules = rules(row);
    }

    /// See [`DurableRow::acknowledged`].
    pub fn is_acknowledged(&self) -> bool {
        self.inner.lock().row.acknowledged
    }

    /// See [`DurableRow::dead_letter_topic`].
    pub fn dead_letter_topic(&self) -> Option<String> {
        self.inner.lock().row.dead_letter_topic.clone()
    }

    /// Nobody is there who would keep it, or (`false`) somebody; tells since when nobody is.
    pub(super) fn abandoned(&self, abandoned: bool, now_ms: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        inner.abandoned_ms = abandoned.then(|| inner.abandoned_ms.unwrap_or(now_ms));
        inner.abandoned_ms
    }

    /// A member's connection is there, and takes so many events at a time.
    pub fn join(&self, member: MemberId, window: usize, link: &Arc<Link>) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        inner.machine.join(member, window);
        inner.links.insert(member, link.clone());
        inner.deal_free();
    }

    /// A member's connection is gone: what it had and was not done with is given to others. `routed`: all messages up to this
    /// were offered to the group ([`Group::tell`]).
    pub fn leave(&self, member: MemberId, routed: u64) {
        let mut inner = self.inner.lock();
        if inner.links.remove(&member).is_none() {
            return;
        }
        inner.machine.leave(member);
        inner.dirty = true;
        if inner.links.is_empty() {
            inner.reader.position.step_back(routed);
            inner.reader.rest();
        }
        // One of the others goes on, with what it left, and with what it may have been waiting for.
        inner.wake_all_with_room();
    }

    /// The feed has an event for the group.
    pub fn tell(&self, number: u64, payload: PayloadRef<'_>, now_ms: u64) {
        let mut inner = self.inner.lock();
        if !inner.reader.position.takes(number) {
            return;
        }
        if !inner.machine.may_deal() {
            return inner.reader.position.fall_behind(number);
        }
        let key = inner.row.key(payload);
        inner.now_ms = now_ms;
        let Inner { machine, reader, links, dirty, .. } = &mut *inner;
        reader.position.pass(number);
        *dirty = true;
        if let Some(member) = deal(machine, number, key, now_ms) {
            wake(links, member);
        }
    }

    /// The same for several events of which no more is known.
    pub fn tell_numbers(&self, numbers: &[u64]) {
        let mut inner = self.inner.lock();
        let Inner { row, machine, reader, links, dirty, now_ms, .. } = &mut *inner;
        for number in numbers.iter().copied() {
            if !reader.position.takes(number) {
                continue;
            }
            if row.order_by.is_some() || !machine.may_deal() {
                reader.position.fall_behind(number);
                return inner.wake_all_with_room();
            }
            reader.position.pass(number);
            *dirty = true;
            if let Some(member) = deal(machine, number, None, *now_ms) {
                wake(links, member);
            }
        }
    }

    /// Reads on for all members, as far as they have room; `true`: there is more to be done at once.
    pub fn deal(&self, around: &Around<'_>, steps: &mut u32) -> bool {
        let mut inner = self.inner.lock();
        inner.now_ms = around.now_ms;
        inner.deal_free();
        let Inner { row, machine, reader, links, dirty, .. } = &mut *inner;
        if reader.position.is_live() {
            return false;
        }
        while machine.may_deal() {
            let mut told = Vec::new();
            let pulled = reader.pull(around, steps, &mut |event, _| {
                let Some(place) = event.place.filter(|_| machine.may_deal()) else { return Take::Full };
                let member = deal(machine, place.number, row.key(event.payload), around.now_ms);
                *dirty = true;
                told.extend(member.filter(|member| !told.contains(member)));
                Take::Taken
            });
            told.into_iter().for_each(|member| wake(links, member));
            match pulled {
                Pulled::Met if reader.position.meet(around.node.log.history.fed()) => return false,
                Pulled::Met => {}
                Pulled::Later => return true,
                Pulled::Waits | Pulled::Full | Pulled::Over => return false,
            }
        }
        false
    }

    /// What a member's task is to send next.
    pub fn next(&self, member: MemberId) -> Option<Turn> {
        let inner = self.inner.lock();
        let number = inner.machine.next(member)?;
        Some(Turn { number, attempts: inner.machine.attempts(number) })
    }

    /// It was sent.
    pub fn sent(&self, member: MemberId, number: u64) {
        let mut inner = self.inner.lock();
        let now_ms = inner.now_ms;
        inner.machine.sent(member, number, now_ms);
        inner.dirty = true;
    }

    /// This member may not have it.
    pub fn refuse(&self, member: MemberId, number: u64) {
        let mut inner = self.inner.lock();
        inner.machine.refuse(member, number);
        inner.dirty = true;
        inner.deal_free();
    }

    /// An event is done with. `false`: it was before, or is not known.
    pub fn done(&self, number: u64) -> bool {
        let mut inner = self.inner.lock();
        let known = inner.machine.done(number);
        inner.dirty |= known;
        inner.deal_free();
        known
    }

    /// An event could not be buried: it is tried again.
    pub fn revive(&self, number: u64) {
        self.inner.lock().machine.revive(number);
    }

    /// The clock: takes from members what they had for too long; gives what is to be buried. `routed`: all messages up to this were
    /// offered.
    pub fn tick(&self, now_ms: u64, routed: u64) -> Vec<Undone> {
        let mut inner = self.inner.lock();
        inner.now_ms = now_ms;
        inner.dirty |= inner.machine.expire(now_ms) > 0;
        inner.deal_free();
        if !inner.reader.position.is_live() {
            // Whoever was to read on may be stuck.
            inner.wake_all_with_room();
        } else if inner.reader.position.next() + PASSED_MIN <= routed {
            // What it has passed by is recorded, so that it does not keep the log from being tidied up.
            inner.reader.position.pass(routed);
            inner.dirty = true;
        }
        inner.machine.take_dying()
    }

    /// Where it stands.
    pub fn cursor(&self) -> Cursor {
        self.inner.lock().cursor()
    }

    /// The same, if it has to be recorded; it counts as recorded then.
    pub fn take_moved(&self) -> Option<Cursor> {
        let mut inner = self.inner.lock();
        (std::mem::take(&mut inner.dirty) && !inner.closed).then(|| inner.cursor())
    }

    /// It was not recorded.
    pub fn touch(&self) {
        self.inner.lock().dirty = true;
    }

    /// Members that are connected.
    pub fn members_len(&self) -> usize {
        self.inner.lock().links.len()
    }

    /// Events that were dealt and are not done with.
    pub fn undone_len(&self) -> usize {
        self.inner.lock().machine.len()
    }

    /// Number of the last message that was dealt or passed by.
    pub fn dealt_to(&self) -> u64 {
        self.inner.lock().reader.position.next() - 1
    }

    /// Whoever is a member.
    pub(super) fn close(&self) -> Vec<SessionId> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let members = inner.machine.members().map(|member| SessionId(member.0)).collect();
        inner.machine = Machine::default();
        inner.links.clear();
        members
    }
}

impl Row {
    /// What keeps events in order, if the group wants that of them.
    fn key(&self, payload: PayloadRef<'_>) -> Option<u64> {
        let field = self.order_by.as_deref()?;
        let documents = Documents::of(payload);
        let mut hasher = DefaultHasher::new();
        documents.field(field)?.to_bytes(Format::MsgPack).hash(&mut hasher);
        Some(hasher.finish())
    }
}

impl Inner {
    fn deal_free(&mut self) {
        for member in self.machine.deal_free(self.now_ms) {
            wake(&self.links, member);
        }
    }

    fn wake_all_with_room(&self) {
        if self.machine.may_deal() {
            self.links.values().for_each(|link| link.wake());
        }
    }

    fn cursor(&self) -> Cursor {
        let flight = |it: Undone| Flight { number: it.number, attempts: it.attempts, ..Flight::default() };
        Cursor {
            older: Vec::new(),
            sent_to: self.machine.dealt_to(self.reader.position.next() - 1),
            inflight: self.machine.undone().map(flight).collect(),
        }
    }
}

fn deal(machine: &mut Machine, number: u64, key: Option<u64>, now_ms: u64) -> Option<MemberId> {
    match machine.deal(number, key, now_ms) {
        super::machine::Dealt::To(member) => Some(member),
        super::machine::Dealt::Waits | super::machine::Dealt::Done => None,
    }
}

fn wake(links: &HashMap<MemberId, Arc<Link>>, member: MemberId) {
    if let Some(link) = links.get(&member) {
        link.wake();
    }
}
