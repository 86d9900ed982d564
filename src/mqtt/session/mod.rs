//! The machine of one MQTT connection.
//!
//! ```text
//! Fresh --CONNECT--> (Verifying) --right--> Open --DISCONNECT, error, end--> Gone
//!                        \--wrong--> CONNACK with a reason, Gone
//! ```
//!
//! Packets of one read are handled in their order; what they are answered with is gathered and put into the mailbox once, behind
//! the deliveries that they set off. The session itself ([`Client`]) outlives the machine.

mod acknowledge;
mod connect;
mod publish;
mod subscribe;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::Settings;
use super::codec::{self, DecodeError, Disconnect, Level, PINGRESP, Packet, ReasonCode, Role};
use crate::delivery::outbox::Taken;
use crate::net::gate::{Flow, Gate, Machine, Received};
use crate::node::Node;
use crate::node::clients::{Client, Leaving};
use crate::node::link::{End, Link};
use crate::node::metrics::{Protocol, Tally};
use crate::node::publish::Publisher;
use crate::node::users::User;
use crate::router::authorize::RoleId;
use connect::Candidate;
pub(super) use publish::Verdict;

/// Bytes of the largest CONNECT: every field of it may have 64 KiB.
const CONNECT_BYTES_MAX: usize = 512 * 1024;
/// While this many bytes of answers wait, the client is not read: it does not read us.
const REPLY_BYTES_MAX: usize = 256 * 1024;

/// See the module.
pub struct MqttGate {
    node: Arc<Node>,
    settings: Arc<Settings>,
    /// For the log.
    peer: SocketAddr,
    link: Arc<Link>,
    phase: Phase,
    level: Level,
    /// Largest packet that the client takes.
    packet_bytes_max: usize,
    /// What is to be written when the mailbox is not there yet, or not ours any more.
    last_words: Taken,
    /// When a connection that has no session is closed.
    connect_by_ms: u64,
    opened_ms: u64,
    tally: Tally,
}

enum Phase {
    Fresh,
    Verifying(Box<Candidate>),
    Open(Box<Open>),
    Gone,
}

/// A connection that has its session.
pub(super) struct Open {
    pub(super) client: Arc<Client>,
    pub(super) publisher: Publisher,
    pub(super) role: RoleId,
    pub(super) level: Level,
    /// Answers of this batch.
    replies: Vec<u8>,
    /// So far nothing in this batch asked for an answer, nor let anything be sent that waits.
    silent: bool,
    /// Topics that the client gave numbers to.
    aliases: HashMap<u16, Box<[u8]>>,
    /// 0: never silent for too long.
    keep_alive_ms: u64,
    heard_ms: u64,
    /// The expiry that CONNECT asked for: an expiry of 0 cannot be changed later (MQTT 5, 3.14.2.2.2).
    connect_expiry_s: u32,
    /// Largest packet that the client takes.
    packet_bytes_max: usize,
    /// The client wants to be told in words why something failed (MQTT 5, 3.1.2.11.7).
    wants_words: bool,
}

/// Why a connection is closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    reason: ReasonCode,
    what: &'static str,
}

impl Violation {
    const fn new(reason: ReasonCode, what: &'static str) -> Self {
        Self { reason, what }
    }
}

impl From<DecodeError> for Violation {
    fn from(error: DecodeError) -> Self {
        Self { reason: error.reason(), what: error.what() }
    }
}

/// What a packet leads to, if it leads to the end of the connection.
enum Halt {
    /// The client broke a rule; the will is due.
    Violation(Violation),
    /// The client said goodbye.
    Goodbye(Leaving),
    Verify(Box<Candidate>),
}

impl From<Violation> for Halt {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<DecodeError> for Halt {
    fn from(error: DecodeError) -> Self {
        Self::Violation(error.into())
    }
}

impl MqttGate {
    /// A connection from which nothing was read yet.
    pub fn new(node: Arc<Node>, settings: Arc<Settings>, peer: SocketAddr, now_ms: u64) -> Self {
        let connect_by_ms = now_ms + u64::from(node.limits.handshake_timeout_s) * 1000;
        let mut opened = Tally { connections_opened: 1, ..Tally::default() };
        node.metrics.of(Protocol::Mqtt).add(&mut opened);
        Self {
            node,
            settings,
            peer,
            link: Arc::default(),
            phase: Phase::Fresh,
            level: Level::V4,
            packet_bytes_max: usize::MAX,
            last_words: Taken::default(),
            connect_by_ms,
            opened_ms: now_ms,
            tally: Tally::default(),
        }
    }

