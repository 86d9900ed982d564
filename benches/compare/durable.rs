//! Messages that must be on disk: for sessions that are away, after a restart, and in great numbers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Advice, fadvise};

use crate::away::{self, Drained, Memory};
use crate::commits;
use crate::cpu::{disk_bytes, resident_kb};
use crate::load::{self, Load, Pace, Source};
use crate::mqtt_load::{self, MqttSink, MqttSource, frame};
use crate::outcome::{Metric, Outcome};
use crate::payload::Finder;
use crate::peer::{Peer, PeerKind, Target};
use crate::run::{Settings, client_id, timing};
use crate::segments;
use crate::tracker::Faults;
use crate::uplink;
use crate::webhook::Receiver;

/// What is done with a broker that keeps messages on disk.
#[derive(Clone, Copy, Debug)]
pub enum Durable {
    /// So many publishers with so many messages under way each, for one session that is away; then that session comes back,
    /// if asked for.
    Away { publishers: u16, under_way: u64, drain: bool },
    /// One publisher, one message under way, for one session that is away.
    OneUnderWay,
    /// One publisher, for one session that is away, then for so many.
    Sessions(u32),
    /// So many messages in the log, a restart, and a session that was away for all of them and subscribes to all topics.
    Resume(u64),
    /// So many messages in the log, and a webhook service that was paused for all of them.
    Webhook(u64),
    /// So many megabytes at an edge while its centre is away; then the centre comes.
    Uplink(u64),
    /// Starts on a log of so many gigabytes (`--gigabytes`).
    Start,
    /// So many retained values, a restart, and a subscriber to all of them.
    Retained(u32),
}

impl Durable {
    pub fn suits(self, peer: PeerKind) -> bool {
        match (self, peer) {
            (_, PeerKind::Fennec) => true,
            (Durable::Start | Durable::Webhook(_) | Durable::Uplink(_), _) => false,
            (_, PeerKind::Mosquitto) => true,
            (Durable::OneUnderWay, PeerKind::Sqlx | PeerKind::SqlxSingle) => true,
            (Durable::Away { .. } | Durable::OneUnderWay | Durable::Sessions(_), PeerKind::Running) => true,
            _ => false,
        }
    }
}

/// Publishers and messages under way each, where what is measured comes later.
const FILLERS: u16 = 4;
const FILLING: u64 = 1000;
/// Starts of which the median counts.
const STARTS: usize = 5;
const ALL: &str = "#";

/// Runs a case once.
pub fn run(work: Durable, peer: &mut Peer, settings: Settings) -> io::Result<Outcome> {
    match work {
        Durable::Away { publishers, under_way, drain } => {
            peer.up()?;
            away::leave(peer.target, 0..1, "bench/+")?;
            let (mut outcome, sent) = publish(peer.target, publishers, under_way, None, settings)?;
            if drain {
                add_drained(&mut outcome, &away::drain(peer.target, &sent)?);
            }
            Ok(outcome)
        }
        Durable::OneUnderWay => {
            peer.up()?;
            away::leave(peer.target, 0..1, "bench/+")?;
            let (stream, source) = publisher(peer.target, 0, settings)?;
            commits::one_under_way(stream, source, timing(peer.target, settings))
        }
        Durable::Sessions(sessions) => {
            peer.up()?;
            one_and_many(peer.target, sessions, settings)
        }
        Durable::Resume(messages) => resume(peer, messages, settings),
        Durable::Webhook(messages) => webhook(peer, messages, settings),
        Durable::Uplink(megabytes) => uplink::drain(peer, megabytes),
        Durable::Start => start(peer, settings),
        Durable::Retained(values) => retained(peer, values, settings),
    }
}

fn publisher(target: Target, index: u16, settings: Settings) -> io::Result<(TcpStream, Box<dyn Source>)> {
    let stream = mqtt_load::connect(target.mqtt, &client_id("publisher", index))?;
    Ok((stream, Box::new(MqttSource::new(index, &format!("bench/{index}"), 1, settings.shape))))
}

/// Publishes with QoS 1 and counts acknowledgements; also returns how many messages each publisher sent.
fn publish(
    target: Target,
    publishers: u16,
    under_way: u64,
    each: Option<u64>,
    settings: Settings,
) -> io::Result<(Outcome, Vec<u64>)> {
    let sources = (0..publishers).map(|index| publisher(target, index, settings)).collect::<io::Result<_>>()?;
    drive(target, sources, under_way, each, settings)
}

