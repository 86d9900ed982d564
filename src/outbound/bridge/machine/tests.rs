use super::opening::{BRIDGE_BIT, REQUEST_IDS};
use super::*;
use crate::mqtt::codec::{Connack, ConnackProperties, Connect, ReasonCodes, RetainHandling, Suback, encode_ack};
use crate::outbound::bridge::rules::{Direction, Rule};
use crate::types::event::Qos;
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

const LIMITS: OutwardLimits =
    OutwardLimits { window_max: 4, queue_max: 3, queue_bytes_max: 1000, ack_timeout_ms: 30_000 };

fn settings(level: Level) -> Settings {
    Settings {
        level,
        client_id: "edge.a".to_owned(),
        user: Some("u".to_owned()),
        password: Some("p".to_owned()),
        keep_alive_s: 10,
        session_expiry_s: u32::MAX,
        bridge_bit: true,
        limits: LIMITS,
    }
}

fn machine_with(settings: Settings, pattern: &str, direction: Direction) -> Machine {
    let rules = Rules::new(vec![Rule::new(pattern, direction, ExactlyOnce, "here/", "there/").unwrap()]);
    Machine::new(settings, rules, 100, None)
}

fn machine(level: Level, direction: Direction) -> Machine {
    machine_with(settings(level), "#", direction)
}

/// The packets that the machine sends now, the frames of each.
fn sent(machine: &mut Machine, now_ms: u64) -> Vec<Vec<u8>> {
    let mut rest = machine.next_output(now_ms).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some(length) = codec::frame_length(&rest, usize::MAX).unwrap() {
        frames.push(rest.split_to(length).to_vec());
    }
    frames
}

fn opened(machine: &mut Machine, now_ms: u64) -> Vec<u8> {
    machine.open(now_ms).unwrap();
    let frames = sent(machine, now_ms);
    assert_eq!(frames.len(), 1);
    frames[0].clone()
}

/// A machine that has sent the CONNECT of the session that is kept.
fn opening(level: Level, direction: Direction) -> Machine {
    let mut machine = machine(level, direction);
    opened(&mut machine, 0);
    connack(&mut machine, ReasonCode::Success, false).unwrap();
    assert_eq!(events(&mut machine), [Event::Again]);
    opened(&mut machine, 0);
    machine
}

/// What a broker says, encoded.
fn say(machine: &mut Machine, now_ms: u64, encode: impl FnOnce(Level, &mut Vec<u8>)) -> Result<(), Error> {
    let mut bytes = Vec::new();
    encode(machine.settings.level, &mut bytes);
    machine.receive(bytes.into(), now_ms)
}

fn connack(machine: &mut Machine, reason: ReasonCode, session_present: bool) -> Result<(), Error> {
    say(machine, 0, |level, out| {
        let connack = Connack { session_present, reason, properties: ConnackProperties::default() };
        connack.encode(level, out).unwrap();
    })
}

fn suback(machine: &mut Machine, id: u16, reason: ReasonCode, now_ms: u64) {
    say(machine, now_ms, |level, out| {
        let reasons = [reason];
        let suback = Suback {
            packet_id: PacketId::new(id).unwrap(),
            diagnostics: codec::Diagnostics::default(),
            reasons: ReasonCodes::new(&reasons),
        };
        suback.encode(level, out).unwrap();
    })
    .unwrap();
}

fn pingresp(machine: &mut Machine, now_ms: u64) {
    machine.receive(Bytes::from_static(&codec::PINGRESP), now_ms).unwrap();
}

fn publish(machine: &mut Machine, topic: &str, payload: &str, retain: bool, now_ms: u64) {
    say(machine, now_ms, |level, out| {
        let publish = Publish { retain, topic: topic.as_bytes(), payload: payload.as_bytes(), ..Publish::default() };
        publish.encode(level, out).unwrap();
    })
    .unwrap();
}

