//! A counterexample of every rule: what breaks it is refused, for that reason.

use super::*;
use DecodeError as E;
use Level::{V3, V4, V5};
use Role::{Client, Server};

/// Rule that is broken, level, who receives, packet.
const MALFORMED: &[(DecodeError, Level, Role, &str)] = &[
    // The type and the fixed header.
    (E::RESERVED_TYPE, V4, Server, "00"),
    (E::RESERVED_TYPE, V5, Server, "00"),
    (E::RESERVED_TYPE, V5, Client, "0F"),
    (E::RESERVED_TYPE, V4, Server, "F0"),
    (E::RESERVED_TYPE, V3, Server, "F0"),
    (E::RESERVED_FLAGS, V4, Server, "11 s'MQTT' 04 02 000A s'c'"),
    (E::RESERVED_FLAGS, V4, Client, "21 0000"),
    (E::RESERVED_FLAGS, V4, Server, "41 0001"),
    (E::RESERVED_FLAGS, V5, Server, "42 0001"),
    (E::RESERVED_FLAGS, V5, Server, "54 0001"),
    (E::RESERVED_FLAGS, V5, Server, "60 0001"),
    (E::RESERVED_FLAGS, V4, Server, "63 0001"),
    (E::RESERVED_FLAGS, V4, Server, "6A 0001"),
    (E::RESERVED_FLAGS, V5, Server, "78 0001"),
    (E::RESERVED_FLAGS, V4, Server, "80 0001 s'a' 00"),
    (E::RESERVED_FLAGS, V5, Server, "8A 0001 {} s'a' 00"),
    (E::RESERVED_FLAGS, V5, Client, "92 0001 {} 00"),
    (E::RESERVED_FLAGS, V4, Server, "A0 0001 s'a'"),
    (E::RESERVED_FLAGS, V5, Server, "A3 0001 {} s'a'"),
    (E::RESERVED_FLAGS, V4, Client, "B1 0001"),
    (E::RESERVED_FLAGS, V4, Server, "C8"),
    (E::RESERVED_FLAGS, V4, Client, "D1"),
    (E::RESERVED_FLAGS, V5, Server, "E1"),
    (E::RESERVED_FLAGS, V5, Server, "F1 18 { 15 s'm' }"),
    (E::WRONG_DIRECTION, V4, Server, "20 0000"),
    (E::WRONG_DIRECTION, V5, Server, "20 00 00 {}"),
    (E::WRONG_DIRECTION, V4, Server, "90 0001 00"),
    (E::WRONG_DIRECTION, V4, Server, "B0 0001"),
    (E::WRONG_DIRECTION, V4, Server, "D0"),
    (E::WRONG_DIRECTION, V4, Client, "82 0001 s'a' 00"),
    (E::WRONG_DIRECTION, V4, Client, "A2 0001 s'a'"),
    (E::WRONG_DIRECTION, V4, Client, "C0"),
    (E::WRONG_DIRECTION, V4, Client, "E0"),
    // Fields that reach too far, bytes that belong to no field.
    (E::TRUNCATED, V4, Server, "10"),
    (E::TRUNCATED, V4, Server, "10 s'MQTT' 04 02 000A"),
    (E::TRUNCATED, V4, Server, "10 s'MQTT' 04 02 000A 0005 'c'"),
    (E::TRUNCATED, V4, Server, "10 s'MQTT' 04 06 000A s'c'"),
    (E::TRUNCATED, V4, Server, "10 s'MQTT' 04 06 000A s'c' s'w'"),
    (E::TRUNCATED, V4, Server, "10 s'MQTT' 04 82 000A s'c'"),
    (E::TRUNCATED, V4, Server, "10 s'MQTT' 04 C2 000A s'c' s'u'"),
    (E::TRUNCATED, V5, Server, "10 s'MQTT' 05 02 000A s'c'"),
    (E::TRUNCATED, V5, Server, "10 s'MQTT' 05 02 000A 05 11 00 s'c'"),
    (E::TRUNCATED, V5, Server, "10 s'MQTT' 05 02 000A { 11 000000 } s'c'"),
    (E::TRUNCATED, V5, Server, "10 s'MQTT' 05 02 000A { 21 00 } s'c'"),
    (E::TRUNCATED, V5, Server, "10 s'MQTT' 05 02 000A { 17 } s'c'"),
    (E::TRUNCATED, V5, Server, "10 s'MQTT' 05 02 000A { 26 s'k' } s'c'"),
    (E::TRUNCATED, V5, Server, "10 s'MQTT' 05 02 000A { 15 0003 'm' } s'c'"),
    (E::TRUNCATED, V4, Client, "20 00"),
    (E::TRUNCATED, V5, Client, "20 00 00"),
    (E::TRUNCATED, V4, Server, "30"),
    (E::TRUNCATED, V4, Server, "30 00"),
    (E::TRUNCATED, V4, Server, "30 0005 'ab'"),
    (E::TRUNCATED, V4, Server, "32 s'a'"),
    (E::TRUNCATED, V4, Server, "32 s'a' 00"),
    (E::TRUNCATED, V5, Server, "30 s'a'"),
    (E::TRUNCATED, V5, Server, "30 s'a' 03 01"),
    (E::TRUNCATED, V5, Server, "30 s'a' { 02 0000 }"),
    (E::TRUNCATED, V5, Server, "30 s'a' { 09 0002 01 }"),
    (E::TRUNCATED, V4, Server, "40"),
    (E::TRUNCATED, V4, Server, "40 01"),
    (E::TRUNCATED, V5, Server, "62 00"),
    (E::TRUNCATED, V5, Server, "40 0001 00 05 1F"),
    (E::TRUNCATED, V4, Server, "82 00"),
    (E::TRUNCATED, V4, Server, "82 0001 s'a'"),
    (E::TRUNCATED, V4, Server, "82 0001 s'a' 00 00"),
    (E::TRUNCATED, V5, Server, "82 0001"),
    (E::TRUNCATED, V4, Server, "A2 0001 00"),
    (E::TRUNCATED, V4, Server, "A2 0001 s'a' 0002 'b'"),
    (E::TRUNCATED, V5, Server, "E0 00 05"),
    (E::TRUNCATED, V5, Client, "F0 18"),
    (E::TRAILING_BYTES, V4, Server, "10 s'MQTT' 04 02 000A s'c' 00"),
    (E::TRAILING_BYTES, V4, Server, "10 s'MQTT' 04 02 000A s'c' s'user'"),
    (E::TRAILING_BYTES, V4, Server, "10 s'MQTT' 04 02 000A s'c' s'w' s'm'"),
    (E::TRAILING_BYTES, V3, Server, "10 s'MQIsdp' 03 02 000A s'c' 00"),
    (E::TRAILING_BYTES, V5, Server, "10 s'MQTT' 05 02 000A {} s'c' 00"),
    (E::TRAILING_BYTES, V4, Client, "20 0000 00"),
    (E::TRAILING_BYTES, V5, Client, "20 00 00 {} 00"),
    (E::TRAILING_BYTES, V4, Server, "40 0001 00"),
    (E::TRAILING_BYTES, V5, Server, "40 0001 00 {} 00"),
    (E::TRAILING_BYTES, V4, Server, "50 0001 0000"),
    (E::TRAILING_BYTES, V4, Server, "62 0001 00"),
    (E::TRAILING_BYTES, V4, Client, "B0 0001 00"),
    (E::TRAILING_BYTES, V4, Server, "C0 00"),
    (E::TRAILING_BYTES, V5, Client, "D0 00"),
    (E::TRAILING_BYTES, V4, Server, "E0 00"),
    (E::TRAILING_BYTES, V5, Server, "E0 00 {} 00"),
    (E::TRAILING_BYTES, V5, Server, "F0 18 { 15 s'm' } 00"),
    (E::VARINT_TOO_LONG, V5, Server, "30 s'a' 8080808001 'x'"),
    (E::VARINT_TOO_LONG, V5, Server, "82 0001 { 0B FFFFFFFF7F } s'a' 00"),
    (E::VARINT_TOO_LONG, V5, Server, "30 s'a' { 8080808001 01 }"),
    (E::VARINT_NOT_MINIMAL, V5, Server, "30 s'a' 8000 'x'"),
    (E::VARINT_NOT_MINIMAL, V5, Server, "82 0001 { 0B 8100 } s'a' 00"),
    (E::VARINT_NOT_MINIMAL, V5, Server, "30 s'a' { 8100 01 }"),
    (E::PACKET_ID_ZERO, V4, Server, "32 s'a' 0000"),
    (E::PACKET_ID_ZERO, V5, Server, "34 s'a' 0000 {}"),
    (E::PACKET_ID_ZERO, V4, Server, "40 0000"),
    (E::PACKET_ID_ZERO, V4, Server, "50 0000"),
    (E::PACKET_ID_ZERO, V5, Server, "62 0000"),
    (E::PACKET_ID_ZERO, V5, Server, "70 0000"),
    (E::PACKET_ID_ZERO, V4, Server, "82 0000 s'a' 00"),
    (E::PACKET_ID_ZERO, V4, Client, "90 0000 00"),
    (E::PACKET_ID_ZERO, V5, Server, "A2 0000 {} s'a'"),
    (E::PACKET_ID_ZERO, V4, Client, "B0 0000"),
    // Strings, in every place where one may stand.
    (E::INVALID_UTF8, V4, Server, "30 0001 FF"),
    (E::INVALID_UTF8, V4, Server, "30 0002 C0AF 'overlong'"),
    (E::INVALID_UTF8, V4, Server, "30 0003 EDA080 'surrogate'"),
    (E::INVALID_UTF8, V4, Server, "30 0003 EDBFBF"),
    (E::INVALID_UTF8, V5, Server, "30 0006 EDA081EDB080 {} 'surrogate_pair'"),
    (E::INVALID_UTF8, V4, Server, "30 0004 F4908080 'above_10FFFF'"),
    (E::INVALID_UTF8, V4, Server, "30 0002 E282 'cut'"),
    (E::INVALID_UTF8, V4, Server, "10 s'MQTT' 04 02 000A 0001 FF"),
    (E::INVALID_UTF8, V4, Server, "10 s'MQTT' 04 06 000A s'c' 0001 80 s'm'"),
    (E::INVALID_UTF8, V4, Server, "10 s'MQTT' 04 82 000A s'c' 0001 80"),
    (E::INVALID_UTF8, V4, Server, "82 0001 0003 EDA080 00"),
    (E::INVALID_UTF8, V4, Server, "A2 0001 0001 FE"),
    (E::INVALID_UTF8, V5, Server, "30 s'a' { 03 0001 FF }"),
    (E::INVALID_UTF8, V5, Server, "30 s'a' { 08 0001 FF }"),
    (E::INVALID_UTF8, V5, Server, "30 s'a' { 26 0001 FF s'v' }"),
    (E::INVALID_UTF8, V5, Server, "30 s'a' { 26 s'k' 0001 FF }"),
    (E::INVALID_UTF8, V5, Server, "40 0001 00 { 1F 0001 FF }"),
    (E::INVALID_UTF8, V5, Server, "F0 18 { 15 0001 FF }"),
    (E::NUL_IN_STRING, V4, Server, "30 0003 'a' 00 'b'"),
    (E::NUL_IN_STRING, V4, Server, "10 s'MQTT' 04 02 000A 0001 00"),
    (E::NUL_IN_STRING, V4, Server, "10 s'MQTT' 04 06 000A s'c' 0002 'w' 00 s'm'"),
    (E::NUL_IN_STRING, V4, Server, "10 s'MQTT' 04 82 000A s'c' 0002 'u' 00"),
    (E::NUL_IN_STRING, V4, Server, "82 0001 0002 'a' 00 00"),
    (E::NUL_IN_STRING, V4, Server, "A2 0001 0002 00 'a'"),
    (E::NUL_IN_STRING, V5, Server, "30 s'a' { 26 0001 00 s'v' }"),
    (E::NUL_IN_STRING, V5, Server, "30 s'a' { 26 s'k' 0001 00 }"),
    (E::NUL_IN_STRING, V5, Server, "30 s'a' { 03 0001 00 }"),
    // Topic names and topic filters.
    (E::EMPTY_TOPIC, V4, Server, "30 0000 'x'"),
    (E::EMPTY_TOPIC, V3, Server, "30 0000 'x'"),
    (E::EMPTY_TOPIC, V4, Server, "10 s'MQTT' 04 06 000A s'c' 0000 s'm'"),
    (E::EMPTY_TOPIC, V5, Server, "10 s'MQTT' 05 06 000A {} s'c' {} 0000 s'm'"),
    (E::TOPIC_ALIAS_MISSING, V5, Server, "30 0000 {} 'x'"),
    (E::WILDCARD_IN_TOPIC, V4, Server, "30 s'a/+' 'x'"),
    (E::WILDCARD_IN_TOPIC, V4, Server, "30 s'#'"),
    (E::WILDCARD_IN_TOPIC, V5, Server, "30 s'a+b' {}"),
    (E::WILDCARD_IN_TOPIC, V5, Client, "30 s'a/#' {}"),
    (E::WILDCARD_IN_TOPIC, V4, Server, "10 s'MQTT' 04 06 000A s'c' s'w/#' s'm'"),
    (E::EMPTY_FILTER, V4, Server, "82 0001 0000 00"),
    (E::EMPTY_FILTER, V5, Server, "82 0001 {} s'a' 00 0000 00"),
    (E::EMPTY_FILTER, V4, Server, "A2 0001 0000"),
    (E::MISPLACED_MULTI_LEVEL, V4, Server, "82 0001 s'#/a' 00"),
    (E::MISPLACED_MULTI_LEVEL, V4, Server, "82 0001 s'a#' 00"),
    (E::MISPLACED_MULTI_LEVEL, V4, Server, "82 0001 s'a/#/' 00"),
    (E::MISPLACED_MULTI_LEVEL, V4, Server, "82 0001 s'a/##' 00"),
    (E::MISPLACED_MULTI_LEVEL, V5, Server, "A2 0001 {} s'a/#b'"),
    (E::MISPLACED_MULTI_LEVEL, V5, Server, "82 0001 {} s'$share/s/a#' 00"),
    (E::MISPLACED_SINGLE_LEVEL, V4, Server, "82 0001 s'a+' 00"),
    (E::MISPLACED_SINGLE_LEVEL, V4, Server, "82 0001 s'+a/b' 00"),
    (E::MISPLACED_SINGLE_LEVEL, V5, Server, "82 0001 {} s'a/++/b' 00"),
    (E::MISPLACED_SINGLE_LEVEL, V4, Server, "A2 0001 s'a/b+/c'"),
    (E::SHARE_NAME_INVALID, V5, Server, "82 0001 {} s'$share//a' 00"),
    (E::SHARE_NAME_INVALID, V5, Server, "82 0001 {} s'$share/+/a' 00"),
    (E::SHARE_NAME_INVALID, V5, Server, "82 0001 {} s'$share/n#/a' 00"),
    (E::SHARE_NAME_INVALID, V5, Server, "A2 0001 {} s'$share/n+/a'"),
    (E::SHARE_WITHOUT_FILTER, V5, Server, "82 0001 {} s'$share/name' 00"),
    (E::SHARE_WITHOUT_FILTER, V5, Server, "82 0001 {} s'$share/name/' 00"),
    (E::SHARE_WITHOUT_FILTER, V5, Server, "A2 0001 {} s'$share/'"),
    // Properties.
    (E::PROPERTY_UNKNOWN, V5, Server, "30 s'a' { 00 01 }"),
    (E::PROPERTY_UNKNOWN, V5, Server, "30 s'a' { 04 01 }"),
    (E::PROPERTY_UNKNOWN, V5, Server, "30 s'a' { 2B 01 }"),
    (E::PROPERTY_UNKNOWN, V5, Server, "30 s'a' { 7F 01 }"),
    (E::PROPERTY_UNKNOWN, V5, Server, "30 s'a' { 8101 01 }"),
    (E::PROPERTY_UNKNOWN, V5, Server, "30 s'a' { FFFFFF7F 01 }"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "10 s'MQTT' 05 02 000A { 1F s'r' } s'c'"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "10 s'MQTT' 05 02 000A { 18 00000001 } s'c'"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "10 s'MQTT' 05 06 000A {} s'c' { 11 00000001 } s'w' s'm'"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "10 s'MQTT' 05 06 000A {} s'c' { 23 0001 } s'w' s'm'"),
    (E::PROPERTY_NOT_ALLOWED, V5, Client, "20 00 00 { 17 01 }"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "30 s'a' { 1F s'r' }"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "40 0001 00 { 0B 01 }"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "82 0001 { 1F s'r' } s'a' 00"),
    (E::PROPERTY_NOT_ALLOWED, V5, Client, "90 0001 { 0B 01 } 00"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "A2 0001 { 0B 01 } s'a'"),
    (E::PROPERTY_NOT_ALLOWED, V5, Client, "B0 0001 { 15 s'm' } 00"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "E0 00 { 21 0001 }"),
    (E::PROPERTY_NOT_ALLOWED, V5, Server, "F0 18 { 15 s'm' 1C s'r' }"),
    (E::PROPERTY_REPEATED, V5, Server, "10 s'MQTT' 05 02 000A { 11 00000001 11 00000001 } s'c'"),
    (E::PROPERTY_REPEATED, V5, Server, "10 s'MQTT' 05 02 000A { 21 0001 21 0001 } s'c'"),
    (E::PROPERTY_REPEATED, V5, Server, "10 s'MQTT' 05 02 000A { 15 s'm' 16 s'd' 16 s'd' } s'c'"),
    (E::PROPERTY_REPEATED, V5, Server, "10 s'MQTT' 05 06 000A {} s'c' { 01 01 01 01 } s'w' s'm'"),
    (E::PROPERTY_REPEATED, V5, Client, "20 00 00 { 12 s'a' 12 s'a' }"),
    (E::PROPERTY_REPEATED, V5, Server, "30 s'a' { 23 0001 23 0001 }"),
    (E::PROPERTY_REPEATED, V5, Server, "30 s'a' { 02 00000001 26 s'k' s'v' 02 00000001 }"),
    (E::PROPERTY_REPEATED, V5, Server, "82 0001 { 0B 01 0B 02 } s'a' 00"),
    (E::PROPERTY_REPEATED, V5, Server, "40 0001 00 { 1F s'r' 1F s'r' }"),
    (E::PROPERTY_NOT_BOOLEAN, V5, Server, "10 s'MQTT' 05 02 000A { 17 02 } s'c'"),
    (E::PROPERTY_NOT_BOOLEAN, V5, Server, "10 s'MQTT' 05 02 000A { 19 FF } s'c'"),
    (E::PROPERTY_NOT_BOOLEAN, V5, Client, "20 00 00 { 24 02 }"),
    (E::PROPERTY_NOT_BOOLEAN, V5, Client, "20 00 00 { 25 02 }"),
    (E::PROPERTY_NOT_BOOLEAN, V5, Client, "20 00 00 { 2A 02 }"),
    (E::PROPERTY_NOT_BOOLEAN, V5, Server, "30 s'a' { 01 02 }"),
    (E::RECEIVE_MAXIMUM_ZERO, V5, Server, "10 s'MQTT' 05 02 000A { 21 0000 } s'c'"),
    (E::RECEIVE_MAXIMUM_ZERO, V5, Client, "20 00 00 { 21 0000 }"),
    (E::MAXIMUM_PACKET_SIZE_ZERO, V5, Server, "10 s'MQTT' 05 02 000A { 27 00000000 } s'c'"),
    (E::MAXIMUM_PACKET_SIZE_ZERO, V5, Client, "20 00 00 { 27 00000000 }"),
    (E::TOPIC_ALIAS_ZERO, V5, Server, "30 s'a' { 23 0000 }"),
    (E::SUBSCRIPTION_IDENTIFIER_ZERO, V5, Server, "82 0001 { 0B 00 } s'a' 00"),
    (E::SUBSCRIPTION_IDENTIFIER_ZERO, V5, Client, "30 s'a' { 0B 00 }"),
    (E::RESPONSE_TOPIC_INVALID, V5, Server, "30 s'a' { 08 s'r/+' }"),
    (E::RESPONSE_TOPIC_INVALID, V5, Server, "30 s'a' { 08 s'#' }"),
    (E::RESPONSE_TOPIC_INVALID, V5, Server, "30 s'a' { 08 0000 }"),
    (E::RESPONSE_TOPIC_INVALID, V5, Server, "10 s'MQTT' 05 06 000A {} s'c' { 08 s'+' } s'w' s'm'"),
    (E::AUTHENTICATION_DATA_ALONE, V5, Server, "10 s'MQTT' 05 02 000A { 16 s'd' } s'c'"),
    (E::AUTHENTICATION_DATA_ALONE, V5, Client, "20 00 00 { 16 s'd' }"),
    // CONNECT and CONNACK.
    (E::PROTOCOL_NAME, V4, Server, "10 s'MQTt' 04 02 000A s'c'"),
    (E::PROTOCOL_NAME, V4, Server, "10 s'mqtt' 05 02 000A {} s'c'"),
    (E::PROTOCOL_NAME, V4, Server, "10 0000 04 02 000A s'c'"),
    (E::PROTOCOL_NAME, V3, Server, "10 s'MQIsdpX' 03 02 000A s'c'"),
    (E::PROTOCOL_VERSION, V4, Server, "10 s'MQTT' 03 02 000A s'c'"),
    (E::PROTOCOL_VERSION, V5, Server, "10 s'MQTT' 06 02 000A {} s'c'"),
    (E::PROTOCOL_VERSION, V4, Server, "10 s'MQTT' 84 02 000A s'c'"),
    (E::PROTOCOL_VERSION, V3, Server, "10 s'MQIsdp' 04 02 000A s'c'"),
    (E::CONNECT_FLAG_RESERVED, V4, Server, "10 s'MQTT' 04 03 000A s'c'"),
    (E::CONNECT_FLAG_RESERVED, V5, Server, "10 s'MQTT' 05 03 000A {} s'c'"),
    (E::WILL_QOS_INVALID, V4, Server, "10 s'MQTT' 04 1E 000A s'c' s'w' s'm'"),
    (E::WILL_QOS_INVALID, V5, Server, "10 s'MQTT' 05 1E 000A {} s'c' {} s'w' s'm'"),
    (E::WILL_QOS_INVALID, V3, Server, "10 s'MQIsdp' 03 1E 000A s'c' s'w' s'm'"),
    (E::WILL_FLAGS_WITHOUT_WILL, V4, Server, "10 s'MQTT' 04 0A 000A s'c'"),
    (E::WILL_FLAGS_WITHOUT_WILL, V4, Server, "10 s'MQTT' 04 12 000A s'c'"),
    (E::WILL_FLAGS_WITHOUT_WILL, V5, Server, "10 s'MQTT' 05 22 000A {} s'c'"),
    (E::PASSWORD_WITHOUT_USER_NAME, V4, Server, "10 s'MQTT' 04 42 000A s'c' s'p'"),
    (E::PASSWORD_WITHOUT_USER_NAME, V3, Server, "10 s'MQIsdp' 03 42 000A s'c' s'p'"),
    (E::CLIENT_ID_EMPTY, V4, Server, "10 s'MQTT' 04 00 000A 0000"),
    (E::CLIENT_ID_EMPTY, V3, Server, "10 s'MQIsdp' 03 02 000A 0000"),
    (E::CONNACK_FLAGS_RESERVED, V4, Client, "20 0200"),
    (E::CONNACK_FLAGS_RESERVED, V5, Client, "20 8000 {}"),
    (E::SESSION_PRESENT_ON_ERROR, V4, Client, "20 0105"),
    (E::SESSION_PRESENT_ON_ERROR, V5, Client, "20 0187 {}"),
    (E::CONNACK_REASON, V4, Client, "20 0006"),
    (E::CONNACK_REASON, V4, Client, "20 0080"),
    (E::CONNACK_REASON, V5, Client, "20 0001 {}"),
    (E::CONNACK_REASON, V5, Client, "20 0092 {}"),
    (E::CONNACK_REASON, V5, Client, "20 00FF {}"),
    // PUBLISH and its acknowledgements.
    (E::QOS_INVALID, V4, Server, "36 s'a' 0001"),
    (E::QOS_INVALID, V5, Client, "3F s'a' 0001 {}"),
    (E::DUP_WITH_QOS_0, V4, Server, "38 s'a'"),
    (E::DUP_WITH_QOS_0, V5, Server, "39 s'a' {}"),
    (E::SUBSCRIPTION_IDENTIFIER_FROM_CLIENT, V5, Server, "30 s'a' { 0B 01 }"),
    (E::PAYLOAD_NOT_TEXT, V5, Server, "30 s'a' { 01 01 } FF"),
    (E::PUBACK_REASON, V5, Server, "40 0001 01"),
    (E::PUBACK_REASON, V5, Server, "40 0001 92"),
    (E::PUBACK_REASON, V5, Server, "50 0001 FF"),
    (E::PUBREL_REASON, V5, Server, "62 0001 10"),
    (E::PUBREL_REASON, V5, Server, "70 0001 80 {}"),
    // SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.
    (E::NO_FILTER, V4, Server, "82 0001"),
    (E::NO_FILTER, V5, Server, "82 0001 {}"),
    (E::NO_FILTER, V4, Server, "A2 0001"),
    (E::NO_FILTER, V5, Server, "A2 0001 {}"),
    (E::SUBSCRIPTION_OPTIONS_RESERVED, V4, Server, "82 0001 s'a' 04"),
    (E::SUBSCRIPTION_OPTIONS_RESERVED, V4, Server, "82 0001 s'a' 80"),
    (E::SUBSCRIPTION_OPTIONS_RESERVED, V5, Server, "82 0001 {} s'a' 40"),
    (E::SUBSCRIPTION_OPTIONS_RESERVED, V5, Server, "82 0001 {} s'a' 00 s'b' 80"),
    (E::SUBSCRIPTION_QOS_INVALID, V4, Server, "82 0001 s'a' 03"),
    (E::SUBSCRIPTION_QOS_INVALID, V5, Server, "82 0001 {} s'a' 03"),
    (E::RETAIN_HANDLING_INVALID, V5, Server, "82 0001 {} s'a' 30"),
    (E::NO_LOCAL_SHARED, V5, Server, "82 0001 {} s'$share/n/a' 04"),
    (E::NO_REASON_CODE, V4, Client, "90 0001"),
    (E::NO_REASON_CODE, V5, Client, "90 0001 {}"),
    (E::NO_REASON_CODE, V5, Client, "B0 0001 {}"),
    (E::SUBACK_REASON, V4, Client, "90 0001 03"),
    (E::SUBACK_REASON, V4, Client, "90 0001 0087"),
    (E::SUBACK_REASON, V5, Client, "90 0001 {} 11"),
    (E::UNSUBACK_REASON, V5, Client, "B0 0001 {} 01"),
    (E::UNSUBACK_REASON, V5, Client, "B0 0001 {} 00A2"),
    // DISCONNECT and AUTH.
    (E::DISCONNECT_REASON, V5, Server, "E0 01"),
    (E::DISCONNECT_REASON, V5, Server, "E0 8E"),
    (E::DISCONNECT_REASON, V5, Client, "E0 04"),
    (E::DISCONNECT_REASON, V5, Client, "E0 FF {}"),
    (E::SESSION_EXPIRY_FROM_SERVER, V5, Client, "E0 00 { 11 00000001 }"),
    (E::SERVER_REFERENCE_FROM_CLIENT, V5, Server, "E0 00 { 1C s'r' }"),
    (E::AUTH_REASON, V5, Server, "F0 00 { 15 s'm' }"),
    (E::AUTH_REASON, V5, Server, "F0"),
    (E::AUTH_REASON, V5, Server, "F0 80 { 15 s'm' }"),
    (E::AUTH_REASON, V5, Client, "F0 19 { 15 s'm' }"),
    (E::AUTH_WITHOUT_METHOD, V5, Server, "F0 18 {}"),
    (E::AUTH_WITHOUT_METHOD, V5, Server, "F0 19 { 16 s'd' }"),
];

