use crate::tracker::*;

fn check(received: &[u32], sent: u64, expected: Faults) {
    let mut tracker = Tracker::new(1);
    received.iter().for_each(|sequence| tracker.note(0, *sequence));
    assert_eq!(tracker.faults(&[sent]), expected, "{received:?} of {sent}");
    assert_eq!(tracker.delivered(), received.len() as u64);
}

#[test]
fn all_in_order_has_no_faults() {
    check(&[0, 1, 2, 3], 4, Faults::default());
    check(&[], 0, Faults::default());
}

#[test]
fn gaps_and_a_missing_end_are_lost() {
    check(&[0, 3, 4, 6], 9, Faults { lost: 2 + 1 + 2, ..Faults::default() });
    check(&[], 5, Faults { lost: 5, ..Faults::default() });
}

#[test]
fn a_late_message_is_out_of_order_and_not_lost() {
    check(&[0, 4, 2, 1, 3, 5], 6, Faults { reordered: 3, ..Faults::default() });
    check(&[3, 1], 4, Faults { lost: 2, reordered: 1, ..Faults::default() });
}

#[test]
fn a_repeated_message_is_a_duplicate_also_when_it_filled_a_gap() {
    check(&[0, 0, 1, 0], 2, Faults { duplicates: 2, ..Faults::default() });
    check(&[0, 2, 1, 1], 3, Faults { duplicates: 1, reordered: 1, ..Faults::default() });
}

#[test]
fn what_was_never_sent_is_strange() {
    check(&[0, 1, 2], 2, Faults { strange: 1, ..Faults::default() });
    let mut tracker = Tracker::new(1);
    tracker.note(1, 0);
    tracker.note_strange();
    assert_eq!(tracker.faults(&[0]), Faults { strange: 2, ..Faults::default() });
}
