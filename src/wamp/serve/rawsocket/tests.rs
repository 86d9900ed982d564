use super::*;
use crate::node::users::Users;
use crate::node::{RealmSettings, Settings};
use crate::router::authorize::{Authorizer, Role};
use crate::router::rules::Rules;
use crate::types::limits::Limits;
use crate::types::peer::Peer;

const NOW_MS: u64 = 1_700_000_000_000;
const HELLO: &[u8] = br#"[1,"realm1",{"roles":{"caller":{}}}]"#;
const JSON: [u8; 4] = [0x7f, 0xf1, 0, 0];

fn gate_with(limits: Limits) -> RawSocket {
    let settings = Settings {
        limits,
        realms: vec![RealmSettings { name: "realm1".to_owned(), ..RealmSettings::default() }],
        auto_realms: false,
        default_realm: "realm1".to_owned(),
        authorize: Box::new(|_| Authorizer::new([Role::unrestricted("anonymous")])),
        users: Users::new([]).unwrap(),
        policies: Vec::new(),
        rules: Rules::default(),
    };
    let node = Node::new(settings, 1);
    crate::node::testing::run_log(&node);
    super::super::rawsocket(
        &node,
        Access { anonymous: true, cookie: None },
        Peer::direct(([127, 0, 0, 1], 50_000).into()),
        NOW_MS,
    )
}

fn gate() -> RawSocket {
    gate_with(Limits::default())
}

/// Offers bytes as the pump does: what is not consumed again, with what comes next. Returns the last outcome.
fn offer(gate: &mut RawSocket, reads: &[&[u8]]) -> Received {
    let mut kept = Vec::new();
    let mut last = Received { consumed: 0, needs: 0, silent: false, flow: Flow::Continue };
    for read in reads {
        kept.extend_from_slice(read);
        last = gate.receive(&Bytes::from(kept.clone()), NOW_MS);
        kept.drain(..last.consumed);
    }
    last
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&[kind, len[1], len[2], len[3]], payload].concat()
}

fn written(gate: &mut RawSocket) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let taken = gate.take(Vec::new(), NOW_MS);
        if taken.bytes() == 0 {
            return all;
        }
        taken.parts.iter().for_each(|part| all.extend_from_slice(part));
        all.extend_from_slice(&taken.tail);
    }
}

#[test]
fn a_handshake_is_answered_with_our_limit() {
    for (limit, exponent) in [(16_777_216, 0xf), (16_777_215, 0xe), (1_000, 0), (512, 0)] {
        let mut gate = gate_with(Limits { wamp_rawsocket_bytes_max: limit, ..Limits::default() });
        for serializer in 1..=3 {
            let mut gate = gate_with(Limits { wamp_rawsocket_bytes_max: limit, ..Limits::default() });
            let received = offer(&mut gate, &[&[0x7f, 0x50 | serializer, 0, 0]]);
            assert!(matches!(received.flow, Flow::Continue));
            assert_eq!(written(&mut gate), [0x7f, exponent << 4 | serializer, 0, 0]);
        }
        assert!(written(&mut gate).is_empty());
    }
}

#[test]
fn what_cannot_be_agreed_on_is_refused() {
    for (request, reply) in [
        ([0x7f, 0xf0, 0, 0], &[0x7f, 0x10, 0, 0][..]),
        ([0x7f, 0xf4, 0, 0], &[0x7f, 0x10, 0, 0]),
        ([0x7f, 0xf1, 0, 1], &[0x7f, 0x30, 0, 0]),
        (*b"GET ", &[]),
    ] {
        let mut gate = gate();
        assert!(matches!(offer(&mut gate, &[&request]).flow, Flow::Close));
        assert_eq!(written(&mut gate), reply);
    }
}