/// Rule that is broken, level, packet with all its bytes.
const MALFORMED_FRAMES: &[(DecodeError, Level, &str)] = &[
    (E::FRAME_INCOMPLETE, V4, ""),
    (E::FRAME_INCOMPLETE, V4, "C0"),
    (E::FRAME_INCOMPLETE, V4, "30 05 s'a'"),
    (E::FRAME_INCOMPLETE, V4, "30 8001 s'a'"),
    (E::FRAME_INCOMPLETE, V4, "C0 00 C0 00"),
    (E::VARINT_TOO_LONG, V4, "30 8080808001 s'a'"),
    (E::VARINT_TOO_LONG, V5, "30 FFFFFFFF"),
    (E::VARINT_NOT_MINIMAL, V5, "C0 8000"),
    (E::VARINT_NOT_MINIMAL, V5, "30 848000 s'a' 00"),
    (E::VARINT_NOT_MINIMAL, V5, "10 8E00 s'MQTT' 05 02 000A 00 s'c'"),
];

#[test]
fn what_breaks_a_rule_is_refused_for_that_reason() {
    for &(rule, level, role, notation) in MALFORMED {
        assert_eq!(decode_any(&frame(notation), level, role), Err(rule), "{level:?} {role:?}: {notation}");
    }
    for &(rule, level, notation) in MALFORMED_FRAMES {
        assert_eq!(decode_any(&raw(notation), level, Server), Err(rule), "{level:?}: {notation}");
    }
}

