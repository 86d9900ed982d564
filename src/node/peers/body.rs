//! Events for a peer as bytes.
//!
//! ```text
//! body = for all u8 | groups len u32 | groups, MessagePack: (name, pattern)… | count u32 | publication id u64… | messages
//! ```
//!
//! Numbers are little-endian. `for all`: they are for all who are subscribed for themselves, else for the groups alone. The
//! messages are as the log has them ([`crate::queue::message`]), but not with numbers of the log: each has its publication id.

use bytes::Bytes;

use crate::queue::message::{Batch, Malformed, Posting};
use crate::queue::state::rows;
use crate::router::broker::GroupKey;
use crate::router::interest::PeerId;
use crate::types::event::Event;
use crate::types::ids::PublicationId;

/// Consecutive events for the same peers.
#[derive(Debug, Default)]
pub struct Staged {
    /// Whom they are for; sorted.
    pub to: Vec<PeerId>,
    batch: Batch,
    publications: Vec<PublicationId>,
}

impl Staged {
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Events so far.
    pub fn count(&self) -> u32 {
        self.batch.count
    }

    pub fn push(&mut self, event: &Event<'_>, posting: &Posting<'_>) {
        self.batch.event(event, posting);
        self.publications.push(event.publication);
    }

    /// The events, for all (`for_all`) and for one member of each of these groups.
    pub fn body(&self, for_all: bool, groups: &[GroupKey]) -> Bytes {
        let mut out = Vec::with_capacity(self.batch.len() + self.publications.len() * 8 + 16);
        out.push(u8::from(for_all));
        let keys: Vec<_> = groups.iter().map(|key| (&*key.name, rows::pattern_text(&key.pattern))).collect();
        // Most events are for no group.
        let packed = if keys.is_empty() { Vec::new() } else { rmp_serde::to_vec(&keys).unwrap_or_default() };
        out.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        out.extend_from_slice(&packed);
        out.extend_from_slice(&(self.publications.len() as u32).to_le_bytes());
        for publication in &self.publications {
            out.extend_from_slice(&publication.0.to_le_bytes());
        }
        out.extend_from_slice(self.batch.as_bytes());
        Bytes::from(out)
    }

    pub fn clear(&mut self) {
        self.batch = Batch::default();
        self.publications.clear();
    }
}

/// A body, read but for its messages.
pub struct Opened<'a> {
    pub for_all: bool,
    pub groups: Vec<GroupKey>,
    publications: &'a [u8],
    /// To be read with [`crate::queue::message::Runs`].
    pub messages: &'a [u8],
}

impl<'a> Opened<'a> {
    /// # Errors
    /// It is no body of events.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let (&[for_all], rest) = body.split_first_chunk::<1>().ok_or(Malformed)?;
        let (len, rest) = number(rest)?;
        let (packed, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
        let groups = if packed.is_empty() { Vec::new() } else { groups(packed)? };
        let (count, rest) = number(rest)?;
        let len = count.checked_mul(8).ok_or(Malformed)?;
        let (publications, messages) = rest.split_at_checked(len).ok_or(Malformed)?;
        Ok(Self { for_all: for_all != 0, groups, publications, messages })
    }

    /// The publication ids, in the order of the events.
    pub fn publications(&self) -> impl Iterator<Item = PublicationId> + use<'a> {
        let (ids, _) = self.publications.as_chunks::<8>();
        ids.iter().map(|bytes| PublicationId(u64::from_le_bytes(*bytes)))
    }
}

fn number(bytes: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
    Ok((u32::from_le_bytes(*number) as usize, rest))
}

fn groups(packed: &[u8]) -> Result<Vec<GroupKey>, Malformed> {
    let keys: Vec<(Box<str>, String)> = crate::types::packed::from_slice(packed).map_err(|_| Malformed)?;
    let key = |(name, pattern): (Box<str>, String)| Some(GroupKey { name, pattern: rows::read_pattern(&pattern)? });
    keys.into_iter().map(key).collect::<Option<_>>().ok_or(Malformed)
}
