//! Hot reads: how does a scheduler or a delivery ask PostgreSQL without a thread in between?
//!
//! In:  short questions by index. Out: rows, over one shared connection on which questions are sent without waiting for each other.
//! Invariants: a question has a deadline; one whose connection went away is asked once more on a new one.

use bytes::Bytes;
use mail::{Address, BlobId, LaneId, QueueId, Reason, ReversePath, TenantId, Timestamp};
use postgres_types::ToSql;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_postgres::Row;

use super::Door;
use super::session::{Fault, Purpose, Session};
use crate::StoreError;
use crate::spool::code::{direction_from, head_from, notify_from, state_from};
use crate::spool::{Body, Entry, LaneSummary, SpoolMessage};

/// No hot question takes longer.
const SILENCE_MAX: Duration = Duration::from_secs(25);

type Param<'a> = &'a (dyn ToSql + Sync);

/// The shared connection.
pub(super) struct MailReader {
    door: Arc<Door>,
    /// The runtime on which the connection lives.
    home: Handle,
    session: Mutex<Option<Arc<Session>>>,
}

/// Columns of an entry, in the order of [`entry_of`].
pub(super) const ENTRY: &str = "e.queue_id, e.number, e.tenant, e.lane, e.recipient, e.orcpt, e.notify, e.variant, e.state, e.due, e.expires_at, \
     e.delay_notice_at, e.attempts, e.reason, e.last_reply, e.forced_next_hop";

impl MailReader {
    pub(super) fn new(door: Arc<Door>, home: Handle) -> Self {
        Self {
            door,
            home,
            session: Mutex::default(),
        }
    }

    async fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut held = self.session.lock().await;
        if let Some(session) = held.as_ref().filter(|s| !s.client.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let door = Arc::clone(&self.door);
        let opened = self
            .home
            .spawn(async move { Session::open(&door.config, &door.tls, Purpose::Mail).await });
        let session = Arc::new(opened.await.map_err(|_| StoreError::Unavailable("the store is closing".into()))??);
        *held = Some(Arc::clone(&session));
        Ok(session)
    }

    async fn ask(&self, text: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let mut again = true;
        loop {
            let session = self.session().await?;
            let work = async {
                let statement = session.prepared(text).await?;
                session.client.query(&statement, params).await
            };
            let answer = tokio::time::timeout(SILENCE_MAX, work).await;
            let fault = match answer {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) => Fault::from(error),
                Err(_) => Fault::Lost("no answer from PostgreSQL".into()),
            };
            if fault.is_lost() {
                let mut held = self.session.lock().await;
                held.take_if(|s| Arc::ptr_eq(s, &session));
            }
            if !(fault.is_lost() && std::mem::take(&mut again)) {
                return Err(fault.into());
            }
        }
    }

    pub(super) async fn lanes(&self, owner: i64) -> Result<Vec<LaneSummary>, StoreError> {
        let rows = self
            .ask(
                "SELECT lane, min(tenant), min(due), count(*) FROM entry WHERE owner = $1 GROUP BY lane",
                &[&owner],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LaneSummary {
                    lane: LaneId(row.try_get(0)?),
                    tenant: TenantId(row.try_get(1)?),
                    first_due: Timestamp(row.try_get(2)?),
                    entries: u64::try_from(row.try_get::<_, i64>(3)?).unwrap_or(0),
                })
            })
            .collect()
    }

    pub(super) async fn due(
        &self,
        owner: i64,
        lane: LaneId,
        until: Timestamp,
        after: Option<(Timestamp, QueueId, u32)>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (due, id, number) = after.map_or((i64::MIN, i64::MIN, i64::MIN), |(d, q, n)| (d.0, q.to_i64(), i64::from(n)));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let text = format!(
            "SELECT {ENTRY} FROM entry e WHERE e.owner = $1 AND e.lane = $2 AND e.due <= $3 AND (e.due, e.queue_id, e.number) > ($4, $5, $6) \
             ORDER BY e.due, e.queue_id, e.number LIMIT $7"
        );
        let rows = self.ask(&text, &[&owner, &lane.0, &until.0, &due, &id, &number, &limit]).await?;
        rows.iter().map(|row| entry_of(row, 0)).collect()
    }

    pub(super) async fn next_due(&self, owner: i64, lane: LaneId, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let text = "SELECT due FROM entry WHERE owner = $1 AND lane = $2 AND due > $3 ORDER BY due LIMIT 1";
        let rows = self.ask(text, &[&owner, &lane.0, &after.0]).await?;
        rows.first().map(|row| Ok(Timestamp(row.try_get(0)?))).transpose()
    }

    pub(super) async fn entries(&self, queue_id: QueueId) -> Result<Vec<Entry>, StoreError> {
        let rows = self
            .ask(
                &format!("SELECT {ENTRY} FROM entry e WHERE e.queue_id = $1 ORDER BY e.number"),
                &[&queue_id.to_i64()],
            )
            .await?;
        rows.iter().map(|row| entry_of(row, 0)).collect()
    }

    pub(super) async fn existing(&self, ids: &[QueueId]) -> Result<Vec<QueueId>, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.to_i64()).collect();
        let rows = self
            .ask("SELECT queue_id FROM message WHERE queue_id = ANY($1::int8[])", &[&ids])
            .await?;
        rows.iter().map(|row| Ok(QueueId::from_i64(row.try_get(0)?))).collect()
    }

    /// Entries of these that are there and not of `owner`.
    pub(super) async fn strangers(&self, entries: &[(QueueId, u32)], owner: i64) -> Result<Vec<(QueueId, u32)>, StoreError> {
        let (ids, numbers): (Vec<i64>, Vec<i64>) = entries.iter().map(|(id, n)| (id.to_i64(), i64::from(*n))).unzip();
        let text = "SELECT e.queue_id, e.number FROM entry e JOIN unnest($1::int8[], $2::int8[]) AS r(q, n) \
                    ON e.queue_id = r.q AND e.number = r.n WHERE e.owner <> $3";
        let rows = self.ask(text, &[&ids, &numbers, &owner]).await?;
        let key = |row: &Row| {
            let number = u32::try_from(row.try_get::<_, i64>(1)?).map_err(|_| StoreError::Data("number of an entry".into()))?;
            Ok((QueueId::from_i64(row.try_get(0)?), number))
        };
        rows.iter().map(key).collect()
    }

    pub(super) async fn message(&self, queue_id: QueueId) -> Result<Option<SpoolMessage>, StoreError> {
        let text = "SELECT tenant, direction, received_at, size, blob, reverse_path, head, body FROM message WHERE queue_id = $1";
        let rows = self.ask(text, &[&queue_id.to_i64()]).await?;
        rows.first().map(|row| message_of(queue_id, row)).transpose()
    }
}

