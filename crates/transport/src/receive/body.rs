//! Body: where the octets of a message are while it comes.
//!
//! In:  octets without dot-stuffing, in pieces. Out: a small body in memory, or a large one on its way to the blob folder; what it says of itself.
//! Standards: RFC 5321 §4.5.3.1.7 (no limit of ours below the announced size).
//! Invariants: memory does not grow with the message; an error while writing is kept until the final dot; what is not finished leaves nothing.

use crate::Desk;
use crate::limits::system;
use bytes::Bytes;
use config::SystemDocument;
use mail::TenantId;
use mail::mime::{Facts, Limits, Scanner};
use policy::admission::{PROOF_HEADER, PROVIDER_TENANT_HEADER};
use store::blob::BlobWriter;
use store::spool::INLINE_BYTES_MAX;
use store::{InData, StoreError};

/// Fields whose places and values are wanted.
const WATCHED: &[&str] = &[PROOF_HEADER, PROVIDER_TENANT_HEADER];

/// What goes wrong while a message comes.
pub type StreamError = StoreError;

/// Takes the octets of one message.
pub struct Collector {
    scanner: Scanner,
    small: Vec<u8>,
    large: Option<BlobWriter>,
    error: Option<StoreError>,
    /// While it lives, the store waits a moment for company before it commits.
    in_data: InData,
}

/// A whole message, not yet promised.
pub struct Collected {
    /// Its octets.
    pub body: CollectedBody,
    /// What it says of itself.
    pub facts: Facts,
    /// Held until the commit.
    pub in_data: InData,
}

/// Where the octets are.
pub enum CollectedBody {
    /// In memory.
    Small(Bytes),
    /// In a temporary file, neither synced nor named.
    Large(BlobWriter),
}

impl Collector {
    /// For one message, with the operator's limits.
    #[must_use]
    pub fn new(desk: &Desk, document: &SystemDocument) -> Self {
        Self {
            scanner: Scanner::new(limits(document), WATCHED),
            small: Vec::new(),
            large: None,
            error: None,
            in_data: desk.store.mail.in_data(),
        }
    }

    /// Takes what stands in `body` and empties it.
    pub async fn push(&mut self, desk: &Desk, body: &mut Vec<u8>) {
        if body.is_empty() {
            return;
        }
        if self.error.is_some() {
            return body.clear();
        }
        self.scanner.push(body);
        if self.large.is_none() {
            if self.small.is_empty() {
                self.small = std::mem::take(body);
            } else {
                self.small.append(body);
            }
            if self.small.len() <= INLINE_BYTES_MAX {
                return;
            }
            self.large = Some(desk.store.blobs.writer(TenantId::OPERATOR, desk.ids.queue_id(desk.now())));
            *body = std::mem::take(&mut self.small);
        }
        if let Some(writer) = &mut self.large
            && let Err(error) = writer.write(body).await
        {
            self.error = Some(error);
            self.large = None;
        }
        body.clear();
    }

    /// The message is whole.
    ///
    /// # Errors
    /// What went wrong while it was written.
    pub fn finish(self) -> Result<Collected, StoreError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let body = match self.large {
            Some(writer) => CollectedBody::Large(writer),
            None => CollectedBody::Small(Bytes::from(self.small)),
        };
        Ok(Collected {
            body,
            facts: self.scanner.finish(),
            in_data: self.in_data,
        })
    }
}

/// The operator's limits of chapter 9, as the scanner takes them.
fn limits(document: &SystemDocument) -> Limits {
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Limits {
        header_bytes_max: usize::try_from(system(document, |l| l.header_bytes_max)).unwrap_or(usize::MAX),
        fields_max: count(system(document, |l| l.header_fields_max)),
        parts_max: count(system(document, |l| l.mime_parts_max)),
        depth_max: count(system(document, |l| l.mime_depth_max)),
    }
}
