//! What must hold of consumer groups, and of a key to which several count.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::checker::{Name, name};
use super::history::{Count, Fate, History, Work};

/// Each event of the log was given to some member of each group, and nothing else was.
pub fn groups_are_given_the_log(history: &History) -> Vec<String> {
    let log: HashSet<Name> = history.log.iter().map(name).collect();
    let mut broken = Vec::new();
    for (group, told) in &history.groups {
        let given: HashSet<Name> = told.works.iter().map(|work| name(&work.sight)).collect();
        let left_out =
            log.difference(&given).map(|(publisher, n)| format!("left out: nobody of {group} got {publisher} {n}"));
        let invented = given.difference(&log);
        let invented =
            invented.map(|(publisher, n)| format!("vanished: {group} got {publisher} {n}, which is not in the log"));
        let mut found: Vec<_> = left_out.chain(invented).collect();
        found.sort();
        broken.append(&mut found);
    }
    broken
}

/// While the broker lives, in an exclusive group nobody is given an event that is done with, or that a member has whose connection
/// stands. (Elsewhere it may be on its way to another before it is done with.)
pub fn events_have_one_worker(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    for (group, told) in history.groups.iter().filter(|(_, told)| told.exclusive) {
        let mut last: HashMap<(u32, &str), &Work> = HashMap::new();
        for work in &told.works {
            let Some(event_id) = work.sight.event_id.as_deref() else {
                broken.push(format!("without an event id: {work:?}"));
                continue;
            };
            let Some(before) = last.insert((work.life, event_id), work) else { continue };
            if before.done.is_some_and(|done| done < work.from) {
                broken.push(format!("done twice: in {group} {before:?}, then {work:?}"));
            }
            let is_gone = history.gone.get(&before.member).is_some_and(|gone| *gone < work.from);
            if !is_gone {
                broken.push(format!("given twice: in {group} {before:?}, then {work:?}"));
            }
        }
    }
    broken
}

/// Each number is written by one attempt alone.
pub fn counts_are_written_once(history: &History) -> Vec<String> {
    let mut written: BTreeMap<u64, &Count> = BTreeMap::new();
    let mut broken = Vec::new();
    for count in history.counts.iter().filter(|count| matches!(count.fate, Fate::Acknowledged(_))) {
        if let Some(other) = written.insert(count.number, count) {
            broken.push(format!("counted twice: {other:?} and {count:?}"));
        }
    }
    broken
}

/// What is read was written by an attempt that was not refused, always the same, and is not older than what was acknowledged before.
pub fn counts_are_read_as_written(history: &History) -> Vec<String> {
    let attempts: HashMap<&str, &Count> = history.counts.iter().map(|count| (count.by.as_str(), count)).collect();
    let acknowledged = history.counts.iter().filter(|count| matches!(count.fate, Fate::Acknowledged(_)));
    let mut writers: BTreeMap<u64, &str> = acknowledged.map(|count| (count.number, count.by.as_str())).collect();
    let mut acknowledged: Vec<_> = writers.iter().map(|(number, by)| (attempts[by].at, *number)).collect();
    acknowledged.sort_unstable();
    let mut broken = Vec::new();
    for read in &history.count_reads {
        let before = acknowledged[..acknowledged.partition_point(|(at, _)| *at < read.asked)].iter();
        let at_least = before.map(|(_, number)| *number).max().unwrap_or(0);
        let number = read.found.as_ref().map_or(0, |(number, _)| *number);
        if number < at_least {
            broken.push(format!("count: {read:?} is older than {at_least}"));
        }
        let Some((number, by)) = &read.found else { continue };
        let attempt = attempts.get(by.as_str());
        if attempt.is_none_or(|attempt| attempt.number != *number || attempt.fate == Fate::Refused) {
            broken.push(format!("count: {read:?} is of {attempt:?}"));
        }
        if *writers.entry(*number).or_insert(by) != by {
            broken.push(format!("count: {read:?}, but {} wrote that", writers[number]));
        }
    }
    broken
}

/// A history that is in order, and one break of each rule.
#[cfg(test)]
mod tests {
    use super::super::checker::check;
    use super::super::history::{CountRead, Group, Promise, Sight};
    use super::*;

