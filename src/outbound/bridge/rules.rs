//! Which topics go over a bridge, in which direction, and what they are called on the other side.

use crate::mqtt::codec;
use crate::types::event::Qos;
use crate::types::topic::{Topic, TopicPattern};

/// Which way the events of a rule go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the other broker to this one.
    In,
    /// From this broker to the other one.
    #[default]
    Out,
    Both,
}

/// One rule, as Mosquitto's `topic <pattern> <direction> <qos> <local-prefix> <remote-prefix>`.
///
/// Here its topics are called `local` + what `pattern` matches, there `remote` + the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A topic filter. Empty: the prefixes are the whole names.
    pub pattern: String,
    pub direction: Direction,
    /// The highest QoS that its events cross with.
    pub qos: Qos,
    pub local: String,
    pub remote: String,
    here: TopicPattern,
    there: TopicPattern,
}

/// Why a rule is none. The user's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("{name:?} {what}")]
    Pattern { name: String, what: String },
    #[error("{prefix:?} must be a topic name without + and #")]
    Prefix { side: &'static str, prefix: String },
    #[error("an empty one needs both local and remote, which are whole topic names then")]
    Empty,
    #[error("{0:?} is a shared subscription, which a bridge does not make")]
    Shared(String),
    #[error("{0:?} is reserved for what the broker says itself")]
    Reserved(String),
}

impl RuleError {
    /// Which part of the rule is wrong: `pattern`, `local` or `remote`.
    pub fn part(&self) -> &'static str {
        match self {
            RuleError::Prefix { side, .. } => side,
            RuleError::Reserved(_) => "local",
            RuleError::Pattern { .. } | RuleError::Empty | RuleError::Shared(_) => "pattern",
        }
    }
}

/// The rules of one bridge. The first that matches a topic counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Direction {
    pub fn is_outward(self) -> bool {
        matches!(self, Direction::Out | Direction::Both)
    }

    pub fn is_inward(self) -> bool {
        matches!(self, Direction::In | Direction::Both)
    }
}

impl Rule {
    /// # Errors
    /// Which part is wrong, and why.
    pub fn new(pattern: &str, direction: Direction, qos: Qos, local: &str, remote: &str) -> Result<Self, RuleError> {
        if pattern.is_empty() && (local.is_empty() || remote.is_empty()) {
            return Err(RuleError::Empty);
        }
        for (side, prefix) in [("local", local), ("remote", remote)] {
            if prefix.contains(['+', '#', '\0']) {
                return Err(RuleError::Prefix { side, prefix: prefix.to_owned() });
            }
        }
        let names = [format!("{local}{pattern}"), format!("{remote}{pattern}")];
        if let Some(shared) = names.iter().find(|name| codec::split_shared(name).is_some()) {
            return Err(RuleError::Shared(shared.clone()));
        }
        let read = |name: &String| {
            TopicPattern::from_filter(name)
                .map_err(|error| RuleError::Pattern { name: name.clone(), what: error.to_string() })
        };
        let [here, there] = [read(&names[0])?, read(&names[1])?];
        let first = names[0].split('/').next().unwrap_or_default();
        if direction.is_inward() && Topic::from_name(first).is_ok_and(|topic| topic.is_reserved()) {
            return Err(RuleError::Reserved(names[0].clone()));
        }
        let (pattern, local, remote) = (pattern.to_owned(), local.to_owned(), remote.to_owned());
        Ok(Self { pattern, direction, qos, local, remote, here, there })
    }

    /// What the other broker is asked for.
    pub fn remote_filter(&self) -> String {
        format!("{}{}", self.remote, self.pattern)
    }

    /// What matches here.
    pub fn local_pattern(&self) -> &TopicPattern {
        &self.here
    }
}

impl Rules {
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// What an event of this broker is called on the other one; `None`: it stays here.
    pub fn outward(&self, topic: &Topic) -> Option<(String, Qos)> {
        let rule = self.0.iter().find(|rule| rule.direction.is_outward() && rule.here.matches(topic))?;
        Some((renamed(topic.name(), &rule.local, &rule.remote)?, rule.qos))
    }

