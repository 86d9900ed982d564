//! One transport: messages into a pipe and out of it, one request at a time each way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};
use tokio::time::Instant;

use super::Protocol;
use crate::http::answer::Failure;
use crate::net::websocket::frame::{self, OPCODE_BINARY, OPCODE_CLOSE, OPCODE_TEXT};

/// Messages that may wait for those before them. A client that sends one after the other has one.
const SENDS_MAX: usize = 16;
/// A batch takes no further messages when it has so many bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// See the module.
pub struct Transport {
    pub protocol: Protocol,
    writer: Arc<AsyncMutex<WriteHalf<DuplexStream>>>,
    sends: Semaphore,
    reader: AsyncMutex<Reader>,
    /// Numbers those who receive: who comes last takes the place of those who wait.
    receivers: AtomicU64,
    newest: watch::Sender<u64>,
    /// Nothing more will be received.
    over: watch::Sender<bool>,
    heard: Mutex<Heard>,
}

struct Reader {
    pipe: ReadHalf<DuplexStream>,
    buffer: BytesMut,
    over: bool,
}

/// When the client last asked for something.
struct Heard {
    at: Instant,
    under_way: usize,
}

/// The transport is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// A request for a transport, until it is dropped.
pub struct Visit<'t>(&'t Transport);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut heard = self.0.heard.lock();
        heard.under_way -= 1;
        heard.at = Instant::now();
    }
}

impl Transport {
    pub fn new(pipe: DuplexStream, protocol: Protocol) -> Self {
        let (reader, writer) = tokio::io::split(pipe);
        Self {
            protocol,
            writer: Arc::new(AsyncMutex::new(writer)),
            sends: Semaphore::new(SENDS_MAX),
            reader: AsyncMutex::new(Reader { pipe: reader, buffer: BytesMut::new(), over: false }),
            receivers: AtomicU64::new(0),
            newest: watch::Sender::new(0),
            over: watch::Sender::new(false),
            heard: Mutex::new(Heard { at: Instant::now(), under_way: 0 }),
        }
    }

    /// Says that the client is there.
    pub fn visit(&self) -> Visit<'_> {
        self.heard.lock().under_way += 1;
        Visit(self)
    }

    /// Ready when nobody has asked for anything for as long as `idle`.
    pub async fn forgotten(&self, idle: Duration) {
        loop {
            let until = {
                let heard = self.heard.lock();
                if heard.under_way > 0 { Instant::now() + idle } else { heard.at + idle }
            };
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Ready when the client has received all that there was.
    pub async fn drained(&self) {
        // An error says that the transport is gone.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Hands a message to the session, behind those that were sent before; waits as long as the session does not take it.
    ///
    /// # Errors
    /// Too many wait already, the transport is over, or text is none.
    pub async fn send(&self, body: &Bytes) -> Result<(), Failure> {
        if self.protocol.text && std::str::from_utf8(body).is_err() {
            return Err(Failure::Invalid("the body is no UTF-8".to_owned()));
        }
        if *self.over.borrow() {
            return Err(Failure::NoTransport);
        }
        let _place = self.sends.try_acquire().map_err(|_| Failure::TooManySends)?;
        let mut frame = BytesMut::with_capacity(body.len() + 14);
        let opcode = if self.protocol.text { OPCODE_TEXT } else { OPCODE_BINARY };
        frame::append_client_message(opcode, body, &mut frame);
        let mut writer = self.writer.clone().lock_owned().await;
        // In a task of its own, so that a client that breaks off does not leave half a message.
        let written = tokio::spawn(async move { writer.write_all(&frame).await }).await;
        match written {
            Ok(Ok(())) => Ok(()),
            _ => Err(Failure::NoTransport),
        }
    }

    /// The next message, or batch of messages. `None`: there was none for as long as `patience`, or a later request takes its
    /// place, or the client closed the transport meanwhile.
    ///
    /// # Errors
    /// There will be none any more.
    pub async fn receive(&self, patience: Duration) -> Result<Option<Bytes>, Gone> {
        if *self.over.borrow() {
            return Err(Gone);
        }
        let number = self.receivers.fetch_add(1, Ordering::Relaxed) + 1;
        self.newest.send_if_modified(|newest| std::mem::replace(newest, number.max(*newest)) < number);
        let (mut newest, mut over) = (self.newest.subscribe(), self.over.subscribe());
        let received = async {
            let mut reader = self.reader.lock().await;
            let message = reader.next(self.protocol.batched).await;
            if reader.over {
                self.over.send_replace(true);
            }
            drop(reader);
            if message.is_none() {
                // The other end need not wait for it.
                self.hang_up().await;
            }
            message
        };
        tokio::select! {
            biased;
            message = received => message.map(Some).ok_or(Gone),
            _ = newest.wait_for(|newest| *newest > number) => Ok(None),
            _ = over.wait_for(|over| *over) => Ok(None),
            () = tokio::time::sleep(patience) => Ok(None),
        }
    }

    /// Ends it. What was sent before is still handled.
    pub async fn close(&self) {
        self.over.send_replace(true);
        self.hang_up().await;
    }

    async fn hang_up(&self) {
        // It cannot fail on this side of a pipe, and nobody would be there to be told.
        let _ = self.writer.lock().await.shutdown().await;
    }
}

impl Reader {
    /// Waits for a message. It may be given up at any time: what was read is kept. `None`: it is over.
    async fn next(&mut self, batched: bool) -> Option<Bytes> {
        loop {
            if let Some(message) = self.take(batched) {
                return Some(message);
            }
            if self.over || !matches!(self.pipe.read_buf(&mut self.buffer).await, Ok(1..)) {
                self.over = true;
                return None;
            }
        }
    }

    /// What was read of messages, and of a batch what can be read without waiting.
    fn take(&mut self, batched: bool) -> Option<Bytes> {
        let first = self.take_one()?;
        if !batched {
            return Some(first);
        }
        let mut batch = BytesMut::from(first);
        while batch.len() < BATCH_BYTES {
            match self.take_one() {
                Some(message) => batch.extend_from_slice(&message),
                None if self.over => break,
                None => {
                    let more = self.pipe.read_buf(&mut self.buffer).now_or_never();
                    if !matches!(more, Some(Ok(1..))) {
                        break;
                    }
                }
            }
        }
        Some(batch.freeze())
    }

    fn take_one(&mut self) -> Option<Bytes> {
        while let Some((opcode, payload)) = frame::split(&mut self.buffer) {
            match opcode {
                OPCODE_TEXT | OPCODE_BINARY => return Some(payload),
                OPCODE_CLOSE => {
                    self.over = true;
                    return None;
                }
                _ => {}
            }
        }
        None
    }
}
