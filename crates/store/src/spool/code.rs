//! Codes: which bytes stand for the spool's closed sets and for the head of a message? The same for both engines.
//!
//! In:  `Direction`, `EntryState`, `Notify`, what a `SpoolMessage` has beside its columns.
//! Out: small numbers; the head blob. Layout: docs/format/spool.md.
//! Invariants: a number never changes its meaning; the head begins with its version; unknown numbers are [`StoreError::Data`].

use bytes::Bytes;
use mail::{BodyType, Direction, MailParams, Notify, QueueId, Ret};

use super::{Edit, EntryState, SpoolMessage, Variant};
use crate::StoreError;
use crate::packing::{Unpack, put_bytes, put_number};

const HEAD_VERSION: u8 = 1;

const NEEDS_SMTPUTF8: u64 = 1;
const HAS_EIGHT_BIT: u64 = 1 << 1;
const DSN_SUPPRESSED: u64 = 1 << 2;
const BODY_EIGHT_BIT: u64 = 1 << 3;
const PARAM_SMTPUTF8: u64 = 1 << 4;
const RET_FULL: u64 = 1 << 5;
const RET_HEADERS: u64 = 1 << 6;
const HAS_CAUSE: u64 = 1 << 7;
const HAS_SIZE: u64 = 1 << 8;
const HAS_ENVID: u64 = 1 << 9;

/// What the head blob holds: the fields of a message that nobody filters by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Parameters of MAIL FROM.
    pub params: MailParams,
    /// See [`SpoolMessage`].
    pub needs_smtputf8: bool,
    /// See [`SpoolMessage`].
    pub has_eight_bit: bool,
    /// See [`SpoolMessage`].
    pub dsn_suppressed: bool,
    /// See [`SpoolMessage`].
    pub cause: Option<QueueId>,
    /// See [`SpoolMessage`].
    pub variants: Vec<Variant>,
}

/// Packs the head of `message`.
#[must_use]
pub fn head_of(message: &SpoolMessage) -> Vec<u8> {
    let params = &message.params;
    let flag = |on: bool, bit: u64| if on { bit } else { 0 };
    let flags = flag(message.needs_smtputf8, NEEDS_SMTPUTF8)
        | flag(message.has_eight_bit, HAS_EIGHT_BIT)
        | flag(message.dsn_suppressed, DSN_SUPPRESSED)
        | flag(params.body == BodyType::EightBitMime, BODY_EIGHT_BIT)
        | flag(params.smtputf8, PARAM_SMTPUTF8)
        | flag(params.ret == Some(Ret::Full), RET_FULL)
        | flag(params.ret == Some(Ret::Headers), RET_HEADERS)
        | flag(message.cause.is_some(), HAS_CAUSE)
        | flag(params.size.is_some(), HAS_SIZE)
        | flag(params.envid.is_some(), HAS_ENVID);
    let room: usize = message
        .variants
        .iter()
        .map(|v| v.prefix.len() + 16 + v.edits.iter().map(|e| e.insert.len() + 32).sum::<usize>())
        .sum();
    let mut out = Vec::with_capacity(room + 32);
    out.push(HEAD_VERSION);
    put_number(&mut out, flags);
    if let Some(cause) = message.cause {
        out.extend_from_slice(&cause.to_i64().to_be_bytes());
    }
    if let Some(size) = params.size {
        put_number(&mut out, size);
    }
    if let Some(envid) = &params.envid {
        put_bytes(&mut out, envid.as_bytes());
    }
    put_number(&mut out, message.variants.len() as u64);
    for variant in &message.variants {
        put_bytes(&mut out, &variant.prefix);
        put_number(&mut out, variant.edits.len() as u64);
        for edit in &variant.edits {
            put_number(&mut out, edit.from);
            put_number(&mut out, edit.to);
            put_bytes(&mut out, edit.insert.as_bytes());
        }
    }
    out
}

/// Unpacks a head.
///
/// # Errors
/// [`StoreError::Data`] when it is damaged or of a newer version.
pub fn head_from(bytes: &[u8]) -> Result<Head, StoreError> {
    let mut unpack = Unpack::new(bytes, "the head of a message");
    match unpack.byte()? {
        HEAD_VERSION => {}
        newer => {
            return Err(StoreError::Data(format!(
                "the head of a message has version {newer}, this program knows {HEAD_VERSION}"
            )));
        }
    }
    let flags = unpack.number()?;
    let has = |bit: u64| flags & bit != 0;
    let cause = if has(HAS_CAUSE) {
        Some(QueueId::from_i64(i64::from_be_bytes(unpack.eight()?)))
    } else {
        None
    };
    let size = if has(HAS_SIZE) { Some(unpack.number()?) } else { None };
    let envid = if has(HAS_ENVID) { Some(unpack.text()?.to_owned()) } else { None };
    let mut variants = Vec::new();
    for _ in 0..unpack.count()? {
        let prefix = Bytes::copy_from_slice(unpack.bytes()?);
        let mut edits = Vec::new();
        for _ in 0..unpack.count()? {
            edits.push(Edit {
                from: unpack.number()?,
                to: unpack.number()?,
                insert: unpack.text()?.to_owned(),
            });
        }
        variants.push(Variant { prefix, edits });
    }
    let ret = if has(RET_FULL) {
        Some(Ret::Full)
    } else if has(RET_HEADERS) {
        Some(Ret::Headers)
    } else {
        None
    };
    let body = if has(BODY_EIGHT_BIT) {
        BodyType::EightBitMime
    } else {
        BodyType::SevenBit
    };
    Ok(Head {
        params: MailParams {
            size,
            body,
            smtputf8: has(PARAM_SMTPUTF8),
            ret,
            envid,
        },
        needs_smtputf8: has(NEEDS_SMTPUTF8),
        has_eight_bit: has(HAS_EIGHT_BIT),
        dsn_suppressed: has(DSN_SUPPRESSED),
        cause,
        variants,
    })
}

