//! `wamp.session.*`: who is there, and who is to go.

use std::sync::Arc;

use super::{id_of, ids};
use crate::node::house::Room;
use crate::node::house::answer::{Answer, Failure, Given};
use crate::node::house::arguments::{Arguments, Options};
use crate::node::house::callee::Call;
use crate::node::link::Kick;
use crate::node::realm::Realm;
use crate::node::session::{Origin, Session};
use crate::types::ids::SessionId;
use crate::types::payload::Format;
use crate::types::time::rfc3339;
use crate::types::topic::Topic;
use crate::types::value::Value;

/// Bytes of details that are told of a session beside the broker's own.
const EXTRA_BYTES_MAX: usize = 4096;
/// Bytes of what a session is told that is to go.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Details that are the broker's own.
const OWN: [&str; 12] = [
    "session",
    "authid",
    "authrole",
    "authmethod",
    "authprovider",
    "authextra",
    "transport",
    "protocol",
    "client_id",
    "realm",
    "connected",
    "entry",
];

/// What is told of a session (WAMP, Session Meta API), and what else somebody has said of it.
pub(in crate::node::house) fn details(session: &Session) -> Value {
    let identity = &session.identity;
    let mut details = vec![
        ("session".to_owned(), Value::from(session.id.0)),
        ("authid".to_owned(), Value::from(&*identity.authid)),
        ("authrole".to_owned(), Value::from(&*identity.authrole)),
        ("authmethod".to_owned(), Value::from(identity.authmethod)),
        ("authprovider".to_owned(), Value::from(identity.authprovider)),
        ("protocol".to_owned(), Value::from(session.protocol().name())),
    ];
    details.extend(identity.client_id.as_deref().map(|id| ("client_id".to_owned(), Value::from(id))));
    details.extend(transport(&session.origin()).map(|transport| ("transport".to_owned(), transport)));
    details.extend(session.extra.lock().iter().cloned());
    Value::Map(details)
}

/// Where its client is, and since when.
fn transport(origin: &Origin) -> Option<Value> {
    let peer = origin.peer.as_ref()?;
    let mut transport = vec![
        ("type", Value::from(origin.transport)),
        ("peer", Value::from(peer.address.to_string())),
        ("tls", Value::Bool(peer.tls.is_some())),
    ];
    transport.extend(peer.proxy.map(|proxy| ("proxy", Value::from(proxy.to_string()))));
    let name = peer.certificate().and_then(|certificate| certificate.common_name.as_deref());
    transport.extend(name.map(|name| ("certificate", Value::from(name))));
    if origin.since_ms > 0 {
        transport.push(("since", Value::from(rfc3339(origin.since_ms * 1000))));
    }
    Some(Value::map(transport))
}

pub(in crate::node::house) const NO_SESSION: &str = "wamp.error.no_such_session";

pub(in crate::node::house) fn no_such_session() -> Failure {
    Failure::new(NO_SESSION, "there is no such session")
}

/// What the session is told that is to go.
pub(in crate::node::house) fn kick_of(options: &mut Options) -> Result<Kick, Failure> {
    let reason = options.text("reason")?;
    if let Some(Err(error)) = reason.as_deref().map(Topic::from_uri) {
        return Err(Failure::new("wamp.error.invalid_uri", format!("reason {error}")));
    }
    let reason = reason.unwrap_or_else(|| "wamp.close.killed".to_owned());
    let message = options.text("message")?.filter(|message| !message.is_empty());
    if message.as_deref().is_some_and(|text| text.len() > MESSAGE_BYTES_MAX || text.contains(char::is_control)) {
        return Err(Failure::invalid("message must be a line of a kilobyte at most"));
    }
    Ok(Kick { reason, message })
}

