//! `fennec check-config`: says whether `fennec serve` would take this configuration, and if not, all that is wrong with it.

use super::args::CheckConfigArgs;
use super::config::{Config, Sources, reference};
use super::{Failure, print};

pub(super) fn run(args: CheckConfigArgs) -> Result<(), Failure> {
    if args.keys {
        return print(&reference());
    }
    let sources = Sources { file: args.file, env: std::env::vars_os().collect(), flags: Vec::new() };
    Config::load(&sources).map_err(Failure::of_problems)?;
    match sources.config_file() {
        Some(path) => print(&format!("{}: ok\n", path.display())),
        None => print("ok (no file, only the environment)\n"),
    }
}
