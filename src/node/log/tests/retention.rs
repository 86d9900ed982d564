//! What is given up, and that whoever comes back for it is told.

use super::engine::{Bench, tell};
use super::*;
use crate::queue::command::{Cursor, CursorName, DurableRow};
use crate::types::topic::TopicPattern;

fn pattern(filter: &str) -> TopicPattern {
    TopicPattern::from_filter(filter).unwrap()
}

fn policy(filter: &str) -> Policy {
    let most = u64::MAX;
    Policy { realm: None, pattern: pattern(filter), age_us_max: most, bytes_max: most, messages_max: most }
}

impl Bench {
    fn with(policies: &[Policy]) -> Self {
        Self::on(Faulty::default(), policies.to_vec())
    }

    /// A segment for each.
    fn publish(&mut self, topic: &str, payloads: &[&str]) {
        for payload in payloads {
            self.submit("-", plain(topic, &[payload]));
        }
    }

    /// Housekeeping until there is nothing more to do. Returns what was committed.
    fn clean(&mut self) -> Vec<String> {
        while self.maintain().unwrap() {}
        std::mem::take(&mut *self.store.journal.lock())
    }

    fn maintain(&mut self) -> Result<bool, LogError> {
        let mut fed = Vec::new();
        let more = self.engine.maintain(self.now_us, &mut fed);
        fed.into_iter().for_each(tell);
        more
    }

    /// First numbers of the segments that are there.
    fn firsts(&self) -> Vec<u64> {
        self.store.segments().iter().map(|segment| segment.first).collect()
    }

    fn available(&self, filter: &str) -> u64 {
        self.engine.state().first_available(REALM, &pattern(filter))
    }

    /// `(messages, bytes)` of the first policy.
    fn total(&self) -> (u64, u64) {
        self.engine.report().kept.first().map(|kept| (kept.messages, kept.bytes)).unwrap()
    }

    fn command(&mut self, command: Command) {
        let mut batch = Batch::default();
        batch.command(&command);
        assert_eq!(self.submit("-", batch), ["-: done Yes"]);
    }
}

#[test]
fn what_is_too_much_goes_from_the_oldest_on_and_floors_rise_before_it_goes() {
    let mut bench = Bench::with(&[Policy { messages_max: 2, ..policy("t/#") }]);
    bench.publish("t/a", &["1", "2", "3", "4"]);
    assert_eq!(bench.available("t/a"), 1);
    assert_eq!(bench.clean(), ["raised 1", "dropped 2"]);
    assert_eq!(bench.firsts(), [3, 4]);
    assert_eq!([bench.available("t/a"), bench.available("#"), bench.available("other")], [3, 3, 1]);
    assert_eq!(bench.total().0, 2);
    assert_eq!(bench.clean(), [""; 0]);
}

#[test]
fn bytes_and_age_count_too() {
    let mut bench = Bench::with(&[policy("t")]);
    bench.publish("t", &["12345678"]);
    let (_, bytes) = bench.total();
    let mut bench = Bench::with(&[Policy { bytes_max: 2 * bytes, ..policy("t") }]);
    bench.publish("t", &["12345678"; 4]);
    bench.clean();
    assert_eq!((bench.firsts(), bench.total()), (vec![3, 4], (2, 2 * bytes)));

    const DAY_US: u64 = 86_400_000_000;
    let mut bench = Bench::with(&[Policy { age_us_max: DAY_US, ..policy("t") }]);
    bench.publish("t", &["1"]);
    bench.now_us += DAY_US * 6 / 10;
    bench.publish("t", &["2"]);
    bench.now_us += DAY_US * 6 / 10;
    bench.clean();
    assert_eq!(bench.firsts(), [2]);
    bench.now_us += DAY_US * 6 / 10;
    bench.clean();
    assert_eq!((bench.firsts(), bench.available("t")), (vec![], 3));
}