impl Room<'_> {
    fn present(&self, call: &Call) -> Result<Vec<Arc<Session>>, Failure> {
        let mut sessions = self.realm(call)?.sessions();
        sessions.retain(|session| session.is_present());
        Ok(sessions)
    }

    /// The sessions that have one of the roles which the only argument names.
    fn filtered(&self, call: &Call) -> Result<Vec<Arc<Session>>, Failure> {
        let mut arguments = Arguments::read(call)?;
        let wrong = || Failure::invalid("filter_authroles must be a list of strings");
        let roles = arguments.next("filter_authroles").filter(|roles| !roles.is_null());
        let roles = roles.map(|roles| {
            let roles = roles.as_list().ok_or_else(wrong)?;
            roles.iter().map(|role| role.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<Vec<_>, _>>()
        });
        let roles = roles.transpose()?;
        arguments.options(&[])?;
        let mut sessions = self.present(call)?;
        sessions.retain(|session| roles.as_ref().is_none_or(|roles| roles.contains(&session.identity.authrole)));
        Ok(sessions)
    }

    pub fn session_count(&mut self, call: &Call) -> Result<Given, Failure> {
        Ok(Answer::one(self.filtered(call)?.len() as u64).into())
    }

    pub fn session_list(&mut self, call: &Call) -> Result<Given, Failure> {
        Ok(Answer::one(ids(self.filtered(call)?.iter().map(|session| session.id.0))).into())
    }

    pub fn session_get(&mut self, call: &Call) -> Result<Given, Failure> {
        let id = SessionId(id_of(call, "session")?);
        let session = self.realm(call)?.session(id).filter(|session| session.is_present());
        Ok(Answer::one(details(&*session.ok_or_else(no_such_session)?)).into())
    }

    /// Ends sessions, but not the caller's. Those that were ended.
    fn kill(&self, call: &Call, kick: &Kick, wanted: impl Fn(&Session) -> bool) -> Result<Vec<u64>, Failure> {
        let sessions = self.present(call)?.into_iter();
        let others = sessions.filter(|session| session.id != call.caller.session && wanted(session));
        Ok(others.filter(|session| session.kick(kick)).map(|session| session.id.0).collect())
    }

    pub fn session_kill(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let id = SessionId(arguments.id("session")?);
        let kick = kick_of(&mut arguments.options(&["reason", "message"])?)?;
        let killed = self.kill(call, &kick, |session| session.id == id)?;
        if killed.is_empty() { Err(no_such_session()) } else { Ok(Answer::default().into()) }
    }

    pub fn session_kill_by_authid(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let authid = arguments.text("authid")?;
        let kick = kick_of(&mut arguments.options(&["reason", "message"])?)?;
        let killed = self.kill(call, &kick, |session| session.identity.authid == authid)?;
        Ok(Answer::one(ids(killed)).into())
    }

    pub fn session_kill_by_authrole(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let authrole = arguments.text("authrole")?;
        let kick = kick_of(&mut arguments.options(&["reason", "message"])?)?;
        let killed = self.kill(call, &kick, |session| session.identity.authrole == authrole)?;
        Ok(Answer::one(killed.len() as u64).into())
    }

    pub fn session_kill_all(&mut self, call: &Call) -> Result<Given, Failure> {
        let kick = kick_of(&mut Arguments::read(call)?.options(&["reason", "message"])?)?;
        let killed = self.kill(call, &kick, |_| true)?;
        Ok(Answer::one(killed.len() as u64).into())
    }

    /// Sets what is told of a session beside the broker's own; null removes.
    pub fn session_modify_details(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let id = SessionId(arguments.id("session")?);
        let Value::Map(changes) = arguments.value("details")? else {
            return Err(Failure::invalid("details must be a dict"));
        };
        arguments.options(&[])?;
        if let Some((name, _)) = changes.iter().find(|(name, _)| OWN.contains(&name.as_str())) {
            return Err(Failure::invalid(format!("{name} is not to be changed")));
        }
        let session = self.realm(call)?.session(id).filter(|session| session.is_present());
        let session = session.ok_or_else(no_such_session)?;
        let mut extra = session.extra.lock();
        let mut changed = extra.clone();
        for (name, value) in changes {
            changed.retain(|(known, _)| *known != name);
            if !value.is_null() {
                changed.push((name, value));
            }
        }
        if Value::Map(changed.clone()).to_bytes(Format::MsgPack).len() > EXTRA_BYTES_MAX {
            return Err(Failure::quota("the details of a session are bounded"));
        }
        *extra = changed;
        Ok(Answer::default().into())
    }
}

impl Realm {
    /// A session has got a connection, maybe in place of another.
    pub(in crate::node) fn note_joined(&self, session: &Session) {
        if !session.is_clients() {
            return;
        }
        let was_here = session.set_present(true);
        // The other entry leaves it to this one to tell, so that both are heard in their order.
        let was_elsewhere = session.set_elsewhere(false);
        if was_here || was_elsewhere {
            self.herald.left(&self.name, session);
        }
        self.herald.joined(&self.name, session);
    }

    /// A session has its connection at another entry of the cluster now, which tells of it.
    pub fn note_moved(&self, session: &Session) {
        session.set_elsewhere(true);
        if session.set_present(false) {
            session.extra.lock().clear();
        }
    }

    /// A session has no connection any more; told once.
    pub(in crate::node) fn note_left(&self, session: &Session) {
        if session.set_present(false) {
            session.extra.lock().clear();
            self.herald.left(&self.name, session);
        }
    }
}
