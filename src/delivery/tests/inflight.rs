use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{number, owed};
use crate::delivery::inflight::{Cargo, Inflight};
use crate::types::event::Qos::{self, AtLeastOnce, ExactlyOnce};

fn number_in(cargo: &Cargo) -> u64 {
    match cargo {
        Cargo::Held(owed) => number(owed),
        Cargo::Logged { number, .. } | Cargo::Shared { number, .. } => *number,
    }
}

/// Sends messages with these numbers; returns their packet identifiers.
fn send(inflight: &mut Inflight, numbers: impl IntoIterator<Item = u64>, qos: Qos) -> Vec<u16> {
    numbers.into_iter().map(|number| inflight.send(owed(number, qos))).collect()
}

/// Sends again what the receive maximum allows: `(packet identifier, number)`.
fn send_again(inflight: &mut Inflight, receive_max: u16) -> Vec<(u16, u64)> {
    let mut sent = Vec::new();
    while let Some((packet_id, owed)) = inflight.next_again(receive_max) {
        sent.push((packet_id, number_in(owed)));
        inflight.sent_again();
    }
    sent
}

#[test]
fn packet_identifiers_count_from_1() {
    let mut inflight = Inflight::default();
    assert_eq!(send(&mut inflight, 0..3, AtLeastOnce), [1, 2, 3]);
    assert!(inflight.acknowledge(1));
    assert_eq!(send(&mut inflight, 3..5, ExactlyOnce), [4, 5]);
}

#[test]
fn packet_identifiers_wrap_past_65535_to_1_and_never_are_0() {
    let mut inflight = Inflight::default();
    let mut expected = 0_u16;
    for number in 0..140_000 {
        expected = if expected == u16::MAX { 1 } else { expected + 1 };
        assert_eq!(inflight.send(owed(number, AtLeastOnce)), expected);
        assert!(inflight.acknowledge(expected), "{expected}");
    }
    assert!(inflight.is_empty());
}

#[test]
fn the_window_is_the_clients_receive_maximum() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..3, AtLeastOnce);
    assert!(inflight.has_room(4) && !inflight.has_room(3) && !inflight.has_room(2));
    inflight.acknowledge(2);
    assert!(inflight.has_room(3), "an acknowledgement out of turn makes room too");
    assert_eq!(inflight.len(), 2);
}

#[test]
fn acknowledgements_may_come_out_of_turn() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..4, AtLeastOnce);
    for packet_id in [3, 1, 4, 2] {
        assert!(inflight.acknowledge(packet_id), "{packet_id}");
        assert!(!inflight.acknowledge(packet_id), "{packet_id} twice");
    }
    assert!(inflight.is_empty());
    assert_eq!(send(&mut inflight, 4..5, AtLeastOnce), [5], "identifiers go on");
}

#[test]
fn an_oldest_message_that_is_never_acknowledged_stops_the_window_before_identifiers_repeat() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..1, AtLeastOnce);
    let mut sent = 1;
    while inflight.has_room(10) {
        let packet_id = inflight.send(owed(sent, AtLeastOnce));
        assert_ne!(packet_id, 1);
        inflight.acknowledge(packet_id);
        sent += 1;
    }
    assert_eq!((sent, inflight.len()), (65_535, 1));
    assert!(inflight.acknowledge(1));
    assert!(inflight.has_room(1));
    assert_eq!(inflight.send(owed(sent, AtLeastOnce)), 1);
}

#[test]
fn qos_2_is_done_only_after_pubrec_and_pubcomp() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..1, ExactlyOnce);
    assert!(!inflight.acknowledge(1), "PUBACK is for QoS 1");
    assert!(!inflight.complete(1), "PUBCOMP before PUBREC");
    assert!(inflight.receive(1));
    assert!(inflight.receive(1), "a repeated PUBREC is answered again");
    assert_eq!(inflight.len(), 1);
    assert!(inflight.complete(1) && !inflight.complete(1));
    assert!(inflight.is_empty());
}

#[test]
fn a_pubrec_with_an_error_ends_the_message() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..1, AtLeastOnce);
    send(&mut inflight, 1..2, ExactlyOnce);
    assert!(!inflight.refuse(1), "QoS 1 has no PUBREC");
    assert!(inflight.refuse(2) && !inflight.receive(2));
    assert_eq!(inflight.len(), 1);
}

