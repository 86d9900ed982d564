//! MessagePack (version 5, with `str` and `bin`).

use super::read::{Container, Head, Reader, Scalar};
use super::{DEPTH_MAX, Malformed};

/// Reads MessagePack.
pub struct MsgPackReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> MsgPackReader<'a> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[cold]
    fn error<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { what, at: self.at })
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        match self.bytes[self.at..].get(..len) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => self.error("a value is cut off"),
        }
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

    /// A big-endian length of `N` bytes.
    #[inline]
    fn len<const N: usize>(&mut self) -> Result<usize, Malformed> {
        Ok(self.array::<N>()?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    #[inline]
    fn text(&mut self, len: usize) -> Result<Head<'a>, Malformed> {
        let start = self.at;
        match std::str::from_utf8(self.take(len)?) {
            Ok(text) => Ok(Head::Scalar(Scalar::Text(text.into()))),
            Err(error) => Err(Malformed { what: "invalid UTF-8", at: start + error.valid_up_to() }),
        }
    }

    fn binary(&mut self, len: usize) -> Result<Head<'a>, Malformed> {
        Ok(Head::Scalar(Scalar::Bytes(self.take(len)?.into())))
    }

    fn ext(&mut self, len: usize) -> Result<Head<'a>, Malformed> {
        let [kind] = self.array::<1>()?;
        let data = self.take(len)?;
        Ok(Head::Scalar(match kind as i8 {
            0 => Scalar::Null,
            -1 => timestamp(data),
            _ => Scalar::Bytes(data.into()),
        }))
    }
}

/// The non-negative integer that an encoded value is; see [`super::Raw::as_u64`] about floats.
#[inline]
pub fn unsigned(encoded: &[u8]) -> Option<u64> {
    match *encoded {
        [small @ 0x00..=0x7f] => Some(u64::from(small)),
        [0xcc..=0xcf, ref digits @ ..] => Some(digits.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))),
        _ => match MsgPackReader::new(encoded).head() {
            Ok(Head::Scalar(Scalar::Int(value))) => u64::try_from(value).ok(),
            Ok(Head::Scalar(Scalar::Float(value))) => super::whole(value),
            _ => None,
        },
    }
}

/// The text that an encoded value is.
#[inline]
pub fn text(encoded: &[u8]) -> Option<&str> {
    let text = match *encoded.first()? {
        0xa0..=0xbf => &encoded[1..],
        0xd9 => encoded.get(2..)?,
        0xda => encoded.get(3..)?,
        0xdb => encoded.get(5..)?,
        _ => return None,
    };
    std::str::from_utf8(text).ok()
}

/// Seconds since 1970 (MessagePack, Timestamp extension type).
fn timestamp(data: &[u8]) -> Scalar<'_> {
    let (seconds, nanoseconds) = if let Ok(short) = <[u8; 4]>::try_from(data) {
        (i64::from(u32::from_be_bytes(short)), 0)
    } else if let Ok(long) = <[u8; 8]>::try_from(data) {
        let both = u64::from_be_bytes(long);
        ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
    } else if let Some((nanoseconds, seconds)) = data.split_first_chunk::<4>()
        && let Ok(seconds) = <[u8; 8]>::try_from(seconds)
    {
        (i64::from_be_bytes(seconds), u32::from_be_bytes(*nanoseconds))
    } else {
        return Scalar::Bytes(data.into());
    };
    if nanoseconds == 0 { Scalar::Int(seconds) } else { Scalar::Float(seconds as f64 + f64::from(nanoseconds) / 1e9) }
}

#[inline]
fn int<'a>(value: i64) -> Head<'a> {
    Head::Scalar(Scalar::Int(value))
}

#[inline]
fn uint<'a>(value: u64) -> Head<'a> {
    Head::Scalar(i64::try_from(value).map_or(Scalar::Uint(value), Scalar::Int))
}

#[inline]
fn float<'a>(value: f64) -> Head<'a> {
    Head::Scalar(Scalar::Float(value))
}

#[inline]
fn open<'a>(container: Container, len: usize) -> Head<'a> {
    Head::Open(container, Some(len))
}

