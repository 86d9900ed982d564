//! The session that answers the broker's own procedures, one in each realm.

use std::collections::HashMap;
use std::sync::Arc;

use super::meta::Answerer;
use super::{CallKey, Item, Queue, admin, meta};
use crate::delivery::backlog::Backlog;
use crate::delivery::outbox::Outbox;
use crate::node::mailbox::Mailbox;
use crate::node::realm::Realm;
use crate::node::session::{Identity, Session, Touched};
use crate::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use crate::router::dealer::{CalleeFeatures, Register};
use crate::router::output::{InterruptMode, Invocation, InvocationPolicy, Output};
use crate::types::event::{Discloser, Event, Terms};
use crate::types::ids::{InvocationId, RegistrationId, RequestId, SessionId};
use crate::types::payload::{Codec, Format, Payload};
use crate::types::topic::{Topic, TopicPattern};

/// The callee's session. Those of clients are numbered from 1 on.
pub(super) const CALLEE: SessionId = SessionId(0);

/// A procedure of the broker.
#[derive(Clone, Copy)]
pub(super) enum Procedure {
    KeyGet,
    KeyList,
    KeyPut,
    KeyDelete,
    KeyWatch,
    LockAcquire,
    LockRelease,
    LockList,
    SubscriptionReplay,
    SubscriptionAck,
    SubscriptionStatus,
    DurableList,
    DurableRemove,
    GetEvents,
    /// Of the meta API, or for who runs the broker.
    Meta(Answerer),
    /// Answered by a room above.
    Guest(&'static str),
}

impl Procedure {
    /// Whether its answer depends on what is retained.
    pub fn reads_keys(self) -> bool {
        matches!(self, Self::KeyGet | Self::KeyList | Self::KeyWatch | Self::LockList)
    }
}

const PROCEDURES: [(&str, Procedure); 14] = [
    ("fennec.key.get", Procedure::KeyGet),
    ("fennec.key.list", Procedure::KeyList),
    ("fennec.key.put", Procedure::KeyPut),
    ("fennec.key.delete", Procedure::KeyDelete),
    ("fennec.key.watch", Procedure::KeyWatch),
    ("fennec.lock.acquire", Procedure::LockAcquire),
    ("fennec.lock.release", Procedure::LockRelease),
    ("fennec.lock.list", Procedure::LockList),
    ("fennec.subscription.replay", Procedure::SubscriptionReplay),
    ("fennec.subscription.ack", Procedure::SubscriptionAck),
    ("fennec.subscription.status", Procedure::SubscriptionStatus),
    ("fennec.durable.list", Procedure::DurableList),
    ("fennec.durable.remove", Procedure::DurableRemove),
    ("wamp.subscription.get_events", Procedure::GetEvents),
];

/// Those that rooms above answer.
const GUESTS: [&str; 24] = [
    "fennec.admin.log_level",
    "fennec.admin.reload",
    "fennec.admin.user.list",
    "fennec.admin.user.add",
    "fennec.admin.user.passwd",
    "fennec.admin.user.role",
    "fennec.admin.user.remove",
    "fennec.admin.role.list",
    "fennec.admin.role.add",
    "fennec.admin.role.remove",
    "fennec.admin.role.allow",
    "fennec.admin.role.deny",
    "fennec.admin.role.clear",
    "fennec.bridge.status",
    "fennec.service.list",
    "fennec.service.add",
    "fennec.service.remove",
    "fennec.service.retry",
    "fennec.service.replay",
    "fennec.service.pause",
    "fennec.service.resume",
    "fennec.uplink.exchange",
    "fennec.uplink.wait",
    "fennec.uplink.status",
];

/// Where the invocations of a realm go.
pub struct Inbox {
    realm: Arc<str>,
    queue: Arc<Queue>,
    procedures: HashMap<RegistrationId, (&'static str, Procedure)>,
}

/// A call to be answered.
#[derive(Clone)]
pub(super) struct Call {
    pub key: CallKey,
    /// The procedure, as it is called and what it is.
    pub uri: &'static str,
    pub procedure: Procedure,
    pub caller: Discloser,
    pub receive_progress: bool,
    pub payload: Payload,
    pub codec: Codec,
    /// Another entry asks what this one has itself.
    pub of_entry: bool,
}

impl Call {
    /// The encoding that the caller used: the answer comes in it, too.
    pub fn format(&self) -> Format {
        match &self.payload {
            Payload::Bytes(_) => Format::Json,
            Payload::Args { format, .. } => *format,
        }
    }
}

/// Offers all procedures in a realm.
pub(super) fn provide(realm: &Realm, queue: &Arc<Queue>) {
    let identity = Identity::new("fennec", "fennec", "internal");
    let mailbox = Mailbox::new(Outbox::new(0), Backlog::new(0, 0), false);
    let session = Arc::new(Session::new(CALLEE, identity, WireRef(&CALLS), mailbox));
    let mut procedures = HashMap::new();
    let mut dealer = realm.dealer.lock();
    let guests = GUESTS.map(|uri| (uri, Procedure::Guest(uri)));
    let meta = meta::PROCEDURES.into_iter().chain(admin::PROCEDURES);
    let meta = meta.map(|(uri, answer)| (uri, Procedure::Meta(answer)));
    for (uri, procedure) in PROCEDURES.into_iter().chain(meta).chain(guests) {
        let Ok(topic) = Topic::from_uri(uri) else { continue };
        let command = Register {
            request: RequestId(0),
            pattern: &TopicPattern::exact(&topic),
            policy: InvocationPolicy::Single,
            concurrency: None,
            disclose_caller: true,
            forward_timeout: false,
            force_reregister: false,
            authid: None,
            node_key: None,
            client_id: None,
            features: CalleeFeatures {
                call_canceling: true,
                progressive_call_results: true,
                call_timeout: false,
                progressive_call_invocations: false,
                registration_revocation: false,
                payload_passthru_mode: false,
                call_reroute: false,
            },
        };
        procedures.insert(dealer.provide(CALLEE, &session, &command, 0), (uri, procedure));
    }
    // Nobody else has had the session yet.
    let _ = session.inbox.set(Inbox { realm: realm.name.clone(), queue: queue.clone(), procedures });
}

static CALLS: Calls = Calls;

/// For sessions of the broker's own that are given nothing.
pub fn internal_wire() -> WireRef {
    WireRef(&CALLS)
}

/// Takes invocations as they are.
struct Calls;

impl Wire for Calls {
    fn id(&self) -> WireId {
        // Those of gates are lower.
        WireId(u8::MAX)
    }

