//! Mailboxes whose connections speak [`TestWire`](crate::node::testing::TestWire). Frames are compared as lines:
//! `1# t=x` is a copy of `x` on topic `t`, QoS 1, packet identifier 1.

mod random;

use bytes::Bytes;

use super::*;
use crate::delivery::Owed;
use crate::delivery::outbox::SHARE_BYTES_MIN;
use crate::delivery::replay::Fetched;
use crate::node::testing::{NOW_MS, lines, take, wire};
use crate::types::event::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use crate::types::event::{Qos, StoredEvent, Terms};
use crate::types::ids::PublicationId;
use crate::types::payload::{Codec, Payload};
use crate::types::topic::Topic;

const WIRE: u8 = 1;
const OTHER_WIRE: u8 = 2;

/// Bytes of a frame beside topic and payload, with QoS 0 and above.
const HEAD_BYTES: usize = 22;
const HEAD_BYTES_ACKNOWLEDGED: usize = 24;

fn with_bounds(outbox_bytes: usize, backlog_messages: usize) -> Mailbox {
    Mailbox::new(Outbox::new(outbox_bytes), Backlog::new(backlog_messages, 1_000_000), true)
}

/// A mailbox of a session that is kept, with a connection whose client takes so many messages at a time.
fn online(receive_max: u16) -> Mailbox {
    let mut mailbox = with_bounds(100_000, 100);
    attach(&mut mailbox, receive_max);
    mailbox
}

fn attach(mailbox: &mut Mailbox, receive_max: u16) -> Arc<Link> {
    attach_as(mailbox, WIRE, receive_max, usize::MAX, 0)
}

fn attach_as(mailbox: &mut Mailbox, id: u8, receive_max: u16, frame_bytes_max: usize, alias_max: u16) -> Arc<Link> {
    let link = Arc::new(Link::default());
    mailbox.attach(link.clone(), wire(id).as_ref(), receive_max, frame_bytes_max, alias_max);
    link
}

fn detach(mailbox: &mut Mailbox) {
    let link = mailbox.online().unwrap().link.clone();
    assert!(mailbox.detach(&link));
}

fn event_on(topic: &str, payload: &[u8], qos: Qos) -> Arc<StoredEvent> {
    Arc::new(StoredEvent {
        topic: Arc::new(Topic::from_name(topic).unwrap()),
        payload: Payload::Bytes(Bytes::copy_from_slice(payload)),
        codec: Codec::Auto,
        qos,
        retain: false,
        publication: PublicationId(1),
        place: None,
        properties: None,
        publisher: None,
        expires_at_ms: None,
        filter: None,
        replaced: Default::default(),
    })
}

fn event(payload: &str, qos: Qos) -> Arc<StoredEvent> {
    event_on("t", payload.as_bytes(), qos)
}

fn terms(qos: Qos) -> Terms {
    Terms { qos, ..Terms::default() }
}

fn owed(payload: &str, qos: Qos) -> Owed {
    Owed { event: event(payload, qos), terms: terms(qos) }
}

/// Frames of these events for a lane of wire `id`, as a publisher stages them.
fn frames_of(id: u8, events: &[Arc<StoredEvent>]) -> Frames {
    let mut frames = Frames::default();
    for (index, event) in events.iter().enumerate() {
        let start = frames.bytes.len();
        let terms = terms(event.qos);
        let encoded = wire(id).as_ref().0.event(&event.as_event(NOW_MS), &terms, false, &mut frames.bytes).unwrap();
        frames.ends.push(frames.bytes.len() as u32);
        let numbered = |at| Numbered { packet_id_at: at as u32, event: index as u32 };
        frames.numbered.extend(encoded.packet_id_at.map(numbered));
        frames.longest = frames.longest.max(frames.bytes.len() - start);
    }
    frames
}

/// Offers a run of events with these payloads that was encoded for wire `id`.
fn offer_run_as(id: u8, mailbox: &mut Mailbox, payloads: &[&str], qos: Qos) -> Offered {
    let events: Vec<_> = payloads.iter().map(|payload| event(payload, qos)).collect();
    let frames = frames_of(id, &events);
    mailbox.offer_run(wire(id).as_ref(), &terms(qos), &frames, if qos == AtMostOnce { &[] } else { &events })
}

fn offer_run(mailbox: &mut Mailbox, payloads: &[&str], qos: Qos) -> Offered {
    offer_run_as(WIRE, mailbox, payloads, qos)
}