fn message_of(queue_id: QueueId, row: &Row) -> Result<SpoolMessage, StoreError> {
    let size = u64::try_from(row.try_get::<_, i64>(3)?).unwrap_or(0);
    let (blob, body): (Option<&[u8]>, Option<&[u8]>) = (row.try_get(4)?, row.try_get(7)?);
    let body = match (blob, body) {
        (None, Some(bytes)) => Body::Inline(Bytes::copy_from_slice(bytes)),
        (Some(hash), None) => {
            let hash = hash
                .try_into()
                .map_err(|_| StoreError::Data(format!("message {queue_id}: the name of its blob is damaged")))?;
            Body::Blob { id: BlobId(hash), size }
        }
        (None, None) | (Some(_), Some(_)) => return Err(StoreError::Data(format!("message {queue_id} has no body, or two"))),
    };
    let head = head_from(row.try_get(6)?)?;
    Ok(SpoolMessage {
        queue_id,
        tenant: TenantId(row.try_get(0)?),
        direction: direction_from(i64::from(row.try_get::<_, i16>(1)?))?,
        reverse_path: path_of(row.try_get(5)?)?,
        params: head.params,
        needs_smtputf8: head.needs_smtputf8,
        has_eight_bit: head.has_eight_bit,
        received_at: Timestamp(row.try_get(2)?),
        size,
        variants: head.variants,
        body,
        dsn_suppressed: head.dsn_suppressed,
        cause: head.cause,
    })
}

/// A reverse path from its column.
pub(super) fn path_of(text: &str) -> Result<ReversePath, StoreError> {
    ReversePath::parse(text).map_err(|e| StoreError::Data(format!("reverse path {text:?}: {e}")))
}

/// An entry from columns `at` and following, in the order of [`ENTRY`].
pub(super) fn entry_of(row: &Row, at: usize) -> Result<Entry, StoreError> {
    let number = |i: usize| -> Result<i64, StoreError> { Ok(row.try_get::<_, i64>(at + i)?) };
    let small = |i: usize| -> Result<i64, StoreError> { Ok(i64::from(row.try_get::<_, i16>(at + i)?)) };
    let text = |i: usize| -> Result<Option<String>, StoreError> { Ok(row.try_get::<_, Option<String>>(at + i)?) };
    let recipient: &str = row.try_get(at + 4)?;
    let reason = text(13)?
        .map(|r| {
            r.parse::<Reason>()
                .map_err(|_| StoreError::Data(format!("reason {r:?} is unknown")))
        })
        .transpose()?;
    Ok(Entry {
        queue_id: QueueId::from_i64(number(0)?),
        number: u32::try_from(number(1)?).unwrap_or(u32::MAX),
        tenant: TenantId(number(2)?),
        lane: LaneId(number(3)?),
        recipient: Address::parse(recipient).map_err(|e| StoreError::Data(format!("recipient {recipient:?}: {e}")))?,
        orcpt: text(5)?,
        notify: notify_from(small(6)?)?,
        variant: u16::try_from(small(7)?).unwrap_or(0),
        state: state_from(small(8)?)?,
        due: Timestamp(number(9)?),
        expires_at: Timestamp(number(10)?),
        delay_notice_at: row.try_get::<_, Option<i64>>(at + 11)?.map(Timestamp),
        attempts: u32::try_from(number(12)?).unwrap_or(u32::MAX),
        reason,
        last_reply: text(14)?,
        forced_next_hop: text(15)?,
    })
}
