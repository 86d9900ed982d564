//! JSON (RFC 8259), with binary as WAMP writes it: a text of `\0` and base64.
//!
//! Stricter than the grammar in one point: a `\u` escape of half a surrogate pair is refused, for strict parsers of other
//! peers to whom the text is forwarded choke on it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};

use super::read::{Container, Head, Reader, Scalar};
use super::{DEPTH_MAX, Malformed};

mod scan;

/// Writes padding, and reads with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How binary begins: the escaped NUL.
pub const BINARY_MARK: &[u8] = b"\"\\u0000";

/// A number that follows the grammar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JsonNumber<'a> {
    pub text: &'a [u8],
    /// Has neither fraction nor exponent.
    pub integer: bool,
}

/// The inside of a string that follows the grammar: valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JsonText<'a> {
    pub text: &'a [u8],
    pub escaped: bool,
}

impl<'a> JsonNumber<'a> {
    /// An integer that fits 64 bits, else a float.
    pub fn read(self) -> Scalar<'a> {
        let text = std::str::from_utf8(self.text).unwrap_or_default();
        if self.integer && text != "-0" {
            if let Ok(value) = text.parse::<i64>() {
                return Scalar::Int(value);
            }
            if let Ok(value) = text.parse::<u64>() {
                return Scalar::Uint(value);
            }
        }
        Scalar::Float(text.parse().unwrap_or(f64::NAN))
    }
}

/// The non-negative integer that an encoded value is.
#[inline]
pub fn unsigned(encoded: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    match encoded.len() {
        0 => None,
        // No overflow with these.
        1..=19 => encoded.iter().try_fold(0, |sum, byte| Some(sum * 10 + digit(byte)?)),
        _ => encoded.iter().try_fold(0u64, |sum, byte| sum.checked_mul(10)?.checked_add(digit(byte)?)),
    }
}

/// The text that an encoded value is, unless it is binary.
#[inline]
pub fn text(encoded: &[u8]) -> Option<Cow<'_, str>> {
    let text = encoded.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', text).is_none() {
        return std::str::from_utf8(text).ok().map(Cow::Borrowed);
    }
    match (JsonText { text, escaped: true }).read() {
        Scalar::Text(text) => Some(text),
        _ => None,
    }
}

impl<'a> JsonText<'a> {
    /// The text, or the bytes if it is binary. A `\0` before what is no base64 is just text.
    pub fn read(self) -> Scalar<'a> {
        let text = self.unescape();
        match text.strip_prefix('\0').map(|encoded| BASE64.decode(encoded)) {
            Some(Ok(bytes)) => Scalar::Bytes(bytes.into()),
            _ => Scalar::Text(text),
        }
    }

    /// The text without escapes.
    pub fn unescape(self) -> Cow<'a, str> {
        // The reader has checked it; should a caller not have, wrong bytes are replaced.
        let text = String::from_utf8_lossy(self.text);
        if !self.escaped {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_ref();
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            rest = unescape_one(&rest[at + 1..], &mut out);
        }
        out.push_str(rest);
        out.into()
    }
}

/// Appends what an escape (its backslash is gone) means, and returns the rest.
fn unescape_one<'t>(text: &'t str, out: &mut String) -> &'t str {
    let mut chars = text.chars();
    match chars.next() {
        Some('b') => out.push('\u{8}'),
        Some('f') => out.push('\u{c}'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('t') => out.push('\t'),
        Some('u') => return unescape_unicode(chars.as_str(), out),
        Some(other) => out.push(other),
        None => {}
    }
    chars.as_str()
}

fn unescape_unicode<'t>(text: &'t str, out: &mut String) -> &'t str {
    let unit = |text: &str| text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(first) = unit(text) else { return text };
    let rest = &text[4..];
    if let Some(character) = char::from_u32(first) {
        out.push(character);
        return rest;
    }
    let second = rest.strip_prefix("\\u").and_then(unit).unwrap_or_default();
    let code = 0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff);
    out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    rest.get(6..).unwrap_or_default()
}

