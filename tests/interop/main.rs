//! Real clients against the built broker.
//!
//! Each test starts a broker of its own on free ports and runs one program of `python/` or `js/` with a client library
//! that others wrote, or talks by `rumqttc`. The libraries are fetched on first use, in the versions that
//! `requirements.txt` and `package-lock.json` pin, into `target/clients`; python3, node and npm must be installed.
//! The programs print a TAP line per scenario, and wait for events only, never for time to pass.

mod auth;
mod bridge;
mod broker;
mod browser;
mod clients;
mod cluster;
mod demo;
mod groups;
mod hooks;
mod logins;
mod meta;
mod mqtt;
#[path = "../cluster/broker.rs"]
#[expect(dead_code, reason = "the cluster tests use all of it")]
mod nodes;
#[path = "../edge/pki.rs"]
#[expect(dead_code, reason = "the tests of TLS use all of it")]
mod pki;
mod proxied;
mod resume;
mod rumqtt;
mod script;
mod tls;
mod wamp;
