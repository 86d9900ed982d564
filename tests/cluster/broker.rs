//! The nine processes of a cluster, on ports and folders that outlive them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub const ENTRIES: [&str; 3] = ["E1", "E2", "E3"];
pub const STORAGES: [&str; 3] = ["N1", "N2", "N3"];
pub const SYNCS: [&str; 3] = ["S1", "S2", "S3"];
const CONFIG: &str = "[[durable]]\ntopic = 'crash/#'\n[[durable]]\ntopic = 'short/#'\nmax_messages = 20\n\
                      [services]\nallow_networks = ['127.0.0.0/8']\n";
/// Below those that the system gives to outgoing connections, which could take the port of a node that is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// A link that brings nothing for so long is dead, where a test is about that.
pub const SILENCE: Duration = Duration::from_millis(2500);
/// Elsewhere: however slow the machine is, no link ends but with a process.
const PATIENT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Where an entry listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub mqtt: u16,
    pub http: u16,
}

/// All killed when dropped. There is one at a time: more would be slower than leases of entries allow.
pub struct Cluster {
    _turn: MutexGuard<'static, ()>,
    folder: tempfile::TempDir,
    ports: Vec<Ports>,
    /// Where each node answers those who look at metrics.
    metrics: BTreeMap<&'static str, u16>,
    nodes: BTreeMap<&'static str, Node>,
}

#[derive(Default)]
struct Node {
    child: Option<Child>,
    /// What it has printed in all its lives.
    log: Arc<Mutex<String>>,
}

impl Cluster {
    /// Starts all, and waits until all are linked and all entries take clients. Links end with their processes alone.
    pub fn start(limit: Duration) -> Cluster {
        Self::start_with(limit, PATIENT)
    }

    /// The same; `silence`: a link that brings nothing for so long is dead.
    pub fn start_with(limit: Duration, silence: Duration) -> Cluster {
        Self::start_via(limit, silence, |_, _, port| port)
    }

    /// The same; `config`: what is in the configuration of all entries, too.
    pub fn start_configured(limit: Duration, config: &str) -> Cluster {
        Self::start_as(limit, SILENCE, config, |_, _, port| port)
    }

    /// The same with something between the nodes: `via(from, to, port)` is the port at which `from` finds `to`, which listens on
    /// `port`.
    pub fn start_via(
        limit: Duration,
        silence: Duration,
        via: impl FnMut(&'static str, &'static str, u16) -> u16,
    ) -> Cluster {
        Self::start_as(limit, silence, "", via)
    }

