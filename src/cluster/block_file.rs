//! A file of frames ([`crate::queue::blocks`]) that is appended to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Zeros that are written at once: to make a file longer with each write would cost the half again.
static ZEROS: [u8; 128 << 10] = [0; 128 << 10];

/// See the module.
pub(super) struct BlockFile {
    file: File,
    /// Of frames: the next one begins here.
    pub bytes: u64,
    /// Up to here something was written once.
    allocated: u64,
}

impl BlockFile {
    /// A file of which `bytes` are frames and `allocated` were written.
    pub fn new(file: File, bytes: u64, allocated: u64) -> Self {
        Self { file, bytes, allocated }
    }

    /// Appends a frame. It is on disk when this returns.
    ///
    /// # Errors
    /// Nobody knows what of it is on disk.
    pub fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let end = self.bytes + frame.len() as u64;
        while self.allocated < end {
            self.file.write_all_at(&ZEROS, self.allocated)?;
            self.allocated += ZEROS.len() as u64;
        }
        self.file.write_all_at(frame, self.bytes)?;
        self.file.sync_data()?;
        self.bytes = end;
        Ok(())
    }
}
