//! Browsers that come back: a cookie stands for whoever proved who it is over a WebSocket that was opened with it.
//!
//! ```text
//! upgrade without a known cookie --Set-Cookie: fresh--> login by any other method --bind--> upgrade with it: `cookie` proves it
//! ```
//!
//! Only a cookie that the broker has just made up is bound, and only once: who plants a cookie of his own in somebody's browser
//! gains nothing. The table holds digests, is bounded, and lives as long as the process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::Proved;
use crate::node::users::{User, hex};

/// Cookies that are bound; the oldest are forgotten first.
const BOUND_MAX: usize = 10_000;
/// Random bytes of a cookie.
const COOKIE_BYTES: usize = 24;

/// A cookie, as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CookieKey([u8; 32]);

impl CookieKey {
    fn of(cookie: &str) -> CookieKey {
        CookieKey(Sha256::digest(cookie).into())
    }
}

/// Those who come with a cookie, or are given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    key: CookieKey,
    /// It was made up for this connection.
    fresh: bool,
}

/// See the module.
#[derive(Default)]
pub struct Cookies(Mutex<Table>);

#[derive(Default)]
struct Table {
    bound: HashMap<CookieKey, Bound>,
    oldest: VecDeque<CookieKey>,
}

struct Bound {
    user: Arc<User>,
    realm: String,
    until_ms: u64,
}

impl Cookies {
    /// What a connection carries that is opened with these cookies; with what it is to be given, if it has none that is known.
    /// `None`: the system gives no random numbers.
    pub fn open<'c>(&self, cookies: impl Iterator<Item = &'c str>, now_ms: u64) -> Option<(Carried, Option<String>)> {
        for key in cookies.take(8).map(CookieKey::of) {
            if self.0.lock().bound.get(&key).is_some_and(|bound| bound.until_ms > now_ms) {
                return Some((Carried { key, fresh: false }, None));
            }
        }
        let mut random = [0; COOKIE_BYTES];
        getrandom::fill(&mut random).ok()?;
        let cookie = hex(&random);
        Some((Carried { key: CookieKey::of(&cookie), fresh: true }, Some(cookie)))
    }

    /// Whoever carries this has proved to be `user` in this realm.
    pub fn bind(&self, carried: Carried, user: &Arc<User>, realm: &str, until_ms: u64) {
        if !carried.fresh {
            return;
        }
        let mut table = self.0.lock();
        let bound = Bound { user: user.clone(), realm: realm.to_owned(), until_ms };
        if table.bound.contains_key(&carried.key) {
            return;
        }
        table.bound.insert(carried.key, bound);
        table.oldest.push_back(carried.key);
        if table.oldest.len() > BOUND_MAX
            && let Some(oldest) = table.oldest.pop_front()
        {
            table.bound.remove(&oldest);
        }
    }

    /// Who carries this, in this realm.
    pub fn find(&self, carried: Carried, realm: &str, now_ms: u64) -> Option<Proved> {
        let table = self.0.lock();
        let bound = table.bound.get(&carried.key)?;
        let holds = bound.until_ms > now_ms && bound.realm == realm;
        holds.then(|| Proved { user: bound.user.clone(), method: "cookie" })
    }

    /// Forgets all cookies of a user: it was removed, or changed its password.
    pub fn forget(&self, name: &str) {
        let mut table = self.0.lock();
        let Table { bound, oldest } = &mut *table;
        bound.retain(|_, bound| *bound.user.name != *name);
        oldest.retain(|key| bound.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Arc<User> {
        Arc::new(User::new(name, "user", None))
    }

    #[test]
    fn a_cookie_that_was_made_up_here_and_bound_once_stands_for_its_user_in_its_realm() {
        let cookies = Cookies::default();
        let (carried, told) = cookies.open(std::iter::empty(), 0).unwrap();
        let told = told.unwrap();
        assert_eq!(cookies.find(carried, "realm1", 0), None);
        cookies.bind(carried, &user("alice"), "realm1", 1000);
        cookies.bind(carried, &user("mallory"), "realm1", 9000);
        let (again, new) = cookies.open(["x", &*told].into_iter(), 999).unwrap();
        assert_eq!(new, None);
        assert_eq!(&*cookies.find(again, "realm1", 999).unwrap().user.name, "alice");
        assert_eq!(cookies.find(again, "realm2", 999), None);
        assert_eq!(cookies.find(again, "realm1", 1000), None, "it has expired");
        assert!(cookies.open([&*told].into_iter(), 1000).unwrap().1.is_some());
        cookies.forget("alice");
        assert_eq!(cookies.find(again, "realm1", 0), None);
    }

    #[test]
    fn a_cookie_that_somebody_else_made_up_is_replaced() {
        let cookies = Cookies::default();
        let (carried, told) = cookies.open(["planted"].into_iter(), 0).unwrap();
        assert!(told.is_some_and(|told| told != "planted"));
        cookies.bind(carried, &user("alice"), "realm1", 1000);
        assert!(cookies.open(["planted"].into_iter(), 0).unwrap().1.is_some());
    }

    #[test]
    fn the_table_is_bounded() {
        let cookies = Cookies::default();
        for _ in 0..BOUND_MAX + 3 {
            let (carried, _) = cookies.open(std::iter::empty(), 0).unwrap();
            cookies.bind(carried, &user("alice"), "realm1", 1000);
        }
        assert_eq!(cookies.0.lock().bound.len(), BOUND_MAX);
    }
}
