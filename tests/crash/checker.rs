//! What must hold of a history. Each rule names what breaks it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::history::{Fate, History, Hold, Promise, Reading, Sight};
use super::promises::{
    counts_are_read_as_written, counts_are_written_once, events_have_one_worker, groups_are_given_the_log,
};

/// Breaks of one rule that are told; more help nobody.
const TOLD_MAX: usize = 10;

pub type Name = (String, u64);

pub fn name(sight: &Sight) -> Name {
    (sight.publisher.clone(), sight.number)
}

/// Everything that is wrong, a line each.
pub fn check(history: &History) -> Vec<String> {
    let rules: [fn(&History) -> Vec<String>; 14] = [
        |history| history.problems.clone(),
        what_is_acknowledged_is_in_the_log,
        nothing_is_in_the_log_that_was_not_published,
        nothing_is_in_the_log_twice_that_is_promised_once,
        ids_of_the_log_ascend_and_are_those_of_the_acknowledgements,
        the_log_keeps_the_order_of_each_publisher,
        subscribers_see_the_log,
        subscribers_see_order_and_no_repeats,
        locks_are_held_once_and_tokens_ascend,
        keys_are_not_older_than_acknowledged,
        groups_are_given_the_log,
        events_have_one_worker,
        counts_are_written_once,
        counts_are_read_as_written,
    ];
    let mut all = Vec::new();
    for rule in rules {
        let mut broken = rule(history);
        if broken.len() > TOLD_MAX {
            let more = broken.len() - TOLD_MAX;
            broken.truncate(TOLD_MAX);
            broken.push(format!("… and {more} more like it"));
        }
        all.append(&mut broken);
    }
    all
}

fn what_is_acknowledged_is_in_the_log(history: &History) -> Vec<String> {
    let log: HashSet<Name> = history.log.iter().map(name).collect();
    let mut broken = Vec::new();
    for (publisher, (_, all)) in &history.published {
        for (number, fate) in all {
            let is_there = log.contains(&(publisher.clone(), *number));
            match fate {
                Fate::Acknowledged(_) if !is_there => {
                    broken.push(format!("lost: {publisher} {number} was acknowledged"))
                }
                Fate::Refused if is_there => broken.push(format!("kept: {publisher} {number} was refused")),
                _ => {}
            }
        }
    }
    broken
}

fn nothing_is_in_the_log_that_was_not_published(history: &History) -> Vec<String> {
    let unknown = history.log.iter().filter(|sight| {
        !history.published.get(&sight.publisher).is_some_and(|(_, all)| all.contains_key(&sight.number))
    });
    unknown.map(|sight| format!("invented: {} {} is in the log", sight.publisher, sight.number)).collect()
}

fn promise_of(history: &History, publisher: &str) -> Promise {
    history.published.get(publisher).map_or(Promise::AtLeastOnce, |(promise, _)| *promise)
}

fn nothing_is_in_the_log_twice_that_is_promised_once(history: &History) -> Vec<String> {
    let mut seen = HashSet::new();
    let again = history
        .log
        .iter()
        .filter(|sight| promise_of(history, &sight.publisher) == Promise::ExactlyOnce && !seen.insert(name(sight)));
    again.map(|sight| format!("repeated: {} {} is in the log twice", sight.publisher, sight.number)).collect()
}

fn ids_of_the_log_ascend_and_are_those_of_the_acknowledgements(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    for pair in history.log.windows(2) {
        // As texts, bytewise.
        if pair[0].event_id.is_none() || pair[0].event_id >= pair[1].event_id {
            broken.push(format!("event ids do not ascend: {:?}, then {:?}", pair[0], pair[1]));
        }
    }
    let mut publications = HashMap::new();
    for sight in &history.log {
        if let Some(other) = sight.publication.and_then(|id| publications.insert(id, sight)) {
            broken.push(format!("one publication id: {other:?} and {sight:?}"));
        }
    }
    for (publisher, (_, all)) in &history.published {
        for (number, fate) in all {
            let Fate::Acknowledged(Some(told)) = fate else { continue };
            let found = publications.get(told);
            if !found.is_some_and(|sight| sight.publisher == *publisher && sight.number == *number) {
                broken.push(format!("{publisher} {number} was acknowledged as {told}, which is {found:?}"));
            }
        }
    }
    broken
}

fn the_log_keeps_the_order_of_each_publisher(history: &History) -> Vec<String> {
    disordered("the log", &history.log, &HashSet::new())
}

/// What the log has more than once, for its publisher has said it again: of that a reader may have seen the first in an earlier life.
fn repeated_in_the_log(history: &History) -> HashSet<Name> {
    let mut once = HashSet::new();
    history.log.iter().map(name).filter(|name| !once.insert(name.clone())).collect()
}

