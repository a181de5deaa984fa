//! What is said to a next hop for one message: MAIL, RCPT, DATA, the message, the dot. What came back, per recipient.
//!
//! In: a wire, the message, its recipients. Out: a [`Said`] per recipient, and whether the wire may be used again.
//! Standards: RFC 5321 §3.3, §4.1.1.4; RFC 2920 (one write for MAIL, RCPT and DATA); RFC 6152; RFC 6531; RFC 1870; RFC 3461.
//! Invariants: the final dot is written only while the lease of this node holds; no bare CR or LF leaves; memory is bounded by one chunk.

use super::content::{Splice, size_bytes};
use super::effect::{Effect, Stage, after_loss, after_reply};
use super::wire::{Loss, Wire, timeout};
use crate::Desk;
use mail::{BodyType, MailParams, Reason, Recipient, Reply};
use proto::smtp::client::{self as smtp, Lack, Stuffer};
use store::spool::{Body, Entry, SpoolMessage, Variant};

/// Written at once of a large body.
const CHUNK_BYTES: usize = 64 * 1024;

/// What came of one recipient.
#[derive(Clone, Debug)]
pub struct Said {
    /// What follows.
    pub effect: Effect,
    /// Why, unless it was taken.
    pub reason: Reason,
    /// The reply, if one came.
    pub reply: Option<Reply>,
    /// Reply or error, as text.
    pub text: String,
}

/// What came of a transaction.
#[derive(Debug)]
pub struct Transaction {
    /// Per recipient, in their order.
    pub said: Vec<Said>,
    /// Whether the wire may be used for another message.
    pub end: End,
    /// The last reply or error.
    pub last: String,
}

/// How the wire is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Ready for another MAIL.
    Usable,
    /// To be dropped.
    Broken,
    /// The server had closed an idle connection before it heard of this message: try another connection, nothing was lost.
    Stale,
    /// This node has lost its lease: nothing was delivered and the entries are no longer ours.
    LeaseLost,
}

impl Said {
    fn reply(effect: Effect, reply: &Reply) -> Self {
        Self {
            effect,
            reason: Reason::RemoteReply,
            text: reply.to_string(),
            reply: Some(reply.clone()),
        }
    }

    fn loss(stage: Stage, loss: &Loss) -> Self {
        let reason = if stage == Stage::FinalDot {
            Reason::LostAfterDot
        } else {
            Reason::NextHopFailed
        };
        Self {
            effect: after_loss(stage),
            reason,
            text: format!("{}: {loss}", stage_name(stage)),
            reply: None,
        }
    }

    fn own(effect: Effect, reason: Reason, reply: Reply) -> Self {
        Self {
            effect,
            reason,
            text: reply.to_string(),
            reply: Some(reply),
        }
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connect",
        Stage::Greeting => "greeting",
        Stage::Hello => "EHLO",
        Stage::StartTls => "STARTTLS",
        Stage::Auth => "AUTH",
        Stage::Mail => "MAIL FROM",
        Stage::Rcpt => "RCPT TO",
        Stage::Data => "DATA",
        Stage::FinalDot => "after the final dot",
    }
}

/// Sends one message to `entries`, which share their variant and were read under the lease `lease_epoch`.
pub async fn send(
    desk: &Desk,
    lease_epoch: i64,
    wire: &mut Wire,
    message: &SpoolMessage,
    variant: &Variant,
    entries: &[&Entry],
) -> Transaction {
    let params = parameters(message, wire.capabilities.smtputf8);
    let size = size_bytes(message, variant);
    if let Some(said) = lacks(&wire.capabilities, &params, size) {
        let last = said.text.clone();
        return Transaction {
            said: vec![said; entries.len()],
            end: End::Usable,
            last,
        };
    }
    let mut talk = Talk {
        said: vec![None; entries.len()],
        last: String::new(),
        is_sender_refused: false,
        lease_epoch,
    };
    let end = talk.run(desk, wire, message, variant, entries, (&params, size)).await;
    wire.messages += 1;
    let last = std::mem::take(&mut talk.last);
    let fallback = Said {
        effect: Effect::Next,
        reason: Reason::NextHopFailed,
        reply: None,
        text: last.clone(),
    };
    Transaction {
        said: talk.said.into_iter().map(|s| s.unwrap_or_else(|| fallback.clone())).collect(),
        end,
        last,
    }
}