#[test]
fn bytes_may_come_one_by_one_or_all_at_once() {
    let all = [&JSON[..], &frame(0, HELLO), &frame(0, br#"[32,1,{},"a"]"#)].concat();
    let mut whole = gate();
    offer(&mut whole, &[&all]);
    let whole = written(&mut whole);
    assert_eq!(&whole[..4], &JSON);
    assert!(whole.ends_with(&frame(0, b"[33,1,1]")));
    let mut slow = gate();
    let singles: Vec<&[u8]> = all.chunks(1).collect();
    offer(&mut slow, &singles);
    assert_eq!(written(&mut slow).len(), whole.len());
}

#[test]
fn the_length_of_a_frame_is_told_to_make_room_for_it() {
    let mut gate = gate();
    let received = offer(&mut gate, &[&JSON[..2]]);
    assert_eq!((received.consumed, received.needs), (0, 4));
    let mut gate = self::gate();
    let received = offer(&mut gate, &[&JSON, &[0, 1, 2, 3, b'[']]);
    assert_eq!((received.consumed, received.needs), (0, 4 + 0x01_0203));
}

#[test]
fn pings_are_answered_and_pongs_taken() {
    let mut gate = gate();
    offer(&mut gate, &[&JSON]);
    written(&mut gate);
    offer(&mut gate, &[&[frame(1, b"abc"), frame(2, b"x"), frame(1, b"")].concat()]);
    assert_eq!(written(&mut gate), [frame(2, b"abc"), frame(2, b"")].concat());
}

#[test]
fn forbidden_frames_end_the_session() {
    let large = [0, 0, 2, 1];
    for bytes in [&[0x10, 0, 0, 0][..], &[3, 0, 0, 0], &large, &[1, 0, 2, 1], &[8, 0, 0, 0]] {
        let mut gate = gate_with(Limits { wamp_rawsocket_bytes_max: 512, ..Limits::default() });
        offer(&mut gate, &[&JSON, &frame(0, HELLO)]);
        written(&mut gate);
        assert!(matches!(offer(&mut gate, &[bytes]).flow, Flow::Close), "{bytes:x?}");
        let abort = String::from_utf8(written(&mut gate)[4..].to_vec()).unwrap();
        assert!(abort.ends_with(r#""wamp.error.protocol_violation"]"#), "{abort}");
    }
}

#[test]
fn a_silent_peer_is_pinged_and_then_let_go() {
    let mut gate = gate();
    assert_eq!(gate.deadline_ms(), Some(NOW_MS + 10_000), "the handshake's");
    offer(&mut gate, &[&JSON, &frame(0, HELLO)]);
    written(&mut gate);
    assert_eq!(gate.deadline_ms(), Some(NOW_MS + 30_000));
    assert!(matches!(gate.expired(NOW_MS + 30_000), Flow::Continue));
    assert_eq!(written(&mut gate), frame(1, b""));
    assert_eq!(gate.deadline_ms(), Some(NOW_MS + 50_000));
    gate.receive(&Bytes::from(frame(2, b"")), NOW_MS + 40_000);
    assert_eq!(gate.deadline_ms(), Some(NOW_MS + 70_000));
    assert!(matches!(gate.expired(NOW_MS + 70_000), Flow::Continue));
    assert!(matches!(gate.expired(NOW_MS + 90_000), Flow::Close));
}

#[test]
fn who_does_not_finish_the_handshake_is_let_go() {
    let mut gate = gate();
    offer(&mut gate, &[&JSON[..3]]);
    assert!(matches!(gate.expired(NOW_MS + 10_000), Flow::Close));
    assert!(written(&mut gate).is_empty());
}

proptest::proptest! {
    /// Whatever comes in whatever pieces: nothing is consumed that was not there, and what is written are whole frames.
    #[test]
    fn any_bytes_in_any_pieces(
        pieces in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 0..20),
        joined in proptest::prelude::any::<bool>(),
    ) {
        let mut gate = gate();
        if joined {
            offer(&mut gate, &[&JSON, &frame(0, HELLO)]);
            let welcome = written(&mut gate);
            proptest::prop_assert!(welcome.len() > 4);
        }
        let mut kept = Vec::new();
        for piece in &pieces {
            kept.extend_from_slice(piece);
            let received = gate.receive(&Bytes::from(kept.clone()), NOW_MS);
            proptest::prop_assert!(received.consumed <= kept.len());
            kept.drain(..received.consumed);
            if matches!(received.flow, Flow::Close) {
                break;
            }
        }
        let all = written(&mut gate);
        let mut rest = &all[..];
        if !joined && rest.len() >= 4 {
            rest = &rest[4..];
        }
        while let Ok(Some(_)) = rawsocket::read_frame(&mut rest, rawsocket::MESSAGE_BYTES_MAX) {}
        proptest::prop_assert!(rest.is_empty(), "{rest:x?}");
        gate.closed(NOW_MS);
    }
}
