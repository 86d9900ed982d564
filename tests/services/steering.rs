//! Services that are added, changed, paused, moved and removed while the broker runs; and what is told of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::broker::{Broker, until};
use super::receiver::{Act, Receiver};
use super::{numbers, service};

const OPEN: &str = "[services]\nallow_networks = ['127.0.0.0/8']\n[[durable]]\ntopic = 'app/#'\n";

#[test]
fn a_service_is_added_paused_moved_and_removed_at_run_time_and_survives_a_restart() {
    let receiver = Receiver::start(|_, _| Act::Take);
    let mut broker = Broker::start(OPEN);
    broker.publish("app/x", numbers(0..3));
    broker.steer(&["add", "a", &receiver.url("a"), "--topic", "app.#"]);
    assert_eq!(broker.seen("a")["configured"], false);
    broker.publish("app/x", numbers(3..5));
    until("it gets what comes behind it", || receiver.events("a") == ["n3", "n4"]);
    broker.steer(&["pause", "a"]);
    until("it is paused", || broker.seen("a")["status"] == "paused");
    broker.publish("app/x", numbers(5..8));
    broker.kill_and_start();
    assert_eq!(broker.seen("a")["status"], "paused");
    assert_eq!(receiver.events("a").len(), 2);
    broker.steer(&["resume", "a"]);
    until("it goes on", || receiver.events("a").len() == 5);
    broker.steer(&["replay", "a", "--after", "2020-01-01T00:00:00Z"]);
    until("everything comes again", || receiver.all("a").iter().any(|transaction| transaction.payloads[0] == "n0"));
    let count = |payload: &str| {
        let all = receiver.all("a");
        all.iter().flat_map(|transaction| &transaction.payloads).filter(|one| *one == payload).count()
    };
    until("all of it", || count("n7") == 2);
    broker.steer(&["remove", "a"]);
    assert_eq!(broker.steer(&["list"]), "");
    assert!(!broker.service(&["retry", "a"]).status.success());
    broker.kill_and_start();
    assert_eq!(broker.steer(&["list"]), "");
}

#[test]
fn a_service_of_run_time_may_not_be_in_the_brokers_network_unless_that_is_allowed() {
    let receiver = Receiver::start(|_, _| Act::Take);
    let broker = Broker::start("");
    broker.steer(&["add", "a", &receiver.url("a"), "--topic", "app.#"]);
    broker.publish("app/x", numbers(0..1));
    until("it is down", || broker.seen("a")["status"] == "down");
    let error = broker.seen("a")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("127.0.0.1, which services that were added at run time may not use"), "{error}");
    assert!(receiver.all("a").is_empty());
    for wrong in [
        &["add", "b", "ftp://example.org", "--topic", "a"][..],
        &["add", "b/c", "http://example.org", "--topic", "a"],
        &["add", "b", "http://example.org", "--topic", "a..b"],
        &["add", "b", "http://example.org", "--topic", "a", "--secret", "short"],
        &["replay", "a", "--after", "yesterday"],
        &["pause", "nobody"],
    ] {
        let output = broker.service(wrong);
        assert!(!output.status.success(), "{wrong:?}");
    }
}

#[test]
fn a_service_of_the_configuration_goes_with_it_and_is_not_changed_elsewhere() {
    let receiver = Receiver::start(|_, _| Act::Take);
    let broker = Broker::start(&service(&receiver, "a", ""));
    assert_eq!(broker.seen("a")["configured"], true);
    for refused in [&["remove", "a"][..], &["add", "a", "http://example.org", "--topic", "x"]] {
        let output = broker.service(refused);
        assert!(String::from_utf8_lossy(&output.stderr).contains("is in the configuration"), "{output:?}");
    }
    broker.steer(&["pause", "a"]);
    until("pausing is", || broker.seen("a")["status"] == "paused");
}

#[test]
fn what_a_service_becomes_is_told_over_both_protocols() {
    let gone = Arc::new(AtomicBool::new(true));
    let is_gone = Arc::clone(&gone);
    let receiver = Receiver::start(move |name, _| match (name, is_gone.load(Ordering::SeqCst)) {
        ("gone", true) => Act::Say(410, None),
        (_, true) => Act::Say(503, None),
        _ => Act::Take,
    });
    let config = service(&receiver, "fails", "") + &service(&receiver, "gone", "");
    let broker = Broker::start(&config);
    let (mqtt, wamp) = (broker.mqtt(), broker.wamp());
    let over_mqtt = broker.subscribe(["--mqtt", &mqtt], "fennec/service/#");
    let over_wamp = broker.subscribe(["--wamp", &wamp], "fennec.service.");
    broker.publish("app/x", numbers(0..1));
    for lines in [&over_mqtt, &over_wamp] {
        let mut told = [lines.next(), lines.next()];
        told.sort();
        let [disabled, down] = &told;
        assert!(disabled.contains("disabled") && disabled.contains("\"gone\""), "{told:?}");
        assert!(down.contains("down") && down.contains("\"fails\"") && down.contains("503"), "{told:?}");
    }
    until("it is seen", || broker.seen("gone")["status"] == "disabled");
    gone.store(false, Ordering::SeqCst);
    for name in ["fails", "gone"] {
        until("it is up again", || {
            broker.steer(&["retry", name]);
            broker.seen(name)["status"] == "up"
        });
        assert_eq!(receiver.events(name), ["n0"]);
    }
    assert!(over_mqtt.next().contains("up") && over_wamp.next().contains("up"));
}
