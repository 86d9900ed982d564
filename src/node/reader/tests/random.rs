//! Whatever happens in whatever order: everything that is wanted comes, in order, and once.

use proptest::prelude::*;

use super::*;
use crate::types::event::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

const TOPICS: [&str; 4] = ["a/x", "a/y", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    /// A segment with these messages: `(topic, QoS)`; a QoS of 3 is a void, of 4 a gap.
    Commit(Vec<(usize, u8)>, usize),
    /// So many steps of the feed.
    Feed(usize),
    Flush,
    ReadStore,
    /// Of one of the peers.
    Run(usize),
    Receive(usize, usize),
    Acknowledge(usize, usize),
    Record,
    /// The clock asks for cursors that have moved.
    Tick,
    /// The connection is gone, and another comes.
    Disconnect(usize),
    Connect(usize, u16),
    /// The broker forgets what is not recorded; what was on its way there is recorded or not.
    Crash(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let message = (0..TOPICS.len(), prop_oneof![4 => 0..3_u8, 1 => 3..5_u8]);
    prop_oneof![
        4 => (prop::collection::vec(message, 1..12), 0..3_usize).prop_map(|(all, set_off)| Step::Commit(all, set_off)),
        8 => (1..15_usize).prop_map(Step::Feed),
        2 => Just(Step::Flush),
        5 => Just(Step::ReadStore),
        10 => (0..3_usize).prop_map(Step::Run),
        10 => (0..3_usize, 1..20_usize).prop_map(|(peer, count)| Step::Receive(peer, count)),
        10 => (0..2_usize, 0..6_usize).prop_map(|(peer, place)| Step::Acknowledge(peer, place)),
        4 => Just(Step::Record),
        1 => Just(Step::Tick),
        1 => (0..3_usize).prop_map(Step::Disconnect),
        3 => (0..3_usize, 1..8_u16).prop_map(|(peer, receive_max)| Step::Connect(peer, receive_max)),
        1 => any::<bool>().prop_map(Step::Crash),
    ]
}

/// A recorded MQTT session, and two that resume by the last number they have seen: a clean MQTT session and a WAMP session.
struct Trial {
    world: World,
    peers: [Peer; 3],
    crashed: bool,
}

const RECORDED: usize = 0;
const CLEAN: usize = 1;

impl Trial {
    fn new() -> Self {
        let world = World::new(3000);
        let recorded = Peer::new(&world, "recorded", true);
        subscribe_recorded(&recorded, &world);
        let (clean, wamp) = (follower(&world, CLEAN, 0), follower(&world, 2, 0));
        Self { world, peers: [recorded, clean, wamp], crashed: false }
    }

    fn step(&mut self, step: Step) {
        let Self { world, peers, .. } = self;
        match step {
            Step::Commit(all, set_off) => {
                let all: Vec<_> = all.into_iter().map(|(topic, qos)| message(topic, qos)).collect();
                world.commit(&all, set_off.min(all.len() - 1));
            }
            Step::Feed(count) => {
                for _ in 0..count {
                    world.feed();
                }
            }
            Step::Flush => world.flush(),
            Step::ReadStore => {
                world.read_store();
            }
            Step::Run(at) => {
                peers[at].run();
            }
            Step::Receive(at, count) => peers[at].receive(count),
            Step::Acknowledge(at, place) => {
                if peers[at].link.is_some() {
                    peers[at].acknowledge(place);
                }
            }
            Step::Record => {
                peers[RECORDED].record();
            }
            Step::Tick => {
                peers[RECORDED].mailbox().ask_progress();
            }
            Step::Disconnect(at) => peers[at].disconnect(world),
            Step::Connect(at, receive_max) => self.connect(at, receive_max),
            Step::Crash(recorded) => self.crash(recorded),
        }
    }

    fn connect(&mut self, at: usize, receive_max: u16) {
        let Self { world, peers, .. } = self;
        if at != RECORDED {
            let seen = peers[at].numbers();
            let got = std::mem::take(&mut peers[at].got);
            let pattern = filter("a/#");
            world.realm.unsubscribe_all(peers[at].session.id, [(&pattern, None)].into_iter());
            peers[at] = follower(world, at, seen.last().copied().unwrap_or(0));
            peers[at].got = got;
        }
        peers[at].connect(world, receive_max);
    }

    fn crash(&mut self, recorded: bool) {
        let Self { world, peers, crashed } = self;
        *crashed = true;
        let old = &mut peers[RECORDED];
        if let Some(cursor) = old.progress.take().filter(|_| recorded) {
            old.recorded = cursor;
        }
        let mut new = Peer::with_id(world, old.session.id, "recorded", true);
        (new.held, new.got) = (std::mem::take(&mut old.held), std::mem::take(&mut old.got));
        new.recorded = old.recorded.clone();
        new.mailbox().restore(&new.recorded);
        subscribe_recorded(&new, world);
        peers[RECORDED] = new;
    }

    fn settle(&mut self) {
        for at in 0..3 {
            if self.peers[at].link.is_none() {
                self.connect(at, 5);
            }
        }
        for peer in &mut self.peers {
            peer.settle(&mut self.world);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let log = &self.world.log;
        let wanted = |qos_max: fn(&str) -> Option<Qos>| {
            let qos = move |said: &Said| match said {
                Said::Event { topic, qos, .. } => qos_max(topic).map(|max| max.min(*qos)),
                _ => None,
            };
            log.iter()
                .zip(1..)
                .filter_map(move |(said, number)| Some((number, qos(said)?)))
                .collect::<Vec<(u64, Qos)>>()
        };
        for at in 1..3 {
            let expected: Vec<_> = wanted(follower_qos).into_iter().map(|(number, _)| number).collect();
            prop_assert_eq!(self.peers[at].numbers(), expected, "peer {}", at);
        }
        let got = &self.peers[RECORDED].got;
        for (number, qos) in wanted(recorded_qos) {
            let times = got.iter().filter(|(other, _)| *other == number).count();
            let first_times = got.iter().filter(|(other, dup)| *other == number && !dup).count();
            match qos {
                AtMostOnce => prop_assert!(times <= 1, "{} came {} times", number, times),
                AtLeastOnce if self.crashed => prop_assert!(times >= 1, "{} never came", number),
                AtLeastOnce => prop_assert!(times >= 1 && first_times <= 1, "{} came {} times", number, first_times),
                ExactlyOnce => prop_assert_eq!(times, 1, "{} came {} times", number, times),
            }
        }
        let owed = |number: u64| wanted(recorded_qos).iter().any(|(other, qos)| *other == number && *qos > AtMostOnce);
        let first: Vec<_> =
            got.iter().filter(|(number, dup)| !dup && owed(*number)).map(|(number, _)| *number).collect();
        prop_assert!(self.crashed || first.is_sorted(), "out of order: {:?}", first);
        Ok(())
    }
}

fn message(topic: usize, qos: u8) -> Said {
    let topic = TOPICS[topic];
    match qos {
        0 => said(topic, AtMostOnce),
        1 => said(topic, AtLeastOnce),
        2 => said(topic, ExactlyOnce),
        3 => Said::Void { topic },
        _ => Said::Gap,
    }
}

fn subscribe_recorded(peer: &Peer, world: &World) {
    for (pattern, qos) in [("a/#", AtLeastOnce), ("a/y", ExactlyOnce), ("b", AtLeastOnce)] {
        let options = Options::Merged { qos, no_local: false, retain_as_published: false, identifier: None };
        peer.subscribe_as(world, pattern, options, 0, None);
    }
}

fn recorded_qos(topic: &str) -> Option<Qos> {
    match topic {
        "a/x" | "b" => Some(AtLeastOnce),
        "a/y" => Some(ExactlyOnce),
        _ => None,
    }
}

fn follower_qos(topic: &str) -> Option<Qos> {
    topic.starts_with("a/").then_some(AtLeastOnce)
}

fn follower(world: &World, at: usize, after: u64) -> Peer {
    let peer = Peer::new(world, "follower", false);
    match at {
        CLEAN => peer.subscribe(world, "a/#", AtLeastOnce, Some(after)),
        _ => {
            peer.read(world, "a/#", after, |_| {});
        }
    }
    peer
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn replay_and_live_delivery_meet_without_gap_and_without_repeat(steps in prop::collection::vec(step(), 0..250)) {
        let mut trial = Trial::new();
        for step in steps {
            trial.step(step);
        }
        trial.settle();
        trial.check()?;
    }
}
