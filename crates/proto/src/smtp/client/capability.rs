//! What a next hop offers, from its EHLO reply, and what a message would lack there.
//!
//! In:  the EHLO reply. Out: [`Capabilities`]. Standards: RFC 5321 §4.1.1.1. Unknown keywords are ignored.

use crate::sasl::Mechanism;
use mail::{BodyType, MailParams, Reply};

/// The extensions we can use.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of independent keywords, as the wire has it")]
pub struct Capabilities {
    /// The peer's own name, first word of the reply.
    pub name: String,
    /// SIZE is offered; the limit in octets, when it says one.
    pub size: Option<Option<u64>>,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 4954, those we know, in the order of our preference.
    pub auth: Vec<Mechanism>,
}

/// Why a message can't go to this peer unchanged (domains-and-routing 11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// UTF-8 in an address or header: 5.6.7.
    SmtpUtf8,
    /// 8-bit text: to be re-encoded, or 5.6.3.
    EightBitMime,
    /// Over its announced limit: 5.3.4.
    Size,
}

impl Capabilities {
    /// From the reply to EHLO. After HELO use [`Capabilities::default`].
    #[must_use]
    pub fn parse(reply: &Reply) -> Self {
        let mut lines = reply.text.split('\n');
        let name = lines.next().and_then(|l| l.split(' ').next()).unwrap_or_default().to_owned();
        let mut found = Self { name, ..Self::default() };
        for line in lines {
            found.keyword(line.trim());
        }
        found.auth.sort_by_key(|m| match m {
            Mechanism::ScramSha256 => 0,
            Mechanism::Plain => 1,
            Mechanism::Login => 2,
        });
        found.auth.dedup();
        found
    }

    fn keyword(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_str() {
            // RFC 1870 §4: no number, or zero, means no fixed limit.
            "SIZE" => self.size = Some(words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0)),
            "STARTTLS" => self.starttls = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "PIPELINING" => self.pipelining = true,
            "CHUNKING" => self.chunking = true,
            "DSN" => self.dsn = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "AUTH" => self.auth.extend(words.filter_map(Mechanism::parse)),
            // TOLERATES RFC 4954 §3: `AUTH=LOGIN PLAIN` of old servers (docs/quirk.md#auth-equals).
            _ => {
                if let Some(first) = keyword.strip_prefix("AUTH=") {
                    self.auth.extend(std::iter::once(first).chain(words).filter_map(Mechanism::parse));
                }
            }
        }
    }

    /// What stands in the way of a message with these parameters and this size; `None`: it may go.
    #[must_use]
    pub fn lack(&self, params: &MailParams, size_bytes: u64) -> Option<Lack> {
        if params.smtputf8 && !self.smtputf8 {
            return Some(Lack::SmtpUtf8);
        }
        if params.body == BodyType::EightBitMime && !self.eight_bit_mime {
            return Some(Lack::EightBitMime);
        }
        self.size.flatten().filter(|max| size_bytes > *max).map(|_| Lack::Size)
    }
}
