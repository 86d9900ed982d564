//! Limits of connections, logins and rates.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::mqtt::{BAD_PASSWORD, Client, QUOTA_EXCEEDED, SUCCESS, TOO_FAST, publish};

/// Users alice and bob, whose password is "secret".
const USERS: &str =
    "[[user]]\nname = \"alice\"\npassword_hash = \"HASH\"\n[[user]]\nname = \"bob\"\npassword_hash = \"HASH\"\n";

fn start(limits: &str, more: &str) -> Broker {
    let listen = "anonymous = true\n[listen]\nmqtt = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nrawsocket = \"off\"\n";
    Broker::start(&format!("{listen}[limits]\n{limits}\n{more}"), |_| ())
}

fn client(broker: &Broker) -> Client<std::net::TcpStream> {
    Client::new(broker.connect("mqtt"))
}

fn users() -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version, password_hash::SaltString};
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::encode_b64(b"salt of a test").unwrap();
    let hash = argon2.hash_password(b"secret", &salt).unwrap().to_string();
    USERS.replace("HASH", &hash)
}

#[test]
fn an_address_has_as_many_connections_as_it_may() {
    // The one that asks for metrics counts, too.
    let broker = start("connections_per_address_max = 3", "");
    let (mut first, mut second) = (client(&broker), client(&broker));
    assert_eq!(first.join("a", None).unwrap(), SUCCESS);
    assert_eq!(second.join("b", None).unwrap(), SUCCESS);
    let mut third = client(&broker);
    assert_eq!(third.join("c", None).unwrap(), SUCCESS);
    assert!(client(&broker).join("d", None).is_err());
    drop(third);
    // Until it is noticed that the third is gone.
    let until = Instant::now() + crate::broker::PATIENCE;
    loop {
        let mut again = client(&broker);
        if again.join("e", None).is_ok() {
            break;
        }
        assert!(Instant::now() < until);
    }
    first.ping().expect("who is there stays");
    drop((first, second));
    crate::broker::wait_until("the metrics tell it", || {
        std::panic::catch_unwind(|| broker.limited("connections_per_address") >= 1.0).unwrap_or(false)
    });
}

#[test]
fn a_user_has_as_many_connections_as_it_may_and_may_come_again() {
    let broker = start("connections_per_user_max = 2", &users());
    let login = Some(("alice", "secret"));
    let mut kept: Vec<_> = ["a", "b"].map(|_| client(&broker)).into();
    assert_eq!(kept[0].join("a", login).unwrap(), SUCCESS);
    assert_eq!(kept[1].join("b", login).unwrap(), SUCCESS);
    assert_eq!(client(&broker).join("c", login).unwrap(), QUOTA_EXCEEDED);
    assert_eq!(client(&broker).join("c", Some(("bob", "secret"))).unwrap(), SUCCESS, "others have their own");
    assert_eq!(client(&broker).join("d", None).unwrap(), SUCCESS, "who is nobody is not counted");
    assert_eq!(client(&broker).join("b", login).unwrap(), SUCCESS, "it takes its own place");
    assert_eq!(broker.limited("connections_per_user"), 1.0);
}

#[test]
fn who_sends_too_fast_waits_and_loses_nothing() {
    let broker = start("messages_per_second_max = 100", "");
    let mut subscriber = client(&broker);
    assert_eq!(subscriber.join("sub", None).unwrap(), SUCCESS);
    assert_eq!(subscriber.subscribe("t"), SUCCESS);
    let mut fast = client(&broker);
    // While it is not read it cannot be blamed for its silence.
    fast.keep_alive_s = 1;
    assert_eq!(fast.join("fast", None).unwrap(), SUCCESS);
    let began = Instant::now();
    let all: Vec<u8> = (0..400).flat_map(|_| publish("t", b"0123456789", false, 0)).collect();
    fast.socket.write_all(&all).unwrap();
    fast.ping().expect("it stays connected");
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(subscriber.ping().unwrap(), 400);
    assert!(broker.limited("rate_paused") >= 1.0);
}

#[test]
fn who_sends_too_many_bytes_waits_too() {
    let broker = start("bytes_per_second_max = \"64 KiB\"", "");
    let mut fast = client(&broker);
    assert_eq!(fast.join("fast", None).unwrap(), SUCCESS);
    let began = Instant::now();
    for _ in 0..4 {
        fast.socket.write_all(&publish("t", &[0; 64 * 1024], false, 0)).unwrap();
    }
    fast.ping().expect("it stays connected");
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn who_sends_too_fast_may_be_disconnected_instead() {
    let broker = start("messages_per_second_max = 100\nrate_exceeded = \"disconnect\"", "");
    let mut fast = client(&broker);
    assert_eq!(fast.join("fast", None).unwrap(), SUCCESS);
    let all: Vec<u8> = (0..400).flat_map(|_| publish("t", b"0123456789", false, 0)).collect();
    // It may be cut while it is still sending.
    let _ = fast.socket.write_all(&all);
    let (first, body) = fast.read().expect("it is told why");
    assert_eq!((first, body[0]), (0xe0, TOO_FAST));
    assert_eq!(broker.limited("rate_disconnected"), 1.0);
}

#[test]
fn wrong_passwords_make_the_same_user_of_the_same_address_wait_and_nobody_else() {
    let broker = start("auth_delay_s_max = 10", &users());
    let attempt = |user: &str, password: &str| client(&broker).join(user, Some((user, password))).unwrap();
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(attempt("alice", "wrong"), BAD_PASSWORD);
    }
    assert_eq!(broker.limited("auth_delayed"), 0.0);
    // The turns are ever further apart: at last one is further away than the next attempt, however slow this machine is.
    let waited = (0..10).any(|_| {
        assert_eq!(attempt("alice", "wrong"), BAD_PASSWORD);
        broker.limited("auth_delayed") > 0.0
    });
    assert!(waited && began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    let delayed = broker.limited("auth_delayed");
    assert_eq!(attempt("bob", "secret"), SUCCESS);
    assert_eq!(broker.limited("auth_delayed"), delayed, "bob did not wait");
    assert_eq!(attempt("alice", "secret"), SUCCESS, "alice comes in when it is her turn");
    let delayed = broker.limited("auth_delayed");
    assert_eq!(attempt("alice", "wrong"), BAD_PASSWORD);
    assert_eq!(broker.limited("auth_delayed"), delayed, "and all is forgotten");
}
