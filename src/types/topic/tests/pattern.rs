use proptest::prelude::*;

use super::super::{MatchPolicy, PatternLevel, Topic, TopicError, TopicPattern};
use super::{rows_below, topic};
use MatchPolicy::{Exact, Fox, Prefix, Wildcard};

fn filter(text: &str) -> TopicPattern {
    TopicPattern::from_filter(text).unwrap_or_else(|error| panic!("{text:?} {error}"))
}

fn uri(text: &str, policy: MatchPolicy) -> TopicPattern {
    TopicPattern::from_uri(text, policy).unwrap_or_else(|error| panic!("{text:?} {error}"))
}

fn check(pattern: &TopicPattern, topic: &Topic, matches: bool) {
    assert_eq!(pattern.matches(topic), matches, "{pattern:?} and {topic:?}");
}

fn check_names(pattern: &TopicPattern, yes: &[&str], no: &[&str]) {
    yes.iter().for_each(|name| check(pattern, &topic(name), true));
    no.iter().for_each(|name| check(pattern, &topic(name), false));
}

fn check_uris(pattern: &TopicPattern, yes: &[&str], no: &[&str]) {
    yes.iter().for_each(|uri| check(pattern, &Topic::from_uri(uri).unwrap(), true));
    no.iter().for_each(|uri| check(pattern, &Topic::from_uri(uri).unwrap(), false));
}

/// MQTT 5, 4.7.1.2 and 4.7.1.3: every filter that it calls valid or not.
#[test]
fn a_wildcard_is_a_whole_level_and_multi_the_last() {
    for text in
        ["#", "sport/tennis/#", "sport/#", "+", "+/tennis/#", "sport/+/player1", "/+", "+/+", "/finance", "a/+/", "//#"]
    {
        assert_eq!(TopicPattern::from_filter(text).map(|found| found.filter() == Some(text)), Ok(true), "{text}");
    }
    for (text, error) in [
        ("sport/tennis#", TopicError::MisplacedMulti),
        ("sport/tennis/#/ranking", TopicError::MisplacedMulti),
        ("#/a", TopicError::MisplacedMulti),
        ("#/", TopicError::MisplacedMulti),
        ("##", TopicError::MisplacedMulti),
        ("+#", TopicError::MisplacedMulti),
        ("sport+", TopicError::MisplacedSingle),
        ("a/++/b", TopicError::MisplacedSingle),
        ("a/b+/#", TopicError::MisplacedSingle),
        ("", TopicError::Empty),
        ("a/\0/#", TopicError::Nul),
    ] {
        assert_eq!(TopicPattern::from_filter(text), Err(error), "{text:?}");
    }
    assert_eq!(TopicPattern::from_filter(&"a".repeat(65_536)), Err(TopicError::TooLong));
}

/// MQTT 5, 4.7.1.2 and 4.7.1.3.
#[test]
fn mqtt_filters_match_as_the_specification_says() {
    let player = ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"];
    check_names(
        &filter("sport/tennis/player1/#"),
        &player,
        &["sport/tennis/player2", "sport/tennis", "sport/tennis/player11"],
    );
    check_names(&filter("sport/#"), &["sport", "sport/", "sport/a/b"], &["sports", "/sport"]);
    check_names(&filter("#"), &["a", "/", "a/b/c"], &[]);
    let (players, not) =
        (["sport/tennis/player1", "sport/tennis/player2"], ["sport/tennis/player1/ranking", "sport/tennis"]);
    check_names(&filter("sport/tennis/+"), &players, &not);
    check_names(&filter("sport/+"), &["sport/"], &["sport", "sport/a/b"]);
    check_names(&filter("+/+"), &["/finance", "a/b", "/"], &["a", "a/b/c"]);
    check_names(&filter("/+"), &["/finance", "/"], &["finance", "a/b"]);
    check_names(&filter("+"), &["finance", " "], &["/finance"]);
    check_names(&filter("+/tennis/#"), &["sport/tennis", "/tennis/a/b"], &["tennis", "sport/x/tennis"]);
    check_names(&filter("a/+/+/b"), &["a///b", "a/x/y/b"], &["a/b", "a/x/b"]);
    check_names(&filter("ACCOUNTS"), &["ACCOUNTS"], &["Accounts", "/ACCOUNTS", "ACCOUNTS/"]);
}

