//! HELLO to WELCOME. With a password the broker chooses between WAMP-CRA, which does not show it, and a ticket, which is it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{State, Wamp};
use crate::client::Error;
use crate::client::machine::{Event, Opened};
use crate::node::users::Salted;
use crate::types::ids::SessionId;
use crate::types::value::Value;
use crate::wamp::message::{Dict, Message};

/// Rounds of key derivation that a broker may ask for: some seconds of work.
const ITERATIONS_MAX: u64 = 10_000_000;
const KEYLEN_MAX: u64 = 1024;

impl Wamp {
    pub(super) fn hello(&mut self) {
        self.state = State::Login;
        let mut details = self.dict();
        details.text("agent", concat!("fennec-", env!("CARGO_PKG_VERSION")));
        details.value("roles", &roles());
        let methods: &[&str] = if self.options.password.is_some() { &["wampcra", "ticket"] } else { &["anonymous"] };
        if let Some(user) = &self.options.user {
            details.text("authid", user);
        }
        details.value("authmethods", &Value::List(methods.iter().map(|name| Value::from(*name)).collect()));
        let realm = self.options.realm.clone();
        self.say_small(&Message::Hello { realm: realm.into(), details: details.finish() });
    }

    pub(super) fn challenge(&mut self, method: &str, extra: &Dict<'_>) -> Result<(), Error> {
        let password = self.options.password.clone();
        let signature = match (method, password) {
            ("ticket", Some(password)) => password,
            ("wampcra", Some(password)) => sign(&password, extra)?,
            _ => return Err(Error::Violation(format!("CHALLENGE by {method}, which was not offered"))),
        };
        self.say_small(&Message::Authenticate { signature: signature.into(), extra: Dict::Empty });
        Ok(())
    }

    pub(super) fn welcome(&mut self, session: SessionId) {
        self.state = State::Open;
        let keep_alive = self.options.keep_alive;
        self.events.push_back(Event::Opened(Opened { resumed: false, id: session.0.to_string(), keep_alive }));
        for publication in std::mem::take(&mut self.unanswered) {
            let token = publication.token;
            if let Err(error) = self.send_publish(publication, true) {
                self.events.push_back(Event::Published { token, outcome: Err(error) });
            }
        }
    }
}

/// WAMP, Challenge Response Authentication.
fn sign(password: &str, extra: &Dict<'_>) -> Result<String, Error> {
    let wrong = |what: &str| Error::Violation(format!("CHALLENGE: {what}"));
    let text = |key| extra.get(key).and_then(|value| value.as_text().map(|text| text.into_owned()));
    let challenge = text("challenge").ok_or_else(|| wrong("there is no challenge"))?;
    let key = match text("salt") {
        None => password.to_owned(),
        Some(salt) => {
            let number = |key, otherwise| extra.get(key).map_or(Some(otherwise), |value| value.as_u64());
            let below = |max| move |number: &u64| (1..=max).contains(number);
            let iterations = number("iterations", 1000).filter(below(ITERATIONS_MAX));
            let keylen = number("keylen", 32).filter(below(KEYLEN_MAX));
            let (Some(iterations), Some(keylen)) = (iterations, keylen) else {
                return Err(wrong("iterations or keylen is out of range"));
            };
            // Both fit, by the bounds above.
            Salted { salt, iterations: iterations as u32, keylen: keylen as u32 }.derive(password)
        }
    };
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.as_bytes()).map_err(|_| wrong("no key can be made"))?;
    mac.update(challenge.as_bytes());
    Ok(BASE64.encode(mac.finalize().into_bytes()))
}

fn roles() -> Value {
    let with = |features: &[&str]| {
        Value::map([("features", Value::map(features.iter().map(|name| (*name, Value::Bool(true)))))])
    };
    Value::map([
        ("publisher", Value::Map(Vec::new())),
        ("subscriber", with(&["pattern_based_subscription", "subscription_revocation"])),
        ("caller", with(&["call_canceling", "call_timeout", "progressive_call_results"])),
        ("callee", with(&["call_canceling", "pattern_based_registration", "shared_registration"])),
    ])
}
