use super::*;
use crate::queue::condition::StoredFormat;

fn unlock(session: u64, token: Option<u64>) -> Command {
    Command::Unlock { realm: REALM.into(), session, topic: "k".into(), token }
}

fn cancel(session: u64, ticket: u64) -> Command {
    Command::Cancel { realm: REALM.into(), session, ticket }
}

/// Session 1 holds the lock by event 1; sessions 2, 3 and 4 wait with their numbers as tickets.
fn contended() -> World {
    let mut world = World::new();
    let lock = lock();
    assert_eq!(world.publish(text("k", "1").asking(&lock)), ["k is held by 1"]);
    for session in 2..=4 {
        let name = session.to_string();
        let lines = world.publish(text("k", &name).by(session).asking(&lock));
        assert_eq!(lines, [format!("0: Waiting {{ ticket: {session} }}")]);
    }
    world
}

#[test]
fn waiters_are_served_first_come_first_served() {
    let mut world = contended();
    assert_eq!(
        world.command(leave(1)),
        ["0: Done(Yes)", "6 k = ", "7 k = 2", "Granted { ticket: 2, number: 7 }", "k is free", "k is held by 2"]
    );
    assert_eq!(world.value("k"), Some(("2".into(), 7)));
    assert_eq!(
        world.publish(text("k", "")),
        ["9 k = 3", "Granted { ticket: 3, number: 9 }", "k is free", "k is held by 3"]
    );
    assert_eq!(world.command(unlock(3, Some(9)))[1..3], ["11 k = ", "12 k = 4"]);
    assert_eq!(world.command(leave(4)), ["0: Done(Yes)", "14 k = ", "k is free"]);
    assert_eq!((world.state.waits_len(), world.value("k")), (0, None));
}

/// The waiter's grant is numbered behind the body, so the body must not take the key from under it.
#[test]
fn nobody_overtakes_a_waiter_in_the_segment_that_frees_the_key() {
    let mut world = contended();
    let lock = lock();
    let at_once = Condition { watch: false, ..lock.clone() };
    let lines =
        world.send(batch([text("k", ""), text("k", "5").by(5).asking(&at_once), text("k", "6").by(6).asking(&lock)]));
    assert_eq!(lines[..3], ["1: Void(ConditionFailed)", "2: Waiting { ticket: 7 }", "8 k = 2"]);
    assert_eq!(world.holder("k"), Some(2));
}

/// Who sets a key without asking gets it; waiters see the value that the segment left.
#[test]
fn a_key_that_is_set_again_in_the_same_segment_is_granted_to_nobody() {
    let mut world = contended();
    assert_eq!(world.send(batch([text("k", ""), text("k", "x").by(9)])), ["k is free"]);
    assert_eq!((world.value("k"), world.state.waits_len()), (Some(("x".into(), 6)), 3));
}

