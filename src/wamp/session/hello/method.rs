//! The ways in which a WAMP client proves who it is.

use crate::node::users::{ANONYMOUS, Method};

/// WAMP, Authentication Methods; by the names in HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthMethod {
    Anonymous,
    Ticket,
    WampCra,
    /// As the specification has it.
    WampScram,
    /// As Autobahn speaks it.
    Scram,
    Cryptosign,
    /// A client certificate.
    Tls,
    /// The cookie that the WebSocket was opened with.
    Cookie,
    Jwt,
}

impl AuthMethod {
    const ALL: [Self; 9] = [
        Self::Anonymous,
        Self::Ticket,
        Self::WampCra,
        Self::WampScram,
        Self::Scram,
        Self::Cryptosign,
        Self::Tls,
        Self::Cookie,
        Self::Jwt,
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => ANONYMOUS,
            Self::Ticket => "ticket",
            Self::WampCra => "wampcra",
            Self::WampScram => "wamp-scram",
            Self::Scram => "scram",
            Self::Cryptosign => "cryptosign",
            Self::Tls => "tls",
            Self::Cookie => "cookie",
            Self::Jwt => "jwt",
        }
    }

    /// What of a user it is checked against.
    pub fn factor(self) -> Option<Method> {
        match self {
            Self::Ticket => Some(Method::Password),
            Self::WampCra => Some(Method::WampCra),
            Self::WampScram | Self::Scram => Some(Method::Scram),
            Self::Cryptosign => Some(Method::Cryptosign),
            Self::Tls => Some(Method::Tls),
            Self::Anonymous | Self::Cookie | Self::Jwt => None,
        }
    }
}
