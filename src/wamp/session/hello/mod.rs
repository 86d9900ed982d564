//! HELLO to WELCOME: who comes in, and how it proves who it is.
//!
//! A client that names no method is anonymous, where that is allowed; else the first method it offers decides by which its user
//! can be proved. Nothing tells a user that does not exist from a wrong password.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::open::Open;
use super::options::Entry;
use super::passthru::PassthruFeatures;
use super::{INVALID_URI, NOT_AUTHORIZED, QUOTA_EXCEEDED, State, WampGate};
use crate::net::gate::Flow;
use crate::node::authenticate::{Answer, Denied, Evidence, Proved, Step};
use crate::node::link::End;
use crate::node::metrics::Protocol;
use crate::node::session::{Identity, Origin};
use crate::node::users::{ANONYMOUS, Method, User};
use crate::router::dealer::CalleeFeatures;
use crate::types::ids::SessionId;
use crate::types::payload::Format;
use crate::types::time::rfc3339;
use crate::types::topic::Topic;
use crate::types::value::{Raw, Value};
use crate::wamp::message::{Dict, Message};
use crate::wamp::wire;

/// What HELLO said.
pub(super) struct Hello {
    realm: String,
    authid: Option<String>,
    /// Empty if it named none.
    methods: Vec<String>,
    features: CalleeFeatures,
    /// It may call in parts.
    calls_in_parts: bool,
    subscription_revocation: bool,
    /// What it has announced of payload passthru mode.
    passthru: PassthruFeatures,
    /// How it is to prove who it is.
    method: AuthMethod,
}

/// A client that was sent CHALLENGE.
pub(super) struct Challenged {
    hello: Hello,
    pub deadline_ms: u64,
    /// What a WAMP-CRA client is to sign.
    challenge: String,
    session: SessionId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AuthMethod {
    Anonymous,
    Ticket,
    WampCra,
}

impl AuthMethod {
    fn from_name(name: &str) -> Option<Self> {
        [Self::Anonymous, Self::Ticket, Self::WampCra].into_iter().find(|method| method.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Anonymous => ANONYMOUS,
            Self::Ticket => "ticket",
            Self::WampCra => "wampcra",
        }
    }
}

impl Hello {
    /// Reads HELLO.
    ///
    /// # Errors
    /// What breaks the protocol.
    fn read(realm: &str, details: &Dict<'_>) -> Result<Self, String> {
        let wrong = |error: super::options::WrongOption| format!("HELLO: {error}");
        let entry = |name| details.get(name).map(|value| Entry { name, value });
        let roles = entry("roles").filter(|roles| roles.value.is_map() && !roles.value.is_empty_container());
        let roles = roles.ok_or("HELLO: details.roles must be a dict with one role at least")?;
        let authid = entry("authid").map(Entry::text).transpose().map_err(wrong)?;
        let methods = entry("authmethods").map(Entry::texts).transpose().map_err(wrong)?.unwrap_or_default();
        Ok(Self {
            realm: realm.to_owned(),
            authid,
            methods,
            features: callee_features(roles.value),
            calls_in_parts: feature(roles.value, "caller", "progressive_call_invocations"),
            passthru: PassthruFeatures::read(roles.value),
            subscription_revocation: feature(roles.value, "subscriber", "subscription_revocation"),
            method: AuthMethod::Anonymous,
        })
    }
}

fn callee_features(roles: Raw<'_>) -> CalleeFeatures {
    let has = |name| feature(roles, "callee", name);
    CalleeFeatures {
        call_canceling: has("call_canceling"),
        progressive_call_results: has("progressive_call_results"),
        call_timeout: has("call_timeout"),
        progressive_call_invocations: has("progressive_call_invocations"),
        registration_revocation: has("registration_revocation"),
        payload_passthru_mode: has("payload_passthru_mode"),
        call_reroute: has("call_reroute"),
    }
}

/// Whether a feature of a role is announced.
pub(super) fn feature(roles: Raw<'_>, role: &str, name: &str) -> bool {
    let found = roles.get(role).and_then(|role| role.get("features")?.get(name)?.as_bool());
    found.unwrap_or(false)
}

impl WampGate {
    pub(super) fn hello(&mut self, realm: &str, details: &Dict<'_>, now_ms: u64) -> Flow {
        let mut hello = match Hello::read(realm, details) {
            Ok(hello) => hello,
            Err(text) => return self.violate(&text),
        };
        if let Err(error) = Topic::from_uri(realm) {
            return self.abort(INVALID_URI, &format!("the realm {error}"));
        }
        if self.node.is_draining() {
            return self.abort("wamp.close.system_shutdown", "the broker stops");
        }
        match self.choose_method(&hello) {
            Some(method) => hello.method = method,
            None => return self.refuse_methods(&hello),
        }
        if hello.method == AuthMethod::Anonymous {
            let proved = Proved { user: Arc::new(User::anonymous()), method: ANONYMOUS };
            return self.welcome(hello, &proved, None, now_ms);
        }
        self.challenge(hello, now_ms)
    }