    fn start_as(
        limit: Duration,
        silence: Duration,
        config: &str,
        mut via: impl FnMut(&'static str, &'static str, u16) -> u16,
    ) -> Cluster {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = free_ports(21);
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("fennec.toml"), [CONFIG, config].concat()).expect("the configuration is written");
        let entries = [0, 1, 2].map(|at: usize| Ports { mqtt: ports[at], http: ports[3 + at] });
        let roles = [("entry", ENTRIES), ("ndb", STORAGES), ("sync", SYNCS)];
        let mut metrics = BTreeMap::new();
        let mut write = |own: Option<&'static str>| {
            let mut toml = "name = 'test'\nkey = 'a key that is long enough for the test'\n".to_owned();
            toml.push_str(&format!("link_silence_ms = {}\n", silence.as_millis()));
            toml.push_str(&format!("data = '{}'\n", file("data").display()));
            let all = roles.iter().flat_map(|(role, ids)| ids.iter().map(move |id| (*role, *id)));
            for (at, (role, id)) in all.enumerate() {
                let port = ports[6 + at];
                let link = own.filter(|own| *own != id).map_or(port, |own| via(own, id, port));
                toml.push_str(&format!("[[process]]\n{role} = '{id}'\nlink = '127.0.0.1:{link}'\n"));
                if role == "entry" {
                    let Ports { mqtt, http } = entries[at];
                    toml.push_str(&format!("mqtt = '127.0.0.1:{mqtt}'\nhttp = '127.0.0.1:{http}'\n"));
                    metrics.insert(id, http);
                } else {
                    toml.push_str(&format!("metrics = '127.0.0.1:{}'\n", ports[12 + at]));
                    metrics.insert(id, ports[12 + at]);
                }
            }
            toml
        };
        let all = write(None);
        for own in everybody() {
            let toml = write(Some(own));
            if toml != all {
                std::fs::write(file(&format!("{own}.toml")), toml).expect("a node's file is written");
            }
        }
        std::fs::write(file("cluster.toml"), all).expect("the cluster's file is written");
        let nodes = everybody().map(|id| (id, Node::default())).collect();
        let mut cluster = Cluster { _turn, folder, ports: entries.to_vec(), metrics, nodes };
        everybody().for_each(|id| cluster.begin(id));
        cluster.until("all are linked", limit, Self::is_linked);
        cluster.wait_for_entries(limit);
        cluster
    }

    /// Whether each has had a link to each other.
    fn is_linked(&self) -> bool {
        everybody().all(|id| {
            let said = self.said(id);
            everybody().filter(|other| *other != id).all(|other| said.contains(&format!(": linked process={other}")))
        })
    }

    pub fn ports(&self, entry: usize) -> Ports {
        self.ports[entry]
    }

    /// Starts a node that does not run.
    pub fn begin(&mut self, id: &'static str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
        let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
        inherited.for_each(|(name, _)| {
            command.env_remove(name);
        });
        let file = |name: &str| self.folder.path().join(name);
        command.args([role(id), "--id", id, "--log", "info"]);
        // The cluster's file, unless the node has one of its own.
        let own = Some(file(&format!("{id}.toml"))).filter(|own| own.exists());
        command.arg("--cluster").arg(own.unwrap_or_else(|| file("cluster.toml")));
        command.arg("--config").arg(file("fennec.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a node is started");
        let node = self.nodes.get_mut(id).expect("a node of the cluster");
        follow(child.stdout.take().expect("its standard output"), node.log.clone());
        follow(child.stderr.take().expect("its standard error"), node.log.clone());
        node.child = Some(child);
    }

    /// Starts a node, and waits until all others that run have a link to it.
    pub fn begin_and_link(&mut self, id: &'static str, limit: Duration) {
        let line = format!(": linked process={id}");
        let linked = |cluster: &Cluster| -> BTreeMap<&str, usize> {
            let others = cluster.nodes.iter().filter(|(other, node)| **other != id && node.child.is_some());
            others.map(|(other, _)| (*other, cluster.said(other).matches(&line).count())).collect()
        };
        let before = linked(self);
        self.begin(id);
        let all = |cluster: &Cluster| linked(cluster).iter().all(|(other, count)| *count > before[other]);
        self.until(&format!("all are linked to {id}"), limit, all);
        if id.starts_with('E') {
            self.wait_for_entries(limit);
        }
    }

    /// Waits until all entries that run take clients.
    pub fn wait_for_entries(&self, limit: Duration) {
        for (at, id) in ENTRIES.iter().enumerate().filter(|(_, id)| self.nodes[*id].child.is_some()) {
            let port = self.ports[at].mqtt;
            self.until(&format!("{id} takes clients"), limit, |_| TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
    }

    /// Polls what has no other way to be waited for.
    pub fn until(&self, what: &str, limit: Duration, is_so: impl Fn(&Cluster) -> bool) {
        let deadline = Instant::now() + limit;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", self.all_said());
            std::thread::sleep(POLL);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: &str) {
        let node = self.nodes.get_mut(id).expect("a node of the cluster");
        let mut child = node.child.take().expect("it runs");
        // It may have ended by itself; then its log tells.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGTERM: it ends in order, within this time.
    pub fn end(&mut self, id: &str, limit: Duration) {
        self.signal(id, Signal::TERM);
        let deadline = Instant::now() + limit;
        let mut child = self.nodes.get_mut(id).and_then(|node| node.child.take()).expect("it runs");
        let status = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    panic!("{id} does not end\n{}", self.all_said());
                }
                None => std::thread::sleep(POLL),
            }
        };
        assert!(status.success(), "{id} has ended with {status}\n{}", self.all_said());
    }

    /// SIGSTOP, or SIGCONT.
    pub fn pause(&self, id: &str, goes_on: bool) {
        self.signal(id, if goes_on { Signal::CONT } else { Signal::STOP });
    }

    /// The process id of a node that runs.
    pub fn pid(&self, id: &str) -> u32 {
        self.nodes[id].child.as_ref().expect("it runs").id()
    }

    fn signal(&self, id: &str, signal: Signal) {
        let pid = i32::try_from(self.pid(id)).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the node can be told");
    }

    /// A node that is in no file yet, and the part of the file that it is to be. It has a port of its own, and an entry more.
    pub fn add(&mut self, id: &'static str) -> String {
        self.nodes.insert(id, Node::default());
        match role(id) {
            "entry" => {
                let ports = free_ports(3);
                self.ports.push(Ports { mqtt: ports[1], http: ports[2] });
                format!(
                    "[[process]]\nentry = '{id}'\nlink = '127.0.0.1:{}'\nmqtt = '127.0.0.1:{}'\nhttp = '127.0.0.1:{}'\n",
                    ports[0], ports[1], ports[2]
                )
            }
            role => format!("[[process]]\n{role} = '{id}'\nlink = '127.0.0.1:{}'\n", free_ports(1)[0]),
        }
    }

    /// The cluster's file.
    pub fn file(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("cluster.toml")).expect("the cluster's file")
    }

    /// Changes the cluster's file, wherever it is.
    pub fn edit(&self, change: impl Fn(&str) -> String) {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder");
        let files = files.map(|file| file.expect("a file").path());
        for path in
            files.filter(|path| path.extension().is_some_and(|is| is == "toml") && !path.ends_with("fennec.toml"))
        {
            let text = std::fs::read_to_string(&path).expect("the cluster's file");
            std::fs::write(path, change(&text)).expect("the cluster's file is written");
        }
    }

    /// Has all nodes that run read the file: SIGHUP.
    pub fn reread(&self) {
        let running = self.nodes.iter().filter(|(_, node)| node.child.is_some());
        running.for_each(|(id, _)| self.signal(id, Signal::HUP));
    }

    /// `fennec cluster apply`, which waits for so many seconds at most.
    pub fn begin_apply(&self, timeout_s: u64) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
        command.args(["cluster", "apply", "--timeout", &timeout_s.to_string(), "--cluster"]);
        command.arg(self.folder.path().join("cluster.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is started")
    }

    /// The same to its end: the exit code, and what it has printed.
    pub fn apply(&self, timeout_s: u64) -> (Option<i32>, String) {
        ended(self.begin_apply(timeout_s))
    }

    /// Removes all that a storage or sync keeps, which does not run.
    pub fn wipe(&self, id: &str) {
        let folder: PathBuf = self.folder.path().join("data").join(id);
        std::fs::remove_dir_all(folder).expect("it has kept something");
    }

    /// What `GET` of a path of an entry gives: head and body.
    pub fn get(&self, entry: usize, path: &str) -> String {
        self.get_of(ENTRIES[entry], path)
    }

    /// The same of any node.
    pub fn get_of(&self, id: &str, path: &str) -> String {
        self.try_get_of(id, path).expect("the node listens")
    }

    /// The same; `None`: it does not listen, or not yet.
    pub fn try_get_of(&self, id: &str, path: &str) -> Option<String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        ask(self.metrics[id], &request)
    }

    /// What `POST` of some JSON to an entry gives.
    pub fn post(&self, entry: usize, path: &str, body: &str) -> String {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        let fields = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        ask(self.ports[entry].http, &[&head, &fields, body].concat()).expect("the entry listens")
    }

    /// What `fennec cluster status` gives: its exit code, and what it prints as JSON.
    pub fn status(&self) -> (Option<i32>, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
        command.args(["cluster", "status", "--json", "--cluster"]).arg(self.folder.path().join("cluster.toml"));
        let output = command.output().expect("the status can be asked for");
        let printed = String::from_utf8_lossy(&output.stdout);
        let why = String::from_utf8_lossy(&output.stderr);
        (output.status.code(), serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}\n{why}")))
    }

    pub fn said(&self, id: &str) -> String {
        self.nodes[id].log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last lines of all.
    pub fn all_said(&self) -> String {
        let tail = |id: &&'static str| {
            let said = self.said(id);
            let lines: Vec<&str> = said.lines().collect();
            format!("{id}:\n{}\n", lines[lines.len().saturating_sub(12)..].join("\n"))
        };
        self.nodes.keys().map(tail).collect()
    }
}

