use std::time::Duration;

use crate::schedule::*;

#[test]
fn a_message_is_due_at_its_time_and_not_before() {
    for schedule in [Schedule::new(1000, 5), Schedule::new(5000, 1), Schedule::new(3, 7)] {
        for number in 0..100 {
            let time = schedule.time_of(number);
            assert!(schedule.due(time) > number, "{schedule:?} {number}");
            if let Some(before) = time.checked_sub(Duration::from_nanos(1)) {
                assert!(schedule.due(before) <= number, "{schedule:?} {number}");
            }
        }
    }
}

#[test]
fn a_second_has_as_many_messages_as_the_rate_says() {
    assert_eq!(Schedule::new(1000, 5).messages_in(Duration::from_secs(2)), 10_000);
}
