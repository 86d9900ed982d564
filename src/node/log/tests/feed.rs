//! What subscribers and submitters are given of a position, and in which order.

use super::*;
use crate::node::link::Link;
use crate::node::mailbox::Mailbox;
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::node::testing::{self, NOW_MS, filter, identity, merged, node_without_log, recover, wire};
use crate::types::limits::Limits;
use crate::types::topic::Topic;

struct World {
    node: Arc<Node>,
    realm: Arc<Realm>,
    store: Faulty,
    told: Told,
}

/// A node whose log is worked by whoever submits.
fn world() -> World {
    let (node, realm) = node_without_log(Limits::default());
    let store = Faulty::default();
    testing::run_log_on(&node, Box::new(store.clone()), Arc::new(|| NOW_MS));
    World { node, realm, store, told: Told::default() }
}

impl World {
    /// A connected session that is subscribed with QoS 1.
    fn subscriber(&self, topic: &str) -> Arc<Session> {
        let session = self.node.new_session(identity("s"), wire(1).as_ref(), false);
        session.mailbox().attach(Arc::new(Link::default()), wire(1).as_ref(), 1000, usize::MAX, 0);
        self.realm.set_wire(&session, wire(1).as_ref(), false);
        self.realm.join(session.clone());
        self.realm.subscribe(&session, &filter(topic), None, merged(Qos::AtLeastOnce), |_, _: &mut Mailbox| {});
        session
    }

    fn submit(&self, name: &'static str, batch: Batch) -> Vec<String> {
        self.node.submit(Submission { batch, owner: self.told.owner(name) });
        self.told.take()
    }

    fn value(&self, topic: &str) -> Option<String> {
        let value = self.realm.retained(&Topic::from_name(topic).unwrap(), NOW_MS)?;
        Some(String::from_utf8_lossy(&value.payload.as_ref().as_bytes(Default::default())).into_owned())
    }
}

fn taken(session: &Session) -> Vec<String> {
    testing::take(&mut session.mailbox())
}

#[test]
fn events_are_with_their_subscribers_before_their_publisher_is_told() {
    let world = world();
    let session = world.subscriber("t");
    let (seen, subscriber) = (Arc::new(Mutex::new(Vec::new())), session.clone());
    let owner = {
        let seen = seen.clone();
        Owner::Function(Arc::new(move |outcome| seen.lock().push((line(&outcome), taken(&subscriber)))))
    };
    world.node.submit(Submission { batch: plain("t", &["x", "y"]), owner });
    let expected = [("events 1..=2".to_owned(), vec!["1# t=x".to_owned(), "2# t=y".to_owned()])];
    assert_eq!(*seen.lock(), expected);
}

#[test]
fn what_counts_for_nothing_is_neither_routed_nor_kept() {
    let world = world();
    let session = world.subscriber("#");
    let mut batch = plain("t", &["1"]);
    conditional(&mut batch, "k", 7, Condition { when: Some(When::Number(99)), ..Condition::default() });
    conditional(&mut batch, "k", 7, Condition { when: Some(When::Absent), ..Condition::default() });
    events(&mut batch, "t", &["4"]);
    assert_eq!(world.submit("a", batch), ["a: event 1", "a: void ConditionFailed", "a: events 3..=4"]);
    assert_eq!(taken(&session), ["1# t=1", "2# k=v", "3# t=4"]);
    assert_eq!(world.value("k").as_deref(), Some("v"));
}

#[test]
fn what_was_set_off_is_routed_behind_the_body_and_changes_keys() {
    let world = world();
    let session = world.subscriber("l");
    assert_eq!(world.submit("a", lock("l", 1)), ["a: event 1"]);
    assert_eq!(world.submit("b", lock("l", 2)), ["b: waiting 2"]);
    assert_eq!(taken(&session), ["1# l=v"]);
    let topic = Topic::from_name("l").unwrap();
    assert_eq!(world.realm.lock_holder(&topic), Some(SessionId(1)));
    assert_eq!(world.submit("-", leave(1)), ["-: done Yes", "b: granted 2 as 5"]);
    assert_eq!(taken(&session), ["2# l=", "3# l=v"]);
    assert_eq!(world.realm.lock_holder(&topic), Some(SessionId(2)));
    assert_eq!(world.value("l").as_deref(), Some("v"));
}

