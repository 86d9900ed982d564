//! What a sync's disk holds: what it said and must never say otherwise.
//!
//! ```text
//! file:  frame frame … zeros    one frame per write, on disk before the next is written and what it says is sent
//! frame: an array of records    as in [`blocks`]
//! ```
//!
//! The first record is [`Record::Disk`]. A file that has grown is replaced by one frame of [`super::SyncRole::records`]: statements
//! on positions that are decided, and decisions that a storage quorum of each slot has applied, are not in it any more.

use serde::{Deserialize, Serialize};

use super::order::Order;
use super::vote::Statement;
use crate::queue::blocks;
use crate::queue::envelope::Elected;
use crate::queue::quorum::{Members, StoreId};

/// A place in the votes of all positions: a sync's statements ascend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Step {
    pub position: u64,
    /// 0 for PICK_CHALLENGER.
    pub round: u32,
    pub phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    Pick,
    State,
    #[default]
    Vote,
}

/// Something that a sync has to know after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Record {
    /// Which disk this is. The first of a file.
    Disk(StoreId),
    /// This sync found all present and empty: it is for this first table, and never for another.
    Pledged(Members),
    /// What all decisions up to a position come to.
    Order(Order),
    /// A decision. `of`: places in the table of members of those whose picks or votes were counted; nobody's if it was told as a fact.
    Decided {
        position: u64,
        elected: Elected,
        of: Vec<u8>,
        /// What was counted of them. There were votes only once.
        #[serde(default)]
        phase: Phase,
    },
    /// A statement of this sync; `of`: places of those from whose statements it follows.
    Said { position: u64, statement: Statement, of: Vec<u8> },
    /// The last statement of other syncs' disks that counted here.
    Heard(Vec<(StoreId, Step)>),
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub records: Vec<Record>,
    /// Bytes of whole frames. What is behind them was being written when the process ended, and is to be written over.
    pub len: usize,
}

/// The disk has forgotten promises: it must not vote. Take a new store id and begin with an empty file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the promises are damaged at byte {at}")]
pub struct Damaged {
    pub at: usize,
}

/// A frame with these records.
pub fn encode(records: &[Record]) -> Vec<u8> {
    blocks::encode(records)
}

/// # Errors
/// A frame that is not the last is not as it was written. The last may be: it was not on disk, so nothing in it was sent.
pub fn decode(file: &[u8]) -> Result<Decoded, Damaged> {
    let mut decoded = Decoded { records: Vec::new(), len: 0 };
    let mut rest = file;
    while let Some((records, len)) = blocks::decode::<Vec<Record>>(rest) {
        decoded.records.extend(records);
        decoded.len += len;
        rest = rest.get(len..).unwrap_or_default();
    }
    if blocks::later(rest).any(|later| blocks::decode::<Vec<Record>>(later).is_some()) {
        return Err(Damaged { at: decoded.len });
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::blocks::BLOCK_BYTES;

    fn records() -> Vec<Record> {
        let statement = Statement::Vote { round: 2, vote: None, challenger: Some(Elected::Nothing) };
        vec![
            Record::Disk(StoreId(u128::MAX)),
            Record::Said { position: 3, statement, of: vec![0, 2] },
            Record::Decided { position: 3, elected: Elected::Nothing, of: vec![1], phase: Phase::Vote },
            Record::Heard(vec![(StoreId(7), Step { position: 3, round: 1, phase: Phase::Vote })]),
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let [first, second] = [encode(&records()), encode(&records()[1..])];
        let file = [first, second].concat();
        let decoded = decode(&file).unwrap();
        assert_eq!(decoded, Decoded { records: [&records()[..], &records()[1..]].concat(), len: file.len() });
        assert_eq!(decode(&[]), Ok(Decoded { records: vec![], len: 0 }));
    }

    #[test]
    fn a_torn_end_is_written_over_and_damage_before_it_is_an_error() {
        let first = encode(&records());
        let long: Vec<Record> = records().into_iter().cycle().take(60).collect();
        let [second, zeros] = [encode(&long), vec![0; 3 * BLOCK_BYTES]];
        assert!(second.len() > 2 * BLOCK_BYTES);
        let file = [&first[..], &second, &zeros].concat();
        let torn = Ok(Decoded { records: records(), len: first.len() });
        let body_end = file.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for len in first.len()..body_end {
            assert_eq!(decode(&file[..len]), torn, "{len}");
        }
        assert_eq!(decode(&[&first[..], &zeros].concat()), torn);
        for lost in (first.len()..body_end).step_by(BLOCK_BYTES) {
            let mut file = file.clone();
            file[lost..lost + BLOCK_BYTES].fill(0);
            assert_eq!(decode(&file), torn, "the disk writes blocks in any order: {lost}");
        }
        let flipped = |at: usize| {
            let mut file = file.clone();
            file[at] ^= 1;
            decode(&file)
        };
        let first_end = first.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for at in 0..first_end {
            assert_eq!(flipped(at), Err(Damaged { at: 0 }), "{at}");
        }
        assert_eq!(flipped(body_end - 1), torn);
    }
}
