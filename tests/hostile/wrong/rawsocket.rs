//! WAMP over RawSocket.

use super::{Held, Target, say, say_each};
use crate::dice::Dice;
use crate::pairs::HELLO;

const HANDSHAKE: [u8; 4] = [0x7f, 0xf1, 0, 0];

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&[kind, len[1], len[2], len[3]], payload].concat()
}

pub fn half_handshakes(target: &Target, _: &mut Dice) -> Held {
    say_each(target.rawsocket, &(0..4).map(|len| HANDSHAKE[..len].to_vec()).collect::<Vec<_>>())
}

pub fn bad_handshakes(target: &Target, dice: &mut Dice) -> Held {
    let handshakes = [[0x7f, 0xff, 0, 0], [0x7f, 0xf0, 0, 0], [0x7f, 0xf1, 1, 0], [0x80, 0xf1, 0, 0], [0; 4]];
    say_each(target.rawsocket, &[handshakes[dice.roll(5)].to_vec(), dice.bytes(200)])
}

pub fn huge_lengths(target: &Target, dice: &mut Dice) -> Held {
    let heads = [[0, 0xff, 0xff, 0xff], [8, 0, 0, 0], [8, 0xff, 0xff, 0xff], [1, 0xff, 0xff, 0xff]];
    say(target.rawsocket, &[&HANDSHAKE, &frame(0, HELLO.as_bytes()), &heads[dice.roll(4)], b"some"])
}

pub fn pings_and_never_read(target: &Target, _: &mut Dice) -> Held {
    say(target.rawsocket, &[&HANDSHAKE, &frame(0, HELLO.as_bytes()), &frame(1, &[7; 1000]).repeat(300)])
}

pub fn bad_frames(target: &Target, dice: &mut Dice) -> Held {
    let frames = [frame(3, b"x"), frame(0xf0, b"x"), frame(0, b"\xff"), frame(0, b""), frame(0, &[b'['; 200_000])];
    say(target.rawsocket, &[&HANDSHAKE, &frames[dice.roll(5)], &frame(0, HELLO.as_bytes())])
}