    /// Handles packets from the front of `input`; tells how many bytes they had, and how long the next packet is if its header
    /// is there.
    fn handle(&mut self, input: &Bytes, now_ms: u64) -> (usize, usize, Result<(), Halt>) {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            // Without waiting for as many bytes as something else would mean by its second [MQTT-3.1.0-1].
            if matches!(self.phase, Phase::Fresh) && !codec::may_be_connect(rest) {
                return (at, 0, Err(DecodeError::NOT_CONNECT.into()));
            }
            let max = match self.phase {
                Phase::Open(_) => self.node.limits.mqtt_packet_bytes_max,
                _ => CONNECT_BYTES_MAX.min(self.node.limits.mqtt_packet_bytes_max),
            };
            let length = match codec::frame_length(rest, max) {
                Ok(Some(length)) if length <= rest.len() => length,
                Ok(length) => return (at, length.unwrap_or(0), Ok(())),
                Err(error) => return (at, 0, Err(error.into())),
            };
            let frame = &rest[..length];
            let handled = match &mut self.phase {
                Phase::Open(open) => open.packet(frame, input, &self.node, &self.settings),
                Phase::Fresh => self.connect(frame, now_ms),
                Phase::Verifying(_) | Phase::Gone => return (at, 0, Ok(())),
            };
            at += length;
            if handled.is_err() {
                return (at, 0, handled);
            }
        }
    }

    /// Ends the connection because the client broke a rule. Before level 5 there is nothing to be said about it.
    fn refuse(&mut self, violation: Violation, now_ms: u64) {
        let Violation { reason, what } = violation;
        tracing::debug!(peer = %self.peer, reason = reason as u8, what, "MQTT protocol error");
        self.tally.protocol_errors += 1;
        if matches!(self.phase, Phase::Open(_)) {
            self.leave(Leaving::Broken, now_ms);
            self.say_goodbye(violation.reason, violation.what);
        }
        self.phase = Phase::Gone;
    }

    /// DISCONNECT, where the level has it for servers.
    fn say_goodbye(&mut self, reason: ReasonCode, what: &str) {
        if self.level == Level::V5 {
            let mut disconnect = Disconnect::new(reason);
            disconnect.diagnostics.reason_string = (!what.is_empty()).then_some(what);
            // Cannot fail: the strings are ours.
            let _ = disconnect.encode_within(self.packet_bytes_max, self.level, &mut self.last_words.tail);
        }
    }

    /// Gives the session back. What waits in the outbox is still written.
    fn leave(&mut self, leaving: Leaving, now_ms: u64) {
        let Phase::Open(mut open) = std::mem::replace(&mut self.phase, Phase::Gone) else { return };
        open.publisher.finish();
        let client = &open.client;
        let identity = &client.session.identity;
        tracing::debug!(peer = %self.peer, client_id = identity.client_id, ?leaving, "MQTT client disconnected");
        {
            let mut mailbox = client.session.mailbox();
            if mailbox.is_held_by(&self.link) {
                self.last_words = mailbox.take(Vec::new());
            }
        }
        let realm = &open.publisher.realm;
        if let Some(will) = realm.clients.disconnect(&self.node, realm, client, &self.link, leaving, now_ms) {
            self.node.publish_will(realm, &will, now_ms);
        }
    }
}

impl Open {
    /// Handles one packet.
    fn packet(&mut self, frame: &[u8], input: &Bytes, node: &Node, settings: &Settings) -> Result<(), Halt> {
        self.publisher.tally.messages_in += 1;
        let packet = codec::decode(frame, self.level, Role::Server)?;
        self.silent &= matches!(&packet, Packet::Publish(publish) if publish.packet_id.is_none());
        match packet {
            Packet::Publish(publish) => Ok(self.publish(&publish, input)?),
            Packet::Puback(ack) => self.acknowledged(&ack),
            Packet::Pubrec(ack) => self.received(&ack),
            Packet::Pubrel(ack) => self.released(&ack),
            Packet::Pubcomp(ack) => self.completed(&ack),
            Packet::Subscribe(subscribe) => Ok(self.subscribe(&subscribe, node, settings)?),
            Packet::Unsubscribe(unsubscribe) => Ok(self.unsubscribe(&unsubscribe, node)?),
            Packet::Pingreq => {
                self.replies.extend_from_slice(&PINGRESP);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnected(&disconnect, node),
            Packet::Auth(_) => {
                Err(Violation::new(ReasonCode::ProtocolError, "AUTH without an authentication method").into())
            }
            // The codec lets none of these come to a server.
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                Err(DecodeError::WRONG_DIRECTION.into())
            }
        }
    }

    fn disconnected(&mut self, disconnect: &Disconnect<'_>, node: &Node) -> Result<(), Halt> {
        if let Some(expiry_s) = disconnect.session_expiry_s {
            if self.connect_expiry_s == 0 && expiry_s != 0 {
                let what = "a session that expires with its connection cannot be kept";
                return Err(Violation::new(ReasonCode::ProtocolError, what).into());
            }
            self.client.record.lock().expiry_s = expiry_s.min(node.limits.mqtt_session_expiry_s_max);
        }
        // Only a normal disconnection deletes the will (MQTT 5, 3.1.2.5).
        let normal = disconnect.reason == ReasonCode::NORMAL_DISCONNECTION;
        Err(Halt::Goodbye(if normal { Leaving::Orderly } else { Leaving::Broken }))
    }

