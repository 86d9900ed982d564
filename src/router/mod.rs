//! The router core: who gets an event, who answers a call. Synchronous rules, no IO, no clock, no wire format.
//!
//! ```text
//! command (subscribe, publish, call, …) --> Broker / Dealer --> values: a Route, an Output to a session
//! ```
//!
//! A command is a method; what follows from it is a value, or is handed to a sink as [`output::Output`] values. The locks
//! around it, and who writes to which socket, are the business of `node` and the gates.

pub mod authorize;
pub mod broker;
pub mod dealer;
pub mod index;
pub mod interest;
pub mod output;
pub mod retained;
pub mod rules;
pub mod shard;
mod stable;
