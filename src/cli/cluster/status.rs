//! `fennec cluster status`: asks all processes side by side, and shows what they say.
//!
//! ```text
//! cluster.toml -> ask each (ASK, with the key) -> overview -> table or JSON -> exit code
//! ```

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Lines;
use crate::cli::config::cluster::{self, Loaded};
use crate::cli::{Failure, print};
use crate::cluster::ask::{Answer, Question, ask};
use crate::cluster::config::Cluster;
use crate::cluster::overview::{More, NodeRow, Overview, Quorum, Told, Verdict, overview};
use crate::cluster::tls::LinkTls;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct StatusArgs {
    /// The file that all processes of the cluster share
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long to wait for answers, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    timeout: u64,
}

pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let Loaded { cluster, .. } = cluster::load(&args.cluster).map_err(Failure::of_problems)?;
    let tls = tls(&cluster)?;
    let failed = |error: std::io::Error| Failure::Run(format!("cannot start threads: {error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
    let told = runtime.block_on(ask_all(&cluster, tls, Duration::from_millis(args.timeout)));
    // A name that is being looked up would keep it.
    runtime.shutdown_background();
    let overview = overview(&cluster, &told);
    let text = match args.json {
        true => serde_json::to_string_pretty(&overview).map_err(|error| Failure::Run(error.to_string()))? + "\n",
        false => table(&overview),
    };
    print(&text)?;
    match overview.verdict {
        Verdict::Well => Ok(()),
        Verdict::Impaired => Err(Failure::Command { code: 1, line: None }),
        Verdict::Impossible => Err(Failure::Command { code: 2, line: None }),
    }
}

/// Certificates as the links have them: those of the first process whose files are on this machine.
pub(super) fn tls(cluster: &Cluster) -> Result<Option<LinkTls>, Failure> {
    let mut why = None;
    for files in cluster.processes.iter().filter_map(|process| process.tls.as_ref()) {
        match LinkTls::from_files(files) {
            Ok(tls) => return Ok(Some(tls)),
            Err(error) => drop(why.get_or_insert(error)),
        }
    }
    why.map_or(Ok(None), |why| Err(Failure::Refused(vec![why.to_string()])))
}

/// What each process says, in their order.
pub(super) async fn ask_all(cluster: &Arc<Cluster>, tls: Option<LinkTls>, patience: Duration) -> Vec<Told> {
    let ask_one = |index: usize| {
        let (cluster, tls) = (cluster.clone(), tls.clone());
        tokio::spawn(async move {
            let process = &cluster.processes[index];
            match ask(&cluster, tls.as_ref(), process, Question::Status, patience).await {
                Ok(Answer::Status(status)) => Ok(*status),
                Ok(Answer::None | Answer::Heard) => Err("it has just been started".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
    };
    let asked: Vec<_> = (0..cluster.processes.len()).map(ask_one).collect();
    let mut told = Vec::new();
    for one in asked {
        told.push(one.await.unwrap_or_else(|error| Err(error.to_string())));
    }
    told
}

const HEADS: [&str; 10] = ["node", "role", "address", "version", "up", "links", "position", "lag", "pending", "state"];

fn table(overview: &Overview) -> String {
    let mut lines = Lines::default();
    lines.text(format!("cluster {}", overview.cluster));
    lines.table([HEADS.map(str::to_owned)].into_iter().chain(overview.nodes.iter().map(cells)).collect());
    for line in overview.nodes.iter().flat_map(|row| broken_links(row, &overview.nodes)) {
        lines.text(line);
    }
    lines.text(format!("sync quorum: {}", says(&overview.sync_quorum, "vote")));
    for (slot, quorum) in overview.storage_quorums.iter().enumerate() {
        lines.text(format!("storage quorum of slot {slot}: {}", says(quorum, "count")));
    }
    if !overview.not_in_file.is_empty() {
        lines.text(format!("members that the file does not name: {}", overview.not_in_file.join(" ")));
    }
    lines.text(match overview.verdict {
        Verdict::Well => "all is well".to_owned(),
        Verdict::Impaired => "durable publishing is possible, though not all is well".to_owned(),
        Verdict::Impossible => "durable publishing is not possible".to_owned(),
    });
    lines.0
}

fn cells(row: &NodeRow) -> [String; 10] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let up = row.links.iter().filter(|link| link.up).count();
    [
        row.id.clone(),
        row.role.to_owned(),
        row.address.clone(),
        or_none(row.version.clone()),
        or_none(row.uptime_ms.map(span)),
        or_none(row.version.as_ref().map(|_| format!("{up}/{}", row.links.len()))),
        or_none(row.position.map(|position| position.to_string())),
        or_none(row.lag.map(|lag| lag.to_string())),
        or_none(row.more.as_ref().map(pending)),
        state(row),
    ]
}

fn pending(more: &More) -> String {
    match more {
        More::Entry { unresolved_segments, unresolved_bytes, .. } => segments(*unresolved_segments, *unresolved_bytes),
        More::Storage { pending_segments, pending_bytes, sealed_segments, elected, .. } => {
            let mut text = segments(*pending_segments, *pending_bytes);
            if *sealed_segments > 0 {
                // Writing to a String does not fail.
                let _ = write!(text, ", {sealed_segments} sealed");
            }
            if *elected > 0 {
                let _ = write!(text, ", {elected} to apply");
            }
            text
        }
        More::Sync { drafts, commands, .. } => match drafts + commands {
            0 => "none".to_owned(),
            _ => format!("{drafts} drafts, {commands} commands"),
        },
    }
}

fn segments(count: u64, bytes: u64) -> String {
    match (count, bytes) {
        (0, 0) => "none".to_owned(),
        (1, _) => format!("1 segment, {bytes} bytes"),
        _ => format!("{count} segments, {bytes} bytes"),
    }
}

/// What it does, and more of it.
fn state(row: &NodeRow) -> String {
    let name = row.state.name();
    let more = match &row.more {
        Some(More::Entry { incarnation: Some(life), lease_left_ms, connections, .. }) => {
            let clients = if *connections == 1 { "client" } else { "clients" };
            Some(format!("life {life}, lease {:.1} s, {connections} {clients}", *lease_left_ms as f64 / 1000.0))
        }
        Some(More::Storage { followers, .. }) if *followers > 0 => Some(format!("feeds {followers}")),
        Some(More::Sync { .. }) if row.counts == Some(true) => Some("votes".to_owned()),
        _ => None,
    };
    let others = match (row.linked_from, row.unlinked_ms) {
        (_, Some(ms)) => Some(format!("no other has a link to it for {}", span(ms))),
        (Some(1..), None) => Some("others have a link to it".to_owned()),
        _ => None,
    };
    let parts: Vec<&str> = [row.why.as_deref(), more.as_deref(), others.as_deref()].into_iter().flatten().collect();
    if parts.is_empty() { name.to_owned() } else { format!("{name}: {}", parts.join("; ")) }
}

/// Links that are down though both ends answer, once for each process.
fn broken_links(row: &NodeRow, all: &[NodeRow]) -> Vec<String> {
    let is_first = all.iter().find(|other| other.process == row.process).is_some_and(|first| first.id == row.id);
    let answers = |process: &str| all.iter().any(|row| row.process == process && row.version.is_some());
    let broken = row.links.iter().filter(|link| is_first && !link.up && answers(&link.process));
    let line = |link: &crate::cluster::status::LinkStatus| {
        let why = link.trouble.as_deref().unwrap_or("not made yet");
        format!("no link from {} to {} for {}: {why}", row.process, link.process, span(link.since_ms))
    };
    broken.map(line).collect()
}

fn says(quorum: &Quorum, verb: &str) -> String {
    let Quorum { stands, there, needed, members } = quorum;
    let stands = if *stands { "yes" } else { "no" };
    format!("{stands}, {there} of {} {verb}, {needed} needed ({})", members.len(), members.join(" "))
}

/// A time in its largest unit, and the next.
fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!([0, 59_999, 60_000, 3_661_000, 90_000_000].map(span), ["0s", "59s", "1m0s", "1h1m", "1d1h"]);
    }
}
