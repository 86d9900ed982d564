//! Subscribers of the log: cursors that read it, and never a copy of messages.
//!
//! ```text
//!               live: offered by the feed, encoded once for all            behind: its own task pulls
//! feed thread --------------------------------------------> outbox <--------------------------------- History
//! ```
//!
//! 1. A subscriber that keeps up is *live*: it takes what the feed offers. When its outbox or window has no room, or it was away,
//!    it is *behind* and reads the log from where it stands, until it has met the feed ([`position`]).
//! 2. It reads segments run by run ([`walk`]); a run of a topic that it does not want ([`wants`]) is passed by its head alone.
//! 3. What it was sent and has not acknowledged is in its window (`delivery::inflight`) by number: it is read again if it has to
//!    be sent again.
//!
//! An MQTT session has one cursor for all its subscriptions, whose copies are merged; a WAMP session one for each subscription that
//! reads the log. The mailbox drives them (`node::mailbox`), under its lock.

pub mod moved;
pub mod position;
pub mod pull;
pub mod resume;
pub mod walk;
pub mod wants;

#[cfg(test)]
pub(in crate::node) mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use crate::node::Node;
use crate::node::link::Link;
use crate::node::mailbox::Membership;
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::queue::command::{Cursor, CursorName};
use crate::router::authorize::Rights;
use crate::types::event::Recovery;
use crate::types::fields::Fields;
use crate::types::ids::SubscriptionId;
use moved::Moved;
use position::Position;
use pull::{Around, Reader, Seeker};
use wants::{Want, Wants};

/// What a session that reads the log has around it.
#[derive(Clone)]
pub struct Reading {
    pub node: Weak<Node>,
    pub realm: Weak<Realm>,
    pub session: Weak<Session>,
    /// `None`: may see everything.
    pub rights: Option<Rights>,
    /// The session survives the broker: its cursor is recorded in the log, and what it gets with QoS 1 or 2 is read there.
    pub recorded: bool,
}

/// [`Reading`], held while it is used.
pub struct Surroundings {
    pub node: Arc<Node>,
    pub realm: Arc<Realm>,
    pub session: Arc<Session>,
    pub rights: Option<Rights>,
}

impl Reading {
    /// `None`: the node or the session is going.
    pub fn upgrade(&self) -> Option<Surroundings> {
        Some(Surroundings {
            node: self.node.upgrade()?,
            realm: self.realm.upgrade()?,
            session: self.session.upgrade()?,
            rights: self.rights.clone(),
        })
    }
}

impl Surroundings {
    pub fn around<'a>(&'a self, now_ms: u64, link: &'a Arc<Link>) -> Around<'a> {
        let Self { node, realm, session, rights } = self;
        Around { node, realm, session: Some(session), rights: rights.as_ref(), now_ms, link }
    }
}

/// Higher than any number: a reader that stands there takes nothing.
pub const PARKED: u64 = u64::MAX - 1;

/// How a subscription reads the log that has a cursor of its own.
#[derive(Clone, Debug)]
pub struct Start {
    pub want: Want,
    /// Numbers above this are wanted.
    pub after: u64,
    /// A snapshot: it ends behind this number.
    pub until: Option<u64>,
    /// The subscription by which events are routed, if that is another: it tells when there is something to be read.
    pub route: Option<SubscriptionId>,
    /// A named durable subscription.
    pub durable: Option<Durable>,
    /// Only events with these fields.
    pub filter: Option<Arc<Fields>>,
    /// What the subscriber is told with the first event.
    pub recovery: Option<Recovery>,
}

/// What makes a subscription's cursor outlive its session.
#[derive(Clone, Debug)]
pub struct Durable {
    pub name: Arc<str>,
    /// Events are done when the client says so ([`super::mailbox::Mailbox::ack`]), not when the connection takes them.
    pub acknowledged: bool,
}

/// The readers of one session.
pub struct Readers {
    pub reading: Reading,
    /// Of all its subscriptions that give one merged copy.
    pub own: Option<Reader>,
    /// Older events that subscriptions have asked for, by their names; sent before `own` goes on.
    pub older: VecDeque<(Box<str>, Reader)>,
    /// Of these, snapshots that were read to their end, by name and identifier: to be told behind the events.
    pub over: Vec<(Box<str>, Option<u32>)>,
    /// Finds what has to be sent again.
    pub seeker: Seeker,
    pub each: BTreeMap<SubscriptionId, Each>,
    /// Of `each`, those that wait to be told by the route of another subscription.
    pub routes: HashMap<SubscriptionId, Vec<SubscriptionId>>,
    /// The groups that the session is a member of.
    pub memberships: Vec<Membership>,
    /// Whose turn it was last.
    pub turn: SubscriptionId,
    /// Snapshots that are done.
    pub ended: Vec<SubscriptionId>,
    /// Number of the last event that `own` was pushed.
    pub own_sent: u64,
    /// Of `each`, how many are done with what the connection takes.
    pub automatic: usize,
    /// Something has moved that is not recorded.
    pub dirty: bool,
    /// That is so of `own`, or of what is under way.
    pub own_dirty: bool,
    /// It is to be recorded now.
    pub flush_due: bool,
    /// It is being recorded.
    pub recording: bool,
    /// It is in the node's list of what has moved.
    pub listed: bool,
}

