//! The other end of the wire: connections to a broker, this one or another, over MQTT or WAMP.
//!
//! ```text
//! command --> Machine (mqtt | wamp) --unit--> Transport (TCP, TLS, WebSocket, RawSocket) --> broker
//!   Event <--                       <--unit--                                             <--
//! ```
//!
//! - [`url`]: where the broker is. [`tls`]: whom to trust. [`backoff`]: when to try again.
//! - [`machine`]: what both protocols can do, in words of neither; [`mqtt`] and [`wamp`] do it, without IO.
//! - [`transport`]: sockets. [`Client`]: a machine and its transport.
//!
//! Topics and procedures are spelt as the protocol in use spells them. After a reconnect, publications that were not
//! acknowledged are sent again; subscriptions and registrations are the caller's to renew. Left out on purpose: topic aliases
//! of its own, extended authentication of MQTT, WAMP's cryptosign and SCRAM.

pub mod backoff;
mod connection;
pub mod machine;
pub mod mqtt;
pub mod tls;
pub mod transport;
pub mod url;
pub mod wamp;

pub use connection::{Client, Target};

/// Why something could not be done, sorted by who must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answers there, or something else does. May pass.
    #[error("cannot connect to {url}: {what}")]
    Unreachable { url: String, what: String },
    /// The connection ended, or the broker is too busy. May pass.
    #[error("{0}")]
    Lost(String),
    /// Login or permission.
    #[error("not authorized: {0}")]
    NotAuthorized(String),
    /// The broker says no, and would say it again.
    #[error("the broker refuses: {0}")]
    Refused(String),
    /// The broker broke the protocol.
    #[error("the broker breaks the protocol: {0}")]
    Violation(String),
    /// The caller asked for what the protocol cannot say, or this broker does not take.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// Whether a later try may succeed.
    pub fn may_pass(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Lost(_))
    }
}
