//! Retained values and their deletion, as state.

use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;

use crate::client::Client;
use crate::fennec::{Fennec, bridge, topic};
use crate::mosquitto::{self, Mosquitto};
use crate::relay::Relay;

/// The retained values of a broker, by a client of their own.
fn values(port: u16, filter: &str) -> Vec<String> {
    let mut client = Client::connect(port, Level::V5, "looks");
    client.subscribe(filter);
    let mut values = client.waiting();
    values.sort();
    values
}

/// Waits until a broker has these values.
fn wait_for_values(port: u16, filter: &str, expected: &[&str]) {
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    loop {
        let found = values(port, filter);
        if found == expected {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "it has {found:?}, not {expected:?}");
    }
}

fn state_crosses(level: Level) {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let relay = Relay::to(other.port());
    let topics = topic("#", "both", 1, "here/", "there/");
    let mut there = other.client(Level::V5, "there");
    there.retain("there/far", "1");
    let mut broker = Fennec::start(&bridge(relay.port(), level, "", &topics));
    let mut here = broker.client(Level::V5, "here");
    broker.is_up();
    let (near, far) = (broker.port(), other.port());
    wait_for_values(near, "here/#", &["here/far=1!"]);
    here.retain("here/near", "2");
    wait_for_values(far, "there/#", &["there/far=1!", "there/near=2!"]);
    there.retain("there/live", "3");
    wait_for_values(near, "here/#", &["here/far=1!", "here/live=3!", "here/near=2!"]);
    here.retain("here/near", "");
    wait_for_values(far, "there/#", &["there/far=1!", "there/live=3!"]);
    there.retain("there/live", "");
    wait_for_values(near, "here/#", &["here/far=1!"]);
    // While the link is down both sides change, and one deletes what came from the other.
    here.retain("here/gone", "4");
    wait_for_values(far, "there/#", &["there/far=1!", "there/gone=4!"]);
    relay.cut();
    broker.says("a bridge is down");
    here.retain("here/gone", "");
    here.retain("here/new", "5");
    here.retain("here/far", "6");
    there.retain("there/new2", "7");
    relay.lead(far);
    broker.is_up();
    let near_expected = ["here/far=6!", "here/new2=7!", "here/new=5!"];
    wait_for_values(near, "here/#", &near_expected);
    wait_for_values(far, "there/#", &["there/far=6!", "there/new2=7!", "there/new=5!"]);
}

#[test]
fn retained_values_and_deletes_cross_both_ways_by_5() {
    state_crosses(Level::V5);
}

#[test]
fn retained_values_and_deletes_cross_both_ways_by_3_1_1() {
    state_crosses(Level::V4);
}

#[test]
fn what_the_other_broker_deleted_while_no_session_was_kept_is_deleted_here() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let relay = Relay::to(other.port());
    let topics = topic("#", "in", 1, "here/", "there/");
    let mut there = other.client(Level::V5, "there");
    there.retain("there/stays", "1");
    there.retain("there/goes", "2");
    let mut broker = Fennec::start(&bridge(relay.port(), Level::V5, "clean_start = true\n", &topics));
    broker.is_up();
    let mut here = broker.client(Level::V5, "here");
    here.retain("here/own", "3");
    wait_for_values(broker.port(), "here/#", &["here/goes=2!", "here/own=3!", "here/stays=1!"]);
    relay.cut();
    broker.says("a bridge is down");
    there.retain("there/goes", "");
    relay.lead(other.port());
    broker.is_up();
    wait_for_values(broker.port(), "here/#", &["here/own=3!", "here/stays=1!"]);
}

#[test]
fn a_broker_that_lost_its_retained_values_gets_them_again() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let relay = Relay::to(other.port());
    let topics = topic("#", "out", 1, "here/", "there/");
    let mut broker = Fennec::start(&bridge(relay.port(), Level::V5, "", &topics));
    let mut here = broker.client(Level::V5, "here");
    here.retain("here/a", "1");
    here.publish("here/b", "not retained", Qos::AtLeastOnce);
    broker.is_up();
    wait_for_values(other.port(), "there/#", &["there/a=1!"]);
    let empty = Mosquitto::start();
    relay.lead(empty.port());
    broker.is_up();
    wait_for_values(empty.port(), "there/#", &["there/a=1!"]);
}

#[test]
fn what_was_retained_before_a_bridge_was_made_goes_out_by_it() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let mut broker = Fennec::start("");
    let mut here = broker.client(Level::V5, "here");
    here.retain("here/a", "1");
    here.retain("elsewhere", "2");
    broker.stop();
    let config = bridge(other.port(), Level::V4, "", &topic("#", "out", 1, "here/", "there/"));
    std::fs::write(broker.folder().join("fennec.toml"), config).unwrap();
    broker.start_again();
    broker.is_up();
    wait_for_values(other.port(), "#", &["there/a=1!"]);
}
