//! What is owed to one session, and the connection that takes it. Behind the session's mutex.
//!
//! ```text
//!                 online, room                     take
//! offer(run) ---------------------> outbox -----------------> socket
//!      \  window full, or offline      ^ refill
//!       `--> backlog (QoS > 0) --------'  <-- inflight (again, after a reconnect), replay (retained, for new subscriptions)
//! ```
//!
//! QoS 0 to a full outbox is dropped and counted; an offline session is promised none. Nothing in here waits.
//!
//! Who offers wakes the connection ([`Mailbox::take_wake`]); its task takes what lies in the outbox and refills it. A refill is
//! due when the outbox was emptied or the client acknowledged something, and both happen in that task: so what is kept behind
//! a full window or outbox needs no other wake.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::link::Link;
use super::wire::{Encoded, Unencodable, WireRef};
use crate::delivery::Owed;
use crate::delivery::backlog::Backlog;
use crate::delivery::inflight::Inflight;
use crate::delivery::outbox::{Outbox, SHARE_BYTES_MIN, Taken};
use crate::delivery::replay::Replay;
use crate::types::event::{Qos, StoredEvent, Terms};
use crate::types::ids::SubscriptionId;

#[cfg(test)]
mod tests;

/// See the module.
pub struct Mailbox {
    pub outbox: Outbox,
    pub inflight: Inflight,
    pub backlog: Backlog,
    pub replay: Replay,
    /// WAMP subscriptions that the session holds.
    pub subscriptions: HashSet<SubscriptionId>,
    /// Version of the broker at the last UNSUBSCRIBE: an older route may still lead here and is checked.
    pub unsubscribed_at: u64,
    online: Option<Online>,
    /// Keep QoS 1 and 2 for a session that is offline.
    pub keeps: bool,
}

/// The connection that a session has at the moment.
pub struct Online {
    pub link: Arc<Link>,
    pub wire: WireRef,
    /// Unacknowledged QoS 1 and 2 messages that the client takes at a time.
    pub receive_max: u16,
    /// Largest frame that the client takes.
    pub frame_bytes_max: usize,
    /// Topic aliases that the client lets us use; 0 for none (MQTT 5, 3.1.2.11.5).
    pub aliases: Aliases,
    notified: bool,
}

/// Topic aliases towards a client.
#[derive(Debug, Default)]
pub struct Aliases {
    pub max: u16,
    known: HashMap<Box<str>, u16>,
}

impl Aliases {
    /// The alias for a topic: `(alias, known)`; `known` tells that the client has been told already. `None` when all are in use.
    fn look_up(&self, topic: &str) -> Option<(u16, bool)> {
        match self.known.get(topic) {
            Some(alias) => Some((*alias, true)),
            None if self.known.len() < usize::from(self.max) => Some((self.known.len() as u16 + 1, false)),
            None => None,
        }
    }

    /// The client has been told this alias.
    fn learn(&mut self, topic: &str, alias: u16) {
        self.known.insert(topic.into(), alias);
    }
}

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

impl Frames {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.numbered.clear();
        self.longest = 0;
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }

    fn frame(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index] as usize]
    }
}

impl Mailbox {
    pub fn new(outbox: Outbox, backlog: Backlog, keeps: bool) -> Self {
        Self {
            outbox,
            inflight: Inflight::new(backlog.bytes_max()),
            backlog,
            replay: Replay::default(),
            subscriptions: HashSet::new(),
            unsubscribed_at: 0,
            online: None,
            keeps,
        }
    }

    /// Gives the mailbox to a connection and takes it from the one before, which is returned. What was encoded for that one and
    /// not sent is dropped: QoS 1 and 2 are inflight and will be sent again.
    pub fn attach(
        &mut self,
        link: Arc<Link>,
        wire: WireRef,
        receive_max: u16,
        frame_bytes_max: usize,
        alias_max: u16,
    ) -> Option<Arc<Link>> {
        self.outbox.clear();
        self.replay.disconnect();
        self.inflight.reconnect();
        let aliases = Aliases { max: alias_max, ..Aliases::default() };
        let online = Online { link, wire, receive_max, frame_bytes_max, aliases, notified: false };
        self.online.replace(online).map(|old| old.link)
    }

    /// Ends the hold of `link`; `false` if another connection has taken over meanwhile.
    pub fn detach(&mut self, link: &Arc<Link>) -> bool {
        if !self.is_held_by(link) {
            return false;
        }
        self.online = None;
        self.outbox.clear();
        self.replay.disconnect();
        true
    }