#[test]
fn a_run_of_qos_0_goes_to_the_outbox_as_it_is() {
    let mut mailbox = online(10);
    let offered = offer_run(&mut mailbox, &["a", "bc"], AtMostOnce);
    assert_eq!(offered, Offered { sent: 2, sent_bytes: 2 * HEAD_BYTES + 5, ..Offered::default() });
    assert_eq!(take(&mut mailbox), ["t=a", "t=bc"]);
    assert!(mailbox.inflight.is_empty());
}

#[test]
fn a_run_of_qos_1_or_2_gets_packet_identifiers_of_this_session() {
    let mut mailbox = online(10);
    offer_run(&mut mailbox, &["a"], ExactlyOnce);
    let offered = offer_run(&mut mailbox, &["b", "cd"], AtLeastOnce);
    assert_eq!(offered, Offered { sent: 2, sent_bytes: 2 * HEAD_BYTES_ACKNOWLEDGED + 5, ..Offered::default() });
    assert_eq!(take(&mut mailbox), ["1## t=a", "2# t=b", "3# t=cd"]);
    assert_eq!(mailbox.inflight.len(), 3);
}

#[test]
fn what_the_window_has_no_room_for_waits_in_the_backlog_and_follows_in_order() {
    let mut mailbox = online(2);
    let offered = offer_run(&mut mailbox, &["a", "b", "c"], AtLeastOnce);
    assert_eq!((offered.sent, offered.kept), (2, 1));
    assert!(!offered.refill_due, "an acknowledgement will bring the session's task");
    assert_eq!(mailbox.offer(owed("d", ExactlyOnce), NOW_MS).kept, 1);
    assert_eq!(take(&mut mailbox), ["1# t=a", "2# t=b"]);
    assert_eq!(take(&mut mailbox), [""; 0]);
    mailbox.inflight.acknowledge(2);
    assert_eq!(take(&mut mailbox), ["3# t=c"]);
    assert_eq!(offer_run(&mut mailbox, &["e"], AtLeastOnce).kept, 1);
    mailbox.inflight.acknowledge(1);
    mailbox.inflight.acknowledge(3);
    assert_eq!(take(&mut mailbox), ["4## t=d", "5# t=e"]);
}

#[test]
fn qos_0_passes_by_a_full_window() {
    let mut mailbox = online(1);
    offer_run(&mut mailbox, &["a", "b"], AtLeastOnce);
    offer_run(&mut mailbox, &["c"], AtMostOnce);
    mailbox.offer(owed("d", AtMostOnce), NOW_MS);
    assert_eq!(take(&mut mailbox), ["1# t=a", "t=c", "t=d"]);
}

#[test]
fn a_run_of_qos_0_that_does_not_fit_into_the_outbox_is_dropped_and_counted() {
    let mut mailbox = with_bounds(3 * HEAD_BYTES, 100);
    attach(&mut mailbox, 10);
    assert_eq!(offer_run(&mut mailbox, &["a"], AtMostOnce).sent, 1);
    let offered = offer_run(&mut mailbox, &["b", "c"], AtMostOnce);
    assert_eq!(offered, Offered { dropped_full: 2, ..Offered::default() });
    assert_eq!(mailbox.offer(owed(&"x".repeat(50), AtMostOnce), NOW_MS).dropped_full, 1);
    assert_eq!(take(&mut mailbox), ["t=a"]);
}

#[test]
fn qos_1_waits_in_the_backlog_for_a_full_outbox() {
    let mut mailbox = with_bounds(2 * HEAD_BYTES_ACKNOWLEDGED + 4, 100);
    attach(&mut mailbox, 10);
    let offered = offer_run(&mut mailbox, &["a", "b", "c"], AtLeastOnce);
    assert_eq!((offered.sent, offered.kept, offered.dropped_full), (2, 1, 0));
    assert_eq!(take(&mut mailbox), ["1# t=a", "2# t=b"]);
    assert_eq!(take(&mut mailbox), ["3# t=c"]);
}

#[test]
fn a_full_backlog_drops_the_new_message_and_counts_it() {
    let mut mailbox = with_bounds(100_000, 2);
    attach(&mut mailbox, 1);
    let offered = offer_run(&mut mailbox, &["a", "b", "c", "d", "e"], AtLeastOnce);
    assert_eq!((offered.sent, offered.kept, offered.dropped_full), (1, 2, 2));
    assert_eq!(mailbox.offer(owed("f", AtLeastOnce), NOW_MS).dropped_full, 1);
}

