//! What of the log may be given up: by age, bytes and count per topic pattern, and what no session wants any more.
//!
//! ```text
//! headers of segments, oldest first --weigh--> Verdict: keep, drop, or rewrite without these topics
//! ```
//!
//! Each topic belongs to the first policy that matches it; topics of no policy are in the log for sessions alone and may go when
//! every cursor has passed, or when there is too much of them. What exceeds a policy is given up from the oldest on. Work is done
//! in slices: a walk goes over the segments from the oldest on, then begins anew. Before anything is deleted the floor of its policy
//! is raised in the log (RETAIN), so that whoever resumes below it is told.
//!
//! What is dead in a segment that is mostly wanted stays, and does not count ([`Passed`]): younger events must not go in its place.
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

impl Policy {
    /// Whether what was logged at a time goes, while so much is left of it and what is younger.
    fn is_beyond(&self, left: Totals, at_us: u64, now_us: u64) -> bool {
        at_us.saturating_add(self.age_us_max) < now_us
            || left.bytes > self.bytes_max
            || left.messages > self.messages_max
    }
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

/// What a walk has found dead and left where it is: it counts as gone for the rest of that walk. A walk begins with an empty one.
#[derive(Clone, Debug, Default)]
pub struct Passed(HashMap<Option<usize>, Totals>);

impl Totals {
    fn add(&mut self, share: &TopicShare) {
        self.messages += u64::from(share.messages);
        self.bytes += share.bytes;
    }

    fn remove(&mut self, share: &TopicShare) {
        self.messages = self.messages.saturating_sub(u64::from(share.messages));
        self.bytes = self.bytes.saturating_sub(share.bytes);
    }

    fn without(self, passed: Self) -> Self {
        Self { messages: self.messages.saturating_sub(passed.messages), bytes: self.bytes.saturating_sub(passed.bytes) }
    }
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
            self.totals_of(policy).add(share);
        }
    }

    /// Judges one segment of a walk; segments come oldest first. `wanted`: the lowest number that a cursor has not passed. What is
    /// given up is counted as gone, and its floor noted in `floors`.
    pub fn weigh(
        &mut self,
        header: &Header,
        now_us: u64,
        wanted: u64,
        passed: &mut Passed,
        floors: &mut Floors,
    ) -> Verdict {
        let after = header.first + u64::from(header.count);
        let mut dead = Vec::new();
        let (mut dead_bytes, mut all_bytes) = (0, 0);
        for share in &header.topics {
            all_bytes += share.bytes;
            let policy = self.policy_of(share);
            let left = self.totals_of(policy).without(passed.0.get(&policy).copied().unwrap_or_default());
            let is_dead = match policy {
                Some(policy) => self.policies[policy].is_beyond(left, header.at_us, now_us),
                None => after <= wanted || left.bytes > self.others_bytes_max,
            };
            if is_dead {
                dead_bytes += share.bytes;
                dead.push((share, policy));
            }
        }
        if dead.is_empty() || (dead.len() < header.topics.len() && dead_bytes * 2 < all_bytes) {
            dead.iter().for_each(|(share, policy)| passed.0.entry(*policy).or_default().add(share));
            return Verdict::Keep;
        }
        for (share, policy) in &dead {
            self.totals_of(*policy).remove(share);
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
