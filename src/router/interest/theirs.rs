//! What another entry has told.

use std::collections::HashSet;

use super::{Interest, Told};

/// The set that a peer has told. It is forgotten with the link.
#[derive(Debug, Default)]
pub struct Theirs {
    /// `None`: nothing was told.
    version: Option<u64>,
    everything: bool,
    wants: HashSet<Interest>,
}

/// What has changed with a word of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub wanted: Vec<Interest>,
    pub unwanted: Vec<Interest>,
    /// Whether the peer wants everything now, if that has changed.
    pub everything: Option<bool>,
}

/// A word of the peer was missed: the whole set has to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("told the changes to version {got}, having {has:?}")]
pub struct OutOfStep {
    has: Option<u64>,
    got: u64,
}

impl OutOfStep {
    pub(super) fn new(has: Option<u64>, got: u64) -> Self {
        Self { has, got }
    }
}

impl Theirs {
    /// Takes what the peer tells.
    ///
    /// # Errors
    /// It does not follow what was told before; nothing is changed.
    pub fn hear(&mut self, told: Told) -> Result<Heard, OutOfStep> {
        let Told { version, whole, everything, wanted, unwanted } = told;
        if !whole && self.version.and_then(|version| version.checked_add(1)) != Some(version) {
            return Err(OutOfStep { has: self.version, got: version });
        }
        self.version = Some(version);
        let mut heard = Heard { everything: (self.everything != everything).then_some(everything), ..Heard::default() };
        self.everything = everything;
        if whole {
            let now: HashSet<Interest> = wanted.into_iter().collect();
            heard.unwanted = self.wants.difference(&now).cloned().collect();
            heard.wanted = now.difference(&self.wants).cloned().collect();
            self.wants = now;
            return Ok(heard);
        }
        heard.unwanted.extend(unwanted.into_iter().filter(|interest| self.wants.remove(interest)));
        heard.wanted.extend(wanted.into_iter().filter(|interest| self.wants.insert(interest.clone())));
        Ok(heard)
    }

    /// The link is gone. Returns what is not wanted any more.
    pub fn forget(&mut self) -> Heard {
        let Self { everything, wants, .. } = std::mem::take(self);
        Heard { wanted: Vec::new(), unwanted: wants.into_iter().collect(), everything: everything.then_some(false) }
    }
}
