//! What can be wrong with a packet: one constant per rule, so that a test can ask for a counterexample of each.

use super::reason::ReasonCode;

/// A packet that breaks a rule. The connection it came from is closed with [`DecodeError::reason`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DecodeError(&'static Rule);

/// One rule of the specification about the form of packets.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    name: &'static str,
    reason: ReasonCode,
    statement: &'static str,
    what: &'static str,
}

impl DecodeError {
    /// Why the connection is closed: the code for DISCONNECT, or for CONNACK if the packet was a CONNECT.
    pub const fn reason(self) -> ReasonCode {
        self.0.reason
    }

    /// The statement of the specification that is broken: its number, or its section if it has none. Numbers are those
    /// of MQTT 5 unless it says otherwise.
    pub const fn statement(self) -> &'static str {
        self.0.statement
    }

    /// What is wrong, in a few words.
    pub const fn what(self) -> &'static str {
        self.0.what
    }
}

impl std::fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", self.0.what, self.0.statement)
    }
}

impl std::error::Error for DecodeError {}

macro_rules! rules {
    ($($name:ident: $reason:ident, $statement:literal, $what:literal;)*) => {
        impl DecodeError {
            $(
                #[doc = concat!("[", $statement, "] ", $what)]
                pub const $name: DecodeError = DecodeError(&Rule {
                    name: stringify!($name),
                    reason: ReasonCode::$reason,
                    statement: $statement,
                    what: $what,
                });
            )*

            /// Every rule.
            pub const ALL: &'static [DecodeError] = &[$(DecodeError::$name,)*];
        }
    };
}

