//! The rules of roles, told one by one; then `allows_pattern` against `allows` on everything small.

use proptest::prelude::*;

use super::*;
use crate::types::topic::MatchPolicy;

/// A permission in shorthand: `+` allow or `-` deny, then an MQTT filter, or a WAMP URI with its match policy before it.
fn rule(text: &str) -> Permission {
    let (sign, pattern) = text.split_at(1);
    Permission { actions: Action::ALL.to_vec(), pattern: pattern_of(pattern), allow: sign == "+" }
}

fn pattern_of(text: &str) -> TopicPattern {
    match text.split_once(' ') {
        Some((policy, uri)) => TopicPattern::from_uri(uri, policy.parse::<MatchPolicy>().unwrap()).unwrap(),
        None => TopicPattern::from_filter(text).unwrap(),
    }
}

fn authorizer(rules: &[&str]) -> (Authorizer, RoleId) {
    let role = Role { name: "r".into(), permissions: rules.iter().map(|text| rule(text)).collect() };
    let authorizer = Authorizer::new([role]);
    let id = authorizer.role("r").unwrap();
    (authorizer, id)
}

/// Checks, in any order of the rules, which topics may be used and which not.
fn check(rules: &[&str], yes: &[&str], no: &[&str]) {
    let backwards: Vec<&str> = rules.iter().rev().copied().collect();
    for rules in [rules, &backwards] {
        let (authorizer, role) = authorizer(rules);
        for (topics, expected) in [(yes, true), (no, false)] {
            for name in topics {
                let topic = Topic::from_name(name).unwrap();
                assert_eq!(authorizer.allows(role, Action::Call, &topic), expected, "{name} under {rules:?}");
                let pattern = TopicPattern::exact(&topic);
                assert_eq!(
                    authorizer.allows_pattern(role, Action::Call, &pattern),
                    expected,
                    "= {name} under {rules:?}"
                );
            }
        }
    }
}

/// The same for patterns.
fn check_patterns(rules: &[&str], yes: &[&str], no: &[&str]) {
    let backwards: Vec<&str> = rules.iter().rev().copied().collect();
    for rules in [rules, &backwards] {
        let (authorizer, role) = authorizer(rules);
        for (patterns, expected) in [(yes, true), (no, false)] {
            for text in patterns {
                let allowed = authorizer.allows_pattern(role, Action::Subscribe, &pattern_of(text));
                assert_eq!(allowed, expected, "{text} under {rules:?}");
            }
        }
    }
}

#[test]
fn without_a_matching_permission_nothing_is_allowed() {
    check(&[], &[], &["a", "a/b"]);
    check(&["+a"], &["a"], &["b", "a/b", "A"]);
    check_patterns(&[], &[], &["#", "a", "prefix "]);
}

#[test]
fn an_unknown_role_has_no_id_and_a_foreign_id_may_nothing() {
    let (authorizer, role) = authorizer(&["+#"]);
    assert_eq!(authorizer.role("nobody"), None);
    let topic = Topic::from_name("a").unwrap();
    assert!(authorizer.allows(role, Action::Publish, &topic));
    assert!(!Authorizer::default().allows(role, Action::Publish, &topic));
    assert!(!Authorizer::default().allows_pattern(role, Action::Publish, &TopicPattern::exact(&topic)));
}

#[test]
fn the_more_specific_permission_decides() {
    check(&["+a/#", "-a/b/#", "+a/b/c"], &["a", "a/x", "a/b/c"], &["a/b", "a/b/d"]);
    check(&["-a/+", "+a/b"], &["a/b"], &["a/c"]);
    check(&["+a/+", "-a/#"], &["a/b"], &["a", "a/b/c"]);
    // The first difference from the left decides.
    check(&["+a/b/#", "-a/+/c"], &["a/b/c", "a/b"], &["a/x/c"]);
    check(&["-a/b/#", "+a/+/c"], &["a/x/c"], &["a/b/c"]);
}

#[test]
fn wamp_prefixes_rank_between_literal_and_wildcard_levels() {
    check(
        &["+prefix com.app.", "-prefix com.app.adm"],
        &["com/app/user", "com/app/ad"],
        &["com/app/admin", "com/app/adm/x"],
    );
    check(&["+com/app/admin", "-prefix com.app.adm"], &["com/app/admin"], &["com/app/adm"]);
    check(&["-com/app/+", "+prefix com.app.us"], &["com/app/user"], &["com/app/admin"]);
    check(&["+prefix com.app"], &["com/app", "com/apple", "com/app/x"], &["com", "com/ap"]);
    check(&["+wildcard com..get"], &["com/x/get"], &["com/get", "com/x/y/get"]);
}

