//! Consumers over a log that works, and that whoever submits works off.

use futures_util::FutureExt;
use parking_lot::Mutex as Lock;

use super::*;
use crate::node::testing::{self, Flaky, NOW_MS, filter, node_without_log, publication, publisher, run_log_on};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::types::event::{Filter, Qos};
use crate::types::limits::Limits;
use crate::types::topic::Topic;

const NAME: &str = "test/c";
const REALM: &str = "realm1";
const MUCH: Bounds = Bounds { events_max: 100, bytes_max: 1 << 20, until: None };

struct World {
    node: Arc<Node>,
    realm: Arc<Realm>,
}

/// What is there without waiting.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it waits")
}

fn world_on(store: impl Store + 'static) -> World {
    let (node, realm) = node_without_log(Limits::default());
    run_log_on(&node, Box::new(store), Arc::new(|| NOW_MS));
    World { node, realm }
}

fn world() -> World {
    world_on(MemoryStore::default())
}

impl World {
    fn make(&self, patterns: &[&str], after: Option<u64>) {
        let patterns: Vec<_> = patterns.iter().map(|text| filter(text)).collect();
        now(self.node.set_consumer(REALM, NAME, &patterns, Bytes::from_static(b"s"), after)).unwrap();
    }

    fn open(&self) -> Consumer {
        now(self.node.open_consumer(REALM, NAME, Arc::new(|| NOW_MS))).unwrap()
    }

    fn publish_for(&self, topic: &str, payload: &str, to: Option<Filter>) {
        let mut publisher = publisher(&self.node, &self.realm, None);
        let mut publication = publication(payload.as_bytes(), Qos::AtLeastOnce);
        publication.filter = to.as_ref();
        publisher.publish_own(&Arc::new(Topic::from_name(topic).unwrap()), &publication);
        publisher.finish();
        testing::run_due(&self.node);
    }

    fn publish(&self, topic: &str, payload: &str) {
        self.publish_for(topic, payload, None);
    }

    fn census(&self) -> Option<u64> {
        self.node.consumers.get(REALM, NAME).map(|known| known.lag().events)
    }
}

fn texts(batch: &Batch) -> Vec<String> {
    let text = |past: &Past| {
        let payload = past.event.payload.as_ref();
        format!("{}={}", past.event.topic.name(), String::from_utf8_lossy(&payload.as_bytes(Default::default())))
    };
    batch.events.iter().map(text).collect()
}

fn read(consumer: &mut Consumer) -> Vec<String> {
    texts(&now(consumer.next(MUCH)).unwrap())
}

#[test]
fn a_consumer_gets_what_its_patterns_match_in_order_and_once() {
    let world = world();
    world.make(&["a/#", "a/b", "c"], None);
    let mut consumer = world.open();
    for (topic, payload) in [("a/b", "1"), ("b", "2"), ("c", "3"), ("a/c", "4")] {
        world.publish(topic, payload);
    }
    assert_eq!(read(&mut consumer), ["a/b=1", "c=3", "a/c=4"]);
    assert!(consumer.next(MUCH).now_or_never().is_none());
    world.publish("b", "5");
    world.publish("c", "6");
    assert_eq!(read(&mut consumer), ["c=6"]);
}

#[test]
fn batches_are_bounded_by_count_by_bytes_and_by_a_number() {
    let world = world();
    world.make(&["a"], None);
    for number in 0..10 {
        world.publish("a", &number.to_string().repeat(10));
    }
    let mut consumer = world.open();
    let batch = now(consumer.next(Bounds { events_max: 3, ..MUCH })).unwrap();
    assert_eq!((batch.events.len(), batch.bytes), (3, 33));
    let first = batch.up_to;
    let batch = now(consumer.next(Bounds { bytes_max: 25, ..MUCH })).unwrap();
    assert_eq!(batch.events.len(), 2);
    let batch = now(consumer.next(Bounds { bytes_max: 1, ..MUCH })).unwrap();
    assert_eq!(batch.events.len(), 1, "one is given whatever its size");
    consumer.rewind(first);
    let batch = now(consumer.next(Bounds { until: Some(first + 2), ..MUCH })).unwrap();
    assert_eq!((batch.events.len(), batch.up_to), (2, first + 2), "the same again");
    let batch = now(consumer.next(Bounds { until: Some(first + 2), ..MUCH })).unwrap();
    assert_eq!(batch.events.len(), 0, "there is no more up to there");
    assert_eq!(now(consumer.next(MUCH)).unwrap().events.len(), 5);
}

