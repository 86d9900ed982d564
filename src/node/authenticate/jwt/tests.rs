//! Tokens: whom they stand for, and all that makes them worthless.

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::*;

const NOW_S: u64 = 1_700_000_000;
const SECRET: &[u8] = b"a secret that is long enough for a test";

fn issuer(keys: KeySource) -> Issuer {
    Issuer {
        keys,
        issuer: None,
        audience: None,
        leeway_s: 30,
        name_claim: "sub".to_owned(),
        role_claim: "role".to_owned(),
        realms_claim: "realms".to_owned(),
        permissions_claim: "permissions".to_owned(),
        role: Some("user".into()),
    }
}

fn tokens(issuer: Issuer) -> Tokens {
    Tokens::new([issuer]).unwrap()
}

fn signed(header: Json, claims: &Json, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn by_secret(algorithm: &str, claims: &Json) -> String {
    let with = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    signed(json!({"alg": algorithm, "typ": "JWT"}), claims, |message| {
        hmac::sign(&hmac::Key::new(with, SECRET), message).as_ref().to_vec()
    })
}

fn claims() -> Json {
    json!({"sub": "ann", "exp": NOW_S + 60})
}

/// The claims with these changed; null takes one away.
fn changed(change: Json) -> Json {
    let mut claims = claims();
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[test]
fn a_signed_token_stands_for_whom_it_names() {
    let tokens = tokens(issuer(KeySource::Secret(SECRET.to_vec())));
    for algorithm in ["HS256", "HS384", "HS512"] {
        let user = tokens.read(&by_secret(algorithm, &claims()), NOW_S).unwrap();
        assert_eq!((&*user.name, &*user.role, user.provider), ("ann", "user", "jwt"));
        assert_eq!((user.realms, user.expires_s), (None, Some(NOW_S + 90)));
    }
    let more = changed(json!({"role": "boss", "realms": ["a", "b"],
        "permissions": [{"action": ["publish", "call"], "topic": "x/#"}, {"action": "subscribe", "uri": "y", "match": "prefix"}]}));
    let user = tokens.read(&by_secret("HS256", &more), NOW_S).unwrap();
    assert_eq!(&*user.role, "boss");
    assert_eq!(user.realms.unwrap(), ["a".into(), "b".into()]);
    let permissions = user.permissions.unwrap();
    assert_eq!(permissions[0].actions, [Action::Publish, Action::Call]);
    assert_eq!(permissions[1].pattern, TopicPattern::from_uri("y", MatchPolicy::Prefix).unwrap());
}

#[test]
fn a_token_that_is_too_old_too_new_or_for_others_is_worthless() {
    let strict = Issuer {
        issuer: Some("me".to_owned()),
        audience: Some("fennec".to_owned()),
        ..issuer(KeySource::Secret(SECRET.to_vec()))
    };
    let tokens = tokens(strict);
    let right = json!({"iss": "me", "aud": ["x", "fennec"]});
    let good = |change: Json| {
        let mut all = right.clone();
        all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        tokens.read(&by_secret("HS256", &changed(all)), NOW_S).is_some()
    };
    assert!(good(json!({})) && good(json!({"aud": "fennec"})) && good(json!({"nbf": NOW_S + 30})));
    assert!(good(json!({"exp": NOW_S - 29})) && good(json!({"exp": NOW_S as f64 + 0.5})));
    for change in [
        json!({"exp": NOW_S - 30}),
        json!({"exp": null}),
        json!({"exp": "never"}),
        json!({"exp": -1}),
        json!({"nbf": NOW_S + 31}),
        json!({"nbf": "soon"}),
        json!({"iss": "you"}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"aud": 1}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "a\u{0}b"}),
        json!({"sub": 7}),
        json!({"role": 7}),
        json!({"realms": 7}),
        json!({"realms": [7]}),
        json!({"permissions": "all"}),
        json!({"permissions": [{"action": "fly", "topic": "#"}]}),
        json!({"permissions": [{"action": "publish"}]}),
        json!({"permissions": [{"action": "publish", "topic": "a/#/b"}]}),
        json!({"permissions": [{"action": "publish", "topic": "a", "uri": "a"}]}),
        json!({"permissions": [{"action": "publish", "topic": "a", "allow": "no"}]}),
        json!({"permissions": [{"action": "publish", "topic": "a", "alow": false}]}),
    ] {
        assert!(!good(change.clone()), "{change}");
    }
}

