//! What a sync's disk holds: what it said and must never say otherwise.
//!
//! ```text
//! file:  frame frame …                          one frame per write; what is said in it is sent when it is on disk
//! frame: length u32 | digest u64 | MessagePack  little endian; the length is that of the MessagePack, an array of records
//! ```
//!
//! The first record is [`Record::Disk`]. A file that has grown is replaced by one frame of [`super::SyncRole::records`]: statements
//! on positions that are decided, and decisions that a storage quorum of each slot has applied, are not in it any more.

use serde::{Deserialize, Serialize};

use super::order::Order;
use super::vote::Statement;
use crate::queue::digest::digest;
use crate::queue::envelope::Elected;
use crate::queue::quorum::{Members, StoreId};

const HEAD_BYTES: usize = 12;

/// A place in the votes of all positions: a sync's statements ascend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Step {
    pub position: u64,
    /// 0 for PICK_CHALLENGER.
    pub round: u32,
    pub phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    Pick,
    State,
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
    /// A decision. `of`: places in the table of members of those whose votes were counted; nobody's if it was told as a fact.
    Decided { position: u64, elected: Elected, of: Vec<u8> },
    /// A statement of this sync; `of`: places of those from whose statements it follows.
    Said { position: u64, statement: Statement, of: Vec<u8> },
    /// The last statement of other syncs' disks that counted here.
    Heard(Vec<(StoreId, Step)>),
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub records: Vec<Record>,
    /// Bytes of whole frames. What is behind them was being written when the process ended: cut it off before writing more.
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
    let mut frame = vec![0; HEAD_BYTES];
    rmp_serde::encode::write(&mut frame, records).expect("records are written to memory");
    let body = &frame[HEAD_BYTES..];
    let (len, digest) = (body.len() as u32, digest(body));
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..HEAD_BYTES].copy_from_slice(&digest.to_le_bytes());
    frame
}

/// # Errors
/// A frame that is not the last is not as it was written. The last may be: it was not on disk, so nothing in it was sent.
pub fn decode(file: &[u8]) -> Result<Decoded, Damaged> {
    let mut decoded = Decoded { records: Vec::new(), len: 0 };
    while let Some((head, rest)) = file[decoded.len..].split_first_chunk::<HEAD_BYTES>() {
        let [a, b, c, d, digest_bytes @ ..] = *head;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(body) = rest.get(..len) else { break };
        // A file may have been made longer before it was written.
        let is_last = rest.len() == len || len == 0 && rest.iter().all(|byte| *byte == 0);
        let records = (digest(body) == u64::from_le_bytes(digest_bytes))
            .then(|| rmp_serde::from_slice::<Vec<Record>>(body).ok())
            .flatten();
        match records {
            Some(records) => decoded.records.extend(records),
            None if is_last => break,
            None => return Err(Damaged { at: decoded.len }),
        }
        decoded.len += HEAD_BYTES + len;
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let statement = Statement::Vote { round: 2, vote: None, challenger: Some(Elected::Nothing) };
        vec![
            Record::Disk(StoreId(u128::MAX)),
            Record::Said { position: 3, statement, of: vec![0, 2] },
            Record::Decided { position: 3, elected: Elected::Nothing, of: vec![1] },
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
    fn a_torn_end_is_cut_off_and_damage_before_it_is_an_error() {
        let first = encode(&records());
        let file = [&first[..], &encode(&records())].concat();
        for len in first.len()..file.len() {
            assert_eq!(decode(&file[..len]), Ok(Decoded { records: records(), len: first.len() }), "{len}");
        }
        assert_eq!(decode(&[&first[..], &[0; 100]].concat()).unwrap().len, first.len());
        let flipped = |at: usize| {
            let mut file = file.clone();
            file[at] ^= 1;
            decode(&file)
        };
        for at in 4..first.len() {
            assert_eq!(flipped(at), Err(Damaged { at: 0 }), "{at}");
        }
        assert_eq!(flipped(file.len() - 1).unwrap().len, first.len());
    }
}
