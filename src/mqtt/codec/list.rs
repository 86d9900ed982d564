//! Lists inside packets, without an allocation on either way.

use std::marker::PhantomData;

use super::property::{Property, PropertyBlock};
use super::reader::Reader;
use super::reason::ReasonCode;

/// What [`List`] can be a list of. `S` is how our own side keeps it before it is sent.
pub trait Item<'a, S>: Sized {
    /// Takes the next item from bytes that were found valid when the packet was decoded.
    fn next(wire: &mut Reader<'a>) -> Option<Self>;

    fn of(source: &'a S) -> Self;
}

/// A list that a packet carries: either still the bytes of the packet it came in, all of them checked, or a slice of
/// ours that is to be sent.
pub struct List<'a, T, S = T> {
    source: Source<'a, S>,
    items: PhantomData<T>,
}

enum Source<'a, S> {
    Wire(Reader<'a>),
    Own(&'a [S]),
}

impl<'a, T, S> List<'a, T, S> {
    /// A list to be sent.
    pub const fn new(items: &'a [S]) -> Self {
        Self { source: Source::Own(items), items: PhantomData }
    }

    /// Bytes in which every item has been checked.
    pub(super) fn wire(checked: &'a [u8]) -> Self {
        Self { source: Source::Wire(Reader::new(checked)), items: PhantomData }
    }
}

impl<'a, T: Item<'a, S>, S> List<'a, T, S> {
    /// The items, in the order of the packet.
    pub fn iter(&self) -> Items<'a, T, S> {
        Items(*self)
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Goes through a [`List`].
pub struct Items<'a, T, S = T>(List<'a, T, S>);

impl<'a, T: Item<'a, S>, S> Iterator for Items<'a, T, S> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0.source {
            Source::Wire(reader) => T::next(reader),
            Source::Own(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(T::of(first))
            }
        }
    }
}

impl<T, S> Clone for List<'_, T, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, S> Copy for List<'_, T, S> {}

impl<S> Clone for Source<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Source<'_, S> {}

impl<T, S> Default for List<'_, T, S> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<'a, T: Item<'a, S>, S> IntoIterator for List<'a, T, S> {
    type Item = T;
    type IntoIter = Items<'a, T, S>;

    fn into_iter(self) -> Items<'a, T, S> {
        Items(self)
    }
}

impl<'a, T: Item<'a, S> + PartialEq, S> PartialEq for List<'a, T, S> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Item<'a, S> + std::fmt::Debug, S> std::fmt::Debug for List<'a, T, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// User properties, as name and value, in their order (MQTT 5, 2.2.2.2). On the wire they stand among other properties.
pub type UserProperties<'a> = List<'a, (&'a str, &'a str), (String, String)>;

impl<'a> Item<'a, (String, String)> for (&'a str, &'a str) {
    fn next(wire: &mut Reader<'a>) -> Option<Self> {
        loop {
            match PropertyBlock::take(wire)? {
                Property::User(name, value) => return Some((name, value)),
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

impl<'a> Item<'a, u32> for u32 {
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

impl<'a> Item<'a, &'a str> for &'a str {
    fn next(wire: &mut Reader<'a>) -> Option<Self> {
        wire.string().ok()
    }

    fn of(filter: &'a &'a str) -> Self {
        filter
    }
}

/// The reason codes of a SUBACK or UNSUBACK, one per topic filter, in their order.
pub type ReasonCodes<'a> = List<'a, ReasonCode>;

impl<'a> Item<'a, ReasonCode> for ReasonCode {
    fn next(wire: &mut Reader<'a>) -> Option<Self> {
        ReasonCode::from_u8(wire.u8().ok()?)
    }

    fn of(code: &'a ReasonCode) -> Self {
        *code
    }
}
