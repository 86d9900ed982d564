//! What the answers of all processes come to: each node, the quorums, and whether durable publishing is possible.
//!
//! ```text
//! (Process, Result<Status, why not>) of all -> overview -> a row for each node, quorums, Verdict
//! ```
//!
//! 1. Who takes part is what the one that knows most of the log says of it; before there is a table of members, the file.
//! 2. A sync counts if it answers, has a vote and works; so many of them must be linked to one of them that with it they are a
//!    majority. A storage counts if it answers, works, and its disk is the one in the table.
//! 3. A node that answers is not well for that: its role may hang, begin, or be told by others that it does not count.
//! 4. Answers are not of one moment: under load a node seems to be a little behind that is not.

use std::collections::BTreeSet;

use serde::Serialize;

use super::config::{Cluster, Process, role_name};
use super::status::{LinkStatus, NodeStatus, Report, Status};
use crate::queue::envelope::NodeId;
use crate::queue::quorum::{Member, Members, StoreId};
use crate::queue::sync::Standing;

#[cfg(test)]
mod tests;

/// A role that has said nothing for so long hangs.
const HANGS_MS: u64 = 5_000;

/// What a process has answered, or why it has not.
pub type Told = Result<Status, String>;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    pub cluster: String,
    pub verdict: Verdict,
    /// The highest that any node knows.
    pub position: u64,
    pub sync_quorum: Quorum,
    pub storage_quorums: Vec<Quorum>,
    pub nodes: Vec<NodeRow>,
    /// Members of the cluster that the file does not name.
    pub not_in_file: Vec<String>,
}

/// How it stands, all in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All quorums stand and all nodes work.
    Well,
    /// Durable publishing is possible, though something is down.
    Impaired,
    /// It is not possible.
    Impossible,
}

/// Nodes of which some must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    pub stands: bool,
    /// Those that count now.
    pub there: usize,
    pub needed: usize,
    pub members: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeRow {
    pub id: String,
    pub role: &'static str,
    pub process: String,
    /// Of its links.
    pub address: String,
    pub state: State,
    /// More about that, if it is not well.
    pub why: Option<String>,
    pub version: Option<String>,
    pub uptime_ms: Option<u64>,
    /// Applied, fed or, of a sync, decided up to here.
    pub position: Option<u64>,
    /// Behind the highest.
    pub lag: Option<u64>,
    /// Whether it has a vote, or what it keeps counts. Not of entries.
    pub counts: Option<bool>,
    pub links: Vec<LinkStatus>,
    /// Of a process that is unreachable from here: how many others are linked to it, and for how long none has been.
    pub linked_from: Option<usize>,
    pub unlinked_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub more: Option<More>,
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Works,
    /// It waits for others, or has not all that it needs.
    Begins,
    /// A storage that copies what it has not from a peer.
    Copies,
    /// A disk that the cluster has not taken in.
    DoesNotCount,
    /// An entry that refuses publishers.
    Refuses,
    /// Its process answers, and the role does not move.
    Hangs,
    Unreachable,
}

/// What only one role has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum More {
    Entry {
        /// Position at which its life began.
        incarnation: Option<u64>,
        lease_left_ms: u64,
        connections: u64,
        /// The storage that feeds it.
        feeder: Option<String>,
        unresolved_segments: u64,
        unresolved_bytes: u64,
    },
    Storage {
        pending_segments: u64,
        /// Of these, on disk.
        sealed_segments: u64,
        pending_bytes: u64,
        /// Decisions that wait to be applied.
        elected: u64,
        followers: u64,
    },
    Sync {
        drafts: u64,
        commands: u64,
        /// Decisions that are kept for storages.
        decisions: u64,
    },
}

impl State {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            State::Works => "works",
            State::Begins => "begins",
            State::Copies => "copies",
            State::DoesNotCount => "does not count",
            State::Refuses => "refuses",
            State::Hangs => "hangs",
            State::Unreachable => "unreachable",
        }
    }
}

