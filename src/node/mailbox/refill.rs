//! What a session's own task does: fill the outbox from all that waits.

use std::sync::Arc;

use super::send::{Desk, NotSent, Sending};
use super::{Mailbox, Offered};
use crate::delivery::Owed;
use crate::delivery::inflight::{Cargo, Plan};
use crate::delivery::replay::Fetched;
use crate::node::log::history::History;
use crate::node::reader::pull::{Around, Found, Pulled, Reader, Take};
use crate::node::reader::{Each, Readers, Surroundings};
use crate::types::event::{Event, Qos, StoredEvent, Terms};
use crate::types::ids::SubscriptionId;

/// A refill goes on until this much waits.
pub(super) const REFILL_BYTES: usize = 64 * 1024;
/// Slices of retained events that one refill looks at.
const FETCHES_MAX: usize = 8;
/// Runs and messages of the log that one refill reads.
const STEPS_MAX: u32 = 16 * 1024;
/// Bytes of messages that wait until their packet identifiers are recorded: no more are read then.
const PLANNED_BYTES_MAX: usize = 1024 * 1024;

impl Mailbox {
    /// Fills the outbox with what is inflight from an earlier connection, then from the backlog, the log and the replay, as far as
    /// outbox and window have room. `now_ms` drops what expired.
    pub fn refill(&mut self, now_ms: u64) -> Offered {
        let mut offered = Offered::default();
        if self.inflight.has_again() {
            self.refill_again(now_ms, &mut offered);
        }
        self.refill_ready(now_ms, &mut offered);
        self.refill_from_backlog(now_ms, &mut offered);
        if self.log.is_some() {
            self.refill_from_log(now_ms, &mut offered);
        }
        self.refill_from_replay(now_ms, &mut offered);
        offered
    }

