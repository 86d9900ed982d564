//! Sessions as the log had them, when the broker starts.
//!
//! ```text
//! rows of sessions, then of their subscriptions and QoS 2 messages, then cursors --> Clients, routes, mailboxes
//! ```
//!
//! To be called when the log is open and before a listener is: so nothing that is published passes a session by that has not come
//! back yet. It costs what the sessions do, not what is stored for them.

use std::sync::Arc;

use super::codec::Level;
use super::topic::Filter;
use super::{rpc, wire};
use crate::node::Node;
use crate::node::clients::{Client, Held, Restored};
use crate::node::realm::Realm;
use crate::node::session::Identity;
use crate::queue::command::{Cursor, CursorName, SubscriptionRow};
use crate::queue::state::StateError;
use crate::queue::state::rows::{self, RowKey, SessionRow};
use crate::router::broker::Options;
use crate::store::{self, StoreError, StoreReader};
use crate::types::event::Qos;
use crate::types::fields::Fields;
use crate::types::ids::SessionId;

/// Subscriptions that are made at a time.
const SUBSCRIPTIONS_MAX: usize = 256 * 1024;

/// Why the sessions are not there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot read the sessions: the store {0}")]
    Store(#[from] StoreError),
    #[error("cannot read the sessions: {0}")]
    Damaged(#[from] StateError),
}

/// Gives a node the sessions that the log has; tells how many. Those of realms that are not configured any more stay where they
/// are.
///
/// # Errors
/// The store cannot be read, or is damaged.
pub fn restore(node: &Arc<Node>, reader: &mut dyn StoreReader) -> Result<usize, RestoreError> {
    let mut count = 0;
    each_row(reader, rows::SESSION, |key, value| {
        count += usize::from(restore_session(node, key, rows::decode(value.0, value.1)?));
        Ok(())
    })?;
    let mut subscriptions = Vec::new();
    each_row(reader, rows::SUBSCRIPTION, |key, value| {
        let row: SubscriptionRow = rows::decode(value.0, value.1)?;
        if let RowKey::Subscription { realm, client_id, .. } = key
            && let Some((realm, client)) = find(node, &realm, &client_id)
        {
            subscriptions.push((client, realm, row));
        }
        if subscriptions.len() >= SUBSCRIPTIONS_MAX {
            restore_subscriptions(node, &mut subscriptions);
        }
        Ok(())
    })?;
    restore_subscriptions(node, &mut subscriptions);
    each_row(reader, rows::PACKET, |key, _| {
        if let RowKey::Packet { realm, client_id, packet_id } = key
            && let Some((_, client)) = find(node, &realm, &client_id)
        {
            client.restore_received(packet_id);
        }
        Ok(())
    })?;
    each_row(reader, rows::CURSOR, |key, value| {
        if let RowKey::Cursor { realm, name: CursorName::Client(client_id) } = key {
            let at: Cursor = rows::decode(value.0, value.1)?;
            if let Some((_, client)) = find(node, &realm, &client_id) {
                client.restore_cursor(&at);
            }
        }
        Ok(())
    })?;
    Ok(count)
}

/// Reads all rows of a letter. `each` is given the key taken apart, and key and value as they are.
pub(super) fn each_row(
    reader: &mut dyn StoreReader,
    letter: u8,
    mut each: impl FnMut(RowKey, (&[u8], &[u8])) -> Result<(), StateError>,
) -> Result<(), RestoreError> {
    store::each_row(reader, &[letter], |key, value| {
        let parsed = RowKey::parse(key).ok_or_else(|| StateError::Damaged(key.escape_ascii().to_string()))?;
        Ok(each(parsed, (key, &value))?)
    })
}

fn restore_session(node: &Arc<Node>, key: RowKey, row: SessionRow) -> bool {
    let Some((realm, restored)) = session_of(node, key, row) else { return false };
    realm.clients.restore(node, &realm, restored);
    true
}

/// A session as its row has it. `None`: its realm is not there.
pub(super) fn session_of(node: &Node, key: RowKey, row: SessionRow) -> Option<(Arc<Realm>, Restored)> {
    let RowKey::Session { realm, client_id } = key else { return None };
    let Some(realm) = node.realm(&realm) else {
        tracing::warn!(realm, client_id, "a session is in a realm that is not there");
        return None;
    };
    let SessionRow { session, authid, authrole, authmethod, expiry_s, created, .. } = row;
    let authmethod = known_method(&authmethod);
    let identity = Identity { client_id: Some(client_id), ..Identity::new(authid, authrole, authmethod) };
    let (session, wire) = (SessionId(session), wire::of(Level::V4));
    Some((realm, Restored { identity, session, expiry_s, created, wire }))
}

pub(super) fn find(node: &Node, realm: &str, client_id: &str) -> Option<(Arc<Realm>, Arc<Client>)> {
    let realm = node.realm(realm)?;
    let client = realm.clients.get(client_id)?;
    Some((realm, client))
}

fn restore_subscriptions(node: &Arc<Node>, all: &mut Vec<(Arc<Client>, Arc<Realm>, SubscriptionRow)>) {
    // The router keeps the subscribers of a pattern in this order: many of one are then only appended.
    all.sort_unstable_by_key(|(client, ..)| client.session.id);
    for (client, realm, row) in all.drain(..) {
        restore_subscription(node, &client, &realm, row);
    }
}

fn restore_subscription(node: &Arc<Node>, client: &Client, realm: &Arc<Realm>, row: SubscriptionRow) {
    let text = row.filter.clone();
    match subscription_of(client, row) {
        Some(Restoring::Procedure(qos)) => client.restore_procedure(&text, qos),
        Some(Restoring::Subscription(held)) => {
            let (shared, options) = (held.group.is_some(), held.options.clone());
            client.restore_subscription(realm, &text, held);
            if shared {
                realm.join_share(node, &client.session, &text, options);
            }
        }
        None => {}
    }
}

/// What the row of a subscription stands for.
pub(super) enum Restoring {
    Procedure(Qos),
    Subscription(Held),
}

/// `None`: its filter is none any more.
pub(super) fn subscription_of(client: &Client, row: SubscriptionRow) -> Option<Restoring> {
    let text = row.filter;
    let qos = match row.qos {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    };
    if rpc::is_rpc(text.as_bytes()) {
        return Some(Restoring::Procedure(qos));
    }
    let Ok(filter) = Filter::parse(&text) else {
        tracing::warn!(client_id = client.client_id(), filter = text, "a subscription is not one any more");
        return None;
    };
    let options = Options::Merged {
        qos,
        no_local: row.no_local,
        retain_as_published: row.retain_as_published,
        identifier: row.identifier,
    };
    let since = row.since.unwrap_or_default();
    let fields = row.fields.as_deref().and_then(Fields::parse).map(Arc::new);
    let group = filter.group.map(Into::into);
    Some(Restoring::Subscription(Held { group, pattern: filter.pattern, options, fields, since }))
}

/// One of the ways in which MQTT clients prove who they are.
fn known_method(name: &str) -> &'static str {
    const METHODS: [&str; 5] = ["password", "scram", "jwt", "tls", "http"];
    METHODS.into_iter().find(|known| *known == name).unwrap_or("anonymous")
}
