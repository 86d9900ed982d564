//! Who may publish, subscribe, call and register what: roles of permissions, the same for every protocol.
//!
//! Of all permissions of a role that match, the *most specific* decides, wherever it stands in the configuration; at equal
//! specificity deny beats allow; where none matches the answer is no. Two patterns are compared level by level from the
//! left, and the first difference decides: a literal level is more specific than the beginning of one (WAMP prefix; the
//! longer the more), that more than a single-level wildcard, that more than the rest of the topic (`#`). So a narrower
//! pattern always beats a wider one, and the order of the file never matters.
//!
//! A subscription or registration by pattern is allowed only if everything it can match is allowed; see
//! [`Rights::allows_pattern`].
//!
//! A pattern may hold `%u` (user name) and `%c` (client id). They are filled in once, when a session gets its [`Rights`]
//! (`fill`), so that asking stays a walk over ready patterns.
//!
//! A role may leave what its permissions say nothing about to somebody who is asked at run time ([`Asks`]). Asking takes time, so
//! it is done elsewhere (`node::authorize`); here the answer is [`Verdict::Ask`], and where nobody can wait that is a no.
//!
//! Left out on purpose: who a session is and which role it has (`node::users`).

use std::cmp::Reverse;
use std::sync::Arc;

use crate::types::topic::{Topic, TopicPattern};

use answers::{Answers, about_pattern, about_topic};

pub use answers::Decision;
pub use fill::check_placeholders;
use path::Path;

mod answers;
mod fill;
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

    pub const fn name(self) -> &'static str {
        match self {
            Action::Publish => "publish",
            Action::Subscribe => "subscribe",
            Action::Call => "call",
            Action::Register => "register",
        }
    }
}

/// Allows or denies some actions on what a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub actions: Vec<Action>,
    pub pattern: TopicPattern,
    pub allow: bool,
}

/// A named set of permissions. Without any it may do nothing, unless somebody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: Arc<str>,
    pub permissions: Vec<Permission>,
    /// Decides where no permission matches; `None`: the answer is no.
    pub asks: Option<Asks>,
}

/// Who decides at run time, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asks {
    pub whom: Whom,
    /// No answer by then is a no.
    pub timeout_ms: u64,
    /// How long an answer holds that may be remembered.
    pub cache_ms: u64,
}

/// Who decides at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// A procedure of the session's realm.
    Procedure(Arc<Topic>),
    /// The HTTP hook of the configuration.
    Hook,
}

/// What a session may do with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Yes,
    No,
    /// No permission matches, and [`Rights::asks`] has somebody who decides.
    Ask,
}

/// Whether there are topics that both match and for which `one` is more specific: of two permissions it would decide.
pub fn overrules(one: &TopicPattern, other: &TopicPattern) -> bool {
    let (one, other) = (Path::of(one), Path::of(other));
    one.meets(&other) && one.specificity() > other.specificity()
}

/// What fills the placeholders of patterns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    pub user: &'a str,
    /// MQTT client id; other sessions have none.
    pub client_id: Option<&'a str>,
}

/// Whether all topics that `narrow` matches are matched by `wide`.
pub fn covers(wide: &TopicPattern, narrow: &TopicPattern) -> bool {
    Path::of(wide).covers(&Path::of(narrow))
}

/// The roles of a realm, made ready for asking. Immutable and shared by all sessions.
#[derive(Clone, Debug, Default)]
pub struct Authorizer {
    roles: Vec<ReadyRole>,
}

#[derive(Clone, Debug)]
struct ReadyRole {
    role: Role,
    /// `None`: they depend on who has it.
    rights: Option<Rights>,
}

/// What one session may do. Cheap to clone: sessions of one role share it, unless the role's patterns hold placeholders.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    rules: Arc<Rules>,
    /// Of the session's own, if somebody is asked.
    answers: Option<Arc<Answers>>,
}

/// Whatever was answered meanwhile.
impl PartialEq for Rights {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

#[derive(Debug, Default, PartialEq)]
struct Rules {
    /// By action; the most specific rule first, deny before allow.
    by_action: [Vec<Rule>; 4],
    asks: Option<Asks>,
    /// See [`Rights::claimed`].
    claimed: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    pattern: TopicPattern,
    path: Path,
    allow: bool,
}

impl Authorizer {
    /// Makes roles ready. Roles of one name are one role with the permissions of all; the last that has somebody to ask counts.
    pub fn new(roles: impl IntoIterator<Item = Role>) -> Authorizer {
        let mut all: Vec<Role> = Vec::new();
        for role in roles {
            match all.iter_mut().find(|known| known.name == role.name) {
                Some(known) => {
                    known.permissions.extend(role.permissions);
                    known.asks = role.asks.or(known.asks.take());
                }
                None => all.push(role),
            }
        }
        let ready = |role: Role| {
            let depends = role.permissions.iter().any(|permission| fill::has_placeholder(&permission.pattern));
            let rights = (!depends).then(|| Rights::new(&role.permissions, role.asks.clone(), Who::default()));
            ReadyRole { role, rights }
        };
        Authorizer { roles: all.into_iter().map(ready).collect() }
    }