#[test]
fn a_segment_that_is_mostly_dead_is_rewritten_and_what_stays_keeps_its_numbers() {
    let mut bench = Bench::with(&[Policy { messages_max: 0, ..policy("dead") }, policy("alive")]);
    let mut batch = plain("dead", &["a long message", "another one"]);
    events(&mut batch, "alive", &["x"]);
    events(&mut batch, "dead", &["and one behind it"]);
    bench.submit("-", batch);
    assert_eq!(bench.clean(), ["raised 1", "rewritten 1"]);
    let segment = bench.store.segments().remove(0);
    assert_eq!((segment.first, segment.count), (1, 4));
    assert_eq!(segment.topics.iter().map(|share| &*share.topic).collect::<Vec<_>>(), ["alive"]);
    let mut number = segment.first;
    let mut left = Vec::new();
    for run in Runs::new(&segment.body) {
        match run.unwrap() {
            Run::Gap(count) => number += u64::from(count),
            Run::Events(head, events) => {
                left.extend(events.iter().map(|event| (number, head.topic, event.unwrap().payload.len())));
                number += u64::from(events.count);
            }
            Run::Command(_) => panic!("no commands"),
        }
    }
    assert_eq!(left, [(3, "alive", 1)]);
}

#[test]
fn nothing_goes_if_the_floor_cannot_be_raised_and_all_goes_later() {
    let mut bench = Bench::with(&[Policy { messages_max: 1, ..policy("t") }]);
    bench.publish("t", &["1", "2", "3"]);
    assert!(bench.maintain().unwrap(), "what was there at the start is counted first");
    bench.store.set(Fault::Full);
    assert!(bench.maintain().is_err());
    assert!(bench.engine.failed().is_some());
    assert_eq!(bench.firsts(), [1, 2, 3]);
    bench.store.set(Fault::None);
    bench.recover().unwrap();
    bench.clean();
    assert_eq!((bench.firsts(), bench.available("t"), bench.total().0), (vec![3], 3, 1));
}

#[test]
fn what_could_not_be_deleted_is_deleted_later_and_counted_until_then() {
    let mut bench = Bench::with(&[Policy { messages_max: 1, ..policy("t") }]);
    bench.publish("t", &["1", "2", "3"]);
    bench.maintain().unwrap();
    bench.store.set(Fault::KeepsAll);
    assert!(bench.maintain().is_err());
    assert_eq!(bench.available("t"), 3, "the floor is raised already");
    assert!(bench.engine.failed().is_some());
    bench.recover().unwrap();
    bench.publish("t", &["4"]);
    assert!(bench.maintain().unwrap());
    assert_eq!(bench.total().0, 4, "all is counted anew");
    bench.store.set(Fault::None);
    bench.clean();
    assert_eq!((bench.firsts(), bench.available("t"), bench.total().0), (vec![4], 4, 1));
}

#[test]
fn what_only_subscribers_of_the_log_want_stays_until_all_have_passed_it() {
    let mut bench = Bench::with(&[]);
    let named = |name: &str| (REALM.to_owned(), name.to_owned());
    for name in ["fast", "slow"] {
        let (realm, name) = named(name);
        let row = DurableRow { pattern: rows::pattern_text(&pattern("s")), ..DurableRow::default() };
        bench.command(Command::Durable { realm, name, durable: Box::new(row) });
    }
    bench.publish("s", &["3", "4", "5"]);
    assert_eq!(bench.clean(), [""; 0]);
    let progress = |bench: &mut Bench, name, sent_to| {
        let at = Cursor { sent_to, ..Cursor::default() };
        bench.command(Command::Progress { realm: REALM.into(), cursor: CursorName::Durable(String::from(name)), at });
        bench.clean();
        bench.firsts()
    };
    assert_eq!(progress(&mut bench, "fast", 5), [3, 4, 5]);
    assert_eq!(progress(&mut bench, "slow", 4), [5]);
    assert_eq!(bench.available("s"), 5, "who comes back for what it has not passed is told");
    let (realm, name) = named("slow");
    bench.command(Command::Forget { realm, name });
    bench.clean();
    assert_eq!(bench.firsts(), [0; 0]);
}

#[test]
fn who_came_after_the_last_look_loses_nothing() {
    let mut bench = Bench::with(&[]);
    bench.publish("s", &["1"]);
    bench.clean();
    let row = DurableRow { pattern: rows::pattern_text(&pattern("s")), ..DurableRow::default() };
    bench.command(Command::Durable { realm: REALM.into(), name: "new".into(), durable: Box::new(row) });
    bench.publish("s", &["3", "4"]);
    // No time has passed since nobody wanted anything.
    bench.clean();
    assert_eq!(bench.firsts(), [3, 4]);
}

