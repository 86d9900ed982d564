use super::*;
use crate::types::payload::PayloadRef;

#[test]
fn keys_of_rows_are_read_back() {
    let (realm, client_id) = ("r".to_owned(), "c".to_owned());
    let name = CursorName::Durable("n".into());
    for (key, expected) in [
        (vec![NUMBERS], RowKey::Numbers),
        (incarnation(7), RowKey::Incarnation(7)),
        (key("r", "a//b"), RowKey::Key { realm: realm.clone(), topic: "a//b".into() }),
        (held("r", "/"), RowKey::Held { realm: realm.clone(), topic: "/".into() }),
        (wait(1 << 40), RowKey::Wait(1 << 40)),
        (session("r", "c"), RowKey::Session { realm: realm.clone(), client_id: client_id.clone() }),
        (will("r", ""), RowKey::Will { realm: realm.clone(), client_id: String::new() }),
        (
            subscription("r", "c", "$share/g/a/#"),
            RowKey::Subscription { realm: realm.clone(), client_id: client_id.clone(), filter: "$share/g/a/#".into() },
        ),
        (packet("r", "c", 0), RowKey::Packet { realm: realm.clone(), client_id: client_id.clone(), packet_id: 0 }),
        (
            packet("r", "c", 0x1234),
            RowKey::Packet { realm: realm.clone(), client_id: client_id.clone(), packet_id: 0x1234 },
        ),
        (
            cursor("r", &CursorName::Client("d".into())),
            RowKey::Cursor { realm: realm.clone(), name: CursorName::Client("d".into()) },
        ),
        (cursor("r", &name), RowKey::Cursor { realm: realm.clone(), name: name.clone() }),
        (durable("r", "n"), RowKey::Durable { realm: realm.clone(), name: "n".into() }),
        (consumer("r", "service/n"), RowKey::Consumer { realm: realm.clone(), name: "service/n".into() }),
        (consumer_place("r", "n"), RowKey::ConsumerPlace { realm: realm.clone(), name: "n".into() }),
        (floor("r", "exact:a"), RowKey::Floor { realm: realm.clone(), pattern: "exact:a".into() }),
        (source("r", "uplink/a"), RowKey::Source { realm: realm.clone(), name: "uplink/a".into() }),
    ] {
        assert_eq!(RowKey::parse(&key), Some(expected), "{}", key.escape_ascii());
    }
}

#[test]
fn what_is_no_key_of_a_row_is_none() {
    for key in [
        &b""[..],
        b"k",
        b"kr",
        b"z\0",
        b"n1",
        b"i1234567",
        b"w",
        b"pr\0c\0",
        b"ur\0c",
        b"cr\0",
        b"cr\0xa",
        b"k\xFF\0a",
        b"cr\0\xC3\xA9",
    ] {
        assert_eq!(RowKey::parse(key), None, "{}", key.escape_ascii());
    }
}

#[test]
fn topics_sort_level_by_level() {
    let sorted = ["a", "a/b", "a/b/c", "a/c", "a-b", "a1"].map(|topic| key("r", topic));
    assert!(sorted.is_sorted());
}

#[test]
fn a_cut_row_of_a_key_is_malformed() {
    let payload = PayloadRef::Args { format: crate::types::payload::Format::Json, args: Some(b"[1]"), kwargs: None };
    let row = KeyRow::new((5, Default::default()), 6, Default::default(), payload, Some(&[0x90])).encode();
    for len in 0..row.len() {
        assert!(KeyRow::decode(&row[..len]).is_err(), "{len} of {}", row.len());
    }
    assert_eq!(KeyRow::decode(&row).map(|row| (row.number, row.publisher)), Ok((5, 6)));
}

#[test]
fn patterns_are_read_back() {
    for (uri, policy) in [
        ("a.b", MatchPolicy::Exact),
        ("a:b.c", MatchPolicy::Prefix),
        ("a..c", MatchPolicy::Wildcard),
        ("a.b", MatchPolicy::Wildcard),
        ("a.*.#", MatchPolicy::Fox),
    ] {
        let pattern = TopicPattern::from_uri(uri, policy).unwrap();
        assert_eq!(read_pattern(&pattern_text(&pattern)), Some(pattern));
    }
    for text in ["", "a", "odd:a", "exact:"] {
        assert_eq!(read_pattern(text), None);
    }
}
