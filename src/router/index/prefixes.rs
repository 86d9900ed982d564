//! Prefix patterns, sorted by the text that URIs begin with.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter;
use std::ops::Bound;

use crate::types::topic::{Topic, TopicPattern};

#[derive(Debug)]
pub(super) struct Prefixes<T> {
    by_text: BTreeMap<ByText, T>,
}

/// A prefix pattern, ordered by its text.
#[derive(Debug)]
struct ByText(TopicPattern);

impl Borrow<str> for ByText {
    fn borrow(&self) -> &str {
        self.0.prefix().unwrap_or_default()
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByText {}

impl PartialOrd for ByText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByText {
    fn cmp(&self, other: &Self) -> Ordering {
        Borrow::<str>::borrow(self).cmp(other.borrow())
    }
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { by_text: BTreeMap::new() }
    }
}

impl<T> Prefixes<T> {
    pub(super) fn len(&self) -> usize {
        self.by_text.len()
    }

    pub(super) fn get(&self, prefix: &str) -> Option<&T> {
        self.by_text.get(prefix)
    }

    pub(super) fn get_mut(&mut self, prefix: &str) -> Option<&mut T> {
        self.by_text.get_mut(prefix)
    }

    pub(super) fn get_or_insert_with(&mut self, pattern: &TopicPattern, make: impl FnOnce() -> T) -> &mut T {
        self.by_text.entry(ByText(pattern.clone())).or_insert_with(make)
    }

    pub(super) fn remove(&mut self, prefix: &str) -> Option<T> {
        self.by_text.remove(prefix)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicPattern, &T)> {
        self.by_text.iter().map(|(pattern, value)| (&pattern.0, value))
    }

    /// The patterns that match the topic, the longest first.
    ///
    /// Looks up the last text that is not after the URI. Either it is a prefix of the URI, and the next candidate comes
    /// before it; or it parts from the URI somewhere, and no text between that point and it can be a prefix.
    pub(super) fn longest_first(&self, topic: &Topic) -> impl Iterator<Item = (&TopicPattern, &T)> {
        // Do not ask for the URI, which may have to be made first, where nobody cares.
        let uri = if self.by_text.is_empty() { "" } else { topic.uri() };
        let mut bound = Bound::Included(uri);
        iter::from_fn(move || {
            loop {
                let (key, value) = self.by_text.range::<str, _>((Bound::Unbounded, bound)).next_back()?;
                let text: &str = key.borrow();
                let common = common_prefix(uri, text);
                if common.len() < text.len() {
                    bound = Bound::Included(common);
                    continue;
                }
                bound = Bound::Excluded(common);
                if !(topic.is_hidden() && key.0.passes_hidden_by()) {
                    return Some((&key.0, value));
                }
            }
        })
    }
}

/// The beginning of `uri` that `other` has as well.
fn common_prefix<'a>(uri: &'a str, other: &str) -> &'a str {
    let bytes = uri.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    &uri[..uri.floor_char_boundary(bytes)]
}
