//! `GET /subscribe`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fennec::net::clock::Clock;
use fennec::node::metrics::Protocol;
use fennec::node::peers::Carried;
use fennec::node::publish::Publication;
use fennec::router::authorize::Action;
use fennec::types::event::Qos;
use fennec::types::limits::{Limits, OutboxFull};
use fennec::types::payload::PayloadRef;
use fennec::types::topic::Topic;
use serde_json::json;

use crate::broker::{Ask, Broker, EventReader, Setup, role, soon};

/// Publishes as an MQTT client does.
fn publish(broker: &Broker, topic: &str, payload: &[u8]) {
    let publication = Publication::plain(PayloadRef::Bytes(payload), Qos::AtMostOnce);
    let topic = Arc::new(Topic::from_name(topic).unwrap());
    broker.node.publish_as_broker(&broker.realm(), &topic, &publication, Protocol::Mqtt, 0);
}

#[tokio::test]
async fn events_come_as_they_are_matched() {
    let broker = Broker::start(Setup::default());
    for (query, expected) in [
        ("topic=app.a", &["app.a"][..]),
        ("topic=app.a&match=prefix", &["app.a", "app.a.x", "app.ab"]),
        ("topic=app..x&match=wildcard", &["app.a.x"]),
        ("topic=app.%23", &["app.a", "app.a.x", "app.ab"]),
        ("mqtt_topic=app/%2B", &["app.a", "app.ab"]),
        ("topic=app.a&topic=end.here&mqtt_topic=%2B/a/x", &["app.a", "app.a.x"]),
    ] {
        let mut events = EventReader::open(&broker, &format!("{query}&mqtt_topic=end")).await;
        for topic in ["app/a", "app/a/x", "app/ab", "other", "end"] {
            publish(&broker, topic, b"1");
        }
        let mut topics = Vec::new();
        loop {
            let event = events.event().await;
            match event["topic"].as_str().unwrap() {
                "end" => break,
                topic => topics.push(topic.to_owned()),
            }
        }
        assert_eq!(topics, expected, "{query}");
    }
}

#[tokio::test]
async fn a_topic_that_several_patterns_match_comes_once() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=app.a&topic=app.%23&mqtt_topic=app/a").await;
    publish(&broker, "app/a", b"1");
    publish(&broker, "app/a", b"2");
    assert_eq!(events.event().await["args"], json!([1]));
    assert_eq!(events.event().await["args"], json!([2]));
}

#[tokio::test]
async fn an_event_is_one_line_of_data_whatever_it_holds() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=app.a").await;
    publish(&broker, "app/a", b"{\n\"a\":\r\n\"x\\ny\"}");
    assert_eq!(events.event().await["args"], json!([{"a": "x\ny"}]));
    let large = vec![b'x'; 300_000];
    publish(&broker, "app/a", &large);
    assert_eq!(events.event().await["args"][0].as_str().map(str::len), Some(large.len()));
}

#[tokio::test]
async fn a_wrong_subscription_is_refused() {
    let roles = vec![role("anonymous", &[Action::Subscribe])];
    let broker = Broker::start(Setup { roles, ..Setup::default() });
    for query in ["", "topic=app.a&match=some", "topics=app.a", "topic=app.a&retained=maybe"] {
        broker.get(&format!("/subscribe?{query}")).await.is_error(400, "wamp.error.invalid_argument");
    }
    broker.get("/subscribe?topic=app..a").await.is_error(400, "wamp.error.invalid_uri");
    broker.get("/subscribe?topic=app.a&realm=no").await.is_error(404, "wamp.error.no_such_realm");
    for query in ["topic=b", "topic=%23", "topic=app.a&topic=b", "topic=app&match=prefix"] {
        broker.get(&format!("/subscribe?{query}")).await.is_error(403, "wamp.error.not_authorized");
    }
    let post = Ask::post("/subscribe?topic=app.a", "{}");
    broker.ask(post).await.is_error(405, "fennec.error.method_not_allowed");
    EventReader::open(&broker, "topic=app.a").await;
}