fn drive(
    target: Target,
    sources: Vec<(TcpStream, Box<dyn Source>)>,
    under_way: u64,
    each: Option<u64>,
    settings: Settings,
) -> io::Result<(Outcome, Vec<u64>)> {
    let pace = Pace::Closed { window: u64::MAX, in_flight: Some(under_way), batch: 1 };
    let written = || target.pid.map(disk_bytes).transpose();
    let before = written()?;
    let load = Load { sources, sinks: Vec::new(), pace, count_acked: true, each };
    let measured = load::run(load, timing(target, settings))?;
    let mut outcome = Outcome::of(&measured);
    if let (Some(before), Some(after)) = (before, written()?) {
        let sent: u64 = measured.sent.iter().sum();
        outcome.set(Metric::DiskBytes, (after - before) as f64 / sent.max(1) as f64);
    }
    Ok((outcome, measured.sent))
}

fn add_drained(outcome: &mut Outcome, drained: &Drained) {
    outcome.set(Metric::DrainPerSecond, drained.delivered as f64 / drained.elapsed.as_secs_f64());
    outcome.faults.add(drained.faults);
    if let Some(kb) = drained.grown_kb {
        outcome.set(Metric::GrownMb, kb as f64 / 1024.0);
    }
}

fn one_and_many(target: Target, sessions: u32, settings: Settings) -> io::Result<Outcome> {
    away::leave(target, 0..1, "bench/+")?;
    let (one, _) = publish(target, 1, FILLING, None, settings)?;
    away::leave(target, 1..sessions, "bench/+")?;
    let (mut many, _) = publish(target, 1, FILLING, None, settings)?;
    let per_second = |outcome: &Outcome| outcome.metrics.get(&Metric::PerSecond).copied().unwrap_or(0.0);
    many.set(Metric::KeptPercent, per_second(&many) * 100.0 / per_second(&one).max(1.0));
    many.faults.add(one.faults);
    Ok(many)
}

fn resume(peer: &mut Peer, messages: u64, settings: Settings) -> io::Result<Outcome> {
    peer.up()?;
    away::leave(peer.target, 0..1, ALL)?;
    let each = messages / u64::from(FILLERS);
    let (mut outcome, sent) = publish(peer.target, FILLERS, FILLING, Some(each), settings)?;
    // A new process has nothing in memory from writing it.
    peer.down()?;
    let resident_mb = up_timed(peer, &mut outcome)?;
    outcome.set(Metric::ResidentMb, resident_mb);
    add_drained(&mut outcome, &away::drain(peer.target, &sent)?);
    Ok(outcome)
}

fn webhook(peer: &mut Peer, messages: u64, settings: Settings) -> io::Result<Outcome> {
    peer.up()?;
    let receiver = Receiver::start()?;
    receiver.attach(peer.target, "bench.#")?;
    let each = messages / u64::from(FILLERS);
    let (mut outcome, sent) = publish(peer.target, FILLERS, FILLING, Some(each), settings)?;
    receiver.drain(peer.target, sent.iter().sum(), &mut outcome)?;
    Ok(outcome)
}

fn start(peer: &mut Peer, settings: Settings) -> io::Result<Outcome> {
    let data = peer.data()?;
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_micros() as u64;
    let counted = segments::generate(&data, settings.gigabytes * 1_000_000_000, now_us)?;
    let mut starts = Vec::new();
    let mut outcome = Outcome { counted, ..Outcome::default() };
    for _ in 0..STARTS {
        forget(&data)?;
        let resident_mb = up_timed(peer, &mut outcome)?;
        starts.push((outcome.metrics.get(&Metric::ReadyMs).copied().unwrap_or(f64::MAX), resident_mb));
        peer.down()?;
    }
    starts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ready_ms, resident_mb) = starts[STARTS / 2];
    outcome.set(Metric::ReadyMs, ready_ms);
    outcome.set(Metric::ResidentMb, resident_mb);
    Ok(outcome)
}

