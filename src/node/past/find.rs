//! From what a subscriber remembers to a number of the log, and whether all behind it is still there.
//!
//! Where the very event is not there (it was given up, or it is of another topic that was), the place is behind the last message
//! that surely came before it: so nothing is left out, and what was given up in between is noticed.

use std::sync::Arc;

use super::since::Since;
use crate::node::log::Log;
use crate::node::reader::resume::{Resume, resume};
use crate::node::reader::walk::Walker;
use crate::queue::segment::Segment;
use crate::store::{StoreError, StoreReader};
use crate::types::event::Recovery;
use crate::types::event_id::EventId;
use crate::types::fields::Fields;
use crate::types::topic::{Topic, TopicPattern};

/// No event has this number.
pub(super) const END: u64 = 1 << 53;
/// Bytes of segments that are looked back over for the last events.
const LOOK_BACK_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Whose past is asked for.
#[derive(Clone, Debug)]
pub struct Target {
    pub realm: Arc<str>,
    pub pattern: TopicPattern,
    /// Only events with these fields count.
    pub filter: Option<Arc<Fields>>,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// All wanted events have higher numbers than this.
    pub after: u64,
    /// None of the wanted events were given up.
    pub recovered: bool,
    /// Event id of the first message that is surely there still; `None`: the log has none.
    pub first_available: Option<EventId>,
}

/// # Errors
/// The store cannot be read.
pub(super) fn find(
    reader: &mut dyn StoreReader,
    log: &Log,
    target: &Target,
    since: &Since,
) -> Result<Found, StoreError> {
    let floor = log.first_available(&target.realm, &target.pattern);
    let (after, known) = match since {
        Since::Publication(id) => of_number(reader, log.number_of(*id))?,
        Since::Event(id) => of_event(reader, *id)?,
        Since::Time(at_us) => {
            let first = reader.first_since(*at_us)?.unwrap_or(END);
            (before(reader, first)?, true)
        }
        Since::Last(count) => last(reader, target, *count, floor)?,
    };
    let found = Found::behind(reader, log, target, after)?;
    Ok(Found { recovered: found.recovered && known, ..found })
}

impl Found {
    /// The place behind a number.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn behind(reader: &mut dyn StoreReader, log: &Log, target: &Target, after: u64) -> Result<Self, StoreError> {
        let Resume { recovered, first_available } =
            resume(after, || log.first_available(&target.realm, &target.pattern));
        Ok(Self { after, recovered, first_available: id_of(reader, first_available)? })
    }

    /// What the subscriber is told.
    pub fn recovery(&self) -> Recovery {
        Recovery { recovered: self.recovered, first_available: self.first_available }
    }
}

/// The last number before another one that there is a message of; 0: there is none.
fn before(reader: &mut dyn StoreReader, number: u64) -> Result<u64, StoreError> {
    Ok(reader.segment_before(number)?.map_or(0, |segment| segment.last()))
}

/// A number that a publication id leads to. What is behind the end of the log was published elsewhere.
fn of_number(reader: &mut dyn StoreReader, number: Option<u64>) -> Result<(u64, bool), StoreError> {
    let last = before(reader, END)?;
    Ok(match number {
        Some(number) if number <= last => (number, true),
        _ => (last, false),
    })
}

fn of_event(reader: &mut dyn StoreReader, id: EventId) -> Result<(u64, bool), StoreError> {
    let Some(first) = reader.first_of(id.minute, id.generator)? else {
        // It is behind the end of the log: it was given elsewhere.
        return Ok((before(reader, END)?, false));
    };
    let segment = reader.segments(first, None, 1)?.into_iter().next();
    match segment.filter(|segment| (segment.minute, segment.generator) == (id.minute, id.generator)) {
        Some(segment) => Ok((segment.first.saturating_sub(1) + u64::from(id.offset.min(segment.count)), true)),
        None => Ok((before(reader, first)?, true)),
    }
}

/// Behind the last `count` events of a target.
fn last(reader: &mut dyn StoreReader, target: &Target, count: u64, floor: u64) -> Result<(u64, bool), StoreError> {
    let end = before(reader, END)?;
    if count == 0 {
        return Ok((end, true));
    }
    let (mut before, mut missing, mut bytes) = (END, count as usize, 0);
    while let Some(segment) = reader.segment_before(before)? {
        let numbers = wanted(&segment, target);
        if let Some(at) = numbers.len().checked_sub(missing) {
            return Ok((numbers[at] - 1, true));
        }
        missing -= numbers.len();
        before = segment.first;
        bytes += segment.bytes();
        if segment.first <= floor || bytes > LOOK_BACK_BYTES_MAX {
            break;
        }
    }
    // There are fewer: all that are there, of which some may have been given up.
    let after = if before == END { end } else { before - 1 };
    Ok((after, floor <= 1))
}

/// Numbers of the events of a segment that a target wants.
fn wanted(segment: &Segment, target: &Target) -> Vec<u64> {
    let mut numbers = Vec::new();
    let of_realm = |name: &&crate::queue::segment::TopicShare| *name.realm == *target.realm;
    let matches = |name: &str| Topic::from_name(name).is_ok_and(|topic| target.pattern.matches(&topic));
    if !segment.topics.iter().filter(of_realm).any(|share| matches(&share.topic)) {
        return numbers;
    }
    let mut walker = Walker::new(segment, None);
    // What is damaged cannot be read, and is passed over by all readers.
    while let Ok(Some(head)) = walker.head() {
        if *head.realm != *target.realm || !matches(head.topic) {
            walker.skip_run();
            continue;
        }
        while let Ok(Some((number, message))) = walker.message() {
            if target.filter.as_ref().is_none_or(|filter| filter.hold(message.payload)) {
                numbers.push(number);
            }
        }
    }
    numbers
}

/// The event id of a number, or of the first behind it.
pub(super) fn id_of(reader: &mut dyn StoreReader, number: u64) -> Result<Option<EventId>, StoreError> {
    let segment = reader.segments(number, None, 1)?.into_iter().next();
    Ok(segment.map(|segment| segment.event_id(number.max(segment.first))))
}
