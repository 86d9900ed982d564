use bytes::Bytes;

use super::*;
use crate::queue::command::Command;
use crate::queue::message::Batch;
use crate::queue::segment::TopicShare;
use crate::queue::state::{Sealed, StateError};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Commit, Store, SyncMode};

/// Segments and rows as the state makes them.
fn log(count: u64) -> Commit {
    struct NoRows;
    impl crate::queue::state::Rows for NoRows {
        fn get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
            Ok(None)
        }
    }
    let mut state = State::default();
    let mut commit = Commit::default();
    let mut rows = std::collections::BTreeMap::new();
    for position in 1..=count {
        let mut batch = Batch::default();
        batch.command(&Command::Forget { realm: "r".into(), name: "n".into() });
        batch.gap(2);
        let count = batch.count;
        let body = batch.into_bytes();
        let sealed = Sealed { position, at_us: position * 1_000_000, entry: 1, body: &body, count };
        let applied: Result<_, StateError> = state.apply(sealed, &mut NoRows);
        let applied = applied.unwrap();
        commit.segments.push(applied.segment);
        rows.extend(applied.rows);
    }
    commit.rows = rows.into_iter().collect();
    commit
}

fn problems(commit: &Commit) -> Vec<String> {
    let mut store = MemoryStore::default();
    store.commit(commit).unwrap();
    check(&mut *store.reader().unwrap()).unwrap().problems
}

#[test]
fn a_store_as_the_state_writes_it_has_no_problems() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path(), SyncMode::Never, true).unwrap().0;
    let mut commit = log(20);
    commit.rows.push((b"~a note".to_vec(), Some(vec![1])));
    store.commit(&commit).unwrap();
    store.commit(&Commit { dropped: vec![1, 2, 7], ..Commit::default() }).unwrap();
    let report = check(&mut *store.reader().unwrap()).unwrap();
    let expected =
        Report { segments: 17, numbers: 51, rows: commit.rows.len() as u64, problems: Vec::new(), more_problems: 0 };
    assert_eq!(report, expected);
}

#[test]
fn every_kind_of_problem_is_told() {
    type Spoil = fn(&mut Commit);
    let cases: [(Spoil, &str); 9] = [
        (|commit| commit.segments[4].first -= 1, "position 5 begins with number 12, but those before go to 12"),
        (|commit| commit.segments[4].at_us = 0, "position 5 has an earlier time than the one before"),
        (|commit| commit.segments[4].generator = 0, "position 5 has event ids that do not follow those before"),
        (|commit| commit.segments[4].count = 2, "position 5 has 3 messages, not 2"),
        (|commit| commit.segments[4].body = Bytes::from_static(b"\x01"), "position 5 has messages that cannot be read"),
        (|commit| commit.segments[4].voids = vec![3], "position 5 has void messages that are none"),
        (
            |commit| {
                let (realm, topic) = ("r".into(), "t".into());
                commit.segments[4].topics.push(TopicShare { realm, topic, messages: 1, bytes: 1 });
            },
            "position 5 is to hold t of r, but does not",
        ),
        (|commit| commit.rows.push((b"?x".to_vec(), Some(Vec::new()))), "the row ?x cannot be read"),
        (|commit| commit.rows.clear(), "the state ends with position 0 and number 0, the log with 9 and 27"),
    ];
    for (spoil, expected) in cases {
        let mut commit = log(9);
        spoil(&mut commit);
        assert_eq!(problems(&commit), [expected]);
    }
}

#[test]
fn problems_are_counted_but_not_all_told() {
    let mut commit = log(150);
    commit.segments.iter_mut().for_each(|segment| segment.count -= 1);
    let mut store = MemoryStore::default();
    store.commit(&commit).unwrap();
    let report = check(&mut *store.reader().unwrap()).unwrap();
    assert_eq!((report.problems.len(), report.more_problems), (100, 50));
}