#[test]
fn acknowledgements_of_what_was_never_sent_change_nothing() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..2, AtLeastOnce);
    for packet_id in [0, 3, 4, u16::MAX] {
        let known = inflight.acknowledge(packet_id)
            || inflight.receive(packet_id)
            || inflight.refuse(packet_id)
            || inflight.complete(packet_id);
        assert!(!known, "{packet_id}");
    }
    assert!(!inflight.receive(1) && !inflight.complete(1));
    assert_eq!(inflight.len(), 2);
}

#[test]
fn after_a_reconnect_all_that_is_unacknowledged_is_sent_again_in_order_with_its_identifier() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 10..14, AtLeastOnce);
    send(&mut inflight, 14..16, ExactlyOnce);
    inflight.acknowledge(2);
    inflight.receive(5);
    assert_eq!(send_again(&mut inflight, 100), [], "nothing, as long as the connection lasts");
    inflight.reconnect();
    assert_eq!(inflight.releases().collect::<Vec<_>>(), [5]);
    assert_eq!(send_again(&mut inflight, 100), [(1, 10), (3, 12), (4, 13), (6, 15)]);
    assert_eq!(send_again(&mut inflight, 100), []);
    inflight.reconnect();
    assert_eq!(send_again(&mut inflight, 100), [(1, 10), (3, 12), (4, 13), (6, 15)], "and at the next one again");
}

#[test]
fn what_is_sent_again_keeps_within_a_receive_maximum_that_became_smaller() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..5, AtLeastOnce);
    inflight.reconnect();
    assert_eq!(send_again(&mut inflight, 2), [(1, 0), (2, 1)]);
    assert_eq!(send_again(&mut inflight, 2), []);
    inflight.acknowledge(2);
    assert_eq!(send_again(&mut inflight, 2), [(3, 2)]);
    inflight.acknowledge(1);
    inflight.acknowledge(3);
    assert_eq!(send_again(&mut inflight, 2), [(4, 3), (5, 4)]);
}

#[test]
fn nothing_new_is_sent_before_all_that_has_to_be_sent_again() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..2, AtLeastOnce);
    inflight.reconnect();
    assert!(!inflight.has_room(100));
    send_again(&mut inflight, 1);
    assert!(!inflight.has_room(100));
    send_again(&mut inflight, 2);
    assert!(inflight.has_room(100));
}

#[test]
fn a_late_acknowledgement_of_what_is_yet_to_be_sent_again_spares_that() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..3, AtLeastOnce);
    send(&mut inflight, 3..5, ExactlyOnce);
    inflight.reconnect();
    assert!(inflight.acknowledge(2) && inflight.receive(4));
    assert_eq!(send_again(&mut inflight, 100), [(1, 0), (3, 2), (5, 4)]);
    assert!(inflight.complete(4));
    assert!(inflight.has_room(100));
}

#[test]
fn a_message_that_cannot_be_sent_again_counts_as_done() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..3, AtLeastOnce);
    inflight.reconnect();
    assert_eq!(inflight.next_again(100).map(|(packet_id, _)| packet_id), Some(1));
    inflight.give_up_again();
    assert_eq!(send_again(&mut inflight, 100), [(2, 1), (3, 2)]);
    assert_eq!(inflight.len(), 2);
    assert!(!inflight.acknowledge(1));
}

#[test]
fn clearing_forgets_everything() {
    let mut inflight = Inflight::default();
    send(&mut inflight, 0..3, AtLeastOnce);
    inflight.clear();
    inflight.reconnect();
    assert_eq!(send_again(&mut inflight, 100), []);
    assert!(inflight.is_empty() && !inflight.acknowledge(1));
}

#[derive(Clone, Debug)]
enum Step {
    Send(Qos),
    Acknowledge(usize),
    Receive(usize),
    Refuse(usize),
    Complete(usize),
    Reconnect,
    SendAgain,
}

