//! Segments of ten messages each, from number 1 on: number 1 to 10 at position 1, and so on.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::*;
use crate::queue::segment::TopicShare;
use crate::store::memory::MemoryStore;
use crate::store::{Commit, Row, Stats, Store};

const BODY_BYTES: usize = 100;
/// What one of them counts for.
const SEGMENT_BYTES: usize = BODY_BYTES + 64 + 32;

/// Odd positions hold the topic `odd`, the others `even`.
fn segment(position: u64) -> Segment {
    let topic = if position % 2 == 1 { "odd" } else { "even" };
    Segment {
        position,
        first: position * 10 - 9,
        count: 10,
        body: Bytes::from(vec![0; BODY_BYTES]),
        topics: vec![TopicShare { realm: "r".into(), topic: topic.into(), messages: 10, bytes: 100 }],
        ..Segment::default()
    }
}

fn store(positions: impl Iterator<Item = u64>) -> MemoryStore {
    let mut store = MemoryStore::default();
    store.commit(&Commit { segments: positions.map(segment).collect(), ..Commit::default() }).unwrap();
    store
}

/// A history that keeps about so many segments, half of them recent; a store with `all` of which `recent` were fed.
fn history(segments: usize, all: u64, recent: u64) -> (History, MemoryStore) {
    let history = History::impatient(segments * SEGMENT_BYTES);
    history.begin((all - recent) * 10);
    for position in all - recent + 1..=all {
        history.fed_segment(Arc::new(segment(position)));
    }
    (history, store(1..=all))
}

fn link() -> Arc<Link> {
    Arc::default()
}

/// What is found, as a line.
fn line(look: &Look) -> String {
    match look {
        Look::Segment(segment) => format!("segment {}", segment.position),
        Look::Nothing { to } => format!("nothing to {to}"),
        Look::Live => "live".to_owned(),
        Look::Wait => "wait".to_owned(),
    }
}

fn look(history: &History, number: u64) -> String {
    line(&history.look(number, None, &link()))
}

const ODD: &[&str] = &["odd"];

fn look_for(history: &History, number: u64, topics: &[&str]) -> String {
    let names: Vec<Box<str>> = topics.iter().map(|name| Box::from(*name)).collect();
    line(&history.look(number, Some(Topics { realm: "r", names: &names }), &link()))
}

/// A store that counts what is read of it, and fails while it is told to.
struct Counted {
    store: MemoryStore,
    reads: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
}

impl Counted {
    fn new(store: MemoryStore) -> Self {
        Self { store, reads: Arc::default(), fails: Arc::default() }
    }
}

impl StoreReader for Counted {
    fn segments(
        &mut self,
        from: u64,
        topics: Option<&[(&str, &str)]>,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("told so".to_owned()));
        }
        self.store.segments(from, topics, bytes_max)
    }

    fn scan(&mut self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.store.scan(prefix, after, limit)
    }

    fn headers(&mut self, from: u64, limit: usize) -> Result<Vec<crate::queue::retention::Header>, StoreError> {
        self.store.headers(from, limit)
    }

    fn segment_before(&mut self, number: u64) -> Result<Option<Segment>, StoreError> {
        self.store.segment_before(number)
    }

    fn first_since(&mut self, at_us: u64) -> Result<Option<u64>, StoreError> {
        self.store.first_since(at_us)
    }

    fn first_of(&mut self, minute: u32, generator: u64) -> Result<Option<u64>, StoreError> {
        self.store.first_of(minute, generator)
    }

    fn topics(
        &mut self,
        realm: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Box<str>>, StoreError> {
        self.store.topics(realm, prefix, after, limit)
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        self.store.stats()
    }
}

#[test]
fn what_is_recent_is_there_at_once_and_what_comes_is_live() {
    let (history, _) = history(100, 5, 5);
    assert_eq!(look(&history, 1), "segment 1");
    assert_eq!(look(&history, 10), "segment 1");
    assert_eq!(look(&history, 11), "segment 2");
    assert_eq!(look(&history, 50), "segment 5");
    assert_eq!(look(&history, 51), "live");
    assert_eq!((history.fed(), history.routed()), (50, 40));
}

#[test]
fn what_is_older_is_read_and_who_waits_is_woken() {
    let (history, mut store) = history(100, 50, 5);
    let link = link();
    assert_eq!(line(&history.look(1, None, &link)), "wait");
    assert!(!link.take_ready());
    assert!(history.work(&mut store));
    assert!(link.take_ready());
    assert_eq!(look(&history, 1), "segment 1");
}

#[test]
fn a_walk_through_all_of_it_finds_every_segment_and_keeps_memory_bounded() {
    let (history, mut store) = history(40, 500, 5);
    let (mut number, mut seen, mut waits) = (1, Vec::new(), 0);
    loop {
        match history.look(number, None, &link()) {
            Look::Segment(segment) => {
                seen.push(segment.position);
                number = segment.last() + 1;
                // The thread that reads is as fast as who reads.
                history.work(&mut store);
            }
            Look::Wait => {
                waits += 1;
                assert!(history.work(&mut store));
            }
            Look::Nothing { to } => number = to + 1,
            Look::Live => break,
        }
        let inner = history.shared.inner.lock();
        assert!(inner.recent_bytes + inner.chunk_bytes <= 40 * SEGMENT_BYTES);
    }
    assert_eq!(seen, (1..=500).collect::<Vec<_>>());
    assert_eq!(waits, 1, "what comes next is there before it is asked for");
}

