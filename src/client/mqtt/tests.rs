//! The machine against packets of a broker, written here.

use super::*;
use crate::client::machine::{CallError, Message, Opened};
use crate::mqtt::codec::{
    Ack, Connack, ConnackProperties, Diagnostics, Packet, ReasonCodes, Role, Suback, UserProperties, frame_length,
};
use crate::types::payload::{Payload, PayloadRef};
use crate::types::topic::MatchPolicy;

fn options(level: Level) -> Options {
    Options {
        level,
        client_id: "c1".to_owned(),
        user: None,
        password: None,
        keep_alive_s: 30,
        session_expiry_s: 0,
        response_topic: "reply/c1".to_owned(),
    }
}

fn machine() -> Mqtt {
    Mqtt::new(options(Level::V5)).unwrap()
}

/// What the machine sends, in short.
fn sent(machine: &mut Mqtt) -> Vec<String> {
    let level = machine.level();
    let bytes = machine.next_output().unwrap_or_default();
    let mut rest = &bytes[..];
    let mut all = Vec::new();
    while let Some(length) = frame_length(rest, usize::MAX).unwrap() {
        let (frame, after) = rest.split_at(length);
        rest = after;
        all.push(match Connect::decode(frame) {
            Ok(connect) => format!("CONNECT {} clean={}", connect.client_id, connect.clean_start),
            Err(_) => show(&codec::decode(frame, level, Role::Server).unwrap()),
        });
    }
    assert!(rest.is_empty(), "half a packet");
    all
}

fn show(packet: &Packet<'_>) -> String {
    let ack = |name: &str, ack: &Ack<'_>| format!("{name} {}", ack.packet_id);
    match packet {
        Packet::Publish(publish) => {
            let properties = publish.properties().unwrap();
            let id = publish.packet_id.map_or(String::new(), |id| format!(" {id}"));
            let dup = if publish.dup { " dup" } else { "" };
            let payload = String::from_utf8_lossy(publish.payload);
            let reply = properties.response_topic.map_or(String::new(), |topic| format!(" -> {topic}"));
            let user: String =
                properties.user_properties.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("PUBLISH{id}{dup} {} {payload}{reply}{user}", publish.topic_name().unwrap())
        }
        Packet::Subscribe(subscribe) => {
            let subscription = subscribe.subscriptions.iter().next().unwrap();
            let user: String =
                subscribe.user_properties.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("SUBSCRIBE {} {}{user}", subscribe.packet_id, subscription.filter)
        }
        Packet::Puback(it) => ack("PUBACK", it),
        Packet::Pubrec(it) => ack("PUBREC", it),
        Packet::Pubrel(it) => ack("PUBREL", it),
        Packet::Pubcomp(it) => ack("PUBCOMP", it),
        Packet::Pingreq => "PINGREQ".to_owned(),
        Packet::Disconnect(_) => "DISCONNECT".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn packet(encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Bytes {
    let mut bytes = Vec::new();
    encode(&mut bytes).unwrap();
    bytes.into()
}

fn connack(level: Level, session_present: bool, properties: ConnackProperties<'_>) -> Bytes {
    let connack = Connack { session_present, properties, ..Connack::new(ReasonCode::Success) };
    packet(|out| connack.encode(level, out))
}

fn ack(kind: AckType, number: u16, reason: ReasonCode) -> Bytes {
    packet(|out| Ack::new(id(number), reason).encode(kind, Level::V5, out))
}

fn suback(number: u16, reason: ReasonCode) -> Bytes {
    let reasons = [reason];
    let suback =
        Suback { packet_id: id(number), diagnostics: Diagnostics::default(), reasons: ReasonCodes::new(&reasons) };
    packet(|out| suback.encode(Level::V5, out))
}

fn publish(topic: &str, qos: Qos, number: u16, payload: &str) -> Bytes {
    publish_with(topic, qos, number, payload, PublishProperties::default())
}

fn publish_with(topic: &str, qos: Qos, number: u16, payload: &str, properties: PublishProperties<'_>) -> Bytes {
    let publish = Publish {
        qos,
        packet_id: PacketId::new(number),
        topic: topic.as_bytes(),
        payload: payload.as_bytes(),
        properties: PropertySource::Own(&properties),
        ..Publish::default()
    };
    packet(|out| publish.encode(Level::V5, out).map(drop))
}

/// A machine whose connection stands.
fn connected() -> Mqtt {
    let mut machine = machine();
    open(&mut machine, false);
    machine
}

fn open(machine: &mut Mqtt, session_present: bool) {
    machine.open(usize::MAX);
    assert!(sent(machine)[0].starts_with("CONNECT"));
    machine.receive(connack(machine.level(), session_present, ConnackProperties::default())).unwrap();
    assert!(matches!(machine.next_event(), Some(Event::Opened(Opened { resumed, .. })) if resumed == session_present));
}

fn publication(topic: &str, qos: Qos) -> Publication<'_> {
    static NO_PROPERTIES: Properties = Properties {
        payload_is_text: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
        passthru: None,
        trust: None,
        resource_key: None,
    };
    Publication {
        topic,
        payload: PayloadRef::Bytes(b"x"),
        qos,
        retain: false,
        properties: &NO_PROPERTIES,
        expiry_s: None,
        options: &[],
    }
}

fn subscription(topic: &str) -> Subscription<'_> {
    Subscription {
        topic,
        qos: Qos::AtLeastOnce,
        retained: true,
        no_local: false,
        retain_as_published: false,
        policy: MatchPolicy::Exact,
        options: &[],
    }
}

fn call<'a>(procedure: &'a str, properties: &'a Properties) -> Call<'a> {
    Call { procedure, payload: PayloadRef::Bytes(b"[1]"), progress: false, timeout_ms: 0, properties }
}

fn registration(procedure: &str) -> Registration<'_> {
    Registration { procedure, policy: MatchPolicy::Exact, invoke: None, concurrency: None }
}

