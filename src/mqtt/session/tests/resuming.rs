//! Subscriptions that ask for older events (`docs/mqtt.md`).

use super::*;
use crate::types::ids::PublicationId;

const GRANTED: &str = "suback #1 GrantedQos1 recovered=true first_available";

/// A world in which all events under `d/` are durable, with five of them, one second apart.
fn with_past() -> (World, Peer) {
    let durable = vec![TopicPattern::from_filter("d/#").unwrap()];
    let world = Setup { durable, ..Setup::default() }.build();
    let mut publisher = world.join(v5("p"));
    for number in 1..=5 {
        publisher.publish(&format!("d/{}", number % 2), &number.to_string(), Q1);
        publisher.publish("other", "x", Q1);
        world.pass(1000);
    }
    publisher.hear();
    (world, publisher)
}

/// Event ids of the events that are under `d/`, oldest first.
fn ids(world: &World) -> Vec<String> {
    let mut peer = world.join(v5("ids"));
    peer.ask_past(&[("rewind", "1000")], &[to("d/#", Q0)]);
    let bytes = peer.bytes();
    let publishes = frames(&bytes).into_iter().filter_map(|frame| {
        let Packet::Publish(publish) = decode(frame, Level::V5, Side::Client).unwrap() else { return None };
        let properties = publish.properties().unwrap();
        properties.user_properties.iter().find(|(name, _)| *name == EVENT_ID).map(|(_, id)| id.to_owned())
    });
    publishes.collect()
}

fn sent(numbers: impl IntoIterator<Item = (u16, u32)>) -> Vec<String> {
    let line = |(id, number)| format!("publish d/{} {number} q1 #{id}", number % 2);
    std::iter::once(GRANTED.to_owned()).chain(numbers.into_iter().map(line)).collect()
}

#[test]
fn older_events_come_behind_an_event_a_publication_or_a_time() {
    let (world, _publisher) = with_past();
    let ids = ids(&world);
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted());
    let number = realm_number(&world, &ids[1]);
    let publication = world.node.log.publication_of(number).0.to_string();
    let time = "2023-11-14T22:13:22Z";
    assert_eq!(NOW_MS, 1_700_000_000_000, "which is 22:13:20");
    for after in [&*ids[1], &publication, time] {
        let mut peer = world.join(v5("s"));
        peer.ask_past(&[("after", after)], &[to("d/#", Q1)]);
        assert_eq!(peer.hear(), sent([(1, 3), (2, 4), (3, 5)]), "{after}");
    }
}

/// The number of an event, found by its id.
fn realm_number(world: &World, id: &str) -> u64 {
    let id = id.parse().unwrap();
    let segments = world.store.reader().unwrap().segments(1, None, usize::MAX).unwrap();
    let numbers = segments.iter().flat_map(|segment| (segment.first..=segment.last()).map(move |n| (segment, n)));
    numbers.into_iter().find(|(segment, number)| segment.event_id(*number) == id).unwrap().1
}

#[test]
fn last_events_come_and_then_what_is_new() {
    let (world, mut publisher) = with_past();
    let mut peer = world.join(v5("s"));
    peer.ask_past(&[("rewind", "2")], &[to("d/+", Q1)]);
    assert_eq!(peer.hear(), sent([(1, 4), (2, 5)]));
    publisher.publish("d/0", "6", Q1);
    publisher.publish("d/1", "7", Q0);
    assert_eq!(peer.hear(), ["publish d/0 6 q1 #3", "publish d/1 7"]);
    let mut none = world.join(v5("t"));
    none.ask_past(&[("rewind", "0")], &[to("d/+", Q1)]);
    assert_eq!(none.hear(), [GRANTED]);
    publisher.publish("d/0", "8", Q1);
    assert_eq!(none.hear(), ["publish d/0 8 q1 #1"]);
}

#[test]
fn snapshot_is_no_subscription() {
    let (world, mut publisher) = with_past();
    let mut peer = world.join(v5("s"));
    peer.subscribe("d/1", Q1);
    peer.ask_past(&[("rewind", "2"), ("snapshot", "true")], &[to("d/0", Q0)]);
    let granted = "suback #2 Success recovered=true first_available";
    assert_eq!(peer.hear(), [granted, "publish d/0 2", "publish d/0 4", &*end_of("d/0")]);
    publisher.publish("d/0", "6", Q1);
    publisher.publish("d/1", "7", Q1);
    assert_eq!(peer.hear(), ["publish d/1 7 q1 #1"]);
}

