use std::sync::Arc;

use super::*;
use crate::node::testing::{NOW_MS, filter, node, publication, publisher};
use crate::queue::message::{Batch, Posting};
use crate::router::broker::GroupKey;
use crate::types::event::{Event, Qos};
use crate::types::ids::PublicationId;
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::Topic;

fn staged(topics: &[&str], retain: bool) -> Staged {
    let mut staged = Staged::default();
    for (topic, publication) in topics.iter().zip(1..) {
        let event = Event {
            topic: &Arc::new(Topic::from_name(topic).unwrap()),
            payload: PayloadRef::Bytes(b"x"),
            codec: Codec::Auto,
            qos: Qos::AtMostOnce,
            retain,
            publication: PublicationId(publication),
            place: None,
            properties: None,
            publisher: None,
            expires_at_ms: None,
            expires_in_s: None,
        };
        staged.push(&event, &Posting { realm: "realm1", ..Posting::default() });
    }
    staged
}

#[test]
fn a_body_is_read_as_it_was_written() {
    let groups = [GroupKey { name: "g".into(), pattern: filter("a/+") }];
    let body = staged(&["a/1", "a/2"], false).body(false, &groups);
    let opened = body::Opened::read(&body).unwrap();
    assert!(!opened.for_all);
    assert_eq!(opened.groups, groups);
    assert_eq!(opened.publications().collect::<Vec<_>>(), [PublicationId(1), PublicationId(2)]);
}

#[test]
fn a_body_that_is_cut_short_is_refused_and_nothing_panics() {
    let (node, _) = node();
    let body = staged(&["a/1", "a/2"], false).body(true, &[GroupKey { name: "g".into(), pattern: filter("a/+") }]);
    let mut receiver = Receiver::new(node.clone());
    assert_eq!(receiver.receive(&body, NOW_MS), Ok(()));
    for len in 0..body.len() {
        let before = node.peers.counts().1;
        let whole = receiver.receive(&body[..len], NOW_MS).is_ok();
        assert!(!whole || node.peers.counts().1 < before + 2, "{len} bytes");
    }
}

#[test]
fn what_goes_by_the_log_is_not_taken_from_a_peer() {
    let (node, realm) = node();
    let mut receiver = Receiver::new(node.clone());
    assert!(receiver.receive(&staged(&["t"], true).body(true, &[]), NOW_MS).is_err());
    assert!(receiver.receive(&staged(&["$SYS/x"], false).body(true, &[]), NOW_MS).is_err());
    let mut command = Batch::default();
    command.gap(3);
    let body = [&[1, 0, 0, 0, 0, 0, 0, 0, 0][..], command.as_bytes()].concat();
    assert!(receiver.receive(&body, NOW_MS).is_err());
    assert!(realm.retained(&Topic::from_name("t").unwrap(), NOW_MS).is_none());
}

#[test]
fn events_for_a_link_without_room_are_counted_and_the_publisher_slows_down_before() {
    let (node, realm) = node();
    let fates = parking_lot::Mutex::new(vec![Carried::Dropped, Carried::Crowded, Carried::Sent]);
    node.open_peers(Box::new(move |_, _| fates.lock().pop().unwrap()), Box::new(|| {}));
    realm.set_reach(PeerId(0), true, [(&filter("t"), None)]);
    let mut publisher = publisher(&node, &realm, None);
    let mut say = || {
        let target = publisher.look_up(b"t", |_| Topic::from_name("t")).unwrap();
        publisher.publish(target, &publication(b"x", Qos::AtMostOnce)).unwrap();
        publisher.finish();
        publisher.take_crowded()
    };
    assert!(!say());
    assert!(say());
    assert!(!say());
    let dropped = node.metrics.of(crate::node::metrics::Protocol::Mqtt).dropped
        [crate::node::metrics::Drop::LinkFull as usize]
        .load(Ordering::Relaxed);
    assert_eq!((dropped, node.peers.counts().0), (1, 2));
}
