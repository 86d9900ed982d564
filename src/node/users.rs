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
use std::fmt::{self, Write as _};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use parking_lot::RwLock;
use sha2::Sha256;

use crate::router::authorize::Permission;
use crate::types::peer::{Certificate, CertificateName, Peer};
use crate::types::value::Value;

pub use credentials::{Credentials, Kdf, Salted, Scram, ScramKeys, WampCra};
use password::{Gate, Hash, Recall};

pub mod credentials;
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

impl UserEntry {
    /// A user that cannot prove anything yet, to whom all realms are open.
    pub fn new(name: impl Into<Arc<str>>, role: impl Into<Arc<str>>) -> UserEntry {
        UserEntry { name: name.into(), role: role.into(), realms: None, credentials: Credentials::default() }
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
    /// MQTT password, WAMP ticket, HTTP basic.
    Password,
    WampCra,
    /// Of WAMP in both dialects, and of MQTT 5.
    Scram,
    Cryptosign,
    /// A client certificate.
    Tls,
}

impl Method {
    pub const ALL: [Method; 5] = [Method::Password, Method::WampCra, Method::Scram, Method::Cryptosign, Method::Tls];

    /// As configurations have it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Password => "password",
            Method::WampCra => "wampcra",
            Method::Scram => "scram",
            Method::Cryptosign => "cryptosign",
            Method::Tls => "tls",
        }
    }
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
    by_name: HashMap<Arc<str>, Arc<Account>>,
    /// Who has an Ed25519 key; the first user that does.
    by_key: HashMap<[u8; 32], Arc<Account>>,
    /// Who has a name of a certificate; the first user that does.
    by_certificate: HashMap<String, Arc<Account>>,
    /// What names that nobody has are checked against.
    dummy: Hash,
    recall: Recall,
}

/// A user, and what its proofs are checked against.
pub struct Account {
    pub user: Arc<User>,
    pub credentials: Credentials,
    hash: Option<Hash>,
}

impl Account {
    /// # Errors
    /// The password hash is none, as the rest of a sentence.
    pub fn new(entry: UserEntry) -> Result<Account, String> {
        let hash = entry.credentials.password_hash.as_deref().map(Hash::parse).transpose()?;
        let user = Arc::new(User::new(entry.name, entry.role, entry.realms));
        Ok(Account { user, credentials: entry.credentials, hash })
    }

    /// One that is known elsewhere, and has no password here.
    pub fn elsewhere(user: User, credentials: Credentials) -> Account {
        Account { user: Arc::new(user), credentials, hash: None }
    }
}

impl Table {
    fn new(entries: impl IntoIterator<Item = UserEntry>) -> Result<Table, UserError> {
        let (mut by_name, mut by_key, mut by_certificate) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut dummy = None;
        for entry in entries {
            let name = entry.name.clone();
            let account = Account::new(entry).map_err(|problem| UserError::Hash { name: name.clone(), problem })?;
            let account = Arc::new(account);
            dummy = dummy.or_else(|| account.hash.clone());
            for key in &account.credentials.cryptosign_keys {
                by_key.entry(*key).or_insert_with(|| account.clone());
            }
            for certificate in &account.credentials.certificates {
                by_certificate.entry(certificate.clone()).or_insert_with(|| account.clone());
            }
            if by_name.insert(name.clone(), account).is_some() {
                return Err(UserError::Twice { name });
            }
        }
        let (dummy, recall) = (dummy.unwrap_or_else(Hash::dummy), Recall::new(random_key()?));
        Ok(Table { by_name, by_key, by_certificate, dummy, recall })
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
        let is_same = |name: &Arc<str>, was: &Arc<Account>| {
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
        let has = |account: &Arc<Account>| account.credentials.has(method);
        let table = self.table();
        table.by_name.get(name).map_or_else(|| table.by_name.values().any(has), has)
    }

    /// The user of this name.
    pub fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.table().by_name.get(name).cloned()
    }

