//! The machine of one MQTT connection.
//!
//! ```text
//! Fresh --CONNECT--> (Verifying) --right--> (Opening) --> Open --DISCONNECT, error, end--> Gone
//!                        \--wrong--> CONNACK with a reason, Gone
//! ```
//!
//! *Opening* waits for the log to say that the session is this connection's. Packets of one read are handled in their order; what
//! they are answered with is gathered ([`Answers`]) and put into the mailbox once, behind the deliveries that they set off. The
//! session itself ([`Client`]) outlives the machine.

mod acknowledge;
mod answers;
mod asking;
mod connect;
mod enhanced;
mod filters;
mod gate;
mod looking;
mod publish;
mod subscribe;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Settings;
use super::codec::{self, DecodeError, Disconnect, Level, PINGRESP, Packet, ReasonCode, Role};
use crate::delivery::outbox::Taken;
use crate::net::gate::Flow;
use crate::node::Node;
use crate::node::authenticate::Check;
use crate::node::clients::{Client, Leaving};
use crate::node::link::{End, Link};
use crate::node::metrics::{Protocol, Tally};
use crate::node::publish::Publisher;
use crate::node::user_seats::UserSeat;
use crate::queue::command::{Command, Cursor, CursorName};
use crate::router::authorize::Rights;
use crate::types::peer::Peer;
pub(super) use answers::Context;
use answers::{Answer, Answers};
use asking::Asked;
use connect::{Candidate, Delayed, Opening};
use enhanced::Exchange;
use looking::Looking;
pub(super) use publish::Verdict;
pub(super) use subscribe::granted;

/// Bytes of the largest CONNECT: every field of it may have 64 KiB.
const CONNECT_BYTES_MAX: usize = 512 * 1024;
/// While this many bytes of answers wait, the client is not read: it does not read us.
const REPLY_BYTES_MAX: usize = 256 * 1024;

/// What a client may send ahead while it waits for a session that it takes over.
const EARLY_BYTES_MAX: usize = 64 * 1024;

/// See the module.
pub struct MqttGate {
    node: Arc<Node>,
    settings: Arc<Settings>,
    /// Who is at the other end of the connection.
    peer: Arc<Peer>,
    /// See [`Origin`](crate::node::session::Origin).
    transport: &'static str,
    link: Arc<Link>,
    phase: Phase,
    level: Level,
    /// Largest packet that the client takes.
    packet_bytes_max: usize,
    /// CONNACK was written, or will be before `last_words`.
    greeted: bool,
    /// What is to be written when the mailbox is not there yet, or not ours any more.
    last_words: Taken,
    /// What came while the session was awaited, and perhaps the beginning of a packet behind it.
    early: BytesMut,
    /// When a connection that has no session is closed.
    connect_by_ms: u64,
    opened_ms: u64,
    tally: Tally,
    /// Counts the connection as its user's.
    seat: Option<UserSeat>,
}

enum Phase {
    Fresh,
    Verifying(Box<Candidate>),
    /// AUTH is awaited.
    Proving(Box<Candidate>),
    Delayed(Box<Delayed>),
    Opening(Box<Opening>),
    Open(Box<Open>),
    Gone,
}

/// A connection that has its session.
pub(super) struct Open {
    pub(super) client: Arc<Client>,
    link: Arc<Link>,
    pub(super) publisher: Publisher,
    pub(super) rights: Rights,
    pub(super) level: Level,
    /// The log knows the session and keeps it: the number of this connection.
    kept: Option<u64>,
    pub(super) answers: Answers,
    /// So far nothing in this batch asked for an answer, nor let anything be sent that waits.
    silent: bool,
    /// A SUBSCRIBE that waits for what it asks of the past.
    looking: Option<Box<Looking>>,
    /// See [`asking`].
    asked: Asked,
    /// Topics that the client gave numbers to.
    aliases: HashMap<u16, Box<[u8]>>,
    /// 0: never silent for too long.
    keep_alive_ms: u64,
    heard_ms: u64,
    /// When what it proved itself by holds no more.
    expires_ms: Option<u64>,
    /// It has proved itself by an authentication method.
    enhanced: bool,
    /// It was asked to prove itself once more.
    proving: Option<Box<Exchange>>,
    /// The expiry that CONNECT asked for: an expiry of 0 cannot be changed later (MQTT 5, 3.14.2.2.2).
    connect_expiry_s: u32,
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
    /// It has to be found out who the client is.
    Verify(Box<Candidate>, Check),
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
    pub fn new(node: Arc<Node>, settings: Arc<Settings>, peer: Arc<Peer>, now_ms: u64) -> Self {
        let connect_by_ms = now_ms + u64::from(node.limits.handshake_timeout_s) * 1000;
        let mut opened = Tally { connections_opened: 1, ..Tally::default() };
        node.metrics.of(Protocol::Mqtt).add(&mut opened);
        Self {
            node,
            settings,
            peer,
            transport: "tcp",
            link: Arc::default(),
            phase: Phase::Fresh,
            level: Level::V4,
            packet_bytes_max: usize::MAX,
            greeted: false,
            last_words: Taken::default(),
            early: BytesMut::new(),
            connect_by_ms,
            opened_ms: now_ms,
            tally: Tally::default(),
            seat: None,
        }
    }

