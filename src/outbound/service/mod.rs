//! Webhook services: HTTP endpoints that get durable events, in order, at least once, under names by which they can drop repeats.
//!
//! ```text
//! log --Consumer--> task --PUT {url}/transactions/{id}--> service
//!                    |  '-- machine: what next, when again
//!                    '--> state and place, one commit
//! ```
//!
//! - [`machine`]: the rules. - [`task`]: one task owns one service. - [`run`]: has a task for each service that this entry runs.
//! - [`client`]: HTTP. - [`address`]: where it may connect to. - [`body`]: events as JSON. - [`settings`]: what a service is.
//! - [`admin`]: `fennec.service.*`. - [`board`]: what can be seen of them from outside.
//!
//! A service is a consumer of the log (`node::consumer`) whose name begins with [`PREFIX`]: its settings, place and state are there, so
//! services that are given in the configuration and those that are added at run time are the same, and in a cluster one entry
//! runs each. While a service is down, its task holds no events: they are in the log.

pub mod address;
mod admin;
mod board;
mod body;
mod client;
mod letter;
pub mod machine;
mod meta;
mod run;
pub mod settings;
mod task;

pub use admin::Admin;
pub use board::Board;
pub use run::{Configured, Services, Settings};

/// What the names of their consumers begin with.
pub const PREFIX: &str = "service/";
