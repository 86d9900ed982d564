//! Signatures of webhooks, those that this broker sends and those that it gets: HMAC-SHA256.
//!
//! ```text
//! Standard Webhooks   webhook-signature: v1,BASE64(HMAC(key, "{webhook-id}.{webhook-timestamp}.{body}")), several with spaces between
//! GitHub              X-Hub-Signature-256: sha256=HEX(HMAC(key, body))
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What a secret begins with (Standard Webhooks, Signature scheme); behind it stands base64.
const PREFIX: &str = "whsec_";
/// Bytes of a key (Standard Webhooks: 24 to 64).
const KEY_BYTES_MIN: usize = 24;
/// How old, or early, a signed message may be.
const TOLERANCE_S: u64 = 300;

/// A key to sign with.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// A secret that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be whsec_ and base64 of at least {KEY_BYTES_MIN} bytes")]
pub struct NotASecret;

impl Secret {
    /// A secret as Standard Webhooks writes it.
    ///
    /// # Errors
    /// It is not written so, or too short.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let key = text.strip_prefix(PREFIX).and_then(|base64| BASE64.decode(base64).ok()).ok_or(NotASecret)?;
        if key.len() < KEY_BYTES_MIN { Err(NotASecret) } else { Ok(Self(key)) }
    }

    /// A secret that is any text.
    pub fn plain(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    fn mac(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        // Any length is a key.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }

    /// The header `webhook-signature` of a message.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let timestamp = timestamp_s.to_string();
        let mac = self.mac(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
        mac.map(|mac| format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))).unwrap_or_default()
    }

    /// Whether a message is signed with this key, and not too old or early (Standard Webhooks).
    pub fn verify(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8], now_s: u64) -> bool {
        let Ok(timestamp_s) = timestamp.parse::<u64>() else { return false };
        let mut given = signatures.split(' ').filter_map(|one| BASE64.decode(one.strip_prefix("v1,")?).ok());
        timestamp_s.abs_diff(now_s) <= TOLERANCE_S
            && given.any(|given| {
                let mac = self.mac(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
                mac.is_some_and(|mac| mac.verify_slice(&given).is_ok())
            })
    }

    /// Whether a body is signed with this key as GitHub does it.
    pub fn verify_github(&self, signature: &str, body: &[u8]) -> bool {
        let given = signature.strip_prefix("sha256=").and_then(from_hex);
        let mac = self.mac(&[body]);
        given.zip(mac).is_some_and(|(given, mac)| mac.verify_slice(&given).is_ok())
    }

    /// Whether it is this text, however much of it is right.
    pub fn is(&self, text: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], text.as_bytes()).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const AT_S: u64 = 1_614_265_330;

    #[test]
    fn the_published_example_of_standard_webhooks() {
        let secret = Secret::parse(SECRET).unwrap();
        assert_eq!(secret.sign(ID, AT_S, BODY), SIGNATURE);
        let verify = |id: &str, signatures: &str, body: &[u8], now_s| {
            secret.verify(id, &AT_S.to_string(), signatures, body, now_s)
        };
        assert!(verify(ID, SIGNATURE, BODY, AT_S + 299));
        assert!(verify(ID, &format!("v1,AAAA v2,x {SIGNATURE}"), BODY, AT_S), "one of several");
        assert!(!verify(ID, SIGNATURE, BODY, AT_S + 301), "too old");
        assert!(!verify(ID, SIGNATURE, BODY, AT_S - 301), "too early");
        assert!(!verify("other", SIGNATURE, BODY, AT_S));
        assert!(!verify(ID, SIGNATURE, b"{}", AT_S));
        assert!(!verify(ID, "", BODY, AT_S) && !verify(ID, "v1,", BODY, AT_S));
        assert!(!secret.verify(ID, "soon", SIGNATURE, BODY, AT_S));
        assert!(!Secret::parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap().verify(
            ID,
            &AT_S.to_string(),
            SIGNATURE,
            BODY,
            AT_S
        ));
    }

    #[test]
    fn the_published_example_of_github() {
        let secret = Secret::plain("It's a Secret to Everybody");
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(secret.verify_github(signature, b"Hello, World!"));
        assert!(!secret.verify_github(signature, b"Hello, World"));
        assert!(!secret.verify_github(&signature[..70], b"Hello, World!"));
        assert!(!secret.verify_github("sha256=xx", b"Hello, World!") && !secret.verify_github("", b""));
    }

    #[test]
    fn a_secret_has_a_prefix_and_enough_bytes() {
        assert!(Secret::parse(SECRET).is_ok());
        for bad in ["", "whsec_", "whsec_MfKQ9r8G", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"] {
            assert_eq!(Secret::parse(bad).err(), Some(NotASecret), "{bad}");
        }
        assert!(Secret::plain("x").is("x") && !Secret::plain("x").is("xx"));
    }
}