/// Column `message.direction`.
#[must_use]
pub fn direction_code(direction: Direction) -> i64 {
    match direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
        Direction::Internal => 3,
    }
}

/// The other way.
///
/// # Errors
/// [`StoreError::Data`] for an unknown number.
pub fn direction_from(code: i64) -> Result<Direction, StoreError> {
    match code {
        1 => Ok(Direction::Inbound),
        2 => Ok(Direction::Outbound),
        3 => Ok(Direction::Internal),
        other => Err(StoreError::Data(format!("direction {other} is unknown"))),
    }
}

/// Column `entry.state`.
#[must_use]
pub fn state_code(state: EntryState) -> i64 {
    match state {
        EntryState::Queued => 0,
        EntryState::Held => 1,
    }
}

/// The other way.
///
/// # Errors
/// [`StoreError::Data`] for an unknown number.
pub fn state_from(code: i64) -> Result<EntryState, StoreError> {
    match code {
        0 => Ok(EntryState::Queued),
        1 => Ok(EntryState::Held),
        other => Err(StoreError::Data(format!("state {other} is unknown"))),
    }
}

/// Column `entry.notify`: 0 not given, 1 never, 8 + success 1 + failure 2 + delay 4.
#[must_use]
pub fn notify_code(notify: Notify) -> i64 {
    match notify {
        Notify::Default => 0,
        Notify::Never => 1,
        Notify::When { success, failure, delay } => 8 + i64::from(success) + 2 * i64::from(failure) + 4 * i64::from(delay),
    }
}

/// The other way.
///
/// # Errors
/// [`StoreError::Data`] for an unknown number.
pub fn notify_from(code: i64) -> Result<Notify, StoreError> {
    match code {
        0 => Ok(Notify::Default),
        1 => Ok(Notify::Never),
        8..=15 => Ok(Notify::When {
            success: code & 1 != 0,
            failure: code & 2 != 0,
            delay: code & 4 != 0,
        }),
        other => Err(StoreError::Data(format!("notify {other} is unknown"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Body;
    use mail::{ReversePath, TenantId, Timestamp};

    fn message() -> SpoolMessage {
        SpoolMessage {
            queue_id: QueueId::from_i64(77),
            tenant: TenantId(5),
            direction: Direction::Inbound,
            reverse_path: ReversePath::Null,
            params: MailParams::default(),
            needs_smtputf8: false,
            has_eight_bit: false,
            received_at: Timestamp(1),
            size: 3,
            variants: vec![Variant::default()],
            body: Body::Inline(Bytes::from_static(b"a\r\n")),
            dsn_suppressed: false,
            cause: None,
        }
    }

    #[test]
    fn heads_round_trip() {
        let check = |m: SpoolMessage| {
            let head = head_from(&head_of(&m)).unwrap();
            let expect = Head {
                params: m.params,
                needs_smtputf8: m.needs_smtputf8,
                has_eight_bit: m.has_eight_bit,
                dsn_suppressed: m.dsn_suppressed,
                cause: m.cause,
                variants: m.variants,
            };
            assert_eq!(head, expect);
        };
        check(message());
        check(SpoolMessage {
            params: MailParams {
                size: Some(0),
                body: BodyType::EightBitMime,
                smtputf8: true,
                ret: Some(Ret::Headers),
                envid: Some("é=1".into()),
            },
            needs_smtputf8: true,
            has_eight_bit: true,
            dsn_suppressed: true,
            cause: Some(QueueId::from_i64(i64::MAX)),
            variants: vec![
                Variant {
                    prefix: Bytes::from_static(b"Received: x\r\n"),
                    edits: vec![],
                },
                Variant {
                    prefix: Bytes::new(),
                    edits: vec![Edit {
                        from: 3,
                        to: u64::MAX,
                        insert: "件名".into(),
                    }],
                },
            ],
            ..message()
        });
        check(SpoolMessage {
            params: MailParams {
                ret: Some(Ret::Full),
                ..MailParams::default()
            },
            ..message()
        });
    }

    #[test]
    fn cut_heads_are_damaged() {
        let whole = head_of(&message());
        for len in 0..whole.len() {
            assert!(matches!(head_from(&whole[..len]), Err(StoreError::Data(_))), "{len}");
        }
        assert!(matches!(head_from(&[9, 0, 0]), Err(StoreError::Data(t)) if t.contains("version 9")));
    }

    #[test]
    fn numbers_round_trip() {
        for d in [Direction::Inbound, Direction::Outbound, Direction::Internal] {
            assert_eq!(direction_from(direction_code(d)).ok(), Some(d));
        }
        for s in [EntryState::Queued, EntryState::Held] {
            assert_eq!(state_from(state_code(s)).ok(), Some(s));
        }
        for code in [0, 1, 8, 9, 10, 11, 12, 13, 14, 15] {
            assert_eq!(notify_from(code).map(notify_code).ok(), Some(code));
        }
        assert!(notify_from(2).is_err() && state_from(2).is_err() && direction_from(0).is_err());
    }
}
