//! Password hashes: parsing, checking a bounded number at a time, remembering what was right.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use argon2::password_hash::{PasswordHash, PasswordHashString};
use argon2::{Algorithm, Argon2, Params, PasswordVerifier};
use parking_lot::{Condvar, Mutex};

use super::imported::ImportedHash;
use super::{User, mac};

/// Most memory that checking one password may take: 256 MiB, in KiB as argon2 counts.
const MEMORY_KIB_MAX: u32 = 262_144;
/// Most passes over that memory.
const PASSES_MAX: u32 = 32;
/// Right passwords that are remembered.
pub(super) const RECALL_MAX: usize = 10_000;
/// Hash of nothing, with the parameters of `fennec hash-password`.
const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A checked hash.
#[derive(Clone)]
pub(super) enum Hash {
    Argon2id(PasswordHashString),
    Imported(ImportedHash),
}

impl Hash {
    /// Fails, with the rest of a sentence, on anything but an argon2id PHC string or a hash of
    /// Mosquitto's whose cost is within bounds.
    pub(super) fn parse(text: &str) -> Result<Hash, String> {
        if let Some(imported) = ImportedHash::parse(text) {
            return imported.map(Hash::Imported);
        }
        let hash = PasswordHash::new(text).map_err(|_| "is no PHC string ($argon2id$...)".to_owned())?;
        if Algorithm::try_from(hash.algorithm) != Ok(Algorithm::Argon2id) {
            return Err("is not argon2id".to_owned());
        }
        let params = Params::try_from(&hash).map_err(|error| format!("has wrong parameters: {error}"))?;
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
            return Err(format!("costs too much: m may be up to {MEMORY_KIB_MAX}, t up to {PASSES_MAX}"));
        }
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err("lacks its salt or its hash".to_owned());
        }
        Ok(Hash::Argon2id(hash.serialize()))
    }

    /// What a password of nobody is checked against when no user has one either.
    pub(super) fn dummy() -> Hash {
        Hash::parse(DUMMY).unwrap_or_else(|problem| unreachable!("the dummy hash {problem}"))
    }

    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        match self {
            Hash::Argon2id(hash) => hash.as_str(),
            Hash::Imported(_) => "",
        }
    }

    /// Compares in constant time.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Hash::Argon2id(hash) => Argon2::default().verify_password(password, &hash.password_hash()).is_ok(),
            Hash::Imported(hash) => hash.verify(password),
        }
    }
}

/// Lets a bounded number of threads through at a time, so that a storm of logins takes bounded memory.
pub(super) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Gate {
    pub(super) fn new(places: usize) -> Gate {
        Gate { free: Mutex::new(places), freed: Condvar::new() }
    }

    pub(super) fn pass<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut free = self.free.lock();
        while *free == 0 {
            self.freed.wait(&mut free);
        }
        *free -= 1;
        drop(free);
        let result = work();
        *self.free.lock() += 1;
        self.freed.notify_one();
        result
    }
}

/// Right passwords, each as an HMAC under a key of this process. The oldest are forgotten first.
pub(super) struct Recall {
    key: [u8; 32],
    right: Mutex<Right>,
}

#[derive(Default)]
struct Right {
    users: HashMap<[u8; 32], Arc<User>>,
    oldest: VecDeque<[u8; 32]>,
}

impl Recall {
    pub(super) fn new(key: [u8; 32]) -> Recall {
        Recall { key, right: Mutex::default() }
    }

    pub(super) fn get(&self, name: &str, password: &[u8]) -> Option<Arc<User>> {
        self.right.lock().users.get(&self.tag(name, password)).cloned()
    }

    pub(super) fn put(&self, name: &str, password: &[u8], user: Arc<User>) {
        let tag = self.tag(name, password);
        let mut right = self.right.lock();
        if right.users.insert(tag, user).is_some() {
            return;
        }
        right.oldest.push_back(tag);
        if right.oldest.len() > RECALL_MAX
            && let Some(oldest) = right.oldest.pop_front()
        {
            right.users.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.right.lock().users.len()
    }

    /// The length keeps `("ab", "c")` and `("a", "bc")` apart.
    fn tag(&self, name: &str, password: &[u8]) -> [u8; 32] {
        mac(&self.key, &[&(name.len() as u64).to_le_bytes(), name.as_bytes(), password])
    }
}
