//! Every key there is: its name, type, default and meaning. The file, the environment, the flags and
//! `docs/configuration.md` are all read off these tables and that of `types::limits`.

use std::path::PathBuf;

use super::listen::Listeners;
use super::setting::{ByteCount, Key, Section, Shape, Tables, sections};
use super::store::StoreText;
use crate::http::AddressHeader;
use crate::net::tls::ClientAuth;
use crate::router::rules::Disclosure;
use crate::store::SyncMode;
use crate::types::limits::{OutboxFull, RateExceeded};
use crate::types::payload::Codec;
use crate::types::topic::MatchPolicy;

mod access;
mod choices;
mod outbound;

pub(super) use access::{AuthHook, Authenticator, AuthorizeHook, Jwt, Permission, Role, Scram, User, WampCra};
pub(super) use outbound::{Bridge, BridgeTopic, Hook, Service, Services, Uplink};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For reading, with colours on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

sections! {
    /// The whole configuration, as it was said.
    pub(super) struct File in "" {
        /// Folder for what must survive a restart. It is made if it is missing. Not together with `memory` or `store`.
        data: PathBuf = "./fennec-data".into(),
        /// Keep everything in memory and write nothing to disk.
        memory: bool = false,
        /// Where state is kept: a folder (the same as `data`), or a PostgreSQL database as
        /// `postgres://user:password@host:5432/database`, where `?schema=NAME` names a schema other than `fennec`. See "The store".
        store: Option<StoreText> = None,
        /// What an acknowledged publication has survived: `always` (power loss), `interval` or `never` (the end of the process). See
        /// "The store".
        sync: SyncMode = SyncMode::Always,
        /// With `sync = "interval"`: how often what was written is made safe from power loss.
        sync_interval_ms: u32 = 1000,
        /// Refuse to start on a damaged database, rather than set it aside and begin with an empty one.
        strict: bool = false,
        /// What is logged, to standard error: a level (`error`, `warn`, `info`, `debug`, `trace`) or several for parts of the
        /// program, such as `warn,fennec::mqtt=debug`.
        log: String = "info".into(),
        /// How log lines are written.
        log_format: LogFormat = LogFormat::Human,
        /// File that a line of JSON is added to for every change by who runs the broker: who, from where, what, and what came of it
        /// (`docs/admin.md`). It is made if it is missing, and may be moved away at any time. Unless said: such lines are only logged.
        audit_log: Option<PathBuf> = None,
        /// The realm of those who name none; it always exists.
        default_realm: String = "realm1".into(),
        /// Make a realm when somebody first enters it. Else realms that are not configured are refused:
        /// `wamp.error.no_such_realm`.
        auto_realms: bool = false,
        /// Let clients in that do not say who they are, with the role `anonymous`. Unless said here or for a listener: yes on
        /// loopback as long as there are no users, else no.
        anonymous: Option<bool> = None,
        /// Networks of proxies that say for whom they connect, such as `10.0.0.0/8`: by the PROXY protocol where a listener has
        /// it, and by HTTP headers. What others say of themselves is passed over. See `docs/tls.md`.
        trusted_proxies: Vec<String> = Vec::new(),
        /// Where connections are taken. See "Listeners".
        listen: Listen = Listen::default(),
        /// Certificate of the TLS listeners that do not name their own.
        tls: Tls = Tls::default(),
        /// Bounds for all protocols. See "Limits".
        limits: LimitsSection = LimitsSection::default(),
        /// MQTT only.
        mqtt: Mqtt = Mqtt::default(),
        /// WAMP only.
        wamp: Wamp = Wamp::default(),
        /// HTTP and WebSocket only.
        http: Http = Http::default(),
        /// Realms beside the default one.
        realm: Tables<Realm> = Tables::default(),
        /// How topics that match a pattern are treated; the first entry that matches a topic counts.
        topic: Tables<TopicRule> = Tables::default(),
        /// How much is trusted what roles publish and call, as WAMP subscribers and callees are told it. The first entry that matches
        /// counts. See docs/wamp.md.
        trust: Tables<TrustRule> = Tables::default(),
        /// Whether WAMP subscribers are told who publishes, and callees who calls. The first entry that matches counts. See
        /// docs/wamp.md.
        disclosure: Tables<DisclosureRule> = Tables::default(),
        /// Topics of which the events are kept in the log; the first entry that matches a topic counts. What grows beyond any of
        /// its bounds goes, the oldest first.
        durable: Tables<Durable> = Tables::default(),
        /// Central brokers that events are sent to, over links that come and go. See docs/delivery.md.
        uplink: Tables<Uplink> = Tables::default(),
        /// Other MQTT brokers, whose topics and the own ones become each other's. See `docs/delivery.md`.
        bridge: Tables<Bridge> = Tables::default(),
        /// HTTP endpoints that durable events are sent to. See docs/delivery.md.
        service: Tables<Service> = Tables::default(),
        /// What holds for all services.
        services: Services = Services::default(),
        /// Where others may post events to this broker: `POST /hooks/NAME`. See docs/delivery.md.
        hook: Tables<Hook> = Tables::default(),
        /// File with more `[[user]]` and `[[role]]` tables, and nothing else: what `fennec user` writes. The broker reads it again when
        /// it changes. See docs/security.md.
        users_file: Option<PathBuf> = None,
        /// A web server that is asked what sessions may do, for roles with `authorizer = "hook"`. See docs/security.md.
        authorize_hook: AuthorizeHook = AuthorizeHook::default(),
        /// Who may come in.
        user: Tables<User> = Tables::default(),
        /// Whose tokens are believed (JSON Web Tokens). See docs/authentication.md.
        jwt: Tables<Jwt> = Tables::default(),
        /// Procedures that decide who somebody is. See docs/authentication.md.
        authenticator: Tables<Authenticator> = Tables::default(),
        /// An HTTP endpoint that decides who somebody is. See docs/authentication.md.
        auth_hook: AuthHook = AuthHook::default(),
        /// What users may do. See "Roles".
        role: Tables<Role> = Tables::default(),
    }

    /// Listeners by protocol.
    pub(super) struct Listen in "listen" {
        /// MQTT 3.1, 3.1.1 and 5.
        mqtt: Listeners = Listeners::loopback(1883),
        /// MQTT with TLS.
        mqtts: Listeners = Listeners::none(),
        /// HTTP; WebSocket: `/ws` and `/wamp` for WAMP, `/mqtt` for MQTT.
        http: Listeners = Listeners::loopback(9000),
        /// The same with TLS.
        https: Listeners = Listeners::none(),
        /// WAMP over RawSocket.
        rawsocket: Listeners = Listeners::loopback(9001),
        /// WAMP over RawSocket with TLS.
        rawsockets: Listeners = Listeners::none(),
        /// HTTP for who runs the broker: `/admin/…`, which the other listeners do not have then, and `/metrics`. With a certificate it
        /// speaks TLS.
        admin: Listeners = Listeners::none(),
        /// HTTP for who watches the broker: `/metrics`, `/healthz` and `/readyz`, for everybody who can reach it. With a certificate it
        /// speaks TLS.
        metrics: Listeners = Listeners::none(),
    }

    /// One listener, written as a table.
    pub(super) struct ListenerTable in "" {
        /// IP address (or `localhost`) and port. Port 0: any free one.
        address: Option<String> = None,
        /// Certificate chain, PEM; on TLS listeners only. Else that of `[tls]`.
        cert: Option<PathBuf> = None,
        /// Private key of the certificate, PEM.
        key: Option<PathBuf> = None,
        /// Authorities that certificates of clients are believed from, PEM. Else those of `[tls]`.
        client_ca: Vec<PathBuf> = Vec::new(),
        /// Whether clients must show a certificate. Else as `[tls]` says.
        client_auth: Option<ClientAuth> = None,
        /// Revocation lists, PEM. Else those of `[tls]`.
        crl: Vec<PathBuf> = Vec::new(),
        /// As in `[tls]`, for this listener.
        close_unverified: Option<bool> = None,
        /// Connections begin with a PROXY header (version 1 or 2). Those that come from elsewhere than `trusted_proxies` are closed.
        proxy_protocol: bool = false,
        /// Instead of the global `trusted_proxies`.
        trusted_proxies: Option<Vec<String>> = None,
        /// With `proxy_protocol`: a certificate that the proxy says it verified (version 2, PP2_TYPE_SSL) counts as one.
        proxy_certificates: bool = false,
        /// Realm of MQTT clients that name none, instead of the default one; WAMP clients always name theirs.
        realm: Option<String> = None,
        /// As the global key, for this listener.
        anonymous: Option<bool> = None,
        /// Further certificates of this listener, as those of `[tls]`. With `cert` or this, those of `[tls]` are not shown.
        certificates: Tables<CertificatePair> = Tables::default(),
    }

    /// The certificate for all TLS listeners.
    pub(super) struct Tls in "tls" {
        /// Certificate chain, PEM. This and all other files here are read again when they change.
        cert: Option<PathBuf> = None,
        /// Private key of the certificate, PEM.
        key: Option<PathBuf> = None,
        /// Authorities that certificates of clients are believed from, PEM.
        client_ca: Vec<PathBuf> = Vec::new(),
        /// Whether clients must show a certificate: `none` is asked for, it is `optional`, or `required`. Unless said: `required` if
        /// there is a `client_ca`.
        client_auth: Option<ClientAuth> = None,
        /// Revocation lists, PEM. If there are any, there must be one of every authority in a client's chain, and none that is out
        /// of date.
        crl: Vec<PathBuf> = Vec::new(),
        /// Close connections whose certificate is not believed any more: it expired, was revoked, or its authority is gone. Looked
        /// at when files change, and once a minute.
        close_unverified: bool = false,
        /// Further certificates, for clients that ask for one of their names (SNI); `cert` is for all others.
        certificates: Tables<CertificatePair> = Tables::default(),
    }

    /// A further certificate.
    pub(super) struct CertificatePair in "" {
        /// Certificate chain, PEM. It is for its DNS names, which may begin with `*.`. Required.
        cert: Option<PathBuf> = None,
        /// Private key of the certificate, PEM. Required.
        key: Option<PathBuf> = None,
    }

    /// Bounds for all protocols.
    pub(super) struct LimitsSection in "limits" {
        /// What happens to an event for which a full outbox has no room and that is not owed to the session: `drop` (it is
        /// dropped for that session and counted) or `disconnect` (the session is closed: DISCONNECT 0x97, GOODBYE
        /// `fennec.error.quota_exceeded`).
        outbox_full: OutboxFull = OutboxFull::Drop,
        /// What happens to a client that sends more than `messages_per_second_max` or `bytes_per_second_max`: `pause` (it is not read
        /// for as long as it was too fast; nothing is lost) or `disconnect` (DISCONNECT 0x96, GOODBYE `fennec.error.quota_exceeded`). HTTP requests are
        /// answered 429 in either case.
        rate_exceeded: RateExceeded = RateExceeded::Pause,
        /// Memory that the process may use. Above it, connections, subscriptions, publications and calls are refused: CONNECT
        /// is not answered, SUBACK and PUBACK 0x97, ERROR `fennec.error.quota_exceeded`, HTTP 503. Unless said: three quarters of what the
        /// process's control group or the machine has.
        memory_max: Option<ByteCount> = None,
    }

    /// MQTT only.
    pub(super) struct Mqtt in "mqtt" {
        /// Topic filters nobody may subscribe to, nor to any filter within one of them: SUBACK 0x87 (MQTT 3: 0x80).
        refuse_filters: Vec<String> = Vec::new(),
    }

    /// WAMP only.
    pub(super) struct Wamp in "wamp" {}

    /// HTTP and WebSocket only.
    pub(super) struct Http in "http" {
        /// Origins of the web pages that may open a WebSocket or POST, such as `https://app.example.org`; `null` for pages
        /// without one (files), `*` for all. Pages that this broker serves itself, and clients that are no browsers, always
        /// may. Others are answered 403.
        allowed_origins: Vec<String> = Vec::new(),
        /// The header in which `trusted_proxies` say for whom they ask. Only this one is looked at: the proxy must set it or add to
        /// it, and a header that it passes through unseen could be anybody's.
        client_address_header: AddressHeader = AddressHeader::XForwardedFor,
    }

    /// A realm.
    pub(super) struct Realm in "" {
        /// Its name, as a WAMP URI. Required.
        name: Option<String> = None,
    }

    /// How the topics of a pattern are treated.
    pub(super) struct TopicRule in "" {
        /// The pattern as an MQTT topic filter. This or `uri` is required.
        topic: Option<String> = None,
        /// The pattern as a WAMP URI.
        uri: Option<String> = None,
        /// How `uri` is matched.
        r#match: MatchPolicy = MatchPolicy::Exact,
        /// How payloads (MQTT, HTTP) and arguments (WAMP) become each other.
        codec: Codec = Codec::Auto,
    }

    /// How much is trusted what comes.
    pub(super) struct TrustRule in "" {
        /// The pattern as an MQTT topic filter. This or `uri` is required.
        topic: Option<String> = None,
        /// The pattern as a WAMP URI, of topics and procedures.
        uri: Option<String> = None,
        /// How `uri` is matched.
        r#match: MatchPolicy = MatchPolicy::Exact,
        /// The realm in which it is so. Unless said: in all.
        realm: Option<String> = None,
        /// What comes from these roles, one or a list. Unless said: from all.
        roles: Vec<String> = Vec::new(),
        /// The `trustlevel` that subscribers and callees are told; 0 is the lowest.
        level: u32 = 0,
    }

    /// Whether publishers and callers are told.
    pub(super) struct DisclosureRule in "" {
        /// The pattern as an MQTT topic filter. This or `uri` is required.
        topic: Option<String> = None,
        /// The pattern as a WAMP URI, of topics and procedures.
        uri: Option<String> = None,
        /// How `uri` is matched.
        r#match: MatchPolicy = MatchPolicy::Exact,
        /// The realm in which it is so. Unless said: in all.
        realm: Option<String> = None,
        /// What comes from these roles, one or a list. Unless said: from all.
        roles: Vec<String> = Vec::new(),
        /// `allowed`: if either side asks; `caller`: if the publisher or caller asks; `forced`: always; `strip`: never, whoever asks;
        /// `denied`: never, and a publisher or caller who asks gets `wamp.error.option_disallowed.disclose_me`.
        disclose: Disclosure = Disclosure::Allowed,
    }

    /// Topics of which the events are kept.
    pub(super) struct Durable in "" {
        /// The pattern as an MQTT topic filter. This or `uri` is required.
        topic: Option<String> = None,
        /// The pattern as a WAMP URI.
        uri: Option<String> = None,
        /// How `uri` is matched.
        r#match: MatchPolicy = MatchPolicy::Exact,
        /// The realm in which it is so. Unless said: in all.
        realm: Option<String> = None,
        /// How long events are kept.
        max_age_s: u32 = 604_800,
        /// How much is kept of all topics that match, payloads and topics counted.
        max_bytes: ByteCount = ByteCount(1 << 30),
        /// How many events are kept of all topics that match. Unless said: as many as the other bounds allow.
        max_messages: Option<u64> = None,
    }
}

/// A key with all that leads to it.
pub(super) struct Row {
    /// Names of the tables around it, outermost first.
    pub tables: Vec<&'static str>,
    pub key: Key,
    /// Whether it stands in a list of tables, and so can be said in a file only.
    pub listed: bool,
}

/// Every key that takes a value, in the order of the schema.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    collect(File::keys(), &[], false, &mut rows);
    rows
}

fn collect(keys: Vec<Key>, tables: &[&'static str], listed: bool, rows: &mut Vec<Row>) {
    for key in keys {
        let inner: Vec<&'static str> = tables.iter().copied().chain([key.name]).collect();
        match key.shape {
            Shape::Value(_) | Shape::List(_) => rows.push(Row { tables: tables.to_vec(), key, listed }),
            Shape::Table(keys) => collect(keys(), &inner, listed, rows),
            Shape::Tables(keys) => collect(keys(), &inner, true, rows),
        }
    }
}
