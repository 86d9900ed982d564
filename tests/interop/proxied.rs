//! Proxies that say for whom they connect.

use super::script::{self, Nobody};

#[test]
fn paho_and_autobahn_python_are_seen_with_their_own_addresses_behind_a_proxy() {
    script::python(&Nobody, "proxied.py", &["--serializer", "json"]);
}
