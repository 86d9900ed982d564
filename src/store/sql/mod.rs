//! What SQLite and PostgreSQL have in common: the tables, and the statements on them.
//!
//! ```text
//! Writer<S> -> Script<S> -> Session::run     commits
//! Reader<S> -> Script<S> -> Session::rows    everything else
//! ```
//!
//! The tables are described in `store/schema`. Statements are written once, in the words that both databases know; [`Dialect`] holds
//! where they differ. Left out: connecting, syncing, who owns the database (`sqlite`, `postgres`).

use super::StoreError;

mod encode;
mod integrity;
mod read;
mod topics;
mod write;

pub(super) use read::Reader;
pub(super) use write::{Writer, look_for_damage};

/// A connection to a database, used by blocking calls. Its errors are sorted: whatever fails before a COMMIT leaves nothing.
pub(super) trait Session: Send + Sized {
    const DIALECT: Dialect;
    type Arguments: Default + Send;
    type Record: Record;

    fn bind_number(arguments: &mut Self::Arguments, value: i64);
    fn bind_bytes(arguments: &mut Self::Arguments, value: &[u8]);
    fn bind_text(arguments: &mut Self::Arguments, value: &str);

    /// Runs the statements.
    fn run(&mut self, script: Script<Self>) -> Result<(), StoreError>;

    /// Runs one statement and returns its rows.
    fn rows(&mut self, script: Script<Self>) -> Result<Vec<Self::Record>, StoreError>;

    /// COMMIT.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], if it may have happened.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Runs the rest of a transaction, and COMMIT. `begun`: BEGIN was run or is in the script.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn conclude(&mut self, script: Script<Self>, begun: bool) -> Result<(), StoreError>;

    /// ROLLBACK. Whether the session can be used further.
    fn roll_back(&mut self) -> bool;

    /// What the database takes on disk.
    fn disk_bytes(&mut self) -> Result<u64, StoreError>;

    /// What the database says is wrong with it.
    fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn row(&mut self, script: Script<Self>) -> Result<Option<Self::Record>, StoreError> {
        Ok(self.rows(script)?.into_iter().next())
    }

    /// The number that a statement without arguments answers.
    fn number(&mut self, sql: &str) -> Result<u64, StoreError> {
        let row = self.row(Script::new(sql))?;
        row.ok_or_else(|| StoreError::Damaged("no answer".to_owned()))?.number(0)
    }
}

/// A row of an answer. Columns count from 0.
///
/// # Errors
/// [`StoreError::Damaged`]: there is something else in the column.
pub(super) trait Record {
    /// An unsigned number, stored as the signed one of the same bits.
    fn number(&self, column: usize) -> Result<u64, StoreError>;
    fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError>;
    fn text(&self, column: usize) -> Result<String, StoreError>;

    fn number_u32(&self, column: usize) -> Result<u32, StoreError> {
        u32::try_from(self.number(column)?).map_err(|_| StoreError::Damaged("a number is too large".to_owned()))
    }
}

/// Statements that go to the database together, with what their `?` stand for, in order. In a script of one statement `?1` is the
/// first once more. None of several may see what another changes.
pub(super) struct Script<S: Session> {
    sql: String,
    arguments: S::Arguments,
    /// How many `?` there were.
    asked: usize,
    /// Where statements end.
    ends: Vec<usize>,
}

impl<S: Session> Default for Script<S> {
    fn default() -> Self {
        Self { sql: String::new(), arguments: S::Arguments::default(), asked: 0, ends: Vec::new() }
    }
}

impl<S: Session> Script<S> {
    pub(super) fn new(sql: &str) -> Self {
        let mut script = Self::default();
        script.push(sql);
        script
    }

    pub(super) fn push(&mut self, sql: &str) -> &mut Self {
        match S::DIALECT {
            Dialect::Sqlite => self.sql.push_str(sql),
            Dialect::Postgres => self.push_numbered(sql),
        }
        self
    }

