//! Bugs that are planted, to see that the checks find them.

use fennec::queue::faults::Fault;
use fennec::queue::state::StateCommand;

/// A bug. One at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// In the roles.
    Role(Fault),
    /// Publishers are acknowledged when the entry has their messages.
    AckBeforeResolved,
    /// A storage does not answer a repeated segment that it has applied.
    NoResolvedAgain,
    /// A state or vote 1 does not say for which challenger.
    OneWithoutChallenger,
    /// INIT leaves the locks of the life before where they are, for an entry that comes back quickly.
    LocksOutliveTheirLife,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Faults(pub Option<Bug>);

impl Faults {
    pub fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }

    /// That of the roles.
    pub fn of_roles(self) -> Option<Fault> {
        match self.0 {
            Some(Bug::Role(fault)) => Some(fault),
            _ => None,
        }
    }

    /// What INIT does to the state.
    pub fn init(self, entry: u64, incarnation: u64) -> StateCommand {
        match self.has(Bug::LocksOutliveTheirLife) {
            true => StateCommand::Time,
            false => StateCommand::Init { entry, incarnation },
        }
    }
}
