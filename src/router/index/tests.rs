use std::cmp::Reverse;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::types::topic::MatchPolicy::{self, Exact, Fox, Prefix, Wildcard};
use crate::types::topic::PatternLevel;

fn topic(name: &str) -> Topic {
    Topic::from_name(name).unwrap_or_else(|error| panic!("{name:?} {error}"))
}

fn filter(text: &str) -> TopicPattern {
    TopicPattern::from_filter(text).unwrap_or_else(|error| panic!("{text:?} {error}"))
}

fn uri(text: &str, policy: MatchPolicy) -> TopicPattern {
    TopicPattern::from_uri(text, policy).unwrap_or_else(|error| panic!("{text:?} {error}"))
}

/// An index in which each pattern has its place in the list as its value.
fn index_of(patterns: &[TopicPattern]) -> Index<usize> {
    let mut index = Index::new();
    for (i, pattern) in patterns.iter().enumerate() {
        index.insert(pattern, i);
    }
    index
}

fn matches(index: &Index<usize>, name: &str) -> Vec<usize> {
    let mut found = Vec::new();
    index.matches(&topic(name), |_, value| found.push(*value));
    found.sort_unstable();
    found
}

fn check(filters: &[&str], name: &str, expected: &[usize]) {
    let patterns: Vec<_> = filters.iter().map(|text| filter(text)).collect();
    assert_eq!(matches(&index_of(&patterns), name), expected, "{name}");
}

#[test]
fn a_topic_finds_every_pattern_that_matches_it_once() {
    let filters = ["a/b/c", "a/+/c", "+/+/+", "a/#", "#", "a/b/c/#", "a/b", "+/b/d", "b/#", "a/b/c/+", "+/+"];
    check(&filters, "a/b/c", &[0, 1, 2, 3, 4, 5]);
    check(&filters, "a/b", &[3, 4, 6, 10]);
    check(&filters, "a", &[3, 4]);
    check(&filters, "x/b/d", &[2, 4, 7]);
    check(&filters, "a//c", &[1, 2, 3, 4]);
    check(&filters, "/", &[4, 10]);
}

#[test]
fn leading_wildcards_pass_dollar_topics_by() {
    let filters = ["#", "+/x", "$SYS/#", "$SYS/+", "$SYS/x", "+/#"];
    check(&filters, "$SYS/x", &[2, 3, 4]);
    check(&filters, "$SYS", &[2]);
    check(&filters, "a/$x", &[0, 5]);
    let index =
        index_of(&[uri("", Prefix), uri("$", Prefix), uri("$SYS.x", Prefix), uri("a", Prefix), uri(".x", Wildcard)]);
    assert_eq!(matches(&index, "$SYS/x"), [1, 2]);
    assert_eq!(matches(&index, "a/x"), [0, 3, 4]);
}

#[test]
fn prefixes_match_by_the_uri_as_it_is_spelt() {
    let texts = ["", "com", "com.", "com.my", "com.myapp.topic", "com.mz", "con", "com.myapp.topic.x", "a%2", "é"];
    let patterns: Vec<_> = texts.iter().map(|text| uri(text, Prefix)).collect();
    let index = index_of(&patterns);
    assert_eq!(matches(&index, "com/myapp/topic/y"), [0, 1, 2, 3, 4]);
    assert_eq!(matches(&index, "com"), [0, 1]);
    assert_eq!(matches(&index, "a.b"), [0, 8]);
    assert_eq!(matches(&index, "éa"), [0, 9]);
    // Before and after é, and with the same first byte.
    assert_eq!(matches(&index, "è"), [0]);
    assert_eq!(matches(&index, "ê"), [0]);
}

#[test]
fn one_pattern_has_one_value() {
    let mut index = Index::new();
    for pattern in [filter("a/b"), filter("a/+"), filter("a/#"), uri("a.b", Prefix), uri("a.b", Wildcard)] {
        assert_eq!(index.insert(&pattern, 1), None);
        assert_eq!(index.insert(&pattern, 2), Some(1));
        assert_eq!(index.get(&pattern), Some(&2));
        *index.get_or_insert_with(&pattern, || unreachable!("there is one")) += 1;
        *index.get_mut(&pattern).unwrap() += 1;
        assert_eq!(index.get(&pattern), Some(&4));
    }
    assert_eq!(index.len(), 5);
    assert_eq!(index.iter().count(), 5);
    assert_eq!(*index.get_or_insert_with(&filter("a"), || 7), 7);
    for absent in [filter("b"), filter("+/b"), filter("a/b/#"), filter("a/b/+"), uri("a.", Prefix)] {
        assert_eq!(index.get(&absent), None, "{absent:?}");
        assert_eq!(index.get_mut(&absent), None, "{absent:?}");
        assert_eq!(index.remove(&absent), None, "{absent:?}");
    }
}

