//! The broker's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without its wire format: WAMP and MQTT write it differently.
//!
//! ```text
//! client-first: name, client nonce --> Exchange::begin --> salt, iterations, both nonces
//! client-final: proof --------------> Exchange::check --> the broker's signature, or nothing
//! ```
//!
//! A name that nobody has is asked as all others are, and its proof is never right. A nonce is used for one proof.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::node::users::{Account, Kdf, Scram, ScramKeys, Users, mac};

/// Characters of a client's nonce.
const NONCE_CHARS_MAX: usize = 256;
/// Random bytes of the broker's nonce.
const NONCE_BYTES: usize = 18;

/// Which clients are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `wamp-scram` of the WAMP specification: any key derivation function.
    Wamp,
    /// `scram` of Autobahn: Argon2id with a salted password of its own kind, else as `Wamp`.
    Autobahn,
    /// SCRAM-SHA-256 of RFC 7677: PBKDF2 only.
    Sha256,
}

/// A proof that was asked for.
pub struct Exchange {
    /// `None`: the name is nobody's, and nothing proves it.
    account: Option<Arc<Account>>,
    scram: Scram,
    keys: ScramKeys,
    /// `n=NAME,r=NONCE` as the client said it, or would have.
    client_first_bare: String,
    /// The client's nonce and behind it the broker's.
    pub nonce: String,
}

impl Dialect {
    fn fits(self, scram: &Scram) -> bool {
        self != Self::Sha256 || scram.kdf == Kdf::Pbkdf2
    }

    fn keys(self, scram: &Scram) -> ScramKeys {
        match (self, scram.text_keys) {
            (Self::Autobahn, Some(keys)) => keys,
            _ => scram.keys,
        }
    }
}

/// Whether this may be the nonce of a client: printable, without comma, not too long (RFC 5802, 7).
pub fn is_nonce(nonce: &str) -> bool {
    (1..=NONCE_CHARS_MAX).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

impl Exchange {
    /// Begins, for a client that wants to be `name`. `None`: nobody here could prove anything by it, or the system gives no random
    /// numbers.
    pub fn begin(
        users: &Users,
        name: &str,
        account: Option<Arc<Account>>,
        dialect: Dialect,
        client_nonce: &str,
        client_first_bare: String,
    ) -> Option<Exchange> {
        let mut random = [0; NONCE_BYTES];
        getrandom::fill(&mut random).ok()?;
        let own = account
            .as_ref()
            .and_then(|account| account.credentials.scram.iter().find(|scram| dialect.fits(scram)).cloned());
        let account = account.filter(|_| own.is_some());
        let scram = own.or_else(|| users.scram_made_up(name, |scram| dialect.fits(scram)))?;
        let nonce = format!("{client_nonce}{}", BASE64.encode(random));
        Some(Exchange { account, keys: dialect.keys(&scram), scram, client_first_bare, nonce })
    }

    pub fn kdf(&self) -> Kdf {
        self.scram.kdf
    }

    pub fn iterations(&self) -> u32 {
        self.scram.iterations
    }

    /// The salt, in base64.
    pub fn salt(&self) -> String {
        BASE64.encode(&self.scram.salt)
    }

    /// `r=…,s=…,i=…` (RFC 5802, 7: `server-first-message`).
    pub fn server_first(&self) -> String {
        format!("r={},s={},i={}", self.nonce, self.salt(), self.scram.iterations)
    }

    /// Checks the client's proof, base64, which belongs to this `client-final-message-without-proof`. Who it is, and the
    /// signature by which the broker proves itself.
    pub fn check(self, client_final: &str, proof: &str) -> Option<(Arc<Account>, [u8; 32])> {
        let message = format!("{},{},{client_final}", self.client_first_bare, self.server_first());
        let proof = BASE64.decode(proof).ok().and_then(|proof| <[u8; 32]>::try_from(proof).ok());
        let is_whole = proof.is_some();
        let mut client_key = mac(&self.keys.stored, &[message.as_bytes()]);
        for (byte, proved) in client_key.iter_mut().zip(proof.unwrap_or_default()) {
            *byte ^= proved;
        }
        let stored: [u8; 32] = Sha256::digest(client_key).into();
        let right = bool::from(stored.ct_eq(&self.keys.stored)) && is_whole;
        let account = self.account.filter(|_| right)?;
        Some((account, mac(&self.keys.server, &[message.as_bytes()])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::users::{Credentials, UserEntry};

    fn users(name: &str, password: &str, iterations: u32, salt: &str) -> Users {
        let salt = BASE64.decode(salt).unwrap();
        let scram = vec![Scram::derive(Kdf::Pbkdf2, &salt, iterations, password).unwrap()];
        let credentials = Credentials { scram, ..Credentials::default() };
        Users::new([UserEntry { credentials, ..UserEntry::new(name, "user") }]).unwrap()
    }

    fn begin(users: &Users, name: &str, client_nonce: &str) -> Exchange {
        let bare = format!("n={name},r={client_nonce}");
        Exchange::begin(users, name, users.account(name), Dialect::Sha256, client_nonce, bare).unwrap()
    }

    /// The example of RFC 7677, 3.
    #[test]
    fn the_example_of_the_rfc_is_proved_and_answered_as_there() {
        let users = users("user", "pencil", 4096, "W22ZaJ0SNY7soEsUEjb6gQ==");
        let mut exchange = begin(&users, "user", "rOprNGfwEbeRWgbNEkqO");
        exchange.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        assert_eq!(
            exchange.server_first(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (account, signature) = exchange.check(last, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        assert_eq!(&*account.user.name, "user");
        assert_eq!(BASE64.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_proof_that_is_wrong_cut_long_or_no_base64_proves_nothing() {
        let users = users("user", "pencil", 4096, "W22ZaJ0SNY7soEsUEjb6gQ==");
        let right = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let whole = BASE64.decode(right).unwrap();
        let cut = BASE64.encode(&whole[..31]);
        let long = BASE64.encode([&whole[..], &[0]].concat());
        for proof in ["", "=", &cut, &long, &right[..43], "!HzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="] {
            let mut exchange = begin(&users, "user", "rOprNGfwEbeRWgbNEkqO");
            exchange.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
            let last = format!("c=biws,r={}", exchange.nonce);
            assert!(exchange.check(&last, proof).is_none(), "{proof}");
        }
        // The same proof with another nonce of the broker: what an eavesdropper could replay.
        let exchange = begin(&users, "user", "rOprNGfwEbeRWgbNEkqO");
        let last = format!("c=biws,r={}", exchange.nonce);
        assert!(exchange.check(&last, right).is_none());
    }

    #[test]
    fn a_name_that_nobody_has_is_asked_the_same_each_time() {
        let users = users("user", "pencil", 4096, "W22ZaJ0SNY7soEsUEjb6gQ==");
        let (one, two) = (begin(&users, "ghost", "abc"), begin(&users, "ghost", "abc"));
        assert_eq!((one.salt(), one.iterations()), (two.salt(), 4096));
        assert_eq!(one.salt().len(), begin(&users, "user", "abc").salt().len());
        assert_ne!(one.salt(), begin(&users, "ghast", "abc").salt());
        assert_ne!(one.nonce, two.nonce);
    }

    #[test]
    fn a_nonce_is_printable_and_has_no_comma() {
        assert!(is_nonce("fyko+d2lbbFgONRv9qkxdawL") && is_nonce("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"));
        assert!(!is_nonce("") && !is_nonce("a,b") && !is_nonce("a b") && !is_nonce("ä"));
        assert!(!is_nonce(&"a".repeat(NONCE_CHARS_MAX + 1)));
    }
}
