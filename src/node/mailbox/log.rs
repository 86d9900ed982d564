//! What a session reads of the log: its subscriptions, and the cursors behind them.

use std::sync::Arc;

use super::Mailbox;
use crate::delivery::inflight::Flight;
use crate::node::reader::moved::Moved;
use crate::node::reader::position::Position;
use crate::node::reader::pull::Reader;
use crate::node::reader::wants::{Want, Wants};
use crate::node::reader::{Each, PARKED, Readers, Reading, Start};
use crate::queue::command::Cursor;
use crate::types::event::Qos;
use crate::types::fields::Fields;
use crate::types::ids::SubscriptionId;

impl Mailbox {
    /// Makes the session one that reads the log, or tells it of changed surroundings (another role, say). For sessions that are
    /// recorded: before the first connection is attached. For others: before the first subscription that asks for older
    /// events; from then on all subscriptions with merged copies must be told by [`Mailbox::want`].
    pub fn read_log(&mut self, reading: Reading) {
        if let Some(log) = &mut self.log {
            log.reading = reading;
            return;
        }
        let recorded = reading.recorded;
        let mut log = Readers::new(reading);
        if recorded {
            let fed = log.reading.node.upgrade().map_or(0, |node| node.log.history.fed());
            log.own = Some(Reader::new(Position::new(fed + 1, None), Wants::default(), true));
        }
        self.log = Some(Box::new(log));
    }

    /// Whether the session reads the log.
    pub fn reads_log(&self) -> bool {
        self.log.is_some()
    }

    /// Cursors that are behind and are read with, for there is a connection.
    pub fn readers_behind(&self) -> usize {
        let Some(log) = self.log.as_ref().filter(|_| self.online.is_some()) else { return 0 };
        let own = log.own.iter().chain(log.each.values().map(|each| &each.reader));
        let behind = own.filter(|reader| !reader.position.is_live() && reader.position.next() < PARKED);
        behind.count() + log.older.len()
    }