#[test]
fn an_offline_session_is_kept_qos_1_and_2_alone() {
    let mut mailbox = with_bounds(100_000, 100);
    assert_eq!(offer_run(&mut mailbox, &["a"], AtMostOnce), Offered::default());
    assert_eq!(mailbox.offer(owed("b", AtMostOnce), NOW_MS), Offered::default());
    assert_eq!(offer_run(&mut mailbox, &["c"], AtLeastOnce), Offered { kept: 1, ..Offered::default() });
    assert_eq!(mailbox.offer(owed("d", ExactlyOnce), NOW_MS), Offered { kept: 1, ..Offered::default() });
    assert!(mailbox.take_wake().is_none());
    attach(&mut mailbox, 10);
    assert_eq!(take(&mut mailbox), ["1# t=c", "2## t=d"]);
}

#[test]
fn a_session_that_ends_with_its_connection_is_kept_nothing() {
    let mut mailbox = with_bounds(100_000, 100);
    mailbox.keeps = false;
    assert_eq!(offer_run(&mut mailbox, &["a"], AtLeastOnce), Offered::default());
    attach(&mut mailbox, 1);
    assert_eq!(offer_run(&mut mailbox, &["b", "c"], AtLeastOnce).kept, 1, "but it is as long as it has one");
}

#[test]
fn a_run_for_another_encoding_is_encoded_anew_by_the_sessions_own_task() {
    let mut mailbox = online(10);
    let offered = offer_run_as(OTHER_WIRE, &mut mailbox, &["a", "b"], AtLeastOnce);
    assert_eq!(offered, Offered { kept: 2, refill_due: true, ..Offered::default() });
    assert_eq!(offer_run_as(OTHER_WIRE, &mut mailbox, &["c"], AtMostOnce), Offered::default());
    let frame = Bytes::from(frames_of(OTHER_WIRE, &[event("d", AtMostOnce)]).bytes);
    assert_eq!(mailbox.offer_shared(wire(OTHER_WIRE).as_ref(), None, None, &frame), Offered::default());
    assert_eq!(take(&mut mailbox), ["1# t=a", "2# t=b"]);
}

#[test]
fn a_frame_larger_than_the_client_takes_is_dropped_for_it_alone() {
    let mut mailbox = with_bounds(100_000, 100);
    attach_as(&mut mailbox, WIRE, 10, HEAD_BYTES_ACKNOWLEDGED + 5, 0);
    let large = "x".repeat(7);
    let offered = offer_run(&mut mailbox, &["a", &large, "b"], AtMostOnce);
    assert_eq!((offered.sent, offered.dropped_large), (2, 1));
    let offered = offer_run(&mut mailbox, &["c", &large, "d"], AtLeastOnce);
    assert_eq!((offered.sent, offered.dropped_large), (2, 1));
    assert_eq!(mailbox.offer(owed(&large, AtLeastOnce), NOW_MS).dropped_large, 1);
    let frame = Bytes::from(frames_of(WIRE, &[event(&large, AtMostOnce)]).bytes);
    assert_eq!(mailbox.offer_shared(wire(WIRE).as_ref(), None, None, &frame).dropped_large, 1);
    assert_eq!(take(&mut mailbox), ["t=a", "t=b", "1# t=c", "2# t=d"]);
    assert_eq!(mailbox.inflight.len(), 2);
}

#[test]
fn a_shared_frame_is_shared_and_bounded() {
    let mut mailbox = with_bounds(3 * HEAD_BYTES, 100);
    attach(&mut mailbox, 10);
    let frame = Bytes::from(frames_of(WIRE, &[event("a", AtMostOnce)]).bytes);
    assert_eq!(mailbox.offer_shared(wire(WIRE).as_ref(), None, None, &frame).sent, 1);
    assert_eq!(mailbox.offer_shared(wire(WIRE).as_ref(), None, None, &frame).sent, 1);
    assert_eq!(mailbox.offer_shared(wire(WIRE).as_ref(), None, None, &frame).dropped_full, 1);
    assert_eq!(mailbox.take(Vec::new()).parts[0].as_ptr(), frame.as_ptr());
    mailbox.online = None;
    assert_eq!(mailbox.offer_shared(wire(WIRE).as_ref(), None, None, &frame), Offered::default());
}

