//! Kills and pauses the processes of a cluster under load, and checks that it keeps what it has promised.
//!
//! ```text
//! publishers, lockers, keepers --\   E1 E2 E3   N1 N2 N3   S1 S2 S3   /--> subscribers
//!    each at an entry, moving  ---+--> SIGKILL, SIGSTOP, wiped disks --+
//!                                 \------------> recorder <-----------/   --> checker
//! ```
//!
//! The clients, the recorder and the checker are those of `tests/crash`. `FENNEC_CLUSTER_ROUNDS=100` has so many more nodes killed or
//! paused; `FENNEC_CLUSTER_SEED=n` repeats the choices of a run, which prints its own.

mod broker;
mod calls;
#[path = "../crash/checker.rs"]
mod checker;
#[path = "../crash/clients.rs"]
mod clients;
mod cuts;
#[path = "../crash/dice.rs"]
mod dice;
mod durables;
mod groups;
#[path = "../crash/history.rs"]
#[expect(dead_code, reason = "the crash tests use all of it")]
mod history;
#[path = "../crash/holders.rs"]
mod holders;
mod interest;
mod lost;
mod members;
mod pauses;
mod people;
mod presence;
#[path = "../crash/promises.rs"]
mod promises;
mod proxy;
#[path = "../crash/publishers.rs"]
mod publishers;
mod reads;
#[path = "../services/receiver.rs"]
#[expect(dead_code, reason = "the tests of services use all of it")]
mod receiver;
mod retention;
mod rolling;
mod services;
mod status;
#[path = "../crash/subscribers.rs"]
mod subscribers;
mod twice;
#[path = "../crash/members.rs"]
#[expect(dead_code, reason = "the crash tests use all of it")]
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fennec::client::Error;
use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;
use fennec::types::payload::Format;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use broker::{Cluster, ENTRIES, Ports, SILENCE, everybody};
use clients::{Actor, Phase, Stage, live, publish, text, wamp_client};
use dice::Dice;
use history::{Fate, Promise, Recorder, Sight};
use holders::{Keeper, Locker};
use publishers::{Publisher, Speaks};
use subscribers::{END, Reader, Resumes, Subscriber};
use workers::{Belongs, Member};

const ROUNDS: u64 = 4;
/// How long anything may take that must come. Much more than it needs.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Longer than a link may be silent.
const PAUSE: Duration = Duration::from_secs(3);
/// Shorter than that: an entry without links refuses what it is given, as it must.
const PAUSE_ENTRY: Duration = Duration::from_secs(1);
/// Acknowledgements that come before a node is killed, and while it is down.
const WORK: std::ops::RangeInclusive<u64> = 1..=200;

#[test]
fn what_was_acknowledged_survives_the_death_of_any_node_and_all_see_one_order() {
    let (rounds, seed) = rounds_and_seed(ROUNDS);
    let mut test = Test::new(seed, Cluster::start_with(LIMIT, SILENCE));
    test.people();
    test.keepers();
    test.begin_work();
    for _ in 0..rounds {
        let victims: Vec<&'static str> = everybody().collect();
        let victim = test.dice.one_of(&victims);
        let fault = test.dice.one_of(&[Fault::Kill, Fault::Kill, Fault::Pause]);
        test.round(victim, fault);
    }
    test.round("E2", Fault::Kill);
    // Whatever of its peers is gone next, what the wiped one has brought back is needed.
    test.round("N1", Fault::Wipe);
    test.round("N2", Fault::Kill);
    test.round("S1", Fault::Wipe);
    test.round("S2", Fault::Kill);
    test.all_at_once();
    test.finish();
}

/// What the environment says, and else these rounds and any seed.
fn rounds_and_seed(rounds: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let rounds = number("FENNEC_CLUSTER_ROUNDS").unwrap_or(rounds);
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("random numbers");
    let seed = number("FENNEC_CLUSTER_SEED").unwrap_or(u64::from_ne_bytes(random));
    println!("FENNEC_CLUSTER_SEED={seed} FENNEC_CLUSTER_ROUNDS={rounds}");
    (rounds, seed)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Kill,
    Pause,
    /// Killed, and its disk is lost.
    Wipe,
}

/// A client, and what it is told.
struct Person {
    name: &'static str,
    entry: usize,
    stage: watch::Sender<Stage>,
    task: JoinHandle<&'static str>,
    part: Part,
    /// Goes to another entry now and then, though its own is well.
    wanders: bool,
}

/// What a client does, and so how long it stays.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Works,
    Subscribes,
    /// Shares the events of a group.
    Shares,
}

struct Test {
    cluster: Cluster,
    dice: Dice,
    recorder: Arc<Recorder>,
    runtime: Runtime,
    not_subscribed: Arc<AtomicUsize>,
    people: Vec<Person>,
}

