//! `fennec entry`, `ndb`, `sync` and `node`: one process of a cluster.
//!
//! ```text
//! cluster.toml -> Plan -> links (Mesh) -> a thread for each role; an entry is a Broker whose log the cluster keeps
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::args::ServeArgs;
use super::broker::{Broker, LogWork, make_node};
use super::config::cluster::{self, Loaded};
use super::config::{Config, Flag};
use super::stop::Stop;
use super::{Failure, log, print, reload, serve};
use crate::cluster::ask::{Answer, Answers, Question};
use crate::cluster::board::Board;
use crate::cluster::config::{Plan, role_name};
use crate::cluster::entry::Entry;
use crate::cluster::fresh;
use crate::cluster::inbox::Inbox;
use crate::cluster::interest;
use crate::cluster::line::LinkLimits;
use crate::cluster::mesh::Mesh;
use crate::cluster::metrics;
use crate::cluster::ndb::Ndb;
use crate::cluster::overview::{State, state_of};
use crate::cluster::process::{self, AskStorages, Running};
use crate::cluster::promises::PromiseFile;
use crate::cluster::status::{NodeStatus, Status};
use crate::cluster::sync::SyncLimits;
use crate::cluster::tls::LinkTls;
use crate::cluster::view;
use crate::http::MoreMetrics;
use crate::http::bare::{self, Sights};
use crate::mqtt::mirror;
use crate::net::clock::Clock;
use crate::net::listen::Listener;
use crate::node::Node;
use crate::node::log::ClockFn;
use crate::node::log::follow::Readers;
use crate::queue::entry::EntryLimits;
use crate::queue::envelope::{Envelope, NodeId, OrderCommand, Role, RoleMessage};
use crate::queue::quorum::{Members, StoreId};
use crate::queue::state::StateLimits;
use crate::store::{self, StoreSettings, StoreUrl, SyncMode};

/// Bytes that wait for a role before its links are not read any more.
const INBOX_BYTES_MAX: usize = 64 << 20;
/// Length at which a sync's file of promises is written anew.
const PROMISES_BYTES_MAX: u64 = 4 << 20;
/// An entry that is silent for so long is given up by the syncs.
const LEASE: Duration = Duration::from_secs(6);
/// How long a sync waits for another to open a vote: longer than that takes on a busy machine.
const OPENING: Duration = Duration::from_millis(5);
/// How long a vote waits for an entry's segment that was begun, or that follows one that was just elected: about as long as that takes.
const GATHER: Duration = Duration::from_millis(2);
/// How long a sync that starts waits for all others: longer than any tries anew to link.
const SYNC_PATIENCE: Duration = Duration::from_millis(2500);
/// How often an entry that begins is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The same of one that works.
const LOOK_WORKING: Duration = Duration::from_millis(200);
/// How long an entry that stops waits for what its clients have left to be in the log: how far their sessions are, for one.
const SETTLE: Duration = Duration::from_secs(2);
/// A cluster that has not accepted an entry for so long is said to be incomplete, again and again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keys that say where a broker keeps what it has.
const KEPT_BY: [&str; 3] = ["data", "store", "memory"];

