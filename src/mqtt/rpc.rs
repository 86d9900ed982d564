//! Calls by publications (design: "RPC for MQTT 5").
//!
//! ```text
//! caller: PUBLISH $rpc/<procedure>, response topic R, correlation data C --> call --> PUBLISH R, C, the result
//! callee: SUBSCRIBE $rpc/<procedure> --> register;  PUBLISH $rpc/<procedure>, response topic $rpc-reply/<n> to it,
//!         PUBLISH $rpc-reply/<n> from it --> the result (user property `error`: the URI of an error)
//! ```

use std::sync::Arc;

use crate::delivery::Owed;
use crate::mqtt::codec::{Level, Publish, ReasonCode};
use crate::mqtt::session::{Context, Open, Verdict, Violation, granted};
use crate::mqtt::wire::INVOCATION_QOS;
use crate::node::rpc::ReplyTo;
use crate::node::session::{Session, Touched};
use crate::node::wire::Unencodable;
use crate::router::authorize::Action;
use crate::router::dealer::{Call, CalleeFeatures, Notes, Register};
use crate::router::output::{Failure, Invocation, InvocationPolicy, Output, Refusal};
use crate::types::event::{Event, Properties, Qos, Terms};
use crate::types::ids::{InvocationId, PublicationId, RequestId};
use crate::types::payload::PayloadRef;
use crate::types::topic::{Topic, TopicPattern};

const CALL: &str = "$rpc/";
const REPLY: &str = "$rpc-reply/";

/// Whether a topic or filter is about calls.
pub fn is_rpc(topic: &[u8]) -> bool {
    topic.starts_with(b"$rpc") && (topic.starts_with(CALL.as_bytes()) || topic.starts_with(REPLY.as_bytes()))
}

/// The name of the procedure that a topic or filter under `$rpc/` is about.
pub fn procedure(topic: &str) -> Option<&str> {
    topic.strip_prefix(CALL)
}

impl Open {
    /// A PUBLISH under `$rpc/` is a call, one under `$rpc-reply/` the answer to an invocation.
    pub(super) fn publish_rpc(
        &mut self,
        publish: &Publish<'_>,
        topic: &[u8],
        properties: Option<&Arc<Properties>>,
    ) -> Result<Verdict, Violation> {
        self.publisher.flush();
        let topic = crate::mqtt::codec::validate_topic_name(topic)?;
        if let Some(number) = topic.strip_prefix(REPLY) {
            return Ok(self.answer_invocation(number, publish, properties));
        }
        let procedure = topic.strip_prefix(CALL).unwrap_or_default();
        let Ok(procedure) = Topic::from_name(procedure) else {
            return Ok(Verdict::new(ReasonCode::TopicNameInvalid, "not the name of a procedure"));
        };
        Ok(self.call(&procedure, publish, properties))
    }

    fn call(&mut self, procedure: &Topic, publish: &Publish<'_>, properties: Option<&Arc<Properties>>) -> Verdict {
        let realm = self.publisher.realm.clone();
        let node = self.publisher.node.clone();
        self.publisher.tally.calls_in += 1;
        let Some(response) = properties.and_then(|properties| properties.response_topic.as_deref()) else {
            return Verdict::new(ReasonCode::ImplementationSpecificError, "a call needs a response topic");
        };
        let Ok(response) = Topic::from_name(response) else {
            return Verdict::new(ReasonCode::TopicNameInvalid, "the response topic");
        };
        let allowed = self.rights.allows(Action::Call, procedure) && self.rights.allows(Action::Publish, &response);
        if !allowed {
            return Verdict::new(ReasonCode::NotAuthorized, "");
        }
        if node.is_tight_for(procedure) {
            return Verdict::new(ReasonCode::QuotaExceeded, "there is no memory for more");
        }
        let session = self.client.session.clone();
        let request = self.client.next_request();
        let correlation = properties.and_then(|properties| properties.correlation_data.clone());
        let reply_to = ReplyTo::Topic { topic: Arc::new(response), correlation, qos: publish.qos };
        session.replies.lock().insert(request, reply_to);
        let caller = session.discloser();
        let ruled = realm.rules.of(procedure, Some(&session.identity.authrole));
        let call = Call {
            request,
            procedure,
            payload: PayloadRef::Bytes(publish.payload),
            codec: realm.codec(procedure),
            timeout_ms: 0,
            receive_progress: false,
            progress: false,
            disclose_me: self.rights.discloses(Action::Call, procedure),
            caller: &caller,
            notes: Notes { trust: ruled.trust, disclosure: ruled.disclosure, ..Notes::default() },
        };
        let now_ms = self.publisher.now_ms;
        match realm.call(&node, &mut self.publisher.touched, &session, &call, now_ms) {
            Ok(()) => Verdict::OK,
            // Our own numbers do not repeat.
            Err(_) => {
                self.client.session.replies.lock().remove(&request);
                Verdict::new(ReasonCode::UnspecifiedError, "")
            }
        }
    }

