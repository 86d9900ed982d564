//! When the next exchange is due.

use crate::outbound::uplink::machine::pace::{Pace, Timing, Urgency};

const TIMING: Timing =
    Timing { spacing_ms: 100, heartbeat_ms: 10_000, backoff_ms: 1000, backoff_ms_max: 60_000, bytes_per_s: None };

#[test]
fn the_first_exchange_is_due_at_once() {
    assert_eq!(Pace::new(TIMING).due_ms(Urgency::Idle), 0);
}

#[test]
fn what_is_urgent_keeps_the_spacing_and_what_is_not_waits_for_the_heartbeat() {
    let mut pace = Pace::new(TIMING);
    pace.begun(5000, 10);
    assert_eq!(pace.due_ms(Urgency::Some), 5100);
    assert_eq!(pace.due_ms(Urgency::Idle), 15_000);
    assert_eq!(pace.due_ms(Urgency::Full), 0, "a whole batch does not wait");
}

#[test]
fn the_rate_is_kept_over_batches_but_heartbeats_are_free() {
    let mut pace = Pace::new(Timing { bytes_per_s: Some(1000), ..TIMING });
    pace.begun(5000, 2000);
    assert_eq!(pace.due_ms(Urgency::Full), 7000);
    pace.begun(7000, 500);
    assert_eq!(pace.due_ms(Urgency::Full), 7500);
    assert_eq!(pace.due_ms(Urgency::Some), 7500);
    assert_eq!(pace.due_ms(Urgency::Idle), 17_000);
}

#[test]
fn waits_are_drawn_from_all_of_a_range_that_doubles() {
    let mut pace = Pace::new(TIMING);
    for longest_ms in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        let mut other = pace.clone();
        assert_eq!(pace.failed(0, longest_ms), longest_ms, "the longest wait");
        assert_eq!(other.failed(0, 0), 0, "the shortest wait");
    }
    pace.succeeded();
    assert_eq!(pace.failed(0, 1001), 0, "the range is small again");
}

#[test]
fn nothing_is_due_before_the_wait_is_over() {
    let mut pace = Pace::new(TIMING);
    assert_eq!(pace.failed(5000, 700), 700);
    for urgency in [Urgency::Idle, Urgency::Some, Urgency::Full] {
        assert_eq!(pace.due_ms(urgency), 5700);
    }
    assert_eq!(pace.failures(), 1);
}

#[test]
fn many_failures_do_not_overflow() {
    let mut pace = Pace::new(TIMING);
    for _ in 0..100 {
        pace.failed(0, 1);
    }
    assert_eq!(pace.failed(0, u64::MAX) / 60_001, 0);
}
