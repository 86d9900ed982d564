//! What somebody who was asked has said, as one session remembers it.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::Action;
use crate::types::topic::{Topic, TopicPattern};

/// Answers that a session remembers of one action. When they are more, all are forgotten.
pub(super) const ANSWERS_MAX: usize = 1024;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allow: bool,
    /// Until when it holds, in milliseconds on the node's clock; `None`: for the one message that it was asked for.
    pub until_ms: Option<u64>,
    /// Whoever is told of what was allowed is told who it comes from, too.
    pub disclose: bool,
}

/// By action and what it is about. Shared by a session's connection and those that answer it.
#[derive(Debug, Default)]
pub(super) struct Answers([Mutex<HashMap<Box<str>, Decision>>; 4]);

impl Answers {
    pub fn get(&self, action: Action, about: &str) -> Option<Decision> {
        self.0[action as usize].lock().get(about).copied()
    }

    pub fn learn(&self, action: Action, about: &str, decision: Decision) {
        let mut known = self.0[action as usize].lock();
        if known.len() >= ANSWERS_MAX && !known.contains_key(about) {
            known.clear();
        }
        known.insert(about.into(), decision);
    }

    /// Whether there is an answer that holds for a time, and still does.
    pub fn holds(&self, action: Action, about: &str, now_ms: u64) -> bool {
        let until_ms = self.0[action as usize].lock().get(about).and_then(|decision| decision.until_ms);
        until_ms.is_some_and(|until_ms| until_ms > now_ms)
    }

    /// Forgets the answer if it holds no longer.
    pub fn expire(&self, action: Action, about: &str, now_ms: u64) {
        let mut known = self.0[action as usize].lock();
        if known.get(about).is_some_and(|decision| decision.until_ms.is_some_and(|until_ms| until_ms <= now_ms)) {
            known.remove(about);
        }
    }

    /// Forgets an answer that was for one message.
    pub fn spend(&self, action: Action, about: &str) {
        let mut known = self.0[action as usize].lock();
        if known.get(about).is_some_and(|decision| decision.until_ms.is_none()) {
            known.remove(about);
        }
    }
}

/// How a topic goes by.
pub(super) fn about_topic(topic: &Topic) -> &str {
    topic.name()
}

/// How a pattern goes by: its MQTT spelling; that of a prefix, which has none, begins with what no topic may hold.
pub(super) fn about_pattern(pattern: &TopicPattern) -> String {
    match pattern.filter() {
        Some(filter) => filter.to_owned(),
        None => format!("\0{}", pattern.prefix().unwrap_or_default()),
    }
}
