//! What of the log may be given up: by age, bytes and count per topic pattern, and what no session wants any more.
//!
//! ```text
//! headers of segments, oldest first --weigh--> Verdict: keep, drop, or rewrite without these topics
//! ```
//!
//! Each topic belongs to the first policy that matches it; topics of no policy are in the log for sessions alone and may go when
//! every cursor has passed, or when there is too much of them. What exceeds a policy is given up from the oldest on. Work is done in slices: a walk goes over the
//! segments from the oldest to the first that nothing can be taken from any more, then begins anew. Before anything is
//! deleted the floor of its policy is raised in the log (RETAIN), so that whoever resumes below it is told.
//!
//! Left out: the store and the clock.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::types::topic::{Topic, TopicPattern};

use super::segment::{Segment, TopicShare};

#[cfg(test)]
mod tests;

/// Topics whose policy is remembered.
const REMEMBERED_MAX: usize = 100_000;

/// How long events of some topics are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `None`: of every realm.
    pub realm: Option<String>,
    pub pattern: TopicPattern,
    pub age_us_max: u64,
    pub bytes_max: u64,
    pub messages_max: u64,
}

/// A segment without its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub position: u64,
    /// Number of its first message, and how many numbers it has.
    pub first: u64,
    pub count: u32,
    /// Log time, in microseconds since 1970.
    pub at_us: u64,
    pub topics: Vec<TopicShare>,
}

impl Header {
    pub fn of(segment: &Segment) -> Self {
        Self {
            position: segment.position,
            first: segment.first,
            count: segment.count,
            at_us: segment.at_us,
            topics: segment.topics.clone(),
        }
    }
}

/// What becomes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Keep,
    Drop,
    /// Most of it is dead: it is to be rewritten without these topics (realm, name).
    Rewrite(Vec<(Box<str>, Box<str>)>),
}

/// A floor that has to be raised before the verdicts are carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Floor {
    pub realm: String,
    /// `None`: the topics of no policy.
    pub pattern: Option<TopicPattern>,
    /// First number that is available.
    pub first: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Retention {
    policies: Vec<Policy>,
    /// What the log holds of each policy.
    totals: Vec<Totals>,
    /// What it holds of no policy, and how much of that may be.
    others: Totals,
    others_bytes_max: u64,
    /// The policy of a topic; `None`: of no policy.
    remembered: HashMap<(Box<str>, Box<str>), Option<usize>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    messages: u64,
    bytes: u64,
}

impl Retention {
    /// `others_bytes_max`: bytes of topics of no policy that are kept for cursors which have not passed them.
    pub fn new(policies: Vec<Policy>, others_bytes_max: u64) -> Self {
        let totals = vec![Totals::default(); policies.len()];
        Self { policies, totals, others: Totals::default(), others_bytes_max, remembered: HashMap::new() }
    }

    /// `(messages, bytes)` that the log holds of each policy, in their order.
    pub fn totals(&self) -> impl Iterator<Item = (&Policy, u64, u64)> {
        self.policies.iter().zip(&self.totals).map(|(policy, totals)| (policy, totals.messages, totals.bytes))
    }

    /// Forgets what was counted.
    pub fn reset(&mut self) {
        self.totals.fill(Totals::default());
        self.others = Totals::default();
    }

    /// Counts what a segment adds.
    pub fn add(&mut self, topics: &[TopicShare]) {
        for share in topics {
            let policy = self.policy_of(share);
            let totals = self.totals_of(policy);
            totals.messages += u64::from(share.messages);
            totals.bytes += share.bytes;
        }
    }

    /// Judges one segment; segments come oldest first. `wanted`: the lowest number that a cursor has not passed. What is given up is
    /// counted as gone, and its floor noted in `floors`.
    pub fn weigh(&mut self, header: &Header, now_us: u64, wanted: u64, floors: &mut Floors) -> Verdict {
        let after = header.first + u64::from(header.count);
        let mut dead = Vec::new();
        let (mut dead_bytes, mut all_bytes) = (0, 0);
        for share in &header.topics {
            all_bytes += share.bytes;
            let policy = self.policy_of(share);
            let is_dead = match policy {
                Some(policy) => self.is_beyond(policy, header.at_us, now_us),
                None => after <= wanted || self.others.bytes > self.others_bytes_max,
            };
            if is_dead {
                dead_bytes += share.bytes;
                dead.push((share, policy));
            }
        }
        if dead.len() < header.topics.len() && dead_bytes * 2 < all_bytes {
            return Verdict::Keep;
        }
        for (share, policy) in &dead {
            let totals = self.totals_of(*policy);
            totals.messages = totals.messages.saturating_sub(u64::from(share.messages));
            totals.bytes = totals.bytes.saturating_sub(share.bytes);
            floors.raise(&share.realm, *policy, after);
            if policy.is_none() && after > wanted {
                floors.lost += u64::from(share.messages);
            }
        }
        if dead.len() == header.topics.len() {
            return Verdict::Drop;
        }
        Verdict::Rewrite(dead.iter().map(|(share, _)| (share.realm.clone(), share.topic.clone())).collect())
    }

    fn totals_of(&mut self, policy: Option<usize>) -> &mut Totals {
        policy.map_or(&mut self.others, |policy| &mut self.totals[policy])
    }

    fn is_beyond(&self, policy: usize, at_us: u64, now_us: u64) -> bool {
        let (policy, totals) = (&self.policies[policy], &self.totals[policy]);
        at_us.saturating_add(policy.age_us_max) < now_us
            || totals.bytes > policy.bytes_max
            || totals.messages > policy.messages_max
    }

    /// The floors that were noted, to be raised in the log.
    pub fn floors(&self, floors: Floors) -> Vec<Floor> {
        let floor = |((realm, policy), first): ((Box<str>, Option<usize>), u64)| Floor {
            realm: realm.into(),
            pattern: policy.map(|policy| self.policies[policy].pattern.clone()),
            first,
        };
        floors.first.into_iter().map(floor).collect()
    }

    fn policy_of(&mut self, share: &TopicShare) -> Option<usize> {
        let key = (share.realm.clone(), share.topic.clone());
        if let Some(known) = self.remembered.get(&key) {
            return *known;
        }
        let topic = Topic::from_name(&share.topic).ok();
        let policy = topic.and_then(|topic| {
            let matches = |policy: &Policy| {
                policy.realm.as_ref().is_none_or(|realm| **realm == *share.realm) && policy.pattern.matches(&topic)
            };
            self.policies.iter().position(matches)
        });
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(key, policy);
        policy
    }
}

/// Floors of one slice of work: by realm and policy, the first number that is available.
#[derive(Clone, Debug, Default)]
pub struct Floors {
    first: BTreeMap<(Box<str>, Option<usize>), u64>,
    /// Messages of no policy that a cursor has not passed.
    pub lost: u64,
}

impl Floors {
    fn raise(&mut self, realm: &str, policy: Option<usize>, first: u64) {
        let floor = self.first.entry((realm.into(), policy)).or_default();
        *floor = (*floor).max(first);
    }
}
