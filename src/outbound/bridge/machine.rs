//! One bridge, without IO and without a clock: a client of another broker that outlives its connections.
//!
//! ```text
//! open --CONNECT--> CONNACK --SUBSCRIBE--> SUBACK --> up
//! bytes of the other broker --> Arrival --> (log of this broker) --> settled --> acknowledgement
//! events of this broker ------> Outward --> bytes
//! ```
//!
//! Subscriptions are renewed with each connection, for their retained values are the state of the other broker: what it has
//! retained while nobody listened is known from them. When all of these have come can only be guessed: it is when the broker has
//! answered a PINGREQ that was sent behind the SUBSCRIBE, and then another that was sent after a while, and no retained value
//! came in between ([`Machine::is_following`]).
//!
//! What goes both ways is subscribed to when the other broker has what waited for it ([`Machine::caught_up`]): else it would tell
//! values that were changed or deleted here meanwhile.

mod opening;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::inward::{Arrival, Inward, Message, Settled};
use super::outward::{Outgoing, Outward, OutwardLimits, Record};
use super::rules::Rules;
use crate::client::Error;
use crate::mqtt::codec::{
    self, Ack, AckType, DecodeError, Disconnect, Level, PINGREQ, Packet, PacketId, Publish, ReasonCode, Role,
};
use crate::types::topic::Topic;

/// How long the other broker may take to answer a CONNECT.
const OPENING_MS: u64 = 30_000;
/// Between the two questions after a SUBSCRIBE; see the module.
const SETTLE_MS: u64 = 3000;
/// Retained values that come after a SUBSCRIBE are remembered, so as to know which are gone; no more than these.
const SNAPSHOT_TOPICS_MAX: usize = 1 << 20;

/// Who connects, and how. Shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub level: Level,
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// 0 = never ask, nor be asked.
    pub keep_alive_s: u16,
    /// How long the other broker keeps the session; before MQTT 5 any but 0 is for ever. 0: each connection begins a new one.
    pub session_expiry_s: u32,
    /// Before MQTT 5: to make itself known as a bridge, as long as the other broker does not refuse that.
    pub bridge_bit: bool,
    pub limits: OutwardLimits,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { level, client_id, user, .. } = self;
        f.debug_struct("Settings")
            .field("level", level)
            .field("client_id", client_id)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Closed,
    /// CONNECT was sent.
    Opening,
    /// Topics that go both ways are not subscribed to yet.
    CatchingUp,
    /// SUBACKs are missing.
    Subscribing,
    Up,
}

/// The bit by which a bridge makes itself known.
#[derive(Clone, Copy, Debug, Default)]
struct BridgeBit {
    /// It was said on this connection.
    is_said: bool,
    /// The other broker has refused it.
    is_refused: bool,
    /// The next connection is to be tried without.
    is_to_wait: bool,
}

/// Where the retained values of the other broker are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Following {
    /// They are coming; the answer to a PINGREQ is awaited, or (`again_at_ms`) the time of the second one.
    No {
        pings: u8,
        again_at_ms: Option<u64>,
    },
    Yes,
}

/// What the machine has to say to whoever drives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The connection stands. `resumed`: the other broker still has the session.
    Opened {
        resumed: bool,
    },
    /// The connection has served its purpose, which was to end an old session: the next one is to be made at once.
    Again,
    /// All subscriptions are made; those that were refused are named.
    Subscribed {
        refused: Vec<String>,
    },
    /// All retained values that the other broker has have come: those of these topics, in its words.
    Followed {
        topics: Vec<String>,
    },
    Arrival(Arrival),
}

/// See the module.
pub struct Machine {
    settings: Settings,
    rules: Rules,
    stage: Stage,
    following: Following,
    /// The topics of retained values that have come since the subscriptions were made.
    snapshot: Option<Vec<String>>,
    input: BytesMut,
    out: Vec<u8>,
    pub outward: Outward,
    inward: Inward,
    events: VecDeque<Event>,
    refused: Vec<String>,
    /// The filters by the identifiers of their SUBSCRIBEs.
    requests: Vec<(PacketId, String)>,
    bridge_bit: BridgeBit,
    /// When something was heard last, and when a sign of life was asked for that has not come.
    heard_ms: u64,
    sent_ms: u64,
    asked_ms: Option<u64>,
    keep_alive_ms: u64,
    /// Messages that came back, and were dropped.
    pub echoed: u64,
}

