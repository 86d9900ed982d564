//! Keys that tokens are signed with: shared secrets, PEM files of public keys, and JWKS files (RFC 7517), read again when they
//! change.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::{hmac, signature};
use serde::Deserialize;

use crate::node::files::Stamp;

/// Largest file of keys that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A key of one kind, which decides what it may have signed: no token can choose (RFC 8725, 3.1).
#[derive(Clone)]
pub enum Key {
    Hmac(Vec<u8>),
    /// Modulus and exponent, big-endian.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key with what its set tells of it.
#[derive(Clone)]
pub struct NamedKey {
    pub id: Option<String>,
    /// The only algorithm it is for.
    pub algorithm: Option<String>,
    pub key: Key,
}

impl Key {
    /// Whether this is the signature of `message`. An algorithm that is not one of the key's is a no.
    pub fn verifies(&self, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
        let public = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, signed).is_ok()
        };
        match (self, algorithm) {
            (Key::Hmac(secret), "HS256" | "HS384" | "HS512") => {
                let algorithm = match algorithm {
                    "HS256" => hmac::HMAC_SHA256,
                    "HS384" => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                // Compares in constant time.
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signed).is_ok()
            }
            (Key::Rsa { n, e }, _) => {
                let parameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                signature::RsaPublicKeyComponents { n, e }.verify(parameters, message, signed).is_ok()
            }
            (Key::P256(point), "ES256") => public(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Key::P384(point), "ES384") => public(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Key::Ed25519(point), "EdDSA") => public(&signature::ED25519, point),
            _ => false,
        }
    }
}

/// Where keys come from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    Secret(Vec<u8>),
    /// A public key, PEM (`BEGIN PUBLIC KEY`).
    Pem(PathBuf),
    /// A set of keys, JSON.
    Jwks(PathBuf),
}

/// A secret never reaches a log.
impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::Secret(_) => f.write_str("Secret"),
            KeySource::Pem(path) | KeySource::Jwks(path) => path.fmt(f),
        }
    }
}

type Parse = fn(&str) -> Result<Vec<NamedKey>, String>;

impl KeySource {
    fn stamp(&self) -> Stamp {
        Stamp::of(match self {
            KeySource::Secret(_) => None,
            KeySource::Pem(path) | KeySource::Jwks(path) => Some(path),
        })
    }

    /// The keys; at least one.
    fn read(&self) -> Result<Vec<NamedKey>, String> {
        let (path, parse): (&Path, Parse) = match self {
            KeySource::Secret(secret) => {
                return Ok(vec![NamedKey { id: None, algorithm: None, key: Key::Hmac(secret.clone()) }]);
            }
            KeySource::Pem(path) => (path, read_pem),
            KeySource::Jwks(path) => (path, read_jwks),
        };
        let text = || match fs::metadata(path)?.len() {
            ..=FILE_BYTES_MAX => fs::read_to_string(path),
            _ => Err(io::ErrorKind::FileTooLarge.into()),
        };
        let keys = text().map_err(|error| error.to_string()).and_then(|text| parse(&text));
        let keys = keys.and_then(|keys| if keys.is_empty() { Err("has no key".to_owned()) } else { Ok(keys) });
        keys.map_err(|what| format!("{}: {what}", path.display()))
    }
}

/// The keys of a source as they are now.
pub struct Keys {
    source: KeySource,
    read: Mutex<Read>,
}

struct Read {
    /// As the file was when it was last read, or could not be.
    tried: Stamp,
    keys: Arc<Vec<NamedKey>>,
}

impl Keys {
    /// # Errors
    /// The file cannot be read or holds no key; as a sentence.
    pub fn open(source: KeySource) -> Result<Keys, String> {
        let read = Read { tried: source.stamp(), keys: Arc::new(source.read()?) };
        Ok(Keys { source, read: Mutex::new(read) })
    }