#[test]
fn deny_beats_allow_at_equal_specificity() {
    check(&["+a/b", "-a/b"], &[], &["a/b"]);
    check(&["+a/#", "-a/#"], &[], &["a", "a/b"]);
    check(&["+a/+", "-wildcard a."], &[], &["a/b"]);
}

#[test]
fn a_permission_is_for_its_actions_alone() {
    let permission = Permission { actions: vec![Action::Subscribe], ..rule("+a") };
    let authorizer = Authorizer::new([Role { name: "r".into(), permissions: vec![permission] }]);
    let (role, topic) = (authorizer.role("r").unwrap(), Topic::from_name("a").unwrap());
    let allowed = Action::ALL.map(|action| authorizer.allows(role, action, &topic));
    assert_eq!(allowed, [false, true, false, false]);
}

#[test]
fn roles_of_one_name_add_up_and_others_stay_apart() {
    let role = |name: &str, text| Role { name: name.into(), permissions: vec![rule(text)] };
    let authorizer = Authorizer::new([role("r", "+a"), role("s", "+b"), role("r", "+c")]);
    let may = |role: &str, name: &str| {
        authorizer.allows(authorizer.role(role).unwrap(), Action::Call, &Topic::from_name(name).unwrap())
    };
    assert!(may("r", "a") && may("r", "c") && may("s", "b"));
    assert!(!may("r", "b") && !may("s", "a"));
}

#[test]
fn a_pattern_needs_one_permission_that_covers_it() {
    check_patterns(
        &["+a/#"],
        &["a/#", "a/+", "a/b/#", "a", "prefix a.", "prefix a.b", "wildcard a..b"],
        &["#", "+", "+/b", "b/#", "prefix a"],
    );
    check_patterns(&["+a/+"], &["a/+", "a/b"], &["a/#", "a/+/+", "prefix a."]);
    check_patterns(
        &["+prefix a.b"],
        &["prefix a.b", "prefix a.bc", "a/bc", "a/b/#", "a/bc/+"],
        &["a/#", "a/+", "prefix a."],
    );
    check_patterns(&["+#"], &["#", "+/b", "prefix ", "prefix a", "a/+"], &["$SYS/#"]);
}

#[test]
fn a_pattern_that_meets_a_denial_is_refused() {
    check_patterns(
        &["+#", "-secret/#"],
        &["a/#", "secre/#"],
        &["#", "+", "secret/#", "secret/a", "+/a", "prefix sec", "prefix "],
    );
    check_patterns(&["+a/#", "-+/b"], &["a/#", "a/b"], &[]);
    check_patterns(&["+a/#", "-a/+/c"], &["a/b", "a/+", "a/b/d"], &["a/#", "a/b/c", "a/b/+"]);
}

#[test]
fn a_denial_that_loses_everywhere_does_not_count() {
    check_patterns(&["+#", "-a/#", "+a/b/#"], &["a/b/#", "a/b/c", "b/#"], &["a/#", "#", "+/b"]);
    check_patterns(&["+#", "-a/b", "+a/b"], &[], &["#", "a/b"]);
    check_patterns(&["+a/b/#", "-#"], &["a/b/+"], &["a/+"]);
    // The denial of a/+ is itself answered for all it denies.
    check_patterns(&["+a/#", "-a/b/c", "+a/b/c"], &["a/+"], &["a/b/#"]);
}

#[test]
fn what_belongs_to_the_broker_is_provided_by_no_role() {
    let authorizer = Authorizer::new([Role::unrestricted("r")]);
    let role = authorizer.role("r").unwrap();
    for name in ["wamp/session/count", "fennec/key/get", "$SYS/broker/uptime", "$other"] {
        let topic = Topic::from_name(name).unwrap();
        for action in [Action::Publish, Action::Register] {
            assert!(!authorizer.allows(role, action, &topic), "{action:?} {name}");
            assert!(!authorizer.allows_pattern(role, action, &TopicPattern::exact(&topic)), "{action:?} {name}");
        }
    }
    let may = |action, text| authorizer.allows_pattern(role, action, &pattern_of(text));
    assert!(
        !may(Action::Register, "prefix wamp.")
            && !may(Action::Register, "fennec/+")
            && !may(Action::Register, "prefix $")
    );
    assert!(may(Action::Register, "prefix wam") && may(Action::Register, "+/x") && may(Action::Publish, "app/wamp"));
    assert!(
        may(Action::Call, "wamp/session/count") && may(Action::Subscribe, "wamp/#") && may(Action::Subscribe, "$SYS/#")
    );
    assert!(!may(Action::Subscribe, "$other/#"), "an unknown $ topic was not given to anybody");
}