/// A subscription with a cursor of its own.
pub struct Each {
    pub reader: Reader,
    pub durable: Option<Durable>,
    pub route: SubscriptionId,
    /// Number of the last event in the outbox or sent.
    pub sent: u64,
    /// All its events up to this number are done.
    pub done: u64,
    pub recovery: Option<Recovery>,
    /// The subscriber has not been told yet: its next event is read by its own task, which does.
    pub untold: bool,
    pub dirty: bool,
}

impl Readers {
    pub fn new(reading: Reading) -> Self {
        Self {
            reading,
            own: None,
            older: VecDeque::new(),
            over: Vec::new(),
            seeker: Seeker::default(),
            each: BTreeMap::new(),
            routes: HashMap::new(),
            memberships: Vec::new(),
            turn: SubscriptionId(0),
            ended: Vec::new(),
            own_sent: 0,
            automatic: 0,
            dirty: false,
            own_dirty: false,
            flush_due: false,
            recording: false,
            listed: false,
        }
    }

    /// Notes that the session's cursor or what is under way has moved, and has the node record it some time.
    pub fn touch_own(&mut self) {
        self.own_dirty = true;
        self.touch();
    }

    /// Notes that something has moved.
    pub fn touch(&mut self) {
        self.dirty = true;
        if !self.listed
            && let Some(node) = self.reading.node.upgrade()
        {
            self.listed = true;
            node.moved.push(self.reading.session.clone());
        }
    }

    /// Adds a subscription's reader.
    pub fn start(&mut self, id: SubscriptionId, start: Start) {
        self.stop(id);
        let Start { want, after, until, route, durable, filter, recovery } = start;
        let route = route.unwrap_or(id);
        if route != id {
            self.routes.entry(route).or_default().push(id);
        }
        self.automatic += usize::from(durable.as_ref().is_some_and(|durable| !durable.acknowledged));
        let mut reader = Reader::for_one(want, Position::new(after + 1, until));
        reader.filter = filter;
        let each = Each {
            reader,
            durable,
            route,
            sent: after,
            done: after,
            recovery,
            untold: recovery.is_some(),
            dirty: false,
        };
        self.each.insert(id, each);
    }

    /// Has a subscription take nothing of what is offered to it.
    pub fn park(&mut self, id: SubscriptionId) {
        self.stop(id);
        let reader = Reader::new(Position::new(PARKED + 1, None), Wants::default(), false);
        let (durable, recovery) = (None, None);
        let each =
            Each { reader, durable, route: id, sent: PARKED, done: PARKED, recovery, untold: false, dirty: false };
        self.each.insert(id, each);
    }

    /// Has a subscription whose subscriber has to be told something read the event of this number itself; `true`: it has to do so
    /// now.
    pub fn hold_untold(&mut self, subscription: Option<SubscriptionId>, number: u64) -> bool {
        let each = subscription.and_then(|id| self.each.get_mut(&id));
        let Some(each) = each.filter(|each| each.untold && each.reader.position.takes(number)) else { return false };
        each.reader.position.fall_behind(number);
        true
    }

    /// Removes a subscription's reader.
    pub fn stop(&mut self, id: SubscriptionId) -> Option<Each> {
        let each = self.each.remove(&id)?;
        self.automatic -= usize::from(each.durable.as_ref().is_some_and(|durable| !durable.acknowledged));
        if let Some(others) = self.routes.get_mut(&each.route) {
            others.retain(|other| *other != id);
            if others.is_empty() {
                self.routes.remove(&each.route);
            }
        }
        Some(each)
    }
}

impl Each {
    /// [`Each::moved`], if it has.
    pub fn take_moved(&mut self) -> Option<Moved> {
        std::mem::take(&mut self.dirty).then(|| self.moved()).flatten()
    }

    /// Where it stands, for it to be recorded, if it is a named one.
    pub fn moved(&self) -> Option<Moved> {
        let name = CursorName::Durable(self.durable.as_ref()?.name.to_string());
        // What it has passed by behind the last event that is done needs no word of anybody.
        let sent_to = if self.done >= self.sent { self.reader.position.next() - 1 } else { self.done };
        Some(Moved { name, at: Cursor { sent_to, ..Cursor::default() } })
    }
}
