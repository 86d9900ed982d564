//! How a client comes in: which method it proves itself by, and what comes after one that is proved.
//!
//! ```text
//! HELLO --> begin --CHALLENGE--> Challenged --AUTHENTICATE--> decided --+--> welcome
//!             ^  \--a decider elsewhere--> Verifying (who is that?)     |
//!             \-------- its user has to prove more, by other methods ---/
//! ```

use std::sync::Arc;

use super::asked::{self, Asked, has_key};
use super::method::AuthMethod;
use super::{Hello, State, WampGate};
use crate::net::gate::Flow;
use crate::node::authenticate::{Answer, Check, Denied, Evidence, Proved, Step};
use crate::node::metrics::Protocol;
use crate::node::users::{Account, Method, User};
use crate::types::ids::SessionId;
use crate::types::value::Value;
use crate::wamp::message::{Dict, Message};

/// A client that comes in.
pub(in crate::wamp::session) struct Login {
    pub(super) hello: Hello,
    /// The id that its session will have.
    pub(super) session: SessionId,
    /// What it is proving now.
    pub(super) method: AuthMethod,
    /// Whom it says it is; `None`: nobody known.
    pub(super) account: Option<Arc<Account>>,
    /// What it has proved already.
    factors: Vec<Method>,
    /// What WELCOME tells beside.
    pub(super) told: Vec<(&'static str, Value)>,
}

/// A client that was sent CHALLENGE.
pub(in crate::wamp::session) struct Challenged {
    login: Login,
    pub deadline_ms: u64,
    asked: Asked,
}

/// A client that waits for a check.
pub(in crate::wamp::session) struct Verifying {
    login: Login,
    /// It is not asked yet: who it says it is has to be found out first.
    before: bool,
}

impl Login {
    pub fn new(hello: Hello, account: Option<Arc<Account>>, method: AuthMethod, session: SessionId) -> Self {
        Self { hello, session, method, account, factors: Vec::new(), told: Vec::new() }
    }

    pub(super) fn authid(&self) -> &str {
        self.hello.authid.as_deref().unwrap_or_default()
    }

    fn evidence(&self, gate: &WampGate, secret: &str) -> Evidence {
        Evidence {
            method: self.method.name(),
            protocol: Protocol::Wamp,
            realm: Some(self.hello.realm.clone()),
            name: self.authid().to_owned(),
            secret: secret.as_bytes().to_vec(),
            client_id: None,
            peer: Some(gate.peer.clone()),
            extra: self.hello.extra.clone(),
        }
    }

    /// What its user has to prove beside what it has.
    fn missing(&self, account: &Account) -> Option<Method> {
        account.credentials.require.iter().find(|factor| !self.factors.contains(factor)).copied()
    }
}

impl Hello {
    /// The methods it offers that are known here, in its order.
    fn known_methods(&self) -> impl Iterator<Item = AuthMethod> {
        self.methods.iter().filter_map(|name| AuthMethod::from_name(name))
    }
}

impl WampGate {
    /// Who a client says it is.
    pub(super) fn account_of(&self, hello: &Hello) -> Option<Arc<Account>> {
        let users = &self.node.users;
        match (&hello.authid, hello.public_key()) {
            (Some(authid), _) => users.account(authid),
            // Its key tells who it is (WAMP, Cryptosign-based Authentication).
            (None, Some(key)) => users.account_of_key(&key),
            (None, None) => None,
        }
    }

    /// By which method a client is to prove itself: the first it offers that can lead somewhere; of a user that has to prove
    /// several, the first of these.
    pub(super) fn choose_method(&self, hello: &Hello, account: Option<&Arc<Account>>) -> Option<AuthMethod> {
        let anonymous = self.access.anonymous;
        // Without users nobody can prove anything: whoever may be anonymous is. The same holds for MQTT.
        if anonymous && (hello.methods.is_empty() || self.node.knows_nobody()) {
            return Some(AuthMethod::Anonymous);
        }
        let required = account.and_then(|account| account.credentials.require.first()).copied();
        hello.known_methods().find(|method| {
            let fits = required.is_none() || *method == AuthMethod::Cookie || method.factor() == required;
            fits && self.can_begin(hello, account, *method)
        })
    }

    fn can_begin(&self, hello: &Hello, account: Option<&Arc<Account>>, method: AuthMethod) -> bool {
        let elsewhere = || account.is_none() && self.node.deciders.offers(method.name(), Some(&hello.realm));
        let offers = |factor| {
            hello.authid.as_deref().is_some_and(|authid| self.node.users.offers(authid, factor) || elsewhere())
        };
        match method {
            AuthMethod::Anonymous => self.access.anonymous,
            AuthMethod::Ticket => offers(Method::Password),
            AuthMethod::WampCra => offers(Method::WampCra),
            AuthMethod::Scram => hello.nonce().is_some() && offers(Method::Scram),
            AuthMethod::WampScram => {
                hello.nonce().is_some() && hello.channel(&self.peer).is_ok() && offers(Method::Scram)
            }
            AuthMethod::Cryptosign => {
                let known = hello.authid.as_deref().unwrap_or_default();
                hello.public_key().is_some() && (self.node.users.offers(known, Method::Cryptosign) || elsewhere())
            }
            AuthMethod::Tls => self.peer.certificate().is_some(),
            AuthMethod::Cookie => self.cookie_of(hello, 0).is_some(),
            AuthMethod::Jwt => self.node.deciders.offers("jwt", Some(&hello.realm)),
        }
    }

