//! A clock that was ahead, and is not any more.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fennec::queue::command::Command;
use fennec::queue::message::Batch;
use fennec::queue::state::{Rows, RowsFailed, Sealed, State};
use fennec::store::sqlite::SqliteStore;
use fennec::store::{Commit, Store, SyncMode};

use crate::broker::{Broker, PATIENCE, text};

struct NoRows;

impl Rows for NoRows {
    fn get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
        Ok(None)
    }
}

#[test]
fn a_clock_that_is_behind_the_log_is_told_and_what_is_due_comes_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let (mut store, _) = SqliteStore::open(folder.path(), SyncMode::Always, true).unwrap();
    let mut batch = Batch::default();
    batch.command(&Command::Forget { realm: "realm1".into(), name: "none".into() });
    let (count, body) = (batch.count, batch.into_bytes());
    let at_us = now_us + 86_400_000_000;
    let sealed = Sealed { position: 1, at_us, entry: 1, body: &body, count };
    let applied = State::default().apply(sealed, &mut NoRows).unwrap();
    store.commit(&Commit { rows: applied.rows, ..Commit::default() }).unwrap();
    drop(store);

    let broker = Broker::start(text(folder.path()));
    let (status, body) = broker.get("/readyz");
    assert_eq!(status, 200);
    assert!(body.contains("alarm: the system's clock is 86") && body.contains(" s behind the log"), "{body}");
    drop(broker.connect("short", 1));
    let begun = Instant::now();
    while broker.metric("fennec_sessions{protocol=\"mqtt\"}") > 0.0 {
        assert!(begun.elapsed() < PATIENCE, "the session does not expire");
    }
    assert!(broker.stop().success());
}
