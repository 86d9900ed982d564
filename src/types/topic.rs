//! Topics and patterns, whatever the protocol wrote.

use std::sync::OnceLock;

/// A path of levels. Kept in its MQTT spelling (levels joined by `/`), so that MQTT, the busier gate, translates nothing;
/// the WAMP spelling is computed once, when first asked for.
#[derive(Debug)]
pub struct Topic {
    name: Box<str>,
    uri: OnceLock<Box<str>>,
}

/// One level of a wildcard pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PatternLevel {
    Exact(Box<str>),
    /// Exactly one level: MQTT `+`, WAMP's empty component.
    Single,
    /// Any number of levels, zero too; only as the last: MQTT `#`.
    Multi,
}

/// What matches topics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicPattern {
    /// The topic with this MQTT spelling.
    Exact(Box<str>),
    Wildcard(Box<[PatternLevel]>),
    /// Every topic whose WAMP spelling begins with this text (WAMP, Prefix Matching).
    Prefix(Box<str>),
}

impl Topic {
    /// The MQTT spelling.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The WAMP spelling.
    pub fn uri(&self) -> &str {
        self.uri.get_or_init(|| self.name.replace('/', ".").into())
    }
}
