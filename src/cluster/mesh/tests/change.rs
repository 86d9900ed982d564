//! Processes that come, go and move while others run.

use super::*;
use crate::queue::envelope::Role;

fn change(running: &Running, cluster: &Arc<Cluster>, names: &str) {
    running.mesh.change(&testing::plan(cluster, names));
}

#[test]
fn a_process_that_comes_is_linked_and_others_keep_their_links() {
    let [a, b, c] = addresses();
    let before = testing::cluster("test", KEY, &[("E1", a), ("N1", b)]);
    let after = testing::cluster("test", KEY, &[("E1", a), ("N1", b), ("N2", c)]);
    let (mut e1, mut n1) = (start(&before, "E1"), start(&before, "N1"));
    e1.check_connected("E1", "N1");
    n1.check_connected("N1", "E1");
    let mut n2 = start(&after, "N2");
    change(&e1, &after, "E1");
    e1.check_connected("E1", "N2");
    n2.check_connected("N2", "E1");
    change(&n1, &after, "N1");
    n1.check_connected("N1", "N2");
    assert_eq!(e1.mesh.cluster().nodes_of(Role::Storage).count(), 2);
    n2.check_connected("N2", "N1");
    e1.mesh.send(said("E1", "N2", 1)).unwrap();
    n2.check_said("N2", "E1", 1);
    assert!(e1.mesh.stats().iter().all(|link| link.connected && link.reconnects == 0));
}

#[test]
fn a_process_that_goes_has_no_link_and_may_come_again() {
    let [a, b] = addresses();
    let both = testing::cluster("test", KEY, &[("E1", a), ("N1", b)]);
    let alone = testing::cluster("test", KEY, &[("E1", a)]);
    for (goes, stays) in [("N1", "E1"), ("E1", "N1")] {
        let alone = if stays == "E1" { alone.clone() } else { testing::cluster("test", KEY, &[("N1", b)]) };
        let mut running = start(&both, stays);
        let mut other = start(&both, goes);
        running.check_connected(stays, goes);
        change(&running, &alone, stays);
        running.check_disconnected(stays, goes);
        assert_eq!(running.mesh.send(said(stays, goes, 1)), Err(NotSent::Unknown(node(goes))));
        change(&running, &both, stays);
        running.check_connected(stays, goes);
        other.check_connected(goes, stays);
        other.check_disconnected(goes, stays);
        other.check_connected(goes, stays);
    }
}

#[test]
fn a_process_that_moved_is_found_where_it_is_now() {
    // Of the two, E1 dials.
    for (moves, stays) in [("N1", "E1"), ("E1", "N1")] {
        let [a, b, c] = addresses();
        let before = testing::cluster("test", KEY, &[(moves, a), (stays, b)]);
        let after = testing::cluster("test", KEY, &[(moves, c), (stays, b)]);
        let mut running = start(&before, stays);
        let old = start(&before, moves);
        running.check_connected(stays, moves);
        old.kill();
        running.check_disconnected(stays, moves);
        change(&running, &after, stays);
        let mut new = start(&after, moves);
        new.check_connected(moves, stays);
        running.check_connected(stays, moves);
        running.mesh.send(said(stays, moves, 1)).unwrap();
        new.check_said(moves, stays, 1);
    }
}
