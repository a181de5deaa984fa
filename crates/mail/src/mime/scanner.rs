//! The push parser: lines in, structure followed, leaves fed.
//!
//! Containers stand on a stack, outermost first. A boundary of any of them ends everything above it (RFC 2046 §5.1.2). A container stays
//! on the stack behind its closing boundary: what opens another part there is read, because lenient readers show it.

use super::facts::{ATTACHMENTS_MAX, Attachment, BodyFields, Facts, Limits, Problem};
use super::leaf::{Entity, Leaf, Open};
use crate::header::{fields, trim_line_end};
use memchr::memchr;
use std::collections::BTreeSet;

/// A line is read in pieces of this size; the text line limit of domains-and-routing 9.
const PIECE_BYTES_MAX: usize = 64 * 1024;
const PART_HEADER_BYTES_MAX: usize = 64 * 1024;
/// RFC 2046 §5.1.1 allows 70.
const BOUNDARY_BYTES_MAX: usize = 1_000;

#[derive(Debug)]
enum Container {
    Multipart { boundary: Vec<u8>, digest: bool, closed: bool },
    Message,
}

#[derive(Debug)]
enum State {
    /// The header section of the message.
    Header,
    /// That of a part or of a message within.
    PartHeader(Vec<u8>),
    Leaf(Box<Leaf>),
    /// Preamble, epilogue, what is over a limit.
    Ignore,
}

/// Reads one message.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    watch: &'static [&'static str],
    facts: Facts,
    hosts: BTreeSet<String>,
    state: State,
    containers: Vec<Container>,
    /// The outermost attached message: hashed as a whole while its parts are read. With it the depth at which it stands.
    attached: Option<(usize, Open, &'static [u8])>,
    /// A line that is not complete yet.
    carry: Vec<u8>,
    /// The piece to come begins a line.
    at_line_start: bool,
}

