//! What is said of clusters that lack something.

use super::*;
use crate::cluster::status::EntryStatus;
use crate::cluster::testing::{self, KEY};
use crate::queue::entry::EntryReport;
use crate::queue::storage::StorageReport;
use crate::queue::sync::SyncReport;

const ALL: [&str; 7] = ["E1", "N1", "N2", "N3", "S1", "S2", "S3"];

fn cluster() -> Cluster {
    let processes = ALL.map(|name| (name, ([127, 0, 0, 1], 7000).into()));
    let mut cluster = (*testing::cluster("test", KEY, &processes)).clone();
    cluster.storage_quorum = 2;
    cluster
}

fn table() -> Members {
    cluster().members(|node| StoreId(u128::from(node.name.as_bytes()[1])))
}

/// A node that is well, `behind` 100.
fn report(name: &str, behind: u64) -> Report {
    let (position, members) = (100 - behind, Some((1, table())));
    let store = StoreId(u128::from(name.as_bytes()[1]));
    match &name[..1] {
        "E" => {
            let role = EntryReport { incarnation: Some(7), fed: position, ..EntryReport::default() };
            Report::Entry(EntryStatus { role, ..EntryStatus::default() })
        }
        "N" => Report::Storage(StorageReport { store, position, members, counts: true, ..StorageReport::default() }),
        _ => {
            let standing = Standing::Votes;
            Report::Sync(SyncReport { store, position, members, standing, ..SyncReport::default() })
        }
    }
}

fn status(name: &str, report: Option<Report>) -> Status {
    let link = |other: &str| LinkStatus { process: other.to_owned(), up: true, ..LinkStatus::default() };
    Status {
        links: ALL.iter().filter(|other| **other != name).map(|other| link(other)).collect(),
        nodes: vec![NodeStatus { node: testing::node(name), age_ms: report.as_ref().map(|_| 10), report }],
        ..Status::default()
    }
}

/// All are well but for what `change` does to some.
fn look(change: impl Fn(&str) -> Option<Told>) -> Overview {
    let told = |name: &&str| change(name).unwrap_or_else(|| Ok(status(name, Some(report(name, 0)))));
    overview(&cluster(), &ALL.iter().map(told).collect::<Vec<_>>())
}

fn without(names: &[&str]) -> Overview {
    look(|name| names.contains(&name).then(|| Err("gone".to_owned())))
}

fn row<'a>(overview: &'a Overview, id: &str) -> &'a NodeRow {
    overview.nodes.iter().find(|row| row.id == id).unwrap()
}

#[track_caller]
fn check(overview: &Overview, verdict: Verdict, syncs: usize, storages: usize) {
    assert_eq!(overview.verdict, verdict, "{overview:?}");
    assert_eq!((overview.sync_quorum.there, overview.storage_quorums[0].there), (syncs, storages));
    assert_eq!((overview.sync_quorum.stands, overview.storage_quorums[0].stands), (syncs >= 2, storages >= 2));
}

#[test]
fn a_cluster_is_well_when_all_nodes_are() {
    let overview = without(&[]);
    check(&overview, Verdict::Well, 3, 3);
    assert_eq!(overview.nodes.iter().map(|row| &*row.id).collect::<Vec<_>>(), ALL);
    assert!(overview.nodes.iter().all(|row| row.state == State::Works && row.lag == Some(0)));
    assert!(overview.not_in_file.is_empty());
}

#[test]
fn it_goes_on_without_a_minority_and_not_without_a_quorum_or_any_entry() {
    check(&without(&["N1"]), Verdict::Impaired, 3, 2);
    check(&without(&["S2", "N3"]), Verdict::Impaired, 2, 2);
    check(&without(&["S1", "S2"]), Verdict::Impossible, 1, 3);
    check(&without(&["N1", "N2"]), Verdict::Impossible, 3, 1);
    check(&without(&["E1"]), Verdict::Impossible, 3, 3);
    check(&without(&ALL), Verdict::Impossible, 0, 0);
    let overview = look(|name| {
        let mut status = status(name, Some(report(name, 0)));
        let lost = status.links.iter_mut().find(|link| link.process == "N1");
        lost.into_iter().for_each(|link| (link.up, link.since_ms) = (false, 1000 + u64::from(name.as_bytes()[1])));
        Some(if name == "N1" { Err("gone".to_owned()) } else { Ok(status) })
    });
    let n1 = row(&overview, "N1");
    assert_eq!((n1.linked_from, n1.unlinked_ms), (Some(0), Some(1049)));
    let overview = without(&["N1"]);
    assert_eq!(row(&overview, "N1").linked_from, Some(6), "it is only not to be reached from here");
    assert_eq!((row(&overview, "N1").state, row(&overview, "N1").why.as_deref()), (State::Unreachable, Some("gone")));
}

#[test]
fn who_answers_and_is_not_well_does_not_count() {
    let other_disk = look(|name| {
        let Report::Storage(own) = report(name, 0) else { return None };
        (name == "N1").then(|| Ok(status(name, Some(Report::Storage(StorageReport { counts: false, ..own })))))
    });
    check(&other_disk, Verdict::Impaired, 3, 2);
    assert_eq!((row(&other_disk, "N1").state, row(&other_disk, "N1").counts), (State::DoesNotCount, Some(false)));
    let hangs = look(|name| {
        let mut status = status(name, Some(report(name, 3)));
        status.nodes[0].age_ms = Some(12_345);
        (name == "S1").then_some(Ok(status))
    });
    check(&hangs, Verdict::Impaired, 2, 3);
    let s1 = row(&hangs, "S1");
    assert_eq!((s1.state, s1.lag, s1.why.as_deref()), (State::Hangs, Some(3), Some("it has not moved for 12 s")));
    let begins = look(|name| (name == "E1").then(|| Ok(status(name, None))));
    check(&begins, Verdict::Impossible, 3, 3);
    assert_eq!(row(&begins, "E1").state, State::Begins);
}

#[test]
fn syncs_that_are_not_linked_are_no_quorum() {
    let apart = look(|name| {
        let mut status = status(name, Some(report(name, 0)));
        status.links.iter_mut().filter(|link| link.process.starts_with('S')).for_each(|link| link.up = false);
        name.starts_with('S').then_some(Ok(status))
    });
    check(&apart, Verdict::Impossible, 1, 3);
}

#[test]
fn the_table_of_who_knows_most_is_believed() {
    let mut changed = table();
    changed.slots[0][2].node = NodeId::storage("N4");
    let overview = look(|name| {
        let (position, members) = (101, Some((101, changed.clone())));
        let standing = Standing::Votes;
        let report = Report::Sync(SyncReport { position, members, standing, ..SyncReport::default() });
        (name == "S3").then(|| Ok(status(name, Some(report))))
    });
    check(&overview, Verdict::Impaired, 3, 2);
    assert_eq!((overview.position, &overview.not_in_file), (101, &vec!["N4".to_owned()]));
}
