//! Dynamic authenticators: a procedure that is called with `(realm, authid, details)`, as Crossbar's are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::said;
use crate::node::Node;
use crate::node::authenticate::{Answer, Check, Decider, Denied, Evidence};
use crate::node::realm::Realm;
use crate::node::rpc::{Answer as Answered, ReplyTo};
use crate::node::session::{Identity, Session, Touched};
use crate::router::dealer::{Call, Notes};
use crate::types::event::Discloser;
use crate::types::ids::RequestId;
use crate::types::payload::{Codec, Format, PayloadRef};
use crate::types::topic::Topic;
use crate::types::value::Value;
use crate::wamp::serializer::Wire;
use crate::wamp::wire;

/// One that is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticator {
    /// `ticket` (MQTT passwords and HTTP basic too), `wampcra`, `scram`, `cryptosign` or `tls`.
    pub methods: Vec<String>,
    pub procedure: Topic,
    /// Whose clients it decides about; `None`: of all realms.
    pub realm: Option<Arc<str>>,
    /// Where it is called.
    pub procedure_realm: Arc<str>,
    pub timeout: Duration,
}

/// All that are configured; the first that fits is asked.
pub struct Authenticators {
    node: std::sync::Weak<Node>,
    all: Vec<Arc<Authenticator>>,
}

impl Authenticators {
    pub fn new(node: &Arc<Node>, all: &[Authenticator]) -> Authenticators {
        Authenticators { node: Arc::downgrade(node), all: all.iter().cloned().map(Arc::new).collect() }
    }

    fn find(&self, method: &str, realm: Option<&str>) -> Option<&Arc<Authenticator>> {
        let kind = match method {
            "password" | "basic" | "ticket" => "ticket",
            "wamp-scram" | "scram" => "scram",
            other => other,
        };
        self.all.iter().find(|one| {
            let here = one.realm.is_none() || one.realm.as_deref() == realm;
            here && one.methods.iter().any(|method| method == kind)
        })
    }
}

impl Decider for Authenticators {
    fn offers(&self, method: &str, realm: Option<&str>) -> bool {
        self.find(method, realm).is_some()
    }

    fn decide(&self, evidence: &Evidence, known: bool) -> Option<Check> {
        let node = self.node.upgrade()?;
        let realm = evidence.realm.clone().unwrap_or_else(|| node.default_realm.clone());
        let found = self.find(evidence.method, Some(&realm)).filter(|_| !known)?.clone();
        let evidence = evidence.clone();
        Some(Check::Elsewhere(Box::pin(async move { found.ask(&node, &realm, &evidence).await })))
    }
}

/// A call under way; dropped, it is over.
struct Caller {
    node: Arc<Node>,
    realm: Arc<Realm>,
    session: Arc<Session>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.realm.leave(&self.node, &self.session, true);
    }
}

impl Authenticator {
    async fn ask(&self, node: &Arc<Node>, realm: &str, evidence: &Evidence) -> Answer {
        let unavailable = |why: String| {
            Answer::Denied(Denied::Unavailable(format!("the authenticator {}: {why}", self.procedure.uri())))
        };
        let Some(home) = node.realm(&self.procedure_realm) else {
            return unavailable("its realm is not there".to_owned());
        };
        let (caller, answered) = self.call(node, &home, realm, evidence);
        let answer = tokio::time::timeout(self.timeout, answered).await;
        drop(caller);
        match answer {
            Err(_) => unavailable("does not answer in time".to_owned()),
            Ok(Err(_)) => unavailable("has gone".to_owned()),
            Ok(Ok(Answered { error: Some((uri, text)), .. })) if is_ours(&uri) => unavailable(format!("{uri} {text}")),
            // It has decided.
            Ok(Ok(Answered { error: Some(_), .. })) => Answer::WRONG,
            Ok(Ok(Answered { codec, payload, .. })) => match payload.as_ref().as_args(codec, Format::Json) {
                Ok(args) => {
                    let first = args.args.as_deref().and_then(|args| Value::decode(Format::Json, args).ok());
                    let first = first.and_then(|args| args.as_list()?.first().cloned());
                    said::read(&first.unwrap_or(Value::Null), evidence, "dynamic")
                }
                Err(_) => unavailable("has answered what cannot be read".to_owned()),
            },
        }
    }

