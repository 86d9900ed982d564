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

fn rights(rules: &[&str]) -> Rights {
    let role = Role { name: "r".into(), permissions: rules.iter().map(|text| rule(text)).collect(), asks: None };
    of(&Authorizer::new([role]))
}

/// What the role `r` may do.
fn of(authorizer: &Authorizer) -> Rights {
    authorizer.rights("r", Who::default()).unwrap()
}

/// Checks, in any order of the rules, which topics may be used and which not.
fn check(rules: &[&str], yes: &[&str], no: &[&str]) {
    let backwards: Vec<&str> = rules.iter().rev().copied().collect();
    for rules in [rules, &backwards] {
        let rights = rights(rules);
        for (topics, expected) in [(yes, true), (no, false)] {
            for name in topics {
                let topic = Topic::from_name(name).unwrap();
                assert_eq!(rights.allows(Action::Call, &topic), expected, "{name} under {rules:?}");
                let pattern = TopicPattern::exact(&topic);
                assert_eq!(rights.allows_pattern(Action::Call, &pattern), expected, "= {name} under {rules:?}");
            }
        }
    }
}

/// The same for patterns.
fn check_patterns(rules: &[&str], yes: &[&str], no: &[&str]) {
    let backwards: Vec<&str> = rules.iter().rev().copied().collect();
    for rules in [rules, &backwards] {
        let rights = rights(rules);
        for (patterns, expected) in [(yes, true), (no, false)] {
            for text in patterns {
                let allowed = rights.allows_pattern(Action::Subscribe, &pattern_of(text));
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
fn an_unknown_role_has_no_rights_and_no_rights_are_none() {
    assert_eq!(Authorizer::new([Role::unrestricted("r")]).rights("nobody", Who::default()), None);
    let topic = Topic::from_name("a").unwrap();
    assert!(rights(&["+#"]).allows(Action::Publish, &topic));
    assert!(!Rights::none().allows(Action::Publish, &topic));
    assert!(!Rights::none().allows_pattern(Action::Publish, &TopicPattern::exact(&topic)));
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
    let rights = Rights::new(&[permission], None, Who::default());
    let topic = Topic::from_name("a").unwrap();
    let allowed = Action::ALL.map(|action| rights.allows(action, &topic));
    assert_eq!(allowed, [false, true, false, false]);
}

#[test]
fn roles_of_one_name_add_up_and_others_stay_apart() {
    let role = |name: &str, text| Role { name: name.into(), permissions: vec![rule(text)], asks: None };
    let authorizer = Authorizer::new([role("r", "+a"), role("s", "+b"), role("r", "+c")]);
    let may = |role: &str, name: &str| {
        authorizer.rights(role, Who::default()).unwrap().allows(Action::Call, &Topic::from_name(name).unwrap())
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
    let rights = of(&Authorizer::new([Role::unrestricted("r")]));
    for name in ["wamp/session/count", "fennec/key/get", "$SYS/broker/uptime", "$other"] {
        let topic = Topic::from_name(name).unwrap();
        for action in [Action::Publish, Action::Register] {
            assert!(!rights.allows(action, &topic), "{action:?} {name}");
            assert!(!rights.allows_pattern(action, &TopicPattern::exact(&topic)), "{action:?} {name}");
        }
    }
    let may = |action, text| rights.allows_pattern(action, &pattern_of(text));
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
        let permissions: Vec<_> = rules.into_iter().map(permission).collect();
        let rights = Rights::new(&permissions, None, Who::default());
        if rights.allows_pattern(Action::Subscribe, &asked) {
            for topic in topics.iter().filter(|topic| asked.matches(topic)) {
                prop_assert!(rights.allows(Action::Subscribe, topic), "{asked:?} is allowed but {topic:?} is not");
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
        let permissions: Vec<_> = rules.into_iter().map(permission).collect();
        let rights = Rights::new(&permissions, None, Who::default());
        let exact = rights.allows_pattern(Action::Call, &TopicPattern::exact(&topic));
        prop_assert_eq!(exact, rights.allows(Action::Call, &topic));
    }
}

/// What a permission for `pattern` is for somebody, as MQTT filter or URI; `None`: it fell away.
fn filled(pattern: &str, allow: bool, user: &str, client_id: Option<&str>) -> Option<String> {
    let filled = fill::fill(&pattern_of(pattern), allow, Who { user, client_id })?;
    Some(filled.filter().map_or_else(|| format!("prefix {}", filled.uri().0), str::to_owned))
}

#[test]
fn placeholders_stand_for_the_names_of_who_asks() {
    for (pattern, expected) in [
        ("home/%u/#", "home/ann/#"),
        ("%c", "d-1"),
        ("a/%u-%c/+", "a/ann-d-1/+"),
        ("exact com.%u.x", "com/ann/x"),
        ("wildcard com..%u", "com/+/ann"),
        ("prefix com.%u.", "prefix com.ann."),
        ("prefix %c.x", "prefix d-1.x"),
        ("a/%x/50%", "a/%x/50%"),
    ] {
        assert_eq!(filled(pattern, true, "ann", Some("d-1")).as_deref(), Some(expected), "{pattern}");
    }
    // What was filled in is not looked through for more.
    assert_eq!(filled("a/%u", true, "%c", Some("d")).as_deref(), Some("a/%c"));
    assert_eq!(filled("a/%u/b", true, "a.b", None).as_deref(), Some("a/a.b/b"));
    assert_eq!(filled("prefix a.%u.b", true, "a.b", None).as_deref(), Some("prefix a.a%2Eb.b"));
}

#[test]
fn a_name_never_makes_a_pattern_mean_more() {
    for name in ["", "a/b", "+", "#", "a+", "x#", "a\u{0}", "a\nb"] {
        for pattern in ["home/%u/x", "home/%u", "%u/#", "prefix home.%u.x", "home/a-%u"] {
            assert_eq!(filled(pattern, true, name, None), None, "{pattern} for {name:?}");
        }
        assert_eq!(
            filled("home/%u/x", false, name, None).as_deref(),
            Some("home/+/x"),
            "a denial becomes wider: {name:?}"
        );
        assert_eq!(filled("prefix a.%u.x", false, name, None).as_deref(), Some("prefix a."), "{name:?}");
    }
    assert_eq!(filled("home/%c", true, "ann", None), None, "no client id");
    for name in ["$SYS", "wamp", "fennec", "$x"] {
        assert_eq!(filled("%u/#", true, name, None), None, "{name}");
        assert_eq!(filled("a/%u/#", true, name, None), Some(format!("a/{name}/#")));
    }
}

#[test]
fn a_prefix_must_not_end_within_a_name() {
    for (pattern, good) in [
        ("prefix com.%u", false),
        ("prefix com.x%c", false),
        ("prefix com.%u.", true),
        ("prefix com.", true),
        ("a/%u", true),
    ] {
        assert_eq!(check_placeholders(&pattern_of(pattern)).is_ok(), good, "{pattern}");
    }
}

#[test]
fn sessions_of_one_role_have_their_own_topics() {
    let role = Role { name: "r".into(), permissions: vec![rule("+home/%u/#"), rule("-home/%u/secret")], asks: None };
    let authorizer = Authorizer::new([role]);
    let may = |user, topic| {
        let rights = authorizer.rights("r", Who { user, client_id: None }).unwrap();
        rights.allows(Action::Publish, &Topic::from_name(topic).unwrap())
    };
    assert!(may("ann", "home/ann/x") && may("bob", "home/bob/x"));
    assert!(!may("ann", "home/bob/x") && !may("ann", "home/ann/secret") && !may("+", "home/ann/x"));
}

#[test]
fn somebody_is_asked_only_where_no_permission_decides() {
    let role =
        Role { name: "r".into(), permissions: vec![rule("+a/#"), rule("-a/b"), rule("-s/x/#")], asks: Some(asks()) };
    let rights = of(&Authorizer::new([role]));
    let judge = |name: &str| rights.judge(Action::Call, &Topic::from_name(name).unwrap());
    assert_eq!(["a/c", "a/b", "s/x", "b"].map(judge), [Verdict::Yes, Verdict::No, Verdict::No, Verdict::Ask]);
    assert!(rights.delivers(&Topic::from_name("b").unwrap()) && !rights.delivers(&Topic::from_name("a/b").unwrap()));
    let judge_all = |text: &str| rights.judge_pattern(Action::Subscribe, &pattern_of(text));
    assert_eq!(
        ["a/c/+", "a/+", "s/#", "b/#", "#"].map(judge_all),
        [Verdict::Yes, Verdict::No, Verdict::No, Verdict::Ask, Verdict::No]
    );
    let reserved = Topic::from_name("fennec/x").unwrap();
    assert_eq!(rights.judge(Action::Register, &reserved), Verdict::No, "nobody is asked about the broker's own");
}

#[test]
fn who_may_call_everything_does_not_run_the_broker_unless_a_permission_says_so() {
    let may = |rules: &[&str], name: &str| rights(rules).allows(Action::Call, &Topic::from_name(name).unwrap());
    for name in ["fennec/admin/user/add", "fennec/admin/kick", "wamp/session/kill", "wamp/session/kill_all"] {
        assert!(!may(&["+#"], name) && !may(&["+prefix "], name) && !may(&["+prefix ", "+#", "+a/#"], name), "{name}");
    }
    assert!(may(&["+#", "+fennec/admin/#"], "fennec/admin/kick") && may(&["+prefix fennec."], "fennec/admin/kick"));
    assert!(!may(&["+fennec/admin/#", "-fennec/admin/user/#"], "fennec/admin/user/add"));
    assert!(
        may(&["+wamp/session/kill"], "wamp/session/kill")
            && may(&["+#"], "wamp/session/count")
            && may(&["+#"], "fennec/key/get")
    );
}

fn asks() -> Asks {
    Asks { whom: Whom::Hook, timeout_ms: 1000, cache_ms: 1000 }
}

#[test]
fn answers_hold_for_their_session_their_time_or_one_message() {
    let role = Role { name: "r".into(), permissions: Vec::new(), asks: Some(asks()) };
    let authorizer = Authorizer::new([role]);
    let (rights, other) = (of(&authorizer), of(&authorizer));
    let (topic, exact) = (Topic::from_name("a").unwrap(), pattern_of("a"));
    assert!(rights.must_ask(Action::Publish, &exact, 0));
    rights.learn(Action::Publish, &exact, Decision { allow: true, until_ms: Some(100), disclose: false });
    assert!(rights.allows(Action::Publish, &topic) && !rights.must_ask(Action::Publish, &exact, 99));
    assert!(!rights.allows(Action::Call, &topic) && !other.allows(Action::Publish, &topic));
    rights.spend(Action::Publish, &exact);
    assert!(rights.allows(Action::Publish, &topic), "it was not for one message");
    assert!(rights.must_ask(Action::Publish, &exact, 100) && !rights.allows(Action::Publish, &topic));
    rights.learn(Action::Subscribe, &pattern_of("a/#"), Decision { allow: true, until_ms: None, disclose: false });
    assert!(rights.allows_pattern(Action::Subscribe, &pattern_of("a/#")));
    assert!(!rights.allows_pattern(Action::Subscribe, &pattern_of("prefix a.")), "another pattern is another question");
    rights.spend(Action::Subscribe, &pattern_of("a/#"));
    assert!(!rights.allows_pattern(Action::Subscribe, &pattern_of("a/#")));
    rights.learn(Action::Subscribe, &exact, Decision { allow: false, until_ms: Some(100), disclose: false });
    assert!(!rights.delivers(&topic) && !rights.must_ask(Action::Subscribe, &exact, 0), "a no is remembered, too");
}

#[test]
fn a_session_remembers_a_bounded_number_of_answers() {
    let rights = Rights::new(&[], Some(asks()), Who::default());
    let count = answers::ANSWERS_MAX * 2 + 1;
    let decision = Decision { allow: true, until_ms: Some(u64::MAX), disclose: false };
    (0..count).for_each(|at| rights.learn(Action::Publish, &pattern_of(&format!("t/{at}")), decision));
    let known = |at: &usize| rights.allows(Action::Publish, &Topic::from_name(&format!("t/{at}")).unwrap());
    assert!((0..count).filter(known).count() <= answers::ANSWERS_MAX);
    assert!(known(&(count - 1)));
}
