//! From CONNECT to the last SUBACK.

use super::{Event, Following, Machine, Stage, refusal};
use crate::client::Error;
use crate::mqtt::codec::{
    Connack, Connect, ConnectProperties, Level, PacketId, ReasonCode, RetainHandling, Suback, Subscribe, Subscription,
    Subscriptions, UserProperties,
};
use crate::outbound::bridge::inward::RECEIVE_MAXIMUM;
use crate::outbound::bridge::outward::Peer;
use crate::outbound::bridge::rules::Direction;

/// Packet identifiers of SUBSCRIBE; see [`crate::outbound::bridge::outward`] for the others.
pub(super) const REQUEST_IDS: std::ops::RangeInclusive<u16> = 0xF000..=0xFFFF;
/// By this bit of the protocol level a bridge makes itself known to Mosquitto before MQTT 5: it then gets no message of its own
/// back, and retain flags as they were published.
pub(super) const BRIDGE_BIT: u8 = 0x80;
impl Machine {
    /// A new connection is there.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a CONNECT cannot say the settings.
    pub fn open(&mut self, now_ms: u64) -> Result<(), Error> {
        self.close();
        (self.stage, self.heard_ms, self.sent_ms, self.asked_ms) = (Stage::Opening, now_ms, now_ms, None);
        let settings = &self.settings;
        let connect = Connect {
            level: settings.level,
            clean_start: settings.session_expiry_s == 0 || self.outward.wants_new_session(),
            keep_alive_s: settings.keep_alive_s,
            client_id: &settings.client_id,
            will: None,
            user_name: settings.user.as_deref(),
            password: settings.password.as_deref().map(str::as_bytes),
            properties: ConnectProperties {
                session_expiry_s: settings.session_expiry_s,
                receive_maximum: RECEIVE_MAXIMUM,
                ..ConnectProperties::default()
            },
        };
        connect
            .encode(&mut self.out)
            .map_err(|error| Error::Invalid(format!("client id, user or password: {error}")))?;
        self.bridge_bit.is_said =
            self.settings.bridge_bit && self.settings.level < Level::V5 && !self.bridge_bit.is_to_wait;
        if self.bridge_bit.is_said {
            set_bridge_bit(&mut self.out);
        }
        Ok(())
    }

    pub(super) fn connack(&mut self, connack: &Connack<'_>, now_ms: u64) -> Result<(), Error> {
        let properties = &connack.properties;
        if self.stage != Stage::Opening {
            return Err(Error::Violation("a second CONNACK".to_owned()));
        }
        if connack.reason == ReasonCode::UnsupportedProtocolVersion && self.bridge_bit.is_said {
            self.bridge_bit.is_refused = true;
            return Err(Error::Lost(
                "the broker does not know bridges; the next try does not say that this is one".into(),
            ));
        }
        // What follows is no answer to the bit.
        self.stage = Stage::Closed;
        if connack.reason != ReasonCode::Success {
            return Err(refusal(connack.reason, properties.reason_string));
        }
        let peer = Peer {
            receive_maximum: properties.receive_maximum,
            maximum_qos: properties.maximum_qos,
            maximum_packet_size: properties.maximum_packet_size.map_or(usize::MAX, |bytes| bytes as usize),
            retain_available: properties.retain_available,
        };
        if self.settings.session_expiry_s > 0 && self.outward.wants_new_session() {
            // Before MQTT 5 a session that begins clean ends with its connection (MQTT 3.1.1, 3.1.2.4); and Mosquitto 2 does not
            // write one that began clean to its disk, whatever the version.
            self.outward.session_was_ended();
            self.events.push_back(Event::Again);
            return Ok(());
        }
        let resumed = connack.session_present;
        self.keep_alive_ms = u64::from(properties.server_keep_alive_s.unwrap_or(self.settings.keep_alive_s)) * 1000;
        self.outward.connected(peer, resumed);
        self.inward.connected(resumed);
        self.events.push_back(Event::Opened { resumed });
        self.following = Following::No { pings: 0, again_at_ms: None };
        self.snapshot = Some(Vec::new());
        self.stage = Stage::CatchingUp;
        self.subscribe(Direction::In)?;
        if self.rules.outwards().next().is_none() { self.caught_up(now_ms) } else { Ok(()) }
    }

    /// The other broker has all that waited for it.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a filter cannot be said.
    pub fn caught_up(&mut self, now_ms: u64) -> Result<(), Error> {
        if self.stage != Stage::CatchingUp {
            return Ok(());
        }
        self.stage = Stage::Subscribing;
        self.subscribe(Direction::Both)?;
        if self.requests.is_empty() {
            self.come_up(now_ms);
        }
        Ok(())
    }

    /// Whether [`Machine::caught_up`] is awaited.
    pub fn is_catching_up(&self) -> bool {
        self.stage == Stage::CatchingUp
    }

    /// Subscribes to what goes this way.
    fn subscribe(&mut self, direction: Direction) -> Result<(), Error> {
        let numbered = self.rules.inwards().zip(REQUEST_IDS).filter(|(rule, _)| rule.direction == direction);
        for (rule, id) in numbered {
            let (filter, Some(packet_id)) = (rule.remote_filter(), PacketId::new(id)) else { continue };
            let subscriptions = [Subscription {
                filter: &filter,
                qos: rule.qos,
                no_local: true,
                retain_as_published: true,
                retain_handling: RetainHandling::AtSubscribe,
            }];
            let subscribe = Subscribe {
                packet_id,
                subscription_identifier: None,
                user_properties: UserProperties::default(),
                subscriptions: Subscriptions::new(&subscriptions),
            };
            let encoded = subscribe.encode(self.settings.level, &mut self.out);
            encoded.map_err(|error| Error::Invalid(format!("{filter:?}: {error}")))?;
            self.requests.push((packet_id, filter));
        }
        Ok(())
    }

    pub(super) fn suback(&mut self, suback: &Suback<'_>, now_ms: u64) -> Result<(), Error> {
        let Some(at) = self.requests.iter().position(|(id, _)| *id == suback.packet_id) else {
            return Err(Error::Violation("a SUBACK that nobody waits for".to_owned()));
        };
        let (_, filter) = self.requests.swap_remove(at);
        let reason = suback.reasons.iter().next().unwrap_or(ReasonCode::UnspecifiedError);
        if reason.is_error() {
            self.refused.push(format!("{filter}: {reason}"));
        }
        if self.stage == Stage::Subscribing && self.requests.is_empty() {
            self.come_up(now_ms);
        }
        Ok(())
    }

    fn come_up(&mut self, now_ms: u64) {
        self.stage = Stage::Up;
        let refused = std::mem::take(&mut self.refused);
        if self.rules.inwards().next().is_none() || !refused.is_empty() {
            // Without all subscriptions nothing can be said of what is missing.
            (self.following, self.snapshot) = (Following::Yes, None);
        } else {
            self.ask(now_ms);
        }
        self.events.push_back(Event::Subscribed { refused });
    }
}

/// Sets the bit in an encoded CONNECT, behind the protocol's name.
fn set_bridge_bit(connect: &mut [u8]) {
    let name = connect.windows(4).position(|word| word == b"MQTT").map(|at| at + 4);
    let older = connect.windows(6).position(|word| word == b"MQIsdp").map(|at| at + 6);
    if let Some(level) = older.or(name).and_then(|at| connect.get_mut(at)) {
        *level |= BRIDGE_BIT;
    }
}
