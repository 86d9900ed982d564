//! Whatever we can say, we say so that it is understood.

use proptest::prelude::*;

use super::*;
use crate::types::event::{Properties, Qos};

/// What packets are made of. Each test takes what it needs.
#[derive(Clone, Debug)]
struct Parts {
    level: Level,
    qos: Qos,
    packet_id: PacketId,
    name: String,
    texts: Vec<Option<String>>,
    data: Vec<Option<Vec<u8>>>,
    numbers: Vec<Option<u32>>,
    flags: Vec<bool>,
    pairs: Vec<(String, String)>,
    ids: Vec<u32>,
    reason: prop::sample::Index,
}

impl Parts {
    fn text(&self, at: usize) -> Option<&str> {
        self.texts[at].as_deref()
    }

    fn data(&self, at: usize) -> Option<&[u8]> {
        self.data[at].as_deref()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.numbers[at].map(|number| number as u16 | 1)
    }

    fn payload(&self) -> &[u8] {
        self.data(0).unwrap_or_default()
    }

    fn reason(&self, of: &[ReasonCode]) -> ReasonCode {
        *self.reason.get(of)
    }

    /// What levels before 5 do not have is empty there.
    fn five<T: Default>(&self, value: T) -> T {
        if self.level == Level::V5 { value } else { T::default() }
    }

    fn diagnostics(&self) -> Diagnostics<'_> {
        self.five(Diagnostics { reason_string: self.text(0), user_properties: UserProperties::new(&self.pairs) })
    }

    /// `properties`, or none of them.
    fn source<'a>(&self, properties: &'a PublishProperties<'a>) -> PropertySource<'a> {
        if self.flags[6] { PropertySource::Own(properties) } else { PropertySource::None }
    }

    fn properties(&self) -> PublishProperties<'_> {
        self.five(PublishProperties {
            event_id: None,
            passthru: None,
            payload_is_text: self.flags[0].then_some(false),
            topic_alias: None,
            expiry_s: self.numbers[0],
            content_type: self.text(1),
            response_topic: self.text(2).filter(|topic| !topic.is_empty()),
            correlation_data: self.data(1),
            user_properties: UserProperties::new(&self.pairs),
            subscription_identifiers: SubscriptionIdentifiers::default(),
        })
    }
}

/// Text without U+0000 and wildcards, long enough now and then to need two bytes of length.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[^\u{0}+#]{0,12}",
        1 => "[^\u{0}+#]{100,300}",
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    let level = prop_oneof![1 => Just(Level::V3), 1 => Just(Level::V4), 2 => Just(Level::V5)];
    let qos = prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
    let data = prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..20), 1 => prop::collection::vec(any::<u8>(), 100..20_000)];
    (
        (level, qos, 1..=u16::MAX, "[^\u{0}+#]{1,30}"),
        prop::collection::vec(prop::option::of(text()), 8),
        prop::collection::vec(prop::option::of(data), 3),
        prop::collection::vec(prop::option::of(1..u32::MAX), 4),
        prop::collection::vec(any::<bool>(), 8),
        prop::collection::vec((text(), text()), 0..4),
        prop::collection::vec(1..=268_435_455u32, 1..4),
        any::<prop::sample::Index>(),
    )
        .prop_map(|((level, qos, id, name), texts, data, numbers, flags, pairs, ids, reason)| Parts {
            level,
            qos,
            packet_id: packet_id(id),
            name,
            texts,
            data,
            numbers,
            flags,
            pairs,
            ids,
            reason,
        })
}

/// Encodes, cuts the frame as a reader would, decodes, compares.
fn check(packet: Any<'_>, level: Level, role: Role) -> Result<(), TestCaseError> {
    let mut frame = encode_any(&packet, level).expect("encodable");
    prop_assert_eq!(frame_length(&frame, usize::MAX), Ok(Some(frame.len())));
    prop_assert_eq!(decode_any(&frame, level, role), Ok(packet));
    frame.push(0);
    prop_assert_eq!(decode_any(&frame, level, role), Err(DecodeError::FRAME_INCOMPLETE));
    Ok(())
}

