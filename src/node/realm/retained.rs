//! The retained values of a realm: set and cleared by what is published, read by new subscriptions, given up when they expire.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Realm;
use crate::delivery::replay::{Fetched, Source};
use crate::node::session::Session;
use crate::router::authorize::Rights;
use crate::router::dealer::is_reserved;
use crate::router::retained::Walk;
use crate::types::event::{StoredEvent, Terms};
use crate::types::fields::Fields;
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::topic::{Topic, TopicPattern};

/// Retained values that a subscription is given at a time, and topics that are looked at for them: so long others wait who want
/// to change one.
const SLICE_EVENTS: usize = 64;
const SLICE_TOPICS_MAX: usize = 1000;
/// Retained topics that one tick looks at to find expired ones.
const SWEEP_TOPICS_MAX: usize = 2000;

impl Realm {
    /// Whether a retained value of so many bytes fits, near enough: what is on its way through the log is not counted.
    pub fn has_room_for(&self, topic: &Topic, payload_bytes: usize) -> bool {
        let retained = self.retained.read();
        let bytes = topic.name().len() + payload_bytes;
        match retained.get(topic).map(|old| old.bytes()) {
            None => retained.len() < self.retained_messages_max && retained.bytes() + bytes <= self.retained_bytes_max,
            Some(old) => bytes <= old || retained.bytes() - old + bytes <= self.retained_bytes_max,
        }
    }

    /// Sets or (with an empty payload) clears the retained value of the event's topic.
    ///
    /// Whether it has room was asked before ([`Realm::has_room_for`]): what is in the log is set.
    pub fn retain(&self, event: Arc<StoredEvent>) {
        let topic = event.topic.clone();
        self.set_retained(event);
        self.bell.ring(&self.name, &topic);
    }

    fn set_retained(&self, event: Arc<StoredEvent>) {
        let topic = event.topic.clone();
        let mut retained = self.retained.write();
        if event.payload.is_empty() {
            if let Some(cleared) = &mut *self.cleared.lock() {
                cleared.insert(topic.name().into());
            }
            return mark_replaced(retained.remove(&topic));
        }
        if event.expires_at_ms.is_some() {
            self.may_expire.store(true, Ordering::Relaxed);
        }
        let bytes = event.bytes();
        mark_replaced(retained.set(&topic, event, bytes));
    }

    /// Sets a retained value that was read from the store, unless the topic was written to since the start.
    pub(in crate::node) fn load_retained(&self, event: Arc<StoredEvent>) {
        let topic = event.topic.clone();
        let mut retained = self.retained.write();
        let newer = retained.get(&topic).is_some();
        let cleared = self.cleared.lock().as_ref().is_some_and(|cleared| cleared.contains(topic.name()));
        if newer || cleared {
            return;
        }
        if event.expires_at_ms.is_some() {
            self.may_expire.store(true, Ordering::Relaxed);
        }
        let bytes = event.bytes();
        retained.set(&topic, event, bytes);
    }

    /// What the store has is about to be read ([`Realm::load_retained`]). Nobody is told what is retained before all of it is.
    pub(in crate::node) fn begin_loading(&self) {
        self.cleared.lock().get_or_insert_default();
    }

    /// All that the store has was read: who waits for it is woken.
    pub(in crate::node) fn retained_is_loaded(&self) {
        let was_loading = self.cleared.lock().take().is_some();
        if was_loading {
            self.sessions().iter().for_each(|session| session.mailbox().wake_replay());
        }
    }

    /// Not all that the store has was read.
    pub fn is_loading(&self) -> bool {
        self.cleared.lock().is_some()
    }

    /// Removes expired values, so that they leave their room to others: with each call a slice of the store is looked at, as
    /// long as there are values that expire. Returns what was removed.
    pub(in crate::node) fn sweep_retained(&self, now_ms: u64) -> Vec<Arc<StoredEvent>> {
        let mut swept = Vec::new();
        let mut sweep = self.sweep.lock();
        if sweep.is_none() && self.may_expire.swap(false, Ordering::Relaxed) {
            *sweep = TopicPattern::from_filter("#").ok().map(Walk::new);
        }
        let Some(walk) = sweep.as_mut() else { return swept };
        let mut expired = Vec::new();
        let done = self.retained.read().slice(walk, SWEEP_TOPICS_MAX, |event| {
            match event.expires_at_ms {
                Some(at) if at <= now_ms => expired.push(event.topic.clone()),
                Some(_) => self.may_expire.store(true, Ordering::Relaxed),
                None => {}
            }
            ControlFlow::Continue(())
        });
        if done {
            *sweep = None;
        }
        if expired.is_empty() {
            return swept;
        }
        let mut retained = self.retained.write();
        for topic in expired {
            let still = retained.get(&topic).is_some_and(|event| event.expires_at_ms.is_some_and(|at| at <= now_ms));
            if still && let Some(event) = retained.remove(&topic) {
                event.replaced.set();
                self.bell.ring(&self.name, &topic);
                swept.push(event);
            }
        }
        swept
    }