    fn call(
        &self,
        node: &Arc<Node>,
        home: &Arc<Realm>,
        realm: &str,
        evidence: &Evidence,
    ) -> (Caller, oneshot::Receiver<Answered>) {
        let (answer, answered) = oneshot::channel();
        let identity = Identity::new("fennec", "fennec", "internal");
        let session = node.new_session(identity, wire::of(Wire::rawsocket(Format::MsgPack)), false);
        home.join(session.clone());
        let caller = Caller { node: node.clone(), realm: home.clone(), session: session.clone() };
        // The session makes this one call. If nobody waits any more, nobody misses the answer.
        let request = RequestId(1);
        let reply_to = ReplyTo::Function(Box::new(move |found| drop(answer.send(found))));
        session.replies.lock().insert(request, reply_to);
        let discloser = Discloser {
            session: session.id,
            authid: Some(session.identity.authid.clone()),
            authrole: Some(session.identity.authrole.clone()),
        };
        let args = Value::List(vec![realm.into(), evidence.name.as_str().into(), details(evidence)]);
        let args = args.to_bytes(Format::MsgPack);
        let call = Call {
            request,
            procedure: &self.procedure,
            payload: PayloadRef::Args { format: Format::MsgPack, args: Some(&args), kwargs: None },
            codec: Codec::Auto,
            // Whoever waits has a deadline of its own.
            timeout_ms: 0,
            receive_progress: false,
            progress: false,
            disclose_me: false,
            caller: &discloser,
            notes: Notes::default(),
        };
        let mut touched = Touched::default();
        let called = home.command(node, &mut touched, |dealer, out| dealer.call(session.id, &session, &call, 0, out));
        debug_assert!(called.is_ok(), "a new session has no call under way");
        touched.wake();
        (caller, answered)
    }
}

/// Whether the broker says this, and not the procedure.
fn is_ours(uri: &str) -> bool {
    matches!(
        uri,
        "wamp.error.no_such_procedure"
            | "wamp.error.canceled"
            | "wamp.error.timeout"
            | "wamp.error.no_available_callee"
            | "wamp.error.unavailable"
    ) || uri.starts_with("fennec.error.")
}

/// What the client said and where it is, in the words of Crossbar's authenticators.
fn details(evidence: &Evidence) -> Value {
    let method = if matches!(evidence.method, "password" | "basic") { "ticket" } else { evidence.method };
    let mut details = vec![("authmethod", Value::from(method)), ("protocol", Value::from(evidence.protocol.name()))];
    if method == "ticket" {
        details.push(("ticket", Value::from(String::from_utf8_lossy(&evidence.secret).into_owned())));
    }
    details.extend(evidence.client_id.as_ref().map(|id| ("client_id", Value::from(id.as_str()))));
    details.extend(evidence.extra.as_ref().map(|extra| ("authextra", extra.clone())));
    if let Some(peer) = &evidence.peer {
        let mut transport = vec![("peer", Value::from(peer.address.to_string()))];
        if let Some(certificate) = peer.certificate() {
            let fingerprint = certificate.fingerprint.map(|bytes| Value::from(crate::node::users::hex(&bytes)));
            let name = certificate.common_name.as_deref().map(Value::from);
            let facts = [("cn", name.unwrap_or(Value::Null)), ("sha256", fingerprint.unwrap_or(Value::Null))];
            transport.push(("client_cert", Value::map(facts)));
        }
        details.push(("transport", Value::map(transport)));
    }
    Value::map(details)
}
