//! The rows that the state is stored in: their keys, and what the values are.
//!
//! ```text
//! n                                        how far the log has come
//! i entry                                  u64: its incarnation
//! k realm NUL topic                        KeyRow: the value of a key
//! h realm NUL topic                        HeldRow: a key held with a will
//! w ticket                                 WaitRow: a publish that waits
//! s realm NUL client id                    SessionRow
//! l realm NUL client id                    WillRow
//! u realm NUL client id NUL filter         SubscriptionRow
//! p realm NUL client id NUL packet id      (): a QoS 2 message that was not released
//! c realm NUL 'c' client id, or 'd' name   Cursor
//! d realm NUL name                         DurableRow
//! f realm NUL pattern                      u64: first number that is available
//! e realm NUL source                       SourceRow: which number of a source is next
//! o realm NUL name                         ConsumerRow
//! q realm NUL name                         ConsumerPlace: how far that one is
//! ```
//!
//! The letter is one byte; numbers in keys are big-endian (entry and ticket 8 bytes, packet id 2), so that they sort. Topics
//! have NUL, which no topic contains, for `/`: so they sort level by level, as in `router::retained`. Values are MessagePack,
//! except [`KeyRow`]. Rows whose key begins with another letter are not the state's.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::numbers::Numbers;
use crate::queue::command::{Cursor, CursorName};
use crate::queue::condition::KeyWill;
use crate::types::topic::{MatchPolicy, TopicPattern};

mod key;

#[cfg(test)]
mod tests;

pub use key::KeyRow;

pub const NUMBERS: u8 = b'n';
pub const INCARNATION: u8 = b'i';
pub const KEY: u8 = b'k';
pub const HELD: u8 = b'h';
pub const WAIT: u8 = b'w';
pub const SESSION: u8 = b's';
pub const WILL: u8 = b'l';
pub const SUBSCRIPTION: u8 = b'u';
pub const PACKET: u8 = b'p';
pub const CURSOR: u8 = b'c';
pub const DURABLE: u8 = b'd';
pub const FLOOR: u8 = b'f';
pub const SOURCE: u8 = b'e';
pub const CONSUMER: u8 = b'o';
pub const CONSUMER_PLACE: u8 = b'q';
/// Not of the state: what whoever keeps the log notes for itself.
pub const NODE: u8 = b'~';

/// What a row is about: its key, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKey {
    Numbers,
    Incarnation(u64),
    Key { realm: String, topic: String },
    Held { realm: String, topic: String },
    Wait(u64),
    Session { realm: String, client_id: String },
    Will { realm: String, client_id: String },
    Subscription { realm: String, client_id: String, filter: String },
    Packet { realm: String, client_id: String, packet_id: u16 },
    Cursor { realm: String, name: CursorName },
    Durable { realm: String, name: String },
    Floor { realm: String, pattern: String },
    Source { realm: String, name: String },
    Consumer { realm: String, name: String },
    ConsumerPlace { realm: String, name: String },
}

/// A key that is held: it was set with a will and has not changed since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldRow {
    /// Who holds it; 0: nobody any more, it stays until somebody changes it.
    pub session: u64,
    /// Where that session is connected.
    pub entry: u64,
    /// Number of the event that set it: the fencing token.
    pub number: u64,
    /// [`crate::queue::condition::Condition::stays`].
    pub stays: bool,
    pub qos: u8,
    pub will: KeyWill,
}

/// A publish that waits for its condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitRow {
    pub entry: u64,
    /// In log time: microseconds since 1970.
    pub deadline_us: Option<u64>,
    /// One run of one event.
    pub event: Bytes,
}