    /// What an event of the other broker is called here; `None`: nobody wants it, or it has no name here.
    pub fn inward(&self, topic: &Topic) -> Option<(Topic, Qos)> {
        let rule = self.0.iter().find(|rule| rule.direction.is_inward() && rule.there.matches(topic))?;
        let name = renamed(topic.name(), &rule.remote, &rule.local)?;
        let topic = Topic::from_name(&name).ok().filter(|topic| !topic.is_reserved())?;
        Some((topic, rule.qos))
    }

    /// What is called so here if it came in: its name on the other broker.
    pub fn origin(&self, topic: &Topic) -> Option<String> {
        let rule = self.0.iter().find(|rule| rule.direction.is_inward() && rule.here.matches(topic))?;
        renamed(topic.name(), &rule.local, &rule.remote)
    }

    /// What the answers to a request are called on the other side: its response topic crosses with the rule of the other direction.
    pub fn response_outward(&self, name: &str) -> Option<String> {
        self.origin(&Topic::from_name(name).ok()?)
    }

    /// The same, of a request that comes in.
    pub fn response_inward(&self, name: &str) -> Option<String> {
        let topic = Topic::from_name(name).ok()?;
        let rule = self.0.iter().find(|rule| rule.direction.is_outward() && rule.there.matches(&topic))?;
        renamed(name, &rule.remote, &rule.local)
    }

    /// Rules by which events come in.
    pub fn inwards(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().filter(|rule| rule.direction.is_inward())
    }

    /// Rules by which events go out.
    pub fn outwards(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().filter(|rule| rule.direction.is_outward())
    }

    /// Changes with every rule by which events go out: what was numbered under other rules cannot be told apart any more.
    /// FNV-1a, for it has to stay the same over restarts and versions.
    pub fn outward_fingerprint(&self) -> u64 {
        let mut hash = Fnv::default();
        for rule in self.outwards() {
            [&rule.pattern, &rule.local, &rule.remote].into_iter().for_each(|text| hash.add(text.as_bytes()));
            hash.add(&[rule.qos as u8]);
        }
        hash.get()
    }
}

/// A hash that means the same in every process (FNV-1a). Parts are told apart.
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub fn add(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub fn get(&self) -> u64 {
        self.0
    }
}

