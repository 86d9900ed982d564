use super::*;

fn policy(filter: &str, age_us_max: u64, bytes_max: u64, messages_max: u64) -> Policy {
    let pattern = TopicPattern::from_filter(filter).unwrap();
    Policy { realm: None, pattern, age_us_max, bytes_max, messages_max }
}

/// A segment of ten numbers with so many bytes of each topic, a message each.
fn header(position: u64, topics: &[(&str, u64)]) -> Header {
    let share = |(topic, bytes): &(&str, u64)| TopicShare {
        realm: "r".into(),
        topic: (*topic).into(),
        messages: 1,
        bytes: *bytes,
    };
    let topics = topics.iter().map(share).collect();
    Header { position, first: position * 10, count: 10, at_us: position * 100, topics }
}

/// Adds all headers, then judges each at `now_us`.
#[track_caller]
fn check(policies: Vec<Policy>, headers: &[Header], now_us: u64, wanted: u64, expected: &[Verdict], floors: &[u64]) {
    let mut retention = Retention::new(policies, 1000);
    headers.iter().for_each(|header| retention.add(&header.topics));
    let (mut raised, mut passed) = (Floors::default(), Passed::default());
    let weigh = |header| retention.weigh(header, now_us, wanted, &mut passed, &mut raised);
    let verdicts: Vec<_> = headers.iter().map(weigh).collect();
    assert_eq!(verdicts, expected);
    let firsts: Vec<_> = retention.floors(raised).into_iter().map(|floor| floor.first).collect();
    assert_eq!(firsts, floors);
}

use Verdict::{Drop, Keep};

#[test]
fn what_is_too_old_goes_and_its_floor_rises() {
    let headers = [header(1, &[("a", 1)]), header(2, &[("a", 1)]), header(3, &[("a", 1)])];
    check(vec![policy("a", 100, 1000, 1000)], &headers, 350, 0, &[Drop, Drop, Keep], &[30]);
}

#[test]
fn what_is_too_much_goes_from_the_oldest_on() {
    let headers: Vec<_> = (1..=4).map(|position| header(position, &[("a", 100)])).collect();
    check(vec![policy("a", u64::MAX, 250, 1000)], &headers, 500, 0, &[Drop, Drop, Keep, Keep], &[30]);
    check(vec![policy("a", u64::MAX, 1000, 3)], &headers, 500, 0, &[Drop, Keep, Keep, Keep], &[20]);
}

#[test]
fn what_only_sessions_want_goes_when_all_have_passed_or_when_it_is_too_much() {
    let headers = [header(1, &[("s", 1)]), header(2, &[("s", 1)])];
    check(Vec::new(), &headers, 0, 20, &[Drop, Keep], &[20]);
    check(Vec::new(), &headers, 0, 19, &[Keep, Keep], &[]);
    let large = [header(1, &[("s", 600)]), header(2, &[("s", 600)])];
    check(Vec::new(), &large, 0, 0, &[Drop, Keep], &[20]);
}

#[test]
fn a_segment_that_is_mostly_dead_is_rewritten_and_one_that_is_not_waits() {
    let policies = || vec![policy("old", 0, 0, 0), policy("new", u64::MAX, 1000, 1000)];
    let rewritten = Verdict::Rewrite(vec![("r".into(), "old".into())]);
    check(policies(), &[header(1, &[("new", 10), ("old", 10)])], 500, 0, &[rewritten], &[20]);
    check(policies(), &[header(1, &[("new", 11), ("old", 10)])], 500, 0, &[Keep], &[]);
}

#[test]
fn a_segment_of_which_nothing_is_dead_stays_whatever_its_size() {
    check(vec![policy("a", u64::MAX, 1000, 1000)], &[header(1, &[("a", 0)])], 500, 0, &[Keep], &[]);
}

#[test]
fn the_first_policy_that_matches_counts_and_realms_are_told_apart() {
    let elsewhere = Policy { realm: Some("other".into()), ..policy("#", 0, 0, 0) };
    let policies = vec![elsewhere, policy("a", u64::MAX, 1000, 1000), policy("#", 0, 0, 0)];
    check(policies, &[header(1, &[("a", 1)]), header(2, &[("b", 1)])], 500, 0, &[Keep, Drop], &[30]);
}

#[test]
fn what_is_dead_and_stays_does_not_make_younger_events_go() {
    let policies = || vec![policy("a", u64::MAX, u64::MAX, 2), policy("b", u64::MAX, u64::MAX, 1000)];
    // The first two share segments with events that are wanted.
    let mixed = |position| header(position, &[("a", 1), ("b", 100)]);
    let alone = |position| header(position, &[("a", 1)]);
    let headers = [mixed(1), mixed(2), alone(3), alone(4), alone(5)];
    check(policies(), &headers, 500, 0, &[Keep, Keep, Drop, Keep, Keep], &[40]);
    // Nor does what no session wants any more make those lose anything that still do.
    let mixed = |position| header(position, &[("s", 900), ("b", 1000)]);
    let headers = [mixed(1), mixed(2), header(3, &[("s", 900)])];
    check(policies(), &headers, 500, 30, &[Keep, Keep, Keep], &[]);
}
