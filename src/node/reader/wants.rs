//! What a subscriber wants of the log: its patterns, and what it gets of a topic that they match.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::node::realm::Realm;
use crate::router::authorize::Rights;
use crate::router::broker::{Form, Options};
use crate::router::index::Index;
use crate::types::event::{Qos, Terms};
use crate::types::ids::SubscriptionId;
use crate::types::payload::Codec;
use crate::types::topic::{Topic, TopicPattern};

/// Topics that a subscriber remembers what it gets of.
const TARGETS_MAX: usize = 1024;
/// A subscriber of so many topics, and no patterns, reads only what holds them.
const TOPICS_MAX: usize = 16;

/// One subscription of a session that reads the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    pub pattern: TopicPattern,
    pub options: Options,
    /// Its id, where each subscription gets a copy of its own.
    pub subscription: SubscriptionId,
    /// Events with higher numbers are wanted.
    pub since: u64,
    /// Events that it gets with QoS 0 are read in the log, too, as it asked for older ones. Else they are sent live or not at
    /// all.
    pub follows: bool,
}

/// What a subscriber gets of a topic.
#[derive(Debug)]
pub struct Target {
    pub topic: Arc<Topic>,
    pub codec: Codec,
    pub form: Form,
    pub no_local: bool,
    /// See [`Want::follows`].
    pub follows: bool,
}

impl Target {
    /// The terms of a copy, if it is one for which the log is read. `owed`: all copies with QoS 1 or 2 are.
    pub fn terms(&self, qos: Qos, retain: bool, owed: bool) -> Option<Terms> {
        let terms = self.form.terms(qos, retain);
        (self.follows || (owed && terms.qos != Qos::AtMostOnce)).then_some(terms)
    }
}

/// Whose eyes read: what the subscriber may see, and in which realm.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    pub realm: &'a Realm,
    /// `None`: may see everything.
    pub rights: Option<&'a Rights>,
}

/// See the module.
#[derive(Default)]
pub struct Wants {
    /// By name: an MQTT session's filters; a WAMP reader has one without a name.
    list: HashMap<Box<str>, Want>,
    /// Of them, those with [`Want::follows`].
    followers: usize,
    /// Made while it is needed.
    view: Option<View>,
}

/// What makes looking up fast.
struct View {
    /// Names of the subscriptions by pattern.
    index: Index<SmallVec<[Box<str>; 1]>>,
    /// By topic name.
    targets: HashMap<Box<str>, Option<Arc<Target>>>,
    /// The targets are right for numbers above `from` and up to `to`: in between no subscription begins.
    from: u64,
    to: u64,
    /// All topics, if they are few and there are no patterns.
    topics: Option<Vec<Box<str>>>,
}

impl Wants {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds or replaces.
    pub fn set(&mut self, name: &str, want: Want) {
        self.remove(name);
        self.followers += usize::from(want.follows);
        self.list.insert(name.into(), want);
    }

    /// The subscription of this name.
    pub fn get(&self, name: &str) -> Option<&Want> {
        self.list.get(name)
    }

    /// Removes; `false` if there was none of that name.
    pub fn remove(&mut self, name: &str) -> bool {
        self.view = None;
        let removed = self.list.remove(name);
        self.followers -= usize::from(removed.as_ref().is_some_and(|want| want.follows));
        removed.is_some()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Frees what is only needed while it reads.
    pub fn rest(&mut self) {
        self.view = None;
    }

    /// Whether there is a subscription that reads even what it gets with QoS 0.
    pub fn has_followers(&self) -> bool {
        self.followers > 0
    }

    /// Whether a subscription that reads even what it gets with QoS 0 matches the topic.
    pub fn follows(&self, topic: &Topic) -> bool {
        self.list.values().any(|want| want.follows && want.pattern.matches(topic))
    }

    /// The topics it wants, by name, if they are few and it has no patterns.
    pub fn topics(&mut self) -> Option<&[Box<str>]> {
        self.view().topics.as_deref()
    }

    /// What it gets of the event of this number, whose topic this is (`None`: nothing), and up to which number that is so.
    pub fn look_up(&mut self, topic: &str, number: u64, eyes: Eyes<'_>) -> (Option<Arc<Target>>, u64) {
        let Self { list, view, .. } = self;
        let view = view.get_or_insert_with(|| View::new(list));
        if number <= view.from || number > view.to {
            view.targets.clear();
            let sinces = || list.values().map(|want| want.since);
            view.from = sinces().filter(|since| *since < number).max().unwrap_or(0);
            view.to = sinces().filter(|since| *since >= number).min().unwrap_or(u64::MAX);
        }
        if let Some(known) = view.targets.get(topic) {
            return (known.clone(), view.to);
        }
        let target = view.target(list, topic, number, eyes).map(Arc::new);
        if view.targets.len() >= TARGETS_MAX {
            view.targets.clear();
        }
        view.targets.insert(topic.into(), target.clone());
        (target, view.to)
    }

    fn view(&mut self) -> &View {
        let Self { list, view, .. } = self;
        view.get_or_insert_with(|| View::new(list))
    }
}

impl View {
    fn new(list: &HashMap<Box<str>, Want>) -> Self {
        let mut index: Index<SmallVec<[Box<str>; 1]>> = Index::new();
        for (name, want) in list {
            index.get_or_insert_with(&want.pattern, SmallVec::new).push(name.clone());
        }
        let exact = list.values().map(|want| want.pattern.exact_name().map(Box::from));
        let topics = if list.len() <= TOPICS_MAX { exact.collect() } else { None };
        // Right for no number yet.
        Self { index, targets: HashMap::new(), from: u64::MAX, to: 0, topics }
    }

