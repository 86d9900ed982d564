//! Files that are read again when they change: by what that is seen, and when it is time.

use std::fs;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// By what files are told from those of before: device, number, size and time of each; `None` for what is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Vec<Option<[u64; 5]>>);

impl Stamp {
    /// The files as they are now.
    pub fn of<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let of_one = |path: P| {
            // Links are followed: where a folder is swapped by a link (Kubernetes), the file has another number.
            let found = fs::metadata(path).ok()?;
            Some([found.dev(), found.ino(), found.size(), found.mtime() as u64, found.mtime_nsec() as u64])
        };
        Self(paths.into_iter().map(of_one).collect())
    }
}

/// Files that are looked at again and again.
#[derive(Debug)]
pub struct Looked {
    /// As they were when they were last read, or could not be.
    tried: Stamp,
    /// As they were last seen.
    seen: Stamp,
}

impl Looked {
    /// `tried`: as they were right before they were read.
    pub fn new(tried: Stamp) -> Self {
        Self { seen: tried.clone(), tried }
    }

    /// Whether files that are now like this are to be read, and have been tried then. They are if they were changed, and have
    /// stayed so since the last look: whoever writes several is given the time. `at_once`: whether changed or not.
    pub fn is_due(&mut self, now: Stamp, at_once: bool) -> bool {
        let settled = mem::replace(&mut self.seen, now.clone()) == now;
        let due = at_once || (settled && now != self.tried);
        if due {
            self.tried = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_due_once_when_they_have_settled_and_always_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let now = || Stamp::of([&path]);
        let mut looked = Looked::new(now());
        assert!(!looked.is_due(now(), false), "it is still not there");
        fs::write(&path, "1").unwrap();
        assert!(!looked.is_due(now(), false), "it may be changed further");
        fs::write(&path, "12").unwrap();
        assert!(!looked.is_due(now(), false), "it was");
        assert!(looked.is_due(now(), false));
        assert!(!looked.is_due(now(), false), "it was tried");
        assert!(looked.is_due(now(), true));
        fs::write(&path, "123").unwrap();
        assert!(looked.is_due(now(), true), "whoever asks is not made to wait");
        assert!(!looked.is_due(now(), false), "what was asked for was tried too");
        // Another one with the same length.
        fs::write(folder.path().join("new"), "321").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!looked.is_due(now(), false));
        assert!(looked.is_due(now(), false));
        fs::remove_file(&path).unwrap();
        assert!(!looked.is_due(now(), false) && looked.is_due(now(), false), "that it has gone is a change");
    }
}
