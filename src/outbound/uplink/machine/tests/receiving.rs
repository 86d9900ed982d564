//! What of a batch is taken.

use crate::outbound::uplink::machine::receiving::{Plan, plan};
use crate::outbound::uplink::machine::wire::{Ack, Exchange, Kind, Message};

fn batch(epoch: u64, sequence: u64, begin: bool) -> Exchange {
    Exchange { epoch, sequence, begin, messages: vec![Message::of(Kind::Nothing); 3], ..Exchange::default() }
}

const KNOWN: Ack = Ack { epoch: 7, next: 10 };

#[test]
fn lower_numbers_are_dropped() {
    assert_eq!(plan(KNOWN, &batch(7, 10, false)), Plan::Take { behind: 0 });
    assert_eq!(plan(KNOWN, &batch(7, 8, false)), Plan::Take { behind: 2 });
    assert_eq!(plan(KNOWN, &batch(7, 0, false)), Plan::Take { behind: 3 });
}

#[test]
fn a_batch_above_the_expected_number_is_refused() {
    assert_eq!(plan(KNOWN, &batch(7, 11, false)), Plan::Refuse);
}

#[test]
fn another_epoch_is_refused_unless_it_is_later_and_begins() {
    assert_eq!(plan(KNOWN, &batch(8, 10, false)), Plan::Refuse);
    assert_eq!(plan(KNOWN, &batch(6, 10, true)), Plan::Refuse);
    assert_eq!(plan(KNOWN, &batch(8, 10, true)), Plan::Begin);
    assert_eq!(plan(Ack::default(), &batch(1, 99, true)), Plan::Begin);
    assert_eq!(plan(Ack::default(), &batch(0, 0, false)), Plan::Refuse);
}

#[test]
fn an_epoch_that_was_begun_before_is_not_begun_again() {
    assert_eq!(plan(KNOWN, &batch(7, 9, true)), Plan::Take { behind: 1 });
}
