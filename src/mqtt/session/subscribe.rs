//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5, 3.8 to 3.11).

use std::sync::Arc;

use super::answers::Answer;
use super::filters::{Filters, Replay, Resumed, Share, What};
use super::looking::Place;
use super::{Halt, Open, Violation};
use crate::mqtt::Settings;
use crate::mqtt::asked::{self, Asked};
use crate::mqtt::codec::{ReasonCode, RetainHandling, Subscribe, Subscription, Unsubscribe};
use crate::mqtt::rpc;
use crate::mqtt::topic::Filter;
use crate::node::Node;
use crate::node::clients::Held;
use crate::node::publish::Publisher;
use crate::queue::command::{Command, SubscriptionRow};
use crate::router::authorize::{Action, covers};
use crate::router::broker::{Options, Subscribed};
use crate::types::event::{Qos, Terms};
use crate::types::topic::{Topic, TopicPattern};

/// Why a topic filter is not subscribed to, and what is said of it beside the code.
type Refusal = (ReasonCode, Option<&'static str>);

impl Open {
    /// `frame`: the packet.
    pub(super) fn subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        frame: &[u8],
        settings: &Settings,
    ) -> Result<(), Halt> {
        let count = subscribe.subscriptions.iter().count();
        check_count(count, &self.publisher.node)?;
        match asked::read(subscribe.user_properties) {
            Ok(asked) => match asked.since.clone() {
                None => self.subscribe_from(subscribe, settings, &asked, &[]),
                Some(since) => self.look_back(subscribe, &since, asked, frame),
            },
            Err(why) => {
                let mut filters = Filters::subscribe(subscribe.packet_id);
                filters.reasons.resize(count, ReasonCode::ImplementationSpecificError);
                filters.why = Some(why);
                self.answers.say_filters(filters);
            }
        }
        Ok(())
    }

    /// Subscribes. `places`: where the older events begin that each topic filter asks for; empty if none does.
    pub(super) fn subscribe_from(
        &mut self,
        subscribe: &Subscribe<'_>,
        settings: &Settings,
        asked: &Asked,
        places: &[Place],
    ) {
        self.publisher.flush();
        let mut filters = Filters::subscribe(subscribe.packet_id);
        for (at, subscription) in subscribe.subscriptions.iter().enumerate() {
            let identifier = subscribe.subscription_identifier;
            let place = places.get(at).copied();
            let reason = self.subscribe_one(&subscription, identifier, settings, (asked, place), &mut filters);
            filters.reasons.push(reason);
        }
        self.client.let_go_if_ended(&self.publisher.node, &self.publisher.realm);
        self.answers.say_filters(filters);
        self.client.session.mailbox().hold(&self.publisher.node.peers, self.publisher.now_ms, &self.link);
    }

    fn subscribe_one(
        &mut self,
        wanted: &Subscription<'_>,
        identifier: Option<u32>,
        settings: &Settings,
        (asked, place): (&Asked, Option<Place>),
        filters: &mut Filters,
    ) -> ReasonCode {
        if rpc::is_rpc(wanted.filter.as_bytes()) {
            let reason = self.register(wanted.filter, wanted.qos);
            if !reason.is_error() && self.log_subscription(row(wanted, identifier, asked, None)) {
                filters.ask(wanted.filter, What::Registered, None);
            }
            return reason;
        }
        let admitted = self.admit(wanted, asked, settings).and_then(|filter| Ok((filter, self.past(place, filters)?)));
        match admitted {
            Ok((filter, after)) => self.subscribe_topics(wanted, identifier, &filter, (asked, after), filters),
            Err((reason, why)) => {
                filters.why = why.or(filters.why);
                reason
            }
        }
    }

    /// Subscribes to what it was admitted to. `after`: the older events that it wants too.
    fn subscribe_topics(
        &mut self,
        wanted: &Subscription<'_>,
        identifier: Option<u32>,
        filter: &Filter<'_>,
        (asked, after): (&Asked, Option<u64>),
        filters: &mut Filters,
    ) -> ReasonCode {
        let share = self.makes_group(filter);
        // What one member has not done with is given to another: it may come twice.
        let qos = if share { wanted.qos.min(Qos::AtLeastOnce) } else { wanted.qos };
        let options = Options::Merged {
            qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            identifier,
        };
        let held = Held {
            pattern: filter.pattern.clone(),
            group: filter.group.map(Into::into),
            options,
            fields: asked.fields.as_ref().map(|(fields, _)| Arc::new(fields.clone())),
            since: self.publisher.node.log.history.fed(),
        };
        if let (true, Some(after)) = (asked.snapshot, after) {
            self.client.snapshot(wanted.filter, held, after);
            return granted(wanted.qos);
        }
        let fields = held.fields.clone();
        let (before, subscribed) = self.hold(wanted.filter, held, after);
        let send_retained = match wanted.retain_handling {
            RetainHandling::AtSubscribe => true,
            RetainHandling::AtNewSubscribe => !subscribed.existed,
            RetainHandling::Never => false,
        };
        let replay = (send_retained && filter.group.is_none()).then(|| Replay {
            subscription: subscribed.id,
            pattern: filter.pattern.clone(),
            fields,
            rights: self.rights.clone(),
            terms: Terms {
                qos: wanted.qos,
                retain: true,
                identifiers: identifier.into_iter().collect(),
                ..Terms::default()
            },
        });
        if self.log_subscription(row(wanted, identifier, asked, after)) {
            filters.ask(wanted.filter, What::Subscribed(before), replay);
            if share {
                self.log_share(wanted.filter, filter.pattern.clone(), asked, None, filters);
            }
        } else if share {
            self.log_share(wanted.filter, filter.pattern.clone(), asked, Some(before), filters);
        } else if let Some(replay) = replay {
            replay.start(&self.context());
        }
        granted(qos)
    }

    /// Records the subscription and has its events come; what was recorded for this filter before.
    fn hold(&mut self, filter: &str, mut held: Held, after: Option<u64>) -> (Option<Held>, Subscribed) {
        let before = {
            let mut record = self.client.record.lock();
            // Replacing a subscription loses nothing (MQTT 5, 3.8.4), unless it asks for another past.
            let before = record.subscriptions.get(filter).map_or(held.since, |before| before.since);
            held.since = after.unwrap_or(before);
            record.subscriptions.insert(filter.into(), held.clone())
        };
        let realm = self.publisher.realm.clone();
        let share = held.group.is_some().then(|| held.options.clone());
        let subscribed = self.client.subscribe(&realm, filter, held, after);
        if let Some(options) = share {
            realm.join_share(&self.publisher.node, &self.client.session, filter, options);
        }
        if after.is_some() && self.kept.is_some() {
            // That it has to be sent older events must not be forgotten either.
            let at = self.client.session.mailbox().cursor();
            at.into_iter().for_each(|at| self.log_progress(at, Answer::Silence(1)));
        }
        (before, subscribed)
    }

    /// After which event the older ones begin that it asks for; `None`: it asks for none.
    fn past(&mut self, place: Option<Place>, filters: &mut Filters) -> Result<Option<u64>, Refusal> {
        let why = match place {
            None => return Ok(None),
            Some(Place::Found(found)) => {
                let all = Resumed { recovered: true, first_available: None };
                filters.resumed = Some(filters.resumed.unwrap_or(all).and(&found));
                self.client.read_past(&self.publisher.node, &self.publisher.realm, self.rights.clone());
                return Ok(Some(found.after));
            }
            Some(Place::Unreadable) => "the past cannot be read now",
            Some(_) => "a shared subscription has no past",
        };
        Err((ReasonCode::ImplementationSpecificError, Some(why)))
    }

    /// Whether this is a shared subscription that the log keeps as a group. One to which kept sessions are subscribed is. In a cluster
    /// others are too, or each entry would give the same event to a member; but only where all events are in the log anyway.
    fn makes_group(&self, filter: &Filter<'_>) -> bool {
        let Publisher { node, realm, .. } = &self.publisher;
        filter.group.is_some() && (self.kept.is_some() || node.has_peers() && realm.are_all_durable(&filter.pattern))
    }

    /// Has the log keep a shared subscription as a group: one of its members gets each event, whoever is there. `before`: see
    /// [`Share::before`].
    fn log_share(
        &mut self,
        filter: &str,
        pattern: TopicPattern,
        asked: &Asked,
        before: Option<Option<Held>>,
        filters: &mut Filters,
    ) {
        let command = self.publisher.realm.share_command(filter, &pattern, asked.group.clone());
        if let Command::Durable { durable, .. } = &command {
            let row = (**durable).clone();
            filters.ask(filter, What::Shared(Box::new(Share { pattern, row, before })), None);
        }
        self.publisher.command(command);
    }

    /// The filter, if the client may subscribe to it as it asks.
    fn admit<'f>(&self, wanted: &Subscription<'f>, asked: &Asked, settings: &Settings) -> Result<Filter<'f>, Refusal> {
        let filter = self.admit_filter(wanted.filter, settings).map_err(|reason| (reason, None))?;
        if filter.group.is_some() {
            if self.makes_group(&filter) && !self.may_bury(asked, &filter.pattern) {
                let why = "not authorized to publish to the dead-letter topic, or the group wants it itself";
                return Err((ReasonCode::NotAuthorized, Some(why)));
            }
            if asked.fields.is_some() {
                let why = "a shared subscription has no filter for data";
                return Err((ReasonCode::ImplementationSpecificError, Some(why)));
            }
        }
        Ok(filter)
    }

    /// Whether what the group gives up may go where the client says.
    fn may_bury(&self, asked: &Asked, pattern: &TopicPattern) -> bool {
        let name = asked.group.dead_letter_topic.as_deref();
        let Some(topic) = name.and_then(|name| Topic::from_name(name).ok()) else { return name.is_none() };
        let allowed = self.rights.allows(Action::Publish, &topic);
        allowed && !topic.is_reserved() && !pattern.matches(&topic)
    }

    /// The filter, if the client may subscribe to it.
    fn admit_filter<'f>(&self, text: &'f str, settings: &Settings) -> Result<Filter<'f>, ReasonCode> {
        let filter = Filter::parse(text).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        let refused = settings.refuse_filters.iter().any(|refused| covers(refused, &filter.pattern));
        if refused || !self.rights.allows_pattern(Action::Subscribe, &filter.pattern) {
            return Err(ReasonCode::NotAuthorized);
        }
        let record = self.client.record.lock();
        let full = record.subscriptions.len() >= self.publisher.node.limits.subscriptions_per_session_max;
        let tight = self.publisher.node.is_tight();
        if (full || tight) && !record.subscriptions.contains_key(text) {
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(filter)
    }

    /// Gives the log a subscription of a session that is kept; `false`: this one is not.
    fn log_subscription(&mut self, row: SubscriptionRow) -> bool {
        if self.kept.is_none() {
            return false;
        }
        self.publisher.command(Command::Subscribe {
            realm: self.publisher.realm.name.to_string(),
            client_id: self.client.client_id().to_owned(),
            subscription: Box::new(row),
        });
        true
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, node: &Node) -> Result<(), Halt> {
        self.publisher.flush();
        check_count(unsubscribe.filters.iter().count(), node)?;
        let mut filters = Filters::unsubscribe(unsubscribe.packet_id);
        for filter in unsubscribe.filters {
            let reason = self.unsubscribe_one(filter, &mut filters);
            filters.reasons.push(reason);
        }
        self.answers.say_filters(filters);
        Ok(())
    }

    fn unsubscribe_one(&mut self, filter: &str, filters: &mut Filters) -> ReasonCode {
        let what = if rpc::is_rpc(filter.as_bytes()) {
            let known = self.client.record.lock().procedures.contains_key(filter);
            if !known {
                return ReasonCode::NoSubscriptionExisted;
            }
            rpc::unregister(&self.context(), filter);
            What::Unregistered
        } else {
            let held = self.client.record.lock().subscriptions.remove(filter);
            let Some(held) = held else {
                let valid = Filter::parse(filter).is_ok();
                return if valid { ReasonCode::NoSubscriptionExisted } else { ReasonCode::TopicFilterInvalid };
            };
            self.client.unsubscribe(&self.publisher.realm, filter, &held);
            What::Unsubscribed(held)
        };
        if self.kept.is_some() {
            self.publisher.command(Command::Unsubscribe {
                realm: self.publisher.realm.name.to_string(),
                client_id: self.client.client_id().to_owned(),
                filter: filter.to_owned(),
            });
            filters.ask(filter, what, None);
        }
        ReasonCode::Success
    }
}

/// What the log keeps of a subscription. `since`: the event after which it wants them.
fn row(wanted: &Subscription<'_>, identifier: Option<u32>, asked: &Asked, since: Option<u64>) -> SubscriptionRow {
    SubscriptionRow {
        filter: wanted.filter.to_owned(),
        qos: wanted.qos as u8,
        no_local: wanted.no_local,
        retain_as_published: wanted.retain_as_published,
        identifier,
        since,
        fields: asked.fields.as_ref().map(|(_, text)| text.clone()),
    }
}

/// The code that grants a QoS.
pub(in crate::mqtt) fn granted(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::GRANTED_QOS_0,
        Qos::AtLeastOnce => ReasonCode::GrantedQos1,
        Qos::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

fn check_count(filters: usize, node: &Node) -> Result<(), Violation> {
    if filters > node.limits.mqtt_subscribe_filters_max {
        return Err(Violation::new(ReasonCode::QuotaExceeded, "too many topic filters in one packet"));
    }
    Ok(())
}