    /// Hands deliveries over and puts the answers into the mailbox.
    fn finish(&mut self, link: &Arc<Link>) {
        self.publisher.finish();
        if self.replies.is_empty() {
            return;
        }
        let mut mailbox = self.client.session.mailbox();
        if mailbox.is_held_by(link) {
            mailbox.outbox.push_reply(&self.replies);
        }
        drop(mailbox);
        self.replies.clear();
        if self.replies.capacity() > 64 * 1024 {
            self.replies = Vec::new();
        }
    }
}

impl Gate for MqttGate {
    fn receive(&mut self, input: &Bytes, now_ms: u64) -> Received {
        self.tally.bytes_in += input.len() as u64;
        if let Phase::Open(open) = &mut self.phase {
            open.heard_ms = now_ms;
            open.publisher.now_ms = now_ms;
            open.silent = true;
        }
        let (consumed, needs, result) = self.handle(input, now_ms);
        if let Phase::Open(open) = &mut self.phase {
            open.finish(&self.link);
        }
        let flow = match result {
            Ok(()) if matches!(self.phase, Phase::Gone) => Flow::Close,
            Ok(()) => Flow::Continue,
            Err(Halt::Violation(violation)) => {
                self.refuse(violation, now_ms);
                Flow::Close
            }
            Err(Halt::Goodbye(leaving)) => {
                self.leave(leaving, now_ms);
                Flow::Close
            }
            Err(Halt::Verify(candidate)) => self.verify(candidate),
        };
        self.node.metrics.of(Protocol::Mqtt).add(&mut self.tally);
        let silent = matches!(&self.phase, Phase::Open(open) if open.silent);
        Received { consumed, needs, silent, flow }
    }
}

impl Machine for MqttGate {
    fn verified(&mut self, user: Option<Arc<User>>, now_ms: u64) -> Flow {
        let Phase::Verifying(candidate) = std::mem::replace(&mut self.phase, Phase::Fresh) else { return Flow::Close };
        self.admit_or_refuse(*candidate, user, now_ms);
        if matches!(self.phase, Phase::Open(_)) { Flow::Continue } else { Flow::Close }
    }

    fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Taken {
        if let Phase::Open(open) = &mut self.phase {
            let mut mailbox = open.client.session.mailbox();
            if mailbox.is_held_by(&self.link) {
                open.publisher.count(mailbox.refill(now_ms));
                let taken = mailbox.take(spare);
                self.tally.bytes_out += taken.bytes() as u64;
                return taken;
            }
        }
        let last = std::mem::take(&mut self.last_words);
        self.tally.bytes_out += last.bytes() as u64;
        last
    }

    fn may_read(&self) -> bool {
        match &self.phase {
            Phase::Open(open) => open.client.session.mailbox().outbox.reply_bytes() < REPLY_BYTES_MAX,
            _ => true,
        }
    }

    fn must_pause(&mut self) -> bool {
        match &mut self.phase {
            Phase::Open(open) => open.publisher.take_crowded(),
            _ => false,
        }
    }

    fn must_wait(&self) -> bool {
        match &self.phase {
            Phase::Open(open) => open.publisher.must_wait(),
            _ => false,
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Fresh | Phase::Verifying(_) => Some(self.connect_by_ms),
            Phase::Open(open) if open.keep_alive_ms > 0 => Some(open.heard_ms + open.keep_alive_ms),
            Phase::Open(_) | Phase::Gone => None,
        }
    }

    fn expired(&mut self, now_ms: u64) -> Flow {
        if matches!(self.phase, Phase::Open(_)) {
            self.leave(Leaving::Broken, now_ms);
            self.say_goodbye(ReasonCode::KeepAliveTimeout, "");
        } else {
            self.tally.handshake_failures += 1;
            self.phase = Phase::Gone;
        }
        Flow::Close
    }

    fn end(&mut self, reason: End, now_ms: u64) {
        let open = matches!(self.phase, Phase::Open(_));
        self.leave(Leaving::Broken, now_ms);
        self.phase = Phase::Gone;
        if open {
            let code = match reason {
                End::TakenOver => ReasonCode::SessionTakenOver,
                End::Shutdown => ReasonCode::ServerShuttingDown,
                End::SlowConsumer => ReasonCode::QuotaExceeded,
                End::Kicked => ReasonCode::AdministrativeAction,
            };
            self.say_goodbye(code, "");
        }
    }

    fn closed(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Fresh | Phase::Verifying(_)) {
            self.tally.handshake_failures += 1;
        }
        self.leave(Leaving::Broken, now_ms);
        self.phase = Phase::Gone;
        self.tally.connections_closed += 1;
        self.node.metrics.of(Protocol::Mqtt).add(&mut self.tally);
    }

    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}
