//! The network between the nodes is cut, one way or both, or slow, under load.
//!
//! `FENNEC_CLUSTER_ROUNDS` and `FENNEC_CLUSTER_SEED` say how often, and repeat the choices of a run.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::broker::{Cluster, ENTRIES, SILENCE, STORAGES, SYNCS, everybody};
use crate::proxy::{Network, Way};
use crate::{LIMIT, Test, rounds_and_seed};

const ROUNDS: u64 = 4;
/// Shorter and longer than a link may be silent; the last is also longer than the syncs wait for an entry.
const CUTS: [Duration; 3] = [Duration::from_millis(700), Duration::from_millis(3500), Duration::from_millis(8000)];
/// In CI the last would take too long.
const CUTS_OF_FEW_ROUNDS: usize = 2;
const SLOW: Duration = Duration::from_millis(40);
/// More lives than clients can come to.
const LIVES: u32 = 100_000;

#[derive(Clone, Copy, Debug)]
enum Cut {
    /// A node and all others do not hear each other.
    Off,
    /// All hear the node, and it hears nobody.
    Deaf,
    /// It hears all, and nobody hears it.
    Mute,
    /// One of each role on one side, all others on the other.
    Parted,
    /// Two nodes do not hear each other; all others do.
    Pair,
    /// What a node says and hears takes long.
    Slow,
}

const KINDS: [Cut; 6] = [Cut::Off, Cut::Deaf, Cut::Mute, Cut::Parted, Cut::Pair, Cut::Slow];

#[test]
fn whatever_is_cut_between_the_nodes_all_see_one_order_and_nothing_is_lost_or_repeated() {
    let (rounds, seed) = rounds_and_seed(ROUNDS);
    let relays = Runtime::new().expect("threads");
    let mut network = Network::new(relays.handle());
    let cluster = Cluster::start_via(LIMIT, SILENCE, |from, to, port| network.port(from, to, port));
    let mut test = Test::new(seed, cluster);
    // An entry that is cut off refuses what it is given, as it must.
    (0..LIVES).for_each(|life| test.recorder.fails_in(life));
    // No keepers of keys: an entry that is cut off tells what it knew last.
    test.people();
    test.begin_work();
    let cuts = if rounds > ROUNDS { CUTS.len() } else { CUTS_OF_FEW_ROUNDS };
    for _ in 0..rounds {
        let (kind, time) = (test.dice.one_of(&KINDS), test.dice.one_of(&CUTS[..cuts]));
        let all: Vec<&'static str> = everybody().collect();
        let (one, other) = (test.dice.one_of(&all), test.dice.one_of(&all));
        println!("{kind:?} {one} ({other}) for {time:?}");
        test.work("before a cut");
        test.wander();
        cut(&network, kind, one, other);
        test.wait(time);
        network.heal();
        test.work(&format!("after {kind:?} {one} ({other})"));
    }
    // What was cut off begins anew, and takes clients again.
    test.cluster.wait_for_entries(LIMIT);
    test.finish();
}

fn cut(network: &Network, kind: Cut, one: &'static str, other: &'static str) {
    let all: Vec<&str> = everybody().collect();
    match kind {
        Cut::Off => part(network, &[one], &all),
        Cut::Deaf => network.set(&all, &[one], Way::Cut),
        Cut::Mute => network.set(&[one], &all, Way::Cut),
        Cut::Parted => {
            let at = all.iter().position(|id| *id == one).unwrap_or(0) % 3;
            let side = [ENTRIES[at], STORAGES[(at + 1) % 3], SYNCS[(at + 2) % 3]];
            let rest: Vec<&str> = all.iter().copied().filter(|id| !side.contains(id)).collect();
            part(network, &side, &rest);
        }
        Cut::Pair => part(network, &[one], &[other]),
        Cut::Slow => {
            network.set(&[one], &all, Way::Open(SLOW));
            network.set(&all, &[one], Way::Open(SLOW));
        }
    }
}

fn part(network: &Network, side: &[&str], rest: &[&str]) {
    network.set(side, rest, Way::Cut);
    network.set(rest, side, Way::Cut);
}
