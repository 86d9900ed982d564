//! What the keys of `cluster.toml` mean together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::schema::File;
use crate::cli::config::check::Check;
use crate::cli::config::value::{Origin, Problem};
use crate::cluster::config::{Cluster, ClusterKey};

/// Longest name of a cluster, in bytes: it is in every handshake.
const NAME_BYTES_MAX: usize = 64;

/// Finds what is wrong, and what is odd.
pub(super) struct ClusterCheck<'f> {
    pub file: &'f File,
    /// Of what is missing.
    whole: Origin,
    pub check: Check,
    pub warnings: Vec<Problem>,
}

/// The cluster and warnings, or all that is wrong. `whole`: the place of what is missing.
pub(super) fn check(
    file: &File,
    origins: HashMap<String, Origin>,
    whole: Origin,
) -> Result<(Cluster, Vec<Problem>), Vec<Problem>> {
    let mut check = ClusterCheck { file, whole, check: Check { origins, problems: Vec::new() }, warnings: Vec::new() };
    let name = check.name();
    let key = check.key();
    let silence = check.silence();
    check.roles();
    let before = check.check.problems.len();
    let processes = check.processes();
    // Where a process is not understood, it would seem to be missing.
    let slots = if check.check.problems.len() == before { check.slots(&processes) } else { Vec::new() };
    let storage_quorum = check.storage_quorum(slots.first().map_or(0, Vec::len));
    let ClusterCheck { check: Check { problems, .. }, warnings, .. } = check;
    match (name, key) {
        (Some(name), Some(key)) if problems.is_empty() => {
            Ok((Cluster { name, key, processes, slots, storage_quorum, silence }, warnings))
        }
        _ => Err(problems),
    }
}

impl ClusterCheck<'_> {
    pub fn wrong(&mut self, key: &str, what: impl Into<String>) {
        let problem = self.problem(key, what.into());
        self.check.problems.push(problem);
    }

    pub fn warn(&mut self, key: &str, what: impl Into<String>) {
        let problem = self.problem(key, what.into());
        self.warnings.push(problem);
    }

    fn problem(&self, key: &str, what: String) -> Problem {
        let origin = match self.check.origin(key) {
            Origin::Default => self.whole.clone(),
            said => said,
        };
        Problem { origin, key: key.to_owned(), what }
    }

    fn name(&mut self) -> Option<Arc<str>> {
        let Some(name) = &self.file.name else {
            self.wrong("", "name is missing");
            return None;
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            self.wrong("name", format!("must have 1 to {NAME_BYTES_MAX} bytes, and no control characters"));
        }
        Some(name.as_str().into())
    }

    fn key(&mut self) -> Option<ClusterKey> {
        let (place, text) = match (&self.file.key, &self.file.key_file) {
            (Some(_), Some(_)) => {
                self.wrong("key_file", "says again what key says: keep one of them");
                return None;
            }
            (None, None) => {
                self.wrong("", "key or key_file is missing");
                return None;
            }
            (Some(key), None) => ("key", key.clone()),
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(text) => ("key_file", text),
                Err(error) => {
                    self.wrong("key_file", format!("cannot read {}: {error}", path.display()));
                    return None;
                }
            },
        };
        let key = ClusterKey::new(text.trim());
        if key.is_none() {
            self.wrong(
                place,
                format!("must have at least {} characters: guessing it must be hopeless", ClusterKey::BYTES_MIN),
            );
        }
        key
    }

    fn silence(&mut self) -> Duration {
        let range = 300..=60_000;
        if !range.contains(&self.file.link_silence_ms) {
            self.wrong("link_silence_ms", format!("must be from {} to {}", range.start(), range.end()));
        }
        Duration::from_millis(self.file.link_silence_ms.into())
    }

    /// Whether each role is played.
    fn roles(&mut self) {
        let processes = &self.file.process.0;
        if processes.is_empty() {
            return self.wrong("", "there is no [[process]]");
        }
        if processes.iter().all(|process| process.entry.is_none()) {
            self.wrong("process", "none has an entry: no client could connect");
        }
        if processes.iter().all(|process| process.ndb.is_none()) {
            self.wrong("process", "none has an ndb: nobody would keep anything");
        }
        match processes.iter().filter(|process| process.sync.is_some()).count() {
            0 => self.wrong("process", "none has a sync: nobody would order anything"),
            syncs if syncs % 2 == 0 => {
                let (majority, odd) = (syncs / 2 + 1, syncs - 1);
                self.warn(
                    "process",
                    format!("{syncs} syncs, of which {majority} must be up, survive no more losses than {odd}"),
                );
            }
            _ => {}
        }
    }
}
