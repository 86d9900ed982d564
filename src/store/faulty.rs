//! A store for tests that fails when it is told to: a store in memory, and somebody who breaks it.
//!
//! Its steps are its commits, counted from 1. What each mode of syncing loses when the power goes can be tried too.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::memory::MemoryStore;
use super::{Commit, Store, StoreError, StoreReader, SyncMode};

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// [`StoreError::Unavailable`]: as if the disk were full.
    Before,
    /// [`StoreError::Unknown`], and it is not there.
    Lost,
    /// [`StoreError::Unknown`], and it is there.
    Kept,
    /// [`StoreError::Damaged`].
    Damage,
}

/// The writing side.
pub struct FaultyStore {
    store: MemoryStore,
    faults: Faults,
}

/// The hand of the test on a store, also while others own that.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Mutex<Plan>,
    let_go: Condvar,
}

struct Plan {
    sync: SyncMode,
    /// Commits that were asked for.
    steps: u64,
    /// By step.
    faults: BTreeMap<u64, Fault>,
    /// Every step fails so, unless something else was said of it.
    always: Option<Fault>,
    held: bool,
    /// Steps that wait for [`Faults::release`].
    waiting: usize,
    /// It has to be opened again.
    closed: bool,
    reopening_fails: bool,
    /// What survives the loss of power, and what was committed since.
    synced: MemoryStore,
    unsynced: Vec<Commit>,
}

impl FaultyStore {
    /// An empty one without faults.
    pub fn new(sync: SyncMode) -> (Self, Faults) {
        Self::with(MemoryStore::default(), sync)
    }

    fn with(store: MemoryStore, sync: SyncMode) -> (Self, Faults) {
        let plan = Plan {
            sync,
            steps: 0,
            faults: BTreeMap::new(),
            always: None,
            held: false,
            waiting: 0,
            closed: false,
            reopening_fails: false,
            synced: store.copy(),
            unsynced: Vec::new(),
        };
        let faults = Faults { shared: Arc::new(Shared { plan: Mutex::new(plan), let_go: Condvar::new() }) };
        (Self { store, faults: faults.clone() }, faults)
    }
}

impl Faults {
    /// Commits that were asked for so far.
    pub fn steps(&self) -> u64 {
        self.shared.plan.lock().steps
    }

    /// Has the `n`th commit from now on fail, from 1 on.
    pub fn at(&self, n: u64, fault: Fault) {
        let mut plan = self.shared.plan.lock();
        let step = plan.steps + n;
        plan.faults.insert(step, fault);
    }

    /// Has all commits fail so, or none any more.
    pub fn always(&self, fault: Option<Fault>) {
        self.shared.plan.lock().always = fault;
    }

    /// Has [`Store::reopen`] fail, or not any more.
    pub fn reopening_fails(&self, fails: bool) {
        self.shared.plan.lock().reopening_fails = fails;
    }

    /// Commits do not return until [`Self::release`].
    pub fn hold(&self) {
        self.shared.plan.lock().held = true;
    }

    pub fn release(&self) {
        self.shared.plan.lock().held = false;
        self.shared.let_go.notify_all();
    }

    /// Waits until a commit is held.
    pub fn wait_until_held(&self) {
        let mut plan = self.shared.plan.lock();
        while plan.waiting == 0 {
            self.shared.let_go.wait(&mut plan);
        }
    }

    /// The store as it is found after the power was lost, when of the commits that were not synced the first `kept` had come to the
    /// disk. The old one is of no use any more.
    pub fn lose_power(&self, kept: usize) -> (FaultyStore, Faults) {
        let mut plan = self.shared.plan.lock();
        plan.closed = true;
        plan.reopening_fails = true;
        let mut store = plan.synced.copy();
        for commit in plan.unsynced.iter().take(kept) {
            // It was applied before.
            let _ = store.commit(commit);
        }
        FaultyStore::with(store, plan.sync)
    }

    /// Waits while commits are held, and tells what is to happen at this step.
    fn step(&self) -> Result<Option<Fault>, StoreError> {
        let mut plan = self.shared.plan.lock();
        if plan.closed {
            return Err(StoreError::Unavailable("the store has to be opened again".to_owned()));
        }
        plan.steps += 1;
        let step = plan.steps;
        while plan.held {
            plan.waiting += 1;
            self.shared.let_go.notify_all();
            self.shared.let_go.wait(&mut plan);
            plan.waiting -= 1;
        }
        let fault = plan.faults.remove(&step).or(plan.always);
        plan.closed |= matches!(fault, Some(Fault::Lost | Fault::Kept));
        Ok(fault)
    }