impl Machine {
    /// A bridge that goes on behind the event of number `done_to`, with the record of then.
    pub fn new(settings: Settings, rules: Rules, done_to: u64, record: Option<Record>) -> Self {
        let outward = Outward::new(settings.level, settings.limits, &rules, done_to, record);
        Self {
            bridge_bit: BridgeBit::default(),
            keep_alive_ms: u64::from(settings.keep_alive_s) * 1000,
            settings,
            rules,
            stage: Stage::Closed,
            following: Following::Yes,
            snapshot: None,
            input: BytesMut::new(),
            out: Vec::new(),
            outward,
            inward: Inward::default(),
            events: VecDeque::new(),
            refused: Vec::new(),
            requests: Vec::new(),
            heard_ms: 0,
            sent_ms: 0,
            asked_ms: None,
            echoed: 0,
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// All retained values that the other broker had when the connection was made have come, near enough.
    pub fn is_following(&self) -> bool {
        self.is_up() && self.following == Following::Yes
    }

    /// Arrivals that were told and not settled.
    pub fn arrivals_pending(&self) -> usize {
        self.inward.pending()
    }

    /// The connection is gone.
    pub fn close(&mut self) {
        if self.stage == Stage::Opening {
            // A broker that does not know the bit may close without a word, as others do for other reasons: by turns.
            self.bridge_bit.is_to_wait = self.bridge_bit.is_said || self.bridge_bit.is_refused;
        } else if self.stage != Stage::Closed {
            self.bridge_bit.is_to_wait = self.bridge_bit.is_refused;
        }
        self.stage = Stage::Closed;
        self.snapshot = None;
        self.input.clear();
        self.out.clear();
        self.requests.clear();
        self.refused.clear();
        self.outward.disconnected();
        // Arrivals that were not told come again.
        let untold = self.events.drain(..).filter(|event| matches!(event, Event::Arrival(_))).count();
        self.inward.forget_last(untold);
    }

    /// Takes what the other broker sent.
    ///
    /// # Errors
    /// The connection is over.
    pub fn receive(&mut self, bytes: Bytes, now_ms: u64) -> Result<(), Error> {
        (self.heard_ms, self.asked_ms) = (now_ms, None);
        self.input.extend_from_slice(&bytes);
        while let Some(length) = codec::frame_length(&self.input, usize::MAX).map_err(violation)? {
            if length > self.input.len() {
                break;
            }
            let frame = self.input.split_to(length).freeze();
            self.receive_packet(&frame, now_ms)?;
        }
        Ok(())
    }

    fn receive_packet(&mut self, frame: &Bytes, now_ms: u64) -> Result<(), Error> {
        let packet = codec::decode(frame, self.settings.level, Role::Client).map_err(violation)?;
        if self.stage == Stage::Opening && !matches!(packet, Packet::Connack(_)) {
            return Err(Error::Violation("something else than CONNACK comes first".to_owned()));
        }
        match packet {
            Packet::Connack(connack) => self.connack(&connack, now_ms)?,
            Packet::Publish(publish) => self.publish(frame, &publish, now_ms)?,
            Packet::Puback(ack) => self.acknowledged(AckType::Puback, &ack),
            Packet::Pubrec(ack) => self.acknowledged(AckType::Pubrec, &ack),
            Packet::Pubcomp(ack) => self.acknowledged(AckType::Pubcomp, &ack),
            Packet::Pubrel(ack) => {
                let arrival = self.inward.release(ack.packet_id);
                self.events.push_back(Event::Arrival(arrival));
            }
            Packet::Suback(suback) => self.suback(&suback, now_ms)?,
            Packet::Pingresp => self.pingresp(now_ms),
            Packet::Disconnect(disconnect) => {
                return Err(refusal(disconnect.reason, disconnect.diagnostics.reason_string));
            }
            Packet::Unsuback(_) => {}
            _ => return Err(Error::Violation("an authentication that nobody asked for".to_owned())),
        }
        Ok(())
    }

    fn ask(&mut self, now_ms: u64) {
        self.out.extend_from_slice(&PINGREQ);
        self.asked_ms.get_or_insert(now_ms);
    }

    fn pingresp(&mut self, now_ms: u64) {
        let Following::No { pings, again_at_ms: None } = self.following else { return };
        if !self.is_up() {
            return;
        }
        if pings == 0 {
            self.following = Following::No { pings: 1, again_at_ms: Some(now_ms + SETTLE_MS) };
            return;
        }
        self.following = Following::Yes;
        if let Some(topics) = self.snapshot.take() {
            self.events.push_back(Event::Followed { topics });
        }
    }

    fn publish(&mut self, frame: &Bytes, publish: &Publish<'_>, now_ms: u64) -> Result<(), Error> {
        let properties = publish.properties().map_err(violation)?;
        let topic = publish.topic_name().map_err(violation)?;
        if topic.is_empty() || properties.topic_alias.is_some() {
            return Err(Error::Violation("a topic alias, though none was offered".to_owned()));
        }
        if publish.retain {
            self.note_retained(topic, now_ms);
        }
        let message = Message::read(frame, publish, topic, &properties);
        if let Some(arrival) = self.inward.publish(message) {
            self.events.push_back(Event::Arrival(arrival));
        }
        Ok(())
    }

    /// A retained value has come: there may be more of them.
    fn note_retained(&mut self, topic: &str, now_ms: u64) {
        let Some(topics) = &mut self.snapshot else { return };
        topics.push(topic.to_owned());
        if topics.len() > SNAPSHOT_TOPICS_MAX {
            (self.following, self.snapshot) = (Following::Yes, None);
        } else if let Following::No { pings: 1.., again_at_ms } = &mut self.following {
            *again_at_ms = Some(now_ms + SETTLE_MS);
        }
    }

    fn acknowledged(&mut self, kind: AckType, ack: &Ack<'_>) {
        self.outward.acknowledged(kind, ack.packet_id, ack.reason.is_error());
    }

    /// Whether a message is one that this bridge has sent itself; it is dropped once.
    pub fn is_echo(&mut self, message: &Message, now_ms: u64) -> bool {
        let is_echo = !message.retain && self.outward.echoes.take(&message.topic, &message.payload, now_ms);
        self.echoed += u64::from(is_echo);
        is_echo
    }

    /// The next event of the log ([`Outward::offer_event`]).
    pub fn offer_event(&mut self, number: u64, event: Option<Outgoing>) {
        let event = event.map(|event| self.note_echo(event));
        self.outward.offer_event(number, event);
    }

    /// The next retained value ([`Outward::offer_retained`]).
    pub fn offer_retained(&mut self, value: Option<Outgoing>) {
        let value = value.map(|event| self.note_echo(event));
        self.outward.offer_retained(value);
    }

    /// A live event ([`Outward::offer_live`]).
    pub fn offer_live(&mut self, event: Outgoing) {
        let event = self.note_echo(event);
        self.outward.offer_live(event);
    }

    /// Notes whether an event will come back: it does if it is subscribed to and the other broker does not know better.
    fn note_echo(&self, mut event: Outgoing) -> Outgoing {
        let inward = |name: &str| Topic::from_name(name).is_ok_and(|topic| self.rules.inward(&topic).is_some());
        event.comes_back = self.settings.level < Level::V5 && !self.bridge_bit.is_said && inward(&event.topic);
        event
    }

    /// The first arrival that was told and not settled is. False: the connection is to be given up.
    pub fn settled(&mut self, how: Settled) -> bool {
        self.inward.settled(how)
    }

    /// The next thing to know.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next bytes to send.
    pub fn next_output(&mut self, now_ms: u64) -> Option<Bytes> {
        if self.stage == Stage::Closed {
            return None;
        }
        self.out.append(&mut self.inward.take_output());
        self.outward.pump(now_ms);
        self.out.append(&mut self.outward.take_output());
        if self.out.is_empty() {
            return None;
        }
        self.sent_ms = now_ms;
        Some(std::mem::take(&mut self.out).into())
    }

    /// All output is on its way.
    pub fn flushed(&mut self) {
        self.outward.flushed();
    }

    /// Says goodbye.
    pub fn say_goodbye(&mut self) {
        if self.stage != Stage::Closed {
            let goodbye = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
            // It has nothing in it that could not be said.
            let _ = goodbye.encode(self.settings.level, &mut self.out);
        }
    }

    /// When [`Machine::tick`] is to be called.
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.stage == Stage::Closed {
            return None;
        }
        let again = match self.following {
            Following::No { again_at_ms, .. } => again_at_ms,
            Following::Yes => None,
        };
        [self.heart_ms(), self.outward.deadline_ms(), again].into_iter().flatten().min()
    }

    fn heart_ms(&self) -> Option<u64> {
        if self.stage == Stage::Opening {
            return Some(self.heard_ms + OPENING_MS);
        }
        let since = self.asked_ms.unwrap_or(self.sent_ms.min(self.heard_ms));
        (self.keep_alive_ms > 0).then(|| since + self.keep_alive_ms)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// The other broker is silent: the connection is to be given up.
    pub fn tick(&mut self, now_ms: u64) -> Result<(), Error> {
        if self.stage == Stage::Closed {
            return Ok(());
        }
        if self.outward.deadline_ms().is_some_and(|at| at <= now_ms) {
            let seconds = self.settings.limits.ack_timeout_ms / 1000;
            return Err(Error::Lost(format!("the broker has not acknowledged a message in {seconds} s")));
        }
        if self.heart_ms().is_some_and(|at| at <= now_ms) {
            if self.asked_ms.is_some() || self.stage == Stage::Opening {
                return Err(Error::Lost("the broker does not answer".to_owned()));
            }
            self.ask(now_ms);
        }
        if let Following::No { pings, again_at_ms: Some(at) } = self.following
            && at <= now_ms
        {
            self.following = Following::No { pings, again_at_ms: None };
            self.ask(now_ms);
        }
        Ok(())
    }
}

fn violation(error: DecodeError) -> Error {
    Error::Violation(error.to_string())
}

/// What a reason code means for this client.
fn refusal(reason: ReasonCode, text: Option<&str>) -> Error {
    use ReasonCode as R;
    let what = match text {
        Some(text) if !text.is_empty() => format!("{reason}: {text}"),
        _ => reason.to_string(),
    };
    match reason {
        R::NotAuthorized | R::BadUserNameOrPassword | R::Banned | R::BadAuthenticationMethod => {
            Error::NotAuthorized(what)
        }
        _ => Error::Lost(format!("the broker ended the connection: {what}")),
    }
}