    /// Sends again what a reconnected client may have missed, in the original order, with DUP (MQTT 5, 4.4).
    fn refill_again(&mut self, now_ms: u64, offered: &mut Offered) {
        let Self { inflight, outbox, online: Some(online), log, .. } = self else { return };
        let surroundings = log.as_ref().and_then(|log| log.reading.upgrade());
        let link = online.link.clone();
        let mut desk = Desk { online, outbox, offered };
        while desk.outbox.bytes() <= REFILL_BYTES
            && let Some((packet_id, cargo)) = inflight.next_again(desk.online.receive_max)
        {
            let again = |event: &Event<'_>, sending: Sending<'_>, terms: Terms, desk: &mut Desk<'_>| {
                let mut terms = Terms { dup: true, ..terms };
                desk.draft(event, sending, &mut terms).map(|drafted| drafted.accept(Some(packet_id), desk.outbox))
            };
            let sent = match cargo {
                Cargo::Held(Owed { event, terms }) => {
                    again(&event.as_event(now_ms), Sending::Shared(&event.payload), terms.clone(), &mut desk)
                }
                // Its group has given it to another member.
                Cargo::Shared { .. } => {
                    inflight.give_up_again();
                    continue;
                }
                Cargo::Logged { number, qos } => {
                    let (Some(surroundings), Some(log)) = (&surroundings, log.as_mut()) else { return };
                    let (number, qos) = (*number, *qos);
                    let Readers { own: Some(own), seeker, .. } = &mut **log else { return };
                    let around = surroundings.around(now_ms, &link);
                    let sent = seeker.find(number, &around, &mut own.wants, |sought| {
                        // The packet identifier was given for this QoS.
                        again(&sought.event, Sending::Whole, Terms { qos, ..sought.terms }, &mut desk)
                    });
                    match sent {
                        Found::Yes(sent) => sent,
                        Found::Waits => return,
                        Found::Gone => {
                            inflight.lose_again();
                            continue;
                        }
                    }
                }
            };
            match sent {
                Ok(()) => inflight.sent_again(),
                Err(NotSent::NoRoom) => return,
                Err(NotSent::Never(_)) => {
                    desk.offered.dropped_large += 1;
                    inflight.give_up_again();
                }
            }
        }
    }

    /// Sends what had to wait until its packet identifier was recorded.
    fn refill_ready(&mut self, now_ms: u64, offered: &mut Offered) {
        let Self { inflight, outbox, online: Some(online), .. } = self else { return };
        let mut desk = Desk { online, outbox, offered };
        while desk.outbox.bytes() <= REFILL_BYTES
            && let Some((packet_id, plan)) = inflight.next_ready(desk.online.receive_max)
        {
            let Owed { event, terms } = plan.owed.clone();
            let mut terms = terms;
            match desk.draft(&event.as_event(now_ms), Sending::Shared(&event.payload), &mut terms) {
                Ok(drafted) => {
                    desk.count(&drafted);
                    drafted.accept(Some(packet_id), desk.outbox);
                    inflight.sent_ready();
                }
                Err(NotSent::NoRoom) => return,
                Err(NotSent::Never(error)) => {
                    desk.offered.drop(error);
                    inflight.give_up_ready();
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
                if self.replay.fetch() == Fetched::Later {
                    return;
                }
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
    pub(super) fn has_window(&self) -> bool {
        self.online.as_ref().is_some_and(|online| self.inflight.has_room(online.receive_max))
    }

    /// Reads the log for who is behind.
    fn refill_from_log(&mut self, now_ms: u64, offered: &mut Offered) {
        let Some(surroundings) = self.log.as_ref().and_then(|log| log.reading.upgrade()) else { return };
        let Some(link) = self.online.as_ref().map(|online| online.link.clone()) else { return };
        let around = surroundings.around(now_ms, &link);
        let mut steps = STEPS_MAX;
        let mut later = self.pull_merged(&surroundings, &around, &mut steps, offered);
        later |= self.pull_each(&surroundings, &around, &mut steps, offered);
        later |= self.pull_groups(&around, &mut steps, offered);
        if later {
            // Let others have their turn first.
            link.wake();
        }
    }

    /// What merged copies are made of: first older events that were asked for, then the session's own cursor. `true`: there is
    /// more to be done.
    fn pull_merged(
        &mut self,
        surroundings: &Surroundings,
        around: &Around<'_>,
        steps: &mut u32,
        offered: &mut Offered,
    ) -> bool {
        let Self { inflight, outbox, online: Some(online), log: Some(log), .. } = self else { return false };
        let history = &surroundings.node.log.history;
        let Readers { own, older, over, reading, .. } = &mut **log;
        if !over.is_empty() {
            if inflight.has_unsent() {
                // Its last events wait for their packet identifiers to be recorded.
                return false;
            }
            let wire = online.wire.0;
            let ends = over.drain(..);
            ends.for_each(|(name, id)| outbox.reply_with(|out| wire.snapshot_end(&name, id, out)));
        }
        let recorded = reading.recorded;
        let mut moved = false;
        let mut desk = Desk { online, outbox, offered };
        let mut sink = |event: &Event<'_>, terms: &Terms| {
            if desk.outbox.bytes() > REFILL_BYTES {
                return Take::Full;
            }
            if terms.qos == Qos::AtMostOnce {
                return desk.take(event, terms, |_| 0);
            }
            if !inflight.has_room(desk.online.receive_max) {
                return Take::Full;
            }
            moved = true;
            if recorded && (terms.qos == Qos::ExactlyOnce || inflight.has_unsent()) {
                if inflight.bytes() > PLANNED_BYTES_MAX {
                    return Take::Full;
                }
                let owed = Owed { event: Arc::new(event.store(None)), terms: terms.clone() };
                inflight.plan(Plan { owed, logged: true });
                return Take::Taken;
            }
            let number = event.place.map_or(0, |place| place.number);
            desk.take(event, terms, |qos| inflight.send_cargo(Cargo::Logged { number, qos }))
        };
        let pulled = loop {
            let Some((_, reader)) = older.front_mut() else { break None };
            match reader.pull(around, steps, &mut sink) {
                Pulled::Over if reader.alone => {
                    let identifier = reader.identifier();
                    over.extend(older.pop_front().map(|(name, _)| (name, identifier)));
                    // It is told before anything else is sent.
                    break Some(Pulled::Later);
                }
                Pulled::Over | Pulled::Met => drop(older.pop_front()),
                stopped => break Some(stopped),
            }
        };
        let pulled = match (pulled, own) {
            (None, Some(own)) if !own.position.is_live() => own.pull(around, steps, &mut sink),
            (pulled, _) => pulled.unwrap_or(Pulled::Full),
        };
        if moved && recorded {
            log.touch_own();
        }
        let Some(own) = &mut log.own else { return pulled == Pulled::Later };
        // What is planned must not be overtaken by what is pushed.
        pulled == Pulled::Later || (pulled == Pulled::Met && !inflight.has_unsent() && !meet(own, history))
    }

    /// Subscriptions with cursors of their own, in turns.
    fn pull_each(
        &mut self,
        surroundings: &Surroundings,
        around: &Around<'_>,
        steps: &mut u32,
        offered: &mut Offered,
    ) -> bool {
        let Self { outbox, online: Some(online), log: Some(log), .. } = self else { return false };
        let history = &surroundings.node.log.history;
        let mut desk = Desk { online, outbox, offered };
        let turn = log.turn;
        let behind = |(id, each): (&SubscriptionId, &Each)| (!each.reader.position.is_live()).then_some(*id);
        let mut ids: Vec<_> = log.each.iter().filter_map(behind).collect();
        let first = ids.partition_point(|id| *id <= turn);
        ids.rotate_left(first);
        let mut later = false;
        for id in ids {
            let Some(each) = log.each.get_mut(&id) else { continue };
            if desk.outbox.bytes() > REFILL_BYTES {
                break;
            }
            log.turn = id;
            let Each { reader, sent, recovery, untold, .. } = each;
            let pulled = reader.pull(around, steps, &mut |event, terms| {
                if desk.outbox.bytes() > REFILL_BYTES {
                    return Take::Full;
                }
                let taken = match recovery.filter(|_| *untold) {
                    None => desk.take(event, terms, |_| 0),
                    recovery => desk.take(event, &Terms { recovery, ..terms.clone() }, |_| 0),
                };
                if let (Take::Taken, Some(place)) = (taken, event.place) {
                    *untold = false;
                    *sent = place.number;
                }
                taken
            });
            match pulled {
                Pulled::Met => later |= !meet(reader, history),
                Pulled::Later => later = true,
                Pulled::Over => {
                    log.stop(id);
                    log.ended.push(id);
                }
                Pulled::Waits | Pulled::Full => {}
            }
        }
        later
    }

    /// Encodes one event into the outbox. Gives it back if the outbox has no room; one that this client cannot be sent at all is
    /// dropped and counted.
    pub(super) fn send(&mut self, owed: Owed, now_ms: u64, offered: &mut Offered) -> Result<(), Owed> {
        let recorded = self.is_recorded();
        let Self { inflight, outbox, online, .. } = self;
        let Some(online) = online else { return Err(owed) };
        if recorded && owed.terms.qos == Qos::ExactlyOnce {
            inflight.plan(Plan { owed, logged: false });
            offered.refill_due = true;
            return Ok(());
        }
        let Owed { event, mut terms } = owed;
        let mut desk = Desk { online, outbox, offered };
        match desk.draft(&event.as_event(now_ms), Sending::Shared(&event.payload), &mut terms) {
            Ok(drafted) => {
                desk.count(&drafted);
                let packet_id = drafted.packet_id_at.map(|_| inflight.send(Owed { event, terms }));
                drafted.accept(packet_id, desk.outbox);
                Ok(())
            }
            Err(NotSent::NoRoom) => Err(Owed { event, terms }),
            Err(NotSent::Never(error)) => {
                desk.offered.drop(error);
                Ok(())
            }
        }
    }
}

/// Turns a reader live if the feed has not gone on meanwhile.
fn meet(reader: &mut Reader, history: &History) -> bool {
    reader.position.meet(history.fed())
}

pub(super) fn is_expired(owed: &Owed, now_ms: u64) -> bool {
    is_event_expired(&owed.event, now_ms)
}

fn is_event_expired(event: &StoredEvent, now_ms: u64) -> bool {
    event.expires_at_ms.is_some_and(|at| at <= now_ms)
}
