//! Connections that do nothing: how fast they are accepted, and what memory each costs.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cpu::{Reading, resident_kb};
use crate::load::Measured;
use crate::mqtt_load;
use crate::outcome::{Metric, Outcome};
use crate::peer::Target;
use crate::tracker::Faults;

/// Connections under way at once: connected, CONNECT written, CONNACK not read yet.
const UNDER_WAY: usize = 64;
/// Time for the broker to come to rest before its memory is read.
const REST: Duration = Duration::from_millis(300);
/// Files that the driver needs besides the connections.
const OTHER_FILES: u64 = 100;
const ANSWER: Duration = Duration::from_secs(10);

/// Lets this process, and brokers it starts, have as many open files as the system allows.
pub fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// Opens the connections, reads the memory, and asks each connection whether it still lives.
pub fn run(target: Target, connections: usize) -> io::Result<Outcome> {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if open_files < connections as u64 + OTHER_FILES {
        return Err(io::Error::other(format!("at most {open_files} open files are allowed")));
    }
    let resident = || target.pid.map(resident_kb).transpose();
    // The first client makes the broker allocate what it needs but once.
    let first = mqtt_load::connect(target.mqtt, "idle-first")?;
    thread::sleep(REST);
    let (resident_before, before) = (resident()?, Reading::now(target.pid)?);
    let mut clients = connect_all(target, connections)?;
    let spent = Reading::now(target.pid)?.since(&before);
    thread::sleep(REST);
    let resident_after = resident()?;

    let faults = Faults { lost: connections as u64 - alive(&mut clients), ..Faults::default() };
    let mut outcome = Outcome::of(&Measured { spent, counted: connections as u64, faults, sent: Vec::new() });
    outcome.rename(Metric::PerSecond, Metric::ConnectsPerSecond);
    if let (Some(before), Some(after)) = (resident_before, resident_after) {
        outcome.set(Metric::KbPerConnection, (after as f64 - before as f64) / connections as f64);
    }
    drop(first);
    Ok(outcome)
}

fn connect_all(target: Target, connections: usize) -> io::Result<Vec<TcpStream>> {
    let mut clients = Vec::with_capacity(connections);
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    for index in 0..connections {
        if under_way.len() == UNDER_WAY {
            clients.extend(accepted(under_way.pop_front())?);
        }
        let mut stream = TcpStream::connect(target.mqtt)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(&mqtt_load::connect_packet(&format!("idle-{index}")))?;
        under_way.push_back(stream);
    }
    while !under_way.is_empty() {
        clients.extend(accepted(under_way.pop_front())?);
    }
    Ok(clients)
}

fn accepted(stream: Option<TcpStream>) -> io::Result<Option<TcpStream>> {
    stream.map(|mut stream| mqtt_load::expect_connack(&mut stream).map(|_| stream)).transpose()
}

/// How many answer a ping.
fn alive(clients: &mut [TcpStream]) -> u64 {
    // A client that cannot be written to will not answer either.
    clients.iter_mut().for_each(|client| drop(client.write_all(&[0xC0, 0])));
    let mut answer = [0; 2];
    let mut answers = |client: &mut TcpStream| client.read_exact(&mut answer).is_ok() && answer == [0xD0, 0];
    clients.iter_mut().map(|client| u64::from(answers(client))).sum()
}
