use super::*;
use crate::mqtt::codec::{Packet, Role, decode, frame_length};
use crate::outbound::bridge::rules::{Direction, Rule};
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

const LIMITS: OutwardLimits =
    OutwardLimits { window_max: 4, queue_max: 3, queue_bytes_max: 1000, ack_timeout_ms: 30_000 };

fn rules(qos: Qos) -> Rules {
    Rules::new(vec![Rule::new("#", Direction::Out, qos, "", "").unwrap()])
}

fn event(payload: &str, qos: Qos) -> Outgoing {
    Outgoing { topic: "t".to_owned(), payload: payload.to_owned().into(), qos, ..Outgoing::default() }
}

/// An outward side that has a connection, and has sent its retained values: there are none.
fn fresh(qos: Qos) -> Outward {
    let mut outward = Outward::new(Level::V4, LIMITS, &rules(qos), 100, None);
    connect(&mut outward, false);
    outward
}

fn connect(outward: &mut Outward, resumed: bool) {
    outward.connected(Peer::default(), resumed);
    if outward.wants_retained() {
        outward.offer_retained(None);
    }
}

/// What is recorded now, as another process finds it.
fn record(outward: &mut Outward) -> Option<(u64, Record)> {
    let recorded = outward.to_record()?;
    outward.note_recorded(recorded.clone());
    Some(recorded)
}

fn restarted(recorded: &(u64, Record), qos: Qos) -> Outward {
    Outward::new(Level::V4, LIMITS, &rules(qos), recorded.0, Some(recorded.1.clone()))
}

fn id(number: u64) -> PacketId {
    id_of(number).unwrap()
}

/// What is sent now: `payload`, `payload again` or `release id`.
fn sent(outward: &mut Outward) -> Vec<String> {
    outward.pump(1000);
    let bytes = outward.take_output();
    let mut rest = &bytes[..];
    let mut all = Vec::new();
    while let Some(length) = frame_length(rest, usize::MAX).unwrap() {
        let (frame, behind) = rest.split_at(length);
        all.push(match decode(frame, Level::V4, Role::Server).unwrap() {
            Packet::Publish(publish) => {
                let again = if publish.dup { " again" } else { "" };
                format!("{}{again}", String::from_utf8_lossy(publish.payload))
            }
            Packet::Pubrel(ack) => format!("release {}", u64::from(ack.packet_id.get()) - 1),
            other => panic!("{other:?}"),
        });
        rest = behind;
    }
    all
}

const NOTHING: [&str; 0] = [];

#[test]
fn the_cursor_moves_with_acknowledgements_in_order() {
    let mut outward = fresh(AtLeastOnce);
    for number in 101..=103 {
        outward.offer_event(number, Some(event(&number.to_string(), AtLeastOnce)));
    }
    assert_eq!(sent(&mut outward), ["101", "102", "103"]);
    assert_eq!(outward.done_to(), 100);
    outward.acknowledged(AckType::Puback, id(102), false);
    assert_eq!(outward.done_to(), 100, "the one before it is not done");
    outward.acknowledged(AckType::Puback, id(101), false);
    assert_eq!(outward.done_to(), 102);
    outward.offer_event(104, None);
    outward.pass(110);
    outward.acknowledged(AckType::Puback, id(103), false);
    assert_eq!(outward.done_to(), 110, "nothing else up to there is wanted");
    assert_eq!(outward.counts.done, 3);
}

