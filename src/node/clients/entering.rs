//! A CONNECT on its way through the log.
//!
//! ```text
//! enter --Command::Connect--> log --Connected { present }--> session taken over, CONNACK in its mailbox --wake--> Entering::take
//! ```
//!
//! The session changes hands where the outcome is told, on the feed thread: so connections with one client id follow each other
//! as they do in the log, and no event gets between. The connection's own task only fetches the result.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Clients, ConnectRefused, Connected, Connecting, Leaving, Logged};
use crate::node::Node;
use crate::node::link::Link;
use crate::node::log::Submission;
use crate::node::log::tickets::Owner;
use crate::node::mailbox::Mailbox;
use crate::node::realm::Realm;
use crate::queue::command::{Command, Connect};
use crate::queue::message::Batch;
use crate::queue::outcome::{Done, Outcome, Refused};
use crate::types::ids::SessionId;

/// Is told whether the session was there, and puts CONNACK into the mailbox before anything else can get there.
pub type Greet = Box<dyn FnOnce(bool, &mut Mailbox) + Send>;

/// See the module.
pub struct Entering {
    node: Arc<Node>,
    realm: Arc<Realm>,
    session: SessionId,
    connection: u64,
    link: Arc<Link>,
    asked: Mutex<Option<Asked>>,
    answer: Mutex<Answer>,
}

type Asked = Box<(Connecting, Greet)>;

enum Answer {
    Awaited,
    Known(Result<Connected, EnterRefused>),
    Taken,
    /// Nobody will take it.
    Unwanted,
}

/// The session cannot be given to this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnterRefused {
    #[error(transparent)]
    Connect(#[from] ConnectRefused),
    #[error(transparent)]
    Log(Refused),
}

impl Clients {
    /// Asks the log for a session. When [`Entering::take`] has the answer, the connection is woken.
    ///
    /// # Errors
    /// The client id is another user's, or there are too many sessions; the log was not asked then.
    pub fn enter(
        &self,
        node: &Arc<Node>,
        realm: &Arc<Realm>,
        connecting: Connecting,
        greet: Greet,
    ) -> Result<Arc<Entering>, ConnectRefused> {
        self.check(node, &connecting)?;
        let (session, connection) = (node.new_session_id(), node.random());
        let identity = &connecting.identity;
        let connect = Connect {
            realm: realm.name.to_string(),
            client_id: connecting.client_id().to_owned(),
            session: session.0,
            connection,
            authid: identity.authid.clone(),
            authrole: identity.authrole.clone(),
            authmethod: identity.authmethod.to_owned(),
            clean_start: connecting.clean_start,
            expiry_s: connecting.expiry_s,
            will: connecting.will.clone(),
            farewell: self.farewell(connecting.client_id()),
        };
        let mut batch = Batch::default();
        batch.command(&Command::Connect(Box::new(connect)));
        let entering = Arc::new(Entering {
            node: node.clone(),
            realm: realm.clone(),
            session,
            connection,
            link: connecting.link.clone(),
            asked: Mutex::new(Some(Box::new((connecting, greet)))),
            answer: Mutex::new(Answer::Awaited),
        });
        let told = entering.clone();
        let owner = Owner::Function(Arc::new(move |outcome| told.resolve(outcome)));
        node.submit(Submission { batch, owner });
        Ok(entering)
    }
}

impl Entering {
    /// The answer, once.
    pub fn take(&self) -> Option<Result<Connected, EnterRefused>> {
        let mut answer = self.answer.lock();
        if !matches!(*answer, Answer::Known(_)) {
            return None;
        }
        match std::mem::replace(&mut *answer, Answer::Taken) {
            Answer::Known(known) => Some(known),
            _ => None,
        }
    }

    /// The connection is gone before it had its answer.
    pub fn leave(&self) {
        let before = std::mem::replace(&mut *self.answer.lock(), Answer::Unwanted);
        if let Answer::Known(Ok(connected)) = before {
            self.undo(&connected);
        }
    }

    fn resolve(&self, outcome: Outcome) {
        let Some(asked) = self.asked.lock().take() else { return };
        let (connecting, greet) = *asked;
        let known = match outcome {
            Outcome::Done(Done::Connected { present }) => self.take_in(connecting, present, greet),
            Outcome::Refused { why, .. } => Err(EnterRefused::Log(why)),
            // Two users asked for one new client id at a time.
            _ => Err(ConnectRefused::OtherUser.into()),
        };
        let mut answer = self.answer.lock();
        if !matches!(*answer, Answer::Unwanted) {
            *answer = Answer::Known(known);
            drop(answer);
            return self.link.wake();
        }
        drop(answer);
        if let Ok(connected) = known {
            self.undo(&connected);
        }
    }

    fn take_in(&self, connecting: Connecting, present: bool, greet: Greet) -> Result<Connected, EnterRefused> {
        let logged = Logged { present, session: self.session, connection: self.connection };
        let client_id = connecting.client_id().to_owned();
        let taken_in = self.realm.clients.take_in(&self.node, &self.realm, connecting, Some(logged), greet);
        taken_in.map_err(|refused| {
            // The log believes that it is connected.
            let farewell = Command::Disconnect {
                realm: self.realm.name.to_string(),
                client_id,
                connection: self.connection,
                orderly: true,
                expiry_s: 0,
            };
            self.node.owe_log(farewell);
            refused.into()
        })
    }

    /// Ends a connection that is not there any more.
    fn undo(&self, connected: &Connected) {
        let clients = &self.realm.clients;
        clients.disconnect(&self.node, &self.realm, &connected.client, &self.link, Leaving::Broken);
    }
}