    fn choose_method(&self, hello: &Hello) -> Option<AuthMethod> {
        let anonymous = self.access.anonymous;
        // Without users nobody can prove anything: whoever may be anonymous is. The same holds for MQTT.
        if anonymous && (hello.methods.is_empty() || self.node.knows_nobody()) {
            return Some(AuthMethod::Anonymous);
        }
        let can_prove = |how| hello.authid.as_deref().is_some_and(|authid| self.node.users.offers(authid, how));
        hello.methods.iter().filter_map(|name| AuthMethod::from_name(name)).find(|method| match method {
            AuthMethod::Anonymous => anonymous,
            AuthMethod::Ticket => can_prove(Method::Password),
            AuthMethod::WampCra => can_prove(Method::WampCra),
        })
    }

    fn refuse_methods(&mut self, hello: &Hello) -> Flow {
        self.tally.auth_failures += 1;
        if hello.methods.iter().all(|name| name == ANONYMOUS) {
            return self.abort("wamp.error.authentication_required", "anonymous clients are not let in here");
        }
        let text = "none of the authmethods can be used here; ticket and wampcra need an authid";
        self.abort("wamp.error.no_matching_auth_method", text)
    }

    fn challenge(&mut self, hello: Hello, now_ms: u64) -> Flow {
        let authid = hello.authid.as_deref().unwrap_or_default();
        let session = self.node.new_session_id();
        let mut challenge = String::new();
        let mut extra = Dict::Empty;
        if hello.method == AuthMethod::WampCra {
            let Some(text) = challenge_text(authid, session, now_ms) else {
                return self.abort("wamp.error.authentication_failed", "there is no randomness to make a challenge of");
            };
            challenge = text;
            let mut entries = vec![("challenge", Value::from(challenge.as_str()))];
            if let Some(salted) = self.node.users.wampcra_salt(authid) {
                entries.push(("salt", salted.salt.into()));
                entries.push(("keylen", Value::Int(salted.keylen.into())));
                entries.push(("iterations", Value::Int(salted.iterations.into())));
            }
            extra = Dict::new(entries);
        }
        self.say(&Message::Challenge { method: hello.method.name().into(), extra });
        let deadline_ms = now_ms + u64::from(self.node.limits.auth_timeout_s) * 1000;
        self.state = State::Challenged(Box::new(Challenged { hello, deadline_ms, challenge, session }));
        Flow::Continue
    }

    pub(super) fn authenticate(&mut self, signature: &str, now_ms: u64) -> Flow {
        let State::Challenged(challenged) = std::mem::replace(&mut self.state, State::Closed) else {
            return Flow::Close;
        };
        let Challenged { hello, challenge, session, .. } = *challenged;
        let authid = hello.authid.clone().unwrap_or_default();
        if hello.method == AuthMethod::WampCra {
            let user = self.node.users.check_wampcra(&authid, &challenge, signature);
            return self.decided(hello, Answer::of(user, "wampcra"), Some(session), now_ms);
        }
        let evidence = Evidence {
            method: hello.method.name(),
            protocol: Protocol::Wamp,
            realm: Some(hello.realm.clone()),
            name: authid,
            secret: signature.as_bytes().to_vec(),
            client_id: None,
            peer: Some(self.peer.clone()),
            extra: None,
        };
        match self.node.authenticate(evidence) {
            Step::Done(answer) => self.decided(hello, answer, None, now_ms),
            Step::Wait(check) => {
                self.state = State::Verifying(Box::new(hello));
                Flow::Verify(check)
            }
        }
    }

    /// It is known whether the client is who it says.
    pub(super) fn decided(&mut self, hello: Hello, answer: Answer, session: Option<SessionId>, now_ms: u64) -> Flow {
        match answer.verdict() {
            Ok(proved) => self.welcome(hello, &proved, session, now_ms),
            Err(denied) => self.deny(&denied),
        }
    }

    fn deny(&mut self, denied: &Denied) -> Flow {
        self.tally.auth_failures += 1;
        match denied {
            Denied::Wrong => self.abort("wamp.error.authentication_failed", "the authid or its secret is wrong"),
            Denied::Refused { uri, text } => self.abort(uri, text),
            Denied::Unavailable(why) => {
                tracing::warn!(peer = %self.peer, why, "a WAMP client cannot be authenticated");
                self.abort("wamp.error.authentication_failed", "it cannot be found out now who this is")
            }
        }
    }

