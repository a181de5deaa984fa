//! DATA: octets go to the collector as they come; after the final dot the pipeline decides.
//!
//! In:  message octets, the end of data. Out: 250 with queue ids, or one refusal for all recipients.
//! Standards: RFC 5321 §4.1.1.4, §4.2.5; domains-and-routing 10 (stage final dot).
//! Invariants: 250 is said after the commit and never before; what went wrong on our side is 4yz.

use super::reply::{self, Refusal};
use super::session::Session;
use super::transaction::{Transaction, owner_of};
use crate::receive::body::{Collector, StreamError};
use crate::receive::{self, Accepted};
use ::mail::{Reason, TenantId};
use proto::smtp::server::{Answer, BODY_CHUNK_BYTES, Violation};

/// Octets of a usual message, for the first buffer.
const USUAL_BYTES: usize = 16 * 1024;

impl Session {
    pub(super) fn judge_data(&mut self) -> Answer {
        let Some(transaction) = &self.transaction else {
            return self.internal("DATA outside a transaction");
        };
        // Room for what the client announced, else for a usual message: growing step by step would copy it several times.
        let announced = transaction.params.size.and_then(|s| usize::try_from(s).ok()).unwrap_or(USUAL_BYTES);
        self.body.reserve(announced.clamp(USUAL_BYTES / 8, BODY_CHUNK_BYTES));
        self.collector = Some(Box::new(Collector::new(&self.desk, &transaction.live.system)));
        Answer::Accept
    }

    /// Octets that came so far. What goes wrong is kept until the final dot: there is no reply before it.
    pub(super) async fn take_chunk(&mut self) {
        match &mut self.collector {
            Some(collector) => collector.push(&self.desk, &mut self.body).await,
            None => self.body.clear(),
        }
    }

    pub(super) async fn judge_end_of_data(&mut self, size: u64, violation: Option<Violation>) -> Answer {
        if violation.is_none() {
            self.take_chunk().await;
        }
        let collected = match self.collector.take() {
            Some(collector) if violation.is_none() => Some(collector.finish()),
            Some(_) | None => None,
        };
        let Some(mut transaction) = self.transaction.take() else {
            return self.internal("end of data outside a transaction");
        };
        let outcome = match (violation, collected) {
            (Some(violation), _) => Err(receive::Refused::about(violated(violation, &transaction), None)),
            // Asked again now that the size is known; the operator's figure of this moment counts, not that of MAIL.
            (None, Some(Ok(_))) if !self.has_room(size) => Err(receive::Refused::about(Refusal::new(Reason::StoreFull), None)),
            (None, Some(Ok(collected))) => {
                let accepted = Accepted {
                    connection: &mut self.connection,
                    transaction: &mut transaction,
                    collected,
                    size,
                };
                receive::receive(accepted, &self.desk).await
            }
            (None, Some(Err(error))) => Err(receive::Refused::about(stream_refusal(&error), None)),
            (None, None) => return self.internal("end of data without data"),
        };
        let concerned = concerned(&transaction);
        self.transaction = Some(transaction);
        let answer = match outcome {
            Ok(receipt) => Answer::AcceptWith(reply::accepted(receipt.queue_ids.into_iter())),
            Err(refused) => {
                let tenant = refused.tenant.or(concerned);
                self.note_recipients(owner_of(refused.refusal.reason, tenant));
                self.refusal(&refused.refusal, tenant, None)
            }
        };
        self.forget();
        answer
    }

    /// Who would have got it.
    fn note_recipients(&mut self, tenant: TenantId) {
        let Some(transaction) = &mut self.transaction else { return };
        let mut traces = std::mem::take(&mut transaction.traces);
        traces.note(tenant, transaction.recipients_seen_by(tenant), &self.desk);
        transaction.traces = traces;
    }
}

impl Session {
    /// Whether a message of `size` octets leaves enough free.
    pub(super) fn has_room(&self, size: u64) -> bool {
        let (desk, live) = (&self.desk, self.desk.live());
        desk.inbound
            .space
            .has_room(&*desk.store.mail, &live.system, size, desk.clock.monotonic())
    }
}

/// Whose trace tells of a refusal that concerns the whole transaction: the sender's tenant, or that of the recipients when it is one.
fn concerned(transaction: &Transaction) -> Option<TenantId> {
    transaction.sender_tenant().or_else(|| {
        let mut owners = transaction.recipients.iter().filter_map(|r| r.owner.as_ref().map(|(t, _)| t.id));
        let first = owners.next()?;
        owners.all(|o| o == first).then_some(first)
    })
}

fn violated(violation: Violation, transaction: &Transaction) -> Refusal {
    match violation {
        Violation::BareNewline => Refusal::new(Reason::BareNewline),
        Violation::LineTooLong => Refusal::new(Reason::Malformed).with_detail("line too long"),
        Violation::TooLarge => Refusal::number(
            Reason::Size,
            crate::limits::system(&transaction.live.system, |l| l.message_bytes_cap),
        ),
        // The machine gives only the three above at the end of data.
        Violation::Utf8Address | Violation::TlsRequired | Violation::AuthRequired | Violation::AuthFailed | Violation::TooManyErrors => {
            Refusal::new(Reason::Internal)
        }
    }
}

fn stream_refusal(error: &StreamError) -> Refusal {
    tracing::error!(%error, "a message could not be written while it came");
    Refusal::new(receive::reason_of(error)).with_detail(error.to_string())
}
