//! Brokers that are killed and started anew, while events cross.

use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;

use crate::fennec::{Fennec, bridge, topic};
use crate::mosquitto::{self, Mosquitto};
use crate::relay::Relay;

const ROUNDS: usize = 5;
const EVENTS: usize = 30;

/// Kills this broker again and again, at whatever it is just doing.
fn killed(level: Level, qos: Qos) {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let number = qos as u8;
    let topics = topic("up", "out", number, "here/", "there/") + &topic("down", "in", number, "here/", "there/");
    let config = format!("[[durable]]\ntopic = 'here/#'\n{}", bridge(other.port(), level, "window = 8\n", &topics));
    let mut broker = Fennec::start(&config);
    broker.is_up();
    let mut there = other.client(Level::V5, "there");
    there.subscribe("there/up");
    let mut count = 0;
    for _ in 0..ROUNDS {
        let mut here = broker.client(Level::V5, "here");
        for _ in 0..EVENTS {
            there.publish("there/down", &count.to_string(), qos);
            here.publish("here/up", &count.to_string(), qos);
            count += 1;
        }
        broker.kill();
        broker.start_again();
    }
    broker.is_up();
    let came: Vec<usize> = numbers(&there.until(&format!("there/up={}", count - 1)), "there/up=");
    check(&came, count, qos);
    there.publish("there/down", "end", qos);
    check(&kept(&mut broker), count, qos);
}

/// The numbers that came in, as the log has them.
fn kept(broker: &mut Fennec) -> Vec<usize> {
    let mut client = broker.client(Level::V5, "reads");
    client.subscribe_from_the_beginning("here/down");
    numbers(&client.until("here/down=end"), "here/down=")
}

fn numbers(came: &[String], prefix: &str) -> Vec<usize> {
    came.iter().filter_map(|text| text.strip_prefix(prefix)?.parse().ok()).collect()
}

/// Each came, in order the first time; with QoS 2 only once.
fn check(came: &[usize], count: usize, qos: Qos) {
    let mut next = 0;
    for number in came {
        match *number {
            number if number == next => next += 1,
            number if number < next && qos != Qos::ExactlyOnce => {}
            number => panic!("{number} came where {next} was due, in {came:?}"),
        }
    }
    assert_eq!(next, count, "{came:?}");
}

#[test]
fn qos_1_survives_kills_by_3_1_1() {
    killed(Level::V4, Qos::AtLeastOnce);
}

#[test]
fn qos_2_survives_kills_exactly_once_by_3_1_1() {
    killed(Level::V4, Qos::ExactlyOnce);
}

#[test]
fn qos_2_survives_kills_exactly_once_by_5() {
    killed(Level::V5, Qos::ExactlyOnce);
}

/// Mosquitto ends in order, keeps what it has, and is started anew; meanwhile this one is, too.
#[test]
fn both_brokers_may_be_away_at_once() {
    if !mosquitto::is_installed() {
        return;
    }
    let mut other = Mosquitto::start();
    let relay = Relay::to(other.port());
    let topics = topic("up", "out", 2, "here/", "there/") + &topic("down", "in", 2, "here/", "there/");
    let mut broker = Fennec::start(&bridge(relay.port(), Level::V5, "", &topics));
    broker.is_up();
    other.stop();
    broker.says("a bridge is down");
    let mut here = broker.client(Level::V5, "here");
    for number in 0..50 {
        here.publish("here/up", &number.to_string(), Qos::ExactlyOnce);
    }
    broker.kill();
    other.start_again();
    let mut there = other.client(Level::V5, "there");
    there.subscribe("there/up");
    for number in 0..50 {
        there.publish("there/down", &number.to_string(), Qos::ExactlyOnce);
    }
    relay.cut();
    broker.start_again();
    let mut here = broker.client(Level::V5, "here");
    here.subscribe("here/down");
    relay.lead(other.port());
    let came = numbers(&there.until("there/up=49"), "there/up=");
    assert_eq!(came, (0..50).collect::<Vec<_>>());
    let came = numbers(&here.until("here/down=49"), "here/down=");
    assert_eq!(came, (0..50).collect::<Vec<_>>());
}

#[test]
fn what_a_killed_mosquitto_had_not_kept_is_sent_again() {
    if !mosquitto::is_installed() {
        return;
    }
    let mut other = Mosquitto::start();
    let relay = Relay::to(other.port());
    let topics = topic("#", "out", 1, "here/", "there/");
    let mut broker = Fennec::start(&bridge(relay.port(), Level::V4, "", &topics));
    broker.is_up();
    let mut here = broker.client(Level::V5, "here");
    here.publish("here/x", "0", Qos::AtLeastOnce);
    other.kill();
    broker.says("a bridge is down");
    for number in 1..20 {
        here.publish("here/x", &number.to_string(), Qos::AtLeastOnce);
    }
    other.start_again();
    let mut there = other.client(Level::V5, "there");
    there.subscribe("there/#");
    relay.lead(other.port());
    let came = numbers(&there.until("there/x=19"), "there/x=");
    let behind: Vec<usize> = came.iter().copied().filter(|number| *number > 0).collect();
    assert_eq!(behind, (1..20).collect::<Vec<_>>());
}