/// `None`: nobody listens there.
fn ask(port: u16, request: &str) -> Option<String> {
    use std::io::Write;
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    Some(answer)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.values_mut().filter_map(|node| node.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn everybody() -> impl Iterator<Item = &'static str> {
    SYNCS.into_iter().chain(STORAGES).chain(ENTRIES)
}

fn role(id: &str) -> &'static str {
    match &id[..1] {
        "E" => "entry",
        "N" => "ndb",
        _ => "sync",
    }
}

/// Waits for the end of a command: its exit code, and what it has printed.
pub fn ended(command: Child) -> (Option<i32>, String) {
    let output = command.wait_with_output().expect("it ends");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
}

/// So many that nobody listens on.
pub fn free_ports(count: usize) -> Vec<u16> {
    let span = u32::from(PORTS.end - PORTS.start);
    // A cluster whose nodes are about to listen has its ports alone.
    static CLUSTERS: AtomicU32 = AtomicU32::new(0);
    let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let first = std::process::id().wrapping_mul(97).wrapping_add(cluster * 1000) % span;
    let all = (0..span).map(|at| PORTS.start + ((first + at) % span) as u16);
    // All are held until all are found.
    let held: Vec<TcpListener> =
        all.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).take(count).collect();
    held.iter().map(|listener| listener.local_addr().expect("its address").port()).collect()
}

/// Keeps what is printed.
fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    });
}