    fn answer_invocation(
        &mut self,
        number: &str,
        publish: &Publish<'_>,
        properties: Option<&Arc<Properties>>,
    ) -> Verdict {
        let Ok(invocation) = number.parse().map(InvocationId) else {
            return Verdict::new(ReasonCode::TopicNameInvalid, "not a response topic of this broker");
        };
        let realm = self.publisher.realm.clone();
        let node = self.publisher.node.clone();
        let callee = self.client.session.id;
        let payload = PayloadRef::Bytes(publish.payload);
        let error = properties.and_then(|properties| {
            properties.user_properties.iter().find(|(name, _)| name == "error").map(|(_, uri)| uri.clone())
        });
        let now_ms = self.publisher.now_ms;
        let answered = realm.command(&node, &mut self.publisher.touched, |dealer, out| match &error {
            Some(uri) => dealer.invocation_error(callee, invocation, uri, payload, out),
            None => dealer.yield_result(callee, invocation, false, payload, now_ms, out),
        });
        match answered {
            Ok(()) => Verdict::OK,
            Err(_) => Verdict::new(ReasonCode::ImplementationSpecificError, "no such call is under way"),
        }
    }

    /// SUBSCRIBE to `$rpc/<procedure>`: the client answers calls of it.
    pub(super) fn register(&mut self, filter: &str, qos: Qos) -> ReasonCode {
        let Some(Ok(procedure)) = filter.strip_prefix(CALL).map(Topic::from_name) else {
            return ReasonCode::TopicFilterInvalid;
        };
        let realm = self.publisher.realm.clone();
        let node = self.publisher.node.clone();
        // Without a response topic it could not be told where to answer.
        if self.level < Level::V5 || !self.rights.allows(Action::Register, &procedure) {
            return ReasonCode::NotAuthorized;
        }
        if self.has_registered(filter, qos) {
            return granted(qos);
        }
        if node.is_tight() {
            return ReasonCode::QuotaExceeded;
        }
        let Ok(topic) = Topic::from_name(filter) else { return ReasonCode::TopicFilterInvalid };
        let topic = Arc::new(topic);
        let session = self.client.session.clone();
        let register = Register {
            request: RequestId(1),
            pattern: &TopicPattern::exact(&procedure),
            policy: InvocationPolicy::Single,
            concurrency: None,
            disclose_caller: false,
            forward_timeout: false,
            force_reregister: false,
            authid: Some(&session.identity.authid),
            node_key: None,
            client_id: session.identity.client_id.as_deref(),
            features: CalleeFeatures::default(),
        };
        let now_ms = self.publisher.now_ms;
        let mut reason = ReasonCode::UnspecifiedError;
        let record = &self.client.record;
        realm.command(&node, &mut self.publisher.touched, |dealer, out| {
            dealer.register(session.id, &session, &register, now_ms, &mut |output| match output {
                Output::Registered { registration, .. } => {
                    session.procedures.lock().insert(registration, (topic.clone(), qos));
                    record.lock().procedures.insert(filter.into(), (qos, Some(registration)));
                    reason = granted(qos);
                }
                Output::Error { failure: Failure::Refused(Refusal::TooManyRegistrations), .. } => {
                    reason = ReasonCode::QuotaExceeded;
                }
                Output::Error { .. } => reason = ReasonCode::ImplementationSpecificError,
                other => out(other),
            });
        });
        reason
    }

    /// Whether the client answers this procedure already; then invocations come with the new QoS from now on.
    fn has_registered(&self, filter: &str, qos: Qos) -> bool {
        let mut record = self.client.record.lock();
        let Some((held, Some(registration))) = record.procedures.get_mut(filter) else { return false };
        *held = qos;
        if let Some((_, granted)) = self.client.session.procedures.lock().get_mut(registration) {
            *granted = qos;
        }
        true
    }
}

/// Ends a registration: UNSUBSCRIBE from `$rpc/<procedure>`.
pub(super) fn unregister(context: &Context<'_>, filter: &str) {
    let Context { node, realm, client, .. } = *context;
    let held = client.record.lock().procedures.remove(filter);
    let Some((_, Some(registration))) = held else { return };
    let session = &client.session;
    realm.command(node, &mut Touched::default(), |dealer, out| {
        dealer.unregister(session.id, session, RequestId(1), registration, out);
    });
    session.procedures.lock().remove(&registration);
}

/// Gives a call to an MQTT callee: a PUBLISH with a response topic of ours.
///
/// # Errors
/// The callee is not connected, or cannot take it.
pub fn invoke(
    to: &Arc<Session>,
    invocation: &Invocation<'_, Arc<Session>>,
    touched: &mut Touched,
) -> Result<(), Unencodable> {
    let (topic, granted) = to.procedures.lock().get(&invocation.registration).cloned().ok_or(Unencodable::Gone)?;
    let id = invocation.invocation.0;
    let properties = Arc::new(Properties {
        response_topic: Some(format!("{REPLY}{id}")),
        correlation_data: Some(bytes::Bytes::copy_from_slice(&id.to_be_bytes())),
        ..Properties::default()
    });
    let event = Event {
        topic: &topic,
        payload: invocation.payload,
        codec: invocation.codec,
        qos: INVOCATION_QOS,
        retain: false,
        publication: PublicationId(id),
        place: None,
        properties: Some(&properties),
        publisher: None,
        expires_at_ms: None,
        expires_in_s: None,
    };
    let owed = Owed { event: Arc::new(event.store(None)), terms: Terms { qos: granted, ..Terms::default() } };
    let mut mailbox = to.mailbox();
    if mailbox.online().is_none() {
        return Err(Unencodable::Gone);
    }
    let offered = mailbox.offer(owed, 0);
    touched.note(&mut mailbox);
    match offered {
        offered if offered.dropped_large > 0 => Err(Unencodable::TooLarge),
        offered if offered.dropped_full > 0 => Err(Unencodable::Full),
        _ => Ok(()),
    }
}
