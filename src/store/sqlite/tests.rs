//! What is SQLite's own; the promise itself is asked in `store/tests.rs`.

use std::io::Write as _;
use std::sync::OnceLock;

use super::*;
use crate::queue::segment::Segment;
use crate::store::sql::Record as _;
use crate::store::tests::segment;

fn open(folder: &Path) -> SqliteStore {
    let (store, aside) = SqliteStore::open(folder, SyncMode::Always, true).unwrap();
    assert_eq!(aside, None);
    store
}

fn append(store: &mut SqliteStore, positions: std::ops::RangeInclusive<u64>) {
    for position in positions {
        let segments = vec![segment(position, position * 10, 10, &[("r", "t")])];
        let rows = vec![(format!("k{position}").into_bytes(), Some(vec![1; 500]))];
        store.commit(&Commit { segments, rows, ..Commit::default() }).unwrap();
    }
}

fn read(store: &SqliteStore) -> Result<Vec<Segment>, StoreError> {
    store.reader()?.segments(0, None, usize::MAX)
}

#[test]
fn a_second_broker_is_refused_by_folder_and_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let reader = store.reader().unwrap();
    let refused = || SqliteStore::open(folder.path(), SyncMode::Always, false).err();
    let in_use = StoreError::InUse(format!("the folder {} (process {})", folder.path().display(), std::process::id()));
    assert_eq!(refused(), Some(in_use.clone()));
    drop(store);
    assert_eq!(refused(), Some(in_use), "a reader still uses it");
    drop(reader);
    assert_eq!(refused(), None);
}

#[test]
fn connections_are_set_up_as_the_mode_says() {
    for (sync, synchronous) in [(SyncMode::Always, 2), (SyncMode::Interval, 1), (SyncMode::Never, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = SqliteStore::open(folder.path(), sync, true).unwrap();
        append(&mut store, 1..=1);
        store.sync().unwrap();
        let connection = &mut store.writer().unwrap().session;
        let mut pragma = |name: &str| connection.number(&format!("PRAGMA {name}")).unwrap();
        assert_eq!((pragma("synchronous"), pragma("auto_vacuum"), pragma("foreign_keys")), (synchronous, 2, 0));
        let mode = connection.row(Script::new("PRAGMA journal_mode")).unwrap().unwrap();
        assert_eq!(mode.text(0).unwrap(), "wal");
    }
}

#[test]
fn what_was_committed_is_there_after_the_process_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 1..=300);
    // The files as a killed process leaves them.
    let killed = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(store.files.beside(suffix), killed.path().join(format!("{NAME}{suffix}"))).unwrap();
    }
    let again = open(killed.path());
    assert_eq!(read(&again).unwrap(), read(&store).unwrap());
    assert_eq!(again.reader().unwrap().stats().unwrap().rows, 300);
}

#[test]
fn tables_of_a_newer_version_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 1..=1);
    store.writer().unwrap().session.execute("PRAGMA user_version = 2").unwrap();
    drop(store);
    let refused = SqliteStore::open(folder.path(), SyncMode::Always, false).err();
    let Some(StoreError::Unusable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.ends_with("was written by a newer fennec (version 2 of the tables, this one knows 1)"), "{why}");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { database: folder.path().join(NAME), _folder: None };
    let mut other = Connection::open(&Arc::new(files), Use::Write(SyncMode::Never)).unwrap();
    other.execute("CREATE TABLE t (x)").unwrap();
    drop(other);
    let refused = SqliteStore::open(folder.path(), SyncMode::Always, false).err();
    let Some(StoreError::Unusable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.ends_with("is a database of another program"), "{why}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = SqliteStore::open(&file.join("data"), SyncMode::Always, false).err();
    let Some(StoreError::Unusable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("file/data"), "{why}");
}

/// A database in which this was done to the file while nobody had it open.
fn spoilt(spoil: impl Fn(&mut Vec<u8>)) -> tempfile::TempDir {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let whole = WHOLE.get_or_init(|| {
        append(&mut open(folder.path()), 1..=50);
        fs::read(&path).unwrap()
    });
    let mut bytes = whole.clone();
    spoil(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    folder
}

#[test]
fn a_damaged_database_is_set_aside_unless_strict() {
    let spoils: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes[..100].fill(0), |bytes| bytes.truncate(bytes.len() / 2), |bytes| bytes[4096 * 2..].fill(0xff)];
    for (n, spoil) in spoils.iter().enumerate() {
        let folder = spoilt(spoil);
        let before = fs::read(folder.path().join(NAME)).unwrap();
        let refused = SqliteStore::open(folder.path(), SyncMode::Always, true).err();
        assert!(matches!(refused, Some(StoreError::Damaged(_))), "spoilt by {n}: {refused:?}");
        let (mut store, aside) = SqliteStore::open(folder.path(), SyncMode::Always, false).unwrap();
        let aside = aside.unwrap();
        assert!(aside.file_name().unwrap().to_str().unwrap().starts_with("fennec.db.damaged-"), "{aside:?}");
        assert!(fs::read(aside).unwrap() == before, "it is kept as it was");
        append(&mut store, 1..=1);
        assert_eq!(read(&store).unwrap().len(), 1);
    }
}

#[test]
fn a_second_damage_in_a_second_does_not_overwrite_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut aside = Vec::new();
    for n in 0..3 {
        let mut file = File::create(folder.path().join(NAME)).unwrap();
        file.write_all(&[b'x' + n; 5000]).unwrap();
        aside.push(SqliteStore::open(folder.path(), SyncMode::Never, false).unwrap().1.unwrap());
    }
    for (n, path) in aside.iter().enumerate() {
        assert_eq!(fs::read(path).unwrap()[0], b'x' + n as u8);
    }
}

