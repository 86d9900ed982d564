//! Dynamic authenticators: a procedure that is called with `(realm, authid, details)`, as Crossbar's are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::said;
use crate::node::Node;
use crate::node::authenticate::{Answer, Check, Decider, Denied, Evidence};
use crate::node::realm::Realm;
use crate::node::rpc::Answer as Answered;
use crate::types::payload::Format;
use crate::types::topic::Topic;
use crate::types::value::Value;

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

impl Authenticator {
    async fn ask(&self, node: &Arc<Node>, realm: &str, evidence: &Evidence) -> Answer {
        let unavailable = |why: String| {
            Answer::Denied(Denied::Unavailable(format!("the authenticator {}: {why}", self.procedure.uri())))
        };
        let Some(home) = node.realm(&self.procedure_realm) else {
            return unavailable("its realm is not there".to_owned());
        };
        let answer = tokio::time::timeout(self.timeout, self.call(node, &home, realm, evidence)).await;
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
    ) -> oneshot::Receiver<Answered> {
        let (answer, answered) = oneshot::channel();
        let args = vec![realm.into(), evidence.name.as_str().into(), details(evidence)];
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        // If nobody waits any more, nobody misses the answer.
        let done = Box::new(move |found| drop(answer.send(found)));
        node.call_in_own_name(home, &self.procedure, args, timeout_ms, node.ticked_ms(), done);
        answered
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
