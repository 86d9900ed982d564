//! Who may come in: the users of the configuration, how they prove who they are, and the realms open to them.
//!
//! Checking a password costs some 20 ms of CPU and 19 MiB on purpose (argon2id), so [`Users::check_password`] belongs on a
//! blocking thread, and at most one check per core runs at a time. A password found right is remembered under a keyed hash
//! whose key lives in this process alone, so that a thousand devices that come back at once do not cost 20 ms each:
//! ask [`Users::recall`] first.
//!
//! Nothing here tells an unknown user from a wrong password, neither by its answer nor by its time: a name that nobody has
//! is checked against a hash of the same cost, and challenged with a salt made up from the name.
//!
//! Left out on purpose: what a user may do (`router::authorize`) and whether a listener lets anonymous ones in.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use parking_lot::RwLock;
use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;

use crate::router::authorize::Permission;
use crate::types::peer::Peer;
use crate::types::value::Value;

use password::{Gate, Hash, Recall};

mod imported;
mod password;
#[cfg(test)]
mod tests;

/// A user as configured. Its secrets never reach a log: `Debug` leaves them out.
#[derive(Clone, PartialEq, Eq)]
pub struct UserEntry {
    pub name: Arc<str>,
    pub role: Arc<str>,
    /// The realms open to this user; `None`: all.
    pub realms: Option<Vec<Arc<str>>>,
    pub credentials: Credentials,
}

/// What a user's proofs are checked against.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// An argon2id hash as PHC string; checked against MQTT passwords, WAMP tickets and HTTP basic authentication.
    pub password_hash: Option<String>,
    pub wampcra: Option<WampCra>,
}

impl Credentials {
    /// The names of the ways in which it can prove who it is.
    pub fn methods(&self) -> Vec<&'static str> {
        let all = [("password", self.password_hash.is_some()), ("wampcra", self.wampcra.is_some())];
        all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

impl UserEntry {
    /// A user that cannot prove anything yet, to whom all realms are open.
    pub fn new(name: impl Into<Arc<str>>, role: impl Into<Arc<str>>) -> UserEntry {
        UserEntry { name: name.into(), role: role.into(), realms: None, credentials: Credentials::default() }
    }
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

impl Salted {
    /// The key as text that a client makes of its secret, and signs with.
    pub fn derive(&self, secret: &str) -> String {
        let mut key = vec![0; self.keylen as usize];
        pbkdf2_hmac::<Sha256>(secret.as_bytes(), self.salt.as_bytes(), self.iterations, &mut key);
        BASE64.encode(key)
    }
}

/// Somebody whose identity was proved.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub name: Arc<str>,
    pub role: Arc<str>,
    /// The realms open to this user; `None`: all.
    pub realms: Option<Vec<Arc<str>>>,
    /// Who vouches for it (WAMP `authprovider`): `static` is the configuration.
    pub provider: &'static str,
    /// What whoever vouches for it tells its client (WAMP `authextra`), a map.
    pub extra: Option<Arc<Value>>,
    /// What it may do, if that was said by who vouches for it (claims of a token) and not by its role.
    pub permissions: Option<Arc<[Permission]>>,
    /// Seconds since 1970 after which the proof holds no more.
    pub expires_s: Option<u64>,
}

/// Who vouches for users of the configuration.
const PROVIDER: &str = "static";

/// Name and role of clients that do not say who they are.
pub const ANONYMOUS: &str = "anonymous";

/// Whether a listener lets clients in that do not say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    Refused,
    /// Only from this machine: nobody said anything, the listener is on loopback and there are no users. A connection with
    /// forwarding headers (`Forwarded`, `X-Forwarded-For`, `X-Real-IP`) or a PROXY header is from elsewhere and refused.
    Local,
    /// The operator said so.
    Allowed,
}

impl Anonymous {
    /// Whether a connection may be anonymous, as far as its other end decides; requests have headers besides.
    pub fn lets_in(self, peer: &Peer) -> bool {
        match self {
            Self::Refused => false,
            Self::Local => peer.is_local(),
            Self::Allowed => true,
        }
    }
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// MQTT password, WAMP ticket.
    Password,
    WampCra,
}

/// Why there can be no users; the operator must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("user {name:?} is there twice")]
    Twice { name: Arc<str> },
    #[error("the password hash of user {name:?} {problem}")]
    Hash { name: Arc<str>, problem: String },
    /// Without random keys neither remembering passwords nor made-up salts would be safe.
    #[error("the operating system gives no random numbers: {0}")]
    NoRandomness(getrandom::Error),
}

