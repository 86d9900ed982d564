//! Bugs that are planted, to see that the checks find them.

use fennec::queue::faults::Fault;

/// A bug. One at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// In the roles.
    Role(Fault),
    /// Publishers are acknowledged when the entry has their messages.
    AckBeforeResolved,
    /// QoS 2 messages are recorded for their publishers when the entry has them.
    PubrecBeforeResolved,
    /// A storage does not answer a repeated segment that it has applied.
    NoResolvedAgain,
    /// A state or vote 1 does not say for which challenger.
    OneWithoutChallenger,
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
}
