//! JSON Web Tokens (RFC 7519, RFC 8725): who signs them, what they must say, and what they let their bearer do.
//!
//! Only signed tokens in the compact form (RFC 7515) that expire. The key decides the algorithm, `none` is none, and every claim
//! that is not understood as it is configured makes the token worthless: nobody gets in by half a token.
//!
//! - `keys`: the keys, and signatures.

mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json};

use super::{Answer, Check, Decider, Evidence, Proved};
use crate::node::users::User;
use crate::router::authorize::{Action, Permission, check_placeholders};
use crate::types::topic::{MatchPolicy, TopicPattern};

pub use keys::{KeySource, Keys};

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Somebody whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub keys: KeySource,
    /// What `iss` must be; `None`: anything.
    pub issuer: Option<String>,
    /// What `aud` must be or have among others; `None`: anything.
    pub audience: Option<String>,
    /// How wrong clocks may be.
    pub leeway_s: u64,
    pub name_claim: String,
    pub role_claim: String,
    pub realms_claim: String,
    pub permissions_claim: String,
    /// The role of those whose token tells none; `None`: they may not come in, unless it tells permissions.
    pub role: Option<Arc<str>>,
}

/// Decides about tokens, of one issuer or several. Cloning shares it.
#[derive(Clone)]
pub struct Tokens {
    issuers: Arc<[(Issuer, Keys)]>,
}

