//! The brokers that are compared: each run starts its own, in a process of its own, and ends it.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tempfile::TempDir;

use crate::relay;

/// Longest wait until a broker accepts connections.
const START: Duration = Duration::from_secs(60);
/// Longest wait until a broker that was told to end has ended.
const STOP: Duration = Duration::from_secs(60);
/// Messages in flight with QoS 1 and 2, as far as a peer lets it be configured.
pub const IN_FLIGHT: u64 = 1000;

/// A broker, or what stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PeerKind {
    Fennec,
    Mosquitto,
    Rumqttd,
    /// No broker: one small transaction after the other through sqlx, by the driver itself.
    Sqlx,
    /// The same without transactions: each INSERT commits by itself.
    SqlxSingle,
    /// Three nats-servers with JetStream: a stream of three replicas, on file.
    Jetstream,
    /// The same with every write on disk before it counts: nats-server 2.10 or later.
    JetstreamSynced,
    /// Forwards bytes; the ceiling of the driver.
    Relay,
    /// A broker that runs already (`--driver-only`).
    #[value(skip)]
    Running,
}

impl PeerKind {
    pub fn name(self) -> &'static str {
        match self {
            PeerKind::Fennec => "fennec",
            PeerKind::Mosquitto => "mosquitto",
            PeerKind::Rumqttd => "rumqttd",
            PeerKind::Sqlx => "sqlx",
            PeerKind::SqlxSingle => "sqlx-single",
            PeerKind::Jetstream => "jetstream",
            PeerKind::JetstreamSynced => "jetstream-synced",
            PeerKind::Relay => "relay",
            PeerKind::Running => "running",
        }
    }

    pub fn speaks_wamp(self) -> bool {
        matches!(self, PeerKind::Fennec | PeerKind::Relay | PeerKind::Running)
    }
}

/// Where a broker keeps what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Memory,
    /// In its folder, `data`, as safely as it can.
    Disk,
}

/// Where a running broker is reached.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub mqtt: SocketAddr,
    /// HTTP with WAMP over WebSocket at `/ws`.
    pub http: Option<SocketAddr>,
    /// Whose CPU and memory are read; unknown, they are left out.
    pub pid: Option<u32>,
}

/// A broker. One that was started ends with this value.
pub struct Peer {
    /// `None`: it is not running, or runs already without us.
    child: Option<Child>,
    /// How it is started; `None`: it runs already without us.
    start: Option<Start>,
    pub target: Target,
}

struct Start {
    kind: PeerKind,
    fennec: PathBuf,
    keep: Keep,
    ports: [SocketAddr; 3],
    /// Its configuration, its data and what it printed.
    directory: TempDir,
}