/// What we ask of the next hop: what the message needs, not what its client happened to declare.
fn parameters(message: &SpoolMessage, peer_has_utf8: bool) -> MailParams {
    MailParams {
        size: None,
        body: if message.has_eight_bit {
            BodyType::EightBitMime
        } else {
            BodyType::SevenBit
        },
        smtputf8: message.needs_smtputf8 || (message.params.smtputf8 && peer_has_utf8),
        ret: message.params.ret,
        envid: message.params.envid.clone(),
    }
}

/// domains-and-routing 11.1, downgrade.
fn lacks(peer: &smtp::Capabilities, params: &MailParams, size: u64) -> Option<Said> {
    Some(match peer.lack(params, size)? {
        Lack::SmtpUtf8 => Said::own(
            Effect::Next,
            Reason::Utf8Address,
            Reply::new(553, 6, 7, "the next hop does not offer SMTPUTF8, which the message needs"),
        ),
        Lack::EightBitMime => Said::own(
            Effect::Fail,
            Reason::NextHopFailed,
            Reply::new(554, 6, 3, "the next hop does not offer 8BITMIME, which the message needs"),
        ),
        Lack::Size => Said::own(
            Effect::Fail,
            Reason::Size,
            Reply::new(552, 3, 4, "the message is larger than the next hop takes"),
        ),
    })
}

struct Talk {
    said: Vec<Option<Said>>,
    last: String,
    is_sender_refused: bool,
    /// Lease under which the entries were read.
    lease_epoch: i64,
}

impl Talk {
    async fn run(
        &mut self,
        desk: &Desk,
        wire: &mut Wire,
        message: &SpoolMessage,
        variant: &Variant,
        entries: &[&Entry],
        (params, size): (&MailParams, u64),
    ) -> End {
        let is_reused = wire.messages > 0;
        let opened = self.open(wire, message, entries, params, size).await;
        let data = match opened {
            Ok(data) => data,
            Err((Stage::Mail, Loss::Broken(_))) if is_reused => return End::Stale,
            Err((stage, loss)) => return self.lost(stage, &loss),
        };
        if is_reused
            && self
                .said
                .iter()
                .all(|s| s.as_ref().and_then(|s| s.reply.as_ref()).is_some_and(|r| r.code.0 == 421))
        {
            return End::Stale;
        }
        let Some(data) = data else { return self.close(wire) };
        if after_reply(Stage::Data, &data) != Effect::Proceed {
            self.rest(&Said::reply(after_reply(Stage::Data, &data), &data));
            wire.needs_reset = true;
            return self.close(wire);
        }
        if self.said.iter().all(Option::is_some) {
            return self.empty(wire).await;
        }
        self.body(desk, wire, message, variant).await
    }

