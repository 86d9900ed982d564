//! What a procedure or an endpoint says of somebody.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::node::authenticate::{Answer, Denied, Evidence, Proved};
use crate::node::users::{Account, Credentials, Kdf, Salted, Scram, ScramKeys, User, WampCra, unhex};
use crate::types::value::Value;

/// The answer in what was said about this evidence: `true`, a role, or a dict. Anything that cannot be read as such is a denial.
pub fn read(said: &Value, evidence: &Evidence, provider: &'static str) -> Answer {
    match said {
        Value::Text(role) => proved(evidence, User { provider, ..User::new(name(evidence), role.as_str(), None) }),
        Value::Map(_) if said.get("allow").is_some_and(|allow| *allow != Value::Bool(true)) => Answer::WRONG,
        Value::Map(_) => match user(said, evidence, provider) {
            Some(user) if asks(evidence) => match credentials(said, evidence) {
                Some(credentials) => Answer::Known(Arc::new(Account::elsewhere(user, credentials))),
                None => nonsense(),
            },
            Some(user) => proved(evidence, user),
            None => nonsense(),
        },
        Value::Bool(false) | Value::Null => Answer::WRONG,
        _ => nonsense(),
    }
}

fn nonsense() -> Answer {
    Answer::Denied(Denied::Unavailable("what was answered cannot be read".to_owned()))
}

/// Whether it was asked what a proof is to be checked against, rather than whether it is right.
fn asks(evidence: &Evidence) -> bool {
    matches!(evidence.method, "wampcra" | "wamp-scram" | "scram" | "cryptosign")
}

/// A role alone proves nobody whose proof is still to come.
fn proved(evidence: &Evidence, user: User) -> Answer {
    match asks(evidence) {
        false => Answer::Proved(Proved { user: Arc::new(user), method: evidence.method }),
        true if evidence.method == "cryptosign" => match public_key(evidence) {
            Some(key) => {
                let credentials = Credentials { cryptosign_keys: vec![key], ..Credentials::default() };
                Answer::Known(Arc::new(Account::elsewhere(user, credentials)))
            }
            None => nonsense(),
        },
        true => nonsense(),
    }
}

fn name(evidence: &Evidence) -> &str {
    if evidence.name.is_empty() { "anonymous" } else { &evidence.name }
}

fn user(said: &Value, evidence: &Evidence, provider: &'static str) -> Option<User> {
    let text = |key: &str| said.get(key).filter(|value| **value != Value::Null);
    let authid = text("authid").map_or(Some(name(evidence)), Value::as_str)?;
    let role = text("role").and_then(Value::as_str)?;
    // As Crossbar has it: one realm; ours may be several.
    let realm = text("realm").map(|realm| realm.as_str().map(|realm| vec![Arc::from(realm)]));
    let realms = text("realms")
        .map(|realms| realms.as_list()?.iter().map(|realm| realm.as_str().map(Arc::from)).collect::<Option<Vec<_>>>());
    let realms = match realm.or(realms) {
        None => None,
        Some(read) => Some(read?),
    };
    let extra = match text("extra") {
        None => None,
        Some(extra @ Value::Map(_)) => Some(Arc::new(extra.clone())),
        Some(_) => return None,
    };
    let is_name = !authid.is_empty() && !authid.chars().any(char::is_control);
    is_name.then(|| User { provider, extra, ..User::new(authid, role, realms) })
}

fn public_key(evidence: &Evidence) -> Option<[u8; 32]> {
    unhex(evidence.extra.as_ref()?.get("pubkey")?.as_str()?)
}

fn credentials(said: &Value, evidence: &Evidence) -> Option<Credentials> {
    let none = Credentials::default;
    Some(match evidence.method {
        "wampcra" => Credentials { wampcra: Some(wampcra(said)?), ..none() },
        "cryptosign" => {
            let key = match said.get("pubkey") {
                Some(key) => unhex(key.as_str()?)?,
                None => public_key(evidence)?,
            };
            Credentials { cryptosign_keys: vec![key], ..none() }
        }
        _ => Credentials { scram: vec![scram(said)?], ..none() },
    })
}

fn number(said: &Value, key: &str) -> Option<u32> {
    u32::try_from(said.get(key)?.as_u64()?).ok().filter(|number| *number > 0)
}

/// `secret`, and if it is derived already `salt`, `iterations`, `keylen`.
fn wampcra(said: &Value) -> Option<WampCra> {
    let key = said.get("secret")?.as_str()?.to_owned();
    let salted = match said.get("salt") {
        None | Some(Value::Null) => None,
        Some(salt) => Some(Salted {
            salt: salt.as_str()?.to_owned(),
            iterations: number(said, "iterations").unwrap_or(1000),
            keylen: number(said, "keylen").unwrap_or(32),
        }),
    };
    Some(WampCra { key, salted })
}

