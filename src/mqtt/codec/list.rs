//! Lists inside packets, without an allocation on either way.

use super::property::{Property, PropertyBlock};
use super::reader::Reader;
use super::reason::ReasonCode;

/// What [`List`] can be a list of.
pub trait Item<'a>: Sized {
    /// How our own side keeps it before it is sent.
    type Source: 'a;

    /// Takes the next item from bytes that were found valid when the packet was decoded.
    fn next(wire: &mut Reader<'a>) -> Option<Self>;

    fn of(source: &'a Self::Source) -> Self;
}

/// A list that a packet carries: either still the bytes of the packet it came in, all of them checked, or a slice of
/// ours that is to be sent.
pub struct List<'a, T: Item<'a>>(Source<'a, T>);

enum Source<'a, T: Item<'a>> {
    Wire(Reader<'a>),
    Own(&'a [T::Source]),
}

impl<'a, T: Item<'a>> List<'a, T> {
    /// A list to be sent.
    pub const fn new(items: &'a [T::Source]) -> Self {
        Self(Source::Own(items))
    }

    /// Bytes in which every item has been checked.
    pub(super) fn wire(checked: &'a [u8]) -> Self {
        Self(Source::Wire(Reader::new(checked)))
    }

    /// The items, in the order of the packet.
    pub fn iter(&self) -> Items<'a, T> {
        Items(match &self.0 {
            Source::Wire(reader) => Source::Wire(*reader),
            Source::Own(items) => Source::Own(items),
        })
    }

    pub fn is_empty(&self) -> bool {
        match self.0 {
            Source::Wire(_) => self.iter().next().is_none(),
            Source::Own(items) => items.is_empty(),
        }
    }
}

/// Goes through a [`List`].
pub struct Items<'a, T: Item<'a>>(Source<'a, T>);

impl<'a, T: Item<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Source::Wire(reader) => T::next(reader),
            Source::Own(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(T::of(first))
            }
        }
    }
}

impl<'a, T: Item<'a>> Clone for List<'a, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, T: Item<'a>> Copy for List<'a, T> {}

impl<'a, T: Item<'a>> Clone for Source<'a, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, T: Item<'a>> Copy for Source<'a, T> {}

impl<'a, T: Item<'a>> Default for List<'a, T> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<'a, T: Item<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Items<'a, T> {
        Items(self.0)
    }
}

impl<'a, T: Item<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Item<'a> + std::fmt::Debug> std::fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// User properties, as name and value, in their order (MQTT 5, 2.2.2.2). On the wire they stand among other properties.
pub type UserProperties<'a> = List<'a, (&'a str, &'a str)>;

impl<'a> Item<'a> for (&'a str, &'a str) {
    type Source = (String, String);

    fn next(wire: &mut Reader<'a>) -> Option<Self> {
        loop {
            match PropertyBlock::take(wire)? {
                Property::UserProperty(name, value) => return Some((name, value)),
                _ => continue,
            }
        }
    }

    fn of((name, value): &'a (String, String)) -> Self {
        (name, value)
    }
}

/// Identifiers of the subscriptions that a PUBLISH matched, 1..=268435455 (MQTT 5, 3.3.2.3.8).
pub type SubscriptionIdentifiers<'a> = List<'a, u32>;

impl<'a> Item<'a> for u32 {
    type Source = u32;

    fn next(wire: &mut Reader<'a>) -> Option<Self> {
        loop {
            match PropertyBlock::take(wire)? {
                Property::SubscriptionIdentifier(id) => return Some(id),
                _ => continue,
            }
        }
    }

    fn of(id: &'a u32) -> Self {
        *id
    }
}

/// The topic filters of an UNSUBSCRIBE.
pub type TopicFilters<'a> = List<'a, &'a str>;

impl<'a> Item<'a> for &'a str {
    type Source = &'a str;

    fn next(wire: &mut Reader<'a>) -> Option<Self> {
        wire.string().ok()
    }

    fn of(filter: &'a &'a str) -> Self {
        filter
    }
}

/// The reason codes of a SUBACK or UNSUBACK, one per topic filter, in their order.
pub type ReasonCodes<'a> = List<'a, ReasonCode>;

impl<'a> Item<'a> for ReasonCode {
    type Source = ReasonCode;

    fn next(wire: &mut Reader<'a>) -> Option<Self> {
        ReasonCode::from_u8(wire.u8().ok()?)
    }

    fn of(code: &'a ReasonCode) -> Self {
        *code
    }
}
