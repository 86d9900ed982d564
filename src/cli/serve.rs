//! `fennec serve`: from a checked configuration to a running broker.

use super::args::ServeArgs;
use super::config::Config;
use super::{Failure, log};

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let config = Config::load(&args.sources()).map_err(Failure::of_problems)?;
    log::start(&config.log, config.log_format).map_err(|error| Failure::Run(format!("cannot log: {error}")))?;
    tracing::debug!(?config, "configuration");
    Ok(())
}
