//! The durable log among many nodes, with everything that can fail: simulated, so that a seed decides all that happens.
//!
//! - *Nodes* ([`storage`], [`entry`], [`sync`]) are those of the processes: their roles, drivers, promises and stores. Here are only
//!   their disks, links and clocks: disks take their time, and a crash loses what was not written, or leaves a part of it; a disk may
//!   be lost, or be an older copy; clocks jump; processes die, start and stand still.
//! - The *network* ([`net`]) is as TCP: in order, and nothing is lost but with its link; links break, stall in one direction, are
//!   slow, and come back.
//! - *Clients* ([`clients`]) at random entries publish, resume, set keys with conditions and take locks.
//! - After some time everything works again ([`world`]); then all that was promised is checked ([`check`], [`linear`]).
//! - A peace without a spare storage and sync, and with a storage and a sync that do not see each other, shows that work goes on.
//! - Planted bugs ([`faults`]) show that the checks can fail.
//!
//! `FENNEC_SIM_SEED=7` replays one seed and prints what happened; `FENNEC_SIM_SEEDS=10000` runs so many, from `FENNEC_SIM_FIRST` on.
//! See docs/cluster/simulation.md.

mod check;
mod clients;
mod dice;
mod entry;
mod faults;
mod linear;
mod net;
mod storage;
mod sync;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use check::Facts;
use faults::Bug;
use fennec::queue::faults::Fault;
use world::{Plan, World};

const PLAN: Plan = Plan {
    entries: 3,
    storages: 3,
    copies: 3,
    syncs: 3,
    storage_quorum: 2,
    clients: 10,
    trouble_us: 2_000_000,
    bug: None,
};
/// Segments of an entry take turns among two slots.
const SLOTS: Plan = Plan { entries: 3, storages: 5, copies: 3, ..PLAN };

/// Seeds of the plans in CI.
const SEEDS: u64 = 370;
const LARGE_SEEDS: u64 = 130;
const SLOTS_SEEDS: u64 = 60;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// What came of a seed.
struct Came {
    acks: u64,
    copies: u64,
    grants: u64,
    given_up: u64,
}

/// What went wrong with this seed, if anything did.
fn run(plan: Plan, seed: u64, is_traced: bool) -> Result<Came, String> {
    let mut world = World::new(plan, seed);
    world.trace = is_traced.then(Vec::new);
    let result = catch_unwind(AssertUnwindSafe(|| world.live()));
    if let Some(trace) = &world.trace {
        for line in trace {
            println!("{line}");
        }
    }
    match result {
        Ok(()) => {
            let Facts { acks, copied, grants, given_up, .. } = &world.facts;
            Ok(Came { acks: acks.len() as u64, copies: *copied, grants: *grants, given_up: *given_up })
        }
        Err(why) => {
            let text = why.downcast_ref::<String>().cloned();
            let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("at {}: {}", world.now, text.unwrap_or_default()))
        }
    }
}

/// Runs seeds side by side until one fails, for they have nothing to do with each other: what came of those that did not, and the
/// lowest that failed.
fn run_all(plan: Plan, seeds: Range<u64>) -> (Came, Option<(u64, String)>) {
    let next = AtomicU64::new(seeds.start);
    let came = Mutex::new((Came { acks: 0, copies: 0, grants: 0, given_up: 0 }, None::<(u64, String)>));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || came.lock().expect("nobody panics with it").1.is_some() {
                return;
            }
            let result = run(plan, seed, false);
            let mut came = came.lock().expect("nobody panics with it");
            match result {
                Ok(Came { acks, copies, grants, given_up }) => {
                    came.0.given_up += given_up;
                    came.0.acks += acks;
                    came.0.copies += copies;
                    came.0.grants += grants;
                }
                Err(why) => came.1 = came.1.take().into_iter().chain([(seed, why)]).min(),
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    came.into_inner().expect("nobody panicked with it")
}

#[track_caller]
fn check(plan: Plan, seeds: u64) {
    be_quiet();
    if let Some(seed) = variable("FENNEC_SIM_SEED") {
        if let Err(why) = run(plan, seed, true) {
            panic!("seed {seed}, {why}");
        }
        return;
    }
    let first = variable("FENNEC_SIM_FIRST").unwrap_or(0);
    let seeds = variable("FENNEC_SIM_SEEDS").unwrap_or(seeds);
    let (Came { acks, copies, grants, given_up }, failed) = run_all(plan, first..first + seeds);
    if let Some((seed, why)) = failed {
        panic!("FENNEC_SIM_SEED={seed} replays it: {why}");
    }
    println!("{seeds} seeds: {acks} acknowledged, {copies} copies, {grants} locks, {given_up} given up");
    assert!(acks > seeds * 50 && grants > seeds && given_up > seeds, "hardly anything happened");
}

/// Some seed fails when this bug is planted: `likely`, which was found to do so, or another.
#[track_caller]
fn check_bug(plan: Plan, bug: Bug, likely: u64) {
    be_quiet();
    let plan = Plan { bug: Some(bug), ..plan };
    let found = [likely..SEEDS, 0..likely].into_iter().find_map(|seeds| run_all(plan, seeds).1);
    let (seed, why) = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
    let without = run(Plan { bug: None, ..plan }, seed, false);
    assert!(without.is_ok(), "it is not {bug:?} that seed {seed} finds");
    println!("{bug:?} is found by seed {seed}: {}", why.lines().next().unwrap_or_default());
}

/// Seeds that panic say so when they are done, by [`check`].
fn be_quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_a_test = std::thread::current().name().is_some();
            if is_a_test {
                hook(panic);
            }
        }));
    });
}

#[test]
fn every_promise_is_kept_whatever_fails() {
    check(PLAN, SEEDS);
}

#[test]
fn five_entries_and_five_storages_keep_them_too() {
    check(Plan { entries: 5, storages: 5, copies: 5, storage_quorum: 3, ..PLAN }, LARGE_SEEDS);
}

#[test]
fn storages_in_two_slots_keep_them_too() {
    check(SLOTS, SLOTS_SEEDS);
}

#[test]
fn a_repeated_segment_without_an_answer_is_found() {
    check_bug(PLAN, Bug::NoResolvedAgain, 2);
}

#[test]
fn an_acknowledgement_before_the_log_has_it_is_found() {
    check_bug(PLAN, Bug::AckBeforeResolved, 0);
}

#[test]
fn a_pubrec_before_the_log_has_it_is_found() {
    check_bug(PLAN, Bug::PubrecBeforeResolved, 0);
}

#[test]
fn locks_that_outlive_the_life_of_their_entry_are_found() {
    check_bug(PLAN, Bug::Role(Fault::LocksOutliveTheirLife), 2);
}

#[test]
fn a_one_without_its_challenger_is_found() {
    check_bug(PLAN, Bug::OneWithoutChallenger, 0);
}

#[test]
fn a_segment_that_does_not_follow_the_one_before_is_found() {
    check_bug(SLOTS, Bug::Role(Fault::NoPrevious), 0);
}

#[test]
fn a_late_draft_that_is_elected_again_is_found() {
    check_bug(PLAN, Bug::Role(Fault::LateDraft), 0);
}

#[test]
fn drafts_that_are_not_passed_on_are_found() {
    check_bug(PLAN, Bug::Role(Fault::DraftsNotPassedOn), 0);
}

#[test]
fn a_restored_storage_that_counts_is_found() {
    check_bug(PLAN, Bug::Role(Fault::RestoredDiskCounts), 0);
}

#[test]
fn a_wiped_sync_that_votes_is_found() {
    check_bug(PLAN, Bug::Role(Fault::WipedSyncVotes), 124);
}
