//! Sessions, and what is kept for them: connected ones, and those that are kept without a connection.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Page, limit, listed};
use crate::node::house::Room;
use crate::node::house::answer::{Answer, Failure, Given};
use crate::node::house::arguments::{Arguments, Options};
use crate::node::house::callee::Call;
use crate::node::house::meta::{self, NO_SESSION, no_such_session};
use crate::node::house::placed::What;
use crate::node::metrics::Protocol;
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::queue::command::Command;
use crate::queue::message::Batch;
use crate::router::broker::SubscriptionInfo;
use crate::router::output::RegistrationInfo;
use crate::types::ids::SessionId;
use crate::types::value::Value;

/// Subscriptions and registrations that are told of one session.
const THINGS_MAX: usize = 1000;
const MS_PER_MINUTE: u64 = 60_000;

/// What a session holds.
struct Holding {
    session: Arc<Session>,
    outbox_bytes: usize,
    backlog_messages: usize,
    backlog_bytes: usize,
    inflight: usize,
    inflight_bytes: usize,
    /// Up to where of the log it has been sent everything.
    sent_to: Option<u64>,
    /// When the oldest event in the backlog came.
    oldest_ms: Option<u64>,
}

impl Holding {
    fn of(session: Arc<Session>) -> Self {
        let mailbox = session.mailbox();
        let (outbox_bytes, inflight) = (mailbox.outbox.bytes(), mailbox.inflight.len());
        let (backlog_messages, backlog_bytes) = (mailbox.backlog.len(), mailbox.backlog.bytes());
        let inflight_bytes = mailbox.inflight.bytes();
        let oldest_ms = mailbox.backlog.oldest_ms();
        let sent_to = mailbox.cursor().map(|cursor| cursor.sent_to);
        drop(mailbox);
        Self { session, outbox_bytes, backlog_messages, backlog_bytes, inflight, inflight_bytes, sent_to, oldest_ms }
    }

    fn bytes(&self) -> usize {
        self.outbox_bytes + self.backlog_bytes + self.inflight_bytes
    }
}

/// Which sessions are wanted.
struct Filter {
    protocol: Option<String>,
    authid: Option<String>,
    client_id: Option<String>,
    connected: Option<bool>,
}

impl Filter {
    fn read(options: &mut Options) -> Result<Self, Failure> {
        Ok(Self {
            protocol: options.text("protocol")?,
            authid: options.text("authid")?,
            client_id: options.text("client_id")?,
            connected: options.bool("connected")?,
        })
    }

    fn lets_through(&self, session: &Session) -> bool {
        let identity = &session.identity;
        self.protocol.as_deref().is_none_or(|name| session.protocol().name() == name)
            && self.authid.as_deref().is_none_or(|authid| identity.authid == *authid)
            && self.client_id.as_deref().is_none_or(|id| identity.client_id.as_deref() == Some(id))
            && self.connected.is_none_or(|connected| session.is_present() == connected)
    }
}

/// What sessions are subscribed to.
struct Held<'r> {
    realm: &'r Realm,
    /// Of those over HTTP, which do not know it themselves.
    over_http: HashMap<SessionId, Vec<SubscriptionInfo>>,
}

impl<'r> Held<'r> {
    fn of(realm: &'r Realm, sessions: &[&Session]) -> Self {
        let http = sessions.iter().filter(|session| session.protocol() == Protocol::Http).map(|session| session.id);
        let http: Vec<_> = http.collect();
        Self { realm, over_http: if http.is_empty() { HashMap::new() } else { realm.held_by(&http) } }
    }

    /// MQTT filters as the client has written them, else what is told of subscriptions.
    fn by(&self, session: &Session) -> Vec<Value> {
        if let Some(client) = session.identity.client_id.as_deref().and_then(|id| self.realm.clients.get(id)) {
            let record = client.record.lock();
            return record.subscriptions.keys().take(THINGS_MAX).map(|filter| Value::from(&**filter)).collect();
        }
        if let Some(infos) = self.over_http.get(&session.id) {
            return infos.iter().take(THINGS_MAX).map(meta::subscription).collect();
        }
        let ids: Vec<_> = session.mailbox().subscriptions.iter().take(THINGS_MAX).copied().collect();
        let infos = ids.into_iter().filter_map(|id| self.realm.subscription_info(id));
        infos.map(|info| meta::subscription(&info)).collect()
    }
}

