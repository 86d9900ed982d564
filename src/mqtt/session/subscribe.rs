//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5, 3.8 to 3.11).

use super::{Halt, Open, Violation};
use crate::mqtt::Settings;
use crate::mqtt::codec::{
    Diagnostics, Level, ReasonCode, ReasonCodes, RetainHandling, Suback, Subscribe, Subscription, Unsuback, Unsubscribe,
};
use crate::mqtt::rpc;
use crate::mqtt::topic::Filter;
use crate::node::Node;
use crate::node::clients::Held;
use crate::router::authorize::{Action, covers};
use crate::router::broker::Options;
use crate::types::event::{Qos, Terms};

impl Open {
    pub(super) fn subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        node: &Node,
        settings: &Settings,
    ) -> Result<(), Halt> {
        self.publisher.flush();
        check_count(subscribe.subscriptions.iter().count(), node)?;
        let mut reasons = Vec::new();
        for subscription in subscribe.subscriptions {
            reasons.push(self.subscribe_one(&subscription, subscribe.subscription_identifier, node, settings));
        }
        self.client.let_go_if_ended(&self.publisher.node, &self.publisher.realm);
        if self.level < Level::V5 {
            // One code for every failure (3.1.1, 3.9.3).
            for reason in reasons.iter_mut().filter(|reason| reason.is_error()) {
                *reason = ReasonCode::UnspecifiedError;
            }
        }
        let suback = Suback {
            packet_id: subscribe.packet_id,
            diagnostics: Diagnostics::default(),
            reasons: ReasonCodes::new(&reasons),
        };
        // Cannot fail: there are no strings in it, and as many codes as there were filters.
        let _ = suback.encode_within(self.packet_bytes_max, self.level, &mut self.replies);
        Ok(())
    }

    fn subscribe_one(
        &mut self,
        wanted: &Subscription<'_>,
        identifier: Option<u32>,
        node: &Node,
        settings: &Settings,
    ) -> ReasonCode {
        if rpc::is_rpc(wanted.filter.as_bytes()) {
            return self.register(wanted.filter, wanted.qos);
        }
        let Ok(filter) = Filter::parse(wanted.filter) else { return ReasonCode::TopicFilterInvalid };
        if settings.refuse_filters.iter().any(|refused| covers(refused, &filter.pattern)) {
            return ReasonCode::NotAuthorized;
        }
        let realm = self.publisher.realm.clone();
        if !realm.authorizer.allows_pattern(self.role, Action::Subscribe, &filter.pattern) {
            return ReasonCode::NotAuthorized;
        }
        let held = Held { pattern: filter.pattern.clone(), group: filter.group.map(Into::into) };
        {
            let mut record = self.client.record.lock();
            let full = record.subscriptions.len() >= node.limits.subscriptions_per_session_max;
            if full && !record.subscriptions.contains_key(wanted.filter) {
                return ReasonCode::QuotaExceeded;
            }
            record.subscriptions.insert(wanted.filter.into(), held);
        }
        let options = Options::Merged {
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            identifier,
        };
        let session = &self.client.session;
        let subscribed = realm.subscribe(session, &filter.pattern, filter.group, options, |_, _| {});
        let send_retained = match wanted.retain_handling {
            RetainHandling::AtSubscribe => true,
            RetainHandling::AtNewSubscribe => !subscribed.existed,
            RetainHandling::Never => false,
        };
        if send_retained && filter.group.is_none() {
            let terms = Terms {
                qos: wanted.qos,
                retain: true,
                identifiers: identifier.into_iter().collect(),
                ..Terms::default()
            };
            realm.replay(session, subscribed.id, &filter.pattern, self.role, terms);
        }
        match wanted.qos {
            Qos::AtMostOnce => ReasonCode::GRANTED_QOS_0,
            Qos::AtLeastOnce => ReasonCode::GrantedQos1,
            Qos::ExactlyOnce => ReasonCode::GrantedQos2,
        }
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>, node: &Node) -> Result<(), Halt> {
        self.publisher.flush();
        check_count(unsubscribe.filters.iter().count(), node)?;
        let reasons: Vec<_> = unsubscribe.filters.iter().map(|filter| self.unsubscribe_one(filter)).collect();
        let unsuback = Unsuback {
            packet_id: unsubscribe.packet_id,
            diagnostics: Diagnostics::default(),
            reasons: ReasonCodes::new(&reasons),
        };
        // Cannot fail: there are no strings in it, and as many codes as there were filters.
        let _ = unsuback.encode_within(self.packet_bytes_max, self.level, &mut self.replies);
        Ok(())
    }

    fn unsubscribe_one(&mut self, filter: &str) -> ReasonCode {
        if rpc::is_rpc(filter.as_bytes()) {
            return self.unregister(filter);
        }
        let held = self.client.record.lock().subscriptions.remove(filter);
        let Some(held) = held else {
            let valid = Filter::parse(filter).is_ok();
            return if valid { ReasonCode::NoSubscriptionExisted } else { ReasonCode::TopicFilterInvalid };
        };
        let realm = &self.publisher.realm;
        realm.unsubscribe(&self.client.session, &held.pattern, held.group.as_deref(), |_, _| {});
        ReasonCode::Success
    }
}

fn check_count(filters: usize, node: &Node) -> Result<(), Violation> {
    if filters > node.limits.mqtt_subscribe_filters_max {
        return Err(Violation::new(ReasonCode::QuotaExceeded, "too many topic filters in one packet"));
    }
    Ok(())
}
