//! What publishers and the feed do: offer events, encoded for a whole lane or for one session.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Mailbox;
use crate::delivery::Owed;
use crate::node::wire::{Unencodable, WireRef};
use crate::types::event::{Qos, StoredEvent, Terms};
use crate::types::ids::SubscriptionId;
use crate::types::topic::Topic;

/// What happened to an offered event or run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Copies in the outbox.
    pub sent: u32,
    pub sent_bytes: usize,
    /// Copies kept for later.
    pub kept: u32,
    /// Copies dropped because a queue is full.
    pub dropped_full: u32,
    /// Copies dropped because the client takes no frames of that size.
    pub dropped_large: u32,
    /// Copies dropped because the payload cannot be said in the client's encoding.
    pub untranslatable: u32,
    /// What was kept can be sent at once, by the session's own task.
    pub refill_due: bool,
    /// A queue of a connected session is more than half full: the publisher had better wait a moment.
    pub crowded: bool,
}

/// Copies of consecutive events with the same terms, encoded once for a whole lane.
#[derive(Default)]
pub struct Frames {
    pub bytes: Vec<u8>,
    /// End of each frame in `bytes`.
    pub ends: Vec<u32>,
    /// What else there is to know of each frame if it gets a packet identifier (QoS 1 and 2); else empty.
    pub numbered: Vec<Numbered>,
    /// Of each frame the number of its event in the log; empty where events are not in the log.
    pub numbers: Vec<u64>,
    /// Of all of them, if they are in the log.
    pub topic: Option<Arc<Topic>>,
    /// Length of the longest frame.
    pub longest: usize,
}

/// A frame that gets a packet identifier.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// Offset of the packet identifier in [`Frames::bytes`].
    pub packet_id_at: u32,
    /// Place of its event among the run's: not all of these may have a frame.
    pub event: u32,
}

impl Offered {
    /// Counts a copy that this receiver cannot be sent.
    pub(super) fn drop(&mut self, why: Unencodable) {
        match why {
            Unencodable::TooLarge => self.dropped_large += 1,
            _ => self.untranslatable += 1,
        }
    }
}

impl Frames {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.numbered.clear();
        self.numbers.clear();
        self.topic = None;
        self.longest = 0;
    }

    pub(super) fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }

    pub(super) fn frame(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index] as usize]
    }
}

impl Mailbox {
    /// Offers a run of frames that were encoded for `wire`. `events` are the run's events in owned form (QoS 1 and 2 only).
    pub fn offer_run(&mut self, wire: WireRef, terms: &Terms, frames: &Frames, events: &[Arc<StoredEvent>]) -> Offered {
        if self.log.is_none() || frames.numbers.is_empty() {
            return self.offer_plain_run(wire, terms, frames, events);
        }
        if let Some(group) = terms.subscription.and_then(|subscription| self.group_of(subscription)) {
            group.tell_numbers(&frames.numbers);
            return Offered::default();
        }
        let told = terms.subscription.is_some_and(|route| self.tell_readers(route, &frames.numbers));
        let mut offered = match self.offer_logged_run(wire, terms, frames) {
            Some(offered) => offered,
            None if told && !self.holds_plainly(terms.subscription) => Offered::default(),
            None => self.offer_plain_run(wire, terms, frames, events),
        };
        offered.refill_due |= told;
        offered
    }

    fn offer_plain_run(
        &mut self,
        wire: WireRef,
        terms: &Terms,
        frames: &Frames,
        events: &[Arc<StoredEvent>],
    ) -> Offered {
        let mut offered = Offered::default();
        let count = frames.ends.len();
        if !frames.numbered.is_empty() {
            for (index, numbered) in frames.numbered.iter().enumerate() {
                let owed = || Owed { event: events[numbered.event as usize].clone(), terms: terms.clone() };
                self.offer_frame(wire, owed, frames, index, &mut offered);
            }
            return offered;
        }
        let Some(online) = self.online.as_ref().filter(|online| online.wire == wire) else { return offered };
        if frames.longest <= online.frame_bytes_max {
            match self.outbox.push(&frames.bytes) {
                Ok(()) => {
                    offered.sent += count as u32;
                    offered.sent_bytes += frames.bytes.len();
                }
                Err(_) => offered.dropped_full += count as u32,
            }
            offered.crowded = self.outbox.is_crowded();
            return offered;
        }
        for index in 0..count {
            let frame = frames.frame(index);
            if frame.len() > online.frame_bytes_max {
                offered.dropped_large += 1;
            } else if self.outbox.push(frame).is_ok() {
                offered.sent += 1;
                offered.sent_bytes += frame.len();
            } else {
                offered.dropped_full += 1;
            }
        }
        offered.crowded = self.outbox.is_crowded();
        offered
    }