fn check_other(packet: Packet<'_>, level: Level, role: Role) -> Result<(), TestCaseError> {
    check(Any::Other(packet), level, role)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn connect(parts in parts()) {
        let will = Will {
            topic: &parts.name,
            payload: parts.payload(),
            qos: parts.qos,
            retain: parts.flags[1],
            delay_s: parts.five(parts.numbers[1].unwrap_or_default()),
            properties: parts.properties(),
        };
        let method = parts.text(3);
        let properties = ConnectProperties {
            session_expiry_s: parts.numbers[2].unwrap_or_default(),
            receive_maximum: parts.u16(1).unwrap_or(u16::MAX),
            maximum_packet_size: parts.numbers[3],
            topic_alias_maximum: parts.u16(0).unwrap_or_default(),
            request_response_information: parts.flags[2],
            request_problem_information: parts.flags[3],
            authentication_method: method,
            authentication_data: parts.data(2).filter(|_| method.is_some()),
            user_properties: UserProperties::new(&parts.pairs),
        };
        let user_name = parts.text(4);
        let connect = Connect {
            level: parts.level,
            clean_start: parts.flags[4],
            keep_alive_s: parts.numbers[0].unwrap_or_default() as u16,
            client_id: &parts.name,
            will: parts.flags[5].then_some(will),
            user_name,
            password: parts.data(1).filter(|_| user_name.is_some() || parts.level == Level::V5),
            properties: parts.five(properties),
        };
        check(Any::Connect(Box::new(connect)), parts.level, Role::Server)?;
    }

    #[test]
    fn connack(parts in parts()) {
        let five = parts.level == Level::V5;
        let reason = if five {
            parts.reason(reason::CONNACK)
        } else {
            ReasonCode::from_return_code(parts.reason.index(6) as u8).expect("one of six")
        };
        let method = parts.text(3);
        let properties = ConnackProperties {
            session_expiry_s: parts.numbers[0],
            receive_maximum: parts.u16(1).unwrap_or(u16::MAX),
            maximum_qos: parts.qos,
            retain_available: parts.flags[0],
            maximum_packet_size: parts.numbers[2],
            assigned_client_identifier: parts.text(1),
            topic_alias_maximum: parts.u16(3).unwrap_or_default(),
            reason_string: parts.text(2),
            wildcard_subscription_available: parts.flags[1],
            subscription_identifier_available: parts.flags[2],
            shared_subscription_available: parts.flags[3],
            server_keep_alive_s: parts.u16(0),
            response_information: parts.text(4),
            server_reference: parts.text(5),
            authentication_method: method,
            authentication_data: parts.data(1).filter(|_| method.is_some()),
            user_properties: UserProperties::new(&parts.pairs),
        };
        let session_present = parts.flags[4] && parts.level > Level::V3 && reason == ReasonCode::Success;
        let connack = Connack { session_present, reason, properties: parts.five(properties) };
        check_other(Packet::Connack(Box::new(connack)), parts.level, Role::Client)?;
    }

    #[test]
    fn publish(parts in parts()) {
        let alias = parts.five(parts.u16(1));
        let properties = PublishProperties { topic_alias: alias, ..parts.properties() };
        let publish = Publish {
            dup: parts.flags[1] && parts.qos != Qos::AtMostOnce,
            qos: parts.qos,
            retain: parts.flags[2],
            packet_id: (parts.qos != Qos::AtMostOnce).then_some(parts.packet_id),
            topic: if alias.is_some() && parts.flags[3] { b"" } else { parts.name.as_bytes() },
            properties: PropertySource::Own(&properties),
            payload: parts.payload(),
        };
        check_other(Packet::Publish(publish), parts.level, Role::Server)?;
        let subscription_identifiers = parts.five(SubscriptionIdentifiers::new(&parts.ids));
        let properties = PublishProperties { subscription_identifiers, ..properties };
        let publish = Publish { properties: PropertySource::Own(&properties), ..publish };
        check_other(Packet::Publish(publish), parts.level, Role::Client)?;
    }

    #[test]
    fn header_alone_is_the_packet_without_its_payload(parts in parts()) {
        let properties = parts.properties();
        let publish = Publish {
            qos: parts.qos,
            packet_id: Some(parts.packet_id),
            topic: parts.name.as_bytes(),
            properties: parts.source(&properties),
            payload: parts.payload(),
            ..Publish::default()
        };
        let (mut whole, mut header) = (b"before".to_vec(), Vec::new());
        let layout = publish.encode(parts.level, &mut whole).expect("encodable");
        let same = publish.encode_header(parts.level, parts.payload().len(), &mut header).expect("encodable");
        prop_assert_eq!(layout, same);
        prop_assert_eq!(layout.payload_at, header.len());
        header.extend_from_slice(parts.payload());
        prop_assert_eq!(&whole[6..], &header);
    }

    #[test]
    fn packet_identifier_is_patched_where_the_layout_says(parts in parts(), id in 1..=u16::MAX) {
        let properties = parts.properties();
        let publish = Publish {
            qos: parts.qos,
            packet_id: None,
            topic: parts.name.as_bytes(),
            properties: parts.source(&properties),
            payload: parts.payload(),
            ..Publish::default()
        };
        let mut out = Vec::new();
        let layout = publish.encode(parts.level, &mut out).expect("encodable");
        layout.set_packet_id(&mut out, packet_id(id));
        let patched = (parts.qos != Qos::AtMostOnce).then(|| packet_id(id));
        let Ok(Packet::Publish(decoded)) = decode(&out, parts.level, Role::Server) else { panic!("not decoded") };
        prop_assert_eq!(decoded, Publish { packet_id: patched, ..publish });
    }

    #[test]
    fn acknowledgements(parts in parts()) {
        let level = parts.level;
        let ack = |reasons| Ack {
            packet_id: parts.packet_id,
            reason: if level == Level::V5 { parts.reason(reasons) } else { ReasonCode::Success },
            diagnostics: parts.diagnostics(),
        };
        check_other(Packet::Puback(ack(reason::PUBACK)), level, Role::Server)?;
        check_other(Packet::Pubrec(ack(reason::PUBACK)), level, Role::Client)?;
        check_other(Packet::Pubrel(ack(reason::PUBREL)), level, Role::Client)?;
        check_other(Packet::Pubcomp(ack(reason::PUBREL)), level, Role::Server)?;
    }

    #[test]
    fn subscribe_and_unsubscribe(parts in parts()) {
        let level = parts.level;
        let filters = ["#", "+/a/#", "$share/s/+", parts.name.trim_start_matches('$')];
        let filters: Vec<&str> = filters.into_iter().filter(|filter| !filter.is_empty()).collect();
        let subscription = |filter: &&'_ str| Subscription {
            filter: if parts.flags[7] { "a" } else { "+/#" },
            qos: parts.qos,
            no_local: parts.five(parts.flags[0] && filter.len() < 3),
            retain_as_published: parts.five(parts.flags[1]),
            retain_handling: parts.five(if parts.flags[2] { RetainHandling::Never } else { RetainHandling::AtNewSubscribe }),
        };
        let subscriptions: Vec<Subscription> = filters.iter().map(subscription).collect();
        let user_properties = parts.five(UserProperties::new(&parts.pairs));
        check_other(
            Packet::Subscribe(Subscribe {
                packet_id: parts.packet_id,
                subscription_identifier: parts.five(parts.flags[3].then_some(parts.ids[0])),
                user_properties,
                subscriptions: Subscriptions::new(&subscriptions),
            }),
            level,
            Role::Server,
        )?;
        let filters = TopicFilters::new(&filters);
        let packet_id = parts.packet_id;
        check_other(Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters }), level, Role::Server)?;
    }

    #[test]
    fn suback_and_unsuback(parts in parts()) {
        let level = parts.level;
        let of = |all: &'static [ReasonCode]| &all[parts.reason.index(all.len())..];
        let packet_id = parts.packet_id;
        let diagnostics = parts.diagnostics();
        let reasons = ReasonCodes::new(of(if level == Level::V5 { reason::SUBACK } else { reason::SUBACK_V4 }));
        check_other(Packet::Suback(Suback { packet_id, diagnostics, reasons }), level, Role::Client)?;
        let reasons = parts.five(ReasonCodes::new(of(reason::UNSUBACK)));
        check_other(Packet::Unsuback(Unsuback { packet_id, diagnostics, reasons }), level, Role::Client)?;
    }

    #[test]
    fn ping_disconnect_and_auth(parts in parts()) {
        let level = parts.level;
        check_other(Packet::Pingreq, level, Role::Server)?;
        check_other(Packet::Pingresp, level, Role::Client)?;
        for role in [Role::Server, Role::Client] {
            let from_server = role == Role::Client;
            let allowed = |fits: fn(ReasonCode, bool) -> bool| -> Vec<ReasonCode> {
                ReasonCode::ALL.iter().copied().filter(|code| fits(*code, from_server)).collect()
            };
            let reason = parts.reason(&allowed(reason::allowed_in_disconnect));
            let disconnect = Disconnect {
                reason: if level == Level::V5 { reason } else { ReasonCode::NORMAL_DISCONNECTION },
                session_expiry_s: parts.five(parts.numbers[0]).filter(|_| !from_server),
                server_reference: parts.five(parts.text(1)).filter(|_| from_server),
                diagnostics: parts.diagnostics(),
            };
            if level == Level::V5 || role == Role::Server {
                check_other(Packet::Disconnect(disconnect), level, role)?;
            }
            let reason = parts.reason(&allowed(reason::allowed_in_auth));
            let auth = Auth { reason, method: Some(&parts.name), data: parts.data(1), diagnostics: parts.diagnostics() };
            if level == Level::V5 {
                check_other(Packet::Auth(auth), level, role)?;
            }
        }
    }

    #[test]
    fn properties_travel_with_the_publication_unchanged(parts in parts()) {
        let properties = PublishProperties { topic_alias: Some(1), expiry_s: Some(1), ..parts.properties() };
        let event = properties.to_event();
        let sent_on = event.as_ref().map(|event| PublishProperties::of_event(event)).unwrap_or_default();
        prop_assert_eq!(sent_on, PublishProperties { topic_alias: None, expiry_s: None, ..properties });
        prop_assert!(event.is_none_or(|event| *event != Properties::default()));
    }
}
