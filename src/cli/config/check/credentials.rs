//! By what users prove who they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Check;
use crate::cli::config::schema;
use crate::node::users::{Credentials, Kdf, Salted, Scram, ScramKeys, WampCra, check_hash, unhex};

/// Most rounds and bytes of a derived key: what no client would take seconds for.
const ITERATIONS_MAX: u32 = 10_000_000;
const KEYLEN_MAX: u32 = 1024;
/// Most memory that a client is asked to take for Argon2id: 1 GiB.
const MEMORY_KIB_MAX: u32 = 1 << 20;

impl Check {
    pub(super) fn credentials(&mut self, table: &str, user: &schema::User) -> Credentials {
        if let Some(Err(problem)) = user.password_hash.as_deref().map(check_hash) {
            self.wrong(&format!("{table}.password_hash"), problem);
        }
        let scram = user.scram.0.iter().enumerate();
        let credentials = Credentials {
            password_hash: user.password_hash.clone(),
            wampcra: user.wampcra.as_ref().and_then(|wampcra| self.wampcra(&format!("{table}.wampcra"), wampcra)),
            scram: scram.filter_map(|(index, scram)| self.scram(&format!("{table}.scram[{index}]"), scram)).collect(),
            cryptosign_keys: self.cryptosign_keys(&format!("{table}.cryptosign_keys"), &user.cryptosign_keys),
            certificates: self.certificates(&format!("{table}.certificates"), &user.certificates),
            require: user.require.clone(),
        };
        // What is wrong in itself was told already.
        let says = user.wampcra.is_some() || !user.scram.0.is_empty() || !user.cryptosign_keys.is_empty();
        if credentials.is_empty() && !says && user.certificates.is_empty() {
            self.wrong(table, "password_hash or wampcra is missing: nobody could come in");
        }
        for method in &user.require {
            if !credentials.has(*method) {
                self.wrong(&format!("{table}.require"), format!("wants {method:?}, for which the user has nothing"));
            }
        }
        credentials
    }

    fn wampcra(&mut self, table: &str, wampcra: &schema::WampCra) -> Option<WampCra> {
        self.within(table, "iterations", wampcra.iterations, ITERATIONS_MAX);
        self.within(table, "keylen", wampcra.keylen, KEYLEN_MAX);
        let key = self.required(table, "key", &wampcra.key)?.to_string();
        let salted =
            |salt: &String| Salted { salt: salt.clone(), iterations: wampcra.iterations, keylen: wampcra.keylen };
        Some(WampCra { key, salted: wampcra.salt.as_ref().map(salted) })
    }

    fn within(&mut self, table: &str, name: &str, value: u32, max: u32) {
        if !(1..=max).contains(&value) {
            self.wrong(&format!("{table}.{name}"), format!("must be from 1 to {max}"));
        }
    }

    fn scram(&mut self, table: &str, scram: &schema::Scram) -> Option<Scram> {
        let kdf = match (&*self.required(table, "kdf", &scram.kdf)?, scram.memory_kib) {
            ("argon2id13", Some(memory_kib)) => {
                self.within(table, "memory_kib", memory_kib, MEMORY_KIB_MAX);
                Kdf::Argon2id { memory_kib }
            }
            ("argon2id13", None) => {
                self.wrong(table, "memory_kib is missing");
                return None;
            }
            ("pbkdf2", None) => Kdf::Pbkdf2,
            ("pbkdf2", Some(_)) => {
                self.wrong(&format!("{table}.memory_kib"), "is for argon2id13 only");
                return None;
            }
            _ => {
                self.wrong(&format!("{table}.kdf"), "must be argon2id13 or pbkdf2");
                return None;
            }
        };
        let Some(iterations) = scram.iterations else {
            self.wrong(table, "iterations is missing");
            return None;
        };
        self.within(table, "iterations", iterations, ITERATIONS_MAX);
        let salt = BASE64.decode(&*self.required(table, "salt", &scram.salt)?).ok().filter(|salt| salt.len() >= 8);
        if salt.is_none() {
            self.wrong(&format!("{table}.salt"), "must be the base64 of 8 bytes at least");
        }
        let keys = self.scram_keys(table, ["stored_key", "server_key"], [&scram.stored_key, &scram.server_key]);
        let text = [&scram.text_stored_key, &scram.text_server_key];
        let said = text.iter().any(|key| key.is_some());
        let text_keys = said.then(|| self.scram_keys(table, ["text_stored_key", "text_server_key"], text)).flatten();
        Some(Scram { kdf, salt: salt?, iterations, keys: keys?, text_keys })
    }

    fn scram_keys(&mut self, table: &str, names: [&str; 2], keys: [&Option<String>; 2]) -> Option<ScramKeys> {
        let stored = self.scram_key(table, names[0], keys[0]);
        let server = self.scram_key(table, names[1], keys[1]);
        Some(ScramKeys { stored: stored?, server: server? })
    }

    fn scram_key(&mut self, table: &str, name: &str, key: &Option<String>) -> Option<[u8; 32]> {
        let text = self.required(table, name, key)?;
        let key = BASE64.decode(&*text).ok().and_then(|key| key.try_into().ok());
        if key.is_none() {
            self.wrong(&format!("{table}.{name}"), "must be the base64 of 32 bytes");
        }
        key
    }

    fn cryptosign_keys(&mut self, name: &str, keys: &[String]) -> Vec<[u8; 32]> {
        let read: Vec<_> = keys.iter().filter_map(|key| unhex(key)).collect();
        if read.len() < keys.len() {
            self.wrong(name, "must be Ed25519 public keys: 64 hexadecimal digits each");
        }
        read
    }

    fn certificates(&mut self, key: &str, names: &[String]) -> Vec<String> {
        let mut read = Vec::new();
        for name in names {
            read.extend(certificate(name));
            if certificate(name).is_none() {
                self.wrong(
                    key,
                    format!(
                        "{name:?} is not cn:, dns:, email: or uri: and a name, or sha256: and 64 hexadecimal digits"
                    ),
                );
            }
        }
        read
    }
}

/// A name of a certificate as it is compared: fingerprints and DNS names in lower case.
fn certificate(name: &str) -> Option<String> {
    let (kind, value) = name.split_once(':').filter(|(_, value)| !value.is_empty())?;
    match kind {
        "cn" | "email" | "uri" => Some(name.to_owned()),
        "dns" => Some(name.to_ascii_lowercase()),
        "sha256" => {
            let digits = value.replace(':', "").to_ascii_lowercase();
            unhex::<32>(&digits).map(|_| format!("sha256:{digits}"))
        }
        _ => None,
    }
}
