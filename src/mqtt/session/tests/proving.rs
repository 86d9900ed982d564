//! Enhanced authentication (MQTT 5, 4.12), client certificates, and proofs that expire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256};

use super::*;
use crate::mqtt::codec::{Auth, ConnectProperties};
use crate::node::authenticate::{Answer, Decider, Evidence};
use crate::node::users::{Kdf, Method, Scram, User, mac};
use crate::types::peer::{Certificate, Peer as Other, PeerTls};

const METHOD: &str = "SCRAM-SHA-256";
const SALT: &[u8] = b"salt of a test..";

fn entry(name: &str, credentials: Credentials) -> UserEntry {
    UserEntry { credentials, ..UserEntry::new(name, "user") }
}

fn scram(password: &str) -> Credentials {
    let scram = vec![Scram::derive(Kdf::Pbkdf2, SALT, 4, password).unwrap()];
    Credentials { scram, ..Credentials::default() }
}

/// Users ann and ben (SCRAM), tom (certificate), two (SCRAM and certificate).
fn world() -> World {
    let certificates = |name: &str| Credentials { certificates: vec![format!("cn:{name}")], ..Credentials::default() };
    let two = Credentials { require: vec![Method::Scram, Method::Tls], ..scram("t") };
    Setup {
        users: vec![
            entry("ann", scram("a")),
            entry("ben", scram("b")),
            entry("tom", certificates("press-17")),
            entry("two", Credentials { certificates: vec!["cn:two".to_owned()], ..two }),
        ],
        settings: Settings { anonymous: false, ..Settings::default() },
        ..Setup::limited(|limits| limits.auth_delay_s_max = 0)
    }
    .build()
}

fn enhanced<'a>(client_id: &'a str, method: &'a str, first: &'a str) -> Connect<'a> {
    let properties = ConnectProperties {
        authentication_method: Some(method),
        authentication_data: Some(first.as_bytes()),
        ..ConnectProperties::default()
    };
    Connect { properties, ..v5(client_id) }
}

/// What the AUTH says that the client is sent: reason and data.
fn auth_of(peer: &mut Peer) -> (ReasonCode, String) {
    let bytes = peer.bytes();
    match decode(frames(&bytes)[0], Level::V5, Side::Client).unwrap() {
        Packet::Auth(auth) => {
            assert_eq!(auth.method, Some(METHOD));
            (auth.reason, String::from_utf8(auth.data.unwrap().to_vec()).unwrap())
        }
        other => panic!("no AUTH: {other:?}"),
    }
}

/// The last message of the client, and what the broker must answer with.
fn last(first_bare: &str, server_first: &str, password: &str) -> (String, String) {
    let nonce = server_first.split(',').next().unwrap();
    let without = format!("c=biws,{nonce}");
    let message = format!("{first_bare},{server_first},{without}");
    let mut salted = [0; 32];
    pbkdf2_hmac::<Sha256>(password.as_bytes(), SALT, 4, &mut salted);
    let client = mac(&salted, &[b"Client Key"]);
    let signature = mac(&Sha256::digest(client), &[message.as_bytes()]);
    let proof: Vec<u8> = client.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
    let server = mac(&mac(&salted, &[b"Server Key"]), &[message.as_bytes()]);
    (format!("{without},p={}", BASE64.encode(proof)), format!("v={}", BASE64.encode(server)))
}

fn say(peer: &mut Peer, reason: ReasonCode, data: &str) {
    peer.send_packet(&Packet::Auth(Auth::new(reason, METHOD, Some(data.as_bytes()))));
}

/// A client that has sent its proof; and what the broker is to prove itself by.
fn proved(world: &World, client_id: &str, name: &str, password: &str) -> (Peer, String) {
    let bare = format!("n={name},r=fyko");
    let mut peer = world.connect(enhanced(client_id, METHOD, &format!("n,,{bare}")));
    let (reason, first) = auth_of(&mut peer);
    assert_eq!(reason, ReasonCode::ContinueAuthentication);
    assert!(first.starts_with("r=fyko"), "{first}");
    let (last, server) = last(&bare, &first, password);
    say(&mut peer, ReasonCode::ContinueAuthentication, &last);
    (peer, server)
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-5]
#[test]
fn scram_lets_in_and_the_broker_proves_itself() {
    let world = world();
    let (mut peer, server) = proved(&world, "c", "ann", "a");
    let told = connack_properties(&mut peer, |properties| {
        (properties.authentication_method.map(str::to_owned), properties.authentication_data.map(<[u8]>::to_vec))
    });
    assert_eq!(told, (Some(METHOD.to_owned()), Some(server.into_bytes())));
    let identity = world.node.realms()[0].sessions()[0].identity.clone();
    assert_eq!((&*identity.authid, identity.authmethod), ("ann", "scram"));
}

