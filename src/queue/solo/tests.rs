use super::*;
use crate::queue::command::Command;

const NOW_US: u64 = 1_800_000_000_000_000;

fn start() -> Start {
    Start { entry: NodeId::entry("E1"), position: 0, incarnation: 0, time_us: 0 }
}

fn batch(messages: u32) -> Batch {
    let mut batch = Batch::default();
    for session in 0..messages {
        batch.command(&Command::Leave { realm: "realm1".into(), session: session.into(), orderly: false });
    }
    batch
}

fn range(ticket: u64, offset: u32, count: u32) -> TicketRange {
    TicketRange { ticket, offset, count }
}

/// One whose INIT took position 1.
fn begun(limits: EntryLimits) -> Solo {
    let mut solo = Solo::new(start(), limits);
    let init = OrderCommand::Init { entry: NodeId::entry("E1"), replaces: 0, nonce: 0 };
    assert_eq!(solo.next(NOW_US), Some(Apply::Command(Ordered { position: 1, command: init })));
    assert_eq!(solo.applied(1, 1), []);
    solo
}

#[track_caller]
fn segment(apply: Option<Apply>) -> Sealed {
    match apply {
        Some(Apply::Segment(sealed)) => sealed,
        other => panic!("no segment: {other:?}"),
    }
}

#[track_caller]
fn command(apply: Option<Apply>) -> (u64, OrderCommand) {
    match apply {
        Some(Apply::Command(Ordered { position, command })) => (position, command),
        other => panic!("no command: {other:?}"),
    }
}

#[test]
fn init_is_the_first_and_nothing_goes_before_it() {
    let mut solo = Solo::new(Start { position: 41, incarnation: 7, ..start() }, EntryLimits::default());
    solo.submit(batch(1), 1).unwrap();
    let init = OrderCommand::Init { entry: NodeId::entry("E1"), replaces: 7, nonce: 0 };
    assert_eq!(command(solo.next(NOW_US)), (42, init));
    assert_eq!(solo.next(NOW_US), None);
    assert_eq!(solo.applied(42, 1), []);
    let sealed = segment(solo.next(NOW_US));
    assert_eq!((sealed.position, sealed.incarnation, sealed.at_us), (43, 42, NOW_US));
}

#[test]
fn what_gathers_during_a_commit_is_the_next_segment() {
    let mut solo = begun(EntryLimits::default());
    assert_eq!(solo.next(NOW_US), None);
    let (first, second) = (batch(1), batch(3));
    solo.submit(first.clone(), 10).unwrap();
    let sealed = segment(solo.next(NOW_US));
    assert_eq!((sealed.position, sealed.count, &sealed.body[..]), (2, 1, first.as_bytes()));
    for ticket in 11..=13 {
        solo.submit(second.clone(), ticket).unwrap();
        assert_eq!(solo.next(NOW_US + 1), None, "a commit is under way");
    }
    assert_eq!(solo.applied(2, 1), [range(10, 0, 1)]);
    let sealed = segment(solo.next(NOW_US + 5));
    assert_eq!((sealed.position, sealed.count, sealed.at_us), (3, 9, NOW_US + 5));
    assert_eq!(sealed.body, [second.as_bytes(); 3].concat());
    assert_eq!(solo.applied(3, 2), [range(11, 0, 3), range(12, 3, 3), range(13, 6, 3)]);
    assert_eq!(solo.next(NOW_US), None);
}

#[test]
fn segments_ascend_whatever_the_clock_does() {
    let mut solo = Solo::new(Start { time_us: NOW_US, ..start() }, EntryLimits::default());
    solo.next(0);
    solo.applied(1, 1);
    let mut last = NOW_US;
    for (position, now_us) in [(2, NOW_US - 1_000_000), (3, NOW_US + 500), (4, 0), (5, NOW_US + 500)] {
        solo.submit(batch(1), 1).unwrap();
        let at_us = segment(solo.next(now_us)).at_us;
        assert!(at_us > last, "{at_us} after {last}");
        last = at_us;
        solo.applied(position, position);
    }
    assert_eq!(last, NOW_US + 502);
}

#[test]
fn a_segment_that_fails_is_refused_and_its_position_free() {
    let mut solo = begun(EntryLimits::default());
    solo.submit(batch(1), 1).unwrap();
    segment(solo.next(NOW_US));
    solo.submit(batch(1), 2).unwrap();
    assert_eq!(solo.failed(2), [range(1, 0, 1)]);
    let sealed = segment(solo.next(NOW_US));
    assert_eq!((sealed.position, sealed.count), (2, 1));
    assert_eq!(solo.applied(2, 1), [range(2, 0, 1)]);
    solo.submit(batch(1), 3).unwrap();
    assert_eq!(segment(solo.next(NOW_US)).position, 3);
    assert_eq!(solo.applied(3, 2), [range(3, 0, 1)]);
}

