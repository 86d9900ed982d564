//! Users and roles that change while the broker runs.

use std::sync::Arc;

use super::link::End;
use super::realm::Realm;
use super::session::Session;
use super::users::{ANONYMOUS, User, UserEntry, UserError};
use super::{Authorize, Node};
use crate::router::authorize::Rights;

impl Node {
    /// Puts other users and roles in the place of those that are there. Connections whose user is gone or is not what it was, or
    /// whose role may do something else now, are asked to end: who may still come in comes in again, with what it may do now.
    /// Returns how many were asked.
    ///
    /// # Errors
    /// The users are wrong; nothing is changed then.
    pub fn replace_access(
        &self,
        users: impl IntoIterator<Item = UserEntry>,
        authorize: Authorize,
    ) -> Result<usize, UserError> {
        let changed = self.users.replace(users)?;
        changed.iter().for_each(|name| self.cookies.forget(name));
        // A realm that is made meanwhile asks one or the other, and is then among those below.
        *self.authorize.write() = authorize;
        let mut ended = 0;
        for realm in self.realms() {
            realm.set_authorizer((self.authorize.read())(&realm.name));
            for session in realm.sessions() {
                let identity = &session.identity;
                let by_name = identity.authmethod != ANONYMOUS && changed.contains(&*identity.authid);
                let rights = session.rights();
                // What a token gave is as good as the token.
                let others = !rights.is_claimed() && rights != realm.rights_of(identity);
                if by_name || others {
                    ended += usize::from(end(&session));
                }
            }
        }
        Ok(ended)
    }
}

impl Realm {
    /// Whether somebody who was let in may still be here, with these rights: users and roles may have been replaced while it was
    /// looked into. To be asked when its session is in the realm, where [`Node::replace_access`] finds it from then on.
    pub fn still_holds(&self, node: &Node, user: &User, client_id: Option<&str>, rights: &Rights) -> bool {
        node.users.still_has(user) && self.rights(user, client_id).as_ref() == Some(rights)
    }
}

/// Asks the connection of a session to end, if there is one.
fn end(session: &Arc<Session>) -> bool {
    let link = session.mailbox().online().map(|online| online.link.clone());
    link.inspect(|link| link.end(End::NotAuthorized)).is_some()
}
