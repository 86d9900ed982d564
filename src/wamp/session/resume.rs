//! Subscriptions that ask for older events, and those that have a name and go on where they were.
//!
//! ```text
//! SUBSCRIBE --SUBSCRIBED, reader parked--> where? (a reading thread) --Arrivals--> reader starts there, meets live events
//! SUBSCRIBE, durable --Command::Durable--> log --Done--> the same
//! ```
//!
//! What is in the log is held back from the subscription until its reader starts, so nothing is missed or repeated.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::open::Open;
use super::pending::Asked;
use super::subscribe::Retained;
use crate::node::groups::Begin;
use crate::node::link::Link;
use crate::node::log::history::Busy;
use crate::node::past::{Found, Since, Target};
use crate::node::reader::wants::Want;
use crate::node::reader::{Durable, Reading, Start};
use crate::node::revoke::Revoked;
use crate::queue::command::{Command, DurableRow};
use crate::queue::outcome::Done;
use crate::queue::state::rows::pattern_text;
use crate::router::broker;
use crate::store::StoreError;
use crate::types::event_id::EventId;
use crate::types::fields::Fields;
use crate::types::ids::{RequestId, SubscriptionId};
use crate::types::topic::TopicPattern;
use crate::wamp::message::Kind;

/// How long retained values wait for the log to get as far as they were asked for.
const EVENT_PATIENCE_MS: u64 = 10_000;

/// How a subscription reads the log.
#[derive(Clone)]
pub(super) struct Resuming {
    pub pattern: TopicPattern,
    pub filter: Option<Arc<Fields>>,
    /// It ends when it has read what is there.
    pub snapshot: bool,
    pub durable: Option<Durable>,
    /// It is a member of this group.
    pub group: Option<Box<Joining>>,
    /// Of a sharded subscription, which looks at nothing of the past.
    pub node_key: Option<Arc<str>>,
}

/// What a session that joins a consumer group says.
#[derive(Clone)]
pub(super) struct Joining {
    pub row: DurableRow,
    /// Events that it is given before it is done with them.
    pub window: usize,
}

/// A SUBSCRIBE to a named durable subscription.
pub(super) struct Durably {
    pub request: RequestId,
    pub pattern: TopicPattern,
    pub filter: Option<Arc<Fields>>,
    pub name: Arc<str>,
    pub row: DurableRow,
    pub window: usize,
    pub retained: Option<Retained>,
}

/// What reading threads have found for this session.
pub(super) struct Arrivals {
    arrived: Mutex<Vec<Arrived>>,
    pub link: Arc<Link>,
}

enum Arrived {
    /// Where a subscription is to begin.
    Place { subscription: SubscriptionId, resuming: Resuming, found: Result<Found, StoreError> },
    /// From where on a named durable subscription that is to be made wants its events.
    Since { durably: Box<Durably>, found: Result<Found, StoreError> },
}

impl Arrivals {
    pub fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { arrived: Mutex::default(), link })
    }

    fn push(&self, arrived: Arrived) {
        self.arrived.lock().push(arrived);
        self.link.wake();
    }
}

/// Snapshots, each with the retained values that are to follow what it reads of the log.
pub(super) type Snapshots = HashMap<SubscriptionId, Option<(TopicPattern, Retained)>>;

/// What a subscription of this session wants of the log.
pub(super) fn want(pattern: &TopicPattern, subscription: SubscriptionId) -> Want {
    let options = broker::Options::Each;
    Want { pattern: pattern.clone(), options, subscription, since: 0, follows: true }
}

impl Open {
    /// What a session that reads the log has around it.
    pub(super) fn reading(&self) -> Reading {
        Reading {
            node: Arc::downgrade(&self.node),
            realm: Arc::downgrade(&self.realm),
            session: Arc::downgrade(&self.session),
            rights: Some(self.rights.clone()),
            recorded: false,
        }
    }

    fn target(&self, pattern: &TopicPattern, filter: Option<&Arc<Fields>>) -> Target {
        Target { realm: self.realm.name.clone(), pattern: pattern.clone(), filter: filter.cloned() }
    }

    /// Has a subscription begin where `since` says.
    pub(super) fn look_back(&mut self, subscription: SubscriptionId, since: Since, resuming: Resuming) {
        let target = self.target(&resuming.pattern, resuming.filter.as_ref());
        let arrivals = self.arrivals.clone();
        let asked = self.node.find_since(target, since, move |_, found| {
            arrivals.push(Arrived::Place { subscription, resuming, found });
        });
        self.expect(subscription, asked);
    }

