//! What a storage keeps beside its store: segments that are whole, until the store has them.
//!
//! ```text
//! kept.0, kept.1: frame frame …                         as in [`blocks`]; one of them is in use
//! frame:          mark, disk, [(draft, body)]           one per write, on disk before the syncs are told of its segments
//! mark:           "kept", generation u64 little endian  12 bytes, so that a frame is found without a look at all that it holds
//! ```
//!
//! A frame is one write to a place that was written before, and one fsync: a transaction of the store costs several times as much, and
//! is needed only once for many positions. When the file is long the other takes its place: its first frame has all segments that
//! are still kept and a higher generation, so frames that are left from earlier ones do not count. A file that is damaged
//! or lost has forgotten what the syncs were told: the disk takes another name then, as one that is an older copy.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::block_file::BlockFile;
use crate::queue::blocks;
use crate::queue::envelope::Draft;
use crate::queue::quorum::StoreId;

const FILES: [&str; 2] = ["kept.0", "kept.1"];
const MARK: &[u8] = b"kept";
/// How MessagePack begins an array of three of which the first are twelve bytes.
const ARRAY_OF_3_BIN_12: [u8; 3] = [0x93, 0xc4, 12];
/// A file that is so long is left for the other.
const LONG: u64 = 4 << 20;
/// Memory that is held for the next frame.
const FRAME_BYTES: usize = 1 << 20;

/// See the module.
pub struct Shelf {
    files: [BlockFile; 2],
    current: usize,
    generation: u64,
    store: StoreId,
    /// Bytes of the first frame of the current file.
    first: u64,
    /// The last frame, for its memory.
    frame: Vec<u8>,
}

/// Segments and their bodies.
pub type Kept = Vec<(Draft, Bytes)>;

#[derive(Serialize)]
struct Frame<'a> {
    mark: Bytes,
    store: StoreId,
    kept: &'a [(Draft, Bytes)],
}

#[derive(Deserialize)]
struct Found {
    mark: Bytes,
    store: StoreId,
    kept: Kept,
}

impl Shelf {
    /// Takes up what the folder holds: of which disk, and its segments. `None`: nothing, or it is damaged; [`Shelf::begin_anew`] is to be
    /// called next.
    ///
    /// # Errors
    /// The files cannot be read or made.
    pub fn open(folder: &Path) -> io::Result<(Self, Option<(StoreId, Kept)>)> {
        let open =
            |name| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(name));
        let (one, other) = (open(FILES[0])?, open(FILES[1])?);
        File::open(folder)?.sync_all()?;
        let known = [fs::read(folder.join(FILES[0]))?, fs::read(folder.join(FILES[1]))?];
        let files = [BlockFile::new(one, 0, known[0].len() as u64), BlockFile::new(other, 0, known[1].len() as u64)];
        let (store, frame) = (StoreId::default(), Vec::new());
        let mut shelf = Self { files, current: 0, generation: 0, store, first: 0, frame };
        let first = |n: usize| decode(&known[n]).map(|(found, len)| (found.generation(), n, len));
        let begun = first(0).into_iter().chain(first(1)).max();
        if let Some((generation, current, len)) = begun {
            (shelf.current, shelf.generation, shelf.first) = (current, generation, len as u64);
        }
        // One that was begun is on disk before another frame follows.
        let of_lost = |file: &[u8]| {
            let generation = generation_at(file).filter(|generation| *generation > shelf.generation)?;
            decode(file).map(|_| generation)
        };
        let lost = known.iter().flat_map(|file| blocks::later(file)).filter_map(of_lost).max();
        if let Some(lost) = lost {
            shelf.generation = lost;
            return Ok((shelf, None));
        }
        let found = shelf.read(&known[shelf.current]);
        Ok((shelf, found))
    }

    /// Puts segments to those that are there. They are on disk when it returns.
    ///
    /// # Errors
    /// Nobody knows what of it is on disk: the storage has to stop.
    pub fn put(&mut self, kept: &[(Draft, Bytes)]) -> io::Result<()> {
        let frame = Frame { mark: mark(self.generation), store: self.store, kept };
        blocks::encode_into(&mut self.frame, &frame);
        self.files[self.current].append(&self.frame)?;
        self.frame.shrink_to(FRAME_BYTES);
        Ok(())
    }

    /// Whether it is time to begin anew.
    pub fn is_long(&self) -> bool {
        self.files[self.current].bytes >= LONG.max(2 * self.first)
    }

    /// From now on these are there and no others, of the disk with this name. They are on disk when it returns.
    ///
    /// # Errors
    /// As [`Shelf::put`].
    pub fn begin_anew(&mut self, store: StoreId, kept: &[(Draft, Bytes)]) -> io::Result<()> {
        (self.current, self.generation, self.store) = (1 - self.current, self.generation + 1, store);
        self.files[self.current].bytes = 0;
        self.put(kept)?;
        self.first = self.files[self.current].bytes;
        Ok(())
    }

    /// What the current file holds; `None`: it is damaged.
    fn read(&mut self, file: &[u8]) -> Option<(StoreId, Kept)> {
        let is_current = |file: &[u8]| decode(file).filter(|_| generation_at(file) == Some(self.generation));
        let (mut kept, mut rest, mut of) = (Kept::new(), file, None);
        while let Some((found, len)) = is_current(rest) {
            if *of.get_or_insert(found.store) != found.store {
                return None;
            }
            kept.extend(found.kept);
            rest = rest.get(len..).unwrap_or_default();
        }
        // The last may not be as it was written: it was not on disk, so nobody was told.
        if blocks::later(rest).any(|later| is_current(later).is_some()) {
            return None;
        }
        self.files[self.current].bytes = (file.len() - rest.len()) as u64;
        self.store = of?;
        Some((self.store, kept))
    }
}

