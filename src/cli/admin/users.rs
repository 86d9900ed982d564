//! `fennec admin users`: what `fennec user` does to a file, asked of a running broker.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{OneArgs, PlainArgs, call, shown, table};
use crate::cli::Failure;
use crate::cli::client_args::ConnectArgs;
use crate::cli::connect::Link;
use crate::cli::hash_password::read_password;
use crate::types::value::Value;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UsersCommand {
    /// List all users: name, role, and how they can prove who they are
    List(UsersArgs),
    /// Add a user; the password is read from a file, a prompt, or standard input
    Add(AddArgs),
    /// Give a user another password, and end its connections
    Passwd(PasswdArgs),
    /// Give a user another role, and end its connections
    Role(UserRoleArgs),
    /// Remove a user, and end its connections
    Remove(OneArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UsersArgs {
    /// Print JSON objects
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub(super) plain: PlainArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// Its role; required as soon as there are roles
    #[arg(long)]
    role: Option<String>,
    /// A realm that is open to it; may be repeated [default: all]
    #[arg(long = "open-realm", value_name = "REALM")]
    realms: Vec<String>,
    #[command(flatten)]
    user: PasswdArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PasswdArgs {
    /// User name
    name: String,
    /// File with the new password; its last line end is no part of it
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UserRoleArgs {
    /// User name
    name: String,
    /// Its role from now on
    role: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl UsersCommand {
    pub fn connect(&self) -> &ConnectArgs {
        match self {
            Self::List(args) => &args.plain.connect,
            Self::Add(args) => &args.user.connect,
            Self::Passwd(args) => &args.connect,
            Self::Role(args) => &args.connect,
            Self::Remove(args) => &args.connect,
        }
    }
}

/// What is to be printed.
pub(super) async fn answer(link: &mut Link, command: &UsersCommand) -> Result<Vec<String>, Failure> {
    match command {
        UsersCommand::List(args) => {
            let answer = call(link, "user.list", Vec::new()).await?;
            let users = answer.get("users").and_then(Value::as_list).unwrap_or_default();
            Ok(shown(users, args.json, &table::USERS))
        }
        UsersCommand::Add(args) => {
            let mut options = password(&args.user)?;
            options.extend(args.role.as_deref().map(|role| ("role", Value::from(role))));
            if !args.realms.is_empty() {
                let realms = args.realms.iter().map(|realm| Value::from(realm.as_str())).collect();
                options.push(("realms", Value::List(realms)));
            }
            change(link, "user.add", &args.user.name, options).await
        }
        UsersCommand::Passwd(args) => change(link, "user.passwd", &args.name, password(args)?).await,
        UsersCommand::Role(args) => {
            change(link, "user.role", &args.name, vec![("role", Value::from(args.role.as_str()))]).await
        }
        UsersCommand::Remove(args) => change(link, "user.remove", &args.name, Vec::new()).await,
    }
}

fn password(args: &PasswdArgs) -> Result<Vec<(&'static str, Value)>, Failure> {
    let password = read_password(args.new_password_file.as_deref())?;
    Ok(vec![("password", Value::from(password))])
}

async fn change(
    link: &mut Link,
    what: &str,
    name: &str,
    options: Vec<(&'static str, Value)>,
) -> Result<Vec<String>, Failure> {
    call(link, what, vec![Value::from(name), Value::map(options)]).await.map(|_| Vec::new())
}