    fn sight(number: u64) -> Sight {
        Sight {
            publisher: "a".to_owned(),
            number,
            event_id: Some(format!("26112206{number:02}a1a1")),
            publication: None,
        }
    }

    fn work(member: &str, number: u64, life: u32, from: u64, done: Option<u64>) -> Work {
        Work { member: member.to_owned(), sight: sight(number), life, from, done }
    }

    fn count(by: &str, number: u64, fate: Fate, at: u64) -> Count {
        Count { number, by: by.to_owned(), fate, at }
    }

    fn read(asked: u64, number: u64, by: &str) -> CountRead {
        CountRead { asked, found: Some((number, by.to_owned())) }
    }

    fn good() -> History {
        let acknowledged = Fate::Acknowledged(None);
        let fates = (1..=3).map(|number| (number, acknowledged)).collect();
        let shared = vec![work("x-1", 1, 1, 1, None), work("y-1", 2, 1, 2, None), work("y-1", 1, 1, 5, None)];
        let named = vec![
            work("v-1", 1, 1, 1, Some(3)),
            work("v-1", 2, 1, 2, None),
            work("w-1", 2, 1, 6, Some(8)),
            // It was done with, but the broker died.
            work("w-2", 1, 2, 11, Some(12)),
        ];
        let hasty = vec![work("x-1", 2, 1, 1, None), work("v-1", 1, 1, 2, Some(5)), work("w-1", 1, 1, 7, Some(8))];
        let third = |mut works: Vec<Work>| {
            works.push(work("z-1", 3, 2, 13, None));
            works
        };
        History {
            published: [("a".into(), (Promise::ExactlyOnce, fates))].into(),
            log: (1..=3).map(sight).collect(),
            groups: [
                ("shared", Group { exclusive: true, works: third(shared) }),
                ("named", Group { exclusive: true, works: third(named) }),
                ("hasty", Group { exclusive: false, works: third(hasty) }),
            ]
            .into(),
            gone: [("x-1".to_owned(), 4), ("v-1".to_owned(), 5)].into(),
            counts: vec![
                count("p-1", 1, acknowledged, 2),
                count("q-1", 1, Fate::Refused, 3),
                count("q-2", 2, Fate::Unknown, 0),
                count("p-2", 3, acknowledged, 9),
            ],
            count_reads: vec![
                CountRead { asked: 1, found: None },
                read(3, 1, "p-1"),
                read(5, 2, "q-2"),
                read(6, 2, "q-2"),
                read(7, 3, "p-2"),
                read(10, 3, "p-2"),
            ],
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

    fn works<'h>(history: &'h mut History, group: &str) -> &'h mut Vec<Work> {
        &mut history.groups.get_mut(group).unwrap().works
    }

    #[test]
    fn a_history_in_order_is_found_to_be() {
        assert_eq!(check(&good()), [""; 0]);
    }

    #[test]
    fn each_break_for_a_group_is_found() {
        breaks(
            |history| works(history, "shared").retain(|work| work.sight.number != 2),
            "left out: nobody of shared got a 2",
        );
        breaks(|history| works(history, "named").push(work("w-2", 4, 2, 20, None)), "vanished: named got a 4");
        breaks(|history| history.gone.clear(), "given twice: in shared");
        breaks(|history| _ = history.gone.insert("x-1".to_owned(), 6), "given twice: in shared");
        breaks(|history| works(history, "named").push(work("v-1", 2, 1, 9, None)), "done twice: in named");
        breaks(|history| works(history, "named")[0].sight.event_id = None, "without an event id");
    }

    #[test]
    fn each_break_of_a_count_is_found() {
        breaks(|history| history.counts[1].fate = Fate::Acknowledged(None), "counted twice");
        breaks(|history| history.count_reads.push(read(10, 2, "q-2")), "count: ");
        breaks(|history| history.count_reads.push(CountRead { asked: 10, found: None }), "count: ");
        breaks(|history| history.count_reads[1] = read(3, 1, "q-1"), "count: ");
        breaks(|history| history.count_reads[2] = read(5, 2, "r-1"), "count: ");
        breaks(|history| history.counts.push(count("r-1", 2, Fate::Acknowledged(None), 8)), "count: ");
    }
}
