//! Who may publish, subscribe, call and register what: roles of permissions, the same for every protocol.
//!
//! Of all permissions of a role that match, the *most specific* decides, wherever it stands in the configuration; at equal
//! specificity deny beats allow; where none matches the answer is no. Two patterns are compared level by level from the
//! left, and the first difference decides: a literal level is more specific than the beginning of one (WAMP prefix; the
//! longer the more), that more than a single-level wildcard, that more than the rest of the topic (`#`). So a narrower
//! pattern always beats a wider one, and the order of the file never matters.
//!
//! A subscription or registration by pattern is allowed only if everything it can match is allowed; see
//! [`Authorizer::allows_pattern`].
//!
//! What ends sessions and runs the broker ([`is_guarded`]) may be called only by who is allowed it by a pattern that begins with its
//! name, not with a wildcard.
//!
//! Left out on purpose: who a session is and which role it has (`node::users`), and placeholders for user and client id.
//! They will be filled in when a session gets its role, so that asking stays a walk over ready patterns.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::types::topic::{Topic, TopicPattern};

use path::Path;

mod path;
#[cfg(test)]
mod tests;

/// What a session wants to do with a topic or procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Publish,
    Subscribe,
    Call,
    Register,
}

impl Action {
    pub const ALL: [Action; 4] = [Action::Publish, Action::Subscribe, Action::Call, Action::Register];
}

/// Allows or denies some actions on what a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub actions: Vec<Action>,
    pub pattern: TopicPattern,
    pub allow: bool,
}

/// A named set of permissions. Without any it may do nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: Arc<str>,
    pub permissions: Vec<Permission>,
}

/// Whether all topics that `narrow` matches are matched by `wide`.
pub fn covers(wide: &TopicPattern, narrow: &TopicPattern) -> bool {
    Path::of(wide).covers(&Path::of(narrow))
}

/// A role of one [`Authorizer`]; means nothing to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoleId(u32);

/// The roles of a realm, made ready for asking. Immutable and shared by all sessions.
#[derive(Clone, Debug, Default)]
pub struct Authorizer {
    roles: Vec<ReadyRole>,
}

#[derive(Clone, Debug)]
struct ReadyRole {
    name: Arc<str>,
    /// By action; the most specific rule first, deny before allow.
    rules: [Vec<Rule>; 4],
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: TopicPattern,
    path: Path,
    allow: bool,
}

impl Authorizer {
    /// Makes roles ready. Roles of one name are one role with the permissions of all.
    pub fn new(roles: impl IntoIterator<Item = Role>) -> Authorizer {
        let mut authorizer = Authorizer::default();
        for role in roles {
            let index = authorizer.index_of(&role.name);
            for permission in role.permissions {
                authorizer.roles[index].add(permission);
            }
        }
        for role in &mut authorizer.roles {
            for rules in &mut role.rules {
                rules.sort_by_cached_key(|rule| (Reverse(rule.path.specificity()), rule.allow));
            }
        }
        authorizer
    }

    fn index_of(&mut self, name: &Arc<str>) -> usize {
        match self.roles.iter().position(|role| role.name == *name) {
            Some(index) => index,
            None => {
                self.roles.push(ReadyRole { name: name.clone(), rules: Default::default() });
                self.roles.len() - 1
            }
        }
    }

    /// The role of this name; asked once, when a session joins. `None`: it does not hold in this realm, so whoever has it may
    /// do nothing here.
    pub fn role(&self, name: &str) -> Option<RoleId> {
        self.roles.iter().position(|role| &*role.name == name).map(|index| RoleId(index as u32))
    }

    /// Whether `role` may do `action` on this very topic or procedure: publish to it, call it, register it, subscribe to it,
    /// receive its retained value. What belongs to the broker ([`Topic::is_reserved`]) may be published to and registered by
    /// no role.
    pub fn allows(&self, role: RoleId, action: Action, topic: &Topic) -> bool {
        if provides(action) && topic.is_reserved() {
            return false;
        }
        let guarded = action == Action::Call && is_guarded(topic);
        let says = |rule: &&Rule| rule.pattern.matches(topic) && !(guarded && rule.pattern.passes_hidden_by());
        self.rules(role, action).iter().find(says).is_some_and(|rule| rule.allow)
    }

    /// Whether `role` may do `action` (subscribe or register) on everything that `pattern` matches.
    ///
    /// True if one allowing permission covers the whole pattern, and every denying permission that meets the pattern
    /// loses, wherever they meet, to a more specific allowing one that covers the pattern or that denial. This never says
    /// yes where [`allows`](Self::allows) says no for a topic; it does say no where only several permissions together would
    /// cover the pattern.
    pub fn allows_pattern(&self, role: RoleId, action: Action, pattern: &TopicPattern) -> bool {
        if let Some(topic) = pattern.exact_name().and_then(|name| Topic::from_name(name).ok()) {
            return self.allows(role, action, &topic);
        }
        let asked = Path::of(pattern);
        if provides(action) && asked.is_reserved() {
            return false;
        }
        let rules = self.rules(role, action);
        let allowed = |rule: &Rule| rule.allow && rule.path.covers(&asked);
        let Some(covered) = rules.iter().position(allowed) else { return false };
        // Rules are sorted, so a rule beats all that stand after it: what follows `covered` has no say.
        let mut denials =
            rules[..covered].iter().enumerate().filter(|(_, rule)| !rule.allow && rule.path.meets(&asked));
        denials.all(|(at, denial)| rules[..at].iter().any(|rule| rule.allow && rule.path.covers(&denial.path)))
    }

    fn rules(&self, role: RoleId, action: Action) -> &[Rule] {
        self.roles.get(role.0 as usize).map_or(&[], |role| &role.rules[action as usize])
    }
}

impl Role {
    /// A role that may do everything that clients may do at all.
    pub fn unrestricted(name: impl Into<Arc<str>>) -> Role {
        let allow = |actions: &[Action], filter| {
            let pattern = TopicPattern::from_filter(filter).ok()?;
            Some(Permission { actions: actions.to_vec(), pattern, allow: true })
        };
        // Leading wildcards do not match `$` topics (MQTT 5, 4.7.2), so those for everybody are named.
        let permissions = [allow(&Action::ALL, "#"), allow(&[Action::Subscribe], "$SYS/#")];
        Role { name: name.into(), permissions: permissions.into_iter().flatten().collect() }
    }
}

impl ReadyRole {
    fn add(&mut self, permission: Permission) {
        let Permission { actions, pattern, allow } = permission;
        for action in actions {
            let rule = Rule { path: Path::of(&pattern), pattern: pattern.clone(), allow };
            self.rules[action as usize].push(rule);
        }
    }
}

/// Whether it is a procedure that only those may call whose role names it: with it sessions are ended, and the broker is run. Who may
/// call everything (`#`) may not call these.
pub fn is_guarded(procedure: &Topic) -> bool {
    let name = procedure.name();
    name.starts_with("fennec/admin/") || name.starts_with("wamp/session/kill") || name == "wamp/session/modify_details"
}

/// Whether the action puts something under a name, rather than asking for what is there.
fn provides(action: Action) -> bool {
    matches!(action, Action::Publish | Action::Register)
}