#[test]
fn a_token_that_is_not_signed_by_a_key_that_is_believed_is_worthless() {
    let tokens = tokens(issuer(KeySource::Secret(SECRET.to_vec())));
    let right = by_secret("HS256", &claims());
    assert!(tokens.read(&right, NOW_S).is_some());
    let unsigned = |algorithm: &str| signed(json!({"alg": algorithm}), &claims(), |_| Vec::new());
    let parts: Vec<&str> = right.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(changed(json!({"sub": "root"})).to_string());
    let critical = signed(json!({"alg": "HS256", "crit": ["x"]}), &claims(), |message| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message).as_ref().to_vec()
    });
    for token in [
        unsigned("none"),
        unsigned("None"),
        unsigned("HS256"),
        unsigned("RS256"),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{other}.{}", parts[0], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]),
        format!("{right}A"),
        format!("{right}.x"),
        parts[0].to_owned(),
        "..".to_owned(),
        String::new(),
        "é.é.é".to_owned(),
        by_secret("HS256", &claims()).replace('-', "+") + "=",
        critical,
        "ey".repeat(TOKEN_BYTES_MAX),
    ] {
        assert!(tokens.read(&token, NOW_S).is_none(), "{token}");
    }
}

fn written(folder: &tempfile::TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn p256() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap()
}

fn jwks(id: &str, pair: &EcdsaKeyPair) -> String {
    let point = pair.public_key().as_ref();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
    json!({"keys": [{"kty": "XYZ"}, {"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "x": x, "y": y}]})
        .to_string()
}

fn by_key(id: &str, pair: &EcdsaKeyPair) -> String {
    signed(json!({"alg": "ES256", "kid": id}), &claims(), |message| {
        pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    })
}

#[test]
fn a_set_of_keys_is_read_again_when_it_changes_and_kept_when_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (p256(), p256());
    let path = written(&folder, "jwks.json", &jwks("1", &one));
    let tokens = tokens(issuer(KeySource::Jwks(path)));
    let good = |token: String| tokens.read(&token, NOW_S).is_some();
    assert!(good(by_key("1", &one)) && !good(by_key("2", &one)) && !good(by_key("1", &two)));
    // The public key as a shared secret: what a verifier that trusts the header falls for.
    let point = one.public_key().as_ref().to_vec();
    let confused = signed(json!({"alg": "HS256", "kid": "1"}), &claims(), |message| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &point), message).as_ref().to_vec()
    });
    assert!(!good(confused));
    written(&folder, "jwks.json", &jwks("a name of another length", &two));
    assert!(good(by_key("a name of another length", &two)) && !good(by_key("1", &one)));
    written(&folder, "jwks.json", "{");
    assert!(good(by_key("a name of another length", &two)), "the keys before stay");
}

#[test]
fn public_keys_are_read_from_pem() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let path = written(&folder, "key.pem", &pair.public_key_pem());
    let tokens = tokens(issuer(KeySource::Pem(path)));
    let random = SystemRandom::new();
    let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der(), &random).unwrap();
    assert!(tokens.read(&by_key("any", &signing), NOW_S).is_some());
    assert!(tokens.read(&by_key("any", &p256()), NOW_S).is_none());
    for text in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        let path = written(&folder, "no.pem", text);
        assert!(Keys::open(KeySource::Pem(path)).is_err(), "{text}");
    }
    assert!(Keys::open(KeySource::Jwks(folder.path().join("missing"))).is_err());
}

/// RFC 7515, A.2: RS256 with the key of the example.
#[test]
fn the_example_of_the_rfc_is_signed() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
             T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-\
             UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethF\
             kMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let message = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJ\
                     dbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
                     LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywl\
                     VmtVrBp0igcN_IoypGlUPQGe77Rw";
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let key = keys::Key::Rsa { n: decode(n), e: vec![1, 0, 1] };
    assert!(key.verifies("RS256", message.as_bytes(), &decode(signature)));
    assert!(!key.verifies("RS384", message.as_bytes(), &decode(signature)));
    assert!(!key.verifies("HS256", message.as_bytes(), &decode(signature)));
}