/// What was published later came first. Repeats do not count.
fn disordered(reader: &str, sights: &[Sight], repeated: &HashSet<Name>) -> Vec<String> {
    let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut broken = Vec::new();
    for sight in sights {
        if repeated.contains(&name(sight)) || !seen.insert(name(sight)) {
            continue;
        }
        let highest = highest.entry(&sight.publisher).or_default();
        if sight.number < *highest {
            broken.push(format!("order: in {reader} {} {} comes behind {highest}", sight.publisher, sight.number));
        }
        *highest = (*highest).max(sight.number);
    }
    broken
}

fn subscribers_see_the_log(history: &History) -> Vec<String> {
    let log: HashSet<Name> = history.log.iter().map(name).collect();
    let mut broken = Vec::new();
    for (subscriber, (reading, sights)) in &history.seen {
        let seen: HashSet<Name> = sights.iter().map(name).collect();
        let must_see = log.iter().filter(|_| *reading != Reading::OnDelivery);
        let mut missed: Vec<&Name> = must_see.filter(|name| !seen.contains(*name)).collect();
        missed.sort();
        broken
            .extend(missed.into_iter().map(|(publisher, n)| format!("missed: {subscriber} never saw {publisher} {n}")));
        let mut invented: Vec<&Name> = seen.difference(&log).collect();
        invented.sort();
        let told =
            |(publisher, n): &Name| format!("vanished: {subscriber} saw {publisher} {n}, which is not in the log");
        broken.extend(invented.into_iter().map(told));
    }
    broken
}

fn subscribers_see_order_and_no_repeats(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    let repeated = repeated_in_the_log(history);
    for (subscriber, (reading, sights)) in &history.seen {
        match reading {
            Reading::AtLeastOnce | Reading::OnDelivery => broken.extend(disordered(subscriber, sights, &repeated)),
            Reading::ExactlyOnce => {
                broken.extend(disordered(subscriber, sights, &repeated));
                let mut seen = HashSet::new();
                let again = sights.iter().filter(|sight| {
                    promise_of(history, &sight.publisher) == Promise::ExactlyOnce && !seen.insert(name(sight))
                });
                broken.extend(
                    again.map(|sight| format!("repeated: {subscriber} saw {} {} twice", sight.publisher, sight.number)),
                );
            }
            Reading::ByEventId => {
                if let Some(at) = (0..sights.len()).find(|at| history.log.get(*at) != sights.get(*at)) {
                    let (is, should) = (&sights[at], history.log.get(at));
                    broken.push(format!("resumed: {subscriber} saw as number {at} {is:?}, the log has {should:?}"));
                }
            }
        }
    }
    broken
}

fn locks_are_held_once_and_tokens_ascend(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    let mut last: BTreeMap<&str, &Hold> = BTreeMap::new();
    for hold in &history.holds {
        if let Some(before) = last.insert(hold.lock, hold) {
            if before.token >= hold.token {
                broken.push(format!("tokens do not ascend: {before:?}, then {hold:?}"));
            }
            // Whose connection was ended because the broker stops may not have noticed when the next is granted it.
            let stops = history.stops.iter().any(|(from, to)| *from < hold.from && to.is_none_or(|to| to > hold.from));
            if before.life == hold.life && !stops && before.to.is_none_or(|to| to > hold.from) {
                broken.push(format!("held twice: {before:?} and {hold:?}"));
            }
        }
    }
    broken
}

fn keys_are_not_older_than_acknowledged(history: &History) -> Vec<String> {
    let wrong = history.keys.iter().filter(|read| {
        let value = read.value.unwrap_or(0);
        value < read.acknowledged || value > read.sent
    });
    wrong.map(|read| format!("key: {read:?}")).collect()
}

/// A history that is in order, and one break of each rule.
#[cfg(test)]
mod tests {
    use super::super::history::KeyRead;
    use super::*;

    fn sight(publisher: &str, number: u64, at: u64) -> Sight {
        Sight {
            publisher: publisher.to_owned(),
            number,
            event_id: Some(format!("26112206{at:02}a1a1")),
            publication: Some(1000 + at),
        }
    }

    fn hold(by: &str, token: u64, life: u32, from: u64, to: Option<u64>) -> Hold {
        Hold { lock: "l", by: by.to_owned(), token, life, from, to }
    }

