//! One group: its cursor, who of its members gets which event, and their connections. In a cluster it is that of the entry which
//! delivers it, or stands for that at another entry ([`super::away`]).

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::away::{Away, Host, Need};
use super::machine::{Machine, MemberId, Rules, Undone};
use super::said::What;
use crate::node::Node;
use crate::node::link::Link;
use crate::node::peers::Peers;
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
    pub realm: Arc<str>,
    pub pattern: TopicPattern,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) row: Row,
    pub(super) machine: Machine,
    pub(super) reader: Reader,
    pub(super) links: HashMap<MemberId, Way>,
    /// Events that entries were told of whose turn they are, and of which nothing was heard.
    pub(super) handed: HashMap<MemberId, BTreeSet<u64>>,
    /// Another entry delivers the group, or none does. The above is empty then.
    pub(super) away: Option<Away>,
    pub(super) voice: Voice,
    /// It has moved since it was recorded.
    pub(super) dirty: bool,
    pub(super) closed: bool,
    /// The time, as far as it has been told.
    pub(super) now_ms: u64,
    /// Since when nobody is there who would keep it.
    abandoned_ms: Option<u64>,
}

/// How a member is reached.
pub(super) enum Way {
    Here(Arc<Link>),
    /// Over the link to the entry of this number.
    There(u64),
}

/// How a group speaks to other entries.
#[derive(Clone)]
pub struct Voice {
    pub realm: Arc<str>,
    pub name: Arc<str>,
    pub peers: Arc<Peers>,
}

impl Voice {
    /// `None`: to all.
    pub(super) fn say(&self, to: Option<u64>, what: What) {
        self.peers.say_of_group(to, &self.realm, &self.name, what);
    }
}

/// What a group's row says of how it works.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
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
    pub fn new(id: u64, voice: Voice, pattern: TopicPattern, row: &DurableRow, begin: Begin<'_>) -> Self {
        let (machine, reader) = stand(&pattern, row, begin);
        Self::with(id, voice, pattern, row, (machine, reader), None)
    }

    /// One that this entry does not deliver. See [`super::Groups::follow`].
    pub fn away(id: u64, voice: Voice, pattern: TopicPattern, row: &DurableRow, host: Host) -> Self {
        let empty = stand(&pattern, row, Begin::After(0));
        Self::with(id, voice, pattern, row, empty, Some(Away::new(host)))
    }

    fn with(
        id: u64,
        voice: Voice,
        pattern: TopicPattern,
        row: &DurableRow,
        (machine, reader): (Machine, Reader),
        away: Option<Away>,
    ) -> Self {
        let (realm, name) = (voice.realm.clone(), voice.name.clone());
        let inner = Inner {
            row: row.into(),
            machine,
            reader,
            links: HashMap::new(),
            handed: HashMap::new(),
            away,
            voice,
            dirty: false,
            closed: false,
            now_ms: 0,
            abandoned_ms: None,
        };
        Self { id, name, realm, pattern, inner: Mutex::new(inner) }
    }

    /// What only the group's part in a cluster looks at ([`super::hosting`]).
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
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

    /// What has to be found out for the group to be delivered; it counts as asked for then.
    pub(super) fn need(&self, now_ms: u64) -> Need {
        self.inner.lock().away.as_mut().map_or(Need::Nothing, |away| away.need(now_ms))
    }

    /// This entry delivers it.
    pub(super) fn is_own(&self) -> bool {
        self.inner.lock().away.is_none()
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
        if let Some(away) = &mut inner.away {
            let joins = away.join(member, window, link);
            return inner.say_to_host(joins);
        }
        inner.machine.join(member, window);
        inner.links.insert(member, Way::Here(link.clone()));
        inner.deal_free();
    }

    /// A member's connection is gone: what it had and was not done with is given to others. `routed`: all messages up to this
    /// were offered to the group ([`Group::tell`]).
    pub fn leave(&self, member: MemberId, routed: u64) {
        let mut inner = self.inner.lock();
        if let Some(away) = &mut inner.away {
            let leaves = away.leave(member);
            return leaves.into_iter().for_each(|leaves| inner.say_to_host(leaves));
        }
        if matches!(inner.links.get(&member), Some(Way::Here(_))) {
            inner.let_go(member, routed);
        }
    }

    /// The feed has an event for the group.
    pub fn tell(&self, number: u64, payload: PayloadRef<'_>, now_ms: u64) {
        let mut inner = self.inner.lock();
        if inner.away.is_some() || !inner.reader.position.takes(number) {
            return;
        }
        if !inner.machine.may_deal() {
            return inner.reader.position.fall_behind(number);
        }
        let key = inner.row.key(payload);
        inner.now_ms = now_ms;
        let Inner { machine, reader, links, voice, dirty, .. } = &mut *inner;
        reader.position.pass(number);
        *dirty = true;
        if let Some(member) = deal(machine, number, key, now_ms) {
            wake(links, voice, member);
        }
    }

    /// The same for several events of which no more is known.
    pub fn tell_numbers(&self, numbers: &[u64]) {
        let mut inner = self.inner.lock();
        if inner.away.is_some() {
            return;
        }
        let Inner { row, machine, reader, links, voice, dirty, now_ms, .. } = &mut *inner;
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
                wake(links, voice, member);
            }
        }
    }

    /// Reads on for all members, as far as they have room; `true`: there is more to be done at once.
    pub fn deal(&self, around: &Around<'_>, steps: &mut u32) -> bool {
        let mut inner = self.inner.lock();
        if inner.away.is_some() {
            return false;
        }
        inner.now_ms = around.now_ms;
        inner.deal_free();
        let has_own = inner.has_own();
        let Inner { row, machine, reader, links, voice, dirty, .. } = &mut *inner;
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
            told.into_iter().for_each(|member| wake(links, voice, member));
            match pulled {
                // Only members here bring what is fed: for others it is read when it is there ([`super::hosting`]).
                Pulled::Met if !has_own => return false,
                Pulled::Met if reader.position.meet(around.node.log.history.fed()) => return false,
                Pulled::Met => {}
                Pulled::Later => return true,
                Pulled::Waits | Pulled::Full | Pulled::Over => return false,
            }
        }
        false
    }

    /// What a member's task is to send next. Nothing if the node stops: all members here are about to go, and each would be sent
    /// what those before it had, once more for everybody.
    pub fn next(&self, member: MemberId, node: &Node) -> Option<Turn> {
        let inner = self.inner.lock();
        // Asked under the lock: whoever goes because the node stops comes here later.
        if node.is_draining() {
            return None;
        }
        if let Some(away) = &inner.away {
            // The host may have it earlier.
            return away.next(member).filter(|turn| turn.number <= node.log.history.fed());
        }
        let number = inner.machine.next(member)?;
        Some(Turn { number, attempts: inner.machine.attempts(number) })
    }

    /// It was sent.
    pub fn sent(&self, member: MemberId, number: u64) {
        let mut inner = self.inner.lock();
        if let Some(away) = &mut inner.away {
            let sent = away.sent(member, number);
            return sent.into_iter().for_each(|sent| inner.say_to_host(sent));
        }
        let now_ms = inner.now_ms;
        inner.machine.sent(member, number, now_ms);
        inner.dirty = true;
    }

    /// This member may not have it.
    pub fn refuse(&self, member: MemberId, number: u64) {
        let mut inner = self.inner.lock();
        if let Some(away) = &mut inner.away {
            let refused = away.refuse(member, number);
            return inner.say_to_host(refused);
        }
        inner.machine.refuse(member, number);
        inner.dirty = true;
        inner.deal_free();
    }

    /// An event is done with. `false`: it was before, or is not known.
    pub fn done(&self, number: u64) -> bool {
        let mut inner = self.inner.lock();
        if let Some(away) = &mut inner.away {
            let known = away.done(number);
            inner.say_to_host(What::Done { number });
            return known;
        }
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
        if inner.away.is_some() {
            return Vec::new();
        }
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
        (std::mem::take(&mut inner.dirty) && !inner.closed && inner.away.is_none()).then(|| inner.cursor())
    }

    /// It was not recorded.
    pub fn touch(&self) {
        self.inner.lock().dirty = true;
    }

    /// Members that are connected, as far as this entry knows.
    pub fn members_len(&self) -> usize {
        let inner = self.inner.lock();
        inner.away.as_ref().map_or(inner.links.len(), Away::len)
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
        let absent = inner.away.iter().flat_map(Away::ids);
        let members = inner.machine.members().chain(absent).map(|member| SessionId(member.0)).collect();
        inner.away = inner.away.take().map(|_| Away::new(Host::Nobody));
        inner.handed.clear();
        inner.machine = Machine::default();
        inner.links.clear();
        members
    }
}