/// All users; shared by all connections. They are replaced as a whole, and what is remembered of right passwords goes with them.
pub struct Users {
    table: RwLock<Arc<Table>>,
    gate: Gate,
    /// Key of the salts made up for names that nobody has.
    salt_key: [u8; 32],
}

/// The users of one moment.
struct Table {
    by_name: HashMap<Arc<str>, Entry>,
    /// What names that nobody has are checked against.
    dummy: Hash,
    recall: Recall,
}

struct Entry {
    user: Arc<User>,
    hash: Option<Hash>,
    credentials: Credentials,
}

impl Table {
    fn new(entries: impl IntoIterator<Item = UserEntry>) -> Result<Table, UserError> {
        let mut by_name = HashMap::new();
        let mut dummy = None;
        for UserEntry { name, role, realms, credentials } in entries {
            let hash = credentials.password_hash.as_deref().map(Hash::parse).transpose();
            let hash = hash.map_err(|problem| UserError::Hash { name: name.clone(), problem })?;
            dummy = dummy.or_else(|| hash.clone());
            let user = Arc::new(User::new(name.clone(), role, realms));
            if by_name.insert(name.clone(), Entry { user, hash, credentials }).is_some() {
                return Err(UserError::Twice { name });
            }
        }
        Ok(Table { by_name, dummy: dummy.unwrap_or_else(Hash::dummy), recall: Recall::new(random_key()?) })
    }
}

impl Users {
    /// Checks the entries and makes them ready. Fails on a name that is there twice, on a hash that is not a sensible
    /// one, and where there are no random numbers.
    pub fn new(entries: impl IntoIterator<Item = UserEntry>) -> Result<Users, UserError> {
        Ok(Users {
            table: RwLock::new(Arc::new(Table::new(entries)?)),
            gate: Gate::new(std::thread::available_parallelism().map_or(1, usize::from)),
            salt_key: random_key()?,
        })
    }

    /// Puts others in their place. Returns the names of those that are gone or are not what they were: in their names nobody
    /// should stay connected who came in before.
    ///
    /// # Errors
    /// As [`Users::new`]; nothing is changed then.
    pub fn replace(&self, entries: impl IntoIterator<Item = UserEntry>) -> Result<HashSet<Arc<str>>, UserError> {
        let new = Arc::new(Table::new(entries)?);
        let old = std::mem::replace(&mut *self.table.write(), new.clone());
        let is_same = |name: &Arc<str>, was: &Entry| {
            new.by_name.get(name).is_some_and(|is| is.user == was.user && is.credentials == was.credentials)
        };
        let gone = old.by_name.iter().filter(|(name, was)| !is_same(name, was));
        Ok(gone.map(|(name, _)| name.clone()).collect())
    }

    /// Whether a user of the configuration is still there, with the same role. Of others nothing is known here.
    pub(super) fn still_has(&self, user: &User) -> bool {
        let is_ours = user.provider == PROVIDER && *user.name != *ANONYMOUS;
        !is_ours || self.table().by_name.get(&user.name).is_some_and(|entry| entry.user.role == user.role)
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().clone()
    }

    /// Without users every listener that admits anonymous ones takes any name and password for anonymous.
    pub fn is_empty(&self) -> bool {
        self.table().by_name.is_empty()
    }

    /// Whether there is a user of this name. Not for telling clients.
    pub fn knows(&self, name: &str) -> bool {
        self.table().by_name.contains_key(name)
    }

