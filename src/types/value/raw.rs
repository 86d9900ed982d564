//! Encoded values, looked into without decoding the whole.

use std::borrow::Cow;

use super::cbor::{self, CborReader};
use super::json::{self, JsonReader};
use super::msgpack::{self, MsgPackReader};
use super::read::{Builder, Container, Head, Reader, Scalar, skip, walk};
use super::{Format, Malformed, Value, write};

/// Runs `$body` with a reader of the format, so that each format gets its own compiled walk.
macro_rules! with_reader {
    ($format:expr, $bytes:expr, $reader:ident => $body:expr) => {
        match $format {
            Format::Json => {
                let mut $reader = JsonReader::new($bytes);
                $body
            }
            Format::MsgPack => {
                let mut $reader = MsgPackReader::new($bytes);
                $body
            }
            Format::Cbor => {
                let mut $reader = CborReader::new($bytes);
                $body
            }
        }
    };
}
pub(super) use with_reader;

/// One encoded value, known to be well-formed, without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    format: Format,
    bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Checks that `bytes` are exactly one value (in JSON maybe with white space around) and passes through all of it.
    pub fn parse(format: Format, bytes: &'a [u8]) -> Result<Raw<'a>, Malformed> {
        with_reader!(format, bytes, reader => {
            let start = reader.at();
            skip(&mut reader, 0)?;
            let end = reader.at();
            reader.finish()?;
            Ok(Raw { format, bytes: &bytes[start..end] })
        })
    }

    /// What an earlier check has found well-formed. If it is not, the parts behind the fault are not seen.
    pub fn checked(format: Format, bytes: &'a [u8]) -> Raw<'a> {
        Raw { format, bytes }
    }

    pub fn format(self) -> Format {
        self.format
    }

    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    fn head(self) -> Option<Head<'a>> {
        with_reader!(self.format, self.bytes, reader => reader.head().ok())
    }

    /// The value if it has no parts.
    pub fn scalar(self) -> Option<Scalar<'a>> {
        match self.head()? {
            Head::Scalar(scalar) => Some(scalar.plain()),
            Head::Open(..) => None,
        }
    }

    /// Null, undefined or MessagePack ext type 0: as an option, absent.
    pub fn is_null(self) -> bool {
        match (self.format, self.bytes.first()) {
            (Format::Json, first) => first == Some(&b'n'),
            // No other scalar or container begins as these do.
            (Format::MsgPack, Some(0x01..=0xbf)) | (Format::Cbor, Some(0x00..=0xbf)) => false,
            _ => matches!(self.head(), Some(Head::Scalar(Scalar::Null))),
        }
    }

    /// Undefined, or MessagePack ext type 0, which JavaScript encoders write for it: absent even where null is a value.
    pub fn is_undefined(self) -> bool {
        match (self.format, self.bytes) {
            (Format::Json, _) | (Format::MsgPack, [0xc0]) | (Format::Cbor, [0xf6]) => false,
            _ => self.is_null(),
        }
    }

    pub fn is_list(self) -> bool {
        self.container() == Some(Container::List)
    }

    pub fn is_map(self) -> bool {
        self.container() == Some(Container::Map)
    }

    #[inline]
    fn container(self) -> Option<Container> {
        match (self.format, *self.bytes.first()?) {
            (Format::Json, b'[') | (Format::MsgPack, 0x90..=0x9f | 0xdc | 0xdd) => Some(Container::List),
            (Format::Json, b'{') | (Format::MsgPack, 0x80..=0x8f | 0xde | 0xdf) => Some(Container::Map),
            (Format::Cbor, 0x80..=0x9f) => Some(Container::List),
            (Format::Cbor, 0xa0..=0xbf) => Some(Container::Map),
            (Format::Cbor, 0xc0..=0xdb) => match self.head()? {
                Head::Open(container, _) => Some(container),
                Head::Scalar(_) => None,
            },
            _ => None,
        }
    }

    /// A list or map without elements.
    #[inline]
    pub fn is_empty_container(self) -> bool {
        match (self.format, self.bytes) {
            (Format::Json, b"{}" | b"[]") | (Format::MsgPack, [0x80 | 0x90]) | (Format::Cbor, [0x80 | 0xa0]) => true,
            (Format::MsgPack, [0x81..=0x8f | 0x91..=0x9f, ..]) => false,
            _ => with_reader!(self.format, self.bytes, reader => match reader.head() {
                Ok(Head::Open(container, len)) => !reader.more(container, len, 0).unwrap_or(false),
                _ => false,
            }),
        }
    }

    pub fn as_bool(self) -> Option<bool> {
        match self.scalar()? {
            Scalar::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A non-negative integer. In MessagePack and CBOR that includes a float without a fraction, up to 2^53: encoders in
    /// JavaScript, which knows floats only, write integers above 2^32 that way, ids among them. A JSON `1.0` is none.
    #[inline]
    pub fn as_u64(self) -> Option<u64> {
        match self.format {
            Format::Json => json::unsigned(self.bytes),
            Format::MsgPack => msgpack::unsigned(self.bytes),
            Format::Cbor => cbor::unsigned(self.bytes),
        }
    }

    /// A text; in JSON not one that stands for binary.
    #[inline]
    pub fn as_text(self) -> Option<Cow<'a, str>> {
        match self.format {
            Format::Json => json::text(self.bytes),
            Format::MsgPack => msgpack::text(self.bytes).map(Cow::Borrowed),
            Format::Cbor => cbor::text(self.bytes),
        }
    }

    /// Binary.
    pub fn as_binary(self) -> Option<Cow<'a, [u8]>> {
        if self.format == Format::Json && !self.bytes.starts_with(json::BINARY_MARK) {
            return None;
        }
        match self.scalar()? {
            Scalar::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements of a list; of anything else none.
    pub fn items(self) -> Items<'a> {
        Items(Parts::new(self, Container::List))
    }

    /// The entries of a map; of anything else none. Keys that are no text are made text.
    pub fn entries(self) -> Entries<'a> {
        Entries(Parts::new(self, Container::Map))
    }

    /// The value of a map's key; of duplicates the last.
    pub fn get(self, key: &str) -> Option<Raw<'a>> {
        self.entries().filter(|(name, _)| name == key).last().map(|(_, value)| value)
    }

    pub fn to_value(self) -> Value {
        let mut builder = Builder::default();
        let _ = with_reader!(self.format, self.bytes, reader => walk(&mut reader, &mut builder, 0));
        builder.finish()
    }

    /// Appends the value in `format`.
    pub fn encode(self, format: Format, out: &mut Vec<u8>) {
        write::transcode(self, format, out);
    }
}