impl Peer {
    /// A broker with ports of its own that is not started yet.
    pub fn new(kind: PeerKind, fennec: &Path, keep: Keep) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::create_dir(directory.path().join("data"))?;
        let ports = free_ports()?;
        let target = Target { mqtt: ports[0], http: kind.speaks_wamp().then_some(ports[1]), pid: None };
        let start = Start { kind, fennec: fennec.to_path_buf(), keep, ports, directory };
        Ok(Self { child: None, start: Some(start), target })
    }

    /// A broker that runs already.
    pub fn running(target: Target) -> Self {
        Self { child: None, start: None, target }
    }

    /// Where the data of one that is ours are.
    pub fn data(&self) -> io::Result<PathBuf> {
        Ok(self.ours()?.directory.path().join("data"))
    }

    /// The binary of fennec that it is, or that is measured beside it.
    pub fn fennec(&self) -> io::Result<&Path> {
        Ok(&self.ours()?.fennec)
    }

    fn ours(&self) -> io::Result<&Start> {
        self.start.as_ref().ok_or_else(|| io::Error::other("the case needs a broker that it may start and end"))
    }

    /// Starts it and waits until it accepts connections; nothing to do for one that is not ours.
    pub fn up(&mut self) -> io::Result<()> {
        if self.start.is_none() {
            return Ok(());
        }
        self.launch()?;
        self.wait_until(|target| [Some(target.mqtt), target.http].into_iter().flatten().all(accepts))
    }

    /// Starts it without waiting.
    pub fn launch(&mut self) -> io::Result<()> {
        let start = self.ours()?;
        // The bench starts itself and then becomes the broker, so that no broker outlives a bench that is killed.
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--become-peer", start.kind.name(), "--fennec"]).arg(&start.fennec);
        command.args(start.ports.map(|port| format!("--peer-port={}", port.port())));
        command.arg("--peer-directory").arg(start.directory.path());
        if start.keep == Keep::Disk {
            command.arg("--peer-on-disk");
        }
        let printed = fs::File::create(start.directory.path().join("printed"))?;
        let child = command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed).spawn()?;
        self.target.pid = Some(child.id());
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it is as it should be.
    pub fn wait_until(&mut self, ready: impl Fn(Target) -> bool) -> io::Result<()> {
        let begin = Instant::now();
        while !ready(self.target) {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || begin.elapsed() > START {
                return Err(self.failure(&format!("it is not ready on {}", self.target.mqtt)));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends it in order (SIGTERM), so that it can be started again with what it has.
    pub fn down(&mut self) -> io::Result<()> {
        self.ours()?;
        let Some(child) = &mut self.child else { return Ok(()) };
        if let Some(pid) = Pid::from_raw(child.id() as i32) {
            kill_process(pid, Signal::TERM)?;
        }
        let begin = Instant::now();
        while child.try_wait()?.is_none() {
            if begin.elapsed() > STOP {
                return Err(self.failure("it does not end"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child = None;
        self.target.pid = None;
        Ok(())
    }

    /// What went wrong, with the last lines that the broker printed.
    pub fn failure(&self, what: &str) -> io::Error {
        let printed = self.start.as_ref().map(|start| start.directory.path().join("printed"));
        let printed = printed.and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let printed = String::from_utf8_lossy(&printed);
        let last: Vec<&str> = printed.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        io::Error::other(if last.is_empty() {
            what.to_string()
        } else {
            format!("{what}; it said: {}", last.join(" | "))
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Errors mean that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn accepts(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_ok()
}

/// Ports that are free now; all are held until all are known, so that they differ.
fn free_ports() -> io::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [bind()?, bind()?, bind()?];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?, listeners[2].local_addr()?])
}

/// What the child process is told.
pub struct Become {
    pub kind: PeerKind,
    pub fennec: PathBuf,
    /// MQTT, HTTP, RawSocket.
    pub ports: Vec<u16>,
    pub directory: PathBuf,
    pub keep: Keep,
}

/// Turns this process into a broker. Returns only if that fails.
pub fn become_peer(peer: Become) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let &[mqtt, http, rawsocket] = peer.ports.as_slice() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a peer needs three ports"));
    };
    match peer.kind {
        PeerKind::Fennec => become_fennec(&peer, [mqtt, http, rawsocket]),
        PeerKind::Mosquitto => {
            let config = peer.directory.join("mosquitto.conf");
            fs::write(&config, mosquitto_config(mqtt, peer.keep))?;
            Err(Command::new("mosquitto").current_dir(&peer.directory).arg("-c").arg(config).exec())
        }
        PeerKind::Rumqttd => run_rumqttd(mqtt),
        PeerKind::Relay => relay::serve((Ipv4Addr::LOCALHOST, mqtt).into(), (Ipv4Addr::LOCALHOST, http).into()),
        PeerKind::Sqlx | PeerKind::SqlxSingle | PeerKind::Running => Ok(()),
        // They come in threes: see `members`.
        PeerKind::Jetstream | PeerKind::JetstreamSynced => Ok(()),
    }
}

fn become_fennec(peer: &Become, ports: [u16; 3]) -> io::Result<()> {
    let mut command = Command::new(&peer.fennec);
    for (flag, port) in ["--mqtt", "--http", "--rawsocket"].into_iter().zip(ports) {
        command.args([flag, &format!("127.0.0.1:{port}")]);
    }
    match peer.keep {
        Keep::Memory => command.arg("--memory"),
        Keep::Disk => {
            let config = peer.directory.join("fennec.toml");
            fs::write(&config, FENNEC_CONFIG)?;
            command.args(["--data", "data", "--config"]).arg(config)
        }
    };
    Err(command.current_dir(&peer.directory).env("FENNEC_LOG", "warn").exec())
}

/// Sync as by default: before every acknowledgement. Topics under `log` are kept whoever wants them, all of them; no
/// bound is met, however long a run is.
const FENNEC_CONFIG: &str = r#"
sync = "always"
[limits]
session_log_bytes_max = 1099511627776
retained_messages_max = 10000000
[services]
allow_networks = ["127.0.0.0/8"]
[[durable]]
topic = "log/#"
max_bytes = 1099511627776
"#;

/// No limit that would make it drop, and the same number of messages in flight as the driver has; on disk, no limit of
/// these either. It writes what it has every half hour and when it ends, and so acknowledges from memory.
fn mosquitto_config(port: u16, keep: Keep) -> String {
    let kept = match keep {
        Keep::Memory => format!("persistence false\nmax_inflight_messages {IN_FLIGHT}\n"),
        Keep::Disk => "persistence true\npersistence_location data/\nmax_inflight_messages 0\nuser root\n".into(),
    };
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\n{kept}set_tcp_nodelay true\nmax_queued_messages 0\n\
         sys_interval 0\nlog_type error\nlog_dest stderr\n"
    )
}

/// Its sample configuration, without the delay between two connections and with room for the idle ones. It cannot be
/// told to use TCP_NODELAY, and never has more than 100 messages in flight to a subscriber.
fn run_rumqttd(port: u16) -> io::Result<()> {
    let config = format!(
        r#"
        id = 0
        [router]
        id = 0
        max_connections = 10010
        max_outgoing_packet_count = 200
        max_segment_size = 104857600
        max_segment_count = 10
        [v4.1]
        name = "v4-1"
        listen = "127.0.0.1:{port}"
        next_connection_delay_ms = 0
        [v4.1.connections]
        connection_timeout_ms = 60000
        max_payload_size = 20480
        max_inflight_count = {IN_FLIGHT}
        dynamic_filters = true
        "#
    );
    let config: rumqttd::Config = toml::from_str(&config).map_err(io::Error::other)?;
    rumqttd::Broker::new(config).start().map_err(io::Error::other)
}
