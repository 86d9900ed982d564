//! Floor 5: what was typed, the configuration, one file per subcommand. Builds everything and starts it.
//!
//! ```text
//! arguments -> args::Args -> a subcommand's file -> config::Config (checked) -> the rooms below
//! ```
//!
//! Exit codes are decided here and nowhere else; see [`Failure`].

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Args, Command};

use crate::queue::envelope::Role;

mod access;
mod admin;
mod args;
mod ask;
mod bridge;
pub mod broker;
mod call;
mod check_config;
mod client_args;
mod cluster;
mod columns;
pub mod config;
mod connect;
mod hash_password;
mod house;
mod import;
mod keys;
mod lines;
mod lock;
pub mod log;
mod memory;
mod node;
mod open_log;
mod outbound;
mod pub_;
mod read_log;
mod register;
mod reload;
mod role;
mod serve;
mod service;
mod stop;
mod store;
mod sub;
mod uplink;
mod user;
mod watch;

/// Why the program ends without having done what was asked. Each line names the key, the file or the value it is about.
///
/// Exit codes: 0 done, 1 failed while running, 2 refused what was typed or configured. The higher ones belong to the client
/// commands (docs/cli.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Run(String),
    Refused(Vec<String>),
    /// 3: no connection to the broker, or no longer.
    Unreachable(String),
    /// 4: wrong login, or no permission.
    NotAuthorized(String),
    /// 5: what was waited for did not come in time.
    TimedOut(String),
    /// 6: the call was answered with an error.
    CallFailed(String),
    /// 7: the broker refuses for another reason, or breaks the protocol.
    Broker(String),
    /// 8: a lock was lost before its command had ended.
    LockLost(String),
    /// The code of a command that was run, as shells tell it, and why if it could not be run.
    Command {
        code: u8,
        line: Option<String>,
    },
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Run(_) => 1,
            Failure::Refused(_) => 2,
            Failure::Unreachable(_) => 3,
            Failure::NotAuthorized(_) => 4,
            Failure::TimedOut(_) => 5,
            Failure::CallFailed(_) => 6,
            Failure::Broker(_) => 7,
            Failure::LockLost(_) => 8,
            Failure::Command { code, .. } => *code,
        }
    }

    fn lines(&self) -> &[String] {
        match self {
            Failure::Run(line)
            | Failure::Unreachable(line)
            | Failure::NotAuthorized(line)
            | Failure::TimedOut(line)
            | Failure::CallFailed(line)
            | Failure::Broker(line)
            | Failure::LockLost(line) => std::slice::from_ref(line),
            Failure::Command { line, .. } => line.as_slice(),
            Failure::Refused(lines) => lines,
        }
    }

    /// Every mistake of a configuration on its line.
    fn of_problems(problems: Vec<config::Problem>) -> Failure {
        Failure::Refused(problems.iter().map(ToString::to_string).collect())
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    match run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            for line in failure.lines() {
                // Where nobody reads, the exit code still tells.
                let _ = writeln!(stderr, "fennec: {line}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return print(&error.render().to_string());
        }
        Err(error) => return Err(Failure::Refused(vec![one_line(&error)])),
    };
    match args.command.unwrap_or(Command::Serve(args.serve)) {
        Command::Serve(args) => serve::run(args),
        Command::CheckConfig(args) => check_config::run(args),
        Command::HashPassword(args) => hash_password::run(args),
        Command::User(command) => user::run(command),
        Command::Role(command) => role::run(command),
        Command::Import(command) => import::run(command),
        Command::Pub(args) => pub_::run(args),
        Command::Sub(args) => sub::run(args),
        Command::Call(args) => call::run(args),
        Command::Register(args) => register::run(args),
        Command::Log(args) => read_log::run(args),
        Command::Lock(args) => lock::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Uplink(command) => uplink::run(command),
        Command::Bridge(command) => bridge::run(command),
        Command::Service(args) => service::run(args),
        Command::Admin(command) => admin::run(command),
        Command::Store(command) => store::run(command),
        Command::Cluster(command) => cluster::run(command),
        Command::Entry(args) => node::run(args, Some(Role::Entry)),
        Command::Ndb(args) => node::run(args, Some(Role::Storage)),
        Command::Sync(args) => node::run(args, Some(Role::Sync)),
        Command::Node(args) => node::run(args, None),
    }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::Run(format!("cannot write to standard output: {error}")))
}

/// What is wrong with the arguments, and clap's tip if it has one, without its usage text.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let mut parts: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    if let Some(first) = parts.first_mut() {
        *first = first.trim_start_matches("error: ");
    }
    format!("{}; see `fennec --help`", parts.join("; ").replace(":; ", ": "))
}

#[cfg(test)]
mod tests;
