//! JSON (RFC 8259), with binary as WAMP writes it: a text of `\0` and base64.
//!
//! Stricter than the grammar in one point: a `\u` escape of half a surrogate pair is refused, for strict parsers of other
//! peers to whom the text is forwarded choke on it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};

use super::Malformed;
use super::read::{Container, Head, Reader, Scalar};

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

    /// A non-negative integer.
    #[inline]
    pub fn as_u64(self) -> Option<u64> {
        if !self.integer || self.text.len() > 19 {
            return match self.read() {
                Scalar::Uint(value) => Some(value),
                _ => None,
            };
        }
        self.text.iter().try_fold(0u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
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

    #[inline]
    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.error("a digit is missing") } else { Ok(()) }
    }

    #[inline]
    fn number(&mut self) -> Result<JsonNumber<'a>, Malformed> {
        let start = self.at;
        let mut integer = true;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(JsonNumber { text: &self.bytes[start..self.at], integer })
    }

    /// Passes a string; `at` is on its opening quote.
    #[inline]
    fn string(&mut self) -> Result<JsonText<'a>, Malformed> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        let mut high_bits = 0;
        loop {
            high_bits |= self.pass_plain();
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.error("a control character in a string"),
                None => return self.error("a string without end"),
            }
        }
        let text = &self.bytes[start..self.at];
        if high_bits & HIGH != 0
            && let Err(error) = std::str::from_utf8(text)
        {
            return Err(Malformed { what: "invalid UTF-8", at: start + error.valid_up_to() });
        }
        self.at += 1;
        Ok(JsonText { text, escaped })
    }

    /// Passes bytes up to a quote, backslash or control character, eight at a time. Returns bytes seen, or'ed: their high
    /// bits tell whether UTF-8 must be checked.
    #[inline]
    fn pass_plain(&mut self) -> u64 {
        let mut seen = 0;
        while let Some(chunk) = self.bytes[self.at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            seen |= word;
            let special = special_bytes(word);
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return seen;
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek() {
            if byte < 0x20 || byte == b'"' || byte == b'\\' {
                break;
            }
            seen |= u64::from(byte);
            self.at += 1;
        }
        seen
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.unicode_escape()?;
                match unit {
                    0xd800..=0xdbff => match self.unicode_escape() {
                        Ok(0xdc00..=0xdfff) => Ok(()),
                        _ => self.error("half a surrogate pair"),
                    },
                    0xdc00..=0xdfff => self.error("half a surrogate pair"),
                    _ => Ok(()),
                }
            }
            _ => self.error("an unknown escape"),
        }
    }

    fn unicode_escape(&mut self) -> Result<u16, Malformed> {
        let Some([b'\\', b'u', digits @ ..]) = self.bytes.get(self.at..self.at + 6) else {
            return self.error("a broken \\u escape");
        };
        let mut unit = 0;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else {
                return self.error("a broken \\u escape");
            };
            unit = unit << 4 | value as u16;
        }
        self.at += 6;
        Ok(unit)
    }
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Sets the high bit of the first byte (in memory order) that is a quote, a backslash or below 0x20. Bits above the first
/// set one mean nothing.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(LOW) & !word;
    let quote = zero(word ^ LOW * b'"' as u64);
    let backslash = zero(word ^ LOW * b'\\' as u64);
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    (quote | backslash | control) & HIGH
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
}
