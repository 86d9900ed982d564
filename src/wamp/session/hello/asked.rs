//! CHALLENGE and AUTHENTICATE: what is asked, and whether the answer is right.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::method::AuthMethod;
use super::{Hello, Login};
use crate::node::Node;
use crate::node::authenticate::scram::{self, Dialect, Exchange};
use crate::node::authenticate::{Answer, cryptosign};
use crate::node::users::{Account, Kdf, User, credentials, hex, unhex};
use crate::types::ids::SessionId;
use crate::types::payload::Format;
use crate::types::peer::Peer;
use crate::types::time::rfc3339;
use crate::types::value::Value;
use crate::wamp::message::Dict;

/// The only channel binding there is (RFC 9266).
const TLS_EXPORTER: &str = "tls-exporter";

/// What a client was asked for.
pub(super) enum Asked {
    /// A ticket or token, told as it is.
    Secret,
    WampCra {
        challenge: String,
    },
    Scram {
        exchange: Box<Exchange>,
        dialect: Dialect,
    },
    Cryptosign {
        key: [u8; 32],
        message: [u8; 32],
    },
}

/// Entries of CHALLENGE's extra.
type Extra = Vec<(&'static str, Value)>;

impl Hello {
    fn extra_text(&self, key: &str) -> Option<&str> {
        self.extra.as_ref()?.get(key)?.as_str()
    }

    /// The key that a client says it signs with.
    pub fn public_key(&self) -> Option<[u8; 32]> {
        unhex(self.extra_text("pubkey")?)
    }

    /// The nonce of SCRAM, if it is one.
    pub fn nonce(&self) -> Option<&str> {
        self.extra_text("nonce").filter(|nonce| scram::is_nonce(nonce))
    }

    /// What the session is to be bound to. An error: it wants a binding that there is not.
    pub fn channel(&self, peer: &Peer) -> Result<Option<[u8; 32]>, ()> {
        match self.extra_text("channel_binding") {
            None => Ok(None),
            Some(TLS_EXPORTER) => peer.tls.as_ref().and_then(|tls| tls.exporter).map(Some).ok_or(()),
            Some(_) => Err(()),
        }
    }
}

/// Asks for a proof by the method of this login. `None`: nothing can be asked, because the system gives no random numbers or
/// nobody has what would be asked for.
pub(super) fn ask(node: &Node, login: &Login, peer: &Peer, now_ms: u64) -> Option<(Asked, Extra)> {
    match login.method {
        AuthMethod::WampCra => ask_wampcra(node, login, now_ms),
        AuthMethod::WampScram => ask_scram(node, login, Dialect::Wamp),
        AuthMethod::Scram => ask_scram(node, login, Dialect::Autobahn),
        AuthMethod::Cryptosign => ask_cryptosign(login, peer),
        _ => Some((Asked::Secret, Vec::new())),
    }
}

fn ask_wampcra(node: &Node, login: &Login, now_ms: u64) -> Option<(Asked, Extra)> {
    let authid = login.authid();
    let challenge = challenge_text(authid, login.session, now_ms)?;
    let mut extra = vec![("challenge", Value::from(challenge.as_str()))];
    let own = login.account.as_ref().and_then(|account| account.credentials.wampcra.as_ref());
    let salted = match own {
        Some(own) => own.salted.clone(),
        None => node.users.wampcra_salt(authid),
    };
    if let Some(salted) = salted {
        extra.push(("salt", salted.salt.into()));
        extra.push(("keylen", Value::Int(salted.keylen.into())));
        extra.push(("iterations", Value::Int(salted.iterations.into())));
    }
    Some((Asked::WampCra { challenge }, extra))
}

fn ask_scram(node: &Node, login: &Login, dialect: Dialect) -> Option<(Asked, Extra)> {
    let nonce = login.hello.nonce()?;
    let authid = login.authid();
    let name = match dialect {
        // Autobahn prepares the name and does not escape it.
        Dialect::Autobahn => credentials::prepared(authid).into_owned(),
        _ => authid.replace('=', "=3D").replace(',', "=2C"),
    };
    let bare = format!("n={name},r={nonce}");
    let exchange = Exchange::begin(&node.users, authid, login.account.clone(), dialect, nonce, bare)?;
    let (kdf, memory) = match (exchange.kdf(), dialect) {
        (Kdf::Argon2id { memory_kib }, Dialect::Autobahn) => ("argon2id-13", Some(memory_kib)),
        (Kdf::Argon2id { memory_kib }, _) => ("argon2id13", Some(memory_kib)),
        (Kdf::Pbkdf2, _) => ("pbkdf2", None),
    };
    let mut extra = vec![
        ("nonce", Value::from(exchange.nonce.as_str())),
        ("salt", Value::from(exchange.salt())),
        ("kdf", Value::from(kdf)),
        ("iterations", Value::Int(exchange.iterations().into())),
    ];
    if let Some(memory) = memory {
        extra.push(("memory", Value::Int(memory.into())));
    }
    Some((Asked::Scram { exchange: Box::new(exchange), dialect }, extra))
}

fn ask_cryptosign(login: &Login, peer: &Peer) -> Option<(Asked, Extra)> {
    let key = login.hello.public_key()?;
    let mut challenge = [0; 32];
    getrandom::fill(&mut challenge).ok()?;
    // Without the binding it asked for, the client goes on or not (WAMP, TLS Channel Binding).
    let channel = login.hello.channel(peer).ok().flatten();
    let binding = channel.map_or(Value::Null, |_| Value::from(TLS_EXPORTER));
    let extra = vec![("challenge", Value::from(hex(&challenge))), ("channel_binding", binding)];
    Some((Asked::Cryptosign { key, message: cryptosign::message(&challenge, channel.as_ref()) }, extra))
}

impl Asked {
    /// Whether this answers it. `None`: the answer is a secret that has to be looked up. What WELCOME tells beside is added to
    /// the login.
    pub fn check(
        self,
        node: &Node,
        login: &mut Login,
        peer: &Peer,
        signature: &str,
        extra: &Dict<'_>,
    ) -> Option<Answer> {
        let account = login.account.as_deref();
        let user = match self {
            Asked::Secret => return None,
            Asked::WampCra { challenge } => node.users.check_wampcra(account, &challenge, signature),
            Asked::Cryptosign { key, message } => {
                let right = cryptosign::is_signed(&key, &message, signature);
                account.filter(|account| right && has_key(account, &key)).map(|account| account.user.clone())
            }
            Asked::Scram { exchange, dialect } => check_scram(*exchange, dialect, login, peer, signature, extra),
        };
        Some(Answer::of(user, login.method.name()))
    }
}

pub(super) fn has_key(account: &Account, key: &[u8; 32]) -> bool {
    account.credentials.cryptosign_keys.contains(key)
}

fn check_scram(
    exchange: Exchange,
    dialect: Dialect,
    login: &mut Login,
    peer: &Peer,
    signature: &str,
    extra: &Dict<'_>,
) -> Option<Arc<User>> {
    let said = |key: &str| extra.get(key).and_then(|value| value.as_text()).map(|text| text.into_owned());
    let last = match dialect {
        // It binds nothing, and repeats no nonce.
        Dialect::Autobahn => format!("c=,r={}", exchange.nonce),
        _ => {
            let channel = login.hello.channel(peer).ok()?;
            let asked = channel.map(|_| TLS_EXPORTER);
            let bound = channel.map(|channel| BASE64.encode(channel));
            if said("nonce")? != exchange.nonce
                || said("channel_binding").as_deref() != asked
                || said("cbind_data") != bound
            {
                return None;
            }
            let flag = asked.map_or("n,,".to_owned(), |name| format!("p={name},,"));
            let input = [flag.as_bytes(), channel.as_ref().map_or(&[][..], |channel| channel)].concat();
            format!("c={},r={}", BASE64.encode(input), exchange.nonce)
        }
    };
    let (account, server) = exchange.check(&last, signature)?;
    let server = BASE64.encode(server);
    login.told.push(match dialect {
        Dialect::Autobahn => ("scram_server_signature", Value::from(server)),
        _ => ("verifier", Value::from(format!("v={server}"))),
    });
    Some(account.user.clone())
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
