//! The brokers that are compared: each run starts its own, in a process of its own, and ends it.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::TempDir;

use crate::relay;

/// Longest wait until a broker accepts connections.
const START: Duration = Duration::from_secs(10);
/// Messages in flight with QoS 1 and 2, as far as a peer lets it be configured.
pub const IN_FLIGHT: u64 = 1000;

/// A broker, or the toy relay in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    Fennec,
    Mosquitto,
    Rumqttd,
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
            PeerKind::Relay => "relay",
            PeerKind::Running => "running",
        }
    }

    pub fn speaks_wamp(self) -> bool {
        matches!(self, PeerKind::Fennec | PeerKind::Relay | PeerKind::Running)
    }
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

/// A broker that lives as long as this value.
pub struct Peer {
    child: Child,
    /// Its configuration and what it printed.
    directory: TempDir,
    pub target: Target,
}

impl Peer {
    /// Starts a broker on ports of its own and waits until it accepts connections.
    pub fn start(kind: PeerKind, fennec: &Path) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let ports = free_ports()?;
        let [mqtt, http, _] = ports;
        // The bench starts itself and then becomes the broker, so that no broker outlives a bench that is killed.
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--become-peer", kind.name(), "--fennec"]).arg(fennec);
        command.args(ports.map(|port| format!("--peer-port={}", port.port())));
        command.arg("--peer-directory").arg(directory.path());
        let printed = fs::File::create(directory.path().join("printed"))?;
        command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed);
        let child = command.spawn()?;
        let target = Target { mqtt, http: kind.speaks_wamp().then_some(http), pid: Some(child.id()) };
        let mut peer = Self { child, directory, target };
        peer.wait_until_up()?;
        Ok(peer)
    }

    fn wait_until_up(&mut self) -> io::Result<()> {
        let begin = Instant::now();
        let addrs = [Some(self.target.mqtt), self.target.http];
        for addr in addrs.into_iter().flatten() {
            while TcpStream::connect(addr).is_err() {
                let ended = self.child.try_wait()?;
                if ended.is_some() || begin.elapsed() > START {
                    return Err(self.failure(&format!("it does not listen on {addr}")));
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// What went wrong, with the last lines that the broker printed.
    pub fn failure(&self, what: &str) -> io::Error {
        let printed = fs::read(self.directory.path().join("printed")).unwrap_or_default();
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
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
}

/// Turns this process into a broker. Returns only if that fails.
pub fn become_peer(peer: Become) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let &[mqtt, http, rawsocket] = peer.ports.as_slice() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a peer needs three ports"));
    };
    match peer.kind {
        PeerKind::Fennec => {
            let local = |port: u16| format!("127.0.0.1:{port}");
            let mut command = Command::new(&peer.fennec);
            command.args([
                "--mqtt",
                &local(mqtt),
                "--http",
                &local(http),
                "--rawsocket",
                &local(rawsocket),
                "--memory",
            ]);
            Err(command.current_dir(&peer.directory).env("FENNEC_LOG", "warn").exec())
        }
        PeerKind::Mosquitto => {
            let config = peer.directory.join("mosquitto.conf");
            fs::write(&config, mosquitto_config(mqtt))?;
            Err(Command::new("mosquitto").arg("-c").arg(config).exec())
        }
        PeerKind::Rumqttd => run_rumqttd(mqtt),
        PeerKind::Relay => relay::serve((Ipv4Addr::LOCALHOST, mqtt).into(), (Ipv4Addr::LOCALHOST, http).into()),
        PeerKind::Running => Ok(()),
    }
}

/// No limit that would make it drop, no file, and the same number of messages in flight as the driver has.
fn mosquitto_config(port: u16) -> String {
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
         max_queued_messages 0\nmax_inflight_messages {IN_FLIGHT}\nsys_interval 0\nlog_type error\nlog_dest stderr\n"
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
