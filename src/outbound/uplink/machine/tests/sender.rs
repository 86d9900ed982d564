//! What is read, recorded and sent next.

use crate::outbound::uplink::machine::numbering::{Item, Verdict, Why};
use crate::outbound::uplink::machine::sender::{Bounds, Found, Read, Sender, Values, Want};
use crate::outbound::uplink::machine::wire::Ack;

const NOW_MS: u64 = 1000;
const NOW_US: u64 = 1_000_000;
const BOUNDS: Bounds = Bounds { messages_max: 10, bytes_max: 1000, live_percent: 50, age_us_max: None };

/// Has heard that the other end knows nothing, and has no retained values to send.
fn sender(bounds: Bounds, patterns: u16) -> Sender {
    let mut sender = Sender::new(bounds, patterns, 0);
    assert_eq!(sender.hear(Ack::default(), NOW_MS), Verdict::Resync(Why::First));
    assert!(matches!(sender.want(0), Some(Want::Values { .. })));
    sender.take_values(Values::default());
    sender
}

fn found(number: u64, bytes: usize) -> Found {
    Found { number, bytes, at_us: NOW_US, returns: false }
}

/// Reads as wanted from a log in which all events have so many bytes.
fn fill(sender: &mut Sender, last: u64, bytes: usize) {
    while let Some(want) = sender.want(last) {
        let Want::Events { lane, from, until, messages_max, bytes_max, .. } = want else { panic!("{want:?}") };
        let end = until.unwrap_or(last + 1).min(last + 1);
        let count = messages_max.min((bytes_max / bytes).max(1)) as u64;
        let next = end.min(from + count);
        let read = Read { events: (from..next).map(|number| found(number, bytes)).collect(), next, first_available: 0 };
        sender.take(lane, &read, NOW_US);
    }
}

fn record(sender: &mut Sender) -> Vec<u8> {
    let record = sender.record().expect("something to record");
    sender.recorded(record.version, true);
    record.state
}

fn numbers(sender: &Sender) -> Vec<u64> {
    let number = |item: &Item| match item {
        Item::Event(number) => *number,
        other => panic!("{other:?}"),
    };
    sender.batch().map(number).collect()
}

fn accept(sender: &mut Sender, count: u64) {
    let (epoch, next) = (sender.numbering().epoch(), sender.numbering().sequence() + count);
    assert_eq!(sender.hear(Ack { epoch, next }, NOW_MS), Verdict::Accepted(count));
}

#[test]
fn nothing_is_sent_before_it_is_recorded() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 5, 10);
    assert!(numbers(&sender).is_empty() && !sender.may_begin());
    let record = sender.record().unwrap();
    assert!(numbers(&sender).is_empty(), "it is only on its way");
    assert_eq!(sender.record(), None, "one at a time");
    sender.recorded(record.version, true);
    assert_eq!(numbers(&sender), [1, 2, 3, 4, 5]);
    assert!(sender.may_begin());
    assert_eq!(record.done_to, 0, "the log has to keep what is not accepted");
}

#[test]
fn what_could_not_be_recorded_is_recorded_again() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 5, 10);
    let record = sender.record().unwrap();
    sender.recorded(record.version, false);
    assert!(numbers(&sender).is_empty());
    assert_eq!(sender.record(), Some(record));
}

#[test]
fn the_next_batch_is_read_and_recorded_while_one_is_under_way() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 100, 10);
    record(&mut sender);
    assert_eq!(numbers(&sender), (1..=10).collect::<Vec<_>>());
    assert_eq!(sender.numbering().ahead().len(), 20);
    accept(&mut sender, 10);
    assert_eq!(numbers(&sender), (11..=20).collect::<Vec<_>>(), "it is recorded already");
    fill(&mut sender, 100, 10);
    assert_eq!(sender.numbering().ahead().len(), 20);
}

#[test]
fn batches_are_bounded_by_bytes_and_one_message_always_goes() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 100, 400);
    assert_eq!(sender.numbering().ahead().len(), 5, "the bytes of two batches");
    let mut large = super::sender::sender(BOUNDS, 1);
    fill(&mut large, 100, 5000);
    assert_eq!(large.numbering().ahead().len(), 1);
}

#[test]
fn large_messages_are_read_on_while_a_batch_is_under_way_too() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 100, 500);
    record(&mut sender);
    let ahead = sender.numbering().ahead().len();
    accept(&mut sender, 2);
    fill(&mut sender, 100, 500);
    assert_eq!((ahead, sender.numbering().ahead().len()), (4, 4));
}