    /// Its packets come by WebSocket.
    pub fn over_websocket(self) -> Self {
        Self { transport: "websocket", ..self }
    }

    /// Handles packets from the front of `input`; tells how many bytes they had, and how long the next packet is if its header
    /// is there.
    fn handle(&mut self, input: &Bytes, now_ms: u64) -> (usize, usize, Result<(), Halt>) {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            if self.is_suspended() {
                return (at, 0, Ok(()));
            }
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
            self.link.count_message();
            let handled = match &mut self.phase {
                Phase::Open(open) => {
                    if open.must_hold(frame, now_ms) {
                        return (at, 0, Ok(()));
                    }
                    let handled = open.packet(frame, input, &self.node, &self.settings);
                    open.spend(frame, now_ms);
                    handled
                }
                Phase::Fresh => self.connect(frame, now_ms),
                Phase::Proving(_) => self.prove(frame, now_ms),
                Phase::Verifying(_) | Phase::Delayed(_) | Phase::Opening(_) | Phase::Gone => return (at, 0, Ok(())),
            };
            at += length;
            if handled.is_err() {
                return (at, 0, handled);
            }
        }
    }

    /// Ends the connection because the client broke a rule. Before level 5 there is nothing to be said about it.
    fn refuse(&mut self, violation: Violation) {
        let Violation { reason, what } = violation;
        tracing::debug!(peer = %self.peer, reason = reason as u8, what, "MQTT protocol error");
        self.tally.protocol_errors += 1;
        self.give_up(violation);
    }

    /// Ends the connection for a reason that is told where it can be.
    fn give_up(&mut self, Violation { reason, what }: Violation) {
        if matches!(self.phase, Phase::Open(_)) {
            self.leave(Leaving::Broken);
            self.say_goodbye(reason, what);
        }
        self.phase = Phase::Gone;
    }

    /// DISCONNECT, where the level has it for servers. Nobody who was not greeted is told goodbye [MQTT-3.14.0-1]: who is taken over
    /// so soon has lost the CONNACK with the session.
    fn say_goodbye(&mut self, reason: ReasonCode, what: &str) {
        if self.level == Level::V5 && self.greeted {
            let mut disconnect = Disconnect::new(reason);
            disconnect.diagnostics.reason_string = (!what.is_empty()).then_some(what);
            // Words that are too long are left out.
            let _ = disconnect.encode_within(self.packet_bytes_max, self.level, &mut self.last_words.tail);
        }
    }

    /// Gives the session back. What waits in the outbox is still written.
    fn leave(&mut self, leaving: Leaving) {
        let mut open = match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Open(open) => open,
            Phase::Opening(opening) => return opening.leave(),
            Phase::Fresh | Phase::Verifying(_) | Phase::Proving(_) | Phase::Delayed(_) | Phase::Gone => return,
        };
        open.publisher.part();
        let client = &open.client;
        tracing::debug!(peer = %self.peer, client_id = client.client_id(), ?leaving, "MQTT client disconnected");
        {
            let mut mailbox = client.session.mailbox();
            if mailbox.is_held_by(&self.link) {
                self.last_words = mailbox.take_all(Vec::new());
                self.greeted |= self.last_words.bytes() > 0;
            }
        }
        let realm = &open.publisher.realm;
        realm.clients.disconnect(&self.node, realm, client, &self.link, leaving);
    }

    /// Nothing more of the client is handled until something is there that it waits for.
    fn is_suspended(&self) -> bool {
        match &self.phase {
            Phase::Delayed(_) | Phase::Opening(_) => true,
            Phase::Open(open) => open.looking.is_some() || open.is_asking(),
            _ => false,
        }
    }

    /// Handles input, behind what came too early.
    fn handle_all(&mut self, input: &Bytes, now_ms: u64) -> (usize, usize, Result<(), Halt>) {
        if self.early.is_empty() && !self.is_suspended() {
            let (consumed, needs, result) = self.handle(input, now_ms);
            if !self.is_suspended() {
                return (consumed, needs, result);
            }
            self.early.extend_from_slice(&input[consumed..]);
            return (input.len(), 0, result);
        }
        self.early.extend_from_slice(input);
        let result = self.handle_early(now_ms);
        (input.len(), 0, result)
    }

    /// Handles what came too early, if it is time now.
    fn handle_early(&mut self, now_ms: u64) -> Result<(), Halt> {
        if self.is_suspended() || self.early.is_empty() {
            return Ok(());
        }
        let input = self.early.split().freeze();
        let (consumed, _, result) = self.handle(&input, now_ms);
        self.early.extend_from_slice(&input[consumed..]);
        result
    }

    /// Ends a read: what it led to, if that is the end.
    fn conclude(&mut self, result: Result<(), Halt>) -> Flow {
        if let Phase::Open(open) = &mut self.phase {
            open.finish();
        }
        match result {
            Ok(()) if matches!(self.phase, Phase::Gone) => Flow::Close,
            Ok(()) => Flow::Continue,
            Err(Halt::Violation(violation)) => {
                self.refuse(violation);
                Flow::Close
            }
            Err(Halt::Goodbye(leaving)) => {
                self.leave(leaving);
                Flow::Close
            }
            Err(Halt::Verify(candidate, check)) => self.verify(candidate, check),
        }
    }

    /// Goes on with what the client has sent meanwhile.
    fn resume(&mut self, result: Result<(), Halt>, now_ms: u64) {
        let result = result.and_then(|()| self.handle_early(now_ms));
        if matches!(self.conclude(result), Flow::Close) {
            // Between two reads nobody asks how it goes on.
            self.link.end(End::Over);
        }
    }

    /// Hears what the log has to say.
    fn hear(&mut self, now_ms: u64) {
        if let Phase::Opening(opening) = &self.phase
            && let Some(answer) = opening.answer()
        {
            self.opened(answer, now_ms);
            self.resume(Ok(()), now_ms);
        }
        if let Phase::Open(open) = &mut self.phase
            && open.looking.is_some()
        {
            open.publisher.now_ms = now_ms;
            open.heard_ms = now_ms;
            let subscribed = open.go_on(&self.settings);
            self.resume(subscribed.map_err(Halt::from), now_ms);
        }
        if let Phase::Open(open) = &mut self.phase
            && open.take_answered()
        {
            open.publisher.now_ms = now_ms;
            open.heard_ms = now_ms;
            self.resume(Ok(()), now_ms);
        }
        let Phase::Open(open) = &mut self.phase else { return };
        if let Some(violation) = open.hear(now_ms) {
            tracing::debug!(peer = %self.peer, what = violation.what, "MQTT client cannot be answered");
            self.give_up(violation);
            self.link.end(End::Over);
        }
    }
}

