//! The WAMP gate.
//!
//! - [`message`]: the messages of WAMP v2, decoded and encoded.

pub mod message;
