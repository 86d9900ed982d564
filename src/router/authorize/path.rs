//! Patterns side by side: which covers which, which meet, which is more specific.

use crate::types::topic::{PatternLevel, Topic, TopicPattern};

/// A pattern of any kind as a list of levels. Literal text is in the WAMP spelling of one component, the only spelling in
/// which all kinds can be compared: a WAMP prefix may end within a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<Level>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(Box<str>),
    /// Text with which exactly one level begins; never empty.
    Beginning(Box<str>),
    /// Exactly one level.
    Any,
    /// Any number of levels, zero too; only as the last.
    Rest,
}

/// Orders patterns; the greater is the more specific. See the head of `authorize`.
pub(super) type Specificity = Vec<(u8, usize)>;

impl Path {
    pub(super) fn of(pattern: &TopicPattern) -> Path {
        Path(match pattern.prefix() {
            Some(prefix) => beginning(prefix),
            None => pattern.levels().map(level).collect(),
        })
    }

    /// Whether everything it matches belongs to the broker; as [`Topic::is_reserved`].
    pub(super) fn is_reserved(&self) -> bool {
        match self.0.first() {
            Some(Level::Literal(text)) => text.starts_with('$') || matches!(&**text, "wamp" | "fennec"),
            Some(Level::Beginning(text)) => text.starts_with('$'),
            _ => false,
        }
    }

    pub(super) fn begins_with_wildcard(&self) -> bool {
        matches!(self.0.first(), Some(Level::Any | Level::Rest))
    }

    /// Whether `self` matches every topic that `other` matches.
    pub(super) fn covers(&self, other: &Path) -> bool {
        !self.shuns(other) && covers(&self.0, &other.0)
    }

    /// Whether there can be a topic that both match.
    pub(super) fn meets(&self, other: &Path) -> bool {
        !self.shuns(other) && !other.shuns(self) && meets(&self.0, &other.0)
    }

    pub(super) fn specificity(&self) -> Specificity {
        let rank = |level: &Level| match level {
            Level::Literal(_) => (5, 0),
            // (4, 0) is the end of a pattern: `a` is more specific than `a/#`.
            Level::Beginning(text) => (3, text.len()),
            Level::Any => (2, 0),
            Level::Rest => (1, 0),
        };
        self.0.iter().map(rank).chain([(4, 0)]).collect()
    }

    /// A leading wildcard does not match topics that begin with `$` (MQTT 5, 4.7.2).
    fn shuns(&self, other: &Path) -> bool {
        let leading_wildcard = matches!(self.0.first(), Some(Level::Any | Level::Rest));
        leading_wildcard
            && matches!(other.0.first(), Some(Level::Literal(text) | Level::Beginning(text)) if text.starts_with('$'))
    }
}

fn level(level: PatternLevel<'_>) -> Level {
    match level {
        PatternLevel::Exact(text) => Level::Literal(component(text)),
        PatternLevel::Single => Level::Any,
        PatternLevel::Multi => Level::Rest,
    }
}

/// The WAMP spelling of one level.
fn component(level: &str) -> Box<str> {
    // A pattern's level is a topic of one level, but for the empty one, which WAMP writes as a lone %.
    Topic::from_name(level).map_or_else(|_| "%".into(), |topic| topic.uri().into())
}

/// A WAMP prefix: whole components, the beginning of one, then anything.
fn beginning(prefix: &str) -> Vec<Level> {
    let mut components: Vec<&str> = prefix.split('.').collect();
    let last = components.pop().unwrap_or_default();
    let mut levels: Vec<Level> = components.into_iter().map(|text| Level::Literal(text.into())).collect();
    levels.push(if last.is_empty() { Level::Any } else { Level::Beginning(last.into()) });
    levels.push(Level::Rest);
    levels
}

fn covers(wide: &[Level], narrow: &[Level]) -> bool {
    match (wide, narrow) {
        ([Level::Rest, ..], _) | ([], []) => true,
        ([a, wide @ ..], [b, narrow @ ..]) => covers_level(a, b) && covers(wide, narrow),
        _ => false,
    }
}

/// Neither level is the rest of the wider pattern.
fn covers_level(wide: &Level, narrow: &Level) -> bool {
    match (wide, narrow) {
        (_, Level::Rest) => false,
        (Level::Any, _) => true,
        (Level::Literal(a), Level::Literal(b)) => a == b,
        (Level::Beginning(a), Level::Literal(b) | Level::Beginning(b)) => b.starts_with(&**a),
        _ => false,
    }
}

fn meets(a: &[Level], b: &[Level]) -> bool {
    match (a, b) {
        ([Level::Rest, ..], _) | (_, [Level::Rest, ..]) | ([], []) => true,
        ([x, a @ ..], [y, b @ ..]) => meets_level(x, y) && meets(a, b),
        _ => false,
    }
}

fn meets_level(a: &Level, b: &Level) -> bool {
    match (a, b) {
        (Level::Beginning(a), Level::Beginning(b)) => a.starts_with(&**b) || b.starts_with(&**a),
        _ => covers_level(a, b) || covers_level(b, a),
    }
}
