use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::types::topic::MatchPolicy::{self, Exact, Fox, Prefix, Wildcard};

fn topic(name: &str) -> Topic {
    Topic::from_name(name).unwrap_or_else(|error| panic!("{name:?} {error}"))
}

fn filter(text: &str) -> TopicPattern {
    TopicPattern::from_filter(text).unwrap_or_else(|error| panic!("{text:?} {error}"))
}

fn uri(text: &str, policy: MatchPolicy) -> TopicPattern {
    TopicPattern::from_uri(text, policy).unwrap_or_else(|error| panic!("{text:?} {error}"))
}

/// A store in which the value of each topic is its name.
fn store_of(names: &[&str]) -> Retained<String> {
    let mut store = Retained::new();
    for name in names {
        store.set(&topic(name), (*name).to_owned(), 1);
    }
    store
}

fn matching<T: Clone>(store: &Retained<T>, pattern: &TopicPattern) -> Vec<T> {
    let mut found = Vec::new();
    store.matching(pattern, |value| found.push(value.clone()));
    found
}

fn check(names: &[&str], pattern: &TopicPattern, expected: &[&str]) {
    assert_eq!(matching(&store_of(names), pattern), expected, "{pattern:?}");
}

/// How many topics a whole walk looks at.
fn looked_at(store: &Retained<String>, pattern: &TopicPattern) -> usize {
    let mut walk = Walk::new(pattern.clone());
    let mut slices = 1;
    while !store.slice(&mut walk, 1, |_| ControlFlow::Continue(())) {
        slices += 1;
    }
    slices - 1
}

const NAMES: [&str; 12] =
    ["$SYS/a", "/a", "a", "a/", "a/b", "a/b/c", "a/b/d", "a/c/c", "a\u{1}", "ab/b/c", "b", "b/b/c/d"];

#[test]
fn a_pattern_finds_the_topics_it_matches_in_their_order() {
    check(&NAMES, &filter("#"), &NAMES[1..]);
    check(&NAMES, &filter("$SYS/#"), &["$SYS/a"]);
    check(&NAMES, &filter("a/#"), &["a", "a/", "a/b", "a/b/c", "a/b/d", "a/c/c"]);
    check(&NAMES, &filter("a/b"), &["a/b"]);
    check(&NAMES, &filter("a/x"), &[]);
    check(&NAMES, &filter("+"), &["a", "a\u{1}", "b"]);
    check(&NAMES, &filter("+/+"), &["/a", "a/", "a/b"]);
    check(&NAMES, &filter("+/b/c"), &["a/b/c", "ab/b/c"]);
    check(&NAMES, &filter("+/+/c/#"), &["a/b/c", "a/c/c", "ab/b/c", "b/b/c/d"]);
    check(&NAMES, &filter("a/+/c"), &["a/b/c", "a/c/c"]);
    check(&NAMES, &uri("a", Prefix), &["a", "a/", "a/b", "a/b/c", "a/b/d", "a/c/c", "a\u{1}", "ab/b/c"]);
    check(&NAMES, &uri("a.b", Prefix), &["a/b", "a/b/c", "a/b/d"]);
    check(&NAMES, &uri("", Prefix), &NAMES[1..]);
    check(&NAMES, &uri("a.%", Prefix), &["a/"]);
    check(&[], &filter("#"), &[]);
}

#[test]
fn a_narrow_pattern_looks_at_little() {
    let names: Vec<_> = (0..100).flat_map(|i| (0..100).map(move |j| format!("d{i:02}/s{j:02}/v"))).collect();
    let store = store_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (text, at_most) in
        [("d50/s50/v", 2), ("d50/#", 101), ("d50/+/v", 201), ("+/s50/v", 300), ("d50/+/w", 201), ("x/#", 1)]
    {
        assert!(looked_at(&store, &filter(text)) <= at_most, "{text}: {}", looked_at(&store, &filter(text)));
    }
    assert!(looked_at(&store, &uri("d50.s5", Prefix)) <= 11);
}

