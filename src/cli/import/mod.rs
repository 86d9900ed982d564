//! `fennec import`: the configuration of another broker as one of this.
//!
//! ```text
//! mosquitto.conf --conf--> lines --settings--> fennec.toml
//! password_file, acl_file --passwords, acl--> users.toml
//! ```
//!
//! Whatever cannot be said here is named on standard error, line by line; nothing is left out in silence.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::config::{Config, Sources};
use super::{Failure, print};
use settings::Imported;

mod acl;
mod bridge;
mod conf;
mod passwords;
mod settings;
#[cfg(test)]
mod tests;

/// Name of the file of users beside the configuration.
const USERS: &str = "users.toml";

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Turn mosquitto.conf, its password_file and its acl_file into a configuration and a file of users
    Mosquitto(MosquittoArgs),
}

#[derive(Debug, Args)]
pub(super) struct MosquittoArgs {
    /// mosquitto.conf
    file: PathBuf,
    /// Where the configuration is written; users and roles go to users.toml beside it [default: all to standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(command: ImportCommand) -> Result<(), Failure> {
    let ImportCommand::Mosquitto(MosquittoArgs { file, out }) = command;
    let refused = |what: String| Failure::Refused(vec![what]);
    let imported = settings::import(&conf::read(&file).map_err(refused)?).map_err(refused)?;
    for line in &imported.told {
        eprintln!("fennec: {line}");
    }
    match out {
        None => print(&imported.in_one()),
        Some(out) => write(&imported, &out),
    }
}

fn write(imported: &Imported, out: &Path) -> Result<(), Failure> {
    for (name, password) in &imported.bridge_passwords {
        write_new(&out.with_file_name(name), &format!("{password}\n"))?;
    }
    if let Some(users) = &imported.users {
        write_new(&out.with_file_name(USERS), users)?;
    }
    write_new(out, &imported.config(USERS))?;
    let sources = Sources { file: Some(out.to_owned()), ..Sources::default() };
    Config::load(&sources).map(drop).map_err(Failure::of_problems)
}

/// Never over another file: it may be one that works.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::Run(format!("{}: cannot be written: {error}", path.display())))
}
