//! Where a walk over the retained topics is, and where it can find its next match.
//!
//! Keys are topic names with NUL for `/` (see [`super::key_of`]).

use std::cmp::Ordering;

use super::key_of;
use crate::types::topic::{PatternLevel, Topic, TopicPattern};

/// A walk over the topics that a pattern matches, between two slices. It holds no part of the store.
#[derive(Clone, Debug)]
pub struct Walk {
    pattern: TopicPattern,
    /// The walk goes on with the first key that is not before this one; none: it is done.
    from: Option<String>,
    /// What the keys of all topics that a prefix pattern matches begin with.
    prefix: Option<KeyPrefix>,
}

#[derive(Clone, Debug)]
struct KeyPrefix {
    key: String,
    /// Whether all that begins so matches.
    suffices: bool,
}

/// What a walk makes of a key. Where it seeks is always behind that key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Match,
    /// No match, but the next key may be one.
    Pass,
    /// There is no match before this key.
    Seek(String),
    /// There is no match any more.
    End,
}

impl Walk {
    pub fn new(pattern: TopicPattern) -> Self {
        let prefix = pattern.name_prefix().map(|(name, suffices)| KeyPrefix { key: key_of(&name), suffices });
        let from = match (&prefix, pattern.exact_name()) {
            (Some(prefix), _) => prefix.key.clone(),
            (None, Some(name)) => key_of(name),
            (None, None) => String::new(),
        };
        Self { pattern, from: Some(from), prefix }
    }

    pub fn pattern(&self) -> &TopicPattern {
        &self.pattern
    }

    /// Goes on behind a topic, if it is not there yet.
    pub fn go_behind(&mut self, topic: &Topic) {
        let behind = format!("{}\0", key_of(topic.name()));
        if self.from.as_ref().is_some_and(|from| *from < behind) {
            self.from = Some(behind);
        }
    }

    pub fn is_done(&self) -> bool {
        self.from.is_none()
    }

    pub(super) fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }

    pub(super) fn pause_at(&mut self, key: &str) {
        self.from = Some(key.to_owned());
    }

    pub(super) fn pause_behind(&mut self, key: &str) {
        // The next text after a key: that of its child with an empty name.
        self.from = Some(format!("{key}\0"));
    }

    pub(super) fn end(&mut self) {
        self.from = None;
    }

    pub(super) fn judge(&self, key: &str) -> Verdict {
        if key.starts_with('$') && self.pattern.passes_hidden_by() {
            return Verdict::Seek("%".into()); // the character after $
        }
        if let Some(prefix) = &self.prefix {
            return self.judge_prefix(prefix, key);
        }
        judge_levels(&self.pattern, key)
    }

    fn judge_prefix(&self, prefix: &KeyPrefix, key: &str) -> Verdict {
        if !key.starts_with(&prefix.key) {
            return Verdict::End;
        }
        let matches = || Topic::from_name(&key.replace('\0', "/")).is_ok_and(|topic| self.pattern.matches(&topic));
        if prefix.suffices || matches() { Verdict::Match } else { Verdict::Pass }
    }
}

fn judge_levels(pattern: &TopicPattern, key: &str) -> Verdict {
    // Where the level before ends; where the last one ends that `+` matched, which is the one to try another value of.
    let mut end = None;
    let mut single_end = None;
    for wanted in pattern.levels() {
        if wanted == PatternLevel::Multi {
            return Verdict::Match;
        }
        let start = match end {
            None => 0,
            Some(end) if end < key.len() => end + 1,
            // The key has too few levels; what matches stands below it.
            Some(_) => return Verdict::Seek(format!("{key}\0{}", text_of(wanted))),
        };
        let level_end = key[start..].find('\0').map_or(key.len(), |len| start + len);
        if let PatternLevel::Exact(text) = wanted {
            match key[start..level_end].cmp(text) {
                Ordering::Less => return Verdict::Seek(format!("{}{text}", &key[..start])),
                Ordering::Equal => {}
                Ordering::Greater => return behind(key, single_end),
            }
        } else {
            single_end = Some(level_end);
        }
        end = Some(level_end);
    }
    if end == Some(key.len()) { Verdict::Match } else { behind(key, single_end) }
}

/// On to the next value of the level that ends there, behind all that is below this one.
fn behind(key: &str, single_end: Option<usize>) -> Verdict {
    match single_end {
        Some(end) => Verdict::Seek(format!("{}\u{1}", &key[..end])),
        None => Verdict::End,
    }
}

fn text_of(level: PatternLevel<'_>) -> &str {
    match level {
        PatternLevel::Exact(text) => text,
        PatternLevel::Single | PatternLevel::Multi => "",
    }
}
