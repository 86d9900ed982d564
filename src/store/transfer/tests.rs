use super::*;
use crate::store::memory::MemoryStore;
use crate::store::tests::{in_folder, postgres_url, segment};
use crate::store::{StoreSettings, StoreUrl, open};

/// A store with all kinds of things in it.
fn full() -> MemoryStore {
    let mut store = MemoryStore::default();
    let topics = [("r", "a/b"), ("s", "ä")];
    let segments = (1..=50).map(|n| segment(n * 2, n * 10, 7, &topics[..n as usize % 3]));
    let row = |n: u32| (n.to_be_bytes()[2..].repeat(3), Some(vec![n as u8; n as usize % 50]));
    let commit = Commit { segments: segments.collect(), rows: (1..2000).map(row).collect(), ..Commit::default() };
    store.commit(&commit).unwrap();
    store
}

fn exported(store: &dyn Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(&mut *store.reader().unwrap(), &mut bytes).unwrap();
    bytes
}

#[test]
fn every_kind_of_store_gives_back_what_it_was_given() {
    let (expected, moved) = (exported(&full()), Moved { segments: 50, rows: 1999 });
    let (sqlite, _folder) = in_folder();
    let mut stores: Vec<Box<dyn Store>> = vec![Box::new(MemoryStore::default()), sqlite];
    if let Some(url) = postgres_url() {
        stores.push(open(&StoreSettings { url: StoreUrl::Postgres(url), ..StoreSettings::default() }).unwrap().store);
    }
    for mut store in stores {
        assert_eq!(import(&mut *store, &expected[..]).unwrap(), moved);
        assert!(exported(&*store) == expected);
    }
}

#[test]
fn an_empty_store_can_be_moved() {
    let mut store = MemoryStore::default();
    assert_eq!(import(&mut store, &exported(&MemoryStore::default())[..]).unwrap(), Moved::default());
}

#[test]
fn a_store_that_holds_anything_is_refused() {
    let bytes = exported(&full());
    let mut store = full();
    assert!(matches!(import(&mut store, &bytes[..]), Err(TransferError::NotEmpty)));
    assert!(exported(&store) == bytes, "and left as it was");
}

#[test]
fn whatever_is_changed_is_seen() {
    let bytes = exported(&full());
    for at in (0..bytes.len()).step_by(997).chain([5, 16, 17, 20, bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let result = import(&mut MemoryStore::default(), &changed[..]);
        assert!(matches!(result, Err(TransferError::Malformed(_))), "{at}: {result:?}");
        let result = import(&mut MemoryStore::default(), &bytes[..at]);
        assert!(matches!(result, Err(TransferError::Malformed(_))), "cut at {at}: {result:?}");
    }
}

#[test]
fn a_store_that_was_imported_in_part_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        StoreSettings { url: StoreUrl::Folder(folder.path().to_owned()), strict: true, ..StoreSettings::default() };
    let bytes = exported(&full());
    let mut store = open(&settings).unwrap().store;
    assert!(import(&mut *store, &bytes[..bytes.len() - 1]).is_err());
    drop(store);
    let refused = open(&settings).err();
    assert!(matches!(refused, Some(StoreError::Unusable(_))), "{refused:?}");
}
