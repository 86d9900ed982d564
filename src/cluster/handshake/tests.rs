//! Who is let in, who is not, and that both sides learn why.

use proptest::prelude::*;

use super::*;
use crate::cluster::testing::{self, KEY};

const NO_TLS: Channel = [0; 32];

fn own(cluster: &str, key: &str, process: &str, processes: &[&str]) -> Own {
    let address = ([127, 0, 0, 1], 1).into();
    let processes: Vec<_> = processes.iter().map(|process| (*process, address)).collect();
    Own::new(&testing::plan(&testing::cluster(cluster, key, &processes), process), 7)
}

fn process(own: &Own, id: &str) -> Process {
    own.cluster.processes.iter().find(|process| process.id == id.into()).unwrap().clone()
}

/// What became of both sides: the one that dialled, the one that accepted.
type Ends = (Result<Greeted, Refusal>, Result<Greeted, Refusal>);

/// Lets both talk until both know; `spoil` has every message in its hands.
fn talk(mut dials: Handshake, hello: Vec<u8>, mut accepts: Handshake, mut spoil: impl FnMut(&mut Vec<u8>)) -> Ends {
    let (mut dialled, mut accepted) = (None, None);
    let mut message = Some(hello);
    let mut to_acceptor = true;
    while let Some(mut bytes) = message.take() {
        spoil(&mut bytes);
        assert!(bytes.len() <= MESSAGE_BYTES_MAX);
        let (machine, end) = match to_acceptor {
            true => (&mut accepts, &mut accepted),
            false => (&mut dials, &mut dialled),
        };
        match machine.handle(&bytes) {
            Ok(progress) => {
                *end = progress.done.map(Ok);
                message = progress.send;
            }
            Err(refusal) => {
                message = refusal.to_send();
                *end = Some(Err(refusal));
            }
        }
        to_acceptor = !to_acceptor;
    }
    let unfinished = || Err(Refusal::Malformed);
    (dialled.unwrap_or_else(unfinished), accepted.unwrap_or_else(unfinished))
}

fn meet(dials: &Own, to: &str, accepts: &Own) -> Ends {
    let expected = process(dials, to);
    let (machine, hello) = Handshake::dial(dials.clone(), expected, [1; 32], NO_TLS, Purpose::Link);
    talk(machine, hello, Handshake::accept(accepts.clone(), [2; 32], NO_TLS), |_| {})
}

/// The acceptor refuses for this reason, and the dialler is told.
#[track_caller]
fn check_refused_by_acceptor(ends: Ends, expected: &Refusal) {
    assert_eq!(ends, (Err(Refusal::Told(Box::new(expected.clone()))), Err(expected.clone())));
}

#[test]
fn two_of_one_cluster_know_each_other() {
    let (e1, n1) = (own("c", KEY, "E1", &["E1", "N1"]), own("c", KEY, "N1", &["E1", "N1"]));
    let greeted = |process: &str| Ok(Greeted { process: process.into(), life: 7, purpose: Purpose::Link });
    assert_eq!(meet(&e1, "N1", &n1), (greeted("N1"), greeted("E1")));
}

#[test]
fn whoever_does_not_fit_is_refused_and_both_sides_know_why() {
    let both = &["E1", "N1"];
    let n1 = own("c", KEY, "N1", both);
    let other_key = own("c", "another key of thirty-two letters", "E1", both);
    check_refused_by_acceptor(meet(&other_key, "N1", &n1), &Refusal::WrongKey);
    let other_cluster = own("d", KEY, "E1", both);
    let expected = Refusal::OtherCluster { expected: "c".to_owned(), found: "d".to_owned() };
    check_refused_by_acceptor(meet(&other_cluster, "N1", &n1), &expected);
    let stranger = own("c", KEY, "E7", &["E7", "N1"]);
    check_refused_by_acceptor(meet(&stranger, "N1", &n1), &Refusal::UnknownProcess { found: "E7".to_owned() });
    let twin = own("c", KEY, "N1", &["N1", "N2"]);
    let dialled_itself = Handshake::dial(twin.clone(), process(&twin, "N2"), [1; 32], NO_TLS, Purpose::Link);
    let ends = talk(dialled_itself.0, dialled_itself.1, Handshake::accept(n1.clone(), [2; 32], NO_TLS), |_| {});
    check_refused_by_acceptor(ends, &Refusal::SecondProcess { process: "N1".to_owned() });
    let higher = own("c", KEY, "N1", both);
    let e1 = own("c", KEY, "E1", both);
    check_refused_by_acceptor(meet(&higher, "E1", &e1), &Refusal::OtherDirection { process: "N1".to_owned() });
}

