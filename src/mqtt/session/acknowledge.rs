//! Acknowledgements of what was sent to the client, and PUBREL of what it sent (MQTT 5, 4.3).

use super::{Halt, Open};
use crate::mqtt::codec::{Ack, AckType, Level, ReasonCode, encode_ack};

impl Open {
    /// PUBACK: a QoS 1 message is done, whatever its reason code says. One for nothing is ignored: it may cross a reconnect.
    pub(super) fn acknowledged(&mut self, ack: &Ack<'_>) -> Result<(), Halt> {
        self.client.session.mailbox().inflight.acknowledge(ack.packet_id.get());
        Ok(())
    }

    /// PUBREC: answered with PUBREL, unless it refuses the message.
    pub(super) fn received(&mut self, ack: &Ack<'_>) -> Result<(), Halt> {
        let mut mailbox = self.client.session.mailbox();
        if ack.reason.is_error() {
            mailbox.inflight.refuse(ack.packet_id.get());
            return Ok(());
        }
        let known = mailbox.inflight.receive(ack.packet_id.get());
        drop(mailbox);
        self.answer(AckType::Pubrel, ack, known);
        Ok(())
    }

    /// PUBREL: the packet identifier is free again.
    pub(super) fn released(&mut self, ack: &Ack<'_>) -> Result<(), Halt> {
        let known = self.client.session.mailbox().received.remove(&ack.packet_id.get());
        self.answer(AckType::Pubcomp, ack, known);
        Ok(())
    }

    /// PUBCOMP: a QoS 2 message is done.
    pub(super) fn completed(&mut self, ack: &Ack<'_>) -> Result<(), Halt> {
        self.client.session.mailbox().inflight.complete(ack.packet_id.get());
        Ok(())
    }

    /// Before level 5 an unknown packet identifier is answered like a known one (3.1.1, 4.3.3: the sender may have lost our
    /// answer).
    fn answer(&mut self, kind: AckType, ack: &Ack<'_>, known: bool) {
        if known || self.level < Level::V5 {
            return encode_ack(kind, ack.packet_id, &mut self.replies);
        }
        let answer = Ack::new(ack.packet_id, ReasonCode::PacketIdentifierNotFound);
        // Cannot fail: there are no strings in it.
        let _ = answer.encode(kind, self.level, &mut self.replies);
    }
}