/// `kdf`, `salt`, `iterations`, `memory`, `stored-key` and `server-key`, as Crossbar has them: hexadecimal, and Argon2 keys are those of
/// Autobahn; or all of it in base64, and keys are those of the specification.
fn scram(said: &Value) -> Option<Scram> {
    let text = |key: &str| said.get(key).and_then(Value::as_str);
    let kdf = match text("kdf")? {
        "pbkdf2" => Kdf::Pbkdf2,
        "argon2id13" | "argon2id-13" => Kdf::Argon2id { memory_kib: number(said, "memory")? },
        _ => return None,
    };
    let key = |key: &str| {
        let text = text(key)?;
        unhex::<32>(text).or_else(|| BASE64.decode(text).ok()?.try_into().ok())
    };
    let keys = ScramKeys { stored: key("stored-key")?, server: key("server-key")? };
    let salt = text("salt")?;
    let salt = unhex::<16>(salt).map(Vec::from).or_else(|| BASE64.decode(salt).ok())?;
    let iterations = number(said, "iterations")?;
    let text_keys = matches!(kdf, Kdf::Argon2id { .. }).then_some(keys);
    Some(Scram { kdf, salt, iterations, keys, text_keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::metrics::Protocol;
    use crate::types::payload::Format;

    fn evidence(method: &'static str) -> Evidence {
        Evidence {
            method,
            protocol: Protocol::Wamp,
            realm: None,
            name: "ann".to_owned(),
            secret: Vec::new(),
            client_id: None,
            peer: None,
            extra: None,
        }
    }

    fn answer(method: &'static str, json: &str) -> Answer {
        read(&Value::decode(Format::Json, json.as_bytes()).unwrap(), &evidence(method), "dynamic")
    }

    #[test]
    fn a_role_or_a_dict_with_one_lets_in() {
        let proved = answer("ticket", r#""boss""#).verdict().unwrap();
        assert_eq!((&*proved.user.name, &*proved.user.role, proved.user.provider), ("ann", "boss", "dynamic"));
        let said = r#"{"allow":true,"role":"boss","authid":"Ann","realms":["a"],"extra":{"x":1}}"#;
        let proved = answer("ticket", said).verdict().unwrap();
        assert_eq!((&*proved.user.name, proved.user.realms.clone()), ("Ann", Some(vec!["a".into()])));
        assert!(proved.user.extra.is_some());
    }

    #[test]
    fn whatever_else_is_said_lets_nobody_in() {
        for said in [
            "false",
            "null",
            "true",
            "1",
            "[]",
            "{}",
            r#"{"allow":false,"role":"boss"}"#,
            r#"{"allow":"yes","role":"boss"}"#,
            r#"{"role":7}"#,
            r#"{"role":"boss","authid":""}"#,
            r#"{"role":"boss","authid":"a\u0000"}"#,
            r#"{"role":"boss","realms":"a"}"#,
            r#"{"role":"boss","realm":7}"#,
            r#"{"role":"boss","extra":7}"#,
        ] {
            assert!(answer("ticket", said).verdict().is_err(), "{said}");
        }
    }

    #[test]
    fn what_a_proof_is_checked_against_is_read_strictly() {
        let known = |method, said: &str| match answer(method, said) {
            Answer::Known(account) => Some(account.credentials.clone()),
            Answer::Proved(_) => panic!("let in without a proof: {said}"),
            Answer::Denied(_) => None,
        };
        let salted =
            known("wampcra", r#"{"role":"r","secret":"s","salt":"x","iterations":7}"#).unwrap().wampcra.unwrap();
        assert_eq!(salted.salted.unwrap().iterations, 7);
        assert!(known("wampcra", r#"{"role":"r","secret":"s"}"#).is_some());
        for said in [r#""r""#, r#"{"role":"r"}"#, r#"{"role":"r","secret":7}"#, r#"{"secret":"s"}"#] {
            assert!(known("wampcra", said).is_none(), "{said}");
        }
        let key = "0".repeat(64);
        let said = format!(
            r#"{{"role":"r","kdf":"pbkdf2","salt":"W22ZaJ0SNY7soEsUEjb6gQ==","iterations":4096,"stored-key":"{key}","server-key":"{key}"}}"#
        );
        assert_eq!(known("wamp-scram", &said).unwrap().scram[0].salt.len(), 16);
        assert!(known("wamp-scram", &said.replace("pbkdf2", "argon2id13")).is_none(), "memory is missing");
        assert!(known("wamp-scram", &said.replace("4096", "0")).is_none());
        assert!(known("cryptosign", &format!(r#"{{"role":"r","pubkey":"{key}"}}"#)).is_some());
        assert!(known("cryptosign", r#"{"role":"r","pubkey":"00"}"#).is_none());
        assert!(known("cryptosign", r#""r""#).is_none(), "the client told no key");
    }
}