#[test]
fn a_store_that_fails_again_and_again_does_not_stop_the_queue() {
    let mut solo = begun(EntryLimits::default());
    for ticket in 0..100 {
        solo.submit(batch(2), ticket).unwrap();
        assert_eq!(segment(solo.next(NOW_US)).position, 2);
        assert_eq!(solo.failed(2), [range(ticket, 0, 2)]);
    }
    assert!(!solo.is_full());
}

#[test]
fn a_command_goes_before_segments_and_is_tried_until_it_is_there() {
    let mut solo = begun(EntryLimits::default());
    solo.submit(batch(1), 1).unwrap();
    for at_us in [5, 9, 5] {
        solo.command(OrderCommand::Time { at_us });
    }
    assert_eq!(command(solo.next(NOW_US)), (2, OrderCommand::Time { at_us: 5 }));
    assert_eq!(solo.failed(2), []);
    assert_eq!(command(solo.next(NOW_US)), (2, OrderCommand::Time { at_us: 5 }));
    assert_eq!(solo.applied(2, 1), []);
    assert_eq!(command(solo.next(NOW_US)), (3, OrderCommand::Time { at_us: 9 }));
    solo.applied(3, 1);
    assert_eq!(segment(solo.next(NOW_US)).position, 4);
}

#[test]
fn an_init_that_fails_is_tried_again() {
    let mut solo = Solo::new(start(), EntryLimits::default());
    solo.submit(batch(1), 1).unwrap();
    for _ in 0..3 {
        assert_eq!(command(solo.next(NOW_US)).0, 1);
        assert_eq!(solo.failed(1), []);
    }
    assert_eq!(command(solo.next(NOW_US)).0, 1);
    solo.applied(1, 1);
    let sealed = segment(solo.next(NOW_US));
    assert_eq!((sealed.position, sealed.incarnation), (2, 1));
}

#[test]
fn a_full_entry_refuses_until_segments_are_resolved() {
    let limits = EntryLimits { waiting_bytes_max: 2 * (batch(1).len() + 16), ..EntryLimits::default() };
    let mut solo = begun(limits);
    solo.submit(batch(1), 1).unwrap();
    segment(solo.next(NOW_US));
    solo.submit(batch(1), 2).unwrap();
    assert!(solo.is_full(), "bodies under way count");
    assert_eq!(solo.submit(batch(1), 3), Err(Refused::Full));
    assert_eq!(solo.applied(2, 1), [range(1, 0, 1)]);
    assert!(!solo.is_full());
    solo.submit(batch(1), 4).unwrap();
    assert_eq!(segment(solo.next(NOW_US)).count, 2);
    assert_eq!(solo.failed(3), [range(2, 0, 1), range(4, 1, 1)]);
    assert!(!solo.is_full(), "what is refused is not held");
}

#[test]
fn a_segment_has_a_size_and_a_batch_is_never_parted() {
    let bytes = batch(1).len();
    let mut solo = begun(EntryLimits { segment_bytes_max: 3 * bytes, ..EntryLimits::default() });
    let sizes = [1, 1, 2, 7, 1, 1, 1, 1];
    for (ticket, messages) in (0..).zip(sizes) {
        solo.submit(batch(messages), ticket).unwrap();
    }
    let mut tickets = Vec::new();
    let mut counts = Vec::new();
    for position in 2.. {
        let Some(apply) = solo.next(NOW_US) else { break };
        counts.push(segment(Some(apply)).count);
        tickets.extend(solo.applied(position, 1).into_iter().map(|range| (range.ticket, range.count)));
    }
    assert_eq!(counts, [2, 2, 7, 3, 1]);
    assert_eq!(tickets, (0..).zip(sizes).collect::<Vec<_>>());
}

#[test]
fn what_waits_can_be_given_up() {
    let mut solo = begun(EntryLimits::default());
    solo.submit(batch(1), 1).unwrap();
    segment(solo.next(NOW_US));
    solo.submit(batch(2), 2).unwrap();
    solo.submit(batch(1), 3).unwrap();
    let tickets: Vec<u64> = solo.refuse_waiting().into_iter().map(|range| range.ticket).collect();
    assert_eq!(tickets, [2, 3]);
    assert_eq!(solo.applied(2, 1), [range(1, 0, 1)]);
    assert_eq!(solo.next(NOW_US), None);
}

#[test]
fn batches_without_messages_are_nothing() {
    let mut solo = begun(EntryLimits::default());
    solo.submit(Batch::default(), 1).unwrap();
    assert_eq!(solo.next(NOW_US), None);
}
