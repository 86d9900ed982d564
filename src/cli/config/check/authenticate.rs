//! Who else decides who somebody is: tokens, procedures, an HTTP endpoint.

use std::sync::Arc;
use std::time::Duration;

use super::{Check, Realms};
use crate::cli::config::schema::{self, File};
use crate::node::authenticate::jwt::{Issuer, KeySource};
use crate::outbound::authenticate::{Authenticator, HookSettings};
use crate::types::topic::Topic;

/// Shortest secret of tokens (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// What a procedure may decide about.
const METHODS: [&str; 5] = ["ticket", "wampcra", "scram", "cryptosign", "tls"];

impl Check {
    pub(super) fn jwt(&mut self, file: &File) -> Vec<Issuer> {
        let tables = file.jwt.0.iter().enumerate();
        let issuers = tables.filter_map(|(index, jwt)| {
            let keys = self.jwt_keys(&format!("jwt[{index}]"), jwt)?;
            Some(Issuer {
                keys,
                issuer: jwt.issuer.clone(),
                audience: jwt.audience.clone(),
                leeway_s: jwt.leeway_s.into(),
                name_claim: jwt.name_claim.clone(),
                role_claim: jwt.role_claim.clone(),
                realms_claim: jwt.realms_claim.clone(),
                permissions_claim: jwt.permissions_claim.clone(),
                role: jwt.role.as_deref().map(Arc::from),
            })
        });
        issuers.collect()
    }

    fn jwt_keys(&mut self, table: &str, jwt: &schema::Jwt) -> Option<KeySource> {
        let secret = |text: &str| KeySource::Secret(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec());
        let keys = match (&jwt.secret, &jwt.secret_file, &jwt.key_file, &jwt.jwks_file) {
            (Some(text), None, None, None) => secret(text),
            (None, Some(path), None, None) => match std::fs::read_to_string(path) {
                Ok(text) => secret(&text),
                Err(error) => {
                    self.wrong(&format!("{table}.secret_file"), format!("{}: {error}", path.display()));
                    return None;
                }
            },
            (None, None, Some(path), None) => KeySource::Pem(path.clone()),
            (None, None, None, Some(path)) => KeySource::Jwks(path.clone()),
            _ => {
                self.wrong(table, "needs one of secret, secret_file, key_file and jwks_file");
                return None;
            }
        };
        if let KeySource::Secret(secret) = &keys
            && secret.len() < SECRET_BYTES_MIN
        {
            self.wrong(table, format!("the secret must have {SECRET_BYTES_MIN} bytes at least"));
        }
        Some(keys)
    }

    pub(super) fn authenticators(&mut self, file: &File, realms: &Realms) -> Vec<Authenticator> {
        let tables = file.authenticator.0.iter().enumerate();
        tables
            .filter_map(|(index, one)| self.authenticator(file, realms, &format!("authenticator[{index}]"), one))
            .collect()
    }

    fn authenticator(
        &mut self,
        file: &File,
        realms: &Realms,
        table: &str,
        one: &schema::Authenticator,
    ) -> Option<Authenticator> {
        if one.method.is_empty() {
            self.wrong(table, "method is missing");
        }
        for method in one.method.iter().filter(|method| !METHODS.contains(&method.as_str())) {
            self.wrong(&format!("{table}.method"), format!("{method:?} is not one of {}", METHODS.join(", ")));
        }
        for (key, realm) in [("realm", &one.realm), ("procedure_realm", &one.procedure_realm)] {
            if let Some(realm) = realm {
                self.known_realm(realms, &format!("{table}.{key}"), realm);
            }
        }
        if one.timeout_ms == 0 {
            self.wrong(&format!("{table}.timeout_ms"), "must be 1 at least");
        }
        let uri = self.required(table, "procedure", &one.procedure)?;
        let procedure = Topic::from_uri(&uri);
        if let Err(error) = &procedure {
            self.wrong(&format!("{table}.procedure"), format!("{uri:?} is no procedure: it {error}"));
        }
        Some(Authenticator {
            methods: one.method.clone(),
            procedure: procedure.ok()?,
            realm: one.realm.as_deref().map(Arc::from),
            procedure_realm: one.procedure_realm.as_deref().unwrap_or(&file.default_realm).into(),
            timeout: Duration::from_millis(one.timeout_ms.into()),
        })
    }

    pub(super) fn auth_hook(&mut self, file: &File) -> Option<HookSettings> {
        let hook = &file.auth_hook;
        let url = hook.url.as_deref()?;
        if hook.timeout_ms == 0 {
            self.wrong("auth_hook.timeout_ms", "must be 1 at least");
        }
        let (timeout, cache) =
            (Duration::from_millis(hook.timeout_ms.into()), Duration::from_secs(hook.cache_s.into()));
        let server = self.web_server("auth_hook", url, hook.token.as_deref(), hook.ca.as_deref())?;
        Some(HookSettings { server, timeout, cache })
    }
}