/// Binary as JSON text, not yet quoted: `\0` and base64.
pub fn binary_text(bytes: &[u8]) -> String {
    let mut text = String::from('\0');
    general_purpose::STANDARD.encode_string(bytes, &mut text);
    text
}

/// Reads JSON.
pub struct JsonReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> JsonReader<'a> {
    /// Begins at the first byte that is no white space.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self { bytes, at: 0 };
        reader.space();
        reader
    }

    #[cold]
    fn error<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { what, at: self.at })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &'static [u8], scalar: Scalar<'a>) -> Result<Head<'a>, Malformed> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(Head::Scalar(scalar))
        } else {
            self.error("not a JSON value")
        }
    }

    fn number(&mut self) -> Result<JsonNumber<'a>, Malformed> {
        let Some(end) = scan::number(self.bytes, self.at) else {
            return self.error("a malformed number");
        };
        let text = &self.bytes[self.at..end];
        self.at = end;
        Ok(JsonNumber { text, integer: !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) })
    }

    /// Passes a string; `at` is on its opening quote.
    #[inline]
    fn string(&mut self) -> Result<JsonText<'a>, Malformed> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        let mut high_bits = 0;
        loop {
            let (at, seen) = scan::plain(self.bytes, self.at);
            self.at = at;
            high_bits |= seen;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    match scan::escape(self.bytes, self.at) {
                        Some(at) => self.at = at,
                        None => return self.error("a broken escape"),
                    }
                }
                Some(_) => return self.error("a control character in a string"),
                None => return self.error("a string without end"),
            }
        }
        let text = &self.bytes[start..self.at];
        if high_bits & scan::HIGH_BITS != 0
            && let Err(error) = std::str::from_utf8(text)
        {
            return Err(Malformed { what: "invalid UTF-8", at: start + error.valid_up_to() });
        }
        self.at += 1;
        Ok(JsonText { text, escaped })
    }
}

impl<'a> Reader<'a> for JsonReader<'a> {
    #[inline]
    fn at(&self) -> usize {
        self.at
    }

    #[inline]
    fn head(&mut self) -> Result<Head<'a>, Malformed> {
        match self.peek() {
            Some(b'"') => Ok(Head::Scalar(Scalar::JsonText(self.string()?))),
            Some(b'-' | b'0'..=b'9') => Ok(Head::Scalar(Scalar::JsonNumber(self.number()?))),
            Some(b'[') => {
                self.at += 1;
                Ok(Head::Open(Container::List, None))
            }
            Some(b'{') => {
                self.at += 1;
                Ok(Head::Open(Container::Map, None))
            }
            Some(b't') => self.literal(b"true", Scalar::Bool(true)),
            Some(b'f') => self.literal(b"false", Scalar::Bool(false)),
            Some(b'n') => self.literal(b"null", Scalar::Null),
            Some(_) => self.error("not a JSON value"),
            None => self.error("a value is missing"),
        }
    }

    #[inline]
    fn more(&mut self, container: Container, _: Option<usize>, seen: usize) -> Result<bool, Malformed> {
        let close = match container {
            Container::List => b']',
            Container::Map => b'}',
        };
        self.space();
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if seen > 0 => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(_) if seen == 0 => Ok(true),
            Some(_) => self.error("a comma is missing"),
            None => self.error("a list or object without end"),
        }
    }

    #[inline]
    fn key(&mut self) -> Result<Scalar<'a>, Malformed> {
        if self.peek() != Some(b'"') {
            return self.error("a key is missing");
        }
        let key = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return self.error("a colon is missing");
        }
        self.at += 1;
        self.space();
        Ok(Scalar::JsonText(key))
    }

    #[inline]
    fn finish(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { self.error("more after the value") }
    }

    #[inline]
    fn scan(&mut self, depth: usize) -> Option<()> {
        self.at = scan::value(self.bytes, self.at, DEPTH_MAX.checked_sub(depth)?)?;
        Some(())
    }
}
