//! Sessions as the log had them when the node starts.
//!
//! Their subscriptions are live before a listener opens, so that nothing passes a session by that comes back later.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Client, Clients, Held, Received, Record};
use crate::node::Node;
use crate::node::realm::Realm;
use crate::node::session::Identity;
use crate::node::wire::WireRef;
use crate::queue::command::Cursor;
use crate::types::event::Qos;
use crate::types::ids::SessionId;

/// A session of the log, without a connection.
#[derive(Debug)]
pub struct Restored {
    /// With a client id.
    pub identity: Identity,
    pub session: SessionId,
    pub expiry_s: u32,
    /// Number of the CONNECT that made it: what came before does not concern it.
    pub created: u64,
    /// That of most clients; it costs something to change it.
    pub wire: WireRef,
}

impl Clients {
    /// Adds a session, unless there is one with its client id.
    pub fn restore(&self, node: &Arc<Node>, realm: &Arc<Realm>, restored: Restored) {
        let Restored { identity, session, expiry_s, created, wire } = restored;
        let client_id = identity.client_id.clone().unwrap_or_default();
        let mut inner = self.inner.lock();
        if inner.by_id.contains_key(&client_id) {
            return;
        }
        let keeps = expiry_s > 0;
        let rights = realm.rights_of(&identity);
        let session = node.new_session_with_id(session, identity, wire, keeps);
        session.set_rights(rights.clone());
        let record = Record { expiry_s, logged: Some(0), ..Record::default() };
        let client = Arc::new(Client { session, record: Mutex::new(record) });
        if keeps {
            client.read_log(node, realm, rights);
            client.restore_cursor(&Cursor { sent_to: created, ..Cursor::default() });
            realm.set_away(&client.session, true);
        }
        realm.join(client.session.clone());
        inner.by_id.insert(client_id, client);
    }

    /// A session that was restored.
    pub fn get(&self, client_id: &str) -> Option<Arc<Client>> {
        self.inner.lock().by_id.get(client_id).cloned()
    }
}

impl Client {
    /// Gives a restored session one of its subscriptions.
    pub fn restore_subscription(&self, realm: &Realm, filter: &str, held: Held) {
        self.record.lock().subscriptions.insert(filter.into(), held.clone());
        self.subscribe(realm, filter, held, None);
    }

    /// Takes a restored session to where it was.
    pub fn restore_cursor(&self, at: &Cursor) {
        self.session.mailbox().restore(at);
    }

    /// Gives a restored session a procedure that it answers when it is there.
    pub fn restore_procedure(&self, filter: &str, qos: Qos) {
        self.record.lock().procedures.insert(filter.into(), (qos, None));
    }

    /// A QoS 2 message came from a restored session and is not released.
    pub fn restore_received(&self, packet_id: u16) {
        self.record.lock().received.insert(packet_id, Received::Logged);
    }
}
