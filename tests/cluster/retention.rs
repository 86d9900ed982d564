//! What need not stay goes from all storages, and all entries tell the same of what is left.

use std::collections::BTreeSet;

use fennec::client::Client;
use fennec::types::payload::Format;
use tokio::time::timeout;

use crate::LIMIT;
use crate::broker::{Cluster, ENTRIES, STORAGES};
use crate::clients::publish;
use crate::clients::wamp_client;
use crate::status::find_metric;

/// As the configuration says.
const STAYS: usize = 20;
const KEPT: &str = "fennec_ndb_kept_messages{realm=\"*\",pattern=\"short/#\"}";
const GIVEN_UP: &str = "fennec_ndb_given_up_segments_total";
const ALL: &str = "/subscribe?topic=short.a&after=1970-01-01T00:00:00Z&snapshot=true";

/// Each has a segment of its own, for each waits for the one before.
async fn publish_some(client: &mut Client, count: usize) {
    for number in 0..count {
        let published = timeout(LIMIT, publish(client, "short.a", &format!("a {number}"))).await;
        published.expect("an acknowledgement in time").expect("an acknowledgement");
    }
}

/// Waits until storages hold so many, and have deleted so many segments.
fn until(cluster: &Cluster, storages: &[&str], kept: usize, given_up: usize) {
    let is_so = |cluster: &Cluster, id: &str| {
        find_metric(cluster, id, KEPT) == Some(kept as f64)
            && find_metric(cluster, id, GIVEN_UP).is_some_and(|count| count >= given_up as f64)
    };
    let what = format!("{storages:?} hold {kept} messages");
    cluster.until(&what, LIMIT, |cluster| storages.iter().all(|id| is_so(cluster, id)));
}

/// What an entry says of the oldest that is there, and all ids.
fn log(cluster: &Cluster, entry: usize) -> (String, Vec<String>) {
    let answer = cluster.get(entry, ALL);
    let behind = |what: &str| answer.lines().filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect();
    let (data, ids): (Vec<String>, Vec<String>) = (behind("data: "), behind("id: "));
    let resume = data.into_iter().find(|data| data.contains("recovered")).unwrap_or_else(|| panic!("{answer}"));
    (resume, ids)
}

#[test]
fn what_need_not_stay_goes_from_all_storages_and_all_entries_tell_the_same() {
    let mut cluster = Cluster::start(LIMIT);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let mut client = wamp_client(Format::Json, cluster.ports(0));
    runtime.block_on(client.connect()).expect("the entry takes a client");
    runtime.block_on(publish_some(&mut client, 15));
    until(&cluster, &STORAGES, 15, 0);
    cluster.kill("N3");
    runtime.block_on(publish_some(&mut client, 30));
    until(&cluster, &["N1", "N2"], STAYS, 25);
    // It gets what it has missed, and gives up what it has of old.
    cluster.begin_and_link("N3", LIMIT);
    until(&cluster, &["N3"], STAYS, 15);
    let all: BTreeSet<_> = (0..ENTRIES.len()).map(|entry| log(&cluster, entry)).collect();
    let [(resume, ids)] = &all.iter().collect::<Vec<_>>()[..] else {
        panic!("entries tell different things: {all:#?}")
    };
    assert!(resume.contains("\"recovered\":false") || resume.contains("\"recovered\": false"), "{resume}");
    assert_eq!(ids.len(), STAYS, "{ids:?}");
    assert!(resume.contains(&ids[0]), "{resume} {ids:?}");
}
