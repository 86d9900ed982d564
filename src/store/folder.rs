//! The folder of a store: owned by one broker at a time, and what is in the way is set aside.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::StoreError;
use crate::types::event_id::EventId;

/// A folder that is ours. The system frees it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the folder. Makes it, for nobody else to read, if it is not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Unusable`].
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Unusable(format!("cannot use the folder {}: {error}", path.display()));
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        }
        let file = path.join("fennec.lock");
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Who it is is only told; that it is locked is what counts.
                let _ = lock.read_to_string(&mut owner);
                let owner = owner.trim();
                let owner = if owner.is_empty() { "unknown" } else { owner };
                return Err(StoreError::InUse(format!("the folder {} (process {owner})", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(failed)?;
        // A full disk shall not keep a broker from starting.
        let _ = writeln!(lock, "{}", std::process::id());
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames a database and the files that belong to it. Returns where it is now.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: it cannot be renamed.
    pub(super) fn set_aside(&self, name: &str) -> Result<PathBuf, StoreError> {
        let aside = (0..).map(|n| self.path.join(aside_name(name, n))).find(|path| !path.exists());
        let aside = aside.unwrap_or_else(|| self.path.join(aside_name(name, 0)));
        // The log goes first: left behind, it would be taken for that of the new database.
        for suffix in ["-wal", "-shm", ""] {
            let from = self.path.join(format!("{name}{suffix}"));
            let mut to = aside.clone().into_os_string();
            to.push(suffix);
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::Unusable(format!("cannot set {} aside: {error}", from.display())));
                }
                _ => {}
            }
        }
        Ok(aside)
    }

    /// Makes new names in the folder survive a power loss.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        synced.map_err(|error| StoreError::Unavailable(format!("the folder {}: {error}", self.path.display())))
    }
}

/// `name.damaged-yyMMddHHmmss`, and a number if there is one already.
fn aside_name(name: &str, n: u32) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    // An event id begins with the minute of its making.
    let minute = EventId { minute: (seconds / 60) as u32, generator: 0, offset: 0 }.to_string();
    let more = if n == 0 { String::new() } else { format!("-{n}") };
    format!("{name}.damaged-{}{:02}{more}", &minute[..10], seconds % 60)
}