#[test]
fn first_packet_must_be_a_connect_and_no_later_one() {
    assert_eq!(Connect::decode(&frame("30 s'a' 'x'")), Err(E::NOT_CONNECT));
    assert_eq!(Connect::decode(&frame("00")), Err(E::NOT_CONNECT));
    for role in [Server, Client] {
        let decoded = decode(&[0x10, 0], V4, role);
        let expected = if role == Server { E::SECOND_CONNECT } else { E::WRONG_DIRECTION };
        assert_eq!(decoded, Err(expected));
    }
}

#[test]
fn packet_larger_than_agreed_is_refused_as_soon_as_its_length_is_known() {
    assert_eq!(frame_length(&[0x30, 0x09], 10), Err(E::PACKET_TOO_LARGE));
    assert_eq!(frame_length(&[0x30, 0x80, 0x80, 0x01], 16387), Err(E::PACKET_TOO_LARGE));
    assert_eq!(frame_length(&[0x30, 0x08], 10), Ok(Some(10)));
}

#[test]
fn every_rule_has_a_counterexample() {
    let elsewhere = [E::NOT_CONNECT, E::SECOND_CONNECT, E::PACKET_TOO_LARGE];
    for rule in DecodeError::ALL {
        let found = elsewhere.contains(rule)
            || MALFORMED.iter().any(|row| row.0 == *rule)
            || MALFORMED_FRAMES.iter().any(|row| row.0 == *rule);
        assert!(found, "{rule:?}");
    }
}

#[test]
fn error_names_the_rule_and_the_reason_code() {
    let error = Connect::decode(&frame("10 s'MQTT' 04 1E 000A s'c' s'w' s'm'")).expect_err("will QoS 3");
    assert_eq!(error.to_string(), "will QoS 3 [MQTT-3.1.2-14]");
    assert_eq!(error.reason(), ReasonCode::MalformedPacket);
    let publish = frame("30 s'a' { 23 0000 }");
    let error = decode_any(&publish, V5, Server).expect_err("alias 0");
    assert_eq!(error.reason(), ReasonCode::TopicAliasInvalid);
}