#[test]
fn a_segment_of_a_realm_that_is_gone_is_passed_over() {
    let world = world();
    let session = world.subscriber("t");
    let mut batch = Batch::default();
    let gone = Head { realm: "gone", ..head("t", 0, false, false) };
    batch.message(&gone, PayloadRef::Bytes(b"x"), None);
    events(&mut batch, "t", &["y"]);
    assert_eq!(world.submit("a", batch), ["a: events 1..=2"]);
    assert_eq!(taken(&session), ["1# t=y"]);
}

#[test]
fn while_the_store_fails_nothing_is_routed_and_the_rest_of_the_node_goes_on() {
    let world = world();
    let session = world.subscriber("t");
    world.store.set(Fault::Full);
    assert_eq!(world.submit("a", plain("t", &["1"])), ["a: 1 refused StoreUnavailable"]);
    assert_eq!(taken(&session), [""; 0]);
    assert_eq!(world.node.log.health().as_deref(), Some("the store cannot be used now: the disk is full"));
    assert_eq!(world.node.log.counts.failures.load(Ordering::Relaxed), 1);
    assert_eq!(world.node.log.unresolved_bytes(), 0);

    let mut publisher = testing::publisher(&world.node, &world.realm, None);
    let target = publisher.look_up(b"t", |_| Topic::from_name("t")).unwrap();
    publisher.publish(target, &testing::publication(b"plain", Qos::AtMostOnce)).unwrap();
    publisher.finish();
    assert_eq!(taken(&session), ["t=plain"]);

    world.store.set(Fault::None);
    recover(&world.node);
    assert_eq!(world.node.log.health(), None);
    assert_eq!(world.submit("a", plain("t", &["2"])), ["a: event 1"]);
    assert_eq!(taken(&session), ["1# t=2"]);
}

#[test]
fn what_was_in_doubt_is_routed_when_it_is_found() {
    let world = world();
    let session = world.subscriber("t");
    world.store.set(Fault::LostBehind);
    assert_eq!(world.submit("a", plain("t", &["1"])), [""; 0]);
    assert_eq!((taken(&session), world.node.log.fed()), (vec![], 0));
    world.store.set(Fault::None);
    recover(&world.node);
    assert_eq!((world.told.take(), taken(&session)), (vec!["a: event 1".to_owned()], vec!["1# t=1".to_owned()]));
    assert_eq!(world.node.log.fed(), 1);
}

#[test]
fn what_does_not_fit_beside_what_waits_is_refused_and_what_is_larger_goes_alone() {
    let (node, _) = node_without_log(Limits { log_unresolved_bytes_max: 1000, ..Limits::default() });
    let told = Told::default();
    let submit = |name, payload: &str| {
        node.submit(Submission { batch: plain("t", &[payload]), owner: told.owner(name) });
        told.take()
    };
    let large = "x".repeat(2000);
    assert_eq!(submit("a", &large), [""; 0]);
    assert!(node.log.is_crowded());
    assert_eq!(submit("b", "x"), ["b: 1 refused Full"]);
    testing::run_log(&node);
    assert_eq!((told.take(), node.log.unresolved_bytes()), (vec!["a: event 1".to_owned()], 0));
    assert_eq!(submit("b", "x"), ["b: event 2"]);
}

#[test]
fn outcomes_may_make_their_receivers_submit_more() {
    let world = world();
    let (node, told) = (world.node.clone(), world.told.clone());
    let more = Owner::Function(Arc::new(move |_| {
        node.submit(Submission { batch: plain("t", &["2"]), owner: told.owner("b") });
    }));
    world.node.submit(Submission { batch: plain("t", &["1"]), owner: more });
    assert_eq!(world.told.take(), ["b: event 2"]);
}
