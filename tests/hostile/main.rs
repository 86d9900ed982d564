//! Thousands of connections that do everything wrong, while a few do everything right: those lose nothing and wait for little,
//! and when the others are gone so is what they cost.
#![cfg(target_os = "linux")]

mod broker;
mod dice;
mod pairs;
mod wrong;

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use broker::{Broker, Metrics};
use dice::Dice;
use pairs::{Pair, Probe, Report};
use wrong::WAYS;

/// Far longer than anything takes, so that only what never comes fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// 99 of 100 messages of an undisturbed pair take no longer, by a debug build on a machine that does much else. On one that does
/// nothing else it is some milliseconds.
const P99_MAX: Duration = Duration::from_secs(5);
/// What the broker may need beyond what it needs when idle.
const PEAK_BYTES_MAX: usize = 512 << 20;
/// What a second wave may add to that of the first, which left nothing behind.
const MORE_BYTES_MAX: usize = 64 << 20;
const WAVES: u64 = 2;
const ATTACKERS: u64 = 4;
/// What each attacker does wrong in a wave.
const ROUNDS: usize = 400;
/// Of the connections that it leaves open, as many as this stay.
const HELD_MAX: usize = 400;

/// Gives this process, and the broker that it starts, as many open files as they may have.
fn raise_open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Does wrong things in an order that `seed` decides; what it leaves open is closed at the end. It goes on when the broker has
/// answered a ping: so it measures what is done wrong, not how much a debug build on a busy machine can do in a second.
fn attack(broker: &wrong::Target, seed: u64, held_max: usize) -> usize {
    let mut dice = Dice::new(seed);
    let mut probe = Probe::join(broker.mqtt, &format!("probe{seed}"));
    let mut held: Vec<TcpStream> = Vec::new();
    let mut connections = 0;
    for round in 0..ROUNDS {
        // Each way at least once.
        let way = WAYS[if round < WAYS.len() { round } else { dice.roll(WAYS.len()) }];
        let opened = way(broker, &mut dice);
        connections += opened.len();
        for socket in opened {
            if held.len() >= held_max {
                drop(held.swap_remove(dice.roll(held_max)));
            }
            held.push(socket);
        }
        probe.ping();
    }
    connections
}

/// A wave of attackers: how many connections they made.
fn wave(broker: &Broker, number: u64, held_max: usize) -> usize {
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|attacker| {
            let target = broker.target();
            thread::spawn(move || attack(&target, number * ATTACKERS + attacker + 1, held_max))
        })
        .collect();
    attackers.into_iter().map(|attacker| attacker.join().expect("it does its worst")).sum()
}

#[test]
fn connections_that_do_everything_wrong_hurt_nobody_else() {
    let held_max = HELD_MAX.min(raise_open_files() / (4 * ATTACKERS as usize));
    let broker = Broker::start();
    let idle_bytes = broker.resident_bytes();
    let pairs = [Pair::mqtt(&broker.ports), Pair::wamp(&broker.ports)];
    let before = Metrics { queue_bytes: 0, ..broker.metrics() };
    let (mut connections, mut peaks) = (0, Vec::new());
    for number in 0..WAVES {
        connections += wave(&broker, number, held_max);
        // Their connections are closed, their sessions and subscriptions have ended, nothing waits for them.
        broker.wait_for_calm(&before);
        peaks.push(broker.peak_bytes().saturating_sub(idle_bytes));
    }
    for pair in pairs {
        let Report { name, sent, received, p99, max } = pair.finish();
        println!("{name}: {sent} messages, p99 {p99:?}, max {max:?}");
        assert!(sent > 100, "{name}: {sent} messages are no test");
        assert_eq!(received, sent, "{name}: all that was acknowledged came, once and in order");
        assert!(p99 < P99_MAX, "{name}: {p99:?}");
    }
    println!("{connections} connections; {peaks:?} bytes at most, wave by wave");
    assert!(connections > 3000, "{connections} are no crowd");
    assert!(peaks.iter().all(|peak| *peak < PEAK_BYTES_MAX), "{peaks:?}");
    assert!(peaks.last() < peaks.first().map(|first| first + MORE_BYTES_MAX).as_ref(), "{peaks:?}");
    broker.check_calm();
}
