//! Proofs of identity beyond tickets and WAMP-CRA: SCRAM, Cryptosign, certificates, cookies, several in a row, and those that are
//! decided elsewhere.

use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};

use super::joining::{challenged, check_aborted, hash, hello, hmac_of, sign};
use super::*;
use crate::node::authenticate::{Answer, Decider, Evidence};
use crate::node::users::{Account, Kdf, Method, Scram, User, WampCra, credentials, hex};
use crate::types::peer::{Certificate, PeerTls};
use crate::types::value::Value;

const FAILED: &str = "wamp.error.authentication_failed";
const NO_METHOD: &str = "wamp.error.no_matching_auth_method";
const SALT: &[u8] = b"salt of a test..";

fn scram(kdf: Kdf, password: &str) -> Vec<Scram> {
    vec![Scram::derive(kdf, SALT, 2, password).unwrap()]
}

fn key_pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().unwrap()
}

fn entry(name: &str, credentials: Credentials) -> UserEntry {
    UserEntry { credentials, ..UserEntry::new(name, "user") }
}

/// Users: ann (SCRAM by Argon2), pia (SCRAM by PBKDF2), kim (key), tom (certificate), two (ticket, then key), all (everything).
fn world() -> World {
    let none = Credentials::default;
    let argon2id = Kdf::Argon2id { memory_kib: 64 };
    let two = Credentials {
        password_hash: Some(hash("t")),
        cryptosign_keys: vec![public(&key_pair(2))],
        require: vec![Method::Password, Method::Cryptosign],
        ..none()
    };
    Setup {
        users: vec![
            entry("ann", Credentials { scram: scram(argon2id, "s3cret"), ..none() }),
            entry("p=,ia", Credentials { scram: scram(Kdf::Pbkdf2, "s3cret"), ..none() }),
            entry("kim", Credentials { cryptosign_keys: vec![public(&key_pair(1))], ..none() }),
            entry("tom", Credentials { certificates: vec!["cn:press-17".to_owned()], ..none() }),
            entry("two", two),
        ],
        roles: vec![Role::unrestricted("user")],
        anonymous: false,
        limits: Limits { auth_delay_s_max: 0, ..Limits::default() },
        ..Setup::default()
    }
    .build()
}

fn text<'v>(extra: &'v Value, key: &str) -> &'v str {
    extra.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key} in {extra:?}"))
}

/// The proof that a client with this salted password makes, and the signature it expects.
fn proof(salted: &[u8], message: &str) -> (String, String) {
    let client = hmac_of(salted, b"Client Key");
    let signature = hmac_of(&Sha256::digest(client), message.as_bytes());
    let proof: Vec<u8> = client.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
    let server = hmac_of(&hmac_of(salted, b"Server Key"), message.as_bytes());
    (BASE64.encode(proof), BASE64.encode(server))
}

fn salted(kdf: Kdf, password: &str) -> Vec<u8> {
    let mut out = vec![0; 32];
    match kdf {
        Kdf::Pbkdf2 => pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), SALT, 2, &mut out),
        Kdf::Argon2id { memory_kib } => {
            let params = argon2::Params::new(memory_kib, 2, 1, Some(32)).unwrap();
            let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
            argon2.hash_password_into(password.as_bytes(), SALT, &mut out).unwrap();
        }
    }
    out
}

fn kdf_of(extra: &Value) -> Kdf {
    match extra.get("memory").and_then(Value::as_u64) {
        Some(memory) => Kdf::Argon2id { memory_kib: memory as u32 },
        None => Kdf::Pbkdf2,
    }
}

const SCRAM_HELLO: &str = r#""authmethods":["wamp-scram"],"authextra":{"nonce":"bm9uY2U="}"#;

