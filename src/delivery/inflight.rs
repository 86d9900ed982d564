//! QoS 1 and 2 messages sent to a client and not yet acknowledged (MQTT 5, 4.3 and 4.4).
//!
//! Packet identifiers run 1, 2, …, 65535, 1, … so the place of a message is found by subtraction:
//!
//! ```text
//! slots:   [ sent | acked | released | sent ]      packet id of slots[i] = first + i (wrapping past 65535 to 1)
//!            ^ first
//! ```
//!
//! An acknowledgement out of turn leaves an empty slot; the front is trimmed. A client that never acknowledges its oldest
//! message is therefore stopped after 65535 further ones at the latest, which its receive maximum does long before.
//!
//! What is unacknowledged when the client reconnects is sent again, oldest first and before anything new, as far as the receive
//! maximum of the new connection allows; it may be smaller than the old one (MQTT 5, 4.4 and 4.9).

use std::collections::VecDeque;

use super::Owed;
use crate::types::event::Qos;

const IDS: u32 = 65_535;

/// An empty window keeps room for so many messages.
const SPARE_MAX: usize = 256;

/// A message in the window.
#[derive(Clone, Debug)]
enum Slot {
    /// Acknowledged, waits for older ones to go.
    Empty,
    /// PUBLISH sent; PUBACK or PUBREC is awaited.
    Sent(Owed),
    /// PUBLISH was sent over an earlier connection and has to be sent again.
    Again(Owed),
    /// PUBREL sent; PUBCOMP is awaited.
    Released,
}

impl Slot {
    /// Bytes that the message holds as long as its body may have to be sent again.
    fn bytes(&self) -> usize {
        match self {
            Slot::Sent(owed) | Slot::Again(owed) => owed.bytes(),
            Slot::Empty | Slot::Released => 0,
        }
    }

    /// Whether this is a message of that QoS, sent and not acknowledged.
    fn is_sent(&self, qos: Qos) -> bool {
        matches!(self, Slot::Sent(owed) | Slot::Again(owed) if owed.terms.qos == qos)
    }
}

/// The window of one session.
#[derive(Debug, Default)]
pub struct Inflight {
    slots: VecDeque<Slot>,
    /// Packet identifier of `slots[0]`, less one: 0..65535.
    first: u32,
    /// Slots that are not empty.
    unacknowledged: u32,
    /// Slots that are [`Slot::Again`].
    again: u32,
    /// None of them is before this index.
    again_at: usize,
    /// Bytes of all messages that may have to be sent again.
    bytes: usize,
    /// The message that brings `bytes` to this closes the window; `None`: nothing but the receive maximum does.
    bytes_max: Option<usize>,
}

