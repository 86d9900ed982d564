//! `mosquitto.conf` as lines of key and value, each with its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files that include each other in a circle are not followed for ever.
const DEPTH_MAX: usize = 8;

/// Where a line is; prints as `FILE:LINE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub file: Arc<Path>,
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One setting.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub place: Place,
    pub key: String,
    /// All behind the key, without white space at its ends.
    pub value: String,
}

impl Line {
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.value.split_whitespace()
    }

    /// The value as a path; a relative one is taken from the folder of the file, where Mosquitto is most often started.
    pub fn path(&self) -> PathBuf {
        let folder = self.place.file.parent().unwrap_or(Path::new("."));
        std::path::absolute(folder.join(&self.value)).unwrap_or_else(|_| folder.join(&self.value))
    }
}

/// The lines of a text that say something.
pub(super) fn lines(file: &Path, text: &str) -> Vec<Line> {
    let file: Arc<Path> = file.into();
    let line = |(index, text): (usize, &str)| {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let (key, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let place = Place { file: file.clone(), line: index + 1 };
        Some(Line { place, key: key.to_owned(), value: value.trim().to_owned() })
    };
    text.lines().enumerate().filter_map(line).collect()
}

/// The lines of a file and of those in the folders that it includes.
///
/// # Errors
/// A file cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, String> {
    read_below(path, 0)
}

fn read_below(path: &Path, depth: usize) -> Result<Vec<Line>, String> {
    let failed = |path: &Path, error| format!("{}: cannot be read: {error}", path.display());
    let bytes = fs::read(path).map_err(|error| failed(path, error))?;
    let mut all = Vec::new();
    for line in lines(path, &String::from_utf8_lossy(&bytes)) {
        if line.key != "include_dir" || depth >= DEPTH_MAX {
            all.push(line);
            continue;
        }
        let folder = line.path();
        let entries = fs::read_dir(&folder).map_err(|error| failed(&folder, error))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
        // Capital letters before small ones, as Mosquitto sorts them.
        files.sort();
        for file in files {
            all.extend(read_below(&file, depth + 1)?);
        }
    }
    Ok(all)
}
