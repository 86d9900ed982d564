//! What of the log is available: the first number per pattern, as retention has set it.

use std::collections::BTreeMap;

use super::rows;
use crate::types::topic::{PatternLevel, Topic, TopicPattern};

/// Stands for the topics of no policy.
pub const OTHERS: &str = "*";

/// First available numbers by realm and pattern ([`rows::pattern_text`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    by_realm: BTreeMap<Box<str>, BTreeMap<Box<str>, u64>>,
}

impl Floors {
    /// Sets a floor if that is higher than before.
    pub fn raise(&mut self, realm: &str, pattern: &str, first: u64) -> bool {
        let floors = self.by_realm.entry(realm.into()).or_default();
        let is_higher = floors.get(pattern).is_none_or(|floor| first > *floor);
        if is_higher {
            floors.insert(pattern.into(), first);
        }
        is_higher
    }

    /// The floor of a pattern in its stored spelling; 0: it has none.
    pub fn first_of(&self, realm: &str, pattern: &str) -> u64 {
        self.by_realm.get(realm).and_then(|floors| floors.get(pattern)).copied().unwrap_or(0)
    }

    /// The highest of all floors.
    pub fn highest(&self) -> u64 {
        self.by_realm.values().flat_map(BTreeMap::values).copied().max().unwrap_or(0)
    }

    /// The lowest number from which on all messages that the pattern matches are there, as far as retention goes; 1 if it has
    /// deleted nothing. May be too high by what a floor's pattern has beside the asked one, never too low. `others`: the pattern
    /// may match topics of no policy.
    pub fn first_available(&self, realm: &str, pattern: &TopicPattern, others: bool) -> u64 {
        let floors = self.by_realm.get(realm).into_iter().flatten();
        let concerned = floors.filter(|(text, _)| {
            if ***text == *OTHERS {
                return others;
            }
            // A spelling that cannot be read is taken to concern everything.
            rows::read_pattern(text).is_none_or(|floor| overlap(&floor, pattern))
        });
        concerned.map(|(_, first)| *first).max().unwrap_or(1).max(1)
    }
}

/// Whether a topic may match both. Prefix patterns are compared by the text before the first wildcard alone.
fn overlap(a: &TopicPattern, b: &TopicPattern) -> bool {
    for (one, other) in [(a, b), (b, a)] {
        if let Some(topic) = one.exact_name().and_then(|name| Topic::from_name(name).ok()) {
            return other.matches(&topic);
        }
    }
    if a.prefix().is_some() || b.prefix().is_some() {
        let (a, b) = (beginning(a), beginning(b));
        return a.starts_with(&b) || b.starts_with(&a);
    }
    let (mut a, mut b) = (a.levels(), b.levels());
    loop {
        match (a.next(), b.next()) {
            (Some(PatternLevel::Multi), _) | (_, Some(PatternLevel::Multi)) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some(PatternLevel::Exact(a)), Some(PatternLevel::Exact(b))) if a != b => return false,
            _ => {}
        }
    }
}

/// What the names of all topics that it matches begin with.
fn beginning(pattern: &TopicPattern) -> String {
    if let Some((name, _)) = pattern.name_prefix() {
        return name;
    }
    let mut beginning = String::new();
    for level in pattern.levels() {
        let PatternLevel::Exact(level) = level else { break };
        beginning.push_str(level);
        beginning.push('/');
    }
    // `a/#` matches `a`, too.
    beginning.trim_end_matches('/').to_owned()
}
