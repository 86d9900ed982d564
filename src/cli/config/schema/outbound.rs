//! Tables of what leaves the broker, and of what web servers may post to it.

use std::path::PathBuf;

use crate::cli::config::setting::{ByteCount, Tables, sections};
use crate::http::hooks::Proof;
use crate::mqtt::codec::Level;
use crate::outbound::bridge::rules::Direction;

sections! {
    /// An uplink to a central broker.
    pub(in crate::cli::config) struct Uplink in "" {
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
    pub(in crate::cli::config) struct Service in "" {
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
    pub(in crate::cli::config) struct Services in "services" {
        /// Networks such as `10.0.0.0/8` in which services may be that are added at run time. Else these may not be at loopback,
        /// private or link-local addresses.
        allow_networks: Vec<String> = Vec::new(),
    }

    /// Where others may post events.
    pub(in crate::cli::config) struct Hook in "" {
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
    pub(in crate::cli::config) struct Bridge in "" {
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
    pub(in crate::cli::config) struct BridgeTopic in "" {
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
}
