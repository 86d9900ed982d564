use std::collections::VecDeque;
use std::sync::Arc;

use super::{event, number};
use crate::delivery::replay::{Fetched, Replay, Source};
use crate::types::event::Qos::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};
use crate::types::event::{StoredEvent, Terms};
use crate::types::ids::SubscriptionId;

const A: SubscriptionId = SubscriptionId(1);
const B: SubscriptionId = SubscriptionId(2);

fn events(numbers: impl IntoIterator<Item = u64>) -> VecDeque<Arc<StoredEvent>> {
    numbers.into_iter().map(|number| event(number, ExactlyOnce, 1)).collect()
}

fn terms(qos: Qos) -> Terms {
    Terms { qos, retain: true, ..Terms::default() }
}

fn source(mut slices: Vec<Vec<u64>>) -> Option<Source> {
    slices.reverse();
    Some(Box::new(move |into| {
        into.extend(events(slices.pop().unwrap_or_default()));
        if slices.is_empty() { Fetched::Last } else { Fetched::More }
    }))
}

/// Takes everything, fetching where that is asked for.
fn drain(replay: &mut Replay) -> Vec<u64> {
    let mut taken = Vec::new();
    loop {
        if replay.must_fetch() {
            replay.fetch();
        } else if let Some(next) = replay.front() {
            taken.push(number(&next));
            replay.pop();
        } else {
            assert!(replay.is_empty());
            return taken;
        }
    }
}

#[test]
fn subscriptions_are_served_in_the_order_in_which_they_were_made() {
    let mut replay = Replay::default();
    replay.push(B, events(1..3), None, terms(AtMostOnce));
    replay.push(A, events(3..5), None, terms(AtMostOnce));
    assert_eq!(drain(&mut replay), [1, 2, 3, 4]);
}

#[test]
fn further_events_are_fetched_a_slice_at_a_time_and_only_when_those_before_are_gone() {
    let mut replay = Replay::default();
    replay.push(A, events(0..2), source(vec![vec![2], vec![], vec![], vec![3, 4], vec![]]), terms(AtMostOnce));
    replay.push(B, VecDeque::new(), source(vec![vec![], vec![5]]), terms(AtMostOnce));
    assert!(!replay.must_fetch());
    replay.pop();
    replay.pop();
    assert!(replay.must_fetch() && replay.front().is_none() && !replay.is_empty());
    assert_eq!(drain(&mut replay), [2, 3, 4, 5]);
}

#[test]
fn each_copy_has_the_lower_of_its_own_and_the_granted_qos() {
    let mut replay = Replay::default();
    let all = [AtMostOnce, AtLeastOnce, ExactlyOnce].map(|qos| event(0, qos, 1));
    replay.push(A, all.into(), None, terms(AtLeastOnce));
    let mut qos = Vec::new();
    while let Some(owed) = replay.front() {
        assert!(owed.terms.retain);
        qos.push(owed.terms.qos);
        replay.pop();
    }
    assert_eq!(qos, [AtMostOnce, AtLeastOnce, AtLeastOnce]);
}

#[test]
fn a_subscription_without_events_leaves_nothing_behind() {
    let mut replay = Replay::default();
    replay.push(A, events([]), None, terms(AtMostOnce));
    assert!(replay.is_empty() && !replay.must_fetch() && replay.front().is_none());
    replay.pop();
    replay.fetch();
    assert!(replay.is_empty());
}

#[test]
fn a_repeated_subscription_starts_over_instead_of_piling_up() {
    let mut replay = Replay::default();
    replay.push(A, events(1..4), None, terms(AtMostOnce));
    replay.push(B, events(7..8), None, terms(AtMostOnce));
    replay.pop();
    for _ in 0..100 {
        replay.push(A, events(1..4), None, terms(AtMostOnce));
    }
    assert_eq!(drain(&mut replay), [7, 1, 2, 3]);
}

#[test]
fn what_a_subscription_is_owed_goes_with_it() {
    let mut replay = Replay::default();
    replay.push(A, events(1..3), source(vec![vec![9]]), terms(AtMostOnce));
    replay.push(B, events(3..4), None, terms(AtMostOnce));
    replay.forget(A);
    assert_eq!(drain(&mut replay), [3]);
    replay.push(A, events(1..3), None, terms(AtMostOnce));
    replay.push(A, events([]), None, terms(AtMostOnce));
    assert!(replay.is_empty(), "a repeated subscription that is owed nothing");
}

#[test]
fn what_was_promised_with_qos_0_goes_with_the_connection() {
    let mut replay = Replay::default();
    replay.push(A, events(1..3), source(vec![vec![9]]), terms(AtMostOnce));
    replay.push(B, events(3..5), source(vec![vec![5]]), terms(AtLeastOnce));
    replay.disconnect();
    assert_eq!(drain(&mut replay), [3, 4, 5]);
    replay.push(A, events(1..3), None, terms(AtMostOnce));
    replay.disconnect();
    assert!(replay.is_empty());
}

#[test]
fn who_has_nothing_yet_is_asked_again_and_holds_up_those_behind() {
    let mut replay = Replay::default();
    let mut answers = vec![(Fetched::Last, 2), (Fetched::More, 1), (Fetched::Later, 0), (Fetched::Later, 0)];
    let source: Source = Box::new(move |into| {
        let (fetched, upto) = answers.pop().unwrap();
        into.extend(events(1..=upto));
        fetched
    });
    replay.push(A, VecDeque::new(), Some(source), terms(AtMostOnce));
    replay.push(B, events([9]), None, terms(AtMostOnce));
    for _ in 0..2 {
        assert!(replay.must_fetch() && replay.front().is_none());
        assert_eq!(replay.fetch(), Fetched::Later);
    }
    assert_eq!(drain(&mut replay), [1, 1, 2, 9]);
}
