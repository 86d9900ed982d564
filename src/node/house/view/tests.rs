//! Answers of entries, as JSON.

use super::merge::{Paging, Rule, merge};
use super::said::{read_told, write_told};
use super::{Answer, Failure, Told};
use crate::types::payload::Format;
use crate::types::value::Value;

fn told(json: &str) -> Told {
    Ok(Answer::one(Value::decode(Format::Json, json.as_bytes()).unwrap()))
}

fn absent() -> Told {
    Err(Failure::new("wamp.error.no_such_session", "there is no such session"))
}

fn quota() -> Told {
    Err(Failure::quota("too much"))
}

/// The answer as JSON, or the URI of the failure.
fn text(told: Told) -> String {
    match told {
        Ok(answer) => String::from_utf8(answer.args[0].to_bytes(Format::Json)).unwrap(),
        Err(failure) => failure.uri.to_owned(),
    }
}

#[track_caller]
fn check(rule: Rule, own: Told, others: Vec<Told>, expected: &str) {
    assert_eq!(text(merge(rule, None, own, others, &[])), expected);
}

#[test]
fn answers_become_one_by_the_rule_of_the_procedure() {
    check(Rule::Sum, told("2"), vec![told("0"), told("3")], "5");
    check(Rule::Ids, told("[1,3]"), vec![told("[2]"), told("[3]")], "[1,3,2]");
    let lists = told(r#"{"exact":[5],"prefix":[]}"#);
    let others = vec![told(r#"{"exact":[1,5],"prefix":[],"fox":[7]}"#)];
    check(Rule::Lists, lists, others, r#"{"exact":[1,5],"prefix":[],"fox":[7]}"#);
    check(Rule::Found, told("null"), vec![told("null"), told("4")], "4");
    check(Rule::Found, told("null"), vec![told("null")], "null");
    check(Rule::Matches, told("null"), vec![told("[9,1]"), told("[1]")], "[1,9]");
    check(Rule::Matches, told("null"), vec![told("null")], "null");
    let later = r#"{"id":1,"created":"2026-11-22T05:18:00.500Z"}"#;
    let first = r#"{"id":1,"created":"2026-11-22T05:17:59.999Z"}"#;
    check(Rule::Earliest, told(later), vec![absent(), told(first)], first);
}

#[test]
fn what_one_entry_has_is_there_and_what_no_entry_has_is_not() {
    for rule in [Rule::One, Rule::Sum, Rule::Ids, Rule::Earliest] {
        check(rule, absent(), vec![absent()], "wamp.error.no_such_session");
    }
    check(Rule::One, absent(), vec![absent(), told("1")], "1");
    check(Rule::Sum, absent(), vec![told("1"), absent()], "1");
    check(Rule::One, absent(), vec![quota(), absent()], "fennec.error.quota_exceeded");
    check(Rule::One, absent(), vec![quota(), told("1")], "1");
}

#[test]
fn who_does_not_answer_may_have_it() {
    let silent = ["E2".into()];
    let missing = merge(Rule::One, None, absent(), vec![absent()], &silent).unwrap_err();
    assert_eq!(missing.uri, "wamp.error.unavailable");
    assert!(missing.text.contains("E2"), "{}", missing.text);
    assert_eq!(text(merge(Rule::One, None, absent(), vec![told("1")], &silent)), "1");
    assert_eq!(text(merge(Rule::Sum, None, told("2"), vec![], &silent)), "2");
    let page = merge(Rule::Sessions, None, told(r#"{"sessions":[]}"#), vec![], &silent);
    assert_eq!(text(page), r#"{"sessions":[],"unanswered":["E2"]}"#);
}

#[test]
fn nobody_is_asked_for_what_is_here_or_not_rightly_asked_for() {
    assert!(Rule::One.is_whole(&told("1")) && !Rule::One.is_whole(&absent()));
    assert!(Rule::One.is_whole(&quota()) && Rule::Sum.is_whole(&Err(Failure::invalid("no"))));
    assert!(Rule::Found.is_whole(&told("1")) && !Rule::Found.is_whole(&told("null")));
    assert!(!Rule::Sum.is_whole(&told("1")) && !Rule::Ids.is_whole(&told("[]")));
}

#[test]
fn only_what_changed_something_is_noted() {
    assert!(Rule::Sum.did_something(&told("1")) && !Rule::Sum.did_something(&told("0")));
    assert!(Rule::Ids.did_something(&told("[1]")) && !Rule::Ids.did_something(&told("[]")));
    assert!(Rule::One.did_something(&Ok(Answer::default())) && !Rule::One.did_something(&absent()));
}

#[test]
fn a_page_has_the_first_of_all_and_says_whether_there_are_more() {
    let page = |limit, own: &str, other: &str| {
        let paging = Some(Paging { limit, by_bytes: false });
        text(merge(Rule::Sessions, paging, told(own), vec![told(other)], &[]))
    };
    let (own, other) = (r#"{"sessions":[{"session":1},{"session":4}]}"#, r#"{"sessions":[{"session":2}]}"#);
    let all = r#"{"sessions":[{"session":1},{"session":2},{"session":4}]}"#;
    assert_eq!(page(3, own, other), all);
    assert_eq!(page(2, own, other), r#"{"sessions":[{"session":1},{"session":2}],"next":2}"#);
    let more = r#"{"sessions":[{"session":1},{"session":4}],"next":4}"#;
    assert_eq!(page(2, more, r#"{"sessions":[]}"#), more);
    // The entry that had the connection knows more of a session that is away.
    let (mirror, home) = (r#"{"sessions":[{"session":1}]}"#, r#"{"sessions":[{"session":1,"entry":"E2"}]}"#);
    assert_eq!(page(2, mirror, home), home);
    assert_eq!(page(2, home, mirror), home);
}

#[test]
fn who_holds_most_of_all_entries_comes_first() {
    let paging = Some(Paging { limit: 2, by_bytes: true });
    let own = told(r#"{"sessions":[{"session":1,"outbox_bytes":5},{"session":2,"backlog_bytes":1}]}"#);
    let other = told(r#"{"sessions":[{"session":3,"outbox_bytes":3,"inflight_bytes":3}]}"#);
    let expected = r#"{"sessions":[{"session":3,"outbox_bytes":3,"inflight_bytes":3},{"session":1,"outbox_bytes":5}]}"#;
    assert_eq!(text(merge(Rule::Sessions, paging, own, vec![other], &[])), expected);
}

#[test]
fn subscribers_of_a_subscription_are_added_up() {
    let row = |created: &str, count: u64| {
        told(&format!(r#"{{"subscriptions":[{{"id":7,"created":"{created}","subscribers":{count}}}]}}"#))
    };
    let merged = merge(Rule::Subscriptions, None, row("2026-11-22", 2), vec![row("2026-11-21", 3)], &[]);
    assert_eq!(text(merged), r#"{"subscriptions":[{"id":7,"created":"2026-11-21","subscribers":5}]}"#);
}

#[test]
fn answers_are_read_as_they_were_written_and_nothing_else_is() {
    for told in [told("[1,2]"), Ok(Answer::default()), absent(), quota()] {
        assert_eq!(read_told(&write_told(&told)), Some(told));
    }
    assert_eq!(read_told(b""), None);
    assert_eq!(read_told(b"\xc1"), None);
    let unknown = Err(Failure::new("wamp.error.canceled", "no entry refuses so"));
    assert_eq!(read_told(&write_told(&unknown)), None);
}