    /// `?` as `$1`, `$2`, …
    fn push_numbered(&mut self, sql: &str) {
        let mut parts = sql.split('?');
        self.sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            self.sql.push('$');
            if !part.starts_with(|c: char| c.is_ascii_digit()) {
                self.asked += 1;
                self.sql.push_str(&self.asked.to_string());
            }
            self.sql.push_str(part);
        }
    }

    /// The statement is whole.
    pub(super) fn end(&mut self) -> &mut Self {
        self.ends.push(self.sql.len());
        if S::DIALECT == Dialect::Sqlite {
            self.sql.push(';');
        }
        self
    }

    /// `text`, `text`, … `count` times, with commas.
    pub(super) fn list(&mut self, text: &str, count: usize) -> &mut Self {
        for n in 0..count {
            if n > 0 {
                self.push(",");
            }
            self.push(text);
        }
        self
    }

    pub(super) fn number(&mut self, value: u64) -> &mut Self {
        S::bind_number(&mut self.arguments, value as i64);
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        S::bind_bytes(&mut self.arguments, value);
        self
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        S::bind_text(&mut self.arguments, value);
        self
    }

    /// How many statements are whole.
    pub(super) fn ended(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of SQL.
    pub(super) fn len(&self) -> usize {
        self.sql.len()
    }

    /// All of it in one. PostgreSQL takes one statement with arguments at a time: what changes something can be part of another.
    pub(super) fn into_statement(self) -> (String, S::Arguments) {
        let [parts @ .., _] = &self.ends[..] else { return (self.sql, self.arguments) };
        if S::DIALECT == Dialect::Sqlite || parts.is_empty() {
            return (self.sql, self.arguments);
        }
        let (mut sql, mut from) = (String::with_capacity(self.sql.len() + parts.len() * 16), 0);
        for (n, &end) in parts.iter().enumerate() {
            sql.push_str(if n == 0 { "WITH s" } else { ", s" });
            sql.push_str(&n.to_string());
            sql.push_str(" AS (");
            sql.push_str(&self.sql[from..end]);
            sql.push(')');
            from = end;
        }
        sql.push(' ');
        sql.push_str(&self.sql[from..]);
        (sql, self.arguments)
    }
}

/// Where the databases differ. PostgreSQL's indexes do not take long keys, so keys and names are indexed by how they begin (see the
/// schema), and statements say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Several statements that see the same.
    pub(super) fn begin_reading(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        }
    }

    /// Behind `INSERT INTO state VALUES …`.
    fn or_replace(self) -> &'static str {
        match self {
            Self::Sqlite => " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            Self::Postgres => {
                " ON CONFLICT (substring(key, 1, 1000), (CASE WHEN length(key) > 1000 THEN sha256(key) ELSE ''::bytea END)) \
                 DO UPDATE SET value = excluded.value"
            }
        }
    }

    /// Which row has this key: one `?`, the first.
    pub(super) fn of_key(self) -> &'static str {
        match self {
            Self::Sqlite => "key = ?",
            Self::Postgres => "substring(key, 1, 1000) = substring(?, 1, 1000) AND key = ?1",
        }
    }

    /// Deletes the rows of a list of keys: what comes before it, its items, and what comes behind.
    fn delete_keys(self) -> [&'static str; 3] {
        match self {
            Self::Sqlite => ["DELETE FROM state WHERE key IN (", "?", ")"],
            Self::Postgres => [
                "DELETE FROM state USING (VALUES ",
                "(?)",
                ") AS gone (k) WHERE substring(key, 1, 1000) = substring(k, 1, 1000) AND key = k",
            ],
        }
    }

    /// Rows from a key on, or behind it, in order: `?`, the first.
    fn keys_from(self, after: bool) -> &'static str {
        match (self, after) {
            (Self::Sqlite, true) => "key > ?",
            (Self::Sqlite, false) => "key >= ?",
            (Self::Postgres, true) => "substring(key, 1, 1000) >= substring(?, 1, 1000) AND key > ?1",
            (Self::Postgres, false) => "substring(key, 1, 1000) >= substring(?, 1, 1000) AND key >= ?1",
        }
    }

    /// Rows before a key: `?`, the second.
    fn keys_before(self) -> &'static str {
        match self {
            Self::Sqlite => "key < ?",
            Self::Postgres => "substring(key, 1, 1000) <= substring(?, 1, 1000) AND key < ?2",
        }
    }

    fn key_order(self) -> &'static str {
        match self {
            Self::Sqlite => " ORDER BY key",
            Self::Postgres => " ORDER BY substring(key, 1, 1000), key",
        }
    }

    /// Topics of a list of (realm, name), behind `SELECT … FROM topics`: what comes before it, its items, and what comes behind.
    fn of_names(self) -> [&'static str; 3] {
        match self {
            Self::Sqlite => [" WHERE (realm, name) IN (VALUES ", "(?,?)", ")"],
            Self::Postgres => [
                " JOIN (VALUES ",
                "(?,?)",
                ") AS wanted (r, n) ON realm = r AND left(name, 250) = left(n, 250) AND name = n",
            ],
        }
    }

    /// Topics of a realm (`?`, the first) from a name on, or behind it, in order (`?`, the second).
    fn names_from(self, after: bool) -> &'static str {
        match (self, after) {
            (Self::Sqlite, true) => "realm = ? AND name > ? ORDER BY name",
            (Self::Sqlite, false) => "realm = ? AND name >= ? ORDER BY name",
            (Self::Postgres, true) => {
                "realm = ? AND left(name, 250) >= left(?, 250) AND name > ?2 ORDER BY left(name, 250), name"
            }
            (Self::Postgres, false) => {
                "realm = ? AND left(name, 250) >= left(?, 250) AND name >= ?2 ORDER BY left(name, 250), name"
            }
        }
    }
}
