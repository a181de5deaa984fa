//! Control plane on PostgreSQL: how do blocking jobs over [`Tx`] run on an asynchronous driver?
//!
//! In:  jobs. Out: each in one transaction, on threads of their own with one connection each.
//! Invariants: writing jobs run one after another in the whole installation, as they do on the embedded engine, so that what a job has
//! read still holds when it writes; reading jobs see one snapshot; a COMMIT whose answer is lost is looked up; waiting jobs are bounded.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio_postgres::Statement;

use super::Door;
use super::session::{Fault, Purpose, Session};
use super::value::{Param, dollars, value_of};
use crate::StoreError;
use crate::sql::{Row, Tx, Value};

/// Advisory lock that writing jobs hold.
const CONTROL_LOCK: i64 = 0x6d69_7473_0003;
/// No statement takes longer; the server gives up before.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// How long the outcome of a commit is asked for.
const OUTCOME_WAIT: Duration = Duration::from_secs(20);
const WAITING_MAX: usize = 256;

type Question = Box<dyn FnOnce(&mut Desk) + Send>;

/// Threads that answer one question at a time.
pub(super) struct Desks {
    questions: Mutex<Option<Sender<Question>>>,
    room: Arc<Semaphore>,
}

/// What one such thread has: a runtime and, while it lasts, a connection.
pub(super) struct Desk {
    runtime: Runtime,
    door: Arc<Door>,
    session: Option<Session>,
    statements: HashMap<&'static str, Statement>,
}