#[test]
fn what_belongs_to_no_policy_goes_without_a_word_to_those_who_want_none_of_it() {
    let mut bench = Bench::with(&[policy("kept/#")]);
    bench.publish("s", &["1", "2"]);
    assert_eq!(bench.clean(), ["raised 1", "dropped 2"]);
    let log = Log::new(0, vec![policy("kept/#")]);
    log.set_floors(bench.engine.state().floors());
    let available = |filter| log.first_available(REALM, &pattern(filter));
    assert_eq!(["kept/#", "kept/+/a", "s", "#"].map(available), [1, 1, 3, 3]);
    assert_eq!(log.first_available("other", &pattern("s")), 1);
}

#[test]
fn what_is_given_up_is_not_told_though_it_may_still_be_in_memory() {
    let policies = [Policy { messages_max: 2, ..policy("t/#") }, policy("stays")];
    let mut bench = Bench::with(&policies);
    bench.publish("stays", &["1"]);
    bench.publish("t/a", &["2", "3", "4", "5"]);
    bench.publish("other", &["6"]);
    let segments = bench.store.segments();
    bench.clean();
    let log = Log::new(0, policies.to_vec());
    log.set_floors(bench.engine.state().floors());
    let is_given_up = |segment: &Segment| match Runs::new(&segment.body).next() {
        Some(Ok(Run::Events(head, _))) => log.is_given_up(segment, &head),
        run => panic!("{run:?}"),
    };
    let given_up: Vec<bool> = segments.iter().map(is_given_up).collect();
    assert_eq!(given_up, [false, true, true, false, false, true], "nobody wants the last, which is of no policy");
}

#[test]
fn what_was_there_at_the_start_counts() {
    let mut bench = Bench::with(&[policy("t")]);
    bench.publish("t", &["1", "2", "3"]);
    let mut bench = Bench::on(bench.store, vec![Policy { messages_max: 2, ..policy("t") }]);
    bench.publish("t", &["4"]);
    assert_eq!(bench.clean(), ["raised 1", "dropped 2"]);
    assert_eq!((bench.firsts(), bench.total().0), (vec![3, 4], 2));
}

#[test]
fn what_goes_goes_in_slices() {
    let mut bench = Bench::with(&[Policy { messages_max: 1, ..policy("t") }]);
    bench.publish("t", &["x"; 1201]);
    assert_eq!(bench.clean(), ["raised 1", "dropped 500", "raised 1", "dropped 500", "raised 1", "dropped 200"]);
    assert_eq!(bench.firsts(), [1201]);
}

#[test]
fn what_is_to_go_is_found_behind_much_that_stays() {
    let mut bench = Bench::with(&[policy("stays"), Policy { messages_max: 1, ..policy("t") }]);
    bench.publish("stays", &["x"; 5000]);
    bench.publish("t", &["1", "2"]);
    bench.publish("stays", &["x"; 10]);
    // A walk goes over all there is, a slice at a time, and says that there is no hurry.
    let mut slices = 0;
    while bench.firsts().contains(&5001) {
        bench.maintain().unwrap();
        slices += 1;
        assert!(slices < 10, "never found");
    }
    assert_eq!((bench.available("t"), bench.available("stays")), (5002, 1));
}

#[test]
fn all_that_is_to_go_goes_at_once_where_nobody_else_works() {
    let mut bench = Bench::with(&[policy("stays"), Policy { messages_max: 1, ..policy("t") }]);
    bench.publish("stays", &["x"; 5000]);
    bench.publish("t", &["1", "2"]);
    bench.publish("stays", &["x"; 4500]);
    bench.publish("t", &["3"]);
    bench.engine.clean_up(bench.now_us).unwrap();
    let (firsts, gone) = (bench.firsts(), [5001, 5002]);
    assert!(!gone.iter().any(|first| firsts.contains(first)));
    assert_eq!((firsts.len(), bench.available("t")), (9501, 5003));
    let mut bench = Bench::on(bench.store, vec![policy("stays"), policy("t")]);
    bench.store.set(Fault::Full);
    bench.engine.clean_up(bench.now_us).unwrap();
}
