//! Users and roles.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;

use super::{Check, Realms};
use crate::cli::config::schema::{self, File};
use crate::cli::config::{RoleEntry, USER_ROLE, nearest};
use crate::node::users::UserEntry;
use crate::outbound::post::WebServer;
use crate::router::authorize::{Asks, Permission, Role, Whom, check_placeholders};
use crate::types::topic::Topic;

/// The client is not read so long.
const AUTHORIZER_MS_MAX: u32 = 60_000;

impl Check {
    pub(super) fn users(&mut self, file: &File, realms: &Realms) -> Vec<UserEntry> {
        let mut names = HashSet::new();
        let mut users = Vec::new();
        for (index, user) in file.user.0.iter().enumerate() {
            let table = format!("user[{index}]");
            let Some(name) = self.required(&table, "name", &user.name) else { continue };
            if !names.insert(name.clone()) {
                self.wrong(&format!("{table}.name"), format!("user {name:?} is there twice"));
            }
            users.push(UserEntry {
                name,
                role: self.user_role(file, &table, &user.role),
                realms: self.open_realms(realms, &format!("{table}.realms"), &user.realms),
                credentials: self.credentials(&table, user),
            });
        }
        users
    }

    fn user_role(&mut self, file: &File, table: &str, role: &Option<String>) -> Arc<str> {
        let names = || file.role.0.iter().filter_map(|role| role.name.as_deref());
        match role {
            Some(role) if !names().any(|name| name == role) => {
                self.wrong(&format!("{table}.role"), nearest::unknown(&format!("role {role:?}"), role, names()));
            }
            None if !file.role.0.is_empty() => {
                self.wrong(table, "role is missing: there are roles, so every user needs one")
            }
            _ => {}
        }
        role.as_deref().unwrap_or(USER_ROLE).into()
    }

    pub(super) fn roles(&mut self, file: &File, realms: &Realms) -> Vec<RoleEntry> {
        let mut roles = Vec::new();
        for (index, role) in file.role.0.iter().enumerate() {
            let table = format!("role[{index}]");
            let Some(name) = self.required(&table, "name", &role.name) else { continue };
            let realms = self.open_realms(realms, &format!("{table}.realms"), &role.realms);
            let asks = self.asks(&table, role);
            let permissions = role.permissions.0.iter().enumerate();
            let permissions = permissions.filter_map(|(index, permission)| {
                self.permission(&format!("{table}.permissions[{index}]"), permission)
            });
            roles.push(RoleEntry { role: Role { name, permissions: permissions.collect(), asks }, realms });
        }
        roles
    }

    fn asks(&mut self, table: &str, role: &schema::Role) -> Option<Asks> {
        let authorizer = role.authorizer.as_deref()?;
        let whom = match authorizer {
            "hook" => Whom::Hook,
            uri => match Topic::from_uri(uri) {
                Ok(procedure) => Whom::Procedure(Arc::new(procedure)),
                Err(error) => {
                    self.wrong(&format!("{table}.authorizer"), format!("{uri:?} {error}"));
                    return None;
                }
            },
        };
        if !(1..=AUTHORIZER_MS_MAX).contains(&role.authorizer_timeout_ms) {
            let key = format!("{table}.authorizer_timeout_ms");
            self.wrong(&key, format!("must be from 1 to {AUTHORIZER_MS_MAX}"));
        }
        let (timeout_ms, cache_ms) = (role.authorizer_timeout_ms.into(), u64::from(role.authorizer_cache_s) * 1000);
        Some(Asks { whom, timeout_ms, cache_ms })
    }

    pub(super) fn authorize_hook(&mut self, file: &File) -> Option<WebServer> {
        let hook = &file.authorize_hook;
        let asked = file.role.0.iter().position(|role| role.authorizer.as_deref() == Some("hook"));
        let Some(url) = &hook.url else {
            if let Some(index) = asked {
                self.wrong(&format!("role[{index}].authorizer"), "there is no url in [authorize_hook]");
            }
            return None;
        };
        self.web_server("authorize_hook", url, hook.token.as_deref(), hook.ca.as_deref())
    }

    /// A web server that is to be asked: `url`, `token` and `ca` of this table.
    pub(super) fn web_server(
        &mut self,
        table: &str,
        url: &str,
        token: Option<&str>,
        ca: Option<&Path>,
    ) -> Option<WebServer> {
        let is_web = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        let Some(uri) = url.parse::<Uri>().ok().filter(is_web) else {
            self.wrong(&format!("{table}.url"), format!("{url:?} is no URL such as \"https://example.org/ask\""));
            return None;
        };
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        let Ok(authorization) = token.transpose() else {
            self.wrong(&format!("{table}.token"), "cannot be sent in a header");
            return None;
        };
        if let Some(ca) = ca {
            self.readable(&format!("{table}.ca"), ca);
        }
        Some(WebServer { uri, authorization, ca: ca.map(Path::to_owned) })
    }

    fn permission(&mut self, table: &str, permission: &schema::Permission) -> Option<Permission> {
        if permission.action.is_empty() {
            self.wrong(table, "action is missing");
        }
        let pattern = self.pattern(table, &permission.topic, &permission.uri, permission.r#match)?;
        if let Err(problem) = check_placeholders(&pattern) {
            self.wrong(&format!("{table}.uri"), problem);
        }
        Some(Permission { actions: permission.action.clone(), pattern, allow: permission.allow })
    }

    fn open_realms(&mut self, realms: &Realms, key: &str, names: &Option<Vec<String>>) -> Option<Vec<Arc<str>>> {
        let names = names.as_ref()?;
        if names.is_empty() {
            self.wrong(key, "names no realm; leave it out to mean all");
        }
        names.iter().for_each(|name| self.known_realm(realms, key, name));
        Some(names.iter().map(|name| name.as_str().into()).collect())
    }
}