#[test]
fn removal_leaves_nothing_behind() {
    let mut index = Index::new();
    let kept = filter("a/+/c");
    index.insert(&kept, 0);
    for text in ["a/+/c/#", "a/+/c/+/d", "+/#", "+/+/c", "#", "a/+"] {
        index.insert(&filter(text), 1);
    }
    for text in ["a/+/c/+/d", "a/+/c/#", "+/+/c", "#", "+/#", "a/+"] {
        assert_eq!(index.remove(&filter(text)), Some(1), "{text}");
        assert_eq!(index.remove(&filter(text)), None, "{text}");
        assert_eq!(index.get(&kept), Some(&0), "{text}");
    }
    assert_eq!(matches(&index, "a/b/c"), [0]);
    assert_eq!(index.remove(&kept), Some(0));
    assert!(index.is_empty() && index.wildcards.is_bare());
}

#[test]
fn the_longest_patterns_and_topics_are_fine() {
    let deepest = format!("{}#", "+/".repeat(127));
    let exact = "a/".repeat(32_767);
    let mut index = index_of(&[filter(&deepest), filter(&exact), uri(&"a.".repeat(30_000), Prefix)]);
    assert_eq!(matches(&index, &exact), [0, 1, 2]);
    assert_eq!(matches(&index, &"/".repeat(65_535)), [0]);
    assert_eq!(matches(&index, &"/".repeat(125)), [0usize; 0]);
    assert_eq!(matches(&index, &"/".repeat(126)), [0]);
    assert_eq!(index.best(&topic(&"/".repeat(65_535))).map(|(_, value)| *value), Some(0));
    let all_exact = uri(&format!("a{}", ".a".repeat(127)), Wildcard);
    index.insert(&all_exact, 3);
    assert_eq!(matches(&index, &format!("a{}", "/a".repeat(127))), [0, 3]);
    assert_eq!(matches(&index, &format!("a{}", "/a".repeat(128))), [0]);
    assert_eq!(index.best(&topic(&format!("a{}", "/a".repeat(128)))).map(|(_, value)| *value), Some(0));
}

fn check_best(index: &Index<usize>, called: &str, expected: Option<usize>) {
    let topic = Topic::from_uri(called).unwrap_or_else(|error| panic!("{called:?} {error}"));
    assert_eq!(index.best(&topic).map(|(_, value)| *value), expected, "{called}");
}

/// WAMP, Pattern-based Registrations, the examples of calls that match several.
#[test]
fn the_best_registration_is_exact_then_longest_prefix_then_longest_first_portion() {
    let index = index_of(&[
        uri("zero", Exact),
        uri("a1.b2.c3.d4.e55", Exact),
        uri("a1.b2.c3", Prefix),
        uri("a1.b2.c3.d4", Prefix),
        uri("a1.b2..d4.e5", Wildcard),
        uri("a1.b2.c33..e5", Wildcard),
        uri("a1.b2..d4.e5..g7", Wildcard),
        uri("a1.b2..d4..f6.g7", Wildcard),
    ]);
    check_best(&index, "a1.b2.c3.d4.e55", Some(1));
    check_best(&index, "a1.b2.c3.d98.e74", Some(2));
    check_best(&index, "a1.b2.c3.d4.e325", Some(3));
    check_best(&index, "a1.b2.c55.d4.e5", Some(4));
    // As the specification has it, c33 begins with the prefix c3, which comes first; without it, 5 beats 4 (below).
    check_best(&index, "a1.b2.c33.d4.e5", Some(2));
    check_best(&index, "a1.b2.c88.d4.e5.f6.g7", Some(6));
    check_best(&index, "a2.b2.c2.d2.e2", None);
}

#[test]
fn among_wildcards_the_first_difference_from_the_left_decides() {
    let mut index = index_of(&[
        uri("a1.b2..d4", Wildcard),
        uri("a1...d4", Wildcard),
        uri("a1.b2.c3.", Wildcard),
        uri("...", Wildcard),
        filter("a1/b2/#"),
        filter("a1/#"),
        filter("a1/b2/c3/d4/#"),
    ]);
    // Exact in all its levels, then ending in `#`, which has no level left to match.
    check_best(&index, "a1.b2.c3.d4", Some(6));
    index.remove(&filter("a1/b2/c3/d4/#"));
    check_best(&index, "a1.b2.c3.d4", Some(2));
    check_best(&index, "a1.b2.x.d4", Some(0));
    check_best(&index, "a1.x.x.d4", Some(1));
    check_best(&index, "x.x.x.x", Some(3));
    check_best(&index, "a1.b2.x.x", Some(4));
    check_best(&index, "a1.x", Some(5));
    check_best(&index, "$a1.x.x.x", None);
    let index = index_of(&[uri("a1.b2..d4.e5", Wildcard), uri("a1.b2.c33..e5", Wildcard)]);
    check_best(&index, "a1.b2.c33.d4.e5", Some(1));
    let index = index_of(&[uri("", Prefix), uri(".x", Wildcard)]);
    check_best(&index, "$a.x", None);
    check_best(&index, "a.x", Some(0));
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "", "$a", "a.b", "%", "é"])
}

