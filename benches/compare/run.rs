//! Runs one case against one broker.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::case::{Case, Flow, Gate, Work};
use crate::durable;
use crate::idle;
use crate::latency::{self, Pair};
use crate::load::{self, Load, Pace, Sink, Source, Timing};
use crate::mqtt_load::{self, MqttSink, MqttSource};
use crate::outcome::{Metric, Outcome};
use crate::payload::Shape;
use crate::peer::{IN_FLIGHT, Peer, Target};
use crate::schedule::Schedule;
use crate::wamp_load::{self, Request, WampSink, WampSource};

/// Filters of others per connection that holds them, and per SUBSCRIBE.
const FILTERS_PER_CLIENT: usize = 100;
/// What a subscriber may lag behind at most with QoS 1 and 2: less than any of the brokers queues for it before it drops.
const QUEUED_MAX: u64 = 5_000;

/// How a case is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub warm_up: Duration,
    pub measured: Duration,
    /// Messages that a subscriber may lag behind what is published for it (closed loop).
    pub window: u64,
    pub shape: Shape,
    /// Of the log that a broker is started on.
    pub gigabytes: u64,
}

/// Runs a case once, with a broker that is not started yet, or is not ours.
pub fn run(case: &Case, peer: &mut Peer, settings: Settings) -> io::Result<Outcome> {
    if !matches!(case.work, Work::Durable(_)) {
        peer.up()?;
    }
    let target = peer.target;
    match case.work {
        Work::Durable(work) => durable::run(work, peer, settings),
        Work::Flow(flow) => run_flow(flow, target, settings),
        Work::Latency(schedule) => run_latency(schedule, target, settings),
        Work::OtherSubscriptions(flow, others) => run_with_others(flow, others, target, settings),
        Work::Idle(connections) => idle::run(target, connections),
        Work::Calls(under_way) => run_calls(under_way, target, settings),
        Work::Cluster(_) => Err(io::Error::other("a cluster is more than one broker")),
    }
}

/// When to measure, and whose CPU.
pub fn timing(target: Target, settings: Settings) -> Timing {
    Timing { warm_up: settings.warm_up, measured: settings.measured, broker_pid: target.pid }
}

fn run_flow(flow: Flow, target: Target, settings: Settings) -> io::Result<Outcome> {
    Ok(Outcome::of(&load::run(connect_flow(flow, target, settings)?, timing(target, settings))?))
}

fn run_latency(schedule: Schedule, target: Target, settings: Settings) -> io::Result<Outcome> {
    let flow = Flow::mqtt(1, 1, 0);
    let sink = connect_sink(flow, 0, &[0], target, settings.shape)?;
    let source = connect_source(flow, 0, target, settings.shape)?;
    latency::run(Pair { source, sink }, schedule, timing(target, settings))
}

fn connect_flow(flow: Flow, target: Target, settings: Settings) -> io::Result<Load> {
    let mut sinks = Vec::new();
    for index in 0..flow.subscribers {
        let hears = flow.hears(index);
        let (stream, sink) = connect_sink(flow, index, &hears, target, settings.shape)?;
        sinks.push((stream, sink, hears));
    }
    let mut sources = Vec::new();
    for index in 0..flow.publishers {
        sources.push(connect_source(flow, index, target, settings.shape)?);
    }
    let heard_by_one = flow.hears(0).len() as u64;
    let lag = if flow.qos > 0 { settings.window.min(QUEUED_MAX) } else { settings.window };
    let window = (lag / heard_by_one).max(1);
    let pace = match flow.schedule {
        Some(schedule) => Pace::Open(schedule),
        // Every acknowledgement lets the next publish go, as with a real client: to hold publishes back until many may go
        // stalls brokers without TCP_NODELAY, which hold the last acknowledgements back in turn.
        None if flow.qos > 0 => Pace::Closed { window, in_flight: Some(IN_FLIGHT), batch: 1 },
        None => Pace::Closed { window, in_flight: None, batch: (window / 4).max(1) },
    };
    Ok(Load { sources, sinks, pace, count_acked: false, each: None })
}