#[test]
fn no_more_are_under_way_than_the_window_and_the_other_broker_let() {
    let mut outward = fresh(AtLeastOnce);
    for number in 101..=104 {
        assert!(outward.wants_event());
        outward.offer_event(number, Some(event("x", AtLeastOnce)));
    }
    assert!(!outward.wants_event());
    sent(&mut outward);
    outward.acknowledged(AckType::Puback, id(101), false);
    assert!(outward.wants_event());
    outward.connected(Peer { receive_maximum: 2, ..Peer::default() }, true);
    assert!(!outward.wants_event());
    assert_eq!(sent(&mut outward).len(), 2);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_with_dup_on_the_next_connection() {
    let mut outward = fresh(AtLeastOnce);
    outward.offer_event(101, Some(event("1", AtLeastOnce)));
    outward.offer_event(102, Some(event("2", AtLeastOnce)));
    assert_eq!(sent(&mut outward), ["1", "2"]);
    assert_eq!(sent(&mut outward), NOTHING);
    outward.acknowledged(AckType::Puback, id(101), false);
    outward.disconnected();
    assert_eq!(sent(&mut outward), NOTHING);
    connect(&mut outward, true);
    assert_eq!(sent(&mut outward), ["2 again"]);
    assert_eq!(outward.counts.repeated, 1);
}

#[test]
fn a_broker_that_does_not_acknowledge_in_time_is_noticed() {
    let mut outward = fresh(AtLeastOnce);
    assert_eq!(outward.deadline_ms(), None);
    outward.offer_event(101, Some(event("1", AtLeastOnce)));
    sent(&mut outward);
    assert_eq!(outward.deadline_ms(), Some(31_000));
    outward.acknowledged(AckType::Puback, id(101), false);
    assert_eq!(outward.deadline_ms(), None);
}

#[test]
fn qos_0_is_done_when_it_is_on_its_way() {
    let mut outward = fresh(AtMostOnce);
    outward.offer_event(101, Some(event("1", AtMostOnce)));
    assert_eq!(sent(&mut outward), ["1"]);
    assert_eq!(outward.done_to(), 100);
    outward.flushed();
    assert_eq!(outward.done_to(), 101);
}

#[test]
fn a_broker_that_takes_no_qos_1_gets_qos_0() {
    let mut outward = fresh(AtLeastOnce);
    outward.connected(Peer { maximum_qos: AtMostOnce, ..Peer::default() }, true);
    outward.offer_event(101, Some(event("1", AtLeastOnce)));
    assert_eq!(sent(&mut outward), ["1"]);
    outward.flushed();
    assert_eq!(outward.done_to(), 101);
}

#[test]
fn what_was_received_is_released_when_that_is_recorded() {
    let mut outward = fresh(ExactlyOnce);
    record(&mut outward);
    outward.offer_event(101, Some(event("1", ExactlyOnce)));
    sent(&mut outward);
    outward.acknowledged(AckType::Pubrec, id(101), false);
    assert!(outward.record_is_urgent());
    assert_eq!(sent(&mut outward), NOTHING);
    record(&mut outward);
    assert!(!outward.record_is_urgent());
    assert_eq!(sent(&mut outward), ["release 101"]);
    assert_eq!(outward.done_to(), 100);
    outward.acknowledged(AckType::Pubcomp, id(101), false);
    assert_eq!(outward.done_to(), 101);
    assert_eq!(record(&mut outward).unwrap().1.received, BTreeSet::new());
}

#[test]
fn after_a_restart_what_was_received_is_released_and_not_published_again() {
    let mut outward = fresh(ExactlyOnce);
    record(&mut outward);
    for number in 101..=103 {
        outward.offer_event(number, Some(event(&number.to_string(), ExactlyOnce)));
    }
    sent(&mut outward);
    outward.acknowledged(AckType::Pubrec, id(102), false);
    let recorded = record(&mut outward).unwrap();
    assert_eq!(recorded.0, 100);
    let mut outward = restarted(&recorded, ExactlyOnce);
    assert!(!outward.wants_new_session());
    connect(&mut outward, true);
    for number in 101..=104 {
        outward.offer_event(number, Some(event(&number.to_string(), ExactlyOnce)));
    }
    assert_eq!(sent(&mut outward), ["release 102", "101 again", "103 again", "104 again"], "perhaps sent before");
    outward.acknowledged(AckType::Pubrec, id(101), false);
    record(&mut outward);
    sent(&mut outward);
    outward.acknowledged(AckType::Pubcomp, id(101), false);
    assert_eq!(outward.done_to(), 101, "102 is not released");
    outward.acknowledged(AckType::Pubcomp, id(102), false);
    assert_eq!(outward.done_to(), 101, "the cursor is where the window begins");
    outward.acknowledged(AckType::Puback, id(103), false);
    assert_eq!(outward.done_to(), 103);
}

#[test]
fn what_is_done_before_others_is_not_published_again_after_a_restart() {
    let mut outward = fresh(ExactlyOnce);
    record(&mut outward);
    outward.offer_event(101, Some(event("1", ExactlyOnce)));
    outward.offer_event(102, Some(event("2", ExactlyOnce)));
    sent(&mut outward);
    outward.acknowledged(AckType::Pubrec, id(102), false);
    record(&mut outward);
    sent(&mut outward);
    outward.acknowledged(AckType::Pubcomp, id(102), false);
    let recorded = outward.to_record().unwrap_or_else(|| outward.recorded.clone());
    let mut outward = restarted(&recorded, ExactlyOnce);
    connect(&mut outward, true);
    outward.offer_event(101, Some(event("1", ExactlyOnce)));
    outward.offer_event(102, Some(event("2", ExactlyOnce)));
    assert_eq!(sent(&mut outward), ["release 102", "1 again"]);
}

#[test]
fn what_was_received_is_released_though_the_event_is_gone() {
    let recorded = (100, Record { received: [101].into(), ..record(&mut fresh(ExactlyOnce)).unwrap().1 });
    let mut outward = restarted(&recorded, ExactlyOnce);
    connect(&mut outward, true);
    outward.pass(200);
    assert_eq!(outward.done_to(), 100);
    assert_eq!(sent(&mut outward), ["release 101"]);
    outward.acknowledged(AckType::Pubcomp, id(101), true);
    assert_eq!(outward.done_to(), 200, "not found: the exchange was completed before");
}

#[test]
fn a_broker_that_lost_the_session_gets_all_that_is_not_done_anew() {
    let mut outward = fresh(ExactlyOnce);
    record(&mut outward);
    outward.offer_event(101, Some(event("1", ExactlyOnce)));
    outward.offer_event(102, Some(event("2", ExactlyOnce)));
    sent(&mut outward);
    outward.acknowledged(AckType::Pubrec, id(101), false);
    record(&mut outward);
    assert_eq!(sent(&mut outward), ["release 101"]);
    connect(&mut outward, false);
    assert_eq!(outward.take_rewind(), Some(100));
    outward.offer_event(101, Some(event("1", ExactlyOnce)));
    assert_eq!(sent(&mut outward), NOTHING, "a crash now would take it for received");
    assert!(outward.record_is_urgent());
    record(&mut outward);
    assert_eq!(sent(&mut outward), ["1"]);
}

#[test]
fn a_record_of_before_does_not_stand_for_that_of_now() {
    let mut outward = fresh(ExactlyOnce);
    record(&mut outward);
    outward.offer_event(101, Some(event("1", ExactlyOnce)));
    sent(&mut outward);
    outward.acknowledged(AckType::Pubrec, id(101), false);
    let on_its_way = outward.to_record().unwrap();
    connect(&mut outward, false);
    outward.offer_event(101, Some(event("1", ExactlyOnce)));
    outward.note_recorded(on_its_way);
    assert_eq!(sent(&mut outward), NOTHING);
    record(&mut outward);
    assert_eq!(sent(&mut outward), ["1"]);
}

#[test]
fn under_other_rules_a_session_with_qos_2_is_given_up() {
    let recorded = record(&mut fresh(ExactlyOnce)).unwrap();
    assert!(!restarted(&recorded, ExactlyOnce).wants_new_session());
    assert!(restarted(&recorded, AtLeastOnce).wants_new_session());
    let recorded = record(&mut fresh(AtLeastOnce)).unwrap();
    assert!(!restarted(&recorded, ExactlyOnce).wants_new_session(), "a repeated QoS 1 event does no harm");
    assert!(Outward::new(Level::V4, LIMITS, &rules(AtLeastOnce), 1, None).wants_new_session(), "of an earlier life");
}

#[test]
fn an_identifier_is_not_used_twice_at_a_time() {
    let mut outward = fresh(AtLeastOnce);
    outward.offer_event(101, Some(event("1", AtLeastOnce)));
    outward.offer_event(101 + LOG_IDS, Some(event("2", AtLeastOnce)));
    assert_eq!(id(101), id(101 + LOG_IDS));
    assert!(!outward.wants_event());
    assert_eq!(sent(&mut outward), ["1"]);
    outward.acknowledged(AckType::Puback, id(101), false);
    assert_eq!(outward.done_to(), 100 + LOG_IDS.min(1), "the second is not done");
    assert_eq!(sent(&mut outward), ["2"]);
    outward.acknowledged(AckType::Puback, id(101), false);
    assert_eq!(outward.done_to(), 101 + LOG_IDS);
}

#[test]
fn live_events_make_room_for_newer_ones() {
    let mut outward = fresh(AtMostOnce);
    outward.disconnected();
    for number in 0..5 {
        outward.offer_live(event(&number.to_string(), AtMostOnce));
    }
    assert_eq!(outward.counts.dropped, 2);
    outward.connected(Peer::default(), true);
    assert_eq!(sent(&mut outward), ["2", "3", "4"]);
    outward.offer_live(event(&"x".repeat(LIMITS.queue_bytes_max), AtMostOnce));
    assert_eq!((outward.counts.dropped, outward.live.len(), outward.live_bytes), (3, 0, 0));
}

#[test]
fn retained_values_come_before_the_log_goes_on() {
    let mut outward = Outward::new(Level::V4, LIMITS, &rules(AtLeastOnce), 100, None);
    outward.connected(Peer::default(), false);
    assert!(outward.wants_retained() && !outward.wants_event());
    outward.offer_retained(Some(event("a", AtLeastOnce)));
    outward.offer_retained(Some(event("b", AtMostOnce)));
    outward.offer_retained(None);
    assert!(!outward.wants_retained() && outward.wants_event());
    assert_eq!(sent(&mut outward), ["a", "b"]);
    outward.flushed();
    assert!(!outward.to_record().unwrap().1.synced);
    outward.acknowledged(AckType::Puback, PacketId::new(SNAPSHOT_IDS.0).unwrap(), false);
    assert!(outward.to_record().unwrap().1.synced);
}

#[test]
fn a_snapshot_that_was_not_finished_is_begun_anew_after_a_restart() {
    let mut outward = Outward::new(Level::V4, LIMITS, &rules(AtLeastOnce), 100, None);
    outward.connected(Peer::default(), false);
    outward.offer_retained(Some(event("a", AtLeastOnce)));
    outward.offer_retained(None);
    let recorded = record(&mut outward).unwrap();
    let mut outward = restarted(&recorded, AtLeastOnce);
    outward.connected(Peer::default(), true);
    assert!(outward.wants_retained());
    let mut outward = restarted(&record(&mut fresh(AtLeastOnce)).unwrap(), AtLeastOnce);
    outward.connected(Peer::default(), true);
    assert!(!outward.wants_retained(), "that one was finished");
}

#[test]
fn what_the_other_broker_never_takes_is_passed_over() {
    let mut outward = fresh(AtLeastOnce);
    outward.connected(Peer { maximum_packet_size: 20, ..Peer::default() }, true);
    outward.offer_event(101, Some(event(&"x".repeat(100), AtLeastOnce)));
    outward.offer_event(102, Some(event("2", AtLeastOnce)));
    assert_eq!(sent(&mut outward), ["2"]);
    assert_eq!((outward.done_to(), outward.counts.refused), (101, 1));
    outward.acknowledged(AckType::Puback, id(102), true);
    assert_eq!((outward.done_to(), outward.counts.refused, outward.counts.done), (102, 2, 0));
}

#[test]
fn an_event_whose_time_is_over_is_not_sent() {
    let mut outward = fresh(AtLeastOnce);
    let expiring = |at| Outgoing { expires_at_ms: Some(at), ..event("x", AtLeastOnce) };
    outward.offer_event(101, Some(expiring(1000)));
    outward.offer_event(102, Some(expiring(1001)));
    assert_eq!(sent(&mut outward), ["x"]);
    assert_eq!((outward.done_to(), outward.counts.expired), (101, 1));
}

#[test]
fn the_time_that_is_left_is_told() {
    let mut outward = Outward::new(Level::V5, LIMITS, &rules(AtMostOnce), 100, None);
    connect(&mut outward, false);
    let expiring = Outgoing { expires_at_ms: Some(4500), ..event("x", AtMostOnce) };
    outward.offer_live(expiring);
    outward.pump(1000);
    let bytes = outward.take_output();
    let Packet::Publish(publish) = decode(&bytes, Level::V5, Role::Server).unwrap() else { panic!() };
    assert_eq!(publish.properties().unwrap().expiry_s, Some(4));
}
