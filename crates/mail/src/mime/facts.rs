//! What a scan finds, and how the header section of a message is read.

use crate::header::{Field, decode_text, fields, mailboxes, printable};
use crate::trace::{Passes, StampKey, passes};
use crate::{Domain, charset};

/// More To and Cc addresses than this are not listed.
pub(super) const ADDRESSES_MAX: usize = 1_000;
/// More attachments than this are not listed; they are counted as parts.
pub(super) const ATTACHMENTS_MAX: usize = 1_000;
const TEXT_CHARS_MAX: usize = 2_000;
const WATCHED_MAX: usize = 100;

/// How much of a message is examined (domains-and-routing 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the header section.
    pub header_bytes_max: usize,
    /// Fields of the header section.
    pub fields_max: usize,
    /// Parts, leaves and containers alike.
    pub parts_max: usize,
    /// Containers within each other.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 512 * 1024,
            fields_max: 2_000,
            parts_max: 10_000,
            depth_max: 100,
        }
    }
}

/// What is wrong with a message. Each stands at most once in [`Facts::problems`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// Over `header_bytes_max`; the rest of the section was not read.
    HeaderTooLarge,
    /// Over `fields_max`; fields behind that were not read.
    TooManyFields,
    /// Over `parts_max`; parts behind that were not read.
    TooManyParts,
    /// Over `depth_max`; deeper containers were not opened.
    TooDeep,
    /// The header section of a part is over 64 KB; the rest of it was not read.
    PartHeaderTooLarge,
    /// Over 1,000 attachments; the others are not listed.
    TooManyAttachments,
    /// A line of the header section belongs to no field.
    HeaderJunk,
    /// The header section has no end: there is no empty line.
    NoBody,
    /// A multipart without a boundary was read as text.
    NoBoundary,
    /// A multipart's last boundary is missing.
    Unclosed,
    /// A container has a transfer encoding (RFC 2045 §6.4 forbids it); its parts were read as they stand.
    EncodedContainer,
    /// A From field from which no address with a domain could be read.
    FromUnreadable,
}

impl Problem {
    /// Over a limit of domains-and-routing 9: `MALFORMED`, outbound hold. The others are only told.
    #[must_use]
    pub fn is_limit(self) -> bool {
        match self {
            Self::HeaderTooLarge | Self::TooManyFields | Self::TooManyParts | Self::TooDeep | Self::PartHeaderTooLarge => true,
            Self::TooManyAttachments
            | Self::HeaderJunk
            | Self::NoBody
            | Self::NoBoundary
            | Self::Unclosed
            | Self::EncodedContainer
            | Self::FromUnreadable => false,
        }
    }
}

/// An attachment: a leaf with a file name, with disposition `attachment`, or that is no text; or an attached message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Decoded, control characters replaced, at most 255 characters; empty when there is none.
    pub name: String,
    /// As `Content-Type` says, lower case.
    pub declared_type: String,
    /// As the content shows.
    pub true_type: &'static str,
    /// Octets, decoded.
    pub size: u64,
    /// Of the decoded content, hex.
    pub sha256: String,
}

/// One occurrence of a watched field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The name as it was asked for.
    pub name: &'static str,
    /// Unfolded, without spaces at its ends.
    pub value: String,
    /// First octet of the field within the message.
    pub from: u64,
    /// One after its line end, folded lines included.
    pub to: u64,
}

