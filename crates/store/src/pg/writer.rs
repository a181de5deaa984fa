//! Writer: how does whatever waits become one commit, and what when nobody knows whether it did?
//!
//! In:  batches from the inbox. Out: one transaction each on the only connection that may write for this node; outcomes to the waiters.
//! Invariants:
//! * Ok only after COMMIT was answered, or its outcome was looked up on a new connection while the old one could no longer commit.
//! * What was not committed because the connection went away: acceptances are refused ([`StoreError::Unavailable`]), settlements and
//!   records are written again within [`PATIENCE`].
//! * A member that the server refuses takes no other with it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;

use super::batch::{Done, Job, Mark, Orphan, Ran, mark_of, run};
use super::lease::{Identity, Lease};
use super::search::Index;
use super::session::{Fault, Purpose, Session};
use super::{Door, days};
use crate::StoreError;
use crate::embedded::inbox::{Inbox, Queued, Taken};

/// How long a batch is tried, and an unknown outcome asked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a transaction may be under way before the connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(25);
/// First and longest wait between two tries to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Refusals that pass (deadlock, new plan, dropped day) are tried so often.
const RETRIES_MAX: u32 = 5;
/// Bytes in one transaction, about; a single job may be larger.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the writer shares with the rest.
pub(super) struct Outlets {
    pub(super) door: Arc<Door>,
    pub(super) lease: Arc<Lease>,
    /// The database was reachable when last tried: otherwise mail is deferred at once instead of waiting for it.
    pub(super) is_reachable: Arc<AtomicBool>,
    pub(super) orphans: std::sync::mpsc::SyncSender<Orphan>,
    pub(super) index: Arc<Index>,
}

/// The writer's own state.
pub(super) struct Writer {
    outlets: Outlets,
    session: Option<(Session, Identity)>,
    last_backend: Option<(i32, String)>,
    known_days: BTreeSet<i32>,
    next_seq: i64,
    last_writer: i64,
}

/// Runs until the inbox is closed and empty, then gives up the lease.
pub(super) fn work(runtime: &Runtime, inbox: &Inbox<Job>, outlets: Outlets, gives_up_lease: &AtomicBool) {
    let mut writer = Writer {
        outlets,
        session: None,
        last_backend: None,
        known_days: BTreeSet::new(),
        next_seq: 0,
        last_writer: 0,
    };
    let mut last = None;
    while let Some(Taken { jobs, batch }) = inbox.take(last.take()) {
        let (jobs, _rooms): (Vec<Job>, Vec<_>) = jobs.into_iter().map(Queued::split).unzip();
        let outcomes = runtime.block_on(writer.commit(&jobs));
        let (results, numbers): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
        batch.finish(results);
        last = Some(batch);
        writer.hand_on(jobs, numbers);
    }
    if gives_up_lease.load(Ordering::Acquire) {
        runtime.block_on(writer.give_up());
    }
}

/// What became of a job, and the slot and number of its first record.
type Outcome = (Result<(), StoreError>, Option<(i16, i64)>);

/// How one group came out.
enum Verdict {
    Committed(Done),
    /// Every member has this error.
    Failed(StoreError),
    /// The server does not take something of it: to be tried one by one.
    Apart(StoreError),
}

impl Writer {
    /// Committed records go to the search index of this node without being read again.
    fn hand_on(&self, jobs: Vec<Job>, numbers: Vec<Option<(i16, i64)>>) {
        let numbered = jobs.into_iter().zip(numbers).filter_map(|(job, at)| at.map(|at| (job, at)));
        self.outlets
            .index
            .incoming
            .put(numbered.flat_map(|(job, (slot, first))| job.into_records().zip(first..).map(move |(r, seq)| (slot, seq, r))));
    }

    async fn commit(&mut self, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for group in groups(jobs) {
            let members: Vec<&Job> = group.iter().collect();
            outcomes.extend(self.commit_group(&members).await);
        }
        outcomes
    }

