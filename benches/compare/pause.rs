//! How long nobody is acknowledged when a node dies.
//!
//! At each entry a publisher has a few messages under way all the time. Each node in turn is killed or paused; measured is the
//! longest time between two acknowledgements of a publisher at another node from then on, until the node is back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::load::Source;
use crate::members::Members;
use crate::mqtt_load::{self, MqttSource};
use crate::outcome::{Metric, Outcome};
use crate::payload::Shape;
use crate::run::{Settings, client_id};

/// Messages of one publisher under way.
const UNDER_WAY: usize = 10;
/// How long a node is away: longer than a link may be silent.
const AWAY: Duration = Duration::from_secs(5);
/// How long all work before the next one, and when it is back.
const SETTLE: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_millis(500);

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill,
    Stop,
}

/// A publisher at one entry, on a thread of its own.
struct Publisher {
    /// When the longest pause is asked for, it begins anew.
    watch: Arc<Watch>,
    thread: JoinHandle<()>,
}

struct Watch {
    begun: Instant,
    last: Mutex<(Instant, Duration)>,
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Watch {
    fn acknowledged(&self, count: u64) {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (now, last.1.max(now - last.0));
        self.acknowledged.fetch_add(count, Ordering::Relaxed);
    }

    /// The longest pause since this was asked for, the one that lasts included.
    fn longest(&self) -> Duration {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = last.1.max(last.0.elapsed());
        last.1 = Duration::ZERO;
        longest
    }
}

impl Publisher {
    fn begin(at: SocketAddr, index: u16, shape: Shape) -> io::Result<Self> {
        let begun = Instant::now();
        let watch = Arc::new(Watch {
            begun,
            last: Mutex::new((begun, Duration::ZERO)),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let watched = watch.clone();
        let run = move || {
            while !watched.stop.load(Ordering::Relaxed) {
                // Its entry may be the one that is away.
                if publish(at, index, shape, &watched).is_err() {
                    thread::sleep(Duration::from_millis(20));
                }
            }
        };
        let thread = thread::Builder::new().name("publish".to_owned()).spawn(run)?;
        Ok(Self { watch, thread })
    }
}

fn publish(at: SocketAddr, index: u16, shape: Shape, watch: &Watch) -> io::Result<()> {
    let mut stream = mqtt_load::connect(at, &client_id("pause", index))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut source = MqttSource::new(index, &format!("bench/{index}"), 1, shape);
    let (mut input, mut filled, mut under_way) = ([0; 4096], 0, 0);
    while !watch.stop.load(Ordering::Relaxed) {
        if under_way < UNDER_WAY {
            under_way += source.fill(UNDER_WAY - under_way);
            stream.write_all(source.bytes())?;
        }
        match stream.read(&mut input[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error),
        }
        let fed = source.feed(&input[..filled], &mut Vec::new())?;
        input.copy_within(fed.consumed..filled, 0);
        filled -= fed.consumed;
        under_way -= fed.acked as usize;
        if fed.acked > 0 {
            watch.acknowledged(fed.acked);
        }
    }
    Ok(())
}

/// Runs it with each node.
pub fn run(members: &mut Members, fault: Fault, settings: Settings) -> io::Result<Outcome> {
    let begin = |(index, at): (usize, &SocketAddr)| Publisher::begin(*at, index as u16, settings.shape);
    let publishers = members.clients.iter().enumerate().map(begin).collect::<io::Result<Vec<_>>>()?;
    let mut outcome = Outcome::default();
    let names = members.names();
    let first_entry = names.len() - publishers.len();
    for (index, name) in names.iter().enumerate() {
        let others = || publishers.iter().enumerate().filter(|(at, _)| first_entry + at != index);
        let longest = || others().map(|(_, publisher)| publisher.watch.longest()).max().unwrap_or_default();
        thread::sleep(SETTLE);
        longest();
        // What the machine does to all of them, whoever dies.
        thread::sleep(SETTLE);
        let before = longest();
        match fault {
            Fault::Kill => members.kill(index)?,
            Fault::Stop => members.signal(index, Signal::STOP)?,
        }
        thread::sleep(AWAY);
        let away = longest();
        match fault {
            Fault::Kill => members.launch(index)?,
            Fault::Stop => members.signal(index, Signal::CONT)?,
        }
        members.wait()?;
        thread::sleep(SETTLE);
        let back = longest();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        eprintln!("  {name}: {:.1} ms (before {:.1}, when it comes back {:.1})", ms(away), ms(before), ms(back));
        let metric = match &name[..1] {
            "S" => Metric::PauseSyncMs,
            "N" => Metric::PauseStorageMs,
            _ => Metric::PauseEntryMs,
        };
        for (metric, value) in [(Metric::PauseNoneMs, ms(before)), (metric, ms(away)), (Metric::PauseBackMs, ms(back))]
        {
            let longest = outcome.metrics.get(&metric).copied().unwrap_or(0.0);
            outcome.set(metric, longest.max(value));
        }
    }
    for Publisher { watch, thread } in publishers {
        watch.stop.store(true, Ordering::Relaxed);
        thread.join().map_err(|_| io::Error::other("a publisher panicked"))?;
        let acknowledged = watch.acknowledged.load(Ordering::Relaxed);
        outcome.counted += acknowledged;
        let rate = acknowledged as f64 / watch.begun.elapsed().as_secs_f64();
        let sum = outcome.metrics.get(&Metric::PerSecond).copied().unwrap_or(0.0);
        outcome.set(Metric::PerSecond, sum + rate);
    }
    Ok(outcome)
}
