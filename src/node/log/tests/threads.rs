//! The log with its threads.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::node::testing::{NOW_MS, node_without_log};
use crate::types::limits::Limits;

/// For what is there some time; if it is not by then, it never will be.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    node: Arc<Node>,
    store: Faulty,
    threads: Threads,
}

fn world() -> World {
    let (node, _) = node_without_log(Limits::default());
    let store = Faulty::default();
    let clock: ClockFn = Arc::new(|| NOW_MS);
    let log = node.open_log(Box::new(store.clone()), NOW_MS).unwrap();
    let threads = node.run_log(log, clock, None).unwrap();
    World { node, store, threads }
}

/// Submits one event.
fn submit(node: &Arc<Node>, payload: &str) -> Receiver<Outcome> {
    let (send, receive) = channel();
    let owner = Owner::Function(Arc::new(move |outcome| {
        let _ = send.send(outcome);
    }));
    node.submit(Submission { batch: plain("t", &[payload]), owner });
    receive
}

const UNAVAILABLE: Outcome = Outcome::Refused { count: 1, why: Refused::StoreUnavailable };

#[test]
fn all_that_was_submitted_before_the_stop_is_stored_and_told_when_it_is_done() {
    let World { node, store, threads } = world();
    let told: Vec<_> = std::thread::scope(|scope| {
        let submitters: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..500).map(|at| submit(&node, &at.to_string())).collect::<Vec<_>>()))
            .collect();
        submitters.into_iter().flat_map(|submitter| submitter.join().unwrap()).collect()
    });
    threads.stop();
    let mut numbers: Vec<u64> = told
        .iter()
        .map(|told| match told.try_recv() {
            Ok(Outcome::Events { first, count: 1 }) => first,
            other => panic!("{other:?}"),
        })
        .collect();
    // Each submitter's are in its order.
    assert!(numbers.chunks(500).all(|numbers| numbers.is_sorted()));
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=2000));
    assert_eq!(node.log.counts.messages.load(Ordering::Relaxed), 2000);
    assert_eq!(
        Engine::new(Box::new(store), Retention::new(Vec::new(), 0), StateLimits::default())
            .unwrap()
            .state()
            .last_number(),
        2000
    );
    assert_eq!((node.log.unresolved_bytes(), node.log.fed()), (0, 2000));
    let late = submit(&node, "late");
    assert_eq!(late.try_recv(), Ok(Outcome::Refused { count: 1, why: Refused::Stopping }));
}

#[test]
fn a_store_that_fails_is_tried_until_it_works() {
    let World { node, store, threads } = world();
    store.set(Fault::Full);
    assert_eq!(submit(&node, "1").recv_timeout(PATIENCE), Ok(UNAVAILABLE));
    assert_eq!(node.log.health().as_deref(), Some("the store cannot be used now: the disk is full"));
    // It is refused without a try now.
    assert_eq!(submit(&node, "2").try_recv(), Ok(UNAVAILABLE));
    let (again, tried) = channel();
    *store.on_reopen.lock() = Some(again);
    tried.recv_timeout(PATIENCE).unwrap();
    tried.recv_timeout(PATIENCE).unwrap();
    assert_eq!(submit(&node, "3").try_recv(), Ok(UNAVAILABLE));
    store.set(Fault::None);
    let until = Instant::now() + PATIENCE;
    while node.log.health().is_some() && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(submit(&node, "4").recv_timeout(PATIENCE), Ok(Outcome::Events { first: 1, count: 1 }));
    threads.stop();
    assert_eq!(node.log.unresolved_bytes(), 0);
    assert_eq!(node.log.counts.failures.load(Ordering::Relaxed), 1, "one failure, however often it was tried");
}

#[test]
fn a_broker_that_stops_while_its_store_fails_refuses_what_is_left() {
    let World { node, store, threads } = world();
    store.set(Fault::LostBehind);
    let doubtful = submit(&node, "1");
    let until = Instant::now() + PATIENCE;
    while node.log.health().is_none() && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(submit(&node, "2").try_recv(), Ok(UNAVAILABLE));
    store.set(Fault::None);
    threads.stop();
    assert_eq!(doubtful.try_recv(), Ok(Outcome::Events { first: 1, count: 1 }));
    assert_eq!(node.log.unresolved_bytes(), 0);
}

#[test]
fn a_fault_of_ours_refuses_everything_rather_than_leave_it_waiting() {
    let World { node, store, threads } = world();
    store.set(Fault::Panic);
    let told = submit(&node, "1");
    let until = Instant::now() + PATIENCE;
    while node.log.health().is_none() && Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(node.log.health().unwrap().contains("fault"));
    assert_eq!(submit(&node, "2").try_recv(), Ok(UNAVAILABLE));
    threads.stop();
    assert!(told.try_recv().is_err());
}

#[test]
fn housekeeping_reports_how_the_log_is_doing() {
    let World { node, threads, .. } = world();
    for at in 0..3 {
        submit(&node, &at.to_string()).recv_timeout(PATIENCE).unwrap();
    }
    threads.stop();
    let counts = &node.log.counts;
    // INIT came before the threads did.
    let (_, commits, _) = counts.commit.read();
    assert_eq!((counts.messages.load(Ordering::Relaxed), commits), (3, 3));
    assert!(counts.bytes.load(Ordering::Relaxed) > 0);
    assert_eq!(node.log.report().kept, []);
}