    /// MAIL, RCPT, DATA. `Ok(None)`: there was nobody left to say DATA for.
    async fn open(
        &mut self,
        wire: &mut Wire,
        message: &SpoolMessage,
        entries: &[&Entry],
        params: &MailParams,
        size: u64,
    ) -> Result<Option<Reply>, (Stage, Loss)> {
        let pipelining = wire.capabilities.pipelining;
        let resets = std::mem::take(&mut wire.needs_reset);
        if resets {
            smtp::rset(&mut wire.out);
            if !pipelining {
                self.command(wire, Stage::Mail).await?;
            }
        }
        smtp::mail(&mut wire.out, &message.reverse_path, params, size, &wire.capabilities);
        if pipelining {
            entries
                .iter()
                .for_each(|e| smtp::rcpt(&mut wire.out, &recipient(e), &wire.capabilities));
            smtp::data(&mut wire.out);
            wire.flush(timeout::COMMAND).await.map_err(|loss| (Stage::Mail, loss))?;
            if resets {
                self.reply(wire, Stage::Mail).await?;
            }
        }
        let mail = if pipelining {
            self.reply(wire, Stage::Mail).await?
        } else {
            self.command(wire, Stage::Mail).await?
        };
        if after_reply(Stage::Mail, &mail) != Effect::Proceed {
            self.rest(&Said::reply(after_reply(Stage::Mail, &mail), &mail));
            self.is_sender_refused = true;
            if !pipelining {
                return Ok(None);
            }
        }
        for (index, entry) in entries.iter().enumerate() {
            if !pipelining {
                smtp::rcpt(&mut wire.out, &recipient(entry), &wire.capabilities);
            }
            let reply = if pipelining {
                self.reply(wire, Stage::Rcpt).await?
            } else {
                self.command(wire, Stage::Rcpt).await?
            };
            self.recipient(index, &reply);
        }
        if pipelining {
            return self.reply(wire, Stage::Data).await.map(Some);
        }
        if self.said.iter().all(Option::is_some) {
            wire.needs_reset = true;
            return Ok(None);
        }
        smtp::data(&mut wire.out);
        self.command(wire, Stage::Data).await.map(Some)
    }

    fn recipient(&mut self, index: usize, reply: &Reply) {
        let effect = after_reply(Stage::Rcpt, reply);
        if let Some(slot @ None) = self.said.get_mut(index)
            && effect != Effect::Proceed
        {
            *slot = Some(Said::reply(effect, reply));
        }
    }

    async fn command(&mut self, wire: &mut Wire, stage: Stage) -> Result<Reply, (Stage, Loss)> {
        wire.flush(timeout::COMMAND).await.map_err(|loss| (stage, loss))?;
        self.reply(wire, stage).await
    }

    async fn reply(&mut self, wire: &mut Wire, stage: Stage) -> Result<Reply, (Stage, Loss)> {
        let limit = if stage == Stage::Data {
            timeout::DATA_INITIATION
        } else {
            timeout::COMMAND
        };
        let reply = wire.reply(limit).await.map_err(|loss| (stage, loss))?;
        self.last = reply.to_string();
        Ok(reply)
    }

    /// All recipients without a verdict get this one.
    fn rest(&mut self, said: &Said) {
        self.said.iter_mut().filter(|s| s.is_none()).for_each(|s| *s = Some(said.clone()));
    }

    fn lost(&mut self, stage: Stage, loss: &Loss) -> End {
        let said = Said::loss(stage, loss);
        self.last.clone_from(&said.text);
        self.rest(&said);
        End::Broken
    }

    /// After a refusal: 421 means that the server hangs up (RFC 5321 §3.8).
    fn close(&self, _wire: &Wire) -> End {
        if self
            .said
            .iter()
            .flatten()
            .any(|s| s.reply.as_ref().is_some_and(|r| r.code.0 == 421))
        {
            End::Broken
        } else {
            End::Usable
        }
    }

    /// RFC 2920 §3.1: a server may say 354 although it took no recipient; it gets a message of nothing and forgets it.
    /// One that said it although it refused the sender may mean anything by it: it gets nothing at all.
    async fn empty(&mut self, wire: &mut Wire) -> End {
        if self.is_sender_refused {
            return End::Broken;
        }
        wire.out.extend_from_slice(b".\r\n");
        let sent = wire.flush(timeout::DATA_BLOCK).await;
        if sent.is_ok() && wire.reply(timeout::FINAL_DOT).await.is_ok() {
            self.close(wire)
        } else {
            End::Broken
        }
    }