    /// Offers one frame of a QoS 1 or 2 run.
    fn offer_frame(
        &mut self,
        wire: WireRef,
        owed: impl FnOnce() -> Owed,
        frames: &Frames,
        index: usize,
        offered: &mut Offered,
    ) {
        let frame = frames.frame(index);
        let Some(online) = self.online.as_ref() else { return self.keep(owed(), offered) };
        if online.wire != wire {
            // The route is from before a takeover: the session's own task encodes it anew.
            offered.refill_due = true;
            return self.keep(owed(), offered);
        }
        if frame.len() > online.frame_bytes_max {
            offered.dropped_large += 1;
            return;
        }
        let may_send =
            self.backlog.is_empty() && self.inflight.has_room(online.receive_max) && self.outbox.has_room(frame.len());
        if !may_send {
            return self.keep(owed(), offered);
        }
        let mark = self.outbox.mark();
        self.outbox.append(frame);
        let packet_id = self.inflight.send(owed());
        self.outbox.patch(mark + frames.numbered[index].packet_id_at as usize - frames.start(index), packet_id);
        offered.sent += 1;
        offered.sent_bytes += frame.len();
    }

    /// Offers one event that is encoded for this session alone (large, aliased).
    pub fn offer(&mut self, owed: Owed, now_ms: u64) -> Offered {
        if self.log.is_some()
            && let Some(place) = owed.event.place
            && let Some(offered) = self.offer_logged(&owed, place.number, now_ms)
        {
            return offered;
        }
        self.offer_apart(owed, now_ms)
    }

    /// Offers one event that the session's readers do not find in the log, or not as it is here (to one member of a group).
    pub fn offer_apart(&mut self, owed: Owed, now_ms: u64) -> Offered {
        let mut offered = Offered::default();
        let qos = owed.terms.qos;
        let Some(online) = self.online.as_ref() else {
            if qos != Qos::AtMostOnce {
                self.keep(owed, &mut offered);
            }
            return offered;
        };
        if qos != Qos::AtMostOnce && (!self.backlog.is_empty() || !self.inflight.has_room(online.receive_max)) {
            self.keep(owed, &mut offered);
            return offered;
        }
        if let Err(owed) = self.send(owed, now_ms, &mut offered) {
            if qos == Qos::AtMostOnce {
                offered.dropped_full += 1;
            } else {
                self.keep(owed, &mut offered);
            }
        } else if qos == Qos::AtMostOnce {
            offered.crowded = self.outbox.is_crowded();
        }
        offered
    }

    /// Offers one large frame that was encoded for `wire` and is shared by all its receivers (QoS 0). `number` is that of its event
    /// in the log, if it is there.
    pub fn offer_shared(
        &mut self,
        wire: WireRef,
        subscription: Option<SubscriptionId>,
        number: Option<u64>,
        frame: &Bytes,
    ) -> Offered {
        let Some(number) = number.filter(|_| self.log.is_some()) else { return self.offer_shared_plainly(wire, frame) };
        if let Some(group) = subscription.and_then(|subscription| self.group_of(subscription)) {
            group.tell_numbers(&[number]);
            return Offered::default();
        }
        let told = subscription.is_some_and(|route| self.tell_readers(route, &[number]));
        let mut offered = match self.offer_logged_shared(wire, subscription, number, frame) {
            Some(offered) => offered,
            None if told && !self.holds_plainly(subscription) => Offered::default(),
            None => self.offer_shared_plainly(wire, frame),
        };
        offered.refill_due |= told;
        offered
    }

    pub(super) fn offer_shared_plainly(&mut self, wire: WireRef, frame: &Bytes) -> Offered {
        let mut offered = Offered::default();
        let Some(online) = self.online.as_ref().filter(|online| online.wire == wire) else { return offered };
        if frame.len() > online.frame_bytes_max {
            offered.dropped_large += 1;
        } else if self.outbox.has_room(frame.len()) {
            self.outbox.push_shared(frame.clone());
            offered.sent += 1;
            offered.sent_bytes += frame.len();
            offered.crowded = self.outbox.is_crowded();
        } else {
            offered.dropped_full += 1;
        }
        offered
    }

    pub(super) fn keep(&mut self, owed: Owed, offered: &mut Offered) {
        if self.online.is_none() && !self.keeps {
            return;
        }
        match self.backlog.push(owed, self.clock_ms.load(Ordering::Relaxed)) {
            Ok(()) => {
                offered.kept += 1;
                offered.crowded |= self.online.is_some() && self.backlog.is_crowded();
            }
            Err(_) => offered.dropped_full += 1,
        }
    }
}
