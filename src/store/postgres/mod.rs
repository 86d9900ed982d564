//! The store on PostgreSQL, through sqlx: one schema for each broker.
//!
//! ```text
//! open   -> lock of the schema (advisory, held by the writer's connection) -> tables -> generation + 1
//! commit -> one statement, if it is small, else BEGIN, statements, COMMIT, on the writer's connection
//! read   -> a connection each, made anew when it is lost
//! ```
//!
//! What the sync modes are here: `always`, `synchronous_commit = on`; `interval`, `off`, and [`Store::sync`] commits something with
//! `on`; `never`, `off`: the server syncs when it likes, within a second by default. A standby that shall have everything too is for
//! the server's `synchronous_standby_names`.
//!
//! The writer's connection is not made anew behind its owner's back, for the lock goes with it: [`Store::reopen`] takes the lock
//! again and sees by the generation whether another broker was there meanwhile.

use session::{Address, PgSession};

use super::sql::{Reader, Record as _, Script, Session as _, Writer, look_for_damage};
use super::{Commit, Store, StoreError, StoreReader, SyncMode};

mod session;

/// The version of `schema/`.
const VERSION: u64 = 1;
/// The first half of the lock's key: `fnnc`. The other is a hash of the schema's name.
const LOCK: u32 = 0x666e_6e63;

/// How long the lock of a broker that has just ended is waited for: the server may need a moment to see it.
const LOCK_WAIT_S: u64 = 3;

/// The writing side.
pub struct PostgresStore {
    address: Address,
    /// `None` while it is being opened again, and when that failed.
    writer: Option<Writer<PgSession>>,
    /// See [`Writer::new`].
    topic_ids: u64,
    /// See the table `store`.
    generation: u64,
    sync: SyncMode,
    /// Whether there may be something to sync.
    unsynced: bool,
}

impl PostgresStore {
    /// Opens the store at a URL ([`super::StoreUrl::Postgres`]), or makes its schema.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open(url: &str, sync: SyncMode) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        let mut session = locked(&address)?;
        migrate(&mut session, &address)?;
        let generation = "UPDATE store SET generation = generation + 1 RETURNING generation";
        let generation = session.number(generation)?;
        let writer = writer(session, sync, 0)?;
        Ok(Self { address, writer: Some(writer), topic_ids: 0, generation, sync, unsynced: false })
    }

    fn writer(&mut self) -> Result<&mut Writer<PgSession>, StoreError> {
        let closed = || StoreError::Unavailable("the database has to be opened again".to_owned());
        self.writer.as_mut().filter(|writer| !writer.has_failed()).ok_or_else(closed)
    }
}

impl Store for PostgresStore {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let result = self.writer()?.commit(commit);
        self.unsynced |= result.is_ok();
        result
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.writer()?.get(key)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(Reader::new(PgSession::connect(&self.address, true)?)))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.sync == SyncMode::Interval && std::mem::take(&mut self.unsynced) {
            // Syncs the server's log up to here. It needs something to be committed, so there is a message for nobody.
            let session = &mut self.writer()?.session;
            session.execute(
                "BEGIN; SET LOCAL synchronous_commit = on; SELECT pg_logical_emit_message(true, 'fennec', ''); COMMIT",
            )?;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        let session = &mut self.writer()?.session;
        session.be_patient()?;
        for table in ["heads", "bodies", "topics", "holds", "state", "counted"] {
            session.execute(&format!("VACUUM (FULL, ANALYZE) {table}"))?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        if let Some(before) = self.writer.take() {
            self.topic_ids = before.topic_ids();
        }
        let mut session = locked(&self.address).map_err(|error| match error {
            // Most likely it is our own connection, which the server has not missed yet.
            StoreError::InUse(why) => StoreError::Unavailable(format!("still locked: {why}")),
            error => error,
        })?;
        if session.number("SELECT generation FROM store")? != self.generation {
            return Err(StoreError::InUse(format!("{}, taken while the connection was lost", self.address.name())));
        }
        self.writer = Some(writer(session, self.sync, self.topic_ids)?);
        Ok(())
    }
}