#[test]
fn a_large_payload_is_not_copied_for_each_receiver() {
    let payload = vec![b'x'; SHARE_BYTES_MIN];
    for qos in [AtMostOnce, AtLeastOnce] {
        let event = event_on("t", &payload, qos);
        for mut mailbox in [online(10), online(10)] {
            mailbox.offer(Owed { event: event.clone(), terms: terms(qos) }, NOW_MS);
            let taken = mailbox.take(Vec::new());
            let Payload::Bytes(bytes) = &event.payload else { panic!() };
            assert_eq!(taken.parts[1].as_ptr(), bytes.as_ptr());
            assert_eq!(lines(&taken).len(), 1);
        }
    }
}

#[test]
fn a_client_that_takes_aliases_is_told_a_topic_once() {
    let mut mailbox = with_bounds(100_000, 100);
    attach_as(&mut mailbox, WIRE, 10, usize::MAX, 2);
    for topic in ["a", "b", "c", "a", "b", "c"] {
        mailbox.offer(Owed { event: event_on(topic, b"x", AtMostOnce), terms: terms(AtMostOnce) }, NOW_MS);
    }
    let expected = ["a=x alias 1", "b=x alias 2", "c=x", "=x alias 1", "=x alias 2", "c=x"];
    assert_eq!(take(&mut mailbox), expected);
    attach_as(&mut mailbox, WIRE, 10, usize::MAX, 2);
    mailbox.offer(Owed { event: event_on("c", b"x", AtMostOnce), terms: terms(AtMostOnce) }, NOW_MS);
    assert_eq!(take(&mut mailbox), ["c=x alias 1"], "aliases are of one connection (MQTT 5, 3.3.2.3.4)");
}

#[test]
fn an_alias_that_was_not_sent_is_not_known() {
    let mut mailbox = with_bounds(100, 100);
    attach_as(&mut mailbox, WIRE, 10, usize::MAX, 2);
    mailbox.offer(Owed { event: event_on("a", b"x", AtMostOnce), terms: terms(AtMostOnce) }, NOW_MS);
    let large = [b'x'; 90];
    assert_eq!(
        mailbox.offer(Owed { event: event_on("b", &large, AtMostOnce), terms: terms(AtMostOnce) }, NOW_MS).dropped_full,
        1
    );
    assert_eq!(take(&mut mailbox), ["a=x alias 1"]);
    mailbox.offer(Owed { event: event_on("b", b"y", AtMostOnce), terms: terms(AtMostOnce) }, NOW_MS);
    assert_eq!(take(&mut mailbox), ["b=y alias 2"]);
}

#[test]
fn what_is_sent_again_names_its_topic_in_full() {
    let mut mailbox = with_bounds(100_000, 100);
    attach_as(&mut mailbox, WIRE, 10, usize::MAX, 2);
    (0..2).for_each(|_| {
        mailbox.offer(owed("x", AtLeastOnce), NOW_MS);
    });
    assert_eq!(take(&mut mailbox), ["1# t=x alias 1", "2# =x alias 1"]);
    attach_as(&mut mailbox, WIRE, 10, usize::MAX, 2);
    assert_eq!(take(&mut mailbox), ["1# t=x dup", "2# t=x dup"]);
}

#[test]
fn what_expired_while_it_waited_is_not_sent() {
    let mut mailbox = online(1);
    let expiring = |payload: &str, at_ms| {
        let event = StoredEvent { expires_at_ms: Some(at_ms), ..(*event(payload, AtLeastOnce)).clone() };
        Owed { event: Arc::new(event), terms: terms(AtLeastOnce) }
    };
    for (payload, at_ms) in [("a", NOW_MS + 1), ("b", NOW_MS), ("c", NOW_MS + 1), ("d", NOW_MS + 3000)] {
        mailbox.offer(expiring(payload, at_ms), NOW_MS - 1000);
    }
    assert_eq!(take(&mut mailbox), ["1# t=a for 2"]);
    mailbox.inflight.acknowledge(1);
    assert_eq!(take(&mut mailbox), ["2# t=c for 1"], "the time that is left (MQTT 5, 3.3.2.3.3)");
    mailbox.inflight.acknowledge(2);
    assert_eq!(take(&mut mailbox), ["3# t=d for 3"]);
}