/// A persistent MQTT session, or one with a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Id of the router session.
    pub session: u64,
    pub authid: String,
    pub authrole: String,
    pub authmethod: String,
    /// Seconds that it is kept without a connection; `u32::MAX`: for ever.
    pub expiry_s: u32,
    /// Number of the CONNECT that made it.
    pub created: u64,
    /// Its connection: entry and number ([`crate::queue::command::Connect::connection`]); none: it is away.
    pub connection: Option<(u64, u64)>,
    /// There is a will ([`WILL`]), with this delay.
    pub will_delay_s: Option<u32>,
    /// In log time, microseconds since 1970: when the will is due, of a session that is away.
    pub will_at_us: Option<u64>,
    /// When the session ends.
    pub expires_at_us: Option<u64>,
    /// The entry where it was connected last.
    #[serde(default)]
    pub entry: Option<u64>,
}

impl RowKey {
    /// `None`: it is no key of a row of the state.
    pub fn parse(key: &[u8]) -> Option<Self> {
        let (letter, rest) = key.split_first()?;
        match *letter {
            NUMBERS => rest.is_empty().then_some(Self::Numbers),
            INCARNATION => Some(Self::Incarnation(u64::from_be_bytes(rest.try_into().ok()?))),
            WAIT => Some(Self::Wait(u64::from_be_bytes(rest.try_into().ok()?))),
            PACKET => {
                let (rest, id) = rest.split_last_chunk()?;
                let (realm, client_id) = pair(rest.strip_suffix(b"\0")?)?;
                Some(Self::Packet { realm, client_id, packet_id: u16::from_be_bytes(*id) })
            }
            letter => Self::parse_texts(letter, pair(rest)?),
        }
    }

    fn parse_texts(letter: u8, (realm, rest): (String, String)) -> Option<Self> {
        Some(match letter {
            KEY => Self::Key { realm, topic: rest.replace('\0', "/") },
            HELD => Self::Held { realm, topic: rest.replace('\0', "/") },
            SESSION => Self::Session { realm, client_id: rest },
            WILL => Self::Will { realm, client_id: rest },
            SUBSCRIPTION => {
                let (client_id, filter) = rest.split_once('\0')?;
                Self::Subscription { realm, client_id: client_id.to_owned(), filter: filter.to_owned() }
            }
            CURSOR => {
                let name = match rest.split_at_checked(1)? {
                    ("c", client_id) => CursorName::Client(client_id.to_owned()),
                    ("d", name) => CursorName::Durable(name.to_owned()),
                    _ => return None,
                };
                Self::Cursor { realm, name }
            }
            DURABLE => Self::Durable { realm, name: rest },
            FLOOR => Self::Floor { realm, pattern: rest },
            SOURCE => Self::Source { realm, name: rest },
            CONSUMER => Self::Consumer { realm, name: rest },
            CONSUMER_PLACE => Self::ConsumerPlace { realm, name: rest },
            _ => return None,
        })
    }
}

/// A realm and what stands behind it.
fn pair(rest: &[u8]) -> Option<(String, String)> {
    let (realm, rest) = std::str::from_utf8(rest).ok()?.split_once('\0')?;
    Some((realm.to_owned(), rest.to_owned()))
}

/// Key of the row of this letter for something named by `id`; see [`id`].
pub(super) fn row(letter: u8, id: &str) -> Vec<u8> {
    [&[letter], id.as_bytes()].concat()
}

/// A name in a realm, as rows and the state's maps have it.
pub(super) fn id(realm: &str, name: &str) -> String {
    [realm, "\0", name].concat()
}

/// The same for a topic.
pub(super) fn topic_id(realm: &str, topic: &str) -> String {
    id(realm, &topic.replace('/', "\0"))
}

/// The realm and the name of an [`id`].
pub(super) fn split(id: &str) -> (&str, &str) {
    id.split_once('\0').unwrap_or((id, ""))
}

/// The realm and the topic of a [`topic_id`].
pub(super) fn split_topic(id: &str) -> (String, String) {
    let (realm, topic) = split(id);
    (realm.to_owned(), topic.replace('\0', "/"))
}

pub fn key(realm: &str, topic: &str) -> Vec<u8> {
    row(KEY, &topic_id(realm, topic))
}

