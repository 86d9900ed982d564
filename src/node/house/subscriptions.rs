//! `fennec.subscription.*`: the subscriptions of the caller, read anew, acknowledged and told about.

use std::sync::Arc;

use super::answer::{Answer, Failure, Given};
use super::arguments::{Arguments, Options};
use super::asked::Asked;
use super::callee::Call;
use super::{Item, Room};
use crate::node::past::{Found, Since, Target};
use crate::node::reader::wants::Want;
use crate::node::reader::{Reading, Start};
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::router::broker;
use crate::types::event::Recovery;
use crate::types::ids::SubscriptionId;
use crate::types::payload::Format;
use crate::types::time::parse_rfc3339;
use crate::types::topic::TopicPattern;
use crate::types::value::{Raw, Value};

impl Room<'_> {
    /// The caller's session, which holds the subscription, and the pattern.
    fn held(&self, realm: &Realm, call: &Call, id: SubscriptionId) -> Result<(Arc<Session>, TopicPattern), Failure> {
        let session = realm.session(call.caller.session);
        let session = session.filter(|session| session.mailbox().subscriptions.contains(&id));
        let pattern = realm.pattern(id);
        session.zip(pattern).ok_or_else(Failure::no_such_subscription)
    }

    pub fn replay(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let subscription = SubscriptionId(arguments.id("subscription")?);
        let mut options = arguments.options(&["after", "rewind", "since"])?;
        let since = since(&mut options)?;
        let realm = self.realm(call)?;
        let (_, pattern) = self.held(&realm, call, subscription)?;
        let filter = realm.variant(subscription).filter;
        let target = Target { realm: realm.name.clone(), pattern, filter };
        self.find(call, target, since)?;
        self.desk.asked.insert(call.key.clone(), Asked::Replay { call: call.clone(), subscription });
        Ok(Given::Later)
    }

    fn find(&self, call: &Call, target: Target, since: Since) -> Result<(), Failure> {
        let (key, queue) = (call.key.clone(), self.queue.clone());
        Ok(self.node.find_since(target, since, move |_, found| queue.push(Item::Found { key, found }))?)
    }

    /// Has the subscription read from the place that was found. What it is sent live comes behind that again.
    pub fn start_replay(&self, call: &Call, id: SubscriptionId, found: &Found) -> Result<Answer, Failure> {
        let realm = self.realm(call)?;
        let (session, pattern) = self.held(&realm, call, id)?;
        let reading = Reading {
            node: Arc::downgrade(self.node),
            realm: Arc::downgrade(&realm),
            session: Arc::downgrade(&session),
            rights: Some(self.rights(&realm, call)?),
            recorded: false,
        };
        let recovery = found.recovery();
        let filter = realm.variant(id).filter;
        let want = Want { pattern, options: broker::Options::Each, subscription: id, since: 0, follows: true };
        let mut mailbox = session.mailbox();
        mailbox.read_log(reading);
        let durable = mailbox.reader(id).and_then(|each| each.durable.clone());
        let recovered = Some(recovery);
        let start = Start { want, after: found.after, until: None, route: None, durable, filter, recovery: recovered };
        mailbox.start_reader(id, start);
        if let Some(online) = mailbox.online() {
            online.link.wake();
        }
        Ok(Answer::one(Value::map(told(recovery))))
    }

    pub fn ack(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let subscription = SubscriptionId(arguments.id("subscription")?);
        let event = arguments.value("event")?;
        arguments.options(&[])?;
        let realm = self.realm(call)?;
        let (_, pattern) = self.held(&realm, call, subscription)?;
        let since = after(&event).ok().filter(|since| !matches!(since, Since::Time(_)));
        match since.ok_or_else(|| Failure::invalid("event must be an event id or a publication id"))? {
            Since::Publication(id) => {
                let number = self.node.log.number_of(id);
                let number = number.ok_or_else(|| Failure::invalid("event is the id of no event of the log"))?;
                Ok(self.acknowledge(call, subscription, number)?.into())
            }
            since => {
                self.find(call, Target { realm: realm.name.clone(), pattern, filter: None }, since)?;
                self.desk.asked.insert(call.key.clone(), Asked::Ack { call: call.clone(), subscription });
                Ok(Given::Later)
            }
        }
    }

    /// The caller has processed all events of a subscription up to this number.
    pub fn acknowledge(&self, call: &Call, id: SubscriptionId, number: u64) -> Result<Answer, Failure> {
        let realm = self.realm(call)?;
        let (session, _) = self.held(&realm, call, id)?;
        let known = session.mailbox().ack(id, number);
        let none = || Failure::invalid("the subscription is not a durable one that its client acknowledges");
        Ok(Answer::one(known.ok_or_else(none)?))
    }

    pub fn status(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let id = SubscriptionId(arguments.id("subscription")?);
        arguments.options(&[])?;
        let realm = self.realm(call)?;
        let (session, pattern) = self.held(&realm, call, id)?;
        let (uri, policy) = pattern.uri();
        let mut status = vec![
            ("subscription", Value::from(id.0)),
            ("topic", Value::from(uri)),
            ("match", Value::from(policy.as_str())),
        ];
        let event_id = |number: u64| self.node.log.event_id_of(number).map(|id| Value::from(id.to_string()));
        let mailbox = session.mailbox();
        if let Some(each) = mailbox.reader(id) {
            status.push(("live", Value::Bool(each.reader.position.is_live())));
            status.extend(each.recovery.into_iter().flat_map(told));
            status.extend(event_id(each.sent).map(|id| ("sent", id)));
            if let Some(durable) = &each.durable {
                status.push(("durable", Value::from(&*durable.name)));
                let how = if durable.acknowledged { "client" } else { "auto" };
                status.push(("acknowledge", Value::from(how)));
                status.extend(event_id(each.done).map(|id| ("acknowledged", id)));
            }
        }
        if let Some(group) = mailbox.group_of(id) {
            status.push(("group", Value::from(&*group.name)));
            status.push(("acknowledge", Value::from(if group.is_acknowledged() { "client" } else { "auto" })));
        }
        Ok(Answer::one(Value::map(status)).into())
    }
}

/// What a subscriber is told of the past that it asked for.
fn told(recovery: Recovery) -> Vec<(&'static str, Value)> {
    let mut told = vec![("recovered", Value::Bool(recovery.recovered))];
    told.extend(recovery.first_available.map(|id| ("first_available", Value::from(id.to_string()))));
    told
}

/// The place that the options of a replay say; one of them must be there.
fn since(options: &mut Options) -> Result<Since, Failure> {
    let mut found = Vec::new();
    if let Some(value) = options.any("after").filter(|value| !value.is_null()) {
        found.push(after(&value)?);
    }
    if let Some(count) = options.uint("rewind", "a number of events")? {
        found.push(Since::Last(count));
    }
    if let Some(text) = options.text("since")? {
        let time = parse_rfc3339(&text).map(Since::Time);
        found.push(time.ok_or_else(|| Failure::invalid("since must be an RFC 3339 time"))?);
    }
    match (found.pop(), found.is_empty()) {
        (Some(since), true) => Ok(since),
        _ => Err(Failure::invalid("one of the options after, rewind and since must be there")),
    }
}

fn after(value: &Value) -> Result<Since, Failure> {
    let packed = value.to_bytes(Format::MsgPack);
    Since::after(Raw::checked(Format::MsgPack, &packed)).map_err(|error| Failure::invalid(format!("after {error}")))
}
