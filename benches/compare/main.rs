//! Compares fennec with other brokers: `cargo bench --bench compare -- --help`.
//!
//! Every run starts a broker in a process of its own, drives one case through it and ends it; rounds are interleaved, so
//! that whatever else the machine does hits all brokers alike. `docs/benchmarks.md` says what is measured and how.

mod acknowledged;
mod away;
mod board;
mod case;
mod cluster;
mod commits;
mod cpu;
mod durable;
mod idle;
mod latency;
mod load;
mod members;
mod mqtt_load;
mod nats;
mod outcome;
mod pause;
mod payload;
mod peer;
mod publish;
mod receive;
mod relay;
mod report;
mod run;
mod schedule;
mod segments;
mod tracker;
mod uplink;
mod wamp_load;
mod webhook;
mod websocket;
mod wire;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::case::{CASES, Case, Work};
use crate::commits::Commit;
use crate::load::Timing;
use crate::payload::Shape;
use crate::peer::{Become, Keep, Peer, PeerKind, Target};
use crate::report::{Record, Report};
use crate::run::Settings;

#[derive(Parser)]
#[command(name = "compare", about = "Drives loads through fennec and other brokers and compares them")]
struct Args {
    /// Cases to run; all, if none is named
    #[arg(long, num_args = 1.., value_name = "NAME")]
    case: Vec<String>,
    /// Names the cases
    #[arg(long)]
    list: bool,
    /// Runs of each case with each broker
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measured seconds of a run
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds before measuring begins
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Brokers to compare
    #[arg(long, value_delimiter = ',', default_values = ["fennec", "mosquitto", "rumqttd", "sqlx", "sqlx-single", "jetstream"])]
    peers: Vec<PeerKind>,
    /// Messages that a subscriber may lag behind (closed loop)
    #[arg(long, default_value_t = 20_000)]
    window: u64,
    /// Gigabytes of the log that a broker is started on
    #[arg(long, default_value_t = 10)]
    gigabytes: u64,
    /// What the 64 bytes of a payload look like
    #[arg(long, value_enum, default_value_t)]
    payload: Shape,
    /// Also writes all results to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The binary to measure
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_fennec"))]
    fennec: PathBuf,
    /// The nats-server to compare a cluster with
    #[arg(long, value_name = "PATH", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Drives a broker that runs already
    #[arg(long, requires = "addr")]
    driver_only: bool,
    /// Its MQTT address
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<SocketAddr>,
    /// Its HTTP address, for WAMP over WebSocket
    #[arg(long, value_name = "HOST:PORT")]
    http_addr: Option<SocketAddr>,
    /// Its process, to read CPU and memory of
    #[arg(long)]
    pid: Option<u32>,
    /// Measures what the driver itself can do, with a toy relay in place of a broker
    #[arg(long)]
    self_test: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    become_peer: Option<PeerKind>,
    #[arg(long, hide = true)]
    peer_port: Vec<u16>,
    #[arg(long, hide = true, default_value = ".")]
    peer_directory: PathBuf,
    #[arg(long, hide = true)]
    peer_on_disk: bool,
    #[arg(long, hide = true)]
    become_member: bool,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    member_arg: Vec<String>,
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benches too, without an argument: measuring is not what is wanted then.
    if std::env::args().len() == 1 {
        println!("nothing measured: cargo bench --bench compare");
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    let done = match args.become_peer {
        _ if args.become_member => members::become_member(&args.member_arg).map(|()| true),
        Some(kind) => {
            let (ports, directory) = (args.peer_port, args.peer_directory);
            let keep = if args.peer_on_disk { Keep::Disk } else { Keep::Memory };
            peer::become_peer(Become { kind, fennec: args.fennec, ports, directory, keep }).map(|()| true)
        }
        None => compare(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; false if a run failed.
fn compare(args: &Args) -> io::Result<bool> {
    if args.list {
        CASES.iter().for_each(|case| println!("{:<22} {}", case.name, case.what));
        return Ok(true);
    }
    let cases = selected(args)?;
    idle::raise_open_files()?;
    let mut runs = Vec::new();
    for case in cases {
        for round in 0..case.rounds(args.rounds) {
            let peers = peers(args).into_iter().filter(|peer| case.suits(*peer));
            runs.extend(peers.map(|peer| record(case, peer, round, args)));
        }
    }
    let complete = runs.iter().all(|run| run.error.is_none());
    let report = Report::new(runs);
    println!("{}", report.text());
    if let Some(path) = &args.json {
        fs::write(path, report.json()?)?;
    }
    Ok(complete)
}

fn selected(args: &Args) -> io::Result<Vec<&'static Case>> {
    if args.case.is_empty() {
        let suits_one = |case: &&Case| peers(args).iter().any(|peer| case.suits(*peer));
        return Ok(CASES.iter().filter(suits_one).collect());
    }
    let find = |name: &String| {
        let unknown = || io::Error::other(format!("no case is called {name}; --list names them"));
        CASES.iter().find(|case| case.name == name).ok_or_else(unknown)
    };
    args.case.iter().map(find).collect()
}

fn peers(args: &Args) -> Vec<PeerKind> {
    match (args.driver_only, args.self_test) {
        (true, _) => vec![PeerKind::Running],
        (false, true) => vec![PeerKind::Relay],
        (false, false) => args.peers.clone(),
    }
}

/// Runs a case once and says how it went while the others are still to come.
fn record(case: &Case, peer: PeerKind, round: usize, args: &Args) -> Record {
    let settings = Settings {
        warm_up: Duration::from_secs_f64(args.warm_up),
        measured: Duration::from_secs_f64(args.seconds),
        window: args.window,
        shape: args.payload,
        gigabytes: args.gigabytes,
    };
    let timing = Timing { warm_up: settings.warm_up, measured: settings.measured, broker_pid: None };
    let result = match (peer, args.addr) {
        _ if let Work::Cluster(work) = case.work => {
            cluster::run(work, peer, &cluster::programs(&args.fennec, &args.nats_server), settings)
        }
        (PeerKind::Sqlx, _) => commits::bare_commits(Commit::Transaction, timing),
        (PeerKind::SqlxSingle, _) => commits::bare_commits(Commit::Single, timing),
        (PeerKind::Running, Some(mqtt)) => {
            run::run(case, &mut Peer::running(Target { mqtt, http: args.http_addr, pid: args.pid }), settings)
        }
        _ => Peer::new(peer, &args.fennec, case.keep())
            .and_then(|mut peer| run::run(case, &mut peer, settings).map_err(|error| peer.failure(&error.to_string()))),
    };
    let (outcome, error) = match result {
        Ok(outcome) => (Some(outcome), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let how = match (&outcome, &error) {
        (Some(outcome), _) => format!("{} counted", outcome.counted),
        (_, error) => error.clone().unwrap_or_default(),
    };
    eprintln!("{} {} round {}: {how}", case.name, peer.name(), round + 1);
    Record { case: case.name, peer, round, outcome, error }
}
