//! `fennec cluster apply`: has the cluster be what the file says of storages, slots and syncs.
//!
//! ```text
//! cluster.toml -> Change; ask all how they are -> Change::step -> wait, or ask the syncs for MEMBERS -> … -> done
//! ```
//!
//! Asked again it asks for the same, so it may be interrupted at any time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::status::{ask_all, tls};
use crate::cli::config::cluster::{self, Loaded};
use crate::cli::{Failure, print};
use crate::cluster::ask::{Question, ask};
use crate::cluster::config::{Cluster, Process};
use crate::cluster::status::{Report, Status};
use crate::cluster::tls::LinkTls;
use crate::queue::change::{Change, Refused, Step, View, Wanted};
use crate::queue::envelope::{NodeId, OrderCommand, Role};
use crate::queue::quorum::Members;

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often all are asked.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ApplyArgs {
    /// The file that all processes of the cluster share
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// How long to wait for storages that copy, and for nodes that are not there, in seconds
    #[arg(long, value_name = "S", default_value_t = 600)]
    timeout: u64,
}

pub(super) fn run(args: &ApplyArgs) -> Result<(), Failure> {
    let Loaded { cluster, .. } = cluster::load(&args.cluster).map_err(Failure::of_problems)?;
    let tls = tls(&cluster)?;
    let failed = |error: std::io::Error| Failure::Run(format!("cannot start threads: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
    let applied = runtime.block_on(apply(&cluster, tls, Duration::from_secs(args.timeout)));
    // A name that is being looked up would keep it.
    runtime.shutdown_background();
    applied
}

async fn apply(cluster: &Arc<Cluster>, tls: Option<LinkTls>, patience: Duration) -> Result<(), Failure> {
    let until = Instant::now() + patience;
    let mut change = Change::new(wanted(cluster));
    let (mut before, mut said) = (None, Vec::new());
    loop {
        let views = views(cluster, tls.clone()).await;
        let members = views.iter().max_by_key(|view| (view.members_at, view.position)).map(|view| &view.members);
        let waits = match change.step(&views) {
            Ok(Step::Done { position }) => return print(&done(cluster, before.as_ref(), position)),
            Ok(Step::Wait(waits)) => waits,
            Ok(Step::Ask(command)) => {
                ask_syncs(cluster, tls.as_ref(), &command).await;
                vec!["the syncs are asked".to_owned()]
            }
            // A sync that was there may be there again.
            Err(refused @ (Refused::Unknown | Refused::NoMajority { .. })) if before.is_some() => {
                vec![refused.to_string()]
            }
            Err(refused) => return Err(Failure::Refused(vec![refused.to_string()])),
        };
        before = before.or_else(|| members.cloned());
        if Instant::now() >= until {
            return Err(Failure::TimedOut(format!("not in time: {}", waits.join("; "))));
        }
        if waits != said {
            print(&waits.iter().map(|line| format!("waits: {line}\n")).collect::<String>())?;
            said = waits;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn wanted(cluster: &Cluster) -> Wanted {
    let nodes_of = |role| cluster.nodes_of(role).cloned().collect();
    Wanted {
        entries: nodes_of(Role::Entry),
        syncs: nodes_of(Role::Sync),
        slots: cluster.slots.clone(),
        storage_quorum: cluster.storage_quorum,
    }
}

/// What each sync that answers knows.
async fn views(cluster: &Arc<Cluster>, tls: Option<LinkTls>) -> Vec<View> {
    let told = ask_all(cluster, tls, PATIENCE).await;
    let answers =
        cluster.processes.iter().zip(&told).filter_map(|(process, told)| Some((process, told.as_ref().ok()?)));
    answers.filter_map(|(process, status)| view(process, status)).collect()
}

fn view(process: &Process, status: &Status) -> Option<View> {
    let sync = status.nodes.iter().find_map(|node| match &node.report {
        Some(Report::Sync(sync)) => Some((node.node.clone(), sync)),
        _ => None,
    });
    let (sync, report) = sync?;
    let (members_at, members) = report.members.clone()?;
    // By name, for it may be linked to some that the file does not have any more.
    let up = status.links.iter().filter(|link| link.up).flat_map(|link| link.process.split(','));
    let own = process.nodes.iter().map(|node| &*node.name);
    Some(View {
        sync,
        standing: report.standing,
        position: report.position,
        members_at,
        members,
        disks: report.disks.iter().map(|(node, store, position)| (node.clone(), (*store, *position))).collect(),
        linked: up.chain(own).map(str::to_owned).collect(),
    })
}

/// Those who do not hear it are asked again, or others are enough.
async fn ask_syncs(cluster: &Arc<Cluster>, tls: Option<&LinkTls>, command: &OrderCommand) {
    let OrderCommand::Members { behind, members } = command else { return };
    let syncs = cluster.processes.iter().filter(|process| process.nodes.iter().any(|node| node.role == Role::Sync));
    for process in syncs {
        let question = Question::Members { behind: *behind, members: members.clone() };
        let _ = ask(cluster, tls, process, question, PATIENCE).await;
    }
}

/// What has come of it. `before`: the table before, if that was another.
fn done(cluster: &Cluster, before: Option<&Members>, position: u64) -> String {
    let own: BTreeSet<&NodeId> = cluster.slots.iter().flatten().chain(cluster.nodes_of(Role::Sync)).collect();
    let members = |members: &Members| {
        let all = members.syncs.iter().chain(members.slots.iter().flatten());
        all.map(|member| member.node.clone()).collect::<BTreeSet<_>>()
    };
    let before = before.map(members).unwrap_or_default();
    let gone: Vec<&str> = before.iter().filter(|node| !own.contains(node)).map(|node| &*node.name).collect();
    let may_stop = if gone.is_empty() { String::new() } else { format!("may be stopped: {}\n", gone.join(" ")) };
    format!("the cluster is as the file says, since position {position}\n{may_stop}")
}
