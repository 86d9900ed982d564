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
//!
//! Sessions that survive the broker record what a repetition would give away: the packet identifier of a QoS 2 message before it
//! is sent, and that PUBREC came before PUBREL is sent. Until that is done, it waits here:
//!
//! ```text
//! plan -> Planned -begin_recording-> (being recorded) -recorded-> Ready -> Sent -PUBREC-> Received -> ... -> Released -> Empty
//! ```

use std::collections::VecDeque;

use super::Owed;
use crate::types::event::Qos;

const IDS: u32 = 65_535;

/// An empty window keeps room for so many messages.
const SPARE_MAX: usize = 256;

/// A message under a packet identifier.
#[derive(Clone, Debug)]
pub enum Cargo {
    /// It is kept here as long as it may have to be sent again.
    Held(Owed),
    /// It can be read in the log again.
    Logged { number: u64, qos: Qos },
    /// It was given to the session by a group, which gives it to another if the connection ends. Never with the highest QoS.
    Shared { number: u64, group: u64 },
}

/// A message that has its packet identifier and was not sent yet.
#[derive(Clone, Debug)]
pub struct Plan {
    pub owed: Owed,
    /// It can be read in the log, so it need not be kept once it is sent.
    pub logged: bool,
}

/// What has to be remembered of a message that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Of its event in the log; 0: it is not there.
    pub number: u64,
    pub packet_id: u16,
    pub qos: Qos,
    /// PUBREC has come: only PUBREL is owed (MQTT 5, 4.3.3).
    pub released: bool,
}

/// What a PUBREC leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// No such message is inflight.
    Unknown,
    /// PUBREL is due.
    Release,
    /// PUBREL is due when it is recorded.
    Record,
}

/// A place in the window.
#[derive(Clone, Debug)]
enum Slot {
    /// Acknowledged, waits for older ones to go.
    Empty,
    /// Its packet identifier has to be recorded before it is sent; `true`: that is being done.
    Planned(Plan, bool),
    /// May be sent for the first time.
    Ready(Plan),
    /// PUBLISH sent; PUBACK or PUBREC is awaited.
    Sent(Cargo),
    /// PUBLISH was sent over an earlier connection and has to be sent again.
    Again(Cargo),
    /// PUBREC came, which has to be recorded before PUBREL is sent; `true`: that is being done.
    Received(u64, bool),
    /// PUBREL sent; PUBCOMP is awaited.
    Released(u64),
}

impl Cargo {
    fn qos(&self) -> Qos {
        match self {
            Cargo::Held(owed) => owed.terms.qos,
            Cargo::Logged { qos, .. } => *qos,
            Cargo::Shared { .. } => Qos::AtLeastOnce,
        }
    }

    fn number(&self) -> u64 {
        match self {
            Cargo::Held(owed) => number_of(owed),
            Cargo::Logged { number, .. } | Cargo::Shared { number, .. } => *number,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Cargo::Held(owed) => owed.bytes(),
            Cargo::Logged { .. } | Cargo::Shared { .. } => 0,
        }
    }
}

impl Plan {
    /// What is kept once it is sent.
    fn into_cargo(self) -> Cargo {
        match self.owed.event.place {
            Some(place) if self.logged => Cargo::Logged { number: place.number, qos: self.owed.terms.qos },
            _ => Cargo::Held(self.owed),
        }
    }
}

fn number_of(owed: &Owed) -> u64 {
    owed.event.place.map_or(0, |place| place.number)
}

impl Slot {
    /// Bytes that the message holds as long as its body may have to be sent.
    fn bytes(&self) -> usize {
        match self {
            Slot::Planned(plan, _) | Slot::Ready(plan) => plan.owed.bytes(),
            Slot::Sent(cargo) | Slot::Again(cargo) => cargo.bytes(),
            Slot::Empty | Slot::Received(..) | Slot::Released(_) => 0,
        }
    }

    /// Whether this is a message of that QoS, sent and not acknowledged.
    fn is_sent(&self, qos: Qos) -> bool {
        matches!(self, Slot::Sent(cargo) | Slot::Again(cargo) if cargo.qos() == qos)
    }

