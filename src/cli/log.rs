//! Where log lines go: to standard error, for reading or as JSON, through a filter that can be changed while running.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::config::LogFormat;

/// Changes what is logged.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Logs by this filter from now on. Fails, changing nothing, if it is none.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter).map_err(|error| format!("{filter:?} is no log filter: {error}"))?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Starts logging; once in a process. Fails if the filter is none, or if something else logs already.
pub fn start(filter: &str, format: LogFormat) -> Result<LogFilter, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("{filter:?} is no log filter: {error}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = match format {
        LogFormat::Human => fmt::layer().with_writer(stderr).with_ansi(wants_colours()).boxed(),
        LogFormat::Json => fmt::layer().with_writer(stderr).json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
    Ok(LogFilter(handle))
}

/// On a terminal, unless <https://no-color.org> says otherwise.
fn wants_colours() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_can_be_changed_while_running_and_a_wrong_one_changes_nothing() {
        let filter = start("off", LogFormat::Json).unwrap();
        assert!(!tracing::enabled!(tracing::Level::WARN));
        filter.set("warn").unwrap();
        assert!(tracing::enabled!(tracing::Level::WARN) && !tracing::enabled!(tracing::Level::INFO));
        assert!(filter.set("fennec=loud").is_err());
        assert!(tracing::enabled!(tracing::Level::WARN) && !tracing::enabled!(tracing::Level::INFO));
        filter.set("off").unwrap();
        assert!(start("off", LogFormat::Human).is_err(), "once in a process");
    }
}
