//! Where connections are taken: ports, and the loop that spreads what comes over the workers.
//!
//! The loop does as little per connection as can be: it accepts, takes a seat and hands the socket on. The rest is done by the
//! worker.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::proxy::{self, is_trusted};
use super::seats::{Seat, Seats};
use super::stream::Stream;
use super::tls::Tls;
use super::workers::Workers;
use crate::node::metrics::Protocol;
use crate::types::network::Network;
use crate::types::peer::Peer;

/// Connections that the system completes before they are accepted; it may cut this (Linux: `net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// Pause when the system has no file descriptor or memory for a connection: until some are free, trying costs only time.
const PAUSE: Duration = Duration::from_millis(100);

/// A port that cannot be had; the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{address} is in use already: another program, or another fennec, listens there")]
    InUse { address: SocketAddr },
    #[error("not allowed to listen on {address}: ports below 1024 take privileges")]
    NotAllowed { address: SocketAddr },
    #[error("{address} is no address of this machine")]
    NotHere { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Other { address: SocketAddr, source: io::Error },
}

/// A port that is taken, and from which nothing is accepted yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Connections of a listener that begin with a PROXY header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxying {
    /// From whom it is believed; others are refused.
    pub trusted: Arc<[Network]>,
    /// A certificate that the proxy says it verified counts as one.
    pub certificates: bool,
}

/// What becomes of the connections of one listener.
pub struct Door {
    /// As which they count.
    pub protocol: Protocol,
    pub tls: Option<Tls>,
    pub proxy: Option<Proxying>,
    /// Who says for whom it connects, by whatever means: not counted itself.
    pub proxies: Arc<[Network]>,
    pub seats: Arc<Seats>,
    pub workers: Arc<Workers>,
}

impl Listener {
    /// Takes a port; port 0 is any that is free. To be called within a tokio runtime, the one that [`Listener::serve`] will
    /// run on.
    ///
    /// # Errors
    /// Each names the address.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        listen(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            io::ErrorKind::PermissionDenied => BindError::NotAllowed { address },
            io::ErrorKind::AddrNotAvailable => BindError::NotHere { address },
            _ => BindError::Other { address, source },
        })
    }

    /// The address, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, as soon as there is one.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "cannot accept connections");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Accepts until `stop` is ready. Each connection runs the future that `connection` makes of its socket (after the TLS
    /// handshake, if there is one), on the worker whose turn it is.
    pub async fn serve<F>(
        self,
        door: Door,
        connection: impl Fn(Stream) -> F + Clone + Send + 'static,
        stop: impl Future<Output = ()>,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let accept = async {
            loop {
                let (socket, peer) = self.accept().await;
                if door.hand_on(socket, peer, &connection)
                    && let Some(pause) = door.seats.pause()
                {
                    // The others wait in the system's queue.
                    tokio::time::sleep(pause).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = accept => {}
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<Listener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that a restart need not wait until old connections are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let socket = socket.listen(BACKLOG)?;
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}

/// Errors of a connection that was lost before it was accepted; the next may be well (accept(2), Error handling).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

impl Door {
    /// Whether the connection was taken.
    fn hand_on<F>(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        connection: &(impl Fn(Stream) -> F + Clone + Send + 'static),
    ) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // A proxy's connections are counted for those who come by it.
        let address = Some(peer.ip()).filter(|address| !is_trusted(&self.proxies, *address));
        let Some(seat) = self.seats.take(self.protocol, address) else { return false };
        // Out of this thread's runtime, so that only the worker's wakes it.
        let Ok(socket) = socket.into_std() else { return true };
        let connection = connection.clone();
        if self.tls.is_none() && self.proxy.is_none() {
            self.workers.spawn(async move {
                if let Ok(stream) = adopt(socket, peer, seat) {
                    connection(stream).await;
                }
            });
            return true;
        }
        let entry = Entry {
            tls: self.tls.clone(),
            proxy: self.proxy.clone(),
            seats: self.seats.clone(),
            protocol: self.protocol,
        };
        self.workers.spawn(async move {
            if let Ok(stream) = adopt(socket, peer, seat)
                && let Some(stream) = entry.enter(stream).await
            {
                // A task of its own, so that the handshake's memory is not kept as long as the connection.
                tokio::spawn(connection(stream));
            }
        });
        true
    }
}

/// What a connection goes through before its protocol begins.
struct Entry {
    tls: Option<Tls>,
    proxy: Option<Proxying>,
    seats: Arc<Seats>,
    protocol: Protocol,
}

impl Entry {
    async fn enter(&self, stream: Stream) -> Option<Stream> {
        let peer = stream.peer().clone();
        let timeout = Duration::from_secs(self.seats.node().limits.handshake_timeout_s.into());
        let entered = tokio::time::timeout(timeout, self.layers(stream)).await;
        let failed = |what: &'static str, error: io::Error| {
            self.seats.node().metrics.of(self.protocol).handshake_failures.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, %error, "{what} failed");
        };
        match entered {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err((what, error))) => {
                failed(what, error);
                None
            }
            Err(_) => {
                failed("handshake", io::ErrorKind::TimedOut.into());
                None
            }
        }
    }

    async fn layers(&self, mut stream: Stream) -> Result<Stream, (&'static str, io::Error)> {
        if let Some(proxying) = &self.proxy {
            stream = proxy::enter(stream, proxying).await.map_err(|error| ("PROXY header", error))?;
        }
        match &self.tls {
            Some(tls) => tls.accept(stream).await.map_err(|error| ("TLS handshake", error)),
            None => Ok(stream),
        }
    }
}

/// Makes a socket known to the runtime of this thread.
fn adopt(socket: std::net::TcpStream, peer: SocketAddr, seat: Seat) -> io::Result<Stream> {
    // Without it small frames wait for the acknowledgement of those before.
    socket.set_nodelay(true)?;
    Ok(Stream::tcp(TcpStream::from_std(socket)?, Peer::direct(peer), seat))
}
