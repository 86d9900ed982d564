//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::admin::AdminCommand;
use super::bridge::BridgeCommand;
use super::client_args::{CallArgs, KeysArgs, LockArgs, LogArgs, PubArgs, RegisterArgs, SubArgs};
use super::cluster::ClusterCommand;
use super::config::{Flag, Sources};
use super::import::ImportCommand;
use super::node::NodeArgs;
use super::role::RoleCommand;
use super::service::ServiceArgs;
use super::store::StoreCommand;
use super::uplink::UplinkCommand;
use super::user::UserCommand;

/// One broker in which WAMP browsers and MQTT devices meet.
#[derive(Debug, Parser)]
#[command(name = "fennec", version, about, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start the broker; the same as no command
    Serve(ServeArgs),
    /// Check a configuration file and the environment; print "ok" or every mistake
    CheckConfig(CheckConfigArgs),
    /// Turn a password into what the configuration keeps of it
    HashPassword(HashPasswordArgs),
    /// Add, change, list and remove users in the file that the configuration names
    #[command(subcommand)]
    User(UserCommand),
    /// List roles and what they may do, and change that in the file that the configuration names
    #[command(subcommand)]
    Role(RoleCommand),
    /// Turn the configuration of another broker into one of this
    #[command(subcommand)]
    Import(ImportCommand),
    /// Publish a message, or one per line of standard input
    Pub(PubArgs),
    /// Subscribe, and print what comes, one JSON object a line
    Sub(SubArgs),
    /// Call a procedure and print its result
    Call(CallArgs),
    /// Offer a procedure that a shell command answers
    Register(RegisterArgs),
    /// Print the events of a durable topic that the broker has kept
    Log(LogArgs),
    /// Run a command while holding a lock
    Lock(LockArgs),
    /// List, read and change retained values
    Keys(KeysArgs),
    /// Look at how uplinks are doing
    #[command(subcommand)]
    Uplink(UplinkCommand),
    /// Look at bridges to other MQTT brokers
    #[command(subcommand)]
    Bridge(BridgeCommand),
    /// Look at a running broker and steer it: sessions, subscriptions, retained values, what is logged
    #[command(subcommand)]
    Admin(AdminCommand),
    /// List, add, remove and steer webhook services
    Service(ServiceArgs),
    /// Look at what a broker keeps, make it smaller, or move it
    #[command(subcommand)]
    Store(StoreCommand),
    /// Look at the configuration of a cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Run an entry of a cluster: clients connect there
    Entry(NodeArgs),
    /// Run a storage of a cluster
    Ndb(NodeArgs),
    /// Run a sync of a cluster, which puts messages into order
    Sync(NodeArgs),
    /// Run a process of a cluster, whichever roles it plays
    Node(NodeArgs),
}

/// Each flag stands for a key of the configuration and wins over the environment (FENNEC_…), which wins over the file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ServeArgs {
    /// Configuration file (TOML); else the one that FENNEC_CONFIG names
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where MQTT is taken, such as 127.0.0.1:1883, or "off"; may be repeated [listen.mqtt]
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Vec<String>,
    /// Where HTTP and WebSocket are taken, or "off"; may be repeated [listen.http]
    #[arg(long, value_name = "ADDR")]
    pub http: Vec<String>,
    /// Where WAMP over RawSocket is taken, or "off"; may be repeated [listen.rawsocket]
    #[arg(long, value_name = "ADDR")]
    pub rawsocket: Vec<String>,
    /// Folder for what must survive a restart [data]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["memory", "store"])]
    pub data: Option<String>,
    /// The same, or a database: postgres://user:password@host/database [store]
    #[arg(long, value_name = "DIR|URL", conflicts_with = "memory")]
    pub store: Option<String>,
    /// Keep everything in memory [memory]
    #[arg(long)]
    pub memory: bool,
    /// Let clients in that do not say who they are [anonymous]
    #[arg(long)]
    pub anonymous: bool,
    /// What is logged, such as debug or warn,fennec::mqtt=debug [log]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// human or json [log_format]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Say back what comes by WebSocket on this path: for test suites, such as Autobahn's
    #[arg(long, value_name = "PATH", hide = true)]
    pub ws_echo: Option<String>,
    /// Any other key of the configuration, such as limits.sessions_max=500; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckConfigArgs {
    /// Configuration file; else the one that FENNEC_CONFIG names
    pub file: Option<PathBuf>,
    /// Print every key there is, with type, default and meaning (Markdown)
    #[arg(long, conflicts_with = "file")]
    pub keys: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct HashPasswordArgs {
    /// User name to write into the entry
    #[arg(long, default_value = "NAME")]
    pub name: String,
    /// Rounds that WAMP clients derive their key with
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub iterations: u32,
}

impl ServeArgs {
    /// These flags over the environment of this process over the file.
    pub(super) fn sources(self) -> Sources {
        let listen = |name: &str, addresses: Vec<String>| {
            let value = (!addresses.is_empty()).then(|| addresses.join(","))?;
            Some(Flag { name: format!("--{name}"), key: format!("listen.{name}"), value })
        };
        let flag = |name: &str, key: &str, value: Option<String>| {
            Some(Flag { name: format!("--{name}"), key: key.to_owned(), value: value? })
        };
        let switch = |name: &str, on: bool| flag(name, name, on.then(|| "true".to_owned()));
        let set = self.set.into_iter().map(|(key, value)| Some(Flag { name: format!("--set {key}"), key, value }));
        let flags = [
            listen("mqtt", self.mqtt),
            listen("http", self.http),
            listen("rawsocket", self.rawsocket),
            flag("data", "data", self.data),
            flag("store", "store", self.store),
            switch("memory", self.memory),
            switch("anonymous", self.anonymous),
            flag("log", "log", self.log),
            flag("log-format", "log_format", self.log_format),
        ];
        Sources {
            file: self.config,
            env: std::env::vars_os().collect(),
            flags: flags.into_iter().chain(set).flatten().collect(),
        }
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
