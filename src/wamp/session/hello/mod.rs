//! HELLO to WELCOME: who comes in, and how it proves who it is.
//!
//! A client that names no method is anonymous, where that is allowed; else the first method it offers decides by which its user
//! can be proved. Nothing tells a user that does not exist from a wrong password.
//!
//! - `method`: the methods.
//! - `login`: the way from HELLO to WELCOME.
//! - `asked`: what CHALLENGE asks, and whether AUTHENTICATE answers it.

mod asked;
mod login;
mod method;

use super::open::Open;
use super::options::Entry;
use super::passthru::PassthruFeatures;
use super::{INVALID_URI, NOT_AUTHORIZED, QUOTA_EXCEEDED, State, WampGate};
use crate::net::gate::Flow;
use crate::node::authenticate::Proved;
use crate::node::link::End;
use crate::node::session::{Identity, Origin};
use crate::node::users::{ANONYMOUS, User};
use crate::router::dealer::CalleeFeatures;
use crate::types::topic::Topic;
use crate::types::value::{Raw, Value};
use crate::wamp::message::{Dict, Message};
use crate::wamp::wire;
use login::Login;

pub(super) use login::{Challenged, Verifying};

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
    /// What else it said to prove who it is (`authextra`), a map.
    extra: Option<Value>,
    /// What it has announced of payload passthru mode.
    passthru: PassthruFeatures,
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
            extra: entry("authextra").map(|extra| extra.value.to_value()),
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
        let hello = match Hello::read(realm, details) {
            Ok(hello) => hello,
            Err(text) => return self.violate(&text),
        };
        if let Err(error) = Topic::from_uri(realm) {
            return self.abort(INVALID_URI, &format!("the realm {error}"));
        }
        if self.node.is_draining() {
            return self.abort("wamp.close.system_shutdown", "the broker stops");
        }
        let account = self.account_of(&hello);
        let Some(method) = self.choose_method(&hello, account.as_ref()) else { return self.refuse_methods(&hello) };
        let session = self.node.new_session_id();
        self.begin(Login::new(hello, account, method, session), now_ms)
    }

    fn refuse_methods(&mut self, hello: &Hello) -> Flow {
        self.tally.auth_failures += 1;
        if hello.methods.iter().all(|name| name == ANONYMOUS) {
            return self.abort("wamp.error.authentication_required", "anonymous clients are not let in here");
        }
        let text = "none of the authmethods can be used here; most need an authid";
        self.abort("wamp.error.no_matching_auth_method", text)
    }

    /// Opens the session, unless realm, role or a limit is against it.
    fn welcome(&mut self, login: Login, proved: &Proved, now_ms: u64) -> Flow {
        let hello = &login.hello;
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
        // A token that came as a ticket is one: the client asked for no other method. `authprovider` tells the difference.
        let authmethod = login.method.name();
        let identity = Identity::of(user, authmethod, origin);
        let id = login.session;
        let wire = wire::of(self.wire);
        let session = self.node.new_session_with_id(id, identity, wire, false);
        session.set_rights(rights.clone());
        if hello.subscription_revocation {
            session.tell_of_revocations();
        }
        session.mailbox().attach(self.link.clone(), wire, u16::MAX, self.frame_bytes_max, 0);
        let before = self.out.tail.len();
        self.say(&Message::Welcome { session: id, details: welcome_details(&login, user, true) });
        if self.out.tail.len() == before {
            // The client takes messages of 512 bytes only, say. It gets what it cannot do without.
            self.say(&Message::Welcome { session: id, details: welcome_details(&login, user, false) });
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
        if let Some(cookie) = self.access.cookie
            && authmethod != ANONYMOUS
        {
            let until_ms = now_ms + u64::from(self.node.limits.http_cookie_s) * 1000;
            self.node.cookies.bind(cookie, &proved.user, &login.hello.realm, until_ms);
        }
        let authid = &*user.name;
        tracing::debug!(peer = %self.peer, session = id.0, realm = hello.realm, authid, authmethod, "WAMP session joined");
        self.state = State::Open(Box::new(open));
        self.welcomed = true;
        self.expires_ms = user.expires_s.map(|at| at.saturating_mul(1000));
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

fn welcome_details(login: &Login, user: &User, with_features: bool) -> Dict<'static> {
    let role = |features: &[&str]| {
        let all = Value::map(features.iter().map(|name| (*name, Value::Bool(true))));
        if with_features { Value::map([("features", all)]) } else { Value::Map(Vec::new()) }
    };
    let roles = Value::map([("broker", role(&BROKER_FEATURES)), ("dealer", role(&DEALER_FEATURES))]);
    let mut details = vec![
        ("realm", Value::from(login.hello.realm.as_str())),
        ("authid", Value::from(&*user.name)),
        ("authrole", Value::from(&*user.role)),
    ];
    let (method, offered) = (login.method.name(), &login.hello.methods);
    // Who need not prove anything may have offered to. Autobahn|Python breaks off when it is told a method that it did not offer.
    if offered.is_empty() || offered.iter().any(|name| name == method) {
        details.push(("authmethod", Value::from(method)));
    }
    details.extend([
        ("authprovider", Value::from(user.provider)),
        ("agent", Value::from(concat!("fennec-", env!("CARGO_PKG_VERSION")))),
        ("roles", roles),
    ]);
    let mut extra = match user.extra.as_deref() {
        Some(Value::Map(entries)) => entries.clone(),
        _ => Vec::new(),
    };
    extra.extend(login.told.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    if !extra.is_empty() {
        details.push(("authextra", Value::Map(extra)));
    }
    Dict::new(details)
}
