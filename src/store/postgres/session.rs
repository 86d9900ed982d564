//! One connection to the server, used by blocking calls. A lost one is made anew where that does no harm.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Row};
use tokio::runtime::Runtime;

use crate::store::StoreError;
use crate::store::block_on::block_on;
use crate::store::sql::{Dialect, Record, Script, Session};

/// How long the server may take to answer; then the connection counts as lost.
const ANSWER_S: u64 = 60;
const CONNECT_S: u64 = 10;
/// The same for tools that read or write everything.
const PATIENT_S: u64 = 24 * 60 * 60;
/// Statements whose compiled form is kept.
const STATEMENTS_CACHED: usize = 256;

/// Where the server is, and which schema of which database.
#[derive(Clone, Debug)]
pub(super) struct Address {
    options: PgConnectOptions,
    pub schema: String,
}

impl Address {
    /// Reads a URL; see [`crate::store::StoreUrl::Postgres`].
    ///
    /// # Errors
    /// [`StoreError::Unusable`] without the URL, for there may be a password in it.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let unusable = |why: &str| StoreError::Unusable(format!("the PostgreSQL URL: {why}"));
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|pair| !pair.is_empty()).partition(|pair| pair.starts_with("schema="));
        let schema = ours.last().map_or("fennec", |pair| &pair["schema=".len()..]);
        let letter = |c: char| c.is_ascii_lowercase() || c == '_';
        let is_name = schema.starts_with(letter) && schema.chars().all(|c| letter(c) || c.is_ascii_digit());
        if !is_name || schema.len() > 60 || schema.starts_with("pg_") {
            return Err(unusable(&format!("{schema:?} cannot be the schema: a-z, 0-9, _, at most 60")));
        }
        let options = PgConnectOptions::from_str(&format!("{base}?{}", theirs.join("&")));
        let options = options.map_err(|error| unusable(&error.to_string()))?;
        let options = options
            .application_name("fennec")
            .statement_cache_capacity(STATEMENTS_CACHED)
            .options([("search_path", schema), ("statement_timeout", &format!("{}s", ANSWER_S - 5))])
            .disable_statement_logging();
        Ok(Self { options, schema: schema.to_owned() })
    }

    /// For messages: without user and password.
    pub(super) fn name(&self) -> String {
        let host = self.options.get_socket().map_or(self.options.get_host().into(), |path| path.to_string_lossy());
        let database = self.options.get_database().unwrap_or(self.options.get_username());
        format!("the schema {} of the database {database} at {host}:{}", self.schema, self.options.get_port())
    }
}

pub(super) struct PgSession {
    address: Address,
    connection: Option<PgConnection>,
    /// Whether a lost connection is made anew by the next call; the writer's is not, for its lock is lost too.
    reconnects: bool,
    /// How long an answer is waited for.
    answer_s: u64,
    /// Its thread waits for the sockets; `None` only while this is being dropped.
    runtime: Option<Runtime>,
}

impl PgSession {
    /// Connects.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the server is away. [`StoreError::Unusable`]: it does not let us in.
    pub(super) fn connect(address: &Address, reconnects: bool) -> Result<Self, StoreError> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("fennec-postgres").enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Unavailable(format!("no thread: {error}")))?;
        let mut session =
            Self { address: address.clone(), connection: None, reconnects, answer_s: ANSWER_S, runtime: Some(runtime) };
        session.connect_again()?;
        Ok(session)
    }

    fn connect_again(&mut self) -> Result<(), StoreError> {
        let connecting = self.address.options.connect();
        let connected = within(self.runtime.as_ref(), CONNECT_S, connecting).map_err(|error| {
            let why = format!("{}: {}", self.address.name(), message(&error));
            match state(&error) {
                // Too many connections, or the server starts or stops.
                Some(state) if state.starts_with("53") || state.starts_with("57") => StoreError::Unavailable(why),
                Some(_) => StoreError::Unusable(why),
                None if matches!(error, sqlx::Error::Tls(_) | sqlx::Error::Configuration(_)) => {
                    StoreError::Unusable(why)
                }
                None => StoreError::Unavailable(why),
            }
        })?;
        self.connection = Some(connected);
        Ok(())
    }

    /// From here on statements may take as long as they like.
    pub(super) fn be_patient(&mut self) -> Result<(), StoreError> {
        self.answer_s = PATIENT_S;
        self.execute("SET statement_timeout = 0")
    }

    /// Does something with the connection. Lets go of one that is lost.
    fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        let result = within(self.runtime.as_ref(), self.answer_s, work(connection));
        if result.as_ref().is_err_and(is_lost) {
            self.connection = None;
        }
        result
    }

    fn answer(&mut self, script: Script<Self>) -> Result<Vec<PgRow>, sqlx::Error> {
        let (sql, arguments) = script.into_statement();
        self.with(async |connection| sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(connection).await)
    }

    fn ready(&mut self) -> Result<(), StoreError> {
        match self.connection {
            Some(_) => Ok(()),
            None if self.reconnects => self.connect_again(),
            None => Err(StoreError::Unavailable(format!("the connection to {} is lost", self.address.name()))),
        }
    }

    /// Runs statements without arguments.
    pub(super) fn execute(&mut self, sql: &str) -> Result<(), StoreError> {
        self.ready()?;
        let sql = AssertSqlSafe(sql.to_owned());
        let done = self.with(async |connection| sqlx::raw_sql(sql).execute(connection).await);
        done.map(|_| ()).map_err(|error| sorted(&error))
    }
}

