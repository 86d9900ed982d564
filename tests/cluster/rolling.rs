//! All nodes are restarted, one after the other, as for a new version.

use crate::broker::{Cluster, ENTRIES, everybody};
use crate::{LIMIT, Test, rounds_and_seed};

#[test]
fn all_nodes_are_restarted_in_turn_under_load_and_nothing_is_lost_or_repeated() {
    let (_, seed) = rounds_and_seed(1);
    let mut test = Test::new(seed, Cluster::start(LIMIT));
    test.people();
    test.keepers();
    test.begin_work();
    for id in everybody() {
        println!("restart {id}");
        test.work(&format!("before {id} ends"));
        // Clients go when their entry ends, and find another.
        test.leave(ENTRIES.iter().position(|entry| *entry == id));
        test.recorder.stops();
        test.cluster.end(id, LIMIT);
        test.work(&format!("without {id}"));
        test.cluster.begin_and_link(id, LIMIT);
        test.recorder.has_stopped();
    }
    test.work("behind all");
    test.finish();
}
