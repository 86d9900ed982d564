//! A WebSocket machine is offered bytes as they come from a socket; what it says is read back as frames.

mod cases;

use std::sync::mpsc;

use super::*;
use crate::node::authenticate::{Answer, Check};

const NOW_MS: u64 = 1_700_000_000_000;
const TEXT: u8 = 1;

/// Writes down what it is given and answers when it is told to.
struct Script {
    link: Arc<Link>,
    lines: mpsc::Sender<String>,
    /// Its answers, as it puts them out.
    out: Vec<u8>,
    /// The length of its packets, if it reads a stream.
    packet_bytes: usize,
}

impl Script {
    fn new(packet_bytes: usize) -> (Self, mpsc::Receiver<String>) {
        let (lines, written) = mpsc::channel();
        (Self { link: Arc::default(), lines, out: Vec::new(), packet_bytes }, written)
    }

    fn say(&self, line: String) {
        self.lines.send(line).unwrap();
    }

    /// `close` ends the connection, `verify` asks for a check, `echo …` is answered.
    fn follow(&mut self, text: &str) -> Flow {
        if let Some(answer) = text.strip_prefix("echo ") {
            self.out.extend_from_slice(answer.as_bytes());
        }
        match text {
            "close" => Flow::Close,
            "verify" => Flow::Verify(Check::Blocking(Box::new(|| Answer::WRONG))),
            _ => Flow::Continue,
        }
    }
}

impl Machine for Script {
    fn verified(&mut self, answer: Answer, _: u64) -> Flow {
        self.say(format!("verified {}", answer.verdict().is_ok()));
        Flow::Continue
    }

    fn take(&mut self, _: Vec<u8>, _: u64) -> Taken {
        Taken { parts: Default::default(), tail: std::mem::take(&mut self.out) }
    }

    fn may_read(&self) -> bool {
        self.out.len() < 100
    }

    fn must_pause(&mut self) -> bool {
        false
    }

    fn must_wait(&self) -> bool {
        false
    }

    fn deadline_ms(&self) -> Option<u64> {
        None
    }

    fn expired(&mut self, _: u64) -> Flow {
        Flow::Continue
    }

    fn end(&mut self, reason: End, _: u64) {
        self.say(format!("end {reason:?}"));
        self.out.extend_from_slice(b"goodbye");
    }

    fn closed(&mut self, _: u64) {}

    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl MessageGate for Script {
    const FRAMES: bool = false;

    fn message(&mut self, payload: &Bytes, text: bool, _: u64) -> Flow {
        let line = String::from_utf8_lossy(payload).into_owned();
        self.say(format!("{} {line}", if text { "text" } else { "binary" }));
        self.follow(&line)
    }

    fn finish(&mut self, _: u64) -> Flow {
        self.say("finish".to_owned());
        Flow::Continue
    }
}

impl Gate for Script {
    fn receive(&mut self, input: &Bytes, _: u64) -> Received {
        self.say(format!("receive {}", input.len()));
        let (mut consumed, mut flow) = (0, Flow::Continue);
        for packet in input.chunks_exact(self.packet_bytes) {
            consumed += packet.len();
            let line = String::from_utf8_lossy(packet).trim_end().to_owned();
            self.say(line.clone());
            flow = self.follow(&line);
            if !matches!(flow, Flow::Continue) {
                break;
            }
        }
        Received { consumed, needs: self.packet_bytes, silent: false, flow }
    }
}

/// A WebSocket and what its gate wrote down.
struct Desk<G> {
    socket: WebSocket<G>,
    written: mpsc::Receiver<String>,
    /// What was not consumed is offered again.
    rest: Vec<u8>,
}

const KEEPALIVE: Keepalive = Keepalive { interval_ms: 30_000, timeout_ms: 20_000 };

fn desk() -> Desk<Script> {
    let (script, written) = Script::new(0);
    Desk { socket: WebSocket::new(script, 1000, KEEPALIVE, NOW_MS), written, rest: Vec::new() }
}

/// A gate that reads a stream of packets of this length.
fn stream_desk(packet_bytes: usize) -> Desk<Stream<Script>> {
    let (script, written) = Script::new(packet_bytes);
    Desk { socket: WebSocket::new(Stream::new(script), 1_000_000, KEEPALIVE, NOW_MS), written, rest: Vec::new() }
}

impl<G: MessageGate> Desk<G> {
    fn offer(&mut self, bytes: &[u8]) -> Flow {
        self.rest.extend_from_slice(bytes);
        let input = Bytes::from(std::mem::take(&mut self.rest));
        let received = self.socket.receive(&input, NOW_MS);
        self.rest.extend_from_slice(&input[received.consumed..]);
        received.flow
    }

