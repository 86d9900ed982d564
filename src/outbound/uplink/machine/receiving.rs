//! What of a batch the receiving end takes.

use super::wire::{Ack, Exchange};

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// A later epoch begins with it; all of it is taken.
    Begin,
    /// So many of the first came before; the others are taken.
    Take { behind: usize },
    /// Nothing is taken: the sender is told what is expected.
    Refuse,
}

/// Lower numbers are dropped; a batch that starts above the expected number is refused; only a later epoch begins.
pub fn plan(known: Ack, part: &Exchange) -> Plan {
    if part.begin && part.epoch > known.epoch {
        return Plan::Begin;
    }
    if part.epoch == 0 || part.epoch != known.epoch || part.sequence > known.next {
        return Plan::Refuse;
    }
    let behind = usize::try_from(known.next - part.sequence).unwrap_or(usize::MAX);
    Plan::Take { behind: behind.min(part.messages.len()) }
}
