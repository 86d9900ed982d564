//! Dates by log time.

use std::collections::BTreeSet;

/// What is due. Names are those of [`super::rows::id`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A publish has waited long enough.
    Wait(u64),
    /// The value of a key that is waited for expires.
    Key(Box<str>),
    /// The will of a session.
    Will(Box<str>),
    /// A session expires.
    End(Box<str>),
}

/// All dates: microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadlines {
    dates: BTreeSet<(u64, Due)>,
}

impl Deadlines {
    pub fn first(&self) -> Option<u64> {
        self.dates.first().map(|(at_us, _)| *at_us)
    }

    /// Moves a date, sets a first one or removes it.
    pub fn replace(&mut self, old_us: Option<u64>, new_us: Option<u64>, due: impl Fn() -> Due) {
        if old_us == new_us {
            return;
        }
        if let Some(at_us) = old_us {
            self.dates.remove(&(at_us, due()));
        }
        if let Some(at_us) = new_us {
            self.dates.insert((at_us, due()));
        }
    }

    /// Takes out the earliest that is due by now.
    pub fn take_due(&mut self, now_us: u64) -> Option<Due> {
        if self.first()? > now_us {
            return None;
        }
        self.dates.pop_first().map(|(_, due)| due)
    }
}