/// Looks at what all processes have answered, in the order of the cluster's processes.
pub fn overview(cluster: &Cluster, told: &[Told]) -> Overview {
    let asked: Vec<(&Process, &Told)> = cluster.processes.iter().zip(told).collect();
    let reports = || asked.iter().filter_map(|(_, told)| told.as_ref().ok()).flat_map(|status| &status.nodes);
    let position = reports().filter_map(|node| Some(node.report.as_ref()?.position())).max().unwrap_or_default();
    let members = members(cluster, reports());
    let mut nodes: Vec<(&NodeId, NodeRow)> = Vec::new();
    for (process, told) in &asked {
        nodes.extend(process.nodes.iter().map(|node| (node, row(process, node, told, position))));
    }
    for (_, row) in nodes.iter_mut().filter(|(_, row)| row.state == State::Unreachable) {
        ask_others(row, told);
    }
    nodes.sort_by_key(|(node, _)| *node);
    let sync_quorum = sync_quorum(&members, &asked, &nodes);
    let storage_quorums: Vec<Quorum> = members.slots.iter().map(|slot| slot_quorum(slot, &members, &nodes)).collect();
    let known: BTreeSet<&NodeId> = cluster.nodes().collect();
    let all = members.syncs.iter().chain(members.storages()).map(|member| &member.node);
    let not_in_file: Vec<String> = all.filter(|node| !known.contains(node)).map(ToString::to_string).collect();
    let works = |role: &str| nodes.iter().any(|(_, row)| row.role == role && row.state == State::Works);
    let all_work = nodes.iter().all(|(_, row)| row.state == State::Works);
    let verdict = if !sync_quorum.stands || !storage_quorums.iter().any(|slot| slot.stands) || !works("entry") {
        Verdict::Impossible
    } else if all_work && not_in_file.is_empty() && storage_quorums.iter().all(|slot| slot.stands) {
        Verdict::Well
    } else {
        Verdict::Impaired
    };
    let nodes = nodes.into_iter().map(|(_, row)| row).collect();
    Overview { cluster: cluster.name.to_string(), verdict, position, sync_quorum, storage_quorums, nodes, not_in_file }
}

/// The table of members, as the one says that knows most of the log.
fn members<'a>(cluster: &Cluster, reports: impl Iterator<Item = &'a NodeStatus>) -> Members {
    let known = reports.filter_map(|node| {
        let report = node.report.as_ref()?;
        let members = match report {
            Report::Storage(storage) => storage.members.as_ref(),
            Report::Sync(sync) => sync.members.as_ref(),
            Report::Entry(_) => None,
        };
        members.map(|(_, members)| (report.position(), members.clone()))
    });
    let newest = known.max_by_key(|(position, _)| *position);
    newest.map_or_else(|| cluster.members(|_| StoreId::default()), |(_, members)| members)
}

fn row(process: &Process, node: &NodeId, told: &Told, highest: u64) -> NodeRow {
    let mut row = NodeRow {
        id: node.to_string(),
        role: role_name(node.role),
        process: process.id.to_string(),
        address: process.link.to_string(),
        state: State::Unreachable,
        why: None,
        version: None,
        uptime_ms: None,
        position: None,
        lag: None,
        counts: None,
        links: Vec::new(),
        linked_from: None,
        unlinked_ms: None,
        more: None,
    };
    let status = match told {
        Ok(status) => status,
        Err(why) => {
            row.why = Some(why.clone());
            return row;
        }
    };
    row.version = Some(status.version.clone());
    row.uptime_ms = Some(status.uptime_ms);
    row.links.clone_from(&status.links);
    let said = status.nodes.iter().find(|said| said.node == *node);
    (row.state, row.why) = state_of(said);
    let Some(report) = said.and_then(|said| said.report.as_ref()) else { return row };
    row.position = Some(report.position());
    row.lag = Some(highest - report.position());
    row.counts = match report {
        Report::Entry(_) => None,
        Report::Storage(storage) => Some(storage.counts),
        Report::Sync(sync) => Some(sync.standing == Standing::Votes),
    };
    row.more = Some(more(report));
    row
}

/// What other processes know of one that is unreachable from here.
fn ask_others(row: &mut NodeRow, told: &[Told]) {
    let links = || told.iter().flatten().flat_map(|status| &status.links).filter(|link| link.process == row.process);
    let (up, down_ms) = (links().filter(|link| link.up).count(), links().map(|link| link.since_ms).min());
    (row.linked_from, row.unlinked_ms) = (Some(up), down_ms.filter(|_| up == 0));
}

