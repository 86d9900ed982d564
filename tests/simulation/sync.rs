//! A sync with its disk: the sync node of the processes, and the bytes of its file.

use fennec::cluster::sync::{SyncLimits, SyncNode, Write};
use fennec::queue::envelope::{Elected, Envelope, NodeId, RoleMessage};
use fennec::queue::quorum::{Members, StoreId};
use fennec::queue::sync::promises::{decode, encode};
use fennec::queue::sync::{Order, Record, Standing};

use crate::check::Facts;
use crate::dice::Dice;
use crate::entry::LEASE_US;
use crate::faults::Bug;

/// Of the file: so that it is replaced now and then.
const FILE_BYTES_MAX: u64 = 20_000;

/// How long it waits for the others when it starts.
const PATIENCE_US: u64 = 400_000;

/// How long it waits for another to open a vote.
const OPENING_US: u64 = 5000;

/// How long after its BEGIN a segment is waited for.
const GATHER_US: u64 = 1000;

/// What is on disk.
pub type File = Vec<u8>;

/// A process.
pub struct Sync {
    id: NodeId,
    node: SyncNode,
    is_writing: bool,
}

/// What a call leads to.
#[derive(Default)]
pub struct Acts {
    pub sends: Vec<Envelope>,
    pub write: Option<Write>,
}

impl Sync {
    pub fn start(id: NodeId, members: Members, file: &mut File, mut dice: Dice) -> Self {
        let limits = SyncLimits {
            lease_us: LEASE_US,
            patience_us: PATIENCE_US,
            opening_us: OPENING_US,
            gather_us: GATHER_US,
            file_bytes_max: FILE_BYTES_MAX,
        };
        let fresh = Box::new(move || StoreId(u128::from(dice.next())));
        let (node, len) =
            SyncNode::start(id.clone(), members, limits, file, fresh).expect("the table is one to begin with");
        file.resize(len as usize, 0);
        Self { id, node, is_writing: false }
    }

    pub fn votes(&self) -> bool {
        self.node.standing() == Standing::Votes
    }

    pub fn connected(&mut self, to: &NodeId) {
        self.node.connected(to);
    }

    pub fn disconnected(&mut self, from: &NodeId) {
        self.node.disconnected(from);
    }

    pub fn handle(&mut self, (now, wall): (u64, u64), envelope: Envelope) {
        self.node.handle(wall, now, envelope);
    }

    pub fn tick(&mut self, (now, wall): (u64, u64)) {
        self.node.tick(wall, now);
    }

    /// The disk has done it.
    pub fn written(&mut self) {
        self.is_writing = false;
    }

    /// What comes of all that was handled, if the disk has time.
    pub fn act(&mut self, facts: &mut Facts, file: &File) -> Acts {
        if self.is_writing {
            return Acts::default();
        }
        let mut write = self.node.write(file.len() as u64).expect("it has begun before");
        for record in &write.records {
            facts.record(&self.id, record);
        }
        write.sends.iter_mut().for_each(|envelope| tamper(facts, &mut envelope.message));
        self.is_writing = !write.records.is_empty();
        match self.is_writing {
            true => Acts { sends: Vec::new(), write: Some(write) },
            false => Acts { sends: write.sends, write: None },
        }
    }
}

/// What is on disk when the power fails after so many thousandths of a write.
pub fn write(file: &mut File, write: &Write, thousandths: u64) {
    let frame = encode(&write.records);
    match write.is_anew {
        true if thousandths == 1000 => *file = frame,
        true => {}
        false => file.extend(&frame[..(frame.len() as u64 * thousandths / 1000) as usize]),
    }
}

/// The file of a disk that has forgotten all but its id and the first table.
pub fn forgetful(file: &File, first: &Members) -> File {
    let records = decode(file).expect("files are as they were written").records;
    let disk = records.into_iter().find(|record| matches!(record, Record::Disk(_)));
    disk.map_or_else(File::new, |disk| encode(&[disk, Record::Order(Order::new(first.clone()))]))
}

/// Bugs in what is sent.
fn tamper(facts: &Facts, message: &mut RoleMessage) {
    let strip = |challenger: &mut Option<Elected>| {
        if challenger.is_some() {
            *challenger = Some(Elected::Nothing);
        }
    };
    if facts.faults.has(Bug::OneWithoutChallenger) {
        match message {
            RoleMessage::State { challenger, .. } | RoleMessage::Vote { challenger, .. } => strip(challenger),
            _ => {}
        }
    }
}
