//! What goes through the log: acknowledged when it is there, conditions, subscribers that resume.

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::broker::{Ask, Broker, EventReader, Setup, soon};

async fn publish(broker: &Broker, topic: &str, number: u32) -> Value {
    let body = json!({"topic": topic, "args": [number]});
    broker.post("/publish", &body.to_string()).await.is_json()
}

/// The first arguments and ids of so many events.
async fn read(events: &mut EventReader, count: usize) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let (id, event) = events.event_with_id().await;
        all.push((event["args"][0].as_u64().unwrap(), id.expect("durable events have an id")));
    }
    all
}

fn numbers(events: &[(u64, String)]) -> Vec<u64> {
    events.iter().map(|(number, _)| *number).collect()
}

#[tokio::test]
async fn a_durable_publication_is_answered_with_its_event_id() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=log.a&topic=app.a").await;
    let published = publish(&broker, "log.a", 1).await;
    let (id, event) = events.event_with_id().await;
    assert_eq!(published, json!({"publication": event["publication"], "event_id": id.expect("an id")}));
    let published = publish(&broker, "app.a", 1).await;
    let (id, event) = events.event_with_id().await;
    assert_eq!((published, id), (json!({"publication": event["publication"]}), None));
}

#[tokio::test]
async fn a_condition_that_does_not_hold_is_a_conflict() {
    let broker = Broker::start(Setup::default());
    let put = |when: Value, value: Value| {
        json!({"topic": "app.key", "retain": true, "when": when, "args": [value]}).to_string()
    };
    broker.post("/publish", &put(Value::Null, json!({"on": true}))).await.is_json();
    broker.post("/publish", &put(Value::Null, json!(1))).await.is_error(409, "fennec.error.condition_failed");
    let other = put(json!({"on": false}), json!(1));
    broker.post("/publish", &other).await.is_error(409, "fennec.error.condition_failed");
    broker.post("/publish", &put(json!({"on": true}), json!({"on": false}))).await.is_json();
    let without_retain = r#"{"topic": "app.key", "when": null, "args": [1]}"#;
    broker.post("/publish", without_retain).await.is_error(400, "wamp.error.invalid_argument");
    let wrong = r#"{"topic": "app.key", "when": "x", "retain": true, "args": [1]}"#;
    broker.post("/publish", wrong).await.is_error(400, "wamp.error.invalid_argument");
}