    /// The keys, read again if the file has changed. What cannot be read is logged, once and not with each token, and the keys
    /// before stay.
    pub fn now(&self) -> Arc<Vec<NamedKey>> {
        let mut read = self.read.lock();
        let stamp = self.source.stamp();
        if stamp != read.tried {
            read.tried = stamp;
            match self.source.read() {
                Ok(keys) => read.keys = Arc::new(keys),
                Err(error) => tracing::error!(error, "the keys of tokens stay as they were"),
            }
        }
        read.keys.clone()
    }
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// RFC 7518, 6; keys of other kinds are left out.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

fn read_jwks(text: &str) -> Result<Vec<NamedKey>, String> {
    let set: Jwks = serde_json::from_str(text).map_err(|error| format!("is no JWKS: {error}"))?;
    Ok(set.keys.into_iter().filter_map(named_key).collect())
}

fn named_key(jwk: Jwk) -> Option<NamedKey> {
    if jwk.r#use.as_deref().is_some_and(|r#use| r#use != "sig") {
        return None;
    }
    let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
    let key = match (&*jwk.kty, jwk.crv.as_deref()) {
        ("oct", _) => Key::Hmac(bytes(&jwk.k)?),
        ("RSA", _) => Key::Rsa { n: bytes(&jwk.n)?, e: bytes(&jwk.e)? },
        ("EC", Some("P-256")) => Key::P256(point(&bytes(&jwk.x)?, &bytes(&jwk.y)?)),
        ("EC", Some("P-384")) => Key::P384(point(&bytes(&jwk.x)?, &bytes(&jwk.y)?)),
        ("OKP", Some("Ed25519")) => Key::Ed25519(bytes(&jwk.x)?),
        _ => return None,
    };
    Some(NamedKey { id: jwk.kid, algorithm: jwk.alg, key })
}

fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1, with the curves 1.2.840.10045.3.1.7 and 1.3.132.0.34
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

fn read_pem(text: &str) -> Result<Vec<NamedKey>, String> {
    let (_, body) = text.split_once("-----BEGIN PUBLIC KEY-----").ok_or("has no PEM block PUBLIC KEY")?;
    let (body, _) = body.split_once("-----END PUBLIC KEY-----").ok_or("is cut off")?;
    let body: String = body.split_whitespace().collect();
    let der = BASE64.decode(body).map_err(|error| format!("is no PEM: {error}"))?;
    let key = public_key(&der).ok_or("holds a key that is not RSA, P-256, P-384 or Ed25519")?;
    Ok(vec![NamedKey { id: None, algorithm: None, key }])
}

/// SubjectPublicKeyInfo (RFC 5280, 4.1).
fn public_key(der: &[u8]) -> Option<Key> {
    let mut info = Der(Der(der).expect(0x30)?);
    let mut algorithm = Der(info.expect(0x30)?);
    let oid = algorithm.expect(0x06)?;
    let bits = info.expect(0x03)?.strip_prefix(&[0])?;
    match oid {
        RSA => {
            let mut key = Der(Der(bits).expect(0x30)?);
            let mut number = || key.expect(0x02).map(|number| number.strip_prefix(&[0]).unwrap_or(number).to_vec());
            Some(Key::Rsa { n: number()?, e: number()? })
        }
        EC => match algorithm.expect(0x06)? {
            P256 => Some(Key::P256(bits.to_vec())),
            P384 => Some(Key::P384(bits.to_vec())),
            _ => None,
        },
        ED25519 => Some(Key::Ed25519(bits.to_vec())),
        _ => None,
    }
}

/// What is left of a sequence of elements.
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    fn expect(&mut self, wanted: u8) -> Option<&'d [u8]> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let len = match first {
            0..=0x7f => usize::from(*first),
            0x81 | 0x82 => {
                let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = behind;
                bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, behind) = rest.split_at_checked(len)?;
        self.0 = behind;
        (*tag == wanted).then_some(content)
    }
}
