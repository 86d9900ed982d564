//! `rumqttc`, over 3.1.1 and 5, against a broker of its own per test.

use std::time::Duration;

use super::broker::Broker;

/// Long, for a machine under load; only a failure ever takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Defines `Peer` by the types that the module around has in use: `rumqttc` has them once per version of MQTT.
macro_rules! peer {
    () => {
        /// A client with its connection, which goes on only while something is waited for.
        struct Peer {
            client: Client,
            connection: Connection,
        }

        impl Peer {
            /// A connected client.
            fn connect(broker: &Broker, client_id: &str, change: fn(&mut MqttOptions)) -> (Self, bool) {
                let mut options = MqttOptions::new(client_id, "127.0.0.1", broker.port("mqtt"));
                change(&mut options);
                let (client, connection) = Client::new(options, 100);
                let mut peer = Peer { client, connection };
                let session_present = peer.wait_for("CONNACK", |packet| match packet {
                    Packet::ConnAck(connack) => Some(connack.session_present),
                    _ => None,
                });
                (peer, session_present)
            }

            /// Lets the connection go on until the awaited packet comes.
            fn wait_for<T>(&mut self, what: &str, mut found: impl FnMut(Packet) -> Option<T>) -> T {
                loop {
                    match self.connection.recv_timeout(PATIENCE) {
                        Ok(Ok(Event::Incoming(packet))) => {
                            if let Some(found) = found(packet) {
                                return found;
                            }
                        }
                        Ok(Ok(Event::Outgoing(_))) => {}
                        Ok(Err(error)) => panic!("no {what}: {error}"),
                        Err(_) => panic!("no {what} in {PATIENCE:?}"),
                    }
                }
            }

            fn subscribe(&mut self, filter: &str, qos: QoS) {
                self.client.subscribe(filter, qos).expect("a free place in its queue");
                self.wait_for("SUBACK", |packet| matches!(packet, Packet::SubAck(_)).then_some(()));
            }

            /// Publishes and waits for the end of the exchange.
            fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: Vec<u8>) {
                self.client.publish(topic, qos, retain, payload).expect("a free place in its queue");
                self.published(qos);
            }

            fn published(&mut self, qos: QoS) {
                match qos {
                    // Nothing answers, so a PINGRESP would be the next thing to wait for; the event loop has written
                    // the packet when it reports it as going out.
                    QoS::AtMostOnce => while !matches!(self.connection.recv(), Ok(Ok(Event::Outgoing(_)))) {},
                    QoS::AtLeastOnce => self.wait_for("PUBACK", |p| matches!(p, Packet::PubAck(_)).then_some(())),
                    QoS::ExactlyOnce => self.wait_for("PUBCOMP", |p| matches!(p, Packet::PubComp(_)).then_some(())),
                }
            }

            fn next(&mut self) -> Publish {
                self.wait_for("message", |packet| match packet {
                    Packet::Publish(publish) => Some(publish),
                    _ => None,
                })
            }

            fn leave(mut self) {
                self.client.disconnect().expect("a free place in its queue");
                while let Ok(Ok(_)) = self.connection.recv_timeout(PATIENCE) {}
            }
        }
    };
}

mod v3 {
    use super::*;
    use rumqttc::{Client, Connection, Event, MqttOptions, Packet, Publish, QoS};

    peer!();

    #[test]
    fn rumqttc_speaks_3_1_1_in_every_qos() {
        let broker = Broker::start();
        let (mut subscriber, _) = Peer::connect(&broker, "subscriber", |_| {});
        let (mut publisher, _) = Peer::connect(&broker, "publisher", |_| {});
        subscriber.subscribe("a/+", QoS::ExactlyOnce);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            publisher.publish("a/b", qos, false, b"text".to_vec());
            let found = subscriber.next();
            assert_eq!((found.topic.as_str(), &found.payload[..], found.qos), ("a/b", &b"text"[..], qos));
        }
    }

    #[test]
    fn rumqttc_resumes_a_session_of_3_1_1() {
        let broker = Broker::start();
        let lasting = |options: &mut MqttOptions| _ = options.set_clean_session(false);
        let (mut sleeper, present) = Peer::connect(&broker, "sleeper", lasting);
        assert!(!present);
        sleeper.subscribe("a/b", QoS::AtLeastOnce);
        sleeper.leave();
        let (mut publisher, _) = Peer::connect(&broker, "publisher", |_| {});
        for number in 0..10u8 {
            publisher.publish("a/b", QoS::AtLeastOnce, number == 9, vec![number]);
        }
        let (mut sleeper, present) = Peer::connect(&broker, "sleeper", lasting);
        assert!(present);
        let found: Vec<u8> = (0..10).map(|_| sleeper.next().payload[0]).collect();
        assert_eq!(found, (0..10).collect::<Vec<u8>>());
        publisher.subscribe("a/b", QoS::AtLeastOnce);
        assert!(publisher.next().retain);
    }
}

mod v5 {
    use super::*;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties, SubscribeProperties};
    use rumqttc::v5::{Client, Connection, Event, MqttOptions};

    peer!();

    #[test]
    fn rumqttc_speaks_5_in_every_qos_and_with_all_properties() {
        let broker = Broker::start();
        let (mut subscriber, _) = Peer::connect(&broker, "subscriber", |_| {});
        let (mut publisher, _) = Peer::connect(&broker, "publisher", |_| {});
        let identified = SubscribeProperties { id: Some(9), user_properties: vec![] };
        subscriber.client.subscribe_with_properties("a/#", QoS::ExactlyOnce, identified).expect("a free place");
        subscriber.wait_for("SUBACK", |packet| matches!(packet, Packet::SubAck(_)).then_some(()));
        let sent = PublishProperties {
            payload_format_indicator: Some(1),
            response_topic: Some("answers".to_owned()),
            correlation_data: Some(vec![0, 255].into()),
            user_properties: vec![("k".to_owned(), "v".to_owned()), ("k".to_owned(), "w".to_owned())],
            content_type: Some("text/plain".to_owned()),
            ..PublishProperties::default()
        };
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let publish = publisher.client.publish_with_properties("a/b", qos, false, "text", sent.clone());
            publish.expect("a free place in its queue");
            publisher.published(qos);
            let found = subscriber.next();
            assert_eq!((&found.topic[..], &found.payload[..], found.qos), (&b"a/b"[..], &b"text"[..], qos));
            let expected = PublishProperties { subscription_identifiers: vec![9], ..sent.clone() };
            assert_eq!(found.properties, Some(expected));
        }
    }

    #[test]
    fn rumqttc_resumes_a_session_of_5() {
        let broker = Broker::start();
        let lasting = |options: &mut MqttOptions| {
            options.set_clean_start(false).set_session_expiry_interval(Some(600)).set_receive_maximum(Some(3));
        };
        let (mut sleeper, present) = Peer::connect(&broker, "sleeper", lasting);
        assert!(!present);
        sleeper.subscribe("a/b", QoS::ExactlyOnce);
        sleeper.leave();
        let (mut publisher, _) = Peer::connect(&broker, "publisher", |_| {});
        for number in 0..10u8 {
            publisher.publish("a/b", QoS::ExactlyOnce, number == 9, vec![number]);
        }
        let (mut sleeper, present) = Peer::connect(&broker, "sleeper", lasting);
        assert!(present);
        let found: Vec<u8> = (0..10).map(|_| sleeper.next().payload[0]).collect();
        assert_eq!(found, (0..10).collect::<Vec<u8>>());
        publisher.subscribe("a/b", QoS::AtLeastOnce);
        assert!(publisher.next().retain);
    }
}
