//! Reading with one large buffer per thread.
//!
//! A connection that waits owns no buffer: it reads into its thread's, handles what came, and keeps only the beginning of a
//! packet that is not complete. A packet larger than a read gets a buffer of its own, from which its payload is shared.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes asked of the socket at a time.
pub const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// The unread part of one connection's input.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    partial: BytesMut,
    /// Length that the partial packet will have, if known.
    needs: usize,
    /// Less is read at a time than could be; 0: as much as can be.
    read_bytes_max: usize,
}

/// What a read brought.
pub struct Chunk {
    /// The kept part and what came, as one piece.
    pub bytes: Bytes,
    /// Bytes that came.
    pub read: usize,
}

impl ReadBuffer {
    /// Has no more than this read at a time, but for packets that are larger.
    pub fn read_at_most(&mut self, bytes: usize) {
        self.read_bytes_max = bytes.clamp(1, READ_BYTES);
    }

    /// Reads once. `None` is the end of the stream.
    pub fn poll_read<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<Option<Chunk>>> {
        if self.needs > READ_BYTES {
            return self.poll_read_large(io, cx);
        }
        SHARED.with_borrow_mut(|shared| {
            shared.clear();
            let limit = if self.read_bytes_max == 0 { READ_BYTES } else { self.read_bytes_max };
            shared.reserve(self.partial.len() + limit);
            shared.extend_from_slice(&self.partial);
            let read = ready!(poll_read_into(io, cx, shared, limit))?;
            if read == 0 {
                return Poll::Ready(Ok(None));
            }
            self.partial = BytesMut::new();
            Poll::Ready(Ok(Some(Chunk { bytes: shared.split().freeze(), read })))
        })
    }

    /// Reads into the packet's own buffer, and hands it over only when it is complete.
    fn poll_read_large<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<Option<Chunk>>> {
        let mut total = 0;
        loop {
            let missing = self.needs.saturating_sub(self.partial.len());
            if missing == 0 {
                self.needs = 0;
                return Poll::Ready(Ok(Some(Chunk { bytes: self.partial.split().freeze(), read: total })));
            }
            // Room for the packet as it comes, not for what its header claims.
            let room = missing.min(self.partial.len().max(READ_BYTES));
            self.partial.reserve(room);
            let read = ready!(poll_read_into(io, cx, &mut self.partial, room))?;
            if read == 0 {
                return Poll::Ready(Ok(None));
            }
            total += read;
        }
    }

    /// Takes what is kept, to be handled although nothing more came.
    pub fn take(&mut self) -> Bytes {
        self.needs = 0;
        self.partial.split().freeze()
    }

    /// Keeps the rest of a chunk for the next read. `needs`: the length of the packet that it begins, if known.
    pub fn keep(&mut self, rest: &[u8], needs: usize) {
        self.needs = needs;
        if !rest.is_empty() {
            self.partial.extend_from_slice(rest);
        }
    }
}

fn poll_read_into<I: AsyncRead + Unpin>(
    io: &mut I,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
    limit: usize,
) -> Poll<std::io::Result<usize>> {
    let mut room = buffer.limit(limit);
    // SAFETY: `ReadBuf` takes uninitialized memory and never un-initializes it; `advance_mut` is told exactly what it filled.
    let spare = unsafe { room.chunk_mut().as_uninit_slice_mut() };
    let mut read = ReadBuf::uninit(spare);
    ready!(Pin::new(io).poll_read(cx, &mut read))?;
    let filled = read.filled().len();
    unsafe { room.advance_mut(filled) };
    Poll::Ready(Ok(filled))
}
