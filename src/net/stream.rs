//! A connection's socket, plain or TLS: one type, so that the code above it exists once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ProtocolVersion, ServerConnection};
use tokio_rustls::server::TlsStream;

use super::seats::Seat;
use super::tls::Cut;
use super::x509;
use crate::types::peer::{Peer, PeerTls};

/// A connection's socket. As long as it lives, the connection counts.
pub struct Stream {
    io: Io,
    peer: Arc<Peer>,
    cut: Option<Arc<Cut>>,
    seat: Seat,
}

enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Between two threads.
    Away(std::net::TcpStream),
    /// It could not be taken along.
    Lost,
}

/// What a connection's bytes go through.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Whether it can be moved to another thread's runtime.
    fn can_move(&self) -> bool {
        false
    }
}

/// A pipe within the process.
impl Socket for tokio::io::DuplexStream {}

impl Socket for Stream {
    /// TLS sockets stay: nothing takes them apart and puts them together again.
    fn can_move(&self) -> bool {
        matches!(self.io, Io::Tcp(_))
    }
}

impl Stream {
    /// A plain socket.
    pub fn tcp(io: TcpStream, peer: Arc<Peer>, seat: Seat) -> Self {
        Self { io: Io::Tcp(io), peer, cut: None, seat }
    }

    /// The same connection after a TLS handshake, and the certificates that the client showed.
    ///
    /// # Errors
    /// The handshake failed, or the connection speaks TLS already.
    pub(super) async fn secure(self, acceptor: TlsAcceptor) -> io::Result<(Self, Vec<CertificateDer<'static>>)> {
        let Io::Tcp(tcp) = self.io else { return Err(io::ErrorKind::InvalidInput.into()) };
        let tls = acceptor.accept(tcp).await?;
        let chain = tls.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let peer = Arc::new(Peer { tls: Some(peer_tls(tls.get_ref().1)), ..Peer::clone(&self.peer) });
        Ok((Self { io: Io::Tls(Box::new(tls)), peer, ..self }, chain))
    }

    /// The plain socket, before anything else was made of it.
    ///
    /// # Errors
    /// The connection speaks TLS already.
    pub(super) fn socket(&mut self) -> io::Result<&mut TcpStream> {
        match &mut self.io {
            Io::Tcp(tcp) => Ok(tcp),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// A trusted proxy said for whom it connects.
    ///
    /// # Errors
    /// From there come as many connections as may, or too fast.
    pub(super) fn set_peer(&mut self, peer: Arc<Peer>) -> io::Result<()> {
        let counted = self.seat.count(peer.address.ip());
        self.peer = peer;
        counted.then_some(()).ok_or_else(|| io::Error::other("its address has as many connections as it may"))
    }

    /// Lets the connection be ended from elsewhere.
    pub(super) fn cut_by(&mut self, cut: Arc<Cut>) {
        self.cut = Some(cut);
    }

    /// Whether nobody ended the connection meanwhile.
    fn check_cut(&self, cx: &Context<'_>) -> io::Result<()> {
        let Some(cut) = &self.cut else { return Ok(()) };
        cut.waker.register(cx.waker());
        if cut.is_done() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Leaves the runtime of this thread.
    ///
    /// # Errors
    /// The system refuses; the connection is lost.
    pub fn depart(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.io, Io::Lost) {
            Io::Tcp(tcp) => self.io = Io::Away(tcp.into_std()?),
            other => self.io = other,
        }
        Ok(())
    }

    /// Comes to the runtime of this thread, after [`Stream::depart`].
    ///
    /// # Errors
    /// The system refuses; the connection is lost.
    pub fn arrive(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.io, Io::Lost) {
            Io::Away(tcp) => self.io = Io::Tcp(TcpStream::from_std(tcp)?),
            other => self.io = other,
        }
        Ok(())
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }
}

/// The label of RFC 9266, 2; its context is empty.
const CHANNEL_BINDING: &[u8] = b"EXPORTER-Channel-Binding";

fn peer_tls(tls: &ServerConnection) -> PeerTls {
    let verified = tls.peer_certificates().and_then(|chain| chain.first());
    // Before 1.3 it is bound to the channel only with an extension that rustls does not tell of (RFC 9266, 4.2).
    let exports = tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let exported = exports.then(|| tls.export_keying_material([0; 32], CHANNEL_BINDING, Some(&[])));
    PeerTls {
        certificate: verified.map(|der| Arc::new(x509::certificate(der))),
        exporter: exported.and_then(Result::ok),
        server_name: tls.server_name().map(Arc::from),
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        match &mut self.io {
            Io::Tcp(io) => Pin::new(io).poll_read(cx, into),
            Io::Tls(io) => Pin::new(io).poll_read(cx, into),
            Io::Away(_) | Io::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        match &mut self.io {
            Io::Tcp(io) => Pin::new(io).poll_write(cx, bytes),
            Io::Tls(io) => Pin::new(io).poll_write(cx, bytes),
            Io::Away(_) | Io::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        match &mut self.io {
            Io::Tcp(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Io::Away(_) | Io::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
            Io::Away(_) | Io::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
            Io::Away(_) | Io::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}