    /// Forgets all that is owed, for the session ended.
    pub fn clear(&mut self) {
        self.keeps = false;
        self.outbox.clear();
        self.inflight.clear();
        self.backlog.clear();
        self.replay.clear();
    }

    /// Whether this connection (still) has the session.
    pub fn is_held_by(&self, link: &Arc<Link>) -> bool {
        self.online.as_ref().is_some_and(|online| Arc::ptr_eq(&online.link, link))
    }

    pub fn online(&self) -> Option<&Online> {
        self.online.as_ref()
    }

    /// The link to wake because something waits, once for each time that the connection empties the outbox.
    pub fn take_wake(&mut self) -> Option<Arc<Link>> {
        let online = self.online.as_mut()?;
        if online.notified {
            return None;
        }
        online.notified = true;
        Some(online.link.clone())
    }

    /// Offers a run of frames that were encoded for `wire`. `events` are the run's events in owned form (QoS 1 and 2 only).
    pub fn offer_run(&mut self, wire: WireRef, terms: &Terms, frames: &Frames, events: &[Arc<StoredEvent>]) -> Offered {
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

    /// Offers one event that is encoded for this session alone (large, aliased, shared, retained).
    pub fn offer(&mut self, owed: Owed, now_ms: u64) -> Offered {
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

    /// Offers one large frame that was encoded for `wire` and is shared by all its receivers (QoS 0).
    pub fn offer_shared(&mut self, wire: WireRef, frame: &Bytes) -> Offered {
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

    /// Fills the outbox with what is inflight from an earlier connection, then from the backlog and the replay, as far as outbox
    /// and window have room. `now_ms` drops what expired.
    pub fn refill(&mut self, now_ms: u64) -> Offered {
        let mut offered = Offered::default();
        self.refill_again(now_ms, &mut offered);
        self.refill_from_backlog(now_ms, &mut offered);
        self.refill_from_replay(now_ms, &mut offered);
        offered
    }

    /// Sends again what a reconnected client may have missed, in the original order, with DUP (MQTT 5, 4.4).
    fn refill_again(&mut self, now_ms: u64, offered: &mut Offered) {
        let Self { inflight, outbox, online: Some(online), .. } = self else { return };
        while outbox.bytes() <= REFILL_BYTES
            && let Some((packet_id, owed)) = inflight.next_again(online.receive_max)
        {
            let terms = Terms { dup: true, ..owed.terms.clone() };
            match draft(online, &owed.event, &terms, now_ms, outbox) {
                Ok(drafted) => {
                    drafted.accept(Some(packet_id), outbox);
                    inflight.sent_again();
                }
                Err(NotSent::NoRoom) => return,
                Err(NotSent::Never(_)) => {
                    offered.dropped_large += 1;
                    inflight.give_up_again();
                }
            }
        }
    }

    fn refill_from_backlog(&mut self, now_ms: u64, offered: &mut Offered) {
        while self.outbox.bytes() <= REFILL_BYTES && self.has_window() {
            let Some(owed) = self.backlog.pop() else { return };
            if is_expired(&owed, now_ms) {
                continue;
            }
            if let Err(owed) = self.send(owed, now_ms, offered) {
                // It fits into an empty outbox, whatever its size.
                return self.backlog.put_back(owed);
            }
        }
    }

    fn refill_from_replay(&mut self, now_ms: u64, offered: &mut Offered) {
        let Some(online) = &self.online else { return };
        let link = online.link.clone();
        let mut fetches = 0;
        while self.outbox.bytes() <= REFILL_BYTES {
            if self.replay.must_fetch() {
                if fetches == FETCHES_MAX {
                    // Let others have their turn first.
                    return link.wake();
                }
                fetches += 1;
                self.replay.fetch();
                continue;
            }
            let Some(owed) = self.replay.front() else { return };
            if owed.terms.qos != Qos::AtMostOnce && !self.has_window() {
                return;
            }
            let wanted = !owed.event.replaced.get() && !is_expired(&owed, now_ms);
            if wanted && self.send(owed, now_ms, offered).is_err() {
                return;
            }
            self.replay.pop();
        }
    }

    /// Whether another QoS 1 or 2 message may be sent now.
    fn has_window(&self) -> bool {
        self.online.as_ref().is_some_and(|online| self.inflight.has_room(online.receive_max))
    }

    /// Encodes the PUBRELs that a reconnected client may have missed, with `release`.
    pub fn release_again(&mut self, release: impl Fn(u16, &mut Vec<u8>)) {
        let Self { inflight, outbox, .. } = self;
        outbox.reply_with(|out| inflight.releases().for_each(|packet_id| release(packet_id, out)));
    }

    /// Takes what waits, for the connection to write it.
    pub fn take(&mut self, spare: Vec<u8>) -> Taken {
        if let Some(online) = &mut self.online {
            online.notified = false;
        }
        self.outbox.take(spare)
    }

    fn keep(&mut self, owed: Owed, offered: &mut Offered) {
        if self.online.is_none() && !self.keeps {
            return;
        }
        match self.backlog.push(owed) {
            Ok(()) => {
                offered.kept += 1;
                offered.crowded |= self.online.is_some() && self.backlog.is_crowded();
            }
            Err(_) => offered.dropped_full += 1,
        }
    }

    /// Encodes one event into the outbox. Gives it back if the outbox has no room; one that this client cannot be sent at all is
    /// dropped and counted.
    fn send(&mut self, owed: Owed, now_ms: u64, offered: &mut Offered) -> Result<(), Owed> {
        let Self { inflight, outbox, online, .. } = self;
        let Some(online) = online else { return Err(owed) };
        let Owed { event, mut terms } = owed;
        terms.alias = online.aliases.look_up(event.topic.name());
        let drafted = draft(online, &event, &terms, now_ms, outbox);
        let alias = terms.alias.take();
        let drafted = match drafted {
            Ok(drafted) => drafted,
            Err(NotSent::NoRoom) => return Err(Owed { event, terms }),
            Err(NotSent::Never(error)) => {
                let too_large = error == Unencodable::TooLarge;
                *(if too_large { &mut offered.dropped_large } else { &mut offered.untranslatable }) += 1;
                return Ok(());
            }
        };
        if let Some((alias, false)) = alias {
            online.aliases.learn(event.topic.name(), alias);
        }
        offered.sent += 1;
        offered.sent_bytes += drafted.bytes;
        let packet_id = drafted.packet_id_at.map(|_| inflight.send(Owed { event, terms }));
        drafted.accept(packet_id, outbox);
        Ok(())
    }
}

/// One copy that was encoded for one session, at the end of its outbox.
struct Drafted {
    mark: usize,
    packet_id_at: Option<usize>,
    /// Follows what was encoded.
    body: Option<Bytes>,
    bytes: usize,
}

/// Why there is no copy.
enum NotSent {
    /// The outbox is too full.
    NoRoom,
    /// This client cannot be sent it.
    Never(Unencodable),
}

/// Encodes a copy behind what the outbox holds.
fn draft(
    online: &Online,
    event: &StoredEvent,
    terms: &Terms,
    now_ms: u64,
    outbox: &mut Outbox,
) -> Result<Drafted, NotSent> {
    let split = event.payload.len() >= SHARE_BYTES_MIN;
    let mark = outbox.mark();
    let encoded = online.wire.0.event(&event.as_event(now_ms), terms, split, outbox.draft());
    let head = outbox.mark() - mark;
    let drafted = encoded.map_err(NotSent::Never).and_then(|Encoded { packet_id_at, body_left_out }| {
        let body = if body_left_out { event.payload.shared_bytes() } else { None };
        let bytes = head + body.as_ref().map_or(0, Bytes::len);
        match bytes {
            bytes if bytes > online.frame_bytes_max => Err(NotSent::Never(Unencodable::TooLarge)),
            bytes if !outbox.has_room(bytes) => Err(NotSent::NoRoom),
            bytes => Ok(Drafted { mark, packet_id_at, body, bytes }),
        }
    });
    if drafted.is_err() {
        outbox.discard(mark);
    }
    drafted
}

impl Drafted {
    /// Makes it a part of the outbox.
    fn accept(self, packet_id: Option<u16>, outbox: &mut Outbox) {
        if let (Some(at), Some(packet_id)) = (self.packet_id_at, packet_id) {
            outbox.patch(at, packet_id);
        }
        outbox.accept(self.mark, self.body);
    }
}

fn is_expired(owed: &Owed, now_ms: u64) -> bool {
    owed.event.expires_at_ms.is_some_and(|at| at <= now_ms)
}

/// A refill goes on until this much waits.
const REFILL_BYTES: usize = 64 * 1024;
/// Slices of retained events that one refill looks at.
const FETCHES_MAX: usize = 8;
