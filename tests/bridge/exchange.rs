//! Events that cross, in both directions.

use fennec::mqtt::codec::{Level, PublishProperties, UserProperties};
use fennec::types::event::Qos;

use crate::fennec::{CLIENT_ID, Fennec, bridge, topic};
use crate::mosquitto::{self, Mosquitto};

const ALL: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

fn every_qos(level: Level) {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let topics = topic("up/#", "out", 2, "here/", "there/") + &topic("down/#", "in", 2, "here/", "there/");
    let mut broker = Fennec::start(&bridge(other.port(), level, "", &topics));
    let (mut here, mut there) = (broker.client(Level::V5, "here"), other.client(Level::V5, "there"));
    here.subscribe("here/down/#");
    there.subscribe("there/up/#");
    broker.is_up();
    for qos in ALL {
        here.publish("here/up/x", "1", qos);
        let came = there.next();
        assert_eq!((came.text(), came.qos), ("there/up/x=1".to_owned(), qos));
    }
    // When the first has come in, it is subscribed.
    there.retain("there/down/first", "0");
    here.next();
    for qos in ALL {
        there.publish("there/down/x", "2", qos);
        let came = here.next();
        assert_eq!((came.text(), came.qos), ("here/down/x=2".to_owned(), qos));
    }
    here.publish("here/other", "3", Qos::AtLeastOnce);
    here.publish("here/up/y", "4", Qos::AtLeastOnce);
    assert_eq!(there.next().text(), "there/up/y=4", "and nothing that no rule is for");
}

#[test]
fn every_qos_crosses_by_3_1_1() {
    every_qos(Level::V4);
}

#[test]
fn every_qos_crosses_by_5() {
    every_qos(Level::V5);
}

#[test]
fn the_qos_of_a_rule_is_the_highest() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let topics = topic("#", "out", 0, "here/", "there/");
    let mut broker = Fennec::start(&bridge(other.port(), Level::V5, "", &topics));
    let (mut here, mut there) = (broker.client(Level::V4, "here"), other.client(Level::V4, "there"));
    there.subscribe("there/#");
    broker.is_up();
    here.publish("here/x", "1", Qos::ExactlyOnce);
    assert_eq!(there.next().qos, Qos::AtMostOnce);
}

#[test]
fn all_that_travels_with_an_event_crosses_by_5() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start();
    let topics = topic("#", "both", 1, "here/", "there/");
    let mut broker = Fennec::start(&bridge(other.port(), Level::V5, "", &topics));
    let (mut here, mut there) = (broker.client(Level::V5, "here"), other.client(Level::V5, "there"));
    here.subscribe("here/#");
    there.subscribe("there/#");
    broker.is_up();
    let user_properties = [("k".to_owned(), "v".to_owned())];
    let sent = PublishProperties {
        payload_is_text: Some(true),
        expiry_s: Some(1000),
        content_type: Some("text/plain"),
        correlation_data: Some(b"7"),
        user_properties: UserProperties::new(&user_properties),
        ..PublishProperties::default()
    };
    let outward = PublishProperties { response_topic: Some("here/answer"), ..sent };
    here.publish_with("here/ask", "1", Qos::AtLeastOnce, false, &outward);
    here.next();
    let came = there.next();
    assert_eq!(came.properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(came.properties.response_topic.as_deref(), Some("there/answer"));
    assert_eq!(came.properties.correlation_data.as_deref(), Some(&b"7"[..]));
    assert_eq!(came.properties.payload_is_text, Some(true));
    assert!(came.expiry_s.is_some_and(|s| (900..=1000).contains(&s)), "{:?}", came.expiry_s);
    let path = ("fennec_path".to_owned(), CLIENT_ID.to_owned());
    assert_eq!(came.properties.user_properties, [user_properties[0].clone(), path.clone()]);
    let inward = PublishProperties { response_topic: Some("there/answer"), ..sent };
    there.publish_with("there/ask", "2", Qos::AtLeastOnce, false, &inward);
    let came = here.next();
    assert_eq!(
        (came.text(), came.properties.response_topic.as_deref()),
        ("here/ask=2".to_owned(), Some("here/answer"))
    );
    assert!(came.expiry_s.is_some_and(|s| (900..=1000).contains(&s)), "{:?}", came.expiry_s);
    assert!(came.properties.user_properties.contains(&path));
}

#[test]
fn clients_are_told_whether_a_bridge_is_up() {
    if !mosquitto::is_installed() {
        return;
    }
    let mut other = Mosquitto::start();
    let topics = topic("#", "out", 1, "", "");
    let mut broker = Fennec::start(&bridge(other.port(), Level::V5, "", &topics));
    broker.is_up();
    let state = format!("$SYS/broker/connection/{CLIENT_ID}/state");
    let mut here = broker.client(Level::V5, "here");
    here.subscribe(&state);
    here.subscribe("fennec/bridge/#");
    assert_eq!(here.next().text(), format!("{state}=1!"));
    other.stop();
    let told: Vec<String> = [here.next(), here.next()].iter().map(|message| message.text()).collect();
    assert!(told.contains(&format!("{state}=0!")), "{told:?}");
    assert!(told.iter().any(|text| text.starts_with("fennec/bridge/down={") && text.contains("\"far\"")), "{told:?}");
}
