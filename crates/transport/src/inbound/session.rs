//! Session: the driver of one client's conversation. It reads, asks, waits and writes; what is said is the machine's and the rooms' beside it.
//!
//! In:  a connection that was let in. Out: transactions for `receive`, refusals for tracking.
//! Standards: RFC 5321 §4.5.3.2 (time-outs), §3.8 (ending by 421); RFC 2920 (one write per group); RFC 3207.
//! Invariants: every wait on the client has a deadline; an idle session owns no buffer; a transaction that is not answered after the
//!   final dot leaves nothing behind but its refusals in tracking.

use super::accept::Door;
use super::floods::Noted;
use super::reply::Refusal;
use super::sources::{Certificate, Judge};
use super::transaction::{Connection, Traces, Transaction, owner_of, refused};
use super::wire::Wire;
use crate::Desk;
use crate::limits::{Seat, system};
use crate::receive::body::Collector;
use bytes::BytesMut;
use config::Live;
use config::document::TlsMin;
use mail::{Address, Reason, Reference, Reply, TenantId};
use proto::smtp::server::{Action, Answer, Question, Server};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use store::tracking::{Record, TlsFacts};

/// How long a good-bye may take.
const CLOSING_LIMIT: Duration = Duration::from_secs(5);
/// Domains-and-routing 8: what each reply waits over `harvest.session`.
const HARVEST_DELAY: Duration = Duration::from_secs(5);

/// Figures of one session, fixed at its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    command_idle: Duration,
    data_idle: Duration,
    ends_at: Duration,
    pub(super) messages_max: u32,
    pub(super) harvest_session: u32,
}

impl Limits {
    pub(super) fn of(live: &Live, is_source: bool, now: Duration) -> Self {
        let document = &live.system;
        let messages = if is_source {
            system(document, |l| l.source_messages_per_connection)
        } else {
            system(document, |l| l.messages_per_connection)
        };
        Self {
            command_idle: Duration::from_secs(system(document, |l| l.command_idle_s)),
            data_idle: Duration::from_secs(system(document, |l| l.data_idle_s)),
            ends_at: now.saturating_add(Duration::from_secs(system(document, |l| l.session_s))),
            messages_max: messages,
            harvest_session: document.harvest.session.unwrap_or(super::recipients::HARVEST_SESSION),
        }
    }
}

/// One session.
pub(super) struct Session {
    pub(super) desk: Arc<Desk>,
    pub(super) door: Arc<Door>,
    pub(super) connection: Connection,
    wire: Wire,
    pub(super) server: Server,
    input: BytesMut,
    out: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) limits: Limits,
    pub(super) transaction: Option<Box<Transaction>>,
    pub(super) collector: Option<Box<Collector>>,
    /// Refusals outside transactions.
    pub(super) traces: Traces,
    pub(super) messages: u32,
    pub(super) unknown_recipients: u32,
    /// We end it, not the client.
    is_cut_short: bool,
    /// An AUTH SCRAM-SHA-256 under way.
    pub(super) scram: Option<Box<identity::relay::ScramQuestion>>,
}

/// Whether the conversation goes on.
enum Next {
    GoOn,
    Over,
}

impl Session {
    pub(super) fn new(
        desk: Arc<Desk>,
        door: Arc<Door>,
        connection: Connection,
        wire: Wire,
        input: BytesMut,
        server: Server,
        limits: Limits,
    ) -> Self {
        Self {
            desk,
            door,
            connection,
            wire,
            server,
            input,
            out: Vec::new(),
            body: Vec::new(),
            limits,
            transaction: None,
            collector: None,
            traces: Traces::default(),
            messages: 0,
            unknown_recipients: 0,
            is_cut_short: false,
            scram: None,
        }
    }

