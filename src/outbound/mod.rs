//! What leaves the broker over networks that fail: webhook services, uplinks, bridges to other brokers.
//!
//! ```text
//! log --cursor--> service (HTTP), uplink (WAMP RPC), bridge (MQTT) --> a peer that may be away for days
//! ```
//!
//! Each of them reads the durable log from a cursor that is kept in the log's own state, so that nothing is copied into a queue of
//! its own and nothing is lost while the peer is away. Their rules are state machines without IO; the tasks beside them own
//! sockets and timers.
//!
//! `authenticate` and `authorize` are another matter: they ask others who somebody is and what it may do, and wait for the answer;
//! `post` is how a web server is asked.
//!
//! Left out on purpose: what is owed to sessions of this broker (`delivery`), and the client that connections to other
//! brokers are made with (`client`).

pub mod authenticate;
pub mod authorize;
pub mod bridge;
mod meta;
pub mod path;
pub mod post;
pub mod service;
pub mod uplink;