    fn target(&self, list: &HashMap<Box<str>, Want>, topic: &str, number: u64, eyes: Eyes<'_>) -> Option<Target> {
        let topic = Arc::new(Topic::from_name(topic).ok()?);
        let mut merged: Option<(Form, bool, bool)> = None;
        self.index.matches(&topic, |pattern, matching| {
            for want in matching.iter().filter_map(|name| list.get(name)).filter(|want| want.since < number) {
                merge(&mut merged, want, pattern.exact_name().is_none());
            }
        });
        let (form, no_local, follows) = merged?;
        if !eyes.rights.is_none_or(|rights| rights.delivers(&topic)) {
            return None;
        }
        let codec = eyes.realm.codec(&topic);
        Some(Target { topic, codec, form, no_local, follows })
    }
}

fn merge(merged: &mut Option<(Form, bool, bool)>, want: &Want, with_topic: bool) {
    let form = Form::of(&want.options, want.subscription, with_topic);
    let own = matches!(want.options, Options::Merged { no_local: true, .. });
    match merged {
        None => *merged = Some((form, own, want.follows)),
        Some((known, no_local, follows)) => {
            known.merge(form);
            *no_local &= own;
            *follows |= want.follows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::{filter, node};
    use crate::types::event::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

    fn want(pattern: &str, qos: Qos, since: u64) -> Want {
        let options =
            Options::Merged { qos, no_local: false, retain_as_published: false, identifier: Some(since as u32) };
        Want { pattern: filter(pattern), options, subscription: SubscriptionId(0), since, follows: false }
    }

    /// QoS and identifiers of what is got of a topic.
    fn got(wants: &mut Wants, topic: &str, number: u64) -> Option<(Qos, Vec<u32>)> {
        let (_node, realm) = node();
        let target = wants.look_up(topic, number, Eyes { realm: &realm, rights: None }).0?;
        let terms = target.form.terms(ExactlyOnce, false);
        let mut identifiers = terms.identifiers.to_vec();
        identifiers.sort_unstable();
        Some((terms.qos, identifiers))
    }

    #[test]
    fn overlapping_subscriptions_give_one_copy_as_they_do_live() {
        let mut wants = Wants::default();
        wants.set("a", want("a/#", AtLeastOnce, 1));
        wants.set("b", want("a/b", ExactlyOnce, 2));
        assert_eq!(got(&mut wants, "a/b", 10), Some((ExactlyOnce, vec![1, 2])));
        assert_eq!(got(&mut wants, "a/c", 10), Some((AtLeastOnce, vec![1])));
        assert_eq!(got(&mut wants, "b", 10), None);
    }

    #[test]
    fn a_subscription_counts_only_for_events_behind_its_beginning() {
        let mut wants = Wants::default();
        wants.set("a", want("a/#", AtLeastOnce, 5));
        wants.set("b", want("a/b", AtLeastOnce, 8));
        let seen: Vec<_> =
            (4..11).map(|number| got(&mut wants, "a/b", number).map_or(0, |(_, all)| all.len())).collect();
        assert_eq!(seen, [0, 0, 1, 1, 1, 2, 2]);
        // Also backwards, as for what has to be sent again.
        let seen: Vec<_> =
            (4..11).rev().map(|number| got(&mut wants, "a/b", number).map_or(0, |(_, all)| all.len())).collect();
        assert_eq!(seen, [2, 2, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn a_changed_subscription_counts_at_once() {
        let mut wants = Wants::default();
        wants.set("a", want("a", AtMostOnce, 0));
        assert_eq!(got(&mut wants, "a", 1).map(|(qos, _)| qos), Some(AtMostOnce));
        wants.set("a", want("a", AtLeastOnce, 0));
        assert_eq!(got(&mut wants, "a", 1).map(|(qos, _)| qos), Some(AtLeastOnce));
        assert!(wants.remove("a") && !wants.remove("a"));
        assert_eq!(got(&mut wants, "a", 1), None);
    }

    #[test]
    fn few_topics_without_patterns_are_named() {
        let mut wants = Wants::default();
        wants.set("a", want("a", AtLeastOnce, 0));
        wants.set("b", want("b/c", AtLeastOnce, 0));
        let mut topics = wants.topics().unwrap().to_vec();
        topics.sort();
        assert_eq!(topics, ["a".into(), "b/c".into()]);
        wants.set("c", want("c/+", AtLeastOnce, 0));
        assert_eq!(wants.topics(), None);
    }
}
