//! What this entry tells the others.

use std::collections::HashMap;
use std::sync::Arc;

use super::{INTERESTS_MAX, Interest, Told, Wanted};
use crate::types::topic::TopicPattern;

/// The set that was told, and what is to be told of its changes.
#[derive(Debug)]
pub struct Own {
    wants: HashMap<(Arc<str>, TopicPattern), Wanted>,
    /// Patterns that are wanted for somebody alone, and groups.
    plain: usize,
    groups: usize,
    version: u64,
    everything: bool,
    interests_max: usize,
    wanted: Vec<Interest>,
    unwanted: Vec<Interest>,
    /// The next is told as a whole set.
    whole: bool,
    /// Groups that had no room.
    left_out: u64,
}

impl Default for Own {
    fn default() -> Self {
        Self::new(INTERESTS_MAX)
    }
}

impl Own {
    /// `interests_max`: see [`INTERESTS_MAX`].
    pub fn new(interests_max: usize) -> Self {
        Self {
            wants: HashMap::new(),
            plain: 0,
            groups: 0,
            version: 0,
            everything: false,
            interests_max,
            wanted: Vec::new(),
            unwanted: Vec::new(),
            whole: false,
            left_out: 0,
        }
    }

    /// Groups that are not told, for there are too many.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Says who is subscribed to a pattern now.
    pub fn set(&mut self, realm: &Arc<str>, pattern: &TopicPattern, mut now: Wanted) {
        let key = (realm.clone(), pattern.clone());
        let before = self.wants.remove(&key).unwrap_or_default();
        for group in before.groups.difference(&now.groups) {
            self.groups -= 1;
            self.unwanted.push(Interest { realm: realm.clone(), pattern: pattern.clone(), group: Some(group.clone()) });
        }
        let new: Vec<Box<str>> = now.groups.difference(&before.groups).cloned().collect();
        for group in new {
            if self.groups >= self.interests_max {
                self.left_out += 1;
                now.groups.remove(&group);
                continue;
            }
            self.groups += 1;
            self.wanted.push(Interest { realm: realm.clone(), pattern: pattern.clone(), group: Some(group) });
        }
        if before.plain != now.plain {
            let changed = Interest { realm: realm.clone(), pattern: pattern.clone(), group: None };
            match now.plain {
                true => self.plain += 1,
                false => self.plain -= 1,
            }
            match now.plain {
                _ if self.everything => {}
                true => self.wanted.push(changed),
                false => self.unwanted.push(changed),
            }
        }
        if !now.is_nothing() {
            self.wants.insert(key, now);
        }
        self.widen_or_narrow();
    }

    fn widen_or_narrow(&mut self) {
        let wide = match self.everything {
            true => self.plain > self.interests_max / 2,
            false => self.plain > self.interests_max,
        };
        self.whole |= wide != self.everything;
        self.everything = wide;
    }

    /// What is to be told to those who were told all before; `None`: nothing has changed.
    pub fn take(&mut self) -> Option<Told> {
        let (mut wanted, mut unwanted) = (std::mem::take(&mut self.wanted), std::mem::take(&mut self.unwanted));
        if std::mem::take(&mut self.whole) {
            self.version += 1;
            return Some(self.whole_set());
        }
        // What has come and gone meanwhile is as it was told last; what changed more often is said once.
        unwanted.retain(|interest| !self.has(interest));
        wanted.retain(|interest| self.has(interest));
        if wanted.is_empty() && unwanted.is_empty() {
            return None;
        }
        self.version += 1;
        Some(Told { version: self.version, whole: false, everything: self.everything, wanted, unwanted })
    }

    /// All that was told so far, for one who was told nothing yet. [`Own::take`] goes first.
    pub fn whole_set(&self) -> Told {
        let mut wanted = Vec::new();
        for ((realm, pattern), wants) in &self.wants {
            let interest = |group| Interest { realm: realm.clone(), pattern: pattern.clone(), group };
            if wants.plain && !self.everything {
                wanted.push(interest(None));
            }
            wanted.extend(wants.groups.iter().map(|group| interest(Some(group.clone()))));
        }
        Told { version: self.version, whole: true, everything: self.everything, wanted, unwanted: Vec::new() }
    }

    fn has(&self, interest: &Interest) -> bool {
        let wants = self.wants.get(&(interest.realm.clone(), interest.pattern.clone()));
        wants.is_some_and(|wants| match &interest.group {
            None => wants.plain,
            Some(group) => wants.groups.contains(group),
        })
    }
}
