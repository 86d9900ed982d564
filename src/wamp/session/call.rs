//! CALL and CANCEL, YIELD and ERROR, REGISTER and UNREGISTER.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::open::{Leave, Open};
use super::options::{Entry, WrongOption};
use super::passthru::Attributes;
use super::subscribe::match_policy;
use super::testament;
use crate::node::realm::Realm;
use crate::router::authorize::{Action, Rights, Verdict};
use crate::router::dealer::{Call, CancelMode, Dealer, Notes, Part, Register, Said, Violation};
use crate::router::output::{InvocationPolicy, Sink};
use crate::router::rules::Ruled;
use crate::types::ids::{InvocationId, RegistrationId, RequestId};
use crate::types::passthru::{Attribute, Passthru};
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::{MatchPolicy, Topic, TopicError, TopicPattern};
use crate::wamp::message::{Dict, Kind};
use crate::wamp::uri::{Strictness, check_error};

/// Procedures that a session remembers.
const PROCEDURES_MAX: usize = 512;

/// A procedure that the session called.
struct Procedure {
    topic: Topic,
    codec: Codec,
    may_call: Verdict,
    ruled: Ruled,
    /// It is answered without a callee.
    own: Option<testament::Procedure>,
}

/// The URI of an error, and its text.
pub(super) type CallRefused = (&'static str, String);

/// The procedures that a session called, by URI.
#[derive(Default)]
pub(super) struct Procedures {
    by_uri: HashMap<Box<str>, Arc<Procedure>>,
    /// Most callers stay with one.
    last: Option<Arc<Procedure>>,
}

impl Procedures {
    fn look_up(
        &mut self,
        uri: &str,
        realm: &Realm,
        rights: &Rights,
        authrole: &str,
    ) -> Result<Arc<Procedure>, TopicError> {
        if let Some(procedure) = &self.last
            && procedure.topic.uri() == uri
        {
            return Ok(procedure.clone());
        }
        let procedure = match self.by_uri.get(uri) {
            Some(known) => known.clone(),
            None => {
                let topic = Topic::from_uri(uri)?;
                let may_call = rights.judge_for_long(Action::Call, &topic);
                let ruled = realm.rules.of(&topic, Some(authrole));
                let own = testament::Procedure::from_uri(uri);
                let procedure = Arc::new(Procedure { codec: realm.codec(&topic), may_call, ruled, own, topic });
                if self.by_uri.len() >= PROCEDURES_MAX {
                    self.by_uri.clear();
                }
                self.by_uri.insert(uri.into(), procedure.clone());
                procedure
            }
        };
        self.last = Some(procedure.clone());
        Ok(procedure)
    }
}

#[derive(Default)]
struct CallOptions {
    timeout_ms: u64,
    receive_progress: bool,
    progress: bool,
    disclose_me: bool,
    resource_key: Option<String>,
    partitioned: bool,
    passthru: Option<Passthru>,
}

impl CallOptions {
    fn read(options: &Dict<'_>) -> Result<Self, WrongOption> {
        let mut read = Self::default();
        let mut attributes = Attributes::default();
        for (key, value) in options.entries() {
            let entry = |name| Entry { name, value };
            match &*key {
                "timeout" => read.timeout_ms = entry("timeout").uint("a number of milliseconds")?,
                "receive_progress" => read.receive_progress = entry("receive_progress").bool()?,
                "progress" => read.progress = entry("progress").bool()?,
                "disclose_me" => read.disclose_me = entry("disclose_me").bool()?,
                "rkey" => read.resource_key = Some(entry("rkey").text()?),
                "runmode" => {
                    let is_partition = value.as_text().as_deref() == Some("partition");
                    read.partitioned = entry("runmode").or_wrong(is_partition.then_some(true), "partition")?;
                }
                name => {
                    if let Some(attribute) = Attribute::from_name(name) {
                        attributes.add(attribute, value)?;
                    }
                }
            }
        }
        if read.partitioned && read.resource_key.is_none() {
            return Err(WrongOption { name: "rkey", expected: "there with the runmode partition" });
        }
        read.passthru = attributes.finish();
        Ok(read)
    }
}

#[derive(Default)]
struct RegisterOptions {
    policy: MatchPolicy,
    invoke: InvocationPolicy,
    concurrency: Option<NonZeroU32>,
    disclose_caller: bool,
    forward_timeout: bool,
    force_reregister: bool,
    node_key: Option<String>,
}

impl RegisterOptions {
    fn read(options: &Dict<'_>) -> Result<Self, WrongOption> {
        let mut read = Self::default();
        for (key, value) in options.entries() {
            let entry = |name| Entry { name, value };
            match &*key {
                "match" => read.policy = match_policy(entry("match"))?,
                "invoke" => read.invoke = invocation_policy(entry("invoke"))?,
                "concurrency" => {
                    let entry = entry("concurrency");
                    let count = entry.value.as_u64().and_then(|count| u32::try_from(count).ok());
                    read.concurrency = Some(entry.or_wrong(count.and_then(NonZeroU32::new), "a positive number")?);
                }
                "disclose_caller" => read.disclose_caller = entry("disclose_caller").bool()?,
                "forward_timeout" => read.forward_timeout = entry("forward_timeout").bool()?,
                "nkey" => read.node_key = Some(entry("nkey").text()?),
                "force_reregister" => read.force_reregister = entry("force_reregister").bool()?,
                _ => {}
            }
        }
        Ok(read)
    }
}

fn invocation_policy(entry: Entry<'_>) -> Result<InvocationPolicy, WrongOption> {
    let policy = entry.value.as_text().and_then(|name| {
        Some(match &*name {
            "single" => InvocationPolicy::Single,
            "first" => InvocationPolicy::First,
            "last" => InvocationPolicy::Last,
            "random" => InvocationPolicy::Random,
            "roundrobin" => InvocationPolicy::RoundRobin,
            _ => return None,
        })
    });
    entry.or_wrong(policy, "one of single, first, last, random, roundrobin")
}

fn cancel_mode(options: &Dict<'_>) -> Result<CancelMode, WrongOption> {
    let Some(value) = options.get("mode") else { return Ok(CancelMode::default()) };
    match value.as_text().as_deref() {
        Some("skip") => Ok(CancelMode::Skip),
        Some("kill") => Ok(CancelMode::Kill),
        Some("killnowait") => Ok(CancelMode::KillNoWait),
        _ => Entry { name: "mode", value }.wrong("one of skip, kill, killnowait"),
    }
}

impl Open {
    /// The dealer answers with RESULT or ERROR, sooner or later.
    pub(super) fn call(
        &mut self,
        request: RequestId,
        options: &Dict<'_>,
        procedure: &str,
        payload: PayloadRef<'_>,
    ) -> Result<(), Leave> {
        self.publisher.tally.calls_in += 1;
        let progress = options.get("progress").and_then(|value| value.as_bool()).unwrap_or(false);
        if progress && !self.calls_in_parts {
            let text = "CALL with progress: HELLO has not announced progressive_call_invocations";
            return Err(Leave::Violation(text.to_owned()));
        }
        if self.calls_in_parts {
            // Whether a further part has wrong options is not looked at: those of the first one hold.
            let passthru = super::passthru::read(options).unwrap_or_default();
            self.passthru.check(Kind::Call, passthru.as_ref())?;
            let part = Part { request, procedure: Some(procedure), payload, passthru: passthru.as_ref(), progress };
            if self.continue_call(&part)? {
                return Ok(());
            }
        }
        match self.check_call(options, procedure) {
            Ok((options, procedure)) => {
                self.passthru.check(Kind::Call, options.passthru.as_ref())?;
                if let Some(own) = procedure.own {
                    return self.answer_call(request, own, payload);
                }
                self.begin_call(request, &options, &procedure, payload)
            }
            Err((uri, text)) => {
                if progress {
                    self.realm.dealer.lock().drop_parts(self.session.id, &self.session, request);
                }
                self.error(Kind::Call, request, uri, &text);
                Ok(())
            }
        }
    }

    /// Answers a call that no callee has to be asked for.
    fn answer_call(
        &mut self,
        request: RequestId,
        procedure: testament::Procedure,
        payload: PayloadRef<'_>,
    ) -> Result<(), Leave> {
        if self.realm.dealer.lock().has_call(self.session.id, request) {
            return Err(Violation::RequestInUse(request).into());
        }
        if let Err((uri, text)) = self.call_testament(request, procedure, payload) {
            self.error(Kind::Call, request, uri, &text);
        }
        Ok(())
    }

    /// Whether a CALL goes on with one that is under way, or was.
    fn continue_call(&mut self, part: &Part<'_>) -> Result<bool, Leave> {
        let session = self.session.id;
        let command = |dealer: &mut Dealer<_>, out: &mut Sink<'_, _>| dealer.continue_call(session, part, out);
        Ok(self.realm.command(&self.node, &mut self.publisher.touched, command)?)
    }

    /// What is called, and how; or which error to answer with.
    fn check_call(
        &mut self,
        options: &Dict<'_>,
        procedure: &str,
    ) -> Result<(CallOptions, Arc<Procedure>), CallRefused> {
        let options = CallOptions::read(options).map_err(|wrong| (super::INVALID_ARGUMENT, wrong.to_string()))?;
        let authrole = &self.session.identity.authrole;
        let procedure = self.procedures.look_up(procedure, &self.realm, &self.rights, authrole);
        let procedure = procedure.map_err(|error| (super::INVALID_URI, format!("the procedure {error}")))?;
        let may_call = match procedure.may_call {
            Verdict::Ask => self.rights.allows(Action::Call, &procedure.topic),
            verdict => verdict == Verdict::Yes,
        };
        if !may_call {
            return Err((super::NOT_AUTHORIZED, "not authorized to call this procedure".to_owned()));
        }
        if procedure.ruled.disclosure.refuses(options.disclose_me) {
            return Err((super::DISCLOSURE, "callers are not disclosed here".to_owned()));
        }
        Ok((options, procedure))
    }

    fn begin_call(
        &mut self,
        request: RequestId,
        options: &CallOptions,
        procedure: &Procedure,
        payload: PayloadRef<'_>,
    ) -> Result<(), Leave> {
        let call = Call {
            request,
            procedure: &procedure.topic,
            payload,
            codec: procedure.codec,
            timeout_ms: options.timeout_ms,
            receive_progress: options.receive_progress,
            progress: options.progress,
            disclose_me: options.disclose_me || self.rights.discloses(Action::Call, &procedure.topic),
            caller: &self.discloser,
            notes: Notes {
                passthru: options.passthru.as_ref(),
                takes_passthru: self.passthru.caller,
                trust: procedure.ruled.trust,
                disclosure: procedure.ruled.disclosure,
                resource_key: options.resource_key.as_deref(),
            },
        };
        let now_ms = self.publisher.now_ms;
        Ok(self.realm.call(&self.node, &mut self.publisher.touched, &self.session, &call, now_ms)?)
    }

    pub(super) fn cancel(&mut self, request: RequestId, options: &Dict<'_>) {
        let mode = match cancel_mode(options) {
            Ok(mode) => mode,
            Err(wrong) => return self.error(Kind::Cancel, request, super::INVALID_ARGUMENT, &wrong.to_string()),
        };
        let session = self.session.id;
        self.realm.command(&self.node, &mut self.publisher.touched, |dealer, out| {
            dealer.cancel(session, request, mode, out);
        });
    }

    /// A callee has a result.
    pub(super) fn yield_result(
        &mut self,
        request: RequestId,
        options: &Dict<'_>,
        payload: PayloadRef<'_>,
    ) -> Result<(), Leave> {
        let progress = options.get("progress").and_then(|value| value.as_bool()).unwrap_or(false);
        // Attributes that are no strings say nothing.
        let passthru = super::passthru::read(options).unwrap_or_default();
        self.passthru.check(Kind::Yield, passthru.as_ref())?;
        let said = Said { payload, passthru: passthru.as_ref() };
        let (session, now_ms) = (self.session.id, self.publisher.now_ms);
        self.realm.command(&self.node, &mut self.publisher.touched, |dealer, out| {
            dealer.yield_result(session, InvocationId(request.0), progress, said, now_ms, out)
        })?;
        Ok(())
    }

    /// A callee failed.
    pub(super) fn invocation_error(
        &mut self,
        request: RequestId,
        details: &Dict<'_>,
        uri: &str,
        payload: PayloadRef<'_>,
    ) -> Result<(), Leave> {
        let passthru = super::passthru::read(details).unwrap_or_default();
        self.passthru.check(Kind::Error, passthru.as_ref())?;
        let said = Said { payload, passthru: passthru.as_ref() };
        // A caller must not be sent what is no URI.
        let uri = if check_error(uri, Strictness::Loose).is_ok() { uri } else { super::INVALID_URI };
        let session = self.session.id;
        self.realm.command(&self.node, &mut self.publisher.touched, |dealer, out| {
            dealer.invocation_error(session, InvocationId(request.0), uri, said, out)
        })?;
        Ok(())
    }

    /// What a REGISTER is for; `None`: there is something wrong with it.
    pub(super) fn offered_pattern(options: &Dict<'_>, procedure: &str) -> Option<TopicPattern> {
        TopicPattern::from_uri(procedure, RegisterOptions::read(options).ok()?.policy).ok()
    }

    pub(super) fn register(&mut self, request: RequestId, options: &Dict<'_>, procedure: &str) {
        let options = match RegisterOptions::read(options) {
            Ok(options) => options,
            Err(wrong) => return self.error(Kind::Register, request, super::INVALID_ARGUMENT, &wrong.to_string()),
        };
        let pattern = match TopicPattern::from_uri(procedure, options.policy) {
            Ok(pattern) => pattern,
            Err(error) => {
                return self.error(Kind::Register, request, super::INVALID_URI, &format!("the procedure {error}"));
            }
        };
        if !self.rights.allows_pattern(Action::Register, &pattern) {
            let text = "not authorized to register this procedure";
            return self.error(Kind::Register, request, super::NOT_AUTHORIZED, text);
        }
        if self.node.is_tight() {
            return self.error(Kind::Register, request, super::QUOTA_EXCEEDED, super::NO_MEMORY);
        }
        let command = Register {
            request,
            pattern: &pattern,
            policy: options.invoke,
            concurrency: options.concurrency,
            disclose_caller: options.disclose_caller,
            forward_timeout: options.forward_timeout,
            force_reregister: options.force_reregister,
            // All who are anonymous have one authid, and are not one user.
            authid: self.is_named().then_some(&self.session.identity.authid),
            node_key: options.node_key.as_deref(),
            client_id: None,
            features: self.features,
        };
        let (session, now_ms) = (&self.session, self.publisher.now_ms);
        self.realm.command(&self.node, &mut self.publisher.touched, |dealer, out| {
            dealer.register(session.id, session, &command, now_ms, out);
        });
    }

    pub(super) fn unregister(&mut self, request: RequestId, registration: RegistrationId) {
        let session = &self.session;
        self.realm.command(&self.node, &mut self.publisher.touched, |dealer, out| {
            dealer.unregister(session.id, session, request, registration, out);
        });
    }
}
