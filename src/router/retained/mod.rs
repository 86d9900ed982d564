//! The retained value of each topic that has one, and the walk over those that a pattern matches.
//!
//! Topics are kept sorted level by level, so that all below `a/b` stand together. A walk looks up where the next match can
//! be, and jumps over what cannot match: `a/+/c` costs the children of `a`, whatever is below them or elsewhere. It is
//! done in slices, so that a hundred thousand values for one new subscriber neither hold a lock for long nor have to be
//! copied: between slices the store may change, and the walk goes on behind the last topic it has looked at. Every topic
//! that has a value all the while is visited exactly once, with the value it has when the walk comes by.
//!
//! Left out: expiry (whoever visits a value knows when it ends) and permissions.

mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use walk::Verdict;
pub use walk::Walk;

use crate::types::topic::{Topic, TopicPattern};

/// Bytes that an entry is taken to cost beside its topic and its value: its part of a node and of the heap's bookkeeping.
const ENTRY_BYTES: usize = 96;

/// One `T` for each topic that has a retained value. `T` knows its topic; it is best something cheap to clone.
#[derive(Debug)]
pub struct Retained<T> {
    by_key: BTreeMap<Box<str>, Entry<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    bytes: usize,
}

/// A topic's name with NUL, which no name contains, for `/`. NUL comes before everything else, and so these sort as lists
/// of levels do.
fn key_of(name: &str) -> String {
    name.replace('/', "\0")
}

impl<T> Default for Retained<T> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), bytes: 0 }
    }
}

impl<T> Retained<T> {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many topics have a value.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Bytes that topics and values take, near enough for a limit.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get(&self, topic: &Topic) -> Option<&T> {
        self.by_key.get(key_of(topic.name()).as_str()).map(|entry| &entry.value)
    }

    /// Sets the value of the topic, which takes so many bytes; returns the one it had.
    pub fn set(&mut self, topic: &Topic, value: T, value_bytes: usize) -> Option<T> {
        let key = key_of(topic.name()).into_boxed_str();
        let bytes = key.len() + value_bytes + ENTRY_BYTES;
        self.bytes += bytes;
        let old = self.by_key.insert(key, Entry { value, bytes })?;
        self.bytes -= old.bytes;
        Some(old.value)
    }

    pub fn remove(&mut self, topic: &Topic) -> Option<T> {
        let old = self.by_key.remove(key_of(topic.name()).as_str())?;
        self.bytes -= old.bytes;
        Some(old.value)
    }

    /// All values, sorted by topic, level by level.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_key.values().map(|entry| &entry.value)
    }

    /// Shows `visit` every value whose topic the pattern matches, in the order of [`Retained::iter`].
    pub fn matching(&self, pattern: &TopicPattern, mut visit: impl FnMut(&T)) {
        self.slice(&mut Walk::new(pattern.clone()), usize::MAX, |value| {
            visit(value);
            ControlFlow::Continue(())
        });
    }

    /// Goes on with a walk until it is done, it has looked at `topics_max` topics (at least one, matching or not, so that
    /// a slice takes a bounded time), or `visit`, which has taken this value then, wants no more for now. Returns [`Walk::is_done`].
    pub fn slice(&self, walk: &mut Walk, topics_max: usize, mut visit: impl FnMut(&T) -> ControlFlow<()>) -> bool {
        let mut looked_at = 0;
        'seek: while let Some(from) = walk.from() {
            for (key, entry) in self.by_key.range::<str, _>((Bound::Included(from), Bound::Unbounded)) {
                if looked_at >= topics_max.max(1) {
                    walk.pause_at(key);
                    return false;
                }
                looked_at += 1;
                match walk.judge(key) {
                    Verdict::Match => {
                        if visit(&entry.value).is_break() {
                            walk.pause_behind(key);
                            return false;
                        }
                    }
                    Verdict::Pass => {}
                    Verdict::Seek(next) => {
                        walk.pause_at(&next);
                        continue 'seek;
                    }
                    Verdict::End => break,
                }
            }
            walk.end();
        }
        true
    }
}
