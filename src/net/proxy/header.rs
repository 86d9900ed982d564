//! What a PROXY header says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[cfg(test)]
mod tests;

/// What version 2 begins with.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, its end included.
pub(super) const V1_BYTES_MAX: usize = 107;
/// Longest header of version 2 that is taken; a certificate has room in it.
pub(super) const V2_BYTES_MAX: usize = 16 * 1024;

/// A connection that does not begin as it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("it does not begin with a PROXY header")]
    NoHeader,
    #[error("the PROXY header is too long")]
    TooLong,
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error("the PROXY header is for a transport that is not TCP")]
    NotTcp,
}

/// For whom a proxy connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// `None`: for itself, or it does not say.
    pub source: Option<SocketAddr>,
    /// The client speaks TLS with the proxy.
    pub tls: Option<Tls>,
}

/// What the proxy says of its client's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    /// The client showed a certificate, and the proxy has verified it.
    pub verified: Option<Verified>,
    /// The name that the client asked for.
    pub server_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verified {
    pub common_name: Option<String>,
    /// The whole certificate.
    pub der: Option<Vec<u8>>,
}

/// Reads a line of version 1, its end included.
pub(super) fn read_v1(line: &[u8]) -> Result<Header, ProxyError> {
    let line =
        std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n")).ok_or(ProxyError::Malformed)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", source, target, from, to] => {
            let of = |text: &str| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
            Some(addresses(of(source), of(target), from, to)?)
        }
        ["PROXY", "TCP6", source, target, from, to] => {
            let of = |text: &str| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
            Some(addresses(of(source), of(target), from, to)?)
        }
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Header { source, tls: None })
}

/// Ports have no sign and no leading zero.
fn addresses(source: Option<IpAddr>, target: Option<IpAddr>, from: &str, to: &str) -> Result<SocketAddr, ProxyError> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    match (source, target, port(from), port(to)) {
        (Some(source), Some(_), Some(from), Some(_)) => Ok(SocketAddr::new(source, from)),
        _ => Err(ProxyError::Malformed),
    }
}

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const AUTHORITY: u8 = 0x02;
const SSL: u8 = 0x20;
const SSL_COMMON_NAME: u8 = 0x22;
const SSL_CERTIFICATE: u8 = 0x28;
/// In the first byte of SSL: the client showed a certificate on this connection, or on one of the same session.
const CERTIFICATE_SHOWN: u8 = 0x02 | 0x04;

/// Reads a header of version 2, from its signature to its end.
pub(super) fn read_v2(header: &[u8]) -> Result<Header, ProxyError> {
    let rest = header.strip_prefix(SIGNATURE).ok_or(ProxyError::NoHeader)?;
    let ([command, transport, high, low], rest) = rest.split_first_chunk::<4>().ok_or(ProxyError::Malformed)?;
    if rest.len() != usize::from(u16::from_be_bytes([*high, *low])) {
        return Err(ProxyError::Malformed);
    }
    let (source, extensions) = match (*command, *transport) {
        (LOCAL, _) => return Ok(Header::default()),
        (PROXY, UNSPECIFIED) => return Ok(Header::default()),
        (PROXY, TCP4) => {
            let (block, rest) = rest.split_first_chunk::<12>().ok_or(ProxyError::Malformed)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *block;
            (SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))), rest)
        }
        (PROXY, TCP6) => {
            let (block, rest) = rest.split_first_chunk::<36>().ok_or(ProxyError::Malformed)?;
            let address: [u8; 16] = std::array::from_fn(|at| block[at]);
            (SocketAddr::from((address, u16::from_be_bytes([block[32], block[33]]))), rest)
        }
        (PROXY, _) => return Err(ProxyError::NotTcp),
        _ => return Err(ProxyError::Malformed),
    };
    let (mut tls, mut server_name) = (None, None);
    let mut extensions = Extensions(extensions);
    while let Some((kind, value)) = extensions.next()? {
        match kind {
            SSL => tls = read_ssl(value)?,
            AUTHORITY => server_name = text(value).map(|name| name.to_ascii_lowercase()),
            _ => {}
        }
    }
    Ok(Header { source: Some(source), tls: tls.map(|tls| Tls { server_name, ..tls }) })
}

/// `None`: the client does not speak TLS.
fn read_ssl(value: &[u8]) -> Result<Option<Tls>, ProxyError> {
    let ([client, verify @ ..], rest) = value.split_first_chunk::<5>().ok_or(ProxyError::Malformed)?;
    if client & 1 == 0 {
        return Ok(None);
    }
    let (mut shown, mut extensions) = (Verified::default(), Extensions(rest));
    while let Some((kind, value)) = extensions.next()? {
        match kind {
            SSL_COMMON_NAME => shown.common_name = text(value),
            SSL_CERTIFICATE => shown.der = Some(value.to_vec()),
            _ => {}
        }
    }
    // What was not verified has another result than 0; so has, for some proxies, what was not shown.
    let verified = client & CERTIFICATE_SHOWN != 0 && *verify == [0; 4];
    Ok(Some(Tls { verified: verified.then_some(shown), server_name: None }))
}

fn text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Type, length and value, one behind the other.
struct Extensions<'h>(&'h [u8]);

impl<'h> Extensions<'h> {
    fn next(&mut self) -> Result<Option<(u8, &'h [u8])>, ProxyError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let ([kind, high, low], rest) = self.0.split_first_chunk::<3>().ok_or(ProxyError::Malformed)?;
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest.split_at_checked(len).ok_or(ProxyError::Malformed)?;
        self.0 = rest;
        Ok(Some((*kind, value)))
    }
}