#[tokio::test]
async fn a_retained_value_is_sent_only_where_its_topic_may_be_subscribed_to() {
    let mut allowed = role("anonymous", &[Action::Subscribe, Action::Publish]);
    let mut denied = role("x", &[Action::Subscribe]).permissions.remove(0);
    denied.pattern = fennec::types::topic::TopicPattern::from_filter("app/secret").unwrap();
    denied.allow = false;
    allowed.permissions.push(denied);
    let broker = Broker::start(Setup { roles: vec![allowed], ..Setup::default() });
    broker.post("/publish", r#"{"topic": "app.secret", "args": [1], "retain": true}"#).await.is_json();
    broker.get("/subscribe?topic=app.secret&retained=true").await.is_error(403, "wamp.error.not_authorized");
    broker.get("/subscribe?topic=app.%23&retained=true").await.is_error(403, "wamp.error.not_authorized");
}

#[tokio::test]
async fn as_many_sessions_as_there_may_be() {
    let limits = Limits { sessions_max: 1, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    let _events = EventReader::open(&broker, "topic=app.a").await;
    broker.get("/subscribe?topic=app.a").await.is_error(503, "fennec.error.quota_exceeded");
}

#[tokio::test]
async fn the_session_goes_with_its_client() {
    let broker = Broker::start(Setup::default());
    let events = EventReader::open(&broker, "topic=app.a&topic=app.b").await;
    let realm = broker.realm();
    assert_eq!((realm.sessions_len(), realm.subscriptions_len()), (1, 2));
    drop(events);
    // The broker is told by the socket, so it has to be waited for.
    soon("the end of the session", async {
        while realm.sessions_len() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(realm.subscriptions_len(), 0);
}

#[tokio::test]
async fn a_reader_that_stops_costs_bounded_memory_and_others_nothing() {
    let limits = Limits { outbox_bytes_max: 65_536, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    let mut stopped = EventReader::open(&broker, "topic=app.a").await;
    let payload = vec![b'x'; 60_000];
    let dropped = || broker.node.metrics.of(Protocol::Mqtt).dropped[0].load(std::sync::atomic::Ordering::Relaxed);
    soon("a full outbox", async {
        while dropped() == 0 {
            publish(&broker, "app/a", &payload);
            tokio::task::yield_now().await;
        }
    })
    .await;
    let waiting: usize = broker.realm().sessions().iter().map(|session| session.mailbox().outbox.bytes()).sum();
    assert!(waiting <= 65_536, "{waiting}");
    let mut reader = EventReader::open(&broker, "topic=app.b").await;
    publish(&broker, "app/b", b"1");
    assert_eq!(reader.event().await["args"], json!([1]));
    // What was not dropped is whole.
    assert_eq!(stopped.event().await["args"][0].as_str().map(str::len), Some(payload.len()));
}

#[tokio::test]
async fn a_reader_that_stops_can_be_ended_by_configuration() {
    let limits = Limits { outbox_bytes_max: 65_536, outbox_full: OutboxFull::Disconnect, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    let mut events = EventReader::open(&broker, "topic=app.a").await;
    let payload = vec![b'x'; 60_000];
    let dropped = || broker.node.metrics.of(Protocol::Mqtt).dropped[0].load(std::sync::atomic::Ordering::Relaxed);
    soon("a full outbox", async {
        while dropped() == 0 {
            publish(&broker, "app/a", &payload);
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut last = String::new();
    while let Some(block) = events.block().await {
        last = block;
    }
    assert_eq!(last, "event: end\ndata: {\"reason\":\"events were not read as fast as they came\"}");
}

#[tokio::test]
async fn a_broker_that_stops_ends_subscriptions_and_takes_nothing_new() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=app.a").await;
    assert_eq!(broker.get("/readyz").await.status.as_u16(), 200);
    publish(&broker, "app/a", b"1");
    broker.node.drain();
    assert_eq!(events.event().await["args"], json!([1]), "what was there before is delivered");
    assert_eq!(events.block().await.as_deref(), Some("event: end\ndata: {\"reason\":\"the broker is stopping\"}"));
    assert_eq!(events.block().await, None);
    let ready = broker.get("/readyz").await;
    ready.is_error(503, "wamp.close.system_shutdown");
    assert_eq!(ready.header("connection"), Some("close"));
    broker.post("/publish", r#"{"topic": "a"}"#).await.is_error(503, "wamp.close.system_shutdown");
    broker.post("/call", r#"{"procedure": "a"}"#).await.is_error(503, "wamp.close.system_shutdown");
    broker.get("/subscribe?topic=a").await.is_error(503, "wamp.close.system_shutdown");
    assert_eq!(broker.get("/healthz").await.status.as_u16(), 200);
}

#[tokio::test]
async fn who_subscribes_at_an_entry_of_a_cluster_is_answered_when_the_other_entries_know() {
    let broker = Broker::start(Setup::default());
    broker.node.open_peers(Box::new(|_, _| Carried::Sent), Box::new(|| ()));
    let peers = &broker.node.peers;
    for given_up in [false, true] {
        let before = peers.last_change();
        let query = format!("topic=app.{given_up}");
        let mut opening = pin!(broker.open(Ask::get(&format!("/subscribe?{query}"))));
        let changed = async {
            while peers.last_change() == before {
                tokio::task::yield_now().await;
            }
            // It may be that it would come now; it must not.
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        tokio::select! {
            biased;
            _ = &mut opening => panic!("it is answered before anybody has heard of it"),
            () = soon("a change", changed) => {}
        }
        let release = async {
            loop {
                match given_up {
                    true => broker.node.tick(Clock::default().now_ms() + 1000),
                    false => peers.set_heard(peers.last_change()),
                }
                tokio::task::yield_now().await;
            }
        };
        let answer = tokio::select! {
            answer = &mut opening => answer,
            () = release => unreachable!("it goes on for ever"),
        };
        assert_eq!(answer.status(), 200);
    }
}