#[test]
fn a_refill_sends_what_is_sent_again_then_the_backlog_then_retained_values() {
    let mut mailbox = online(2);
    offer_run(&mut mailbox, &["a", "b", "c"], AtLeastOnce);
    detach(&mut mailbox);
    attach(&mut mailbox, 5);
    let retained = ["r", "s"].map(|payload| event(payload, AtMostOnce));
    let replayed = Terms { retain: true, ..terms(AtMostOnce) };
    mailbox.replay.push(SubscriptionId(1), retained.into(), None, replayed);
    mailbox.offer(owed("d", AtLeastOnce), NOW_MS);
    let expected = ["1# t=a dup", "2# t=b dup", "3# t=c", "4# t=d", "t=r retain", "t=s retain"];
    assert_eq!(take(&mut mailbox), expected);
}

#[test]
fn a_refill_stops_when_enough_waits_and_goes_on_when_that_is_taken() {
    let mut mailbox = with_bounds(10_000_000, 1000);
    let payload = "x".repeat(10_000);
    (0..30).for_each(|_| {
        mailbox.offer(owed(&payload, AtLeastOnce), NOW_MS);
    });
    attach(&mut mailbox, 1000);
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < 30 {
        batches.push(take(&mut mailbox).len());
    }
    assert_eq!(batches, [7, 7, 7, 7, 2]);
}

#[test]
fn a_message_that_the_outbox_has_no_room_for_now_is_not_lost() {
    let (some, large) = ("a".repeat(1000), "x".repeat(120_000));
    let mut mailbox = with_bounds(100_000, 100);
    mailbox.offer(owed(&some, AtLeastOnce), NOW_MS);
    mailbox.offer(owed(&large, AtLeastOnce), NOW_MS);
    mailbox.offer(owed("b", AtLeastOnce), NOW_MS);
    attach(&mut mailbox, 10);
    assert_eq!(take(&mut mailbox), [format!("1# t={some}")]);
    assert_eq!(take(&mut mailbox), [format!("2# t={large}")]);
    assert_eq!(take(&mut mailbox), ["3# t=b"]);
    attach(&mut mailbox, 10);
    assert_eq!(take(&mut mailbox), [format!("1# t={some} dup")]);
    assert_eq!(take(&mut mailbox), [format!("2# t={large} dup")]);
    assert_eq!(take(&mut mailbox), ["3# t=b dup"]);
}

#[test]
fn a_retained_value_that_the_outbox_has_no_room_for_now_is_not_lost() {
    let (some, large) = ("a".repeat(1000), "x".repeat(120_000));
    let mut mailbox = online(10);
    let retained = [&some, &large, "b"].map(|payload| event(payload, AtMostOnce));
    mailbox.replay.push(SubscriptionId(1), retained.into(), None, terms(AtMostOnce));
    assert_eq!(take(&mut mailbox), [format!("t={some}")]);
    assert_eq!(take(&mut mailbox), [format!("t={large}")]);
    assert_eq!(take(&mut mailbox), ["t=b"]);
}

#[test]
fn retained_values_that_need_acknowledgements_wait_for_the_window() {
    let mut mailbox = online(1);
    let retained = ["a", "b"].map(|payload| event(payload, AtLeastOnce));
    mailbox.replay.push(SubscriptionId(1), retained.into(), None, terms(AtLeastOnce));
    assert_eq!(take(&mut mailbox), ["1# t=a"]);
    assert_eq!(take(&mut mailbox), [""; 0]);
    mailbox.inflight.acknowledge(1);
    assert_eq!(take(&mut mailbox), ["2# t=b"]);
}

#[test]
fn a_long_search_for_retained_values_lets_others_have_their_turn_and_asks_to_be_called_again() {
    let mut mailbox = with_bounds(100_000, 100);
    let link = attach(&mut mailbox, 10);
    let mut searched = 0;
    let source = move |into: &mut std::collections::VecDeque<_>| {
        searched += 1;
        if searched == 20 {
            into.push_back(event("found", AtMostOnce));
        }
        if searched < 20 { Fetched::More } else { Fetched::Last }
    };
    mailbox.replay.push(SubscriptionId(1), Default::default(), Some(Box::new(source)), terms(AtMostOnce));
    let woken = Arc::new(Woken::default());
    let mut calls = 0;
    loop {
        calls += 1;
        link.waker.register(&woken.clone().into());
        if take(&mut mailbox) == ["t=found"] {
            break;
        }
        assert_eq!(woken.0.swap(0, Relaxed), 1);
    }
    assert_eq!(calls, 3);
}