impl Inflight {
    /// An empty window that takes messages as long as those in it have less than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max: Some(bytes_max), ..Self::default() }
    }

    /// Messages that are not acknowledged.
    pub fn len(&self) -> usize {
        self.unacknowledged as usize
    }

    pub fn is_empty(&self) -> bool {
        self.unacknowledged == 0
    }

    /// Whether another message may be sent to a client that takes `receive_max` at a time. Not as long as older ones have to
    /// be sent again.
    pub fn has_room(&self, receive_max: u16) -> bool {
        self.again == 0
            && self.unacknowledged < u32::from(receive_max)
            && self.slots.len() < IDS as usize
            && (self.bytes == 0 || self.bytes_max.is_none_or(|max| self.bytes < max))
    }

    /// Takes a message that is being sent and names its packet identifier. Call only when [`Inflight::has_room`].
    pub fn send(&mut self, owed: Owed) -> u16 {
        let packet_id = self.packet_id(self.slots.len());
        self.bytes += owed.bytes();
        self.slots.push_back(Slot::Sent(owed));
        self.unacknowledged += 1;
        packet_id
    }

    /// PUBACK: the QoS 1 message is done. `false` if no such message is inflight.
    pub fn acknowledge(&mut self, packet_id: u16) -> bool {
        self.finish(packet_id, |slot| slot.is_sent(Qos::AtLeastOnce))
    }

    /// PUBREC with success: the body may be forgotten, PUBREL is due. `false` if no such message is inflight. A repeated
    /// PUBREC is answered with PUBREL again.
    pub fn receive(&mut self, packet_id: u16) -> bool {
        let Some(slot) = self.slot(packet_id) else { return false };
        if !slot.is_sent(Qos::ExactlyOnce) {
            return matches!(slot, Slot::Released);
        }
        let before = std::mem::replace(slot, Slot::Released);
        self.bytes -= before.bytes();
        self.again -= u32::from(matches!(before, Slot::Again(_)));
        true
    }

    /// PUBREC with an error: the message is done, no PUBREL follows (MQTT 5, 4.3.3). `false` if it is not inflight.
    pub fn refuse(&mut self, packet_id: u16) -> bool {
        self.finish(packet_id, |slot| slot.is_sent(Qos::ExactlyOnce))
    }

    /// PUBCOMP: the QoS 2 message is done. `false` if it was not released.
    pub fn complete(&mut self, packet_id: u16) -> bool {
        self.finish(packet_id, |slot| matches!(slot, Slot::Released))
    }

    /// The client has a new connection: all that is unacknowledged has to be sent again, [`Inflight::releases`] at once, the
    /// messages as [`Inflight::next_again`] gives them.
    pub fn reconnect(&mut self) {
        for slot in &mut self.slots {
            *slot = match std::mem::replace(slot, Slot::Empty) {
                Slot::Sent(owed) => {
                    self.again += 1;
                    Slot::Again(owed)
                }
                other => other,
            };
        }
        self.again_at = 0;
    }

    /// Packet identifiers of the PUBRELs that are not answered, oldest first.
    pub fn releases(&self) -> impl Iterator<Item = u16> {
        let released = self.slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Slot::Released));
        released.map(|(index, _)| self.packet_id(index))
    }

    /// The next message to be sent again, as long as a client that takes `receive_max` at a time has room for it.
    pub fn next_again(&mut self, receive_max: u16) -> Option<(u16, &Owed)> {
        if self.again == 0 || self.unacknowledged - self.again >= u32::from(receive_max) {
            return None;
        }
        self.again_at += self.slots.range(self.again_at..).position(|slot| matches!(slot, Slot::Again(_)))?;
        match &self.slots[self.again_at] {
            Slot::Again(owed) => Some((self.packet_id(self.again_at), owed)),
            _ => None,
        }
    }

    /// The message that [`Inflight::next_again`] named was sent.
    pub fn sent_again(&mut self) {
        let Some(slot) = self.slots.get_mut(self.again_at) else { return };
        if let Slot::Again(owed) = slot {
            *slot = Slot::Sent(owed.clone());
            self.again -= 1;
        }
    }

    /// The message that [`Inflight::next_again`] named cannot be sent to this client at all; it counts as done
    /// [MQTT-3.1.2-25].
    pub fn give_up_again(&mut self) {
        self.finish(self.packet_id(self.again_at), |slot| matches!(slot, Slot::Again(_)));
    }

    /// Forgets everything, as the end of a session does.
    pub fn clear(&mut self) {
        *self = Self { bytes_max: self.bytes_max, ..Self::default() };
    }

    fn packet_id(&self, index: usize) -> u16 {
        ((self.first + index as u32) % IDS + 1) as u16
    }

    fn slot(&mut self, packet_id: u16) -> Option<&mut Slot> {
        let place = u32::from(packet_id.checked_sub(1)?);
        self.slots.get_mut(((place + IDS - self.first) % IDS) as usize)
    }

    /// Ends the message of that packet identifier if its slot is as it must be.
    fn finish(&mut self, packet_id: u16, expected: impl FnOnce(&Slot) -> bool) -> bool {
        let Some(slot) = self.slot(packet_id).filter(|slot| expected(slot)) else { return false };
        let before = std::mem::replace(slot, Slot::Empty);
        self.bytes -= before.bytes();
        self.again -= u32::from(matches!(before, Slot::Again(_)));
        self.unacknowledged -= 1;
        while matches!(self.slots.front(), Some(Slot::Empty)) {
            self.slots.pop_front();
            self.first = (self.first + 1) % IDS;
            self.again_at = self.again_at.saturating_sub(1);
        }
        if self.slots.is_empty() && self.slots.capacity() > SPARE_MAX {
            self.slots = VecDeque::new();
        }
        true
    }
}
