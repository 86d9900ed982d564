//! TLS.

use super::{Held, Target, say_each};
use crate::dice::Dice;
use crate::pairs::connect;

/// A record that announces a ClientHello of 512 bytes, and some of it.
pub fn half_a_hello(target: &Target, dice: &mut Dice) -> Held {
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &dice.bytes(32)].concat();
    say_each(target.mqtts, &(0..4).map(|_| hello[..dice.roll(hello.len())].to_vec()).collect::<Vec<_>>())
}

pub fn plain_text(target: &Target, _: &mut Dice) -> Held {
    say_each(target.mqtts, &[connect("plain"), b"GET / HTTP/1.1\r\n\r\n".to_vec()])
}

pub fn noise(target: &Target, dice: &mut Dice) -> Held {
    let len = dice.roll(3000);
    let record = [&[0x16, 3, 1, 0xff, 0xff][..], &dice.bytes(len)].concat();
    say_each(target.mqtts, &[dice.bytes(len), record])
}
