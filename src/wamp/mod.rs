//! The WAMP gate.
//!
//! - [`message`]: the messages of WAMP v2, decoded and encoded.
//! - [`serializer`]: subprotocols, batches, and the frames that messages leave in.
//! - [`rawsocket`]: handshake and frames of WAMP over RawSocket.
//! - [`uri`]: which URIs are valid where.

pub mod message;
pub mod rawsocket;
pub mod serializer;
pub mod uri;