#[test]
fn the_last_accepted_batch_is_kept_in_the_log() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 30, 10);
    record(&mut sender);
    accept(&mut sender, 10);
    assert_eq!(sender.record().map(|record| record.done_to), Some(0));
    let version = sender.version_for_tests();
    sender.recorded(version, true);
    accept(&mut sender, 10);
    assert_eq!(sender.record().map(|record| record.done_to), Some(10));
}

#[test]
fn nothing_is_numbered_before_the_other_end_has_spoken() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 5, 10);
    let state = record(&mut sender);
    let mut again = Sender::restore(BOUNDS, 1, &state).unwrap();
    assert_eq!(again.want(50), None);
    assert_eq!(numbers(&again), [1, 2, 3, 4, 5], "what was recorded keeps its numbers");
    let epoch = again.numbering().epoch();
    again.hear(Ack { epoch, next: 3 }, NOW_MS);
    assert_eq!(numbers(&again), [4, 5]);
    assert!(again.want(50).is_some());
}

#[test]
fn a_store_that_was_restored_is_noticed() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 5, 10);
    let old = record(&mut sender);
    accept(&mut sender, 5);
    fill(&mut sender, 9, 10);
    record(&mut sender);
    accept(&mut sender, 4);
    let mut restored = Sender::restore(BOUNDS, 1, &old).unwrap();
    let epoch = restored.numbering().epoch();
    assert_eq!(restored.hear(Ack { epoch, next: 9 }, NOW_MS), Verdict::Resync(Why::TooHigh));
    assert!(matches!(restored.want(5), Some(Want::Values { below: None, .. })), "a snapshot of everything");
}

#[test]
fn a_new_epoch_is_recorded_before_it_begins() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 5, 10);
    record(&mut sender);
    accept(&mut sender, 5);
    let under_way = sender.record().unwrap();
    assert!(matches!(sender.hear(Ack::default(), NOW_MS), Verdict::Resync(Why::PeerIsNew)));
    sender.recorded(under_way.version, true);
    assert!(!sender.may_begin() && numbers(&sender).is_empty(), "what was recorded is the old epoch");
    record(&mut sender);
    assert!(sender.may_begin());
    assert_eq!(numbers(&sender), [1, 2, 3, 4, 5]);
}

#[test]
fn a_snapshot_comes_before_the_stream() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 5, 10);
    record(&mut sender);
    accept(&mut sender, 5);
    sender.hear(Ack::default(), NOW_MS);
    let want = sender.want(9).unwrap();
    assert_eq!(want, Want::Values { after: None, below: None, messages_max: 10, bytes_max: 1000 });
    sender.take_values(Values { topics: vec![("a".into(), 3)], more: true });
    let want = sender.want(9).unwrap();
    assert_eq!(want, Want::Values { after: Some("a".into()), below: None, messages_max: 10, bytes_max: 1000 });
    let state = record(&mut sender);
    sender.take_values(Values { topics: vec![("b".into(), 3)], more: false });
    assert!(matches!(sender.want(9), Some(Want::Events { from: 6, .. })));
    let mut again = Sender::restore(BOUNDS, 1, &state).unwrap();
    let epoch = again.numbering().epoch();
    again.hear(Ack { epoch, next: 0 }, NOW_MS);
    assert!(matches!(again.want(9), Some(Want::Values { after: Some(_), .. })), "it goes on after a restart");
}

#[test]
fn the_first_snapshot_leaves_out_what_is_still_to_come() {
    let mut sender = Sender::new(BOUNDS, 1, 41);
    sender.hear(Ack::default(), NOW_MS);
    assert!(matches!(sender.want(50), Some(Want::Values { below: Some(42), .. })));
}

#[test]
fn live_and_backlog_share_a_batch() {
    let mut sender = sender(BOUNDS, 1);
    assert!(
        matches!(sender.want(1000), Some(Want::Events { lane: 1, from: 1, until: Some(1001), .. })),
        "all is backlog"
    );
    fill(&mut sender, 1100, 10);
    record(&mut sender);
    accept(&mut sender, 10);
    let batch = numbers(&sender);
    let live: Vec<_> = batch.iter().filter(|number| **number > 1000).collect();
    assert_eq!((live.len(), batch.len()), (5, 10), "{batch:?}");
}

#[test]
fn without_live_messages_the_backlog_gets_all_and_the_reverse() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 1000, 10);
    record(&mut sender);
    assert_eq!(numbers(&sender), (1..=10).collect::<Vec<_>>());
    let mut short = super::sender::sender(BOUNDS, 1);
    fill(&mut short, 15, 10);
    record(&mut short);
    assert_eq!(numbers(&short), (1..=10).collect::<Vec<_>>());
}

#[test]
fn without_a_share_for_live_messages_all_go_in_the_order_of_publication() {
    let mut sender = sender(Bounds { live_percent: 0, ..BOUNDS }, 1);
    fill(&mut sender, 1000, 10);
    fill(&mut sender, 2000, 10);
    let all: Vec<_> = sender.numbering().ahead().iter().cloned().collect();
    assert_eq!(all, (1..=20).map(Item::Event).collect::<Vec<_>>());
}

