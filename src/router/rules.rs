//! What the configuration says of a topic or procedure beside who may use it: how much is trusted what comes from a role (WAMP,
//! Publication Trust Levels, Call Trust Levels), and whether publishers and callers are told (WAMP, Publisher Identification,
//! Caller Identification).
//!
//! Of each kind the first rule that matches counts. What belongs to the broker ([`Topic::is_reserved`]) has no rules.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::topic::{Topic, TopicPattern};

/// For whom a rule is.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// In this realm; `None`: in all.
    pub realm: Option<Arc<str>>,
    pub pattern: TopicPattern,
    /// What comes from these roles; empty: from all.
    pub roles: Vec<Arc<str>>,
}

/// The rules of all realms, or of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// 0 is the lowest level.
    pub trust: Vec<(Scope, u32)>,
    pub disclosure: Vec<(Scope, Disclosure)>,
}

/// Whether subscribers are told who publishes, and callees who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disclosure {
    /// If either side asks for it: PUBLISH or CALL with `disclose_me`, REGISTER with `disclose_caller`.
    #[default]
    Allowed,
    /// If the publisher or caller asks for it.
    Caller,
    /// Always.
    Forced,
    /// Never; who asks for it goes undisclosed.
    Strip,
    /// Never; a publisher or caller who asks for it is refused.
    Denied,
}

/// What the rules say of one topic or procedure, and of one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ruled {
    pub trust: Option<u32>,
    pub disclosure: Disclosure,
}

impl Disclosure {
    /// Whether who publishes or calls is told. `asked`: it wants to be; `other_asked`: the callee wants to know.
    pub fn discloses(self, asked: bool, other_asked: bool) -> bool {
        match self {
            Self::Allowed => asked || other_asked,
            Self::Caller => asked,
            Self::Forced => true,
            Self::Strip | Self::Denied => false,
        }
    }

    /// Whether asking for it is an error.
    pub fn refuses(self, asked: bool) -> bool {
        asked && self == Self::Denied
    }
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.trust.is_empty() && self.disclosure.is_empty()
    }

    /// Those that hold in a realm.
    pub fn of_realm(&self, realm: &str) -> Self {
        let here = |scope: &Scope| scope.realm.as_deref().is_none_or(|name| name == realm);
        Self {
            trust: self.trust.iter().filter(|(scope, _)| here(scope)).cloned().collect(),
            disclosure: self.disclosure.iter().filter(|(scope, _)| here(scope)).cloned().collect(),
        }
    }

    /// What they say of a topic or procedure, to whoever has this role.
    pub fn of(&self, topic: &Topic, role: Option<&str>) -> Ruled {
        if topic.is_reserved() {
            return Ruled::default();
        }
        let matches = |scope: &Scope| {
            let named = |role: &str| scope.roles.iter().any(|name| **name == *role);
            (scope.roles.is_empty() || role.is_some_and(named)) && scope.pattern.matches(topic)
        };
        let trust = self.trust.iter().find(|(scope, _)| matches(scope)).map(|(_, level)| *level);
        let disclosure = self.disclosure.iter().find(|(scope, _)| matches(scope)).map(|(_, disclosure)| *disclosure);
        Ruled { trust, disclosure: disclosure.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(filter: &str, roles: &[&str]) -> Scope {
        let pattern = TopicPattern::from_filter(filter).unwrap();
        Scope { realm: None, pattern, roles: roles.iter().map(|role| Arc::from(*role)).collect() }
    }

    fn topic(name: &str) -> Topic {
        Topic::from_name(name).unwrap()
    }

    #[test]
    fn the_first_rule_of_a_kind_that_matches_counts() {
        let rules = Rules {
            trust: vec![(scope("a/#", &["admin"]), 9), (scope("a/b", &[]), 2), (scope("#", &[]), 1)],
            disclosure: vec![(scope("a/#", &[]), Disclosure::Forced)],
        };
        let check = |name, role, trust, disclosure| {
            assert_eq!(rules.of(&topic(name), role), Ruled { trust, disclosure }, "{name} {role:?}");
        };
        check("a/b", Some("admin"), Some(9), Disclosure::Forced);
        check("a/b", Some("guest"), Some(2), Disclosure::Forced);
        check("a/b", None, Some(2), Disclosure::Forced);
        check("c", Some("admin"), Some(1), Disclosure::Allowed);
    }

    #[test]
    fn what_belongs_to_the_broker_has_no_rules() {
        let rules = Rules { trust: vec![(scope("#", &[]), 1), (scope("wamp/#", &[]), 2)], ..Rules::default() };
        assert_eq!(rules.of(&topic("wamp/session/count"), None), Ruled::default());
    }

    #[test]
    fn a_realm_has_its_own_and_those_of_all() {
        let own = |realm: &str| Scope { realm: Some(realm.into()), ..scope("a", &[]) };
        let rules = Rules { trust: vec![(own("one"), 1), (own("two"), 2), (scope("a", &[]), 3)], ..Rules::default() };
        assert_eq!(rules.of_realm("one").of(&topic("a"), None).trust, Some(1));
        assert_eq!(rules.of_realm("two").of(&topic("a"), None).trust, Some(2));
        assert_eq!(rules.of_realm("three").of(&topic("a"), None).trust, Some(3));
    }

    #[test]
    fn a_policy_says_who_may_ask_for_disclosure() {
        let cases = [
            (Disclosure::Allowed, [false, true, true]),
            (Disclosure::Caller, [false, true, false]),
            (Disclosure::Forced, [true, true, true]),
            (Disclosure::Strip, [false, false, false]),
            (Disclosure::Denied, [false, false, false]),
        ];
        for (disclosure, expected) in cases {
            let asked = [(false, false), (true, false), (false, true)];
            let told = asked.map(|(asked, other)| disclosure.discloses(asked, other));
            assert_eq!(told, expected, "{disclosure:?}");
            assert_eq!(disclosure.refuses(true), disclosure == Disclosure::Denied);
            assert!(!disclosure.refuses(false));
        }
    }
}
