//! A database that is not what was written.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use fennec::mqtt::codec::ReasonCode;
use fennec::store::sqlite::SqliteStore;
use fennec::store::{Commit, Store, SyncMode};

use crate::broker::{Broker, Refused, text};

/// A store in which something is.
fn store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(text(folder.path()));
    assert!(!broker.connect("publisher", 0).publish("d/x", b"x").is_error());
    assert!(broker.stop().success());
    // Who closes the database as the last one leaves all of it in one file.
    drop(SqliteStore::open(folder.path(), SyncMode::Always, true).unwrap());
    assert!(!folder.path().join("fennec.db-wal").exists());
    folder
}

/// Overwrites the middle of all pages.
fn break_file(folder: &Path) {
    let mut file = OpenOptions::new().write(true).open(folder.join("fennec.db")).unwrap();
    for page in 0..file.metadata().unwrap().len() / 4096 {
        file.seek(SeekFrom::Start(page * 4096 + 100)).unwrap();
        file.write_all(&[0xa5; 2000]).unwrap();
    }
}

/// Writes nonsense where the state says how far the log has come: the database itself is in order.
fn break_state(folder: &Path) {
    let (mut store, _) = SqliteStore::open(folder, SyncMode::Always, true).unwrap();
    let rows = vec![(b"n".to_vec(), Some(b"nonsense".to_vec()))];
    store.commit(&Commit { rows, ..Commit::default() }).unwrap();
}

fn set_aside(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_database = |name: &String| !name.ends_with("-wal") && !name.ends_with("-shm");
    names.filter(|name| name.starts_with("fennec.db.damaged-")).filter(is_database).count()
}

#[test]
fn a_damaged_database_is_set_aside_and_everybody_is_told() {
    for damage in [break_file, break_state] {
        let folder = store();
        damage(folder.path());
        let broker = Broker::start(text(folder.path()));
        broker.says("the database is damaged: set aside");
        assert_eq!(set_aside(folder.path()), 1);
        let (status, body) = broker.get("/readyz");
        assert_eq!(status, 200);
        assert!(body.starts_with("ready\nalarm: a damaged database was set aside as "), "{body}");
        assert_eq!(broker.connect("publisher", 0).publish("d/x", b"y"), ReasonCode::Success);
        assert_eq!(broker.metric("fennec_log_alarms"), 1.0);
        // It is in order now: no alarm, and nothing more is set aside.
        assert!(broker.stop().success());
        let broker = Broker::start(text(folder.path()));
        assert_eq!(broker.get("/readyz"), (200, "ready\n".to_owned()));
        assert_eq!(set_aside(folder.path()), 1);
    }
}

#[test]
fn who_is_strict_keeps_a_damaged_database_and_does_not_start() {
    for damage in [break_file, break_state] {
        let folder = store();
        damage(folder.path());
        for _ in 0..2 {
            let Refused { code, said } = Broker::refused(text(folder.path()), "strict = true");
            assert_eq!(code, Some(1), "{said}");
            assert!(said.lines().last().unwrap().starts_with("fennec: ") && said.contains("damaged"), "{said}");
        }
        assert_eq!(set_aside(folder.path()), 0);
    }
}
