//! What the Autobahn test suite asks of a WebSocket peer, as a table: each case by the number that it has there.
//!
//! The suite itself is run by hand (`docs/websocket.md`). Like it, every case is sent at once, frame by frame and byte by
//! byte.

use super::super::echo::Echo;
use super::*;
use crate::net::websocket::frame::{OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING, OPCODE_TEXT};

const FIN: u8 = 0x80;
const TEXT: u8 = FIN | OPCODE_TEXT;
const BINARY: u8 = FIN | OPCODE_BINARY;
const CLOSE: u8 = FIN | OPCODE_CLOSE;
const PING: u8 = FIN | OPCODE_PING;
const PONG: u8 = FIN | 10;
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Frames to a peer: first byte and payload.
type Frames<'a> = Vec<(u8, &'a [u8])>;

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Open,
    Closed(u16),
    /// By a close frame without a code.
    ClosedPlainly,
}

use Ending::{Closed, ClosedPlainly, Open};

struct Peer {
    socket: WebSocket<Echo>,
    rest: Vec<u8>,
    closed: bool,
    said: Vec<(u8, Vec<u8>)>,
}

impl Peer {
    fn new() -> Self {
        let socket = WebSocket::new(Echo::default(), MESSAGE_BYTES_MAX, KEEPALIVE, NOW_MS);
        Self { socket, rest: Vec::new(), closed: false, said: Vec::new() }
    }

    fn offer(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.rest.extend_from_slice(bytes);
        let input = Bytes::from(std::mem::take(&mut self.rest));
        let received = self.socket.receive(&input, NOW_MS);
        self.rest.extend_from_slice(&input[received.consumed..]);
        self.closed = matches!(received.flow, Flow::Close);
        let taken = self.socket.take(Vec::new(), NOW_MS);
        let parts = taken.parts.iter().map(|part| &part[..]).chain([&taken.tail[..]]);
        self.said.extend(read_frames(&parts.collect::<Vec<_>>().concat()));
    }

    fn ending(&mut self) -> Ending {
        if !self.closed {
            return Open;
        }
        let (opcode, payload) = self.said.pop().expect("a close frame");
        assert_eq!(opcode, OPCODE_CLOSE);
        payload.first_chunk().map_or(ClosedPlainly, |code| Closed(u16::from_be_bytes(*code)))
    }
}

/// Sends `sent` in three ways. Pongs and messages come back each in its order, whatever lies between them.
#[track_caller]
fn check(case: &str, sent: Frames<'_>, said: &[(u8, &[u8])], ending: Ending) {
    let frames: Vec<Vec<u8>> = sent.iter().map(|(first, payload)| frame(*first, payload)).collect();
    let all = frames.concat();
    let octets: Vec<Vec<u8>> = all.iter().map(|byte| vec![*byte]).collect();
    let ways = [("at once", vec![all]), ("by frames", frames), ("by bytes", octets)];
    for (way, reads) in ways {
        if reads.len() > 10_000 {
            continue;
        }
        let mut peer = Peer::new();
        reads.iter().for_each(|read| peer.offer(read));
        assert_eq!(peer.ending(), ending, "{case} {way}");
        let pongs = |all: &[(u8, Vec<u8>)]| all.iter().filter(|one| one.0 == 10).cloned().collect::<Vec<_>>();
        let messages = |all: &[(u8, Vec<u8>)]| all.iter().filter(|one| one.0 != 10).cloned().collect::<Vec<_>>();
        let said: Vec<(u8, Vec<u8>)> = said.iter().map(|(first, payload)| (first & 15, payload.to_vec())).collect();
        // Whoever fails the connection need not answer a ping before it.
        if ending == Open {
            assert!(pongs(&peer.said) == pongs(&said), "{case} {way}: {:?}", pongs(&peer.said));
        }
        assert!(messages(&peer.said) == messages(&said), "{case} {way}");
    }
}

#[test]
fn cases_1_messages_come_back_whatever_their_length() {
    for (kind, first) in [("1.1", TEXT), ("1.2", BINARY)] {
        for len in [0, 125, 126, 127, 128, 65_535, 65_536] {
            let payload = vec![b'*'; len];
            check(&format!("{kind} {len}"), vec![(first, &payload)], &[(first, &payload)], Open);
        }
    }
}