/// How a node is by what it has said, and why if it is not well.
pub fn state_of(said: Option<&NodeStatus>) -> (State, Option<String>) {
    match said.and_then(|said| Some((said.report.as_ref()?, said.age_ms?))) {
        None => (State::Begins, None),
        Some((_, age_ms)) if age_ms >= HANGS_MS => {
            (State::Hangs, Some(format!("it has not moved for {} s", age_ms / 1000)))
        }
        Some((report, _)) => state(report),
    }
}

fn state(report: &Report) -> (State, Option<String>) {
    let because = |state, why: &str| (state, Some(why.to_owned()));
    match report {
        Report::Entry(entry) => match (&entry.role.incarnation, &entry.trouble) {
            (None, _) => because(State::Begins, "the cluster has not accepted it yet"),
            (Some(_), Some(why)) => because(State::Refuses, why),
            (Some(_), None) => (State::Works, None),
        },
        Report::Storage(storage) if storage.members.is_none() => {
            because(State::Begins, "not all nodes have been there for the first time")
        }
        Report::Storage(storage) if storage.copies => because(State::Copies, "the log, from a peer"),
        Report::Storage(storage) if !storage.counts => {
            because(State::DoesNotCount, "the cluster knows another disk of it, or none")
        }
        Report::Storage(_) => (State::Works, None),
        Report::Sync(sync) => match sync.standing {
            Standing::Votes => (State::Works, None),
            Standing::Founding => because(State::Begins, "not all nodes have been there for the first time"),
            Standing::Listens => because(State::DoesNotCount, "the cluster knows another disk of it, or none"),
            Standing::Forgot => because(State::DoesNotCount, "its disk has forgotten what it has said"),
        },
    }
}

fn more(report: &Report) -> More {
    match report {
        Report::Entry(entry) => More::Entry {
            incarnation: entry.role.incarnation,
            lease_left_ms: entry.role.lease_left_us / 1000,
            connections: entry.connections,
            feeder: entry.role.feeder.as_ref().map(ToString::to_string),
            unresolved_segments: entry.role.segments,
            unresolved_bytes: entry.role.bytes,
        },
        Report::Storage(storage) => More::Storage {
            pending_segments: storage.segments,
            sealed_segments: storage.sealed,
            pending_bytes: storage.bytes,
            elected: storage.elected,
            followers: storage.followers,
        },
        Report::Sync(sync) => More::Sync { drafts: sync.drafts, commands: sync.commands, decisions: sync.decisions },
    }
}

/// Whether a node works and is in the table with its disk.
fn counts(nodes: &[(&NodeId, NodeRow)], member: &Member) -> bool {
    let row = nodes.iter().find(|(node, _)| **node == member.node);
    row.is_some_and(|(_, row)| row.state == State::Works || row.state == State::Copies && row.counts == Some(true))
}

fn sync_quorum(members: &Members, asked: &[(&Process, &Told)], nodes: &[(&NodeId, NodeRow)]) -> Quorum {
    let voters: Vec<&NodeId> =
        members.syncs.iter().filter(|member| counts(nodes, member)).map(|member| &member.node).collect();
    let process_of = |node: &NodeId| asked.iter().find(|(process, _)| process.nodes.contains(node));
    let is_linked = |from: &NodeId, to: &NodeId| {
        let (Some((here, Ok(status))), Some((there, _))) = (process_of(from), process_of(to)) else { return false };
        let there = there.id.to_string();
        here.id.to_string() == there || status.links.iter().any(|link| link.up && link.process == there)
    };
    let group = |voter: &&NodeId| voters.iter().filter(|other| is_linked(voter, other)).count();
    quorum(&members.syncs, voters.iter().map(group).max().unwrap_or_default(), members.sync_majority())
}

fn slot_quorum(slot: &[Member], members: &Members, nodes: &[(&NodeId, NodeRow)]) -> Quorum {
    let there = slot.iter().filter(|member| counts(nodes, member)).count();
    quorum(slot, there, members.storage_quorum as usize)
}

fn quorum(of: &[Member], there: usize, needed: usize) -> Quorum {
    let members = of.iter().map(|member| member.node.to_string()).collect();
    Quorum { stands: there >= needed, there, needed, members }
}