impl Drop for PgSession {
    /// Says goodbye, so that the lock is free at once.
    fn drop(&mut self) {
        if !self.reconnects && self.connection.is_some() {
            // Otherwise the lock would stay for the moment that the server needs to end its process.
            let _ = self.execute("SELECT pg_advisory_unlock_all()");
        }
        if let Some(connection) = self.connection.take() {
            // A server that does not hear it finds out by itself.
            let _ = within(self.runtime.as_ref(), CONNECT_S, connection.close());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Session for PgSession {
    const DIALECT: Dialect = Dialect::Postgres;
    type Arguments = PgArguments;
    type Record = PgRow;

    // Neither numbers nor bytes nor texts fail to encode.
    fn bind_number(arguments: &mut PgArguments, value: i64) {
        let _ = arguments.add(value);
    }

    fn bind_bytes(arguments: &mut PgArguments, value: &[u8]) {
        let _ = arguments.add(value);
    }

    fn bind_text(arguments: &mut PgArguments, value: &str) {
        let _ = arguments.add(value);
    }

    fn run(&mut self, script: Script<Self>) -> Result<(), StoreError> {
        self.rows(script).map(|_| ())
    }

    fn rows(&mut self, script: Script<Self>) -> Result<Vec<PgRow>, StoreError> {
        self.ready()?;
        self.answer(script).map_err(|error| sorted(&error))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.ready()?;
        let done = self.with(async |connection| sqlx::raw_sql("COMMIT").execute(connection).await);
        done.map(|_| ()).map_err(|error| sorted_of_commit(&error))
    }

    /// What fits into one statement needs no transaction around it.
    fn conclude(&mut self, script: Script<Self>, begun: bool) -> Result<(), StoreError> {
        if !begun {
            self.ready()?;
            return match script.len() {
                0 => Ok(()),
                _ => self.answer(script).map(|_| ()).map_err(|error| sorted_of_commit(&error)),
            };
        }
        if script.len() > 0 {
            self.run(script)?;
        }
        self.commit()
    }

    fn roll_back(&mut self) -> bool {
        self.connection.is_some()
            && self.with(async |connection| sqlx::raw_sql("ROLLBACK").execute(connection).await).is_ok()
    }

    fn disk_bytes(&mut self) -> Result<u64, StoreError> {
        let bytes = "SELECT COALESCE(CAST(SUM(pg_total_relation_size(c.oid)) AS BIGINT), 0) \
                     FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'";
        self.number(bytes)
    }
}

impl Record for PgRow {
    fn number(&self, column: usize) -> Result<u64, StoreError> {
        self.try_get::<i64, _>(column).map(|value| value as u64).map_err(|error| sorted(&error))
    }

    fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        self.try_get(column).map_err(|error| sorted(&error))
    }

    fn text(&self, column: usize) -> Result<String, StoreError> {
        self.try_get(column).map_err(|error| sorted(&error))
    }
}

/// Waits for a future, so long.
fn within<T>(
    runtime: Option<&Runtime>,
    seconds: u64,
    future: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let _entered = runtime.ok_or(sqlx::Error::WorkerCrashed)?.enter();
    let answer = block_on(async { tokio::time::timeout(Duration::from_secs(seconds), future).await });
    answer.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// The SQLSTATE that the server answered with (PostgreSQL, Appendix A).
fn state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether the connection has ended with this error: nothing was answered, or the server ended it (57P01 to 57P05).
fn is_lost(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(error) => error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        None => !matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound),
    }
}

/// Who must act on an error of anything but a COMMIT: whatever it was, nothing of it stays.
fn sorted(error: &sqlx::Error) -> StoreError {
    match (state(error), error) {
        // Data corrupted; a constraint, an undefined table: not what we left there.
        (Some(state), _) if ["XX", "23", "42"].iter().any(|class| state.starts_with(class)) => {
            StoreError::Damaged(message(error))
        }
        (None, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound) => {
            StoreError::Damaged(error.to_string())
        }
        (Some(state), _) if state == "55P03" => StoreError::InUse(message(error)),
        _ => StoreError::Unavailable(message(error)),
    }
}

/// Who must act on an error of a COMMIT. An answer of the server, other than that it ends, says that it was rolled back.
fn sorted_of_commit(error: &sqlx::Error) -> StoreError {
    if is_lost(error) { StoreError::Unknown(message(error)) } else { sorted(error) }
}

fn message(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => format!("PostgreSQL: {} ({})", error.message(), error.code().unwrap_or_default()),
        None => error.to_string(),
    }
}
