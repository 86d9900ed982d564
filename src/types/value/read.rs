//! One walk over an encoded value, whatever its format.

use std::borrow::Cow;

use super::json::{JsonNumber, JsonText};
use super::{DEPTH_MAX, Malformed, Value};

/// A value without parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Null, and what counts as such: `undefined`, MessagePack ext type 0.
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Uint(u64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// A number as JSON wrote it; [`Scalar::plain`] reads it.
    JsonNumber(JsonNumber<'a>),
    /// A text, or binary, as JSON wrote it; [`Scalar::plain`] reads it.
    JsonText(JsonText<'a>),
}

impl<'a> Scalar<'a> {
    /// The same without the JSON variants.
    pub fn plain(self) -> Scalar<'a> {
        match self {
            Scalar::JsonNumber(number) => number.read(),
            Scalar::JsonText(text) => text.read(),
            other => other,
        }
    }

    /// As the key of a map: text, whatever it was.
    pub fn into_key(self) -> Cow<'a, str> {
        match self.plain() {
            Scalar::Text(text) => text,
            Scalar::Null => "null".into(),
            Scalar::Bool(value) => value.to_string().into(),
            Scalar::Int(value) => value.to_string().into(),
            Scalar::Uint(value) => value.to_string().into(),
            Scalar::Float(value) => format!("{value:?}").into(),
            Scalar::Bytes(bytes) => super::json::binary_text(&bytes).into(),
            // plain() has left none of them.
            Scalar::JsonNumber(_) | Scalar::JsonText(_) => Cow::default(),
        }
    }

    pub fn into_value(self) -> Value {
        match self.plain() {
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Int(value) => Value::Int(value),
            Scalar::Uint(value) => value.into(),
            Scalar::Float(value) => Value::Float(value),
            Scalar::Text(text) => Value::Text(text.into_owned()),
            Scalar::Bytes(bytes) => Value::Bytes(bytes.into_owned()),
            _ => Value::Null,
        }
    }
}

/// What a value begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum Head<'a> {
    Scalar(Scalar<'a>),
    /// A list or map of so many elements or entries, if the format says so ahead.
    Open(Container, Option<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    List,
    Map,
}

/// A place in encoded bytes. Every step checks what it passes.
pub trait Reader<'a> {
    /// Offset of the next byte. Before [`Reader::head`] it is the first byte of the value.
    fn at(&self) -> usize;
    /// Passes a scalar, or the beginning of a list or map.
    fn head(&mut self) -> Result<Head<'a>, Malformed>;
    /// Whether another element comes in a container of which `seen` were read; if not, passes its end.
    fn more(&mut self, container: Container, len: Option<usize>, seen: usize) -> Result<bool, Malformed>;
    /// Passes a map's key, up to its value.
    fn key(&mut self) -> Result<Scalar<'a>, Malformed>;
    /// Passes what may follow the outermost value.
    fn finish(&mut self) -> Result<(), Malformed>;
    /// Passes a value, inside `depth` containers, by a scan of its own, which is several times as fast as [`walk`] and
    /// accepts the same. [`None`]: there is no well-formed value here, or too deep a one.
    fn scan(&mut self, depth: usize) -> Option<()>;
}

