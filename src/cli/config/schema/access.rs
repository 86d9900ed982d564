//! Tables of who may come in, and of what they may do.

use std::path::PathBuf;

use crate::cli::config::setting::{Tables, sections};
use crate::node::users::Method;
use crate::router::authorize::Action;
use crate::types::topic::MatchPolicy;

sections! {
    /// A web server that is asked what sessions may do.
    pub(in crate::cli::config) struct AuthorizeHook in "authorize_hook" {
        /// Where questions are posted: `https://host/path`.
        url: Option<String> = None,
        /// Sent as `Authorization: Bearer …`.
        token: Option<String> = None,
        /// PEM file of the authorities that are believed, instead of those of the system.
        ca: Option<PathBuf> = None,
    }

    /// A user.
    pub(in crate::cli::config) struct User in "" {
        /// Its name: MQTT user name, WAMP `authid`. Required.
        name: Option<String> = None,
        /// Hash of its password as `fennec hash-password` prints it: argon2id, PHC string; or one of Mosquitto's, `$7$…` or `$6$…`. For
        /// MQTT passwords and WAMP tickets.
        password_hash: Option<String> = None,
        /// Key for WAMP challenge-response authentication, as `fennec hash-password` prints it.
        wampcra: Option<WampCra> = None,
        /// Keys for SCRAM, as `fennec hash-password` prints them; one for each `kdf`. For WAMP `scram` and `wamp-scram`, and
        /// SCRAM-SHA-256 of MQTT 5.
        scram: Tables<Scram> = Tables::default(),
        /// Ed25519 public keys for WAMP `cryptosign`, hexadecimal, one or a list.
        cryptosign_keys: Vec<String> = Vec::new(),
        /// Names of verified client certificates that are this user, one or a list: `cn:NAME`, `dns:NAME`, `email:NAME`,
        /// `uri:NAME`, or `sha256:` and the certificate's fingerprint.
        certificates: Vec<String> = Vec::new(),
        /// All of these have to be proved, one after the other. Unless said: any one that is there.
        require: Vec<Method> = Vec::new(),
        /// The realms open to the user, one or a list. Unless said: all. The only one in the list is where its MQTT clients are.
        realms: Option<Vec<String>> = None,
        /// Its role. Required as soon as there is any `[[role]]`; without roles users may do everything.
        role: Option<String> = None,
    }

    /// What WAMP challenge-response authentication needs.
    pub(in crate::cli::config) struct WampCra in "" {
        /// With `salt`: the derived key, base64. Without: the secret itself. Required.
        key: Option<String> = None,
        /// Salt of the derivation (PBKDF2, HMAC-SHA256).
        salt: Option<String> = None,
        /// Rounds of the derivation.
        iterations: u32 = 1000,
        /// Bytes of the derived key.
        keylen: u32 = 32,
    }

    /// Somebody whose tokens are believed. One of `secret`, `secret_file`, `key_file` and `jwks_file` is required.
    pub(in crate::cli::config) struct Jwt in "" {
        /// The secret of HS256, HS384 and HS512: 32 bytes at least.
        secret: Option<String> = None,
        /// A file with the secret alone.
        secret_file: Option<PathBuf> = None,
        /// A public key, PEM: RSA (RS256 and so on, PS256 and so on), P-256 (ES256), P-384 (ES384) or Ed25519 (EdDSA).
        key_file: Option<PathBuf> = None,
        /// A set of keys (RFC 7517).
        jwks_file: Option<PathBuf> = None,
        /// What `iss` must be. Unless said: anything.
        issuer: Option<String> = None,
        /// What `aud` must be or contain. Unless said: anything.
        audience: Option<String> = None,
        /// How wrong clocks may be.
        leeway_s: u32 = 30,
        /// The claim that is the user's name.
        name_claim: String = "sub".into(),
        /// The claim that is its role.
        role_claim: String = "role".into(),
        /// The claim with the realms open to it, one or a list. Tokens without it: all.
        realms_claim: String = "realms".into(),
        /// The claim with what it may do, a list of tables as in a role's `permissions`. Tokens without it: what its role may.
        permissions_claim: String = "permissions".into(),
        /// The role of those whose token tells none. Unless said: they may not come in.
        role: Option<String> = None,
    }

    /// A procedure that decides who somebody is.
    pub(in crate::cli::config) struct Authenticator in "" {
        /// What it decides about: `ticket` (MQTT passwords and HTTP basic too), `wampcra`, `scram`, `cryptosign`, `tls`; one or a
        /// list. Required.
        method: Vec<String> = Vec::new(),
        /// Its URI. Required.
        procedure: Option<String> = None,
        /// Whose clients it decides about. Unless said: those of all realms.
        realm: Option<String> = None,
        /// Where it is registered. Unless said: in the default realm.
        procedure_realm: Option<String> = None,
        /// How long it may take to answer.
        timeout_ms: u32 = 5000,
    }

    /// An HTTP endpoint that decides who somebody is.
    pub(in crate::cli::config) struct AuthHook in "auth_hook" {
        /// Where it is. Unless said: there is none.
        url: Option<String> = None,
        /// Sent as `Authorization: Bearer …`.
        token: Option<String> = None,
        /// How long it may take to answer.
        timeout_ms: u32 = 5000,
        /// How long its answers hold. 0: each time it is asked.
        cache_s: u32 = 0,
        /// PEM file of the authorities that are believed, instead of those of the system.
        ca: Option<PathBuf> = None,
    }

    /// What SCRAM needs.
    pub(in crate::cli::config) struct Scram in "" {
        /// `argon2id13` or `pbkdf2`. Required.
        kdf: Option<String> = None,
        /// Salt, base64. Required.
        salt: Option<String> = None,
        /// Passes of Argon2id, rounds of PBKDF2. Required.
        iterations: Option<u32> = None,
        /// Memory of Argon2id in KiB.
        memory_kib: Option<u32> = None,
        /// StoredKey (RFC 5802, 3), base64. Required.
        stored_key: Option<String> = None,
        /// ServerKey (RFC 5802, 3), base64. Required.
        server_key: Option<String> = None,
        /// StoredKey for clients that take the base64 of an Argon2id hash for the salted password, as Autobahn does.
        text_stored_key: Option<String> = None,
        /// ServerKey for those.
        text_server_key: Option<String> = None,
    }

    /// A role.
    pub(in crate::cli::config) struct Role in "" {
        /// Its name, WAMP `authrole`. Required. `anonymous` is the role of clients that do not say who they are.
        name: Option<String> = None,
        /// The realms in which the role is this, one or a list. Unless said: all.
        realms: Option<Vec<String>> = None,
        /// What it may do and what not. The most specific that matches counts; where none does the answer is no.
        permissions: Tables<Permission> = Tables::default(),
        /// Who is asked where no permission matches: the URI of a procedure (see docs/security.md), or `hook` for `[authorize_hook]`.
        authorizer: Option<String> = None,
        /// How long it may take to answer. Then, and if it cannot be asked, the answer is no.
        authorizer_timeout_ms: u32 = 5000,
        /// How long a session may use an answer again that says it may be remembered.
        authorizer_cache_s: u32 = 60,
    }

    /// A permission.
    pub(in crate::cli::config) struct Permission in "" {
        /// What is allowed or denied, one or a list. Required.
        action: Vec<Action> = Vec::new(),
        /// On which topics or procedures, as an MQTT topic filter. This or `uri` is required.
        topic: Option<String> = None,
        /// The same as a WAMP URI.
        uri: Option<String> = None,
        /// How `uri` is matched.
        r#match: MatchPolicy = MatchPolicy::Exact,
        /// Allow, or deny.
        allow: bool = true,
    }
}