#[test]
fn a_grant_that_fits_the_next_waiter_grants_on() {
    let mut world = World::new();
    let step = |from: u32| Condition {
        when: Some(When::Fields(format!(r#"{{"step":{from}}}"#))),
        watch: true,
        ..Condition::default()
    };
    world.publish(text("k", r#"{"step":0}"#));
    world.publish(text("k", r#"{"step":3}"#).asking(&step(2)));
    world.publish(text("k", r#"{"step":2}"#).asking(&step(1)));
    let lines = world.publish(text("k", r#"{"step":1}"#));
    assert_eq!(
        lines,
        [
            r#"5 k = {"step":2}"#,
            r#"6 k = {"step":3}"#,
            "Granted { ticket: 3, number: 5 }",
            "Granted { ticket: 2, number: 6 }"
        ]
    );
}

#[test]
fn a_waiting_publish_keeps_what_it_is_and_loses_its_condition() {
    let mut world = World::new();
    let lock = lock();
    world.publish(text("k", "1").asking(&lock));
    let until_ms = world.now_us / 1000 + 5_000;
    world.publish(Publish { expires_at_ms: Some(until_ms), ..text("k", "2").by(2).asking(&lock) });
    let segment = world.apply(batch([text("k", "")])).segment;
    let Some(Ok(Run::Events(head, events))) = Runs::new(&segment.set_off).next() else { panic!("nothing was set off") };
    let extras = events.iter().next().unwrap().unwrap().extras().unwrap();
    assert_eq!(
        (head.publisher, head.exclude_publisher, head.retain, head.judged),
        (Some(SessionId(2)), true, true, false)
    );
    assert_eq!(extras, Some(Extras { expires_at_ms: Some(until_ms), ..Extras::default() }));
}

#[test]
fn a_will_sets_its_value_when_the_session_goes() {
    let mut world = World::new();
    let set = KeyWill::Set { format: StoredFormat::Json, args: Some(r#"["gone"]"#.into()), kwargs: None };
    let condition = Condition { will: Some(set), ..Condition::default() };
    world.publish(text("k", "here").asking(&condition));
    assert_eq!(world.command(leave(1)), ["0: Done(Yes)", r#"3 k = "gone""#, "k is free"]);
    assert_eq!(world.command(leave(1)), ["0: Done(Yes)"], "once");
}

#[test]
fn a_will_is_undone_when_the_key_has_changed() {
    let mut world = World::new();
    let lock = lock();
    world.publish(text("k", "1").asking(&lock));
    assert_eq!(world.publish(text("k", "x").by(2)), ["k is free"]);
    assert_eq!(world.command(leave(1)), ["0: Done(Yes)"]);
    assert_eq!(world.value("k"), Some(("x".into(), 2)));
    // Changed behind the leave in the same segment, but before the will would have its number.
    world.publish(text("j", "1").asking(&lock));
    let mut batch = Batch::default();
    batch.command(&leave(1));
    text("j", "y").by(2).add_to(&mut batch);
    assert_eq!(world.send(batch), ["0: Done(Yes)", "j is free"]);
    assert_eq!(world.value("j").unwrap().0, "y");
}

#[test]
fn what_gives_a_lock_back_does_not_take_it_from_the_next_holder() {
    let next = Condition { when: None, ..lock() };
    for give_back in [leave(1), unlock(1, None)] {
        let mut world = contended();
        let mut batch = Batch::default();
        batch.command(&give_back);
        text("k", "next").by(9).asking(&next).add_to(&mut batch);
        assert_eq!(world.send(batch), ["0: Done(Yes)", "k is free", "k is held by 9"]);
        assert_eq!(world.value("k"), Some(("next".into(), 6)));
    }
}

#[test]
fn a_lock_that_stays_stays_when_its_holder_leaves_in_order() {
    let stays = Condition { stays: true, ..lock() };
    for orderly in [true, false] {
        let mut world = World::new();
        world.publish(text("k", "1").asking(&stays));
        world.publish(text("k", "2").by(2).asking(&lock()));
        let lines = world.command(Command::Leave { realm: REALM.into(), session: 1, orderly });
        if !orderly {
            assert_eq!(world.holder("k"), Some(2), "{lines:?}");
            continue;
        }
        assert_eq!((lines, world.holder("k")), (vec!["0: Done(Yes)".to_owned()], Some(0)));
        assert_eq!(world.command(unlock(7, None)), ["0: Done(NotFound)"]);
        assert_eq!(world.command(unlock(7, Some(2))), ["0: Done(NotFound)"]);
        world.command(unlock(7, Some(1)));
        assert_eq!(world.holder("k"), Some(2), "its token gives it back");
    }
}

#[test]
fn only_the_holder_unlocks_and_only_by_its_token() {
    let mut world = contended();
    for (session, token) in [(2, None), (2, Some(1)), (1, Some(2))] {
        assert_eq!(world.command(unlock(session, token)), ["0: Done(NotFound)"]);
    }
    assert_eq!(world.command(unlock(1, Some(1)))[0], "0: Done(Yes)");
    assert_eq!(world.command(unlock(1, None)), ["0: Done(NotFound)"], "it is another's now");
    assert_eq!(world.holder("k"), Some(2));
}

#[test]
fn a_wait_is_cancelled_by_its_own_session_alone() {
    let mut world = contended();
    assert_eq!(world.command(cancel(3, 2)), ["0: Done(NotFound)"]);
    assert_eq!(world.command(cancel(2, 2)), ["0: Done(Yes)", "Ended { ticket: 2, why: Canceled }"]);
    assert_eq!(world.command(cancel(2, 2)), ["0: Done(NotFound)"]);
    world.publish(text("k", ""));
    assert_eq!(world.holder("k"), Some(3));
}

#[test]
fn waits_end_with_their_session() {
    let mut world = contended();
    assert_eq!(world.command(leave(2)), ["0: Done(Yes)", "Ended { ticket: 2, why: SessionGone }"]);
    // Session 3 leaves with the very segment that would give it the lock.
    let mut batch = batch([text("k", "")]);
    batch.command(&leave(3));
    world.send(batch);
    assert_eq!((world.holder("k"), world.state.waits_len()), (Some(4), 0));
}

#[test]
fn a_session_of_another_realm_is_another_session() {
    let mut world = contended();
    let elsewhere = |session| Command::Leave { realm: "elsewhere".into(), session, orderly: false };
    assert_eq!(world.command(elsewhere(1)), ["0: Done(Yes)"]);
    assert_eq!(world.command(elsewhere(2)), ["0: Done(Yes)"]);
}

#[test]
fn a_wait_ends_in_log_time() {
    let mut world = World::new();
    world.publish(text("k", "1"));
    let patient = Condition { timeout_ms: Some(5), ..lock() };
    world.publish(text("k", "2").by(2).asking(&patient));
    assert_eq!(world.state.next_deadline_us(), Some(world.now_us + 5_000));
    world.pass(4_999);
    assert!(world.order(StateCommand::Time).is_empty());
    world.pass(1);
    // In the segment that comes too late, the wait is over before the key is freed.
    assert_eq!(world.publish(text("k", "")), ["Ended { ticket: 2, why: Timeout }"]);
    assert_eq!(world.state.next_deadline_us(), None);
}

#[test]
fn an_event_that_expires_while_it_waits_is_not_granted() {
    let mut world = World::new();
    world.publish(text("k", "1"));
    let until_ms = world.now_us / 1000 + 5;
    let lock = lock();
    world.publish(Publish { expires_at_ms: Some(until_ms), ..text("k", "2").by(2).asking(&lock) });
    world.pass(5_000);
    assert_eq!(world.wait_until_all_is_met(), ["Ended { ticket: 2, why: Timeout }"]);
}

#[test]
fn who_waits_for_a_value_that_expires_is_served_when_it_does() {
    let mut world = World::new();
    let lock = lock();
    let until_ms = world.now_us / 1000 + 5;
    world.publish(Publish { expires_at_ms: Some(until_ms), ..text("k", "1").asking(&lock) });
    world.publish(text("k", "2").by(2).asking(&lock));
    assert_eq!(world.state.next_deadline_us(), Some(until_ms * 1000));
    world.pass(5_000);
    assert_eq!(
        world.wait_until_all_is_met(),
        ["3 k = 2".to_owned(), "Granted { ticket: 2, number: 3 }".into(), "k is free".into(), "k is held by 2".into()]
    );
}

#[test]
fn limits_are_answered_and_leave_nothing_behind() {
    let mut world = World::new();
    let default = StateLimits::default();
    let lock = lock();
    for limits in [
        StateLimits { waits_per_key_max: 3, ..default },
        StateLimits { waits_per_session_max: 1, ..default },
        StateLimits { wait_bytes_max: 1, ..default },
        StateLimits { locks_per_session_max: 0, ..default },
    ] {
        world = contended();
        world.state.set_limits(limits);
        let rows = world.rows.rows.len();
        assert_eq!(world.publish(text("k", "x").by(2).asking(&lock)), ["0: Void(QuotaExceeded)"], "{limits:?}");
        assert_eq!((world.state.waits_len(), world.rows.rows.len()), (3, rows));
    }
    assert_eq!(world.log.last().unwrap().voids, [0]);
}

#[test]
fn what_has_no_session_holds_nothing() {
    let mut world = World::new();
    assert!(world.publish(text("k", "1").by(0).asking(&lock())).is_empty());
    assert_eq!((world.value("k"), world.holder("k")), (Some(("1".into(), 1)), None));
}
