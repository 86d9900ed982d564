//! Webhooks: a receiver in this process, and a broker that has much to send to it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::cpu::resident_kb;
use crate::outcome::{Metric, Outcome};
use crate::peer::Target;

/// What each event has once.
const MARK: &[u8] = b"\"event_id\":";
/// Longest wait for the next event.
const PATIENCE: Duration = Duration::from_secs(30);
const ID: &str = "bench";

/// Takes every transaction at once, and counts events.
pub struct Receiver {
    address: SocketAddr,
    events: Arc<AtomicU64>,
}

impl Receiver {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, events) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&events);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counted = Arc::clone(&counted);
                // A connection that breaks is made again by the broker.
                std::thread::spawn(move || drop(take_all(stream, &counted)));
            }
        });
        Ok(Self { address, events })
    }

    /// Has the broker know it, for these topics, and send nothing yet.
    pub fn attach(&self, target: Target, topics: &str) -> io::Result<()> {
        let url = format!("http://{}", self.address);
        let more = format!("{{\"url\":\"{url}\",\"topics\":[\"{topics}\"]}}");
        call(target, "add", &format!("\"{ID}\",{more}"))?;
        call(target, "pause", &format!("\"{ID}\""))
    }

    /// Has the broker send, until so many events are there; notes how fast that was and by how much its memory grew.
    pub fn drain(&self, target: Target, count: u64, outcome: &mut Outcome) -> io::Result<()> {
        let memory = || target.pid.map(resident_kb).transpose();
        let (before_kb, begin) = (memory()?, Instant::now());
        call(target, "resume", &format!("\"{ID}\""))?;
        let (mut last, mut most_kb) = ((0, Instant::now()), before_kb);
        loop {
            let events = self.events.load(Ordering::Relaxed);
            if events >= count {
                break;
            }
            if events > last.0 {
                last = (events, Instant::now());
                most_kb = most_kb.max(memory()?);
            } else if last.1.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{events} of {count} events came, and no more")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        outcome.set(Metric::DrainPerSecond, count as f64 / begin.elapsed().as_secs_f64());
        if let Some((before, most)) = before_kb.zip(most_kb) {
            outcome.set(Metric::GrownMb, most.saturating_sub(before) as f64 / 1024.0);
        }
        Ok(())
    }
}

/// Requests of one connection.
fn take_all(stream: TcpStream, events: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        events.fetch_add(memchr::memmem::find_iter(&body, MARK).count() as u64, Ordering::Relaxed);
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// Calls `fennec.service.…`.
fn call(target: Target, procedure: &str, args: &str) -> io::Result<()> {
    let address = target.http.ok_or_else(|| io::Error::other("the broker has no HTTP"))?;
    let mut stream = TcpStream::connect(address)?;
    let body = format!("{{\"procedure\":\"fennec.service.{procedure}\",\"args\":[{args}]}}");
    write!(
        stream,
        "POST /call HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(io::Error::other(answer)) }
}
