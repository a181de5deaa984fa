//! The spool: accepted, undelivered mail, as message → variant → recipient.
//!
//! Message bytes never change. What we add in front (trace fields) is a prefix of the variant, what a variant takes away
//! or puts in is a list of edits over the original body. Every recipient names the variant it gets.

use bytes::Bytes;
use mail::{Address, BlobId, Direction, LaneId, MailParams, Notify, QueueId, Reason, ReversePath, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::tracking::Record;

pub mod code;

/// Bodies up to this many bytes live in the spool row; larger ones in the blob folder.
pub const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Where the bytes of a body are.
#[derive(Clone, Debug)]
pub enum Body {
    /// In the row.
    Inline(Bytes),
    /// In the blob folder, already written, hashed and synced.
    Blob {
        /// Name.
        id: BlobId,
        /// Length in bytes.
        size: u64,
    },
}

/// One edit over the original body: bytes `from..to` are left out and `insert` stands in their place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// First byte left out.
    pub from: u64,
    /// One after the last byte left out.
    pub to: u64,
    /// What stands there instead.
    pub insert: String,
}

/// What recipients of one variant get: `prefix`, then the body with `edits` applied (ascending, disjoint).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Trace fields put in front, each with CRLF.
    pub prefix: Bytes,
    /// Changes to the body.
    pub edits: Vec<Edit>,
}

/// A message in the spool.
#[derive(Clone, Debug)]
pub struct SpoolMessage {
    /// Its name.
    pub queue_id: QueueId,
    /// Its owner.
    pub tenant: TenantId,
    /// Which way it goes.
    pub direction: Direction,
    /// Where failures are told.
    pub reverse_path: ReversePath,
    /// BODY, SMTPUTF8, RET, ENVID, SIZE as the client gave them.
    pub params: MailParams,
    /// The header section or an address has UTF-8: the next hop must offer SMTPUTF8.
    pub needs_smtputf8: bool,
    /// The body has octets over 127: the next hop must offer 8BITMIME.
    pub has_eight_bit: bool,
    /// When we became responsible.
    pub received_at: Timestamp,
    /// Octets of the body as received (without our prefix).
    pub size: u64,
    /// At least one; entry.variant indexes it.
    pub variants: Vec<Variant>,
    /// The bytes.
    pub body: Body,
    /// No DSN may be sent for it (sender likely forged).
    pub dsn_suppressed: bool,
    /// For DSNs and notices: the message that caused it.
    pub cause: Option<QueueId>,
}

/// Whether the scheduler may touch an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryState {
    /// Scheduled at `due`.
    Queued,
    /// Not scheduled until released; at `due` the hold ends into a bounce.
    Held,
}

/// One recipient of a message in the spool. It stays until delivered, failed or discarded.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its message.
    pub queue_id: QueueId,
    /// Its number within the message, from 0.
    pub number: u32,
    /// Owner.
    pub tenant: TenantId,
    /// What it waits with.
    pub lane: LaneId,
    /// Where it goes.
    pub recipient: Address,
    /// ORCPT.
    pub orcpt: Option<String>,
    /// NOTIFY.
    pub notify: Notify,
    /// Which variant of the message it gets.
    pub variant: u16,
    /// Queued or held.
    pub state: EntryState,
    /// Next attempt; for held entries the end of the hold.
    pub due: Timestamp,
    /// When we give up.
    pub expires_at: Timestamp,
    /// When the sender is told of the delay; `None`: not, or told already.
    pub delay_notice_at: Option<Timestamp>,
    /// Attempts made.
    pub attempts: u32,
    /// Why it waits or is held.
    pub reason: Option<Reason>,
    /// Last remote reply or error, at most 1,000 characters, with the host in front.
    pub last_reply: Option<String>,
    /// A next hop chosen by a person (`host:port`), instead of routing.
    pub forced_next_hop: Option<String>,
}

/// One message to accept: everything that the one durable transaction holds.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The message.
    pub message: SpoolMessage,
    /// Its recipients, at least one.
    pub entries: Vec<Entry>,
    /// What happened so far, connect to queued.
    pub record: Record,
}

/// What changes for an entry after an attempt or a person's action.
#[derive(Clone, Debug)]
pub enum Change {
    /// Delivered, failed, expired or discarded: the entry goes; with the last one goes the message and its blob.
    Remove,
    /// Waits again, is held, is released, or gets another life: the whole new entry.
    Replace(Box<Entry>),
}

/// Who changes entries, on the node that owns them. Nothing is changed and nothing is born when another node owns them by now (the record
/// is written all the same); then `settle` answers [`crate::StoreError::LeaseLost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Origin {
    /// An attempt, or the end of a hold. A `Replace` does not end a hold that a person began meanwhile, nor undo a next hop or a lifetime
    /// that a person chose.
    #[default]
    Attempt,
    /// A person's action. Replaces all; the scheduler is woken (`arrivals`).
    Person,
}

/// Changes of one message and what is told about them, written together.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which message.
    pub queue_id: QueueId,
    /// Who changes it.
    pub origin: Origin,
    /// Which recipients, and what of them.
    pub changes: Vec<(u32, Change)>,
    /// New messages born of it in the same transaction (DSNs).
    pub born: Vec<Acceptance>,
    /// What is told.
    pub record: Record,
}

/// A lane with something in it, found at start-up and take-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSummary {
    /// Which lane.
    pub lane: LaneId,
    /// Whose.
    pub tenant: TenantId,
    /// When its first entry is due.
    pub first_due: Timestamp,
    /// Entries in it.
    pub entries: u64,
}

/// Which entries a list, count or action is about. All given conditions hold together.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Owner; `None`: every tenant (operator).
    pub tenant: Option<TenantId>,
    /// Recipient domain (lower case A-labels).
    pub domain: Option<String>,
    /// One message.
    pub queue_id: Option<QueueId>,
    /// Reverse path, exactly; `*@domain` for a domain.
    pub sender: Option<String>,
    /// Why it waits.
    pub reason: Option<Reason>,
    /// Text at the front of `last_reply`: the host of the next hop.
    pub next_hop: Option<String>,
    /// Queued or held.
    pub state: Option<EntryState>,
    /// Received before.
    pub received_before: Option<Timestamp>,
    /// Only recipient domains of this list (domain administrators); `None`: all.
    pub domains: Option<Vec<String>>,
}

/// A row of a queue listing.
#[derive(Clone, Debug)]
pub struct QueueRow {
    /// The entry.
    pub entry: Entry,
    /// Sender.
    pub reverse_path: ReversePath,
    /// Direction.
    pub direction: Direction,
    /// Octets.
    pub size: u64,
    /// Since when.
    pub received_at: Timestamp,
}