#[test]
fn a_topic_has_one_value() {
    let mut store = Retained::new();
    let (a, b) = (topic("a/b"), topic("a/b/"));
    assert_eq!(store.set(&a, 1, 10), None);
    assert_eq!(store.set(&a, 2, 10), Some(1));
    assert_eq!(store.set(&b, 3, 10), None);
    assert_eq!((store.get(&a), store.get(&b), store.get(&topic("a"))), (Some(&2), Some(&3), None));
    assert_eq!(store.len(), 2);
    assert_eq!(store.iter().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!((store.remove(&a), store.remove(&a)), (Some(2), None));
    assert_eq!(store.len(), 1);
}

#[test]
fn bytes_follow_what_is_kept() {
    let mut store = Retained::new();
    store.set(&topic("a/b"), (), 1000);
    let one = store.bytes();
    assert!((1003..1200).contains(&one), "{one}");
    store.set(&topic("a/b"), (), 3000);
    assert_eq!(store.bytes(), one + 2000);
    store.set(&topic("a/c"), (), 0);
    assert_eq!(store.bytes(), one + 2000 + one - 1000);
    store.remove(&topic("a/b"));
    store.remove(&topic("a/x"));
    store.remove(&topic("a/c"));
    assert_eq!(store.bytes(), 0);
}

#[test]
fn a_slice_ends_when_the_visitor_has_enough() {
    let store = store_of(&NAMES);
    let mut walk = Walk::new(filter("#"));
    let mut found = Vec::new();
    while !walk.is_done() {
        let mut room = 2;
        store.slice(&mut walk, 100, |value| {
            found.push(value.clone());
            room -= 1;
            if room == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    assert_eq!(found, NAMES[1..]);
}

#[test]
fn a_walk_goes_on_where_it_was_whatever_has_changed() {
    let mut store = store_of(&["a", "b", "c", "d", "e"]);
    let mut walk = Walk::new(filter("+"));
    let mut found = Vec::new();
    let mut two = |store: &Retained<String>| {
        store.slice(&mut walk, 2, |value| {
            found.push(value.clone());
            ControlFlow::Continue(())
        })
    };
    assert!(!two(&store));
    for gone in ["a", "b", "c"] {
        store.remove(&topic(gone));
    }
    for new in ["aa", "bb", "cc", "b"] {
        store.set(&topic(new), new.to_owned(), 0);
    }
    assert!(!two(&store));
    assert!(two(&store));
    assert_eq!(found, ["a", "b", "cc", "d", "e"]);
}

#[test]
fn a_done_walk_finds_nothing_more() {
    let mut store = store_of(&["a"]);
    let mut walk = Walk::new(filter("#"));
    assert!(store.slice(&mut walk, 10, |_| ControlFlow::Continue(())));
    store.set(&topic("b"), "b".to_owned(), 0);
    assert!(store.slice(&mut walk, 10, |value| panic!("visited {value}")));
}

fn a_name() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "ab", "", "$a", "a.b", "%", "\u{1}", "é", "%2F", "a%2Fb"]);
    prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
}

fn a_pattern() -> impl Strategy<Value = TopicPattern> {
    let level = prop::sample::select(vec!["a", "b", "ab", "", "$a", "a.b", "+", "+", "+", "\u{1}"]);
    let from_filter =
        (prop::collection::vec(level, 0..5), any::<bool>()).prop_filter_map("no filter", |(mut levels, multi)| {
            levels.extend(multi.then_some("#"));
            TopicPattern::from_filter(&levels.join("/")).ok()
        });
    let component = prop::sample::select(vec!["a", "b", "", "%", "$a", "a%2", "a%2Eb", "*", "a/", "/", "é"]);
    let policy = prop::sample::select(vec![Exact, Prefix, Prefix, Wildcard, Fox]);
    let from_uri = (prop::collection::vec(component, 0..4), policy)
        .prop_filter_map("no pattern", |(components, policy)| {
            TopicPattern::from_uri(&components.join("."), policy).ok()
        });
    prop_oneof![from_filter, from_uri]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_walk_in_slices_finds_what_matches_one_by_one(
        names in prop::collection::vec(a_name(), 0..40), pattern in a_pattern(), size in 1usize..5,
    ) {
        let mut store = Retained::new();
        let mut reference = BTreeMap::new();
        for topic in names.iter().filter_map(|name| Topic::from_name(name).ok()) {
            let levels: Vec<_> = topic.levels().map(str::to_owned).collect();
            store.set(&topic, topic.clone(), 0);
            reference.insert(levels, topic);
        }
        let expected: Vec<_> = reference.into_values().filter(|topic| pattern.matches(topic)).collect();
        prop_assert_eq!(&matching(&store, &pattern), &expected);
        let mut walk = Walk::new(pattern);
        let mut found = Vec::new();
        while !store.slice(&mut walk, size, |topic| {
            found.push(topic.clone());
            ControlFlow::Continue(())
        }) {}
        prop_assert_eq!(found, expected);
    }
}
