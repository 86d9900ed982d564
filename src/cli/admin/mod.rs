//! `fennec admin`: a running broker, by its procedures `fennec.admin.*`.

mod offer;
mod roles;
mod table;
mod users;

use std::io::Write as _;

use clap::{Args, Subcommand};

use super::Failure;
use super::ask::{self, json};
use super::client_args::ConnectArgs;
use super::connect::{Link, visit};
use super::lines::print_lines;
use crate::types::value::Value;

pub(super) use offer::offer;
use roles::RolesCommand;
use users::UsersCommand;

#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// List sessions, and what each of them holds
    Sessions(SessionsArgs),
    /// Tell all about one session
    Session(OneArgs),
    /// End the connection of a session
    Kick(KickArgs),
    /// List subscriptions
    Subscriptions(ListArgs),
    /// List registrations
    Registrations(ListArgs),
    /// List retained values; tell or delete one
    #[command(subcommand)]
    Retained(RetainedCommand),
    /// List named durable subscriptions, and how far each is behind; delete one
    #[command(subcommand)]
    Durables(DurablesCommand),
    /// List, add and remove users, and give them passwords
    #[command(subcommand)]
    Users(UsersCommand),
    /// List roles and what they may do, and change that in the broker's file
    #[command(subcommand)]
    Roles(RolesCommand),
    /// Tell or change what is logged
    LogLevel(LogLevelArgs),
    /// Have the broker read its files again, as it does on SIGHUP
    Reload(PlainArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum RetainedCommand {
    /// List retained values
    List(RetainedArgs),
    /// Tell the value of a topic
    Get(OneArgs),
    /// Delete the value of a topic, whoever may publish there
    Delete(OneArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum DurablesCommand {
    /// List named durable subscriptions of all users
    List(ListArgs),
    /// Delete one: what it has not read is not kept for it any more
    Delete(OneArgs),
}

#[derive(Debug, Args)]
pub(super) struct PlainArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print JSON objects with all that is known of each
    #[arg(long)]
    json: bool,
    /// No more than these [default: all]
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(super) struct SessionsArgs {
    /// Those that hold most, that one first: 20, or as many as --limit says
    #[arg(long)]
    top: bool,
    /// Only those that speak mqtt, wamp or http
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// Only those of this user
    #[arg(long, value_name = "USER")]
    authid: Option<String>,
    /// Only those that have a connection
    #[arg(long, conflicts_with = "offline")]
    connected: bool,
    /// Only those that are kept without a connection
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Args)]
pub(super) struct RetainedArgs {
    /// Which topics, as URIs in which * and a last # are wildcards [default: #]
    pattern: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// A session: its id, or its MQTT client id; a topic as a URI; or a name
    name: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(super) struct KickArgs {
    /// Its id, or its MQTT client id
    session: String,
    /// What the client is told: a URI [default: wamp.close.killed]
    #[arg(long, value_name = "URI")]
    reason: Option<String>,
    /// What the client is told, for people
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// End the session of an MQTT client, too, connected or not: its subscriptions go, and what waits for it
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(super) struct LogLevelArgs {
    /// What is to be logged from now on: info, debug, or several for parts, such as warn,fennec::mqtt=debug
    filter: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Sessions of `--top`.
const TOP: u64 = 20;
/// Entries that are asked for at a time.
const PAGE: u64 = 500;

impl AdminCommand {
    fn connect(&self) -> &ConnectArgs {
        match self {
            Self::Sessions(args) => &args.list.connect,
            Self::Subscriptions(args) | Self::Registrations(args) => &args.connect,
            Self::Session(args) => &args.connect,
            Self::Kick(args) => &args.connect,
            Self::Retained(RetainedCommand::List(args)) => &args.list.connect,
            Self::Retained(RetainedCommand::Get(args) | RetainedCommand::Delete(args)) => &args.connect,
            Self::Durables(DurablesCommand::List(args)) => &args.connect,
            Self::Durables(DurablesCommand::Delete(args)) => &args.connect,
            Self::Users(command) => command.connect(),
            Self::Roles(command) => command.connect(),
            Self::LogLevel(args) => &args.connect,
            Self::Reload(args) => &args.connect,
        }
    }
}

pub(super) fn run(command: AdminCommand) -> Result<(), Failure> {
    visit(command.connect(), async |link| print_lines(&answer(link, &command).await?))
}

/// What is to be printed.
async fn answer(link: &mut Link, command: &AdminCommand) -> Result<Vec<String>, Failure> {
    let one = |value: &Value| vec![json(value)];
    match command {
        AdminCommand::Sessions(args) => sessions(link, args).await,
        AdminCommand::Session(args) => Ok(one(&call(link, "session", vec![session(&args.name)]).await?)),
        AdminCommand::Kick(args) => kick(link, args).await,
        AdminCommand::Subscriptions(args) => list(link, "subscriptions", args, Vec::new(), &table::SUBSCRIPTIONS).await,
        AdminCommand::Registrations(args) => list(link, "registrations", args, Vec::new(), &table::REGISTRATIONS).await,
        AdminCommand::Retained(RetainedCommand::List(args)) => {
            let pattern = args.pattern.as_deref().map(|pattern| ("pattern", Value::from(pattern)));
            list(link, "retained", &args.list, pattern.into_iter().collect(), &table::RETAINED).await
        }
        AdminCommand::Retained(RetainedCommand::Get(args)) => {
            Ok(one(&call(link, "retained_get", vec![args.name.as_str().into()]).await?))
        }
        AdminCommand::Retained(RetainedCommand::Delete(args)) => {
            call(link, "retained_delete", vec![args.name.as_str().into()]).await.map(|_| Vec::new())
        }
        AdminCommand::Durables(DurablesCommand::List(args)) => {
            list(link, "durables", args, Vec::new(), &table::DURABLES).await
        }
        AdminCommand::Durables(DurablesCommand::Delete(args)) => {
            call(link, "durable_delete", vec![args.name.as_str().into()]).await.map(|_| Vec::new())
        }
        AdminCommand::Users(command) => users::answer(link, command).await,
        AdminCommand::Roles(command) => roles::answer(link, command).await,
        AdminCommand::LogLevel(args) => {
            let filter = args.filter.as_deref().map(Value::from).into_iter().collect();
            let answer = call(link, "log_level", filter).await?;
            Ok(answer.get("filter").and_then(Value::as_str).map(str::to_owned).into_iter().collect())
        }
        AdminCommand::Reload(_) => {
            let answer = call(link, "reload", Vec::new()).await?;
            let names = answer.get("reloaded").and_then(Value::as_list).unwrap_or_default();
            Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
    }
}

async fn call(link: &mut Link, what: &str, args: Vec<Value>) -> Result<Value, Failure> {
    ask::call(link, &format!("fennec.admin.{what}"), args).await
}

/// An id is a number; a client id that looks like one cannot be said.
fn session(typed: &str) -> Value {
    typed.parse::<u64>().map_or_else(|_| Value::from(typed), Value::from)
}

async fn kick(link: &mut Link, args: &KickArgs) -> Result<Vec<String>, Failure> {
    let said = [("reason", &args.reason), ("message", &args.message)];
    let said = said.into_iter().filter_map(|(name, text)| Some((name, Value::from(text.as_deref()?))));
    let options = Value::map(said.chain(args.forget.then_some(("forget", Value::Bool(true)))));
    call(link, "kick", vec![session(&args.session), options]).await.map(|_| Vec::new())
}

async fn sessions(link: &mut Link, args: &SessionsArgs) -> Result<Vec<String>, Failure> {
    let mut options = Vec::new();
    for (name, text) in [("protocol", &args.protocol), ("authid", &args.authid)] {
        options.extend(text.as_deref().map(|text| (name, Value::from(text))));
    }
    if args.connected || args.offline {
        options.push(("connected", Value::Bool(args.connected)));
    }
    if !args.top {
        return list(link, "sessions", &args.list, options, &table::SESSIONS).await;
    }
    options.push(("order_by", Value::from("bytes")));
    options.push(("limit", Value::from(args.list.limit.unwrap_or(TOP))));
    let answer = call(link, "sessions", vec![Value::map(options)]).await?;
    warn_of_silence(&answer);
    let entries = answer.get("sessions").and_then(Value::as_list).unwrap_or_default();
    Ok(shown(entries, args.list.json, &table::SESSIONS))
}

/// All pages of a list, or as much of them as is wanted.
async fn list(
    link: &mut Link,
    what: &str,
    args: &ListArgs,
    options: Vec<(&str, Value)>,
    columns: &[table::Column],
) -> Result<Vec<String>, Failure> {
    let wanted = args.limit.unwrap_or(u64::MAX);
    let mut entries: Vec<Value> = Vec::new();
    let mut after = None;
    while (entries.len() as u64) < wanted {
        let mut options = options.clone();
        options.push(("limit", Value::from((wanted - entries.len() as u64).min(PAGE))));
        options.extend(after.map(|after| ("after", after)));
        let answer = call(link, what, vec![Value::map(options)]).await?;
        warn_of_silence(&answer);
        entries.extend(answer.get(what).and_then(Value::as_list).unwrap_or_default().iter().cloned());
        after = answer.get("next").cloned();
        if after.is_none() {
            break;
        }
    }
    Ok(shown(&entries, args.json, columns))
}

/// A list of a cluster may lack what entries have that did not answer.
fn warn_of_silence(answer: &Value) {
    let silent = answer.get("unanswered").and_then(Value::as_list).unwrap_or_default();
    let silent: Vec<&str> = silent.iter().filter_map(Value::as_str).collect();
    if !silent.is_empty() {
        // Where nobody reads, the list is as it is all the same.
        let _ = writeln!(std::io::stderr(), "fennec: warning: without {}, which did not answer", silent.join(", "));
    }
}

fn shown(entries: &[Value], as_json: bool, columns: &[table::Column]) -> Vec<String> {
    if as_json { entries.iter().map(json).collect() } else { table::table(entries, columns) }
}