    fn lines(&self) -> Vec<String> {
        self.written.try_iter().collect()
    }

    /// The frames that are to be written: opcode and payload of each.
    fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let taken = self.socket.take(Vec::new(), NOW_MS);
        let parts = taken.parts.iter().map(|part| &part[..]).chain([&taken.tail[..]]);
        read_frames(&parts.collect::<Vec<_>>().concat())
    }

    /// The code and reason of the close frame that comes last.
    fn close_frame(&mut self) -> (u16, String) {
        let (opcode, payload) = self.frames().pop().expect("a frame");
        assert_eq!(opcode, OPCODE_CLOSE);
        let (code, reason) = payload.split_at(2);
        (u16::from_be_bytes([code[0], code[1]]), String::from_utf8(reason.to_vec()).unwrap())
    }
}

fn read_frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(first & 0xF0, 0x80, "whole frames");
        let (len, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            len => (usize::from(*len), rest),
        };
        frames.push((first & 0xF, rest[..len].to_vec()));
        bytes = &rest[len..];
    }
    frames
}

/// A frame as clients send it, with a mask.
fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A whole message.
fn message(opcode: u8, payload: &str) -> Vec<u8> {
    frame(0x80 | opcode, payload.as_bytes())
}

#[test]
fn all_messages_of_one_read_make_one_batch() {
    let mut desk = desk();
    let input: Vec<u8> = (0..100).flat_map(|n| message(TEXT, &format!("echo {n}."))).collect();
    assert!(matches!(desk.offer(&input), Flow::Continue));
    let lines = desk.lines();
    assert_eq!((lines.len(), lines[99].as_str(), lines[100].as_str()), (101, "text echo 99.", "finish"));
    let frames = desk.frames();
    assert_eq!((frames.len(), frames[0].0), (1, OPCODE_BINARY));
    assert!(frames[0].1.starts_with(b"0.1.2.") && frames[0].1.ends_with(b"98.99."));
}

#[test]
fn a_message_may_come_byte_by_byte() {
    let mut desk = desk();
    let lines: Vec<_> = message(OPCODE_BINARY, "hello")
        .iter()
        .flat_map(|byte| {
            assert!(matches!(desk.offer(&[*byte]), Flow::Continue));
            desk.lines()
        })
        .filter(|line| line != "finish")
        .collect();
    assert_eq!(lines, ["binary hello"]);
}

#[test]
fn fragments_are_joined_and_pings_between_them_answered() {
    let mut desk = desk();
    let input = [frame(TEXT, b"hel"), frame(0x89, b"are you there?"), frame(0, b"l"), frame(0x80, b"o")].concat();
    desk.offer(&input);
    assert_eq!(desk.lines(), ["text hello", "finish"]);
    assert_eq!(desk.frames(), [(10, b"are you there?".to_vec())]);
}

#[test]
fn an_answer_and_a_pong_do_not_get_into_each_others_frames() {
    let mut desk = desk();
    desk.offer(&[message(TEXT, "echo x"), frame(0x89, b"ping"), message(TEXT, "echo y")].concat());
    assert_eq!(desk.frames(), [(10, b"ping".to_vec()), (OPCODE_BINARY, b"xy".to_vec())]);
}

#[test]
fn a_peer_that_sends_pings_and_reads_no_pongs_is_not_read_on() {
    let mut desk = desk();
    let ping = frame(0x89, &[0; 100]);
    let mut offered = 0;
    while desk.socket.may_read() {
        desk.offer(&ping);
        offered += 1;
    }
    assert!((100..1000).contains(&offered), "{offered}");
    desk.frames();
    assert!(desk.socket.may_read());
    desk.offer(&message(TEXT, &format!("echo {}", "x".repeat(100))));
    assert!(!desk.socket.may_read(), "nor one that does not read the gate's answers");
}

