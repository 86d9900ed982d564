//! For whom a proxy asks: the header that trusted ones set or add to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};

use crate::net::proxy::is_trusted;
use crate::types::network::Network;
use crate::types::peer::Peer;

/// The header in which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressHeader {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
    XRealIp,
}

impl AddressHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => FORWARDED,
            Self::XRealIp => HeaderName::from_static("x-real-ip"),
        }
    }

    /// The address in one entry of the header.
    fn address(self, entry: &str) -> Option<SocketAddr> {
        match self {
            Self::XForwardedFor | Self::XRealIp => node(entry),
            Self::Forwarded => {
                let pairs = entry.split(';').filter_map(|pair| pair.split_once('='));
                let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
                let (_, value) = named.next()?;
                node(value.trim().trim_matches('"'))
            }
        }
    }
}

/// An address, perhaps with a port (RFC 7239, 6); a made-up name is none.
fn node(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0))
}

/// Who a request comes from: if its connection is a trusted proxy's, the last address in the header that is not one. What
/// stands before that, anybody may have written.
pub fn client(peer: &Arc<Peer>, headers: &HeaderMap, header: AddressHeader, trusted: &[Network]) -> Arc<Peer> {
    if trusted.is_empty() || !is_trusted(trusted, peer.address.ip()) {
        return peer.clone();
    }
    let values = headers.get_all(header.name());
    let entries: Vec<&str> = values.iter().flat_map(|value| value.to_str().unwrap_or("?").split(',')).collect();
    let mut found = None;
    for entry in entries.iter().rev() {
        // Whoever a proxy cannot or will not name is not whoever stands before it.
        let Some(address) = header.address(entry) else { break };
        found = Some(address);
        if !is_trusted(trusted, address.ip()) {
            break;
        }
    }
    match found {
        Some(address) => {
            let proxy = Some(peer.proxy.unwrap_or(peer.address));
            Arc::new(Peer { address, proxy, ..Peer::clone(peer) })
        }
        None => peer.clone(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    /// The client that a request of `from` with these header lines is believed to be, where 10.0.0.0/8 is trusted.
    fn check(header: AddressHeader, from: &str, lines: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.name(), HeaderValue::from_str(line).unwrap());
        }
        let peer = Peer::direct(SocketAddr::new(from.parse().unwrap(), 7));
        let client = client(&peer, &headers, header, &["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(client.address.to_string(), expected, "{header:?} {lines:?}");
        assert_eq!(client.proxy.is_some(), client.address != peer.address);
    }

    #[test]
    fn the_last_address_that_is_no_proxy_counts() {
        let of = AddressHeader::XForwardedFor;
        check(of, "10.0.0.1", &["1.1.1.1"], "1.1.1.1:0");
        check(of, "10.0.0.1", &["9.9.9.9, 1.1.1.1"], "1.1.1.1:0");
        check(of, "10.0.0.1", &["9.9.9.9, 1.1.1.1, 10.0.0.2"], "1.1.1.1:0");
        check(of, "10.0.0.1", &["9.9.9.9", "1.1.1.1", "10.0.0.2,10.0.0.3"], "1.1.1.1:0");
        check(of, "10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9:0");
        check(of, "10.0.0.1", &["fd00::1"], "[fd00::1]:0");
        check(of, "10.0.0.1", &["[fd00::1]:55"], "[fd00::1]:55");
        check(of, "10.0.0.1", &["1.1.1.1:44"], "1.1.1.1:44");
    }

    #[test]
    fn who_is_not_trusted_says_nothing() {
        check(AddressHeader::XForwardedFor, "11.0.0.1", &["127.0.0.1"], "11.0.0.1:7");
        check(AddressHeader::XForwardedFor, "10.0.0.1", &[], "10.0.0.1:7");
    }

    #[test]
    fn what_cannot_be_read_hides_what_stands_before_it() {
        check(AddressHeader::XForwardedFor, "10.0.0.1", &["127.0.0.1, unknown"], "10.0.0.1:7");
        check(AddressHeader::XForwardedFor, "10.0.0.1", &["127.0.0.1, unknown, 10.0.0.2"], "10.0.0.2:0");
        check(AddressHeader::Forwarded, "10.0.0.1", &["for=127.0.0.1, for=_hidden"], "10.0.0.1:7");
    }

    #[test]
    fn each_header_has_its_own_form() {
        let of = AddressHeader::Forwarded;
        check(of, "10.0.0.1", &["for=9.9.9.9;proto=https, For=1.1.1.1;by=10.0.0.1"], "1.1.1.1:0");
        check(of, "10.0.0.1", &["proto=https;for=\"[2001:db8::17]:4711\""], "[2001:db8::17]:4711");
        check(AddressHeader::XRealIp, "10.0.0.1", &["1.1.1.1"], "1.1.1.1:0");
    }
}
