//! What `fennec cluster status` tells of a cluster whose nodes die and hang.

use serde_json::Value;

use crate::LIMIT;
use crate::broker::{Cluster, everybody};

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
    let mut cluster = Cluster::start(LIMIT);
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
