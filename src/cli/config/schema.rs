//! Every key there is: its name, type, default and meaning. The file, the environment, the flags and
//! `docs/configuration.md` are all read off these tables and that of `types::limits`.

use std::path::PathBuf;

use super::listen::Listeners;
use super::setting::{ByteCount, Key, Section, Shape, Tables, choices, sections};
use super::store::StoreText;
use crate::http::AddressHeader;
use crate::http::hooks::Proof;
use crate::mqtt::codec::Level;
use crate::net::tls::ClientAuth;
use crate::node::users::Method;
use crate::outbound::bridge::rules::Direction;
use crate::router::authorize::Action;
use crate::router::rules::Disclosure;
use crate::store::SyncMode;
use crate::types::limits::{OutboxFull, RateExceeded};
use crate::types::payload::Codec;
use crate::types::topic::MatchPolicy;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For reading, with colours on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

choices!(LogFormat { "human" => LogFormat::Human, "json" => LogFormat::Json, });
choices!(RateExceeded { "pause" => RateExceeded::Pause, "disconnect" => RateExceeded::Disconnect, });
choices!(OutboxFull { "drop" => OutboxFull::Drop, "disconnect" => OutboxFull::Disconnect, });
choices!(SyncMode { "always" => SyncMode::Always, "interval" => SyncMode::Interval, "never" => SyncMode::Never, });
choices!(Codec {
    "auto" => Codec::Auto,
    "raw" => Codec::Raw,
    "json" => Codec::Json,
    "cbor" => Codec::Cbor,
    "msgpack" => Codec::MsgPack,
});
choices!(Action {
    "publish" => Action::Publish,
    "subscribe" => Action::Subscribe,
    "call" => Action::Call,
    "register" => Action::Register,
});
choices!(Proof { "standard" => Proof::Standard, "github" => Proof::Github, "bearer" => Proof::Bearer, });
choices!(Method {
    "password" => Method::Password,
    "wampcra" => Method::WampCra,
    "scram" => Method::Scram,
    "cryptosign" => Method::Cryptosign,
    "tls" => Method::Tls,
});
choices!(Level { "3.1.1" => Level::V4, "5" => Level::V5, });
choices!(Direction { "in" => Direction::In, "out" => Direction::Out, "both" => Direction::Both, });
choices!(Disclosure {
    "allowed" => Disclosure::Allowed,
    "caller" => Disclosure::Caller,
    "forced" => Disclosure::Forced,
    "strip" => Disclosure::Strip,
    "denied" => Disclosure::Denied,
});
choices!(ClientAuth {
    "none" => ClientAuth::None,
    "optional" => ClientAuth::Optional,
    "required" => ClientAuth::Required,
});
choices!(AddressHeader {
    "x-forwarded-for" => AddressHeader::XForwardedFor,
    "forwarded" => AddressHeader::Forwarded,
    "x-real-ip" => AddressHeader::XRealIp,
});
choices!(MatchPolicy {
    "exact" => MatchPolicy::Exact,
    "prefix" => MatchPolicy::Prefix,
    "wildcard" => MatchPolicy::Wildcard,
    "fox" => MatchPolicy::Fox,
});

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

    /// An uplink to a central broker.
    pub(super) struct Uplink in "" {
        /// Its name, and that of this edge at the centre, where it is the user's own. Required.
        id: Option<String> = None,
        /// Where the centre is: `wss://host/ws`, or `ws://`, `rs://`, `rss://`. Required.
        url: Option<String> = None,
        /// What is sent, MQTT topic filters. It is kept in the log until it is sent, within the bounds below.
        topics: Vec<String> = Vec::new(),
        /// What is wanted from the centre, MQTT topic filters.
        receive: Vec<String> = Vec::new(),
        /// The realm here. Unless said: the default one.
        realm: Option<String> = None,
        /// The realm at the centre. Unless said: the same name.
        centre_realm: Option<String> = None,
        /// As whom to log in there.
        user: Option<String> = None,
        /// Its password.
        password: Option<String> = None,
        /// A file with the password alone.
        password_file: Option<PathBuf> = None,
        /// The authorities that certificates of the centre are believed from, PEM. Unless said: those that the system knows.
        ca: Option<PathBuf> = None,
        /// How long what is to be sent is kept. What is older leaves a gap marker. Where a `[[durable]]` says how the topic is kept, that
        /// counts too.
        max_age_s: u32 = 604_800,
        /// How much is kept of each topic filter. What is beyond goes, the oldest first, and leaves a gap marker.
        max_bytes: ByteCount = ByteCount(1 << 30),
        /// Messages of one batch, 1000 at most.
        batch_messages: u32 = 100,
        /// Bytes of one batch; one message is always sent.
        batch_bytes: ByteCount = ByteCount(256 * 1024),
        /// Bytes of messages in a second. Unless said: as fast as it goes.
        bytes_per_s: Option<ByteCount> = None,
        /// Percent of a batch, in both directions, that what is published now gets while there is a backlog. 0: everything in the order of
        /// publication.
        live_percent: u32 = 50,
        /// Between two exchanges, unless a whole batch waits.
        spacing_ms: u32 = 20,
        /// How often the two ends speak when there is nothing to say.
        heartbeat_s: u32 = 30,
        /// The longest wait after a failure; waits are random, and their bound doubles from a second on.
        backoff_max_s: u32 = 60,
    }

    /// An HTTP endpoint that durable events are sent to.
    pub(super) struct Service in "" {
        /// Its name, for commands and metrics. Required.
        id: Option<String> = None,
        /// The realm of its topics. Unless said: the default one.
        realm: Option<String> = None,
        /// Which events it gets, as MQTT topic filters, one or a list. These or `uris` are required.
        topics: Vec<String> = Vec::new(),
        /// The same as WAMP URIs, in which `*` and a last `#` are wildcards.
        uris: Vec<String> = Vec::new(),
        /// Where it is: `PUT {url}/transactions/{id}`. Required.
        url: Option<String> = None,
        /// Sent as `Authorization: Bearer …`.
        token: Option<String> = None,
        /// Key of the signature (Standard Webhooks): `whsec_` and base64 of at least 24 bytes.
        secret: Option<String> = None,
        /// Events that one transaction has at most.
        events_max: u32 = 100,
        /// Bytes of topics and payloads that one transaction has at most, unless it is one event.
        bytes_max: u32 = 1_048_576,
        /// How long events gather between two transactions that are not full, 1000 at most.
        linger_ms: u32 = 50,
        /// How long the service may take to answer.
        timeout_s: u32 = 60,
        /// Where events go that the service refuses, as an MQTT topic name. Unless said: `dead/service/ID`.
        dead_letter: Option<String> = None,
        /// PEM file of the authorities that are believed, instead of those of the system.
        ca: Option<PathBuf> = None,
    }

    /// What holds for all services.
    pub(super) struct Services in "services" {
        /// Networks such as `10.0.0.0/8` in which services may be that are added at run time. Else these may not be at loopback,
        /// private or link-local addresses.
        allow_networks: Vec<String> = Vec::new(),
    }

    /// Where others may post events.
    pub(super) struct Hook in "" {
        /// Its name, as in `POST /hooks/NAME`. Required.
        name: Option<String> = None,
        /// The realm of its topic. Unless said: the default one.
        realm: Option<String> = None,
        /// What is posted is published here: an MQTT topic name. This or `uri` is required.
        topic: Option<String> = None,
        /// The same as a WAMP URI.
        uri: Option<String> = None,
        /// How a post proves where it comes from: `standard` (Standard Webhooks: `webhook-id`, `webhook-timestamp`,
        /// `webhook-signature`), `github` (`X-Hub-Signature-256`) or `bearer` (`Authorization: Bearer SECRET`).
        proof: Proof = Proof::Standard,
        /// The key of the signature, or the token. For `standard` written as `whsec_…`. Required.
        secret: Option<String> = None,
    }

    /// A bridge to another MQTT broker.
    pub(super) struct Bridge in "" {
        /// Its name, which no other has. Required.
        name: Option<String> = None,
        /// Where the other broker is, as `mqtt://`, `mqtts://`, `ws://` or `wss://` and `host:port`. Of several one after the other is
        /// tried. Required.
        address: Vec<String> = Vec::new(),
        /// The realm of its topics here. Unless said: the default one.
        realm: Option<String> = None,
        /// The version of MQTT. `5` carries properties, retain flags and deletes, and keeps own messages from coming back.
        version: Level = Level::V5,
        /// Its client id at the other broker. Unless said: the name of this machine, a dot, and `name`. All entries of a cluster need the
        /// same one.
        client_id: Option<String> = None,
        /// User name at the other broker.
        user: Option<String> = None,
        /// A file with the password in its first line.
        password_file: Option<PathBuf> = None,
        /// The environment variable that has the password.
        password_env: Option<String> = None,
        /// PEM file with the authorities whose certificates are believed. Unless said: those that the system knows.
        cafile: Option<PathBuf> = None,
        /// Believe every certificate: whoever is in the way can read all of it.
        insecure: bool = false,
        /// Certificate chain to show to a broker that asks for one, PEM.
        cert: Option<PathBuf> = None,
        /// Private key of the certificate, PEM.
        key: Option<PathBuf> = None,
        /// A sign of life is asked for after so much silence; 0: never.
        keep_alive_s: u32 = 60,
        /// Begin a new session with each connection: what is published there meanwhile does not come.
        clean_start: bool = false,
        /// With version 3.1.1: make itself known as a bridge, as Mosquitto's do, so that a Mosquitto keeps retain flags and sends no own
        /// messages back. Another broker that refuses this is asked again without.
        try_private: bool = true,
        /// Events under way to the other broker that it has not acknowledged.
        window: u32 = 200,
        /// Events that are not durable and wait for the other broker; the oldest make room.
        queue_messages: u32 = 1000,
        /// Bytes of these.
        queue_bytes: ByteCount = ByteCount(1 << 20),
        /// An event that is not acknowledged in this time ends the connection, and is sent again on the next.
        ack_timeout_s: u32 = 30,
        /// Which topics cross; the first entry that matches a topic counts. Required.
        topic: Tables<BridgeTopic> = Tables::default(),
    }

    /// Topics of a bridge. Here they are called `local` + what `pattern` matches, there `remote` + the same.
    pub(super) struct BridgeTopic in "" {
        /// An MQTT topic filter. Empty: `local` and `remote` are whole names. Required.
        pattern: Option<String> = None,
        /// Which way their events go.
        direction: Direction = Direction::Out,
        /// The highest QoS that they cross with: 0, 1 or 2.
        qos: u32 = 1,
        /// What their names begin with here.
        local: String = String::new(),
        /// What their names begin with there.
        remote: String = String::new(),
    }

    /// A web server that is asked what sessions may do.
    pub(super) struct AuthorizeHook in "authorize_hook" {
        /// Where questions are posted: `https://host/path`.
        url: Option<String> = None,
        /// Sent as `Authorization: Bearer …`.
        token: Option<String> = None,
        /// PEM file of the authorities that are believed, instead of those of the system.
        ca: Option<PathBuf> = None,
    }

    /// A user.
    pub(super) struct User in "" {
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
    pub(super) struct WampCra in "" {
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
    pub(super) struct Jwt in "" {
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
    pub(super) struct Authenticator in "" {
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
    pub(super) struct AuthHook in "auth_hook" {
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
    pub(super) struct Scram in "" {
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
    pub(super) struct Role in "" {
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
    pub(super) struct Permission in "" {
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
