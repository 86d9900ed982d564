//! CBOR (RFC 8949).

use std::borrow::Cow;

use super::read::{Container, Head, Reader, Scalar};
use super::{DEPTH_MAX, Malformed};

/// Ends what has no length (RFC 8949, 3.2.1).
const BREAK: u8 = 0xff;

/// Reads CBOR.
pub struct CborReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The initial byte and its argument (RFC 8949, 3).
struct Initial {
    major: u8,
    info: u8,
    /// The argument; meaningless if there is none (`info` 31).
    argument: u64,
}

impl<'a> CborReader<'a> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[cold]
    fn error<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { what, at: self.at })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.bytes[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => self.error("a value is cut off"),
        }
    }

    #[inline]
    fn initial(&mut self) -> Result<Initial, Malformed> {
        let [byte] = self.array()?;
        let (major, info) = (byte >> 5, byte & 0x1f);
        let argument = match info {
            0..=23 => u64::from(info),
            24 => u64::from(u8::from_be_bytes(self.array()?)),
            25 => u64::from(u16::from_be_bytes(self.array()?)),
            26 => u64::from(u32::from_be_bytes(self.array()?)),
            27 => u64::from_be_bytes(self.array()?),
            31 => 0,
            _ => return self.error("a reserved length"),
        };
        Ok(Initial { major, info, argument })
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => self.error("a value is cut off"),
        }
    }

    /// A byte string, maybe in chunks (RFC 8949, 3.2.3).
    #[inline]
    fn binary(&mut self, initial: &Initial) -> Result<Cow<'a, [u8]>, Malformed> {
        if initial.info != 31 {
            return Ok(self.take(initial.argument)?.into());
        }
        let mut joined = Vec::new();
        while let Some(len) = self.chunk(2)? {
            joined.extend_from_slice(self.take(len)?);
        }
        Ok(joined.into())
    }

    /// A text, maybe in chunks, each of them whole characters.
    #[inline]
    fn text(&mut self, initial: &Initial) -> Result<Cow<'a, str>, Malformed> {
        if initial.info != 31 {
            return Ok(self.utf8(initial.argument)?.into());
        }
        let mut joined = String::new();
        while let Some(len) = self.chunk(3)? {
            joined.push_str(self.utf8(len)?);
        }
        Ok(joined.into())
    }

    #[inline]
    fn utf8(&mut self, len: u64) -> Result<&'a str, Malformed> {
        let start = self.at;
        std::str::from_utf8(self.take(len)?)
            .map_err(|error| Malformed { what: "invalid UTF-8", at: start + error.valid_up_to() })
    }

    /// The length of the next chunk; none at the end.
    fn chunk(&mut self, major: u8) -> Result<Option<u64>, Malformed> {
        if self.passes_break() {
            return Ok(None);
        }
        let next = self.initial()?;
        if next.major != major || next.info == 31 {
            return self.error("a chunk of another type");
        }
        Ok(Some(next.argument))
    }

    fn passes_break(&mut self) -> bool {
        let found = self.bytes.get(self.at) == Some(&BREAK);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn container(&self, container: Container, initial: &Initial) -> Result<Head<'a>, Malformed> {
        if initial.info == 31 {
            return Ok(Head::Open(container, None));
        }
        match usize::try_from(initial.argument) {
            Ok(len) => Ok(Head::Open(container, Some(len))),
            Err(_) => self.error("a value is cut off"),
        }
    }

    /// Passes a tag's value. Bignums become numbers, other tags say nothing that the other formats know.
    fn tagged(&mut self, mut tag: u64) -> Result<Head<'a>, Malformed> {
        loop {
            let initial = self.initial()?;
            match (initial.major, tag) {
                (6, _) if initial.info != 31 => tag = initial.argument,
                (2, 2 | 3) => return Ok(Head::Scalar(bignum(&self.binary(&initial)?, tag == 3))),
                _ => return self.item(&initial),
            }
        }
    }

    #[inline]
    fn item(&mut self, initial: &Initial) -> Result<Head<'a>, Malformed> {
        if initial.info == 31 && !matches!(initial.major, 2..=5) {
            return self.error("an end of nothing");
        }
        Ok(Head::Scalar(match initial.major {
            0 => positive(initial.argument),
            1 => negative(initial.argument),
            2 => Scalar::Bytes(self.binary(initial)?),
            3 => Scalar::Text(self.text(initial)?),
            4 => return self.container(Container::List, initial),
            5 => return self.container(Container::Map, initial),
            6 => return self.tagged(initial.argument),
            _ => return self.simple(initial),
        }))
    }

    fn simple(&mut self, initial: &Initial) -> Result<Head<'a>, Malformed> {
        Ok(Head::Scalar(match (initial.info, initial.argument) {
            (20, _) => Scalar::Bool(false),
            (21, _) => Scalar::Bool(true),
            (22 | 23, _) => Scalar::Null,
            (25, half) => Scalar::Float(half_float(half as u16)),
            (26, single) => Scalar::Float(f64::from(f32::from_bits(single as u32))),
            (27, double) => Scalar::Float(f64::from_bits(double)),
            _ => return self.error("an unknown simple value"),
        }))
    }
}