#[test]
fn cases_2_pings_are_answered_and_pongs_ignored() {
    check("2.1", vec![(PING, b"")], &[(PONG, b"")], Open);
    check("2.2", vec![(PING, b"Hello, world!")], &[(PONG, b"Hello, world!")], Open);
    check("2.3", vec![(PING, b"\0\xff\xfe\xfd\xfc\xfb\0\xff")], &[(PONG, b"\0\xff\xfe\xfd\xfc\xfb\0\xff")], Open);
    check("2.4", vec![(PING, &[0xfe; 125])], &[(PONG, &[0xfe; 125])], Open);
    check("2.5", vec![(PING, &[0xfe; 126])], &[], Closed(1002));
    check("2.7", vec![(PONG, b"")], &[], Open);
    check("2.8", vec![(PONG, b"unsolicited")], &[], Open);
    check("2.9", vec![(PONG, b"unsolicited"), (PING, b"ping")], &[(PONG, b"ping")], Open);
    let payloads: Vec<Vec<u8>> = (0..10).map(|number| format!("payload-{number}").into_bytes()).collect();
    let (pings, pongs): (Frames<'_>, Frames<'_>) =
        payloads.iter().map(|one| ((PING, &one[..]), (PONG, &one[..]))).unzip();
    check("2.10", pings, &pongs, Open);
}

#[test]
fn cases_3_reserved_bits_fail_the_connection() {
    for bits in 1..8_u8 {
        for first in [TEXT, BINARY, PING, PONG, CLOSE] {
            let sent = vec![(TEXT, &b"Hello"[..]), (first | bits << 4, b"world"), (PING, b"")];
            check(&format!("3.{bits} {first:x}"), sent, &[(TEXT, b"Hello")], Closed(1002));
        }
    }
}

#[test]
fn cases_4_reserved_opcodes_fail_the_connection() {
    for opcode in (3..8).chain(11..16) {
        for payload in [&b""[..], b"reserved opcode payload"] {
            let sent = vec![(TEXT, &b"Hello"[..]), (FIN | opcode, payload), (PING, b"")];
            check(&format!("4 {opcode}"), sent, &[(TEXT, b"Hello")], Closed(1002));
        }
    }
}

#[test]
fn cases_5_fragments_are_joined_and_their_order_kept() {
    let (one, two): (&[u8], &[u8]) = (b"fragment1", b"fragment2");
    check("5.1", vec![(OPCODE_PING, one), (FIN, two)], &[], Closed(1002));
    check("5.2", vec![(10, one), (FIN, two)], &[], Closed(1002));
    check("5.3", vec![(OPCODE_TEXT, one), (FIN, two)], &[(TEXT, b"fragment1fragment2")], Open);
    let with_ping = vec![(OPCODE_TEXT, one), (PING, &b"ping"[..]), (FIN, two)];
    check("5.6", with_ping, &[(PONG, b"ping"), (TEXT, b"fragment1fragment2")], Open);
    for first in [FIN, 0] {
        check("5.9", vec![(first, b"non-continuation payload"), (TEXT, b"Hello")], &[], Closed(1002));
    }
    let ended = vec![(OPCODE_TEXT, one), (FIN, two), (0, &b"fragment3"[..]), (FIN, b"fragment4")];
    check("5.15", ended, &[(TEXT, b"fragment1fragment2")], Closed(1002));
    check("5.18", vec![(OPCODE_TEXT, one), (TEXT, two)], &[], Closed(1002));
    let many = vec![(OPCODE_TEXT, one), (0, two), (PING, &b"1"[..]), (0, b"3"), (0, b"4"), (PING, b"2"), (FIN, b"5")];
    check("5.19", many, &[(PONG, b"1"), (PONG, b"2"), (TEXT, b"fragment1fragment2345")], Open);
}

