//! The side of a mailbox that reads the log: its readers, what they are offered live, and what is to be recorded of them.
//!
//! ```text
//! SUBSCRIBE -> want / start_reader          take_progress -> Command::Progress -> progress_recorded -> refill
//! ```

use std::sync::Arc;

use bytes::Bytes;

use super::send::{Desk, NotSent, Sending};
use super::{Frames, Mailbox, Offered};
use crate::delivery::Owed;
use crate::delivery::inflight::{Cargo, Flight, Receipt};
use crate::node::link::Link;
use crate::node::reader::moved::Moved;
use crate::node::reader::position::Position;
use crate::node::reader::pull::Reader;
use crate::node::reader::wants::{Want, Wants};
use crate::node::reader::{Durable, Each, PARKED, Readers, Reading, Start};
use crate::node::wire::WireRef;
use crate::queue::command::{self, Cursor};
use crate::types::event::{Qos, Terms};
use crate::types::ids::SubscriptionId;
use crate::types::topic::Topic;

/// Subscriptions.
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

    /// Its cursor and what is under way are recorded in the log.
    pub(super) fn is_recorded(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.reading.recorded)
    }

    /// The name of the realm that it reads in.
    pub fn realm_name(&self) -> Option<Arc<str>> {
        Some(self.log.as_ref()?.reading.realm.upgrade()?.name.clone())
    }

    /// Takes up a recorded session where it was before the broker started. Its subscriptions come by [`Mailbox::want`].
    pub fn restore(&mut self, at: &Cursor) {
        let Some(own) = self.log.as_mut().and_then(|log| log.own.as_mut()) else { return };
        own.rewind(at.sent_to + 1);
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

    /// Sends once what the log has now that `want` wants, with higher numbers than `after`, and nothing that comes later.
    pub fn snapshot(&mut self, name: &str, want: Want, after: u64) {
        let Some(log) = self.log.as_mut() else { return };
        let history = log.reading.node.upgrade().map(|node| (node.log.history.fed(), node.log.history.routed()));
        let (fed, routed) = history.unwrap_or_default();
        if let Some(own) = &mut log.own {
            // What is newer comes behind it.
            own.position.step_back(routed);
        }
        let want = Want { since: after, ..want };
        let reader = Reader::for_one(want, Position::new(after + 1, Some(fed)));
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
        let each = self.log.as_mut()?.stop(subscription)?;
        each.moved()
    }

    /// The client has processed what a named durable subscription has sent it, up to this number. `false`: there is no such
    /// subscription, or it does not wait for that.
    pub fn ack(&mut self, subscription: SubscriptionId, number: u64) -> bool {
        let Some(log) = self.log.as_mut() else { return false };
        let Some(each) = log.each.get_mut(&subscription) else { return false };
        if !each.durable.as_ref().is_some_and(|durable| durable.acknowledged) {
            return false;
        }
        let done = number.min(each.sent);
        if done > each.done {
            each.done = done;
            each.dirty = true;
            log.touch();
        }
        true
    }

    /// Snapshots that have been sent to their end since this was asked last. They have no readers any more.
    pub fn take_ended(&mut self) -> Vec<SubscriptionId> {
        self.log.as_mut().map(|log| std::mem::take(&mut log.ended)).unwrap_or_default()
    }
}

/// What is recorded.
impl Mailbox {
    /// PUBACK: the QoS 1 message is done. `false` if no such message is inflight.
    pub fn acknowledge(&mut self, packet_id: u16) -> bool {
        let known = self.inflight.acknowledge(packet_id);
        self.touch_if(known)
    }

    /// PUBREC. [`Receipt::Record`]: PUBREL comes with [`Mailbox::progress_recorded`].
    pub fn receive(&mut self, packet_id: u16) -> Receipt {
        if self.is_recorded() {
            let receipt = self.inflight.receive_recorded(packet_id);
            self.touch_if(receipt == Receipt::Record);
            return receipt;
        }
        if self.inflight.receive(packet_id) { Receipt::Release } else { Receipt::Unknown }
    }

    /// PUBREC with an error: the message is done (MQTT 5, 4.3.3).
    pub fn refuse(&mut self, packet_id: u16) -> bool {
        let known = self.inflight.refuse(packet_id);
        self.touch_if(known)
    }

