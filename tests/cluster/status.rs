//! What `fennec cluster status` tells of a cluster whose nodes die and hang, and what its processes count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fennec::types::payload::Format;
use serde_json::Value;
use tokio::time::timeout;

use crate::LIMIT;
use crate::broker::{Cluster, SILENCE, everybody};
use crate::clients::publish;
use crate::clients::wamp_client;

/// Waits until the status is such.
fn until(cluster: &Cluster, what: &str, is_so: impl Fn(i32, &Value) -> bool) {
    let told = |cluster: &Cluster| {
        let (code, status) = cluster.status();
        is_so(code.expect("it ends by itself"), &status)
    };
    cluster.until(what, LIMIT, told);
}

fn state<'a>(status: &'a Value, id: &str) -> &'a str {
    let nodes = status["nodes"].as_array().expect("the nodes");
    let node = nodes.iter().find(|node| node["id"] == id).expect("a node of the cluster");
    node["state"].as_str().expect("its state")
}

#[test]
fn the_status_tells_who_is_down_and_whether_publishing_goes_on() {
    let mut cluster = Cluster::start_with(LIMIT, SILENCE);
    until(&cluster, "all is well", |code, status| {
        let is_well = |id: &str| state(status, id) == "works";
        code == 0 && everybody().all(is_well) && status["nodes"].as_array().map(Vec::len) == Some(9)
    });
    cluster.kill("N1");
    cluster.pause("S1", false);
    until(&cluster, "one is dead and one hangs", |code, status| {
        let links = status["nodes"][0]["links"].as_array().expect("links of E1");
        let down = links.iter().filter(|link| link["up"] == false).count();
        let is_gone = |id| state(status, id) == "unreachable";
        code == 1 && is_gone("N1") && is_gone("S1") && down == 2 && status["sync_quorum"]["there"] == 2
    });
    cluster.kill("N2");
    until(&cluster, "too few storages", |code, status| {
        code == 2 && status["storage_quorums"][0]["stands"] == false && status["sync_quorum"]["stands"] == true
    });
    cluster.pause("S1", true);
    cluster.begin("N1");
    cluster.begin("N2");
    until(&cluster, "all is well again", |code, status| code == 0 && status["verdict"] == "well");
}

/// All samples, by name and labels. Each belongs to the family announced before it, and stands there once.
fn samples(answer: &str) -> BTreeMap<String, f64> {
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let (mut samples, mut families, mut family) = (BTreeMap::new(), BTreeSet::new(), "");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().expect(line);
            assert!(families.insert(family), "twice: {line}");
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').expect(line);
            assert!(sample.starts_with(family), "{line} is not of {family}");
            assert!(samples.insert(sample.to_owned(), value.parse().expect(line)).is_none(), "twice: {line}");
        }
    }
    samples
}

/// What a node counts there; `None`: it has not come so far, or it is none of its metrics.
pub fn find_metric(cluster: &Cluster, id: &str, name: &str) -> Option<f64> {
    samples(&cluster.try_get_of(id, "/metrics")?).get(name).copied()
}

fn metric(cluster: &Cluster, id: &str, name: &str) -> f64 {
    find_metric(cluster, id, name).unwrap_or_else(|| panic!("{id} has no {name}"))
}

#[test]
fn each_role_tells_what_it_counts_and_the_docs_name_all_of_it() {
    let cluster = Cluster::start(LIMIT);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let published = runtime.block_on(async {
        let mut client = wamp_client(Format::Json, cluster.ports(0));
        client.connect().await?;
        timeout(LIMIT, publish(&mut client, "crash.a", "a 1")).await.expect("an acknowledgement in time")
    });
    published.expect("an acknowledgement");
    assert!(metric(&cluster, "E1", "fennec_entry_resolve_seconds_count") >= 1.0);
    assert_eq!(metric(&cluster, "E1", "fennec_entry_lives_total"), 1.0);
    let all_up = |cluster: &Cluster| {
        let links = samples(&cluster.get_of("N1", "/metrics"));
        links.iter().filter(|(name, up)| name.starts_with("fennec_link_up{") && **up == 1.0).count() == 8
    };
    cluster.until("N1 has all its links", LIMIT, all_up);
    let applied = |cluster: &Cluster| {
        let done = ["segments_total", "keep_seconds_count", "commit_seconds_count"];
        done.iter().all(|what| metric(cluster, "N1", &format!("fennec_ndb_{what}")) >= 1.0)
    };
    cluster.until("N1 has applied it", LIMIT, applied);
    cluster.until("S1 votes", LIMIT, |cluster| metric(cluster, "S1", "fennec_sync_votes") == 1.0);
    assert!(metric(&cluster, "S1", "fennec_sync_statements_total") >= 3.0);
    assert!(metric(&cluster, "S1", "fennec_sync_fsync_seconds_count") >= 1.0);
    let ready = |id: &'static str| move |cluster: &Cluster| cluster.get_of(id, "/readyz").contains(" 200 ");
    everybody().for_each(|id| cluster.until(&format!("{id} is ready"), LIMIT, ready(id)));
    let docs = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        std::fs::read_to_string(path).expect("the page")
    };
    let docs = ["cluster/status.md", "http.md", "limits.md", "tls.md"].map(docs).concat();
    for id in everybody() {
        let answer = cluster.get_of(id, "/metrics");
        let names = answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        for name in names {
            let is_named = docs.contains(&format!("`{name}`")) || docs.contains(&format!("`{name}{{"));
            assert!(is_named, "{name} of {id} is in no table of the docs");
        }
    }
}