#[test]
fn cases_6_text_is_utf_8_across_fragments_too() {
    check("6.1.1", vec![(TEXT, b"")], &[(TEXT, b"")], Open);
    check("6.1.2", vec![(OPCODE_TEXT, b""), (0, b""), (FIN, b"")], &[(TEXT, b"")], Open);
    let text = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    for cut in 0..text.len() {
        check("6.2", vec![(OPCODE_TEXT, &text[..cut]), (FIN, &text[cut..])], &[(TEXT, text)], Open);
    }
    let valid: [&[u8]; 8] = [
        "κόσμε".as_bytes(),
        b"\x00",
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        b"\xed\x9f\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\xef\xbf\xbf",
    ];
    for text in valid {
        check("6.5-6.9", vec![(TEXT, text)], &[(TEXT, text)], Open);
    }
    let invalid: [&[u8]; 16] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf\x80",
        b"\xc0 \xc1 ",
        b"\xe0 ",
        b"\xce",
        b"\xe1\xbd",
        b"\xfe",
        b"\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xaf\xbf\xed\xbf\xbf",
    ];
    for text in invalid {
        check("6.10-6.21", vec![(TEXT, text)], &[], Closed(1007));
        let (one, two) = text.split_at(text.len() / 2);
        check("6.4", vec![(OPCODE_TEXT, one), (0, two), (FIN, b"")], &[], Closed(1007));
    }
}

#[test]
fn cases_7_closing_is_answered_in_kind() {
    let code = |code: u16, reason: &[u8]| [&code.to_be_bytes()[..], reason].concat();
    let (normal, bye) = (code(1000, b""), code(1000, b"bye"));
    check("7.1.1", vec![(TEXT, b"Hello"), (CLOSE, &normal)], &[(TEXT, b"Hello")], Closed(1000));
    check("7.1.2", vec![(CLOSE, &normal), (CLOSE, &normal)], &[], Closed(1000));
    check("7.1.3", vec![(CLOSE, &normal), (PING, b"")], &[], Closed(1000));
    check("7.1.4", vec![(CLOSE, &normal), (TEXT, b"Hello")], &[], Closed(1000));
    check("7.1.5", vec![(OPCODE_TEXT, b"fragment1"), (CLOSE, &normal), (FIN, b"fragment2")], &[], Closed(1000));
    check("7.3.1", vec![(CLOSE, b"")], &[], ClosedPlainly);
    check("7.3.2", vec![(CLOSE, b"a")], &[], Closed(1002));
    check("7.3.3", vec![(CLOSE, &normal)], &[], Closed(1000));
    check("7.3.4", vec![(CLOSE, &bye)], &[], Closed(1000));
    check("7.3.5", vec![(CLOSE, &code(1000, &[b'*'; 123]))], &[], Closed(1000));
    check("7.3.6", vec![(CLOSE, &code(1000, &[b'*'; 124]))], &[], Closed(1002));
    check("7.5.1", vec![(CLOSE, &code(1000, b"\xed\xa0\x80"))], &[], Closed(1007));
    for one in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        check("7.7", vec![(CLOSE, &code(one, b""))], &[], Closed(one));
    }
    for one in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999] {
        check("7.9", vec![(CLOSE, &code(one, b""))], &[], Closed(1002));
    }
}

#[test]
fn cases_9_large_messages_come_back_up_to_the_limit() {
    let payload = vec![b'*'; MESSAGE_BYTES_MAX];
    let fragments = |len: usize| {
        let mut frames: Frames<'_> = payload[..len].chunks(64 * 1024).map(|part| (0, part)).collect();
        frames[0].0 = OPCODE_TEXT;
        let last = frames.len() - 1;
        frames[last].0 |= FIN;
        frames
    };
    check("9.1", vec![(TEXT, &payload)], &[(TEXT, &payload)], Open);
    check("9.3", fragments(MESSAGE_BYTES_MAX), &[(TEXT, &payload)], Open);
    let larger = vec![b'*'; MESSAGE_BYTES_MAX + 1];
    check("larger", vec![(TEXT, &larger)], &[], Closed(1009));
    let mut frames = fragments(MESSAGE_BYTES_MAX);
    let last = frames.len() - 1;
    frames[last].0 = 0;
    frames.push((FIN, b"*"));
    check("larger in fragments", frames, &[], Closed(1009));
}