    /// PUBCOMP: the QoS 2 message is done. `false` if it was not released.
    pub fn complete(&mut self, packet_id: u16) -> bool {
        let known = self.inflight.complete(packet_id);
        self.touch_if(known)
    }

    fn touch_if(&mut self, moved: bool) -> bool {
        if let Some(log) = &mut self.log
            && moved
            && log.reading.recorded
        {
            log.touch_own();
        }
        moved
    }

    /// Where the session stands: what a crash would take it back to if it were recorded now.
    pub fn cursor(&self) -> Option<Cursor> {
        let own = self.log.as_ref()?.own.as_ref()?;
        let inflight = self.inflight.flights().map(|flight| command::Flight {
            number: flight.number,
            packet_id: flight.packet_id,
            qos: flight.qos as u8,
            released: flight.released,
            attempts: 0,
        });
        Some(Cursor { sent_to: own.position.next() - 1, inflight: inflight.collect() })
    }

    /// Something has moved that is not recorded.
    pub fn is_dirty(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.dirty) || self.inflight.must_record()
    }

    /// The cursor of the session's client, if it is to be recorded now: because something waits for that, because it was asked for
    /// ([`Mailbox::ask_progress`]), or because the connection is gone. To be asked after each refill, and behind
    /// [`Mailbox::detach`]. A connection submits it as `Command::Progress`, and tells the outcome by [`Mailbox::progress_recorded`]
    /// or [`Mailbox::progress_refused`].
    pub fn take_progress(&mut self) -> Option<Cursor> {
        let online = self.online.is_some();
        let must = self.inflight.must_record();
        let log = self.log.as_mut().filter(|log| log.reading.recorded && !log.recording)?;
        let asked = log.own_dirty && (log.flush_due || !online);
        if !must && !asked {
            return None;
        }
        log.own_dirty = false;
        log.recording = online;
        if online {
            self.inflight.begin_recording();
        }
        self.settle_dirt();
        self.cursor()
    }

    /// What [`Mailbox::take_progress`] gave is in the log: messages that waited for it may be sent (by a refill), and `release`
    /// encodes the PUBRELs that did. Not counted if the session has another connection by now.
    pub fn progress_recorded(&mut self, link: &Arc<Link>, release: impl Fn(u16, &mut Vec<u8>)) {
        if !self.end_recording(link) {
            return;
        }
        let Self { inflight, outbox, .. } = self;
        let releases = inflight.recorded();
        outbox.reply_with(|out| releases.iter().for_each(|packet_id| release(*packet_id, out)));
    }

    /// What [`Mailbox::take_progress`] gave was not stored: it will be asked for again when the node's clock ticks next.
    pub fn progress_refused(&mut self, link: &Arc<Link>) {
        if self.end_recording(link) {
            self.inflight.cancel_recording();
            if let Some(log) = &mut self.log {
                log.touch_own();
            }
        }
    }

    fn end_recording(&mut self, link: &Arc<Link>) -> bool {
        let held = self.is_held_by(link);
        self.log.as_mut().is_some_and(|log| held && std::mem::take(&mut log.recording))
    }

    /// Positions of named durable subscriptions that are to be recorded now; see [`Mailbox::take_progress`]. Nothing waits for them.
    pub fn take_moved(&mut self) -> Vec<Moved> {
        let online = self.online.is_some();
        let Some(log) = self.log.as_mut().filter(|log| log.dirty && (log.flush_due || !online)) else {
            return Vec::new();
        };
        let moved = log.each.values_mut().filter_map(|each| each.take_moved()).collect();
        self.settle_dirt();
        moved
    }

    /// Asks for what has moved: the connection that is to be woken for that. `None`: there is none, whoever asks takes it himself.
    pub fn ask_progress(&mut self) -> Option<Arc<Link>> {
        let log = self.log.as_mut()?;
        log.listed = false;
        let online = self.online.as_ref()?;
        log.flush_due = true;
        Some(online.link.clone())
    }

    fn settle_dirt(&mut self) {
        if let Some(log) = &mut self.log {
            log.dirty = log.own_dirty || log.each.values().any(|each| each.dirty);
            log.flush_due &= log.dirty;
        }
    }
}