    /// Number, QoS, and whether PUBREC came, of a message that the session has to be sent again.
    fn flight(&self) -> Option<(u64, Qos, bool)> {
        match self {
            Slot::Empty | Slot::Sent(Cargo::Shared { .. }) | Slot::Again(Cargo::Shared { .. }) => None,
            Slot::Planned(plan, _) | Slot::Ready(plan) => Some((number_of(&plan.owed), plan.owed.terms.qos, false)),
            Slot::Sent(cargo) | Slot::Again(cargo) => Some((cargo.number(), cargo.qos(), false)),
            Slot::Received(number, _) | Slot::Released(number) => Some((*number, Qos::ExactlyOnce, true)),
        }
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
    /// Slots that are [`Slot::Planned`] or [`Slot::Ready`].
    unsent: u32,
    /// None of them is before this index.
    unsent_at: usize,
    /// Slots that are [`Slot::Planned`] or [`Slot::Received`] and not being recorded.
    unrecorded: u32,
    /// Bytes of all messages that may have to be sent.
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
        self.send_cargo(Cargo::Held(owed))
    }

    /// See [`Inflight::send`].
    pub fn send_cargo(&mut self, cargo: Cargo) -> u16 {
        self.bytes += cargo.bytes();
        self.push(Slot::Sent(cargo))
    }

    /// Takes a message that may be sent when its packet identifier is recorded. Call only when [`Inflight::has_room`].
    pub fn plan(&mut self, plan: Plan) {
        self.bytes += plan.owed.bytes();
        if self.unsent == 0 {
            self.unsent_at = self.slots.len();
        }
        self.unsent += 1;
        self.unrecorded += 1;
        self.push(Slot::Planned(plan, false));
    }

    fn push(&mut self, slot: Slot) -> u16 {
        let packet_id = self.packet_id(self.slots.len());
        self.slots.push_back(slot);
        self.unacknowledged += 1;
        packet_id
    }

    /// Messages have a packet identifier and were not sent yet: others must not overtake them.
    pub fn has_unsent(&self) -> bool {
        self.unsent > 0
    }

    /// Messages have to be sent again before anything else.
    pub fn has_again(&self) -> bool {
        self.again > 0
    }

    /// Bytes of messages that are kept here.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Something has to be recorded, and that is not being done.
    pub fn must_record(&self) -> bool {
        self.unrecorded > 0
    }