impl Scanner {
    /// A scanner for one message. Every occurrence of a field named in `watch` is told with its place.
    #[must_use]
    pub fn new(limits: Limits, watch: &'static [&'static str]) -> Self {
        Self {
            limits,
            watch,
            facts: Facts::default(),
            hosts: BTreeSet::new(),
            state: State::Header,
            containers: Vec::new(),
            attached: None,
            carry: Vec::new(),
            at_line_start: true,
        }
    }

    /// The next octets of the message, dot-stuffing taken away.
    pub fn push(&mut self, octets: &[u8]) {
        self.facts.size += octets.len() as u64;
        let mut rest = octets;
        while !rest.is_empty() {
            if self.carry.is_empty() && self.bulk(rest) {
                return;
            }
            let room = PIECE_BYTES_MAX - self.carry.len().min(PIECE_BYTES_MAX);
            let window = rest.get(..room).unwrap_or(rest);
            let end = memchr(b'\n', window).map(|n| n + 1);
            let length = end.unwrap_or(window.len());
            let (piece, after) = rest.split_at(length);
            rest = after;
            let is_whole = end.is_some() || length == room;
            if !is_whole {
                self.carry.extend_from_slice(piece);
            } else if self.carry.is_empty() {
                self.piece(piece);
            } else {
                self.carry.extend_from_slice(piece);
                let carry = std::mem::take(&mut self.carry);
                self.piece(&carry);
                self.carry = carry;
                self.carry.clear();
            }
        }
    }

    /// The message is over.
    #[must_use]
    pub fn finish(mut self) -> Facts {
        if !self.carry.is_empty() {
            let carry = std::mem::take(&mut self.carry);
            self.piece(&carry);
        }
        if matches!(self.state, State::Header) {
            self.facts.note(Problem::NoBody);
            self.end_header();
        }
        if self
            .containers
            .iter()
            .any(|c| matches!(c, Container::Multipart { closed: false, .. }))
        {
            self.facts.note(Problem::Unclosed);
        }
        self.close_above(0);
        self.facts.url_hosts = self.hosts.into_iter().collect();
        self.facts
    }

    /// A leaf without containers around it needs no lines: takes everything at once.
    fn bulk(&mut self, octets: &[u8]) -> bool {
        let State::Leaf(leaf) = &mut self.state else { return false };
        if !self.containers.is_empty() || !leaf.is_plain() {
            return false;
        }
        leaf.bulk(octets, &mut self.hosts);
        self.facts.has_eight_bit |= !octets.is_ascii();
        true
    }

    /// A line with its line end, or a piece of a very long one.
    fn piece(&mut self, piece: &[u8]) {
        let starts = self.at_line_start;
        let ends = piece.last() == Some(&b'\n');
        self.at_line_start = ends;
        if matches!(self.state, State::Header) {
            return self.header_piece(piece, starts);
        }
        self.facts.has_eight_bit |= !piece.is_ascii();
        let line = if ends { trim_line_end(piece) } else { piece };
        let line_end = match piece.get(line.len()..) {
            Some(b"\r\n") => &b"\r\n"[..],
            Some(b"\n") => b"\n",
            _ => b"",
        };
        let is_boundary = starts && line.starts_with(b"--") && self.boundary(line);
        if let Some((_, open, pending)) = &mut self.attached {
            open.push(pending);
            open.push(line);
            *pending = line_end;
        }
        if is_boundary {
            return;
        }
        match &mut self.state {
            State::Header | State::Ignore => {}
            State::Leaf(leaf) => leaf.line(line, line_end, &mut self.hosts),
            State::PartHeader(header) if starts && line.is_empty() => {
                let header = std::mem::take(header);
                self.end_part_header(&header);
            }
            State::PartHeader(header) => {
                if header.len() + piece.len() > PART_HEADER_BYTES_MAX {
                    self.facts.note(Problem::PartHeaderTooLarge);
                } else {
                    header.extend_from_slice(piece);
                }
            }
        }
    }

    fn header_piece(&mut self, piece: &[u8], starts: bool) {
        if starts && matches!(piece, b"\n" | b"\r\n") {
            return self.end_header();
        }
        if self.facts.header.len() + piece.len() > self.limits.header_bytes_max {
            self.facts.note(Problem::HeaderTooLarge);
        }
        // Nothing behind the first cut is taken, so that offsets stay those of the message.
        if !self.facts.problems.contains(&Problem::HeaderTooLarge) {
            self.facts.header.extend_from_slice(piece);
        }
    }

    fn end_header(&mut self) {
        let fields = self.facts.read_header(self.limits.fields_max, self.watch);
        self.open(Entity::read(&fields, "text/plain"));
    }

    fn end_part_header(&mut self, header: &[u8]) {
        let mut body = BodyFields::default();
        fields(header).take(self.limits.fields_max).for_each(|f| body.read(&f));
        let default = match self.containers.last() {
            Some(Container::Multipart { digest: true, .. }) => "message/rfc822",
            _ => "text/plain",
        };
        self.open(Entity::read(&body, default));
    }

    /// A body begins.
    fn open(&mut self, entity: Entity) {
        let is_multipart = entity.kind.starts_with("multipart/");
        // RFC 6532 §3.7: message/global is the same in UTF-8. An encoded one is a leaf: nothing can be seen in it without decoding.
        let is_message =
            matches!(entity.kind.as_str(), "message/rfc822" | "message/global" | "message/news") && entity.encoding.is_identity();
        if !is_multipart && !is_message {
            self.state = State::Leaf(Box::new(Leaf::new(entity)));
            return;
        }
        if self.containers.len() >= self.limits.depth_max {
            self.facts.note(Problem::TooDeep);
            self.state = State::Ignore;
            return;
        }
        if is_message {
            if self.attached.is_none() {
                let open = Open::new(entity.name(), &entity.kind, Some("message/rfc822"));
                self.attached = Some((self.containers.len(), open, b""));
            }
            self.containers.push(Container::Message);
            self.state = State::PartHeader(Vec::new());
            return;
        }
        let boundary = entity.content_type.raw("boundary").map(<[u8]>::trim_ascii_end).unwrap_or_default();
        if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
            self.facts.note(Problem::NoBoundary);
            self.state = State::Leaf(Box::new(Leaf::new(Entity {
                kind: String::from("text/plain"),
                ..entity
            })));
            return;
        }
        if !entity.encoding.is_identity() {
            self.facts.note(Problem::EncodedContainer);
        }
        let digest = entity.kind == "multipart/digest";
        self.containers.push(Container::Multipart {
            boundary: boundary.to_vec(),
            digest,
            closed: false,
        });
        self.state = State::Ignore;
    }

    /// Whether the line is a boundary of an open container; if so, it has been acted on.
    fn boundary(&mut self, line: &[u8]) -> bool {
        let text = line.get(2..).unwrap_or_default();
        let found = self
            .containers
            .iter()
            .enumerate()
            .rev()
            .find_map(|(at, container)| match container {
                Container::Multipart { boundary, .. } => delimiter(text, boundary).map(|closes| (at, closes)),
                Container::Message => None,
            });
        let Some((at, closes)) = found else { return false };
        self.close_above(at + 1);
        match self.containers.get_mut(at) {
            Some(Container::Multipart { closed, .. }) if closes => *closed = true,
            _ if self.facts.parts >= self.limits.parts_max => self.facts.note(Problem::TooManyParts),
            _ => {
                self.facts.parts += 1;
                self.state = State::PartHeader(Vec::new());
            }
        }
        true
    }

    /// Ends the leaf and every container from `depth` on.
    fn close_above(&mut self, depth: usize) {
        match std::mem::replace(&mut self.state, State::Ignore) {
            State::Leaf(leaf) => {
                let attachment = leaf.finish(&mut self.hosts);
                self.attach(attachment);
            }
            // The header section of a part without a body: it still is a part.
            State::PartHeader(header) if !header.is_empty() => {
                self.end_part_header(&header);
                if let State::Leaf(leaf) = std::mem::replace(&mut self.state, State::Ignore) {
                    let attachment = leaf.finish(&mut self.hosts);
                    self.attach(attachment);
                }
            }
            State::Header | State::PartHeader(_) | State::Ignore => {}
        }
        self.containers.truncate(depth);
        if let Some((_, open, _)) = self.attached.take_if(|(at, _, _)| *at >= depth) {
            self.attach(Some(open.finish()));
        }
    }

    fn attach(&mut self, attachment: Option<Attachment>) {
        let Some(attachment) = attachment else { return };
        if self.facts.attachments.len() < ATTACHMENTS_MAX {
            self.facts.attachments.push(attachment);
        } else {
            self.facts.note(Problem::TooManyAttachments);
        }
    }
}

/// `Some(true)` for a closing boundary. White space may follow (RFC 2046 §5.1.1, transport padding).
fn delimiter(text: &[u8], boundary: &[u8]) -> Option<bool> {
    match text.strip_prefix(boundary)?.trim_ascii_end() {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}
