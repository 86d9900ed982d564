//! Whatever comes, in whatever order: the machine answers by the protocol, and nobody else is hurt.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// What a client does: right or wrong, each a packet that can be written, with ids and names from so small a range that they
/// often meet.
#[derive(Clone, Debug)]
enum Deed {
    Connect {
        client_id: &'static str,
        clean: bool,
        expiry_s: u32,
        will: bool,
        receive_max: u16,
        packet_bytes_max: u32,
    },
    Publish {
        topic: &'static str,
        qos: Qos,
        id: u16,
        dup: bool,
        retain: bool,
        alias: Option<u16>,
        payload: &'static str,
    },
    Ack {
        kind: AckType,
        id: u16,
        refused: bool,
    },
    Subscribe {
        id: u16,
        filter: &'static str,
        qos: Qos,
        no_local: bool,
        identifier: Option<u32>,
        past: bool,
    },
    Unsubscribe {
        id: u16,
        filter: &'static str,
    },
    Ping,
    Disconnect {
        with_will: bool,
    },
    Auth,
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The socket breaks.
    Cut,
}

fn any_deed() -> impl Strategy<Value = Deed> {
    let id = || 1..4u16;
    let qos = || select(vec![Q0, Q1, Q2]);
    let topic = || select(vec!["a", "a/b", "log/x", "$SYS/x", "$rpc/by/stander", "$rpc/nobody", "/", "a//b"]);
    let filters =
        vec!["a", "a/+", "#", "+/#", "log/#", "$share/g/a", "$share/g/#", "$share/h/log/x", "$rpc/mine", "$SYS/#"];
    let filter = move || select(filters.clone());
    let payload = select(vec!["", "1", "[1,2]", "{\"args\":[1]}", "text"]);
    let kind = select(vec![AckType::Puback, AckType::Pubrec, AckType::Pubrel, AckType::Pubcomp]);
    let client_id = select(vec!["one", "two", "", "bystander2"]);
    let publish = (topic(), qos(), id(), any::<bool>(), any::<bool>(), proptest::option::of(0..4u16), payload)
        .prop_map(|(topic, qos, id, dup, retain, alias, payload)| Deed::Publish {
            topic,
            qos,
            id,
            dup,
            retain,
            alias,
            payload,
        });
    let subscribe = (id(), filter(), qos(), any::<bool>(), proptest::option::of(1..3u32), any::<bool>()).prop_map(
        |(id, filter, qos, no_local, identifier, past)| Deed::Subscribe { id, filter, qos, no_local, identifier, past },
    );
    let expiry_s = select(vec![0, 5, u32::MAX]);
    let connect = (client_id, any::<bool>(), expiry_s, any::<bool>(), 1..4u16, select(vec![20, 100, u32::MAX]))
        .prop_map(|(client_id, clean, expiry_s, will, receive_max, packet_bytes_max)| Deed::Connect {
            client_id,
            clean,
            expiry_s,
            will,
            receive_max,
            packet_bytes_max,
        });
    prop_oneof![
        8 => publish,
        8 => (kind, id(), any::<bool>()).prop_map(|(kind, id, refused)| Deed::Ack { kind, id, refused }),
        6 => subscribe,
        3 => (id(), filter()).prop_map(|(id, filter)| Deed::Unsubscribe { id, filter }),
        3 => connect,
        2 => (0..7000u64).prop_map(Deed::Wait),
        1 => Just(Deed::Ping),
        1 => any::<bool>().prop_map(|with_will| Deed::Disconnect { with_will }),
        1 => Just(Deed::Auth),
        1 => Just(Deed::Cut),
    ]
}

impl Deed {
    /// The packet of a deed that is one.
    fn frame(&self, level: Level) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let wrote = match self {
            Self::Connect { client_id, clean, expiry_s, will: has_will, receive_max, packet_bytes_max } => {
                let properties = ConnectProperties {
                    session_expiry_s: *expiry_s,
                    receive_maximum: *receive_max,
                    maximum_packet_size: Some(*packet_bytes_max),
                    topic_alias_maximum: 2,
                    ..ConnectProperties::default()
                };
                let properties = if level == Level::V5 { properties } else { ConnectProperties::default() };
                let will = has_will.then(|| will("a/b", "gone"));
                let clean_start = *clean || client_id.is_empty();
                Connect { level, clean_start, will, properties, ..v5(client_id) }.encode(&mut out)
            }
            Self::Publish { topic, qos, id, dup, retain, alias, payload } => {
                let properties = PublishProperties { topic_alias: *alias, ..PublishProperties::default() };
                let packet_id = (*qos != Q0).then(|| packet_id(*id));
                let dup = *dup && *qos != Q0;
                let publish = Publish { packet_id, dup, retain: *retain, ..publish(topic, payload, *qos) };
                Publish { properties: PropertySource::Own(&properties), ..publish }.encode(level, &mut out).map(|_| ())
            }
            Self::Ack { kind, id, refused } => {
                let released = matches!(kind, AckType::Pubrel | AckType::Pubcomp);
                let reason = match (refused, released) {
                    (false, _) => ReasonCode::Success,
                    (true, true) => ReasonCode::PacketIdentifierNotFound,
                    (true, false) => ReasonCode::UnspecifiedError,
                };
                Ack::new(packet_id(*id), reason).encode(*kind, level, &mut out)
            }
            Self::Subscribe { id, filter, qos, no_local, identifier, past } => {
                let pairs = owned(&[("rewind", "2")]);
                let no_local = *no_local && !filter.starts_with("$share");
                let subscription = Subscription { no_local: no_local && level == Level::V5, ..to(filter, *qos) };
                let subscriptions = [subscription];
                let subscribe = Subscribe {
                    packet_id: packet_id(*id),
                    subscription_identifier: *identifier,
                    user_properties: if *past { UserProperties::new(&pairs) } else { UserProperties::default() },
                    subscriptions: Subscriptions::new(&subscriptions),
                };
                subscribe.encode(level, &mut out)
            }
            Self::Unsubscribe { id, filter } => {
                let filters = [*filter];
                let filters = TopicFilters::new(&filters);
                let user_properties = UserProperties::default();
                Unsubscribe { packet_id: packet_id(*id), user_properties, filters }.encode(level, &mut out)
            }
            Self::Ping => return Some(vec![0xc0, 0]),
            Self::Disconnect { with_will } => {
                let reason = if *with_will { ReasonCode::DisconnectWithWillMessage } else { ReasonCode::Success };
                Disconnect::new(reason).encode(level, &mut out)
            }
            Self::Auth => {
                out = vec![0xf0, 0];
                Ok(())
            }
            Self::Wait(_) | Self::Cut => return None,
        };
        // What a level cannot say is not said.
        wrote.is_ok().then_some(out)
    }
}