fn a_topic() -> impl Strategy<Value = Topic> {
    prop::collection::vec(level(), 1..6)
        .prop_filter_map("an empty name", |levels| Topic::from_name(&levels.join("/")).ok())
}

fn a_pattern() -> impl Strategy<Value = TopicPattern> {
    let filter_level = prop_oneof![3 => level(), 2 => Just("+")];
    let from_filter = (prop::collection::vec(filter_level, 1..6), any::<bool>()).prop_filter_map(
        "no filter",
        |(mut levels, multi)| {
            levels.extend(multi.then_some("#"));
            TopicPattern::from_filter(&levels.join("/")).ok()
        },
    );
    let component = prop::sample::select(vec!["a", "b", "ab", "", "%", "$a", "a%2Eb", "*"]);
    let policy = prop::sample::select(vec![Exact, Prefix, Prefix, Wildcard, Fox]);
    let from_uri = (prop::collection::vec(component, 0..5), policy)
        .prop_filter_map("no pattern", |(components, policy)| {
            TopicPattern::from_uri(&components.join("."), policy).ok()
        });
    prop_oneof![from_filter, from_uri]
}

/// How good a match is (the smaller, the better), told from the specification without a trie.
fn rank(pattern: &TopicPattern) -> (u8, Reverse<usize>, Vec<u8>) {
    let kinds = pattern.levels().map(|level| match level {
        PatternLevel::Exact(_) => 0,
        PatternLevel::Single => 1,
        PatternLevel::Multi => 2,
    });
    match pattern.policy() {
        Exact => (0, Reverse(0), Vec::new()),
        Prefix => (1, Reverse(pattern.prefix().unwrap_or_default().len()), Vec::new()),
        Wildcard | Fox => (2, Reverse(0), kinds.collect()),
    }
}

fn check_against_reference(index: &Index<usize>, reference: &HashMap<TopicPattern, usize>, topic: &Topic) {
    let mut found = Vec::new();
    index.matches(topic, |pattern, value| {
        assert_eq!(reference.get(pattern), Some(value));
        found.push(pattern);
    });
    let expected: Vec<_> = reference.keys().filter(|pattern| pattern.matches(topic)).collect();
    let best = expected.iter().copied().min_by_key(|pattern| rank(pattern));
    assert_eq!(index.best(topic).map(|(pattern, _)| pattern), best, "{topic:?} {reference:?}");
    assert_eq!(found.len(), expected.len(), "{topic:?} {found:?} {expected:?}");
    assert!(expected.iter().all(|pattern| found.contains(pattern)), "{topic:?} {found:?} {expected:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_index_finds_what_the_patterns_match_one_by_one(
        changes in prop::collection::vec((a_pattern(), prop::bool::weighted(0.7)), 1..60),
        topics in prop::collection::vec(a_topic(), 1..12),
    ) {
        let mut index = Index::new();
        let mut reference = HashMap::new();
        for (i, (pattern, insert)) in changes.iter().enumerate() {
            if *insert {
                prop_assert_eq!(index.insert(pattern, i), reference.insert(pattern.clone(), i));
            } else {
                let known = changes[..i].get(i / 2).map_or(pattern, |(known, _)| known);
                prop_assert_eq!(index.remove(known), reference.remove(known));
            }
        }
        prop_assert_eq!(index.len(), reference.len());
        prop_assert_eq!(index.iter().map(|(pattern, value)| (pattern.clone(), *value)).collect::<HashMap<_, _>>(), reference.clone());
        topics.iter().for_each(|topic| check_against_reference(&index, &reference, topic));
        for (pattern, value) in &reference {
            prop_assert_eq!(index.get(pattern), Some(value));
            prop_assert_eq!(index.remove(pattern), Some(*value));
        }
        prop_assert!(index.is_empty() && index.wildcards.is_bare());
    }
}

#[test]
fn room_is_given_back_after_many_removals() {
    let mut index = Index::new();
    let filters = |i: usize| [filter(&format!("d/{i}/+")), filter(&format!("d/{i}"))];
    (0..20_000).flat_map(filters).for_each(|pattern| assert_eq!(index.insert(&pattern, 0), None));
    let full = index.exact.capacity();
    (10..20_000).flat_map(filters).for_each(|pattern| assert_eq!(index.remove(&pattern), Some(0)));
    assert!(index.exact.capacity() < full / 8, "{} of {full}", index.exact.capacity());
    assert_eq!(matches(&index, "d/5/x"), [0]);
    assert_eq!(matches(&index, "d/5"), [0]);
    (0..10).flat_map(filters).for_each(|pattern| assert_eq!(index.remove(&pattern), Some(0)));
    assert!(index.wildcards.is_bare());
}