impl Test {
    fn new(seed: u64, cluster: Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Test {
            cluster,
            dice: Dice(seed),
            recorder: Arc::default(),
            runtime: runtime.expect("threads"),
            not_subscribed: Arc::default(),
            people: Vec::new(),
        }
    }

    fn people(&mut self) {
        let recorder = self.recorder.clone();
        for (name, resumes) in [
            ("session-1", Resumes::Session(Level::V5, Qos::AtLeastOnce)),
            ("session-2", Resumes::Session(Level::V5, Qos::ExactlyOnce)),
            ("session-2-old", Resumes::Session(Level::V4, Qos::ExactlyOnce)),
            ("after", Resumes::After(Format::Json)),
            ("after-cbor", Resumes::After(Format::Cbor)),
            ("named-acknowledges", Resumes::Named(Format::MsgPack, "by-client", true)),
        ] {
            let dice = Dice(self.dice.roll());
            let subscriber = Subscriber::new(name, resumes, &recorder, dice, &self.not_subscribed);
            self.join(subscriber, Part::Subscribes, true);
        }
        // What they forget or do not do in time is given again, also when another entry begins to deliver the group.
        for (name, format) in
            [("worker", Format::Json), ("worker-msgpack", Format::MsgPack), ("worker-cbor", Format::Cbor)]
        {
            let (belongs, dice) = (Belongs::Named("workers", format, true), Dice(self.dice.roll()));
            self.join(Member::new(name, belongs, &recorder, dice, &self.not_subscribed), Part::Shares, true);
        }
        for (name, speaks) in [
            ("one", Speaks::Mqtt(Level::V5, Qos::AtLeastOnce)),
            ("two", Speaks::Mqtt(Level::V5, Qos::ExactlyOnce)),
            ("wamp", Speaks::Wamp(Format::Json)),
            ("one-old", Speaks::Mqtt(Level::V4, Qos::AtLeastOnce)),
            ("two-old", Speaks::Mqtt(Level::V4, Qos::ExactlyOnce)),
            ("wamp-msgpack", Speaks::Wamp(Format::MsgPack)),
        ] {
            let dice = Dice(self.dice.roll());
            self.join(Publisher::new(name, speaks, &recorder, dice), Part::Works, true);
        }
        for name in ["ann", "bob", "cem"] {
            self.join(Locker::new(name, &recorder), Part::Works, false);
        }
    }

    /// Whoever keeps a key reads it wherever it comes to.
    fn keepers(&mut self) {
        for key in ["state.a", "state.b"] {
            self.join(Keeper::new(key, &self.recorder), Part::Works, true);
        }
    }

    fn join(&mut self, actor: impl Actor + 'static, part: Part, wanders: bool) {
        let entry = self.people.len() % ENTRIES.len();
        let (stage, stages) = watch::channel(first_stage(self.cluster.ports(entry)));
        let name = actor.name();
        let task = self.runtime.spawn(live(actor, stages));
        self.people.push(Person { name, entry, stage, task, part, wanders });
    }

    fn begin_work(&mut self) {
        let subscribed = |_: &Cluster| self.not_subscribed.load(Ordering::Relaxed) == 0;
        self.cluster.until("all have subscribed", LIMIT, subscribed);
        self.tell(|_| true, |stage| stage.phase = Phase::Working);
    }

    fn tell(&self, whom: impl Fn(&Person) -> bool, what: impl Fn(&mut Stage)) {
        self.people.iter().filter(|person| whom(person)).for_each(|person| person.stage.send_modify(&what));
    }

    /// A fault of one node, while all others work.
    fn round(&mut self, victim: &'static str, fault: Fault) {
        println!("{fault:?} {victim}");
        self.work(&format!("before {victim}"));
        self.wander();
        let entry = ENTRIES.iter().position(|id| *id == victim);
        if fault == Fault::Pause {
            self.cluster.pause(victim, false);
            let pause = if entry.is_some() { PAUSE_ENTRY } else { PAUSE };
            self.wait(pause);
            if entry.is_none() {
                self.work(&format!("while {victim} is paused"));
            }
            self.cluster.pause(victim, true);
            // Until then it is missing, and no other may be.
            return self.cluster.until(&format!("all are linked to {victim} again"), LIMIT, |cluster| {
                let link = format!("fennec_link_up{{peer=\"{victim}\"}}");
                let mut others = everybody().filter(|id| *id != victim);
                others.all(|id| status::find_metric(cluster, id, &link) == Some(1.0))
            });
        }
        self.cluster.kill(victim);
        self.leave(entry);
        if fault == Fault::Wipe {
            self.cluster.wipe(victim);
        }
        self.work(&format!("without {victim}"));
        self.cluster.begin_and_link(victim, LIMIT);
        if fault == Fault::Wipe {
            // Until then its disk does not count, and no other may be down.
            let what = if victim.starts_with('S') { "this disk has a vote now" } else { "this disk counts now" };
            self.cluster.until(&format!("{victim}: {what}"), LIMIT, |cluster| cluster.said(victim).contains(what));
        }
    }

