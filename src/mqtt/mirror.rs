//! Sessions of a cluster that are connected at other entries: see [`crate::node::clients::mirror`].
//!
//! ```text
//! at start: rows of sessions and subscriptions --load--> mirrors
//! then:     rows that a position has changed   --follow--> mirrors; a session that went elsewhere is given up here
//! ```

use std::sync::Arc;

use super::restore::{RestoreError, Restoring, each_row, find, session_of, subscription_of};
use crate::node::Node;
use crate::queue::command::SubscriptionRow;
use crate::queue::relay::MirroredRow;
use crate::queue::state::StateError;
use crate::queue::state::rows::{self, RowKey, SessionRow};
use crate::store::StoreReader;

/// Gives a node the sessions that the log has, as mirrors; tells how many. To be called before a listener is open.
///
/// # Errors
/// The store cannot be read, or is damaged.
pub fn load(node: &Arc<Node>, reader: &mut dyn StoreReader) -> Result<usize, RestoreError> {
    let mut count = 0;
    each_row(reader, rows::SESSION, |key, value| {
        let row: SessionRow = rows::decode(value.0, value.1)?;
        let elsewhere = row.connection.is_some_and(|(at, _)| node.is_elsewhere(Some(at)));
        if let Some((realm, restored)) = session_of(node, key, row) {
            realm.clients.mirror(node, &realm, restored, elsewhere);
            count += 1;
        }
        Ok(())
    })?;
    each_row(reader, rows::SUBSCRIPTION, |key, value| {
        subscribe(node, &key, rows::decode(value.0, value.1)?);
        Ok(())
    })?;
    Ok(count)
}

/// Follows rows that a position of the log has changed. `entry`: our own number; what is connected here follows its own
/// connection.
///
/// # Errors
/// A row is damaged; the others are followed.
pub fn follow(node: &Arc<Node>, entry: u64, changed: &[MirroredRow]) -> Result<(), StateError> {
    let mut result = Ok(());
    for (key, value) in changed {
        let Some(parsed) = RowKey::parse(key) else { continue };
        let followed = match parsed {
            RowKey::Session { .. } => follow_session(node, entry, key, parsed, value.as_deref()),
            RowKey::Subscription { .. } => follow_subscription(node, key, &parsed, value.as_deref()),
            _ => Ok(()),
        };
        result = result.and(followed);
    }
    result
}

fn follow_session(
    node: &Arc<Node>,
    entry: u64,
    key: &[u8],
    parsed: RowKey,
    value: Option<&[u8]>,
) -> Result<(), StateError> {
    // That a session has ended is told as a change.
    let Some(value) = value else { return Ok(()) };
    let row: SessionRow = rows::decode(key, value)?;
    let elsewhere = row.connection.is_some_and(|(at, _)| at != entry);
    let is_away = row.connection.is_none();
    let Some((realm, restored)) = session_of(node, parsed, row) else { return Ok(()) };
    let (client_id, created) = (restored.identity.client_id.clone().unwrap_or_default(), restored.created);
    let known = realm.clients.get(&client_id).filter(|client| client.session.id == restored.session);
    match known {
        Some(client) if elsewhere && !client.is_mirror() => {
            realm.clients.surrender(node, &realm, &client_id, created);
        }
        // A connection here makes its session itself when it is told that it has it.
        None if elsewhere || is_away => realm.clients.mirror(node, &realm, restored, elsewhere),
        // Who gets the connection here looks where it was.
        Some(client) if client.is_mirror() && (elsewhere || is_away) => client.set_elsewhere(elsewhere),
        _ => {}
    }
    Ok(())
}

fn follow_subscription(node: &Arc<Node>, key: &[u8], parsed: &RowKey, value: Option<&[u8]>) -> Result<(), StateError> {
    match value {
        Some(value) => subscribe(node, parsed, rows::decode(key, value)?),
        None => {
            if let RowKey::Subscription { realm, client_id, filter } = parsed
                && let Some((realm, client)) = find(node, realm, client_id)
                && client.is_mirror()
            {
                client.mirror_unsubscription(&realm, filter);
            }
        }
    }
    Ok(())
}

fn subscribe(node: &Arc<Node>, key: &RowKey, row: SubscriptionRow) {
    let RowKey::Subscription { realm, client_id, filter } = key else { return };
    let Some((realm, client)) = find(node, realm, client_id).filter(|(_, client)| client.is_mirror()) else { return };
    match subscription_of(&client, row) {
        Some(Restoring::Procedure(qos)) => client.restore_procedure(filter, qos),
        Some(Restoring::Subscription(held)) => client.mirror_subscription(&realm, filter, held),
        None => {}
    }
}