/// The feed.
impl Mailbox {
    /// The connection takes what is in the outbox: events of named durable subscriptions that need no word of the client are done.
    pub(super) fn note_taken(&mut self) {
        let Some(log) = &mut self.log else { return };
        if log.automatic == 0 {
            return;
        }
        let mut moved = false;
        for each in log.each.values_mut() {
            if matches!(each.durable, Some(Durable { acknowledged: false, .. })) && each.sent > each.done {
                each.done = each.sent;
                each.dirty = true;
                moved = true;
            }
        }
        if moved {
            log.touch();
        }
    }

    /// The connection is gone, or another one comes: from here on nothing is pushed until a refill has met the feed again.
    pub(super) fn step_back(&mut self) {
        let Some(log) = &mut self.log else { return };
        let routed = log.reading.node.upgrade().map_or(0, |node| node.log.history.routed());
        for reader in log.own.iter_mut().chain(log.each.values_mut().map(|each| &mut each.reader)) {
            reader.position.step_back(routed);
            reader.rest();
        }
        log.older.iter_mut().for_each(|(_, reader)| reader.rest());
        log.recording = false;
        self.inflight.cancel_recording();
    }

    /// Tells readers that wait for the events of this route that there are some; `true`: one has to read now.
    pub(super) fn tell_readers(&mut self, route: SubscriptionId, numbers: &[u64]) -> bool {
        let Some(log) = &mut self.log else { return false };
        let Readers { routes, each, .. } = &mut **log;
        let mut told = false;
        for id in routes.get(&route).into_iter().flatten() {
            let Some(each) = each.get_mut(id) else { continue };
            if let Some(number) = numbers.iter().find(|number| each.reader.position.takes(**number)) {
                each.reader.position.fall_behind(*number);
                told = true;
            }
        }
        told
    }

    /// The session has the routed subscription itself, too, not just readers that wait for it.
    pub(super) fn holds_plainly(&self, subscription: Option<SubscriptionId>) -> bool {
        subscription.is_none_or(|subscription| self.subscriptions.contains(&subscription))
    }

    /// Offers a run whose events are in the log. `None`: it is no reader's business.
    pub(super) fn offer_logged_run(&mut self, wire: WireRef, terms: &Terms, frames: &Frames) -> Option<Offered> {
        let Self { log, online, outbox, inflight, .. } = self;
        let log = log.as_mut()?;
        let recorded = log.reading.recorded;
        let untold = frames.numbers.first().is_some_and(|first| log.hold_untold(terms.subscription, *first));
        let (position, sent) = log.reader_for(terms, frames.topic.as_deref())?;
        let mut offered = Offered { refill_due: untold, ..Offered::default() };
        if !position.is_live() || frames.numbers.last().is_some_and(|last| !position.takes(*last)) {
            return Some(offered);
        }
        let last = frames.numbers.last().copied();
        let online = online.as_ref().filter(|online| online.wire == wire);
        if let (Some(online), Some(first), Some(last)) = (online, frames.numbers.first(), last)
            && frames.numbered.is_empty()
            && position.takes(*first)
            && frames.longest <= online.frame_bytes_max
            && outbox.push(&frames.bytes).is_ok()
        {
            offered.sent += frames.ends.len() as u32;
            offered.sent_bytes += frames.bytes.len();
            position.pass(last);
            *sent = last;
            return Some(offered);
        }
        let mut moved = false;
        for (index, &number) in frames.numbers.iter().enumerate() {
            if !position.takes(number) {
                continue;
            }
            let frame = frames.frame(index);
            if online.is_some_and(|online| frame.len() > online.frame_bytes_max) {
                offered.dropped_large += 1;
                position.pass(number);
                continue;
            }
            let numbered = frames.numbered.get(index);
            let in_order =
                numbered.is_none() || (!inflight.has_unsent() && !(recorded && terms.qos == Qos::ExactlyOnce));
            let room = online.is_some_and(|online| {
                outbox.has_room(frame.len()) && (numbered.is_none() || inflight.has_room(online.receive_max))
            });
            if !in_order || !room {
                // It is read from here on by the session's own task, which knows best what it is waiting for.
                position.fall_behind(number);
                offered.refill_due = true;
                break;
            }
            let mark = outbox.mark();
            outbox.append(frame);
            if let Some(numbered) = numbered {
                let packet_id = inflight.send_cargo(Cargo::Logged { number, qos: terms.qos });
                outbox.patch(mark + numbered.packet_id_at as usize - frames.start(index), packet_id);
                moved = true;
            }
            offered.sent += 1;
            offered.sent_bytes += frame.len();
            position.pass(number);
            *sent = number;
        }
        if moved && recorded {
            log.touch_own();
        }
        Some(offered)
    }

