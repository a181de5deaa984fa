//! Session: one connection to PostgreSQL, checked and prepared. What do its errors mean?
//!
//! In:  a connection configuration, what the connection is for.
//! Out: a [`Session`] on the current runtime; [`Fault`] says whether the transaction's outcome is known.
//! Invariants: `synchronous_commit` is never weaker than `on`; every statement has a deadline on the server, every wait one on the client;
//! statements are prepared once per connection.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::{Client, Config, Statement};

use crate::StoreError;
use crate::pg::tls::Tls;

/// How long a connection may take to be made.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Unanswered data for so long means that the server is gone.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
/// Statements held prepared per connection.
const STATEMENTS_MAX: usize = 1_024;

/// What a connection is for: its deadlines and how the planner is led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Mail: short statements by index only, so that a plan made on an empty table is right on a full one.
    Mail,
    /// Lists, searches, the control plane.
    Control,
    /// Migrations and day tables: may wait for others.
    Schema,
}

impl Purpose {
    fn settings(self) -> &'static str {
        match self {
            Self::Mail => {
                "SET statement_timeout = '20s'; SET lock_timeout = '8s'; SET idle_in_transaction_session_timeout = '5s'; SET jit = off; \
                 SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off"
            }
            Self::Control => {
                "SET statement_timeout = '60s'; SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'; SET jit = off"
            }
            Self::Schema => "SET statement_timeout = '600s'; SET lock_timeout = '60s'; SET jit = off",
        }
    }
}

/// Why a statement or transaction came to nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server refused; the transaction is rolled back, the connection is good.
    Refused(tokio_postgres::Error),
    /// The connection is gone or silent: what was sent last may have been done or not.
    Lost(String),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if !matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) && !is_shutdown(db.code()) => {
                Self::Refused(error)
            }
            Some(db) => Self::Lost(db.message().to_owned()),
            None => Self::Lost(words(&error)),
        }
    }
}

impl Fault {
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Refused(error) => error.code(),
            Self::Lost(_) => None,
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error.into(),
            Fault::Lost(words) => Self::Unavailable(words),
        }
    }
}

fn is_shutdown(code: &SqlState) -> bool {
    [&SqlState::ADMIN_SHUTDOWN, &SqlState::CRASH_SHUTDOWN, &SqlState::CANNOT_CONNECT_NOW].contains(&code)
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = words(&error);
        let Some(code) = error.code() else { return Self::Unavailable(text) };
        match code.code() {
            "53100" => Self::Full,
            // Out of memory or connections, shut down, read-only after a fail-over, out of time, lock not had: waiting helps.
            c if c.starts_with("53")
                || c.starts_with("57")
                || c.starts_with("08")
                || c == "25006"
                || c == "55P03"
                || c.starts_with("40") =>
            {
                Self::Unavailable(text)
            }
            "23505" => Self::Engine(format!("unique: {text}")),
            "XX001" | "XX002" => Self::Data(text),
            _ => Self::Engine(text),
        }
    }
}

/// The server's own words rather than the driver's.
fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

/// One connection. Dropping it closes it.
pub(super) struct Session {
    pub(super) client: Client,
    /// Process on the server, and when it began: names the backend even when numbers are given again.
    pub(super) backend: (i32, String),
    statements: Mutex<HashMap<String, Statement>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects, on the current runtime.
    pub(super) async fn open(config: &Config, tls: &Tls, purpose: Purpose) -> Result<Self, StoreError> {
        tokio::time::timeout(CONNECT_TIMEOUT * 2, Self::connect(config, tls, purpose))
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("connecting took too long".into())))
    }

    async fn connect(config: &Config, tls: &Tls, purpose: Purpose) -> Result<Self, StoreError> {
        let mut config = config.clone();
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(TCP_USER_TIMEOUT);
        let (client, connection) = config.connect(tls.clone()).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %words(&error), "connection to PostgreSQL ended");
            }
        });
        let mut session = Self {
            client,
            backend: (0, String::new()),
            statements: Mutex::default(),
            driver,
        };
        session.check(purpose).await?;
        Ok(session)
    }

    async fn check(&mut self, purpose: Purpose) -> Result<(), StoreError> {
        self.client.batch_execute(purpose.settings()).await?;
        self.client
            .batch_execute("SET timezone = 'UTC'; SET client_min_messages = warning")
            .await?;
        let row = self
            .client
            .query_one(
                "SELECT pg_backend_pid(), COALESCE((SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()), ''), \
                 current_setting('server_version_num')::int, current_setting('synchronous_commit')",
                &[],
            )
            .await?;
        let (version, commit): (i32, &str) = (row.try_get(2)?, row.try_get(3)?);
        if version < 150_000 {
            return Err(StoreError::Data(format!(
                "PostgreSQL 15 or newer is needed, this is {}",
                version / 10_000
            )));
        }
        // 250 means synced. `remote_apply` is more than `on` and stays.
        if commit != "on" && commit != "remote_apply" {
            self.client.batch_execute("SET synchronous_commit = on").await?;
        }
        self.backend = (row.try_get(0)?, row.try_get(1)?);
        Ok(())
    }

    /// Whether the server keeps what it says it keeps. For the log at start.
    pub(super) async fn warn_when_unsafe(&self) -> Result<(), StoreError> {
        let row = self
            .client
            .query_one("SELECT current_setting('fsync'), current_setting('full_page_writes')", &[])
            .await?;
        for (i, name) in ["fsync", "full_page_writes"].into_iter().enumerate() {
            let value: &str = row.try_get(i)?;
            if value != "on" {
                tracing::warn!(
                    setting = name,
                    value,
                    "PostgreSQL does not sync its commits: accepted mail can be lost when its machine fails"
                );
            }
        }
        Ok(())
    }

    /// The statement, prepared on this connection.
    pub(super) async fn prepared(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(known) = self.statements().get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements();
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Forgets what was prepared: tables went away.
    pub(super) fn forget_statements(&self) {
        self.statements().clear();
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<String, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A statement under way.
pub(super) type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + 'a>>;

/// Sends `steps` in their order without waiting in between, then waits for all answers.
pub(super) async fn pipelined<T>(mut steps: Vec<Step<'_, T>>) -> Vec<Result<T, tokio_postgres::Error>> {
    let mut answers: Vec<Option<Result<T, tokio_postgres::Error>>> = steps.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (step, answer) in steps.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match step.as_mut().poll(cx) {
                    Poll::Ready(got) => *answer = Some(got),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    answers.into_iter().flatten().collect()
}
