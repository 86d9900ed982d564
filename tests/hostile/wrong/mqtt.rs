//! MQTT.

use std::io::Write;

use super::{Held, Target, open, say, say_each};
use crate::dice::Dice;
use crate::pairs::{connect, packet, string};

pub fn noise(target: &Target, dice: &mut Dice) -> Held {
    let (count, len) = (1 + dice.roll(4), dice.roll(2000));
    say_each(target.mqtt, &(0..count).map(|_| dice.bytes(len)).collect::<Vec<_>>())
}

/// Nothing follows.
pub fn half_a_connect(target: &Target, dice: &mut Dice) -> Held {
    let whole = connect("half");
    say_each(target.mqtt, &(0..5).map(|_| whole[..dice.roll(whole.len())].to_vec()).collect::<Vec<_>>())
}

/// Much is announced, and little comes.
pub fn huge_lengths(target: &Target, dice: &mut Dice) -> Held {
    let lengths: [&[u8]; 4] = [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x80\x80\x80\x08", b"\xff\xff\xff\x07"];
    let first = [0x10, 0x30, 0x32, 0x82, 0xa2, 0xf0][dice.roll(6)];
    let announced = [&[first], lengths[dice.roll(4)], b"\0\x04MQTT\x04\x02\0\0"].concat();
    let id = format!("huge{}", dice.roll(1 << 30));
    let joined = [connect(&id), announced.clone()].concat();
    say_each(target.mqtt, &[announced, joined])
}

pub fn wrong_password(target: &Target, dice: &mut Dice) -> Held {
    let id = format!("thief{}", dice.roll(1 << 30));
    let flags = [4, 0xc2, 0, 0];
    let password = string(&format!("guess{}", dice.roll(100)));
    let body = [&string("MQTT")[..], &flags, &string(&id), &string("alice"), &password].concat();
    say(target.mqtt, &[&packet(0x10, &body)])
}

pub fn bad_text(target: &Target, dice: &mut Dice) -> Held {
    let id = format!("bad{}", dice.roll(1 << 30));
    let texts: [&[u8]; 5] = [b"\0\x01\xff", b"\0\x03\xed\xa0\x80", b"\0\x02a\0", b"\0\x02a#", b"\0\0"];
    let text = texts[dice.roll(5)];
    let subscribe = packet(0x82, &[&[0, 1], text, &[0]].concat());
    let publish = packet(0x30, &[text, b"x"].concat());
    let nameless = packet(0x10, &[&string("MQTT")[..], &[4, 2, 0, 0], text].concat());
    say_each(target.mqtt, &[[connect(&id), subscribe].concat(), [connect(&id), publish].concat(), nameless])
}

pub fn giant_topics(target: &Target, dice: &mut Dice) -> Held {
    let id = format!("giant{}", dice.roll(1 << 30));
    let deep = "a/".repeat(32_000);
    let long = "x".repeat(65_535);
    let name = if dice.roll(2) == 0 { deep } else { long };
    let subscribe = packet(0x82, &[&[0, 1], &string(&name)[..], &[0]].concat());
    let wild = packet(0x82, &[&[0, 2], &string(&"+/".repeat(30_000))[..], &[0]].concat());
    let publish = packet(0x30, &string(&name));
    say(target.mqtt, &[&connect(&id), &subscribe, &wild, &publish, &publish])
}

/// They take the session from each other.
pub fn one_id_for_many(target: &Target, _: &mut Dice) -> Held {
    (0..6).flat_map(|_| say(target.mqtt, &[&connect("mine")])).collect()
}

pub fn subscribe_to_everything(target: &Target, dice: &mut Dice) -> Held {
    let id = format!("all{}", dice.roll(1 << 30));
    let filters: Vec<u8> =
        (0..200).flat_map(|number| [string(&format!("flood/{number}/+/#")), vec![0]].concat()).collect();
    let subscribe = packet(0x82, &[&[0, 1], &filters[..]].concat());
    let unsubscribe = packet(0xa2, &[&[0, 2], &string("flood/1/+/#")[..]].concat());
    say(target.mqtt, &[&connect(&id), &subscribe, &subscribe, &unsubscribe])
}

/// What it subscribed to is published by another, and it does not take it.
pub fn subscribe_and_never_read(target: &Target, dice: &mut Dice) -> Held {
    let (reader, writer) = (format!("deaf{}", dice.roll(1 << 30)), format!("loud{}", dice.roll(1 << 30)));
    let topic = format!("loud/{}", dice.roll(8));
    let subscribe = packet(0x82, &[&[0, 1], &string(&topic)[..], &[1]].concat());
    let mut held = say(target.mqtt, &[&connect(&reader), &subscribe]);
    let publish = packet(0x30, &[&string(&topic)[..], &[b'x'; 20_000]].concat());
    held.extend(say(target.mqtt, &[&connect(&writer), &publish.repeat(20)]));
    held
}

/// Each is right by itself.
pub fn packets_in_the_wrong_order(target: &Target, dice: &mut Dice) -> Held {
    let id = format!("mixed{}", dice.roll(1 << 30));
    let packets: [Vec<u8>; 9] = [
        connect(&id),
        packet(0x20, &[0, 0]),
        packet(0x40, &[0, 9]),
        packet(0x50, &[0, 9]),
        packet(0x62, &[0, 9]),
        packet(0x70, &[0, 9]),
        packet(0xc0, &[]),
        packet(0xe0, &[]),
        packet(0x34, &[&string("a")[..], &[0, 9], b"x"].concat()),
    ];
    let all: Vec<u8> = (0..8).flat_map(|_| packets[dice.roll(packets.len())].clone()).collect();
    say_each(target.mqtt, &[all.clone(), [connect(&id), all].concat()])
}

/// A storm of connections that are cut at once.
pub fn come_and_go(target: &Target, dice: &mut Dice) -> Held {
    for _ in 0..20 {
        let Some(mut socket) = open(target.mqtt) else { break };
        // Where a CONNACK has come and was not read, what ends it is a reset.
        let _ = socket.write_all(&connect(&format!("storm{}", dice.roll(50))));
    }
    Vec::new()
}