#[test]
fn it_goes_on_behind_what_was_committed_whatever_was_read() {
    let store = MemoryStore::default();
    let world = world_on(store.clone());
    world.make(&["a"], None);
    for payload in ["1", "2", "3"] {
        world.publish("a", payload);
    }
    let mut consumer = world.open();
    let batch = now(consumer.next(Bounds { events_max: 2, ..MUCH })).unwrap();
    now(consumer.commit(batch.up_to, Bytes::from_static(b"state"))).unwrap();
    read(&mut consumer);
    drop((consumer, world));
    let world = world_on(store.clone());
    let mut consumer = world.open();
    assert_eq!((&consumer.state()[..], &consumer.settings()[..]), (&b"state"[..], &b"s"[..]));
    assert_eq!(read(&mut consumer), ["a=3"]);
}

#[test]
fn a_commit_and_the_events_with_it_are_in_the_log_or_are_not() {
    let store = Flaky::default();
    let broken = store.broken.clone();
    let world = world_on(store);
    world.make(&["a", "dead"], None);
    world.publish("a", "1");
    let mut consumer = world.open();
    let batch = now(consumer.next(MUCH)).unwrap();
    let mut letter = message::Batch::default();
    let event = &batch.events[0].event;
    let topic = Arc::new(Topic::from_name("dead").unwrap());
    let event = crate::types::event::Event { topic: &topic, place: None, ..event.as_event(NOW_MS) };
    letter.event(&event, &message::Posting { realm: REALM, ..Default::default() });
    broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let refused = now(consumer.commit_with(letter.clone(), batch.up_to, Bytes::new()));
    assert!(matches!(refused, Err(ConsumerError::Refused(_))), "{refused:?}");
    broken.store(false, std::sync::atomic::Ordering::Relaxed);
    testing::recover(&world.node);
    now(consumer.commit_with(letter, batch.up_to, Bytes::new())).unwrap();
    assert_eq!(read(&mut consumer), ["dead=1"]);
    assert_eq!(read(&mut world.open()), ["dead=1"]);
}

#[test]
fn a_waiting_consumer_is_woken_for_what_it_wants_and_for_nothing_else() {
    let world = world();
    world.make(&["a/#"], None);
    let mut consumer = world.open();
    let woken = Arc::new(Woken::default());
    let waker = std::task::Waker::from(woken.clone());
    let poll = |consumer: &mut Consumer| {
        let mut context = Context::from_waker(&waker);
        match consumer.poll_next(&mut context, MUCH) {
            Poll::Ready(batch) => texts(&batch.unwrap()),
            Poll::Pending => Vec::new(),
        }
    };
    assert!(poll(&mut consumer).is_empty());
    world.publish("b", "1");
    assert_eq!(woken.take(), 0);
    world.publish("a/b", "2");
    world.publish("a/b", "3");
    assert_eq!(woken.take(), 1, "once, until it has looked");
    assert_eq!(poll(&mut consumer), ["a/b=2", "a/b=3"]);
    assert!(poll(&mut consumer).is_empty());
    now(world.node.nudge_consumer(REALM, NAME)).unwrap();
    assert_eq!(woken.take(), 1);
}

#[derive(Default)]
struct Woken(Lock<usize>);

impl Woken {
    fn take(&self) -> usize {
        std::mem::take(&mut self.0.lock())
    }
}

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock() += 1;
    }
}

#[test]
fn what_others_do_to_a_consumer_is_news_to_its_owner() {
    let world = world();
    world.make(&["a"], None);
    let mut consumer = world.open();
    assert!(consumer.news().now_or_never().is_none());
    now(world.node.nudge_consumer(REALM, NAME)).unwrap();
    assert_eq!(now(consumer.next(MUCH)).unwrap_err(), News::Nudged);
    assert!(consumer.next(MUCH).now_or_never().is_none(), "once");
    world.publish("a", "1");
    read(&mut consumer);
    now(world.node.move_consumer(REALM, NAME, 0)).unwrap();
    assert_eq!(now(consumer.news()), News::Changed);
    let stale = now(consumer.commit(99, Bytes::new()));
    assert_eq!(stale, Err(ConsumerError::Stale), "it was moved meanwhile");
    let mut consumer = world.open();
    assert_eq!(read(&mut consumer), ["a=1"]);
    world.make(&["b"], None);
    assert_eq!(now(consumer.news()), News::Changed);
    let mut consumer = world.open();
    now(world.node.remove_consumer(REALM, NAME)).unwrap();
    assert_eq!(now(consumer.news()), News::Removed);
    let missing = now(world.node.open_consumer(REALM, NAME, Arc::new(|| NOW_MS)));
    assert_eq!(missing.err(), Some(ConsumerError::NotFound));
}

#[test]
fn whoever_watches_sees_consumers_come_and_go() {
    let world = world();
    let mut watch = world.node.consumers.watch();
    now(watch.changed());
    assert!(watch.changed().now_or_never().is_none());
    world.make(&["a"], None);
    now(watch.changed());
    let names = |prefix: &str| world.node.consumers.list(prefix).len();
    assert_eq!((names("test/"), names("other/")), (1, 0));
    now(world.node.remove_consumer(REALM, NAME)).unwrap();
    now(watch.changed());
    assert_eq!(names("test/"), 0);
}