#[test]
fn leading_wildcards_pass_hidden_topics_by() {
    check(&["+#", "+prefix "], &["a", "a/$b"], &["$a", "$a/b"]);
    check(&["+$a/#"], &["$a", "$a/b"], &["a"]);
    // So a denial of everything says nothing about them either.
    check(&["-#", "+$a/#"], &["$a/b"], &["a"]);
    check_patterns(&["+$a/#", "-+/b"], &["$a/#", "$a/b"], &[]);
}

#[test]
fn escaped_levels_are_compared_as_what_they_mean() {
    check(&["+exact a.b%2Ec"], &["a/b.c"], &["a/b/c"]);
    check(&["+prefix a.b%2E"], &["a/b.c", "a/b."], &["a/b", "a/b/c"]);
    check(&["+a//b"], &["a//b"], &["a/b"]);
    check_patterns(&["+prefix a.b%2E"], &["a/b.c/#", "a/b./+"], &["a/b/#"]);
    check_patterns(&["+exact a.%.b"], &["a//b"], &["a/+/b"]);
}

/// Few names, so that patterns and topics meet often.
fn any_level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "ab", "b", "$a", "a.b", ""])
}

fn any_pattern() -> impl Strategy<Value = TopicPattern> {
    let level = prop_oneof![3 => any_level(), 1 => Just("+")];
    let filter =
        (prop::collection::vec(level, 0..3), any::<bool>()).prop_filter_map("no filter", |(mut levels, rest)| {
            levels.extend(rest.then_some("#"));
            TopicPattern::from_filter(&levels.join("/")).ok()
        });
    let prefix = (prop::collection::vec(any_level(), 0..3), 0..3usize).prop_filter_map("no prefix", |(levels, cut)| {
        let topic = Topic::from_name(&levels.join("/")).ok();
        let uri = topic.as_ref().map_or("", |topic| topic.uri());
        TopicPattern::from_uri(&uri[..uri.len().saturating_sub(cut)], MatchPolicy::Prefix).ok()
    });
    prop_oneof![3 => filter, 1 => prefix]
}

fn any_topic() -> impl Strategy<Value = Topic> {
    prop::collection::vec(any_level(), 1..4)
        .prop_filter_map("no topic", |levels| Topic::from_name(&levels.join("/")).ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_pattern_is_never_allowed_more_than_its_topics(
        rules in prop::collection::vec((any_pattern(), any::<bool>()), 0..6),
        asked in any_pattern(),
        topics in prop::collection::vec(any_topic(), 20),
    ) {
        let permission = |(pattern, allow)| Permission { actions: vec![Action::Subscribe], pattern, allow };
        let authorizer = Authorizer::new([Role { name: "r".into(), permissions: rules.into_iter().map(permission).collect() }]);
        let role = authorizer.role("r").unwrap();
        if authorizer.allows_pattern(role, Action::Subscribe, &asked) {
            for topic in topics.iter().filter(|topic| asked.matches(topic)) {
                prop_assert!(authorizer.allows(role, Action::Subscribe, topic), "{asked:?} is allowed but {topic:?} is not");
            }
        }
    }

    #[test]
    fn covering_and_meeting_agree_with_matching(a in any_pattern(), b in any_pattern(), topic in any_topic()) {
        let (path_a, path_b) = (Path::of(&a), Path::of(&b));
        if path_a.covers(&path_b) && b.matches(&topic) {
            prop_assert!(a.matches(&topic), "{a:?} does not cover {b:?}: {topic:?}");
            prop_assert!(path_a.specificity() <= path_b.specificity(), "{a:?} is wider than {b:?}");
        }
        if a.matches(&topic) && b.matches(&topic) {
            prop_assert!(path_a.meets(&path_b) && path_b.meets(&path_a), "{a:?} and {b:?} meet in {topic:?}");
        }
    }

    #[test]
    fn a_topic_is_allowed_as_the_pattern_that_matches_it_alone(
        rules in prop::collection::vec((any_pattern(), any::<bool>()), 0..6),
        topic in any_topic(),
    ) {
        let permission = |(pattern, allow)| Permission { actions: vec![Action::Call], pattern, allow };
        let authorizer = Authorizer::new([Role { name: "r".into(), permissions: rules.into_iter().map(permission).collect() }]);
        let role = authorizer.role("r").unwrap();
        let exact = authorizer.allows_pattern(role, Action::Call, &TopicPattern::exact(&topic));
        prop_assert_eq!(exact, authorizer.allows(role, Action::Call, &topic));
    }
}
