//! Every limit, with its default, its unit, its configuration key and what is answered when it is reached.
//!
//! One table makes the struct [`Limits`], the keys of the configuration file and the reference in
//! `docs/configuration.md`. A limit never has a spelling for "unlimited": memory is bounded whatever is configured. Zero
//! means none (none kept, none sent, none allowed) wherever the range admits it.

use std::fmt;

/// Bytes of a topic in its MQTT spelling (MQTT 5, 1.5.4: a string's length is two bytes). Longer: topic name or filter
/// invalid, `wamp.error.invalid_uri`. Given by the protocol, so not configurable.
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Levels of a wildcard pattern: what one subscription can cost the index. More: topic filter invalid,
/// `wamp.error.invalid_uri`. Topics and exact patterns have no such limit.
pub const PATTERN_LEVELS_MAX: usize = 128;

/// Bounds of remote procedure calls in one realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Procedures that one session may have registered. One more is refused with `fennec.error.quota_exceeded`.
    pub registrations_per_session_max: usize,
    /// Calls of one session that wait for their answer. One more is refused with `fennec.error.quota_exceeded`.
    pub calls_per_session_max: usize,
    /// Calls of all sessions of the realm that wait for their answer. One more is refused with
    /// `fennec.error.quota_exceeded`.
    pub calls_max: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { registrations_per_session_max: 16_384, calls_per_session_max: 16_384, calls_max: 262_144 }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Seconds,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Table of the configuration file: `limits`, `mqtt`, `wamp` or `http`.
    pub section: &'static str,
    /// Key in that table.
    pub name: &'static str,
    pub unit: Unit,
    pub default: u64,
    pub min: u64,
    pub max: u64,
    /// What is bounded, and what is answered when it is reached; Markdown.
    pub doc: &'static str,
}

impl Limit {
    /// The dotted configuration key, such as `mqtt.receive_max`.
    pub fn key(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// What happens to an event that does not fit in a session's outbox and is not owed to it (QoS 0, plain WAMP events).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutboxFull {
    /// The event is dropped for that session and counted.
    #[default]
    Drop,
    /// The session is closed: DISCONNECT 0x97, GOODBYE `fennec.error.quota_exceeded`.
    Disconnect,
}

/// What happens to a client that sends more than it may in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateExceeded {
    /// It is not read until the second is over.
    #[default]
    Pause,
    /// It is disconnected: DISCONNECT 0x96, GOODBYE `fennec.error.quota_exceeded`.
    Disconnect,
}

/// A value outside the range of its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be from {min} to {max}")]
pub struct OutOfRange {
    pub min: u64,
    pub max: u64,
}

macro_rules! limits {
    ($($field:ident: $type:ty = $default:expr, $unit:ident, $section:literal . $name:literal, $min:literal ..= $max:literal, $doc:literal;)*) => {
        /// The limits of a running broker. Made from the configuration, then never changed.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            /// Answer to an outbox without room (`limits.outbox_full`).
            pub outbox_full: OutboxFull,
            /// Answer to a client that sends too fast (`limits.rate_exceeded`).
            pub rate_exceeded: RateExceeded,
            /// Memory that the process may use, in bytes (`limits.memory_max`); `None`: a share of what there is.
            pub memory_bytes_max: Option<u64>,
            $(#[doc = $doc] pub $field: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                let (outbox_full, rate_exceeded) = (OutboxFull::default(), RateExceeded::default());
                Limits { outbox_full, rate_exceeded, memory_bytes_max: None, $($field: $default,)* }
            }
        }

        impl Limits {
            /// Every numeric limit, in the order of the documentation.
            pub const TABLE: &'static [Limit] = &[$(Limit {
                section: $section,
                name: $name,
                unit: Unit::$unit,
                default: $default,
                min: $min,
                max: $max,
                doc: $doc,
            },)*];

            /// The value of the limit with this section and name, if there is one.
            pub fn get(&self, section: &str, name: &str) -> Option<u64> {
                match (section, name) {
                    $(($section, $name) => Some(self.$field as u64),)*
                    _ => None,
                }
            }

            /// Sets a limit. `None`: there is none of that name. Fails, changing nothing, if the value is out of range.
            pub fn set(&mut self, section: &str, name: &str, value: u64) -> Option<Result<(), OutOfRange>> {
                match (section, name) {
                    $(($section, $name) => Some(in_range(value, $min, $max).map(|value| self.$field = value as $type)),)*
                    _ => None,
                }
            }
        }
    };
}

