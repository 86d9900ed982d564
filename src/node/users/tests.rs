//! Who comes in with what, and into which realm.

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::*;

/// A hash that costs next to nothing.
fn hash(password: &str) -> String {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::encode_b64(b"salt of a test").unwrap();
    argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}

fn entry(name: &str) -> UserEntry {
    UserEntry::new(name, "user")
}

fn with_password(name: &str, password: &str) -> UserEntry {
    let credentials = Credentials { password_hash: Some(hash(password)), ..Credentials::default() };
    UserEntry { credentials, ..entry(name) }
}

fn with_key(name: &str, key: &str, salt: Option<&str>) -> UserEntry {
    let salted = salt.map(|salt| Salted { salt: salt.into(), iterations: 1000, keylen: 32 });
    let wampcra = Some(WampCra { key: key.into(), salted });
    UserEntry { credentials: Credentials { wampcra, ..Credentials::default() }, ..entry(name) }
}

fn sign(key: &str, challenge: &str) -> String {
    BASE64.encode(mac(key.as_bytes(), &[challenge.as_bytes()]))
}

#[test]
fn only_the_right_password_of_a_known_user_is_accepted() {
    let users = Users::new([with_password("alice", "s3cret"), with_password("bob", "other"), entry("carol")]).unwrap();
    assert_eq!(users.check_password("alice", b"s3cret").map(|user| user.name.to_string()), Some("alice".to_owned()));
    for (name, password) in [
        ("alice", "other"),
        ("alice", ""),
        ("alice", "s3cret "),
        ("bob", "s3cret"),
        ("carol", ""),
        ("nobody", "s3cret"),
        ("", ""),
    ] {
        assert_eq!(users.check_password(name, password.as_bytes()), None, "{name} {password}");
    }
}

#[test]
fn a_password_is_bytes_and_need_not_be_text() {
    let users = Users::new([with_password("alice", "s3cret")]).unwrap();
    assert_eq!(users.check_password("alice", b"\xff\x00"), None);
}

#[test]
fn only_right_passwords_are_recalled_and_for_their_user_alone() {
    let users = Users::new([with_password("alice", "s3cret"), with_password("bob", "s3cret")]).unwrap();
    assert_eq!(users.recall("alice", b"s3cret"), None, "nothing was checked yet");
    let right = users.check_password("alice", b"s3cret");
    assert!(right.is_some());
    users.check_password("bob", b"wrong");
    assert_eq!(users.recall("alice", b"s3cret"), right);
    for (name, password) in [("alice", "s3cre"), ("bob", "s3cret"), ("bob", "wrong"), ("alices", "3cret")] {
        assert_eq!(users.recall(name, password.as_bytes()), None, "{name} {password}");
    }
}

#[test]
fn recall_forgets_the_oldest_first_and_stays_bounded() {
    let recall = Recall::new([7; 32]);
    let user = Arc::new(User::anonymous());
    for i in 0..=password::RECALL_MAX {
        recall.put("u", &i.to_le_bytes(), user.clone());
        recall.put("u", &i.to_le_bytes(), user.clone());
    }
    assert_eq!(recall.get("u", &0usize.to_le_bytes()), None);
    assert!(recall.get("u", &1usize.to_le_bytes()).is_some());
    assert_eq!(recall.count(), password::RECALL_MAX);
}

#[test]
fn a_name_nobody_has_is_checked_against_a_hash_of_the_same_cost() {
    let users = Users::new([with_password("alice", "s3cret")]).unwrap();
    let cost = |text: &str| text.split('$').nth(3).map(str::to_owned);
    assert_eq!(cost(users.table().dummy.as_str()), cost(&hash("x")));
    assert_eq!(
        Users::new([]).unwrap().check_password("alice", b""),
        None,
        "without users there is a hash to check too"
    );
}

