//! Three machines' worth of processes on one: a fennec cluster, and a NATS JetStream cluster beside it.
//!
//! ```text
//! publisher 1 -> E1 \                        publisher 1 -> n1 \
//! publisher 2 -> E2  N1 N2 N3  S1 S2 S3      publisher 2 -> n2  stream of three replicas, on file
//! publisher 3 -> E3 /                        publisher 3 -> n3 /
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::acknowledged::{self, Line};
use crate::cpu::Reading;
use crate::members::Members;
use crate::mqtt_load::{self, MqttSource};
use crate::nats::{self, NatsSource};
use crate::outcome::{Metric, Outcome};
use crate::pause;
use crate::peer::PeerKind;
use crate::run::{Settings, client_id};

/// What is done with a cluster.
#[derive(Clone, Copy, Debug)]
pub enum Cluster {
    /// One publisher at each entry, so many messages under way in all.
    Publish { under_way: usize },
    /// All links stand, no client is there.
    Idle,
    /// A publisher at each entry; nodes are killed, or paused, one after the other.
    Pause(pause::Fault),
}

impl Cluster {
    pub fn suits(self, peer: PeerKind) -> bool {
        match self {
            Cluster::Publish { .. } | Cluster::Idle => peer == PeerKind::Fennec || is_jetstream(peer),
            Cluster::Pause(_) => peer == PeerKind::Fennec,
        }
    }
}

/// The binaries.
pub struct Programs {
    pub fennec: PathBuf,
    pub nats_server: PathBuf,
}

pub fn is_jetstream(peer: PeerKind) -> bool {
    matches!(peer, PeerKind::Jetstream | PeerKind::JetstreamSynced)
}

/// Runs a case once, with a cluster of its own.
pub fn run(work: Cluster, peer: PeerKind, programs: &Programs, settings: Settings) -> io::Result<Outcome> {
    let mut members = start(peer, programs)?;
    let done = match work {
        Cluster::Publish { under_way } => publish(&members, peer, under_way, settings),
        Cluster::Idle => idle(&members, settings),
        Cluster::Pause(fault) => pause::run(&mut members, fault, settings),
    };
    done.map_err(|error| members.failure(&error.to_string()))
}

fn start(peer: PeerKind, programs: &Programs) -> io::Result<Members> {
    if !is_jetstream(peer) {
        return Members::fennec(&programs.fennec);
    }
    let members = Members::jetstream(&programs.nats_server, peer == PeerKind::JetstreamSynced)?;
    nats::make_stream(members.clients[0]).map_err(|error| members.failure(&error.to_string()))?;
    Ok(members)
}

fn publish(members: &Members, peer: PeerKind, under_way: usize, settings: Settings) -> io::Result<Outcome> {
    let count = members.clients.len();
    let line = |(index, client): (usize, &SocketAddr)| {
        // What cannot be shared evenly is the first ones'.
        let share = under_way / count + usize::from(index < under_way % count);
        publisher(peer, *client, index as u16, share, settings)
    };
    let lines = members.clients.iter().enumerate().map(line).collect::<io::Result<Vec<Line>>>()?;
    acknowledged::run(lines, &members.pids(), settings)
}

fn publisher(peer: PeerKind, at: SocketAddr, index: u16, share: usize, settings: Settings) -> io::Result<Line> {
    if is_jetstream(peer) {
        let stream = nats::connect(at, Some(index))?;
        return Line::new(stream, Box::new(NatsSource::new(index, settings.shape)), share);
    }
    let stream = mqtt_load::connect(at, &client_id("publisher", index))?;
    Line::new(stream, Box::new(MqttSource::new(index, &format!("bench/{index}"), 1, settings.shape)), share)
}

/// What all processes together use while nobody wants anything.
fn idle(members: &Members, settings: Settings) -> io::Result<Outcome> {
    std::thread::sleep(settings.warm_up.max(Duration::from_secs(2)));
    let before = Reading::of(&members.pids())?;
    std::thread::sleep(settings.measured);
    let spent = Reading::of(&members.pids())?.since(&before);
    let mut outcome = Outcome { counted: members.pids().len() as u64, ..Outcome::default() };
    let percent = |ns: u64| ns as f64 * 100.0 / spent.elapsed.as_nanos() as f64;
    outcome.set(Metric::IdlePercent, percent(spent.broker.map_or(0, |broker| broker.total_ns)));
    outcome.set(Metric::OthersPercent, percent(spent.others_ns));
    Ok(outcome)
}

/// Where a peer's programs are, from the command line.
pub fn programs(fennec: &Path, nats_server: &Path) -> Programs {
    Programs { fennec: fennec.to_path_buf(), nats_server: nats_server.to_path_buf() }
}