    /// What somebody of this role may do; asked once, when a session joins. `None`: the role does not hold in this realm, so
    /// whoever has it may do nothing here.
    pub fn rights(&self, role: &str, who: Who<'_>) -> Option<Rights> {
        let ReadyRole { role, rights } = self.roles.iter().find(|known| &*known.role.name == role)?;
        let made = || Rights::new(&role.permissions, role.asks.clone(), who);
        Some(rights.as_ref().map_or_else(made, Rights::for_another))
    }
}

impl Rights {
    /// Rights that came with a proof of identity: they do not change with a role.
    pub fn claimed(permissions: &[Permission], who: Who<'_>) -> Rights {
        Rights::made(permissions, Rules { claimed: true, ..Rules::default() }, who)
    }

    /// Whether they came with a proof of identity.
    pub fn is_claimed(&self) -> bool {
        self.rules.claimed
    }

    fn new(permissions: &[Permission], asks: Option<Asks>, who: Who<'_>) -> Rights {
        Rights::made(permissions, Rules { asks, ..Rules::default() }, who)
    }

    fn made(permissions: &[Permission], mut rules: Rules, who: Who<'_>) -> Rights {
        for Permission { actions, pattern, allow } in permissions {
            let Some(pattern) = fill::fill(pattern, *allow, who) else { continue };
            for action in actions {
                let rule = Rule { path: Path::of(&pattern), pattern: pattern.clone(), allow: *allow };
                rules.by_action[*action as usize].push(rule);
            }
        }
        for rules in &mut rules.by_action {
            rules.sort_by_cached_key(|rule| (Reverse(rule.path.specificity()), rule.allow));
        }
        let answers = rules.asks.is_some().then(Arc::default);
        Rights { rules: Arc::new(rules), answers }
    }

    /// The same for another session, which was not answered anything yet.
    fn for_another(&self) -> Rights {
        Rights { rules: self.rules.clone(), answers: self.rules.asks.is_some().then(Arc::default) }
    }

    /// Nothing is allowed.
    pub fn none() -> Rights {
        Rights::default()
    }

    /// Who decides where the answer is [`Verdict::Ask`].
    pub fn asks(&self) -> Option<&Asks> {
        self.rules.asks.as_ref()
    }

    /// Whether `action` is allowed, without asking anybody, on this very topic or procedure: to publish to it, call it, register
    /// it, subscribe to it. What belongs to the broker ([`Topic::is_reserved`]) may be published to and registered by nobody;
    /// and what is for those who run the broker may be called only where a permission names it, which `#` does not.
    pub fn allows(&self, action: Action, topic: &Topic) -> bool {
        self.judge(action, topic) == Verdict::Yes
    }

    /// Whether `action` (subscribe or register) is allowed, without asking anybody, on everything that `pattern` matches; see
    /// [`judge_pattern`](Self::judge_pattern).
    pub fn allows_pattern(&self, action: Action, pattern: &TopicPattern) -> bool {
        self.judge_pattern(action, pattern) == Verdict::Yes
    }

    /// Whether an event of this topic may be delivered for a subscription that was allowed: its permissions do not say no.
    pub fn delivers(&self, topic: &Topic) -> bool {
        self.judge(Action::Subscribe, topic) != Verdict::No
    }

    /// As [`allows`](Self::allows).
    pub fn judge(&self, action: Action, topic: &Topic) -> Verdict {
        if provides(action) && topic.is_reserved() {
            return Verdict::No;
        }
        let named = action == Action::Call && is_administrative(topic);
        let counts =
            |rule: &&Rule| rule.pattern.matches(topic) && !(named && rule.allow && rule.path.begins_with_wildcard());
        match self.rules(action).iter().find(counts) {
            Some(rule) if rule.allow => Verdict::Yes,
            Some(_) => Verdict::No,
            None => self.unsaid(action, about_topic(topic)),
        }
    }

    /// The same, to be kept by who asks: [`Verdict::Ask`] where it depends on answers, which come and go.
    pub fn judge_for_long(&self, action: Action, topic: &Topic) -> Verdict {
        match self.answers {
            None => self.judge(action, topic),
            Some(_) => Rights { rules: self.rules.clone(), answers: Some(Arc::default()) }.judge(action, topic),
        }
    }