#[test]
fn what_a_consumer_wants_is_durable_as_long_as_it_is_there() {
    let world = world();
    world.publish("a", "before");
    world.make(&["a"], Some(0));
    world.publish("a", "1");
    assert_eq!(read(&mut world.open()), ["a=1"], "what nobody wanted is not in the log");
    now(world.node.remove_consumer(REALM, NAME)).unwrap();
    world.publish("a", "after");
    world.make(&["a"], Some(0));
    assert_eq!(read(&mut world.open()), ["a=1"]);
}

#[test]
fn lag_counts_what_is_not_done_read_or_not_also_of_a_time_before() {
    let store = MemoryStore::default();
    let world = world_on(store.clone());
    world.make(&["a"], None);
    for payload in ["1", "2", "3", "4"] {
        world.publish("a", payload);
        world.publish("b", payload);
    }
    drop(world);
    let world = world_on(store.clone());
    let mut consumer = world.open();
    assert_eq!((consumer.lag().events, consumer.lag().oldest_us), (4, None));
    let batch = now(consumer.next(Bounds { events_max: 3, ..MUCH })).unwrap();
    let Lag { events, oldest_us } = consumer.lag();
    assert_eq!((events, oldest_us.map(|us| us / 1_000_000)), (4, Some(NOW_MS / 1000)));
    consumer.rewind(batch.up_to - 1);
    assert_eq!(consumer.lag().events, 4);
    consumer.rewind(consumer.done_to());
    let batch = now(consumer.next(Bounds { events_max: 3, ..MUCH })).unwrap();
    now(consumer.commit(batch.up_to, Bytes::new())).unwrap();
    assert_eq!(consumer.lag().events, 1);
    world.publish("a", "5");
    assert_eq!(consumer.lag().events, 2);
    let batch = now(consumer.next(MUCH)).unwrap();
    now(consumer.commit(batch.up_to, Bytes::new())).unwrap();
    assert!(consumer.next(MUCH).now_or_never().is_none());
    assert_eq!(world.census(), Some(0));
}

#[test]
fn one_that_waits_for_many_events_is_told_when_they_are_there() {
    let world = world();
    world.make(&["a"], None);
    let mut consumer = world.open();
    world.publish("a", "1");
    assert!(consumer.gathered(3).now_or_never().is_none());
    world.publish("a", "2");
    world.publish("a", "3");
    assert_eq!(now(consumer.gathered(3)), None);
    assert_eq!(read(&mut consumer).len(), 3);
}

#[test]
fn what_is_meant_for_some_subscribers_is_not_for_consumers() {
    let world = world();
    world.make(&["a"], None);
    let mut consumer = world.open();
    let for_some = Filter { eligible_authid: Some(["ann".to_owned()].into()), ..Filter::default() };
    let not_for_bob = Filter { exclude_authid: ["bob".to_owned()].into(), ..Filter::default() };
    world.publish_for("a", "1", Some(for_some));
    world.publish_for("a", "2", Some(not_for_bob));
    assert_eq!(read(&mut consumer), ["a=2"]);
}

#[test]
fn an_idle_consumer_does_not_hold_what_it_does_not_want() {
    let world = world();
    world.make(&["a"], None);
    let mut consumer = world.open();
    // Something else that is durable.
    let other = [filter("b")];
    now(world.node.set_consumer(REALM, "test/other", &other, Bytes::new(), None)).unwrap();
    assert!(consumer.next(MUCH).now_or_never().is_none());
    let begin = consumer.done_to();
    let mut publisher = publisher(&world.node, &world.realm, None);
    let topic = Arc::new(Topic::from_name("b").unwrap());
    for _ in 0..PASSED_MIN {
        publisher.publish_own(&topic, &publication(b"x", Qos::AtLeastOnce));
    }
    publisher.finish();
    assert!(consumer.next(MUCH).now_or_never().is_none());
    assert!(consumer.done_to() >= begin + PASSED_MIN, "{}", consumer.done_to());
    let place = now(world.node.consumer_place(REALM, NAME)).unwrap();
    assert_eq!(place.done_to, consumer.done_to());
}

#[test]
fn what_another_entry_runs_cannot_be_opened_and_what_it_takes_is_news() {
    let world = world();
    world.make(&["a"], None);
    let mut consumer = world.open();
    // From now on this is another entry than the one that made it.
    world.node.entry.set(u64::MAX).unwrap();
    let opened = now(world.node.open_consumer(REALM, NAME, Arc::new(|| NOW_MS)));
    assert_eq!(opened.err(), Some(ConsumerError::Stale));
    now(world.node.nudge_consumer(REALM, NAME)).unwrap();
    assert_eq!(now(consumer.news()), News::Elsewhere);
}
