//! Which store, and how safe.

use std::fmt;
use std::path::PathBuf;

use super::memory::MemoryStore;
use super::postgres::{self, PostgresStore};
use super::sqlite::{self, SqliteStore};
use super::transfer::UNFINISHED;
use super::{Store, StoreError, StoreReader};

/// Where the store is. Shown without user, password and options.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// Nowhere: it ends with the process.
    Memory,
    /// SQLite in this folder, which is made if it is not there.
    Folder(PathBuf),
    /// A connection URL as libpq knows it (`postgres://user:password@host:5432/database`). `?schema=NAME` names the schema; it is
    /// `fennec` otherwise. One schema serves one broker.
    Postgres(String),
}

/// What a commit has survived when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// The loss of power. What was acknowledged is never lost.
    #[default]
    Always,
    /// The end of the process (`kill -9`). A loss of power, or a crash of the system, takes what was committed since the last
    /// [`Store::sync`], but leaves the order whole: a message is there only if all before it are.
    Interval,
    /// The end of the process. A loss of power takes any part, and may damage the database so that it must be set aside.
    Never,
}

/// Which store, and how safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub url: StoreUrl,
    pub sync: SyncMode,
    /// With [`SyncMode::Interval`]: how often the log thread calls [`Store::sync`].
    pub sync_interval_ms: u64,
    /// Refuse a damaged database, rather than set it aside and begin anew.
    pub strict: bool,
}

/// A store that is ready.
pub struct Opened {
    pub store: Box<dyn Store>,
    /// Where the damaged database is now that was there before. What it held is missing: an alarm.
    pub set_aside: Option<PathBuf>,
}

impl StoreUrl {
    /// Reads `memory`, `postgres://…`, `sqlite:FOLDER`, or else a folder.
    pub fn parse(text: &str) -> Self {
        match text {
            "memory" => Self::Memory,
            _ if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                Self::Postgres(text.to_owned())
            }
            _ => {
                let folder = text.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
                Self::Folder(PathBuf::from(folder.unwrap_or(text)))
            }
        }
    }
}

/// Opens a store for writing: the only one that does, until it is dropped. Takes no longer for a large one.
///
/// # Errors
/// [`StoreError::InUse`]: another broker has it. [`StoreError::Damaged`] with `strict`. [`StoreError::Unusable`]: a newer version
/// wrote it, or it cannot be reached or made. [`StoreError::Unavailable`]: the disk is full, the database server is away.
pub fn open(settings: &StoreSettings) -> Result<Opened, StoreError> {
    let mut opened = open_any(settings)?;
    if opened.store.get(UNFINISHED)?.is_some() {
        let why = format!("an import into {} was not finished: remove it, and import again", settings.url);
        return Err(StoreError::Unusable(why));
    }
    Ok(opened)
}

/// Sets aside what is there, for it has turned out to be damaged behind [`open`], and opens an empty store. Nobody may have the
/// store open any more.
///
/// # Errors
/// As [`open`]; [`StoreError::Damaged`] also of a database on a server: there it is for its administrator to set aside.
pub fn open_anew(settings: &StoreSettings, why: &str) -> Result<Opened, StoreError> {
    match &settings.url {
        StoreUrl::Folder(folder) if !settings.strict => {
            let aside = SqliteStore::set_aside(folder, why)?;
            Ok(Opened { set_aside: Some(aside), ..open(settings)? })
        }
        url => Err(StoreError::Damaged(format!("{url}: {why}"))),
    }
}

fn open_any(settings: &StoreSettings) -> Result<Opened, StoreError> {
    match &settings.url {
        StoreUrl::Memory => Ok(Opened { store: Box::new(MemoryStore::default()), set_aside: None }),
        StoreUrl::Folder(folder) => {
            let (store, set_aside) = SqliteStore::open(folder, settings.sync, settings.strict)?;
            Ok(Opened { store: Box::new(store), set_aside })
        }
        StoreUrl::Postgres(url) => {
            Ok(Opened { store: Box::new(PostgresStore::open(url, settings.sync)?), set_aside: None })
        }
    }
}

/// Opens a store that is there for reading only, also if a broker uses it. Changes nothing.
///
/// # Errors
/// [`StoreError::Unusable`]: there is none, or it has tables of another version.
pub fn inspect(url: &StoreUrl) -> Result<Box<dyn StoreReader>, StoreError> {
    match url {
        StoreUrl::Memory => MemoryStore::default().reader(),
        StoreUrl::Folder(folder) => sqlite::inspect(folder),
        StoreUrl::Postgres(url) => postgres::inspect(url),
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Postgres(url) => {
                let (_, rest) = url.split_once("://").unwrap_or_default();
                // A password may contain anything, so the last @ before the options ends it.
                let address = rest.split('?').next().unwrap_or_default();
                write!(f, "postgres://{}", address.rsplit('@').next().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { url: StoreUrl::Memory, sync: SyncMode::Always, sync_interval_ms: 1000, strict: false }
    }
}
