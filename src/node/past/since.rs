//! From where on older events are wanted, as clients say it.

use crate::types::event_id::EventId;
use crate::types::ids::PublicationId;
use crate::types::time::parse_rfc3339;
use crate::types::value::Raw;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// Behind the event with this id.
    Publication(PublicationId),
    /// Behind the event with this id, whether it is there or not.
    Event(EventId),
    /// From this time on: microseconds since 1970.
    Time(u64),
    /// The last so many.
    Last(u64),
}

/// What is neither a publication id, nor an event id, nor a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a publication id, an event id or an RFC 3339 time")]
pub struct NotSince;

impl Since {
    /// The option `after`: an integer is a publication id, a text an event id or a time.
    ///
    /// # Errors
    /// It is something else.
    pub fn after(value: Raw<'_>) -> Result<Self, NotSince> {
        if let Some(id) = value.as_u64() {
            return Ok(Self::Publication(PublicationId(id)));
        }
        Self::text(&value.as_text().ok_or(NotSince)?)
    }

    /// The same where all is text (a query, a header, a user property): digits alone are a publication id.
    ///
    /// # Errors
    /// It is something else.
    pub fn after_text(text: &str) -> Result<Self, NotSince> {
        match text.parse() {
            Ok(id) => Ok(Self::Publication(PublicationId(id))),
            Err(_) => Self::text(text),
        }
    }

    fn text(text: &str) -> Result<Self, NotSince> {
        let id = text.parse().map(Self::Event).ok();
        id.or_else(|| parse_rfc3339(text).map(Self::Time)).ok_or(NotSince)
    }
}
