//! A socket that counts itself and its bytes for the metrics.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::stream::Stream;
use crate::node::Node;
use crate::node::metrics::{Protocol, Totals};

/// An HTTP connection.
pub struct Counted {
    stream: Stream,
    count: Count,
}

/// Counts one connection, from now until it is dropped.
struct Count {
    node: Arc<Node>,
}

impl Count {
    fn totals(&self) -> &Totals {
        self.node.metrics.of(Protocol::Http)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        add(&self.totals().connections_closed, 1);
    }
}

impl Counted {
    pub fn new(stream: Stream, node: Arc<Node>) -> Self {
        let count = Count { node };
        add(&count.totals().connections_opened, 1);
        Self { stream, count }
    }

    /// The socket, for whoever speaks another protocol on it and counts for itself.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            add(&self.count.totals().bytes_out, *bytes);
        }
        result
    }
}

fn add(total: &AtomicU64, bytes: usize) {
    total.fetch_add(bytes as u64, Ordering::Relaxed);
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, into);
        add(&self.count.totals().bytes_in, into.filled().len() - before);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