/// What a message says of itself. Texts are decoded; nothing of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Octets in all.
    pub size: u64,
    /// The header section as it stands, without the empty line, up to `header_bytes_max`.
    pub header: Vec<u8>,
    /// `Message-ID` with its brackets.
    pub message_id: Option<String>,
    /// Addresses of all `From` fields.
    pub from: Vec<String>,
    /// Their domains, without repetition.
    pub from_domains: Vec<Domain>,
    /// How many `From` fields there are; one is right.
    pub from_fields: usize,
    /// Address of `Sender`.
    pub sender: Option<String>,
    /// Addresses of `Reply-To`.
    pub reply_to: Vec<String>,
    /// Addresses of `To` and `Cc`.
    pub to: Vec<String>,
    /// `Subject`, decoded, at most 2,000 characters.
    pub subject: Option<String>,
    /// `Date` as given.
    pub date: Option<String>,
    /// `Auto-Submitted` without parameters, lower case (RFC 3834 §5).
    pub auto_submitted: Option<String>,
    /// `Received` fields.
    pub received_count: usize,
    /// Fields in all.
    pub fields: usize,
    /// Octets over 127 in the header section.
    pub header_has_utf8: bool,
    /// Those octets are valid UTF-8; raw Shift_JIS and the like are not.
    pub header_is_utf8: bool,
    /// Octets over 127 in the body.
    pub has_eight_bit: bool,
    /// Parts, the message itself not counted.
    pub parts: usize,
    /// In order.
    pub attachments: Vec<Attachment>,
    /// Hosts of links in text parts, distinct, sorted, at most 100.
    pub url_hosts: Vec<String>,
    /// Every occurrence of the watched fields, in order, at most 100.
    pub watched: Vec<Watched>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Facts {
    /// Hops and own passes, for loop protection.
    #[must_use]
    pub fn passes(&self, key: &StampKey) -> Passes {
        passes(&self.header, key)
    }

    /// Whether something is over a limit.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.problems.iter().any(|p| p.is_limit())
    }

    pub(super) fn note(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Reads the header section and gives the fields that say how the body is built.
    pub(super) fn read_header(&mut self, fields_max: usize, watch: &'static [&'static str]) -> BodyFields {
        let header = std::mem::take(&mut self.header);
        let mut body = BodyFields::default();
        self.header_has_utf8 = !header.is_ascii();
        self.header_is_utf8 = self.header_has_utf8 && std::str::from_utf8(&header).is_ok();
        let mut all = fields(&header);
        for field in all.by_ref() {
            if self.fields == fields_max {
                self.note(Problem::TooManyFields);
                break;
            }
            self.fields += 1;
            self.read_field(&field);
            body.read(&field);
            if let Some(name) = watch.iter().find(|n| field.is(n)).filter(|_| self.watched.len() < WATCHED_MAX) {
                let value = charset::decode_raw(&field.unfolded()).into_owned();
                self.watched.push(Watched {
                    name,
                    value,
                    from: field.from as u64,
                    to: field.to as u64,
                });
            }
        }
        if all.has_junk() {
            self.note(Problem::HeaderJunk);
        }
        self.header = header;
        body
    }

    fn read_field(&mut self, field: &Field<'_>) {
        match field.name.len() {
            2 if field.is("To") || field.is("Cc") => push_addresses(&mut self.to, field),
            4 if field.is("From") => {
                self.from_fields += 1;
                let known = self.from.len();
                push_addresses(&mut self.from, field);
                let domains: Vec<_> = self.from.iter().skip(known).filter_map(|a| domain_of(a)).collect();
                let readable = !domains.is_empty() && domains.len() == self.from.len() - known;
                for domain in domains {
                    if !self.from_domains.contains(&domain) {
                        self.from_domains.push(domain);
                    }
                }
                if !readable {
                    self.note(Problem::FromUnreadable);
                }
            }
            4 if field.is("Date") => self.date = self.date.take().or_else(|| Some(plain(field))),
            6 if field.is("Sender") => {
                self.sender = self
                    .sender
                    .take()
                    .or_else(|| mailboxes(field.raw).into_iter().next().map(|m| m.address))
            }
            7 if field.is("Subject") && self.subject.is_none() => self.subject = Some(printable(&decode_text(field.raw), TEXT_CHARS_MAX)),
            8 if field.is("Received") => self.received_count += 1,
            8 if field.is("Reply-To") => push_addresses(&mut self.reply_to, field),
            10 if field.is("Message-ID") => self.message_id = self.message_id.take().or_else(|| Some(plain(field))),
            14 if field.is("Auto-Submitted") => {
                let value = plain(field)
                    .split([';', '('])
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_ascii_lowercase();
                self.auto_submitted = self.auto_submitted.take().or(Some(value));
            }
            _ => {}
        }
    }
}

fn plain(field: &Field<'_>) -> String {
    printable(&charset::decode_raw(&field.unfolded()), 998)
}

fn push_addresses(out: &mut Vec<String>, field: &Field<'_>) {
    if out.len() < ADDRESSES_MAX {
        out.extend(mailboxes(field.raw).into_iter().map(|m| m.address));
        out.truncate(ADDRESSES_MAX);
    }
}

fn domain_of(address: &str) -> Option<Domain> {
    address.rsplit_once('@').and_then(|(_, domain)| Domain::parse(domain).ok())
}

/// What the fields of a message or part say about its body, undecoded.
#[derive(Clone, Debug, Default)]
pub(super) struct BodyFields {
    pub(super) content_type: Option<Vec<u8>>,
    pub(super) disposition: Option<Vec<u8>>,
    pub(super) encoding: Option<Vec<u8>>,
}

impl BodyFields {
    /// Of several the first counts.
    pub(super) fn read(&mut self, field: &Field<'_>) {
        let slot = match field.name.len() {
            12 if field.is("Content-Type") => &mut self.content_type,
            19 if field.is("Content-Disposition") => &mut self.disposition,
            25 if field.is("Content-Transfer-Encoding") => &mut self.encoding,
            _ => return,
        };
        if slot.is_none() {
            *slot = Some(field.raw.to_vec());
        }
    }
}
