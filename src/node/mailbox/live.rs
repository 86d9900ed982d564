//! What the feed offers live to a session that reads the log: sent if there is room, else read later by the session's own task.

use bytes::Bytes;

use super::send::{Desk, NotSent, Sending};
use super::{Frames, Mailbox, Offered, Online};
use crate::delivery::Owed;
use crate::delivery::inflight::{Cargo, Inflight};
use crate::delivery::outbox::Outbox;
use crate::node::reader::Readers;
use crate::node::reader::position::Position;
use crate::node::wire::WireRef;
use crate::types::event::{Qos, Terms};
use crate::types::ids::SubscriptionId;
use crate::types::topic::Topic;

impl Mailbox {
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
        let (Some(first), Some(&last)) = (frames.numbers.first(), frames.numbers.last()) else { return Some(offered) };
        if !position.takes(last) {
            return Some(offered);
        }
        let Some(online) = online.as_ref().filter(|online| online.wire == wire) else {
            // The route is from before a takeover: the session's own task encodes it anew.
            position.fall_behind((*first).max(position.next()));
            offered.refill_due = true;
            return Some(offered);
        };
        let whole = frames.numbered.is_empty() && position.takes(*first) && frames.longest <= online.frame_bytes_max;
        if whole && outbox.push(&frames.bytes).is_ok() {
            offered.sent += frames.ends.len() as u32;
            offered.sent_bytes += frames.bytes.len();
            position.pass(last);
            *sent = last;
            return Some(offered);
        }
        let mut live = Live { online, outbox, inflight, position, recorded, qos: terms.qos };
        for (index, &number) in frames.numbers.iter().enumerate() {
            if live.position.takes(number) && live.push(frames, index, number, &mut offered) {
                *sent = number;
            }
        }
        if terms.qos != Qos::AtMostOnce && offered.sent > 0 && recorded {
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
        let online = online.as_mut().filter(|online| may_push(inflight, online, recorded, terms.qos));
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
                if recorded && packet_id.is_some() {
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

/// What a frame is pushed to, or not.
struct Live<'a> {
    online: &'a Online,
    outbox: &'a mut Outbox,
    inflight: &'a mut Inflight,
    position: &'a mut Position,
    recorded: bool,
    qos: Qos,
}

impl Live<'_> {
    /// Pushes one frame of a run that the reader takes; `false`: it is not sent, or will be read from there on.
    fn push(&mut self, frames: &Frames, index: usize, number: u64, offered: &mut Offered) -> bool {
        let frame = frames.frame(index);
        if frame.len() > self.online.frame_bytes_max {
            offered.dropped_large += 1;
            self.position.pass(number);
            return false;
        }
        if !may_push(self.inflight, self.online, self.recorded, self.qos) || !self.outbox.has_room(frame.len()) {
            self.position.fall_behind(number);
            offered.refill_due = true;
            return false;
        }
        let mark = self.outbox.mark();
        self.outbox.append(frame);
        if let Some(numbered) = frames.numbered.get(index) {
            let packet_id = self.inflight.send_cargo(Cargo::Logged { number, qos: self.qos });
            self.outbox.patch(mark + numbered.packet_id_at as usize - frames.start(index), packet_id);
        }
        offered.sent += 1;
        offered.sent_bytes += frame.len();
        self.position.pass(number);
        true
    }
}

/// Whether a message of this QoS may be sent as it comes: the window has room, nothing that came before waits for its packet
/// identifier to be recorded, and its own need not be.
fn may_push(inflight: &Inflight, online: &Online, recorded: bool, qos: Qos) -> bool {
    match qos {
        Qos::AtMostOnce => true,
        Qos::ExactlyOnce if recorded => false,
        _ => !inflight.has_unsent() && inflight.has_room(online.receive_max),
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
