//! Clients that others wrote, at the entries of a cluster.

use std::time::Duration;

use super::nodes::{Cluster, ENTRIES};
use super::script::{self, Host};

/// How long a cluster may take to begin.
const LIMIT: Duration = Duration::from_secs(60);

impl Host for Cluster {
    fn arguments(&self) -> Vec<String> {
        let ports = (0..ENTRIES.len()).map(|entry| self.ports(entry));
        let entries: Vec<String> = ports.map(|ports| format!("{}:{}", ports.mqtt, ports.http)).collect();
        let victim = self.pid(ENTRIES[0]).to_string();
        ["--entries", &entries.join(","), "--victim", &victim].map(str::to_owned).to_vec()
    }

    fn log(&self) -> String {
        self.all_said()
    }
}

#[test]
fn autobahn_python_and_paho_hear_one_order_at_all_entries_and_go_on_at_another() {
    script::python(&Cluster::start(LIMIT), "cluster.py", &[]);
}

#[test]
fn autobahn_js_and_mqtt_js_hear_one_order_at_all_entries_and_go_on_at_another() {
    script::node(&Cluster::start(LIMIT), "cluster.js", &[]);
}
