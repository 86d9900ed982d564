//! Every limit, with its default, its unit and what happens when it is reached.

/// Bytes of a topic in its MQTT spelling (MQTT 5, 1.5.4: a string's length is two bytes). Longer: topic name or filter
/// invalid, `wamp.error.invalid_uri`. Given by the protocol, so not configurable.
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Levels of a wildcard pattern: what one subscription can cost the index. More: topic filter invalid,
/// `wamp.error.invalid_uri`. Topics and exact patterns have no such limit.
pub const PATTERN_LEVELS_MAX: usize = 128;

/// Bounds of remote procedure calls in one realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Procedures that one session may have registered. One more is refused with `fennec.error.limit_exceeded`.
    pub registrations_per_session_max: usize,
    /// Calls of one session that wait for their answer. One more is refused with `fennec.error.limit_exceeded`.
    pub calls_per_session_max: usize,
    /// Calls of all sessions of the realm that wait for their answer. One more is refused with
    /// `fennec.error.limit_exceeded`.
    pub calls_max: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { registrations_per_session_max: 16_384, calls_per_session_max: 16_384, calls_max: 262_144 }
    }
}
