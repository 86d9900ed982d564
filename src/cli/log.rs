//! Where log lines go: to standard error, for reading or as JSON, through a filter that can be changed while running.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write, stderr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::config::LogFormat;

/// The target of the audit log.
const AUDIT: &str = "fennec::audit";

static STARTED: OnceLock<LogFilter> = OnceLock::new();

/// What this process logs by, if it logs.
pub fn started() -> Option<&'static LogFilter> {
    STARTED.get()
}

/// Changes what is logged.
#[derive(Clone, Debug)]
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
}

impl LogFilter {
    /// Logs by this filter from now on. Fails, changing nothing, if it is none.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let ready = read(filter)?;
        let mut current = self.current.lock();
        self.handle.reload(ready).map_err(|error| error.to_string())?;
        *current = filter.to_owned();
        Ok(())
    }

    /// The filter that is in force.
    pub fn get(&self) -> String {
        self.current.lock().clone()
    }
}

fn read(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| format!("{filter:?} is no log filter: {error}"))
}

/// Starts logging; once in a process. `audit`: the file that audit lines are added to, whatever the filter says. Fails if the filter is
/// none, if the file cannot be written, or if something else logs already.
pub fn start(filter: &str, format: LogFormat, audit: Option<&Path>) -> Result<LogFilter, String> {
    let current = Arc::new(Mutex::new(filter.to_owned()));
    let (filter, handle) = reload::Layer::new(read(filter)?);
    let lines = match format {
        LogFormat::Human => fmt::layer().with_writer(stderr).with_ansi(wants_colours()).boxed(),
        LogFormat::Json => fmt::layer().with_writer(stderr).json().flatten_event(true).boxed(),
    };
    let audit = audit.map(AuditFile::new).transpose()?.map(|file| {
        let lines = fmt::layer().with_writer(file).json().flatten_event(true).with_level(false).with_target(false);
        lines.with_filter(Targets::new().with_target(AUDIT, Level::INFO))
    });
    let all = tracing_subscriber::registry().with(lines.with_filter(filter)).with(audit);
    all.try_init().map_err(|error| error.to_string())?;
    let filter = LogFilter { handle, current };
    let _ = STARTED.set(filter.clone());
    Ok(filter)
}

/// The file of the audit log. It is opened for each line, so that it can be moved away.
struct AuditFile(PathBuf);

impl AuditFile {
    fn new(path: &Path) -> Result<Self, String> {
        let file = Self(path.to_owned());
        file.open().map_err(|error| format!("audit_log: {}: {error}", path.display()))?;
        Ok(file)
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)
    }
}

impl<'a> MakeWriter<'a> for AuditFile {
    type Writer = Box<dyn Write>;

    fn make_writer(&'a self) -> Self::Writer {
        match self.open() {
            Ok(file) => Box::new(file),
            Err(error) => {
                eprintln!("fennec: the audit log {} cannot be written: {error}", self.0.display());
                Box::new(stderr())
            }
        }
    }
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
        let folder = tempfile::tempdir().unwrap();
        let audit = folder.path().join("audit.log");
        let filter = start("off", LogFormat::Json, Some(&audit)).unwrap();
        assert!(!tracing::enabled!(tracing::Level::WARN));
        filter.set("warn").unwrap();
        assert_eq!(filter.get(), "warn");
        assert!(tracing::enabled!(tracing::Level::WARN) && !tracing::enabled!(tracing::Level::INFO));
        assert!(filter.set("fennec=loud").is_err());
        assert!(tracing::enabled!(tracing::Level::WARN) && !tracing::enabled!(tracing::Level::INFO));
        filter.set("off").unwrap();
        assert_eq!(filter.get(), "off");
        // The audit log is not filtered, and has nothing else.
        tracing::info!(target: "fennec::audit", who = "ann", what = "17", "audit");
        tracing::info!(target: "fennec::other", "not this");
        std::fs::rename(&audit, folder.path().join("old")).unwrap();
        tracing::info!(target: "fennec::audit", who = "bob", "audit");
        let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let (old, new) = (lines("old"), lines("audit.log"));
        assert!(old.lines().count() == 1 && old.contains(r#""who":"ann","what":"17""#), "{old}");
        assert!(new.lines().count() == 1 && new.contains(r#""who":"bob""#), "{new}");
        assert!(start("off", LogFormat::Human, None).is_err(), "once in a process");
        assert!(start("off", LogFormat::Human, Some(folder.path())).is_err(), "a folder is no file");
    }
}