/// The non-negative integer that an encoded value is; see [`super::Raw::as_u64`] about floats.
#[inline]
pub fn unsigned(encoded: &[u8]) -> Option<u64> {
    match *encoded {
        [small @ 0x00..=0x17] => Some(u64::from(small)),
        [0x18..=0x1b, ref digits @ ..] => Some(digits.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))),
        _ => match CborReader::new(encoded).head() {
            Ok(Head::Scalar(Scalar::Int(value))) => u64::try_from(value).ok(),
            Ok(Head::Scalar(Scalar::Uint(value))) => Some(value),
            Ok(Head::Scalar(Scalar::Float(value))) => super::whole(value),
            _ => None,
        },
    }
}

/// The text that an encoded value is.
#[inline]
pub fn text(encoded: &[u8]) -> Option<Cow<'_, str>> {
    match *encoded.first()? {
        0x60..=0x77 => std::str::from_utf8(&encoded[1..]).ok().map(Cow::Borrowed),
        0x78 => std::str::from_utf8(encoded.get(2..)?).ok().map(Cow::Borrowed),
        _ => match CborReader::new(encoded).head() {
            Ok(Head::Scalar(Scalar::Text(text))) => Some(text),
            _ => None,
        },
    }
}

fn positive<'a>(value: u64) -> Scalar<'a> {
    i64::try_from(value).map_or(Scalar::Uint(value), Scalar::Int)
}

/// -1 - `argument`.
fn negative<'a>(argument: u64) -> Scalar<'a> {
    i64::try_from(argument).map_or(Scalar::Float(-1.0 - argument as f64), |value| Scalar::Int(-1 - value))
}

/// RFC 8949, 3.4.3.
fn bignum<'a>(bytes: &[u8], is_negative: bool) -> Scalar<'a> {
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    if digits.len() <= 8 {
        let value = digits.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        return if is_negative { negative(value) } else { positive(value) };
    }
    let size = digits.iter().fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte));
    Scalar::Float(if is_negative { -1.0 - size } else { size })
}

/// RFC 8949, appendix D.
fn half_float(half: u16) -> f64 {
    let exponent = i32::from(half >> 10 & 0x1f);
    let fraction = f64::from(half & 0x3ff);
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * 2f64.powi(exponent - 25),
    };
    if half & 0x8000 == 0 { size } else { -size }
}

impl<'a> Reader<'a> for CborReader<'a> {
    #[inline]
    fn at(&self) -> usize {
        self.at
    }

    #[inline]
    fn head(&mut self) -> Result<Head<'a>, Malformed> {
        let initial = self.initial()?;
        self.item(&initial)
    }

    #[inline]
    fn more(&mut self, _: Container, len: Option<usize>, seen: usize) -> Result<bool, Malformed> {
        match len {
            Some(len) => Ok(seen < len),
            None => Ok(!self.passes_break()),
        }
    }

    #[inline]
    fn key(&mut self) -> Result<Scalar<'a>, Malformed> {
        match self.head()? {
            Head::Scalar(key) => Ok(key),
            Head::Open(..) => self.error("a list or map as key"),
        }
    }

    #[inline]
    fn finish(&mut self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { self.error("more after the value") }
    }

    #[inline]
    fn scan(&mut self, depth: usize) -> Option<()> {
        self.at = scan(self.bytes, self.at, DEPTH_MAX.checked_sub(depth)?)?;
        Some(())
    }
}

/// The end of the value that begins at `at` and has no more than `depth_left` levels. What has tags or chunks, which is rare,
/// is left to [`walk`](super::read::walk).
fn scan(bytes: &[u8], at: usize, depth_left: usize) -> Option<usize> {
    let initial = *bytes.get(at)?;
    let (at, argument) = match initial & 0x1f {
        info @ 0..=23 => (at + 1, usize::from(info)),
        info @ 24..=27 => {
            let end = at + 1 + (1 << (info - 24));
            let argument = bytes.get(at + 1..end)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            // One that does not fit is too long for a length, and means nothing to the rest.
            (end, usize::try_from(argument).unwrap_or(usize::MAX))
        }
        _ => return None,
    };
    match initial >> 5 {
        0 | 1 => Some(at),
        2 => bytes[at..].get(..argument).map(|_| at + argument),
        3 => {
            std::str::from_utf8(bytes[at..].get(..argument)?).ok()?;
            Some(at + argument)
        }
        4 => scan_list(bytes, at, argument, depth_left),
        5 => scan_map(bytes, at, argument, depth_left),
        7 if matches!(initial, 0xf4..=0xf7 | 0xf9..=0xfb) => Some(at),
        _ => None,
    }
}

fn scan_list(bytes: &[u8], mut at: usize, len: usize, depth_left: usize) -> Option<usize> {
    let depth_left = depth_left.checked_sub(1)?;
    for _ in 0..len {
        at = scan(bytes, at, depth_left)?;
    }
    Some(at)
}

fn scan_map(bytes: &[u8], mut at: usize, len: usize, depth_left: usize) -> Option<usize> {
    let depth_left = depth_left.checked_sub(1)?;
    for _ in 0..len {
        if matches!(bytes.get(at)?, 0x80..=0xbf) {
            return None;
        }
        at = scan(bytes, at, depth_left)?;
        at = scan(bytes, at, depth_left)?;
    }
    Some(at)
}