/// MQTT 5, 4.7.2.
#[test]
fn leading_wildcards_pass_dollar_topics_by() {
    check_names(&filter("#"), &[], &["$SYS/monitor/Clients", "$", "$SYS"]);
    check_names(&filter("+/monitor/Clients"), &["a/monitor/Clients"], &["$SYS/monitor/Clients"]);
    check_names(&filter("$SYS/#"), &["$SYS", "$SYS/monitor/Clients"], &["SYS/a"]);
    check_names(&filter("$SYS/monitor/+"), &["$SYS/monitor/Clients"], &[]);
    check_names(&filter("$SYS/x"), &["$SYS/x"], &[]);
    check_names(&filter("a/#"), &["a/$b"], &[]);
    check_names(&filter("/#"), &["/$b"], &[]);
    check_names(&uri("", Prefix), &["a", "a/b"], &["$SYS/x"]);
    check_names(&uri("$", Prefix), &["$SYS/x", "$"], &["a"]);
    check_names(&uri(".x", Wildcard), &["a/x"], &["$SYS/x"]);
    check_names(&uri("*.x", Fox), &["a/x"], &["$SYS/x"]);
}

/// WAMP, Pattern-based Subscription and Pattern-based Registrations: the examples.
#[test]
fn a_wamp_prefix_matches_within_a_component() {
    check_uris(
        &uri("com.myapp.topic.emergency", Prefix),
        &[
            "com.myapp.topic.emergency.11",
            "com.myapp.topic.emergency-low",
            "com.myapp.topic.emergency.category.severe",
            "com.myapp.topic.emergency",
        ],
        &["com.myapp.topic.emerge", "com.myapp.topic.Emergency"],
    );
    check_uris(
        &uri("com.myapp.myobject1", Prefix),
        &["com.myapp.myobject1.myprocedure1", "com.myapp.myobject1-mysubobject1", "com.myapp.myobject1"],
        &["com.myapp.myobject2", "com.myapp.myobject"],
    );
    check_names(&uri("com.", Prefix), &["com/a", "com/", "com/a/b"], &["com", "comm/a"]);
    check_names(&uri("a/", Prefix), &["a%2Fb"], &["a/b"]);
    check_names(&uri("a%2", Prefix), &["a.b", "a b", "a%2"], &["a/b"]);
}

#[test]
fn a_wamp_wildcard_is_an_empty_component() {
    check_uris(
        &uri("com.myapp..userevent", Wildcard),
        &["com.myapp.foo.userevent", "com.myapp.bar.userevent", "com.myapp.a12.userevent"],
        &["com.myapp.foo.userevent.bar", "com.myapp.foo.user", "com.myapp2.foo.userevent"],
    );
    check_uris(
        &uri("com.myapp..myprocedure1", Wildcard),
        &["com.myapp.myobject1.myprocedure1", "com.myapp.myobject2.myprocedure1"],
        &["com.myapp.myobject1.myprocedure1.mysubprocedure1", "com.myapp.myobject1.myprocedure2"],
    );
    assert_eq!(uri("", Wildcard), filter("+"));
    assert_eq!(uri("a..", Wildcard), filter("a/+/+"));
    assert_eq!(uri("a.%.", Wildcard), filter("a//+"));
    assert_eq!(uri("a+b..x", Wildcard), filter("a%2Bb/+/x"));
    check_names(&uri("a.b", Wildcard), &["a/b"], &["a", "a/b/c"]);
    assert_ne!(uri("a.b", Wildcard), uri("a.b", Exact));
}

#[test]
fn an_exact_uri_is_the_exact_filter() {
    assert_eq!(uri("a.b", Exact), filter("a/b"));
    assert_eq!(uri("a.*.b", Exact), filter("a/*/b"));
    assert_eq!(uri("a/b.+", Exact), filter("a%2Fb/%2B"));
    assert_eq!(TopicPattern::exact(&topic("a/b")), filter("a/b"));
}

#[test]
fn a_last_hash_makes_a_uri_a_fox_pattern() {
    for policy in [Exact, Fox] {
        assert_eq!(uri("#", policy), filter("#"));
        assert_eq!(uri("a.#", policy), filter("a/#"));
        assert_eq!(uri("a.*.c.#", policy), filter("a/+/c/#"));
        assert_eq!(uri("*.#", policy), filter("+/#"));
        assert_eq!(uri("%.#", policy), filter("/#"));
        assert_eq!(uri("a.%2A.#", policy), filter("a/*/#"));
        assert_eq!(uri("a.%252A.#", policy), filter("a/%2A/#"));
        assert_eq!(uri("a.x%2A.#", policy), filter("a/x%2A/#"));
    }
    assert_eq!(uri("a.*.b", Fox), filter("a/+/b"));
    assert_eq!(uri("*", Fox), filter("+"));
    assert_eq!(uri("a.b", Fox), filter("a/b"));
    assert_eq!(uri("a.%2A", Fox), filter("a/*"));
    for (text, policy, error) in [
        ("", Exact, TopicError::Empty),
        ("", Fox, TopicError::Empty),
        (".#", Exact, TopicError::EmptyComponent),
        ("a..#", Fox, TopicError::EmptyComponent),
        ("a#", Fox, TopicError::Hash),
        ("a.#.#", Exact, TopicError::Hash),
        ("a.#", Wildcard, TopicError::Hash),
        ("a.#", Prefix, TopicError::Hash),
        ("a .#", Exact, TopicError::WhiteSpace),
        ("%", Fox, TopicError::EmptyTopic),
        ("%", Wildcard, TopicError::EmptyTopic),
    ] {
        assert_eq!(TopicPattern::from_uri(text, policy), Err(error), "{text:?} {policy:?}");
    }
}