    async fn commit_group(&mut self, members: &[&Job]) -> Vec<Outcome> {
        let (error, again): (StoreError, fn(&Job) -> bool) = match self.transact(members).await {
            Verdict::Committed(done) => return self.tell(members, done).await,
            Verdict::Apart(error) if members.len() > 1 => {
                tracing::debug!(%error, "a member of a batch is refused: one by one");
                let mut outcomes = Vec::with_capacity(members.len());
                for member in members {
                    outcomes.extend(Box::pin(self.commit_group(&[*member])).await);
                }
                return outcomes;
            }
            // Mail is deferred; what happened to mail must not be forgotten.
            Verdict::Failed(error @ StoreError::Unavailable(_)) => (error, |job| !matches!(job, Job::Accept(_))),
            Verdict::Failed(error) | Verdict::Apart(error) => (error, |_| false),
        };
        tracing::warn!(%error, jobs = members.len(), "a commit failed");
        let rest: Vec<&Job> = members.iter().copied().filter(|j| again(j)).collect();
        let mut told = if rest.is_empty() || rest.len() == members.len() {
            Vec::new()
        } else {
            Box::pin(self.commit_group(&rest)).await
        }
        .into_iter();
        let failed = || (Err(error.clone()), None);
        members
            .iter()
            .map(|j| if again(j) { told.next().unwrap_or_else(failed) } else { failed() })
            .collect()
    }

