//! Writing values in the three formats.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cbor::CborReader;
use super::json::JsonReader;
use super::msgpack::MsgPackReader;
use super::raw::{Raw, with_reader};
use super::read::{Container, Lengths, Scalar, Sink, walk};
use super::{Format, Value};

/// A sink that writes, and takes values that are encoded already.
pub trait Writer: for<'a> Sink<'a> {
    /// A value already in the writer's format.
    fn raw(&mut self, encoded: &[u8]);

    fn uint(&mut self, value: u64) {
        self.scalar(i64::try_from(value).map_or(Scalar::Uint(value), Scalar::Int));
    }

    fn text(&mut self, text: &str) {
        self.scalar(Scalar::Text(text.into()));
    }

    fn map_key(&mut self, key: &str) {
        self.key(Scalar::Text(key.into()));
    }

    fn value(&mut self, value: &Value) {
        feed(value, self);
    }
}

/// Runs `$body` with a writer of the format.
macro_rules! with_writer {
    ($format:expr, $out:expr, $writer:ident => $body:expr) => {
        match $format {
            $crate::types::payload::Format::Json => {
                let mut $writer = $crate::types::value::write::JsonWriter::new($out);
                $body
            }
            $crate::types::payload::Format::MsgPack => {
                let mut $writer = $crate::types::value::write::MsgPackWriter::new($out);
                $body
            }
            $crate::types::payload::Format::Cbor => {
                let mut $writer = $crate::types::value::write::CborWriter::new($out);
                $body
            }
        }
    };
}
pub(crate) use with_writer;

/// Appends `value` in `format`.
pub fn value(value: &Value, format: Format, out: &mut Vec<u8>) {
    with_writer!(format, out, writer => feed(value, &mut writer));
}

fn feed<S: for<'a> Sink<'a> + ?Sized>(value: &Value, sink: &mut S) {
    match value {
        Value::Null => sink.scalar(Scalar::Null),
        Value::Bool(value) => sink.scalar(Scalar::Bool(*value)),
        Value::Int(value) => sink.scalar(Scalar::Int(*value)),
        Value::Uint(value) => sink.scalar(Scalar::Uint(*value)),
        Value::Float(value) => sink.scalar(Scalar::Float(*value)),
        Value::Text(text) => sink.scalar(Scalar::Text(text.into())),
        Value::Bytes(bytes) => sink.scalar(Scalar::Bytes(bytes.into())),
        Value::List(items) => {
            sink.open(Container::List, Some(items.len()));
            for item in items {
                feed(item, sink);
            }
            sink.close(Container::List, items.len());
        }
        Value::Map(entries) => {
            sink.open(Container::Map, Some(entries.len()));
            for (key, item) in entries {
                sink.key(Scalar::Text(key.into()));
                feed(item, sink);
            }
            sink.close(Container::Map, entries.len());
        }
    }
}

/// Appends an encoded value in another format, without building a [`Value`]: the memory it takes is that of the output
/// and four bytes per list or map.
pub fn transcode(raw: Raw<'_>, format: Format, out: &mut Vec<u8>) {
    if raw.format() == format {
        out.extend_from_slice(raw.bytes());
        return;
    }
    let lengths = if format == Format::Json { Vec::new() } else { unknown_lengths(raw) };
    // The value is known to be well-formed, so that the walk cannot stop half-way.
    let _ = match format {
        Format::Json => {
            let mut writer = JsonWriter::new(out);
            with_reader!(raw.format(), raw.bytes(), reader => walk(&mut reader, &mut writer, 0))
        }
        Format::MsgPack => {
            let mut writer = MsgPackWriter { out, lengths: lengths.into_iter() };
            with_reader!(raw.format(), raw.bytes(), reader => walk(&mut reader, &mut writer, 0))
        }
        Format::Cbor => {
            let mut writer = CborWriter { out, lengths: lengths.into_iter() };
            with_reader!(raw.format(), raw.bytes(), reader => walk(&mut reader, &mut writer, 0))
        }
    };
}

fn unknown_lengths(raw: Raw<'_>) -> Vec<u32> {
    let mut lengths = Lengths::default();
    let _ = with_reader!(raw.format(), raw.bytes(), reader => walk(&mut reader, &mut lengths, 0));
    lengths.finish()
}

/// Writes JSON, compact.
pub struct JsonWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Whether the next element or key follows another one.
    comma: bool,
}

