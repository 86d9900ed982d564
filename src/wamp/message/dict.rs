//! Options and details.

use std::borrow::Cow;

use crate::types::payload::Format;
use crate::types::value::read::{Container, Scalar, Sink};
use crate::types::value::write::{Writer, with_writer};
use crate::types::value::{Raw, Value};

/// Options or details: an encoded map with text keys, read only where somebody asks.
///
/// An entry whose value is null (or `undefined`, or MessagePack ext type 0) counts as absent: some clients send all options
/// they know, most of them null.
#[derive(Clone, Debug, Default)]
pub enum Dict<'a> {
    /// `{}`.
    #[default]
    Empty,
    /// As it came: a map with entries, some of which may be null.
    Borrowed(Raw<'a>),
    /// To be sent: an encoded map.
    Owned(Format, Vec<u8>),
}

impl<'a> Dict<'a> {
    /// `raw` must be a map.
    pub fn from_raw(raw: Raw<'a>) -> Self {
        if raw.is_empty_container() { Dict::Empty } else { Dict::Borrowed(raw) }
    }

    /// A map to be sent.
    pub fn new<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Dict<'static> {
        let mut writer = DictWriter::new(Format::Cbor);
        for (key, value) in entries {
            writer.value(key.as_ref(), &value);
        }
        writer.finish()
    }

    /// `{}` on the wire. A map of nothing but nulls is not called empty.
    pub fn is_empty(&self) -> bool {
        matches!(self, Dict::Empty)
    }

    /// The encoded map, if it is not `{}`.
    pub fn as_raw(&self) -> Option<Raw<'_>> {
        match self {
            Dict::Empty => None,
            Dict::Borrowed(raw) => Some(*raw),
            Dict::Owned(format, bytes) => Some(Raw::checked(*format, bytes)),
        }
    }

    /// The entries that are not null, in their order. Of duplicate keys the last one counts.
    ///
    /// To read several options, loop over this once and `match` the key: nothing else is decoded then.
    pub fn entries(&self) -> impl Iterator<Item = (Cow<'_, str>, Raw<'_>)> {
        self.as_raw().into_iter().flat_map(Raw::entries).filter(|(_, value)| !value.is_null())
    }

    /// The value of a key that is there and not null. Passes over the whole map.
    pub fn get(&self, key: &str) -> Option<Raw<'_>> {
        self.as_raw()?.get(key).filter(|value| !value.is_null())
    }

    /// All entries that are not null, decoded.
    pub fn to_map(&self) -> Vec<(String, Value)> {
        self.entries().map(|(key, value)| (key.into_owned(), value.to_value())).collect()
    }

    /// A copy that outlives the buffer.
    pub fn into_owned(self) -> Dict<'static> {
        match self {
            Dict::Empty => Dict::Empty,
            Dict::Borrowed(raw) => Dict::Owned(raw.format(), raw.bytes().to_owned()),
            Dict::Owned(format, bytes) => Dict::Owned(format, bytes),
        }
    }

    /// Writes it as an element of a message in `format`.
    pub(super) fn write(&self, writer: &mut impl Writer, format: Format) {
        match self.as_raw() {
            None => {
                writer.open(Container::Map, Some(0));
                writer.close(Container::Map, 0);
            }
            Some(raw) if raw.format() == format => writer.raw(raw.bytes()),
            Some(raw) => {
                let mut encoded = Vec::new();
                raw.encode(format, &mut encoded);
                writer.raw(&encoded);
            }
        }
    }
}

/// Writes a [`Dict`] entry by entry, in the format in which it will be sent, building no values.
#[derive(Clone, Debug)]
pub struct DictWriter {
    format: Format,
    len: usize,
    /// The entries; what stands before and behind them is added last.
    entries: Vec<u8>,
}

impl DictWriter {
    pub fn new(format: Format) -> Self {
        Self { format, len: 0, entries: Vec::new() }
    }

    pub fn bool(&mut self, key: &str, value: bool) {
        self.scalar(key, Scalar::Bool(value));
    }

    pub fn uint(&mut self, key: &str, value: u64) {
        self.key(key);
        with_writer!(self.format, &mut self.entries, writer => writer.uint(value));
    }

    pub fn text(&mut self, key: &str, text: &str) {
        self.scalar(key, Scalar::Text(text.into()));
    }

    pub fn binary(&mut self, key: &str, bytes: &[u8]) {
        self.scalar(key, Scalar::Bytes(bytes.into()));
    }

    pub fn value(&mut self, key: &str, value: &Value) {
        self.key(key);
        value.encode(self.format, &mut self.entries);
    }

    pub fn raw(&mut self, key: &str, value: Raw<'_>) {
        self.key(key);
        value.encode(self.format, &mut self.entries);
    }

    fn scalar(&mut self, key: &str, scalar: Scalar<'_>) {
        self.key(key);
        with_writer!(self.format, &mut self.entries, writer => writer.scalar(scalar));
    }

    fn key(&mut self, key: &str) {
        if self.len > 0 && self.format == Format::Json {
            self.entries.push(b',');
        }
        self.len += 1;
        with_writer!(self.format, &mut self.entries, writer => writer.map_key(key));
    }

    pub fn finish(self) -> Dict<'static> {
        if self.len == 0 {
            return Dict::Empty;
        }
        let mut out = Vec::with_capacity(self.entries.len() + 5);
        with_writer!(self.format, &mut out, writer => {
            writer.open(Container::Map, Some(self.len));
            writer.raw(&self.entries);
            writer.close(Container::Map, self.len);
        });
        Dict::Owned(self.format, out)
    }
}

/// Equal if they say the same, in the same order.
impl PartialEq for Dict<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.to_map() == other.to_map()
    }
}
