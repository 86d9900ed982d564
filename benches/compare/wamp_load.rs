//! WAMP (JSON over WebSocket) as the driver speaks it.
//!
//! Requests are pre-encoded as masked frames, each with a masking key of its own, so the broker has to unmask as with
//! real clients; request id and mark are masked while they are patched in. Request ids count from 1 as the
//! specification wants, so frames grow with their digits and are encoded anew at every power of ten.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use crate::load::{Fed, Sink, Source};
use crate::payload::{self, Finder, Shape};
use crate::tracker::{Faults, Tracker};
use crate::websocket::{self, Keys, MASKED_HEADER_BYTES, PING, TEXT, mask, push_masked};

/// Bytes of requests that are written at once.
const BATCH_BYTES: usize = 128 * 1024;
const HELLO: &str = r#"[1,"realm1",{"roles":{"publisher":{},"subscriber":{},"caller":{},"callee":{}}}]"#;

/// Joins the realm as an anonymous session.
pub fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = websocket::connect(addr, "/ws", "wamp.2.json")?;
    ask(&mut stream, HELLO, "[2,")?;
    Ok(stream)
}

/// Subscribes a session that is connected and hears nothing yet.
pub fn subscribe(stream: &mut TcpStream, topic: &str) -> io::Result<()> {
    ask(stream, &format!(r#"[32,1,{{}},"{topic}"]"#), "[33,")
}

/// Registers a procedure.
pub fn register(stream: &mut TcpStream, procedure: &str) -> io::Result<()> {
    ask(stream, &format!(r#"[64,1,{{}},"{procedure}"]"#), "[65,")
}

fn ask(stream: &mut TcpStream, request: &str, answer: &str) -> io::Result<()> {
    let mut frame = Vec::new();
    push_masked(&mut frame, TEXT, request.as_bytes(), Keys::new(1).next_key());
    stream.write_all(&frame)?;
    let answered = websocket::read_text(stream)?;
    match answered.starts_with(answer.as_bytes()) {
        true => Ok(()),
        false => Err(io::Error::other(format!("asked {request}, got {}", String::from_utf8_lossy(&answered)))),
    }
}

/// What a [`WampSource`] sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// PUBLISH without acknowledgement.
    Publish,
    /// CALL; a RESULT completes it.
    Call,
}

/// Requests of one session to one URI.
pub struct WampSource {
    request: Request,
    uri: String,
    publisher: u16,
    shape: Shape,
    keys: Keys,
    buffer: Vec<u8>,
    frame_bytes: usize,
    /// Where the mark stands in the body of a frame.
    mark_at: usize,
    filled_bytes: usize,
    /// The next request id, in digits.
    id: Vec<u8>,
    /// The id has one digit more than the frames in the buffer have room for.
    id_grew: bool,
    next: u32,
    finder: Finder,
    /// Follows the results of calls.
    results: Tracker,
}

impl WampSource {
    pub fn new(publisher: u16, request: Request, uri: &str, shape: Shape) -> Self {
        let mut source = Self {
            request,
            uri: uri.to_string(),
            publisher,
            shape,
            keys: Keys::new(publisher.into()),
            buffer: Vec::new(),
            frame_bytes: 0,
            mark_at: 0,
            filled_bytes: 0,
            id: b"1".to_vec(),
            id_grew: false,
            next: 0,
            finder: Finder::default(),
            results: Tracker::new(usize::from(publisher) + 1),
        };
        source.encode();
        source
    }

    /// Fills the buffer with frames for request ids of the width of `id`.
    fn encode(&mut self) {
        self.id_grew = false;
        let code = if self.request == Request::Publish { "16" } else { "48" };
        let mut body = format!("[{code},").into_bytes();
        body.extend(&self.id);
        body.extend(format!(r#",{{}},"{}",["#, self.uri).as_bytes());
        self.mark_at = body.len() + self.shape.argument_prefix() + self.shape.mark_at();
        body.extend(self.shape.wamp_argument(&self.shape.template(self.publisher)));
        body.extend(b"]]");
        self.buffer.clear();
        push_masked(&mut self.buffer, TEXT, &body, self.keys.next_key());
        self.frame_bytes = self.buffer.len();
        while self.buffer.len() + self.frame_bytes <= BATCH_BYTES {
            push_masked(&mut self.buffer, TEXT, &body, self.keys.next_key());
        }
    }

    /// Counts the request id on; true if it got one digit more.
    fn advance_id(&mut self) -> bool {
        for digit in self.id.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return false;
            }
            *digit = b'0';
        }
        self.id.insert(0, b'1');
        true
    }

    fn note_result(&mut self, body: &[u8]) {
        match self.finder.find(body) {
            Some(mark) => self.results.note(mark.publisher, mark.sequence),
            None => self.results.note_strange(),
        }
    }
}

impl Source for WampSource {
    fn fill(&mut self, count: usize) -> usize {
        if self.id_grew {
            self.encode();
        }
        let mut filled = 0;
        while filled < count && !self.id_grew && (filled + 1) * self.frame_bytes <= self.buffer.len() {
            let frame = &mut self.buffer[filled * self.frame_bytes..][..self.frame_bytes];
            let key = [frame[2], frame[3], frame[4], frame[5]];
            patch(frame, key, 4, &self.id);
            patch(frame, key, self.mark_at, &payload::mark(self.publisher, self.next));
            self.next += 1;
            filled += 1;
            self.id_grew = self.advance_id();
        }
        self.filled_bytes = filled * self.frame_bytes;
        filled
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled_bytes]
    }

    fn feed(&mut self, input: &[u8], replies: &mut Vec<u8>) -> io::Result<Fed> {
        let mut fed = Fed::default();
        while let Some(frame) = websocket::frame(&input[fed.consumed..])? {
            let body = &input[fed.consumed + frame.body_at..fed.consumed + frame.end];
            match (frame.opcode, body) {
                (TEXT, [b'[', b'5', b'0', b',', ..]) if self.request == Request::Call => {
                    self.note_result(body);
                    fed.acked += 1;
                }
                (PING, _) => push_masked(replies, 10, body, self.keys.next_key()),
                _ => return Err(unexpected(body)),
            }
            fed.consumed += frame.end;
        }
        Ok(fed)
    }

    fn faults(&self) -> Faults {
        match self.request {
            Request::Publish => Faults::default(),
            Request::Call => {
                let mut sent = vec![0; usize::from(self.publisher)];
                sent.push(self.next.into());
                self.results.faults(&sent)
            }
        }
    }
}

/// Overwrites bytes in the body of a masked frame.
fn patch(frame: &mut [u8], key: [u8; 4], at: usize, bytes: &[u8]) {
    let place = &mut frame[MASKED_HEADER_BYTES + at..][..bytes.len()];
    place.copy_from_slice(bytes);
    mask(place, key, at);
}

/// Counts events, or answers invocations with their argument.
pub struct WampSink {
    finder: Finder,
    keys: Keys,
    shape: Shape,
    answer: Vec<u8>,
}

impl WampSink {
    pub fn new(shape: Shape) -> Self {
        Self { finder: Finder::default(), keys: Keys::new(7), shape, answer: Vec::new() }
    }

    fn note(&mut self, body: &[u8], tracker: &mut Tracker) -> Option<usize> {
        let Some(mark) = self.finder.find(body) else {
            tracker.note_strange();
            return None;
        };
        tracker.note(mark.publisher, mark.sequence);
        mark.at.checked_sub(self.shape.mark_at())
    }

    /// YIELD with the argument of the INVOCATION.
    fn answer(&mut self, body: &[u8], payload_at: usize, replies: &mut Vec<u8>) -> io::Result<()> {
        let id_bytes = body[4..].iter().position(|byte| *byte == b',').ok_or_else(|| unexpected(body))?;
        let payload = body.get(payload_at..payload_at + payload::SIZE).ok_or_else(|| unexpected(body))?;
        self.answer.clear();
        self.answer.extend(b"[70,");
        self.answer.extend(&body[4..4 + id_bytes]);
        self.answer.extend(b",{},[");
        if self.shape == Shape::Text {
            self.answer.push(b'"');
        }
        self.answer.extend(payload);
        self.answer.extend(if self.shape == Shape::Text { b"\"]]".as_slice() } else { b"]]" });
        push_masked(replies, TEXT, &self.answer, self.keys.next_key());
        Ok(())
    }
}

impl Sink for WampSink {
    fn feed(&mut self, input: &[u8], replies: &mut Vec<u8>, tracker: &mut Tracker) -> io::Result<usize> {
        let mut at = 0;
        while let Some(frame) = websocket::frame(&input[at..])? {
            let body = &input[at + frame.body_at..at + frame.end];
            match (frame.opcode, body) {
                (TEXT, [b'[', b'3', b'6', b',', ..]) => {
                    self.note(body, tracker);
                }
                (TEXT, [b'[', b'6', b'8', b',', ..]) => {
                    let payload_at = self.note(body, tracker).ok_or_else(|| unexpected(body))?;
                    self.answer(body, payload_at, replies)?;
                }
                (PING, _) => push_masked(replies, 10, body, self.keys.next_key()),
                _ => return Err(unexpected(body)),
            }
            at += frame.end;
        }
        Ok(at)
    }
}

#[cold]
fn unexpected(body: &[u8]) -> io::Error {
    let body = &body[..body.len().min(300)];
    io::Error::other(format!("unexpected message from the broker: {}", String::from_utf8_lossy(body)))
}