    /// Who carries the cookie of this connection. It must be whom it says it is, if it says so.
    fn cookie_of(&self, hello: &Hello, now_ms: u64) -> Option<Proved> {
        let proved = self.node.cookies.find(self.access.cookie?, &hello.realm, now_ms)?;
        hello.authid.as_ref().is_none_or(|authid| **authid == *proved.user.name).then_some(proved)
    }

    /// Begins to find out whether a client is who it says, by the method that was chosen.
    pub(super) fn begin(&mut self, login: Login, now_ms: u64) -> Flow {
        match login.method {
            AuthMethod::Anonymous => {
                let proved = Proved { user: Arc::new(User::anonymous()), method: login.method.name() };
                self.welcome(login, &proved, now_ms)
            }
            AuthMethod::Cookie => {
                let answer = self.cookie_of(&login.hello, now_ms).map_or(Answer::WRONG, Answer::Proved);
                self.decided(login, answer, now_ms)
            }
            AuthMethod::Tls => self.begin_tls(login, now_ms),
            AuthMethod::Ticket | AuthMethod::Jwt => self.challenge(login, now_ms),
            _ if login.account.is_some() => self.challenge(login, now_ms),
            _ => match self.node.deciders.decide(&login.evidence(self, ""), false) {
                Some(check) => self.wait(login, true, check),
                None => self.challenge(login, now_ms),
            },
        }
    }

    fn begin_tls(&mut self, login: Login, now_ms: u64) -> Flow {
        let certificate = self.peer.certificate();
        let account = certificate.and_then(|certificate| self.node.users.account_of_certificate(certificate));
        let claims = login.hello.authid.as_deref();
        let account = account.filter(|account| claims.is_none_or(|authid| *authid == *account.user.name));
        if account.is_none()
            && let Some(check) = self.node.deciders.decide(&login.evidence(self, ""), login.account.is_some())
        {
            return self.wait(login, false, check);
        }
        let answer = Answer::of(account.map(|account| account.user.clone()), login.method.name());
        self.decided(login, answer, now_ms)
    }

    fn wait(&mut self, login: Login, before: bool, check: Check) -> Flow {
        self.state = State::Verifying(Box::new(Verifying { login, before }));
        Flow::Verify(check)
    }

    fn challenge(&mut self, login: Login, now_ms: u64) -> Flow {
        let Some((asked, extra)) = asked::ask(&self.node, &login, &self.peer, now_ms) else {
            return self.deny(&Denied::Wrong);
        };
        let extra = if extra.is_empty() { Dict::Empty } else { Dict::new(extra) };
        self.say(&Message::Challenge { method: login.method.name().into(), extra });
        let deadline_ms = now_ms + u64::from(self.node.limits.auth_timeout_s) * 1000;
        self.state = State::Challenged(Box::new(Challenged { login, deadline_ms, asked }));
        Flow::Continue
    }

    /// AUTHENTICATE.
    pub(in crate::wamp::session) fn authenticate(&mut self, signature: &str, extra: &Dict<'_>, now_ms: u64) -> Flow {
        let State::Challenged(challenged) = std::mem::replace(&mut self.state, State::Closed) else {
            return Flow::Close;
        };
        let Challenged { mut login, asked, .. } = *challenged;
        let step = match asked.check(&self.node, &mut login, &self.peer, signature, extra) {
            Some(answer) => self.node.answer_in_turn(&self.peer, login.authid(), answer),
            None => self.node.authenticate(login.evidence(self, signature)),
        };
        match step {
            Step::Done(answer) => self.decided(login, answer, now_ms),
            Step::Wait(check) => self.wait(login, false, check),
        }
    }

    /// A check has its answer.
    pub(in crate::wamp::session) fn checked(&mut self, verifying: Verifying, answer: Answer, now_ms: u64) -> Flow {
        let Verifying { mut login, before } = verifying;
        match answer {
            Answer::Known(account) if before => {
                let key = login.hello.public_key();
                let other = key.is_some_and(|key| login.method == AuthMethod::Cryptosign && !has_key(&account, &key));
                // Whom it may be is checked when it has signed.
                login.account = Some(account).filter(|_| !other);
                self.challenge(login, now_ms)
            }
            // Nobody has proved anything yet.
            Answer::Proved(_) if before => self.deny(&Denied::Wrong),
            answer => self.decided(login, answer, now_ms),
        }
    }

    /// It is known whether the client is who it says.
    fn decided(&mut self, mut login: Login, answer: Answer, now_ms: u64) -> Flow {
        let proved = match answer.verdict() {
            Ok(proved) => proved,
            Err(denied) => return self.deny(&denied),
        };
        login.factors.extend(login.method.factor());
        let account = self.node.users.account(&proved.user.name).filter(|_| proved.user.provider == "static");
        let had_to_be = login.account.as_ref().map(|account| account.user.name.clone());
        if login.factors.len() > 1 && had_to_be.as_ref() != Some(&proved.user.name) {
            return self.deny(&Denied::Wrong);
        }
        // A cookie stands for a whole login.
        let missing = account.as_ref().filter(|_| login.method != AuthMethod::Cookie);
        let Some(missing) = missing.and_then(|account| login.missing(account)) else {
            return self.welcome(login, &proved, now_ms);
        };
        login.account = account;
        let offered = login.hello.known_methods().find(|method| {
            method.factor() == Some(missing) && self.can_begin(&login.hello, login.account.as_ref(), *method)
        });
        match offered {
            Some(method) => {
                // Whom it has to be is known now.
                login.hello.authid = Some(proved.user.name.to_string());
                self.begin(Login { method, ..login }, now_ms)
            }
            None => self.refuse_methods(&login.hello),
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
}