#[test]
fn the_documented_examples_hold() {
    for cells in rows_below("### Patterns") {
        for policy in cells[2..].iter().filter_map(|name| name.parse().ok()) {
            assert_eq!(uri(&cells[1], policy), filter(&cells[0]), "{cells:?}");
        }
    }
}

#[test]
fn a_wildcard_pattern_has_at_most_128_levels() {
    assert!(TopicPattern::from_filter(&format!("{}#", "a/".repeat(127))).is_ok());
    assert_eq!(TopicPattern::from_filter(&format!("{}#", "a/".repeat(128))), Err(TopicError::TooManyLevels));
    assert_eq!(uri(&".".repeat(127), Wildcard), filter(&format!("{}+", "+/".repeat(127))));
    for (text, policy) in [(".".repeat(128), Wildcard), (format!("{}#", "a.".repeat(128)), Exact)] {
        assert_eq!(TopicPattern::from_uri(&text, policy), Err(TopicError::TooManyLevels));
    }
    assert!(TopicPattern::from_filter(&"a/".repeat(1000)).is_ok());
    assert!(TopicPattern::from_uri(&"a.".repeat(1000), Prefix).is_ok());
}

#[test]
fn levels_tell_wildcards_from_text() {
    let levels = |pattern: TopicPattern| format!("{:?}", pattern.levels().collect::<Vec<_>>());
    assert_eq!(levels(filter("a//+/#")), r#"[Exact("a"), Exact(""), Single, Multi]"#);
    assert_eq!(filter("a/*").levels().last(), Some(PatternLevel::Exact("*")));
    assert_eq!(uri("a.b", Prefix).levels().count(), 0);
}

#[test]
fn policies_are_known_by_name() {
    for policy in [Exact, Prefix, Wildcard, Fox] {
        assert_eq!(policy.as_str().parse(), Ok(policy));
    }
    assert!("Exact".parse::<MatchPolicy>().is_err());
}

#[test]
fn names_begin_as_the_prefix_says() {
    let name_prefix = |text: &str| uri(text, Prefix).name_prefix();
    assert_eq!(name_prefix("a.b.c"), Some(("a/b/c".into(), true)));
    assert_eq!(name_prefix("a."), Some(("a/".into(), true)));
    assert_eq!(name_prefix(""), Some((String::new(), true)));
    assert_eq!(name_prefix("%.a"), Some(("/a".into(), true)));
    assert_eq!(name_prefix("a%2Eb.c"), Some(("a.b/c".into(), true)));
    assert_eq!(name_prefix("a.b%2"), Some(("a/b".into(), false)));
    assert_eq!(name_prefix("a/b"), Some(("a".into(), false)));
    assert_eq!(filter("a/b").name_prefix(), None);
}

fn pieces(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(of), 0..7).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_filter_comes_back_through_its_uri(text in pieces(&["a", "*", "/", "/", "+", "/#", "%", "25", "2A", ".", " ", "$"])) {
        if let Ok(pattern) = TopicPattern::from_filter(&text) {
            let (uri, policy) = pattern.uri();
            prop_assert_eq!(TopicPattern::from_uri(&uri, policy), Ok(pattern), "{:?} {:?}", uri, policy);
        }
    }

    #[test]
    fn a_uri_pattern_comes_back_as_it_was(text in pieces(&["a", "*", ".", ".", ".#", "%", "25", "2A", "2E", "/", "+"])) {
        for policy in [Exact, Prefix, Wildcard, Fox] {
            if let Ok(pattern) = TopicPattern::from_uri(&text, policy) {
                let (uri, read_by) = pattern.uri();
                if read_by == policy || text.ends_with('#') {
                    prop_assert_eq!(&uri, &text);
                }
                prop_assert_eq!(TopicPattern::from_uri(&uri, read_by), Ok(pattern), "{:?} {:?}", uri, read_by);
            }
        }
    }

    /// What the retained store relies on.
    #[test]
    fn a_prefix_matches_only_names_that_begin_so(prefix in pieces(&["a", "b", ".", "%", "2E", "/"]), name in pieces(&["a", "b", "/", "%", ".", "2F"])) {
        let (Ok(pattern), Ok(topic)) = (TopicPattern::from_uri(&prefix, Prefix), Topic::from_name(&name)) else {
            return Ok(());
        };
        let (begins, suffices) = pattern.name_prefix().unwrap_or_default();
        if pattern.matches(&topic) {
            prop_assert!(name.starts_with(&begins));
        } else if suffices {
            prop_assert!(!name.starts_with(&begins));
        }
    }
}
