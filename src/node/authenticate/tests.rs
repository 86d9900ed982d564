//! What comes of evidence: who is asked, and that whatever goes wrong is a denial.

use super::*;
use crate::node::testing::node;
use crate::node::users::UserEntry;

struct Knows(&'static str);

impl Decider for Knows {
    fn offers(&self, method: &str, _: Option<&str>) -> bool {
        method == "password"
    }

    fn decide(&self, evidence: &Evidence, known: bool) -> Option<Check> {
        let right = evidence.secret == self.0.as_bytes();
        let user = right.then(|| Arc::new(User::new(&*evidence.name, "user", None)));
        let answer = Answer::of(user, "password");
        (!known && evidence.name != "ghost").then(|| Check::Elsewhere(Box::pin(std::future::ready(answer))))
    }
}

fn evidence(name: &str, secret: &str) -> Evidence {
    Evidence {
        method: "password",
        protocol: Protocol::Mqtt,
        realm: None,
        name: name.to_owned(),
        secret: secret.as_bytes().to_vec(),
        client_id: None,
        peer: None,
        extra: None,
    }
}

/// Runs what does not wait for others.
fn run(step: Step) -> Answer {
    match step {
        Step::Done(answer) => answer,
        Step::Wait(Check::Blocking(check)) => check(),
        Step::Wait(Check::Later { then, .. }) => run(then()),
        Step::Wait(Check::Elsewhere(waiting)) => {
            futures_util::FutureExt::now_or_never(waiting).expect("an answer that is there")
        }
    }
}

#[test]
fn those_elsewhere_are_asked_about_names_that_nobody_has() {
    let (node, _) = node();
    assert_eq!(run(node.authenticate(evidence("alice", "right"))).verdict(), Err(Denied::Wrong));
    node.deciders.add(Arc::new(Knows("right")));
    let proved = run(node.authenticate(evidence("alice", "right"))).verdict().unwrap();
    assert_eq!((&*proved.user.name, proved.method), ("alice", "password"));
    assert_eq!(run(node.authenticate(evidence("alice", "wrong"))).verdict(), Err(Denied::Wrong));
    assert_eq!(run(node.authenticate(evidence("ghost", "right"))).verdict(), Err(Denied::Wrong));
}

#[test]
fn a_user_whose_proof_is_still_to_come_is_not_let_in_where_none_can_come() {
    let known = Answer::Known(Arc::new(Account::new(UserEntry::new("alice", "user")).unwrap()));
    assert_eq!(known.verdict(), Err(Denied::Wrong));
}

#[test]
fn evidence_does_not_show_its_secret() {
    assert!(!format!("{:?}", evidence("alice", "s3cret")).contains("s3cret"));
}
