//! A link that fails: a relay between an edge and its centre.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What it does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each piece takes so long.
    Open(Duration),
    /// They vanish, and nobody is told.
    Silent,
    /// All connections end, and there are no new ones.
    Closed,
}

/// Ends with the runtime that it runs on.
pub struct Link {
    pub port: u16,
    /// Where the centre listens now.
    target: Arc<AtomicU16>,
    way: watch::Sender<Way>,
}

impl Link {
    pub fn new(runtime: &Handle, target: u16) -> Self {
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let target = Arc::new(AtomicU16::new(target));
        let (way, ways) = watch::channel(Way::Open(Duration::ZERO));
        runtime.spawn(relay(listener, target.clone(), ways));
        Self { port, target, way }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    pub fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
    }
}

async fn relay(listener: TcpListener, target: Arc<AtomicU16>, ways: watch::Receiver<Way>) {
    while let Ok((near, _)) = listener.accept().await {
        if *ways.borrow() == Way::Closed {
            continue;
        }
        let (port, ways) = (target.load(Ordering::SeqCst), ways.clone());
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            let mut closed = ways.clone();
            tokio::select! {
                () = carry(near_read, far_write, ways.clone()) => {}
                () = carry(far_read, near_write, ways) => {}
                _ = closed.wait_for(|way| *way == Way::Closed) => {}
            }
        });
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: watch::Receiver<Way>) {
    let mut piece = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut piece).await else { return };
        let now = *way.borrow();
        match now {
            Way::Open(delay) if !delay.is_zero() => tokio::time::sleep(delay).await,
            Way::Open(_) | Way::Closed => {}
            // What came later would not fit to what came before: the connection is dead, but nobody knows.
            Way::Silent => return std::future::pending().await,
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
