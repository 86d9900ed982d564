//! What was answered about those who have no session that could remember it: every HTTP request is somebody anew.
//!
//! An answer that may be remembered is found again by whoever would be told to who is asked: realm, user, role, how it was proved.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Asker, Node};
use crate::router::authorize::{Action, Decision};
use crate::types::topic::TopicPattern;

/// Answers that are remembered. When they are more, those go that hold no longer; if all do, all.
const ANSWERS_MAX: usize = 65_536;

type Answered = (Arc<str>, Action, TopicPattern);

/// See the module.
#[derive(Debug, Default)]
pub struct Visits {
    answers: Mutex<HashMap<Answered, Decision>>,
}

impl Node {
    /// Has the rights of a visitor know what was answered before.
    pub fn recall(&self, asker: &Asker<'_>, about: &[(Action, TopicPattern)], now_ms: u64) {
        let answers = self.visits.answers.lock();
        if answers.is_empty() {
            return;
        }
        let who = name(asker);
        for (action, pattern) in about {
            let found = answers.get(&(who.clone(), *action, pattern.clone()));
            if let Some(decision) = found.filter(|decision| decision.until_ms.is_some_and(|until_ms| until_ms > now_ms))
            {
                asker.rights.learn(*action, pattern, *decision);
            }
        }
    }

    /// Remembers what a visitor's rights have learned, if it may be.
    pub fn remember(&self, asker: &Asker<'_>, about: &[(Action, TopicPattern)], now_ms: u64) {
        let who = name(asker);
        let mut answers = self.visits.answers.lock();
        for (action, pattern) in about {
            let learned = asker.rights.learned(*action, pattern);
            let Some(decision) = learned.filter(|decision| decision.until_ms.is_some()) else { continue };
            if answers.len() >= ANSWERS_MAX {
                answers.retain(|_, decision| decision.until_ms.is_some_and(|until_ms| until_ms > now_ms));
            }
            if answers.len() >= ANSWERS_MAX {
                answers.clear();
            }
            answers.insert((who.clone(), *action, pattern.clone()), decision);
        }
    }
}

/// All that who is asked is told of a visitor, the number of its session aside; and who that is.
fn name(asker: &Asker<'_>) -> Arc<str> {
    let identity = asker.identity;
    let told = (&*asker.realm.name, &identity.authid, &identity.authrole, identity.authmethod, identity.authprovider);
    let whom = asker.rights.asks().map(|asks| &asks.whom);
    format!("{told:?}{:?}{whom:?}", identity.authextra).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::session::Identity;
    use crate::node::testing::{NOW_MS, node_with};
    use crate::router::authorize::{Asks, Authorizer, Rights, Role, Verdict, Who, Whom};
    use crate::types::ids::SessionId;
    use crate::types::limits::Limits;
    use crate::types::topic::Topic;

    fn rights() -> Rights {
        let asks = Some(Asks { whom: Whom::Hook, timeout_ms: 1000, cache_ms: 1000 });
        let role = Role { name: "r".into(), permissions: Vec::new(), asks };
        Authorizer::new([role]).rights("r", Who::default()).unwrap()
    }

    #[test]
    fn what_may_be_remembered_holds_for_the_same_user_alone_and_its_time() {
        let (node, realm) = node_with(Limits::default());
        let topic = Topic::from_name("a").unwrap();
        let about = [(Action::Call, TopicPattern::exact(&topic))];
        let (ann, bob) = (Identity::new("ann", "r", "basic"), Identity::new("bob", "r", "basic"));
        let judge = |identity: &Identity, now_ms| {
            let rights = rights();
            let asker = Asker { realm: &realm, rights: &rights, session: SessionId(1), identity };
            node.recall(&asker, &about, now_ms);
            rights.judge(Action::Call, &topic)
        };
        let learn = |until_ms| {
            let rights = rights();
            rights.learn(Action::Call, &about[0].1, Decision { allow: true, until_ms, disclose: false });
            node.remember(
                &Asker { realm: &realm, rights: &rights, session: SessionId(2), identity: &ann },
                &about,
                NOW_MS,
            );
        };
        learn(None);
        assert_eq!(judge(&ann, NOW_MS), Verdict::Ask, "it was for one message");
        learn(Some(NOW_MS + 100));
        assert_eq!([judge(&ann, NOW_MS), judge(&bob, NOW_MS)], [Verdict::Yes, Verdict::Ask]);
        assert_eq!(judge(&ann, NOW_MS + 100), Verdict::Ask);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (node, realm) = node_with(Limits::default());
        let (rights, identity) = (rights(), Identity::new("ann", "r", "basic"));
        let asker = Asker { realm: &realm, rights: &rights, session: SessionId(1), identity: &identity };
        for at in 0..ANSWERS_MAX + 10 {
            let about = [(Action::Call, TopicPattern::exact(&Topic::from_name(&at.to_string()).unwrap()))];
            rights.learn(
                Action::Call,
                &about[0].1,
                Decision { allow: true, until_ms: Some(u64::MAX), disclose: false },
            );
            node.remember(&asker, &about, NOW_MS);
        }
        assert!(node.visits.answers.lock().len() <= ANSWERS_MAX);
    }
}
