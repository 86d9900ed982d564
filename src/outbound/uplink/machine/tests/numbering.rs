//! The rules on the answer N, with S = sequence and P = pending offset.

use crate::outbound::uplink::machine::numbering::{Item, Numbering, Verdict, Why};
use crate::outbound::uplink::machine::wire::Ack;

const NOW_MS: u64 = 1000;

/// In its first epoch: events 1 to `accepted` in one accepted batch, those up to `all` ahead.
fn numbering(accepted: u64, all: u64) -> Numbering {
    let mut numbering = Numbering::default();
    assert_eq!(numbering.hear(Ack::default(), NOW_MS), Verdict::Resync(Why::First));
    (1..=all).for_each(|number| numbering.add(Item::Event(number)));
    let epoch = numbering.epoch();
    numbering.hear(Ack { epoch, next: accepted }, NOW_MS);
    numbering
}

fn answer(numbering: &mut Numbering, next: u64) -> Verdict {
    let epoch = numbering.epoch();
    numbering.hear(Ack { epoch, next }, NOW_MS)
}

fn ahead(numbering: &Numbering) -> Vec<u64> {
    let number = |item: &Item| match item {
        Item::Event(number) => *number,
        other => panic!("{other:?}"),
    };
    numbering.ahead().iter().map(number).collect()
}

#[test]
fn above_s_the_batch_before_is_deleted() {
    let mut numbering = numbering(3, 8);
    assert_eq!(answer(&mut numbering, 5), Verdict::Accepted(2));
    assert_eq!((numbering.sequence(), numbering.pending_offset()), (5, 2));
    assert_eq!(ahead(&numbering), [6, 7, 8]);
    assert_eq!(answer(&mut numbering, 4), Verdict::Rewound(1));
    assert_eq!(ahead(&numbering), [5, 6, 7, 8]);
}

#[test]
fn s_itself_changes_nothing() {
    let mut numbering = numbering(3, 8);
    assert_eq!(answer(&mut numbering, 3), Verdict::Same);
    assert_eq!((numbering.sequence(), numbering.pending_offset()), (3, 3));
}

#[test]
fn down_to_the_first_that_is_kept_it_rewinds() {
    for next in 0..3 {
        let mut numbering = numbering(3, 4);
        assert_eq!(answer(&mut numbering, next), Verdict::Rewound(3 - next));
        assert_eq!((numbering.sequence(), numbering.pending_offset()), (next, next));
        assert_eq!(ahead(&numbering), (next + 1..=4).collect::<Vec<_>>());
    }
}

#[test]
fn below_what_is_kept_the_oldest_is_sent_in_a_new_epoch() {
    let mut numbering = numbering(3, 6);
    answer(&mut numbering, 5);
    let epoch = numbering.epoch();
    assert_eq!(answer(&mut numbering, 2), Verdict::Resync(Why::TooOld));
    assert!(numbering.epoch() > epoch && numbering.begins());
    assert_eq!((numbering.sequence(), numbering.pending_offset()), (2, 0));
    assert_eq!(ahead(&numbering), [4, 5, 6], "the oldest that is kept comes first");
}

#[test]
fn above_all_that_has_a_number_the_peer_is_wrong() {
    let mut numbering = numbering(3, 6);
    assert_eq!(answer(&mut numbering, 7), Verdict::Resync(Why::TooHigh));
    assert_eq!((numbering.sequence(), numbering.pending_offset()), (7, 0));
    assert_eq!(ahead(&numbering), [4, 5, 6], "what was accepted is dropped, what was not is sent");
    assert!(Why::TooHigh.is_alarm());
}

#[test]
fn a_peer_that_knows_nothing_gets_all_that_is_kept() {
    let mut numbering = numbering(3, 4);
    assert_eq!(numbering.hear(Ack::default(), NOW_MS), Verdict::Resync(Why::PeerIsNew));
    assert_eq!((numbering.sequence(), numbering.pending_offset()), (0, 0));
    assert_eq!(ahead(&numbering), [1, 2, 3, 4]);
}

#[test]
fn a_new_store_goes_on_in_a_later_epoch_than_the_peer_knows() {
    let mut numbering = Numbering::default();
    assert_eq!(numbering.hear(Ack { epoch: 5000, next: 40 }, NOW_MS), Verdict::Resync(Why::OtherEpoch));
    assert_eq!((numbering.epoch(), numbering.sequence()), (5001, 40));
}

#[test]
fn an_epoch_is_later_than_all_that_are_known_whatever_the_clock_says() {
    let mut numbering = numbering(1, 1);
    let epoch = numbering.epoch();
    assert_eq!(numbering.hear(Ack { epoch: epoch + 9, next: 4 }, 0), Verdict::Resync(Why::OtherEpoch));
    assert_eq!(numbering.epoch(), epoch + 10);
    numbering.hear(Ack::default(), 0);
    assert_eq!(numbering.epoch(), epoch + 10, "the peer was not asked to begin it yet");
}

#[test]
fn a_peer_that_was_not_asked_to_begin_yet_says_the_same_again() {
    let mut numbering = numbering(3, 4);
    numbering.hear(Ack { epoch: 1, next: 9 }, NOW_MS);
    let epoch = numbering.epoch();
    assert_eq!(numbering.hear(Ack { epoch: 1, next: 9 }, NOW_MS), Verdict::Same);
    assert!(numbering.begins());
    assert_eq!(numbering.hear(Ack { epoch, next: 9 }, NOW_MS), Verdict::Same);
    assert!(!numbering.begins());
}

#[test]
fn a_peer_that_forgets_an_epoch_that_it_has_begun_is_new() {
    let mut numbering = numbering(3, 4);
    assert!(!numbering.begins());
    let before = numbering.epoch();
    assert_eq!(numbering.hear(Ack { epoch: before - 1, next: 1 }, NOW_MS), Verdict::Resync(Why::OtherEpoch));
    assert!(numbering.epoch() > before);
}

#[test]
fn a_snapshot_that_was_under_way_is_not_sent_twice() {
    let mut numbering = numbering(1, 1);
    numbering.add(Item::Value("a".into()));
    numbering.add(Item::Event(2));
    numbering.hear(Ack::default(), NOW_MS);
    assert_eq!(ahead(&numbering), [1, 2]);
}
