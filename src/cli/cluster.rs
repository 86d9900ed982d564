//! `fennec cluster`: what concerns a cluster as a whole.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;

use super::columns::columns;
use super::config::cluster::{self, Loaded};
use super::{Failure, print};
use crate::cluster::config::{Cluster, Plan, Process, role_name};
use crate::cluster::tls::LinkTls;
use crate::queue::envelope::{NodeId, Role};

mod apply;
mod status;

use apply::ApplyArgs;
use status::StatusArgs;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Check a cluster.toml; print who takes part where, or every mistake
    Check(CheckArgs),
    /// Ask all processes how they are; ends with 0 if all is well, 1 if something is down, 2 if durable publishing is impossible
    Status(StatusArgs),
    /// Have storages, slots and syncs be as the file says; waits until that is so, and says who may be stopped
    Apply(ApplyArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The file that all processes of the cluster share
    #[arg(long, value_name = "FILE", required_unless_present = "keys")]
    cluster: Option<PathBuf>,
    /// Ids of one process, such as E1 or E1,N1,S1: print what it does, and look whether it can read its files
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    id: Vec<String>,
    /// Print every key there is, with type, default and meaning (Markdown)
    #[arg(long, conflicts_with_all = ["cluster", "id"])]
    keys: bool,
}

pub(super) fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Check(args) => check(&args),
        ClusterCommand::Status(args) => status::run(&args),
        ClusterCommand::Apply(args) => apply::run(&args),
    }
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let Some(path) = &args.cluster else { return print(&cluster::keys()) };
    let Loaded { cluster, warnings } = cluster::load(path).map_err(Failure::of_problems)?;
    for warning in warnings {
        // Where nobody reads, the file is right all the same.
        let _ = writeln!(std::io::stderr(), "fennec: warning: {warning}");
    }
    let text = match &args.id[..] {
        [] => describe(&cluster),
        ids => describe_process(&plan(&cluster, ids)?),
    };
    print(&format!("{text}{}: ok\n", path.display()))
}

/// The part of the process with these ids, whose files can be read.
fn plan(cluster: &Arc<Cluster>, ids: &[String]) -> Result<Plan, Failure> {
    let refused = |what: String| Failure::Refused(vec![what]);
    let plan = cluster.plan(ids, None).map_err(|error| refused(format!("--id: {error}")))?;
    if let Some(files) = &plan.own.tls {
        LinkTls::from_files(files).map_err(|error| refused(error.to_string()))?;
    }
    Ok(plan)
}

fn describe(cluster: &Cluster) -> String {
    let count = |role| cluster.nodes_of(role).count();
    let (entries, storages, syncs) = (count(Role::Entry), count(Role::Storage), count(Role::Sync));
    let mut lines = Lines::default();
    lines.text(format!(
        "cluster {}: {entries} entry, {storages} ndb, {syncs} sync in {} processes",
        cluster.name,
        cluster.processes.len()
    ));
    lines.table(cluster.processes.iter().map(row).collect());
    for (index, slot) in cluster.slots.iter().enumerate() {
        lines.text(format!("slot {index}: {}", names(slot)));
    }
    let (copies, quorum) = (cluster.copies(), cluster.storage_quorum);
    lines.text(format!(
        "acknowledged when {quorum} of {copies} storages of a slot have it: survives the loss of {}, goes on without {}",
        quorum - 1,
        copies - quorum
    ));
    let majority = cluster.sync_quorum();
    lines.text(format!("ordered by {majority} of {syncs} syncs: goes on without {}", syncs as u32 - majority));
    let encrypted = cluster.processes.iter().any(|process| process.tls.is_some());
    lines.text(format!("links: {}", if encrypted { "TLS" } else { "not encrypted" }));
    lines.0
}

fn describe_process(plan: &Plan) -> String {
    let Plan { own, peers, .. } = plan;
    let mut lines = Lines::default();
    lines.text(format!("process {} of cluster {}", own.id, plan.cluster.name));
    lines.table(vec![row(own)]);
    lines.text(format!("listens for links at {}", own.bind));
    let (dials, awaits): (Vec<&Process>, Vec<&Process>) = peers.iter().partition(|peer| own.id.dials(&peer.id));
    let ids = |peers: &[&Process]| peers.iter().map(|peer| peer.id.to_string()).collect::<Vec<_>>().join(" ");
    for (what, peers) in [("dials", dials), ("is dialled by", awaits)] {
        if !peers.is_empty() {
            lines.text(format!("{what} {}", ids(&peers)));
        }
    }
    lines.0
}

/// Id, roles, link, and what it does beside that.
fn row(process: &Process) -> [String; 4] {
    let roles: Vec<&str> = process.nodes.iter().map(|node| role_name(node.role)).collect();
    let clients = process.clients.iter().map(|client| format!("{} {}", client.protocol, client.address));
    let stores = process.stores.iter().map(|(_, store)| store.to_string());
    let metrics = process.metrics.iter().map(|address| format!("metrics {address}"));
    let more: Vec<String> = clients.chain(metrics).chain(stores).collect();
    [process.id.to_string(), roles.join(","), process.link.to_string(), more.join(", ")]
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(|node| &*node.name).collect::<Vec<_>>().join(" ")
}

/// Text in the making.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn text(&mut self, line: String) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// Rows whose columns begin below each other.
    fn table<const N: usize>(&mut self, rows: Vec<[String; N]>) {
        columns(&rows).iter().for_each(|line| self.text(format!("  {line}")));
    }
}
