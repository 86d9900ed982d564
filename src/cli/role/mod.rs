//! `fennec role`: roles and what they may do, listed, and changed in the file of users. A broker that runs reads the file again by
//! itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::config::Config;
use super::user::{ListArgs, WhereArgs, sources};
use super::{Failure, print};
use crate::router::authorize::{Permission, Whom};
use crate::types::topic::MatchPolicy;
use crate::types::value::Value;
use edit::{NewRole, Pattern, Subject};

pub mod edit;
pub mod procedures;

#[derive(Debug, Subcommand)]
pub(super) enum RoleCommand {
    /// List all roles and their permissions
    List(ListArgs),
    /// Add a role that may do nothing yet
    Add(AddArgs),
    /// Remove a role that nobody has
    Remove(RemoveArgs),
    /// Allow a role something
    Allow(PermitArgs),
    /// Deny a role something
    Deny(PermitArgs),
    /// Take back what was said of something
    Clear(PermitArgs),
}

#[derive(Debug, Args)]
pub(super) struct RoleArgs {
    /// Name of the role
    pub name: String,
    /// A realm in which it holds; may be repeated [default: all]
    #[arg(long = "in-realm", value_name = "REALM")]
    pub realms: Vec<String>,
    /// Who is asked where no permission matches: a procedure, or hook
    #[arg(long, value_name = "URI")]
    pub authorizer: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Name of the role
    name: String,
    #[command(flatten)]
    place: WhereArgs,
}

/// What is allowed or denied.
#[derive(Debug, Args)]
pub(super) struct SubjectArgs {
    /// Name of the role
    pub role: String,
    /// publish, subscribe, call, register, or several with commas
    #[arg(value_delimiter = ',', required = true, value_parser = ["publish", "subscribe", "call", "register"])]
    pub action: Vec<String>,
    /// Which topics or procedures: an MQTT topic filter; %u stands for the user, %c for the client id
    pub pattern: String,
    /// The pattern is a WAMP URI
    #[arg(long)]
    pub uri: bool,
    /// How the URI is matched: exact, prefix or wildcard
    #[arg(long, value_name = "POLICY", requires = "uri", default_value = "exact")]
    pub r#match: MatchPolicy,
}

#[derive(Debug, Args)]
pub(super) struct PermitArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    place: WhereArgs,
}

pub(super) fn run(command: RoleCommand) -> Result<(), Failure> {
    let permit = |args: PermitArgs, allow| {
        let PermitArgs { subject, place } = args;
        let role = subject.role.clone();
        place.file()?.permit(&role, &subject.into_subject(), allow).map_err(Failure::from)
    };
    match command {
        RoleCommand::List(args) => list_roles(args.json, args.config),
        RoleCommand::Add(AddArgs { role: RoleArgs { name, realms, authorizer }, place }) => {
            place.file()?.add_role(&NewRole { name, realms, authorizer }).map_err(Failure::from)
        }
        RoleCommand::Remove(args) => args.place.file()?.remove_role(&args.name).map_err(Failure::from),
        RoleCommand::Allow(args) => permit(args, Some(true)),
        RoleCommand::Deny(args) => permit(args, Some(false)),
        RoleCommand::Clear(args) => permit(args, None),
    }
}

fn list_roles(as_json: bool, config: Option<PathBuf>) -> Result<(), Failure> {
    let config = Config::load(&sources(config)).map_err(Failure::of_problems)?;
    let roles = list(&config);
    let lines: Vec<String> = match as_json {
        true => roles.iter().map(super::ask::json).collect(),
        false => roles.iter().flat_map(shown).collect(),
    };
    print(&lines.into_iter().map(|line| line + "\n").collect::<String>())
}

impl SubjectArgs {
    fn into_subject(self) -> Subject {
        let policy = self.r#match.as_str().to_owned();
        let pattern = if self.uri { Pattern::Uri { uri: self.pattern, policy } } else { Pattern::Topic(self.pattern) };
        Subject { actions: self.action, pattern }
    }
}

/// `{name, realms, authorizer, permissions}` of each.
fn list(config: &Config) -> Vec<Value> {
    let entry = |entry: &super::config::RoleEntry| {
        let realms = match &entry.realms {
            Some(realms) => Value::List(realms.iter().map(|realm| Value::from(&**realm)).collect()),
            None => Value::Null,
        };
        let authorizer = match entry.role.asks.as_ref().map(|asks| &asks.whom) {
            Some(Whom::Procedure(procedure)) => Value::from(procedure.uri()),
            Some(Whom::Hook) => Value::from("hook"),
            None => Value::Null,
        };
        Value::map([
            ("name", Value::from(&*entry.role.name)),
            ("realms", realms),
            ("authorizer", authorizer),
            ("permissions", Value::List(entry.role.permissions.iter().map(permission).collect())),
        ])
    };
    config.roles.iter().map(entry).collect()
}

fn permission(permission: &Permission) -> Value {
    let actions = permission.actions.iter().map(|action| Value::from(action.name())).collect();
    let mut entry = vec![("action", Value::List(actions))];
    match permission.pattern.filter() {
        Some(filter) => entry.push(("topic", Value::from(filter))),
        None => {
            let (uri, policy) = permission.pattern.uri();
            entry.extend([("uri", Value::from(uri)), ("match", Value::from(policy.as_str()))]);
        }
    }
    entry.push(("allow", Value::Bool(permission.allow)));
    Value::map(entry)
}

/// A line for each permission: name, allow or deny, actions, pattern. A role without any has its name alone.
pub(super) fn shown(role: &Value) -> Vec<String> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text(role, "name");
    let line = |permission: &Value| {
        let verb = if permission.get("allow").and_then(Value::as_bool) == Some(false) { "deny" } else { "allow" };
        let actions = permission.get("action").and_then(Value::as_list).unwrap_or_default();
        let actions: Vec<&str> = actions.iter().filter_map(Value::as_str).collect();
        let pattern = match permission.get("uri") {
            Some(_) => format!("{} ({})", text(permission, "uri"), text(permission, "match")),
            None => text(permission, "topic"),
        };
        format!("{name}\t{verb}\t{}\t{pattern}", actions.join(","))
    };
    let permissions = role.get("permissions").and_then(Value::as_list).unwrap_or_default();
    if permissions.is_empty() { vec![name.clone()] } else { permissions.iter().map(line).collect() }
}
