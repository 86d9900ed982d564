//! `POST /publish`.

use fennec::router::authorize::Action;
use fennec::types::limits::Limits;
use hyper::Method;
use serde_json::json;

use crate::broker::{Ask, Broker, EventReader, Setup, role};

#[tokio::test]
async fn what_is_published_has_an_id_and_reaches_subscribers() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=app.topic").await;
    let body = r#"{"topic": "app.topic", "args": ["x", 1], "kwargs": {"a": null}}"#;
    let published = broker.post("/publish", body).await.is_json();
    let event = events.event().await;
    assert_eq!(
        event,
        json!({"topic": "app.topic", "publication": published["publication"], "args": ["x", 1], "kwargs": {"a": null}})
    );
}

#[tokio::test]
async fn payloads_are_said_as_text_json_or_base64() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "mqtt_topic=app/%23").await;
    let cases = [
        (r#"{"topic": "app.a", "payload": "hello"}"#, json!({"args": ["hello"], "kwargs": {}})),
        (r#"{"topic": "app.a", "payload": {"t": 21}}"#, json!({"args": [{"t": 21}], "kwargs": {}})),
        (r#"{"topic": "app.a", "payload": [1, 2]}"#, json!({"args": [1, 2], "kwargs": {}})),
        (r#"{"topic": "app.a", "payload_base64": "/wA="}"#, json!({"payload_base64": "/wA="})),
        (r#"{"mqtt_topic": "app/a"}"#, json!({"args": [], "kwargs": {}})),
        (r#"{"topic": "app.a", "args": null, "payload": ""}"#, json!({"args": [], "kwargs": {}})),
    ];
    for (body, expected) in cases {
        broker.post("/publish", body).await.is_json();
        let mut event = events.event().await;
        let event = event.as_object_mut().unwrap();
        assert_eq!(event.remove("topic"), Some(json!("app.a")));
        event.remove("publication");
        assert_eq!(json!(event), expected, "{body}");
    }
}

#[tokio::test]
async fn options_arrive_as_details() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=app.topic").await;
    let options = json!({
        "content_type": "text/plain", "response_topic": "app.answers", "correlation_data": "c1",
        "user_properties": {"a": ["1", "2"], "b": "3"}, "payload_format_indicator": 1, "message_expiry_interval": 60,
    });
    let mut body = options.clone();
    body["topic"] = json!("app.topic");
    body["disclose_me"] = json!(true);
    broker.post("/publish", &body.to_string()).await.is_json();
    let event = events.event().await;
    for (name, value) in options.as_object().unwrap() {
        assert_eq!(event[name], *value, "{name}");
    }
    assert!(event["publisher"].is_u64(), "{event}");
    assert_eq!(event["publisher_authid"], "anonymous");
}

#[tokio::test]
async fn a_retained_value_is_there_for_later_subscribers_until_it_is_cleared() {
    let broker = Broker::start(Setup::default());
    broker.post("/publish", r#"{"topic": "app.a", "args": [1], "retain": true}"#).await.is_json();
    broker.post("/publish", r#"{"topic": "app.b", "args": [2], "retain": true}"#).await.is_json();
    broker.post("/publish", r#"{"topic": "app.b", "retain": true}"#).await.is_json();
    let mut events = EventReader::open(&broker, "topic=app&match=prefix&retained=true").await;
    let event = events.event().await;
    assert_eq!((&event["topic"], &event["retained"]), (&json!("app.a"), &json!(true)));
    broker.post("/publish", r#"{"topic": "app.c"}"#).await.is_json();
    assert_eq!(events.event().await["topic"], "app.c");
}

#[tokio::test]
async fn black_and_white_lists_choose_the_subscribers() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=app.topic").await;
    for lists in [r#""exclude_authid": ["anonymous"]"#, r#""eligible_authrole": ["user"]"#, r#""eligible": []"#] {
        broker.post("/publish", &format!(r#"{{"topic": "app.topic", "args": ["no"], {lists}}}"#)).await.is_json();
    }
    broker
        .post("/publish", r#"{"topic": "app.topic", "args": ["yes"], "eligible_authid": ["anonymous"]}"#)
        .await
        .is_json();
    assert_eq!(events.event().await["args"], json!(["yes"]));
}

#[tokio::test]
async fn a_realm_is_named_or_the_default() {
    let broker = Broker::start(Setup::default());
    let mut events = EventReader::open(&broker, "topic=app.topic&realm=other").await;
    broker.post("/publish", r#"{"topic": "app.topic", "args": [1]}"#).await.is_json();
    broker.post("/publish", r#"{"topic": "app.topic", "args": [2], "realm": "other"}"#).await.is_json();
    assert_eq!(events.event().await["args"], json!([2]));
    broker.post("/publish", r#"{"topic": "app.topic", "realm": "no"}"#).await.is_error(404, "wamp.error.no_such_realm");
}

#[tokio::test]
async fn a_wrong_body_is_refused() {
    let broker = Broker::start(Setup::default());
    let wrong = [
        "",
        "[]",
        "{",
        "{}",
        r#"{"topic": 1}"#,
        r#"{"topic": "a", "args": {}}"#,
        r#"{"topic": "a", "kwargs": []}"#,
        r#"{"topic": "a", "args": [1], "payload": "x"}"#,
        r#"{"topic": "a", "payload": "x", "payload_base64": "eA=="}"#,
        r#"{"topic": "a", "payload_base64": "?"}"#,
        r#"{"topic": "a", "mqtt_topic": "a"}"#,
        r#"{"topic": "a", "retain": 1}"#,
        r#"{"topic": "a", "message_expiry_interval": 4294967296}"#,
        r#"{"topic": "a", "payload_format_indicator": 2}"#,
        r#"{"topic": "a", "user_properties": {"a": 1}}"#,
        r#"{"topic": "a", "topics": "b"}"#,
    ];
    for body in wrong {
        broker.post("/publish", body).await.is_error(400, "wamp.error.invalid_argument");
    }
    for topic in ["", "a..b", "a b", "a.#"] {
        let body = json!({"topic": topic}).to_string();
        broker.post("/publish", &body).await.is_error(400, "wamp.error.invalid_uri");
    }
    broker.post("/publish", r#"{"mqtt_topic": "a/+"}"#).await.is_error(400, "wamp.error.invalid_uri");
}

#[tokio::test]
async fn other_types_and_methods_are_refused() {
    let broker = Broker::start(Setup::default());
    let form = Ask::new(Method::POST, "/publish").with("content-type", "application/x-www-form-urlencoded");
    broker.ask(form).await.is_error(415, "fennec.error.unsupported_media_type");
    let answer = broker.get("/publish").await;
    answer.is_error(405, "fennec.error.method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
    let typed = Ask::post("/publish", r#"{"topic": "a"}"#);
    broker.ask(typed).await.is_json();
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let limits = Limits { http_body_bytes_max: 1024, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    let body = |len: usize| json!({"topic": "a", "payload": "x".repeat(len)}).to_string();
    broker.post("/publish", &body(900)).await.is_json();
    broker.post("/publish", &body(1024)).await.is_error(413, "wamp.error.payload_size_exceeded");
}

#[tokio::test]
async fn only_what_the_role_allows_is_published() {
    let roles = vec![role("anonymous", &[Action::Publish])];
    let broker = Broker::start(Setup { roles, ..Setup::default() });
    broker.post("/publish", r#"{"topic": "app.a"}"#).await.is_json();
    broker.post("/publish", r#"{"topic": "b"}"#).await.is_error(403, "wamp.error.not_authorized");
    let unrestricted = Broker::start(Setup::default());
    for topic in ["wamp.a", "fennec.a", "$SYS.a"] {
        let body = json!({"topic": topic}).to_string();
        unrestricted.post("/publish", &body).await.is_error(403, "wamp.error.not_authorized");
    }
}

#[tokio::test]
async fn a_retained_value_without_room_is_refused() {
    let limits = Limits { retained_messages_max: 1, ..Limits::default() };
    let broker = Broker::start(Setup { limits, ..Setup::default() });
    broker.post("/publish", r#"{"topic": "a", "args": [1], "retain": true}"#).await.is_json();
    let second = broker.post("/publish", r#"{"topic": "b", "args": [1], "retain": true}"#).await;
    second.is_error(507, "fennec.error.quota_exceeded");
}