fn renamed(name: &str, from: &str, to: &str) -> Option<String> {
    Some(format!("{to}{}", name.strip_prefix(from)?)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, direction: Direction, local: &str, remote: &str) -> Rule {
        Rule::new(pattern, direction, Qos::AtLeastOnce, local, remote).unwrap()
    }

    fn topic(name: &str) -> Topic {
        Topic::from_name(name).unwrap()
    }

    fn out(rules: &Rules, name: &str) -> Option<String> {
        rules.outward(&topic(name)).map(|(name, _)| name)
    }

    fn inward(rules: &Rules, name: &str) -> Option<String> {
        rules.inward(&topic(name)).map(|(topic, _)| topic.name().to_owned())
    }

    #[test]
    fn prefixes_are_exchanged_both_ways() {
        let rules = Rules::new(vec![rule("#", Direction::Both, "site/", "plants/7/")]);
        assert_eq!(out(&rules, "site/a/b").as_deref(), Some("plants/7/a/b"));
        assert_eq!(inward(&rules, "plants/7/a/b").as_deref(), Some("site/a/b"));
        assert_eq!(out(&rules, "other/a"), None);
        assert_eq!(inward(&rules, "plants/8/a"), None);
    }

    #[test]
    fn a_rule_counts_in_its_direction_only_and_the_first_that_matches_wins() {
        let rules = Rules::new(vec![
            rule("up/#", Direction::Out, "", ""),
            rule("down/#", Direction::In, "", ""),
            Rule::new("#", Direction::Both, Qos::ExactlyOnce, "", "all/").unwrap(),
        ]);
        assert_eq!(out(&rules, "up/1").as_deref(), Some("up/1"));
        assert_eq!(out(&rules, "down/1").as_deref(), Some("all/down/1"));
        assert_eq!(inward(&rules, "down/1").as_deref(), Some("down/1"));
        assert_eq!(inward(&rules, "up/1"), None);
    }

    #[test]
    fn an_empty_pattern_renames_one_topic() {
        let rules = Rules::new(vec![rule("", Direction::Out, "a/b", "c")]);
        assert_eq!(out(&rules, "a/b").as_deref(), Some("c"));
        assert_eq!(out(&rules, "a/b/c"), None);
        let refused = Rule::new("", Direction::Out, Qos::AtMostOnce, "", "c");
        assert_eq!(refused, Err(RuleError::Empty));
    }

    #[test]
    fn what_has_no_name_on_the_other_side_does_not_cross() {
        let rules = Rules::new(vec![rule("#", Direction::Both, "", "there/")]);
        assert_eq!(inward(&rules, "there"), None, "the prefix is a level of its own");
        assert_eq!(inward(&rules, "there/"), None, "the name would be empty");
        let rules = Rules::new(vec![rule("+/x", Direction::In, "", "r/")]);
        assert_eq!(inward(&rules, "r/fennec/x"), None, "reserved");
        assert_eq!(inward(&rules, "r/$SYS/x"), None, "reserved");
    }

    #[test]
    fn a_response_topic_crosses_by_the_rule_of_the_way_back() {
        let rules = Rules::new(vec![
            rule("ask/#", Direction::Out, "", "far/"),
            rule("answer/#", Direction::In, "here/", "there/"),
        ]);
        assert_eq!(rules.response_outward("here/answer/1").as_deref(), Some("there/answer/1"));
        assert_eq!(rules.response_outward("elsewhere"), None);
        assert_eq!(rules.response_inward("far/ask/1").as_deref(), Some("ask/1"));
    }

    #[test]
    fn wrong_rules_are_named_by_their_part() {
        let text = |error: RuleError| format!("{}: {error}", error.part());
        let error = |pattern, local, remote| {
            text(Rule::new(pattern, Direction::Out, Qos::AtMostOnce, local, remote).unwrap_err())
        };
        assert_eq!(error("a#", "", ""), "pattern: \"a#\" has a # that is not the whole last level");
        assert_eq!(error("#", "a+/", ""), "local: \"a+/\" must be a topic name without + and #");
        assert_eq!(error("#", "", "#"), "remote: \"#\" must be a topic name without + and #");
        assert!(error("$share/g/a", "", "").starts_with("pattern: \"$share/g/a\" is a shared subscription"));
        let reserved = |local| text(Rule::new("#", Direction::Both, Qos::AtMostOnce, local, "").unwrap_err());
        assert!(reserved("fennec/").starts_with("local: \"fennec/#\" is reserved"));
        assert!(reserved("$SYS/").starts_with("local: \"$SYS/#\" is reserved"));
        assert!(Rule::new("#", Direction::Out, Qos::AtMostOnce, "$SYS/", "brokers/7/").is_ok());
    }

    #[test]
    fn the_fingerprint_changes_with_every_outward_rule_alone() {
        let of = |rules: Vec<Rule>| Rules::new(rules).outward_fingerprint();
        let out = rule("a", Direction::Out, "", "");
        assert_eq!(of(vec![out.clone()]), of(vec![out.clone(), rule("b", Direction::In, "", "")]));
        assert_ne!(of(vec![out.clone()]), of(vec![rule("a", Direction::Out, "x/", "")]));
        assert_ne!(of(vec![out.clone()]), of(vec![out.clone(), rule("b", Direction::Out, "", "")]));
        assert_ne!(of(vec![rule("ab", Direction::Out, "", "")]), of(vec![rule("a", Direction::Out, "b", "")]));
    }
}
