use super::*;

/// An engine whose INIT took position 1, and what its submitters are told.
pub struct Bench {
    pub store: Faulty,
    pub engine: Engine,
    pub told: Told,
    pub now_us: u64,
}

impl Bench {
    fn new() -> Self {
        Self::on(Faulty::default(), Vec::new())
    }

    pub fn on(store: Faulty, policies: Vec<Policy>) -> Self {
        let retention = Retention::new(policies, u64::MAX);
        let engine = Engine::new(Box::new(store.clone()), retention, StateLimits::default()).unwrap();
        let mut bench = Self { store, engine, told: Told::default(), now_us: NOW_US };
        assert_eq!(bench.run(), [""; 0]);
        bench
    }

    pub fn take(&mut self, name: &'static str, batch: Batch) {
        self.take_for(self.told.owner(name), batch);
    }

    fn take_for(&mut self, owner: Owner, batch: Batch) {
        let turn = owner.submits(batch.count);
        let mut fed = Fed::default();
        self.engine.take(Submitted { batch, turn }, &mut fed);
        tell(fed);
    }

    /// Works off what was taken. Returns what was told.
    pub fn run(&mut self) -> Vec<String> {
        while let Some(fed) = self.engine.step(self.now_us) {
            tell(fed);
        }
        self.told.take()
    }

    pub fn submit(&mut self, name: &'static str, batch: Batch) -> Vec<String> {
        self.take(name, batch);
        self.run()
    }

    pub fn recover(&mut self) -> Result<Vec<String>, LogError> {
        let mut fed = Fed::default();
        let recovered = self.engine.recover(&mut fed);
        tell(fed);
        recovered.map(|()| self.run())
    }
}

pub fn tell(fed: Fed) {
    for (turn, outcome) in fed.told {
        turn.tell(outcome);
    }
}

#[test]
fn each_owner_is_told_in_its_order_with_exceptions_between_plain_events() {
    let mut bench = Bench::new();
    let mut batch = plain("t", &["1", "2"]);
    command(&mut batch);
    conditional(&mut batch, "k", 7, Condition { when: Some(When::Number(99)), ..Condition::default() });
    events(&mut batch, "t", &["5", "6"]);
    bench.take("a", batch);
    bench.take("b", plain("u", &["7"]));
    let mut batch = Batch::default();
    command(&mut batch);
    events(&mut batch, "u", &["9"]);
    bench.take("a", batch);
    let expected = [
        "a: events 1..=2",
        "a: done NotFound",
        "a: void ConditionFailed",
        "a: events 5..=6",
        "b: event 7",
        "a: done NotFound",
        "a: event 9",
    ];
    assert_eq!(bench.run(), expected);
    assert_eq!(bench.store.segments().len(), 1, "all that gathered is one segment");
}

#[test]
fn a_wait_is_answered_when_it_is_granted_or_ends_by_whichever_position() {
    let mut bench = Bench::new();
    assert_eq!(bench.submit("a", lock("l", 1)), ["a: event 1"]);
    assert_eq!(bench.submit("b", lock("l", 2)), ["b: waiting 2"]);
    assert_eq!(bench.submit("c", lock("l", 3)), ["c: waiting 3"]);
    // The will that clears the key is number 5.
    assert_eq!(bench.submit("-", leave(1)), ["-: done Yes", "b: granted 2 as 6"]);
    assert_eq!(bench.submit("-", leave(3)), ["-: done Yes", "c: ended 3 SessionGone"]);
}

#[test]
fn what_nobody_is_shown_is_not_stored_but_has_its_number() {
    let mut bench = Bench::new();
    let mut batch = Batch::default();
    command(&mut batch);
    command(&mut batch);
    assert_eq!(bench.submit("a", batch), ["a: done NotFound", "a: done NotFound"]);
    assert_eq!(bench.store.segments(), []);
    assert_eq!(bench.submit("a", plain("t", &["x"])), ["a: event 3"]);
    assert_eq!(bench.store.segments().iter().map(|segment| segment.first).collect::<Vec<_>>(), [3]);
    let mut bench = Bench::on(bench.store, Vec::new());
    assert_eq!(bench.submit("a", plain("t", &["x"])), ["a: event 4"]);
}

