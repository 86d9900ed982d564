//! Random lives: links fail, processes die, disks take their time. Whatever happens, nothing acknowledged is lost or repeated.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::Cluster;

const ENTRIES: [&str; 2] = ["E1", "E2"];

/// A seeded source of choices (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

/// What happened, for the checks.
struct Story {
    cluster: Cluster,
    storages: &'static [&'static str],
    syncs: &'static [&'static str],
    stopped: BTreeSet<&'static str>,
    published: usize,
    told: Vec<String>,
    trace: Vec<String>,
}

impl Story {
    fn new(storages: &'static [&'static str], syncs: &'static [&'static str]) -> Self {
        let (stopped, told, trace) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut story = Self { cluster: Cluster::default(), storages, syncs, stopped, published: 0, told, trace };
        let nodes = [&ENTRIES, storages, syncs].concat().join(" ");
        story.command(&format!("nodes {nodes} quorum={}", storages.len()));
        ENTRIES.iter().for_each(|entry| story.command(&format!("init {entry}")));
        story
    }

    fn command(&mut self, command: &str) {
        self.trace.push(format!("> {command}"));
        for line in self.cluster.command(command) {
            // The driver of an entry does as it is told.
            if let Some((entry, present)) = line.split_once(" is not accepted, for life ") {
                let again = format!("init {entry} {}", present.trim_end_matches(" goes on"));
                self.trace.push(line.clone());
                self.command(&again);
            } else {
                self.told.extend(line.contains(" acknowledges ").then(|| line.clone()));
                self.trace.push(line);
            }
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        let (entry, storage, sync) = (dice.pick(&ENTRIES), dice.pick(self.storages), dice.pick(self.syncs));
        let peer = dice.pick(self.syncs);
        let other = dice.pick(&[entry, storage, if peer == sync { entry } else { peer }]);
        let running = |node| !self.stopped.contains(node);
        match dice.roll(16) {
            0..4 if running(entry) => {
                let messages: Vec<String> = (0..=dice.roll(3)).map(|n| (self.published + n).to_string()).collect();
                self.published += messages.len();
                self.command(&format!("publish {entry} {}", messages.join(" ")));
            }
            4..7 if running(storage) => self.command(&format!("kept {storage}")),
            7..11 if running(storage) => self.command(&format!("applied {storage}")),
            11 => self.command(&format!("cut {entry} {storage}")),
            12 => self.command(&format!("cut {other} {sync}")),
            13 => self.command(&format!("heal {entry} {storage}")),
            14 => self.command(&format!("heal {other} {sync}")),
            15 if dice.roll(3) == 0 => self.toggle(dice.pick(&[entry, storage, sync])),
            15 if running(sync) => self.command(&format!("rewrite {sync}")),
            _ => self.command(&format!("clock {}", dice.roll(1_000_000))),
        }
    }

    /// Stops a process, or starts it.
    fn toggle(&mut self, node: &'static str) {
        if self.stopped.insert(node) {
            return self.command(&format!("stop {node}"));
        }
        self.stopped.remove(node);
        self.command(&format!("start {node}"));
        if node.starts_with('E') {
            self.command(&format!("init {node}"));
        }
    }

    /// Everything works again, and everybody has time.
    fn calm_down(&mut self) {
        for node in std::mem::take(&mut self.stopped) {
            self.stopped.insert(node);
            self.toggle(node);
        }
        let nodes = [&ENTRIES, self.storages, self.syncs].concat();
        for (at, node) in nodes.iter().enumerate() {
            for other in &nodes[at + 1..] {
                self.command(&format!("cut {node} {other}"));
                self.command(&format!("heal {node} {other}"));
            }
        }
        for _ in 0..self.published + 100 {
            for storage in self.storages {
                self.command(&format!("kept {storage}"));
                self.command(&format!("applied {storage}"));
            }
        }
    }

    fn check(&self) {
        self.cluster.check_order();
        let log = self.cluster.log(self.storages[0]);
        for storage in self.storages {
            assert_eq!(self.cluster.log(storage), log, "all storages have one log");
        }
        let places: BTreeMap<&str, usize> = log.iter().enumerate().map(|(at, message)| (&message[..], at)).collect();
        assert_eq!(places.len(), log.len(), "no message is there twice: {log:?}");
        let mut acknowledged = BTreeSet::new();
        let mut last = BTreeMap::new();
        for line in &self.told {
            let (entry, rest) = line.split_once(" acknowledges ").unwrap();
            let (messages, rest) = rest.split_once(" (").unwrap();
            let first: usize = rest.rsplit_once("number ").unwrap().1.trim_end_matches(')').parse().unwrap();
            for (at, message) in messages.split(' ').enumerate() {
                assert_eq!(places.get(message), Some(&(first - 1 + at)), "{line}: it has the number that was told");
                assert!(acknowledged.insert(message), "{message} is acknowledged once");
                let before = last.insert(entry, first + at);
                assert!(before < Some(first + at), "{line}: acknowledgements of an entry are in order");
            }
        }
        for entry in ENTRIES {
            let published = self.trace.iter().filter_map(|line| line.strip_prefix(&format!("> publish {entry} ")));
            let places: Vec<_> = published.flat_map(|line| line.split(' ')).filter_map(|m| places.get(m)).collect();
            assert!(places.is_sorted(), "messages of {entry} keep their order");
        }
    }
}

#[track_caller]
fn check(storages: &'static [&'static str], syncs: &'static [&'static str], seeds: std::ops::Range<u64>) {
    let (mut acknowledged, count) = (0, seeds.end - seeds.start);
    for seed in seeds {
        let mut story = Story::new(storages, syncs);
        let mut dice = Dice(seed);
        for _ in 0..120 {
            story.step(&mut dice);
        }
        story.calm_down();
        // It goes on, for every entry.
        let before = story.told.len();
        for entry in ENTRIES {
            story.command(&format!("publish {entry} last-{entry}"));
        }
        story.calm_down();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            story.check();
            assert!(story.told.len() >= before + ENTRIES.len(), "publishing goes on");
        }));
        if result.is_err() {
            panic!("seed {seed}:\n{}", story.trace.join("\n"));
        }
        acknowledged += story.told.len();
    }
    assert!(acknowledged as u64 > 5 * count, "hardly anything happened: {acknowledged}");
}

#[test]
fn one_storage_loses_and_repeats_nothing() {
    check(&["N1"], &["S1"], 0..100);
}

#[test]
fn two_storages_agree() {
    check(&["N1", "N2"], &["S1"], 0..100);
}

#[test]
fn three_syncs_agree() {
    check(&["N1", "N2"], &["S1", "S2", "S3"], 0..150);
}

#[test]
fn an_even_number_of_syncs_agrees() {
    check(&["N1"], &["S1", "S2", "S3", "S4"], 0..30);
}