/// See [`super::inspect`].
pub(super) fn inspect(url: &str) -> Result<Box<dyn StoreReader>, StoreError> {
    let address = Address::parse(url)?;
    let mut session = PgSession::connect(&address, true)?;
    if tables(&mut session, &address)?.0 == 0 {
        return Err(StoreError::Unusable(format!("there is no store in {}", address.name())));
    }
    check_version(&mut session, &address)?;
    session.be_patient()?;
    Ok(Box::new(Reader::new(session)))
}

/// A connection that owns the schema.
fn locked(address: &Address) -> Result<PgSession, StoreError> {
    let mut session = PgSession::connect(address, false)?;
    session.execute(&format!("SET lock_timeout = '{LOCK_WAIT_S}s'"))?;
    let mut lock = Script::new("SELECT pg_advisory_lock(");
    lock.push(&format!("{LOCK}, hashtext(?))")).text(&address.schema);
    let locked = session.row(lock);
    session.execute("SET lock_timeout = 0")?;
    match locked {
        Err(StoreError::InUse(_)) => {}
        locked => return locked.map(|_| session),
    }
    let mut owner = Script::new(
        "SELECT concat('process ', l.pid, ' of the server, from ', COALESCE(host(a.client_addr), 'this host')) \
         FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.database = \
         (SELECT oid FROM pg_database WHERE datname = current_database()) AND ",
    );
    owner.push(&format!(
        "l.classid = {LOCK} AND CAST(CAST(l.objid AS BIGINT) AS BIT(32)) = CAST(hashtext(?) AS BIT(32))"
    ));
    owner.text(&address.schema);
    // Who it is is only told.
    let owner = session.row(owner).ok().flatten().and_then(|row| row.text(0).ok());
    let owner = owner.unwrap_or_else(|| "unknown".to_owned());
    Err(StoreError::InUse(format!("{} ({owner})", address.name())))
}

/// The writer on a session that owns tables of this version.
fn writer(mut session: PgSession, sync: SyncMode, topic_ids: u64) -> Result<Writer<PgSession>, StoreError> {
    if sync == SyncMode::Always {
        session.execute("SET synchronous_commit = on")?;
    } else {
        session.execute("SET synchronous_commit = off")?;
    }
    look_for_damage(&mut session)?;
    Writer::new(session, topic_ids)
}

/// Brings the tables to this version. The schema is locked.
fn migrate(session: &mut PgSession, address: &Address) -> Result<(), StoreError> {
    if tables(session, address)?.0 > 0 {
        return check_version(session, address);
    }
    let schema = format!("BEGIN; CREATE SCHEMA IF NOT EXISTS {0}; SET LOCAL search_path = {0};", address.schema);
    let tables = include_str!("../schema/postgres-1.sql");
    session
        .execute(&format!("{schema} {tables} COMMIT"))
        .map_err(|error| StoreError::Unusable(format!("cannot make the tables in {}: {error}", address.name())))
}

/// How many tables there are, and how many of them are named `store`.
fn tables(session: &mut PgSession, address: &Address) -> Result<(u64, u64), StoreError> {
    let mut tables = Script::new(
        "SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN tablename = 'store' THEN 1 ELSE 0 END), 0) AS BIGINT) \
         FROM pg_tables WHERE schemaname = ?",
    );
    tables.text(&address.schema);
    session.row(tables)?.map_or(Ok((0, 0)), |row| Ok((row.number(0)?, row.number(1)?)))
}

fn check_version(session: &mut PgSession, address: &Address) -> Result<(), StoreError> {
    match tables(session, address)? {
        (_, 0) => Err(StoreError::Unusable(format!("{} has tables of another program", address.name()))),
        _ => match session.number("SELECT version FROM store")? {
            VERSION => Ok(()),
            newer if newer > VERSION => Err(StoreError::Unusable(format!(
                "{} was written by a newer fennec (version {newer} of the tables, this one knows {VERSION})",
                address.name()
            ))),
            unknown => {
                Err(StoreError::Unusable(format!("{} has tables of the unknown version {unknown}", address.name())))
            }
        },
    }
}

#[cfg(test)]
mod tests;
