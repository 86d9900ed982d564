//! Users and roles.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Check, Realms};
use crate::cli::config::schema::{self, File};
use crate::cli::config::{RoleEntry, USER_ROLE, nearest};
use crate::node::users::UserEntry;
use crate::router::authorize::{Permission, Role, check_placeholders};

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
            let permissions = role.permissions.0.iter().enumerate();
            let permissions = permissions.filter_map(|(index, permission)| {
                self.permission(&format!("{table}.permissions[{index}]"), permission)
            });
            roles.push(RoleEntry { role: Role { name, permissions: permissions.collect(), asks: None }, realms });
        }
        roles
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