#[test]
fn damage_found_later_is_an_error_of_what_finds_it() {
    // All but the ends of the tables are spoilt, page by page.
    let pages = fs::metadata(spoilt(|_| ()).path().join(NAME)).unwrap().len() as usize / 4096;
    let mut found = 0;
    for page in 1..pages {
        let folder = spoilt(|bytes| bytes[page * 4096..][..4096].fill(0xa5));
        let Ok((mut store, _)) = SqliteStore::open(folder.path(), SyncMode::Never, true) else { continue };
        let segments = read(&store);
        let scanned = store.reader().unwrap().scan(b"", None, 1000);
        let commit = Commit { dropped: (1..=100).collect(), ..Commit::default() };
        for result in [segments.map(|_| ()), scanned.map(|_| ()), store.commit(&commit)] {
            match result {
                Ok(()) => {}
                Err(StoreError::Damaged(_)) => found += 1,
                Err(error) => panic!("{error:?} for page {page}"),
            }
        }
    }
    assert!(found > 0);
}

#[test]
fn a_full_disk_refuses_the_commit_and_later_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 1..=5);
    let pages = store.writer().unwrap().session.number("PRAGMA page_count").unwrap();
    let limit = |store: &mut SqliteStore, pages: u64| {
        store.writer().unwrap().session.number(&format!("PRAGMA max_page_count = {pages}")).unwrap()
    };
    limit(&mut store, pages + 2);
    let mut large = segment(6, 60, 10, &[("r", "new")]);
    large.body = vec![1; 1_000_000].into();
    let commit = Commit {
        segments: vec![large],
        rows: vec![(b"k".to_vec(), Some(b"v".to_vec()))],
        dropped: vec![1],
        ..Commit::default()
    };
    for _ in 0..2 {
        let refused = store.commit(&commit);
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert_eq!(read(&store).unwrap().len(), 5, "nothing of it is there");
        assert_eq!(store.get(b"k").unwrap(), None);
    }
    limit(&mut store, 1 << 30);
    store.commit(&commit).unwrap();
    let segments = read(&store).unwrap();
    assert_eq!((segments.len(), &*segments[4].topics[0].topic), (5, "new"));
    let stats = store.reader().unwrap().stats().unwrap();
    assert_eq!((stats.segments, stats.rows), (5, 6));
}

#[test]
fn space_comes_back_in_slices() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = SqliteStore::open(folder.path(), SyncMode::Never, true).unwrap();
    let mut large = segment(1, 10, 10, &[("r", "t")]);
    for position in 1..=60 {
        (large.position, large.first) = (position, position * 10);
        large.body = vec![1; 1_000_000].into();
        store.commit(&Commit { segments: vec![large.clone()], ..Commit::default() }).unwrap();
    }
    assert!(!store.maintain().unwrap(), "there is nothing to give back");
    store.commit(&Commit { dropped: (1..=55).collect(), ..Commit::default() }).unwrap();
    let mut slices = 0;
    while store.maintain().unwrap() {
        slices += 1;
    }
    assert!(slices > 5, "{slices} slices");
    drop(store);
    let bytes = fs::metadata(folder.path().join(NAME)).unwrap().len();
    assert!(bytes < 25_000_000, "{bytes} bytes");
    assert_eq!(read(&open(folder.path())).unwrap().len(), 5);
}

#[test]
fn tables_that_do_not_belong_together_are_told() {
    let cases = [
        ("DELETE FROM bodies WHERE position = 2", "1 segments are without messages"),
        ("DELETE FROM heads WHERE first = 20", "1 messages belong to no segment"),
        ("DELETE FROM holds WHERE first = 20", "the index has 2 entries, not 3"),
        ("INSERT INTO holds VALUES (1, 5)", "1 entries of the index lead to no segment"),
        ("UPDATE holds SET topic = 7 WHERE first = 20", "1 entries of the index are for no topic"),
        ("UPDATE counted SET segments = 1", "4 segments of"),
    ];
    for (spoil, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        append(&mut store, 1..=3);
        store.writer().unwrap().session.execute(spoil).unwrap();
        let problems = store.reader().unwrap().integrity().unwrap();
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{spoil}: {problems:?}");
    }
}

#[test]
fn a_store_in_use_can_be_inspected_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let none = inspect(&folder.path().join("none")).err();
    assert!(matches!(none, Some(StoreError::Unusable(_))), "{none:?}");
    assert!(inspect(folder.path()).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let mut store = open(folder.path());
    append(&mut store, 1..=3);
    let mut reader = inspect(folder.path()).unwrap();
    assert_eq!(reader.segments(0, None, usize::MAX).unwrap().len(), 3);
    append(&mut store, 4..=4);
    assert_eq!(reader.stats().unwrap().segments, 4);
    drop(store);
    assert_eq!(reader.stats().unwrap().segments, 4);
    drop(reader);
    assert_eq!(inspect(folder.path()).unwrap().stats().unwrap().segments, 4, "also when nobody uses it");
}

#[test]
fn nothing_is_done_on_a_connection_that_failed_until_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    append(&mut store, 1..=3);
    store.writer = None;
    let refused = store.commit(&Commit::default());
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    store.reopen().unwrap();
    append(&mut store, 4..=4);
    assert_eq!(read(&store).unwrap().len(), 4);
}