#[test]
fn readers_of_the_same_place_share_one_fetch() {
    let (history, store) = history(100, 50, 5);
    let mut store = Counted::new(store);
    let links = [link(), link(), link()];
    for link in &links {
        assert_eq!(line(&history.look(1, None, link)), "wait");
        assert_eq!(line(&history.look(1, None, link)), "wait", "asking twice changes nothing");
    }
    assert!(history.work(&mut store) && !history.work(&mut store));
    assert!(links.iter().all(|link| link.take_ready()));
    assert_eq!(store.reads.load(Ordering::Relaxed), 1);
}

#[test]
fn few_topics_are_read_without_the_others() {
    let (history, mut store) = history(1000, 50, 5);
    assert_eq!(look_for(&history, 5, ODD), "wait");
    history.work(&mut store);
    assert_eq!(look_for(&history, 5, ODD), "segment 1");
    assert_eq!(look_for(&history, 11, ODD), "segment 3");
    assert_eq!(look(&history, 11), "wait", "it has not all there is");
}

#[test]
fn where_there_is_nothing_of_the_topics_it_says_so_up_to_what_is_fed() {
    let (history, mut store) = history(1000, 50, 5);
    assert_eq!(look_for(&history, 5, &["none"]), "wait");
    history.work(&mut store);
    assert_eq!(look_for(&history, 5, &["none"]), "nothing to 500");
}

#[test]
fn what_retention_has_deleted_is_passed_over() {
    let (history, _) = history(1000, 50, 5);
    let mut store = store(20..=50);
    assert_eq!(look(&history, 1), "wait");
    history.work(&mut store);
    assert_eq!(look(&history, 1), "segment 20");
}

#[test]
fn a_store_that_fails_is_tried_again_and_nobody_is_told_a_gap() {
    let (history, store) = history(100, 50, 5);
    let mut store = Counted::new(store);
    let link = link();
    store.fails.store(true, Ordering::Relaxed);
    assert_eq!(line(&history.look(1, None, &link)), "wait");
    assert!(history.work(&mut store));
    assert_eq!(history.counts().failures.load(Ordering::Relaxed), 1);
    assert!(!link.take_ready());
    assert!(!history.work(&mut store), "not at once");
    store.fails.store(false, Ordering::Relaxed);
    // Some time passes.
    history.shared.inner.lock().fetches[0].retry = Some((Instant::now(), RETRY));
    assert!(history.work(&mut store));
    assert!(link.take_ready());
    assert_eq!(look(&history, 1), "segment 1");
}

#[test]
fn a_feed_that_goes_on_further_ahead_leaves_the_rest_to_the_store() {
    let (history, mut store) = history(1000, 5, 5);
    history.fed_segment(Arc::new(segment(8)));
    assert_eq!(look(&history, 80), "segment 8");
    assert_eq!(look(&history, 45), "wait");
    history.work(&mut store);
    assert_eq!(look(&history, 45), "segment 5");
}

#[test]
fn questions_are_answered_in_turn_with_fetches_and_bounded() {
    let (history, mut store) = history(100, 50, 5);
    let answered = Arc::new(AtomicU64::new(0));
    let question = || -> Question {
        let answered = answered.clone();
        Box::new(move |reader| {
            answered.fetch_add(reader.stats().unwrap().segments, Ordering::Relaxed);
        })
    };
    for _ in 0..ASKS_MAX {
        assert_eq!(history.ask(question()), Ok(()));
    }
    assert_eq!(history.ask(question()), Err(Busy));
    while history.work(&mut store) {}
    assert_eq!(answered.load(Ordering::Relaxed), 50 * ASKS_MAX as u64);
}

#[test]
fn without_threads_who_asks_reads_himself() {
    let (history, store) = history(100, 50, 5);
    history.inline(Box::new(store));
    assert_eq!(look(&history, 1), "segment 1");
    let answered = Arc::new(AtomicBool::new(false));
    let told = answered.clone();
    history.ask(Box::new(move |_| told.store(true, Ordering::Relaxed))).unwrap();
    assert!(answered.load(Ordering::Relaxed));
}

#[test]
fn threads_read_until_the_history_is_dropped() {
    let (history, store) = history(100, 50, 5);
    history.start(Box::new(store.clone())).unwrap();
    history.start(Box::new(store)).unwrap();
    let (answer, answered) = std::sync::mpsc::channel();
    for number in [1, 101, 201] {
        let answer = answer.clone();
        history
            .ask(Box::new(move |reader| answer.send(reader.segments(number, None, 1).unwrap()[0].first).unwrap()))
            .unwrap();
    }
    let mut all: Vec<_> = (0..3).map(|_| answered.recv().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, [1, 101, 201]);
    let shared = history.shared.clone();
    drop(history);
    while Arc::strong_count(&shared) > 1 {
        std::thread::yield_now();
    }
}
