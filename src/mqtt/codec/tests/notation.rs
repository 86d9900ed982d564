//! Packets in a short notation: hexadecimal bytes; `'text'` for its bytes; `s'text'` for a string with its length before it;
//! `{ … }` for a property block with its length before it. [`frame`] puts in the remaining length.
//!
//! The tests on sockets use this file too.

/// The bytes of a packet in this notation, with the remaining length after its first byte.
pub fn frame(notation: &str) -> Vec<u8> {
    let mut words = notation.split_whitespace();
    let first = raw(words.next().expect("a first byte"));
    with_length(first[0], &parse(&mut words))
}

/// The bytes of a notation, with nothing put in.
pub fn raw(notation: &str) -> Vec<u8> {
    parse(&mut notation.split_whitespace())
}

fn parse<'n>(words: &mut impl Iterator<Item = &'n str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "{" => {
                let block = parse(words);
                bytes.extend(varint_of(block.len()));
                bytes.extend(block);
            }
            "{}" => bytes.push(0),
            "}" => return bytes,
            _ => parse_word(word, &mut bytes),
        }
    }
    bytes
}

fn parse_word(word: &str, bytes: &mut Vec<u8>) {
    if let Some(text) = word.strip_prefix("s'") {
        let text = text.strip_suffix('\'').expect("a closing quote");
        bytes.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
        bytes.extend(text.as_bytes());
    } else if let Some(text) = word.strip_prefix('\'') {
        bytes.extend(text.strip_suffix('\'').expect("a closing quote").as_bytes());
    } else {
        for at in (0..word.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&word[at..at + 2], 16).expect("hexadecimal digits"));
        }
    }
}

pub fn with_length(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    frame.extend(varint_of(body.len()));
    frame.extend(body);
    frame
}

fn varint_of(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = if value > 0x7f { 0x80 } else { 0 };
        bytes.push((value & 0x7f) as u8 | more);
        value >>= 7;
        if value == 0 {
            return bytes;
        }
    }
}