/// Splits a list into its encoded elements, of which it may have `N` at most, checking all of it: the list must be all
/// there is. Returns how many there are, [`None`] if `bytes` are no list or one with more elements.
pub fn split_list<'a, const N: usize>(
    format: Format,
    bytes: &'a [u8],
    elements: &mut [&'a [u8]; N],
) -> Result<Option<usize>, Malformed> {
    with_reader!(format, bytes, reader => split(&mut reader, bytes, elements))
}

#[inline]
fn split<'a, R: Reader<'a>, const N: usize>(
    reader: &mut R,
    bytes: &'a [u8],
    elements: &mut [&'a [u8]; N],
) -> Result<Option<usize>, Malformed> {
    let Head::Open(Container::List, len) = reader.head()? else { return Ok(None) };
    let mut seen = 0;
    while reader.more(Container::List, len, seen)? {
        let start = reader.at();
        skip(reader, 1)?;
        let Some(element) = elements.get_mut(seen) else { return Ok(None) };
        *element = &bytes[start..reader.at()];
        seen += 1;
    }
    reader.finish()?;
    Ok(Some(seen))
}

enum AnyReader<'a> {
    Json(JsonReader<'a>),
    MsgPack(MsgPackReader<'a>),
    Cbor(CborReader<'a>),
}

/// The parts of a container, one after the other.
struct Parts<'a> {
    raw: Raw<'a>,
    reader: AnyReader<'a>,
    container: Container,
    len: Option<usize>,
    seen: usize,
    over: bool,
}

impl<'a> Parts<'a> {
    fn new(raw: Raw<'a>, container: Container) -> Self {
        let mut reader = match raw.format {
            Format::Json => AnyReader::Json(JsonReader::new(raw.bytes)),
            Format::MsgPack => AnyReader::MsgPack(MsgPackReader::new(raw.bytes)),
            Format::Cbor => AnyReader::Cbor(CborReader::new(raw.bytes)),
        };
        let head = match &mut reader {
            AnyReader::Json(reader) => reader.head(),
            AnyReader::MsgPack(reader) => reader.head(),
            AnyReader::Cbor(reader) => reader.head(),
        };
        let len = match head {
            Ok(Head::Open(found, len)) if found == container => Some(len),
            _ => None,
        };
        Self { raw, reader, container, len: len.flatten(), seen: 0, over: len.is_none() }
    }

    fn next(&mut self) -> Option<(Option<Scalar<'a>>, Raw<'a>)> {
        if self.over {
            return None;
        }
        let (raw, container, len, seen) = (self.raw, self.container, self.len, self.seen);
        let next = match &mut self.reader {
            AnyReader::Json(reader) => next_part(raw, reader, container, len, seen),
            AnyReader::MsgPack(reader) => next_part(raw, reader, container, len, seen),
            AnyReader::Cbor(reader) => next_part(raw, reader, container, len, seen),
        };
        self.seen += 1;
        let next = next.ok().flatten();
        self.over = next.is_none();
        next
    }
}

#[allow(clippy::type_complexity)] // a part: its key if it has one, and its value
fn next_part<'a, R: Reader<'a>>(
    raw: Raw<'a>,
    reader: &mut R,
    container: Container,
    len: Option<usize>,
    seen: usize,
) -> Result<Option<(Option<Scalar<'a>>, Raw<'a>)>, Malformed> {
    if !reader.more(container, len, seen)? {
        return Ok(None);
    }
    let key = match container {
        Container::List => None,
        Container::Map => Some(reader.key()?),
    };
    let start = reader.at();
    skip(reader, 1)?;
    Ok(Some((key, Raw { format: raw.format, bytes: &raw.bytes[start..reader.at()] })))
}

/// The elements of a list.
pub struct Items<'a>(Parts<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        Some(self.0.next()?.1)
    }
}

/// The keys and values of a map.
pub struct Entries<'a>(Parts<'a>);

impl<'a> Entries<'a> {
    /// The next entry with its key as it was encoded.
    pub fn next_with_scalar_key(&mut self) -> Option<(Scalar<'a>, Raw<'a>)> {
        let (key, value) = self.0.next()?;
        Some((key?, value))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Cow<'a, str>, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.next_with_scalar_key()?;
        Some((key.into_key(), value))
    }
}