impl<'a> Reader<'a> for MsgPackReader<'a> {
    #[inline]
    fn at(&self) -> usize {
        self.at
    }

    #[inline]
    fn head(&mut self) -> Result<Head<'a>, Malformed> {
        let [marker] = self.array::<1>()?;
        Ok(match marker {
            0x00..=0x7f => int(i64::from(marker)),
            0x80..=0x8f => open(Container::Map, usize::from(marker & 0x0f)),
            0x90..=0x9f => open(Container::List, usize::from(marker & 0x0f)),
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            0xc0 => Head::Scalar(Scalar::Null),
            0xc1 => return self.error("the byte 0xc1, which MessagePack never uses"),
            0xc2 => Head::Scalar(Scalar::Bool(false)),
            0xc3 => Head::Scalar(Scalar::Bool(true)),
            0xc4 => self.len::<1>().and_then(|len| self.binary(len))?,
            0xc5 => self.len::<2>().and_then(|len| self.binary(len))?,
            0xc6 => self.len::<4>().and_then(|len| self.binary(len))?,
            0xc7 => self.len::<1>().and_then(|len| self.ext(len))?,
            0xc8 => self.len::<2>().and_then(|len| self.ext(len))?,
            0xc9 => self.len::<4>().and_then(|len| self.ext(len))?,
            0xca => float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => float(f64::from_be_bytes(self.array()?)),
            0xcc => uint(self.len::<1>()? as u64),
            0xcd => uint(self.len::<2>()? as u64),
            0xce => uint(self.len::<4>()? as u64),
            0xcf => uint(u64::from_be_bytes(self.array()?)),
            0xd0 => int(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => int(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => int(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => int(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.ext(1 << (marker - 0xd4))?,
            0xd9 => self.len::<1>().and_then(|len| self.text(len))?,
            0xda => self.len::<2>().and_then(|len| self.text(len))?,
            0xdb => self.len::<4>().and_then(|len| self.text(len))?,
            0xdc => open(Container::List, self.len::<2>()?),
            0xdd => open(Container::List, self.len::<4>()?),
            0xde => open(Container::Map, self.len::<2>()?),
            0xdf => open(Container::Map, self.len::<4>()?),
            0xe0..=0xff => int(i64::from(marker as i8)),
        })
    }

    #[inline]
    fn more(&mut self, _: Container, len: Option<usize>, seen: usize) -> Result<bool, Malformed> {
        Ok(len.is_some_and(|len| seen < len))
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

/// The end of the value that begins at `at` and has no more than `depth_left` levels.
fn scan(bytes: &[u8], at: usize, depth_left: usize) -> Option<usize> {
    let marker = *bytes.get(at)?;
    let at = at + 1;
    let fixed = |len: usize| (at + len <= bytes.len()).then_some(at + len);
    match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some(at),
        0xa0..=0xbf => scan_text(bytes, at, usize::from(marker & 0x1f)),
        0x80..=0x8f => scan_map(bytes, at, usize::from(marker & 0x0f), depth_left),
        0x90..=0x9f => scan_list(bytes, at, usize::from(marker & 0x0f), depth_left),
        0xcc | 0xd0 => fixed(1),
        0xcd | 0xd1 => fixed(2),
        0xca | 0xce | 0xd2 => fixed(4),
        0xcb | 0xcf | 0xd3 => fixed(8),
        0xd4..=0xd8 => fixed(1 + (1 << (marker - 0xd4))),
        0xd9..=0xdb => {
            let (at, len) = scan_len(bytes, at, 1 << (marker - 0xd9))?;
            scan_text(bytes, at, len)
        }
        0xc4..=0xc6 => {
            let (at, len) = scan_len(bytes, at, 1 << (marker - 0xc4))?;
            (len <= bytes.len() - at).then(|| at + len)
        }
        0xc7..=0xc9 => {
            let (at, len) = scan_len(bytes, at, 1 << (marker - 0xc7))?;
            (len < bytes.len() - at).then(|| at + 1 + len)
        }
        0xdc | 0xdd => {
            let (at, len) = scan_len(bytes, at, 2 << (marker - 0xdc))?;
            scan_list(bytes, at, len, depth_left)
        }
        0xde | 0xdf => {
            let (at, len) = scan_len(bytes, at, 2 << (marker - 0xde))?;
            scan_map(bytes, at, len, depth_left)
        }
        0xc1 => None,
    }
}

#[inline]
fn scan_len(bytes: &[u8], at: usize, width: usize) -> Option<(usize, usize)> {
    let digits = bytes.get(at..at + width)?;
    Some((at + width, digits.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))))
}

#[inline]
fn scan_text(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    std::str::from_utf8(bytes[at..].get(..len)?).ok()?;
    Some(at + len)
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
        if matches!(bytes.get(at)?, 0x80..=0x9f | 0xdc..=0xdf) {
            return None;
        }
        at = scan(bytes, at, depth_left)?;
        at = scan(bytes, at, depth_left)?;
    }
    Some(at)
}