/// A connection, or none; what it was sent are whole packets that its level has.
struct Client {
    level: Level,
    peer: Option<Peer>,
}

impl Client {
    fn listen(&mut self) {
        let Some(peer) = &mut self.peer else { return };
        let bytes = peer.bytes();
        for frame in frames(&bytes) {
            decode(frame, self.level, Side::Client).unwrap_or_else(|error| panic!("{error}: {frame:x?}"));
        }
        if !peer.open {
            self.peer = None;
        }
    }

    fn feed(&mut self, world: &World, frame: &[u8]) {
        let peer = self.peer.get_or_insert_with(|| world.open(self.level));
        if peer.open {
            peer.feed(frame);
        }
        self.listen();
    }

    fn act(&mut self, world: &World, deed: &Deed) {
        match deed {
            Deed::Wait(ms) => world.pass(*ms),
            Deed::Cut => self.peer = None,
            packet => {
                let Some(frame) = packet.frame(self.level) else { return };
                if self.peer.is_none() && !matches!(packet, Deed::Connect { .. }) {
                    // Most have a session most of the time.
                    let clean = Deed::Connect {
                        client_id: "one",
                        clean: false,
                        expiry_s: 100,
                        will: false,
                        receive_max: 3,
                        packet_bytes_max: u32::MAX,
                    };
                    self.feed(world, &clean.frame(self.level).expect("a CONNECT"));
                }
                self.feed(world, &frame);
            }
        }
    }
}

fn world() -> World {
    Setup { durable: vec![TopicPattern::from_filter("log/#").unwrap()], ..Setup::default() }.build()
}

/// A client that does all right, before and after.
fn bystander(world: &World) -> Peer {
    let mut peer = world.join(v5("bystander"));
    peer.subscribe("by/stander", Q1);
    peer
}

fn check_bystander(peer: &mut Peer) {
    peer.hear();
    peer.publish("by/stander", "still", Q1);
    let heard = peer.hear();
    assert!(heard.iter().any(|line| line.starts_with("publish by/stander still")), "{heard:?}");
    assert!(heard.iter().any(|line| line.starts_with(&format!("puback #{}", peer.last_id))), "{heard:?}");
}

proptest! {
    #[test]
    fn any_packets_in_any_order(
        script in proptest::collection::vec((0..3usize, any_deed()), 1..80),
        levels in proptest::array::uniform3(select(vec![Level::V3, Level::V4, Level::V5])),
    ) {
        let world = world();
        let mut bystander = bystander(&world);
        let mut clients = levels.map(|level| Client { level, peer: None });
        for (who, deed) in &script {
            clients[*who].act(&world, deed);
            world.pass(1);
            clients.iter_mut().for_each(Client::listen);
        }
        check_bystander(&mut bystander);
    }

    #[test]
    fn any_flipped_bits(
        deeds in proptest::collection::vec(any_deed(), 1..10),
        flips in proptest::collection::vec((any::<Index>(), 0..8u8), 1..4),
        level in select(vec![Level::V3, Level::V4, Level::V5]),
    ) {
        let world = world();
        let mut bystander = bystander(&world);
        let mut client = Client { level, peer: None };
        for deed in &deeds {
            let Some(mut frame) = deed.frame(level) else { continue };
            for (at, bit) in &flips {
                let at = at.index(frame.len());
                frame[at] ^= 1 << bit;
            }
            // As much as the broken length says, so that it is one packet; or too little, which is waited for.
            let mut peer = world.open(level);
            let connect = Deed::Connect {
                client_id: "one", clean: true, expiry_s: 0, will: false, receive_max: 3, packet_bytes_max: u32::MAX,
            };
            peer.feed(&connect.frame(level).expect("a CONNECT"));
            let received = peer.gate.receive(&Bytes::from(frame), peer.now_ms());
            peer.follow(received.flow);
            client.peer = Some(peer);
            client.listen();
            client.peer = None;
        }
        check_bystander(&mut bystander);
    }
}