impl Tokens {
    /// # Errors
    /// The keys of an issuer cannot be read; as a sentence.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Result<Tokens, String> {
        let open = |issuer: Issuer| Keys::open(issuer.keys.clone()).map(|keys| (issuer, keys));
        Ok(Tokens { issuers: issuers.into_iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Whom a token stands for at this time, seconds since 1970. `None`: nobody.
    pub fn read(&self, token: &str, now_s: u64) -> Option<User> {
        self.issuers.iter().find_map(|(issuer, keys)| issuer.read(keys, token, now_s))
    }
}

impl Decider for Tokens {
    fn offers(&self, method: &str, _: Option<&str>) -> bool {
        matches!(method, "jwt" | "bearer" | "ticket" | "password" | "basic")
    }

    fn decide(&self, evidence: &Evidence, known: bool) -> Option<Check> {
        let must_be = matches!(evidence.method, "jwt" | "bearer");
        let token = std::str::from_utf8(&evidence.secret).ok().filter(|token| is_token(token));
        let may_be = !known && self.offers(evidence.method, None) && token.is_some();
        if !must_be && !may_be {
            return None;
        }
        let (tokens, name) = (self.clone(), evidence.name.clone());
        let token = token.unwrap_or_default().to_owned();
        // An RSA key that is read from a file takes its time.
        Some(Check::Blocking(Box::new(move || {
            let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let user = tokens.read(&token, now_s).filter(|user| name.is_empty() || *name == *user.name);
            match user {
                Some(user) => Answer::Proved(Proved { user: Arc::new(user), method: "jwt" }),
                None => Answer::WRONG,
            }
        })))
    }
}

/// Whether it looks like one: three parts in base64url, the first of which is a JSON object.
fn is_token(text: &str) -> bool {
    text.len() <= TOKEN_BYTES_MAX && text.starts_with("ey") && text.split('.').count() == 3
}

/// A part of a token that is to be a JSON object.
fn object(part: &str) -> Option<Map<String, Json>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl Issuer {
    fn read(&self, keys: &Keys, token: &str, now_s: u64) -> Option<User> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = object(header)?;
        // Extensions that must be understood are not (RFC 7515, 4.1.11).
        let algorithm = header.get("alg")?.as_str().filter(|_| !header.contains_key("crit"))?;
        let id = header.get("kid").and_then(Json::as_str);
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let keys = keys.now();
        let fitting = keys.iter().filter(|key| {
            (id.is_none() || key.id.is_none() || key.id.as_deref() == id)
                && key.algorithm.as_deref().is_none_or(|only| only == algorithm)
        });
        let mut fitting = fitting.take(8);
        if !fitting.any(|key| key.key.verifies(algorithm, signed.as_bytes(), &signature)) {
            return None;
        }
        let claims = object(claims)?;
        let expires_s = self.check(&claims, now_s)?;
        self.user(&claims, expires_s)
    }

    /// Whether it is for this broker and this time; until when.
    fn check(&self, claims: &Map<String, Json>, now_s: u64) -> Option<u64> {
        let time = |name: &str| match claims.get(name) {
            None => Some(None),
            Some(value) => value.as_f64().filter(|time| *time >= 0.0).map(|time| Some(time as u64)),
        };
        let expires_s = time("exp")??;
        let begins_s = time("nbf")?.unwrap_or(0);
        let is_now = now_s < expires_s.saturating_add(self.leeway_s) && begins_s <= now_s.saturating_add(self.leeway_s);
        let issuer = claims.get("iss").and_then(Json::as_str);
        let is_its = self.issuer.is_none() || issuer == self.issuer.as_deref();
        let is_for_us = self.audience.as_deref().is_none_or(|wanted| match claims.get("aud") {
            Some(Json::String(one)) => one == wanted,
            Some(Json::Array(several)) => several.iter().any(|one| one.as_str() == Some(wanted)),
            _ => false,
        });
        (is_now && is_its && is_for_us).then_some(expires_s)
    }

    fn user(&self, claims: &Map<String, Json>, expires_s: u64) -> Option<User> {
        let name = claims.get(&self.name_claim)?.as_str().filter(|name| is_name(name))?;
        let permissions = match claims.get(&self.permissions_claim) {
            None => None,
            Some(list) => Some(list.as_array()?.iter().map(permission).collect::<Option<Vec<_>>>()?),
        };
        let role = match claims.get(&self.role_claim) {
            Some(role) => role.as_str()?.into(),
            // What it may do is told; the role only has a name then.
            None if permissions.is_some() => self.role.clone().unwrap_or_else(|| "jwt".into()),
            None => self.role.clone()?,
        };
        let realms = claims
            .get(&self.realms_claim)
            .map(texts)
            .map_or(Some(None), |list| list.map(|list| Some(list.into_iter().map(Arc::from).collect())))?;
        Some(User {
            provider: "jwt",
            permissions: permissions.map(Arc::from),
            expires_s: Some(expires_s.saturating_add(self.leeway_s)),
            ..User::new(name, role, realms)
        })
    }
}

/// What can be a user name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}

/// One text or a list of them.
fn texts(value: &Json) -> Option<Vec<&str>> {
    match value {
        Json::String(one) => Some(vec![one]),
        Json::Array(several) => several.iter().map(Json::as_str).collect(),
        _ => None,
    }
}

/// A permission in the words of the configuration: `action`, `topic` or `uri`, `match`, `allow`.
pub fn permission(value: &Json) -> Option<Permission> {
    let table = value.as_object()?;
    let known = |name: &String| matches!(&**name, "action" | "topic" | "uri" | "match" | "allow");
    if !table.keys().all(known) {
        return None;
    }
    let action = |name: &str| match name {
        "publish" => Some(Action::Publish),
        "subscribe" => Some(Action::Subscribe),
        "call" => Some(Action::Call),
        "register" => Some(Action::Register),
        _ => None,
    };
    let actions = texts(table.get("action")?)?.into_iter().map(action).collect::<Option<Vec<_>>>()?;
    let allow = table.get("allow").map_or(Some(true), Json::as_bool)?;
    let pattern = match (table.get("topic"), table.get("uri")) {
        (Some(topic), None) if !table.contains_key("match") => TopicPattern::from_filter(topic.as_str()?).ok()?,
        (None, Some(uri)) => {
            let policy = match table.get("match").map_or(Some("exact"), Json::as_str)? {
                "exact" => MatchPolicy::Exact,
                "prefix" => MatchPolicy::Prefix,
                "wildcard" => MatchPolicy::Wildcard,
                "fox" => MatchPolicy::Fox,
                _ => return None,
            };
            TopicPattern::from_uri(uri.as_str()?, policy).ok()?
        }
        _ => return None,
    };
    check_placeholders(&pattern).ok()?;
    Some(Permission { actions, pattern, allow })
}