/// Proves by WAMP-SCRAM as the specification has it; what WELCOME has to tell.
fn answer_scram(extra: &Value, escaped: &str, password: &str) -> (String, String) {
    let nonce = text(extra, "nonce");
    let message = format!(
        "n={escaped},r=bm9uY2U=,r={nonce},s={},i={},c=biws,r={nonce}",
        text(extra, "salt"),
        extra.get("iterations").and_then(Value::as_u64).unwrap()
    );
    let (proof, server) = proof(&salted(kdf_of(extra), password), &message);
    (format!(r#"[5,"{proof}",{{"nonce":"{nonce}"}}]"#), server)
}

#[test]
fn wamp_scram_proves_by_both_key_derivations_and_the_broker_proves_itself() {
    let world = world();
    for (name, escaped, kdf) in [("ann", "ann", "argon2id13"), ("p=,ia", "p=3D=2Cia", "pbkdf2")] {
        let mut client = world.connect();
        let extra = challenged(&mut client, &format!(r#""authid":"{name}",{SCRAM_HELLO}"#), "wamp-scram");
        assert_eq!(text(&extra, "kdf"), kdf);
        assert!(text(&extra, "nonce").starts_with("bm9uY2U=") && text(&extra, "nonce").len() > 24);
        let (answer, server) = answer_scram(&extra, escaped, "s3cret");
        client.send(&answer);
        let welcome = client.received().remove(0);
        let told = r#""authmethod":"wamp-scram","authprovider":"static""#;
        assert!(welcome.contains(told) && welcome.contains(&format!(r#""authextra":{{"verifier":"v={server}"}}"#)));
    }
}

#[test]
fn scram_is_spoken_as_autobahn_does() {
    let world = world();
    let mut client = world.connect();
    let details = r#""authid":"ann","authmethods":["scram"],"authextra":{"nonce":"abc"}"#;
    let extra = challenged(&mut client, details, "scram");
    assert_eq!(text(&extra, "kdf"), "argon2id-13");
    let nonce = text(&extra, "nonce");
    let message = format!("n=ann,r=abc,r={nonce},s={},i=2,c=,r={nonce}", text(&extra, "salt"));
    let key = base64::engine::general_purpose::STANDARD_NO_PAD.encode(salted(kdf_of(&extra), "s3cret"));
    let (proof, server) = proof(key.as_bytes(), &message);
    client.send(&format!(r#"[5,"{proof}",{{}}]"#));
    let welcome = client.received().remove(0);
    assert!(welcome.contains(&format!(r#""authextra":{{"scram_server_signature":"{server}"}}"#)), "{welcome}");
}

#[test]
fn a_scram_proof_that_is_wrong_replayed_or_cut_is_refused_as_that_of_nobody() {
    let world = world();
    let mut first = world.connect();
    let extra = challenged(&mut first, &format!(r#""authid":"ann",{SCRAM_HELLO}"#), "wamp-scram");
    let (replayed, _) = answer_scram(&extra, "ann", "s3cret");
    let change: [&dyn Fn(String) -> String; 5] = [
        &|_| replayed.clone(),
        &|right| right.replacen("[5,\"", "[5,\"A", 1),
        &|right| right.replace(r#"{"nonce":"#, r#"{"x":"#),
        &|right| right.replace(r#"{"nonce":"#, r#"{"channel_binding":"tls-unique","nonce":"#),
        &|_| r#"[5,"",{}]"#.to_owned(),
    ];
    for change in change {
        let mut client = world.connect();
        let extra = challenged(&mut client, &format!(r#""authid":"ann",{SCRAM_HELLO}"#), "wamp-scram");
        let (right, _) = answer_scram(&extra, "ann", "s3cret");
        check_aborted(&mut client, &change(right), FAILED);
    }
    for (name, password) in [("ann", "wrong"), ("ghost", "s3cret")] {
        let mut client = world.connect();
        let extra = challenged(&mut client, &format!(r#""authid":"{name}",{SCRAM_HELLO}"#), "wamp-scram");
        check_aborted(&mut client, &answer_scram(&extra, name, password).0, FAILED);
    }
}

#[test]
fn scram_needs_a_nonce_and_a_binding_that_there_is() {
    let world = world();
    for extra in ["{}", r#"{"nonce":""}"#, r#"{"nonce":"a,b"}"#, r#"{"nonce":"a","channel_binding":"tls-unique"}"#] {
        let details = format!(r#""authid":"ann","authmethods":["wamp-scram"],"authextra":{extra}"#);
        check_aborted(&mut world.connect(), &hello(&details), NO_METHOD);
    }
}

#[test]
fn scram_may_be_bound_to_the_tls_channel() {
    let world = world();
    for bound in [[7; 32], [8; 32]] {
        let mut client = world.connect();
        client.gate.peer = tls_peer(None, Some([7; 32]));
        let details = r#""authid":"ann","authmethods":["wamp-scram"],"authextra":{"nonce":"abc","channel_binding":"tls-exporter"}"#;
        let extra = challenged(&mut client, details, "wamp-scram");
        let nonce = text(&extra, "nonce");
        let input = BASE64.encode([&b"p=tls-exporter,,"[..], &bound].concat());
        let message = format!("n=ann,r=abc,r={nonce},s={},i=2,c={input},r={nonce}", text(&extra, "salt"));
        let (proof, _) = proof(&salted(kdf_of(&extra), "s3cret"), &message);
        let data = BASE64.encode(bound);
        let answer =
            format!(r#"[5,"{proof}",{{"nonce":"{nonce}","channel_binding":"tls-exporter","cbind_data":"{data}"}}]"#);
        if bound == [7; 32] {
            client.join(&answer);
        } else {
            check_aborted(&mut client, &answer, FAILED);
        }
    }
}

fn tls_peer(certificate: Option<&str>, exporter: Option<[u8; 32]>) -> Arc<Peer> {
    let certificate =
        certificate.map(|name| Arc::new(Certificate { common_name: Some(name.to_owned()), ..Certificate::default() }));
    let tls = PeerTls { certificate, exporter, ..PeerTls::default() };
    Arc::new(Peer { tls: Some(tls), ..Peer::clone(&Peer::direct(PEER)) })
}

fn cryptosign_hello(authid: &str, pair: &Ed25519KeyPair, more: &str) -> String {
    let key = hex(&public(pair));
    format!(r#"{authid}"authmethods":["cryptosign"],"authextra":{{"pubkey":"{key}"{more}}}"#)
}

fn signed(pair: &Ed25519KeyPair, extra: &Value, channel: [u8; 32]) -> String {
    let challenge = crate::node::users::unhex::<32>(text(extra, "challenge")).unwrap();
    let message: Vec<u8> = challenge.iter().zip(channel).map(|(byte, bound)| byte ^ bound).collect();
    format!(r#"[5,"{}{}",{{}}]"#, hex(pair.sign(&message).as_ref()), hex(&message))
}

#[test]
fn cryptosign_proves_by_a_key_with_or_without_a_name() {
    let world = world();
    for authid in ["", r#""authid":"kim","#] {
        let mut client = world.connect();
        let extra = challenged(&mut client, &cryptosign_hello(authid, &key_pair(1), ""), "cryptosign");
        assert_eq!(extra.get("channel_binding"), Some(&Value::Null));
        client.send(&signed(&key_pair(1), &extra, [0; 32]));
        let welcome = client.received().remove(0);
        assert!(welcome.contains(r#""authid":"kim","authrole":"user","authmethod":"cryptosign""#), "{welcome}");
    }
}

#[test]
fn a_key_that_is_unknown_another_s_or_does_not_sign_this_challenge_is_refused_alike() {
    let world = world();
    let mut first = world.connect();
    let old = challenged(&mut first, &cryptosign_hello("", &key_pair(1), ""), "cryptosign");
    type Sign<'a> = &'a dyn Fn(&Value) -> String;
    let cases: [(&str, u8, Sign<'_>); 6] = [
        ("", 9, &|extra| signed(&key_pair(9), extra, [0; 32])),
        (r#""authid":"kim","#, 9, &|extra| signed(&key_pair(9), extra, [0; 32])),
        (r#""authid":"ghost","#, 1, &|extra| signed(&key_pair(1), extra, [0; 32])),
        ("", 1, &|extra| signed(&key_pair(2), extra, [0; 32])),
        ("", 1, &|_| signed(&key_pair(1), &old, [0; 32])),
        ("", 1, &|extra| signed(&key_pair(1), extra, [0; 32]).replacen("[5,\"", "[5,\"0", 1)),
    ];
    for (authid, seed, answer) in cases {
        let mut client = world.connect();
        let extra = challenged(&mut client, &cryptosign_hello(authid, &key_pair(seed), ""), "cryptosign");
        check_aborted(&mut client, &answer(&extra), FAILED);
    }
    for key in ["", "zz", &"0".repeat(62)] {
        let details = format!(r#""authid":"kim","authmethods":["cryptosign"],"authextra":{{"pubkey":"{key}"}}"#);
        check_aborted(&mut world.connect(), &hello(&details), NO_METHOD);
    }
}

#[test]
fn cryptosign_is_bound_to_the_tls_channel_where_that_can_be() {
    let world = world();
    let details = cryptosign_hello("", &key_pair(1), r#","channel_binding":"tls-exporter""#);
    for (channel, joins) in [([7; 32], true), ([0; 32], false)] {
        let mut client = world.connect();
        client.gate.peer = tls_peer(None, Some([7; 32]));
        let extra = challenged(&mut client, &details, "cryptosign");
        assert_eq!(text(&extra, "channel_binding"), "tls-exporter");
        let answer = signed(&key_pair(1), &extra, channel);
        if joins { client.join(&answer) } else { check_aborted(&mut client, &answer, FAILED) }
    }
    let mut plain = world.connect();
    let extra = challenged(&mut plain, &details, "cryptosign");
    assert_eq!(extra.get("channel_binding"), Some(&Value::Null), "the client decides whether it goes on");
    plain.join(&signed(&key_pair(1), &extra, [0; 32]));
}

#[test]
fn a_certificate_proves_whom_it_names() {
    let world = world();
    let connect = |name: Option<&str>| {
        let mut client = world.connect();
        client.gate.peer = tls_peer(name, None);
        client
    };
    let mut tom = connect(Some("press-17"));
    tom.send(&hello(r#""authmethods":["tls"]"#));
    assert!(tom.received()[0].contains(r#""authid":"tom","authrole":"user","authmethod":"tls""#));
    connect(Some("press-17")).join(&hello(r#""authmethods":["tls"],"authid":"tom""#));
    check_aborted(&mut connect(Some("press-17")), &hello(r#""authmethods":["tls"],"authid":"kim""#), FAILED);
    check_aborted(&mut connect(Some("press-18")), &hello(r#""authmethods":["tls"]"#), FAILED);
    check_aborted(&mut connect(None), &hello(r#""authmethods":["tls"]"#), NO_METHOD);
}

#[test]
fn who_has_to_prove_two_things_is_asked_for_both() {
    let world = world();
    let methods = |list: &str| {
        let key = hex(&public(&key_pair(2)));
        format!(r#""authid":"two","authmethods":[{list}],"authextra":{{"pubkey":"{key}"}}"#)
    };
    let both = methods(r#""cryptosign","ticket""#);
    let after_ticket = |ticket: &str| {
        let mut client = world.connect();
        challenged(&mut client, &both, "ticket");
        client.send(&format!(r#"[5,"{ticket}",{{}}]"#));
        (client.received().remove(0), client)
    };
    let (asked, mut client) = after_ticket("t");
    let asked = Value::decode(Format::Json, asked.as_bytes()).unwrap();
    let asked = asked.as_list().unwrap();
    assert_eq!((asked[0].as_u64(), asked[1].as_str()), (Some(4), Some("cryptosign")));
    client.send(&signed(&key_pair(2), &asked[2], [0; 32]));
    let welcome = client.received().remove(0);
    assert!(welcome.contains(r#""authid":"two","authrole":"user","authmethod":"cryptosign""#), "{welcome}");

    let (aborted, wrong) = after_ticket("wrong");
    assert!(wrong.closed && aborted.contains(FAILED), "{aborted}");
    let (_, mut other) = after_ticket("t");
    check_aborted(&mut other, r#"[5,"00",{}]"#, FAILED);
    // One of the two is not enough, whichever it is.
    check_aborted(&mut world.connect(), &hello(&methods(r#""cryptosign""#)), NO_METHOD);
    let mut half = world.connect();
    challenged(&mut half, &methods(r#""ticket""#), "ticket");
    check_aborted(&mut half, r#"[5,"t",{}]"#, NO_METHOD);
}

#[test]
fn a_cookie_stands_for_who_proved_it_before_in_that_realm() {
    let world = Setup {
        limits: Limits { http_cookie_s: 60, ..Limits::default() },
        users: vec![entry(
            "kim",
            Credentials { cryptosign_keys: vec![public(&key_pair(1))], ..Credentials::default() },
        )],
        roles: vec![Role::unrestricted("user")],
        anonymous: false,
        auto_realms: true,
        ..Setup::default()
    }
    .build();
    let (carried, told) = world.node.cookies.open(std::iter::empty(), NOW_MS).unwrap();
    let told = told.unwrap();
    let connect = |carried| {
        let mut client = world.connect();
        client.gate.access.cookie = Some(carried);
        client
    };
    let by_cookie = hello(r#""authmethods":["cookie"]"#);
    check_aborted(&mut connect(carried), &by_cookie, NO_METHOD);
    let mut first = connect(carried);
    let both = cryptosign_hello("", &key_pair(1), "").replace(r#"["crypto"#, r#"["cookie","crypto"#);
    let extra = challenged(&mut first, &both, "cryptosign");
    first.join(&signed(&key_pair(1), &extra, [0; 32]));
    let (again, _) = world.node.cookies.open([&*told].into_iter(), NOW_MS).unwrap();
    let mut back = connect(again);
    back.send(&by_cookie);
    assert!(back.received()[0].contains(r#""authid":"kim","authrole":"user","authmethod":"cookie""#));
    check_aborted(&mut connect(again), &hello(r#""authmethods":["cookie"],"authid":"tom""#), NO_METHOD);
    let elsewhere = by_cookie.replace("realm1", "realm2");
    check_aborted(&mut connect(again), &elsewhere, NO_METHOD);
}

/// Knows one user elsewhere, and notes what it was asked.
#[derive(Default)]
struct Elsewhere {
    asked: Mutex<Vec<String>>,
}

impl Decider for Elsewhere {
    fn offers(&self, method: &str, _: Option<&str>) -> bool {
        matches!(method, "ticket" | "wampcra")
    }

    fn decide(&self, evidence: &Evidence, known: bool) -> Option<Check> {
        if known {
            return None;
        }
        self.asked.lock().unwrap().push(format!("{} {}", evidence.method, evidence.name));
        let user = User { provider: "dynamic", ..User::new(&*evidence.name, "user", None) };
        let answer = match evidence.method {
            "ticket" => Answer::of((evidence.secret == b"t").then(|| Arc::new(user)), "ticket"),
            _ => {
                let wampcra = Some(WampCra { key: "k".to_owned(), salted: None });
                Answer::Known(Arc::new(Account::elsewhere(user, Credentials { wampcra, ..Credentials::default() })))
            }
        };
        Some(Check::Blocking(Box::new(|| answer)))
    }
}

#[test]
fn whom_the_configuration_does_not_have_somebody_elsewhere_decides_about() {
    let world = world();
    let elsewhere = Arc::new(Elsewhere::default());
    world.node.deciders.add(elsewhere.clone());
    let by = |method: &str| format!(r#""authid":"eve","authmethods":["{method}"]"#);
    for (ticket, joins) in [("t", true), ("wrong", false)] {
        let mut client = world.connect();
        challenged(&mut client, &by("ticket"), "ticket");
        client.send(&format!(r#"[5,"{ticket}",{{}}]"#));
        let told = client.received().remove(0);
        assert_eq!(told.contains(r#""authprovider":"dynamic""#), joins, "{told}");
        assert_eq!(told.contains(FAILED), !joins, "{told}");
    }
    for (key, joins) in [("k", true), ("wrong", false)] {
        let mut client = world.connect();
        let extra = challenged(&mut client, &by("wampcra"), "wampcra");
        client.send(&format!(r#"[5,"{}",{{}}]"#, sign(key, text(&extra, "challenge"))));
        let told = client.received().remove(0);
        assert_eq!(told.contains(r#""authmethod":"wampcra","authprovider":"dynamic""#), joins, "{told}");
    }
    assert_eq!(*elsewhere.asked.lock().unwrap(), ["ticket eve", "ticket eve", "wampcra eve", "wampcra eve"]);
    // Not about users that there are.
    let mut client = world.connect();
    challenged(&mut client, r#""authid":"two","authmethods":["ticket","cryptosign"]"#, "ticket");
    assert_eq!(elsewhere.asked.lock().unwrap().len(), 4);
}

#[test]
fn what_is_prepared_is_what_clients_prepare() {
    // RFC 4013, 3: soft hyphens vanish, compatibility characters become plain ones.
    assert_eq!(credentials::prepared("I\u{ad}X"), "IX");
    assert_eq!(credentials::prepared("\u{2168}"), "IX");
    assert_eq!(credentials::prepared("a\u{7}b"), "a\u{7}b");
}
