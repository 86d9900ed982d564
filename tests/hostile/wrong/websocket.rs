//! WebSocket, and WAMP over it.

use super::{Held, Target, say, say_each};
use crate::dice::Dice;
use crate::pairs::{HELLO, connect};

fn upgrade(path: &str, subprotocol: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
    .into_bytes()
}

/// A frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let head = match payload.len() {
        len @ 0..=125 => vec![first, 0x80 | len as u8],
        len @ 126..=65_535 => [&[first, 0xfe][..], &(len as u16).to_be_bytes()].concat(),
        len => [&[first, 0xff][..], &(len as u64).to_be_bytes()].concat(),
    };
    [&head[..], &[0; 4], payload].concat()
}

fn text(message: &str) -> Vec<u8> {
    frame(0x81, message.as_bytes())
}

fn json(target: &Target, parts: &[&[u8]]) -> Held {
    say(target.http, &[&[&upgrade("/ws", "wamp.2.json")[..]], parts].concat())
}

pub fn half_an_upgrade(target: &Target, dice: &mut Dice) -> Held {
    let whole = upgrade("/ws", "wamp.2.json");
    say_each(target.http, &(0..4).map(|_| whole[..dice.roll(whole.len())].to_vec()).collect::<Vec<_>>())
}

pub fn upgrade_and_silence(target: &Target, dice: &mut Dice) -> Held {
    let subprotocol = ["wamp.2.json", "wamp.2.cbor.batched", "wamp.9"][dice.roll(3)];
    let path = ["/ws", "/mqtt", "/wamp"][dice.roll(3)];
    say_each(target.http, &[upgrade(path, subprotocol), upgrade("/mqtt", "mqtt")])
}

/// Without a mask, with reserved bits and opcodes, with bad text, with bad closes.
pub fn bad_frames(target: &Target, dice: &mut Dice) -> Held {
    let frames: [Vec<u8>; 9] = [
        vec![0x81, 1, b'x'],
        frame(0xf1, b"x"),
        frame(0x83, b"x"),
        frame(0x8f, b"x"),
        frame(0x81, b"\xff\xfe"),
        frame(0x80, b"x"),
        frame(0x89, &[0; 126]),
        frame(0x88, b"\x03"),
        dice.bytes(300),
    ];
    let frame = &frames[dice.roll(frames.len())];
    let mut held = json(target, &[frame]);
    held.extend(json(target, &[&text(HELLO), frame, &text(HELLO)]));
    held
}

/// Fragments that never end, and frames that announce much.
pub fn frames_without_end(target: &Target, dice: &mut Dice) -> Held {
    let fragments = [frame(0x01, &[b' '; 1000]), frame(0x00, &[b' '; 1000]).repeat(dice.roll(300))].concat();
    let huge = [&[0x82, 0xff][..], &(1_u64 << (20 + dice.roll(43))).to_be_bytes(), &[0; 4], b"some"].concat();
    let mut held = json(target, &[&text(HELLO), &fragments]);
    held.extend(json(target, &[&huge]));
    held
}

pub fn nested_json(target: &Target, dice: &mut Dice) -> Held {
    let depth = 100_000 + dice.roll(100_000);
    let open = ["[", "{\"a\":", "[[],"][dice.roll(3)].repeat(depth / 4);
    let publish = format!("[16,1,{{}},\"deep\",[{}", "[".repeat(depth));
    let closed = format!("[16,1,{{}},\"deep\",[{}{}]]", "[".repeat(depth), "]".repeat(depth));
    let mut held = json(target, &[&text(&open)]);
    held.extend(json(target, &[&text(HELLO), &text(&publish)]));
    held.extend(json(target, &[&text(HELLO), &text(&closed)]));
    held
}

/// Lists and strings of MessagePack and CBOR that say they have four billion elements.
pub fn lengths_in_messages(target: &Target, dice: &mut Dice) -> Held {
    let messages: [&[u8]; 6] = [
        b"\xdd\xff\xff\xff\xff\x01",
        b"\x93\x01\xdb\xff\xff\xff\xffrealm",
        b"\xdf\xff\xff\xff\xff\xa1a",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x83\x01\x7b\x7f\xff\xff\xff\xff\xff\xff\xffrealm",
        b"\x9f\x9f\x9f\x9f\x9f\x9f",
    ];
    let message = messages[dice.roll(6)];
    let batch = [&[0xff, 0xff, 0xff, 0xff][..], message].concat();
    let deep = vec![0x91_u8; 200_000];
    let say = |subprotocol: &str, body: &[u8]| say(target.http, &[&upgrade("/ws", subprotocol), &frame(0x82, body)]);
    let all = [
        say("wamp.2.msgpack", message),
        say("wamp.2.cbor", message),
        say("wamp.2.cbor.batched", &batch),
        say("wamp.2.msgpack", &deep),
        say("wamp.2.cbor", &vec![0x81; 200_000]),
    ];
    all.into_iter().flatten().collect()
}

pub fn messages_in_the_wrong_order(target: &Target, dice: &mut Dice) -> Held {
    let messages = [
        HELLO,
        r#"[2,1,{}]"#,
        r#"[5,"x",{}]"#,
        r#"[70,1,{}]"#,
        r#"[8,68,1,{},"a.b"]"#,
        r#"[48,1,{},"nobody"]"#,
        r#"[49,1,{}]"#,
        r#"[34,1,9]"#,
        r#"[66,1,9]"#,
        r#"[6,{},"wamp.close.close_realm"]"#,
        r#"[1,"no.such.realm",{"roles":{"caller":{}}}]"#,
    ];
    let all: Vec<u8> = (0..6).flat_map(|_| text(messages[dice.roll(messages.len())])).collect();
    let mut held = json(target, &[&all]);
    held.extend(json(target, &[&text(HELLO), &all]));
    held
}

pub fn wrong_tickets(target: &Target, dice: &mut Dice) -> Held {
    let method = ["ticket", "wampcra", "nonsense"][dice.roll(3)];
    let hello = format!(r#"[1,"realm1",{{"roles":{{"caller":{{}}}},"authmethods":["{method}"],"authid":"alice"}}]"#);
    json(target, &[&text(&hello), &text(&format!(r#"[5,"guess{}",{{}}]"#, dice.roll(100)))])
}

pub fn subscribe_and_never_read(target: &Target, dice: &mut Dice) -> Held {
    let topic = format!("loud.{}", dice.roll(8));
    let subscribe = text(&format!(r#"[32,1,{{}},"{topic}"]"#));
    let publish = text(&format!(r#"[16,2,{{}},"{topic}",["{}"]]"#, "x".repeat(20_000)));
    let mut held = json(target, &[&text(HELLO), &subscribe]);
    held.extend(json(target, &[&text(HELLO), &publish.repeat(20)]));
    held
}

/// A packet in many frames, of which the last does not come; and text where there should be none.
pub fn mqtt_in_pieces(target: &Target, dice: &mut Dice) -> Held {
    let packet = connect(&format!("pieces{}", dice.roll(1 << 30)));
    let pieces: Vec<u8> = packet[..packet.len() - 1].iter().flat_map(|byte| frame(0x82, &[*byte])).collect();
    let mut held = say(target.http, &[&upgrade("/mqtt", "mqtt"), &pieces]);
    held.extend(say(target.http, &[&upgrade("/mqtt", "mqtt"), &text("CONNECT")]));
    held
}