    /// One transaction for `members`, whatever happens to connections meanwhile.
    async fn transact(&mut self, members: &[&Job]) -> Verdict {
        let has_mail = members.iter().any(|j| matches!(j, Job::Accept(_)));
        let until = Instant::now() + PATIENCE;
        let mut retries = 0;
        let mut pause = BACKOFF.0;
        let mut unknown: Option<Mark> = None;
        loop {
            let last = match self.attempt(members, &mut unknown).await {
                Attempt::Done(done) => return Verdict::Committed(done),
                Attempt::NotThere(words) if has_mail => return Verdict::Failed(StoreError::Unavailable(words)),
                Attempt::NotThere(words) => StoreError::Unavailable(words),
                Attempt::Unreachable(error) if unknown.is_none() && has_mail => return Verdict::Failed(error),
                Attempt::Unreachable(error) => error,
                Attempt::Refused(fault) if retries < RETRIES_MAX && self.may_pass(&fault) => {
                    retries += 1;
                    continue;
                }
                Attempt::Refused(fault) => return verdict_of(fault.into()),
                Attempt::Malformed(error) => return Verdict::Apart(error),
            };
            if Instant::now() + pause > until {
                return Verdict::Failed(if unknown.is_some() { StoreError::Unknown } else { last });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn attempt(&mut self, members: &[&Job], unknown: &mut Option<Mark>) -> Attempt {
        if let Err(error) = self.connect().await {
            return Attempt::Unreachable(error);
        }
        if let Some(mark) = unknown.clone() {
            match self.is_committed(&mark).await {
                Ok(true) => return Attempt::Done(Done::looked_up()),
                Ok(false) => {
                    *unknown = None;
                    return Attempt::NotThere("the connection to PostgreSQL was lost before the commit".into());
                }
                Err(fault) => return self.unreachable(fault),
            }
        }
        let wanted: BTreeSet<i32> = members.iter().flat_map(|j| j.days()).collect();
        if let Err(error) = self.make_days(&wanted).await {
            return self.unreachable(error);
        }
        let Some((session, identity)) = self.session.as_ref() else {
            return Attempt::Unreachable(StoreError::Unavailable("not connected".into()));
        };
        let mark = mark_of(members, *identity, self.next_seq);
        let ran = tokio::time::timeout(SILENCE_MAX, run(session, *identity, members, &mut self.next_seq)).await;
        match ran {
            Ok(Ran::Committed(done)) => Attempt::Done(done),
            Ok(Ran::Refused(fault)) => Attempt::Refused(fault),
            Ok(Ran::Malformed(error)) => Attempt::Malformed(error),
            Ok(Ran::Lost { is_sent, words }) => self.lost(mark, is_sent, words, unknown),
            Err(_) => self.lost(mark, true, "no answer from PostgreSQL".into(), unknown),
        }
    }

    fn lost(&mut self, mark: Mark, is_sent: bool, words: String, unknown: &mut Option<Mark>) -> Attempt {
        self.drop_session(&words);
        // What could not be doubled is simply done again.
        if is_sent && !mark.is_needless() {
            *unknown = Some(mark);
            return Attempt::Unreachable(StoreError::Unavailable(words));
        }
        Attempt::NotThere(words)
    }

    fn unreachable(&mut self, fault: Fault) -> Attempt {
        if fault.is_lost() {
            let words = String::from(fault);
            self.drop_session(&words);
            Attempt::Unreachable(StoreError::Unavailable(words))
        } else {
            Attempt::Refused(fault)
        }
    }

    fn drop_session(&mut self, words: &str) {
        tracing::warn!(cause = words, "the connection to PostgreSQL is lost");
        self.outlets.is_reachable.store(false, Ordering::Release);
        if let Some((session, _)) = self.session.take() {
            self.last_backend = Some(session.backend.clone());
        }
    }

    /// A connection that may write for this node.
    async fn connect(&mut self) -> Result<(), StoreError> {
        if self.session.as_ref().is_some_and(|(session, _)| session.client.is_closed()) {
            self.drop_session("closed by the server");
        }
        if self.session.is_some() {
            return Ok(());
        }
        let opened = async {
            let session = Session::open(&self.outlets.door.config, &self.outlets.door.tls, Purpose::Mail).await?;
            let identity = tokio::time::timeout(SILENCE_MAX, self.outlets.lease.claim_writer(&session, self.last_backend.as_ref()))
                .await
                .map_err(|_| StoreError::Unavailable("no answer from PostgreSQL".into()))??;
            Ok::<_, StoreError>((session, identity))
        };
        let (session, identity) = opened
            .await
            .inspect_err(|_| self.outlets.is_reachable.store(false, Ordering::Release))?;
        self.take_up(session, identity);
        Ok(())
    }

    fn take_up(&mut self, session: Session, identity: Identity) {
        // Numbers of records begin anew with each writer number, which grows.
        if identity.writer != self.last_writer {
            self.last_writer = identity.writer;
            self.next_seq = 0;
        }
        self.outlets.is_reachable.store(true, Ordering::Release);
        self.session = Some((session, identity));
        self.last_backend = None;
    }

    /// Whether a refusal is one that passes, after what it asks for is done.
    fn may_pass(&mut self, fault: &Fault) -> bool {
        let Some(code) = fault.code() else { return false };
        if *code == SqlState::DIVISION_BY_ZERO {
            // The guard: another process took this node's place. The next connection asks for a place of its own.
            self.drop_session("this node's lease or connection was replaced");
            return true;
        }
        if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::FEATURE_NOT_SUPPORTED || *code == SqlState::INVALID_SQL_STATEMENT_NAME {
            self.known_days.clear();
            if let Some((session, _)) = &self.session {
                session.forget_statements();
            }
            return true;
        }
        *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
    }

    /// Looks a batch up. This connection's writer number is the newest, so that nothing older can be committed any more.
    async fn is_committed(&self, mark: &Mark) -> Result<bool, Fault> {
        let Some((session, _)) = &self.session else {
            return Err(Fault::Lost("not connected".into()));
        };
        let (slot, seq) = &mark.record;
        for day in &mark.days {
            let text = format!("SELECT 1 FROM track_{day} WHERE node = $1 AND seq = $2");
            if days::exists(session, *day).await? && session.client.query_opt(&text, &[slot, seq]).await?.is_some() {
                return Ok(true);
            }
        }
        let found = session
            .client
            .query_opt("SELECT 1 FROM message WHERE queue_id = $1", &[&mark.message])
            .await?;
        Ok(found.is_some())
    }

    async fn make_days(&mut self, wanted: &BTreeSet<i32>) -> Result<(), Fault> {
        let Some((session, _)) = &self.session else {
            return Err(Fault::Lost("not connected".into()));
        };
        for day in wanted {
            if !self.known_days.contains(day) {
                days::make(session, *day).await?;
                self.known_days.insert(*day);
            }
        }
        Ok(())
    }

    /// After the commit: outcomes, wakes, blob files.
    async fn tell(&mut self, members: &[&Job], done: Done) -> Vec<Outcome> {
        if done.wakes {
            self.outlets.lease.wake();
        }
        for orphan in &done.orphans {
            // A full queue leaves the file to the sweep.
            let _ = self.outlets.orphans.try_send(*orphan);
        }
        let mut outcomes = Vec::with_capacity(members.len());
        for (at, member) in members.iter().enumerate() {
            let missing = done.missing(member);
            let result = if missing.is_empty() { Ok(()) } else { self.whose(&missing).await };
            outcomes.push((result, done.numbers.get(at).copied().flatten()));
        }
        outcomes
    }

    /// Entries that were not changed: gone, which is right, or another node's.
    async fn whose(&self, entries: &[(i64, i64)]) -> Result<(), StoreError> {
        let Some((session, identity)) = &self.session else {
            return Err(StoreError::LeaseLost);
        };
        let (ids, numbers): (Vec<i64>, Vec<i64>) = entries.iter().copied().unzip();
        let text = "SELECT 1 FROM entry e JOIN unnest($1::int8[], $2::int8[]) AS r(q, n) ON e.queue_id = r.q AND e.number = r.n WHERE e.owner <> $3 LIMIT 1";
        match session.client.query_opt(text, &[&ids, &numbers, &identity.epoch]).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(StoreError::LeaseLost),
        }
    }

    async fn give_up(&mut self) {
        if self.connect().await.is_ok()
            && let Some((session, _)) = &self.session
            && let Err(fault) = self.outlets.lease.give_up(session).await
        {
            tracing::warn!(
                cause = String::from(fault),
                "the lease was not given up; others take over when it ends"
            );
        }
    }
}

/// How one try of a transaction ended.
enum Attempt {
    Done(Done),
    /// The connection was lost and nothing of it was committed.
    NotThere(String),
    /// No connection, or lost with the outcome unknown.
    Unreachable(StoreError),
    Refused(Fault),
    Malformed(StoreError),
}

fn verdict_of(error: StoreError) -> Verdict {
    match error {
        StoreError::Full | StoreError::Unavailable(_) | StoreError::LeaseLost | StoreError::Unknown => Verdict::Failed(error),
        StoreError::Engine(_) | StoreError::Data(_) | StoreError::Conflict { .. } => Verdict::Apart(error),
    }
}

/// Cuts a batch so that no entry is changed twice in one transaction and none is too large.
fn groups(jobs: &[Job]) -> Vec<&[Job]> {
    let mut cut = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    let mut touched = HashSet::new();
    for (at, job) in jobs.iter().enumerate() {
        let entries: Vec<(i64, u32)> = job
            .settlements()
            .iter()
            .flat_map(|s| s.changes.iter().map(|(n, _)| (s.queue_id.to_i64(), *n)))
            .collect();
        bytes += job.bytes();
        if at > start && (bytes > GROUP_BYTES_MAX || entries.iter().any(|e| touched.contains(e))) {
            cut.push(jobs.get(start..at).unwrap_or_default());
            start = at;
            bytes = job.bytes();
            touched.clear();
        }
        touched.extend(entries);
    }
    cut.push(jobs.get(start..).unwrap_or_default());
    cut
}