#[test]
fn a_reconnected_client_is_sent_again_what_it_did_not_acknowledge() {
    let mut mailbox = online(10);
    offer_run(&mut mailbox, &["a", "b"], AtLeastOnce);
    offer_run(&mut mailbox, &["c", "d"], ExactlyOnce);
    offer_run(&mut mailbox, &["e"], AtMostOnce);
    mailbox.inflight.acknowledge(1);
    mailbox.inflight.receive(3);
    detach(&mut mailbox);
    attach(&mut mailbox, 10);
    mailbox.release_again(|packet_id, out| out.extend(packet_id.to_be_bytes()));
    assert_eq!(mailbox.outbox.reply_bytes(), 2);
    assert_eq!(mailbox.take(Vec::new()).tail, [0, 3]);
    assert_eq!(take(&mut mailbox), ["2# t=b dup", "4## t=d dup"]);
}

#[test]
fn what_is_sent_again_is_paced_by_the_outbox_and_shared_if_large() {
    let large = "x".repeat(SHARE_BYTES_MIN);
    let mut mailbox = with_bounds(10_000_000, 100);
    attach(&mut mailbox, 100);
    let event = event(&large, AtLeastOnce);
    (0..20).for_each(|_| {
        mailbox.offer(Owed { event: event.clone(), terms: terms(AtLeastOnce) }, NOW_MS);
    });
    attach(&mut mailbox, 100);
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < 20 {
        mailbox.refill(NOW_MS);
        let taken = mailbox.take(Vec::new());
        let Payload::Bytes(bytes) = &event.payload else { panic!() };
        batches.push(taken.parts.iter().filter(|part| part.as_ptr() == bytes.as_ptr()).count());
    }
    assert_eq!(batches, [4, 4, 4, 4, 4]);
}

#[test]
fn what_a_reconnected_client_does_not_take_any_more_counts_as_done() {
    let mut mailbox = online(10);
    offer_run(&mut mailbox, &["a", "too large", "b"], AtLeastOnce);
    attach_as(&mut mailbox, WIRE, 10, HEAD_BYTES_ACKNOWLEDGED + 5, 0);
    assert_eq!(mailbox.refill(NOW_MS).dropped_large, 1);
    assert_eq!(take(&mut mailbox), ["1# t=a dup", "3# t=b dup"]);
    assert_eq!(mailbox.inflight.len(), 2);
    assert_eq!(offer_run(&mut mailbox, &["c"], AtLeastOnce).sent, 1);
}

#[test]
fn an_event_that_cannot_be_said_to_this_client_is_dropped_and_counted() {
    let mut mailbox = online(10);
    mailbox.offer(owed("a", AtLeastOnce), NOW_MS);
    assert_eq!(mailbox.offer(owed("unsayable", AtLeastOnce), NOW_MS).untranslatable, 1);
    mailbox.offer(owed("b", AtLeastOnce), NOW_MS);
    assert_eq!(take(&mut mailbox), ["1# t=a", "2# t=b"]);
}

#[test]
fn a_takeover_leaves_the_old_connection_nothing() {
    let mut mailbox = with_bounds(100_000, 100);
    let old = attach(&mut mailbox, 10);
    offer_run(&mut mailbox, &["a"], AtMostOnce);
    offer_run(&mut mailbox, &["b"], AtLeastOnce);
    mailbox.outbox.push_reply(b"for the old one");
    let new = Arc::new(Link::default());
    let before = mailbox.attach(new.clone(), wire(OTHER_WIRE).as_ref(), 10, usize::MAX, 0);
    assert!(before.is_some_and(|before| Arc::ptr_eq(&before, &old)));
    assert!(!mailbox.is_held_by(&old) && mailbox.is_held_by(&new));
    assert!(!mailbox.detach(&old), "it cannot take the session away any more");
    assert_eq!(take(&mut mailbox), ["1# t=b dup"]);
}

