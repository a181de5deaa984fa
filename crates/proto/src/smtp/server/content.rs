//! Message octets: from DATA or BDAT to the question at their end.
//!
//! In:  octets behind 354 or behind a BDAT line. Out: chunks of body, the end of data, or the reply to a chunk.
//! Standards: RFC 5321 §4.1.1.4; RFC 3030 §2. Deviations: none.
//! Invariants: one call looks at no more than [`BODY_CHUNK_BYTES`] octets, so `body` stays bounded; refused octets are swallowed without a copy.

use super::body::{BodyLimits, BodyReader, Framing};
use super::command::{Bdat, ChunkKind};
use super::machine::{Asked, Counts, MailState, Server, State};
use super::{Action, Question, Settings, reply};
use crate::smtp::limits::BODY_CHUNK_BYTES;
use bytes::{Buf, BytesMut};
use mail::Reply;

impl Server {
    pub(super) fn new_reader(&self, framing: Framing) -> BodyReader {
        let Settings {
            bare_newline,
            text_line_max,
            size_max,
            ..
        } = *self.settings;
        BodyReader::new(
            framing,
            BodyLimits {
                bare_newline,
                text_line_max,
                size_max,
            },
        )
    }

    pub(super) fn text(&mut self, mut reader: BodyReader, input: &mut BytesMut, body: &mut Vec<u8>) -> Option<Action> {
        let window = input.get(..BODY_CHUNK_BYTES).unwrap_or(input);
        let end = reader.read(window, body);
        input.advance(end.unwrap_or(window.len()));
        if end.is_some() {
            return Some(self.end_of_data(&reader, Framing::Dot));
        }
        self.state = State::Text(reader);
        rest_of_input(input, body)
    }

    fn end_of_data(&mut self, reader: &BodyReader, framing: Framing) -> Action {
        let question = Question::EndOfData {
            size: reader.size(),
            violation: reader.violation(),
            chunking: framing == Framing::Counted,
        };
        self.ask(Asked::EndOfData, question)
    }

    pub(super) fn chunk(
        &mut self,
        mut reader: BodyReader,
        bdat: Bdat,
        left: u64,
        input: &mut BytesMut,
        (out, body): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Option<Action> {
        let window_bytes = usize::try_from(left).unwrap_or(usize::MAX).min(input.len()).min(BODY_CHUNK_BYTES);
        reader.read(input.get(..window_bytes).unwrap_or_default(), body);
        input.advance(window_bytes);
        let left = left - window_bytes as u64;
        if left > 0 {
            self.state = State::Chunk {
                reader,
                octets: bdat.octets,
                left,
                kind: bdat.chunk,
            };
            return rest_of_input(input, body);
        }
        let is_last = match bdat.chunk {
            ChunkKind::Last => {
                reader.finish_chunks(body);
                true
            }
            ChunkKind::More => false,
        };
        if is_last || reader.violation().is_some() {
            return Some(self.end_of_data(&reader, Framing::Counted));
        }
        if let MailState::Open(transaction) = self.mail {
            self.mail = MailState::Chunking(transaction, reader);
        }
        reply::chunk_received(bdat.octets, out);
        self.state = State::Command;
        None
    }

    pub(super) fn refused_chunk(
        &mut self,
        left: u64,
        reply: Reply,
        counts: Counts,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Option<Action> {
        let gone_bytes = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        input.advance(gone_bytes);
        let left = left - gone_bytes as u64;
        if left > 0 {
            self.state = State::RefusedChunk { left, reply, counts };
            return Some(Action::NeedInput);
        }
        match counts {
            Counts::Yes => self.wrong(&reply, out),
            Counts::No => {
                reply.write_to(out);
                self.state = State::Command;
                None
            }
        }
    }
}

fn rest_of_input(input: &BytesMut, body: &[u8]) -> Option<Action> {
    if body.len() >= BODY_CHUNK_BYTES {
        Some(Action::BodyChunk)
    } else if input.is_empty() {
        Some(Action::NeedInput)
    } else {
        None
    }
}
