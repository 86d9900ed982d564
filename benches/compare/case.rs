//! The cases: what is driven through the brokers, and what fennec must reach.

use crate::cluster::{Cluster, is_jetstream};
use crate::durable::Durable;
use crate::outcome::Metric;
use crate::pause::Fault;
use crate::peer::{Keep, PeerKind};
use crate::schedule::Schedule;

/// One case.
pub struct Case {
    pub name: &'static str,
    /// What is done and what is counted.
    pub what: &'static str,
    pub work: Work,
    pub floors: &'static [Floor],
}

/// What a case does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    Flow(Flow),
    /// Steady messages, 1 to 1, QoS 0, whose latency is measured.
    Latency(Schedule),
    /// A flow without and with so many subscriptions of others, in one broker.
    OtherSubscriptions(Flow, usize),
    /// So many connections that do nothing.
    Idle(usize),
    /// Calls, so many under way.
    Calls(u64),
    /// Messages on disk.
    Durable(Durable),
    /// Several processes that are one broker.
    Cluster(Cluster),
}

/// Publishers and subscribers. One subscriber hears all publishers, subscribers of one publisher all hear it, else
/// each subscriber hears the publisher of its number.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub publishers: u16,
    pub subscribers: u16,
    pub qos: u8,
    pub from: Gate,
    pub to: Gate,
    /// When publishers publish, in turn; a closed loop if there is none.
    pub schedule: Option<Schedule>,
}

/// The protocol of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Mqtt,
    Wamp,
}

impl Flow {
    pub const fn mqtt(publishers: u16, subscribers: u16, qos: u8) -> Self {
        Self { publishers, subscribers, qos, from: Gate::Mqtt, to: Gate::Mqtt, schedule: None }
    }

    const fn between(from: Gate, to: Gate) -> Self {
        Self { from, to, ..Self::mqtt(1, 1, 0) }
    }

    const fn steady(self, schedule: Schedule) -> Self {
        Self { schedule: Some(schedule), ..self }
    }

    /// Which publishers the subscriber hears.
    pub fn hears(&self, subscriber: u16) -> Vec<u16> {
        match (self.publishers, self.subscribers) {
            (publishers, 1) => (0..publishers).collect(),
            (1, _) => vec![0],
            _ => vec![subscriber],
        }
    }
}

/// What fennec must reach.
pub struct Floor {
    pub metric: Metric,
    pub bound: Bound,
}

/// A bound in the unit of its metric, or as a multiple of what a peer reached in the same run.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    Least(f64),
    Most(f64),
    LeastTimes(f64, PeerKind),
    MostTimes(f64, PeerKind),
}

const fn floor(metric: Metric, bound: Bound) -> Floor {
    Floor { metric, bound }
}

const fn rate(per_second: f64) -> Floor {
    floor(Metric::PerSecond, Bound::Least(per_second))
}

impl Case {
    /// Where brokers keep what they have.
    pub fn keep(&self) -> Keep {
        match self.work {
            Work::Durable(_) => Keep::Disk,
            _ => Keep::Memory,
        }
    }

    /// How often it is run, if so many rounds are asked for.
    pub fn rounds(&self, asked: usize) -> usize {
        match self.work {
            // It makes its log but once and starts on it several times.
            Work::Durable(Durable::Start) => asked.min(1),
            // A minute and a half each.
            Work::Cluster(Cluster::Pause(_)) => asked.min(1),
            _ => asked,
        }
    }

    /// Whether the case can be driven through such a peer.
    pub fn suits(&self, peer: PeerKind) -> bool {
        let (mqtt_only, relayed) = match self.work {
            Work::Flow(flow) => {
                let mqtt_only = flow.from == Gate::Mqtt && flow.to == Gate::Mqtt;
                // The relay forwards everything to everybody and acknowledges nothing.
                (mqtt_only, flow.qos == 0 && (flow.publishers == 1 || flow.subscribers == 1))
            }
            Work::Latency(_) => (true, true),
            Work::OtherSubscriptions(..) | Work::Idle(_) => (true, false),
            Work::Calls(_) => (false, true),
            Work::Durable(work) => return work.suits(peer),
            Work::Cluster(work) => return work.suits(peer),
        };
        match peer {
            PeerKind::Relay => relayed,
            PeerKind::Sqlx | PeerKind::SqlxSingle => false,
            peer if is_jetstream(peer) => false,
            peer => mqtt_only || peer.speaks_wamp(),
        }
    }
}