    /// The conversation. The seat is the connection's place in the limits.
    pub(super) async fn run(mut self, seat: Seat) {
        if self.door.is_implicit_tls() && !self.start_tls().await {
            return;
        }
        self.server.greet(&mut self.out);
        loop {
            let next = match self.server.poll(&mut self.input, &mut self.out, &mut self.body) {
                Action::NeedInput => self.wait().await,
                Action::Ask(question) => {
                    // Boxed: what a judgement needs must not weigh on an idle session.
                    let answer = Box::pin(self.judge(question)).await;
                    self.is_cut_short |= matches!(answer, Answer::RefuseAndClose(_));
                    self.server.answer(answer, &mut self.out);
                    Next::GoOn
                }
                Action::BodyChunk => {
                    Box::pin(self.take_chunk()).await;
                    Next::GoOn
                }
                Action::Abandoned => {
                    self.forget();
                    Next::GoOn
                }
                Action::StartTls => {
                    self.forget();
                    if self.flush().await.is_ok() && self.start_tls().await {
                        Next::GoOn
                    } else {
                        Next::Over
                    }
                }
                Action::Close => Next::Over,
            };
            if matches!(next, Next::Over) {
                break;
            }
        }
        // What follows is only a good-bye: it takes no place from the client's next connection.
        drop(seat);
        self.end().await;
    }

    async fn judge(&mut self, question: Question) -> Answer {
        if self.unknown_recipients > self.limits.harvest_session {
            self.desk.clock.sleep(HARVEST_DELAY).await;
        }
        match question {
            Question::Hello(kind, name) => self.judge_hello(kind, name).await,
            Question::Mail(reverse_path, params) => self.judge_mail(reverse_path, params).await,
            Question::Rcpt(recipient) => self.judge_rcpt(recipient).await,
            Question::Data => self.judge_data(),
            Question::EndOfData { size, violation, .. } => self.judge_end_of_data(size, violation).await,
            Question::AuthPlain { authzid, user, password } => self.judge_plain(&authzid, &user, &password).await,
            Question::AuthScramStart { user } => self.judge_scram_start(&user),
            Question::AuthScramProven { authzid, user } => self.judge_scram_proven(&authzid, &user),
            Question::Violation(violation, text) => self.judge_violation(violation, text.as_deref()),
        }
    }

    /// Writes what is to be said, then waits for the client.
    async fn wait(&mut self) -> Next {
        if self.flush().await.is_err() {
            return Next::Over;
        }
        self.flush_traces();
        let is_in_data = self.server.is_in_data();
        if self.desk.shutdown.is_requested() && !is_in_data {
            return self.say_and_end(Reason::Shutdown).await;
        }
        let idle = if is_in_data {
            self.limits.data_idle
        } else {
            self.limits.command_idle
        };
        let limit = idle.min(self.limits.ends_at.saturating_sub(self.desk.clock.monotonic()));
        if limit.is_zero() {
            // A client that always has something to say is not waited for, and would never hear the end of its time.
            return self.say_and_end(Reason::Timeout).await;
        }
        let read = async {
            tokio::select! {
                biased;
                read = self.wire.read(&mut self.input) => Some(read),
                () = self.desk.shutdown.requested(), if !is_in_data => None,
            }
        };
        match self.desk.clock.timeout(limit, read).await {
            Ok(Some(Ok(0) | Err(_))) => Next::Over,
            Ok(Some(Ok(_))) => Next::GoOn,
            Ok(None) => self.say_and_end(Reason::Shutdown).await,
            Err(_) => self.say_and_end(Reason::Timeout).await,
        }
    }

    /// One write for all replies since the last.
    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let limit = self.limits.data_idle;
        self.desk
            .clock
            .timeout(limit, self.wire.write(&mut self.out))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn say_and_end(&mut self, reason: Reason) -> Next {
        let reply = self.refuse(&Refusal::new(reason), None, None);
        self.server.refuse(reply, &mut self.out);
        self.is_cut_short = true;
        Next::Over
    }

    async fn end(&mut self) {
        self.forget();
        self.flush_traces();
        let farewell = async {
            if self.out.is_empty() || self.wire.write(&mut self.out).await.is_ok() {
                // Nobody is left to be told that the good-bye failed.
                let _ = if self.is_cut_short {
                    self.wire.cut_short().await
                } else {
                    self.wire.close().await
                };
            }
        };
        // Who does not take the last reply in time has hung up as well.
        let _ = self.desk.clock.timeout(CLOSING_LIMIT, farewell).await;
    }