/// Has the system read the files from disk when they are needed again, as after a reboot.
fn forget(folder: &std::path::Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let file = std::fs::File::open(entry?.path())?;
        // Only what is on disk can be forgotten.
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Starts the broker; notes how long it took until it was ready, and returns its resident memory then.
fn up_timed(peer: &mut Peer, outcome: &mut Outcome) -> io::Result<f64> {
    let begin = Instant::now();
    peer.launch()?;
    peer.wait_until(is_ready)?;
    outcome.set(Metric::ReadyMs, begin.elapsed().as_secs_f64() * 1000.0);
    let pid = peer.target.pid.ok_or_else(|| io::Error::other("no process"))?;
    Ok(resident_kb(pid)? as f64 / 1024.0)
}

/// Whether it takes MQTT clients, and says that it is ready if it has HTTP.
fn is_ready(target: Target) -> bool {
    mqtt_load::connect(target.mqtt, &client_id("ready", 0)).is_ok() && target.http.is_none_or(says_ready)
}

fn says_ready(http: SocketAddr) -> bool {
    let ask = || -> io::Result<[u8; 12]> {
        let mut stream = TcpStream::connect(http)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status)
    };
    ask().is_ok_and(|status| status.ends_with(b" 200"))
}

fn retained(peer: &mut Peer, values: u32, settings: Settings) -> io::Result<Outcome> {
    peer.up()?;
    let each = values / u32::from(FILLERS);
    let source = |index| -> io::Result<(TcpStream, Box<dyn Source>)> {
        let stream = mqtt_load::connect(peer.target.mqtt, &client_id("publisher", index))?;
        Ok((stream, Box::new(MqttSource::retained(index, &format!("kept/{index}"), 1, settings.shape))))
    };
    let sources = (0..FILLERS).map(source).collect::<io::Result<_>>()?;
    let (mut outcome, _) = drive(peer.target, sources, FILLING, Some(each.into()), settings)?;
    peer.down()?;
    let resident_mb = up_timed(peer, &mut outcome)?;
    outcome.set(Metric::ResidentMb, resident_mb);
    add_drained(&mut outcome, &values_of_all(peer.target, each)?);
    Ok(outcome)
}

/// A new subscriber to all topics, which gets `each` values of every publisher.
fn values_of_all(target: Target, each: u32) -> io::Result<Drained> {
    let begin = Instant::now();
    let memory = Memory::new(target)?;
    let mut stream = mqtt_load::connect(target.mqtt, &client_id("values", 0))?;
    stream.write_all(&mqtt_load::subscribe_packet(1, &[ALL.to_string()], 1))?;
    let mut values = Values::new(each);
    let (elapsed, grown_kb) = away::receive(stream, memory, begin, |input, replies| values.feed(input, replies))?;
    Ok(Drained { elapsed, delivered: values.delivered, faults: values.faults(), grown_kb })
}

/// Which retained values came.
pub struct Values {
    seen: Vec<bool>,
    each: usize,
    finder: Finder,
    pub delivered: u64,
    faults: Faults,
}

impl Values {
    pub fn new(each: u32) -> Self {
        let each = each as usize;
        let seen = vec![false; each * usize::from(FILLERS)];
        Self { seen, each, finder: Finder::default(), delivered: 0, faults: Faults::default() }
    }

    /// Notes and acknowledges values; returns the bytes consumed and whether all have come.
    pub fn feed(&mut self, input: &[u8], replies: &mut Vec<u8>) -> io::Result<(usize, bool)> {
        let mut at = 0;
        while let Some((body_at, bytes)) = frame(&input[at..])? {
            let packet = &input[at..at + bytes];
            // SUBACK may come between the values.
            if packet[0] >> 4 == 3 {
                self.note(packet);
                MqttSink::acknowledge(packet, body_at, replies)?;
            }
            at += bytes;
        }
        Ok((at, self.delivered >= self.seen.len() as u64))
    }

    fn note(&mut self, packet: &[u8]) {
        let place = |publisher: u16, sequence: u32| {
            let sequence = sequence as usize;
            (sequence < self.each).then(|| usize::from(publisher) * self.each + sequence)
        };
        let mark = self.finder.find(packet).and_then(|mark| place(mark.publisher, mark.sequence));
        match mark.and_then(|place| self.seen.get_mut(place)) {
            Some(seen) => {
                self.faults.duplicates += u64::from(std::mem::replace(seen, true));
                self.delivered += 1;
            }
            None => self.faults.strange += 1,
        }
    }

    pub fn faults(&self) -> Faults {
        let lost = self.seen.iter().filter(|seen| !**seen).count() as u64;
        Faults { lost, ..self.faults }
    }
}
