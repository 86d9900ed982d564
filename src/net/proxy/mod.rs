//! The PROXY protocol, versions 1 and 2 (haproxy.org, "The PROXY protocol"): a proxy says for whom it connects.
//!
//! Only the header is taken from the socket, so that whatever follows, TLS or not, is read as from a direct connection.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::listen::Proxying;
use super::stream::Stream;
use super::x509;
use crate::types::network::Network;
use crate::types::peer::{Certificate, Peer, PeerTls};

mod header;

use header::{Header, ProxyError, SIGNATURE, V1_BYTES_MAX, V2_BYTES_MAX};

/// Reads the header and has the connection be from whom it says.
///
/// # Errors
/// The connection comes from elsewhere than a trusted proxy, or does not begin with a header.
pub(super) async fn enter(mut stream: Stream, proxying: &Proxying) -> io::Result<Stream> {
    if !is_trusted(&proxying.trusted, stream.peer().address.ip()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is none of trusted_proxies"));
    }
    let header = read(stream.socket()?).await?;
    let peer = Arc::new(told(stream.peer(), header, proxying.certificates));
    stream.set_peer(peer)?;
    Ok(stream)
}

/// Whether an address is in one of these networks.
pub fn is_trusted(trusted: &[Network], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

fn told(socket: &Peer, header: Header, certificates: bool) -> Peer {
    let address = header.source.unwrap_or(socket.address);
    let tls = header.tls.map(|tls| {
        let certificate = tls.verified.filter(|_| certificates).map(|client| {
            Arc::new(match client.der {
                Some(der) => x509::certificate(&der),
                None => Certificate { common_name: client.common_name, ..Certificate::default() },
            })
        });
        PeerTls { certificate, exporter: None, server_name: tls.server_name.map(Arc::from) }
    });
    Peer { address, proxy: Some(socket.address), tls }
}

async fn read(socket: &mut TcpStream) -> io::Result<Header> {
    let mut bytes = vec![0; SIGNATURE.len()];
    socket.read_exact(&mut bytes).await?;
    let header = if bytes == SIGNATURE {
        read_v2(socket, &mut bytes).await?;
        header::read_v2(&bytes)
    } else if bytes.starts_with(b"PROXY ") {
        read_v1(socket, &mut bytes).await?;
        header::read_v1(&bytes)
    } else {
        Err(ProxyError::NoHeader)
    };
    header.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

async fn read_v2(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.resize(SIGNATURE.len() + 4, 0);
    socket.read_exact(&mut bytes[SIGNATURE.len()..]).await?;
    let from = bytes.len();
    let len = usize::from(u16::from_be_bytes([bytes[from - 2], bytes[from - 1]]));
    if from + len > V2_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, ProxyError::TooLong));
    }
    bytes.resize(from + len, 0);
    socket.read_exact(&mut bytes[from..]).await.map(|_| ())
}

/// Looks before it reads, for the line may end anywhere.
async fn read_v1(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    while !bytes.ends_with(b"\n") {
        let from = bytes.len();
        if from >= V1_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, ProxyError::TooLong));
        }
        bytes.resize(V1_BYTES_MAX, 0);
        let seen = socket.peek(&mut bytes[from..]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = bytes[from..from + seen].iter().position(|byte| *byte == b'\n').map_or(seen, |at| at + 1);
        bytes.truncate(from + line);
        socket.read_exact(&mut bytes[from..]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Peer {
        Peer::clone(&Peer::direct("10.0.0.1:1".parse().unwrap()))
    }

    #[test]
    fn whoever_comes_by_a_proxy_is_not_local() {
        let says = |source: Option<&str>| {
            let header = Header { source: source.map(|text| text.parse().unwrap()), tls: None };
            let local = Peer::clone(&Peer::direct("127.0.0.1:1".parse().unwrap()));
            told(&local, header, false)
        };
        assert!(!says(Some("127.0.0.1:5")).is_local());
        assert!(!says(None).is_local(), "nor the proxy itself, which asks for itself");
        assert_eq!(says(Some("1.2.3.4:5")).address, "1.2.3.4:5".parse().unwrap());
    }

    #[test]
    fn a_certificate_counts_only_where_that_is_said() {
        let header = || {
            let verified = Some(header::Verified { common_name: Some("press".to_owned()), der: None });
            Header { source: None, tls: Some(header::Tls { verified, server_name: Some("a.example".to_owned()) }) }
        };
        let name = |peer: Peer| peer.certificate().and_then(|certificate| certificate.common_name.clone());
        assert_eq!(name(told(&socket(), header(), true)).as_deref(), Some("press"));
        assert_eq!(name(told(&socket(), header(), false)), None);
    }
}
