use super::{event, number, owed};
use crate::delivery::Owed;
use crate::delivery::backlog::Backlog;
use crate::types::event::Qos::AtLeastOnce;
use crate::types::event::Terms;

/// Of topic and payload together.
fn of_bytes(number: u64, bytes: usize) -> Owed {
    Owed { event: event(number, AtLeastOnce, bytes - 1), terms: Terms::default() }
}

#[test]
fn events_leave_in_the_order_in_which_they_came() {
    let mut backlog = Backlog::new(100, 1000);
    for number in 0..5 {
        backlog.push(owed(number, AtLeastOnce), 0).unwrap();
    }
    assert_eq!((backlog.len(), backlog.bytes()), (5, 50));
    assert_eq!(backlog.front().map(number), Some(0));
    let left: Vec<_> = std::iter::from_fn(|| backlog.pop()).map(|owed| number(&owed)).collect();
    assert_eq!(left, [0, 1, 2, 3, 4]);
    assert_eq!((backlog.len(), backlog.bytes(), backlog.is_empty()), (0, 0, true));
}

#[test]
fn a_full_backlog_keeps_what_was_promised_first_and_gives_the_new_event_back() {
    let mut backlog = Backlog::new(2, 1000);
    backlog.push(owed(1, AtLeastOnce), 0).unwrap();
    backlog.push(owed(2, AtLeastOnce), 0).unwrap();
    assert_eq!(backlog.push(owed(3, AtLeastOnce), 0).map_err(|back| number(&back)), Err(3));
    assert_eq!((backlog.len(), backlog.bytes()), (2, 20));
    backlog.pop();
    backlog.push(owed(4, AtLeastOnce), 0).unwrap();
    assert_eq!(backlog.front().map(number), Some(2));
}

#[test]
fn bytes_are_bounded_too() {
    let mut backlog = Backlog::new(100, 100);
    backlog.push(of_bytes(1, 60), 0).unwrap();
    assert!(backlog.push(of_bytes(2, 41), 0).is_err());
    backlog.push(of_bytes(3, 40), 0).unwrap();
    assert!(backlog.push(of_bytes(4, 1), 0).is_err());
    assert_eq!(backlog.bytes(), 100);
}

#[test]
fn an_empty_backlog_takes_one_event_of_any_size_unless_it_may_hold_none() {
    let mut backlog = Backlog::new(100, 10);
    backlog.push(of_bytes(1, 5000), 0).unwrap();
    assert!(backlog.push(of_bytes(2, 1), 0).is_err());
    assert!(Backlog::new(0, 1000).push(owed(1, AtLeastOnce), 0).is_err());
}

#[test]
fn an_event_that_is_put_back_is_the_next_again_although_the_backlog_filled_up_meanwhile() {
    let mut backlog = Backlog::new(2, 20);
    backlog.push(owed(1, AtLeastOnce), 0).unwrap();
    backlog.push(owed(2, AtLeastOnce), 0).unwrap();
    let first = backlog.pop().unwrap();
    backlog.push(owed(3, AtLeastOnce), 0).unwrap();
    backlog.put_back(first);
    assert_eq!((backlog.len(), backlog.bytes()), (3, 30));
    let left: Vec<_> = std::iter::from_fn(|| backlog.pop()).map(|owed| number(&owed)).collect();
    assert_eq!((left, backlog.bytes()), (vec![1, 2, 3], 0));
}

#[test]
fn clearing_tells_how_many_events_were_forgotten() {
    let mut backlog = Backlog::new(100, 1000);
    (0..3).for_each(|number| backlog.push(owed(number, AtLeastOnce), 0).unwrap());
    assert_eq!(backlog.clear(), 3);
    assert_eq!((backlog.len(), backlog.bytes()), (0, 0));
}

#[test]
fn the_oldest_event_keeps_the_time_of_its_arrival() {
    let mut backlog = Backlog::new(10, 1000);
    assert_eq!(backlog.oldest_ms(), None);
    for at_ms in [5, 6] {
        backlog.push(owed(at_ms, AtLeastOnce), at_ms).unwrap();
    }
    assert_eq!(backlog.oldest_ms(), Some(5));
    let first = backlog.pop().unwrap();
    assert_eq!(backlog.oldest_ms(), Some(6));
    backlog.put_back(first);
    assert_eq!(backlog.oldest_ms(), Some(5));
}