/// All cases, in the order they are run.
pub const CASES: &[Case] = &[
    Case {
        name: "qos0-1-1",
        what: "QoS 0, 1 publisher to 1 subscriber, closed loop; deliveries",
        work: Work::Flow(Flow::mqtt(1, 1, 0)),
        floors: &[
            rate(3e6),
            floor(Metric::BrokerUs, Bound::Most(0.25)),
            floor(Metric::PerSecond, Bound::LeastTimes(30.0, PeerKind::Mosquitto)),
            floor(Metric::PerSecond, Bound::LeastTimes(6.0, PeerKind::Rumqttd)),
        ],
    },
    Case {
        name: "qos0-1-10",
        what: "QoS 0, 1 publisher to 10 subscribers of its topic, closed loop; deliveries to all of them",
        work: Work::Flow(Flow::mqtt(1, 10, 0)),
        floors: &[rate(6e6)],
    },
    Case {
        name: "qos0-10-10",
        what: "QoS 0, 10 publishers with a topic each, to 10 subscribers of one topic each, closed loop; deliveries",
        work: Work::Flow(Flow::mqtt(10, 10, 0)),
        floors: &[rate(2.5e6)],
    },
    Case {
        name: "qos0-10-1",
        what: "QoS 0, 10 publishers with a topic each, to 1 subscriber of all (wildcard), closed loop; deliveries",
        work: Work::Flow(Flow::mqtt(10, 1, 0)),
        floors: &[rate(2.5e6)],
    },
    Case {
        name: "qos0-100-single",
        what: "QoS 0, 100 publishers to 1 subscriber, open loop: every millisecond the next 50 publishers write one message \
               each; deliveries",
        work: Work::Flow(Flow::mqtt(100, 1, 0).steady(Schedule::new(1000, 50))),
        floors: &[floor(Metric::BrokerUs, Bound::Most(4.2))],
    },
    Case {
        name: "qos0-100-even",
        what: "as qos0-100-single, but every 20 us one publisher: a wake-up for nearly every message; deliveries",
        work: Work::Flow(Flow::mqtt(100, 1, 0).steady(Schedule::new(50_000, 1))),
        floors: &[],
    },
    Case {
        name: "qos1-1-1",
        what: "QoS 1 both ways, clean sessions, 1000 in flight, closed loop; deliveries",
        work: Work::Flow(Flow::mqtt(1, 1, 1)),
        floors: &[rate(9e5)],
    },
    Case {
        name: "qos2-1-1",
        what: "QoS 2 both ways, clean sessions, 1000 in flight, closed loop; deliveries",
        work: Work::Flow(Flow::mqtt(1, 1, 2)),
        floors: &[rate(5e5)],
    },
    Case {
        name: "latency-5000",
        what: "QoS 0, 1 to 1, open loop: 5 messages, a write each, every millisecond; time from the tick to the arrival",
        work: Work::Latency(Schedule::new(1000, 5)),
        floors: &[
            floor(Metric::P50Us, Bound::MostTimes(0.75, PeerKind::Mosquitto)),
            floor(Metric::P99Us, Bound::MostTimes(0.7, PeerKind::Mosquitto)),
        ],
    },
    Case {
        name: "latency-5000-even",
        what: "as latency-5000, but one message every 200 us; time from the intended sending to the arrival",
        work: Work::Latency(Schedule::new(5000, 1)),
        floors: &[],
    },
    Case {
        name: "wildcards-1000",
        what: "QoS 0, 1 to 1, closed loop, without and with 1000 wildcard subscriptions of others; deliveries with them",
        work: Work::OtherSubscriptions(Flow::mqtt(1, 1, 0), 1000),
        floors: &[floor(Metric::KeptPercent, Bound::Least(90.0))],
    },
    Case {
        name: "idle-8000",
        what: "8000 idle connections, opened 64 at a time; lost are those that do not answer a ping in the end",
        work: Work::Idle(8000),
        floors: &[
            floor(Metric::KbPerConnection, Bound::Most(6.0)),
            floor(Metric::ConnectsPerSecond, Bound::Least(20_000.0)),
        ],
    },
    Case {
        name: "wamp-pubsub-json",
        what: "WAMP publish to event, JSON over WebSocket, 1 to 1, closed loop; events",
        work: Work::Flow(Flow::between(Gate::Wamp, Gate::Wamp)),
        floors: &[rate(1e6)],
    },
    Case {
        name: "wamp-call-json",
        what: "WAMP calls, JSON over WebSocket, 1 caller to 1 callee, 64 under way; results",
        work: Work::Calls(64),
        floors: &[rate(3e5)],
    },
    Case {
        name: "mqtt-to-wamp",
        what: "MQTT QoS 0 publish to WAMP event in JSON, 1 to 1, closed loop; events",
        work: Work::Flow(Flow::between(Gate::Mqtt, Gate::Wamp)),
        floors: &[rate(1e6)],
    },
    Case {
        name: "wamp-to-mqtt",
        what: "WAMP publish in JSON to MQTT QoS 0, 1 to 1, closed loop; deliveries",
        work: Work::Flow(Flow::between(Gate::Wamp, Gate::Mqtt)),
        floors: &[rate(1e6)],
    },
    Case {
        name: "durable-offline-1",
        what: "QoS 1 to a persistent session that is away, 1 publisher, 100 under way; acknowledgements",
        work: Work::Durable(Durable::Away { publishers: 1, under_way: 100, drain: false }),
        floors: &[rate(2e5)],
    },
    Case {
        name: "durable-offline-10",
        what: "the same, 10 publishers, 1000 under way each; then the session comes back and gets it all (drain)",
        work: Work::Durable(Durable::Away { publishers: 10, under_way: 1000, drain: true }),
        floors: &[rate(6e5), floor(Metric::DrainPerSecond, Bound::Least(1e6))],
    },
    Case {
        name: "durable-1",
        what: "the same, 1 publisher, 1 under way; beside it, one small commit after the other to SQLite through sqlx \
               (WAL, synchronous FULL): a transaction with one INSERT, and an INSERT by itself",
        work: Work::Durable(Durable::OneUnderWay),
        floors: &[floor(Metric::PerSecond, Bound::LeastTimes(0.7, PeerKind::Sqlx))],
    },
    Case {
        name: "durable-sessions-10000",
        what: "QoS 1, 1 publisher, 1000 under way, to 10 000 persistent sessions that are away; kept is the share of the \
               rate with one such session",
        work: Work::Durable(Durable::Sessions(10_000)),
        floors: &[floor(Metric::KeptPercent, Bound::Least(90.0)), floor(Metric::DiskBytes, Bound::Most(1000.0))],
    },
    Case {
        name: "durable-resume",
        what: "1 000 000 messages to a persistent session that is away and subscribes to #; the broker is started anew, and \
               the session comes back (drain)",
        work: Work::Durable(Durable::Resume(1_000_000)),
        floors: &[floor(Metric::DrainPerSecond, Bound::Least(7e5)), floor(Metric::GrownMb, Bound::Most(64.0))],
    },
    Case {
        name: "durable-webhook",
        what: "500 000 messages for a webhook service that is paused; then it is resumed, and a receiver on this machine gets them \
               all, 100 in a transaction (drain)",
        work: Work::Durable(Durable::Webhook(500_000)),
        floors: &[floor(Metric::DrainPerSecond, Bound::Least(5e4)), floor(Metric::GrownMb, Bound::Most(64.0))],
    },
    Case {
        name: "durable-uplink",
        what: "1 GB of messages of 4 kB at an edge whose centre is away; then the centre comes (drain: bytes per second), while ten \
               messages a second are published for it (max: the latest of them)",
        work: Work::Durable(Durable::Uplink(1000)),
        floors: &[
            floor(Metric::DrainPerSecond, Bound::Least(1e8)),
            floor(Metric::MaxUs, Bound::Most(1e6)),
            floor(Metric::GrownMb, Bound::Most(128.0)),
        ],
    },
    Case {
        name: "durable-uplink-small",
        what: "the same with 50 MB",
        work: Work::Durable(Durable::Uplink(50)),
        floors: &[],
    },
    Case {
        name: "durable-start",
        what: "start with a log of 10 GB (--gigabytes), files not in memory, until ready for MQTT and by /readyz",
        work: Work::Durable(Durable::Start),
        floors: &[floor(Metric::ReadyMs, Bound::Most(1000.0))],
    },
    Case {
        name: "durable-retained",
        what: "1 000 000 retained values, QoS 1; the broker is started anew, and a subscriber to # gets them all (drain)",
        work: Work::Durable(Durable::Retained(1_000_000)),
        floors: &[floor(Metric::ReadyMs, Bound::Most(1000.0))],
    },
    Case {
        name: "cluster-100",
        what: "QoS 1, nine processes (three entries, three storages, three syncs), a publisher at each entry, 100 under way in \
               all; acknowledgements",
        work: Work::Cluster(Cluster::Publish { under_way: 100 }),
        floors: &[floor(Metric::PerSecond, Bound::LeastTimes(1.0, PeerKind::Jetstream))],
    },
    Case {
        name: "cluster-1000",
        what: "the same, 1000 under way in all",
        work: Work::Cluster(Cluster::Publish { under_way: 1000 }),
        floors: &[floor(Metric::PerSecond, Bound::LeastTimes(1.0, PeerKind::Jetstream))],
    },
    Case {
        name: "cluster-idle",
        what: "the processes of a cluster without clients; their CPU",
        work: Work::Cluster(Cluster::Idle),
        floors: &[],
    },
    Case {
        name: "cluster-kill",
        what: "QoS 1, a publisher at each entry, 10 under way each; each of the nine processes in turn is killed (SIGKILL); \
               longest time without an acknowledgement at another entry",
        work: Work::Cluster(Cluster::Pause(Fault::Kill)),
        floors: &[floor(Metric::PauseSyncMs, Bound::Most(100.0)), floor(Metric::PauseStorageMs, Bound::Most(100.0))],
    },
    Case {
        name: "cluster-stop",
        what: "the same, each is paused (SIGSTOP) for five seconds",
        work: Work::Cluster(Cluster::Pause(Fault::Stop)),
        floors: &[],
    },
];
