//! What comes in, and when the other broker is told that it is here.
//!
//! ```text
//! PUBLISH --> Arrival --> local log --settled, in order--> PUBACK | PUBREC;  PUBREL --> log --settled--> PUBCOMP
//! ```
//!
//! An acknowledgement is said when what it is for is in the log of this broker. A QoS 2 message is known by its packet
//! identifier until it is released: here as long as the process lives, and in the log, which drops a repeated one after a restart.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::mqtt::codec::{AckType, PacketId, Publish, PublishProperties, encode_ack};
use crate::types::event::{Properties, Qos};

/// Messages that may be on their way into the log: what a broker of MQTT 5 is told as receive maximum.
pub const RECEIVE_MAXIMUM: u16 = 1000;

/// A message of the other broker, in its words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    pub packet_id: Option<PacketId>,
    pub properties: Properties,
    pub expiry_s: Option<u32>,
}

/// What is to be done with what came, in order. Each is to be settled, in order too ([`Inward::settled`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Arrival {
    Message(Box<Message>),
    /// The QoS 2 message of this identifier is released.
    Released(PacketId),
}

/// How an arrival ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is here, or was, or is not wanted: it need not come again.
    Taken,
    /// It cannot be had now: the connection is to be given up, so that it comes again.
    Failed,
}

