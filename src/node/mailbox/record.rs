//! What is recorded of a session that reads the log: how far its cursors came, and what is under way.
//!
//! ```text
//! refill -> take_progress -> Command::Progress -> progress_recorded -> refill
//! ```

use std::sync::Arc;

use super::Mailbox;
use crate::delivery::inflight::Receipt;
use crate::node::link::Link;
use crate::node::reader::Durable;
use crate::node::reader::moved::Moved;
use crate::node::reader::position::Position;
use crate::queue::command::{self, Cursor, Older};

/// Numbers that a live reader has passed by before that is worth recording.
const PASSED_MIN: u64 = 1000;

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
        let log = self.log.as_ref()?;
        let own = log.own.as_ref()?;
        let inflight = self.inflight.flights().map(|flight| command::Flight {
            number: flight.number,
            packet_id: flight.packet_id,
            qos: flight.qos as u8,
            released: flight.released,
            attempts: 0,
        });
        let older = log.older.iter().map(|(filter, reader)| Older {
            filter: filter.to_string(),
            next: reader.position.next(),
            until: reader.position.until(),
        });
        Some(Cursor { sent_to: own.position.next() - 1, inflight: inflight.collect(), older: older.collect() })
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

    /// What was taken to be recorded was not, and there is no connection that knows.
    pub(in crate::node) fn touch_again(&mut self) {
        if let Some(log) = &mut self.log {
            log.each.values_mut().for_each(|each| each.dirty = each.durable.is_some());
            log.own_dirty = log.reading.recorded;
            (log.dirty, log.listed) = (true, true);
        }
    }

    fn settle_dirt(&mut self) {
        if let Some(log) = &mut self.log {
            log.dirty = log.own_dirty || log.each.values().any(|each| each.dirty);
            log.flush_due &= log.dirty;
        }
    }

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
        // It will be recorded with the end of the connection how far it came.
        log.own_dirty = log.reading.recorded;
        log.dirty |= log.own_dirty;
        self.inflight.cancel_recording();
    }

    /// Of a reader that is live, and has been offered nothing that it wants for long: what it has passed by is to be recorded, so that
    /// it does not keep the log from being tidied up. Called now and then.
    pub fn note_passed(&mut self) {
        let Some(log) = &mut self.log else { return };
        let routed = log.reading.node.upgrade().map_or(0, |node| node.log.history.routed());
        let behind = |position: &Position| position.is_live() && position.next() + PASSED_MIN <= routed;
        let mut moved = false;
        for each in log.each.values_mut().filter(|each| each.durable.is_some() && behind(&each.reader.position)) {
            each.reader.position.pass(routed);
            each.dirty = true;
            moved = true;
        }
        if let Some(own) = log.own.as_mut().filter(|own| behind(&own.position)) {
            own.position.pass(routed);
            log.own_dirty |= log.reading.recorded;
            moved |= log.own_dirty;
        }
        if moved {
            log.touch();
        }
    }
}
