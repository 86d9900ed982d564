//! Password hashes that Mosquitto made: `$7$ITERATIONS$SALT$HASH` (PBKDF2 with HMAC-SHA512) and the older `$6$SALT$HASH` (SHA-512 of
//! password and salt, which is weak: whoever gets the file tries millions a second). Salts and hashes are base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// Most rounds: some seconds.
const ITERATIONS_MAX: u32 = 10_000_000;
const HASH_BYTES: usize = 64;
const SALT_BYTES_MAX: usize = 1024;

/// A checked hash.
#[derive(Clone)]
pub(super) struct ImportedHash {
    /// `None`: a single SHA-512.
    iterations: Option<u32>,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl ImportedHash {
    /// `None`: it is none of these. Fails, with the rest of a sentence, on one that is broken or costs too much.
    pub fn parse(text: &str) -> Option<Result<ImportedHash, String>> {
        let parts: Vec<&str> = text.split('$').collect();
        let (iterations, salt, hash) = match parts[..] {
            ["", "7", iterations, salt, hash] => {
                let iterations = iterations.parse().ok().filter(|rounds| (1..=ITERATIONS_MAX).contains(rounds));
                match iterations {
                    Some(iterations) => (Some(iterations), salt, hash),
                    None => return Some(Err(format!("must have from 1 to {ITERATIONS_MAX} rounds"))),
                }
            }
            ["", "6", salt, hash] => (None, salt, hash),
            _ => return None,
        };
        let bytes = |text: &str| BASE64.decode(text).ok();
        Some(match (bytes(salt), bytes(hash)) {
            (Some(salt), Some(hash)) if hash.len() == HASH_BYTES && (1..=SALT_BYTES_MAX).contains(&salt.len()) => {
                Ok(ImportedHash { iterations, salt, hash })
            }
            _ => Err("has a broken salt or hash".to_owned()),
        })
    }

    /// Compares in constant time.
    pub fn verify(&self, password: &[u8]) -> bool {
        let mut derived = [0; HASH_BYTES];
        match self.iterations {
            Some(iterations) => pbkdf2_hmac::<Sha512>(password, &self.salt, iterations, &mut derived),
            None => {
                derived.copy_from_slice(&Sha512::new().chain_update(password).chain_update(&self.salt).finalize());
            }
        }
        derived[..].ct_eq(&self.hash).into()
    }
}