rules! {
    // Framing.
    FRAME_INCOMPLETE: MalformedPacket, "2.1.4", "the packet has not the length that its header says";
    PACKET_TOO_LARGE: PacketTooLarge, "3.2.2.3.6", "the packet is larger than what was agreed";
    TRUNCATED: MalformedPacket, "4.13.1", "a field reaches beyond the end of the packet";
    TRAILING_BYTES: MalformedPacket, "4.13.1", "bytes follow the last field of the packet";
    VARINT_TOO_LONG: MalformedPacket, "1.5.5", "a variable byte integer has more than four bytes";
    VARINT_NOT_MINIMAL: MalformedPacket, "MQTT-1.5.5-1", "a variable byte integer has more bytes than it needs";
    RESERVED_TYPE: MalformedPacket, "2.1.2", "a packet of a reserved type";
    RESERVED_FLAGS: MalformedPacket, "MQTT-2.1.3-1", "reserved flags of the fixed header have the wrong value";
    WRONG_DIRECTION: ProtocolError, "2.1.2", "a packet of a type that only the other side sends";
    PACKET_ID_ZERO: ProtocolError, "MQTT-2.2.1-3", "packet identifier 0";

    // Strings.
    INVALID_UTF8: MalformedPacket, "MQTT-1.5.4-1", "a string is not well-formed UTF-8";
    NUL_IN_STRING: MalformedPacket, "MQTT-1.5.4-2", "a string contains U+0000";
    EMPTY_TOPIC: ProtocolError, "MQTT-4.7.3-1", "an empty topic name";
    WILDCARD_IN_TOPIC: MalformedPacket, "MQTT-3.3.2-2", "a topic name contains a wildcard character";
    EMPTY_FILTER: MalformedPacket, "MQTT-4.7.3-1", "an empty topic filter";
    MISPLACED_MULTI_LEVEL: MalformedPacket, "MQTT-4.7.1-1", "'#' is not a whole level, or not the last one";
    MISPLACED_SINGLE_LEVEL: MalformedPacket, "MQTT-4.7.1-2", "'+' is not a whole level";
    SHARE_NAME_INVALID: MalformedPacket, "MQTT-4.8.2-1", "a share name is empty or contains a wildcard character";
    SHARE_WITHOUT_FILTER: MalformedPacket, "MQTT-4.8.2-2", "a shared subscription without a topic filter";

    // Properties.
    PROPERTY_UNKNOWN: MalformedPacket, "2.2.2.2", "a property that the specification does not know";
    PROPERTY_NOT_ALLOWED: MalformedPacket, "2.2.2.2", "a property that this packet must not carry";
    PROPERTY_REPEATED: ProtocolError, "2.2.2.2", "a property that occurs twice";
    PROPERTY_NOT_BOOLEAN: ProtocolError, "2.2.2.2", "a property that is neither 0 nor 1";
    RECEIVE_MAXIMUM_ZERO: ProtocolError, "3.1.2.11.3", "receive maximum 0";
    MAXIMUM_PACKET_SIZE_ZERO: ProtocolError, "3.1.2.11.4", "maximum packet size 0";
    TOPIC_ALIAS_ZERO: TopicAliasInvalid, "MQTT-3.3.2-8", "topic alias 0";
    SUBSCRIPTION_IDENTIFIER_ZERO: ProtocolError, "3.8.2.1.2", "subscription identifier 0";
    RESPONSE_TOPIC_INVALID: ProtocolError, "MQTT-3.3.2-14", "a response topic is empty or contains a wildcard character";
    AUTHENTICATION_DATA_ALONE: ProtocolError, "3.1.2.11.10", "authentication data without an authentication method";

    // CONNECT and CONNACK.
    NOT_CONNECT: ProtocolError, "MQTT-3.1.0-1", "the first packet is not a CONNECT";
    SECOND_CONNECT: ProtocolError, "MQTT-3.1.0-2", "a second CONNECT";
    PROTOCOL_NAME: UnsupportedProtocolVersion, "MQTT-3.1.2-1", "the protocol name is neither MQTT nor MQIsdp";
    PROTOCOL_VERSION: UnsupportedProtocolVersion, "MQTT-3.1.2-2", "a protocol version that is not spoken here";
    CONNECT_FLAG_RESERVED: MalformedPacket, "MQTT-3.1.2-3", "the reserved connect flag is set";
    WILL_QOS_INVALID: MalformedPacket, "MQTT-3.1.2-14", "will QoS 3";
    WILL_FLAGS_WITHOUT_WILL: MalformedPacket, "MQTT-3.1.2-11", "will QoS or will retain without a will";
    PASSWORD_WITHOUT_USER_NAME: MalformedPacket, "MQTT-3.1.2-22 of 3.1.1", "a password without a user name";
    CLIENT_ID_EMPTY: ClientIdentifierNotValid, "MQTT-3.1.3-8 of 3.1.1", "an empty client id that cannot be replaced";
    CONNACK_FLAGS_RESERVED: MalformedPacket, "MQTT-3.2.2-1", "reserved connect acknowledge flags are set";
    SESSION_PRESENT_ON_ERROR: ProtocolError, "MQTT-3.2.2-6", "session present in a CONNACK that refuses";
    CONNACK_REASON: ProtocolError, "MQTT-3.2.2-8", "a reason code that CONNACK does not have";

    // PUBLISH and its acknowledgements.
    QOS_INVALID: MalformedPacket, "MQTT-3.3.1-4", "QoS 3";
    DUP_WITH_QOS_0: MalformedPacket, "MQTT-3.3.1-2", "DUP with QoS 0";
    TOPIC_ALIAS_MISSING: ProtocolError, "3.3.2.1", "an empty topic name without a topic alias";
    SUBSCRIPTION_IDENTIFIER_FROM_CLIENT: ProtocolError, "MQTT-3.3.4-6", "a client's PUBLISH with a subscription identifier";
    PAYLOAD_NOT_TEXT: PayloadFormatInvalid, "3.3.2.3.2", "a payload is said to be UTF-8 and is not";
    PUBACK_REASON: ProtocolError, "MQTT-3.4.2-1", "a reason code that PUBACK and PUBREC do not have";
    PUBREL_REASON: ProtocolError, "MQTT-3.6.2-1", "a reason code that PUBREL and PUBCOMP do not have";

    // SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.
    NO_FILTER: ProtocolError, "MQTT-3.8.3-2", "no topic filter";
    SUBSCRIPTION_OPTIONS_RESERVED: MalformedPacket, "MQTT-3.8.3-5", "reserved subscription options are set";
    SUBSCRIPTION_QOS_INVALID: ProtocolError, "3.8.3.1", "a subscription with QoS 3";
    RETAIN_HANDLING_INVALID: ProtocolError, "3.8.3.1", "retain handling 3";
    NO_LOCAL_SHARED: ProtocolError, "MQTT-3.8.3-4", "a shared subscription with no local";
    NO_REASON_CODE: ProtocolError, "MQTT-3.8.4-6", "an acknowledgement of subscriptions without a reason code";
    SUBACK_REASON: ProtocolError, "MQTT-3.9.3-2", "a reason code that SUBACK does not have";
    UNSUBACK_REASON: ProtocolError, "MQTT-3.11.3-2", "a reason code that UNSUBACK does not have";

    // DISCONNECT and AUTH.
    DISCONNECT_REASON: ProtocolError, "MQTT-3.14.2-1", "a reason code that this side's DISCONNECT does not have";
    SESSION_EXPIRY_FROM_SERVER: ProtocolError, "MQTT-3.14.2-2", "a server's DISCONNECT with a session expiry interval";
    SERVER_REFERENCE_FROM_CLIENT: ProtocolError, "3.14.2.2.5", "a client's DISCONNECT with a server reference";
    AUTH_REASON: ProtocolError, "MQTT-3.15.2-1", "a reason code that this side's AUTH does not have";
    AUTH_WITHOUT_METHOD: ProtocolError, "3.15.2.2.2", "an AUTH without an authentication method";
}

/// A packet that cannot be written. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("a string or binary field is longer than 65535 bytes")]
    FieldTooLong,
    #[error("a string contains U+0000")]
    NulInString,
    #[error("the packet is longer than 268435455 bytes")]
    PacketTooLong,
    #[error("the protocol level of the connection cannot express this packet")]
    NotAtThisLevel,
}