    /// Offers one event that is in the log. `None`: it is no reader's business.
    pub(super) fn offer_logged(&mut self, owed: &Owed, number: u64, now_ms: u64) -> Option<Offered> {
        let Self { log, online, outbox, inflight, .. } = self;
        let log = log.as_mut()?;
        let recorded = log.reading.recorded;
        let Owed { event, terms } = owed;
        let untold = log.hold_untold(terms.subscription, number);
        let (position, sent) = log.reader_for(terms, Some(&event.topic))?;
        let mut offered = Offered { refill_due: untold, ..Offered::default() };
        if !position.takes(number) {
            return Some(offered);
        }
        let numbered = terms.qos != Qos::AtMostOnce;
        let in_order = !numbered || (!inflight.has_unsent() && !(recorded && terms.qos == Qos::ExactlyOnce));
        let online = online.as_mut().filter(|online| in_order && (!numbered || inflight.has_room(online.receive_max)));
        let Some(online) = online else {
            position.fall_behind(number);
            offered.refill_due = true;
            return Some(offered);
        };
        let mut desk = Desk { online, outbox, offered: &mut offered };
        match desk.draft(&event.as_event(now_ms), Sending::Shared(&event.payload), &mut terms.clone()) {
            Ok(drafted) => {
                desk.count(&drafted);
                let cargo = Cargo::Logged { number, qos: terms.qos };
                let packet_id = drafted.packet_id_at.map(|_| inflight.send_cargo(cargo));
                drafted.accept(packet_id, outbox);
                position.pass(number);
                *sent = number;
                if recorded && numbered {
                    log.touch_own();
                }
            }
            Err(NotSent::NoRoom) => {
                position.fall_behind(number);
                offered.refill_due = true;
            }
            Err(NotSent::Never(error)) => {
                position.pass(number);
                offered.drop(error);
            }
        }
        Some(offered)
    }

    /// Offers one large frame whose event is in the log. `None`: it is no reader's business.
    pub(super) fn offer_logged_shared(
        &mut self,
        wire: WireRef,
        subscription: Option<SubscriptionId>,
        number: u64,
        frame: &Bytes,
    ) -> Option<Offered> {
        let Self { log, online, outbox, .. } = self;
        let terms = Terms { subscription, ..Terms::default() };
        let log = log.as_mut()?;
        let untold = log.hold_untold(subscription, number);
        let (position, sent) = log.reader_for(&terms, None)?;
        let mut offered = Offered { refill_due: untold, ..Offered::default() };
        if !position.takes(number) {
            return Some(offered);
        }
        let online = online.as_ref().filter(|online| online.wire == wire);
        if online.is_some_and(|online| frame.len() > online.frame_bytes_max) {
            offered.dropped_large += 1;
            position.pass(number);
        } else if online.is_some() && outbox.has_room(frame.len()) {
            outbox.push_shared(frame.clone());
            offered.sent += 1;
            offered.sent_bytes += frame.len();
            position.pass(number);
            *sent = number;
        } else {
            position.fall_behind(number);
            offered.refill_due = true;
        }
        Some(offered)
    }
}

impl Readers {
    /// The position of the reader whose business a copy is, and where it notes what it sent.
    fn reader_for(&mut self, terms: &Terms, topic: Option<&Topic>) -> Option<(&mut Position, &mut u64)> {
        if let Some(subscription) = terms.subscription {
            let each = self.each.get_mut(&subscription)?;
            return Some((&mut each.reader.position, &mut each.sent));
        }
        let recorded = self.reading.recorded;
        let own = self.own.as_mut()?;
        let owed = recorded && terms.qos != Qos::AtMostOnce;
        let followed = || own.wants.has_followers() && topic.is_some_and(|topic| own.wants.follows(topic));
        (owed || followed()).then_some((&mut own.position, &mut self.own_sent))
    }
}
