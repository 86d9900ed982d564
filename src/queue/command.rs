//! What changes persistent sessions and cursors: messages of the log that no subscriber sees.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::passthru::Passthru;

/// A change of durable state, encoded into a segment like an event and applied at its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// An MQTT client connects. Resolved before CONNACK; what older connections of the session send after it is void.
    Connect(Box<Connect>),
    /// A connection ended. `connection` is the number that its [`Connect`] had: a later one has taken over otherwise.
    Disconnect {
        realm: String,
        client_id: String,
        connection: u64,
        orderly: bool,
        expiry_s: u32,
    },
    /// Adds or replaces a subscription of a persistent MQTT session.
    Subscribe {
        realm: String,
        client_id: String,
        subscription: Box<SubscriptionRow>,
    },
    Unsubscribe {
        realm: String,
        client_id: String,
        filter: String,
    },
    /// A cursor has moved: acknowledgements, packet identifiers given out, QoS 2 messages released. Replaces what was there.
    Progress {
        realm: String,
        cursor: CursorName,
        at: Cursor,
    },
    /// PUBREL for a QoS 2 message of the client: its packet identifier is free again.
    Release {
        realm: String,
        client_id: String,
        packet_id: u16,
    },
    /// Makes or changes a named durable subscription (WAMP, HTTP) or consumer group.
    Durable {
        realm: String,
        name: String,
        durable: Box<DurableRow>,
    },
    /// Removes a named durable subscription or group and its cursor.
    Forget {
        realm: String,
        name: String,
    },
    /// A session that may have waits, locks or wills is gone: waits end, wills take effect. `orderly` (GOODBYE) leaves locks that
    /// are marked to stay. For an MQTT session [`Command::Connect`] and [`Command::Disconnect`] do this, too.
    Leave {
        realm: String,
        session: u64,
        orderly: bool,
    },
    /// Ends a waiting publish of this session; `ticket` is what [`super::outcome::Outcome::Waiting`] said.
    Cancel {
        realm: String,
        session: u64,
        ticket: u64,
    },
    /// Gives a lock back: clears the key if `session` has set it last (and its fencing token is `token`, if one is given). A
    /// lock that stayed when its holder left is given back by its token.
    Unlock {
        realm: String,
        session: u64,
        topic: String,
        token: Option<u64>,
    },
    /// Drops the value of a key if it is still the one of this number, and has expired. Until then an expired value is a row
    /// that counts for nothing.
    Expire {
        realm: String,
        topic: String,
        number: u64,
    },
    /// Says something of a source, or asks for it: [`super::outcome::Done::Next`] tells what is next.
    Source {
        realm: String,
        name: String,
        step: SourceStep,
    },
    /// An entry that has members of a consumer group wants to deliver it: it does if no other does.
    Host {
        realm: String,
        name: String,
    },
    /// Makes, changes or removes a consumer of the log, or records how far it has come.
    Consume {
        realm: String,
        name: String,
        what: Box<Consume>,
    },
    /// Somebody who runs the broker ends an MQTT session, with all that it is owed, unless its client id has another by now.
    EndSession {
        realm: String,
        client_id: String,
        session: u64,
    },
}

/// What becomes of a consumer of the log: something of the broker's own that reads events and passes them on to elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Consume {
    /// Makes it, or gives it other patterns and settings. A new one begins behind the event of number `after`, else where the log
    /// ends; the place of one that is there stays.
    Set {
        /// [`crate::types::topic::TopicPattern`]s in their stored spelling.
        patterns: Vec<String>,
        settings: Bytes,
        after: Option<u64>,
    },
    /// An entry wants to run it: it does if no other does.
    Host,
    /// The other end of it has come to an entry, which runs it from now on.
    Take,
    /// The entry that runs it has done all events up to `done_to`. Void if `epoch` is not the present one of its row.
    Commit {
        epoch: u64,
        done_to: u64,
        state: Bytes,
    },
    /// It goes on behind another number. What was to be committed before is void.
    Seek {
        after: u64,
    },
    /// Whoever runs it is to look at it now.
    Nudge,
    Remove,
}

/// What is said of a source: another log, of which messages enter this one (see [`super::message::EnteredRow`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceStep {
    /// Changes nothing.
    Ask,
    /// A later epoch than the present one begins, with this number.
    Begin { epoch: u64, next: u64 },
    /// The numbers from `from` up to and without `to` bring nothing. Void unless `from` is next.
    Skip { epoch: u64, from: u64, to: u64 },
}

/// Which number of a source is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRow {
    /// 0: nothing is known of the source.
    pub epoch: u64,
    pub next: u64,
    /// Number of the message of this log that changed it last.
    pub touched: u64,
}

