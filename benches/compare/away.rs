//! Persistent sessions whose clients are away, and what they receive when they come back.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::cpu::resident_kb;
use crate::load::Sink;
use crate::mqtt_load::{self, MqttSink, Stay};
use crate::peer::Target;
use crate::tracker::{Faults, Tracker};
use crate::wire::{Poller, Wire};

/// Sessions under way at once.
const UNDER_WAY: usize = 64;
const ANSWER: Duration = Duration::from_secs(30);
/// Nothing came for so long, or nothing yet: the rest does not come.
const IDLE: Duration = Duration::from_secs(2);
const FIRST: Duration = Duration::from_secs(20);
/// How often the broker's memory is read.
const MEMORY: Duration = Duration::from_millis(20);
const LOOK_UP: Duration = Duration::from_millis(20);

/// A name for session `index` of this driver.
pub fn client_id(index: u32) -> String {
    format!("bench-{}-away-{index}", std::process::id())
}

/// Makes persistent sessions with one subscription each, QoS 1, and leaves. When it returns, the broker has seen them go.
pub fn leave(target: Target, sessions: std::ops::Range<u32>, filter: &str) -> io::Result<()> {
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    for index in sessions {
        if under_way.len() == UNDER_WAY {
            under_way.pop_front().map(see_off).transpose()?;
        }
        let mut stream = TcpStream::connect(target.mqtt)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        // A client need not wait for CONNACK (MQTT 3.1.1, 3.1.4).
        let mut packets = mqtt_load::connect_packet_of(&client_id(index), Stay::Persistent);
        packets.extend(mqtt_load::subscribe_packet(1, &[filter.to_string()], 1));
        stream.write_all(&packets)?;
        under_way.push_back(stream);
    }
    under_way.into_iter().try_for_each(see_off)
}

fn see_off(mut stream: TcpStream) -> io::Result<()> {
    mqtt_load::expect_connack(&mut stream)?;
    mqtt_load::expect_suback(&mut stream, 1)?;
    stream.write_all(&[0xE0, 0])?;
    // The broker closes the connection when it has read the DISCONNECT.
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("a packet after DISCONNECT")),
    }
}

/// What came to a subscriber that was away.
pub struct Drained {
    pub elapsed: Duration,
    pub delivered: u64,
    pub faults: Faults,
    /// By how much the broker's resident memory was more, at most, than before; where its process is known.
    pub grown_kb: Option<u64>,
}

/// Session 0 comes back; waits until all that was `sent` by each publisher has come, or no more comes.
pub fn drain(target: Target, sent: &[u64]) -> io::Result<Drained> {
    let begin = Instant::now();
    let memory = Memory::new(target)?;
    let stream = mqtt_load::resume(target.mqtt, &client_id(0))?;
    let mut tracker = Tracker::new(sent.len());
    let owed = sent.iter().sum();
    let mut sink = MqttSink::default();
    let (elapsed, grown_kb) = receive(stream, memory, begin, |input, replies| {
        let consumed = sink.feed(input, replies, &mut tracker)?;
        Ok((consumed, tracker.delivered() >= owed))
    })?;
    Ok(Drained { elapsed, delivered: tracker.delivered(), faults: tracker.faults(sent), grown_kb })
}

/// Follows the resident memory of a broker.
pub struct Memory {
    pid: Option<u32>,
    before_kb: u64,
    most_kb: u64,
    looked: Instant,
}

impl Memory {
    pub fn new(target: Target) -> io::Result<Self> {
        let before_kb = target.pid.map_or(Ok(0), resident_kb)?;
        Ok(Self { pid: target.pid, before_kb, most_kb: before_kb, looked: Instant::now() })
    }

    fn look(&mut self) -> io::Result<()> {
        if let Some(pid) = self.pid
            && self.looked.elapsed() > MEMORY
        {
            self.most_kb = self.most_kb.max(resident_kb(pid)?);
            self.looked = Instant::now();
        }
        Ok(())
    }
}

/// Receives until `feed` says that this was all, or nothing comes any more. Returns the time from `begin` to the last
/// packet and by how much the broker's memory grew.
pub fn receive(
    stream: TcpStream,
    mut memory: Memory,
    begin: Instant,
    mut feed: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<(usize, bool)>,
) -> io::Result<(Duration, Option<u64>)> {
    let mut wire = Wire::new(stream)?;
    let poller = Poller::new()?;
    poller.add(&wire, 0)?;
    let (mut last, mut came) = (Instant::now(), false);
    loop {
        if !wire.readable {
            poller.wait(LOOK_UP, |_, readable, writable| {
                wire.readable |= readable;
                wire.writable |= writable;
            })?;
        }
        let mut done = false;
        if wire.readable {
            wire.read()?;
            let (input, replies) = wire.input_and_replies();
            let (consumed, all) = feed(input, replies)?;
            wire.consume(consumed);
            if consumed > 0 {
                (last, came) = (Instant::now(), true);
            }
            done = all;
        }
        if wire.writable {
            wire.flush_replies()?;
        }
        memory.look()?;
        if done || last.elapsed() > if came { IDLE } else { FIRST } {
            return Ok((last - begin, memory.pid.map(|_| memory.most_kb - memory.before_kb)));
        }
    }
}
