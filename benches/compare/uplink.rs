//! An uplink: an edge that has much for its centre, which is the broker that is measured.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cpu::resident_kb;
use crate::mqtt_load::{connect, frame, publish_packet, subscribe};
use crate::outcome::{Metric, Outcome};
use crate::peer::Peer;

/// Bytes of each message of the backlog.
const PAYLOAD: usize = 4096;
/// Messages of the backlog that are under way to the edge.
const UNDER_WAY: u64 = 500;
/// Between two messages that are published while the backlog is sent.
const PERIOD: Duration = Duration::from_millis(100);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ended when dropped.
struct Edge {
    child: Child,
    mqtt: SocketAddr,
    http: SocketAddr,
    _folder: TempDir,
}

impl Drop for Edge {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fills the edge, starts the centre, and waits until it has everything.
pub fn drain(centre: &mut Peer, megabytes: u64) -> io::Result<Outcome> {
    let edge = Edge::start(centre)?;
    let count = megabytes * 1_000_000 / PAYLOAD as u64;
    fill(edge.mqtt, count)?;
    let edge_before = resident_kb(edge.child.id())?;
    centre.up()?;
    let begin = Instant::now();
    let mut most_kb = edge_before;
    while edge.sent()? == 0 && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(2));
    }
    // What was published before belongs to the backlog.
    let (over, pid) = (Arc::new(AtomicBool::new(false)), edge.child.id());
    let live = {
        let (over, from, to) = (over.clone(), edge.mqtt, centre.target.mqtt);
        thread::spawn(move || late(from, to, &over))
    };
    let (before, begin) = (edge.sent()?, Instant::now());
    while edge.sent()? < count {
        most_kb = most_kb.max(resident_kb(pid)?);
        if begin.elapsed() > PATIENCE.max(Duration::from_secs(megabytes)) {
            return Err(io::Error::other(format!("{} of {count} messages were sent, and no more", edge.sent()?)));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let took = begin.elapsed();
    over.store(true, Ordering::Relaxed);
    let latest = live.join().map_err(|_| io::Error::other("the live publisher has failed"))??;
    let mut outcome = Outcome::default();
    outcome.set(Metric::DrainPerSecond, ((count - before.min(count)) * PAYLOAD as u64) as f64 / took.as_secs_f64());
    outcome.set(Metric::MaxUs, latest.as_secs_f64() * 1e6);
    outcome.set(Metric::GrownMb, most_kb.saturating_sub(edge_before) as f64 / 1024.0);
    Ok(outcome)
}

impl Edge {
    fn start(centre: &Peer) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = centre.target.http.ok_or_else(|| io::Error::other("the centre has no HTTP"))?;
        let config = format!(
            "[[uplink]]\nid = 'bench'\nurl = 'ws://{url}/ws'\ntopics = ['log/#']\nmax_bytes = '1TiB'\nbackoff_max_s = 1\n"
        );
        let path = folder.path().join("edge.toml");
        fs::write(&path, config)?;
        let port = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let (mqtt, http) = (port()?, port()?);
        let mut command = Command::new(centre.fennec()?);
        command.args(["--mqtt", &mqtt.to_string(), "--http", &http.to_string(), "--rawsocket", "off"]);
        command.arg("--data").arg(folder.path().join("data")).arg("--config").arg(path);
        command.env("FENNEC_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let edge = Self { child: command.spawn()?, mqtt, http, _folder: folder };
        let begin = Instant::now();
        while TcpStream::connect(mqtt).is_err() || TcpStream::connect(http).is_err() {
            if begin.elapsed() > PATIENCE {
                return Err(io::Error::other("the edge does not start"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(edge)
    }

    /// Messages that the centre has accepted.
    fn sent(&self) -> io::Result<u64> {
        let mut stream = TcpStream::connect(self.http)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.http)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.strip_prefix("fennec_uplink_sent_total{"));
        Ok(line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(0))
    }
}

/// Publishes the backlog with QoS 1.
fn fill(edge: SocketAddr, count: u64) -> io::Result<()> {
    let mut stream = connect(edge, "filler")?;
    let mut packet = publish_packet("log/backlog", 1, &[b'x'; PAYLOAD]);
    let id_at = packet.len() - PAYLOAD - 2;
    let (mut sent, mut acknowledged, mut input) = (0, 0, Vec::new());
    let mut piece = [0; 64 * 1024];
    while acknowledged < count {
        while sent < count && sent - acknowledged < UNDER_WAY {
            sent += 1;
            packet[id_at..id_at + 2].copy_from_slice(&((sent % 60_000 + 1) as u16).to_be_bytes());
            stream.write_all(&packet)?;
        }
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::Error::other("the edge has closed the connection"));
        }
        input.extend_from_slice(&piece[..read]);
        let mut taken = 0;
        while let Some((_, end)) = frame(&input[taken..])? {
            taken += end;
            acknowledged += 1;
        }
        input.drain(..taken);
    }
    Ok(())
}

/// Publishes at the edge and listens at the centre until it is over; how long the latest message took.
fn late(edge: SocketAddr, centre: SocketAddr, over: &AtomicBool) -> io::Result<Duration> {
    let mut listener = connect(centre, "listener")?;
    subscribe(&mut listener, &["log/live".to_owned()], 0)?;
    listener.set_read_timeout(Some(PATIENCE))?;
    let mut publisher = connect(edge, "live")?;
    let (mut latest, mut input, mut piece) = (Duration::ZERO, Vec::new(), [0; 4096]);
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        publisher.write_all(&publish_packet("log/live", 0, b"now"))?;
        // One at a time: what comes is what was sent last.
        let found = loop {
            if let Some(found) = frame(&input)? {
                break found;
            }
            let read = listener.read(&mut piece)?;
            if read == 0 {
                return Err(io::Error::other("the centre has closed the connection"));
            }
            input.extend_from_slice(&piece[..read]);
        };
        input.drain(..found.1);
        latest = latest.max(begin.elapsed());
        thread::sleep(PERIOD);
    }
    Ok(latest)
}
