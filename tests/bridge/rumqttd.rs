//! `rumqttd` in this process.

use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;

use crate::client::Client;
use crate::fennec::{Fennec, bridge, topic};
use crate::free_port;
use crate::relay::Relay;

/// Starts one; it lives as long as the process. The port of a version.
fn start(level: Level) -> u16 {
    let port = free_port();
    let version = if level == Level::V5 { "v5" } else { "v4" };
    let config = format!(
        r#"
        id = 0
        [router]
        id = 0
        max_connections = 1000
        max_outgoing_packet_count = 200
        max_segment_size = 1048576
        max_segment_count = 10
        [{version}.1]
        name = "{version}-1"
        listen = "127.0.0.1:{port}"
        next_connection_delay_ms = 1
        [{version}.1.connections]
        connection_timeout_ms = 60000
        max_payload_size = 20480
        max_inflight_count = 100
        dynamic_filters = true
        "#
    );
    let config: rumqttd::Config = toml::from_str(&config).expect("a configuration");
    std::thread::spawn(move || drop(rumqttd::Broker::new(config).start()));
    port
}

fn events_cross(level: Level) {
    let port = start(level);
    let mut there = Client::connect_when_started(port, level, "there");
    there.subscribe("there/#");
    let topics = topic("up/#", "out", 1, "here/", "there/") + &topic("down/#", "in", 1, "here/", "there/");
    let relay = Relay::to(port);
    let mut broker = Fennec::start(&bridge(relay.port(), level, "", &topics));
    let mut here = broker.client(level, "here");
    here.subscribe("here/#");
    broker.is_up();
    here.publish("here/up/1", "a", Qos::AtLeastOnce);
    assert_eq!(there.next().text(), "there/up/1=a");
    there.publish("there/down/1", "b", Qos::AtLeastOnce);
    assert_eq!(here.until("here/down/1=b"), ["here/up/1=a", "here/down/1=b"]);
    // A broker that has lost everything: what it did not have is sent, and it is subscribed to anew.
    relay.cut();
    broker.says("a bridge is down");
    here.publish("here/up/2", "c", Qos::AtLeastOnce);
    let port = start(level);
    let mut there = Client::connect_when_started(port, level, "there");
    there.subscribe("there/#");
    relay.lead(port);
    broker.is_up();
    assert!(there.until("there/up/2=c").len() <= 2, "at most the one before is repeated");
    here.publish("here/up/3", "d", Qos::AtLeastOnce);
    there.until("there/up/3=d");
    there.publish("there/down/2", "e", Qos::AtLeastOnce);
    here.until("here/down/2=e");
}

#[test]
fn events_cross_to_rumqttd_by_3_1_1_and_it_may_lose_everything() {
    events_cross(Level::V4);
}

#[test]
fn events_cross_to_rumqttd_by_5_and_it_may_lose_everything() {
    events_cross(Level::V5);
}
