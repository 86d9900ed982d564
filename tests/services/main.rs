//! Webhook services of the built broker against a receiver that fails, hangs, cuts, asks for time and refuses; and hooks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker::{Broker, until};
use fennec::http::signature::Secret;
use receiver::{Act, Receiver};

mod broker;
mod hooks;
mod many;
mod receiver;
mod steering;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The configuration of a service of this name.
fn service(receiver: &Receiver, name: &str, more: &str) -> String {
    format!("[[service]]\nid = '{name}'\nurl = '{}'\ntopics = ['app/#']\n{more}\n", receiver.url(name))
}

fn numbers(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("n{number}"))
}

/// Waits until a service has everything, and has it tried at once whenever it is not up.
fn hurry(broker: &Broker, receiver: &Receiver, name: &str, expected: &[String]) {
    until("a service has everything", || {
        let done = receiver.events(name).len() >= expected.len();
        if !done {
            broker.steer(&["retry", name]);
        }
        done
    });
    assert_eq!(receiver.events(name), expected);
}

#[test]
fn events_come_in_order_in_batches_signed_and_with_the_token() {
    let receiver = Receiver::start(|_, _| Act::Take);
    let more = format!("secret = '{SECRET}'\ntoken = 'tok'\nevents_max = 50");
    let broker = Broker::start(&service(&receiver, "a", &more));
    broker.publish("app/x", numbers(0..500));
    broker.publish("other", numbers(0..5));
    until("all events come", || receiver.events("a").len() >= 500);
    assert_eq!(receiver.events("a"), numbers(0..500).collect::<Vec<_>>());
    let all = receiver.all("a");
    assert!(all.iter().all(|transaction| transaction.payloads.len() <= 50));
    let header = |at: usize, name: &str| all[at].headers.get(name).unwrap().to_str().unwrap().to_owned();
    let secret = Secret::parse(SECRET).unwrap();
    for (at, transaction) in all.iter().enumerate() {
        let (id, timestamp, signature) =
            (header(at, "webhook-id"), header(at, "webhook-timestamp"), header(at, "webhook-signature"));
        assert_eq!((id.as_str(), header(at, "authorization").as_str()), (transaction.id.as_str(), "Bearer tok"));
        assert!(secret.verify(&id, &timestamp, &signature, &transaction.body, timestamp.parse().unwrap()));
        let body: serde_json::Value = serde_json::from_slice(&transaction.body).unwrap();
        let events = body["events"].as_array().unwrap();
        let ends = [events.first(), events.last()].map(|event| event.unwrap()["event_id"].as_str().unwrap().to_owned());
        assert_eq!(transaction.id, ends.join("-"));
        assert_eq!(events[0]["topic"], "app.x");
    }
}

#[test]
fn a_receiver_that_fails_hangs_cuts_and_asks_for_time_gets_everything_once_and_in_order() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let receiver = Receiver::start(move |_, _| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Act::Say(503, None),
        1 => Act::Cut,
        2 => Act::Say(429, Some("1")),
        3 => Act::Hang,
        5 => Act::Cut,
        7 => Act::Say(500, None),
        9 => Act::Say(302, None),
        11 => Act::Part(3),
        _ => Act::Take,
    });
    let broker = Broker::start(&service(&receiver, "a", "timeout_s = 1\nevents_max = 20"));
    broker.publish("app/x", numbers(0..200));
    let expected: Vec<_> = numbers(0..200).collect();
    hurry(&broker, &receiver, "a", &expected);
    assert!(tries.load(Ordering::SeqCst) > 12);
    until("it is up again", || broker.seen("a")["status"] == "up");
}

#[test]
fn a_poison_event_goes_to_the_dead_letter_topic_and_nothing_else_is_lost() {
    let receiver = Receiver::start(|name, transaction| {
        let has_poison = transaction.payloads.iter().any(|payload| payload == "n13");
        if name == "a" && has_poison { Act::Say(422, None) } else { Act::Take }
    });
    let dead = format!("[[service]]\nid = 'dead'\nurl = '{}'\ntopics = ['dead/#']\n", receiver.url("dead"));
    let broker = Broker::start(&(service(&receiver, "a", "events_max = 16") + &dead));
    broker.publish("app/x", numbers(0..40));
    let expected: Vec<_> = numbers(0..40).filter(|payload| payload != "n13").collect();
    hurry(&broker, &receiver, "a", &expected);
    until("the dead letter comes", || !receiver.all("dead").is_empty());
    let letters = receiver.all("dead");
    let body: serde_json::Value = serde_json::from_slice(&letters[0].body).unwrap();
    let letter = &body["events"][0];
    assert_eq!((&letter["topic"], &letter["args"][0]), (&"dead.service.a".into(), &"n13".into()));
    let properties = &letter["user_properties"];
    assert_eq!(properties["fennec-dead-status"], "422");
    assert_eq!(properties["fennec-dead-topic"], "app/x");
    assert_eq!(properties["fennec-dead-reason"], "as I was told");
    assert_eq!(receiver.events("dead"), ["n13"]);
    assert_eq!(broker.seen("a")["dead_letters"], 1);
}

#[test]
fn a_broker_that_is_killed_again_and_again_sends_everything_under_the_same_names() {
    let receiver = Receiver::start(|_, _| Act::Slowly(Duration::from_millis(5)));
    let mut broker = Broker::start(&service(&receiver, "a", "events_max = 7"));
    for round in 0..4 {
        broker.publish("app/x", numbers(round * 200..(round + 1) * 200));
        let some = round * 150;
        until("some of it comes", || receiver.events("a").len() > some);
        broker.kill_and_start();
    }
    let expected: Vec<_> = numbers(0..800).collect();
    until("all of it comes", || receiver.events("a").len() >= expected.len());
    assert_eq!(receiver.events("a"), expected);
}

#[test]
fn a_service_that_is_down_when_the_broker_is_killed_is_tried_at_once_by_the_next() {
    let up = Arc::new(AtomicUsize::new(0));
    let is_up = Arc::clone(&up);
    let receiver = Receiver::start(move |_, _| match is_up.load(Ordering::SeqCst) {
        0 => Act::Say(503, Some("3000")),
        _ => Act::Take,
    });
    let mut broker = Broker::start(&service(&receiver, "a", ""));
    broker.publish("app/x", numbers(0..10));
    until("it is down", || broker.seen("a")["status"] == "down");
    until("that is recorded", || broker.seen("a")["attempts"] == 1);
    up.store(1, Ordering::SeqCst);
    broker.kill_and_start();
    until("all of it comes", || receiver.events("a").len() >= 10);
    assert_eq!(receiver.events("a"), numbers(0..10).collect::<Vec<_>>());
    assert!(receiver.all("a").windows(2).all(|pair| pair[0].id == pair[1].id || pair[1].payloads[0] != "n0"));
}
