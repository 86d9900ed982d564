//! Several hundred services, some of which misbehave.

use std::time::Duration;

use super::broker::{Broker, until};
use super::receiver::{Act, Receiver};
use super::{numbers, service};

const GOOD: usize = 297;

#[test]
fn three_hundred_services_of_which_one_is_dead_one_slow_and_one_refuses_do_not_delay_each_other() {
    let receiver = Receiver::start(|name, _| match name {
        "slow" => Act::Hang,
        "refuses" => Act::Say(400, None),
        _ => Act::Take,
    });
    // A port that nobody listens at.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config: String = (0..GOOD).map(|at| service(&receiver, &format!("s{at}"), "")).collect();
    config += &(service(&receiver, "slow", "") + &service(&receiver, "refuses", ""));
    config += &format!("[[service]]\nid = 'dead'\nurl = 'http://{nobody}'\ntopics = ['app/#']\n");
    let broker = Broker::start(&config);
    assert_eq!(broker.steer(&["list"]).lines().count(), GOOD + 3);
    let begun = std::time::Instant::now();
    let expected: Vec<_> = numbers(0..100).collect();
    broker.publish("app/x", numbers(0..100));
    let missing = || (0..GOOD).filter(|at| receiver.events(&format!("s{at}")).len() < 100).count();
    until("the good ones have everything", || missing() == 0);
    let took = begun.elapsed();
    assert!((0..GOOD).all(|at| receiver.events(&format!("s{at}")) == expected), "in order");
    // The slow one alone takes a minute for one try.
    assert!(took < Duration::from_secs(50), "{took:?}");
    until("the dead one is down", || broker.seen("dead")["status"] == "down");
    let dead = broker.seen("dead");
    assert_eq!(dead["lag"], 100);
    assert!(dead["error"].as_str().is_some_and(|error| error.contains("refused")), "{dead}");
    let (status, metrics) = broker.http("GET /metrics HTTP/1.1", b"");
    assert_eq!(status, 200);
    let has = |line: &str| metrics.lines().any(|one| one.starts_with(line));
    assert!(has("fennec_service_up{realm=\"realm1\",service=\"dead\"} 0"));
    assert!(has("fennec_service_up{realm=\"realm1\",service=\"s7\"} 1"));
    assert!(has("fennec_service_lag_events{realm=\"realm1\",service=\"dead\"} 100"));
    assert!(has("fennec_service_lag_events{realm=\"realm1\",service=\"s7\"} 0"));
    assert!(has("fennec_service_attempts{realm=\"realm1\",service=\"dead\"} "));
    assert!(has("fennec_service_events_total{realm=\"realm1\",service=\"s7\"} 100"));
}
