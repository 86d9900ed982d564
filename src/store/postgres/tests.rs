//! What is PostgreSQL's own; the promise itself is asked in `store/tests.rs`.

use super::*;
use crate::store::tests::{postgres_url, segment};

fn commit(store: &mut PostgresStore, position: u64) -> Result<(), StoreError> {
    let segments = vec![segment(position, position * 10, 10, &[("r", "t")])];
    store.commit(&Commit { segments, ..Commit::default() })
}

fn positions(store: &PostgresStore) -> Vec<u64> {
    let segments = store.reader().unwrap().segments(0, None, usize::MAX).unwrap();
    segments.iter().map(|segment| segment.position).collect()
}

/// Ends the writer's connection from outside.
fn cut(store: &mut PostgresStore) {
    let id = store.writer().unwrap().session.number("SELECT pg_backend_pid()::bigint").unwrap();
    let mut other = PgSession::connect(&store.address, true).unwrap();
    // Waits until it has ended.
    other.execute(&format!("SELECT pg_terminate_backend({id}, 10000)")).unwrap();
}

#[test]
fn a_second_broker_is_refused_by_schema_and_process() {
    let Some(url) = postgres_url() else { return };
    let store = PostgresStore::open(&url, SyncMode::Always).unwrap();
    let refused = PostgresStore::open(&url, SyncMode::Always).err();
    let Some(StoreError::InUse(why)) = refused else { panic!("{refused:?}") };
    assert!(why.starts_with("the schema s") && why.contains("(process ") && why.ends_with("from this host)"), "{why}");
    drop(store);
    PostgresStore::open(&url, SyncMode::Always).unwrap();
}

#[test]
fn what_was_committed_is_there_when_it_is_opened_again() {
    let Some(url) = postgres_url() else { return };
    for position in 1..=3 {
        let mut store = PostgresStore::open(&url, SyncMode::Interval).unwrap();
        commit(&mut store, position).unwrap();
        store.sync().unwrap();
        assert_eq!(positions(&store), (1..=position).collect::<Vec<_>>());
    }
}

#[test]
fn a_lost_connection_refuses_until_it_is_opened_again() {
    let Some(url) = postgres_url() else { return };
    let mut store = PostgresStore::open(&url, SyncMode::Always).unwrap();
    let mut reader = store.reader().unwrap();
    commit(&mut store, 1).unwrap();
    cut(&mut store);
    let failed = commit(&mut store, 2);
    assert!(matches!(failed, Err(StoreError::Unknown(_))), "{failed:?}");
    let refused = commit(&mut store, 2);
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(reader.stats().unwrap().segments, 1, "readers are not concerned");
    store.reopen().unwrap();
    commit(&mut store, 2).unwrap();
    assert_eq!(positions(&store), [1, 2]);
}

#[test]
fn a_connection_lost_before_the_commit_leaves_nothing() {
    let Some(url) = postgres_url() else { return };
    let mut store = PostgresStore::open(&url, SyncMode::Always).unwrap();
    commit(&mut store, 1).unwrap();
    cut(&mut store);
    // Deleting takes more than one statement.
    let refused = store.commit(&Commit { dropped: vec![1], ..Commit::default() });
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    store.reopen().unwrap();
    assert_eq!(positions(&store), [1]);
}

#[test]
fn a_connection_lost_at_the_commit_leaves_it_open_what_happened() {
    let Some(url) = postgres_url() else { return };
    let mut store = PostgresStore::open(&url, SyncMode::Always).unwrap();
    store.writer().unwrap().session.execute("BEGIN").unwrap();
    cut(&mut store);
    let result = store.writer().unwrap().session.commit();
    assert!(matches!(result, Err(StoreError::Unknown(_))), "{result:?}");
}

#[test]
fn readers_connect_again_by_themselves() {
    let Some(url) = postgres_url() else { return };
    let mut store = PostgresStore::open(&url, SyncMode::Always).unwrap();
    commit(&mut store, 1).unwrap();
    let mut session = PgSession::connect(&store.address, true).unwrap();
    let id = session.number("SELECT pg_backend_pid()::bigint").unwrap();
    let mut reader = Reader::new(session);
    assert_eq!(reader.stats().unwrap().segments, 1);
    let mut other = PgSession::connect(&store.address, true).unwrap();
    other.execute(&format!("SELECT pg_terminate_backend({id}, 10000)")).unwrap();
    assert!(matches!(reader.stats(), Err(StoreError::Unavailable(_))));
    assert_eq!(reader.stats().unwrap().segments, 1);
}

#[test]
fn a_store_that_another_broker_had_meanwhile_is_not_ours_any_more() {
    let Some(url) = postgres_url() else { return };
    let mut store = PostgresStore::open(&url, SyncMode::Always).unwrap();
    commit(&mut store, 1).unwrap();
    cut(&mut store);
    let mut other = PostgresStore::open(&url, SyncMode::Always).unwrap();
    commit(&mut other, 2).unwrap();
    let refused = store.reopen();
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    drop(other);
    let refused = store.reopen();
    assert!(matches!(refused, Err(StoreError::InUse(_))), "{refused:?}");
}

#[test]
fn tables_of_a_newer_version_or_another_program_are_refused() {
    let Some(url) = postgres_url() else { return };
    let mut store = PostgresStore::open(&url, SyncMode::Always).unwrap();
    store.writer().unwrap().session.execute("UPDATE store SET version = 2").unwrap();
    drop(store);
    let why = PostgresStore::open(&url, SyncMode::Always).err().unwrap().to_string();
    assert!(why.ends_with("was written by a newer fennec (version 2 of the tables, this one knows 1)"), "{why}");
    let mut session = PgSession::connect(&Address::parse(&url).unwrap(), true).unwrap();
    session.execute("ALTER TABLE store RENAME TO shop").unwrap();
    let why = PostgresStore::open(&url, SyncMode::Always).err().unwrap().to_string();
    assert!(why.ends_with("has tables of another program"), "{why}");
}

#[test]
fn urls_are_read_and_told_without_what_is_secret() {
    let parse = |url: &str| Address::parse(url).map(|address| address.name());
    let expected = "the schema fennec of the database d at h:1234".to_owned();
    assert_eq!(parse("postgres://user:secret@h:1234/d"), Ok(expected));
    let expected = "the schema my_1 of the database d at h:5432".to_owned();
    assert_eq!(parse("postgresql://h/d?sslmode=disable&schema=my_1"), Ok(expected));
    for schema in ["", "1a", "A", "a;b", "pg_x", "a-b", &"a".repeat(61)] {
        let refused = parse(&format!("postgres://user:secret@h/d?schema={schema}"));
        let Err(StoreError::Unusable(why)) = refused else { panic!("{schema}: {refused:?}") };
        assert!(!why.contains("secret"), "{why}");
    }
    assert!(matches!(parse("postgres://h:port/d"), Err(StoreError::Unusable(_))));
}

#[test]
fn a_server_that_is_not_there_may_come_back() {
    let refused = PostgresStore::open("postgres://u@127.0.0.1:1/d", SyncMode::Always).err();
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
}