    fn good() -> History {
        let log = vec![sight("a", 1, 1), sight("b", 1, 2), sight("a", 2, 3), sight("a", 2, 4), sight("b", 2, 5)];
        let fates = |all: &[(u64, Fate)]| all.iter().copied().collect();
        let a = fates(&[
            (1, Fate::Acknowledged(None)),
            (2, Fate::Acknowledged(None)),
            (3, Fate::Unknown),
            (4, Fate::Refused),
        ]);
        let b = fates(&[(1, Fate::Acknowledged(Some(1002))), (2, Fate::Unknown)]);
        let mut at_least = log.clone();
        at_least.push(log[1].clone());
        let mut once = log.clone();
        once.push(log[0].clone());
        History {
            published: [("a".into(), (Promise::AtLeastOnce, a)), ("b".into(), (Promise::ExactlyOnce, b))].into(),
            seen: [
                ("one".into(), (Reading::AtLeastOnce, at_least)),
                ("two".into(), (Reading::ExactlyOnce, once)),
                ("id".into(), (Reading::ByEventId, log.clone())),
                ("some".into(), (Reading::OnDelivery, log[2..].to_vec())),
            ]
            .into(),
            log,
            holds: vec![
                hold("x", 5, 1, 1, Some(2)),
                hold("y", 8, 1, 3, None),
                hold("x", 9, 2, 4, Some(5)),
                hold("y", 10, 2, 6, Some(9)),
                hold("x", 11, 2, 8, Some(10)),
            ],
            stops: vec![(7, Some(9))],
            keys: vec![KeyRead { key: "k".into(), value: Some(3), acknowledged: 2, sent: 3 }],
            ..History::default()
        }
    }

    #[track_caller]
    fn breaks(change: impl FnOnce(&mut History), expected: &str) {
        let mut history = good();
        change(&mut history);
        let broken = check(&history);
        assert!(broken.iter().any(|line| line.starts_with(expected)), "{expected}: {broken:#?}");
    }

    fn seen<'h>(history: &'h mut History, subscriber: &str) -> &'h mut Vec<Sight> {
        &mut history.seen.get_mut(subscriber).unwrap().1
    }

    #[test]
    fn a_history_in_order_is_found_to_be() {
        assert_eq!(check(&good()), [""; 0]);
    }

    #[test]
    fn each_break_of_a_promise_is_found() {
        breaks(|history| _ = history.log.remove(0), "lost: a 1");
        breaks(|history| history.log.push(sight("a", 4, 9)), "kept: a 4");
        breaks(|history| history.log.push(sight("c", 1, 9)), "invented: c 1");
        breaks(|history| history.log.push(sight("b", 2, 9)), "repeated: b 2 is in the log");
        breaks(|history| history.log[1].event_id = history.log[0].event_id.clone(), "event ids do not ascend");
        breaks(|history| history.log[1].event_id = None, "event ids do not ascend");
        breaks(|history| history.log[2].publication = Some(1001), "one publication id");
        breaks(|history| history.log[1].publication = Some(7), "b 1 was acknowledged as 1002");
        breaks(|history| history.log.insert(0, sight("a", 3, 0)), "order: in the log a 1");
        breaks(|history| history.problems.push("mine".to_owned()), "mine");
    }

    #[test]
    fn each_break_for_a_subscriber_is_found() {
        breaks(|history| seen(history, "one").retain(|sight| sight.publisher != "b"), "missed: one never saw b 1");
        breaks(|history| seen(history, "one").push(sight("a", 3, 9)), "vanished: one saw a 3");
        breaks(|history| seen(history, "some").push(sight("a", 3, 9)), "vanished: some saw a 3");
        breaks(|history| seen(history, "one").swap(1, 4), "order: in one b 1");
        breaks(|history| seen(history, "two").push(sight("b", 1, 2)), "repeated: two saw b 1");
        breaks(|history| seen(history, "id").push(sight("b", 2, 5)), "resumed: id saw as number 5");
        breaks(|history| _ = seen(history, "id").remove(3), "resumed: id saw as number 3");
    }

    #[test]
    fn each_break_of_a_lock_or_key_is_found() {
        breaks(|history| history.holds[1].token = 5, "tokens do not ascend");
        breaks(|history| history.holds[0].to = Some(4), "held twice");
        breaks(|history| history.holds[0].to = None, "held twice");
        breaks(|history| history.holds[2].to = Some(7), "held twice");
        breaks(|history| history.stops[0].0 = 8, "held twice");
        breaks(|history| history.stops[0].1 = Some(8), "held twice");
        breaks(|history| history.holds[4].token = 10, "tokens do not ascend");
        breaks(|history| history.keys[0].value = Some(1), "key: ");
        breaks(|history| history.keys[0].value = None, "key: ");
        breaks(|history| history.keys[0].value = Some(4), "key: ");
    }

    #[test]
    fn a_rule_that_is_broken_often_is_told_briefly() {
        let mut history = good();
        history.problems = (0..100).map(|at| at.to_string()).collect();
        assert_eq!(check(&history).len(), TOLD_MAX + 1);
    }
}
