//! What a storage asks for and deletes, and when it does not.

use super::*;
use crate::cluster::testing::node;
use crate::queue::segment::TopicShare;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::types::topic::TopicPattern;

const S: u64 = 1_000_000;

/// A storage's log and its housekeeper.
struct Scene {
    store: MemoryStore,
    house: Housekeeper,
    floors: Floors,
    now_us: u64,
    time_us: u64,
    last: u64,
}

fn pattern() -> TopicPattern {
    TopicPattern::from_filter("t/#").unwrap()
}

fn floor_name() -> String {
    rows::pattern_text(&pattern())
}

fn policies(messages_max: u64, age_us_max: u64) -> Policies {
    Policies::of(&[Policy { realm: None, pattern: pattern(), age_us_max, bytes_max: u64::MAX, messages_max }], u64::MAX)
}

impl Scene {
    /// Of a storage that is linked to E1, which keeps this.
    fn new(name: &str, told: Policies) -> Self {
        let mut house = Housekeeper::new(node(name));
        house.connected(&node("E1"));
        house.tell(&node("E1"), told);
        let store = MemoryStore::default();
        Self { store, house, floors: Floors::default(), now_us: 100 * S, time_us: 100 * S, last: 0 }
    }

    /// So many segments of one message each.
    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.last += 1;
            let topics = vec![TopicShare { realm: "r".into(), topic: "t/a".into(), messages: 1, bytes: 10 }];
            let (position, first, at_us) = (self.last, self.last, self.time_us);
            let segment = Segment { position, first, count: 1, at_us, topics, ..Segment::default() };
            self.house.add(&segment);
            self.store.commit(&Commit { segments: vec![segment], ..Commit::default() }).unwrap();
        }
    }

    /// Works until there is something to do but to count.
    fn work(&mut self) -> Work {
        for _ in 0..3 {
            let seen = Seen { now_us: self.now_us, time_us: self.time_us, wanted: u64::MAX, last: self.last };
            match self.house.work(&seen, &self.floors, || self.store.reader()).unwrap() {
                Work::Nothing if self.house.is_due(self.now_us) => {}
                work => return work,
            }
        }
        Work::Nothing
    }

    #[track_caller]
    fn check_nothing(&mut self) {
        let work = self.work();
        assert!(matches!(work, Work::Nothing), "{work:?}");
    }

    #[track_caller]
    fn check_waits(&mut self) {
        let work = self.work();
        assert!(matches!(work, Work::Wait), "{work:?}");
    }

    #[track_caller]
    fn check_asks(&mut self, first: u64) {
        let work = self.work();
        let pattern = floor_name();
        let expected = OrderCommand::Retain { realm: "r".into(), pattern, first };
        assert!(matches!(&work, Work::Ask(commands) if *commands == [expected.clone()]), "{work:?} {expected:?}");
    }

    /// RETAIN is applied.
    fn raise(&mut self, first: u64) {
        self.floors.raise("r", &floor_name(), first);
    }

    #[track_caller]
    fn check_deletes(&mut self, dropped: &[u64]) {
        let work = self.work();
        let Work::Delete(commit) = work else { panic!("{work:?}") };
        assert_eq!((&*commit.dropped, commit.rewritten.len()), (dropped, 0));
        self.store.commit(&commit).unwrap();
        self.house.deleted();
    }

    fn kept(&self) -> u64 {
        self.house.report().0[0].messages
    }
}

#[test]
fn what_is_too_much_is_deleted_when_the_log_says_that_it_is_gone() {
    let mut scene = Scene::new("N1", policies(2, u64::MAX));
    scene.publish(5);
    scene.check_asks(4);
    scene.check_waits();
    scene.now_us += 3 * S;
    scene.check_asks(4);
    scene.raise(3);
    scene.check_waits();
    scene.raise(4);
    scene.check_deletes(&[1, 2, 3]);
    assert_eq!(scene.kept(), 2);
    scene.check_nothing();
    scene.publish(1);
    scene.check_asks(5);
}

#[test]
fn nothing_goes_while_it_is_not_known_what_is_to_stay() {
    let mut scene = Scene::new("N1", policies(2, u64::MAX));
    scene.publish(5);
    scene.house.connected(&node("E2"));
    scene.check_nothing();
    scene.house.tell(&node("E2"), policies(3, u64::MAX));
    scene.check_nothing();
    scene.house.tell(&node("E2"), policies(2, u64::MAX));
    scene.check_asks(4);
    scene.house.disconnected(&node("E1"));
    scene.house.disconnected(&node("E2"));
    scene.raise(4);
    scene.check_nothing();
    scene.house.connected(&node("E1"));
    scene.house.tell(&node("E1"), policies(4, u64::MAX));
    // It goes by the new ones: the second is not too much any more.
    scene.check_deletes(&[1]);
}

#[test]
fn only_the_first_storage_asks_and_the_next_if_that_does_not() {
    let mut scene = Scene::new("N2", policies(2, u64::MAX));
    scene.house.connected(&node("N1"));
    scene.house.connected(&node("N3"));
    scene.publish(5);
    scene.check_waits();
    scene.raise(4);
    scene.check_deletes(&[1, 2, 3]);
    scene.publish(2);
    scene.check_waits();
    scene.now_us += 11 * S;
    scene.check_asks(6);
    scene.raise(6);
    scene.check_deletes(&[4, 5]);
    scene.publish(1);
    scene.check_asks(7);
    scene.raise(7);
    scene.check_deletes(&[6]);
    scene.now_us += 61 * S;
    scene.publish(1);
    scene.check_waits();
    scene.house.disconnected(&node("N1"));
    scene.check_asks(8);
}

#[test]
fn who_was_down_deletes_without_asking() {
    let mut scene = Scene::new("N1", policies(2, u64::MAX));
    scene.publish(5);
    scene.raise(7);
    scene.check_deletes(&[1, 2, 3]);
}

#[test]
fn a_copy_of_another_log_is_counted_anew() {
    let mut scene = Scene::new("N1", policies(2, u64::MAX));
    scene.publish(5);
    scene.check_asks(4);
    scene.store = MemoryStore::default();
    scene.last = 0;
    scene.house.begin_anew();
    scene.publish(2);
    scene.raise(9);
    scene.check_nothing();
    assert_eq!(scene.kept(), 2);
}

#[test]
fn ages_are_of_log_time_which_is_asked_for_where_nothing_is_published() {
    let mut scene = Scene::new("N1", policies(u64::MAX, 100 * S));
    scene.check_nothing();
    scene.publish(1);
    scene.now_us += 9 * S;
    scene.check_nothing();
    scene.now_us += 200 * S;
    let at_us = scene.now_us;
    let work = scene.work();
    assert!(matches!(&work, Work::Ask(asked) if *asked == [OrderCommand::Time { at_us }]), "{work:?}");
    scene.now_us += S;
    scene.check_nothing();
    scene.time_us = at_us;
    scene.check_asks(2);
    scene.raise(2);
    scene.check_deletes(&[1]);
    scene.now_us += 200 * S;
    scene.check_nothing();
}