#[test]
fn what_retention_gave_up_leaves_a_gap() {
    let mut sender = sender(BOUNDS, 1);
    let read = Read { events: vec![found(8, 10)], next: 9, first_available: 6 };
    assert!(sender.want(9).is_some());
    sender.take(0, &read, NOW_US);
    let ahead: Vec<_> = sender.numbering().ahead().iter().cloned().collect();
    assert_eq!(ahead, [Item::Gap { after: 0, until: 5 }, Item::Event(8)]);
    assert_eq!(sender.lanes().live().next, 9);
}

#[test]
fn what_is_too_old_leaves_one_gap() {
    let mut sender = sender(Bounds { age_us_max: Some(100), ..BOUNDS }, 1);
    assert!(sender.want(9).is_some());
    let old = |number| Found { at_us: NOW_US - 101, ..found(number, 10) };
    let events = vec![found(1, 10), old(3), old(4), found(6, 10), old(7)];
    sender.take(0, &Read { events, next: 10, first_available: 0 }, NOW_US);
    let ahead: Vec<_> = sender.numbering().ahead().iter().cloned().collect();
    let expected = [Item::Event(1), Item::Gap { after: 2, until: 4 }, Item::Event(6), Item::Gap { after: 6, until: 7 }];
    assert_eq!(ahead, expected);
}

#[test]
fn what_would_go_back_gets_no_number() {
    let mut sender = sender(BOUNDS, 1);
    assert!(sender.want(9).is_some());
    let back = Found { returns: true, ..found(2, 10) };
    sender.take(0, &Read { events: vec![found(1, 10), back, found(3, 10)], next: 4, first_available: 0 }, NOW_US);
    record(&mut sender);
    assert_eq!(numbers(&sender), [1, 3]);
}

#[test]
fn an_event_that_is_gone_when_it_is_sent_is_a_gap_of_the_same_number() {
    let mut sender = sender(BOUNDS, 1);
    fill(&mut sender, 3, 10);
    record(&mut sender);
    sender.lost(1);
    let batch: Vec<_> = sender.batch().cloned().collect();
    assert_eq!(batch, [Item::Event(1), Item::Gap { after: 1, until: 2 }, Item::Event(3)]);
}

#[test]
fn held_topics_get_no_numbers_until_they_are_accepted() {
    let mut sender = sender(BOUNDS, 2);
    sender.accept(&[true, false]);
    let want = sender.want(4).unwrap();
    assert!(matches!(&want, Want::Events { lane: 0, patterns, .. } if *patterns == [0]), "{want:?}");
    sender.take(0, &Read { events: vec![found(1, 10), found(3, 10)], next: 5, first_available: 0 }, NOW_US);
    assert_eq!(sender.want(4), None);
    assert_eq!(sender.record().map(|record| record.done_to), Some(0), "the log keeps what is held");
    let version = sender.version_for_tests();
    sender.recorded(version, true);
    assert_eq!(numbers(&sender), [1, 3]);
    sender.accept(&[true, true]);
    let want = sender.want(4).unwrap();
    assert!(matches!(&want, Want::Events { from: 1, until: Some(5), patterns, .. } if *patterns == [1]), "{want:?}");
    sender.take(1, &Read { events: vec![found(2, 10), found(4, 10)], next: 5, first_available: 0 }, NOW_US);
    record(&mut sender);
    assert_eq!(numbers(&sender), [1, 3, 2, 4]);
    assert_eq!(sender.lanes().iter().count(), 1);
}

#[test]
fn a_state_of_other_patterns_or_none_at_all_is_not_restored() {
    let mut sender = sender(BOUNDS, 2);
    let state = record(&mut sender);
    assert!(Sender::restore(BOUNDS, 2, &state).is_some());
    assert!(Sender::restore(BOUNDS, 1, &state).is_none());
    assert!(Sender::restore(BOUNDS, 2, b"").is_none());
}

#[test]
fn what_is_pending_is_told() {
    let mut sender = sender(BOUNDS, 1);
    assert_eq!((sender.pending(0, 9), sender.oldest(0), sender.has_more(0)), (0, None, false));
    assert_eq!((sender.pending(7, 5), sender.oldest(7), sender.has_more(7)), (5, Some(1), true));
    fill(&mut sender, 7, 10);
    assert_eq!(sender.pending(7, 0), 7);
    record(&mut sender);
    accept(&mut sender, 7);
    assert_eq!((sender.pending(7, 0), sender.oldest(7), sender.has_more(7)), (0, None, false));
}
