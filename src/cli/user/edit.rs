//! Changes to the file of users: one at a time, whole or not at all, and never one that the broker would refuse.
//!
//! ```text
//! lock FILE.lock --> read --> edit (what is not touched stays as it was written) --> check --> write, sync, rename --> unlock
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use crate::cli::config::{Config, Sources};
use crate::cli::hash_password::{Secrets, scram_table};

/// The list of users.
const USER: &str = "user";

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("there is no user {0:?} in {1}")]
    NoSuchUser(String, String),
    #[error("user {0:?} is there already")]
    IsThere(String),
    #[error("there is no role {0:?} in {1}")]
    NoSuchRole(String, String),
    #[error("role {0:?} is there already")]
    RoleIsThere(String),
    #[error("there is no permission for that")]
    NothingSaid,
    /// What the file would hold cannot be used.
    #[error("{}", .0.join("; "))]
    Wrong(Vec<String>),
    #[error("{0}")]
    Io(String),
}

/// The file, and how to find out whether the broker would take it.
#[derive(Clone, Debug)]
pub struct UsersFile {
    path: PathBuf,
    /// `None`: it stands alone.
    sources: Option<Sources>,
}

/// A user to be added.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    pub name: String,
    pub role: Option<String>,
    /// Empty: all.
    pub realms: Vec<String>,
}

impl UsersFile {
    pub fn new(path: PathBuf, sources: Option<Sources>) -> Self {
        Self { path, sources }
    }

    /// Adds a user.
    ///
    /// # Errors
    /// The name is taken, the configuration does not know its role or realms, or the file cannot be written.
    pub fn add(&self, user: &NewUser, secrets: &Secrets) -> Result<(), EditError> {
        self.change(|document| {
            if position_in(document, USER, &user.name).is_some() {
                return Err(EditError::IsThere(user.name.clone()));
            }
            let mut table = Table::new();
            table["name"] = value(&user.name);
            if let Some(role) = &user.role {
                table["role"] = value(role);
            }
            match &user.realms[..] {
                [] => {}
                [realm] => table["realms"] = value(realm),
                realms => table["realms"] = value(realms.iter().collect::<Array>()),
            }
            put_secrets(&mut table, secrets);
            let list = document.entry(USER).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
            let list = list
                .as_array_of_tables_mut()
                .ok_or_else(|| EditError::Wrong(vec!["user is no list of tables".into()]))?;
            list.push(table);
            Ok(())
        })
    }

    /// Gives a user another password; every other proof that was made of the old one goes.
    ///
    /// # Errors
    /// There is no such user in the file, or it cannot be written.
    pub fn set_password(&self, name: &str, secrets: &Secrets) -> Result<(), EditError> {
        self.change(|document| {
            let at = self.position_of(document, name)?;
            if let Some(table) = list_in(document, USER).and_then(|list| list.get_mut(at)) {
                put_secrets(table, secrets);
            }
            Ok(())
        })
    }

    /// Gives a user another role.
    ///
    /// # Errors
    /// There is no such user in the file, the configuration does not know the role, or the file cannot be written.
    pub fn set_role(&self, name: &str, role: &str) -> Result<(), EditError> {
        self.change(|document| {
            let at = self.position_of(document, name)?;
            if let Some(table) = list_in(document, USER).and_then(|list| list.get_mut(at)) {
                table["role"] = value(role);
            }
            Ok(())
        })
    }

    /// Removes a user.
    ///
    /// # Errors
    /// There is no such user in the file, or it cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), EditError> {
        self.change(|document| {
            let at = self.position_of(document, name)?;
            if let Some(list) = list_in(document, USER) {
                list.remove(at);
            }
            Ok(())
        })
    }

    fn position_of(&self, document: &DocumentMut, name: &str) -> Result<usize, EditError> {
        let nobody = || EditError::NoSuchUser(name.to_owned(), self.shown());
        position_in(document, USER, name).ok_or_else(nobody)
    }

    /// The file, for people.
    pub(in crate::cli) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Changes the file, if the broker would take it then.
    ///
    /// # Errors
    /// It would not, or the file cannot be read or written.
    pub(in crate::cli) fn change(
        &self,
        edit: impl FnOnce(&mut DocumentMut) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let failed =
            |what: &str, error: io::Error| EditError::Io(format!("{}: cannot {what}: {error}", path.display()));
        let lock = beside(&path, ".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock);
        let lock = lock.and_then(|file| file.lock().map(|()| file)).map_err(|error| failed("lock", error))?;
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| failed("read", error))?,
        };
        let mut document: DocumentMut =
            text.parse().map_err(|error| EditError::Wrong(vec![format!("{}: {error}", path.display())]))?;
        edit(&mut document)?;
        let text = document.to_string();
        self.check(&text)?;
        replace(&path, &text).map_err(|error| failed("write", error))?;
        drop(lock);
        Ok(())
    }

    fn check(&self, text: &str) -> Result<(), EditError> {
        let Some(sources) = &self.sources else { return Ok(()) };
        match Config::load_with(sources, Some(text)) {
            Ok(_) => Ok(()),
            Err(problems) => Err(EditError::Wrong(problems.iter().map(ToString::to_string).collect())),
        }
    }
}

/// A list of tables.
pub(in crate::cli) fn list_in<'d>(document: &'d mut DocumentMut, key: &str) -> Option<&'d mut ArrayOfTables> {
    document.get_mut(key)?.as_array_of_tables_mut()
}

/// Where in a list of tables the one of this name is.
pub(in crate::cli) fn position_in(document: &DocumentMut, key: &str, name: &str) -> Option<usize> {
    let list = document.get(key)?.as_array_of_tables()?;
    list.iter().position(|table| table.get("name").and_then(Item::as_str) == Some(name))
}

fn put_secrets(table: &mut Table, secrets: &Secrets) {
    table["password_hash"] = value(&secrets.password_hash);
    let mut wampcra = InlineTable::new();
    wampcra.insert("key", (&secrets.wampcra_key).into());
    wampcra.insert("salt", (&secrets.wampcra.salt).into());
    wampcra.insert("iterations", i64::from(secrets.wampcra.iterations).into());
    wampcra.insert("keylen", i64::from(secrets.wampcra.keylen).into());
    table["wampcra"] = Item::Value(Value::InlineTable(wampcra));
    let scram: Vec<String> = secrets.scram.iter().map(scram_table).collect();
    if let Ok(scram) = format!("[{}]", scram.join(", ")).parse::<Value>() {
        table["scram"] = Item::Value(scram);
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Puts a file with this text in the place of another, or nothing; it is on the disk when this returns. Who may read the file
/// stays as it was; a new one is its owner's alone.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mode = fs::metadata(path).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
    let new = beside(path, ".new");
    let written = (|| {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        // What is left of it helps nobody.
        let _ = fs::remove_file(&new);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