pub fn held(realm: &str, topic: &str) -> Vec<u8> {
    row(HELD, &topic_id(realm, topic))
}

pub fn incarnation(entry: u64) -> Vec<u8> {
    [&[INCARNATION][..], &entry.to_be_bytes()].concat()
}

pub fn wait(ticket: u64) -> Vec<u8> {
    [&[WAIT][..], &ticket.to_be_bytes()].concat()
}

pub fn session(realm: &str, client_id: &str) -> Vec<u8> {
    row(SESSION, &id(realm, client_id))
}

pub fn will(realm: &str, client_id: &str) -> Vec<u8> {
    row(WILL, &id(realm, client_id))
}

pub fn subscription(realm: &str, client_id: &str, filter: &str) -> Vec<u8> {
    row(SUBSCRIPTION, &[realm, client_id, filter].join("\0"))
}

pub fn packet(realm: &str, client_id: &str, packet_id: u16) -> Vec<u8> {
    let mut key = packets(realm, client_id);
    key.extend_from_slice(&packet_id.to_be_bytes());
    key
}

/// What the keys of all [`packet`]s of a session begin with.
pub fn packets(realm: &str, client_id: &str) -> Vec<u8> {
    let mut key = row(PACKET, &id(realm, client_id));
    key.push(0);
    key
}

pub fn cursor(realm: &str, name: &CursorName) -> Vec<u8> {
    let (letter, name) = match name {
        CursorName::Client(name) => ("\0c", name),
        CursorName::Durable(name) => ("\0d", name),
    };
    row(CURSOR, &[realm, letter, name].concat())
}

pub fn durable(realm: &str, name: &str) -> Vec<u8> {
    row(DURABLE, &id(realm, name))
}

pub fn source(realm: &str, name: &str) -> Vec<u8> {
    row(SOURCE, &id(realm, name))
}

pub fn consumer(realm: &str, name: &str) -> Vec<u8> {
    row(CONSUMER, &id(realm, name))
}

pub fn consumer_place(realm: &str, name: &str) -> Vec<u8> {
    row(CONSUMER_PLACE, &id(realm, name))
}

pub fn floor(realm: &str, pattern: &str) -> Vec<u8> {
    row(FLOOR, &id(realm, pattern))
}

/// The last position and number, of the row of [`NUMBERS`].
///
/// # Errors
/// It is damaged.
pub fn read_numbers(key: &[u8], value: &[u8]) -> Result<(u64, u64), StateError> {
    let numbers = Numbers::decode(value).ok_or_else(|| damaged(key))?;
    Ok((numbers.position, numbers.last))
}

/// The value of a row that is MessagePack.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing plain values to memory cannot fail.
    rmp_serde::to_vec(value).unwrap_or_default()
}

/// Reads the value of the row with this key.
///
/// # Errors
/// It is damaged.
pub fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StateError> {
    crate::types::packed::from_slice(value).map_err(|_| damaged(key))
}

pub(super) fn damaged(key: &[u8]) -> StateError {
    StateError::Damaged(key.escape_ascii().to_string())
}

/// A pattern as rows and commands have it: the match policy's name, a colon and the URI.
pub fn pattern_text(pattern: &TopicPattern) -> String {
    let (uri, policy) = pattern.uri();
    format!("{}:{uri}", policy.as_str())
}

/// What [`pattern_text`] made; `None`: it has not.
pub fn read_pattern(text: &str) -> Option<TopicPattern> {
    let (policy, uri) = text.split_once(':')?;
    TopicPattern::from_uri(uri, policy.parse::<MatchPolicy>().ok()?).ok()
}

impl Cursor {
    /// All events up to this number are done: the log need not keep them for this cursor.
    pub fn done_to(&self) -> u64 {
        let inflight = self.inflight.iter().map(|flight| flight.number);
        let first = inflight.chain(self.older.iter().map(|older| older.next)).min();
        self.sent_to.min(first.map_or(u64::MAX, |first| first.saturating_sub(1)))
    }
}
