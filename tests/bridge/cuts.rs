//! Links that are cut, in silence or not, while events cross.

use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;

use crate::client::Client;
use crate::fennec::{Fennec, bridge, topic};
use crate::mosquitto::{self, Mosquitto};
use crate::relay::Relay;

const ROUNDS: usize = 6;
const EVENTS: usize = 40;

/// Numbers that came in, each once or (`may_repeat`) again, in order the first time.
fn check_numbers(came: &[String], prefix: &str, count: usize, may_repeat: bool) {
    let mut next = 0;
    for text in came {
        let Some(number) = text.strip_prefix(prefix).and_then(|number| number.parse::<usize>().ok()) else { continue };
        match number {
            _ if number == next => next += 1,
            _ if number < next && may_repeat => {}
            _ => panic!("{number} came where {next} was due, in {came:?}"),
        }
    }
    assert_eq!(next, count, "{came:?}");
}

fn a_flapping_link(level: Level, qos: Qos) {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let relay = Relay::to(other.port());
    let number = qos as u8;
    let topics = topic("up", "out", number, "here/", "there/") + &topic("down", "in", number, "here/", "there/");
    let mut broker = Fennec::start(&bridge(relay.port(), level, "window = 8\n", &topics));
    let (mut here, mut there) = (broker.client(Level::V5, "here"), other.client(Level::V5, "there"));
    here.subscribe("here/down");
    there.subscribe("there/up");
    broker.is_up();
    there.publish("there/down", "0", qos);
    here.until("here/down=0");
    let mut up = 0;
    for _ in 0..ROUNDS {
        for _ in 0..EVENTS {
            here.publish("here/up", &up.to_string(), qos);
            up += 1;
            there.publish("there/down", &up.to_string(), qos);
        }
        relay.cut();
        broker.says("a bridge is down");
        here.publish("here/up", &up.to_string(), qos);
        up += 1;
        there.publish("there/down", &up.to_string(), qos);
        relay.lead(other.port());
        broker.is_up();
    }
    let may_repeat = qos != Qos::ExactlyOnce;
    let came = there.until(&format!("there/up={}", up - 1));
    check_numbers(&came, "there/up=", up, may_repeat);
    let mut came = here.until(&format!("here/down={up}"));
    came.insert(0, "here/down=0".to_owned());
    check_numbers(&came, "here/down=", up + 1, may_repeat);
    broker.stop();
}

#[test]
fn qos_1_crosses_a_flapping_link_at_least_once_in_order_by_3_1_1() {
    a_flapping_link(Level::V4, Qos::AtLeastOnce);
}

#[test]
fn qos_1_crosses_a_flapping_link_at_least_once_in_order_by_5() {
    a_flapping_link(Level::V5, Qos::AtLeastOnce);
}

#[test]
fn qos_2_crosses_a_flapping_link_exactly_once_in_order_by_3_1_1() {
    a_flapping_link(Level::V4, Qos::ExactlyOnce);
}

#[test]
fn qos_2_crosses_a_flapping_link_exactly_once_in_order_by_5() {
    a_flapping_link(Level::V5, Qos::ExactlyOnce);
}

/// A link that carries nothing any more and tells nobody: what is not acknowledged in time is sent again on a new connection.
#[test]
fn a_silent_cut_loses_nothing() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let relay = Relay::to(other.port());
    let topics = topic("#", "out", 1, "here/", "there/");
    let mut broker = Fennec::start(&bridge(relay.port(), Level::V5, "ack_timeout_s = 1\n", &topics));
    let (mut here, mut there) = (broker.client(Level::V5, "here"), other.client(Level::V5, "there"));
    there.subscribe("there/#");
    broker.is_up();
    here.publish("here/x", "0", Qos::AtLeastOnce);
    there.until("there/x=0");
    relay.silence();
    for number in 1..10 {
        here.publish("here/x", &number.to_string(), Qos::AtLeastOnce);
    }
    broker.says("has not acknowledged a message");
    relay.lead(other.port());
    let came = there.until("there/x=9");
    check_numbers(&[vec!["there/x=0".to_owned()], came].concat(), "there/x=", 10, true);
}

#[test]
fn what_is_not_durable_waits_in_a_bounded_queue_and_the_oldest_goes() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let relay = Relay::to(other.port());
    relay.cut();
    let topics = topic("#", "out", 1, "here/", "there/");
    let mut broker = Fennec::start(&bridge(relay.port(), Level::V5, "queue_messages = 10\n", &topics));
    let (mut here, mut there) = (broker.client(Level::V5, "here"), other.client(Level::V5, "there"));
    there.subscribe("there/#");
    broker.says("a bridge is down");
    for number in 0..100 {
        here.publish("here/x", &number.to_string(), Qos::AtMostOnce);
    }
    here.publish("here/durable", "1", Qos::AtLeastOnce);
    relay.lead(other.port());
    broker.is_up();
    // In which order the durable one and the others come is nobody's promise.
    let mut came: Vec<String> = (0..11).map(|_| there.next().text()).collect();
    came.retain(|text| text != "there/durable=1");
    assert_eq!(came, (90..100).map(|number| format!("there/x={number}")).collect::<Vec<_>>());
}

#[test]
fn the_next_address_is_tried_and_a_name_that_is_not_there_does_no_harm() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let addresses = format!(
        "address = ['mqtt://no-such-name.invalid:1883', 'mqtt://127.0.0.1:1', 'mqtt://127.0.0.1:{}']\n",
        other.port()
    );
    let topics = topic("#", "out", 1, "here/", "there/");
    let mut broker = Fennec::start(&bridge(0, Level::V5, &addresses, &topics));
    let (mut here, mut there) = (broker.client(Level::V5, "here"), other.client(Level::V5, "there"));
    there.subscribe("there/#");
    here.publish("here/x", "1", Qos::AtLeastOnce);
    broker.is_up();
    assert_eq!(there.next().text(), "there/x=1");
}

/// Two brokers of this kind, one a bridge to the other.
#[test]
fn fennec_is_the_other_broker() {
    let far = Fennec::start("");
    let relay = Relay::to(far.port());
    let topics = topic("#", "both", 2, "here/", "there/");
    let mut near = Fennec::start(&bridge(relay.port(), Level::V5, "", &topics));
    let mut here = near.client(Level::V5, "here");
    let mut there = Client::connect(far.port(), Level::V5, "there");
    here.subscribe("here/#");
    there.subscribe("there/#");
    near.is_up();
    here.publish("here/x", "1", Qos::ExactlyOnce);
    assert_eq!(there.next().text(), "there/x=1");
    assert_eq!(here.next().text(), "here/x=1");
    there.retain("there/y", "2");
    assert_eq!(here.next().text(), "here/y=2!");
    relay.cut();
    near.says("a bridge is down");
    here.publish("here/x", "3", Qos::ExactlyOnce);
    relay.lead(far.port());
    assert_eq!(there.until("there/x=3"), ["there/y=2!", "there/x=3"]);
}