fn connect_sink(
    flow: Flow,
    index: u16,
    hears: &[u16],
    target: Target,
    shape: Shape,
) -> io::Result<(TcpStream, Box<dyn Sink>)> {
    match flow.to {
        Gate::Mqtt => {
            let filter = if let [heard] = hears { format!("bench/{heard}") } else { "bench/+".into() };
            let mut stream = mqtt_load::connect(target.mqtt, &client_id("subscriber", index))?;
            mqtt_load::subscribe(&mut stream, &[filter], flow.qos)?;
            Ok((stream, Box::new(MqttSink::default())))
        }
        Gate::Wamp => {
            let mut stream = wamp_load::connect(wamp_addr(target)?)?;
            wamp_load::subscribe(&mut stream, &format!("bench.{index}"))?;
            Ok((stream, Box::new(WampSink::new(shape))))
        }
    }
}

fn connect_source(flow: Flow, index: u16, target: Target, shape: Shape) -> io::Result<(TcpStream, Box<dyn Source>)> {
    match flow.from {
        Gate::Mqtt => {
            let stream = mqtt_load::connect(target.mqtt, &client_id("publisher", index))?;
            Ok((stream, Box::new(MqttSource::new(index, &format!("bench/{index}"), flow.qos, shape))))
        }
        Gate::Wamp => {
            let stream = wamp_load::connect(wamp_addr(target)?)?;
            Ok((stream, Box::new(WampSource::new(index, Request::Publish, &format!("bench.{index}"), shape))))
        }
    }
}

/// Differs from those of another driver at the same broker.
pub fn client_id(role: &str, index: u16) -> String {
    format!("bench-{}-{role}-{index}", std::process::id())
}

fn wamp_addr(target: Target) -> io::Result<SocketAddr> {
    target.http.ok_or_else(|| io::Error::other("no address for WAMP (--http-addr)"))
}

fn run_with_others(flow: Flow, others: usize, target: Target, settings: Settings) -> io::Result<Outcome> {
    let per_second = |outcome: &Outcome| outcome.metrics.get(&Metric::PerSecond).copied().unwrap_or(0.0);
    let without = run_flow(flow, target, settings)?;
    let clients = subscribe_others(target, others)?;
    let mut with = run_flow(flow, target, settings)?;
    drop(clients);
    with.faults.add(without.faults);
    with.set(Metric::KeptPercent, per_second(&with) * 100.0 / per_second(&without).max(1.0));
    Ok(with)
}

/// Wildcard filters that match none of the published topics, some of them only in the last level.
fn subscribe_others(target: Target, count: usize) -> io::Result<Vec<TcpStream>> {
    let filters: Vec<String> = (0..count).map(other_filter).collect();
    let clients = filters.chunks(FILTERS_PER_CLIENT).enumerate().map(|(index, filters)| {
        let mut stream = mqtt_load::connect(target.mqtt, &client_id("other", index as u16))?;
        mqtt_load::subscribe(&mut stream, filters, 0)?;
        Ok(stream)
    });
    clients.collect()
}

fn other_filter(index: usize) -> String {
    match index % 4 {
        0 => format!("other{index}/+/#"),
        1 => format!("+/other{index}"),
        2 => format!("+/other{index}/#"),
        _ => format!("bench/+/other{index}"),
    }
}

fn run_calls(under_way: u64, target: Target, settings: Settings) -> io::Result<Outcome> {
    let procedure = "bench.echo";
    let mut callee = wamp_load::connect(wamp_addr(target)?)?;
    wamp_load::register(&mut callee, procedure)?;
    let caller = wamp_load::connect(wamp_addr(target)?)?;
    let source = WampSource::new(0, Request::Call, procedure, settings.shape);
    let load = Load {
        sources: vec![(caller, Box::new(source))],
        sinks: vec![(callee, Box::new(WampSink::new(settings.shape)), vec![0])],
        // The window is what is under way: whatever has a result is out of the callee's hands too.
        pace: Pace::Closed { window: u64::MAX, in_flight: Some(under_way), batch: 1 },
        count_acked: true,
        each: None,
    };
    Ok(Outcome::of(&load::run(load, timing(target, settings))?))
}
