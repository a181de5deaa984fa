//! A leaf while it streams past: decoded, hashed, searched for links.

use super::decode::{Base64, LineBreak, LineEnd, QuotedPrintable};
use super::facts::{Attachment, BodyFields};
use super::magic::{HEAD_BYTES, true_type};
use super::url::UrlScanner;
use crate::header::{Parameterized, printable};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

const NAME_CHARS_MAX: usize = 255;

/// How the body of an entity is encoded. Unknown encodings are read as they stand.
#[derive(Debug)]
pub(super) enum Encoding {
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Encoding {
    /// RFC 2045 §6.1.
    pub(super) fn of(raw: Option<&[u8]>) -> Self {
        match raw.map(|r| Parameterized::parse(r).value).as_deref() {
            Some("base64") => Self::Base64(Base64::default()),
            Some("quoted-printable") => Self::QuotedPrintable(QuotedPrintable::default()),
            _ => Self::Identity,
        }
    }

    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::Identity)
    }
}

/// What an entity says of itself.
pub(super) struct Entity {
    /// `type/subtype`, lower case; `text/plain` when there is none (RFC 2045 §5.2).
    pub(super) kind: String,
    pub(super) content_type: Parameterized,
    pub(super) disposition: Parameterized,
    pub(super) encoding: Encoding,
}

impl Entity {
    /// `default` is the type of what does not tell its own: `message/rfc822` in a digest (RFC 2046 §5.1.5).
    pub(super) fn read(fields: &BodyFields, default: &str) -> Self {
        let content_type = fields.content_type.as_deref().map(Parameterized::parse).unwrap_or_default();
        let disposition = fields.disposition.as_deref().map(Parameterized::parse).unwrap_or_default();
        let kind = if content_type.value.contains('/') {
            content_type.value.replace([' ', '\t'], "")
        } else {
            default.to_owned()
        };
        Self {
            kind,
            content_type,
            disposition,
            encoding: Encoding::of(fields.encoding.as_deref()),
        }
    }

    /// RFC 2183 §2.3 first, then the `name` that older programs write.
    pub(super) fn name(&self) -> Option<String> {
        let name = self.disposition.text("filename").or_else(|| self.content_type.text("name"))?;
        Some(printable(name.trim(), NAME_CHARS_MAX)).filter(|n| !n.is_empty())
    }
}

/// An attachment being read.
#[derive(Debug)]
pub(super) struct Open {
    name: String,
    declared_type: String,
    known_type: Option<&'static str>,
    hash: Sha256,
    size: u64,
    head: Vec<u8>,
}

impl Open {
    pub(super) fn new(name: Option<String>, declared_type: &str, known_type: Option<&'static str>) -> Self {
        let declared_type = printable(declared_type, NAME_CHARS_MAX);
        Self {
            name: name.unwrap_or_default(),
            declared_type,
            known_type,
            hash: Sha256::new(),
            size: 0,
            head: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, octets: &[u8]) {
        self.size += octets.len() as u64;
        self.hash.update(octets);
        let room = HEAD_BYTES - self.head.len().min(HEAD_BYTES);
        self.head.extend_from_slice(octets.get(..room).unwrap_or(octets));
    }

    pub(super) fn finish(self) -> Attachment {
        let sha256 = crate::BlobId(self.hash.finalize().into()).to_string();
        let true_type = self.known_type.unwrap_or_else(|| true_type(&self.head));
        Attachment {
            name: self.name,
            declared_type: self.declared_type,
            true_type,
            size: self.size,
            sha256,
        }
    }
}

/// A leaf being read.
#[derive(Debug)]
pub(super) struct Leaf {
    encoding: Encoding,
    attachment: Option<Open>,
    urls: Option<UrlScanner>,
    /// UTF-16 text: links are found once the zero octets are gone.
    wide: bool,
    /// A line end that belongs to the content only if more content follows, not a boundary (RFC 2046 §5.1.1).
    line_end: &'static [u8],
    decoded: Vec<u8>,
}

impl Leaf {
    pub(super) fn new(entity: Entity) -> Self {
        let is_text = entity.kind.starts_with("text/");
        let name = entity.name();
        let is_attachment = name.is_some() || entity.disposition.value == "attachment" || !is_text;
        let wide = entity
            .content_type
            .raw("charset")
            .is_some_and(|c| c.get(..6).is_some_and(|c| c.eq_ignore_ascii_case(b"utf-16")));
        Self {
            encoding: entity.encoding,
            attachment: is_attachment.then(|| Open::new(name, &entity.kind, None)),
            urls: is_text.then(UrlScanner::default),
            wide,
            line_end: b"",
            decoded: Vec::new(),
        }
    }

    /// Whether lines mean nothing to it, so that it may be fed in bulk.
    pub(super) fn is_plain(&self) -> bool {
        self.encoding.is_identity()
    }

    /// Content that needs no decoding, in any split.
    pub(super) fn bulk(&mut self, octets: &[u8], hosts: &mut BTreeSet<String>) {
        consume(&mut self.attachment, &mut self.urls, self.wide, octets, hosts);
    }

    /// A line or a piece of one.
    pub(super) fn line(&mut self, line: &[u8], line_end: &'static [u8], hosts: &mut BTreeSet<String>) {
        self.decoded.clear();
        let last = if line_end.is_empty() { LineEnd::Later } else { LineEnd::Here };
        let before = std::mem::take(&mut self.line_end);
        match &mut self.encoding {
            Encoding::Identity => {
                consume(&mut self.attachment, &mut self.urls, self.wide, before, hosts);
                consume(&mut self.attachment, &mut self.urls, self.wide, line, hosts);
                self.line_end = line_end;
                return;
            }
            Encoding::Base64(decoder) => decoder.push(line, &mut self.decoded),
            Encoding::QuotedPrintable(decoder) => {
                self.decoded.extend_from_slice(before);
                if decoder.line(line, last, &mut self.decoded) == LineBreak::Hard {
                    self.line_end = line_end;
                }
            }
        }
        consume(&mut self.attachment, &mut self.urls, self.wide, &self.decoded, hosts);
    }

    /// The content is over.
    pub(super) fn finish(mut self, hosts: &mut BTreeSet<String>) -> Option<Attachment> {
        self.decoded.clear();
        match &mut self.encoding {
            Encoding::Identity => {}
            Encoding::Base64(decoder) => decoder.finish(&mut self.decoded),
            Encoding::QuotedPrintable(decoder) => {
                decoder.line(b"", LineEnd::Here, &mut self.decoded);
            }
        }
        consume(&mut self.attachment, &mut self.urls, self.wide, &self.decoded, hosts);
        if let Some(urls) = &mut self.urls {
            urls.finish(hosts);
        }
        self.attachment.map(Open::finish)
    }
}

fn consume(attachment: &mut Option<Open>, urls: &mut Option<UrlScanner>, wide: bool, octets: &[u8], hosts: &mut BTreeSet<String>) {
    if let Some(open) = attachment {
        open.push(octets);
    }
    if let Some(urls) = urls {
        if wide {
            let narrow: Vec<u8> = octets.iter().copied().filter(|b| *b != 0).collect();
            urls.push(&narrow, hosts);
        } else {
            urls.push(octets, hosts);
        }
    }
}
