//! A storage with its disk: the storage node of the processes, and a store in memory.

use fennec::cluster::ndb::{Ndb, NdbLimits, STORE_ID};
use fennec::queue::envelope::NodeId;
use fennec::queue::quorum::{Members, StoreId};
use fennec::queue::state::rows::{NODE, decode};
use fennec::queue::state::{State, StateLimits};
use fennec::store::memory::MemoryStore;
use fennec::store::state::load;
use fennec::store::{Row, Store, StoreReader, each_row};
use fennec::types::topic::TopicPattern;

use crate::check::{Facts, Logged, messages_of};
use crate::clients::REALM;

/// Small, so that entries lose their feed, and copies have parts.
const LIMITS: NdbLimits = NdbLimits { recent_max: 300, recent_bytes_max: 1 << 20, part_bytes_max: 2000 };

/// What is on disk.
pub type Disk = MemoryStore;

/// A process.
pub struct Storage {
    id: NodeId,
    pub ndb: Ndb,
    /// The disk is at it.
    pub is_working: bool,
    /// At which position its rows were last compared with its state.
    compared: u64,
    /// The last message that is on it.
    pub last_number: u64,
}

impl Storage {
    pub fn start(id: NodeId, first: Members, disk: &Disk, fresh: StoreId) -> Self {
        let ndb = Ndb::open(id.clone(), first, (Box::new(disk.clone()), None), StateLimits::default(), fresh);
        let ndb = ndb.expect("disks are as they were written").with_limits(LIMITS);
        let last_number = ndb.state().last_number();
        Self { id, ndb, is_working: false, compared: 0, last_number }
    }

    pub fn position(&self) -> u64 {
        self.ndb.state().position()
    }

    /// How far its disk is.
    pub fn written(&self) -> u64 {
        self.ndb.written()
    }

    /// Applies what waits, as the process does some time before the disk does it.
    pub fn prepare(&mut self, facts: &mut Facts) {
        let before = self.position();
        self.ndb.prepare().expect("disks do not fail");
        self.note_applied(before, facts);
    }

    /// The disk does what waits for it; what is applied it may leave for later.
    pub fn work(&mut self, facts: &mut Facts, disk: &Disk, writes: bool) {
        let before = self.position();
        self.is_working = false;
        let done = if writes { self.ndb.work() } else { self.ndb.keep() };
        done.expect("disks do not fail");
        self.note_applied(before, facts);
        let position = self.position();
        facts.copied += u64::from(position > before + 1);
        if self.written() < position {
            return;
        }
        self.last_number = self.ndb.state().last_number();
        // It takes long: now and then.
        if position > self.compared && position.is_multiple_of(61) {
            self.compared = position;
            assert!(state(disk) == *self.ndb.state(), "{} at {position}: rows are not the state", self.id);
        }
    }

    fn note_applied(&self, before: u64, facts: &mut Facts) {
        for position in before + 1..=self.position() {
            if let Some(fed) = self.ndb.fed(position) {
                facts.applied(&self.id, position, fed);
            }
        }
    }

    /// Gives up what need not stay.
    pub fn tidy(&mut self, wall_us: u64) {
        if !self.is_working {
            self.ndb.tidy(wall_us).expect("disks do not fail");
        }
    }

    /// From this number on everything is there.
    pub fn first_available(&self) -> u64 {
        first_available(self.ndb.state())
    }

    pub fn reader(&self) -> Box<dyn StoreReader> {
        self.ndb.reader().expect("it has readers")
    }
}

/// Which disk it is.
pub fn store_id(disk: &Disk) -> StoreId {
    let row = disk.clone().get(STORE_ID).expect("memory can be read");
    row.map_or(StoreId::default(), |row| decode(STORE_ID, &row).expect("rows are as they were written"))
}

/// The state that the rows of a disk come to.
pub fn state(disk: &Disk) -> State {
    let mut reader = disk.reader().expect("it has readers");
    load(&mut *reader, StateLimits::default()).expect("rows are as they were written")
}

/// From which number on everything is there that is an event.
pub fn first_available(state: &State) -> u64 {
    let all = TopicPattern::from_filter("#").expect("a topic filter");
    state.floors().first_available(REALM, &all, false)
}

/// All messages that are on a disk, from a number on.
pub fn messages(disk: &Disk, first: u64) -> Vec<Logged> {
    let mut reader = disk.reader().expect("it has readers");
    let mut messages = Vec::new();
    let segments = reader.segments(first, None, usize::MAX).expect("memory can be read");
    segments.iter().for_each(|segment| messages_of(segment, &mut messages));
    messages.retain(|message| message.number >= first);
    messages
}

/// Rows that all disks have alike.
pub fn shared_rows(disk: &Disk) -> Vec<Row> {
    let mut reader = disk.reader().expect("it has readers");
    let mut rows = Vec::new();
    let all = each_row(&mut *reader, b"", |key, value| {
        if !key.starts_with(&[NODE]) {
            rows.push((key.to_vec(), value));
        }
        Ok::<_, fennec::store::StoreError>(())
    });
    all.expect("memory can be read");
    rows
}