#[tokio::test]
async fn a_store_that_fails_refuses_what_must_be_durable_until_it_works_again() {
    let broker = Broker::start(Setup::default());
    broker.broken.store(true, Ordering::Relaxed);
    let answer = broker.post("/publish", r#"{"topic": "log.a", "args": [1]}"#).await;
    answer.is_error(503, "fennec.error.store_unavailable");
    assert!(answer.header("retry-after").is_some());
    let ready = broker.get("/readyz").await;
    ready.is_error(503, "fennec.error.store_unavailable");
    assert!(ready.text().contains("the disk is full"), "{}", ready.text());
    publish(&broker, "app.a", 1).await;
    assert_eq!(broker.get("/healthz").await.status, StatusCode::OK);
    broker.broken.store(false, Ordering::Relaxed);
    let works_again = async {
        while broker.get("/readyz").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    soon("readiness", works_again).await;
    publish(&broker, "log.a", 2).await;
}

#[tokio::test]
async fn a_browser_goes_on_behind_the_last_event_it_has_seen() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=log&match=prefix").await;
    for number in 1..=4 {
        publish(&broker, "log.a", number).await;
    }
    let seen = read(&mut events, 4).await;
    drop(events);
    let ask = Ask::get("/subscribe?topic=log&match=prefix&rewind=0").with("last-event-id", &seen[1].1);
    let mut events = EventReader::ask(&broker, ask).await;
    let resume = events.other("resume").await;
    assert_eq!(resume, json!({"recovered": true, "first_available": seen[0].1}));
    publish(&broker, "log.b", 5).await;
    assert_eq!(numbers(&read(&mut events, 3).await), [3, 4, 5]);
    // An event that this log never had.
    let ask = Ask::get("/subscribe?topic=log.a").with("last-event-id", "9912312359a1a1");
    let mut events = EventReader::ask(&broker, ask).await;
    assert_eq!(events.other("resume").await["recovered"], json!(false));
    let ask = Ask::get("/subscribe?topic=log.a").with("last-event-id", "nonsense");
    broker.ask(ask).await.is_error(400, "wamp.error.invalid_argument");
}

#[tokio::test]
async fn the_url_may_say_from_where_on() {
    let broker = Broker::start(Setup::default());
    let mut ids = Vec::new();
    for number in 1..=4 {
        ids.push(publish(&broker, "log.a", number).await);
    }
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
    for (query, expected) in [
        ("topic=log.a&rewind=2".to_owned(), &[3, 4][..]),
        (format!("topic=log.a&after={}", text(&ids[0]["event_id"])), &[2, 3, 4]),
        (format!("topic=log.a&after={}", text(&ids[2]["publication"])), &[4]),
        ("topic=log.a&after=1970-01-01T00:00:00Z".to_owned(), &[1, 2, 3, 4]),
        ("topic=log.a&mqtt_topic=log/%23&rewind=2".to_owned(), &[3, 4]),
        ("topic=log.a&snapshot=true&rewind=2".to_owned(), &[3, 4]),
        ("topic=log.a&durable=mine&rewind=1".to_owned(), &[4]),
    ] {
        let mut events = EventReader::open(&broker, &query).await;
        assert_eq!(events.other("resume").await["recovered"], json!(true), "{query}");
        assert_eq!(numbers(&read(&mut events, expected.len()).await), expected, "{query}");
        if query.contains("snapshot") {
            assert_eq!(events.other("end").await, json!({"reason": "fennec.close.snapshot_end"}));
            assert_eq!(events.block().await, None);
        }
    }
}

#[tokio::test]
async fn a_snapshot_of_retained_values_ends() {
    let broker = Broker::start(Setup::default());
    for topic in ["app.a", "app.b"] {
        broker.post("/publish", &json!({"topic": topic, "retain": true, "args": [1]}).to_string()).await.is_json();
    }
    let mut events = EventReader::open(&broker, "mqtt_topic=app/%23&snapshot=true&retained=true").await;
    for topic in ["app.a", "app.b"] {
        let event = events.event().await;
        assert_eq!((&event["topic"], &event["retained"]), (&json!(topic), &json!(true)));
    }
    assert_eq!(events.other("end").await, json!({"reason": "fennec.close.snapshot_end"}));
    assert_eq!(events.block().await, None);
}

#[tokio::test]
async fn a_named_subscription_goes_on_where_it_was_and_has_one_reader() {
    let broker = Broker::start(Setup::default());
    let mut first = EventReader::open(&broker, "topic=app.a&durable=mine").await;
    first.other("resume").await;
    for number in 1..=2 {
        publish(&broker, "app.a", number).await;
    }
    assert_eq!(numbers(&read(&mut first, 2).await), [1, 2]);
    let mut second = EventReader::open(&broker, "topic=app.a&durable=mine").await;
    second.other("resume").await;
    assert_eq!(first.other("end").await, json!({"reason": "fennec.close.taken_over"}));
    assert_eq!(first.block().await, None);
    publish(&broker, "app.a", 3).await;
    assert_eq!(numbers(&read(&mut second, 1).await), [3]);
    broker.get("/subscribe?topic=app.b&durable=mine").await.is_error(409, "fennec.error.conflict");
}

#[tokio::test]
async fn a_filter_chooses_events_by_their_fields() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=app.a&filter=%7B%22kind%22%3A%22x%22%7D").await;
    for (kind, number) in [("y", 1), ("x", 2)] {
        let body = json!({"topic": "app.a", "args": [{"kind": kind, "n": number}]});
        broker.post("/publish", &body.to_string()).await.is_json();
    }
    assert_eq!(events.event().await["args"][0]["n"], json!(2));
}

#[tokio::test]
async fn procedures_of_the_broker_can_be_called() {
    let broker = Broker::start(Setup::default());
    let put = r#"{"procedure": "fennec.key.put", "args": ["app.key", {"on": true}]}"#;
    let put = broker.post("/call", put).await.is_json();
    assert!(put["args"][0]["token"].as_u64().is_some(), "{put}");
    let got = broker.post("/call", r#"{"procedure": "fennec.key.get", "args": ["app.key"]}"#).await.is_json();
    assert_eq!(got["args"][0]["value"], json!({"on": true}));
    assert_eq!(got["args"][0]["event_id"], put["args"][0]["event_id"]);
    let taken = r#"{"procedure": "fennec.lock.acquire", "args": ["app.key", {"timeout": 0}]}"#;
    let answer = broker.post("/call", taken).await;
    answer.is_error(409, "fennec.error.condition_failed");
    let wrong = r#"{"procedure": "fennec.key.get", "args": []}"#;
    broker.post("/call", wrong).await.is_error(400, "wamp.error.invalid_argument");
}
