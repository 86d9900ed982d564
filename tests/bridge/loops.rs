//! Nothing goes round.

use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;

use crate::fennec::{Fennec, bridge, topic};
use crate::mosquitto::{self, Mosquitto};

/// What is published on one side comes to the other once, and not back.
fn nothing_comes_back(level: Level, lines: &str) {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let mut broker = Fennec::start(&bridge(other.port(), level, lines, &topic("#", "both", 1, "x/", "x/")));
    let (mut here, mut there) = (broker.client(Level::V4, "here"), other.client(Level::V4, "there"));
    here.subscribe("x/#");
    there.subscribe("x/#");
    broker.is_up();
    // When it has come in, both directions work.
    there.retain("x/first", "0");
    here.until("x/first=0");
    for number in 0..20 {
        here.publish("x/up", &number.to_string(), Qos::AtLeastOnce);
        there.publish("x/down", &number.to_string(), Qos::AtLeastOnce);
    }
    here.publish("x/up", "same", Qos::AtLeastOnce);
    here.publish("x/up", "same", Qos::AtLeastOnce);
    here.publish("x/end", "up", Qos::AtLeastOnce);
    there.until("x/end=up");
    there.publish("x/end", "down", Qos::AtLeastOnce);
    let came = here.until("x/end=down");
    let count = |text: &str| came.iter().filter(|came| *came == text).count();
    for number in 0..20 {
        assert_eq!((count(&format!("x/up={number}")), count(&format!("x/down={number}"))), (1, 1), "{came:?}");
    }
    assert_eq!((count("x/up=same"), count("x/end=up")), (2, 1), "{came:?}");
    // And behind that, nothing more is on its way.
    there.publish("x/end", "again", Qos::AtLeastOnce);
    assert_eq!(here.until("x/end=again"), ["x/end=again"]);
}

#[test]
fn nothing_comes_back_by_5() {
    nothing_comes_back(Level::V5, "");
}

#[test]
fn nothing_comes_back_by_3_1_1_from_a_broker_that_knows_bridges() {
    nothing_comes_back(Level::V4, "");
}

#[test]
fn nothing_comes_back_by_3_1_1_from_a_broker_that_does_not_know_bridges() {
    nothing_comes_back(Level::V4, "try_private = false");
}

#[test]
fn two_bridges_to_one_broker_make_no_loop() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let topics = topic("#", "both", 1, "x/", "x/");
    let first = bridge(other.port(), Level::V5, "", &topics);
    let second = first.replace("'far'", "'other'").replace("test.far", "test.other");
    let mut broker = Fennec::start(&format!("{first}{second}"));
    let (mut here, mut there) = (broker.client(Level::V5, "here"), other.client(Level::V5, "there"));
    there.subscribe("x/#");
    broker.is_up();
    broker.is_up();
    for number in 0..10 {
        here.publish("x/up", &number.to_string(), Qos::AtLeastOnce);
    }
    // Each bridge has sent each event once.
    let mut came: Vec<String> = (0..20).map(|_| there.next().payload).collect();
    came.sort_unstable();
    let mut expected: Vec<String> = (0..20).map(|number| (number / 2).to_string()).collect();
    expected.sort_unstable();
    assert_eq!(came, expected);
    here.publish("x/end", "1", Qos::AtLeastOnce);
    assert_eq!([there.next().text(), there.next().text()], ["x/end=1", "x/end=1"]);
    assert_eq!(there.waiting(), Vec::<String>::new());
}
