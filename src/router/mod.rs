//! Floor 1: who gets an event, who answers a call. Synchronous rules without IO or clock.
//!
//! A command is a method; what follows from it is handed to a sink as [`output::Output`] values. The caller passes the
//! sink in: outboxes at run time, a vector in tests. Times are milliseconds on the node's clock.

pub mod dealer;
pub mod index;
pub mod output;
pub mod retained;