fn message(machine: &mut Mqtt) -> Message {
    match machine.next_event() {
        Some(Event::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn published(machine: &mut Mqtt) -> (Token, Result<(), Error>) {
    match machine.next_event() {
        Some(Event::Published { token, outcome }) => (token, outcome.map(|id| assert_eq!(id, None))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_level_is_spoken() {
    for level in [Level::V3, Level::V4, Level::V5] {
        let user = Some("alice".to_owned());
        let options = Options { user, password: Some("secret".to_owned()), session_expiry_s: 60, ..options(level) };
        let mut machine = Mqtt::new(options).unwrap();
        machine.open(usize::MAX);
        let bytes = machine.next_output().unwrap();
        let connect = Connect::decode(&bytes).unwrap();
        assert_eq!((connect.level, connect.clean_start, connect.client_id), (level, false, "c1"));
        assert_eq!((connect.user_name, connect.password), (Some("alice"), Some(&b"secret"[..])));
        assert_eq!(connect.properties.session_expiry_s, if level == Level::V5 { 60 } else { 0 });
        machine.receive(connack(level, false, ConnackProperties::default())).unwrap();
        assert!(matches!(machine.next_event(), Some(Event::Opened(_))));
    }
    let options = Options { password: Some("secret".to_owned()), ..options(Level::V4) };
    assert!(matches!(Mqtt::new(options), Err(Error::Invalid(_))));
}

#[test]
fn the_broker_may_choose_client_id_and_keep_alive() {
    let mut machine = machine();
    machine.open(usize::MAX);
    let properties = ConnackProperties {
        assigned_client_identifier: Some("given"),
        server_keep_alive_s: Some(7),
        ..ConnackProperties::default()
    };
    machine.receive(connack(Level::V5, false, properties)).unwrap();
    let Some(Event::Opened(opened)) = machine.next_event() else { panic!() };
    assert_eq!(opened, Opened { resumed: false, id: "given".to_owned(), keep_alive: Duration::from_secs(7) });
}

#[test]
fn a_refusal_says_who_must_act() {
    let check = |reason: ReasonCode, expected: fn(String) -> Error| {
        let mut machine = machine();
        machine.open(usize::MAX);
        let refused = packet(|out| Connack::new(reason).encode(Level::V5, out));
        let error = machine.receive(refused).unwrap_err();
        assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&expected(String::new())), "{reason}");
        assert!(error.to_string().contains(reason.words()), "{error}");
    };
    check(ReasonCode::NotAuthorized, Error::NotAuthorized);
    check(ReasonCode::BadUserNameOrPassword, Error::NotAuthorized);
    check(ReasonCode::ServerBusy, Error::Lost);
    check(ReasonCode::ClientIdentifierNotValid, Error::Refused);
}

#[test]
fn a_message_is_acknowledged_when_the_next_is_asked_for() {
    let mut machine = connected();
    machine.receive(publish("a", Qos::AtLeastOnce, 5, "one")).unwrap();
    machine.receive(publish("a", Qos::ExactlyOnce, 6, "two")).unwrap();
    machine.receive(publish("a", Qos::AtMostOnce, 0, "three")).unwrap();
    assert_eq!(message(&mut machine).qos, Some(Qos::AtLeastOnce));
    assert!(sent(&mut machine).is_empty());
    assert_eq!(message(&mut machine).qos, Some(Qos::ExactlyOnce));
    assert_eq!(sent(&mut machine), ["PUBACK 5"]);
    assert_eq!(message(&mut machine).qos, Some(Qos::AtMostOnce));
    assert_eq!(sent(&mut machine), ["PUBREC 6"]);
    assert!(machine.next_event().is_none());
    machine.receive(ack(AckType::Pubrel, 6, ReasonCode::Success)).unwrap();
    assert_eq!(sent(&mut machine), ["PUBCOMP 6"]);
}

#[test]
fn the_last_message_is_acknowledged_before_the_goodbye() {
    let mut machine = connected();
    machine.receive(publish("a", Qos::AtLeastOnce, 5, "one")).unwrap();
    message(&mut machine);
    machine.close();
    assert_eq!(sent(&mut machine), ["PUBACK 5", "DISCONNECT"]);
}

#[test]
fn a_qos_2_message_is_told_once_however_often_it_comes() {
    let mut machine = connected();
    machine.receive(publish("a", Qos::ExactlyOnce, 6, "x")).unwrap();
    message(&mut machine);
    machine.receive(publish("a", Qos::ExactlyOnce, 6, "x")).unwrap();
    assert!(machine.next_event().is_none());
    assert_eq!(sent(&mut machine), ["PUBREC 6", "PUBREC 6"]);
    machine.receive(ack(AckType::Pubrel, 6, ReasonCode::Success)).unwrap();
    machine.receive(publish("a", Qos::ExactlyOnce, 6, "another")).unwrap();
    message(&mut machine);
}

#[test]
fn a_qos_2_message_that_was_not_told_before_the_connection_ended_is_told_when_it_comes_again() {
    let mut machine = Mqtt::new(Options { session_expiry_s: 60, ..options(Level::V5) }).unwrap();
    open(&mut machine, false);
    machine.receive(publish("a", Qos::ExactlyOnce, 6, "told")).unwrap();
    machine.receive(publish("a", Qos::ExactlyOnce, 7, "not told")).unwrap();
    message(&mut machine);
    open(&mut machine, true);
    machine.receive(publish("a", Qos::ExactlyOnce, 6, "told")).unwrap();
    machine.receive(publish("a", Qos::ExactlyOnce, 7, "not told")).unwrap();
    assert_eq!(message(&mut machine).payload.shared_bytes().unwrap(), "not told");
    assert!(machine.next_event().is_none());
}

#[test]
fn publications_end_with_their_last_acknowledgement() {
    let mut machine = connected();
    let zero = machine.publish(&publication("a", Qos::AtMostOnce)).unwrap();
    let one = machine.publish(&publication("a", Qos::AtLeastOnce)).unwrap();
    let two = machine.publish(&publication("a", Qos::ExactlyOnce)).unwrap();
    let refused = machine.publish(&publication("a", Qos::ExactlyOnce)).unwrap();
    assert_eq!(sent(&mut machine), ["PUBLISH a x", "PUBLISH 1 a x", "PUBLISH 2 a x", "PUBLISH 3 a x"]);
    assert_eq!(published(&mut machine), (zero, Ok(())));
    machine.receive(ack(AckType::Puback, 1, ReasonCode::NoMatchingSubscribers)).unwrap();
    assert_eq!(published(&mut machine), (one, Ok(())));
    machine.receive(ack(AckType::Pubrec, 2, ReasonCode::Success)).unwrap();
    assert_eq!(sent(&mut machine), ["PUBREL 2"]);
    assert!(machine.next_event().is_none());
    machine.receive(ack(AckType::Pubcomp, 2, ReasonCode::Success)).unwrap();
    assert_eq!(published(&mut machine), (two, Ok(())));
    machine.receive(ack(AckType::Pubrec, 3, ReasonCode::NotAuthorized)).unwrap();
    let (token, outcome) = published(&mut machine);
    assert!(token == refused && matches!(outcome, Err(Error::NotAuthorized(_))), "{outcome:?}");
    assert!(sent(&mut machine).is_empty());
}

/// Three publications: one that the broker did not acknowledge, one that it took over (QoS 2), one that it acknowledged.
fn with_unacknowledged() -> Mqtt {
    let mut machine = Mqtt::new(Options { session_expiry_s: 60, ..options(Level::V5) }).unwrap();
    open(&mut machine, false);
    machine.publish(&publication("a", Qos::ExactlyOnce)).unwrap();
    machine.publish(&publication("b", Qos::AtLeastOnce)).unwrap();
    machine.publish(&publication("c", Qos::AtLeastOnce)).unwrap();
    machine.receive(ack(AckType::Pubrec, 1, ReasonCode::Success)).unwrap();
    machine.receive(ack(AckType::Puback, 3, ReasonCode::Success)).unwrap();
    published(&mut machine).1.unwrap();
    machine
}

#[test]
fn in_the_old_session_what_is_unacknowledged_is_sent_again_with_dup_and_in_order() {
    let mut machine = with_unacknowledged();
    open(&mut machine, true);
    assert_eq!(sent(&mut machine), ["PUBREL 1", "PUBLISH 2 dup b x"]);
    machine.receive(ack(AckType::Puback, 2, ReasonCode::Success)).unwrap();
    machine.receive(ack(AckType::Pubcomp, 1, ReasonCode::Success)).unwrap();
    assert_eq!((published(&mut machine).0, published(&mut machine).0), (Token(2), Token(1)));
}

#[test]
fn in_a_new_session_what_is_unacknowledged_is_sent_as_new_and_what_was_taken_over_is_done() {
    let mut machine = with_unacknowledged();
    open(&mut machine, false);
    assert_eq!(sent(&mut machine), ["PUBLISH 2 b x"]);
    assert_eq!(published(&mut machine), (Token(1), Ok(())));
}

#[test]
fn the_brokers_limits_are_kept() {
    let mut machine = machine();
    machine.open(usize::MAX);
    let properties = ConnackProperties {
        receive_maximum: 2,
        maximum_qos: Qos::AtLeastOnce,
        maximum_packet_size: Some(40),
        retain_available: false,
        ..ConnackProperties::default()
    };
    machine.receive(connack(Level::V5, false, properties)).unwrap();
    machine.next_event();
    sent(&mut machine);
    assert!(machine.has_room());
    machine.publish(&publication("a", Qos::ExactlyOnce)).unwrap();
    machine.publish(&publication("a", Qos::AtLeastOnce)).unwrap();
    assert!(!machine.has_room());
    assert!(machine.publish(&publication("a", Qos::AtLeastOnce)).is_err());
    machine.receive(ack(AckType::Puback, 1, ReasonCode::Success)).unwrap();
    assert!(machine.has_room());
    let large = "a".repeat(40);
    assert!(matches!(machine.publish(&publication(&large, Qos::AtMostOnce)), Err(Error::Invalid(_))));
    let retained = Publication { retain: true, ..publication("a", Qos::AtMostOnce) };
    assert!(matches!(machine.publish(&retained), Err(Error::Invalid(_))));
    assert_eq!(sent(&mut machine).len(), 2);
}

#[test]
fn what_mqtt_cannot_say_is_refused_before_it_is_sent() {
    let invalid = |outcome: Result<Token, Error>| assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    let mut machine = connected();
    invalid(machine.publish(&publication("a/#", Qos::AtMostOnce)));
    invalid(machine.publish(&publication("", Qos::AtMostOnce)));
    invalid(machine.subscribe(&subscription("a/#/b")));
    invalid(machine.subscribe(&subscription("$share/g")));
    invalid(machine.call(&call("a/+", &Properties::default())));
    invalid(machine.call(&Call { progress: true, ..call("a", &Properties::default()) }));
    invalid(machine.register(&Registration { concurrency: Some(1), ..registration("a") }));
    let mut old = Mqtt::new(options(Level::V4)).unwrap();
    open(&mut old, false);
    let properties = Properties { content_type: Some("text/plain".to_owned()), ..Properties::default() };
    invalid(old.publish(&Publication { properties: &properties, ..publication("a", Qos::AtMostOnce) }));
    invalid(old.publish(&Publication { expiry_s: Some(1), ..publication("a", Qos::AtMostOnce) }));
    invalid(old.subscribe(&Subscription { retained: false, ..subscription("a") }));
    invalid(old.call(&call("a", &Properties::default())));
    invalid(old.register(&registration("a")));
    assert!(sent(&mut machine).is_empty() && sent(&mut old).is_empty());
}

#[test]
fn a_subscription_is_granted_or_refused() {
    let mut machine = connected();
    machine.subscribe(&subscription("a/#")).unwrap();
    machine.subscribe(&subscription("b")).unwrap();
    assert_eq!(sent(&mut machine), ["SUBSCRIBE 1 a/#", "SUBSCRIBE 2 b"]);
    machine.receive(suback(2, ReasonCode::NotAuthorized)).unwrap();
    machine.receive(suback(1, ReasonCode::GrantedQos1)).unwrap();
    let refused = machine.next_event();
    assert!(matches!(refused, Some(Event::Subscribed { token: Token(2), outcome: Err(Error::NotAuthorized(_)) })));
    assert!(matches!(machine.next_event(), Some(Event::Subscribed { token: Token(1), outcome: Ok(None) })));
}

#[test]
fn options_are_user_properties_and_need_mqtt_5() {
    let mut machine = connected();
    let wanted = [("when", Value::Null), ("will", Value::Text("gone".to_owned()))];
    machine.publish(&Publication { options: &wanted, ..publication("a", Qos::AtMostOnce) }).unwrap();
    machine.subscribe(&Subscription { options: &[("rewind", Value::Int(2))], ..subscription("a") }).unwrap();
    assert_eq!(sent(&mut machine), ["PUBLISH a x when=null will=gone", "SUBSCRIBE 1 a rewind=2"]);
    let mut old = Mqtt::new(options(Level::V4)).unwrap();
    open(&mut old, false);
    let invalid = |outcome: Result<Token, Error>| assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    invalid(old.publish(&Publication { options: &wanted, ..publication("a", Qos::AtMostOnce) }));
    invalid(old.subscribe(&Subscription { options: &wanted, ..subscription("a") }));
}

#[test]
fn a_call_waits_until_its_answer_can_be_heard() {
    let mut machine = connected();
    let properties = Properties { user_properties: vec![("x".to_owned(), "1".to_owned())], ..Properties::default() };
    let first = machine.call(&call("math/add", &properties)).unwrap();
    let second = machine.call(&call("math/sub", &properties)).unwrap();
    assert_eq!(sent(&mut machine), ["SUBSCRIBE 1 reply/c1"]);
    machine.cancel(second);
    machine.receive(suback(1, ReasonCode::GrantedQos1)).unwrap();
    assert_eq!(sent(&mut machine), ["PUBLISH 2 $rpc/math/add [1] -> reply/c1 x=1"]);
    machine.receive(ack(AckType::Puback, 2, ReasonCode::Success)).unwrap();
    let correlation = first.0.to_be_bytes();
    let reply = || {
        let properties = PublishProperties { correlation_data: Some(&correlation), ..PublishProperties::default() };
        publish_with("reply/c1", Qos::AtMostOnce, 0, "3", properties)
    };
    machine.receive(reply()).unwrap();
    let Some(Event::Returned { token, progress: false, payload }) = machine.next_event() else { panic!() };
    assert_eq!((token, payload.shared_bytes().unwrap()), (first, Bytes::from("3")));
    machine.receive(reply()).unwrap();
    assert!(machine.next_event().is_none(), "nobody waits for a second answer");
    machine.call(&call("math/add", &properties)).unwrap();
    assert_eq!(sent(&mut machine), ["PUBLISH 3 $rpc/math/add [1] -> reply/c1 x=1"]);
}

#[test]
fn a_call_fails_by_its_answer_or_by_the_broker() {
    let mut machine = connected();
    let properties = Properties::default();
    let mut failed = |reply: &dyn Fn(Token) -> Bytes| {
        let token = machine.call(&call("p", &properties)).unwrap();
        if token == Token(1) {
            machine.receive(suback(1, ReasonCode::GrantedQos1)).unwrap();
        }
        machine.receive(reply(token)).unwrap();
        match machine.next_event() {
            Some(Event::Failed { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    };
    let answered = |uri: &'static str| {
        move |token: Token| {
            let (correlation, user) = (token.0.to_be_bytes(), [("error".to_owned(), uri.to_owned())]);
            let properties = PublishProperties {
                correlation_data: Some(&correlation),
                user_properties: UserProperties::new(&user),
                ..PublishProperties::default()
            };
            publish_with("reply/c1", Qos::AtMostOnce, 0, "why", properties)
        }
    };
    let error = failed(&answered("app.error.x"));
    assert!(matches!(error, CallError::Answered { uri, payload } if uri == "app.error.x" && payload.len() == 3));
    let error = failed(&answered("wamp.error.not_authorized"));
    assert!(matches!(error, CallError::Refused(Error::NotAuthorized(_))));
    let error = failed(&|token| ack(AckType::Puback, token.0 as u16 + 1, ReasonCode::NotAuthorized));
    assert!(matches!(error, CallError::Refused(Error::NotAuthorized(_))));
}

#[test]
fn without_permission_to_hear_answers_calls_fail() {
    let mut machine = connected();
    machine.call(&call("p", &Properties::default())).unwrap();
    machine.receive(suback(1, ReasonCode::NotAuthorized)).unwrap();
    let event = machine.next_event();
    assert!(matches!(event, Some(Event::Failed { error: CallError::Refused(Error::NotAuthorized(_)), .. })));
    assert_eq!(sent(&mut machine), ["SUBSCRIBE 1 reply/c1"]);
}

#[test]
fn an_invocation_is_answered_where_it_asks_for_it() {
    let mut machine = connected();
    machine.register(&registration("math/add")).unwrap();
    assert_eq!(sent(&mut machine), ["SUBSCRIBE 1 $rpc/math/add"]);
    machine.receive(suback(1, ReasonCode::GrantedQos1)).unwrap();
    assert!(matches!(machine.next_event(), Some(Event::Registered { outcome: Ok(()), .. })));
    let mut invoked = |reply: &str| {
        let properties = PublishProperties { response_topic: Some(reply), ..PublishProperties::default() };
        machine.receive(publish_with("$rpc/math/add", Qos::AtMostOnce, 0, "[1]", properties)).unwrap();
        match machine.next_event() {
            Some(Event::Invoked(invocation)) => (invocation.number, invocation.procedure),
            other => panic!("{other:?}"),
        }
    };
    let (one, procedure) = invoked("$rpc-reply/1");
    let (two, _) = invoked("$rpc-reply/2");
    assert_eq!(procedure, "math/add");
    machine.answer(two, &Answer::Error { uri: "app.error.x", payload: PayloadRef::Bytes(b"why") }).unwrap();
    machine.answer(one, &Answer::Result(PayloadRef::Bytes(b"3"))).unwrap();
    machine.answer(one, &Answer::Result(PayloadRef::Bytes(b"3"))).unwrap();
    let expected = ["PUBLISH 2 $rpc-reply/2 why error=app.error.x", "PUBLISH 3 $rpc-reply/1 3"];
    assert_eq!(sent(&mut machine), expected);
}

#[test]
fn calls_and_answers_end_with_their_connection() {
    let mut machine = connected();
    machine.call(&call("p", &Properties::default())).unwrap();
    machine.receive(suback(1, ReasonCode::GrantedQos1)).unwrap();
    machine.publish(&publication("a", Qos::AtLeastOnce)).unwrap();
    open(&mut machine, false);
    assert_eq!(sent(&mut machine), ["PUBLISH 3 a x"]);
    machine.call(&call("p", &Properties::default())).unwrap();
    assert_eq!(sent(&mut machine), ["SUBSCRIBE 4 reply/c1"]);
}

#[test]
fn how_the_bytes_are_cut_makes_no_difference() {
    let mut bytes = connack(Level::V5, false, ConnackProperties::default()).to_vec();
    bytes.extend_from_slice(&publish("a", Qos::AtLeastOnce, 5, "one"));
    bytes.extend_from_slice(&publish("a/b", Qos::AtMostOnce, 0, &"y".repeat(300)));
    for cut in 1..bytes.len() {
        let mut machine = machine();
        machine.open(usize::MAX);
        for chunk in bytes.chunks(cut) {
            machine.receive(Bytes::copy_from_slice(chunk)).unwrap();
        }
        assert!(matches!(machine.next_event(), Some(Event::Opened(_))));
        assert_eq!(message(&mut machine).payload.len(), 3);
        assert_eq!(message(&mut machine).payload.len(), 300);
    }
}

#[test]
fn properties_of_a_message_are_told() {
    let mut machine = connected();
    let user = [("k".to_owned(), "v".to_owned())];
    let properties = PublishProperties {
        content_type: Some("text/plain"),
        expiry_s: Some(9),
        user_properties: UserProperties::new(&user),
        subscription_identifiers: codec::SubscriptionIdentifiers::new(&[3, 4]),
        ..PublishProperties::default()
    };
    machine.receive(publish_with("a", Qos::AtMostOnce, 0, "x", properties)).unwrap();
    let message = message(&mut machine);
    assert_eq!((message.expiry_s, &message.subscription_identifiers[..]), (Some(9), &[3, 4][..]));
    assert_eq!(message.properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(message.properties.user_properties, user);
    assert!(matches!(message.payload, Payload::Bytes(_)));
}

#[test]
fn a_broker_that_breaks_the_protocol_is_left() {
    let check = |machine: &mut Mqtt, packet: Bytes| {
        assert!(matches!(machine.receive(packet), Err(Error::Violation(_))));
    };
    let mut unconnected = machine();
    unconnected.open(usize::MAX);
    check(&mut unconnected, publish("a", Qos::AtMostOnce, 0, "x"));
    check(&mut connected(), connack(Level::V5, false, ConnackProperties::default()));
    check(&mut connected(), suback(9, ReasonCode::GrantedQos1));
    check(&mut connected(), Bytes::from_static(&[0xc0, 0]));
    check(&mut connected(), Bytes::from_static(&[0x30, 0xff, 0xff, 0xff, 0xff, 0xff]));
    let alias = PublishProperties { topic_alias: Some(1), ..PublishProperties::default() };
    check(&mut connected(), publish_with("a", Qos::AtMostOnce, 0, "x", alias));
    // What nobody waits for any more is not against the rules.
    connected().receive(ack(AckType::Puback, 9, ReasonCode::Success)).unwrap();
}

#[test]
fn the_broker_says_goodbye() {
    let goodbye = |reason| packet(|out| Disconnect::new(reason).encode(Level::V5, out));
    let end = |reason| connected().receive(goodbye(reason)).unwrap_err();
    assert!(end(ReasonCode::ServerShuttingDown).may_pass());
    assert!(end(ReasonCode::UseAnotherServer).may_pass(), "who knows no other tries this one again");
    assert!(end(ReasonCode::NORMAL_DISCONNECTION).may_pass());
    assert!(!end(ReasonCode::SessionTakenOver).may_pass(), "two clients of one id would take turns for ever");
}