    /// The user who has this Ed25519 key.
    pub fn account_of_key(&self, key: &[u8; 32]) -> Option<Arc<Account>> {
        self.table().by_key.get(key).cloned()
    }

    /// The user whom a verified certificate names: by its fingerprint, else by its subject alternative names, else by its common
    /// name.
    pub fn account_of_certificate(&self, certificate: &Certificate) -> Option<Arc<Account>> {
        let table = self.table();
        certificate_names(certificate).find_map(|name| table.by_certificate.get(&name).cloned())
    }

    /// How this user derives the key it signs a WAMP-CRA challenge with; for the extra of CHALLENGE. A name that nobody has
    /// gets a salt too, always the same.
    pub fn wampcra_salt(&self, name: &str) -> Option<Salted> {
        let table = self.table();
        if let Some(wampcra) = table.by_name.get(name).and_then(|account| account.credentials.wampcra.as_ref()) {
            return wampcra.salted.clone();
        }
        let salted = |account: &Arc<Account>| account.credentials.wampcra.as_ref()?.salted.clone();
        let like = table.by_name.values().find_map(salted)?;
        Some(Salted { salt: BASE64.encode(&self.made_up("wampcra", name)[..SALT_BYTES]), ..like })
    }

    /// What somebody is asked to prove by SCRAM whose name nobody has, or who has no keys: the same each time, and never right.
    pub fn scram_made_up(&self, name: &str, fits: impl Fn(&Scram) -> bool) -> Option<Scram> {
        let of = |account: &Arc<Account>| account.credentials.scram.iter().find(|scram| fits(scram)).cloned();
        let like = self.table().by_name.values().find_map(of)?;
        let keys = ScramKeys { stored: self.made_up("stored", name), server: self.made_up("server", name) };
        let salt = self.made_up("scram", name)[..like.salt.len().clamp(8, 32)].to_vec();
        Some(Scram { salt, keys, text_keys: like.text_keys.map(|_| keys), ..like })
    }

    /// Always the same for a name as long as the process lives, and nobody can know it.
    fn made_up(&self, what: &str, name: &str) -> [u8; 32] {
        mac(&self.salt_key, &[what.as_bytes(), b"\0", name.as_bytes()])
    }

    /// The user of this name, if `signature` is the base64 of its HMAC-SHA256 over `challenge` (WAMP, Challenge Response
    /// Authentication).
    pub fn check_wampcra(&self, account: Option<&Account>, challenge: &str, signature: &str) -> Option<Arc<User>> {
        let wampcra = account.and_then(|account| account.credentials.wampcra.as_ref());
        let key = wampcra.map_or(&self.salt_key[..], |wampcra| wampcra.key.as_bytes());
        let signature = BASE64.decode(signature).unwrap_or_default();
        let right = hmac(key, &[challenge.as_bytes()]).verify_slice(&signature).is_ok();
        account.filter(|_| wampcra.is_some() && right).map(|account| account.user.clone())
    }
}

/// The names under which a certificate may be known, the most certain first; see [`Credentials::certificates`].
fn certificate_names(certificate: &Certificate) -> impl Iterator<Item = String> {
    let fingerprint = certificate.fingerprint.map(|bytes| format!("sha256:{}", hex(&bytes)));
    let alternative = certificate.names.iter().filter_map(|name| match name {
        CertificateName::Dns(name) => Some(format!("dns:{name}")),
        CertificateName::Email(name) => Some(format!("email:{name}")),
        CertificateName::Uri(name) => Some(format!("uri:{name}")),
        CertificateName::Ip(_) => None,
    });
    let common = certificate.common_name.iter().map(|name| format!("cn:{name}"));
    fingerprint.into_iter().chain(alternative).chain(common)
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits of either case. `None`: they are none, or not as many.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
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

/// HMAC-SHA256 of all parts.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
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

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.table().by_name.len()).finish_non_exhaustive()
    }
}
