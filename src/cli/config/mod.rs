//! The configuration: what may be said, where, and what it comes to.
//!
//! ```text
//! file (TOML)  environment  flags      `sources`: one tree of values, each with its place
//!          \       |       /
//!           tree of values             `setting`, `schema`: read into tables of known keys and types
//!                  |
//!             schema::File             `check`: what the keys mean together
//!                  |
//!               Config                 what `serve` builds the broker from
//! ```
//!
//! Every step goes on after a mistake, so that [`Config::load`] reports all of them, each with its place. A configuration with
//! a mistake is never used in part.
//!
//! Left out on purpose: opening ports and reading certificates; whether those work is seen when the broker starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::http::AddressHeader;

use crate::http::hooks::Hook;
use crate::net::listen::Proxying;
use crate::net::tls;
use crate::node::authenticate::jwt::Issuer;
use crate::node::users::{ANONYMOUS, Anonymous, UserEntry};
use crate::outbound::authenticate::{Authenticator, HookSettings};
use crate::outbound::bridge;
use crate::outbound::post::WebServer;
use crate::outbound::service::Configured;
use crate::outbound::uplink::Uplink;
use crate::router::authorize::{Authorizer, Role};
use crate::router::rules::Rules;
use crate::store::StoreSettings;
use crate::types::limits::Limits;
use crate::types::network::Network;
use crate::types::payload::Codec;
use crate::types::topic::TopicPattern;

mod check;
pub mod cluster;
mod listen;
mod nearest;
mod reference;
mod schema;
mod setting;
mod sources;
mod store;
#[cfg(test)]
mod tests;
pub mod users;
mod value;

pub use reference::markdown as reference;
pub use schema::LogFormat;
pub use sources::{Flag, Sources};
pub use value::{Origin, Problem};

/// Role of users without one; there are such users only as long as no roles are configured.
pub const USER_ROLE: &str = "user";

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where all of it was said, to be read again.
    pub sources: Sources,
    /// In the order mqtt, mqtts, http, https, rawsocket, rawsockets, admin, metrics.
    pub listeners: Vec<Listener>,
    /// Where state is kept, and how safe.
    pub store: StoreSettings,
    /// Of which topics events are kept, and how long; the first that matches a topic counts.
    pub durable: Vec<DurablePolicy>,
    pub uplinks: Vec<Uplink>,
    /// What is logged, as a filter of `tracing_subscriber::EnvFilter`.
    pub log: String,
    pub log_format: LogFormat,
    /// The file of the audit log; none: it is logged with the rest alone.
    pub audit_log: Option<PathBuf>,
    /// The realm of those who name none.
    pub default_realm: Arc<str>,
    /// Whether a realm is made when somebody first enters it.
    pub auto_realms: bool,
    /// Every configured realm once, the default one first.
    pub realms: Vec<Arc<str>>,
    pub limits: Limits,
    /// How payloads are translated; the first pattern that matches a topic counts, else [`Codec::Auto`].
    pub codecs: Vec<(TopicPattern, Codec)>,
    pub rules: Rules,
    /// Nobody may subscribe to a filter within one of these.
    pub refuse_filters: Vec<TopicPattern>,
    /// Origins of foreign web pages that may open a WebSocket or POST, in lower case; `null` and `*` as in the reference.
    pub allowed_origins: Vec<String>,
    /// Path of a WebSocket that says everything back; by a flag only, for test suites.
    pub ws_echo: Option<String>,
    pub address_header: AddressHeader,
    pub services: Vec<Configured>,
    /// Where services may be that are added at run time, beside the public internet.
    pub allow_networks: Vec<Network>,
    pub hooks: Vec<Hook>,
    pub bridges: Vec<bridge::Config>,
    /// Holds more users and roles, which are among those below.
    pub users_file: Option<PathBuf>,
    /// Whose tokens are believed.
    pub jwt: Vec<Issuer>,
    /// Procedures that decide who somebody is.
    pub authenticators: Vec<Authenticator>,
    /// The endpoint that does.
    pub auth_hook: Option<HookSettings>,
    /// Who is asked what sessions may do, where a role says `hook`.
    pub authorize_hook: Option<WebServer>,
    pub users: Vec<UserEntry>,
    pub roles: Vec<RoleEntry>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Mqtt,
    /// WebSocket too.
    Http,
    RawSocket,
    /// HTTP for who runs the broker.
    Admin,
    /// HTTP for who watches it.
    Metrics,
}

/// A place where connections are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub protocol: Protocol,
    /// Port 0: any free one.
    pub address: SocketAddr,
    /// Could be read when the configuration was checked.
    pub tls: Option<tls::Files>,
    /// `None`: connections are direct.
    pub proxy: Option<Proxying>,
    /// Who says for whom it connects.
    pub trusted_proxies: Arc<[Network]>,
    /// Realm of MQTT clients that name none, instead of the default one.
    pub realm: Option<Arc<str>>,
    /// Whether clients that do not say who they are may come in.
    pub anonymous: Anonymous,
    /// Its configuration key, for messages.
    pub key: String,
}

/// Topics of which the events are kept in the log, and how many of them; whatever is beyond any of the bounds goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurablePolicy {
    pub pattern: TopicPattern,
    /// `None`: in all realms.
    pub realm: Option<Arc<str>>,
    /// At least 1.
    pub max_age_s: u64,
    /// At least 1; payloads and topics.
    pub max_bytes: u64,
    /// At least 1; `None`: not bounded by count.
    pub max_messages: Option<u64>,
}

/// A role and where it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleEntry {
    pub role: Role,
    /// `None`: in all realms.
    pub realms: Option<Vec<Arc<str>>>,
}

/// In the order of their places.
fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| match &problem.origin {
        Origin::File { line, column, .. } => (1, *line, *column),
        other => (other.priority(), 0, 0),
    });
}

impl Config {
    /// Reads and checks. Fails with every mistake, in the order of their places.
    pub fn load(sources: &Sources) -> Result<Config, Vec<Problem>> {
        Config::load_with(sources, None)
    }

    /// The same, were this what the file of users holds.
    pub fn load_with(sources: &Sources, users: Option<&str>) -> Result<Config, Vec<Problem>> {
        let (mut tree, mut problems) = sources.merge();
        problems.append(&mut users::include(&mut tree, users));
        let mut reader = setting::Reader::default();
        let file = reader.section::<schema::File>(&tree).unwrap_or_default();
        problems.append(&mut reader.problems);
        // What the keys mean together is not asked of a file of which only a part was understood.
        if problems.is_empty() {
            let (config, mut found) = check::check(file, reader);
            if found.is_empty() {
                return Ok(Config { sources: sources.clone(), ..config });
            }
            problems.append(&mut found);
        }
        sort(&mut problems);
        Err(problems)
    }

    /// Who may do what in a realm. Without configured roles everybody who came in may do everything.
    pub fn authorizer(&self, realm: &str) -> Authorizer {
        if self.roles.is_empty() {
            return Authorizer::new([ANONYMOUS, USER_ROLE].map(Role::unrestricted));
        }
        let holds =
            |entry: &&RoleEntry| entry.realms.as_ref().is_none_or(|realms| realms.iter().any(|name| **name == *realm));
        Authorizer::new(self.roles.iter().filter(holds).map(|entry| entry.role.clone()))
    }
}