    /// The name and the realm in an MQTT user name: the whole, if that is a user; else what is before and after its last
    /// `@`. Says nothing about whether there is such a user or realm; for somebody anonymous it names a realm only if there
    /// is one, since what is before and after the `@` was made up.
    pub fn split_name<'a>(&self, username: &'a str) -> (&'a str, Option<&'a str>) {
        match username.rsplit_once('@') {
            Some((name, realm)) if !self.table().by_name.contains_key(username) && !realm.is_empty() => {
                (name, Some(realm))
            }
            _ => (username, None),
        }
    }

    /// Whether this password was found right lately. Cheap; `None` only means that [`check_password`](Self::check_password)
    /// must be asked.
    pub fn recall(&self, name: &str, password: &[u8]) -> Option<Arc<User>> {
        self.table().recall.get(name, password)
    }

    /// The user of this name, if the password (MQTT) or ticket (WAMP) is right. Takes some 20 ms, longer if many ask at
    /// once: call it where blocking hurts nobody. Takes as long for a user that does not exist or has no password.
    pub fn check_password(&self, name: &str, password: &[u8]) -> Option<Arc<User>> {
        let table = self.table();
        let entry = table.by_name.get(name);
        let hash = entry.and_then(|entry| entry.hash.as_ref());
        let right = self.gate.pass(|| hash.unwrap_or(&table.dummy).verify(password));
        let user = entry.filter(|_| hash.is_some() && right)?.user.clone();
        table.recall.put(name, password, user.clone());
        Some(user)
    }

    /// Whether a user of this name could prove itself by `method`; of a name that nobody has, whether anybody could.
    pub fn offers(&self, name: &str, method: Method) -> bool {
        let has = |entry: &Entry| match method {
            Method::Password => entry.hash.is_some(),
            Method::WampCra => entry.credentials.wampcra.is_some(),
        };
        let table = self.table();
        table.by_name.get(name).map_or_else(|| table.by_name.values().any(has), has)
    }

    /// How this user derives the key it signs a WAMP-CRA challenge with; for the extra of CHALLENGE. A name that nobody has
    /// gets a salt too, always the same.
    pub fn wampcra_salt(&self, name: &str) -> Option<Salted> {
        let table = self.table();
        if let Some(wampcra) = table.by_name.get(name).and_then(|entry| entry.credentials.wampcra.as_ref()) {
            return wampcra.salted.clone();
        }
        let like = table.by_name.values().find_map(|entry| entry.credentials.wampcra.as_ref()?.salted.as_ref())?;
        let made_up = BASE64.encode(&mac(&self.salt_key, &[name.as_bytes()])[..SALT_BYTES]);
        Some(Salted { salt: made_up, ..like.clone() })
    }

    /// The user of this name, if `signature` is the base64 of its HMAC-SHA256 over `challenge` (WAMP, Challenge Response
    /// Authentication).
    pub fn check_wampcra(&self, name: &str, challenge: &str, signature: &str) -> Option<Arc<User>> {
        let table = self.table();
        let entry = table.by_name.get(name);
        let wampcra = entry.and_then(|entry| entry.credentials.wampcra.as_ref());
        let key = wampcra.map_or(&self.salt_key[..], |wampcra| wampcra.key.as_bytes());
        let signature = BASE64.decode(signature).unwrap_or_default();
        let right = hmac(key, &[challenge.as_bytes()]).verify_slice(&signature).is_ok();
        entry.filter(|_| wampcra.is_some() && right).map(|entry| entry.user.clone())
    }
}

impl User {
    /// A user of the configuration.
    pub fn new(name: impl Into<Arc<str>>, role: impl Into<Arc<str>>, realms: Option<Vec<Arc<str>>>) -> User {
        let (name, role) = (name.into(), role.into());
        User { name, role, realms, provider: PROVIDER, extra: None, permissions: None, expires_s: None }
    }

    /// Somebody who did not say who it is; every realm is open to it, and its role says what it may do there.
    pub fn anonymous() -> User {
        User::new(ANONYMOUS, ANONYMOUS, None)
    }

    /// Whether this realm is open to the user.
    pub fn may_enter(&self, realm: &str) -> bool {
        self.realms.as_ref().is_none_or(|realms| realms.iter().any(|open| **open == *realm))
    }

    /// The realm of an MQTT session, whose protocol does not name one. `None`: it asked for one that is not open to it.
    ///
    /// The only realm of the user's entry, else the one `asked` for in its user name, else the listener's, else the default,
    /// else the first in its entry; in all cases only one that is open.
    pub fn mqtt_realm<'a>(
        &'a self,
        asked: Option<&'a str>,
        listener: Option<&'a str>,
        default: &'a str,
    ) -> Option<&'a str> {
        if let Some(asked) = asked {
            return Some(asked).filter(|realm| self.may_enter(realm));
        }
        let open = self.realms.as_deref().unwrap_or_default();
        if let [only] = open {
            return Some(only);
        }
        let candidates = listener.into_iter().chain([default]).chain(open.first().map(|first| &**first));
        candidates.into_iter().find(|realm| self.may_enter(realm))
    }
}

/// Whether this is an argon2id hash as [`UserEntry`] wants it; else, as the rest of a sentence, why not.
pub fn check_hash(text: &str) -> Result<(), String> {
    Hash::parse(text).map(|_| ())
}

/// Bytes of salt in the entries that `fennec hash-password` makes; made-up salts look the same.
pub const SALT_BYTES: usize = 16;

fn hmac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut hmac =
        <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    parts.iter().for_each(|part| hmac.update(part));
    hmac
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    hmac(key, parts).finalize().into_bytes().into()
}

fn random_key() -> Result<[u8; 32], UserError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(UserError::NoRandomness)?;
    Ok(key)
}

impl fmt::Debug for UserEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserEntry")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("realms", &self.realms)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WampCra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WampCra").field("salted", &self.salted).finish_non_exhaustive()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.table().by_name.len()).finish_non_exhaustive()
    }
}