impl<'o> JsonWriter<'o> {
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, comma: false }
    }

    #[inline]
    fn separate(&mut self) {
        if self.comma {
            self.out.push(b',');
        }
        self.comma = true;
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        let bytes = text.as_bytes();
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
                continue;
            }
            self.out.extend_from_slice(&bytes[start..at]);
            start = at + 1;
            self.escape(*byte);
        }
        self.out.extend_from_slice(&bytes[start..]);
        self.out.push(b'"');
    }

    fn escape(&mut self, byte: u8) {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                self.out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(super::json::BINARY_MARK);
        let start = self.out.len();
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let written = STANDARD.encode_slice(bytes, &mut self.out[start..]).unwrap_or(0);
        self.out.truncate(start + written);
        self.out.push(b'"');
    }
}

impl<'a> Sink<'a> for JsonWriter<'_> {
    #[inline]
    fn scalar(&mut self, scalar: Scalar<'a>) {
        self.separate();
        match scalar {
            Scalar::Null => self.out.extend_from_slice(b"null"),
            Scalar::Bool(true) => self.out.extend_from_slice(b"true"),
            Scalar::Bool(false) => self.out.extend_from_slice(b"false"),
            Scalar::Int(value) => {
                if value < 0 {
                    self.out.push(b'-');
                }
                decimal(value.unsigned_abs(), self.out);
            }
            Scalar::Uint(value) => decimal(value, self.out),
            // Rust writes the shortest decimal that reads back the same, always as JSON allows it. A Vec takes all of it.
            Scalar::Float(value) if value.is_finite() => drop(write!(self.out, "{value:?}")),
            Scalar::Float(_) => self.out.extend_from_slice(b"null"),
            Scalar::Text(text) => self.quoted(&text),
            Scalar::Bytes(bytes) => self.binary(&bytes),
            Scalar::JsonNumber(number) => self.out.extend_from_slice(number.text),
            Scalar::JsonText(text) => {
                self.out.push(b'"');
                self.out.extend_from_slice(text.text);
                self.out.push(b'"');
            }
        }
    }

    fn key(&mut self, key: Scalar<'a>) {
        self.separate();
        self.quoted(&key.into_key());
        self.out.push(b':');
        self.comma = false;
    }

    #[inline]
    fn open(&mut self, container: Container, _: Option<usize>) {
        self.separate();
        self.out.push(if container == Container::List { b'[' } else { b'{' });
        self.comma = false;
    }

    #[inline]
    fn close(&mut self, container: Container, _: usize) {
        self.out.push(if container == Container::List { b']' } else { b'}' });
        self.comma = true;
    }
}

impl Writer for JsonWriter<'_> {
    #[inline]
    fn raw(&mut self, encoded: &[u8]) {
        self.separate();
        self.out.extend_from_slice(encoded);
    }
}

/// `00` to `99`.
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Appends a number in decimal, two digits at a time: ids are up to sixteen digits long, and most of what an event costs.
fn decimal(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while value >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&DIGIT_PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if value > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes MessagePack, each number and length in its shortest form.
pub struct MsgPackWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Of the containers that are opened without length.
    lengths: std::vec::IntoIter<u32>,
}