fn in_range(value: u64, min: u64, max: u64) -> Result<u64, OutOfRange> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(OutOfRange { min, max }) }
}

limits! {
    connections_max: usize = 100_000, Count, "limits"."connections_max", 1..=10_000_000,
        "Open connections of all listeners together. Further ones are closed at once and counted.";
    connections_per_address_max: usize = 100_000, Count, "limits"."connections_per_address_max", 1..=10_000_000,
        "Open connections of one address; of IPv6, of one network of 64 bits. Further ones are closed at once and counted. Behind a PROXY \
         header the client's address counts; `trusted_proxies` themselves are not counted.";
    connections_per_user_max: usize = 100_000, Count, "limits"."connections_per_user_max", 1..=10_000_000,
        "Sessions of one user that are connected, anonymous ones aside. Further ones are refused: CONNACK 0x97 (MQTT 3: return code 3), \
         ABORT `fennec.error.quota_exceeded`. An MQTT client that comes again in the place of its own connection is let in.";
    connects_per_second_max: u64 = 1_000_000, Count, "limits"."connects_per_second_max", 1..=1_000_000,
        "Connections taken in one second, of all listeners together. Further ones wait in the system's queue until they are accepted.";
    connects_per_second_per_address_max: u64 = 1_000_000, Count, "limits"."connects_per_second_per_address_max", 1..=1_000_000,
        "The same from one address (as above). Further ones are closed at once and counted.";
    messages_per_second_max: u64 = 1_000_000_000, Count, "limits"."messages_per_second_max", 1..=1_000_000_000,
        "MQTT packets or WAMP messages that one connection may send in a second, on the average; HTTP requests of one user, or of one \
         address if they are anonymous. See `limits.rate_exceeded`.";
    bytes_per_second_max: u64 = 1_099_511_627_776, Bytes, "limits"."bytes_per_second_max", 1024..=1_099_511_627_776,
        "The same in bytes.";
    auth_delay_s_max: u32 = 5, Seconds, "limits"."auth_delay_s_max", 0..=60,
        "How long a login may have to wait because those before it failed, for the same user from the same address. The first three failures \
         cost nothing, from then on the wait doubles from a quarter of a second. More attempts at once than have their turn within this \
         time are refused as wrong. 0: nobody waits.";
    sessions_max: usize = 100_000, Count, "limits"."sessions_max", 1..=10_000_000,
        "Sessions of all protocols, MQTT sessions kept without a connection included. Further ones are refused: CONNACK 0x97 \
         (MQTT 3: return code 3), ABORT `fennec.error.quota_exceeded`.";
    handshake_timeout_s: u32 = 10, Seconds, "limits"."handshake_timeout_s", 1..=3600,
        "From the first byte of a connection to its complete CONNECT, HELLO or HTTP request, TLS included. Then it is closed.";
    auth_timeout_s: u32 = 10, Seconds, "limits"."auth_timeout_s", 1..=3600,
        "From a challenge to its answer. Then it is refused: CONNACK 0x87, ABORT `wamp.error.authentication_failed`.";
    drain_s: u32 = 5, Seconds, "limits"."drain_s", 0..=3600,
        "After SIGTERM: how long sessions may take to receive what their outboxes hold. Then connections are closed as they are.";
    subscriptions_per_session_max: usize = 50_000, Count, "limits"."subscriptions_per_session_max", 1..=10_000_000,
        "Subscriptions of one session. Further ones are refused: SUBACK 0x97 (MQTT 3: 0x80), ERROR `fennec.error.quota_exceeded`.";
    testaments_per_session_max: usize = 100, Count, "limits"."testaments_per_session_max", 0..=100_000,
        "WAMP testaments of one session. Further ones are refused: ERROR `fennec.error.quota_exceeded`.";
    testament_bytes_max: usize = 1024 * 1024, Bytes, "limits"."testament_bytes_max", 0..=1_073_741_824,
        "Topics and payloads of the WAMP testaments of one session. What is beyond is refused: ERROR `fennec.error.quota_exceeded`.";
    registrations_per_session_max: usize = 10_000, Count, "limits"."registrations_per_session_max", 1..=10_000_000,
        "Registrations of one session. Further ones are refused: ERROR `fennec.error.quota_exceeded`, SUBACK 0x97.";
    calls_pending_per_session_max: usize = 10_000, Count, "limits"."calls_pending_per_session_max", 1..=1_000_000,
        "Calls of one session that wait for their result. Further ones are refused: ERROR `fennec.error.quota_exceeded`.";
    outbox_bytes_max: usize = 16_777_216, Bytes, "limits"."outbox_bytes_max", 65_536..=1_073_741_824,
        "Encoded frames that wait to be written to one connection. One that is all but empty (1/256 of this) takes a frame of any \
         size. When full: `limits.outbox_full`; what is owed to the session (QoS 1 and 2) goes to its backlog.";
    inflight_max: u16 = 1024, Count, "limits"."inflight_max", 1..=65_535,
        "QoS 1 and 2 messages sent to one session and not yet acknowledged; a client's smaller Receive Maximum counts. Further ones \
         wait in its backlog.";
    backlog_messages_max: usize = 10_000, Count, "limits"."backlog_messages_max", 0..=1_000_000_000,
        "QoS 1 and 2 messages that wait for one session, connected or not. When full the new message is dropped for that session \
         and counted.";
    backlog_bytes_max: u64 = 67_108_864, Bytes, "limits"."backlog_bytes_max", 0..=1_099_511_627_776,
        "The same in bytes of payload and topic; an empty backlog takes one message of any size. As many bytes that are sent and not \
         acknowledged make further messages wait, too.";
    retained_messages_max: usize = 1_000_000, Count, "limits"."retained_messages_max", 0..=1_000_000_000,
        "Retained values of one realm. A publish that would add one is refused: PUBACK or PUBREC 0x97 (MQTT 3 and QoS 0: dropped and \
         counted), ERROR `fennec.error.quota_exceeded`. Changing or clearing one stays possible.";
    retained_bytes_max: u64 = 1_073_741_824, Bytes, "limits"."retained_bytes_max", 0..=1_099_511_627_776,
        "The same in bytes of payload and topic. A publish that would make a value larger is refused, too.";
    log_unresolved_bytes_max: usize = 67_108_864, Bytes, "limits"."log_unresolved_bytes_max", 1_048_576..=17_179_869_184,
        "Durable publications that were taken and are not on disk yet. From half of it on, connections that publish durably are \
         not read. When full, further ones are refused: PUBACK or PUBREC 0x97 (MQTT 3: the connection is closed), ERROR \
         `fennec.error.store_unavailable`.";
    log_segment_bytes_max: usize = 8_388_608, Bytes, "limits"."log_segment_bytes_max", 65_536..=268_435_456,
        "What is written to the log at once. More waits for the next write; a single larger message is written by itself.";
    log_cache_bytes_max: usize = 33_554_432, Bytes, "limits"."log_cache_bytes_max", 0..=17_179_869_184,
        "Segments of the log that are kept in memory for subscribers that are a little behind. What is older is read from the \
         store.";
    session_log_bytes_max: u64 = 1_073_741_824, Bytes, "limits"."session_log_bytes_max", 0..=1_099_511_627_776,
        "How far back the log is kept, in bytes of segments, for nothing but persistent sessions and named durable subscriptions \
         that have not read it. One that is further behind loses the oldest: it is told (`recovered`: false) and counted.";
    durable_subscriptions_max: usize = 10_000, Count, "limits"."durable_subscriptions_max", 0..=10_000_000,
        "Named durable subscriptions and groups of one realm. Further ones are refused: ERROR `fennec.error.quota_exceeded`.";
    events_per_call_max: usize = 1000, Count, "limits"."events_per_call_max", 1..=100_000,
        "Events in one answer to `wamp.subscription.get_events`; keys in one to `fennec.key.list`. A larger `limit` is cut to this.";
    waits_per_key_max: usize = 10_000, Count, "limits"."waits_per_key_max", 0..=10_000_000,
        "Publications that wait for the value of one key (`watch`) and requests for one lock. Further ones are refused: ERROR \
         `fennec.error.quota_exceeded`.";
    waits_per_session_max: usize = 1_000, Count, "limits"."waits_per_session_max", 0..=1_000_000,
        "The same of one session.";
    wait_bytes_max: usize = 67_108_864, Bytes, "limits"."wait_bytes_max", 0..=17_179_869_184,
        "The same in bytes, of all sessions together.";
    locks_per_session_max: usize = 10_000, Count, "limits"."locks_per_session_max", 0..=10_000_000,
        "Keys that change when one session goes (`will`), locks among them. Further ones are refused: ERROR \
         `fennec.error.quota_exceeded`, PUBACK or PUBREC 0x97.";
    mqtt_packet_bytes_max: usize = 16_777_216, Bytes, "mqtt"."packet_bytes_max", 1024..=268_435_460,
        "Largest MQTT packet, fixed header included; announced in CONNACK. A larger one closes the connection: DISCONNECT 0x95.";
    mqtt_receive_max: u16 = 1024, Count, "mqtt"."receive_max", 1..=65_535,
        "QoS 1 and 2 messages a client may send before they are acknowledged; announced in CONNACK. One more closes the connection: \
         DISCONNECT 0x93 (MQTT 3 knows no such limit: its packets wait to be read).";
    mqtt_topic_alias_max: u16 = 64, Count, "mqtt"."topic_alias_max", 0..=65_535,
        "Topic aliases a client may set; announced in CONNACK. A higher one closes the connection: DISCONNECT 0x94.";
    mqtt_outbound_topic_alias_max: u16 = 32, Count, "mqtt"."outbound_topic_alias_max", 0..=65_535,
        "Topic aliases the broker sets towards a client that takes them; the smaller of this and the client's maximum counts. \
         Further topics are sent in full.";
    mqtt_server_keep_alive_s: u16 = 0, Seconds, "mqtt"."server_keep_alive_s", 0..=65_535,
        "Keep alive that replaces the client's (MQTT 5: Server Keep Alive; MQTT 3: used silently). 0: the client's own stands. A \
         connection silent for 1.5 times as long is closed: DISCONNECT 0x8D.";
    mqtt_session_expiry_s_max: u32 = 604_800, Seconds, "mqtt"."session_expiry_s_max", 0..=4_294_967_295,
        "How long a session may be kept without a connection. A longer wish is cut to this and the client is told; it is also how \
         long MQTT 3 sessions without clean session are kept. 4294967295: for ever.";
    mqtt_subscribe_filters_max: usize = 10_000, Count, "mqtt"."subscribe_filters_max", 1..=1_000_000,
        "Topic filters in one SUBSCRIBE or UNSUBSCRIBE. More close the connection: DISCONNECT 0x97.";
    mqtt_takeover_delay_s_max: u32 = 5, Seconds, "mqtt"."takeover_delay_s_max", 0..=60,
        "How long a client that takes its session over from another connection may have to wait for its CONNACK. It waits only when \
         takeovers of one client id follow each other within seconds, and longer each time: two clients fight for it then. 0: never.";
    mqtt_websocket_ping_interval_s: u32 = 0, Seconds, "mqtt"."websocket_ping_interval_s", 0..=86_400,
        "Silence after which an MQTT client that came by WebSocket is pinged by WebSocket, beside the keep alive of MQTT. 0: never, for \
         there are libraries that answer wrongly (paho-mqtt for Python sends a pong without a mask, which closes the connection).";
    mqtt_websocket_ping_timeout_s: u32 = 20, Seconds, "mqtt"."websocket_ping_timeout_s", 1..=86_400,
        "From such a ping to its pong. Then the connection is closed, and counts as lost.";
    wamp_websocket_bytes_max: usize = 16_777_216, Bytes, "wamp"."websocket_bytes_max", 1024..=16_777_216,
        "Largest WebSocket message of a WAMP client. A larger one closes the connection with code 1009.";
    wamp_rawsocket_bytes_max: usize = 16_777_216, Bytes, "wamp"."rawsocket_bytes_max", 512..=16_777_216,
        "Largest RawSocket message; announced in the handshake as the next lower power of two. A larger one closes the connection.";
    wamp_ping_interval_s: u32 = 30, Seconds, "wamp"."ping_interval_s", 0..=86_400,
        "Silence after which a WebSocket or RawSocket client is pinged. 0: never.";
    wamp_ping_timeout_s: u32 = 20, Seconds, "wamp"."ping_timeout_s", 1..=86_400,
        "From a ping to its pong. Then the connection is closed and its session leaves.";
    wamp_longpoll_receive_timeout_s: u32 = 10, Seconds, "wamp"."longpoll_receive_timeout_s", 1..=3600,
        "How long a long-poll client waits for a message before it is answered 204 and has to ask again.";
    wamp_longpoll_idle_timeout_s: u32 = 30, Seconds, "wamp"."longpoll_idle_timeout_s", 1..=86_400,
        "Silence between two requests of a long-poll client. Then its session leaves.";
    wamp_longpoll_transports_max: usize = 10_000, Count, "wamp"."longpoll_transports_max", 0..=1_000_000,
        "Open long-poll transports. Further ones are answered 503 `fennec.error.quota_exceeded`.";
    http_body_bytes_max: usize = 16_777_216, Bytes, "http"."body_bytes_max", 1024..=16_777_216,
        "Largest request body. A larger one is answered 413.";
    http_call_timeout_s: u32 = 30, Seconds, "http"."call_timeout_s", 1..=86_400,
        "How long `POST /call` waits for a result. Then the call is cancelled and answered 504.";
    http_cookie_s: u32 = 0, Seconds, "http"."cookie_s", 0..=31_536_000,
        "How long a browser that proved who it is over a WebSocket may come back by its cookie (WAMP `authmethod` `cookie`). 0: no cookies.";
}

