//! What the entries of a cluster tell each other beside the log: what their clients want, and the events that only pass by.
//!
//! ```text
//! Realm::take_interest --> Exchange --Interest--> every linked entry --> Realm::set_reach there
//! Publisher            --> Peers    --Events-->  those that want them --> Receiver there
//! Realm::take_offers   --> Calls    --Callees--> every linked entry --> Dealer there
//! Dealer               --> Line     --Calls-->   the callee's entry, and back --> Dealer there
//! ```
//!
//! [`crate::router::interest`] and, for calls, [`crate::router::dealer`] have the rules. An [`Exchange`] is of one life of an entry and applies them to its node; nothing in it
//! waits or looks at the clock. A thread of its own runs it ([`run`]), so that events neither wait for the log nor hold it up:
//! all of this goes on without a quorum.

mod calls;
mod exchange;
mod heard;
mod message;
mod run;

#[cfg(test)]
mod tests;

pub use exchange::Exchange;
pub use run::{Exchanging, run};