    fn event(&self, _: &Event<'_>, _: &Terms, _: bool, _: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        Err(Unencodable::Gone)
    }

    fn rpc(&self, to: &Arc<Session>, output: &Output<'_, Arc<Session>>, _: &mut Touched) -> Result<(), Unencodable> {
        let inbox = to.inbox.get().ok_or(Unencodable::Gone)?;
        let key = |invocation: InvocationId| (inbox.realm.clone(), invocation);
        let item = match output {
            Output::Invocation(invocation) => Item::Call(Box::new(inbox.call(key(invocation.invocation), invocation)?)),
            Output::Interrupt { invocation, mode, .. } => {
                Item::Interrupt { key: key(*invocation), answer: *mode == InterruptMode::Kill }
            }
            _ => return Ok(()),
        };
        inbox.queue.push(item);
        Ok(())
    }
}

impl Inbox {
    fn call(&self, key: CallKey, invocation: &Invocation<'_, Arc<Session>>) -> Result<Call, Unencodable> {
        let (uri, procedure) = *self.procedures.get(&invocation.registration).ok_or(Unencodable::Gone)?;
        let caller = invocation.caller.ok_or(Unencodable::Gone)?.clone();
        Ok(Call {
            key,
            uri,
            procedure,
            caller,
            receive_progress: invocation.receive_progress,
            payload: invocation.payload.to_owned(),
            codec: invocation.codec,
            of_entry: false,
        })
    }
}
