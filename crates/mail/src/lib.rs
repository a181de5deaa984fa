//! What mail *is*: addresses, envelopes, ids, statuses, dispositions, header fields, MIME, delivery status notifications.
//!
//! Pure: no file, no socket, no clock, no task. Everything here can be fuzzed and tested without a system around it.

pub mod address;
pub mod charset;
pub mod disposition;
pub mod domain;
pub mod dsn;
pub mod envelope;
pub mod header;
pub mod id;
pub mod mime;
pub mod reason;
pub mod status;
pub mod text;
pub mod time;
pub mod trace;

pub use address::{Address, AddressError, ReversePath};
pub use disposition::{Direction, Disposition};
pub use domain::{Domain, DomainError};
pub use envelope::{BodyType, Envelope, MailParams, Notify, Recipient, Ret};
pub use id::{BlobId, IdSource, LaneId, QueueId, Reference, TenantId};
pub use reason::Reason;
pub use status::{Class, EnhancedStatus, Reply, ReplyCode};
pub use time::Timestamp;
