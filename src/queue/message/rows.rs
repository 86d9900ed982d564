//! What only some messages have, as it is stored.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Posting;
use crate::queue::command::PropertiesRow;
use crate::queue::condition::{Condition, StoredFormat};
use crate::types::event::{Discloser, Event, Filter, Properties};
use crate::types::ids::SessionId;
use crate::types::payload::Format;

/// What only some messages have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extras {
    pub properties: Option<PropertiesRow>,
    pub publisher: Option<DiscloserRow>,
    /// Milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    pub filter: Option<FilterRow>,
    pub condition: Option<Condition>,
    pub packet: Option<PacketRow>,
    #[serde(default)]
    pub entered: Option<EnteredRow>,
}

/// A QoS 2 message of a persistent session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketRow {
    pub client_id: String,
    /// The connection it came on ([`crate::queue::command::Connect`]).
    pub connection: u64,
    pub packet_id: u16,
}

/// Where an event came from that entered from another log: it counts once per number of its source
/// ([`crate::queue::command::SourceRow`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnteredRow {
    /// Names the source in the realm.
    pub source: String,
    pub epoch: u64,
    pub number: u64,
    /// The brokers that it has passed, so that it does not come back to one.
    pub passed: Vec<String>,
}

/// [`Discloser`] as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscloserRow {
    pub session: u64,
    pub authid: Option<String>,
    pub authrole: Option<String>,
}

/// [`Filter`] as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRow {
    pub exclude: Vec<u64>,
    pub exclude_authid: Vec<String>,
    pub exclude_authrole: Vec<String>,
    pub eligible: Option<Vec<u64>>,
    pub eligible_authid: Option<Vec<String>>,
    pub eligible_authrole: Option<Vec<String>>,
}

impl Extras {
    pub(super) fn of(event: &Event<'_>, posting: &Posting<'_>) -> Option<Self> {
        let plain = event.properties.is_none()
            && event.publisher.is_none()
            && event.expires_at_ms.is_none()
            && posting.filter.is_none()
            && posting.condition.is_none()
            && posting.packet.is_none()
            && posting.entered.is_none();
        if plain {
            return None;
        }
        Some(Self {
            properties: event.properties.map(|properties| PropertiesRow::from(&**properties)),
            publisher: event.publisher.map(|publisher| DiscloserRow::from(&**publisher)),
            expires_at_ms: event.expires_at_ms,
            filter: posting.filter.map(FilterRow::from),
            condition: posting.condition.cloned(),
            packet: posting.packet.map(|(client_id, connection, packet_id)| PacketRow {
                client_id: client_id.to_owned(),
                connection,
                packet_id,
            }),
            entered: posting.entered.cloned(),
        })
    }
}

impl From<&Properties> for PropertiesRow {
    fn from(properties: &Properties) -> Self {
        Self {
            payload_is_text: properties.payload_is_text,
            content_type: properties.content_type.clone(),
            response_topic: properties.response_topic.clone(),
            correlation_data: properties.correlation_data.clone(),
            user_properties: properties.user_properties.clone(),
            passthru: properties.passthru.clone(),
            trust: properties.trust,
            resource_key: properties.resource_key.clone(),
        }
    }
}

impl From<PropertiesRow> for Properties {
    fn from(row: PropertiesRow) -> Self {
        Self {
            payload_is_text: row.payload_is_text,
            content_type: row.content_type,
            response_topic: row.response_topic,
            correlation_data: row.correlation_data,
            user_properties: row.user_properties,
            passthru: row.passthru,
            trust: row.trust,
            resource_key: row.resource_key,
        }
    }
}

impl From<&Discloser> for DiscloserRow {
    fn from(discloser: &Discloser) -> Self {
        Self { session: discloser.session.0, authid: discloser.authid.clone(), authrole: discloser.authrole.clone() }
    }
}

impl From<DiscloserRow> for Discloser {
    fn from(row: DiscloserRow) -> Self {
        Self { session: SessionId(row.session), authid: row.authid, authrole: row.authrole }
    }
}

impl From<&Filter> for FilterRow {
    fn from(filter: &Filter) -> Self {
        let ids = |set: &HashSet<SessionId>| set.iter().map(|id| id.0).collect::<Vec<_>>();
        let names = |set: &HashSet<String>| set.iter().cloned().collect::<Vec<_>>();
        Self {
            exclude: ids(&filter.exclude),
            exclude_authid: names(&filter.exclude_authid),
            exclude_authrole: names(&filter.exclude_authrole),
            eligible: filter.eligible.as_ref().map(ids),
            eligible_authid: filter.eligible_authid.as_ref().map(names),
            eligible_authrole: filter.eligible_authrole.as_ref().map(names),
        }
    }
}

impl From<FilterRow> for Filter {
    fn from(row: FilterRow) -> Self {
        let ids = |list: Vec<u64>| list.into_iter().map(SessionId).collect();
        let names = |list: Vec<String>| list.into_iter().collect();
        Self {
            exclude: ids(row.exclude),
            exclude_authid: names(row.exclude_authid),
            exclude_authrole: names(row.exclude_authrole),
            eligible: row.eligible.map(ids),
            eligible_authid: row.eligible_authid.map(names),
            eligible_authrole: row.eligible_authrole.map(names),
        }
    }
}

impl From<Option<Format>> for StoredFormat {
    fn from(format: Option<Format>) -> Self {
        match format {
            None => Self::Bytes,
            Some(Format::Json) => Self::Json,
            Some(Format::MsgPack) => Self::MsgPack,
            Some(Format::Cbor) => Self::Cbor,
        }
    }
}

impl From<StoredFormat> for Option<Format> {
    fn from(format: StoredFormat) -> Self {
        match format {
            StoredFormat::Bytes => None,
            StoredFormat::Json => Some(Format::Json),
            StoredFormat::MsgPack => Some(Format::MsgPack),
            StoredFormat::Cbor => Some(Format::Cbor),
        }
    }
}