#[test]
fn what_breaks_the_protocol_is_closed_with_the_code_that_says_how() {
    let mut unmasked = message(TEXT, "x");
    unmasked[1] &= 0x7F;
    let table = [
        (unmasked, 1002),
        (frame(0x80 | 3, b"x"), 1002),
        (frame(0xC0 | TEXT, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        ([frame(TEXT, b"x"), frame(TEXT, b"y")].concat(), 1002),
        (frame(0x09, b"x"), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (frame(0x80 | TEXT, &[0xFF, 0xFE]), 1007),
        ([frame(TEXT, &[0xC3]), frame(0x80, b"x")].concat(), 1007),
        (frame(0x80 | TEXT, &[b'x'; 1001]), 1009),
        (frame(0x80 | TEXT, &[b'x'; 1001])[..8].to_vec(), 1009),
        ([frame(TEXT, &[b'x'; 900]), frame(0x80, &[b'x'; 101])].concat(), 1009),
    ];
    for (input, code) in table {
        let mut desk = desk();
        assert!(matches!(desk.offer(&[message(TEXT, "before"), input.clone()].concat()), Flow::Close), "{input:x?}");
        assert_eq!(desk.lines(), ["text before", "finish"], "{input:x?}");
        assert_eq!(desk.close_frame().0, code, "{input:x?}");
    }
}

#[test]
fn a_close_frame_is_answered_behind_all_answers_and_nothing_follows() {
    let mut desk = desk();
    let input = [message(TEXT, "echo x"), frame(0x88, &[0x03, 0xE8, b'b', b'y', b'e']), message(TEXT, "late")].concat();
    assert!(matches!(desk.offer(&input), Flow::Close));
    assert_eq!(desk.lines(), ["text echo x", "finish"]);
    let frames = desk.frames();
    assert_eq!(frames[0], (OPCODE_BINARY, b"x".to_vec()));
    assert_eq!((frames.len(), frames[1].0, &frames[1].1[..2]), (2, OPCODE_CLOSE, &[0x03, 0xE8][..]));
    desk.socket.inner.out.extend_from_slice(b"too late");
    assert_eq!(desk.frames(), []);
}

#[test]
fn a_gate_that_closes_closes_the_socket() {
    let mut desk = desk();
    let input = [message(TEXT, "echo last"), message(TEXT, "close"), message(TEXT, "late")].concat();
    assert!(matches!(desk.offer(&input), Flow::Close));
    assert_eq!(desk.lines(), ["text echo last", "text close", "finish"]);
    let frames = desk.frames();
    assert_eq!(frames, [(OPCODE_BINARY, b"last".to_vec()), (OPCODE_CLOSE, 1000_u16.to_be_bytes().to_vec())]);
}

#[test]
fn a_connection_that_is_asked_to_end_says_goodbye_and_goes_away() {
    let mut desk = desk();
    desk.socket.end(End::Shutdown, NOW_MS);
    assert_eq!(desk.lines(), ["end Shutdown"]);
    let frames = desk.frames();
    assert_eq!(frames, [(OPCODE_BINARY, b"goodbye".to_vec()), (OPCODE_CLOSE, 1001_u16.to_be_bytes().to_vec())]);
}

#[test]
fn a_silent_peer_is_pinged_and_closed_if_it_stays_silent() {
    let mut desk = desk();
    let due_ms = |desk: &Desk<Script>| desk.socket.deadline_ms().map(|at| at - NOW_MS);
    assert_eq!(due_ms(&desk), Some(30_000));
    assert!(matches!(desk.socket.expired(NOW_MS + 29_999), Flow::Continue));
    assert_eq!(desk.frames(), []);
    assert!(matches!(desk.socket.expired(NOW_MS + 30_000), Flow::Continue));
    assert_eq!(desk.frames(), [(OPCODE_PING, vec![])]);
    assert_eq!(due_ms(&desk), Some(50_000));
    desk.offer(&frame(0x8A, b""));
    assert_eq!(due_ms(&desk), Some(30_000), "the pong was heard");
    desk.socket.expired(NOW_MS + 30_000);
    assert!(matches!(desk.socket.expired(NOW_MS + 50_000), Flow::Close));
    assert_eq!(desk.close_frame(), (1001, "ping timeout".to_owned()));
}

#[test]
fn messages_behind_one_that_has_to_be_verified_wait_for_that() {
    let mut desk = desk();
    let many: Vec<u8> = (0..5000).flat_map(|n| message(TEXT, &n.to_string())).collect();
    let flow = desk.offer(&[message(TEXT, "verify"), many].concat());
    assert!(matches!(flow, Flow::Verify(_)));
    assert_eq!(desk.lines(), ["text verify", "finish"]);
    desk.socket.verified(Answer::WRONG, NOW_MS);
    desk.offer(&[]);
    let lines: Vec<_> = desk.lines().into_iter().filter(|line| line != "finish").collect();
    let expected: Vec<_> =
        std::iter::once("verified false".to_owned()).chain((0..5000).map(|n| format!("text {n}"))).collect();
    assert_eq!(lines, expected);
}

#[test]
fn packets_may_span_messages_and_messages_hold_many_packets() {
    let mut desk = stream_desk(4);
    desk.offer(
        &[message(OPCODE_BINARY, "aaaabb"), message(OPCODE_BINARY, "b"), message(OPCODE_BINARY, "bccccd")].concat(),
    );
    assert_eq!(desk.lines(), ["receive 13", "aaaa", "bbbb", "cccc"]);
    desk.offer(&message(OPCODE_BINARY, "dd"));
    assert_eq!(desk.lines(), [""; 0], "the packet is not complete");
    desk.offer(&message(OPCODE_BINARY, "deeee"));
    assert_eq!(desk.lines(), ["receive 8", "dddd", "eeee"]);
}

#[test]
fn the_messages_of_one_read_are_handed_over_together() {
    let mut desk = stream_desk(4);
    let input: Vec<u8> = (0..500).flat_map(|_| message(OPCODE_BINARY, "pack")).collect();
    desk.offer(&input);
    let lines = desk.lines();
    assert_eq!((lines.len(), lines[0].as_str()), (501, "receive 2000"));
}

#[test]
fn a_large_packet_in_many_small_messages_is_looked_at_twice() {
    let mut desk = stream_desk(400_000);
    let part = "x".repeat(100);
    (0..4000).for_each(|_| {
        desk.offer(&message(OPCODE_BINARY, &part));
    });
    let lines = desk.lines();
    let receives: Vec<_> = lines.iter().filter(|line| line.starts_with("receive")).collect();
    assert_eq!(receives, ["receive 100", "receive 400000"]);
}

#[test]
fn a_text_message_closes_the_connection_of_mqtt_behind_what_came_before() {
    let mut desk = stream_desk(4);
    assert!(matches!(desk.offer(&[message(OPCODE_BINARY, "pack"), message(TEXT, "pack")].concat()), Flow::Close));
    assert_eq!(desk.lines(), ["receive 4", "pack"]);
    assert_eq!(desk.close_frame().0, 1000);
}

#[test]
fn packets_behind_a_connect_that_has_to_be_verified_wait_for_that() {
    let mut desk = stream_desk(6);
    let flow = desk.offer(&[message(OPCODE_BINARY, "verifysecond"), message(OPCODE_BINARY, "third ")].concat());
    assert!(matches!(flow, Flow::Verify(_)));
    assert_eq!(desk.lines(), ["receive 18", "verify"]);
    desk.socket.verified(Answer::WRONG, NOW_MS);
    assert_eq!(desk.lines(), ["verified false", "receive 12", "second", "third"]);
}

#[test]
fn a_packet_that_closes_hides_what_follows_it() {
    let mut desk = stream_desk(6);
    let input =
        [message(OPCODE_BINARY, "echo xclo"), message(OPCODE_BINARY, "se late  "), message(OPCODE_BINARY, "later ")];
    assert!(matches!(desk.offer(&input.concat()), Flow::Close));
    assert_eq!(desk.lines(), ["receive 24", "echo x", "close"]);
    assert_eq!(desk.frames()[0], (OPCODE_BINARY, b"x".to_vec()));
}

#[test]
fn long_answers_have_long_headers() {
    for len in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
        let mut desk = desk();
        desk.socket.inner.out = vec![7; len];
        let expected = if len == 0 { vec![] } else { vec![(OPCODE_BINARY, vec![7; len])] };
        assert!(desk.frames() == expected, "{len}");
    }
}