/// What a CONNECT changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connect {
    pub realm: String,
    pub client_id: String,
    /// Random id of the router session; kept when the session was there.
    pub session: u64,
    /// Random number of this connection.
    pub connection: u64,
    pub authid: String,
    pub authrole: String,
    pub authmethod: String,
    pub clean_start: bool,
    /// 0: the session ends with its connection; `u32::MAX`: never.
    pub expiry_s: u32,
    pub will: Option<WillRow>,
    /// How the connection before has ended, which the log may not have been told.
    #[serde(default)]
    pub farewell: Option<Farewell>,
}

/// How a connection ended, as [`Command::Disconnect`] says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    pub connection: u64,
    pub orderly: bool,
    pub expiry_s: u32,
}

/// A will (MQTT 5, 3.1.2.5).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WillRow {
    /// As an MQTT topic name.
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    pub retain: bool,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
    pub properties: Option<PropertiesRow>,
}

/// [`crate::types::event::Properties`] as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PropertiesRow {
    pub payload_is_text: Option<bool>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation_data: Option<Bytes>,
    pub user_properties: Vec<(String, String)>,
    #[serde(default)]
    pub passthru: Option<Box<Passthru>>,
    #[serde(default)]
    pub trust: Option<u32>,
    #[serde(default)]
    pub resource_key: Option<Box<str>>,
}

/// A subscription of a persistent MQTT session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionRow {
    /// As the client wrote it, `$share/…` included.
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub identifier: Option<u32>,
    /// Events with higher numbers are wanted. Set when it is applied, unless the client asked for older ones.
    pub since: Option<u64>,
    /// Only events whose data have these fields: a JSON object's text.
    #[serde(default)]
    pub fields: Option<String>,
}

/// Whose cursor it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CursorName {
    /// Of the MQTT session of this client id.
    Client(String),
    /// Of the named durable subscription or group.
    Durable(String),
}

/// How far a subscriber of the log has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// All events up to this number were sent or passed by; those that are not in `inflight` are done.
    pub sent_to: u64,
    /// Sent and not acknowledged, in the order of sending.
    pub inflight: Vec<Flight>,
    /// Older events that subscriptions have asked for, in the order in which they are sent: before all others.
    #[serde(default)]
    pub older: Vec<Older>,
}

/// Older events that a subscription has asked for and was not sent yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Older {
    /// Of the subscription.
    pub filter: String,
    /// The first and the last number.
    pub next: u64,
    pub until: u64,
}

/// One message that was sent and is not done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    pub number: u64,
    /// MQTT packet identifier; 0 where there is none.
    pub packet_id: u16,
    pub qos: u8,
    /// PUBREC has come: only PUBREL is owed (MQTT 5, 4.3.3).
    pub released: bool,
    /// How often it was given to a member of a consumer group.
    pub attempts: u16,
}

/// A named durable subscription or consumer group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DurableRow {
    /// [`crate::types::topic::TopicPattern`] in its stored spelling.
    pub pattern: String,
    /// User that made it: nobody else may use it.
    pub authid: String,
    /// Events go to one of its members each.
    pub group: bool,
    /// Events are done when the client says so, not on delivery.
    pub acknowledged: bool,
    /// Group: how long a member may take, in milliseconds.
    pub ack_timeout_ms: u64,
    /// Group: after so many deliveries an event goes to `dead_letter_topic`; 0 for no end.
    pub deliveries_max: u16,
    /// As an MQTT topic name.
    pub dead_letter_topic: Option<String>,
    /// Group: events with the same value of this field go to one member at a time, in order.
    pub order_by: Option<String>,
    /// Events with higher numbers are wanted. Set when it is applied, unless the client asked for older ones.
    pub since: Option<u64>,
    /// The entry that delivers its events, and alone may move its cursor. Set when it is applied: of a group the first that has
    /// members, else the one where somebody subscribed last. None: it had none, or that entry is gone.
    #[serde(default)]
    pub holder: Option<u64>,
}

/// A consumer of the log: what it wants, and who runs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerRow {
    /// [`crate::types::topic::TopicPattern`]s in their stored spelling.
    pub patterns: Vec<String>,
    /// What its owner has to know of it to run it.
    pub settings: Bytes,
    /// Number of the command that made it or moved it elsewhere last: what is committed for an earlier one is void.
    pub epoch: u64,
    /// Number of the command that changed it last, or nudged it.
    pub changed: u64,
    /// The entry that runs it; none: it has none yet, or that one is gone.
    pub holder: Option<u64>,
}

/// How far a consumer has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerPlace {
    /// [`ConsumerRow::epoch`] in which this was committed: it was moved since if that is another one now.
    pub epoch: u64,
    /// All its events up to this number are done.
    pub done_to: u64,
    /// What its owner remembers.
    pub state: Bytes,
}