impl Found {
    fn generation(&self) -> u64 {
        self.mark.last_chunk().map_or(0, |generation| u64::from_le_bytes(*generation))
    }
}

fn mark(generation: u64) -> Bytes {
    [MARK, &generation.to_le_bytes()[..]].concat().into()
}

/// The generation of a frame that may begin here: only then is it worth to look at all of it.
fn generation_at(file: &[u8]) -> Option<u64> {
    let rest = file.get(blocks::HEAD_BYTES..)?.strip_prefix(&ARRAY_OF_3_BIN_12)?.strip_prefix(MARK)?;
    rest.first_chunk().map(|generation| u64::from_le_bytes(*generation))
}

fn decode(file: &[u8]) -> Option<(Found, usize)> {
    generation_at(file)?;
    blocks::decode(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::blocks::BLOCK_BYTES;
    use crate::queue::envelope::{NodeId, SegmentId};

    fn kept(segments: std::ops::Range<u64>) -> Kept {
        let draft = |segment| {
            let id = SegmentId { segment, entry: NodeId::entry("E1"), incarnation: 1 };
            Draft { id, slot: 0, count: 1, digest: segment, previous: 0 }
        };
        segments.map(|segment| (draft(segment), vec![segment as u8; 700].into())).collect()
    }

    /// What a folder holds.
    fn found(folder: &Path) -> Option<(StoreId, Kept)> {
        Shelf::open(folder).unwrap().1
    }

    #[test]
    fn what_was_put_is_there_until_it_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (mut shelf, nothing) = Shelf::open(folder.path()).unwrap();
        assert_eq!(nothing, None);
        shelf.begin_anew(StoreId(7), &[]).unwrap();
        assert_eq!(found(folder.path()), Some((StoreId(7), vec![])));
        shelf.put(&kept(1..3)).unwrap();
        shelf.put(&kept(3..4)).unwrap();
        let (mut shelf, again) = Shelf::open(folder.path()).unwrap();
        assert_eq!(again, Some((StoreId(7), kept(1..4))));
        shelf.put(&kept(4..5)).unwrap();
        assert_eq!(found(folder.path()), Some((StoreId(7), kept(1..5))));
        for round in 5..9 {
            shelf.begin_anew(StoreId(7), &kept(round..round + 1)).unwrap();
            assert_eq!(found(folder.path()), Some((StoreId(7), kept(round..round + 1))), "frames of before are left");
            shelf.put(&kept(20..22)).unwrap();
        }
        assert_eq!(found(folder.path()), Some((StoreId(7), [kept(8..9), kept(20..22)].concat())));
    }

    #[test]
    fn it_is_long_by_what_was_put_since_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let (mut shelf, _) = Shelf::open(folder.path()).unwrap();
        let many: Kept = kept(0..1).into_iter().cycle().take(5000).collect();
        shelf.begin_anew(StoreId(7), &[]).unwrap();
        shelf.put(&many[..2500]).unwrap();
        assert!(!shelf.is_long());
        shelf.put(&many).unwrap();
        assert!(shelf.is_long());
        shelf.begin_anew(StoreId(7), &many).unwrap();
        shelf.put(&many[..2500]).unwrap();
        assert!(!shelf.is_long(), "it would be as long again");
    }

    /// What is there when a file has changed like this.
    #[track_caller]
    fn check(change: impl Fn(&mut [Vec<u8>; 2]), expected: Option<(StoreId, Kept)>) {
        let folder = tempfile::tempdir().unwrap();
        let (mut shelf, _) = Shelf::open(folder.path()).unwrap();
        shelf.begin_anew(StoreId(7), &[]).unwrap();
        shelf.put(&kept(0..1)).unwrap();
        shelf.begin_anew(StoreId(7), &kept(1..2)).unwrap();
        shelf.put(&kept(2..4)).unwrap();
        let paths = FILES.map(|name| folder.path().join(name));
        let mut files = [fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap()];
        change(&mut files);
        paths.iter().zip(files).for_each(|(path, file)| fs::write(path, file).unwrap());
        let (mut shelf, found_there) = Shelf::open(folder.path()).unwrap();
        assert_eq!(found_there, expected);
        // Whatever it was, nothing is left of it.
        shelf.begin_anew(StoreId(8), &kept(5..6)).unwrap();
        assert_eq!(found(folder.path()), Some((StoreId(8), kept(5..6))));
    }

    #[test]
    fn a_torn_frame_was_never_told_and_damage_before_others_is_noticed() {
        // `kept.1` was first, then `kept.0`: a frame of two blocks and one of three.
        check(|_| (), Some((StoreId(7), kept(1..4))));
        check(|files| files[0][3 * BLOCK_BYTES] ^= 1, Some((StoreId(7), kept(1..2))));
        check(|files| files[0][20] ^= 1, None);
        let torn = |files: &mut [Vec<u8>; 2]| {
            files[0][2 * BLOCK_BYTES..].fill(0);
            files[0][20] ^= 1;
        };
        check(torn, Some((StoreId(7), kept(0..1))));
        check(|files| files.iter_mut().for_each(|file| file.clear()), None);
        check(|files| files[1].clear(), Some((StoreId(7), kept(1..4))));
        let damaged = |files: &mut [Vec<u8>; 2]| {
            let frame = blocks::encode(&Frame { mark: mark(2), store: StoreId(7), kept: &kept(4..5) });
            files[0][5 * BLOCK_BYTES..][..frame.len()].copy_from_slice(&frame);
            files[0][3 * BLOCK_BYTES] ^= 1;
        };
        check(damaged, None);
    }
}
