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

use std::collections::VecDeque;

use super::Owed;
use crate::types::event::Qos;

const IDS: u32 = 65_535;

/// A message in the window.
#[derive(Clone, Debug)]
enum Slot {
    /// Acknowledged, waits for older ones to go.
    Empty,
    /// PUBLISH sent; PUBACK or PUBREC is awaited.
    Sent(Owed),
    /// PUBREL sent; PUBCOMP is awaited.
    Released,
}

impl Slot {
    fn qos(&self) -> Option<Qos> {
        match self {
            Slot::Sent(owed) => Some(owed.terms.qos),
            Slot::Empty | Slot::Released => None,
        }
    }
}

/// What is to be sent again after a reconnect, in the original order (MQTT 5, 4.4).
#[derive(Clone, Copy, Debug)]
pub enum Resend<'a> {
    Publish(&'a Owed, u16),
    Release(u16),
}

/// The window of one session.
#[derive(Debug, Default)]
pub struct Inflight {
    slots: VecDeque<Slot>,
    /// Packet identifier of `slots[0]`, less one: 0..65535.
    first: u32,
    unacknowledged: u32,
}

impl Inflight {
    /// Messages that count against the client's receive maximum.
    pub fn len(&self) -> usize {
        self.unacknowledged as usize
    }

    pub fn is_empty(&self) -> bool {
        self.unacknowledged == 0
    }

    /// Whether another message may be sent to a client that takes `receive_max` at a time.
    pub fn has_room(&self, receive_max: u16) -> bool {
        self.unacknowledged < u32::from(receive_max) && self.slots.len() < IDS as usize
    }

    /// Takes a message that is being sent and names its packet identifier. Call only when [`Inflight::has_room`].
    pub fn send(&mut self, owed: Owed) -> u16 {
        let id = (self.first + self.slots.len() as u32) % IDS + 1;
        self.slots.push_back(Slot::Sent(owed));
        self.unacknowledged += 1;
        id as u16
    }

    /// PUBACK: the QoS 1 message is done. `false` if no such message is inflight.
    pub fn acknowledge(&mut self, packet_id: u16) -> bool {
        match self.slot(packet_id) {
            Some(slot @ Slot::Sent(_)) if slot.qos() == Some(Qos::AtLeastOnce) => *slot = Slot::Empty,
            _ => return false,
        }
        self.done();
        true
    }

    /// PUBREC with success: the body may be forgotten, PUBREL is due. `false` if no such message is inflight. A repeated
    /// PUBREC is answered with PUBREL again.
    pub fn receive(&mut self, packet_id: u16) -> bool {
        match self.slot(packet_id) {
            Some(slot @ Slot::Sent(_)) if slot.qos() == Some(Qos::ExactlyOnce) => *slot = Slot::Released,
            Some(Slot::Released) => {}
            _ => return false,
        }
        true
    }

    /// PUBREC with an error: the message is done, no PUBREL follows (MQTT 5, 4.3.3). `false` if it is not inflight.
    pub fn refuse(&mut self, packet_id: u16) -> bool {
        match self.slot(packet_id) {
            Some(slot @ Slot::Sent(_)) if slot.qos() == Some(Qos::ExactlyOnce) => *slot = Slot::Empty,
            _ => return false,
        }
        self.done();
        true
    }

    /// PUBCOMP: the QoS 2 message is done. `false` if it was not released.
    pub fn complete(&mut self, packet_id: u16) -> bool {
        match self.slot(packet_id) {
            Some(slot @ Slot::Released) => *slot = Slot::Empty,
            _ => return false,
        }
        self.done();
        true
    }

    /// All that must be sent again, oldest first.
    pub fn resend(&self) -> impl Iterator<Item = Resend<'_>> {
        self.slots.iter().enumerate().filter_map(|(i, slot)| {
            let id = ((self.first + i as u32) % IDS + 1) as u16;
            match slot {
                Slot::Empty => None,
                Slot::Sent(owed) => Some(Resend::Publish(owed, id)),
                Slot::Released => Some(Resend::Release(id)),
            }
        })
    }

    /// Forgets everything, as the end of a session does.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn slot(&mut self, packet_id: u16) -> Option<&mut Slot> {
        let index = (u32::from(packet_id) + IDS - 1 - self.first) % IDS;
        self.slots.get_mut(index as usize)
    }

    fn done(&mut self) {
        self.unacknowledged -= 1;
        while matches!(self.slots.front(), Some(Slot::Empty)) {
            self.slots.pop_front();
            self.first = (self.first + 1) % IDS;
        }
        if self.slots.is_empty() && self.slots.capacity() > 256 {
            self.slots = VecDeque::new();
        }
    }
}