/// A group where it begins.
pub(super) fn stand(pattern: &TopicPattern, row: &DurableRow, begin: Begin<'_>) -> (Machine, Reader) {
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
    let (subscription, pattern) = (SubscriptionId(0), pattern.clone());
    let want = Want { pattern, options, subscription, since: next - 1, follows: true };
    let mut reader = Reader::for_one(want, Position::new(next, None));
    reader.for_all = true;
    (machine, reader)
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
    pub(super) fn deal_free(&mut self) {
        for member in self.machine.deal_free(self.now_ms) {
            wake(&self.links, &self.voice, member);
        }
    }

    /// A member goes, wherever it was. `routed`: see [`Group::leave`].
    pub(super) fn let_go(&mut self, member: MemberId, routed: u64) {
        self.links.remove(&member);
        self.handed.remove(&member);
        self.machine.leave(member);
        self.dirty = true;
        if !self.has_own() {
            self.reader.position.step_back(routed);
            self.reader.rest();
        }
        // One of the others goes on, with what it left, and with what it may have been waiting for.
        self.wake_all_with_room();
    }

    /// Whether a member is connected here: what is fed is told to the group then.
    pub(super) fn has_own(&self) -> bool {
        self.links.values().any(|way| matches!(way, Way::Here(_)))
    }

    pub(super) fn say_to_host(&self, what: What) {
        if let Some(Host::Peer(host)) = self.away.as_ref().map(Away::host) {
            self.voice.say(Some(host), what);
        }
    }

    pub(super) fn wake_all_with_room(&self) {
        if self.machine.may_deal() {
            self.links.keys().for_each(|member| wake(&self.links, &self.voice, *member));
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

fn wake(links: &HashMap<MemberId, Way>, voice: &Voice, member: MemberId) {
    match links.get(&member) {
        Some(Way::Here(link)) => link.wake(),
        // It is told when all is dealt that can be ([`super::hosting`]).
        Some(Way::There(_)) => voice.peers.wake(),
        None => {}
    }
}
