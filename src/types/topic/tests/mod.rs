mod mapping;
mod pattern;

use std::collections::HashSet;

use super::*;

fn topic(name: &str) -> Topic {
    Topic::from_name(name).unwrap_or_else(|error| panic!("{name:?} {error}"))
}

/// What is written as code in each row of the table that stands below this heading of the documentation.
fn rows_below(heading: &str) -> Vec<Vec<String>> {
    let doc = include_str!("../../../../docs/mapping.md");
    let section =
        doc.split(&format!("{heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading:?} in docs/mapping.md"));
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<_>> =
        lines.skip(2).map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect()).collect();
    assert!(rows.len() > 5, "{heading:?} has lost its table");
    rows
}

/// MQTT 5, 4.7.3 and 4.7.1.
#[test]
fn a_topic_name_is_not_empty_and_has_no_wildcard_or_nul() {
    for name in
        ["ACCOUNTS", "Accounts payable", "/", "/finance", "a//b", "é/\u{10FFFF}", "$SYS/x", "\u{feff}", "a\u{1}"]
    {
        assert_eq!(Topic::from_name(name).map(|topic| topic.name().to_owned()), Ok(name.to_owned()));
    }
    for (name, error) in [
        ("", TopicError::Empty),
        ("+", TopicError::Wildcard),
        ("a/#", TopicError::Wildcard),
        ("a+b", TopicError::Wildcard),
        ("a#", TopicError::Wildcard),
        ("a\0b", TopicError::Nul),
    ] {
        assert_eq!(Topic::from_name(name).map(drop), Err(error), "{name:?}");
    }
}

#[test]
fn a_topic_is_at_most_65535_bytes_in_mqtt_spelling() {
    assert!(Topic::from_name(&"a".repeat(65_535)).is_ok());
    assert_eq!(Topic::from_name(&"a".repeat(65_536)).map(drop), Err(TopicError::TooLong));
    assert_eq!(Topic::from_name(&"é".repeat(32_768)).map(drop), Err(TopicError::TooLong));
    assert!(Topic::from_uri(&"a".repeat(65_535)).is_ok());
    assert_eq!(Topic::from_uri(&"a".repeat(65_536)).map(drop), Err(TopicError::TooLong));
    // A slash takes three bytes in MQTT, an ideographic space nine in WAMP.
    assert!(Topic::from_uri(&"/".repeat(21_845)).is_ok());
    assert_eq!(Topic::from_uri(&"/".repeat(21_846)).map(drop), Err(TopicError::TooLong));
    assert_eq!(topic(&"\u{3000}".repeat(21_845)).uri().len(), 3 * 65_535);
    assert!(Topic::from_uri(&"%E3%80%80".repeat(21_845)).is_ok());
    assert_eq!(Topic::from_uri(&"%E3%80%80".repeat(21_846)).map(drop), Err(TopicError::TooLong));
}

#[test]
fn a_topic_may_have_as_many_levels_as_it_has_room_for() {
    let slashes = topic(&"/".repeat(65_535));
    assert_eq!(slashes.levels().count(), 65_536);
    assert_eq!(slashes.uri().len(), 2 * 65_535 + 1);
    assert_eq!(Topic::from_uri(slashes.uri()).as_ref(), Ok(&slashes));
}

#[test]
fn topics_are_equal_and_found_by_name() {
    let from_uri = Topic::from_uri("a.b").unwrap();
    assert_eq!(from_uri, topic("a/b"));
    assert_ne!(from_uri, topic("a/b/"));
    assert_ne!(topic("ACCOUNTS"), topic("Accounts"));
    let set = HashSet::from([from_uri]);
    assert!(set.contains("a/b"));
    assert!(set.contains(&topic("a/b")));
    assert_eq!(topic("a/b").as_bytes(), b"a/b");
    assert_eq!(topic("/a//b").levels().collect::<Vec<_>>(), ["", "a", "", "b"]);
}

#[test]
fn topics_of_the_broker_are_reserved() {
    for name in
        ["$SYS", "$SYS/broker/uptime", "$other", "$rpc/a", "wamp", "wamp/session/on_join", "fennec", "fennec/key"]
    {
        assert!(topic(name).is_reserved(), "{name}");
    }
    for name in ["wampo/x", "a/wamp", "/wamp", "Wamp/x", "fennecs/x", "a/$SYS", "/$SYS", " $SYS"] {
        assert!(!topic(name).is_reserved(), "{name}");
    }
    assert!(topic("$SYS/x").is_hidden());
    assert!(!topic("wamp/x").is_hidden());
}