/// What becomes of the parts of a value, told in the order in which they stand.
pub trait Sink<'a> {
    fn scalar(&mut self, scalar: Scalar<'a>);
    fn key(&mut self, key: Scalar<'a>);
    fn open(&mut self, container: Container, len: Option<usize>);
    /// The container opened last has ended with so many elements or entries.
    fn close(&mut self, container: Container, len: usize);
}

/// Passes a value and checks all of it.
#[inline]
pub fn skip<'a, R: Reader<'a>>(reader: &mut R, depth: usize) -> Result<(), Malformed> {
    match reader.scan(depth) {
        Some(()) => Ok(()),
        // The walk stops at the same fault and can name it.
        None => walk(reader, &mut Skip, depth),
    }
}

/// Does nothing.
pub struct Skip;

impl<'a> Sink<'a> for Skip {
    #[inline(always)]
    fn scalar(&mut self, _: Scalar<'a>) {}
    #[inline(always)]
    fn key(&mut self, _: Scalar<'a>) {}
    #[inline(always)]
    fn open(&mut self, _: Container, _: Option<usize>) {}
    #[inline(always)]
    fn close(&mut self, _: Container, _: usize) {}
}

/// Passes one value and tells `sink` its parts. `depth` containers are open around it.
#[inline]
pub fn walk<'a, R: Reader<'a>, S: Sink<'a>>(reader: &mut R, sink: &mut S, depth: usize) -> Result<(), Malformed> {
    match reader.head()? {
        Head::Scalar(scalar) => {
            sink.scalar(scalar);
            Ok(())
        }
        Head::Open(container, len) => walk_container(reader, sink, container, len, depth),
    }
}

fn walk_container<'a, R: Reader<'a>, S: Sink<'a>>(
    reader: &mut R,
    sink: &mut S,
    container: Container,
    len: Option<usize>,
    depth: usize,
) -> Result<(), Malformed> {
    if depth >= DEPTH_MAX {
        return Err(Malformed { what: "nested too deeply", at: reader.at() });
    }
    sink.open(container, len);
    let mut seen = 0;
    while reader.more(container, len, seen)? {
        if container == Container::Map {
            sink.key(reader.key()?);
        }
        walk(reader, sink, depth + 1)?;
        seen += 1;
    }
    sink.close(container, seen);
    Ok(())
}

/// Builds a [`Value`].
#[derive(Default)]
pub struct Builder {
    open: Vec<(Value, Option<String>)>,
    done: Option<Value>,
}

impl Builder {
    /// The value, once its walk has succeeded.
    pub fn finish(self) -> Value {
        self.done.unwrap_or(Value::Null)
    }

    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            Some((Value::List(items), _)) => items.push(value),
            Some((Value::Map(entries), key)) => entries.push((key.take().unwrap_or_default(), value)),
            _ => self.done = Some(value),
        }
    }
}

impl<'a> Sink<'a> for Builder {
    fn scalar(&mut self, scalar: Scalar<'a>) {
        self.put(scalar.into_value());
    }

    fn key(&mut self, key: Scalar<'a>) {
        if let Some((_, slot)) = self.open.last_mut() {
            *slot = Some(key.into_key().into_owned());
        }
    }

    fn open(&mut self, container: Container, _: Option<usize>) {
        // The announced length is the peer's word: nothing is reserved by it.
        let empty = match container {
            Container::List => Value::List(Vec::new()),
            Container::Map => Value::Map(Vec::new()),
        };
        self.open.push((empty, None));
    }

    fn close(&mut self, _: Container, _: usize) {
        if let Some((value, _)) = self.open.pop() {
            self.put(value);
        }
    }
}

/// Notes the lengths that a format does not say ahead, in the order in which their containers open.
#[derive(Default)]
pub struct Lengths {
    lengths: Vec<u32>,
    open: Vec<Option<usize>>,
}

impl Lengths {
    pub fn finish(self) -> Vec<u32> {
        self.lengths
    }
}

impl<'a> Sink<'a> for Lengths {
    fn scalar(&mut self, _: Scalar<'a>) {}

    fn key(&mut self, _: Scalar<'a>) {}

    fn open(&mut self, _: Container, len: Option<usize>) {
        self.open.push(len.is_none().then_some(self.lengths.len()));
        if len.is_none() {
            self.lengths.push(0);
        }
    }

    fn close(&mut self, _: Container, len: usize) {
        if let Some(Some(place)) = self.open.pop() {
            self.lengths[place] = u32::try_from(len).unwrap_or(u32::MAX);
        }
    }
}