fn events(machine: &mut Machine) -> Vec<Event> {
    std::iter::from_fn(|| machine.next_event()).collect()
}

/// Brings the machine up, with its retained values there.
fn up(machine: &mut Machine) {
    opened(machine, 0);
    connack(machine, ReasonCode::Success, false).unwrap();
    if machine.events.front() == Some(&Event::Again) {
        opened(machine, 0);
        connack(machine, ReasonCode::Success, false).unwrap();
    }
    if machine.outward.wants_retained() {
        machine.offer_retained(None);
    }
    machine.caught_up(0).unwrap();
    for frame in sent(machine, 0) {
        let Packet::Subscribe(subscribe) = codec::decode(&frame, machine.settings.level, Role::Server).unwrap() else {
            continue;
        };
        suback(machine, subscribe.packet_id.get(), ReasonCode::GrantedQos2, 0);
    }
    assert!(machine.is_up());
    events(machine);
}

fn outgoing(payload: &str) -> Outgoing {
    let (topic, payload) = ("there/t".to_owned(), payload.to_owned().into());
    Outgoing { topic, payload, qos: AtLeastOnce, ..Outgoing::default() }
}

#[test]
fn the_first_connection_begins_a_session_and_later_ones_keep_it() {
    let mut machine = machine(Level::V5, Direction::Both);
    let connect = opened(&mut machine, 0);
    let connect = Connect::decode(&connect).unwrap();
    assert!(connect.clean_start);
    assert_eq!((connect.client_id, connect.user_name, connect.password), ("edge.a", Some("u"), Some(&b"p"[..])));
    assert_eq!((connect.keep_alive_s, connect.properties.session_expiry_s), (10, u32::MAX));
    connack(&mut machine, ReasonCode::Success, false).unwrap();
    assert_eq!(events(&mut machine), [Event::Again]);
    let connect = opened(&mut machine, 0);
    assert!(!Connect::decode(&connect).unwrap().clean_start);
    let clean = Settings { session_expiry_s: 0, ..settings(Level::V5) };
    let mut machine = machine_with(clean, "#", Direction::Both);
    for _ in 0..2 {
        let connect = opened(&mut machine, 0);
        assert!(Connect::decode(&connect).unwrap().clean_start);
        connack(&mut machine, ReasonCode::Success, false).unwrap();
    }
}

#[test]
fn a_session_that_is_to_be_kept_begins_with_the_second_connection() {
    let mut machine = machine(Level::V4, Direction::Both);
    assert!(Connect::decode(&plain(opened(&mut machine, 0))).unwrap().clean_start);
    connack(&mut machine, ReasonCode::Success, false).unwrap();
    assert_eq!(events(&mut machine), [Event::Again]);
    assert_eq!(machine.next_output(0), None);
    for _ in 0..2 {
        assert!(!Connect::decode(&plain(opened(&mut machine, 0))).unwrap().clean_start);
        connack(&mut machine, ReasonCode::Success, false).unwrap();
        assert_eq!(events(&mut machine)[0], Event::Opened { resumed: false });
    }
}

/// A CONNECT without the bit of bridges.
fn plain(mut connect: Vec<u8>) -> Vec<u8> {
    connect[8] &= !BRIDGE_BIT;
    connect
}

#[test]
fn subscriptions_ask_for_retained_flags_and_no_own_messages_where_the_protocol_can() {
    let mut machine = opening(Level::V5, Direction::Both);
    connack(&mut machine, ReasonCode::Success, true).unwrap();
    assert!(sent(&mut machine, 0).is_empty(), "what waits for the other broker comes first");
    machine.caught_up(0).unwrap();
    let frames = sent(&mut machine, 0);
    let Packet::Subscribe(subscribe) = codec::decode(&frames[0], Level::V5, Role::Server).unwrap() else { panic!() };
    let wanted = subscribe.subscriptions.iter().next().unwrap();
    assert_eq!((wanted.filter, wanted.qos), ("there/#", ExactlyOnce));
    assert!(wanted.no_local && wanted.retain_as_published && wanted.retain_handling == RetainHandling::AtSubscribe);
}