    /// Has a subscription go on where a named durable one was.
    fn go_on(&mut self, subscription: SubscriptionId, name: &str, resuming: Resuming) {
        let target = self.target(&resuming.pattern, resuming.filter.as_ref());
        let arrivals = self.arrivals.clone();
        let asked = self.node.find_durable(target, name, move |_, found| {
            arrivals.push(Arrived::Place { subscription, resuming, found });
        });
        self.expect(subscription, asked);
    }

    fn expect(&mut self, subscription: SubscriptionId, asked: Result<(), Busy>) {
        match asked {
            Ok(()) => self.expected += 1,
            Err(Busy) => self.revoke(subscription, Revoked::Unreadable),
        }
    }

    fn revoke(&mut self, subscription: SubscriptionId, why: Revoked) {
        self.flush();
        self.snapshots.remove(&subscription);
        self.realm.revoke(&self.node, &self.session, subscription, why);
    }

    /// Goes on with what reading threads have found.
    pub(super) fn arrive(&mut self) {
        let all = std::mem::take(&mut *self.arrivals.arrived.lock());
        for arrived in all {
            self.expected -= 1;
            match arrived {
                Arrived::Place { subscription, resuming, found: Ok(found) } => {
                    self.start(subscription, resuming, &found)
                }
                Arrived::Place { subscription, found: Err(error), .. } => {
                    tracing::warn!(%error, "the past of a subscription cannot be read");
                    self.revoke(subscription, Revoked::Unreadable);
                }
                Arrived::Since { mut durably, found: Ok(found) } => {
                    durably.row.since = Some(found.after);
                    self.open_durable(*durably);
                }
                Arrived::Since { durably, found: Err(error) } => {
                    self.error(Kind::Subscribe, durably.request, super::STORE_UNAVAILABLE, &error.to_string());
                }
            }
        }
    }

    fn start(&mut self, subscription: SubscriptionId, resuming: Resuming, found: &Found) {
        let mut mailbox = self.session.mailbox();
        // It may have been given up meanwhile.
        if !mailbox.subscriptions.contains(&subscription) {
            return;
        }
        let Resuming { pattern, filter, snapshot, durable, group, .. } = resuming;
        if let (Some(joining), Some(durable)) = (group, &durable) {
            let begin = Begin::After(found.after);
            let group = self.realm.open_group(&self.node, &durable.name, &pattern, &joining.row, begin);
            mailbox.stop_reader(subscription);
            return mailbox.join_group(&durable.name, group, want(&pattern, subscription), joining.window);
        }
        let until = snapshot.then(|| self.node.log.history.fed());
        let (want, recovery) = (want(&pattern, subscription), Some(found.recovery()));
        let start = Start { want, after: found.after, until, route: None, durable, filter, recovery };
        mailbox.start_reader(subscription, start);
    }
}

/// Named durable subscriptions.
impl Open {
    /// Makes or takes up a named durable subscription, for which events behind `since` are wanted if it is a new one.
    pub(super) fn subscribe_durably(&mut self, durably: Durably, since: Option<Since>) {
        if !self.realm.has_room_for_durable(&durably.name, self.node.limits.durable_subscriptions_max) {
            let text = "the realm has as many durable subscriptions as it may";
            return self.error(Kind::Subscribe, durably.request, super::QUOTA_EXCEEDED, text);
        }
        let Some(since) = since else { return self.open_durable(durably) };
        let request = durably.request;
        let target = self.target(&durably.pattern, durably.filter.as_ref());
        let (arrivals, durably) = (self.arrivals.clone(), Box::new(durably));
        let asked =
            self.node.find_since(target, since, move |_, found| arrivals.push(Arrived::Since { durably, found }));
        match asked {
            Ok(()) => self.expected += 1,
            Err(busy) => self.error(Kind::Subscribe, request, super::STORE_UNAVAILABLE, &busy.to_string()),
        }
    }