impl Desks {
    pub(super) fn start(door: &Arc<Door>, name: &str, threads: usize) -> Result<Self, StoreError> {
        let (sender, receiver) = channel::<Question>();
        let receiver = Arc::new(Mutex::new(receiver));
        for n in 0..threads {
            let mut desk = Desk::new(Arc::clone(door))?;
            let receiver = Arc::clone(&receiver);
            super::start(&format!("{name}-{n}"), move || desk.answer(&receiver))?;
        }
        Ok(Self {
            questions: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(WAITING_MAX)),
        })
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("the store is closing".into());
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let boxed: Question = Box::new(move |desk| {
            let _room = room;
            if !reply.is_closed() {
                let _ = reply.send(question(desk));
            }
        });
        let sent = match self.questions.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(sender) => sender.send(boxed).is_ok(),
            None => false,
        };
        if !sent {
            return Err(closed());
        }
        answer
            .await
            .map_err(|_| StoreError::Engine("a job of the store gave no answer".into()))?
    }

    /// No further questions; those asked already are answered.
    pub(super) fn close(&self) {
        drop(self.questions.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Desk {
    pub(super) fn new(door: Arc<Door>) -> Result<Self, StoreError> {
        Ok(Self {
            runtime: super::runtime()?,
            door,
            session: None,
            statements: HashMap::new(),
        })
    }

    fn answer(&mut self, questions: &Mutex<Receiver<Question>>) {
        loop {
            let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(question) = next else { return };
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| question(self))).is_err() {
                tracing::error!("a job of the store panicked");
                self.hang_up();
            }
        }
    }

    fn hang_up(&mut self) {
        self.statements.clear();
        // Dropped inside the runtime, since its connection task lives there.
        let session = self.session.take();
        self.runtime.block_on(async move { drop(session) });
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Fault> {
        let timed = self.runtime.block_on(async { tokio::time::timeout(SILENCE_MAX, work).await });
        timed
            .map_err(|_| Fault::Lost("no answer from PostgreSQL".into()))?
            .map_err(Fault::from)
    }

    fn connect(&mut self) -> Result<(), StoreError> {
        if self.session.as_ref().is_some_and(|s| s.client.is_closed()) {
            self.hang_up();
        }
        if self.session.is_none() {
            self.session = Some(
                self.runtime
                    .block_on(Session::open(&self.door.config, &self.door.tls, Purpose::Control))?,
            );
        }
        Ok(())
    }

    fn session(&self) -> Result<&Session, Fault> {
        self.session.as_ref().ok_or_else(|| Fault::Lost("not connected".into()))
    }

    fn run(&self, text: &str) -> Result<(), Fault> {
        self.wait(self.session()?.client.batch_execute(text))
    }

    /// Opens a transaction; a connection that died while nobody used it is replaced.
    fn begin(&mut self, text: &str) -> Result<(), StoreError> {
        self.connect()?;
        match self.run(text) {
            Ok(()) => Ok(()),
            Err(_) => {
                self.hang_up();
                self.connect()?;
                self.run(text).map_err(|fault| self.fail(fault))
            }
        }
    }

    fn fail(&mut self, fault: Fault) -> StoreError {
        if fault.is_lost() {
            self.hang_up();
        }
        fault.into()
    }

    fn roll_back(&mut self) {
        if self.session.is_some() && self.run("ROLLBACK").is_err() {
            self.hang_up();
        }
    }

    /// Runs `work` on one snapshot that does not change.
    pub(super) fn read<T>(&mut self, work: impl FnOnce(&mut PgTx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let outcome = work(&mut PgTx { desk: self });
        self.roll_back();
        outcome
    }

    /// Runs `work` on the connection, outside of a transaction of ours.
    pub(super) fn on_session<T>(
        &mut self,
        work: impl for<'s> FnOnce(&'s Session) -> Pin<Box<dyn Future<Output = Result<T, Fault>> + 's>>,
    ) -> Result<T, StoreError> {
        self.connect()?;
        let session = self.session().map_err(StoreError::from)?;
        let done = self
            .runtime
            .block_on(async { tokio::time::timeout(SILENCE_MAX, work(session)).await });
        done.unwrap_or_else(|_| Err(Fault::Lost("no answer from PostgreSQL".into())))
            .map_err(|fault| self.fail(fault))
    }

    /// Runs `work` in a transaction that may write, beside others.
    pub(super) fn read_write<T>(&mut self, work: impl FnOnce(&mut PgTx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.begin("BEGIN")?;
        self.finish(work)
    }

    /// Runs `work` in a transaction, alone of its kind.
    pub(super) fn write<T>(&mut self, work: impl FnOnce(&mut PgTx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.own_write(CONTROL_LOCK, work)
    }

    /// Runs `work` in a transaction under an advisory lock.
    pub(super) fn own_write<T>(&mut self, lock: i64, work: impl FnOnce(&mut PgTx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = self.begin(&format!("BEGIN; SELECT pg_advisory_xact_lock({lock})")) {
            self.roll_back();
            return Err(error);
        }
        self.finish(work)
    }

    fn finish<T>(&mut self, work: impl FnOnce(&mut PgTx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let value = match work(&mut PgTx { desk: self }) {
            Ok(value) => value,
            Err(error) => {
                self.roll_back();
                return Err(error);
            }
        };
        self.commit().map(|()| value)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let session = self.session().map_err(StoreError::from)?;
        let backend = session.backend.clone();
        let ask = session.client.query_one("SELECT pg_current_xact_id_if_assigned()::text", &[]);
        let id: Option<String> = match self.wait(ask) {
            Ok(row) => row.try_get(0)?,
            Err(fault) => {
                self.roll_back();
                return Err(self.fail(fault));
            }
        };
        match (self.run("COMMIT"), id) {
            (Ok(()), _) => Ok(()),
            (Err(fault), Some(id)) if fault.is_lost() => self.look_up(&id, &backend),
            (Err(fault), _) => {
                self.roll_back();
                Err(self.fail(fault))
            }
        }
    }

    /// Whether transaction `id` of a connection that is lost was committed.
    fn look_up(&mut self, id: &str, backend: &(i32, String)) -> Result<(), StoreError> {
        let until = Instant::now() + OUTCOME_WAIT;
        while Instant::now() < until {
            match self.status_of(id, backend).as_deref() {
                Ok("committed") => return Ok(()),
                Ok("aborted") => {
                    return Err(StoreError::Unavailable(
                        "the connection to PostgreSQL was lost before the commit".into(),
                    ));
                }
                Ok("in progress") | Err(_) => std::thread::sleep(Duration::from_millis(100)),
                Ok(_) => break,
            }
        }
        Err(StoreError::Unknown)
    }

    fn status_of(&mut self, id: &str, backend: &(i32, String)) -> Result<String, StoreError> {
        self.hang_up();
        self.connect()?;
        let client = &self.session().map_err(StoreError::from)?.client;
        let (pid, began) = backend;
        // Best effort: what does not end by itself is ended, so that its outcome stands.
        let _ = self.wait(client.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2",
            &[pid, began],
        ));
        let row = self
            .wait(client.query_one("SELECT COALESCE(pg_xact_status($1::text::xid8), 'unknown')", &[&id]))
            .map_err(StoreError::from)?;
        Ok(row.try_get(0)?)
    }
}

/// A transaction open on a desk.
pub(super) struct PgTx<'d> {
    desk: &'d mut Desk,
}

impl PgTx<'_> {
    fn ask(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let statement = self.prepared(sql)?;
        let params: Vec<Param<'_>> = params.iter().map(Param).collect();
        let params: Vec<&(dyn postgres_types::ToSql + Sync)> = params.iter().map(|p| p as _).collect();
        let session = self.desk.session().map_err(StoreError::from)?;
        let asked = self.desk.wait(session.client.query(&statement, &params));
        asked.map_err(|fault| self.desk.fail(fault))
    }

    fn prepared(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        if let Some(known) = self.desk.statements.get(sql) {
            return Ok(known.clone());
        }
        let session = self.desk.session().map_err(StoreError::from)?;
        let prepared = self.desk.wait(session.client.prepare(&dollars(sql)));
        let statement = prepared.map_err(|fault| self.desk.fail(fault))?;
        self.desk.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// For statements whose text is made here.
    pub(super) fn query_text(
        &mut self,
        text: &str,
        params: &[&(dyn postgres_types::ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let session = self.desk.session().map_err(StoreError::from)?;
        let asked = self.desk.wait(async {
            let statement = session.prepared(text).await?;
            session.client.query(&statement, params).await
        });
        asked.map_err(|fault| self.desk.fail(fault))
    }
}

impl Tx for PgTx<'_> {
    fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, StoreError> {
        let statement = self.prepared(sql)?;
        if !statement.columns().is_empty() {
            return Ok(self.ask(sql, params)?.len() as u64);
        }
        let params: Vec<Param<'_>> = params.iter().map(Param).collect();
        let params: Vec<&(dyn postgres_types::ToSql + Sync)> = params.iter().map(|p| p as _).collect();
        let session = self.desk.session().map_err(StoreError::from)?;
        let asked = self.desk.wait(session.client.execute(&statement, &params));
        asked.map_err(|fault| self.desk.fail(fault))
    }

    fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.ask(sql, params)?
            .iter()
            .map(|row| (0..row.len()).map(|i| value_of(row, i)).collect::<Result<Vec<_>, _>>().map(Row))
            .collect()
    }
}
