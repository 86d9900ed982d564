//! Who asks too often.

use fennec::node::users::Anonymous;
use fennec::router::authorize::Action;
use fennec::types::limits::Limits;

use crate::broker::{Ask, Broker, Setup, joe, role};

const FULL: &str = "fennec.error.quota_exceeded";
/// `joe:secret`
const JOE: &str = "Basic am9lOnNlY3JldA==";

/// One request, and the next an hour later or so.
fn slow(setup: Setup) -> Broker {
    let limits = Limits { bytes_per_second_max: 1024, ..Limits::default() };
    Broker::start(Setup { limits, ..setup })
}

fn publish(bytes: usize) -> Ask {
    Ask::post("/publish", &format!(r#"{{"topic": "app.a", "payload": "{}"}}"#, "x".repeat(bytes)))
}

const LARGE: usize = 4_000_000;

#[tokio::test]
async fn who_asked_too_much_is_told_when_to_ask_again() {
    let broker = slow(Setup::default());
    broker.ask(publish(LARGE)).await.is_json();
    for ask in [publish(1), Ask::post("/call", r#"{"procedure": "a"}"#), Ask::get("/subscribe?topic=a")] {
        let answer = broker.ask(ask).await;
        answer.is_error(429, FULL);
        let wait_s: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((3000..4000).contains(&wait_s), "{wait_s}");
    }
    let metrics = broker.get("/metrics").await.text();
    assert!(metrics.contains("fennec_limited_total{limit=\"rate_refused\"} 3\n"), "{metrics}");
    // Whoever watches or runs the broker can go on.
    assert_eq!(broker.get("/readyz").await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_user_that_asks_too_much_is_not_in_the_way_of_others_of_its_address() {
    let roles = vec![role("publisher", &[Action::Publish]), role("anonymous", &[Action::Publish])];
    let broker =
        slow(Setup { users: vec![joe("publisher")], roles, anonymous: Anonymous::Allowed, ..Setup::default() });
    broker.ask(publish(LARGE).with("authorization", JOE)).await.is_json();
    broker.ask(publish(1).with("authorization", JOE)).await.is_error(429, FULL);
    broker.ask(publish(1)).await.is_json();
}