    /// The message and its dot.
    async fn body(&mut self, desk: &Desk, wire: &mut Wire, message: &SpoolMessage, variant: &Variant) -> End {
        let mut writer = BodyWriter {
            stuffer: Stuffer::new(),
            splice: Splice::new(&variant.edits),
        };
        match writer.write(desk, wire, message, variant).await {
            Ok(()) => {}
            Err(BodyFault::Loss(loss)) => return self.lost(Stage::Data, &loss),
            Err(BodyFault::Own(text)) => {
                tracing::error!(queue_id = %message.queue_id, %text, "message cannot be sent");
                self.rest(&Said {
                    effect: Effect::Defer,
                    reason: Reason::Internal,
                    reply: None,
                    text: text.clone(),
                });
                self.last = text;
                return End::Broken;
            }
        }
        // A lease that was lost and had anew holds again, but not for what was read before.
        if !desk.store.mail.lease_holds() || desk.store.mail.lease_epoch() != self.lease_epoch {
            self.rest(&Said {
                effect: Effect::Defer,
                reason: Reason::Internal,
                reply: None,
                text: "lease lost before the final dot".into(),
            });
            return End::LeaseLost;
        }
        if let Err(loss) = wire.flush(timeout::DATA_BLOCK).await {
            // What the system did not take is the end of what we wrote: the dot did not leave.
            return self.lost(Stage::Data, &loss);
        }
        match wire.reply(timeout::FINAL_DOT).await {
            Ok(reply) => {
                self.last = reply.to_string();
                self.rest(&Said::reply(after_reply(Stage::FinalDot, &reply), &reply));
                if reply.code.0 == 421 { End::Broken } else { End::Usable }
            }
            Err(loss) => self.lost(Stage::FinalDot, &loss),
        }
    }
}

fn recipient(entry: &Entry) -> Recipient {
    Recipient {
        address: entry.recipient.clone(),
        notify: entry.notify,
        orcpt: entry.orcpt.clone(),
    }
}

enum BodyFault {
    Loss(Loss),
    /// Our fault: the body cannot be read or may not leave.
    Own(String),
}

struct BodyWriter<'e> {
    stuffer: Stuffer,
    splice: Splice<'e>,
}

impl BodyWriter<'_> {
    /// Writes everything but the last piece; that stands in `wire.out` with the final dot when this returns.
    async fn write(&mut self, desk: &Desk, wire: &mut Wire, message: &SpoolMessage, variant: &Variant) -> Result<(), BodyFault> {
        self.stuffer.write(&variant.prefix, &mut wire.out).map_err(own)?;
        match &message.body {
            Body::Inline(bytes) => {
                wire.out.reserve(bytes.len() + bytes.len() / 64 + 16);
                self.chunk(wire, bytes)?;
            }
            Body::Blob { id, .. } => {
                let mut reader = desk.store.blobs.reader(*id, message.tenant, message.queue_id).await.map_err(own)?;
                while let Some(chunk) = reader.next().await.map_err(own)? {
                    self.chunk(wire, &chunk)?;
                    if wire.out.len() >= CHUNK_BYTES {
                        wire.flush(timeout::DATA_BLOCK).await.map_err(BodyFault::Loss)?;
                    }
                }
            }
        }
        let splice = std::mem::replace(&mut self.splice, Splice::new(&[]));
        let (stuffer, out) = (&mut self.stuffer, &mut wire.out);
        splice.finish(&mut |piece: &[u8]| stuffer.write(piece, out)).map_err(own)?;
        self.stuffer.finish(&mut wire.out).map_err(own)
    }

    fn chunk(&mut self, wire: &mut Wire, bytes: &[u8]) -> Result<(), BodyFault> {
        let (stuffer, out) = (&mut self.stuffer, &mut wire.out);
        self.splice.write(bytes, &mut |piece: &[u8]| stuffer.write(piece, out)).map_err(own)
    }
}

fn own(error: impl std::fmt::Display) -> BodyFault {
    BodyFault::Own(error.to_string())
}
