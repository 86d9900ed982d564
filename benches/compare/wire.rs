//! A non-blocking connection with its buffers, and the poller that says which of them can go on.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

const READ_BYTES: usize = 256 * 1024;
/// Connections told ready by one wait; the others are by the next.
const EVENTS: usize = 128;

/// One connection. Polled edge-triggered: `readable` and `writable` hold until the kernel says otherwise.
pub struct Wire {
    stream: TcpStream,
    input: Box<[u8]>,
    filled: usize,
    /// Acknowledgements and the like that wait to be written.
    pub replies: Vec<u8>,
    replies_written: usize,
    pub readable: bool,
    pub writable: bool,
}

impl Wire {
    /// Takes over a connection whose handshake is done.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let input = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { stream, input, filled: 0, replies: Vec::new(), replies_written: 0, readable: true, writable: true })
    }

    /// Reads once; the bytes that are there and not consumed yet. An end of stream is an error: no broker may close a
    /// connection of the driver.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        let room = &mut self.input[self.filled..];
        let room_bytes = room.len();
        match self.stream.read(room) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the broker closed a connection")),
            Ok(read) => {
                self.filled += read;
                self.readable = read == room_bytes;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(error) => return Err(error),
        }
        Ok(&self.input[..self.filled])
    }

    /// The unconsumed input and the replies, to be worked on together.
    pub fn input_and_replies(&mut self) -> (&[u8], &mut Vec<u8>) {
        (&self.input[..self.filled], &mut self.replies)
    }

    /// Drops the first `bytes` of the input; what stays is less than one packet.
    pub fn consume(&mut self, bytes: usize) {
        self.input.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }

    /// Writes what it can of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.stream).write(bytes) {
            Ok(written) => {
                self.writable = written == bytes.len();
                Ok(written)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what it can of the replies; true when none are left.
    pub fn flush_replies(&mut self) -> io::Result<bool> {
        if self.replies.is_empty() {
            return Ok(true);
        }
        let replies = std::mem::take(&mut self.replies);
        let written = self.write(&replies[self.replies_written..]);
        self.replies = replies;
        self.replies_written += written?;
        if self.replies_written < self.replies.len() {
            return Ok(false);
        }
        self.replies.clear();
        self.replies_written = 0;
        Ok(true)
    }
}

/// Waits for many connections at once.
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a connection; it will be told by `token`.
    pub fn add(&self, wire: &Wire, token: usize) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, &wire.stream, epoll::EventData::new_u64(token as u64), flags)?)
    }

    /// Watches a bell, which only ends a wait.
    pub fn add_bell(&self, bell: &Bell, token: usize) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, bell.0.as_fd(), epoll::EventData::new_u64(token as u64), flags)?)
    }

    /// Watches a listener.
    pub fn add_listener(&self, listener: &TcpListener, token: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, listener, epoll::EventData::new_u64(token as u64), epoll::EventFlags::IN)?)
    }

    /// Waits at most `timeout`; calls `ready(token, readable, writable)` for each that can go on, and says whether
    /// there was one.
    pub fn wait(&self, timeout: Duration, mut ready: impl FnMut(usize, bool, bool)) -> io::Result<bool> {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let events = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for event in events.iter() {
            let flags = event.flags;
            let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            let readable = broken || flags.contains(epoll::EventFlags::IN);
            ready({ event.data }.u64() as usize, readable, flags.contains(epoll::EventFlags::OUT));
        }
        Ok(!events.is_empty())
    }
}

/// Wakes a poller from another thread.
pub struct Bell(OwnedFd);

impl Bell {
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub fn ring(&self) {
        // A full counter means that the bell rings already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}
