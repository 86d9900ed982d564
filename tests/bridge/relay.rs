//! The network between the two brokers: it can be cut, in silence or not, and lead elsewhere.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// They are carried to this port.
    To(u16),
    /// Connections end, and nobody listens.
    Cut,
    /// They are carried nowhere, and nobody is told.
    Silent,
}

/// See the module. Ends when dropped.
pub struct Relay {
    port: u16,
    link: Arc<watch::Sender<Link>>,
    _runtime: Runtime,
}

impl Relay {
    /// A relay to a port.
    pub fn to(port: u16) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a port");
        let own = listener.local_addr().expect("its address").port();
        let link = Arc::new(watch::Sender::new(Link::To(port)));
        runtime.spawn(accept(listener, link.clone()));
        Self { port: own, link, _runtime: runtime }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections, and lets none in.
    pub fn cut(&self) {
        self.link.send_replace(Link::Cut);
    }

    /// Carries nothing any more; connections stay.
    pub fn silence(&self) {
        self.link.send_replace(Link::Silent);
    }

    /// Leads to this port from now on.
    pub fn lead(&self, port: u16) {
        self.link.send_replace(Link::To(port));
    }
}

async fn accept(listener: TcpListener, link: Arc<watch::Sender<Link>>) {
    while let Ok((near, _)) = listener.accept().await {
        let Link::To(port) = *link.borrow() else { continue };
        let ways = [link.subscribe(), link.subscribe()];
        tokio::spawn(carry_both(near, port, ways));
    }
}

async fn carry_both(near: TcpStream, port: u16, [there, back]: [watch::Receiver<Link>; 2]) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    // When one way ends, so does the other.
    tokio::select! {
        () = carry(near_read, far_write, there, port) => {}
        () = carry(far_read, near_write, back, port) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>, port: u16) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let now = *link.borrow_and_update();
        match now {
            Link::To(own) if own == port => {}
            Link::Silent => {
                if link.changed().await.is_err() {
                    return;
                }
                // What was on its way is lost with the connection.
                continue;
            }
            Link::To(_) | Link::Cut => return,
        }
        tokio::select! {
            read = from.read(&mut bytes) => match read {
                Ok(count) if count > 0 => {
                    let is_whole = *link.borrow() == now;
                    if is_whole && to.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            changed = link.changed() => if changed.is_err() { return },
        }
    }
}
