//! Which URIs and URI patterns a realm takes from its WAMP sessions (WAMP, URIs).
//!
//! The loose rules are those of [`Topic::from_uri`] and [`TopicPattern::from_uri`], and always hold; the strict rule, lower-case
//! letters, digits and `_`, is only a recommendation, which an operator may turn on. What MQTT clients publish keeps to
//! neither, so strictness is asked of what WAMP sessions say, never of what they are sent.

use crate::types::topic::{MatchPolicy, Topic, TopicError, TopicPattern};

/// Which rules the URIs of a realm's WAMP sessions keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    #[default]
    Loose,
    Strict,
}

/// Why a text is no URI here: `wamp.error.invalid_uri`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("the URI {0}")]
    Loose(#[from] TopicError),
    #[error("the URI has characters other than a-z, 0-9 and _, and this realm is strict")]
    NotStrict,
}

/// A URI that is published to, called, or subscribed and registered exactly.
pub fn topic(uri: &str, strictness: Strictness) -> Result<Topic, UriError> {
    let topic = Topic::from_uri(uri)?;
    check_strict(uri, strictness, |_| false)?;
    Ok(topic)
}

/// A URI that is subscribed or registered with a match policy.
pub fn pattern(uri: &str, policy: MatchPolicy, strictness: Strictness) -> Result<TopicPattern, UriError> {
    let pattern = TopicPattern::from_uri(uri, policy)?;
    // What the policy lets stand for something else was in its right place, or there would be no pattern.
    check_strict(uri, strictness, |component| match pattern.policy() {
        MatchPolicy::Exact => false,
        MatchPolicy::Prefix => component.is_empty(),
        MatchPolicy::Wildcard | MatchPolicy::Fox => matches!(component, "" | "*" | "#"),
    })?;
    Ok(pattern)
}

/// The URI of an error, which goes from callee to caller and is no topic: only its characters count.
pub fn check_error(uri: &str, strictness: Strictness) -> Result<(), UriError> {
    topic(uri, strictness).map(drop)
}

/// Whether only the protocol itself may use the URI: its first component is `wamp` (WAMP, Reserved URIs).
pub fn is_reserved(uri: &str) -> bool {
    uri.split('.').next() == Some("wamp")
}

fn check_strict(uri: &str, strictness: Strictness, is_wild: impl Fn(&str) -> bool) -> Result<(), UriError> {
    let is_strict = |component: &str| component.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    match strictness {
        Strictness::Loose => Ok(()),
        Strictness::Strict if uri.split('.').all(|component| is_wild(component) || is_strict(component)) => Ok(()),
        Strictness::Strict => Err(UriError::NotStrict),
    }
}