impl fmt::Display for RateExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RateExceeded::Pause => "pause",
            RateExceeded::Disconnect => "disconnect",
        })
    }
}

impl fmt::Display for OutboxFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutboxFull::Drop => "drop",
            OutboxFull::Disconnect => "disconnect",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_in_range_and_reachable_by_its_key() {
        let mut limits = Limits::default();
        for limit in Limits::TABLE {
            assert_eq!(limits.get(limit.section, limit.name), Some(limit.default), "{}", limit.key());
            assert_eq!(limits.set(limit.section, limit.name, limit.default), Some(Ok(())), "{}", limit.key());
        }
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn both_ends_of_a_range_survive_and_values_beyond_are_refused() {
        for limit in Limits::TABLE {
            let mut limits = Limits::default();
            for end in [limit.min, limit.max] {
                assert_eq!(limits.set(limit.section, limit.name, end), Some(Ok(())), "{}", limit.key());
                assert_eq!(limits.get(limit.section, limit.name), Some(end), "{} is cut by its type", limit.key());
            }
            let refused = Some(Err(OutOfRange { min: limit.min, max: limit.max }));
            assert_eq!(limits.set(limit.section, limit.name, limit.max + 1), refused, "{}", limit.key());
            assert_eq!(limits.get(limit.section, limit.name), Some(limit.max), "a refused value changes nothing");
        }
    }

    #[test]
    fn a_name_belongs_to_its_section_alone() {
        let mut limits = Limits::default();
        assert_eq!(limits.get("wamp", "receive_max"), None);
        assert_eq!(limits.set("wamp", "receive_max", 7), None);
        let mut keys: Vec<String> = Limits::TABLE.iter().map(Limit::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), Limits::TABLE.len(), "a key stands for one limit");
    }

    #[test]
    fn a_name_ends_with_its_unit() {
        for limit in Limits::TABLE {
            let has = |part: &str| limit.name.split('_').any(|word| word == part);
            match limit.unit {
                Unit::Bytes => assert!(has("bytes"), "{}", limit.key()),
                Unit::Seconds => assert!(has("s"), "{}", limit.key()),
                Unit::Count => assert!(!has("bytes") && !has("s"), "{}", limit.key()),
            }
        }
    }
}
