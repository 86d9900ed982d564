//! The links between the processes of a cluster: who takes part, and how what the roles say gets from one to another.
//!
//! ```text
//! role thread -> Mesh::send -> Line (bounded outbox) -> one TCP or TLS connection -> reader -> Inbox (bounded) -> role thread
//! ```
//!
//! 1. [`config`] is what `cluster.toml` comes to: processes, the nodes that each plays, addresses, slots, quorums, the key.
//! 2. Two processes share one connection, whatever roles they play: the one with the lower id dials, the other accepts.
//! 3. It begins with the [`handshake`]: versions, names, and both sides prove by HMAC that they have the cluster's key, which is
//!    never sent. TLS ([`tls`]) comes first where it is configured, and the proof is bound to it.
//! 4. Then [`frame`]s go both ways: envelopes of the roles, requests and replies beside them, pings. A [`link`] that brings
//!    nothing for a while is dead; so is one whose peer does not take what waits for it. Nothing is lost but with its link.
//! 5. A [`mesh`] holds all links of a process, makes them anew with growing waits, and tells each role when one comes and goes:
//!    whoever is connected anew resends by its role's own rules.
//! 6. Roles run on threads of their own and read from an [`inbox`]. A full inbox keeps the link from being read, so the other
//!    side's outbox fills. No role ever waits for another: `send` returns at once, so nothing can wait in a circle.
//! 7. Entries tell each other what their clients want and offer ([`interest`]) and send each other the calls, and the events that do
//!    not go by the log.
//!    What clients ask of all sessions, subscriptions and registrations they ask each other ([`view`]).
//! 8. Whoever has the key may [`ask`] a process how it is, without being one of them: [`status`], which each role leaves on a
//!    [`board`] while it works, so that one that hangs can be told from one that is well.
//! 9. What is old goes from all storages alike ([`retention`]).
//!
//! Left out on purpose: what the roles say and when (`queue`), and reading `cluster.toml` (`cli::config::cluster`).

mod accept;
pub mod ask;
mod block_file;
pub mod board;
pub mod config;
pub mod counts;
mod dial;
pub mod entry;
pub mod frame;
pub mod fresh;
mod greet;
pub mod handshake;
pub mod inbox;
pub mod interest;
pub mod line;
mod link;
pub mod mesh;
pub mod metrics;
pub mod ndb;
pub mod overview;
pub mod process;
pub mod promises;
mod pulse;
pub mod retention;
mod seat;
pub mod status;
pub mod sync;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod view;