    /// The retained value of a topic.
    pub fn retained(&self, topic: &Topic, now_ms: u64) -> Option<Arc<StoredEvent>> {
        self.retained.read().get(topic).filter(|event| !is_expired(event, now_ms)).cloned()
    }

    /// Shows `visit` the retained values that a pattern matches, sorted level by level, those behind the topic `after` if it is
    /// given, as long as it wants more. `false`: those were all.
    pub fn walk_retained(
        &self,
        pattern: &TopicPattern,
        after: Option<&Topic>,
        now_ms: u64,
        visit: &mut dyn FnMut(&Arc<StoredEvent>) -> bool,
    ) -> bool {
        let mut walk = Walk::new(pattern.clone());
        after.into_iter().for_each(|topic| walk.go_behind(topic));
        let mut wants_more = true;
        while wants_more {
            let done = self.retained.read().slice(&mut walk, SLICE_TOPICS_MAX, |event| {
                wants_more = is_expired(event, now_ms) || visit(event);
                if wants_more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if done {
                return false;
            }
        }
        true
    }

    /// Who holds a key.
    pub fn lock_holder(&self, topic: &Topic) -> Option<SessionId> {
        self.holders.lock().get(topic.name()).copied()
    }

    /// The log has given a key to somebody, or to nobody.
    pub(in crate::node) fn set_lock_holder(&self, topic: &str, holder: Option<SessionId>) {
        let mut holders = self.holders.lock();
        match holder {
            Some(session) => holders.insert(topic.into(), session),
            None => holders.remove(topic),
        };
    }

    /// Owes a subscription the retained values that `pattern` matches and `rights` let it have, on these terms (`terms.qos` is the
    /// granted one). The first of them are looked up now, or in a cluster as soon as this entry has what was acknowledged before; the
    /// others when the session has room for them, with the value they have then.
    pub fn replay(
        self: &Arc<Self>,
        session: &Session,
        subscription: SubscriptionId,
        pattern: &TopicPattern,
        rights: &Rights,
        terms: Terms,
    ) {
        let filter = self.variant(subscription).filter;
        self.replay_those(session, subscription, pattern, filter, rights, terms);
    }

    /// The same, of values with these fields.
    pub fn replay_those(
        self: &Arc<Self>,
        session: &Session,
        subscription: SubscriptionId,
        pattern: &TopicPattern,
        filter: Option<Arc<Fields>>,
        rights: &Rights,
        terms: Terms,
    ) {
        // What is the broker's own is each entry's own.
        let fresh = if is_reserved(pattern) { None } else { self.bell.await_fresh(&self.name, session.id) };
        let (realm, rights) = (self.clone(), rights.clone());
        let mut walk = Walk::new(pattern.clone());
        let who = session.discloser();
        let mut fetch = move |events: &mut VecDeque<_>| {
            if fresh.as_ref().is_some_and(|fresh| !fresh.is_there()) {
                return Fetched::Later;
            }
            let wanted = |event: &StoredEvent| {
                let filter = filter.as_ref();
                let holds = filter.is_none_or(|filter| filter.hold(event.payload.as_ref()));
                holds && event.is_for(&who) && rights.delivers(&event.topic)
            };
            realm.fetch_retained(&mut walk, &wanted, events)
        };
        let mut events = VecDeque::new();
        let fetched = fetch(&mut events);
        let source = (fetched != Fetched::Last).then(|| Box::new(fetch) as Source);
        let mut mailbox = session.mailbox();
        mailbox.replay.push(subscription, events, source, terms);
        if fetched == Fetched::Later && !self.is_loading() {
            // What it waits for may have come just now, and whoever waited then has been woken.
            mailbox.wake_replay();
        }
    }

    /// Goes on with a walk.
    fn fetch_retained(
        &self,
        walk: &mut Walk,
        wanted: &dyn Fn(&StoredEvent) -> bool,
        events: &mut VecDeque<Arc<StoredEvent>>,
    ) -> Fetched {
        if self.is_loading() {
            return Fetched::Later;
        }
        let done = self.retained.read().slice(walk, SLICE_TOPICS_MAX, |event| {
            if wanted(event) {
                events.push_back(event.clone());
            }
            if events.len() < SLICE_EVENTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if done { Fetched::Last } else { Fetched::More }
    }

    /// `(values, bytes)` retained.
    pub fn retained_size(&self) -> (usize, usize) {
        let retained = self.retained.read();
        (retained.len(), retained.bytes())
    }
}

fn is_expired(event: &StoredEvent, now_ms: u64) -> bool {
    event.expires_at_ms.is_some_and(|at| at <= now_ms)
}

fn mark_replaced(old: Option<Arc<StoredEvent>>) {
    if let Some(old) = old {
        old.replaced.set();
    }
}