/// What is told behind the last event of a snapshot.
fn end_of(filter: &str) -> String {
    format!("publish fennec/close/snapshot_end {filter} text=true snapshot_end:true")
}

/// Behind all its events, whatever those wait for, and where there are none.
#[test]
fn end_of_a_snapshot_is_told() {
    let (world, _publisher) = with_past();
    for qos in [Q0, Q1, Q2] {
        let mut peer = world.join(kept(&format!("s{}", qos as u8), 1000));
        peer.ask_past_with(Some(7), &[("rewind", "3"), ("snapshot", "true")], &[to("d/+", qos), to("none", qos)]);
        let heard = peer.hear();
        assert_eq!(heard.len(), 1 + 3 + 2, "{heard:?}");
        let end = |filter: &str| end_of(filter).replace("text", "id=7 text");
        assert_eq!(heard[4..], [end("d/+"), end("none")]);
    }
    let properties = ConnectProperties { receive_maximum: 1, ..ConnectProperties::default() };
    let mut slow = world.join(Connect { properties, ..v5("slow") });
    slow.ask_past(&[("rewind", "2"), ("snapshot", "true")], &[to("d/0", Q1)]);
    assert_eq!(slow.hear(), [GRANTED, "publish d/0 2 q1 #1"]);
    slow.ack(AckType::Puback, 1);
    assert_eq!(slow.hear(), ["publish d/0 4 q1 #2", &*end_of("d/0")]);
}

/// Its other subscriptions go on as they were.
#[test]
fn asking_for_older_events_does_not_disturb_other_subscriptions() {
    let (world, mut publisher) = with_past();
    for connect in [v5("s"), kept("s", 100)] {
        let mut peer = world.join(connect);
        peer.subscribe("d/1", Q1);
        peer.subscribe("other", Q0);
        peer.ask_past(&[("rewind", "1")], &[to("d/0", Q1)]);
        let granted = "suback #3 GrantedQos1 recovered=true first_available";
        assert_eq!(peer.hear(), [granted, "publish d/0 4 q1 #1"]);
        publisher.publish("d/1", "7", Q1);
        publisher.publish("other", "x", Q1);
        publisher.publish("d/0", "4", Q1);
        assert_eq!(peer.hear(), ["publish d/1 7 q1 #2", "publish other x", "publish d/0 4 q1 #3"]);
    }
}

#[test]
fn several_filters_ask_for_their_own_past() {
    let (world, _publisher) = with_past();
    let mut peer = world.join(v5("s"));
    peer.ask_past(&[("rewind", "1")], &[to("d/0", Q1), to("$share/g/d/1", Q1), to("d/1", Q0)]);
    let why = "(a shared subscription has no past)";
    let granted = "GrantedQos1 ImplementationSpecificError Success";
    let suback = format!("suback #1 {granted} {why} recovered=true first_available");
    assert_eq!(peer.hear(), [&*suback, "publish d/0 4 q1 #1", "publish d/1 5"]);
}

/// The place that was asked for is the session's, whenever its client comes back.
#[test]
fn older_events_of_a_kept_session_survive_the_broker() {
    let (mut world, _publisher) = with_past();
    let id = ids(&world)[1].clone();
    let mut peer = world.join(Connect {
        properties: ConnectProperties { receive_maximum: 1, ..kept("s", 1000).properties },
        ..kept("s", 1000)
    });
    peer.ask_past(&[("after", &id)], &[to("d/#", Q1)]);
    assert_eq!(peer.hear(), sent([(1, 3)]));
    peer.cut();
    world.restart();
    let heard = world.connect(kept("s", 1000)).hear();
    assert_eq!(heard[..2], ["connack Success present", "publish d/1 3 q1 #1 dup"]);
    assert_eq!(heard[2..], sent([(2, 4), (3, 5)])[1..]);
}

#[test]
fn what_cannot_be_asked_of_the_past_is_refused() {
    let (world, _publisher) = with_past();
    let mut peer = world.join(v5("s"));
    peer.ask_past(&[("rewind", "x")], &[to("d/0", Q1), to("d/1", Q1)]);
    let refused = "ImplementationSpecificError";
    let why = "(the user property rewind is no number of events)";
    assert_eq!(peer.hear(), [format!("suback #1 {refused} {refused} {why}")]);
    assert_eq!(realm(&world).subscriptions_len(), 0);
    let properties = ConnectProperties { request_problem_information: false, ..ConnectProperties::default() };
    let mut terse = world.join(Connect { properties, ..v5("t") });
    terse.ask_past(&[("rewind", "x")], &[to("d/0", Q1)]);
    terse.ask_past(&[("rewind", "0")], &[to("d/0", Q1)]);
    assert_eq!(terse.hear(), [format!("suback #1 {refused}"), "suback #2 GrantedQos1".to_owned()]);
}

