//! What comes back of the original: its header section or, when asked for and small enough, all of it.

use crate::Desk;
use mail::dsn::HEADER_BYTES_MAX;
use mail::header;
use store::spool::{Body, SpoolMessage};

/// Bytes of the original, from its start.
#[derive(Debug)]
pub(super) struct OriginalBytes {
    pub(super) bytes: Vec<u8>,
    pub(super) is_whole: bool,
}

/// Reads at most `max` octets. A body that cannot be read gives what there is: the notification is worth more than its attachment.
pub(super) async fn read(desk: &Desk, message: &SpoolMessage, variant: u16, max: usize) -> OriginalBytes {
    let prefix = message
        .variants
        .get(usize::from(variant))
        .map(|v| v.prefix.clone())
        .unwrap_or_default();
    let mut bytes = prefix.to_vec();
    let room = max.saturating_sub(bytes.len());
    let size = usize::try_from(message.size).unwrap_or(usize::MAX);
    let is_whole = size <= room;
    let wanted = if is_whole { size } else { HEADER_BYTES_MAX.min(room) };
    match &message.body {
        Body::Inline(body) => bytes.extend_from_slice(body.get(..wanted.min(body.len())).unwrap_or_default()),
        Body::Blob { id, .. } => {
            if let Ok(mut reader) = desk.store.blobs.reader(*id, message.tenant, message.queue_id).await {
                let end = bytes.len() + wanted;
                while bytes.len() < end {
                    let Ok(Some(chunk)) = reader.next().await else { break };
                    bytes.extend_from_slice(&chunk);
                }
                bytes.truncate(end);
            }
        }
    }
    OriginalBytes { bytes, is_whole }
}

impl OriginalBytes {
    /// Decoded subject.
    pub(super) fn subject(&self) -> Option<String> {
        let field = header::find(&self.bytes, "Subject")?;
        Some(header::decode_text(&field.unfolded())).filter(|s| !s.is_empty())
    }

    /// Message-ID field.
    pub(super) fn message_id(&self) -> Option<String> {
        let field = header::find(&self.bytes, "Message-ID")?;
        String::from_utf8(field.unfolded().into_owned()).ok().filter(|s| !s.is_empty())
    }
}
