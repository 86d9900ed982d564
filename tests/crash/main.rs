//! Kills a broker at random moments, over and over, and checks that it keeps what it has promised.
//!
//! ```text
//! publishers (QoS 1, QoS 2, WAMP) --\                       /--> subscribers (sessions, event ids, names)
//! lockers, keepers of keys, wills ---+--> broker on a disk --+--> members of groups
//!                                    |     ^ SIGKILL, SIGTERM, start again; each moment from the seed
//!                                    \--> recorder <---------/   --> checker
//! ```
//!
//! In some rounds the disk cannot be written for a while.
//!
//! `FENNEC_CRASH_ROUNDS=500` kills so often; `FENNEC_CRASH_SEED=n` repeats the choices of a run, which prints its own.
//! `FENNEC_CRASH_STORE` names another store; with `memory`, which keeps nothing, the test fails, as it must.

mod broker;
mod checker;
mod clients;
mod counters;
mod dice;
mod history;
mod holders;
mod members;
#[path = "../support/postgres.rs"]
mod postgres;
mod promises;
mod publishers;
mod subscribers;
mod wills;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fennec::client::Error;
use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;
use fennec::types::payload::Format;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use broker::{Broker, Ports};
use clients::{Actor, Phase, Stage, live, publish, text, wamp_client};
use counters::{Counter, Counts};
use dice::Dice;
use history::{Fate, History, Promise, Recorder, Sight};
use holders::{Keeper, Locker};
use members::{Belongs, Member};
use publishers::{Publisher, Speaks};
use subscribers::{END, Reader, Resumes, Subscriber};
use wills::Testator;

const CONFIG: &str = "[[durable]]\ntopic = 'crash/#'\n";
const ROUNDS: u64 = 20;
const ROUNDS_POSTGRES: u64 = 8;
/// How long anything may take that must come: a start, an acknowledgement, the end of the log. Much more than it needs.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a start is left alone before it is killed, in a round in which it is.
const EARLY_US: std::ops::RangeInclusive<u64> = 0..=60_000;
/// Acknowledgements after which a broker is killed.
const WORK: std::ops::RangeInclusive<u64> = 1..=1500;
/// One in so many rounds has a disk that cannot be written for a while.
const FAULTS_ONE_IN: u64 = 8;

#[test]
fn what_was_acknowledged_survives_kill_9_and_nothing_comes_twice_that_must_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = std::env::var("FENNEC_CRASH_STORE");
    test(store.unwrap_or_else(|_| folder.path().join("data").display().to_string()), ROUNDS);
}

#[test]
fn the_same_holds_with_postgresql() {
    if let Some(store) = postgres::store_url() {
        test(store, ROUNDS_POSTGRES);
    }
}

