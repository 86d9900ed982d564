//! The WAMP gate.
//!
//! ```text
//! frames --serve--> messages --session--> node (publish, subscribe, call)
//! node --wire--> frames in the mailboxes of the sessions they are for
//! ```
//!
//! - [`message`]: the messages of WAMP v2, decoded and encoded.
//! - [`serializer`]: subprotocols, batches, and the frames that messages leave in.
//! - [`rawsocket`]: handshake and frames of WAMP over RawSocket.
//! - [`uri`]: which URIs are valid where.
//! - [`wire`]: events and the messages of calls, encoded for whoever gets them.
//! - [`session`]: what a client may say when, and what it does.
//! - [`serve`]: a session behind a WebSocket or RawSocket, ready for its connection.

pub mod message;
pub mod rawsocket;
pub mod serializer;
pub mod serve;
pub mod session;
pub mod uri;
pub mod wire;
