//! How a process is, as it says itself: what `fennec cluster status` shows, and `/metrics` of processes.
//!
//! Written by name, so that a process of one version can be asked by a program of another.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mesh::LinkStats;
use crate::queue::entry::EntryReport;
use crate::queue::envelope::NodeId;
use crate::queue::storage::StorageReport;
use crate::queue::sync::SyncReport;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Since it was started.
    pub uptime_ms: u64,
    /// To all other processes.
    pub links: Vec<LinkStatus>,
    /// That it plays.
    pub nodes: Vec<NodeStatus>,
}

/// A link, as one of its ends sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkStatus {
    /// At its other end.
    pub process: String,
    pub up: bool,
    /// For so long it has been up, or down.
    pub since_ms: u64,
    pub reconnects: u64,
    /// Of the last ping.
    pub rtt_us: Option<u64>,
    /// Bytes that wait to be written.
    pub waiting_bytes: u64,
    /// Why it is down.
    pub trouble: Option<String>,
}

/// A node of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub node: NodeId,
    /// So long ago it said so; `None`: it has not begun to work.
    pub age_ms: Option<u64>,
    pub report: Option<Report>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    Entry(EntryStatus),
    Storage(StorageReport),
    Sync(SyncReport),
}

/// An entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryStatus {
    pub role: EntryReport,
    /// Why publishers are refused.
    pub trouble: Option<String>,
    /// Clients' connections.
    pub connections: u64,
    /// Calls that were sent to callees at other entries, and that came from there, in this life.
    pub calls_out: u64,
    pub calls_in: u64,
}

impl Status {
    /// Of this process. `nodes`: as they say.
    pub fn of_this(uptime: Duration, links: &[LinkStats], nodes: Vec<NodeStatus>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: ms(uptime),
            links: links.iter().map(LinkStatus::of).collect(),
            nodes,
        }
    }
}

impl LinkStatus {
    fn of(link: &LinkStats) -> Self {
        Self {
            process: link.process.to_string(),
            up: link.connected,
            since_ms: ms(link.since),
            reconnects: link.reconnects,
            rtt_us: link.rtt_us,
            waiting_bytes: link.waiting_bytes as u64,
            trouble: link.trouble.clone().filter(|_| !link.connected),
        }
    }
}

impl Report {
    /// How far it knows the log: applied, fed or, of a sync, decided.
    pub fn position(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.role.fed,
            Self::Storage(storage) => storage.position,
            Self::Sync(sync) => sync.position,
        }
    }
}

pub(super) fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}