#[test]
fn nothing_is_subscribed_to_if_everything_goes_out() {
    let mut machine = opening(Level::V5, Direction::Out);
    connack(&mut machine, ReasonCode::Success, false).unwrap();
    machine.caught_up(0).unwrap();
    assert_eq!(events(&mut machine), [Event::Opened { resumed: false }, Event::Subscribed { refused: Vec::new() }]);
    assert!(machine.is_following() && sent(&mut machine, 0).is_empty());
}

#[test]
fn a_refused_subscription_is_named() {
    let mut machine = opening(Level::V5, Direction::In);
    connack(&mut machine, ReasonCode::Success, false).unwrap();
    sent(&mut machine, 0);
    suback(&mut machine, *REQUEST_IDS.start(), ReasonCode::NotAuthorized, 0);
    let told = events(&mut machine);
    let Some(Event::Subscribed { refused }) = told.last() else { panic!("{told:?}") };
    assert!(refused[0].starts_with("there/#: "), "{refused:?}");
}

/// The protocol level that a CONNECT says.
fn level_of(connect: &[u8]) -> u8 {
    connect[8]
}

#[test]
fn a_bridge_makes_itself_known_before_version_5_until_that_is_refused() {
    assert_eq!(level_of(&opened(&mut machine(Level::V5, Direction::Both), 0)), 5);
    let plain = Settings { bridge_bit: false, ..settings(Level::V4) };
    assert_eq!(level_of(&opened(&mut machine_with(plain, "#", Direction::Both), 0)), 4);
    let mut machine = machine(Level::V4, Direction::Both);
    assert_eq!(level_of(&opened(&mut machine, 0)), 0x84);
    let refused = connack(&mut machine, ReasonCode::UnsupportedProtocolVersion, false);
    assert!(refused.unwrap_err().may_pass());
    for _ in 0..3 {
        assert_eq!(level_of(&opened(&mut machine, 0)), 4, "it was refused in words");
        machine.close();
    }
}

#[test]
fn a_broker_that_closes_without_a_word_is_tried_with_and_without_the_bit_by_turns() {
    let mut machine = machine(Level::V4, Direction::Both);
    for expected in [0x84, 4, 0x84, 4] {
        assert_eq!(level_of(&opened(&mut machine, 0)), expected);
        machine.close();
    }
    opened(&mut machine, 0);
    connack(&mut machine, ReasonCode::Success, false).unwrap();
    machine.close();
    assert_eq!(level_of(&opened(&mut machine, 0)), 0x84);
}

#[test]
fn what_comes_back_is_dropped_once_where_the_protocol_cannot_prevent_it() {
    let plain = Settings { bridge_bit: false, ..settings(Level::V4) };
    for (settings, comes_back) in [(plain, true), (settings(Level::V4), false), (settings(Level::V5), false)] {
        let mut machine = machine_with(settings, "#", Direction::Both);
        up(&mut machine);
        machine.offer_event(101, Some(outgoing("x")));
        sent(&mut machine, 0);
        let message = Message { topic: "there/t".to_owned(), payload: "x".into(), ..Message::default() };
        assert_eq!(machine.is_echo(&message, 1), comes_back);
        assert!(!machine.is_echo(&message, 1));
    }
}