#[derive(Debug, clap::Args)]
pub(super) struct NodeArgs {
    /// Id of this process in the file: E1, or E1,N1,S1 if it plays several roles
    #[arg(long, value_name = "ID", value_delimiter = ',', required = true)]
    id: Vec<String>,
    /// The file that all processes of the cluster share
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Runs a process. `role`: the only one that it may play.
pub(super) fn run(args: NodeArgs, role: Option<Role>) -> Result<(), Failure> {
    let Loaded { cluster, warnings } = cluster::load(&args.cluster).map_err(Failure::of_problems)?;
    let plan = cluster.plan(&args.id, role).map_err(|error| Failure::Refused(vec![format!("--id: {error}")]))?;
    let config = configure(&plan, &args.cluster, args.serve)?;
    log::start(&config.log, config.log_format, config.audit_log.as_deref())
        .map_err(|error| Failure::Run(format!("cannot log: {error}")))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let failed = |error: std::io::Error| Failure::Run(format!("cannot start threads: {error}"));
    // A sync or storage stops the thread that it runs on when it waits for its disk: its own links would wait anyway, others need not.
    let workers = plan.own.nodes.len().min(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let mut signals = Signals::catch(&runtime)?;
    let hangup = reload::catch(&runtime)?;
    let process = Process::start(&plan, &runtime)?;
    reload::follow(hangup, &runtime, args.cluster, plan, process.mesh.clone());
    let result = process.live(&config, &mut signals);
    process.stop(&runtime);
    runtime.shutdown_background();
    result
}

/// The broker's configuration, with the listeners of the cluster's file.
fn configure(plan: &Plan, file: &Path, serve: ServeArgs) -> Result<Config, Failure> {
    let mut sources = serve.sources();
    let is_the_clusters = |flag: &&Flag| flag.key.starts_with("listen.") || KEPT_BY.contains(&&*flag.key);
    if let Some(flag) = sources.flags.iter().find(is_the_clusters) {
        return Err(Failure::Refused(vec![format!("{}: stands in {}", flag.name, file.display())]));
    }
    // What has no clients has the listeners of a broker, and does not open them.
    let is_entry = plan.own.nodes.iter().any(|node| node.role == Role::Entry);
    for protocol in ["mqtt", "mqtts", "http", "https", "rawsocket", "rawsockets"].iter().filter(|_| is_entry) {
        let own = plan.own.clients.iter().filter(|client| client.protocol == *protocol);
        let addresses: Vec<String> = own.map(|client| client.address.to_string()).collect();
        let value = if addresses.is_empty() { "off".to_owned() } else { addresses.join(",") };
        sources.flags.push(Flag { name: "cluster.toml".to_owned(), key: format!("listen.{protocol}"), value });
    }
    sources.flags.push(Flag { name: "cluster.toml".to_owned(), key: "memory".to_owned(), value: "true".to_owned() });
    Config::load(&sources).map_err(Failure::of_problems)
}

/// The signals that end the process.
struct Signals {
    stop: Stop,
    runtime: tokio::runtime::Handle,
}

impl Signals {
    fn catch(runtime: &Runtime) -> Result<Self, Failure> {
        let _within = runtime.enter();
        Ok(Self { stop: Stop::new()?, runtime: runtime.handle().clone() })
    }

    /// Waits for one, as long as this.
    fn wait(&mut self, patience: Duration) -> bool {
        let Self { stop, runtime } = self;
        runtime.block_on(async { tokio::time::timeout(patience, stop.asked()).await.is_ok() })
    }
}

/// What became of a life of an entry that was to begin.
enum Begun {
    Works(Box<Broker>, Ended),
    /// It is over, for this reason.
    Not(String),
    /// A signal came before the cluster accepted it.
    Stopped,
}

/// A process whose links and roles work.
struct Process {
    plan: Plan,
    mesh: Mesh,
    clock: Clock,
    roles: Vec<(NodeId, Running)>,
    entry: Option<(NodeId, Arc<Inbox>)>,
    linked: Arc<Mutex<BTreeSet<NodeId>>>,
    board: Board,
}

impl Process {
    fn start(plan: &Plan, runtime: &Runtime) -> Result<Self, Failure> {
        let own = &plan.own;
        let tls = own.tls.as_ref().map(LinkTls::from_files).transpose();
        let tls = tls.map_err(|error| Failure::Refused(vec![error.to_string()]))?;
        let inboxes: Vec<(NodeId, Arc<Inbox>)> =
            own.nodes.iter().map(|node| (node.clone(), Inbox::new(INBOX_BYTES_MAX))).collect();
        let limits = LinkLimits { silence: plan.cluster.silence, ..LinkLimits::default() };
        let clock = Clock::default();
        let mesh = {
            let _within = runtime.enter();
            let listener = Listener::bind(own.bind).map_err(|error| Failure::Run(format!("bind: {error}")))?;
            Mesh::start(plan, listener, tls, &limits, inboxes.clone())
        };
        let mesh = mesh.map_err(|error| Failure::Run(format!("cannot begin the links: {error}")))?;
        let board = Board::new(&own.nodes);
        mesh.answer_with(answers(board.clone(), clock, inboxes.clone()));
        let mut process =
            Self { plan: plan.clone(), mesh, clock, roles: Vec::new(), entry: None, linked: Arc::default(), board };
        process.show(runtime)?;
        for (node, inbox) in inboxes {
            process.begin(node, inbox)?;
        }
        Ok(process)
    }

    /// Answers those who look at metrics, if the file says where.
    fn show(&self, runtime: &Runtime) -> Result<(), Failure> {
        let Some(address) = self.plan.own.metrics else { return Ok(()) };
        let _within = runtime.enter();
        let listener = Listener::bind(address).map_err(|error| Failure::Run(format!("metrics: {error}")))?;
        let (more, board, clock) = (self.more_metrics(), self.board.clone(), self.clock);
        let sights = Sights {
            metrics: Box::new(move |text| {
                more(text);
                text.program(clock);
            }),
            troubles: Box::new(move || troubles(&board)),
        };
        runtime.spawn(bare::serve(listener, Arc::new(sights)));
        Ok(())
    }

    /// Metrics of links and roles.
    fn more_metrics(&self) -> MoreMetrics {
        let (mesh, board) = (self.mesh.clone(), self.board.clone());
        Arc::new(move |text| metrics::write(text, &mesh, &board))
    }

    fn begin(&mut self, node: NodeId, inbox: Arc<Inbox>) -> Result<(), Failure> {
        let running = match node.role {
            Role::Entry => {
                self.entry = Some((node, inbox));
                return Ok(());
            }
            Role::Storage => self.begin_ndb(&node, &inbox)?,
            Role::Sync => self.begin_sync(&node, &inbox)?,
        };
        tracing::info!(%node, role = role_name(node.role), "the node works");
        self.roles.push((node, running));
        Ok(())
    }

    fn begin_ndb(&self, node: &NodeId, inbox: &Arc<Inbox>) -> Result<Running, Failure> {
        let named = |what: String| Failure::Run(format!("{node}: {what}"));
        let url = self.store_of(node)?;
        let folder = match &url {
            StoreUrl::Folder(folder) => Some(folder.clone()),
            _ => None,
        };
        if let Some(folder) = &folder {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|error| named(format!("cannot make the folder {}: {error}", folder.display())))?;
        }
        let settings = StoreSettings { url, sync: SyncMode::Always, sync_interval_ms: 0, strict: true };
        let opened = store::open(&settings).map_err(|error| named(format!("cannot open the store: {error}")))?;
        let disk = (opened.store, folder.as_deref());
        let ndb = Ndb::open(node.clone(), self.members(), disk, StateLimits::default(), fresh_id()?);
        let ndb = ndb.map_err(|error| named(error.to_string()))?;
        process::run_ndb(ndb, inbox, &self.mesh, self.clock_fn(), &self.board.place(node))
            .map_err(|error| named(error.to_string()))
    }

    fn begin_sync(&self, node: &NodeId, inbox: &Arc<Inbox>) -> Result<Running, Failure> {
        let named = |what: String| Failure::Run(format!("{node}: {what}"));
        let StoreUrl::Folder(folder) = self.store_of(node)? else {
            return Err(named("a sync keeps its promises in a folder".to_owned()));
        };
        // Without random numbers the process would not have come so far.
        let fresh = Box::new(|| fresh_id().unwrap_or_default());
        let limits = SyncLimits {
            lease_us: LEASE.as_micros() as u64,
            patience_us: SYNC_PATIENCE.as_micros() as u64,
            opening_us: OPENING.as_micros() as u64,
            gather_us: GATHER.as_micros() as u64,
            file_bytes_max: PROMISES_BYTES_MAX,
        };
        let sync = PromiseFile::open(node.clone(), self.members(), limits, &folder, fresh);
        let sync = sync.map_err(|error| named(format!("cannot open {}: {error}", folder.display())))?;
        Ok(process::run_sync(sync, inbox, &self.mesh, self.clock_fn(), &self.board.place(node)))
    }

    fn store_of(&self, node: &NodeId) -> Result<StoreUrl, Failure> {
        let found = self.plan.own.stores.iter().find(|(known, _)| known == node);
        found.map(|(_, url)| url.clone()).ok_or_else(|| Failure::Run(format!("{node}: has no store")))
    }

    /// Who takes part at first. Disks are known when all have met.
    fn members(&self) -> Members {
        self.plan.cluster.members(|_| StoreId::default())
    }

    fn clock_fn(&self) -> ClockFn {
        let clock = self.clock;
        Arc::new(move || clock.now_ms())
    }

    /// Works until a signal comes. An entry whose life the cluster has ended begins another.
    fn live(&self, config: &Config, signals: &mut Signals) -> Result<(), Failure> {
        let Some((node, inbox)) = &self.entry else {
            print(&format!("fennec {} {}: works\n", env!("CARGO_PKG_VERSION"), self.plan.own.id))?;
            while !signals.wait(Duration::from_secs(1)) {
                if let Some((node, _)) = self.roles.iter().find(|(_, running)| running.is_finished()) {
                    return Err(Failure::Run(format!("{node} has stopped; see the log")));
                }
            }
            return Ok(());
        };
        loop {
            let (broker, ended) = match self.begin_entry(config, node, inbox, signals)? {
                Begun::Works(broker, ended) => (broker, ended),
                Begun::Not(why) => {
                    // The storages may be out of reach, for a while.
                    tracing::warn!(%node, why, "this life of the entry cannot begin: another is tried");
                    if signals.wait(LOOK_WORKING) {
                        return Ok(());
                    }
                    continue;
                }
                Begun::Stopped => return Ok(()),
            };
            let data = format!("cluster {}", self.plan.cluster.name);
            print(&serve::banner(config, &broker, &data))?;
            let stopped = loop {
                if signals.wait(LOOK_WORKING) {
                    break true;
                }
                if ended.lock().is_some() {
                    break false;
                }
            };
            broker.stop(|| !stopped);
            if stopped {
                return Ok(());
            }
            tracing::warn!(%node, "the entry begins anew");
        }
    }

    /// Begins a life of the entry.
    fn begin_entry(
        &self,
        config: &Config,
        node: &NodeId,
        inbox: &Arc<Inbox>,
        signals: &mut Signals,
    ) -> Result<Begun, Failure> {
        let broker_node = make_node(config)?;
        let reached = Arc::new(AtomicU64::new(0));
        let ask = AskStorages::new(self.mesh.clone(), node.clone(), reached.clone());
        let readers: Readers = Arc::new(move || process::reader(&ask));
        // What may wait is bounded where it is submitted.
        let lease_us = LEASE.as_micros() as u64;
        let limits = EntryLimits { waiting_bytes_max: usize::MAX, lease_us, ..EntryLimits::default() };
        // Syncs tell which is in force.
        let members = self.mesh.cluster().members(|_| StoreId::default());
        let entry = Entry::new(node.clone(), members, limits, broker_node.clone(), reached);
        let woken = inbox.clone();
        broker_node.log.wake_by(move || woken.wake());
        let ready = Arc::new(AtomicBool::new(false));
        let take_up = {
            let (node, ready, clock) = (broker_node.clone(), ready.clone(), self.clock_fn());
            let publications = self.plan.cluster.key.derive("publication ids");
            move || {
                let position = take_up(&node, &readers, &publications, clock)?;
                ready.store(true, Ordering::Release);
                Ok(position)
            }
        };
        let failed = |error: std::io::Error| Failure::Run(format!("cannot start threads: {error}"));
        let linked = self.linked.clone();
        let beside = self.exchange(node, &broker_node).map_err(failed)?;
        let syncs = self.plan.cluster.nodes_of(Role::Sync).cloned().collect();
        fresh::run(node.clone(), syncs, &broker_node, &self.mesh).map_err(failed)?;
        view::open(node.clone(), &broker_node, &self.mesh);
        let place = self.board.place(node);
        place.clear();
        let handle = process::run_entry(entry, inbox, &self.mesh, self.clock_fn(), (linked, beside), &place, take_up);
        let handle = handle.map_err(failed)?;
        let mut waited = Duration::ZERO;
        while !ready.load(Ordering::Acquire) {
            if signals.wait(LOOK) {
                handle.end();
                return Ok(Begun::Stopped);
            }
            if let Some(why) = handle.ended() {
                return Ok(Begun::Not(why));
            }
            waited += LOOK;
            if waited >= PATIENCE {
                waited = Duration::ZERO;
                tracing::warn!(%node, without = self.unlinked().join(", "), "the cluster has not accepted this entry yet");
            }
        }
        let ended = handle.ended_cell();
        let broker = Broker::open(config, self.clock, broker_node, LogWork::Cluster(handle, self.more_metrics()))?;
        Ok(Begun::Works(Box::new(broker), ended))
    }

    /// Begins to exchange events with the other entries.
    fn exchange(&self, own: &NodeId, node: &Arc<Node>) -> std::io::Result<interest::Exchanging> {
        let peers = self.mesh.cluster().nodes_of(Role::Entry).filter(|entry| *entry != own).cloned().collect();
        let linked = self.linked.lock().clone();
        let (mesh, clock) = (&self.mesh, self.clock_fn());
        interest::run(own.clone(), peers, |node| linked.contains(node), node.clone(), mesh, clock)
    }

    /// Processes to which there is no link.
    fn unlinked(&self) -> Vec<String> {
        let stats = self.mesh.stats();
        stats.iter().filter(|link| !link.connected).map(|link| link.process.to_string()).collect()
    }

    fn stop(self, runtime: &Runtime) {
        for (_, running) in self.roles {
            running.stop();
        }
        runtime.block_on(self.mesh.stop());
    }
}

/// What this process tells those who ask.
fn answers(board: Board, clock: Clock, inboxes: Vec<(NodeId, Arc<Inbox>)>) -> Answers {
    Arc::new(move |question, links| match question {
        Question::Members { behind, members } => {
            let Some((sync, inbox)) = inboxes.iter().find(|(node, _)| node.role == Role::Sync) else {
                return Answer::None;
            };
            let message = RoleMessage::AskCommand(OrderCommand::Members { behind, members });
            inbox.tell(Envelope { from: sync.clone(), to: sync.clone(), message });
            Answer::Heard
        }
        Question::Status => {
            let uptime = Duration::from_millis(clock.uptime_ms());
            Answer::Status(Box::new(Status::of_this(uptime, links, board.read())))
        }
    })
}

/// Why nodes of this process do not do what they are for.
fn troubles(board: &Board) -> Vec<String> {
    let trouble = |said: NodeStatus| {
        let (state, why) = state_of(Some(&said));
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        (state != State::Works).then(|| format!("{} {}{why}", said.node, state.name()))
    };
    board.read().into_iter().filter_map(trouble).collect()
}

type Ended = Arc<Mutex<Option<String>>>;

/// What an entry has to know before clients come.
fn take_up(node: &Arc<Node>, readers: &Readers, publications: &[u8; 16], clock: ClockFn) -> Result<u64, String> {
    node.begin_time(clock());
    let position = node.follow_log(readers, publications).map_err(|error| error.to_string())?;
    mirror::load(node, &mut *readers()).map_err(|error| error.to_string())?;
    node.run_followed_log(readers, clock).map_err(|error| error.to_string())?;
    Ok(position)
}

fn fresh_id() -> Result<StoreId, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Run(format!("no random numbers: {error}")))?;
    Ok(StoreId(u128::from_le_bytes(bytes)))
}

impl LogWork {
    /// What it tells beside the log's own metrics.
    pub(super) fn more_metrics(&self) -> Option<MoreMetrics> {
        match self {
            Self::Own(_) => None,
            Self::Cluster(_, more) => Some(more.clone()),
        }
    }

    /// Takes nothing more, and waits until what was taken is stored.
    pub(super) fn stop(self, node: &Node) {
        match self {
            Self::Own(threads) => threads.stop(),
            Self::Cluster(entry, _) => {
                node.log.stop_taking();
                let until = Instant::now() + SETTLE;
                while node.log.unresolved_bytes() > 0 && entry.ended().is_none() && Instant::now() < until {
                    std::thread::sleep(LOOK);
                }
                entry.end();
            }
        }
    }
}
