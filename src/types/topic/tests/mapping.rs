use proptest::prelude::*;

use super::super::{Topic, mapping::is_white_space};
use super::{rows_below, topic};

/// That the two are spellings of one topic, read from either side.
fn check(name: &str, uri: &str) {
    assert_eq!(topic(name).uri(), uri, "name {name:?}");
    let read = Topic::from_uri(uri).unwrap_or_else(|error| panic!("{uri:?} {error}"));
    assert_eq!(read.name(), name, "URI {uri:?}");
}

/// The rules for a loose URI without empty components, told by characters (WAMP, URIs).
fn is_uri(text: &str) -> bool {
    let is_allowed = |c| c != '#' && c != '\0' && !is_white_space(c);
    text.split('.').all(|component| !component.is_empty() && component.chars().all(is_allowed))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['+', '#', '\0'])
}

fn check_from_name(name: &str) {
    let uri = topic(name).uri().to_owned();
    assert!(is_uri(&uri), "{name:?} -> {uri:?}");
    check(name, &uri);
}

fn check_from_uri(uri: &str) {
    // The one URI without a topic.
    if uri == "%" {
        return;
    }
    let name = Topic::from_uri(uri).unwrap_or_else(|error| panic!("{uri:?} {error}")).name().to_owned();
    assert!(is_name(&name), "{uri:?} -> {name:?}");
    check(&name, uri);
}

#[test]
fn the_documented_examples_hold() {
    for cells in rows_below("### Examples of topics") {
        check(&cells[0], &cells[1]);
    }
}

#[test]
fn the_separators_change_places() {
    check("app/topic/name", "app.topic.name");
    check("a.b/c", "a%2Eb.c");
    check("a%2Fb/c", "a/b.c");
    check("a.b", "a%2Eb");
    check(".", "%2E");
    check("%2F", "/");
}

#[test]
fn an_empty_level_is_a_lone_percent_sign() {
    check("a//b", "a.%.b");
    check("/a", "%.a");
    check("a/", "a.%");
    check("/", "%.%");
    check("//", "%.%.%");
}

#[test]
fn a_percent_sign_is_escaped_only_where_it_would_be_mistaken() {
    check("%", "%25");
    check("%25", "%2525");
    check("%2525", "%252525");
    check("a/%", "a.%25");
    check("100%", "100%");
    check("100%/x", "100%.x");
    check("%a", "%a");
    check("a%25", "a%25");
    check("%41", "%41");
    check("%%", "%%");
    check("%252", "%252");
    check("%2E", "%252E");
    check("%252E", "%25252E");
    check("x%2Ey", "x%252Ey");
    check("%2e", "%2e");
    check("%20", "%2520");
    check("%252F", "%2F");
    check("%25252F", "%252F");
    check("%2f", "%2f");
    check("%%2F", "%/");
    check("%C2%A0", "%25C2%A0");
    check("%C2", "%C2");
    check("%C2%A1", "%C2%A1");
}

#[test]
fn white_space_and_forbidden_signs_are_escaped() {
    check("a b", "a%20b");
    check("Accounts payable", "Accounts%20payable");
    check("\t", "%09");
    check("\u{85}", "%C2%85");
    check("\u{a0}", "%C2%A0");
    check("\u{1680}", "%E1%9A%80");
    check("\u{2003}", "%E2%80%83");
    check("\u{2028}", "%E2%80%A8");
    check("\u{3000}", "%E3%80%80");
    check("\u{feff}", "%EF%BB%BF");
    check("\u{1c}", "%1C");
    check("\u{1b}", "\u{1b}");
    check("\u{200b}", "\u{200b}");
    check("%23", "%23");
    check("%2B", "+");
    check("a%2Bb%23", "a+b%23");
    check("é/日本", "é.日本");
}

#[test]
fn dollar_and_star_are_plain() {
    check("$SYS/broker/uptime", "$SYS.broker.uptime");
    check("$rpc/com/app", "$rpc.com.app");
    check("a/*/b", "a.*.b");
}

/// Every text of up to `length` of these characters, shortest first.
fn all_texts(alphabet: &[char], length: usize, mut visit: impl FnMut(&str)) {
    let mut texts = vec![String::new()];
    for _ in 0..length {
        texts = texts.iter().flat_map(|text| alphabet.iter().map(move |c| format!("{text}{c}"))).collect();
        texts.iter().for_each(|text| visit(text));
    }
}

#[test]
fn every_short_name_of_awkward_characters_has_one_uri() {
    all_texts(&['%', '2', '5', 'E', 'F', '.', '/'], 6, check_from_name);
    all_texts(&['%', 'C', '2', 'A', '0', '\u{a0}'], 6, check_from_name);
}

#[test]
fn every_short_uri_of_awkward_characters_has_one_name() {
    let check = |uri: &str| {
        if is_uri(uri) {
            check_from_uri(uri);
        }
    };
    all_texts(&['%', '2', '5', 'E', 'F', '.', '/'], 6, check);
    all_texts(&['%', '2', '5', 'B', '3', '+'], 6, check);
    all_texts(&['%', 'C', '2', 'A', '0', '5'], 6, check);
}

/// Pieces that mean something to the mapping, and some that do not.
fn awkward() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "%",
            "%25",
            "25",
            "%2E",
            "%2F",
            "%2B",
            "%23",
            "%20",
            "2E",
            "2F",
            "%2e",
            "%C2%A0",
            "C2%A0",
            "%A0",
            "%E3%80%80",
            "%EF%BB%BF",
            "/",
            ".",
            "a",
            "$",
            "*",
            " ",
            "\u{a0}",
            "\u{3000}",
            "\u{feff}",
            "\u{1c}",
            "+",
            "#",
            "//",
            "é",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_name_has_one_uri(text in awkward()) {
        let name = text.replace(['+', '#', '\0'], "");
        if !name.is_empty() {
            check_from_name(&name);
        }
    }

    #[test]
    fn every_uri_has_one_name(text in awkward()) {
        let uri: String = text.chars().filter(|c| is_uri(&c.to_string()) || *c == '.').collect();
        let uri = uri.split('.').filter(|component| !component.is_empty()).collect::<Vec<_>>().join(".");
        if !uri.is_empty() {
            check_from_uri(&uri);
        }
    }

    #[test]
    fn no_text_is_taken_wrongly(text in awkward()) {
        assert_eq!(Topic::from_name(&text).is_ok(), is_name(&text));
        assert_eq!(Topic::from_uri(&text).is_ok(), is_uri(&text) && text != "%");
    }
}