/// An id that the log does not know, for it is from elsewhere: what is new is sent, and that something may be missing is told.
#[test]
fn who_asks_for_what_is_not_there_is_told() {
    let (world, mut publisher) = with_past();
    let unknown = world.node.log.publication_of(1_000_000);
    assert_ne!(unknown, PublicationId(0));
    let mut peer = world.join(v5("s"));
    peer.ask_past(&[("after", &unknown.0.to_string())], &[to("d/#", Q1)]);
    assert_eq!(peer.hear(), ["suback #1 GrantedQos1 recovered=false first_available"]);
    publisher.publish("d/0", "6", Q1);
    assert_eq!(peer.hear(), ["publish d/0 6 q1 #1"]);
}

/// fox-wamp's filter: events whose data have these fields, live, from the log, and retained.
#[test]
fn filter_lets_events_through_that_have_its_fields() {
    let (mut world, mut publisher) = with_past();
    publisher.send_publish(Publish { retain: true, ..publish("d/r", r#"{"kind":"a"}"#, Q1) });
    publisher.send_publish(Publish { retain: true, ..publish("d/s", r#"{"kind":"b"}"#, Q1) });
    let filter = ("filter", r#"{"kind":"a"}"#);
    for connect in [v5("s"), kept("s", 1000)] {
        let mut peer = world.join(connect);
        peer.ask_past(&[filter], &[to("d/#", Q1)]);
        assert_eq!(peer.hear(), ["suback #1 GrantedQos1", "publish d/r {\"kind\":\"a\"} q1 #1 retain"]);
        peer.subscribe("other", Q0);
        for payload in [r#"{"kind":"b"}"#, r#"{"kind":"a","n":1}"#, "no JSON"] {
            publisher.publish("d/0", payload, Q1);
            publisher.publish("other", payload, Q0);
        }
        let sent = r#"publish d/0 {"kind":"a","n":1} q1 #2"#;
        let others = [r#"publish other {"kind":"b"}"#, r#"publish other {"kind":"a","n":1}"#, "publish other no JSON"];
        let mut heard = peer.hear();
        heard.sort();
        assert_eq!(heard, [sent, others[2], others[1], others[0]]);
        let mut late = world.join(v5("late"));
        late.ask_past(&[filter, ("rewind", "1"), ("snapshot", "true")], &[to("d/0", Q1)]);
        assert_eq!(late.hear(), [GRANTED, r#"publish d/0 {"kind":"a","n":1} q1 #1"#, &*end_of("d/0")]);
    }
    // The session is kept, and so is what it is for.
    world.restart();
    let mut publisher = world.join(v5("p"));
    publisher.publish("d/0", r#"{"kind":"b"}"#, Q1);
    publisher.publish("d/0", r#"{"kind":"a","n":2}"#, Q1);
    let heard = world.connect(kept("s", 1000)).hear();
    assert_eq!(heard.last().map(String::as_str), Some(r#"publish d/0 {"kind":"a","n":2} q1 #3"#));
    assert!(!heard.iter().any(|line| line.contains(r#""b""#)), "{heard:?}");
}

/// An event comes if one of the subscriptions that match lets it through.
#[test]
fn subscription_without_a_filter_gets_what_others_leave_out() {
    let (world, mut publisher) = with_past();
    let mut peer = world.join(v5("s"));
    peer.ask_past(&[("filter", r#"{"kind":"a"}"#)], &[to("t/+", Q0)]);
    assert_eq!(peer.hear(), ["suback #1 Success"]);
    publisher.publish("t/1", "x", Q0);
    assert!(peer.hear().is_empty());
    peer.subscribe("t/1", Q0);
    publisher.publish("t/1", "x", Q0);
    publisher.publish("t/2", "x", Q0);
    assert_eq!(peer.hear(), ["publish t/1 x"]);
    peer.send_unsubscribe(&["t/+"]);
    peer.hear();
    publisher.publish("t/1", "y", Q0);
    assert_eq!(peer.hear(), ["publish t/1 y"]);
}

/// MQTT 5, 3.3.4: identifiers of the subscriptions that match. A filter for data decides on that, too.
#[test]
fn subscription_whose_filter_leaves_an_event_out_is_not_named_with_it() {
    let (mut world, mut publisher) = with_past();
    let subscribe = |peer: &mut Peer| {
        peer.ask_past_with(Some(1), &[("filter", r#"{"kind":"a"}"#)], &[to("+/#", Q1)]);
        peer.ask_past_with(Some(2), &[("filter", r#"{"n":1}"#)], &[to("d/+", Q1)]);
        peer.ask_past_with(Some(3), &[], &[to("d/x", Q1)]);
        assert_eq!(peer.hear().len(), 3);
    };
    let events = [r#"{"kind":"a","n":1}"#, r#"{"kind":"b","n":1}"#, r#"{"kind":"a"}"#, r#"{"kind":"b"}"#];
    let ids = ["1 2", "2", "1", ""];
    let heard = |peer: &mut Peer, topic: &str, more: &str| {
        let lines = events.iter().zip(ids).filter(|(_, ids)| !ids.is_empty() || !more.is_empty());
        let named = |line: &str| {
            let mut ids: Vec<_> = line.split_whitespace().filter_map(|word| word.strip_prefix("id=")).collect();
            ids.sort_unstable();
            ids.join(" ")
        };
        let expected: Vec<_> = lines.map(|(_, ids)| format!("{ids} {more}").trim().to_owned()).collect();
        let heard = peer.hear();
        assert!(heard.iter().all(|line| line.starts_with(&format!("publish {topic}"))), "{heard:?}");
        assert_eq!(heard.iter().map(|line| named(line)).collect::<Vec<_>>(), expected, "{heard:?}");
    };
    let mut live = world.join(v5("live"));
    let mut away = world.join(kept("away", 1000));
    [&mut live, &mut away].into_iter().for_each(subscribe);
    away.leave();
    for (topic, more) in [("d/x", "3"), ("d/y", "")] {
        for event in events {
            publisher.publish(topic, event, Q1);
        }
        heard(&mut live, topic, more);
    }
    let mut back = world.connect(kept("away", 1000));
    let mut lines = back.hear();
    lines.retain(|line| line.starts_with("publish"));
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(lines[1].contains("id=2") && lines[1].contains("id=3") && !lines[1].contains("id=1"), "{lines:?}");
    assert!(lines[3].contains("id=3") && !lines[3].contains("id=1") && !lines[3].contains("id=2"), "{lines:?}");
    // What is sent again is named as it was.
    world.restart();
    let mut again = world.connect(kept("away", 1000)).hear();
    again.retain(|line| line.starts_with("publish"));
    assert!(again[1].contains("id=2") && !again[1].contains("id=1"), "{again:?}");
}

#[test]
fn session_is_not_taken_up_again_with_what_its_user_may_not_have_any_more() {
    use crate::router::authorize::{Action, Authorizer, Permission};
    let world = World::new();
    let may = |filter: &str| Permission {
        actions: Action::ALL.to_vec(),
        pattern: TopicPattern::from_filter(filter).unwrap(),
        allow: true,
    };
    let authorize = |filter: &'static str| -> crate::node::Authorize {
        let role = Role { name: "anonymous".into(), permissions: vec![may(filter)], asks: None };
        Box::new(move |_| Authorizer::new([role.clone()]))
    };
    let mut peer = world.join(kept("k", 1000));
    assert!(peer.subscribe("a/#", Q1).is_empty());
    assert_eq!(world.node.replace_access([], authorize("a/#")), Ok(1), "its role may do something else now");
    assert_eq!(peer.hear(), ["disconnect NotAuthorized", "closed"]);
    let mut peer = world.connect(kept("k", 1000));
    assert!(peer.hear()[0].starts_with("connack Success present"), "it may still have all it had");
    assert_eq!(world.node.replace_access([], authorize("b/#")), Ok(1));
    assert_eq!(peer.hear(), ["disconnect NotAuthorized", "closed"]);
    let mut peer = world.connect(kept("k", 1000));
    let heard = peer.hear();
    assert!(heard[0].starts_with("connack Success") && !heard[0].contains("present"), "{heard:?}");
    assert_eq!(world.node.replace_access([], authorize("b/#")), Ok(0), "nothing has changed");
}
