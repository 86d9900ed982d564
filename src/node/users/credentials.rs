//! What a user's proofs are checked against, and how it is made of a password. None of it is the password, nor lets anybody in who
//! reads it, but for an unsalted WAMP-CRA secret.

use std::borrow::Cow;
use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256};

use super::{Method, SALT_BYTES, mac};

/// What a user's proofs are checked against.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// An argon2id hash as PHC string; checked against MQTT passwords, WAMP tickets and HTTP basic authentication.
    pub password_hash: Option<String>,
    pub wampcra: Option<WampCra>,
    /// One for each key derivation function.
    pub scram: Vec<Scram>,
    /// Ed25519 public keys.
    pub cryptosign_keys: Vec<[u8; 32]>,
    /// Names of certificates by which TLS clients are this user: `cn:NAME`, `dns:NAME`, `email:NAME`, `uri:NAME`, or `sha256:` and
    /// the fingerprint in hexadecimal digits.
    pub certificates: Vec<String>,
    /// All of these have to be proved, one after the other. Empty: any one is enough.
    pub require: Vec<Method>,
}

/// What WAMP challenge-response authentication needs to know of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct WampCra {
    /// The HMAC key as text: with salt the base64 of the derived key, else the secret itself.
    pub key: String,
    /// `None`: the client signs with its secret as it is.
    pub salted: Option<Salted>,
}

/// How a client derives its key from its secret: PBKDF2 with HMAC-SHA256, then base64 (WAMP, Salted Passwords).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salted {
    pub salt: String,
    pub iterations: u32,
    pub keylen: u32,
}

/// What SCRAM needs to know of a user (RFC 5802, 3; WAMP, Salted Challenge Response Authentication).
#[derive(Clone, PartialEq, Eq)]
pub struct Scram {
    pub kdf: Kdf,
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub keys: ScramKeys,
    /// The same for clients of `scram` as Autobahn speaks it, which take the base64 of an Argon2 hash for the salted password.
    pub text_keys: Option<ScramKeys>,
}

/// What clients make their salted password with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// With HMAC-SHA256.
    Pbkdf2,
    /// Version 1.3, one lane.
    Argon2id { memory_kib: u32 },
}

/// What is kept of a salted password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScramKeys {
    pub stored: [u8; 32],
    pub server: [u8; 32],
}

impl Salted {
    /// The key as text that a client makes of its secret, and signs with.
    pub fn derive(&self, secret: &str) -> String {
        let mut key = vec![0; self.keylen as usize];
        pbkdf2_hmac::<Sha256>(secret.as_bytes(), self.salt.as_bytes(), self.iterations, &mut key);
        BASE64.encode(key)
    }
}

impl ScramKeys {
    pub fn of(salted_password: &[u8]) -> ScramKeys {
        let client = mac(salted_password, &[b"Client Key"]);
        ScramKeys { stored: Sha256::digest(client).into(), server: mac(salted_password, &[b"Server Key"]) }
    }
}

impl Scram {
    /// Takes as long as a client takes to log in.
    ///
    /// # Errors
    /// Argon2 does not take these numbers; it says why.
    pub fn derive(kdf: Kdf, salt: &[u8], iterations: u32, password: &str) -> Result<Scram, String> {
        let salt_vec = salt.to_vec();
        let prepared = prepared(password);
        Ok(match kdf {
            Kdf::Pbkdf2 => {
                let mut salted = [0; 32];
                pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, iterations, &mut salted);
                Scram { kdf, salt: salt_vec, iterations, keys: ScramKeys::of(&salted), text_keys: None }
            }
            Kdf::Argon2id { memory_kib } => {
                let keys = ScramKeys::of(&argon2id(prepared.as_bytes(), salt, iterations, memory_kib)?);
                // Autobahn does not prepare the password.
                let raw = argon2id(password.as_bytes(), salt, iterations, memory_kib)?;
                let text_keys = Some(ScramKeys::of(STANDARD_NO_PAD.encode(raw).as_bytes()));
                Scram { kdf, salt: salt_vec, iterations, keys, text_keys }
            }
        })
    }
}

fn argon2id(password: &[u8], salt: &[u8], iterations: u32, memory_kib: u32) -> Result<[u8; 32], String> {
    let params = Params::new(memory_kib, iterations, 1, Some(32)).map_err(|error| error.to_string())?;
    let mut out = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password, salt, &mut out).map_err(|error| error.to_string())?;
    Ok(out)
}

/// A name or password as SCRAM wants it (RFC 4013); what cannot be prepared stays as it is.
pub fn prepared(text: &str) -> Cow<'_, str> {
    stringprep::saslprep(text).unwrap_or(Cow::Borrowed(text))
}

impl Kdf {
    /// Its name in configurations, and in CHALLENGE of WAMP-SCRAM.
    pub fn name(self) -> &'static str {
        match self {
            Kdf::Pbkdf2 => "pbkdf2",
            Kdf::Argon2id { .. } => "argon2id13",
        }
    }
}

/// Rounds of PBKDF2 for SCRAM; RFC 7677, 4 wants 4096 at least.
pub const SCRAM_ROUNDS: u32 = 16_384;
/// Passes and memory of Argon2id for SCRAM, as for password hashes.
const SCRAM_PASSES: u32 = 2;
const SCRAM_MEMORY_KIB: u32 = 19_456;

impl Credentials {
    /// The SCRAM keys of a password, for every client there is.
    ///
    /// # Errors
    /// Argon2 failed; it says why.
    pub fn scram_of(password: &str, salts: [[u8; SALT_BYTES]; 2]) -> Result<Vec<Scram>, String> {
        let argon2id = Kdf::Argon2id { memory_kib: SCRAM_MEMORY_KIB };
        Ok(vec![
            Scram::derive(argon2id, &salts[0], SCRAM_PASSES, password)?,
            Scram::derive(Kdf::Pbkdf2, &salts[1], SCRAM_ROUNDS, password)?,
        ])
    }

    /// Whether there is something to check a proof of this kind against.
    pub fn has(&self, method: Method) -> bool {
        match method {
            Method::Password => self.password_hash.is_some(),
            Method::WampCra => self.wampcra.is_some(),
            Method::Scram => !self.scram.is_empty(),
            Method::Cryptosign => !self.cryptosign_keys.is_empty(),
            Method::Tls => !self.certificates.is_empty(),
        }
    }

    /// The names of the ways in which it can prove who it is.
    pub fn methods(&self) -> Vec<&'static str> {
        Method::ALL.into_iter().filter(|method| self.has(*method)).map(Method::name).collect()
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        !Method::ALL.into_iter().any(|method| self.has(method))
    }
}

impl fmt::Debug for WampCra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WampCra").field("salted", &self.salted).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("kdf", &self.kdf).field("iterations", &self.iterations).finish_non_exhaustive()
    }
}
