//! `fennec admin roles`: what `fennec role` does to a file, asked of a running broker.

use clap::{Args, Subcommand};

use super::users::UsersArgs;
use super::{OneArgs, call};
use crate::cli::Failure;
use crate::cli::ask::json;
use crate::cli::client_args::ConnectArgs;
use crate::cli::connect::Link;
use crate::cli::role::{RoleArgs, SubjectArgs, shown};
use crate::types::value::Value;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RolesCommand {
    /// List all roles and their permissions
    List(UsersArgs),
    /// Add a role that may do nothing yet
    Add(AddArgs),
    /// Remove a role that nobody has
    Remove(OneArgs),
    /// Allow a role something
    Allow(PermitArgs),
    /// Deny a role something
    Deny(PermitArgs),
    /// Take back what was said of something
    Clear(PermitArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PermitArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl RolesCommand {
    pub fn connect(&self) -> &ConnectArgs {
        match self {
            Self::List(args) => &args.plain.connect,
            Self::Add(args) => &args.connect,
            Self::Remove(args) => &args.connect,
            Self::Allow(args) | Self::Deny(args) | Self::Clear(args) => &args.connect,
        }
    }
}

/// What is to be printed.
pub(super) async fn answer(link: &mut Link, command: &RolesCommand) -> Result<Vec<String>, Failure> {
    match command {
        RolesCommand::List(args) => {
            let answer = call(link, "role.list", Vec::new()).await?;
            let roles = answer.get("roles").and_then(Value::as_list).unwrap_or_default();
            Ok(if args.json { roles.iter().map(json).collect() } else { roles.iter().flat_map(shown).collect() })
        }
        RolesCommand::Add(AddArgs { role: RoleArgs { name, realms, authorizer }, .. }) => {
            let mut options = vec![("realms", texts(realms))];
            options.extend(authorizer.as_deref().map(|authorizer| ("authorizer", Value::from(authorizer))));
            change(link, "add", name, options).await
        }
        RolesCommand::Remove(args) => change(link, "remove", &args.name, Vec::new()).await,
        RolesCommand::Allow(args) => permit(link, "allow", &args.subject).await,
        RolesCommand::Deny(args) => permit(link, "deny", &args.subject).await,
        RolesCommand::Clear(args) => permit(link, "clear", &args.subject).await,
    }
}

async fn permit(link: &mut Link, verb: &str, subject: &SubjectArgs) -> Result<Vec<String>, Failure> {
    let mut options = vec![("action", texts(&subject.action))];
    if subject.uri {
        options.push(("match", Value::from(subject.r#match.as_str())));
    }
    options.push((if subject.uri { "uri" } else { "topic" }, Value::from(subject.pattern.as_str())));
    change(link, verb, &subject.role, options).await
}

fn texts(list: &[String]) -> Value {
    Value::List(list.iter().map(|text| Value::from(text.as_str())).collect())
}

async fn change(link: &mut Link, verb: &str, name: &str, options: Vec<(&str, Value)>) -> Result<Vec<String>, Failure> {
    let args = vec![Value::from(name), Value::map(options)];
    call(link, &format!("role.{verb}"), args).await.map(|_| Vec::new())
}
