//! The file in which a sync keeps its promises.
//!
//! What [`SyncNode::write`] puts out is on disk before anything that follows from it is sent. A file is replaced as a whole: written under another name, synced and renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::block_file::BlockFile;
use super::counts::Counts;
use super::sync::{Fresh, SyncLimits, SyncNode};
use crate::queue::envelope::{Envelope, NodeId};
use crate::queue::quorum::Members;
use crate::queue::sync::promises::{self, Record};

const FILE: &str = "promises";
const NEW_FILE: &str = "promises.new";

/// See the module.
pub struct PromiseFile {
    folder: PathBuf,
    file: BlockFile,
    counts: Arc<Counts>,
}

impl PromiseFile {
    /// Takes up what the folder holds. One that is damaged is begun anew.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(
        own: NodeId,
        first: Members,
        limits: SyncLimits,
        folder: &Path,
        fresh: Fresh,
    ) -> io::Result<(SyncNode, Self)> {
        fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        let known = match fs::read(&path) {
            Ok(known) => known,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let (node, bytes) = SyncNode::start(own, first, limits, &known, fresh).map_err(io::Error::other)?;
        // A damaged one stays as it is until another takes its place.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        if bytes > 0 {
            file.set_len(bytes)?;
        }
        let counts = Arc::default();
        Ok((node, Self { folder: folder.to_owned(), file: BlockFile::new(file, bytes, bytes), counts }))
    }

    /// Has it count there.
    pub fn count_in(&mut self, counts: &Arc<Counts>) {
        self.counts = counts.clone();
    }

    /// Writes what the sync has promised; returns what may be sent then.
    ///
    /// # Errors
    /// The disk fails: nobody knows what of it is there, so the node has to stop.
    pub fn write(&mut self, sync: &mut SyncNode) -> io::Result<Vec<Envelope>> {
        let write = sync.write(self.file.bytes).map_err(io::Error::other)?;
        if write.is_anew {
            self.replace(&write.records)?;
        } else if !write.records.is_empty() {
            let begun = Instant::now();
            self.file.append(&promises::encode(&write.records))?;
            self.counts.disk.observe_us(begun.elapsed().as_micros() as u64);
        }
        Ok(write.sends)
    }

    fn replace(&mut self, records: &[Record]) -> io::Result<()> {
        let (path, new) = (self.folder.join(FILE), self.folder.join(NEW_FILE));
        let frame = promises::encode(records);
        let mut file = File::create(&new)?;
        file.write_all(&frame)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.folder)?.sync_all()?;
        let bytes = frame.len() as u64;
        self.file = BlockFile::new(OpenOptions::new().write(true).open(&path)?, bytes, bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::quorum::{Member, StoreId};

    /// Opens the file, and writes what there is to write.
    fn open(folder: &Path, fresh: u128) -> (SyncNode, PromiseFile) {
        let member = |node| Member { node, store: StoreId::default() };
        let slots = vec![vec![member(NodeId::storage("N1"))]];
        let first = Members { syncs: vec![member(NodeId::sync("S1"))], slots, storage_quorum: 1 };
        let limits =
            SyncLimits { lease_us: 1_000_000, patience_us: 0, opening_us: 0, gather_us: 0, file_bytes_max: 1 << 20 };
        let fresh = Box::new(move || StoreId(fresh));
        let (mut node, mut file) = PromiseFile::open(NodeId::sync("S1"), first, limits, folder, fresh).unwrap();
        file.write(&mut node).unwrap();
        (node, file)
    }

    #[test]
    fn a_disk_keeps_its_name_until_its_file_is_damaged_or_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let store = |fresh| open(folder.path(), fresh).0.role().store();
        assert_eq!([store(1), store(2)], [StoreId(1); 2]);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"torn"].concat()).unwrap();
        assert_eq!(store(3), StoreId(1), "what was being written when the process ended does not count");
        assert_eq!(fs::read(&path).unwrap(), whole);
        let mut damaged = [&whole[..], &whole].concat();
        damaged[20] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_eq!([store(4), store(5)], [StoreId(4); 2]);
        fs::remove_file(&path).unwrap();
        assert_eq!([store(6), store(7)], [StoreId(6); 2]);
    }
}