    /// Whoever is at this entry goes on at the next.
    fn leave(&mut self, entry: Option<usize>) {
        let Some(entry) = entry else { return };
        let ports = self.cluster.ports((entry + 1) % ENTRIES.len());
        for person in self.people.iter_mut().filter(|person| person.entry == entry) {
            person.entry = (entry + 1) % ENTRIES.len();
            person.stage.send_modify(|stage| stage.ports = Some(ports));
        }
    }

    /// Some go to another entry; their old connection is there as long as it takes that one to notice.
    fn wander(&mut self) {
        for person in self.people.iter_mut().filter(|person| person.wanders) {
            if self.dice.one_in(3) {
                person.entry = (person.entry + 1) % ENTRIES.len();
                let ports = self.cluster.ports(person.entry);
                person.stage.send_modify(|stage| {
                    stage.ports = Some(ports);
                    stage.life += 1;
                });
            }
        }
    }

    fn wait(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Waits for more acknowledgements.
    fn work(&mut self, when: &str) {
        let wanted = self.recorder.acknowledgements() + self.dice.within(WORK);
        let came = self.recorder.wait_for(wanted, LIMIT);
        let problems = self.recorder.problems();
        if !came || !problems.is_empty() {
            let problems = problems[..problems.len().min(20)].join("\n");
            panic!("{when}: acknowledged in time: {came}\n{problems}\n{}", self.cluster.all_said());
        }
    }

    /// A power loss, but for the disks.
    fn all_at_once(&mut self) {
        println!("all at once");
        self.work("before all");
        // Entries first: they would refuse what they cannot have stored.
        let all: Vec<&'static str> = everybody().collect();
        all.into_iter().rev().for_each(|id| self.cluster.kill(id));
        everybody().for_each(|id| self.cluster.begin(id));
        self.cluster.wait_for_entries(LIMIT);
        self.work("behind all");
    }

    /// Lets all clients come to their end, reads the log at each entry, and checks.
    fn finish(mut self) {
        self.tell(|_| true, |stage| stage.phase = Phase::Finishing);
        self.gone(Part::Works);
        let published = self.runtime.block_on(async { timeout(LIMIT, self.publish_end()).await });
        assert!(matches!(published, Ok(Ok(()))), "{published:?}\n{}", self.cluster.all_said());
        self.gone(Part::Subscribes);
        let logs: Vec<Vec<Sight>> = (0..ENTRIES.len()).map(|entry| self.read(entry)).collect();
        if logs.iter().any(|log| *log != logs[0]) {
            let lengths: Vec<usize> = logs.iter().map(Vec::len).collect();
            self.recorder.problem(format!("entries tell different logs, of {lengths:?} events"));
        }
        self.dismiss_workers(&logs[0]);
        let history = self.recorder.finish(logs.into_iter().next().unwrap_or_default());
        let broken = checker::check(&history);
        println!("{} events, {} locks, {} keys read", history.log.len(), history.holds.len(), history.keys.len());
        assert!(broken.is_empty(), "{}\n{}", broken.join("\n"), self.cluster.all_said());
    }

    fn read(&self, entry: usize) -> Vec<Sight> {
        let (done, log) = oneshot::channel();
        let (_told, stages) = watch::channel(first_stage(self.cluster.ports(entry)));
        self.runtime.spawn(live(Reader::new(&self.recorder, done), stages));
        let read = self.runtime.block_on(async { timeout(LIMIT, log).await });
        let Ok(Ok(log)) = read else { panic!("the log has no end at {}\n{}", ENTRIES[entry], self.cluster.all_said()) };
        log
    }

    /// Lets the members of groups go when they were given all.
    fn dismiss_workers(&mut self, log: &[Sight]) {
        self.recorder.wait_for_groups(log, LIMIT);
        self.tell(|_| true, |stage| stage.phase = Phase::Leaving);
        self.gone(Part::Shares);
    }

    /// Waits for clients to come to their end.
    fn gone(&mut self, part: Part) {
        for person in self.people.iter_mut().filter(|person| person.part == part) {
            let ended = self.runtime.block_on(async { timeout(LIMIT, &mut person.task).await });
            if ended.is_err() {
                self.recorder.problem(format!("{} does not come to its end", person.name));
            }
        }
    }

    /// Publishes the last event.
    async fn publish_end(&self) -> Result<(), Error> {
        self.recorder.sent(END, Promise::ExactlyOnce, 1);
        let mut client = wamp_client(Format::Json, self.cluster.ports(0));
        client.connect().await?;
        let outcome = publish(&mut client, "crash.end", &text(END, 1)).await?;
        self.recorder.settled(END, 1, Fate::Acknowledged(outcome));
        Ok(())
    }
}

fn first_stage(ports: Ports) -> Stage {
    Stage { phase: Phase::Subscribing, ports: Some(ports), life: 1 }
}
