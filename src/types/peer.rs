//! Who is at the other end of a connection, as far as the socket, TLS and trusted proxies tell.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

/// The other end of a connection. Known before its first byte is read; a trusted proxy's word counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's address: what a trusted proxy says, else the socket's.
    pub address: SocketAddr,
    /// The socket's address, if that is a trusted proxy which speaks for others.
    pub proxy: Option<SocketAddr>,
    /// `None`: neither the socket nor a trusted proxy's word for it is TLS.
    pub tls: Option<PeerTls>,
}

/// What TLS tells of the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerTls {
    /// The client's certificate: it was verified, and its owner proved to have the key.
    pub certificate: Option<Arc<Certificate>>,
    /// The channel binding `tls-exporter` (RFC 9266). Only with TLS 1.3, and only if TLS ends here: not behind a proxy.
    pub exporter: Option<[u8; 32]>,
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<Arc<str>>,
}

/// A verified certificate of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The whole, as DER. Empty if it is known only by what a proxy said.
    pub der: Bytes,
    /// The last common name of the subject, which is the most specific one.
    pub common_name: Option<String>,
    /// Subject alternative names, in their order.
    pub names: Vec<CertificateName>,
    /// SHA-256 of the DER. `None` if there is none.
    pub fingerprint: Option<[u8; 32]>,
}

/// A subject alternative name (RFC 5280, 4.2.1.6); kinds not listed are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// In lower case; may begin with `*.`.
    Dns(String),
    Email(String),
    Uri(String),
    Ip(IpAddr),
}

impl Peer {
    /// A plain socket, with no proxy between.
    pub fn direct(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { address, proxy: None, tls: None })
    }

    /// Whether it runs on this machine and speaks for itself.
    pub fn is_local(&self) -> bool {
        self.proxy.is_none() && self.address.ip().to_canonical().is_loopback()
    }

    /// The verified certificate, if there is one.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.tls.as_ref()?.certificate.as_ref()
    }
}

/// For the log: the client, and through whom it comes.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.proxy {
            Some(proxy) => write!(f, "{} (by {proxy})", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_speaks_for_itself_from_this_machine_is_local() {
        let local = |address: &str| Peer::direct(address.parse().unwrap()).is_local();
        assert!(local("127.0.0.1:1") && local("[::1]:1") && local("[::ffff:127.9.9.9]:1"));
        assert!(!local("10.0.0.1:1"));
        let proxied =
            Peer { proxy: "127.0.0.1:7".parse().ok(), ..Peer::clone(&Peer::direct("127.0.0.1:8".parse().unwrap())) };
        assert!(!proxied.is_local(), "a proxy speaks for anybody");
        assert_eq!(proxied.to_string(), "127.0.0.1:8 (by 127.0.0.1:7)");
    }
}