impl Open {
    /// Handles one packet.
    fn packet(&mut self, frame: &[u8], input: &Bytes, node: &Node, settings: &Settings) -> Result<(), Halt> {
        self.publisher.tally.messages_in += 1;
        let packet = codec::decode(frame, self.level, Role::Server)?;
        self.silent &= matches!(&packet, Packet::Publish(_));
        match packet {
            Packet::Publish(publish) => Ok(self.publish(&publish, input)?),
            Packet::Puback(ack) => self.acknowledged(&ack),
            Packet::Pubrec(ack) => self.received(&ack),
            Packet::Pubrel(ack) => self.released(&ack),
            Packet::Pubcomp(ack) => self.completed(&ack),
            Packet::Subscribe(subscribe) => Ok(self.subscribe(&subscribe, frame, settings)?),
            Packet::Unsubscribe(unsubscribe) => Ok(self.unsubscribe(&unsubscribe, node)?),
            Packet::Pingreq => {
                // It answers for the connection, not for what came before it.
                self.answers.say_at_once(&PINGRESP);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnected(&disconnect, node),
            Packet::Auth(auth) => Ok(self.authenticate_again(&auth, node)?),
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

    /// What answers are made for.
    pub(super) fn context(&self) -> Context<'_> {
        Context { node: &self.publisher.node, realm: &self.publisher.realm, client: &self.client, link: &self.link }
    }

    /// Answers what the log has settled. Returns why the connection has to end, if it has.
    fn hear(&mut self, now_ms: u64) -> Option<Violation> {
        if !self.answers.is_waiting() {
            return None;
        }
        if self.must_wait() {
            // The client was not read; that it was silent is not its fault.
            self.heard_ms = now_ms;
        }
        self.publisher.now_ms = now_ms;
        let Self { publisher, answers, client, link, .. } = self;
        let (node, realm) = (publisher.node.clone(), publisher.realm.clone());
        let context = Context { node: &node, realm: &realm, client, link };
        publisher.hear(|settled| answers.settle(&settled, &context));
        self.finish();
        self.answers.take_fatal()
    }

    /// Has the log record how far the session has come.
    fn record_progress(&mut self, at: Cursor) {
        self.log_progress(at, Answer::Progress);
        self.publisher.finish();
    }

    fn log_progress(&mut self, at: Cursor, answer: Answer) {
        let (realm, client_id) = (self.publisher.realm.name.to_string(), self.client.client_id().to_owned());
        self.publisher.command(Command::Progress { realm, cursor: CursorName::Client(client_id), at });
        self.answers.expect(answer);
    }

    /// When the client has been silent for too long.
    fn silence_ends_ms(&self) -> Option<u64> {
        (self.keep_alive_ms > 0 && !self.must_wait()).then(|| self.heard_ms + self.keep_alive_ms)
    }

    fn must_wait(&self) -> bool {
        self.publisher.must_wait() || self.answers.must_wait() || self.looking.is_some() || self.is_asking()
    }

    /// Hands deliveries over and puts the answers into the mailbox.
    fn finish(&mut self) {
        self.publisher.finish();
        if self.answers.ready().is_empty() {
            return;
        }
        let mut mailbox = self.client.session.mailbox();
        if mailbox.is_held_by(&self.link) {
            mailbox.outbox.push_reply(self.answers.ready());
        }
        drop(mailbox);
        self.answers.clear();
    }
}