fn test(store: String, rounds: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let rounds = number("FENNEC_CRASH_ROUNDS").unwrap_or(rounds);
    let seed = number("FENNEC_CRASH_SEED").unwrap_or_else(random);
    println!("FENNEC_CRASH_SEED={seed} FENNEC_CRASH_ROUNDS={rounds}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("fennec.toml");
    std::fs::write(&config, CONFIG).expect("the configuration is written");
    let history = Test::new(store, config, seed).run(rounds);
    let broken = checker::check(&history);
    let (published, holds) = (history.log.len(), history.holds.len());
    let works: usize = history.groups.values().map(|group| group.works.len()).sum();
    let wills = history.log.iter().filter(|sight| sight.publisher.starts_with("will")).count();
    let (keys, counts) = (history.keys.len(), history.counts.len());
    println!("{published} events, {works} for groups, {wills} wills, {holds} locks, {keys} keys read, {counts} counts");
    println!("{} refused by a store that failed", history.troubles);
    assert!(broken.is_empty(), "FENNEC_CRASH_SEED={seed} FENNEC_CRASH_ROUNDS={rounds}\n{}", broken.join("\n"));
}

fn random() -> u64 {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("random numbers");
    u64::from_ne_bytes(seed)
}

/// Clients and their names.
type People = (Vec<&'static str>, JoinSet<&'static str>);

struct Test {
    store: String,
    config: PathBuf,
    dice: Dice,
    recorder: Arc<Recorder>,
    runtime: Runtime,
    stages: watch::Sender<Stage>,
    not_subscribed: Arc<AtomicUsize>,
    /// Who subscribes, and who does anything else.
    passive: People,
    active: People,
    /// Members of groups, who stay until all is done.
    members: People,
}

impl Test {
    fn new(store: String, config: PathBuf, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let first = Stage { phase: Phase::Subscribing, ports: None, life: 0 };
        let mut test = Test {
            store,
            config,
            dice: Dice(seed),
            recorder: Arc::default(),
            runtime: runtime.expect("threads"),
            stages: watch::channel(first).0,
            not_subscribed: Arc::default(),
            passive: People::default(),
            active: People::default(),
            members: People::default(),
        };
        test.people();
        test
    }

    fn people(&mut self) {
        let recorder = self.recorder.clone();
        for (name, resumes) in [
            ("session-1", Resumes::Session(Level::V5, Qos::AtLeastOnce)),
            ("session-2", Resumes::Session(Level::V5, Qos::ExactlyOnce)),
            ("session-2-old", Resumes::Session(Level::V4, Qos::ExactlyOnce)),
            ("after", Resumes::After(Format::Json)),
            ("after-cbor", Resumes::After(Format::Cbor)),
            ("named", Resumes::Named(Format::Json, "on-delivery", false)),
            ("named-acknowledges", Resumes::Named(Format::MsgPack, "by-client", true)),
        ] {
            let dice = Dice(self.dice.roll());
            let subscriber = Subscriber::new(name, resumes, &recorder, dice, &self.not_subscribed);
            self.passive.0.push(name);
            self.passive.1.spawn_on(live(subscriber, self.stages.subscribe()), self.runtime.handle());
        }
        for (name, speaks) in [
            ("one", Speaks::Mqtt(Level::V5, Qos::AtLeastOnce)),
            ("one-old", Speaks::Mqtt(Level::V4, Qos::AtLeastOnce)),
            ("two", Speaks::Mqtt(Level::V5, Qos::ExactlyOnce)),
            ("two-old", Speaks::Mqtt(Level::V4, Qos::ExactlyOnce)),
            ("wamp", Speaks::Wamp(Format::Json)),
            ("wamp-msgpack", Speaks::Wamp(Format::MsgPack)),
        ] {
            let dice = Dice(self.dice.roll());
            self.act(Publisher::new(name, speaks, &recorder, dice));
        }
        for name in ["ann", "bob", "cem"] {
            self.act(Locker::new(name, &recorder));
        }
        for key in ["state.a", "state.b"] {
            self.act(Keeper::new(key, &recorder));
        }
        for (name, counts) in [
            ("count-mqtt", Counts::Mqtt),
            ("count-wamp", Counts::Wamp(Format::Json)),
            ("count-cbor", Counts::Wamp(Format::Cbor)),
        ] {
            self.act(Counter::new(name, counts, &recorder));
        }
        for (name, session_expiry_s) in [("will", 0), ("will-kept", 3600)] {
            let testator = Testator::new(name, session_expiry_s, &recorder, Dice(self.dice.roll()));
            self.active.0.push(testator.name());
            self.active.1.spawn_on(testator.live(self.stages.subscribe()), self.runtime.handle());
        }
        let forgets = self.dice.one_in(2);
        for (name, belongs) in [
            ("shares-1", Belongs::Shared("shared")),
            ("shares-2", Belongs::Shared("shared")),
            ("works-1", Belongs::Named("workers", Format::Json, forgets)),
            ("works-2", Belongs::Named("workers", Format::MsgPack, forgets)),
        ] {
            let member = Member::new(name, belongs, &recorder, Dice(self.dice.roll()), &self.not_subscribed);
            self.members.0.push(name);
            self.members.1.spawn_on(live(member, self.stages.subscribe()), self.runtime.handle());
        }
    }

    fn act(&mut self, actor: impl Actor + 'static) {
        self.active.0.push(actor.name());
        self.active.1.spawn_on(live(actor, self.stages.subscribe()), self.runtime.handle());
    }

    fn run(mut self, rounds: u64) -> History {
        for round in 0..rounds {
            let broker = self.start();
            self.recorder.has_stopped();
            if round == 0 {
                self.until("all have subscribed", |test| test.not_subscribed.load(Ordering::Relaxed) == 0, &broker);
                self.stages.send_modify(|stage| stage.phase = Phase::Working);
            }
            self.work(round, &broker);
            let recovers = !self.can_fault() || !self.dice.one_in(FAULTS_ONE_IN) || self.fault(round, &broker);
            if recovers && self.dice.one_in(6) {
                self.recorder.stops();
                broker.terminate().expect("a stop");
            } else {
                broker.kill();
            }
            self.stages.send_modify(|stage| stage.ports = None);
        }
        self.finish()
    }

    /// Lets clients work for a while.
    fn work(&mut self, round: u64, broker: &Broker) {
        let wanted = self.recorder.acknowledgements() + self.dice.within(WORK);
        let came = self.recorder.wait_for(wanted, LIMIT);
        let problems = self.recorder.problems();
        if !came || !problems.is_empty() {
            let problems = problems[..problems.len().min(20)].join("\n");
            panic!("round {round}: acknowledged in time: {came}\n{problems}\nthe broker said:\n{}", broker.said());
        }
    }

    /// Whether the store consists of files.
    fn can_fault(&self) -> bool {
        !self.store.contains("://") && self.store != "memory"
    }

    /// Has the disk fail until somebody was told so, and perhaps until the end; `false`: that.
    fn fault(&mut self, round: u64, broker: &Broker) -> bool {
        let before = self.recorder.troubles();
        self.recorder.fails_in(self.stages.borrow().life);
        broker.fail_to_write(true);
        self.until("something is refused", |test| test.recorder.troubles() > before, broker);
        if self.dice.one_in(2) {
            return false;
        }
        broker.fail_to_write(false);
        self.work(round, broker);
        true
    }

    /// Starts a broker, some starts being killed before that.
    fn start(&mut self) -> Broker {
        let sync = self.dice.one_of(&["always", "interval", "never"]);
        while self.dice.one_in(4) {
            let mut early = Broker::start(&self.store, &self.config, sync);
            // Whether it was quick enough does not matter.
            let _ = early.ports(Duration::from_micros(self.dice.within(EARLY_US)));
            early.kill();
        }
        let mut broker = Broker::start(&self.store, &self.config, sync);
        let Some(ports) = broker.ports(LIMIT) else { panic!("the broker does not start; it said:\n{}", broker.said()) };
        self.stages.send_modify(|stage| {
            stage.ports = Some(ports);
            stage.life += 1;
        });
        broker
    }

    /// Polls what has no other way to be waited for.
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool, broker: &Broker) {
        let wait = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            while !is_so(self) {
                ticks.tick().await;
            }
        };
        let waited = self.runtime.block_on(async { timeout(LIMIT, wait).await });
        assert!(waited.is_ok(), "not in time: {what}; the broker said:\n{}", broker.said());
    }

    /// Lets all clients come to their end, and reads the log.
    fn finish(mut self) -> History {
        let broker = self.start();
        self.stages.send_modify(|stage| stage.phase = Phase::Finishing);
        let (active, passive) = (std::mem::take(&mut self.active), std::mem::take(&mut self.passive));
        self.gone(active, &broker);
        let ports = self.stages.borrow().ports.expect("the broker runs");
        let read = async {
            self.publish_end(ports).await?;
            let (done, log) = oneshot::channel();
            tokio::spawn(live(Reader::new(&self.recorder, done), self.stages.subscribe()));
            log.await.map_err(|_| Error::Lost("the reader has ended".to_owned()))
        };
        let log = self.runtime.block_on(async { timeout(LIMIT, read).await });
        let Ok(Ok(log)) = log else { panic!("the log has no end: {log:?}; the broker said:\n{}", broker.said()) };
        self.gone(passive, &broker);
        self.dismiss_members(&log, &broker);
        if let Err(error) = broker.terminate() {
            self.recorder.problem(error);
        }
        self.recorder.finish(log)
    }

    /// Lets the members of groups go when they have done all that is to be done.
    fn dismiss_members(&mut self, log: &[Sight], broker: &Broker) {
        self.recorder.wait_for_groups(log, LIMIT);
        self.stages.send_modify(|stage| stage.phase = Phase::Leaving);
        let members = std::mem::take(&mut self.members);
        self.gone(members, broker);
    }

    /// Waits for clients to come to their end.
    fn gone(&self, (names, mut clients): People, broker: &Broker) {
        let mut left = names.clone();
        let all = async {
            while let Some(ended) = clients.join_next().await {
                let name = ended.expect("a client that does not panic");
                left.retain(|other| *other != name);
            }
        };
        if self.runtime.block_on(async { timeout(LIMIT, all).await }).is_err() {
            let said = broker.said();
            self.recorder.problem(format!("do not come to their end: {left:?}; the broker said:\n{said}"));
        }
    }

    /// Publishes the last event.
    async fn publish_end(&self, ports: Ports) -> Result<(), Error> {
        self.recorder.sent(END, Promise::ExactlyOnce, 1);
        let mut client = wamp_client(Format::Json, ports);
        client.connect().await?;
        let outcome = publish(&mut client, "crash.end", &text(END, 1)).await?;
        self.recorder.settled(END, 1, Fate::Acknowledged(outcome));
        Ok(())
    }
}