impl<'o> MsgPackWriter<'o> {
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, lengths: Vec::new().into_iter() }
    }

    fn put<const N: usize>(&mut self, marker: u8, bytes: [u8; N]) {
        self.out.push(marker);
        self.out.extend_from_slice(&bytes);
    }

    fn unsigned(&mut self, value: u64) {
        match value {
            0..=0x7f => self.out.push(value as u8),
            0x80..=0xff => self.put(0xcc, [value as u8]),
            0x100..=0xffff => self.put(0xcd, (value as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.put(0xce, (value as u32).to_be_bytes()),
            _ => self.put(0xcf, value.to_be_bytes()),
        }
    }

    fn signed(&mut self, value: i64) {
        match value {
            0.. => self.unsigned(value as u64),
            -0x20..=-1 => self.out.push(value as u8),
            -0x80..=-0x21 => self.put(0xd0, (value as i8).to_be_bytes()),
            -0x8000..=-0x81 => self.put(0xd1, (value as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.put(0xd2, (value as i32).to_be_bytes()),
            _ => self.put(0xd3, value.to_be_bytes()),
        }
    }

    fn quoted(&mut self, text: &str) {
        match text.len() {
            len @ 0..=31 => self.out.push(0xa0 | len as u8),
            len @ 32..=0xff => self.put(0xd9, [len as u8]),
            len @ 0x100..=0xffff => self.put(0xda, (len as u16).to_be_bytes()),
            len => self.put(0xdb, (len as u32).to_be_bytes()),
        }
        self.out.extend_from_slice(text.as_bytes());
    }

    fn binary(&mut self, bytes: &[u8]) {
        match bytes.len() {
            len @ 0..=0xff => self.put(0xc4, [len as u8]),
            len @ 0x100..=0xffff => self.put(0xc5, (len as u16).to_be_bytes()),
            len => self.put(0xc6, (len as u32).to_be_bytes()),
        }
        self.out.extend_from_slice(bytes);
    }
}

impl<'a> Sink<'a> for MsgPackWriter<'_> {
    #[inline]
    fn scalar(&mut self, scalar: Scalar<'a>) {
        match scalar {
            Scalar::Bool(value) => self.out.push(0xc2 | u8::from(value)),
            Scalar::Int(value) => self.signed(value),
            Scalar::Uint(value) => self.unsigned(value),
            Scalar::Float(value) => self.put(0xcb, value.to_be_bytes()),
            Scalar::Text(text) => self.quoted(&text),
            Scalar::Bytes(bytes) => self.binary(&bytes),
            Scalar::Null => self.out.push(0xc0),
            Scalar::JsonNumber(_) | Scalar::JsonText(_) => self.scalar(scalar.plain()),
        }
    }

    fn key(&mut self, key: Scalar<'a>) {
        self.quoted(&key.into_key());
    }

    fn open(&mut self, container: Container, len: Option<usize>) {
        let len = len.or_else(|| self.lengths.next().map(|len| len as usize)).unwrap_or(0);
        let (short, long) = match container {
            Container::List => (0x90, 0xdc),
            Container::Map => (0x80, 0xde),
        };
        match len {
            0..=15 => self.out.push(short | len as u8),
            16..=0xffff => self.put(long, (len as u16).to_be_bytes()),
            _ => self.put(long + 1, (len as u32).to_be_bytes()),
        }
    }

    fn close(&mut self, _: Container, _: usize) {}
}

impl Writer for MsgPackWriter<'_> {
    #[inline]
    fn raw(&mut self, encoded: &[u8]) {
        self.out.extend_from_slice(encoded);
    }
}

/// Writes CBOR with definite lengths, each number and length in its shortest form.
pub struct CborWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Of the containers that are opened without length.
    lengths: std::vec::IntoIter<u32>,
}

impl<'o> CborWriter<'o> {
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, lengths: Vec::new().into_iter() }
    }

    fn initial(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        match argument {
            0..=23 => self.out.push(major | argument as u8),
            24..=0xff => self.out.extend_from_slice(&[major | 24, argument as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&(argument as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&(argument as u32).to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&argument.to_be_bytes());
            }
        }
    }

    fn string(&mut self, major: u8, bytes: &[u8]) {
        self.initial(major, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }
}

impl<'a> Sink<'a> for CborWriter<'_> {
    #[inline]
    fn scalar(&mut self, scalar: Scalar<'a>) {
        match scalar {
            Scalar::Bool(value) => self.out.push(0xf4 | u8::from(value)),
            Scalar::Int(value @ 0..) => self.initial(0, value as u64),
            Scalar::Int(value) => self.initial(1, !value as u64),
            Scalar::Uint(value) => self.initial(0, value),
            Scalar::Float(value) => {
                self.out.push(0xfb);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
            Scalar::Text(text) => self.string(3, text.as_bytes()),
            Scalar::Bytes(bytes) => self.string(2, &bytes),
            Scalar::Null => self.out.push(0xf6),
            Scalar::JsonNumber(_) | Scalar::JsonText(_) => self.scalar(scalar.plain()),
        }
    }

    fn key(&mut self, key: Scalar<'a>) {
        self.string(3, key.into_key().as_bytes());
    }

    fn open(&mut self, container: Container, len: Option<usize>) {
        let len = len.or_else(|| self.lengths.next().map(|len| len as usize)).unwrap_or(0);
        self.initial(if container == Container::List { 4 } else { 5 }, len as u64);
    }

    fn close(&mut self, _: Container, _: usize) {}
}

impl Writer for CborWriter<'_> {
    #[inline]
    fn raw(&mut self, encoded: &[u8]) {
        self.out.extend_from_slice(encoded);
    }
}