#[test]
fn a_scram_proof_that_is_wrong_cut_or_out_of_turn_is_refused() {
    let world = world();
    for (name, password) in [("ann", "wrong"), ("ghost", "a"), ("tom", "a")] {
        let (mut peer, _) = proved(&world, "c", name, password);
        assert_eq!(peer.hear(), ["connack NotAuthorized", "closed"], "{name}");
    }
    for first in
        ["", "n,,", "n,,n=ann", "n,,r=x,n=ann", "p=tls-exporter,,n=ann,r=x", "n,a=x,n=ann,r=x", "n,,n=a=ZZ,r=x"]
    {
        let mut peer = world.connect(enhanced("c", METHOD, first));
        assert_eq!(peer.hear(), ["connack NotAuthorized", "closed"], "{first}");
    }
    for last in ["", "c=biws", "c=biws,r=fyko,p=AAAA", "c=eSws,r=fyko,p=AAAA"] {
        let mut peer = world.connect(enhanced("c", METHOD, "n,,n=ann,r=fyko"));
        auth_of(&mut peer);
        say(&mut peer, ReasonCode::ContinueAuthentication, last);
        assert_eq!(peer.hear(), ["connack NotAuthorized", "closed"], "{last}");
    }
    let mut peer = world.connect(enhanced("c", METHOD, "n,,n=ann,r=fyko"));
    let (_, first) = auth_of(&mut peer);
    say(&mut peer, ReasonCode::ReAuthenticate, &last("n=ann,r=fyko", &first, "a").0);
    assert_eq!(peer.hear(), ["connack NotAuthorized", "closed"]);
}

#[test]
fn a_proof_that_was_heard_before_is_worthless() {
    let world = world();
    let mut peer = world.connect(enhanced("c", METHOD, "n,,n=ann,r=fyko"));
    let (_, first) = auth_of(&mut peer);
    let (replayed, _) = last("n=ann,r=fyko", &first, "a");
    let mut thief = world.connect(enhanced("d", METHOD, "n,,n=ann,r=fyko"));
    auth_of(&mut thief);
    say(&mut thief, ReasonCode::ContinueAuthentication, &replayed);
    assert_eq!(thief.hear(), ["connack NotAuthorized", "closed"]);
    say(&mut peer, ReasonCode::ContinueAuthentication, &replayed);
    assert_eq!(peer.hear(), ["connack Success"]);
}

/// [MQTT-3.1.2-30]
#[test]
fn nothing_but_auth_may_come_before_connack() {
    let world = world();
    let mut peer = world.connect(enhanced("c", METHOD, "n,,n=ann,r=fyko"));
    auth_of(&mut peer);
    peer.feed(b"\xc0\x00");
    assert_eq!(peer.hear(), ["connack ProtocolError (AUTH was awaited)", "closed"]);
}

/// MQTT 5, 4.12.1
#[test]
fn who_is_connected_may_prove_once_more_who_it_is() {
    let world = world();
    let (mut peer, _) = proved(&world, "c", "ann", "a");
    assert_eq!(peer.hear(), ["connack Success"]);
    let again = |peer: &mut Peer, name: &str, password: &str| {
        let bare = format!("n={name},r=other");
        say(peer, ReasonCode::ReAuthenticate, &format!("n,,{bare}"));
        let (_, first) = auth_of(peer);
        let (last, server) = last(&bare, &first, password);
        say(peer, ReasonCode::ContinueAuthentication, &last);
        server
    };
    let server = again(&mut peer, "ann", "a");
    assert_eq!(auth_of(&mut peer), (ReasonCode::Success, server));
    peer.publish("a", "x", Q1);
    assert_eq!(peer.hear(), ["puback #1 NoMatchingSubscribers"]);
    again(&mut peer, "ben", "b");
    let refused = "disconnect NotAuthorized (the name or its secret is wrong)";
    assert_eq!(peer.hear(), [refused, "closed"], "nobody becomes somebody else");
    let (mut peer, _) = proved(&world, "c", "ann", "a");
    peer.hear();
    again(&mut peer, "ann", "wrong");
    assert_eq!(peer.hear(), [refused, "closed"]);
}