    /// RFC 3207; RFC 8314 §3.3 when it comes first.
    async fn start_tls(&mut self) -> bool {
        let Wire::Plain(stream) = std::mem::replace(&mut self.wire, Wire::Gone) else {
            return false;
        };
        let live = self.desk.live();
        let min = match live.system.tls_min_inbound.unwrap_or_default() {
            TlsMin::Tls12 => net::tls::TlsMin::Tls12,
            TlsMin::Tls13 => net::tls::TlsMin::Tls13,
        };
        let handshake = self.desk.server_tls.acceptor(min).accept(stream);
        match self.desk.clock.timeout(self.limits.command_idle, Box::pin(handshake)).await {
            Ok(Ok(stream)) => {
                let (facts, certificate) = self.desk.server_tls.facts(stream.get_ref().1);
                self.connection.tls = Some(TlsFacts {
                    version: facts.version,
                    cipher: facts.cipher,
                    certificate: certificate.as_ref().map_or_else(|| "none".to_owned(), |c| c.verdict().to_owned()),
                    fingerprint: certificate.as_ref().map(|c| c.spki_sha256.clone()),
                });
                self.connection.certificate = certificate.map(|c| Certificate {
                    is_verified: c.verified.is_ok(),
                    names: c.names,
                    fingerprint: c.spki_sha256,
                });
                self.wire = Wire::Tls(Box::new(stream));
                if !self.door.is_implicit_tls() {
                    self.server.tls_started();
                }
                true
            }
            Ok(Err(error)) => {
                tracing::debug!(client = %self.connection.client, %error, "TLS handshake failed");
                false
            }
            Err(_) => false,
        }
    }

    /// The open transaction is over, for whatever reason.
    pub(super) fn forget(&mut self) {
        self.flush_traces();
        self.transaction = None;
        self.collector = None;
        if self.body.capacity() > 0 {
            self.body = Vec::new();
        }
    }

    fn flush_traces(&mut self) {
        let connection = &self.connection;
        self.traces.flush(&self.desk, None, || connection.events());
        if let Some(mut transaction) = self.transaction.take() {
            let mut traces = std::mem::take(&mut transaction.traces);
            traces.flush(&self.desk, transaction.direction(), || {
                let mut events = connection.events();
                events.push(transaction.mail_from(connection));
                events
            });
            transaction.traces = traces;
            self.transaction = Some(transaction);
        }
    }

    /// Gives a refusal its reference, tells tracking, and makes the reply. `tenant` is who is concerned, when known.
    pub(super) fn refuse(&mut self, refusal: &Refusal, tenant: Option<TenantId>, recipient: Option<&Address>) -> Reply {
        let live = self.transaction.as_ref().map_or_else(|| self.desk.live(), |t| Arc::clone(&t.live));
        let owner = owner_of(refusal.reason, tenant);
        let switched = tenant
            .and_then(|t| live.tenants.get(&t))
            .map(|t| t.settings.soft_reasons.as_slice())
            .unwrap_or_default();
        let desk = Arc::clone(&self.desk);
        let text = recipient.map(ToString::to_string);
        let reply_of = |reference| refusal.reply(reference, &desk.node.public_url, switched);
        let flood = |reference: Reference| {
            let mut events = self.connection.events();
            events.extend(self.transaction.as_ref().map(|t| t.mail_from(&self.connection)));
            events.push(refused(refusal, &reply_of(reference), reference, text.clone()));
            let direction = self.transaction.as_ref().and_then(|t| t.direction());
            Record {
                trace: desk.ids.queue_id(desk.now()),
                tenant: owner,
                direction,
                at: desk.now(),
                events,
            }
        };
        let noted = desk
            .inbound
            .floods
            .note(self.connection.ip(), refusal.reason, desk.clock.monotonic(), flood);
        let reply = reply_of(noted.reference());
        if let Noted::Single(reference) = noted {
            let event = refused(refusal, &reply, reference, text);
            let traces = self.transaction.as_mut().map_or(&mut self.traces, |t| &mut t.traces);
            traces.refuse(owner, event, &desk);
        }
        reply
    }

    /// As [`refuse`](Self::refuse), as an answer.
    pub(super) fn refusal(&mut self, refusal: &Refusal, tenant: Option<TenantId>, recipient: Option<&Address>) -> Answer {
        Answer::Refuse(self.refuse(refusal, tenant, recipient))
    }

    /// What admission asks, under the settings of the transaction.
    pub(super) fn judge_of<'a>(&'a self, transaction: &'a Transaction) -> Judge<'a> {
        Judge {
            live: &transaction.live,
            index: &transaction.index,
            login: self.connection.login.as_ref(),
            proofs: &self.desk.rates.proofs,
            now: self.desk.now(),
        }
    }
}
