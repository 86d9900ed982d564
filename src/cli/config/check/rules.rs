//! Trust levels, and who is disclosed.

use std::sync::Arc;

use super::{Check, Realms};
use crate::cli::config::schema::File;
use crate::node::users::ANONYMOUS;
use crate::router::rules::{Rules, Scope};
use crate::types::topic::MatchPolicy;

/// The keys of a rule that say for whom it is.
struct Said<'a> {
    topic: &'a Option<String>,
    uri: &'a Option<String>,
    policy: MatchPolicy,
    realm: &'a Option<String>,
    roles: &'a [String],
}

impl Check {
    pub(super) fn rules(&mut self, file: &File, realms: &Realms) -> Rules {
        let mut rules = Rules::default();
        for (index, rule) in file.trust.0.iter().enumerate() {
            let (topic, uri, realm, roles) = (&rule.topic, &rule.uri, &rule.realm, &*rule.roles);
            let said = Said { topic, uri, policy: rule.r#match, realm, roles };
            rules.trust.extend(self.scope(file, realms, &format!("trust[{index}]"), &said).map(|s| (s, rule.level)));
        }
        for (index, rule) in file.disclosure.0.iter().enumerate() {
            let (topic, uri, realm, roles) = (&rule.topic, &rule.uri, &rule.realm, &*rule.roles);
            let said = Said { topic, uri, policy: rule.r#match, realm, roles };
            let scope = self.scope(file, realms, &format!("disclosure[{index}]"), &said);
            rules.disclosure.extend(scope.map(|scope| (scope, rule.disclose)));
        }
        rules
    }

    fn scope(&mut self, file: &File, realms: &Realms, table: &str, said: &Said<'_>) -> Option<Scope> {
        if let Some(realm) = said.realm {
            self.known_realm(realms, &format!("{table}.realm"), realm);
        }
        let known =
            |name: &String| name == ANONYMOUS || file.role.0.iter().any(|role| role.name.as_ref() == Some(name));
        for role in said.roles.iter().filter(|role| !file.role.0.is_empty() && !known(role)) {
            self.wrong(&format!("{table}.roles"), format!("there is no role {role:?}"));
        }
        let pattern = self.pattern(table, said.topic, said.uri, said.policy)?;
        let roles = said.roles.iter().map(|role| Arc::from(&**role)).collect();
        Some(Scope { realm: said.realm.as_deref().map(Arc::from), pattern, roles })
    }
}
