//! Publications on their way to the broker, until it has acknowledged them.

use std::collections::VecDeque;

use crate::client::machine::Token;
use crate::mqtt::codec::{PacketId, set_dup};

/// What a PUBLISH was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Publication(Token),
    Call(Token),
    Answer,
}

/// In the order in which they were sent (MQTT 5, 4.6).
#[derive(Default)]
pub(super) struct Inflight(VecDeque<Entry>);

struct Entry {
    packet_id: PacketId,
    purpose: Purpose,
    /// The whole PUBLISH; empty once the broker has it (QoS 2, after PUBREC).
    packet: Vec<u8>,
}

/// What is to be said again after a reconnect.
pub(super) enum Again<'a> {
    Publish(&'a [u8]),
    Pubrel(PacketId),
}

impl Inflight {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn contains(&self, packet_id: PacketId) -> bool {
        self.find(packet_id).is_some()
    }

    pub fn push(&mut self, packet_id: PacketId, purpose: Purpose, packet: Vec<u8>) {
        self.0.push_back(Entry { packet_id, purpose, packet });
    }

    /// The publication is through, or has failed.
    pub fn remove(&mut self, packet_id: PacketId) -> Option<Purpose> {
        let at = self.find(packet_id)?;
        self.0.remove(at).map(|entry| entry.purpose)
    }

    /// The broker has it and waits for PUBREL. False: there is no such publication.
    pub fn release(&mut self, packet_id: PacketId) -> bool {
        let entry = self.find(packet_id).and_then(|at| self.0.get_mut(at));
        entry.map(|entry| entry.packet = Vec::new()).is_some()
    }

    /// Nobody waits for calls and answers of a connection that is gone.
    pub fn drop_calls(&mut self) {
        self.0.retain(|entry| matches!(entry.purpose, Purpose::Publication(_)));
    }

    /// A new session: takes out what the broker had taken over before. The rest is to be sent as if for the first time.
    pub fn begin_anew(&mut self) -> Vec<Purpose> {
        let taken = self.0.iter().filter(|entry| entry.packet.is_empty()).map(|entry| entry.purpose).collect();
        self.0.retain(|entry| !entry.packet.is_empty());
        taken
    }

    /// The old session goes on: what is sent is sent again [MQTT-4.4.0-1].
    pub fn mark_repeated(&mut self) {
        for entry in &mut self.0 {
            set_dup(&mut entry.packet);
        }
    }

    pub fn again(&self) -> impl Iterator<Item = Again<'_>> {
        self.0.iter().map(|entry| match entry.packet.is_empty() {
            true => Again::Pubrel(entry.packet_id),
            false => Again::Publish(&entry.packet),
        })
    }

    /// Acknowledgements come in order, so it is nearly always the first.
    fn find(&self, packet_id: PacketId) -> Option<usize> {
        self.0.iter().position(|entry| entry.packet_id == packet_id)
    }
}