    fn open_durable(&mut self, mut durably: Durably) {
        durably.row.pattern = pattern_text(&durably.pattern);
        durably.row.authid = self.session.identity.authid.clone();
        if !durably.row.group {
            self.realm.hand_over_durable(&self.node, &durably.name, &durably.row.authid);
        }
        let (realm, name) = (self.realm.name.to_string(), durably.name.to_string());
        self.publisher.command(Command::Durable { realm, name, durable: Box::new(durably.row.clone()) });
        self.pending.ask(Asked::Durable(Box::new(durably)));
    }

    /// The log has taken it, or not.
    pub(super) fn opened_durable(&mut self, durably: Durably, done: Done) {
        let Durably { request, pattern, filter, name, row, window, retained } = durably;
        if done == Done::Conflict {
            let text = "a durable subscription of this name is another user's, or of another topic or kind";
            return self.error(Kind::Subscribe, request, super::CONFLICT, text);
        }
        let acknowledged = row.acknowledged;
        let group = row.group.then(|| Box::new(Joining { row: row.clone(), window }));
        self.realm.note_durable(&self.node, &name, row);
        let durable = Some(Durable { name: name.clone(), acknowledged });
        let resuming = Resuming { pattern, filter, snapshot: false, durable, group, node_key: None };
        self.flush();
        let subscription = self.subscribed(request, &resuming, true);
        if resuming.group.is_none()
            && let Some((before, id)) = self.realm.open_durable(&name, &self.session, subscription)
        {
            self.realm.revoke(&self.node, &before, id, Revoked::TakenOver);
        }
        if let Err(why) = self.realm.check_durable(&self.node, &name) {
            return self.revoke(subscription, why);
        }
        if let Some(retained) = retained {
            self.retained(&resuming.pattern, subscription, retained);
        }
        self.go_on(subscription, &name, resuming);
    }
}

/// Snapshots, and retained values that wait for the log.
impl Open {
    /// A snapshot has been given what it wants of the log: retained values follow, then it ends.
    pub(super) fn end_of_log(&mut self, subscription: SubscriptionId) {
        let Some(retained) = self.snapshots.get_mut(&subscription) else { return };
        if let Some((pattern, retained)) = retained.take() {
            self.retained(&pattern, subscription, retained);
        }
    }

    /// Ends the snapshots of which everything is in the outbox. To be called behind a refill.
    pub(super) fn end_snapshots(&mut self) {
        if self.snapshots.is_empty() {
            return;
        }
        let ended = self.session.mailbox().take_ended();
        for subscription in ended {
            self.end_of_log(subscription);
        }
        let mailbox = self.session.mailbox();
        let is_over = |subscription: &SubscriptionId| {
            let waits = self.pending.waits_for_retained(*subscription);
            !waits && mailbox.reader(*subscription).is_none() && !mailbox.replay.owes(*subscription)
        };
        let given = self.snapshots.iter().filter(|(_, retained)| retained.is_none()).map(|(id, _)| *id);
        let over: Vec<_> = given.filter(is_over).collect();
        drop(mailbox);
        for subscription in over {
            if !self.awaited.iter().any(|awaited| awaited.subscription == subscription) {
                self.revoke(subscription, Revoked::SnapshotEnd);
            }
        }
    }

    /// Has retained values wait until the log has an event.
    pub(super) fn await_event(&mut self, id: EventId, pattern: &TopicPattern, subscription: SubscriptionId) {
        let until_ms = self.publisher.now_ms + EVENT_PATIENCE_MS;
        self.node.house.await_event(id, &self.arrivals.link, until_ms);
        self.awaited.push(Awaited { id, pattern: pattern.clone(), subscription, until_ms });
    }

    /// Gives retained values that have waited long enough, or gives them up.
    pub(super) fn settle_awaited(&mut self) {
        let (last, now_ms) = (self.node.log.last_event_id(), self.publisher.now_ms);
        let is_due = |awaited: &mut Awaited| awaited.until_ms <= now_ms || last.is_some_and(|last| last >= awaited.id);
        let due: Vec<_> = self.awaited.extract_if(.., is_due).collect();
        for Awaited { id, pattern, subscription, .. } in due {
            if last.is_some_and(|last| last >= id) && self.session.mailbox().subscriptions.contains(&subscription) {
                self.replay(&pattern, subscription);
            }
        }
    }
}

/// Retained values that wait for the log to have an event.
pub(super) struct Awaited {
    id: EventId,
    pattern: TopicPattern,
    subscription: SubscriptionId,
    until_ms: u64,
}