    /// What has to be remembered, in the order of sending. Messages that a repetition does not harm and that cannot be read in
    /// the log again are left out.
    pub fn flights(&self) -> impl Iterator<Item = Flight> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let (number, qos, released) = slot.flight()?;
            let flight = Flight { number, packet_id: self.packet_id(index), qos, released };
            (number > 0 || qos == Qos::ExactlyOnce).then_some(flight)
        })
    }

    /// [`Inflight::flights`] are being recorded.
    pub fn begin_recording(&mut self) {
        self.set_recording(true);
        self.unrecorded = 0;
    }

    /// They were not recorded, or it is not known.
    pub fn cancel_recording(&mut self) {
        self.unrecorded = self.set_recording(false);
    }

    fn set_recording(&mut self, recording: bool) -> u32 {
        let mut count = 0;
        for slot in &mut self.slots {
            if let Slot::Planned(_, flag) | Slot::Received(_, flag) = slot {
                *flag = recording;
                count += 1;
            }
        }
        count
    }

    /// They are recorded. Gives the packet identifiers for which PUBREL is due now.
    pub fn recorded(&mut self) -> Vec<u16> {
        let mut releases = Vec::new();
        for index in 0..self.slots.len() {
            match &mut self.slots[index] {
                Slot::Received(number, true) => {
                    self.slots[index] = Slot::Released(*number);
                    releases.push(self.packet_id(index));
                }
                slot @ Slot::Planned(_, true) => {
                    if let Slot::Planned(plan, _) = std::mem::replace(slot, Slot::Empty) {
                        *slot = Slot::Ready(plan);
                    }
                }
                _ => {}
            }
        }
        releases
    }

    /// The next message that is ready, as long as a client that takes `receive_max` at a time has room for it. Those that are to be
    /// sent again come first.
    pub fn next_ready(&mut self, receive_max: u16) -> Option<(u16, &Plan)> {
        if self.unsent == 0 || self.again > 0 || self.unacknowledged - self.unsent >= u32::from(receive_max) {
            return None;
        }
        let is_unsent = |slot: &Slot| matches!(slot, Slot::Planned(..) | Slot::Ready(_));
        self.unsent_at += self.slots.range(self.unsent_at..).position(is_unsent)?;
        match &self.slots[self.unsent_at] {
            Slot::Ready(plan) => Some((self.packet_id(self.unsent_at), plan)),
            _ => None,
        }
    }

    /// The message that [`Inflight::next_ready`] named was sent.
    pub fn sent_ready(&mut self) {
        let Some(slot) = self.slots.get_mut(self.unsent_at) else { return };
        match std::mem::replace(slot, Slot::Empty) {
            Slot::Ready(plan) => {
                self.bytes -= plan.owed.bytes();
                let cargo = plan.into_cargo();
                self.bytes += cargo.bytes();
                *slot = Slot::Sent(cargo);
                self.unsent -= 1;
            }
            other => *slot = other,
        }
    }

    /// The message that [`Inflight::next_ready`] named cannot be sent to this client at all; it counts as done [MQTT-3.1.2-25].
    pub fn give_up_ready(&mut self) {
        self.finish(self.packet_id(self.unsent_at), |slot| matches!(slot, Slot::Ready(_)));
    }

    /// Puts back what was under way before the broker started, in the order of sending: all of it has to be sent again.
    pub fn restore(&mut self, flights: impl IntoIterator<Item = Flight>) {
        self.clear();
        for Flight { number, packet_id, qos, released } in flights {
            let Some(place) = u32::from(packet_id).checked_sub(1) else { continue };
            if self.slots.is_empty() {
                self.first = place;
            }
            let at = ((place + IDS - self.first) % IDS) as usize;
            if at < self.slots.len() {
                continue;
            }
            self.slots.resize_with(at, || Slot::Empty);
            // A message that is lost cannot be sent again, but its packet identifier has to be given back.
            let done = released || number == 0;
            self.slots.push_back(if done {
                Slot::Released(number)
            } else {
                Slot::Again(Cargo::Logged { number, qos })
            });
            self.again += u32::from(!done);
            self.unacknowledged += 1;
        }
    }

    /// PUBACK: the QoS 1 message is done. `false` if no such message is inflight.
    pub fn acknowledge(&mut self, packet_id: u16) -> bool {
        self.finish(packet_id, |slot| slot.is_sent(Qos::AtLeastOnce))
    }

    /// The number of the message and the group that gave it, if one has.
    pub fn shared(&mut self, packet_id: u16) -> Option<(u64, u64)> {
        match self.slot(packet_id)? {
            Slot::Sent(Cargo::Shared { number, group }) | Slot::Again(Cargo::Shared { number, group }) => {
                Some((*number, *group))
            }
            _ => None,
        }
    }

    /// The connection is gone: what groups have given the session is not its any more.
    pub fn drop_shared(&mut self) {
        for index in (0..self.slots.len()).rev() {
            let shared =
                |slot: &Slot| matches!(slot, Slot::Sent(Cargo::Shared { .. }) | Slot::Again(Cargo::Shared { .. }));
            if self.slots.get(index).is_some_and(shared) {
                self.finish(self.packet_id(index), shared);
            }
        }
    }

    /// PUBREC with success: the body may be forgotten, PUBREL is due. `false` if no such message is inflight. A repeated
    /// PUBREC is answered with PUBREL again.
    pub fn receive(&mut self, packet_id: u16) -> bool {
        let number = match self.slot(packet_id) {
            Some(slot) if slot.is_sent(Qos::ExactlyOnce) => slot.flight().map_or(0, |(number, ..)| number),
            Some(Slot::Released(_)) => return true,
            _ => return false,
        };
        self.receive_as(packet_id, Slot::Released(number));
        true
    }

    /// The same where it has to be recorded before PUBREL.
    pub fn receive_recorded(&mut self, packet_id: u16) -> Receipt {
        let number = match self.slot(packet_id) {
            Some(slot) if slot.is_sent(Qos::ExactlyOnce) => slot.flight().map_or(0, |(number, ..)| number),
            Some(Slot::Released(_)) => return Receipt::Release,
            Some(Slot::Received(..)) => return Receipt::Record,
            _ => return Receipt::Unknown,
        };
        self.receive_as(packet_id, Slot::Received(number, false));
        self.unrecorded += 1;
        Receipt::Record
    }

    fn receive_as(&mut self, packet_id: u16, received: Slot) {
        let Some(slot) = self.slot(packet_id) else { return };
        let before = std::mem::replace(slot, received);
        self.bytes -= before.bytes();
        self.again -= u32::from(matches!(before, Slot::Again(_)));
    }

    /// PUBREC with an error: the message is done, no PUBREL follows (MQTT 5, 4.3.3). `false` if it is not inflight.
    pub fn refuse(&mut self, packet_id: u16) -> bool {
        self.finish(packet_id, |slot| slot.is_sent(Qos::ExactlyOnce))
    }

    /// PUBCOMP: the QoS 2 message is done. `false` if it was not released.
    pub fn complete(&mut self, packet_id: u16) -> bool {
        self.finish(packet_id, |slot| matches!(slot, Slot::Released(_)))
    }

    /// The client has a new connection: all that is unacknowledged has to be sent again, [`Inflight::releases`] at once, the
    /// messages as [`Inflight::next_again`] gives them.
    pub fn reconnect(&mut self) {
        for slot in &mut self.slots {
            *slot = match std::mem::replace(slot, Slot::Empty) {
                Slot::Sent(cargo) => {
                    self.again += 1;
                    Slot::Again(cargo)
                }
                other => other,
            };
        }
        self.again_at = 0;
    }

    /// Packet identifiers of the PUBRELs that are not answered, oldest first.
    pub fn releases(&self) -> impl Iterator<Item = u16> {
        let released = self.slots.iter().enumerate().filter(|(_, slot)| matches!(slot, Slot::Released(_)));
        released.map(|(index, _)| self.packet_id(index))
    }

    /// The next message to be sent again, as long as a client that takes `receive_max` at a time has room for it.
    pub fn next_again(&mut self, receive_max: u16) -> Option<(u16, &Cargo)> {
        if self.again == 0 || self.unacknowledged - self.again - self.unsent >= u32::from(receive_max) {
            return None;
        }
        self.again_at += self.slots.range(self.again_at..).position(|slot| matches!(slot, Slot::Again(_)))?;
        match &self.slots[self.again_at] {
            Slot::Again(cargo) => Some((self.packet_id(self.again_at), cargo)),
            _ => None,
        }
    }

    /// The message that [`Inflight::next_again`] named was sent.
    pub fn sent_again(&mut self) {
        let Some(slot) = self.slots.get_mut(self.again_at) else { return };
        match std::mem::replace(slot, Slot::Empty) {
            Slot::Again(cargo) => {
                *slot = Slot::Sent(cargo);
                self.again -= 1;
            }
            other => *slot = other,
        }
    }

    /// The message that [`Inflight::next_again`] named cannot be sent to this client at all; it counts as done
    /// [MQTT-3.1.2-25].
    pub fn give_up_again(&mut self) {
        self.finish(self.packet_id(self.again_at), |slot| matches!(slot, Slot::Again(_)));
    }

    /// The message that [`Inflight::next_again`] named is not in the log any more. The client may have seen it: the packet
    /// identifier of one of QoS 2 is given back by PUBREL, as if PUBREC had come.
    pub fn lose_again(&mut self) {
        let packet_id = self.packet_id(self.again_at);
        if self.receive_recorded(packet_id) == Receipt::Unknown {
            self.give_up_again();
        }
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
        self.unsent -= u32::from(matches!(before, Slot::Ready(_)));
        self.unacknowledged -= 1;
        while matches!(self.slots.front(), Some(Slot::Empty)) {
            self.slots.pop_front();
            self.first = (self.first + 1) % IDS;
            self.again_at = self.again_at.saturating_sub(1);
            self.unsent_at = self.unsent_at.saturating_sub(1);
        }
        if self.slots.is_empty() && self.slots.capacity() > SPARE_MAX {
            self.slots = VecDeque::new();
        }
        true
    }
}