#[test]
fn roles_must_be_those_of_the_file() {
    let n1 = own("c", KEY, "N1", &["E1", "N1"]);
    let mut liar = own("c", KEY, "E1", &["E1", "N1"]);
    liar.nodes.push(NodeId::sync("S1"));
    check_refused_by_acceptor(meet(&liar, "N1", &n1), &Refusal::OtherRoles { process: "E1".to_owned() });
    let mut liar = n1;
    liar.nodes.push(NodeId::sync("S1"));
    let (dialled, accepted) = meet(&own("c", KEY, "E1", &["E1", "N1"]), "N1", &liar);
    assert_eq!(dialled, Err(Refusal::OtherRoles { process: "N1".to_owned() }));
    assert!(matches!(accepted, Err(Refusal::Told(_))), "{accepted:?}");
}

#[test]
fn another_process_at_the_address_is_noticed() {
    let all = &["E1", "N1", "N2"];
    let (dialled, accepted) = meet(&own("c", KEY, "E1", all), "N1", &own("c", KEY, "N2", all));
    let expected = Refusal::OtherProcess { expected: "N1".to_owned(), found: "N2".to_owned() };
    assert_eq!(dialled, Err(expected.clone()));
    assert_eq!(accepted, Err(Refusal::Told(Box::new(expected))));
}

#[test]
fn an_acceptor_without_the_key_is_not_believed() {
    let both = &["E1", "N1"];
    let (e1, n1) = (own("c", KEY, "E1", both), own("c", KEY, "N1", both));
    let (mut dials, hello) = Handshake::dial(e1, process(&n1, "N1"), [1; 32], NO_TLS, Purpose::Link);
    let challenge = Handshake::accept(n1, [2; 32], NO_TLS).handle(&hello).unwrap().send.unwrap();
    let proof = dials.handle(&challenge).unwrap().send.unwrap();
    let Ok(Message::Proof(mac)) = Message::decode(&proof) else { panic!("no proof") };
    // What the dialler proved, sent back to it.
    assert_eq!(dials.handle(&Message::Welcome(mac).encode()), Err(Refusal::WrongKey));
}

#[test]
fn a_proof_is_worth_nothing_on_another_connection() {
    let both = &["E1", "N1"];
    let (e1, n1) = (own("c", KEY, "E1", both), own("c", KEY, "N1", both));
    let expected = process(&n1, "N1");
    let (dials, hello) = Handshake::dial(e1.clone(), expected.clone(), [1; 32], [3; 32], Purpose::Link);
    let other_channel = talk(dials, hello, Handshake::accept(n1.clone(), [2; 32], [4; 32]), |_| {});
    check_refused_by_acceptor(other_channel, &Refusal::WrongKey);
    // A recorded conversation does not fit a new nonce.
    let mut recorded = Vec::new();
    let (dials, hello) = Handshake::dial(e1, expected, [1; 32], NO_TLS, Purpose::Link);
    let mut record = |bytes: &mut Vec<u8>| recorded.push(bytes.clone());
    assert!(talk(dials, hello, Handshake::accept(n1.clone(), [2; 32], NO_TLS), &mut record).1.is_ok());
    let mut later = Handshake::accept(n1, [5; 32], NO_TLS);
    later.handle(&recorded[0]).unwrap();
    assert_eq!(later.handle(&recorded[2]), Err(Refusal::WrongKey));
}

#[test]
fn another_version_is_told_whatever_else_it_says() {
    let n1 = own("c", KEY, "N1", &["E1", "N1"]);
    let later = [&MAGIC[..], &9_u16.to_be_bytes(), b"something new"].concat();
    let refusal = Handshake::accept(n1, [2; 32], NO_TLS).handle(&later).unwrap_err();
    assert_eq!(refusal.to_string(), format!("version 9 of the links, but {VERSION} is spoken here"));
    assert!(refusal.to_send().is_some());
}

#[test]
fn a_message_out_of_turn_ends_it() {
    let n1 = own("c", KEY, "N1", &["E1", "N1"]);
    let mut accepts = Handshake::accept(n1, [2; 32], NO_TLS);
    assert_eq!(accepts.handle(&Message::Welcome([0; 32]).encode()), Err(Refusal::Malformed));
    let hello = Handshake::dial(
        own("c", KEY, "E1", &["E1", "N1"]),
        process(&accepts.own, "N1"),
        [1; 32],
        NO_TLS,
        Purpose::Link,
    )
    .1;
    assert_eq!(accepts.handle(&hello), Err(Refusal::Malformed), "it is over");
}