    /// Whether `action` (subscribe or register) is allowed on everything that `pattern` matches.
    ///
    /// Yes if one allowing permission covers the whole pattern, and every denying permission that meets the pattern
    /// loses, wherever they meet, to a more specific allowing one that covers the pattern or that denial. This never says
    /// yes where [`judge`](Self::judge) does not for a topic; it does say no where only several permissions together would
    /// cover the pattern. Somebody is asked only if no denying permission meets the pattern.
    pub fn judge_pattern(&self, action: Action, pattern: &TopicPattern) -> Verdict {
        if let Some(topic) = pattern.exact_name().and_then(|name| Topic::from_name(name).ok()) {
            return self.judge(action, &topic);
        }
        let asked = Path::of(pattern);
        if provides(action) && asked.is_reserved() {
            return Verdict::No;
        }
        let rules = self.rules(action);
        let allowed = |rule: &Rule| rule.allow && rule.path.covers(&asked);
        let covered = rules.iter().position(allowed);
        // Rules are sorted, so a rule beats all that stand after it: what follows `covered` has no say.
        let before = &rules[..covered.unwrap_or(rules.len())];
        let mut denials = before.iter().enumerate().filter(|(_, rule)| !rule.allow && rule.path.meets(&asked));
        let answered =
            |at: usize, denial: &Rule| rules[..at].iter().any(|rule| rule.allow && rule.path.covers(&denial.path));
        match (denials.all(|(at, denial)| answered(at, denial)), covered) {
            (false, _) => Verdict::No,
            (true, Some(_)) => Verdict::Yes,
            (true, None) if self.answers.is_none() => Verdict::No,
            (true, None) => self.unsaid(action, &about_pattern(pattern)),
        }
    }

    /// Has the session remember an answer.
    pub fn learn(&self, action: Action, pattern: &TopicPattern, decision: Decision) {
        if let Some(answers) = &self.answers {
            answers.learn(action, &about_pattern(pattern), decision);
        }
    }

    /// The answer that there is.
    pub fn learned(&self, action: Action, pattern: &TopicPattern) -> Option<Decision> {
        self.answers.as_ref()?.get(action, &about_pattern(pattern))
    }

    /// Whether who was asked about publishing there or calling that has said that others are told who does.
    pub fn discloses(&self, action: Action, topic: &Topic) -> bool {
        let said = |answers: &Arc<Answers>| answers.get(action, about_topic(topic));
        self.answers.as_ref().and_then(said).is_some_and(|decision| decision.allow && decision.disclose)
    }

    /// Whether somebody is to be asked now: what was answered before does not hold any more, or there was nothing.
    pub fn must_ask(&self, action: Action, pattern: &TopicPattern, now_ms: u64) -> bool {
        let Some(answers) = &self.answers else { return false };
        answers.expire(action, &about_pattern(pattern), now_ms);
        self.judge_pattern(action, pattern) == Verdict::Ask
    }

    /// Whether there is an answer that may be remembered and still holds.
    pub fn remembers(&self, action: Action, topic: &Topic, now_ms: u64) -> bool {
        self.answers.as_ref().is_some_and(|answers| answers.holds(action, about_topic(topic), now_ms))
    }

    /// The message is handled that somebody was asked about.
    pub fn spend(&self, action: Action, pattern: &TopicPattern) {
        if let Some(answers) = &self.answers {
            answers.spend(action, &about_pattern(pattern));
        }
    }

    fn unsaid(&self, action: Action, about: &str) -> Verdict {
        let Some(answers) = &self.answers else { return Verdict::No };
        match answers.get(action, about) {
            Some(decision) if decision.allow => Verdict::Yes,
            Some(_) => Verdict::No,
            None => Verdict::Ask,
        }
    }

    fn rules(&self, action: Action) -> &[Rule] {
        &self.rules.by_action[action as usize]
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
        Role { name: name.into(), permissions: permissions.into_iter().flatten().collect(), asks: None }
    }
}

/// Whether a procedure is for those who run the broker: a role that may call everything was not meant to.
fn is_administrative(procedure: &Topic) -> bool {
    let mut levels = procedure.levels();
    match (levels.next(), levels.next(), levels.next()) {
        (Some("fennec"), Some("admin"), _) => true,
        (Some("wamp"), Some("session"), Some(what)) => what.starts_with("kill") || what == "modify_details",
        _ => false,
    }
}

/// Whether the action puts something under a name, rather than asking for what is there.
fn provides(action: Action) -> bool {
    matches!(action, Action::Publish | Action::Register)
}