    fn committed(&self, commit: &Commit) {
        let mut plan = self.shared.plan.lock();
        plan.unsynced.push(commit.clone());
        if plan.sync == SyncMode::Always {
            plan.sync();
        }
    }
}

impl Plan {
    fn sync(&mut self) {
        for commit in self.unsynced.drain(..) {
            // It was applied before.
            let _ = self.synced.commit(&commit);
        }
    }
}

impl Store for FaultyStore {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let fault = self.faults.step()?;
        let told = || "a fault that was asked for".to_owned();
        match fault {
            Some(Fault::Before) => return Err(StoreError::Unavailable(told())),
            Some(Fault::Lost) => return Err(StoreError::Unknown(told())),
            Some(Fault::Damage) => return Err(StoreError::Damaged(told())),
            Some(Fault::Kept) | None => {}
        }
        self.store.commit(commit)?;
        self.faults.committed(commit);
        if fault.is_some() { Err(StoreError::Unknown(told())) } else { Ok(()) }
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.store.reader()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let mut plan = self.faults.shared.plan.lock();
        if plan.sync == SyncMode::Interval {
            plan.sync();
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let mut plan = self.faults.shared.plan.lock();
        if plan.reopening_fails {
            return Err(StoreError::Unavailable("a fault that was asked for".to_owned()));
        }
        plan.closed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &mut FaultyStore, key: &str) -> Result<(), StoreError> {
        store.commit(&Commit { rows: vec![(key.as_bytes().to_vec(), Some(Vec::new()))], ..Commit::default() })
    }

    fn keys(store: &FaultyStore) -> String {
        let rows = store.reader().unwrap().scan(b"", None, 100).unwrap();
        rows.iter().map(|(key, _)| String::from_utf8_lossy(key)).collect()
    }

    #[test]
    fn steps_fail_as_they_are_told_and_then_work_again() {
        let (mut store, faults) = FaultyStore::new(SyncMode::Always);
        faults.at(2, Fault::Before);
        faults.at(3, Fault::Damage);
        put(&mut store, "a").unwrap();
        assert!(matches!(put(&mut store, "b"), Err(StoreError::Unavailable(_))));
        assert!(matches!(put(&mut store, "c"), Err(StoreError::Damaged(_))));
        put(&mut store, "d").unwrap();
        assert_eq!((keys(&store).as_str(), faults.steps()), ("ad", 4));
        faults.always(Some(Fault::Before));
        assert!(put(&mut store, "e").is_err());
        faults.always(None);
        put(&mut store, "f").unwrap();
        assert_eq!(keys(&store), "adf");
    }

    #[test]
    fn after_an_unknown_end_it_must_be_opened_again() {
        for (fault, found) in [(Fault::Lost, "b"), (Fault::Kept, "ab")] {
            let (mut store, faults) = FaultyStore::new(SyncMode::Always);
            faults.at(1, fault);
            assert!(matches!(put(&mut store, "a"), Err(StoreError::Unknown(_))));
            assert!(matches!(put(&mut store, "x"), Err(StoreError::Unavailable(_))));
            faults.reopening_fails(true);
            assert!(store.reopen().is_err());
            faults.reopening_fails(false);
            store.reopen().unwrap();
            put(&mut store, "b").unwrap();
            assert_eq!(keys(&store), found);
        }
    }

    #[test]
    fn the_loss_of_power_takes_what_was_not_synced() {
        let expected = [(SyncMode::Always, "abc", "abc"), (SyncMode::Interval, "a", "ab"), (SyncMode::Never, "", "a")];
        for (sync, nothing, one) in expected {
            let (mut store, faults) = FaultyStore::new(sync);
            put(&mut store, "a").unwrap();
            store.sync().unwrap();
            put(&mut store, "b").unwrap();
            put(&mut store, "c").unwrap();
            let (mut found, again) = faults.lose_power(0);
            assert_eq!(keys(&found), nothing);
            assert_eq!(keys(&faults.lose_power(1).0), one);
            assert!(put(&mut store, "d").is_err() && store.reopen().is_err());
            put(&mut found, "e").unwrap();
            found.sync().unwrap();
            let synced = if sync == SyncMode::Never { String::new() } else { format!("{nothing}e") };
            assert_eq!(keys(&again.lose_power(0).0), synced);
        }
    }

    #[test]
    fn a_held_commit_returns_when_it_is_released() {
        let (mut store, faults) = FaultyStore::new(SyncMode::Always);
        faults.hold();
        let writing = std::thread::spawn(move || {
            put(&mut store, "a").unwrap();
            keys(&store)
        });
        faults.wait_until_held();
        faults.release();
        assert_eq!(writing.join().unwrap(), "a");
    }
}