fn step() -> impl Strategy<Value = Step> {
    // The place of the message among those that are unacknowledged, or a little beyond.
    let place = 0..12_usize;
    prop_oneof![
        4 => prop_oneof![Just(AtLeastOnce), Just(ExactlyOnce)].prop_map(Step::Send),
        3 => place.clone().prop_map(Step::Acknowledge),
        2 => place.clone().prop_map(Step::Receive),
        1 => place.clone().prop_map(Step::Refuse),
        2 => place.prop_map(Step::Complete),
        1 => Just(Step::Reconnect),
        4 => Just(Step::SendAgain),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Sent,
    Again,
    Released,
}

/// What is unacknowledged, by the place in which it was sent.
#[derive(Default)]
struct Model {
    messages: BTreeMap<u64, (Qos, State)>,
    sent: u64,
}

impl Model {
    fn again(&self) -> Option<u64> {
        self.messages.iter().find(|(_, (_, state))| *state == State::Again).map(|(number, _)| *number)
    }

    fn on_the_wire(&self) -> usize {
        self.messages.values().filter(|(_, state)| *state != State::Again).count()
    }

    /// Does what the step says if the message is as it must be.
    fn end(&mut self, number: u64, expected: impl Fn(Qos, State) -> bool) -> bool {
        let fits = self.messages.get(&number).is_some_and(|(qos, state)| expected(*qos, *state));
        if fits {
            self.messages.remove(&number);
        }
        fits
    }
}

/// The packet identifier of the message that was sent as the `number`th, from 0.
fn packet_id(number: u64) -> u16 {
    (number % 65_535 + 1) as u16
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn behaves_like_a_sorted_map(steps in prop::collection::vec(step(), 0..200), start in prop_oneof![9 => Just(0_u64), 1 => 65_500..65_535_u64]) {
        const RECEIVE_MAX: u16 = 6;
        let (mut inflight, mut model) = (Inflight::default(), Model { sent: start, ..Model::default() });
        for number in 0..start {
            inflight.send(owed(number, AtLeastOnce));
            inflight.acknowledge(packet_id(number));
        }
        for step in steps {
            let at = |place: usize| model.messages.keys().copied().nth(place).unwrap_or(model.sent + 1);
            match step {
                Step::Send(qos) => {
                    let room = model.again().is_none() && model.messages.len() < usize::from(RECEIVE_MAX);
                    prop_assert_eq!(inflight.has_room(RECEIVE_MAX), room);
                    if room {
                        prop_assert_eq!(inflight.send(owed(model.sent, qos)), packet_id(model.sent));
                        model.messages.insert(model.sent, (qos, State::Sent));
                        model.sent += 1;
                    }
                }
                Step::Acknowledge(place) => {
                    let number = at(place);
                    let done = model.end(number, |qos, state| qos == AtLeastOnce && state != State::Released);
                    prop_assert_eq!(inflight.acknowledge(packet_id(number)), done);
                }
                Step::Refuse(place) => {
                    let number = at(place);
                    let done = model.end(number, |qos, state| qos == ExactlyOnce && state != State::Released);
                    prop_assert_eq!(inflight.refuse(packet_id(number)), done);
                }
                Step::Complete(place) => {
                    let number = at(place);
                    let done = model.end(number, |_, state| state == State::Released);
                    prop_assert_eq!(inflight.complete(packet_id(number)), done);
                }
                Step::Receive(place) => {
                    let number = at(place);
                    let message = model.messages.get_mut(&number).filter(|(qos, _)| *qos == ExactlyOnce);
                    prop_assert_eq!(inflight.receive(packet_id(number)), message.is_some());
                    message.into_iter().for_each(|(_, state)| *state = State::Released);
                }
                Step::Reconnect => {
                    inflight.reconnect();
                    let sent = model.messages.values_mut().filter(|(_, state)| *state == State::Sent);
                    sent.for_each(|(_, state)| *state = State::Again);
                }
                Step::SendAgain => {
                    let expected = model.again().filter(|_| model.on_the_wire() < usize::from(RECEIVE_MAX));
                    let next = inflight.next_again(RECEIVE_MAX).map(|(packet_id, owed)| (packet_id, number_in(owed)));
                    prop_assert_eq!(next, expected.map(|number| (packet_id(number), number)));
                    if let Some(number) = expected {
                        inflight.sent_again();
                        model.messages.entry(number).and_modify(|(_, state)| *state = State::Sent);
                    }
                }
            }
            prop_assert_eq!(inflight.len(), model.messages.len());
            let released = model.messages.iter().filter(|(_, (_, state))| *state == State::Released);
            let released: Vec<_> = released.map(|(number, _)| packet_id(*number)).collect();
            prop_assert_eq!(inflight.releases().collect::<Vec<_>>(), released);
        }
    }
}