    /// Opens the session, unless realm, role or a limit is against it.
    fn welcome(&mut self, hello: Hello, proved: &Proved, session: Option<SessionId>, now_ms: u64) -> Flow {
        let user = &*proved.user;
        // Asked first, so that nobody learns which realms there are that are not open to it.
        if !user.may_enter(&hello.realm) {
            return self.abort(NOT_AUTHORIZED, "the realm is not open to this user");
        }
        let Some(realm) = self.node.realm(&hello.realm) else {
            return self.abort("wamp.error.no_such_realm", "there is no such realm");
        };
        let Some(rights) = realm.rights(user, None) else {
            return self.abort("wamp.error.no_such_role", "the role of this user is not configured");
        };
        let sessions: usize = self.node.realms().iter().map(|realm| realm.sessions_len()).sum();
        if sessions >= self.node.limits.sessions_max {
            return self.abort(QUOTA_EXCEEDED, "there are as many sessions as there may be");
        }
        let Some(seat) = self.node.seat_of(user, false) else {
            return self.abort(QUOTA_EXCEEDED, "the user has as many connections as it may");
        };
        self.seat = Some(seat);
        let origin = Origin { peer: Some(self.peer.clone()), transport: self.wire.transport(), since_ms: now_ms };
        let identity = Identity::of(user, proved.method, origin);
        let id = session.unwrap_or_else(|| self.node.new_session_id());
        let wire = wire::of(self.wire);
        let session = self.node.new_session_with_id(id, identity, wire, false);
        session.set_rights(rights.clone());
        if hello.subscription_revocation {
            session.tell_of_revocations();
        }
        session.mailbox().attach(self.link.clone(), wire, u16::MAX, self.frame_bytes_max, 0);
        let before = self.out.tail.len();
        self.say(&Message::Welcome { session: id, details: welcome_details(&hello, proved, true) });
        if self.out.tail.len() == before {
            // The client takes messages of 512 bytes only, say. It gets what it cannot do without.
            self.say(&Message::Welcome { session: id, details: welcome_details(&hello, proved, false) });
        }
        realm.join(session.clone());
        if !realm.still_holds(&self.node, user, None, &rights) {
            self.link.end(End::NotAuthorized);
        }
        let node = self.node.clone();
        let (wire, frame_bytes_max) = (self.wire, self.frame_bytes_max);
        let mut open = Open::new(node, realm, session, rights, hello.features, wire, frame_bytes_max, &self.link);
        open.calls_in_parts = hello.calls_in_parts;
        open.passthru = hello.passthru;
        let (authid, authmethod) = (&*user.name, proved.method);
        tracing::debug!(peer = %self.peer, session = id.0, realm = hello.realm, authid, authmethod, "WAMP session joined");
        self.state = State::Open(Box::new(open));
        self.welcomed = true;
        self.node.metrics.handshake.observe_us(now_ms.saturating_sub(self.began_ms) * 1000);
        Flow::Continue
    }
}

/// What this broker can do beyond the basic profile; exactly what is implemented.
const BROKER_FEATURES: [&str; 12] = [
    "event_history",
    "event_retention",
    "pattern_based_subscription",
    "payload_passthru_mode",
    "publication_trustlevels",
    "publisher_exclusion",
    "publisher_identification",
    "session_meta_api",
    "sharded_subscription",
    "subscriber_blackwhite_listing",
    "subscription_meta_api",
    "subscription_revocation",
];
const DEALER_FEATURES: [&str; 15] = [
    "call_canceling",
    "call_reroute",
    "call_timeout",
    "call_trustlevels",
    "caller_identification",
    "pattern_based_registration",
    "payload_passthru_mode",
    "progressive_call_invocations",
    "progressive_call_results",
    "registration_meta_api",
    "registration_revocation",
    "session_meta_api",
    "sharded_registration",
    "shared_registration",
    "testament_meta_api",
];

fn welcome_details(hello: &Hello, proved: &Proved, with_features: bool) -> Dict<'static> {
    let role = |features: &[&str]| {
        let all = Value::map(features.iter().map(|name| (*name, Value::Bool(true))));
        if with_features { Value::map([("features", all)]) } else { Value::Map(Vec::new()) }
    };
    let roles = Value::map([("broker", role(&BROKER_FEATURES)), ("dealer", role(&DEALER_FEATURES))]);
    let user = &*proved.user;
    let mut details = vec![
        ("realm", Value::from(hello.realm.as_str())),
        ("authid", Value::from(&*user.name)),
        ("authrole", Value::from(&*user.role)),
        ("authmethod", Value::from(proved.method)),
        ("authprovider", Value::from(user.provider)),
        ("agent", Value::from(concat!("fennec-", env!("CARGO_PKG_VERSION")))),
        ("roles", roles),
    ];
    if let Some(extra) = &user.extra {
        details.push(("authextra", Value::clone(extra)));
    }
    Dict::new(details)
}

/// The JSON object that a WAMP-CRA client signs. Unlike the specification's it has no `authrole`, which would tell the users that
/// exist from those that do not. `None` if the system gives no random numbers.
fn challenge_text(authid: &str, session: SessionId, now_ms: u64) -> Option<String> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).ok()?;
    let challenge = Value::map([
        ("authid", Value::from(authid)),
        ("authmethod", Value::from(AuthMethod::WampCra.name())),
        ("authprovider", Value::from("static")),
        ("nonce", Value::from(BASE64.encode(nonce))),
        ("timestamp", Value::from(rfc3339(now_ms * 1000))),
        ("session", Value::from(session.0)),
    ]);
    String::from_utf8(challenge.to_bytes(Format::Json)).ok()
}
