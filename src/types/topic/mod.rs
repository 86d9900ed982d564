//! Topics and patterns, whatever the protocol wrote.
//!
//! Inside, a topic is a list of levels kept in its MQTT spelling (`app/topic/name`); [`mapping`] makes the WAMP spelling
//! (`app.topic.name`) of it and back, one to one. Procedures are topics too.

mod mapping;
mod pattern;

#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

pub use pattern::{MatchPolicy, PatternLevel, TopicPattern};

use super::limits::TOPIC_BYTES_MAX;

/// A path of levels. Kept in its MQTT spelling (levels joined by `/`), so that MQTT, the busier gate, translates nothing;
/// the WAMP spelling is computed once, when first asked for. Equality, order and hash are those of the MQTT spelling.
///
/// Invariant: the name is 1..=[`TOPIC_BYTES_MAX`] bytes and has no `+`, `#` or NUL (MQTT 5, 4.7.1 and 4.7.3).
pub struct Topic {
    name: Box<str>,
    uri: OnceLock<Box<str>>,
}

/// Why a text is no topic or no pattern. Always the sender's mistake: topic name or topic filter invalid in MQTT,
/// `wamp.error.invalid_uri` in WAMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("is empty")]
    Empty,
    #[error("is longer than {TOPIC_BYTES_MAX} bytes in MQTT's spelling")]
    TooLong,
    #[error("contains the character U+0000")]
    Nul,
    #[error("contains a wildcard (+ or #)")]
    Wildcard,
    #[error("has a # that is not the whole last level")]
    MisplacedMulti,
    #[error("has a + that is not a whole level")]
    MisplacedSingle,
    #[error("has more than {max} levels", max = super::limits::PATTERN_LEVELS_MAX)]
    TooManyLevels,
    #[error("contains white space")]
    WhiteSpace,
    #[error("contains a #")]
    Hash,
    #[error("has an empty component")]
    EmptyComponent,
    #[error("is a lone %, the empty topic, which MQTT cannot say")]
    EmptyTopic,
}

impl Topic {
    /// The topic that MQTT writes as `name` (MQTT 5, 4.7.3).
    pub fn from_name(name: &str) -> Result<Self, TopicError> {
        mapping::check_bytes(name)?;
        if name.bytes().any(|b| b == b'+' || b == b'#') {
            return Err(TopicError::Wildcard);
        }
        Ok(Self { name: name.into(), uri: OnceLock::new() })
    }

    /// The topic that WAMP writes as `uri`, by the loose rules (WAMP, URIs). A component `%` is the empty level.
    pub fn from_uri(uri: &str) -> Result<Self, TopicError> {
        let name = mapping::name_of_uri(uri)?;
        Ok(Self { name: name.into(), uri: OnceLock::from(Box::from(uri)) })
    }

    /// The MQTT spelling.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The MQTT spelling, as it goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// The WAMP spelling.
    pub fn uri(&self) -> &str {
        self.uri.get_or_init(|| mapping::uri_of_name(&self.name).into())
    }

    /// The levels in their MQTT spelling, at least one; a level may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.name.split('/')
    }

    /// Whether a pattern that begins with a wildcard passes it by (MQTT 5, 4.7.2).
    pub fn is_hidden(&self) -> bool {
        self.name.starts_with('$')
    }

    /// Whether it is one of those by which the broker tells of its sessions, subscriptions and registrations (WAMP, Meta API). Who is
    /// subscribed to everything does not mean these.
    pub fn is_meta(&self) -> bool {
        self.name.starts_with("wamp/")
    }

    /// Whether it belongs to the broker, so that no client may publish to it: topics that begin with `$` (MQTT 5, 4.7.2),
    /// and those whose first level is `wamp` (WAMP, Reserved URIs) or `fennec`. `$rpc/…` is one of them: the MQTT gate
    /// takes what it means by it before it asks.
    pub fn is_reserved(&self) -> bool {
        self.is_hidden() || matches!(self.levels().next(), Some("wamp" | "fennec"))
    }
}

impl Clone for Topic {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), uri: self.uri.clone() }
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Topic {}

impl PartialOrd for Topic {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Topic {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// So that a map keyed by topics is asked with the name alone.
impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({:?})", self.name)
    }
}