#[test]
fn refusals_are_not_nested() {
    let told = Refusal::Told(Box::new(Refusal::WrongKey));
    assert_eq!(told.to_send(), None);
    // {"Refused": {"Told": {"Told": …
    let nested = [&b"\x81\xa7Refused"[..], &b"\x81\xa4Told".repeat(600), b"\xa8WrongKey"].concat();
    let bytes = [&MAGIC[..], &VERSION.to_be_bytes(), &nested].concat();
    assert!(bytes.len() < MESSAGE_BYTES_MAX);
    assert_eq!(Message::decode(&bytes), Err(Refusal::Malformed));
    let flat = [&MAGIC[..], &VERSION.to_be_bytes(), b"\x81\xa7Refused\xa8WrongKey"].concat();
    assert_eq!(Message::decode(&flat), Ok(Message::Refused(Refusal::WrongKey)));
}

#[test]
fn the_key_is_in_no_message() {
    let both = &["E1", "N1"];
    let (e1, n1) = (own("c", KEY, "E1", both), own("c", KEY, "N1", both));
    let (dials, hello) = Handshake::dial(e1, process(&n1, "N1"), [1; 32], NO_TLS, Purpose::Link);
    let contains_key = |bytes: &[u8]| bytes.windows(8).any(|window| window == &KEY.as_bytes()[..8]);
    let mut look = |bytes: &mut Vec<u8>| assert!(!contains_key(bytes));
    assert!(talk(dials, hello, Handshake::accept(n1, [2; 32], NO_TLS), &mut look).1.is_ok());
}

#[test]
fn whoever_has_the_key_may_ask_whatever_its_name_and_nobody_else() {
    let n1 = own("c", KEY, "N1", &["E1", "N1"]);
    let ask = |key: &str, name: &str| {
        let mut asks = own("c", key, "E1", &["E1", "N1"]);
        (asks.process, asks.nodes) = (name.into(), Vec::new());
        let (dials, hello) = Handshake::dial(asks, process(&n1, "N1"), [1; 32], NO_TLS, Purpose::Ask);
        talk(dials, hello, Handshake::accept(n1.clone(), [2; 32], NO_TLS), |_| {})
    };
    let greeted = |process: &str| Ok(Greeted { process: process.into(), life: 7, purpose: Purpose::Ask });
    assert_eq!(ask(KEY, "(asks)"), (greeted("N1"), greeted("(asks)")));
    check_refused_by_acceptor(ask("another key of thirty-two letters", "(asks)"), &Refusal::WrongKey);
}

#[test]
fn the_proof_of_a_question_makes_no_link() {
    let both = &["E1", "N1"];
    let (e1, n1) = (own("c", KEY, "E1", both), own("c", KEY, "N1", both));
    let (dials, ask) = Handshake::dial(e1.clone(), process(&n1, "N1"), [1; 32], NO_TLS, Purpose::Ask);
    let hello = Handshake::dial(e1, process(&n1, "N1"), [1; 32], NO_TLS, Purpose::Link).1;
    let mut number = 0;
    let swap = |bytes: &mut Vec<u8>| {
        if number == 0 {
            *bytes = hello.clone();
        }
        number += 1;
    };
    let ends = talk(dials, ask, Handshake::accept(n1, [2; 32], NO_TLS), swap);
    check_refused_by_acceptor(ends, &Refusal::WrongKey);
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic: bool) {
        let bytes = if magic { [&MAGIC[..], &VERSION.to_be_bytes(), &bytes].concat() } else { bytes };
        let n1 = own("c", KEY, "N1", &["E1", "N1"]);
        prop_assert!(Handshake::accept(n1.clone(), [2; 32], NO_TLS).handle(&bytes).is_err());
        let (mut dials, _) = Handshake::dial(own("c", KEY, "E1", &["E1", "N1"]), process(&n1, "N1"), [1; 32], NO_TLS, Purpose::Link);
        prop_assert!(dials.handle(&bytes).is_err());
    }

    #[test]
    fn a_byte_changed_on_the_way_is_noticed_by_both(which in 0..4usize, at in any::<proptest::sample::Index>(), flip in 1..=255u8) {
        let both = &["E1", "N1"];
        let (e1, n1) = (own("c", KEY, "E1", both), own("c", KEY, "N1", both));
        let (dials, hello) = Handshake::dial(e1, process(&n1, "N1"), [1; 32], NO_TLS, Purpose::Link);
        let mut number = 0;
        let (dialled, accepted) = talk(dials, hello, Handshake::accept(n1, [2; 32], NO_TLS), |bytes| {
            if number == which {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            number += 1;
        });
        prop_assert!(dialled.is_err());
        // The welcome is the last word: the acceptor has its proof by then.
        prop_assert!(accepted.is_err() || which == 3);
    }
}
