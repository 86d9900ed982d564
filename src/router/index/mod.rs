//! Who is interested in a topic: a value for each distinct pattern, found by the topics it matches.
//!
//! Exact patterns are a hash map, wildcard patterns a trie over levels ([`trie`]), prefix patterns a sorted map of their
//! WAMP spelling ([`prefixes`]), for they match in the middle of a level. What a topic costs grows with its levels and with
//! the patterns that match it, not with those that do not; a change costs the levels of its pattern. Nothing recurses.
//!
//! Left out: who may subscribe, limits on how many patterns there are, and locks.

mod prefixes;
mod shards;
mod trie;

#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use prefixes::Prefixes;
use shards::Shards;
use trie::Trie;

use crate::types::topic::{Topic, TopicPattern};

/// One `T` for each distinct pattern.
#[derive(Debug)]
pub struct Index<T> {
    exact: Shards<ByName, T>,
    wildcards: Trie<T>,
    prefixes: Prefixes<T>,
}

/// An exact pattern, hashed and compared by the name of its topic.
#[derive(Debug)]
struct ByName(TopicPattern);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        self.0.exact_name().unwrap_or_default()
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<str>::borrow(self) == Borrow::<str>::borrow(other)
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { exact: Shards::default(), wildcards: Trie::default(), prefixes: Prefixes::default() }
    }
}

impl<T> Index<T> {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many distinct patterns there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcards.len() + self.prefixes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, pattern: &TopicPattern) -> Option<&T> {
        if let Some(name) = pattern.exact_name() {
            self.exact.get(name)
        } else if let Some(prefix) = pattern.prefix() {
            self.prefixes.get(prefix)
        } else {
            self.wildcards.get(pattern)
        }
    }

    pub fn get_mut(&mut self, pattern: &TopicPattern) -> Option<&mut T> {
        if let Some(name) = pattern.exact_name() {
            self.exact.get_mut(name)
        } else if let Some(prefix) = pattern.prefix() {
            self.prefixes.get_mut(prefix)
        } else {
            self.wildcards.get_mut(pattern)
        }
    }

    /// The value of the pattern, made by `make` if there was none.
    pub fn get_or_insert_with(&mut self, pattern: &TopicPattern, make: impl FnOnce() -> T) -> &mut T {
        if pattern.exact_name().is_some() {
            self.exact.get_or_insert_with::<str>(ByName(pattern.clone()), make)
        } else if pattern.prefix().is_some() {
            self.prefixes.get_or_insert_with(pattern, make)
        } else {
            self.wildcards.get_or_insert_with(pattern, make)
        }
    }

    /// Sets the value of the pattern; returns the one it had.
    pub fn insert(&mut self, pattern: &TopicPattern, value: T) -> Option<T> {
        if let Some(place) = self.get_mut(pattern) {
            return Some(std::mem::replace(place, value));
        }
        self.get_or_insert_with(pattern, || value);
        None
    }

    /// Removes the pattern and all that was kept for it alone.
    pub fn remove(&mut self, pattern: &TopicPattern) -> Option<T> {
        if let Some(name) = pattern.exact_name() {
            self.exact.remove(name)
        } else if let Some(prefix) = pattern.prefix() {
            self.prefixes.remove(prefix)
        } else {
            self.wildcards.remove(pattern)
        }
    }

    /// All patterns, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPattern, &T)> {
        let exact = self.exact.iter().map(|(pattern, value)| (&pattern.0, value));
        exact.chain(self.wildcards.iter()).chain(self.prefixes.iter())
    }

    /// Shows `visit` every pattern that matches the topic, once each, in no order.
    pub fn matches<'a>(&'a self, topic: &Topic, mut visit: impl FnMut(&'a TopicPattern, &'a T)) {
        if let Some((pattern, value)) = self.exact.get_key_value(topic.name()) {
            visit(&pattern.0, value);
        }
        self.wildcards.matches(topic, &mut visit);
        for (pattern, value) in self.prefixes.longest_first(topic) {
            visit(pattern, value);
        }
    }

    /// The one pattern that answers for the topic (WAMP, Calls matching multiple registrations): the exact one, else the
    /// longest prefix, else the wildcard pattern whose first component that is not the topic's own comes last, `#` after
    /// every other wildcard.
    pub fn best(&self, topic: &Topic) -> Option<(&TopicPattern, &T)> {
        let exact = self.exact.get_key_value(topic.name()).map(|(pattern, value)| (&pattern.0, value));
        exact.or_else(|| self.prefixes.longest_first(topic).next()).or_else(|| self.wildcards.best(topic))
    }
}
