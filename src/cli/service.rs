//! `fennec service`: webhook services, by the procedures `fennec.service.*` of a running broker.

use clap::{Args, Subcommand};

use super::Failure;
use super::ask::{self, json};
use super::client_args::ConnectArgs;
use super::connect::{Link, visit};
use super::lines::print_lines;
use crate::client::url::Protocol;
use crate::types::topic::TopicPattern;
use crate::types::value::Value;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ServiceArgs {
    #[command(subcommand)]
    command: Option<ServiceCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// List services and how they are; the same as no command
    List(ListArgs),
    /// Add a service, or change one that was added
    Add(Box<AddArgs>),
    /// Remove a service; what it was not sent is not kept for it any more
    Remove(OneArgs),
    /// Try a service now that is down or disabled
    Retry(OneArgs),
    /// Send again what was published behind an event or since a time
    Replay(ReplayArgs),
    /// Send nothing to a service; what is published is kept for it
    Pause(OneArgs),
    /// Go on with a service that was paused
    Resume(OneArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON objects with all that is known of each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The service
    id: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The service
    id: String,
    /// Event id, publication id, or RFC 3339 time
    #[arg(long, value_name = "EVENT|TIME")]
    after: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// What it is to be called
    id: String,
    /// Where it is: transactions are put to URL/transactions/ID
    url: String,
    /// Which events it gets, as the protocol spells patterns: a.# (WAMP), a/# (MQTT); may be repeated
    #[arg(long = "topic", value_name = "PATTERN", required = true)]
    topics: Vec<String>,
    /// Sent as "Authorization: Bearer TOKEN"
    #[arg(long)]
    token: Option<String>,
    /// Key of the signature (Standard Webhooks): whsec_…
    #[arg(long)]
    secret: Option<String>,
    /// Events that one transaction has at most [default: 100]
    #[arg(long, value_name = "COUNT")]
    events_max: Option<u32>,
    /// Bytes that one transaction has at most [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    bytes_max: Option<u32>,
    /// How long events gather, in milliseconds [default: 50]
    #[arg(long, value_name = "MS")]
    linger_ms: Option<u32>,
    /// How long it may take to answer, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS")]
    timeout_s: Option<u32>,
    /// Where events go that it refuses, as a URI [default: dead.service.ID]
    #[arg(long, value_name = "URI")]
    dead_letter: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl ServiceCommand {
    fn connect(&self) -> &ConnectArgs {
        match self {
            Self::List(args) => &args.connect,
            Self::Add(args) => &args.connect,
            Self::Remove(args) | Self::Retry(args) | Self::Pause(args) | Self::Resume(args) => &args.connect,
            Self::Replay(args) => &args.connect,
        }
    }
}

pub(super) fn run(args: ServiceArgs) -> Result<(), Failure> {
    let command = args.command.unwrap_or(ServiceCommand::List(args.list));
    visit(command.connect(), async |link| match &command {
        ServiceCommand::List(args) => list(link, args).await,
        ServiceCommand::Add(args) => add(link, args).await,
        ServiceCommand::Remove(args) => call(link, "remove", vec![args.id.as_str().into()]).await.map(drop),
        ServiceCommand::Retry(args) => call(link, "retry", vec![args.id.as_str().into()]).await.map(drop),
        ServiceCommand::Pause(args) => call(link, "pause", vec![args.id.as_str().into()]).await.map(drop),
        ServiceCommand::Resume(args) => call(link, "resume", vec![args.id.as_str().into()]).await.map(drop),
        ServiceCommand::Replay(args) => replay(link, args).await,
    })
}

async fn call(link: &mut Link, what: &str, args: Vec<Value>) -> Result<Value, Failure> {
    ask::call(link, &format!("fennec.service.{what}"), args).await
}

async fn list(link: &mut Link, args: &ListArgs) -> Result<(), Failure> {
    let answer = call(link, "list", Vec::new()).await?;
    let services = answer.get("services").and_then(Value::as_list).unwrap_or_default();
    print_lines(&services.iter().map(if args.json { json } else { shown }).collect::<Vec<_>>())
}

/// Id, status, what waits and for how long, tries that have failed, where it is, and what was wrong last.
fn shown(service: &Value) -> String {
    let text = |name: &str| service.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| service.get(name).and_then(Value::as_u64).map_or("?".to_owned(), |n| n.to_string());
    let mut line = format!(
        "{}\t{}\tlag {} events, {} s\tattempts {}\t{}",
        text("id"),
        text("status"),
        number("lag"),
        number("lag_s"),
        number("attempts"),
        text("url")
    );
    let error = text("error");
    if !error.is_empty() {
        line.push('\t');
        line.push_str(&error);
    }
    line
}

async fn add(link: &mut Link, args: &AddArgs) -> Result<(), Failure> {
    let topics = args.topics.iter().map(|typed| pattern(link, typed)).collect::<Result<Vec<_>, _>>()?;
    let mut given = vec![("url", Value::from(args.url.as_str())), ("topics", Value::List(topics))];
    for (name, text) in [("token", &args.token), ("secret", &args.secret), ("dead_letter", &args.dead_letter)] {
        given.extend(text.as_deref().map(|text| (name, Value::from(text))));
    }
    for (name, number) in [
        ("events_max", args.events_max),
        ("bytes_max", args.bytes_max),
        ("linger_ms", args.linger_ms),
        ("timeout_s", args.timeout_s),
    ] {
        given.extend(number.map(|number| (name, Value::from(u64::from(number)))));
    }
    call(link, "add", vec![args.id.as_str().into(), Value::map(given)]).await.map(drop)
}

/// The pattern as the broker takes it.
fn pattern(link: &Link, typed: &str) -> Result<Value, Failure> {
    if link.client.url().protocol == Protocol::Wamp {
        return Ok(typed.into());
    }
    let pattern = TopicPattern::from_filter(typed);
    let pattern = pattern.map_err(|error| Failure::Refused(vec![format!("{typed:?} {error}")]))?;
    Ok(pattern.uri().0.into())
}

async fn replay(link: &mut Link, args: &ReplayArgs) -> Result<(), Failure> {
    let after = Value::map([("after", Value::from(args.after.as_str()))]);
    let answer = call(link, "replay", vec![args.id.as_str().into(), after]).await?;
    if answer.get("recovered").and_then(Value::as_bool) == Some(false) {
        link.tell(format_args!("some of what was published since is not kept any more"));
    }
    Ok(())
}
