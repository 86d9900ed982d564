//! Acknowledgements of what was sent to the client, and PUBREL of what it sent (MQTT 5, 4.3).

use super::answers::Answer;
use super::{Halt, Open};
use crate::delivery::inflight::Receipt;
use crate::mqtt::codec::{Ack, AckType, Level, ReasonCode, encode_ack};
use crate::node::clients::Received;
use crate::queue::command::Command;

impl Open {
    /// PUBACK: a QoS 1 message is done, whatever its reason code says. One for nothing is ignored: it may cross a reconnect.
    pub(super) fn acknowledged(&mut self, ack: &Ack<'_>) -> Result<(), Halt> {
        self.client.session.mailbox().acknowledge(ack.packet_id.get());
        Ok(())
    }

    /// PUBREC: answered with PUBREL, unless it refuses the message.
    pub(super) fn received(&mut self, ack: &Ack<'_>) -> Result<(), Halt> {
        let mut mailbox = self.client.session.mailbox();
        if ack.reason.is_error() {
            mailbox.refuse(ack.packet_id.get());
            return Ok(());
        }
        let receipt = mailbox.receive(ack.packet_id.get());
        drop(mailbox);
        match receipt {
            Receipt::Release => self.answer(AckType::Pubrel, ack, true),
            Receipt::Unknown => self.answer(AckType::Pubrel, ack, false),
            // It follows when the log has that.
            Receipt::Record => {}
        }
        Ok(())
    }

    /// PUBREL: the packet identifier is free again, when the log has that, if the log has the message.
    pub(super) fn released(&mut self, ack: &Ack<'_>) -> Result<(), Halt> {
        let packet_id = ack.packet_id.get();
        let mut record = self.client.record.lock();
        let known = record.received.get(&packet_id).copied();
        if known == Some(Received::Logged) && self.kept.is_some() {
            drop(record);
            self.publisher.command(Command::Release {
                realm: self.publisher.realm.name.to_string(),
                client_id: self.client.client_id().to_owned(),
                packet_id,
            });
            self.answers.expect(Answer::Release(ack.packet_id));
            return Ok(());
        }
        // One that is pending was not answered: this PUBREL is about nothing that the client was told.
        let known = known.is_some_and(|received| received != Received::Pending);
        if known {
            record.received.remove(&packet_id);
        }
        drop(record);
        self.answer(AckType::Pubcomp, ack, known);
        Ok(())
    }

    /// PUBCOMP: a QoS 2 message is done.
    pub(super) fn completed(&mut self, ack: &Ack<'_>) -> Result<(), Halt> {
        self.client.session.mailbox().complete(ack.packet_id.get());
        Ok(())
    }

    /// Before level 5 an unknown packet identifier is answered like a known one (3.1.1, 4.3.3: the sender may have lost our
    /// answer).
    fn answer(&mut self, kind: AckType, ack: &Ack<'_>, known: bool) {
        let level = self.level;
        self.answers.say(|out| {
            if known || level < Level::V5 {
                return encode_ack(kind, ack.packet_id, out);
            }
            let answer = Ack::new(ack.packet_id, ReasonCode::PacketIdentifierNotFound);
            // Cannot fail: there are no strings in it.
            let _ = answer.encode(kind, level, out);
        });
    }
}