/// What is owed for an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Nothing,
    Ack(AckType, PacketId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receipt {
    /// On its way into the log.
    Pending,
    Taken,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Inward {
    /// Of the arrivals that are not settled, those of connections that are gone included.
    owed: VecDeque<Owed>,
    /// QoS 2 messages that are not released.
    receipts: HashMap<PacketId, Receipt>,
    out: Vec<u8>,
}

impl Inward {
    /// The connection stands. `resumed`: the other broker still has the session. What is not settled yet is told to nobody.
    pub fn connected(&mut self, resumed: bool) {
        self.out.clear();
        self.owed.iter_mut().for_each(|owed| *owed = Owed::Nothing);
        if !resumed {
            self.receipts.clear();
        }
        // Those that were not answered come again.
        self.receipts.retain(|_, receipt| *receipt == Receipt::Taken);
    }

    /// A message; what is to be done with it, if it is not one that came before.
    pub fn publish(&mut self, message: Message) -> Option<Arrival> {
        let owed = match (message.qos, message.packet_id) {
            (Qos::AtLeastOnce, Some(id)) => Owed::Ack(AckType::Puback, id),
            (Qos::ExactlyOnce, Some(id)) => match self.receipts.get(&id) {
                // It is answered when it is taken.
                Some(Receipt::Pending) => return None,
                Some(Receipt::Taken) => {
                    encode_ack(AckType::Pubrec, id, &mut self.out);
                    return None;
                }
                None => {
                    self.receipts.insert(id, Receipt::Pending);
                    Owed::Ack(AckType::Pubrec, id)
                }
            },
            _ => Owed::Nothing,
        };
        self.owed.push_back(owed);
        Some(Arrival::Message(Box::new(message)))
    }

    /// So many arrivals were told to nobody: they come again.
    pub fn forget_last(&mut self, untold: usize) {
        self.owed.truncate(self.owed.len().saturating_sub(untold));
    }

    /// PUBREL.
    pub fn release(&mut self, id: PacketId) -> Arrival {
        self.owed.push_back(Owed::Ack(AckType::Pubcomp, id));
        Arrival::Released(id)
    }

    /// The first arrival that was not settled is. False: the connection is to be given up.
    pub fn settled(&mut self, how: Settled) -> bool {
        let Some(Owed::Ack(kind, id)) = self.owed.pop_front() else { return true };
        if how == Settled::Failed {
            return false;
        }
        match kind {
            AckType::Pubrec => {
                self.receipts.insert(id, Receipt::Taken);
            }
            AckType::Pubcomp => {
                self.receipts.remove(&id);
            }
            AckType::Puback | AckType::Pubrel => {}
        }
        encode_ack(kind, id, &mut self.out);
        true
    }

    /// Arrivals that are not settled.
    pub fn pending(&self) -> usize {
        self.owed.len()
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

impl Message {
    /// What a PUBLISH says. `frame`: the packet it was read from, `topic` and `properties` as it has them.
    pub fn read(frame: &Bytes, publish: &Publish<'_>, topic: &str, properties: &PublishProperties<'_>) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: frame.slice_ref(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            properties: properties.to_event().map_or_else(Properties::default, |properties| (*properties).clone()),
            expiry_s: properties.expiry_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(qos: Qos, id: u16) -> Message {
        Message { topic: "t".to_owned(), qos, packet_id: PacketId::new(id), ..Message::default() }
    }

    /// The acknowledgements said since the last question, as `kind id`.
    #[track_caller]
    fn said(inward: &mut Inward, expected: &[(AckType, u16)]) {
        let mut bytes = Vec::new();
        for (kind, id) in expected {
            encode_ack(*kind, PacketId::new(*id).unwrap(), &mut bytes);
        }
        assert_eq!(inward.take_output(), bytes);
    }

    #[test]
    fn nothing_is_acknowledged_before_it_is_in_the_log_and_all_in_order() {
        let mut inward = Inward::default();
        for (qos, id) in [(Qos::AtLeastOnce, 1), (Qos::AtMostOnce, 0), (Qos::ExactlyOnce, 2)] {
            assert!(inward.publish(message(qos, id)).is_some());
        }
        said(&mut inward, &[]);
        assert!(inward.settled(Settled::Taken));
        said(&mut inward, &[(AckType::Puback, 1)]);
        assert!(inward.settled(Settled::Taken) && inward.settled(Settled::Taken));
        said(&mut inward, &[(AckType::Pubrec, 2)]);
        assert_eq!(inward.pending(), 0);
    }

    #[test]
    fn a_repeated_qos_2_message_is_answered_and_not_taken_again_until_it_is_released() {
        let mut inward = Inward::default();
        assert!(inward.publish(message(Qos::ExactlyOnce, 7)).is_some());
        assert_eq!(inward.publish(message(Qos::ExactlyOnce, 7)), None, "the first is on its way");
        inward.settled(Settled::Taken);
        said(&mut inward, &[(AckType::Pubrec, 7)]);
        inward.connected(true);
        assert_eq!(inward.publish(message(Qos::ExactlyOnce, 7)), None);
        said(&mut inward, &[(AckType::Pubrec, 7)]);
        assert_eq!(inward.release(PacketId::new(7).unwrap()), Arrival::Released(PacketId::new(7).unwrap()));
        said(&mut inward, &[]);
        inward.settled(Settled::Taken);
        said(&mut inward, &[(AckType::Pubcomp, 7)]);
        assert!(inward.publish(message(Qos::ExactlyOnce, 7)).is_some(), "another message");
    }

    #[test]
    fn what_was_under_way_when_the_connection_was_lost_is_not_acknowledged_on_the_next() {
        let mut inward = Inward::default();
        inward.publish(message(Qos::AtLeastOnce, 1));
        inward.publish(message(Qos::ExactlyOnce, 2));
        inward.connected(true);
        assert!(inward.publish(message(Qos::ExactlyOnce, 2)).is_some(), "the log knows whether it has it");
        inward.settled(Settled::Taken);
        inward.settled(Settled::Taken);
        said(&mut inward, &[]);
        inward.settled(Settled::Taken);
        said(&mut inward, &[(AckType::Pubrec, 2)]);
    }

    #[test]
    fn identifiers_of_a_session_that_is_gone_mean_nothing() {
        let mut inward = Inward::default();
        inward.publish(message(Qos::ExactlyOnce, 2));
        inward.settled(Settled::Taken);
        inward.connected(false);
        assert!(inward.publish(message(Qos::ExactlyOnce, 2)).is_some());
    }

    #[test]
    fn what_the_log_does_not_take_ends_the_connection_unacknowledged() {
        let mut inward = Inward::default();
        inward.publish(message(Qos::AtLeastOnce, 1));
        assert!(!inward.settled(Settled::Failed));
        said(&mut inward, &[]);
    }
}
