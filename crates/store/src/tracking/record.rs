//! Record blob: which bytes are one record in the tracking tables? The same for both engines.
//!
//! In:  a `Record` (its trace and tenant stand in columns of their own).
//! Out: byte 0 version (1), byte 1 direction (0 unknown, else as in the spool), bytes 2..10 moment (big-endian ms), then the events as one JSON array.
//! Invariants: a field added to an event later has a default, so that older records are still read.

use mail::{QueueId, TenantId, Timestamp};

use super::{Event, Record};
use crate::StoreError;
use crate::packing::Unpack;
use crate::spool::code::{direction_code, direction_from};

const RECORD_VERSION: u8 = 1;

/// Packs `record`.
///
/// # Errors
/// [`StoreError::Data`] when the events cannot be written as JSON (never seen: they are plain).
pub fn to_blob(record: &Record) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::with_capacity(1024);
    out.push(RECORD_VERSION);
    out.push(record.direction.map_or(0, |d| u8::try_from(direction_code(d)).unwrap_or(0)));
    out.extend_from_slice(&record.at.0.to_be_bytes());
    serde_json::to_writer(&mut out, &record.events).map_err(|e| StoreError::Data(format!("record: {e}")))?;
    Ok(out)
}

/// Unpacks a record of `trace` and `tenant`.
///
/// # Errors
/// [`StoreError::Data`] when it is damaged or of a newer version.
pub fn from_blob(trace: QueueId, tenant: TenantId, bytes: &[u8]) -> Result<Record, StoreError> {
    let mut unpack = Unpack::new(bytes, "a tracking record");
    match unpack.byte()? {
        RECORD_VERSION => {}
        newer => {
            return Err(StoreError::Data(format!(
                "a tracking record has version {newer}, this program knows {RECORD_VERSION}"
            )));
        }
    }
    let direction = match unpack.byte()? {
        0 => None,
        code => Some(direction_from(i64::from(code))?),
    };
    let at = Timestamp(i64::from_be_bytes(unpack.eight()?));
    let events: Vec<Event> = serde_json::from_slice(unpack.rest()).map_err(|e| StoreError::Data(format!("a tracking record: {e}")))?;
    Ok(Record {
        trace,
        tenant,
        direction,
        at,
        events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{Direction, Reason};

    #[test]
    fn records_round_trip() {
        let record = Record {
            trace: QueueId::from_i64(9),
            tenant: TenantId(3),
            direction: Some(Direction::Outbound),
            at: Timestamp(1_800_000_000_123),
            events: vec![
                Event::Tls {
                    tls: super::super::TlsFacts {
                        version: "TLSv1.3".into(),
                        cipher: "X".into(),
                        certificate: "none".into(),
                        fingerprint: None,
                    },
                },
                Event::Failed {
                    recipient: "見附@example.jp".into(),
                    reason: Reason::RemoteReply,
                    reply: "550 5.1.1 \"no\"".into(),
                },
            ],
        };
        let blob = to_blob(&record).unwrap();
        assert_eq!(from_blob(record.trace, record.tenant, &blob).unwrap(), record);
        assert!(matches!(from_blob(record.trace, record.tenant, &[7]), Err(StoreError::Data(_))));
        assert!(matches!(
            from_blob(record.trace, record.tenant, &blob[..20]),
            Err(StoreError::Data(_))
        ));
    }
}
