//! `fennec`: one broker in which browsers (WAMP) and devices (MQTT) meet.
//!
//! The house, bottom-up. A room uses only rooms on lower floors; rooms on one floor do not know each other
//! (`tests/floors.rs` keeps this).
//!
//! - [`types`]: topics, payloads, ids, limits. Plain data, no rules of any protocol.
//! - [`router`]: who gets an event, who answers a call. Synchronous rules without IO.
//! - [`delivery`]: what is owed to a session: its outbox, what is inflight, its backlog.
//! - [`queue`]: the durable log: advance segments, the roles entry, storage and sync, and the state that the log decides.
//! - [`store`]: where the log and its state are kept: SQLite, PostgreSQL, memory.
//! - [`node`]: the realms of this process, the locks around their routers, the hot path of a publish.
//! - [`net`]: sockets, TLS, WebSocket frames and the loop that moves bytes between them and a session.
//! - [`wamp`], [`mqtt`], [`http`]: the gates. Each translates its wire format to the router's words and back.
//! - [`client`]: the other end of the wire: connections to a broker over MQTT or WAMP. It stands above the gates because it
//!   speaks with their codecs, and below what connects with it.
//! - [`cluster`]: the links between the processes of a cluster: handshake, frames, reconnects.
//! - [`outbound`]: webhook services, uplinks and bridges: what leaves the broker over networks that fail.
//! - [`cli`]: arguments, configuration, one file per subcommand; builds everything and starts it.
//!
//! Invariants:
//!
//! 1. Protocol rules (sessions, router, delivery) are synchronous and take `now` as an argument.
//! 2. No lock is held over an await. Lock order: a realm's broker or dealer, then a session's delivery.
//! 3. Every queue has a bound in [`types::limits`] and a stated answer when full.

// The documentation is for those who work on the code: it may lead to what is private.
#![allow(rustdoc::private_intra_doc_links)]

pub mod cli;
pub mod client;
pub mod cluster;
pub mod delivery;
pub mod http;
pub mod mqtt;
pub mod net;
pub mod node;
pub mod outbound;
pub mod queue;
pub mod router;
pub mod store;
pub mod types;
pub mod wamp;