    /// Its cursor and what is under way are recorded in the log.
    pub(super) fn is_recorded(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.reading.recorded)
    }

    /// The name of the realm that it reads in.
    pub fn realm_name(&self) -> Option<Arc<str>> {
        Some(self.log.as_ref()?.reading.realm.upgrade()?.name.clone())
    }

    /// Takes up a recorded session where it was before the broker started. Its subscriptions have come by [`Mailbox::want`].
    pub fn restore(&mut self, at: &Cursor) {
        let Some(log) = self.log.as_mut() else { return };
        let Some(own) = log.own.as_mut() else { return };
        own.rewind(at.sent_to + 1);
        // Those of subscriptions that are gone are not wanted any more.
        let older = at.older.iter().filter_map(|older| {
            let want = own.wants.get(&older.filter)?.clone();
            let reader = Reader::for_one(want, Position::new(older.next, Some(older.until)));
            Some((older.filter.as_str().into(), reader))
        });
        log.older = older.collect();
        self.inflight.restore(at.inflight.iter().map(|flight| Flight {
            number: flight.number,
            packet_id: flight.packet_id,
            qos: if flight.qos == 1 { Qos::AtLeastOnce } else { Qos::ExactlyOnce },
            released: flight.released,
        }));
    }

    /// Adds or replaces a subscription whose copies are merged with others' (MQTT, SSE), by its filter. To be called with the mailbox
    /// locked in which the router's subscription is made (the `reply` of `Realm::subscribe`).
    ///
    /// `want.since` is the number of the command that made it, or that from which on it was restored. With `after` it also gets
    /// the older events with higher numbers than that, before anything else; `want.since` does not count then.
    pub fn want(&mut self, filter: &str, mut want: Want, after: Option<u64>) {
        let Some(log) = self.log.as_mut() else { return };
        let recorded = log.reading.recorded;
        let history = log.reading.node.upgrade().map(|node| (node.log.history.fed(), node.log.history.routed()));
        let (fed, routed) = history.unwrap_or_default();
        let own = log.own.get_or_insert_with(|| Reader::new(Position::new(fed + 1, None), Wants::default(), false));
        log.older.retain(|(name, _)| **name != *filter);
        if let Some(after) = after {
            let begins = !recorded && !own.wants.has_followers();
            if begins {
                own.rewind(after + 1);
            } else {
                own.position.step_back(routed);
            }
            (want.since, want.follows) = (after, true);
            let next = own.position.next();
            if after + 1 < next {
                let older = Reader::for_one(want.clone(), Position::new(after + 1, Some(next - 1)));
                log.older.push_back((filter.into(), older));
            }
        }
        own.wants.set(filter, want);
    }

    /// Sends once what the log has now that `want` wants, with higher numbers than `after`, and nothing that comes later: only what has the fields of `filter`.
    pub fn snapshot(&mut self, name: &str, want: Want, filter: Option<Arc<Fields>>, after: u64) {
        let Some(log) = self.log.as_mut() else { return };
        let history = log.reading.node.upgrade().map(|node| (node.log.history.fed(), node.log.history.routed()));
        let (fed, routed) = history.unwrap_or_default();
        if let Some(own) = &mut log.own {
            // What is newer comes behind it.
            own.position.step_back(routed);
        }
        let want = Want { since: after, ..want };
        let mut reader = Reader::for_one(want, Position::new(after + 1, Some(fed)));
        (reader.filter, reader.alone) = (filter, true);
        log.older.push_back((name.into(), reader));
    }

    /// Removes a subscription of [`Mailbox::want`].
    pub fn unwant(&mut self, filter: &str) {
        let Some(log) = self.log.as_mut() else { return };
        log.older.retain(|(name, _)| **name != *filter);
        if let Some(own) = &mut log.own {
            own.wants.remove(filter);
        }
    }

    /// Has a subscription read the log by a cursor of its own (WAMP), from `start.after` on. In place of the reader that it may
    /// have. What the router offers to the subscription comes through the reader from now on: nothing is missed or repeated.
    pub fn start_reader(&mut self, subscription: SubscriptionId, start: Start) {
        if let Some(log) = self.log.as_mut() {
            log.start(subscription, start);
        }
    }

    /// Holds back what is in the log from a subscription until its reader is started, for it is not known yet from where on.
    pub fn park_reader(&mut self, subscription: SubscriptionId, want: Want) {
        let start =
            Start { want, after: PARKED, until: None, route: None, durable: None, filter: None, recovery: None };
        self.start_reader(subscription, start);
    }

    /// What can be told of a subscription's reader.
    pub fn reader(&self, subscription: SubscriptionId) -> Option<&Each> {
        self.log.as_ref()?.each.get(&subscription)
    }

    /// Ends a subscription's reader. Where a named durable subscription stood, for it to be recorded.
    pub fn stop_reader(&mut self, subscription: SubscriptionId) -> Option<Moved> {
        self.leave_group_of(subscription);
        let each = self.log.as_mut()?.stop(subscription)?;
        each.moved()
    }

    /// The same for a subscription that the router still has: what it offers is held back until it is gone there, too.
    pub fn halt_reader(&mut self, subscription: SubscriptionId) -> Option<Moved> {
        let is_member = self.group_of(subscription).is_some();
        let log = self.log.as_mut()?;
        if !is_member && !log.each.contains_key(&subscription) {
            return None;
        }
        let moved = self.stop_reader(subscription);
        self.log.as_mut()?.park(subscription);
        moved
    }

    /// The client has processed what a named durable subscription has sent it, up to this number; of a group: this one, and `false`
    /// if it was done with before. `None`: there is no such subscription, or it does not wait for that.
    pub fn ack(&mut self, subscription: SubscriptionId, number: u64) -> Option<bool> {
        let log = self.log.as_mut()?;
        let Some(each) = log.each.get_mut(&subscription) else { return self.ack_shared(subscription, number) };
        if !each.durable.as_ref().is_some_and(|durable| durable.acknowledged) {
            return None;
        }
        let done = number.min(each.sent);
        if done > each.done {
            each.done = done;
            each.dirty = true;
            log.touch();
        }
        Some(true)
    }

    /// Snapshots that have been sent to their end since this was asked last. They have no readers any more.
    pub fn take_ended(&mut self) -> Vec<SubscriptionId> {
        self.log.as_mut().map(|log| std::mem::take(&mut log.ended)).unwrap_or_default()
    }
}