#[test]
fn whether_by_takeover_or_not_retained_values_promised_with_qos_1_are_owed_to_the_next_connection() {
    for taken_over in [false, true] {
        let mut mailbox = with_bounds(100_000, 2);
        attach(&mut mailbox, 1);
        let retained: Vec<_> = (0..9).map(|n| event(&n.to_string(), AtLeastOnce)).collect();
        mailbox.replay.push(SubscriptionId(1), retained.into(), None, terms(AtLeastOnce));
        mailbox.replay.push(SubscriptionId(2), [event("gone", AtMostOnce)].into(), None, terms(AtMostOnce));
        assert_eq!(take(&mut mailbox), ["1# t=0"]);
        if !taken_over {
            detach(&mut mailbox);
        }
        attach(&mut mailbox, 100);
        let expected: Vec<_> =
            (0..9).map(|n| format!("{}# t={n}{}", n + 1, if n == 0 { " dup" } else { "" })).collect();
        assert_eq!(take(&mut mailbox), expected);
    }
}

#[test]
fn a_session_that_ended_owes_nothing() {
    let mut mailbox = online(1);
    offer_run(&mut mailbox, &["a", "b"], AtLeastOnce);
    mailbox.replay.push(SubscriptionId(1), [event("r", AtLeastOnce)].into(), None, terms(AtLeastOnce));
    detach(&mut mailbox);
    mailbox.clear();
    assert_eq!(offer_run(&mut mailbox, &["c"], AtLeastOnce), Offered::default());
    assert!(mailbox.backlog.is_empty() && mailbox.inflight.is_empty() && mailbox.replay.is_empty());
}

#[test]
fn a_connection_is_woken_once_until_it_takes() {
    let mut mailbox = with_bounds(100_000, 100);
    assert!(mailbox.take_wake().is_none(), "there is nobody to wake");
    let link = attach(&mut mailbox, 10);
    assert!(mailbox.take_wake().is_some_and(|woken| Arc::ptr_eq(&woken, &link)));
    assert!(mailbox.take_wake().is_none());
    mailbox.take(Vec::new());
    assert!(mailbox.take_wake().is_some());
    let next = attach(&mut mailbox, 10);
    assert!(mailbox.take_wake().is_some_and(|woken| Arc::ptr_eq(&woken, &next)), "a new connection was not woken yet");
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

use std::sync::atomic::Ordering::Relaxed;

#[test]
fn a_connected_session_is_crowded_when_its_backlog_is_more_than_half_full_but_not_when_it_is_full() {
    let mut mailbox = with_bounds(100_000, 4);
    attach(&mut mailbox, 1);
    let mut crowded = || {
        let offered = offer_run(&mut mailbox, &["x"], AtLeastOnce);
        (offered.kept, offered.dropped_full, offered.crowded)
    };
    assert_eq!(crowded(), (0, 0, false), "sent");
    assert_eq!([crowded(), crowded()], [(1, 0, false); 2]);
    assert_eq!(crowded(), (1, 0, true));
    assert_eq!(crowded(), (1, 0, false), "full: who does not read must not hold others up");
    assert_eq!(crowded(), (0, 1, false));
}

#[test]
fn an_offline_session_is_never_crowded() {
    let mut mailbox = with_bounds(100_000, 4);
    let offered = [(); 4].map(|()| mailbox.offer(owed("x", AtLeastOnce), NOW_MS));
    assert!(offered.iter().all(|offered| offered.kept == 1 && !offered.crowded));
}

#[test]
fn a_connected_session_is_crowded_by_qos_0_when_its_outbox_is_more_than_half_full_but_not_when_it_is_full() {
    let frame = Bytes::from(frames_of(WIRE, &[event("x", AtMostOnce)]).bytes);
    let offers: [&dyn Fn(&mut Mailbox) -> Offered; 3] = [
        &|mailbox| offer_run(mailbox, &["x"], AtMostOnce),
        &|mailbox| mailbox.offer(owed("x", AtMostOnce), NOW_MS),
        &|mailbox| mailbox.offer_shared(wire(WIRE).as_ref(), None, None, &frame),
    ];
    for offer in offers {
        let mut mailbox = with_bounds(4 * frame.len(), 4);
        attach(&mut mailbox, 1);
        let mut crowded = || {
            let offered = offer(&mut mailbox);
            (offered.sent, offered.dropped_full, offered.crowded)
        };
        assert_eq!([crowded(), crowded()], [(1, 0, false); 2]);
        assert_eq!(crowded(), (1, 0, true));
        assert_eq!(crowded(), (1, 0, false));
        assert_eq!(crowded(), (0, 1, false));
    }
}