#[test]
fn a_commit_that_fails_refuses_all_that_waits_and_it_goes_on_when_the_store_does() {
    let mut bench = Bench::new();
    bench.store.set(Fault::Full);
    bench.take("a", plain("t", &["1", "2"]));
    bench.take("b", plain("t", &["3"]));
    assert_eq!(bench.run(), ["a: 2 refused StoreUnavailable", "b: 1 refused StoreUnavailable"]);
    let failed = "the store cannot be used now: the disk is full";
    assert_eq!(bench.engine.failed().unwrap().to_string(), failed);
    assert_eq!(bench.submit("a", plain("t", &["4"])), ["a: 1 refused StoreUnavailable"]);
    assert_eq!(bench.recover().unwrap_err().to_string(), failed);
    assert_eq!(bench.submit("a", plain("t", &["4"])), ["a: 1 refused StoreUnavailable"]);
    bench.store.set(Fault::None);
    assert_eq!(bench.recover().unwrap(), [""; 0]);
    assert_eq!(bench.engine.failed(), None);
    // What was refused has no numbers.
    assert_eq!(bench.submit("a", plain("t", &["5"])), ["a: event 1"]);
    assert_eq!(bench.store.memory.get(b"~probe").unwrap(), None, "the probe is gone");
}

#[test]
fn a_segment_that_was_in_doubt_and_is_there_is_resolved_once() {
    let mut bench = Bench::new();
    bench.store.set(Fault::LostBehind);
    bench.take("a", plain("t", &["1", "2"]));
    assert_eq!(bench.run(), [""; 0]);
    assert_eq!(bench.submit("b", plain("t", &["3"])), ["b: 1 refused StoreUnavailable"]);
    assert!(bench.recover().is_err());
    assert_eq!(bench.told.take(), [""; 0], "while it cannot be read it stays in doubt");
    bench.store.set(Fault::None);
    assert_eq!(bench.recover().unwrap(), ["a: events 1..=2"]);
    assert_eq!(bench.recover().unwrap(), [""; 0]);
    assert_eq!(bench.submit("b", plain("t", &["3"])), ["b: event 3"]);
    assert_eq!(bench.store.segments().iter().map(|segment| segment.count).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_segment_that_was_in_doubt_and_is_not_there_is_refused() {
    let mut bench = Bench::new();
    bench.store.set(Fault::LostBefore);
    assert_eq!(bench.submit("a", plain("t", &["1", "2"])), [""; 0]);
    bench.store.set(Fault::None);
    assert_eq!(bench.recover().unwrap(), ["a: 2 refused StoreUnavailable"]);
    assert_eq!(bench.submit("a", plain("t", &["3"])), ["a: event 1"]);
}

#[test]
fn doubt_is_settled_when_the_store_can_be_read_though_not_written() {
    let mut bench = Bench::new();
    bench.store.set(Fault::LostBehind);
    assert_eq!(bench.submit("a", plain("t", &["1"])), [""; 0]);
    bench.store.set(Fault::Full);
    assert!(bench.recover().is_err());
    assert_eq!(bench.told.take(), ["a: event 1"]);
    bench.store.set(Fault::None);
    assert_eq!(bench.recover().unwrap(), [""; 0]);
    assert_eq!(bench.submit("a", plain("t", &["2"])), ["a: event 2"]);
}

#[test]
fn what_a_connection_submits_behind_what_is_in_doubt_is_told_behind_it() {
    let mut bench = Bench::new();
    let tickets = Arc::new(tickets::Tickets::new(Arc::default()));
    let connection = || Owner::Connection(tickets.clone());
    bench.store.set(Fault::LostBehind);
    bench.take_for(connection(), plain("t", &["1", "2"]));
    bench.run();
    bench.take_for(connection(), plain("t", &["3"]));
    bench.run();
    assert_eq!(tickets.take(), None);
    bench.store.set(Fault::None);
    bench.recover().unwrap();
    assert_eq!(tickets.take(), Some(Outcome::Events { first: 1, count: 2 }));
    assert_eq!(tickets.take(), Some(Outcome::Refused { count: 1, why: Refused::StoreUnavailable }));
}

#[test]
fn a_command_that_was_in_doubt_is_done_once() {
    for fault in [Fault::LostBehind, Fault::LostBefore, Fault::Full] {
        let mut bench = Bench::new();
        assert_eq!(bench.submit("a", lock("l", 1)), ["a: event 1"]);
        let mut wait = Batch::default();
        let condition =
            Condition { when: Some(When::Absent), watch: true, timeout_ms: Some(1000), ..Condition::default() };
        conditional(&mut wait, "l", 2, condition);
        assert_eq!(bench.submit("b", wait), ["b: waiting 2"]);
        let before = bench.engine.state().position();
        // The wait ends by the command TIME, which has a position of its own.
        bench.now_us = bench.engine.next_deadline_us().unwrap();
        bench.store.set(fault);
        assert_eq!(bench.run(), [""; 0], "{fault:?}");
        assert!(bench.engine.failed().is_some(), "{fault:?}");
        bench.store.set(Fault::None);
        assert_eq!(bench.recover().unwrap(), ["b: ended 2 Timeout"], "{fault:?}");
        assert_eq!(bench.engine.state().position(), before + 1, "{fault:?}");
        assert_eq!(bench.submit("a", plain("t", &["3"])), ["a: event 3"], "{fault:?}");
    }
}

#[test]
fn who_waits_is_granted_though_the_first_grant_was_lost() {
    for fault in [Fault::Full, Fault::LostBefore, Fault::LostBehind] {
        let mut bench = Bench::new();
        assert_eq!(bench.submit("a", lock("l", 1)), ["a: event 1"]);
        assert_eq!(bench.submit("b", lock("l", 2)), ["b: waiting 2"]);
        bench.store.set(fault);
        let mut told = bench.submit("-", leave(1));
        bench.store.set(Fault::None);
        told.extend(bench.recover().unwrap());
        if fault != Fault::LostBehind {
            assert_eq!(told, ["-: 1 refused StoreUnavailable"], "{fault:?}");
            told = bench.submit("-", leave(1));
        }
        assert_eq!(told, ["-: done Yes", "b: granted 2 as 5"], "{fault:?}");
    }
}

#[test]
fn a_row_that_cannot_be_read_leaves_no_half_applied_state_behind() {
    let mut bench = Bench::new();
    assert_eq!(bench.submit("a", lock("l", 1)), ["a: event 1"]);
    let before = bench.engine.state().clone();
    *bench.store.unreadable.lock() = Some(crate::queue::state::rows::key(REALM, "m"));
    // The first message changes the state in memory, the second fails.
    let mut batch = leave(1);
    conditional(&mut batch, "m", 2, Condition { when: Some(When::Absent), ..Condition::default() });
    assert_eq!(bench.submit("b", batch), ["b: 2 refused StoreUnavailable"]);
    assert_ne!(*bench.engine.state(), before);
    *bench.store.unreadable.lock() = None;
    bench.recover().unwrap();
    assert_eq!(*bench.engine.state(), before);
    assert_eq!(bench.submit("b", lock("l", 2)), ["b: waiting 2"], "session 1 still has the lock");
}

#[test]
fn init_is_tried_again_until_it_is_stored() {
    for fault in [Fault::Full, Fault::LostBefore, Fault::LostBehind] {
        let mut bench = Bench::new();
        let incarnation = bench.engine.state().incarnation(1);
        let store = bench.store.clone();
        bench.engine =
            Engine::new(Box::new(store), Retention::new(Vec::new(), u64::MAX), StateLimits::default()).unwrap();
        bench.store.set(fault);
        assert_eq!(bench.submit("a", plain("t", &["1"])), ["a: 1 refused StoreUnavailable"], "{fault:?}");
        bench.store.set(Fault::None);
        bench.recover().unwrap();
        assert_eq!(bench.submit("a", plain("t", &["1"])), ["a: event 1"], "{fault:?}");
        assert_eq!(bench.engine.state().incarnation(1), incarnation + 1, "{fault:?}");
    }
}

#[test]
fn a_sync_that_fails_stops_durable_publishing_until_the_store_was_opened_again() {
    let mut bench = Bench::new();
    *bench.store.sync_fails.lock() = true;
    assert!(bench.engine.sync().is_err());
    assert_eq!(bench.submit("a", plain("t", &["1"])), ["a: 1 refused StoreUnavailable"]);
    assert_eq!(bench.recover().unwrap(), [""; 0]);
    assert_eq!(bench.store.reopened.load(Ordering::Relaxed), 1);
    assert_eq!(bench.submit("a", plain("t", &["1"])), ["a: event 1"]);
}

#[test]
fn at_the_end_what_is_in_doubt_is_looked_up() {
    for (fault, expected) in
        [(Fault::LostBehind, &["a: event 1"][..]), (Fault::LostBefore, &["a: 1 refused StoreUnavailable"])]
    {
        let mut bench = Bench::new();
        bench.store.set(fault);
        assert_eq!(bench.submit("a", plain("t", &["1"])), [""; 0]);
        bench.store.set(Fault::None);
        tell(bench.engine.stop());
        assert_eq!(bench.told.take(), expected, "{fault:?}");
    }
    let mut bench = Bench::new();
    bench.store.set(Fault::LostBehind);
    bench.submit("a", plain("t", &["1"]));
    tell(bench.engine.stop());
    assert_eq!(bench.told.take(), [""; 0], "nobody is told what nobody knows");
}

#[test]
fn a_segment_never_grows_beyond_what_one_may_be_and_order_is_kept() {
    let mut bench = Bench::new();
    let large = "x".repeat(5 << 20);
    for _ in 0..4 {
        bench.take("a", plain("t", &[&large]));
    }
    assert_eq!(bench.run(), ["a: event 1", "a: event 2", "a: event 3", "a: event 4"]);
    assert_eq!(bench.store.segments().len(), 4);
    let positions: Vec<_> = bench.store.segments().iter().map(|segment| segment.position).collect();
    assert!(positions.is_sorted());
}