impl Room<'_> {
    pub fn admin_sessions(&mut self, call: &Call) -> Result<Given, Failure> {
        const KNOWN: [&str; 7] = ["limit", "after", "order_by", "protocol", "authid", "client_id", "connected"];
        let mut options = Arguments::read(call)?.options(&KNOWN)?;
        let filter = Filter::read(&mut options)?;
        let order = options.text("order_by")?;
        let realm = self.realm(call)?;
        let mut all = realm.sessions();
        // Another entry tells of those that are connected there.
        let is_others = |session: &Session| session.is_elsewhere() || call.of_entry && session.is_mirror();
        all.retain(|session| !is_others(session) && filter.lets_through(session));
        let (holdings, next) = match order.as_deref() {
            None | Some("session") => {
                let (page, next) = Page::read(&mut options)?.of(all, |session| session.id.0);
                (page.into_iter().map(Holding::of).collect::<Vec<_>>(), next)
            }
            // Who holds most. What comes behind the first of them nobody asks for.
            Some("bytes") => {
                let mut holdings: Vec<_> = all.into_iter().map(Holding::of).collect();
                holdings.sort_by_key(|holding| std::cmp::Reverse((holding.bytes(), holding.inflight)));
                holdings.truncate(limit(&mut options)?);
                (holdings, None)
            }
            Some(_) => return Err(Failure::invalid("order_by must be session or bytes")),
        };
        let sessions: Vec<_> = holdings.iter().map(|holding| &*holding.session).collect();
        let held = Held::of(&realm, &sessions);
        let entries = holdings.iter().map(|holding| Value::map(self.holding(&held, holding))).collect();
        Ok(Answer::one(listed("sessions", entries, next.map(Value::from))).into())
    }

    fn holding(&self, held: &Held<'_>, holding: &Holding) -> Vec<(String, Value)> {
        let session = &holding.session;
        let mut entry = match meta::details(session) {
            Value::Map(details) => details,
            _ => Vec::new(),
        };
        let number = |count: usize| Value::from(count as u64);
        let mut push = |name: &str, value| entry.push((name.to_owned(), value));
        if let Some(entry) = self.node.house.entry_name().filter(|_| !session.is_mirror()) {
            push("entry", Value::from(entry));
        }
        push("connected", Value::Bool(session.is_present()));
        push("subscriptions", number(held.by(session).len()));
        push("outbox_bytes", number(holding.outbox_bytes));
        push("backlog_messages", number(holding.backlog_messages));
        push("backlog_bytes", number(holding.backlog_bytes));
        push("inflight_messages", number(holding.inflight));
        push("inflight_bytes", number(holding.inflight_bytes));
        let mut oldest_ms = holding.oldest_ms;
        if let Some(sent_to) = holding.sent_to {
            let lag = self.node.log.fed().saturating_sub(sent_to);
            push("lag", Value::from(lag));
            let minute = (lag > 0).then(|| self.node.log.minute_of(sent_to + 1)).flatten();
            let at_ms = minute.map(|minute| u64::from(minute) * MS_PER_MINUTE);
            oldest_ms = oldest_ms.into_iter().chain(at_ms).min();
        }
        if let Some(at_ms) = oldest_ms {
            push("oldest_s", Value::from(self.now_ms.saturating_sub(at_ms) / 1000));
        }
        entry
    }

    /// The session that the first argument names by its id, or by the client id that it has.
    fn named(&self, realm: &Realm, arguments: &mut Arguments) -> Result<Arc<Session>, Failure> {
        let found = match arguments.value("session")? {
            Value::Text(client_id) => realm.clients.get(&client_id).map(|client| client.session.clone()),
            value => {
                let id = value.as_u64().ok_or_else(|| Failure::invalid("session must be an id or a client id"))?;
                realm.session(SessionId(id))
            }
        };
        found.filter(|session| !session.is_elsewhere()).ok_or_else(no_such_session)
    }

    pub fn admin_session(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let realm = self.realm(call)?;
        let session = self.named(&realm, &mut arguments)?;
        if call.of_entry && session.is_mirror() {
            return Err(no_such_session());
        }
        arguments.options(&[])?;
        let held = Held::of(&realm, &[&session]);
        let mut entry = self.holding(&held, &Holding::of(session.clone()));
        entry.retain(|(name, _)| name != "subscriptions");
        entry.push(("subscriptions".to_owned(), Value::List(held.by(&session))));
        let dealer = realm.dealer.lock();
        let is_callee = |info: &RegistrationInfo<'_>| {
            let mut callees = dealer.callees(info.registration).into_iter().flatten();
            callees.any(|callee| callee == session.id)
        };
        let own = dealer.registrations().filter(is_callee).take(THINGS_MAX);
        let own = own.map(|info| meta::registration(&info)).collect();
        entry.push(("registrations".to_owned(), Value::List(own)));
        Ok(Answer::one(Value::Map(entry)).into())
    }

    /// Ends the connection of a session; with `forget` the session, too, and all that is kept for it.
    pub fn admin_kick(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let realm = self.realm(call)?;
        let session = self.named(&realm, &mut arguments)?;
        let mut options = arguments.options(&["reason", "message", "forget"])?;
        let forget = options.bool("forget")?.unwrap_or(false);
        let kick = meta::kick_of(&mut options)?;
        if session.id == call.caller.session {
            return Err(no_such_session());
        }
        let kicked = session.kick(&kick);
        let client_id = session.identity.client_id.as_ref().filter(|_| forget);
        match client_id.filter(|client_id| realm.clients.is_logged(client_id)) {
            Some(client_id) => {
                let (realm, client_id) = (realm.name.to_string(), client_id.clone());
                let mut batch = Batch::default();
                batch.command(&Command::EndSession { realm, client_id, session: session.id.0 });
                self.submit(call, What::End(session.id), batch);
                Ok(Given::Later)
            }
            None if kicked => Ok(Answer::one(session.id.0).into()),
            None if session.is_present() || forget => Err(no_such_session()),
            None => Err(Failure::new(NO_SESSION, "the session has no connection: forget ends it")),
        }
    }
}