#[test]
fn auth_of_a_session_is_refused_out_of_turn_or_by_another_method() {
    let world = world();
    for (reason, method) in [(ReasonCode::ContinueAuthentication, METHOD), (ReasonCode::ReAuthenticate, "SCRAM-SHA-1")]
    {
        let (mut peer, _) = proved(&world, "c", "ann", "a");
        peer.hear();
        peer.send_packet(&Packet::Auth(Auth::new(reason, method, Some(b"n,,n=ann,r=x"))));
        assert!(peer.hear()[0].starts_with("disconnect ProtocolError"));
    }
}

fn certified(world: &World, name: Option<&str>, connect: Connect<'_>) -> Peer {
    let certificate =
        name.map(|name| Arc::new(Certificate { common_name: Some(name.to_owned()), ..Certificate::default() }));
    let mut peer = world.open(connect.level);
    let tls = Some(PeerTls { certificate, ..PeerTls::default() });
    peer.gate.peer = Arc::new(Other { tls, ..Other::clone(&peer.gate.peer) });
    let mut frame = Vec::new();
    connect.encode(&mut frame).unwrap();
    peer.feed(&frame);
    peer
}

#[test]
fn a_certificate_is_as_good_as_a_user_name() {
    let world = world();
    assert_eq!(certified(&world, Some("press-17"), v4("c")).hear(), ["connack Success"]);
    for name in [None, Some("press-18")] {
        assert_eq!(certified(&world, name, v5("d")).hear(), ["connack NotAuthorized", "closed"]);
    }
}

#[test]
fn who_has_to_prove_two_things_needs_its_certificate_beside_the_other() {
    let world = world();
    for (name, heard) in
        [(Some("two"), &["connack Success"][..]), (Some("press-17"), &["connack NotAuthorized", "closed"])]
    {
        let mut peer = certified(&world, name, enhanced("c", METHOD, "n,,n=two,r=fyko"));
        let (_, first) = auth_of(&mut peer);
        say(&mut peer, ReasonCode::ContinueAuthentication, &last("n=two,r=fyko", &first, "t").0);
        assert_eq!(peer.hear(), heard);
    }
    assert_eq!(certified(&world, Some("two"), v5("d")).hear(), ["connack NotAuthorized", "closed"]);
}

/// Lets everybody in for a minute.
struct Minute;

impl Decider for Minute {
    fn offers(&self, _: &str, _: Option<&str>) -> bool {
        true
    }

    fn decide(&self, evidence: &Evidence, _: bool) -> Option<Check> {
        let user =
            User { provider: "jwt", expires_s: Some(NOW_MS / 1000 + 60), ..User::new(&*evidence.name, "user", None) };
        Some(Check::Blocking(Box::new(|| Answer::of(Some(Arc::new(user)), "jwt"))))
    }
}

#[test]
fn a_session_ends_when_what_it_was_opened_with_expires() {
    let world = world();
    world.node.deciders.add(Arc::new(Minute));
    let connect = Connect { user_name: Some("eve"), password: Some(b"x"), keep_alive_s: 0, ..v5("c") };
    let mut peer = world.connect(connect);
    peer.verify();
    assert_eq!(peer.hear(), ["connack Success"]);
    world.now_ms.store(NOW_MS / 1000 * 1000 + 59_000, Ordering::Relaxed);
    assert!(peer.hear().is_empty());
    world.now_ms.store(NOW_MS / 1000 * 1000 + 60_000, Ordering::Relaxed);
    assert_eq!(peer.hear(), ["disconnect NotAuthorized (the token has expired)", "closed"]);
}
