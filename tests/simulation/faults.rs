//! Bugs that are planted, to see that the checks find them.

use fennec::queue::state::StateCommand;

/// A bug. One at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Publishers are acknowledged when a storage has room for the segment.
    AckBeforeResolved,
    /// A storage does not answer a repeated segment that it has applied.
    NoResolvedAgain,
    /// A state or vote 1 does not say for which challenger.
    OneWithoutChallenger,
    /// A sync that lost its disk votes as if it had it.
    WipedSyncVotes,
    /// INIT leaves the locks of the life before where they are, for an entry that comes back quickly.
    LocksOutliveTheirLife,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Faults(pub Option<Bug>);

impl Faults {
    pub fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }

    /// What INIT does to the state.
    pub fn init(self, entry: u64, incarnation: u64) -> StateCommand {
        match self.has(Bug::LocksOutliveTheirLife) {
            true => StateCommand::Time,
            false => StateCommand::Init { entry, incarnation },
        }
    }
}
