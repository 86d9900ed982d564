//! `fennec user`: users are added, given passwords, listed and removed in the file that the configuration names. A broker that runs
//! reads the file again by itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::config::users::file_of;
use super::config::{Config, Sources};
use super::hash_password::{Secrets, check_name, read_password};
use super::{Failure, print};
use crate::types::value::Value;
use edit::{EditError, NewUser, UsersFile};

pub mod edit;
pub mod procedures;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user; the password is read from a file, a prompt, or standard input
    Add(AddArgs),
    /// Give a user another password, and end its connections
    Passwd(PasswdArgs),
    /// List all users: name, role, realms, and how they can prove who they are
    List(ListArgs),
    /// Remove a user, and end its connections
    Remove(RemoveArgs),
    /// Give a user another role, and end its connections
    Role(UserRoleArgs),
}

#[derive(Debug, Args)]
pub(super) struct WhereArgs {
    /// Configuration file; else the one that FENNEC_CONFIG names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file of users, without a configuration [users_file]
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    users_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    /// File with the password; its last line end is no part of it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Rounds that WAMP clients derive their key with
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    iterations: u32,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// User name
    name: String,
    /// Its role; required as soon as there are roles
    #[arg(long)]
    role: Option<String>,
    /// A realm that is open to it; may be repeated [default: all]
    #[arg(long = "realm", value_name = "REALM")]
    realms: Vec<String>,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
pub(super) struct PasswdArgs {
    /// User name
    name: String,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print JSON objects
    #[arg(long)]
    pub json: bool,
    /// Configuration file; else the one that FENNEC_CONFIG names
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// User name
    name: String,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
pub(super) struct UserRoleArgs {
    /// User name
    name: String,
    /// Its role from now on
    role: String,
    #[command(flatten)]
    place: WhereArgs,
}

pub(super) fn run(command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => {
            check_name(&args.name).map_err(refused)?;
            let file = args.place.file()?;
            let secrets = args.password.read()?;
            let user = NewUser { name: args.name, role: args.role, realms: args.realms };
            file.add(&user, &secrets).map_err(Failure::from)
        }
        UserCommand::Passwd(args) => {
            let file = args.place.file()?;
            file.set_password(&args.name, &args.password.read()?).map_err(Failure::from)
        }
        UserCommand::Remove(args) => args.place.file()?.remove(&args.name).map_err(Failure::from),
        UserCommand::Role(args) => args.place.file()?.set_role(&args.name, &args.role).map_err(Failure::from),
        UserCommand::List(args) => {
            let config = Config::load(&sources(args.config)).map_err(Failure::of_problems)?;
            print(
                &list(&config).iter().map(|user| if args.json { json(user) } else { shown(user) }).collect::<String>(),
            )
        }
    }
}

fn refused(what: String) -> Failure {
    Failure::Refused(vec![what])
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Io(what) => Failure::Run(what),
            EditError::Wrong(lines) => Failure::Refused(lines),
            other => refused(other.to_string()),
        }
    }
}

pub(super) fn sources(config: Option<PathBuf>) -> Sources {
    Sources { file: config, env: std::env::vars_os().collect(), flags: Vec::new() }
}

impl WhereArgs {
    pub fn file(self) -> Result<UsersFile, Failure> {
        if let Some(path) = self.users_file {
            return Ok(UsersFile::new(path, None));
        }
        let sources = sources(self.config);
        let none = || {
            refused(
                "no file of users is configured: write users_file = \"users.toml\", or say --users-file FILE"
                    .to_owned(),
            )
        };
        let path = file_of(&sources).ok_or_else(none)?;
        Ok(UsersFile::new(path, Some(sources)))
    }
}

impl PasswordArgs {
    fn read(&self) -> Result<Secrets, Failure> {
        let password = read_password(self.password_file.as_deref())?;
        Secrets::new(&password, self.iterations).map_err(Failure::Run)
    }
}

/// `{name, role, realms, methods, where}` of each, without secrets.
fn list(config: &Config) -> Vec<Value> {
    let entry = |user: &crate::node::users::UserEntry| {
        let realms = match &user.realms {
            Some(realms) => Value::List(realms.iter().map(|realm| Value::from(&**realm)).collect()),
            None => Value::Null,
        };
        let methods = user.credentials.methods().into_iter().map(Value::from).collect();
        Value::map([
            ("name", Value::from(&*user.name)),
            ("role", Value::from(&*user.role)),
            ("realms", realms),
            ("methods", Value::List(methods)),
        ])
    };
    config.users.iter().map(entry).collect()
}

fn json(user: &Value) -> String {
    super::ask::json(user) + "\n"
}

fn shown(user: &Value) -> String {
    let text = |name: &str| user.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let joined = |name: &str| {
        let list = user.get(name).and_then(Value::as_list)?;
        Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
    };
    let realms = joined("realms").unwrap_or_else(|| "*".to_owned());
    format!("{}\t{}\t{realms}\t{}\n", text("name"), text("role"), joined("methods").unwrap_or_default())
}
