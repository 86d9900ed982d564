//! As much of NATS' text protocol as it takes to publish to JetStream and to hear that a message is stored.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::load::{Fed, Source};
use crate::payload::{self, MARK_BYTES, Shape, letters};
use crate::tracker::Faults;

/// Longest wait until the cluster has its leaders and the stream.
const STREAM: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_millis(500);
const BATCH_BYTES: usize = 128 * 1024;
/// Each message on three disks; kept whatever comes.
const CONFIG: &str = r#"{"name":"BENCH","subjects":["bench.*"],"retention":"limits","storage":"file","num_replicas":3,"max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"discard":"old"}"#;

/// Connects; a publisher hears its acknowledgements.
pub fn connect(addr: SocketAddr, publisher: Option<u16>) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STREAM))?;
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    input.read_line(&mut line)?;
    stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?;
    if let Some(publisher) = publisher {
        write!(stream, "SUB _INBOX.{publisher}.* 1\r\n")?;
    }
    stream.write_all(b"PING\r\n")?;
    loop {
        line.clear();
        input.read_line(&mut line)?;
        match line.trim_end() {
            "PONG" => return Ok(stream),
            "PING" => stream.write_all(b"PONG\r\n")?,
            other => return Err(io::Error::other(format!("nats-server says {other:?}"))),
        }
    }
}

/// Makes the stream, and waits until all its replicas are there.
pub fn make_stream(addr: SocketAddr) -> io::Result<()> {
    let begin = Instant::now();
    let mut said = String::new();
    for (subject, body, done) in
        [("$JS.API.STREAM.CREATE.BENCH", CONFIG, "\"leader\""), ("$JS.API.STREAM.INFO.BENCH", "", "\"current\":true")]
    {
        loop {
            // Without a leader nobody answers.
            let answer = request(addr, subject, body).unwrap_or_else(|error| error.to_string());
            // The leader is not among the replicas.
            let wanted = if body.is_empty() { 2 } else { 1 };
            if answer.matches(done).count() >= wanted {
                break;
            }
            said = answer;
            if begin.elapsed() > STREAM {
                return Err(io::Error::other(format!("there is no stream: {said}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    drop(said);
    Ok(())
}

fn request(addr: SocketAddr, subject: &str, body: &str) -> io::Result<String> {
    let mut stream = connect(addr, Some(0))?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "PUB {subject} _INBOX.0.request {}\r\n{body}\r\n", body.len())?;
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("MSG ") {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let bytes = line.trim_end().rsplit(' ').next().and_then(|bytes| bytes.parse().ok());
    let mut answer = vec![0; bytes.ok_or_else(|| unexpected(line.as_bytes()))?];
    input.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Publishes of one publisher, each with an inbox of its own for the acknowledgement: `_INBOX.<publisher>.<number in letters>`.
pub struct NatsSource {
    buffer: Vec<u8>,
    packet_bytes: usize,
    inbox_at: usize,
    mark_at: usize,
    publisher: u16,
    next: u32,
    next_ack: u32,
    filled_bytes: usize,
    faults: Faults,
}

impl NatsSource {
    pub fn new(publisher: u16, shape: Shape) -> Self {
        let head = format!("PUB bench.{publisher} _INBOX.{publisher}.");
        let mut packet = format!("{head}aaaaaaaa {}\r\n", payload::SIZE).into_bytes();
        let payload_at = packet.len();
        packet.extend(shape.template(publisher));
        packet.extend(b"\r\n");
        Self {
            buffer: packet.repeat(BATCH_BYTES / packet.len()),
            packet_bytes: packet.len(),
            inbox_at: head.len(),
            mark_at: payload_at + shape.mark_at(),
            publisher,
            next: 0,
            next_ack: 0,
            filled_bytes: 0,
            faults: Faults::default(),
        }
    }

    fn acknowledged(&mut self, subject: &str, body: &[u8]) -> io::Result<()> {
        if !body.windows(6).any(|bytes| bytes == b"\"seq\":") {
            return Err(unexpected(body));
        }
        self.faults.acks_reordered += u64::from(!subject.as_bytes().ends_with(&letters(self.next_ack)));
        self.next_ack += 1;
        Ok(())
    }
}

impl Source for NatsSource {
    fn fill(&mut self, count: usize) -> usize {
        let mut filled = 0;
        for packet in self.buffer.chunks_exact_mut(self.packet_bytes).take(count) {
            packet[self.inbox_at..self.inbox_at + 8].copy_from_slice(&letters(self.next));
            packet[self.mark_at..self.mark_at + MARK_BYTES].copy_from_slice(&payload::mark(self.publisher, self.next));
            self.next += 1;
            filled += 1;
        }
        self.filled_bytes = filled * self.packet_bytes;
        filled
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled_bytes]
    }

    fn feed(&mut self, input: &[u8], replies: &mut Vec<u8>) -> io::Result<Fed> {
        let mut fed = Fed::default();
        while let Some(line_bytes) = memchr::memmem::find(&input[fed.consumed..], b"\r\n") {
            let line = &input[fed.consumed..fed.consumed + line_bytes];
            let mut end = fed.consumed + line_bytes + 2;
            let text = std::str::from_utf8(line).map_err(|_| unexpected(line))?;
            // Of what came over a route an empty name of who is to answer may be left.
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            match words[..] {
                ["MSG", subject, _, bytes] => {
                    let bytes: usize = bytes.parse().map_err(|_| unexpected(line))?;
                    let Some(body) = input.get(end..end + bytes + 2) else { return Ok(fed) };
                    self.acknowledged(subject, &body[..bytes])?;
                    end += bytes + 2;
                    fed.acked += 1;
                }
                ["PING"] => replies.extend(b"PONG\r\n"),
                ["PONG"] | ["+OK"] => {}
                _ if text.starts_with("INFO ") => {}
                _ => return Err(unexpected(line)),
            }
            fed.consumed = end;
        }
        Ok(fed)
    }

    fn faults(&self) -> Faults {
        self.faults
    }
}

#[cold]
fn unexpected(bytes: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    io::Error::other(format!("unexpected answer of nats-server: {text}"))
}