#[test]
fn all_retained_values_are_there_when_the_broker_has_answered_twice_and_none_came_between() {
    let mut machine = machine(Level::V4, Direction::In);
    up(&mut machine);
    assert!(!machine.is_following());
    assert_eq!(sent(&mut machine, 0), [PINGREQ.to_vec()]);
    publish(&mut machine, "there/a", "1", true, 10);
    pingresp(&mut machine, 20);
    assert_eq!(machine.deadline_ms(), Some(20 + SETTLE_MS));
    publish(&mut machine, "there/b", "1", true, 30);
    publish(&mut machine, "there/c", "1", false, 40);
    machine.tick(20 + SETTLE_MS).unwrap();
    assert_eq!(sent(&mut machine, 3020).len(), 0, "one more came: it waits on");
    machine.tick(30 + SETTLE_MS).unwrap();
    assert_eq!(sent(&mut machine, 3030), [PINGREQ.to_vec()]);
    events(&mut machine);
    pingresp(&mut machine, 3040);
    let topics = vec!["there/a".to_owned(), "there/b".to_owned()];
    assert_eq!(events(&mut machine), [Event::Followed { topics }]);
    assert!(machine.is_following());
}

#[test]
fn a_silent_broker_is_given_up_after_a_sign_of_life_was_asked_for() {
    let mut machine = machine(Level::V4, Direction::Out);
    up(&mut machine);
    assert_eq!(machine.deadline_ms(), Some(10_000));
    machine.tick(10_000).unwrap();
    assert_eq!(sent(&mut machine, 10_000), [PINGREQ.to_vec()]);
    pingresp(&mut machine, 10_001);
    machine.tick(10_002).unwrap();
    machine.tick(20_001).unwrap();
    assert!(machine.tick(30_001).unwrap_err().may_pass());
}

#[test]
fn a_missing_acknowledgement_ends_the_connection() {
    let quiet = Settings { keep_alive_s: 0, ..settings(Level::V4) };
    let mut machine = machine_with(quiet, "#", Direction::Out);
    up(&mut machine);
    machine.offer_event(101, Some(outgoing("x")));
    sent(&mut machine, 500);
    machine.tick(30_499).unwrap();
    let error = machine.tick(30_500).unwrap_err();
    assert_eq!(error.to_string(), "the broker has not acknowledged a message in 30 s");
}

#[test]
fn arrivals_that_nobody_was_told_of_come_again() {
    let mut machine = machine(Level::V4, Direction::In);
    up(&mut machine);
    publish(&mut machine, "there/a", "1", false, 1);
    publish(&mut machine, "there/b", "2", false, 1);
    assert!(matches!(machine.next_event(), Some(Event::Arrival(_))));
    machine.close();
    assert_eq!(machine.arrivals_pending(), 1);
    assert_eq!(machine.next_event(), None);
    up(&mut machine);
    assert!(machine.settled(Settled::Taken));
    assert_eq!(machine.arrivals_pending(), 0);
}

#[test]
fn acknowledgements_come_to_the_outward_side_whatever_the_cuts_between_reads() {
    let mut machine = machine(Level::V4, Direction::Out);
    up(&mut machine);
    machine.offer_event(101, Some(outgoing("x")));
    machine.offer_live(Outgoing { qos: AtMostOnce, ..outgoing("y") });
    assert_eq!(sent(&mut machine, 0).len(), 2);
    let mut ack = Vec::new();
    encode_ack(AckType::Puback, PacketId::new(102).unwrap(), &mut ack);
    for byte in ack {
        machine.receive(vec![byte].into(), 5).unwrap();
    }
    assert_eq!(machine.outward.done_to(), 101);
}

#[test]
fn a_broker_that_does_not_answer_a_connect_is_given_up() {
    let mut machine = machine(Level::V5, Direction::Out);
    opened(&mut machine, 7);
    machine.tick(7 + OPENING_MS - 1).unwrap();
    assert!(machine.tick(7 + OPENING_MS).is_err());
}

#[test]
fn who_may_not_come_in_is_told_so() {
    let mut machine = machine(Level::V5, Direction::Out);
    opened(&mut machine, 0);
    let refused = connack(&mut machine, ReasonCode::BadUserNameOrPassword, false).unwrap_err();
    assert!(matches!(refused, Error::NotAuthorized(_)), "{refused:?}");
    assert_eq!(machine.next_output(0), None);
}