#[test]
fn hashes_that_are_not_sensible_argon2id_are_refused() {
    let cases = [
        ("", "is no PHC string ($argon2id$...)"),
        ("plain", "is no PHC string ($argon2id$...)"),
        ("$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "is not argon2id"),
        ("$2b$12$abcdefghijklmnopqrstuv", "is no PHC string ($argon2id$...)"),
        ("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ", "lacks its salt or its hash"),
        (
            "$argon2id$v=19$m=4000000,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "costs too much: m may be up to 262144, t up to 32",
        ),
        (
            "$argon2id$v=19$m=8,t=1000,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "costs too much: m may be up to 262144, t up to 32",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(check_hash(text), Err(expected.to_owned()), "{text}");
        let mut entry = entry("alice");
        entry.credentials.password_hash = Some(text.into());
        let error = Users::new([entry]).unwrap_err();
        assert_eq!(error.to_string(), format!("the password hash of user \"alice\" {expected}"));
    }
    assert_eq!(check_hash(&hash("x")), Ok(()));
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let error = Users::new([entry("alice"), entry("bob"), entry("alice")]).unwrap_err();
    assert_eq!(error, UserError::Twice { name: "alice".into() });
}

#[test]
fn a_key_is_derived_as_rfc_7914_shows() {
    let salted = Salted { salt: "salt".into(), iterations: 1, keylen: 64 };
    let derived = salted.derive("passwd");
    assert_eq!(BASE64.decode(&derived).map(|key| key.len()), Ok(64));
    let first: String = BASE64.decode(derived).unwrap()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(first, "55ac046e56e3089f");
}

#[test]
fn a_client_that_derives_its_key_from_salt_and_secret_is_accepted() {
    let salted = Salted { salt: "salt123".into(), iterations: 1000, keylen: 32 };
    let users = Users::new([with_key("peter", &salted.derive("secret2"), Some("salt123"))]).unwrap();
    let challenge = r#"{"authid":"peter","session":251164}"#;
    let told = users.wampcra_salt("peter").unwrap();
    assert_eq!(told, salted);
    let user =
        users.check_wampcra(users.account("peter").as_deref(), challenge, &sign(&told.derive("secret2"), challenge));
    assert_eq!(user.map(|user| user.name.to_string()), Some("peter".to_owned()));
    assert_eq!(users.check_wampcra(users.account("peter").as_deref(), challenge, &sign("secret2", challenge)), None);
}

#[test]
fn wrong_wampcra_signatures_are_refused() {
    let users = Users::new([with_key("alice", "key", None), with_password("bob", "key")]).unwrap();
    let right = sign("key", "challenge");
    assert!(users.check_wampcra(users.account("alice").as_deref(), "challenge", &right).is_some());
    for (name, challenge, signature) in [
        ("alice", "other", right.as_str()),
        ("alice", "challenge", ""),
        ("alice", "challenge", "no base64!"),
        ("alice", "challenge", &right[..right.len() - 4]),
        ("alice", "challenge", &sign("", "challenge")),
        ("bob", "challenge", &right),
        ("nobody", "challenge", &right),
    ] {
        assert_eq!(
            users.check_wampcra(users.account(name).as_deref(), challenge, signature),
            None,
            "{name} {challenge} {signature}"
        );
    }
}

#[test]
fn a_name_nobody_has_is_challenged_like_a_user() {
    let users = Users::new([with_key("alice", "key", Some("0123456789abcdef")), with_password("bob", "x")]).unwrap();
    assert!(users.offers("alice", Method::WampCra) && !users.offers("alice", Method::Password));
    assert!(users.offers("bob", Method::Password) && !users.offers("bob", Method::WampCra));
    assert!(users.offers("nobody", Method::WampCra) && users.offers("nobody", Method::Password));
    let salt = users.wampcra_salt("nobody").unwrap();
    assert_eq!((salt.iterations, salt.keylen), (1000, 32));
    assert_eq!(users.wampcra_salt("nobody"), Some(salt.clone()), "the same each time");
    assert_ne!(users.wampcra_salt("nobody2"), Some(salt), "another for another name");
    assert!(!Users::new([]).unwrap().offers("nobody", Method::WampCra));
}

#[test]
fn an_mqtt_user_name_may_name_a_realm_after_its_last_at() {
    let users = Users::new([entry("alice"), entry("bob@example.org")]).unwrap();
    let cases = [
        ("alice", ("alice", None)),
        ("alice@shop", ("alice", Some("shop"))),
        ("bob@example.org", ("bob@example.org", None)),
        ("bob@example.org@shop", ("bob@example.org", Some("shop"))),
        ("nobody@a@b", ("nobody@a", Some("b"))),
        ("alice@", ("alice@", None)),
        ("@shop", ("", Some("shop"))),
    ];
    for (username, expected) in cases {
        assert_eq!(users.split_name(username), expected, "{username}");
    }
}

#[test]
fn the_realm_of_an_mqtt_client_is_one_that_is_open_to_it() {
    // Realms of the entry, asked for, listener's; the default is `d`.
    type Case<'a> = (Option<&'a [&'a str]>, Option<&'a str>, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 13] = [
        (None, None, None, Some("d")),
        (None, None, Some("l"), Some("l")),
        (None, Some("x"), Some("l"), Some("x")),
        (Some(&["a"]), None, Some("l"), Some("a")),
        (Some(&["a"]), Some("a"), None, Some("a")),
        (Some(&["a"]), Some("d"), None, None),
        (Some(&["a", "b"]), Some("b"), Some("a"), Some("b")),
        (Some(&["a", "b"]), Some("c"), None, None),
        (Some(&["a", "b"]), None, Some("b"), Some("b")),
        (Some(&["a", "b"]), None, Some("l"), Some("a")),
        (Some(&["a", "d"]), None, Some("l"), Some("d")),
        (Some(&["a", "d"]), None, None, Some("d")),
        (Some(&[]), None, Some("l"), None),
    ];
    for (realms, asked, listener, expected) in cases {
        let realms = realms.map(|realms| realms.iter().map(|name| Arc::from(*name)).collect());
        let user = User { realms, ..User::anonymous() };
        assert_eq!(user.mqtt_realm(asked, listener, "d"), expected, "{user:?} {asked:?} {listener:?}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut entry = with_key("alice", "KEY", Some("salt"));
    entry.credentials.password_hash = Some("$argon2id$HASH".into());
    let shown = format!("{entry:?} {:?}", entry.credentials.wampcra);
    assert!(shown.contains("alice") && !shown.contains("HASH") && !shown.contains("KEY"), "{shown}");
}

#[test]
fn many_may_ask_at_once() {
    let users = Users::new([with_password("alice", "s3cret")]).unwrap();
    std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| users.check_password("alice", b"s3cret").is_some());
        let asking: Vec<_> = (0..16).map(ask).collect();
        assert!(asking.into_iter().all(|thread| thread.join().unwrap()));
    });
}

#[test]
fn users_are_replaced_as_a_whole_and_nothing_of_the_old_is_remembered() {
    let users =
        Users::new([with_password("alice", "a"), with_password("bob", "b"), with_password("carol", "c")]).unwrap();
    assert!(users.check_password("alice", b"a").is_some() && users.recall("alice", b"a").is_some());
    let bob = with_password("bob", "other");
    let carol = UserEntry { role: "boss".into(), ..with_password("carol", "c") };
    let mut gone: Vec<_> = users.replace([bob, carol, entry("dave")]).unwrap().into_iter().collect();
    gone.sort();
    assert_eq!(gone, ["alice".into(), "bob".into(), "carol".into()] as [Arc<str>; 3]);
    assert!(users.recall("alice", b"a").is_none() && users.check_password("alice", b"a").is_none());
    assert!(users.check_password("bob", b"b").is_none() && users.check_password("bob", b"other").is_some());
    assert_eq!(&*users.check_password("carol", b"c").unwrap().role, "boss");
    assert!(users.replace([entry("x"), entry("x")]).is_err());
    assert!(users.check_password("bob", b"other").is_some(), "what is wrong changes nothing");
}

#[test]
fn hashes_of_mosquitto_passwd_are_accepted() {
    // Made by mosquitto_passwd 2.0.11, and with -H sha512.
    let made = [
        (
            "secret",
            "$7$101$MzS8f25UO03AKwnU$/KjY1ZMDo655DWYf0+n4jT9JdICEAHN4GHbHS+MPT1+kKGquMu9Z5N5uZzj/NBsIMKeBFy3jSn/GJWyR5upsGQ==",
        ),
        (
            "pw",
            "$6$ZRkmxO6BwPUvGuYb$DIRWASWEv7snvMj6BO0lD3AHs8x2bBQXAj/AUwvkZ4D094irpYNN70oedCqXozDrOnwEBD/Zw84Mil+k13/LVg==",
        ),
    ];
    for (password, hash) in made {
        let credentials = Credentials { password_hash: Some(hash.to_owned()), ..Credentials::default() };
        let users = Users::new([UserEntry { credentials, ..entry("ann") }]).unwrap();
        assert!(users.check_password("ann", password.as_bytes()).is_some(), "{hash}");
        assert!(users.check_password("ann", b"wrong").is_none(), "{hash}");
    }
    for wrong in [
        "$7$0$AAAA$AAAA",
        "$7$x$AAAA$AAAA",
        "$7$101$AAAA$AAAA",
        "$6$AAAA$AAAA",
        "$6$$",
        "$7$99999999$AAAA$AAAA",
        "$5$a$b",
        "$7$101$!$!",
    ] {
        assert!(check_hash(wrong).is_err(), "{wrong}");
    }
}
