//! Links in text: which hosts do they lead to?
//!
//! In: decoded text in pieces. Out: distinct hosts of `http` and `https` links, lower case, A-labels.
//! Standards: RFC 3986 §3.2 (authority).
//! Invariants: any split of the text gives the same hosts; at most [`HOSTS_MAX`]; bounded memory.

use crate::Domain;
use std::collections::BTreeSet;

/// More hosts than this in one message are not listed.
pub const HOSTS_MAX: usize = 100;
const AUTHORITY_BYTES_MAX: usize = 320;
const HISTORY: usize = 5;

/// Reads text and remembers hosts.
#[derive(Clone, Debug, Default)]
pub struct UrlScanner {
    state: State,
    history: [u8; HISTORY],
    authority: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// `https:` was read, and so many slashes.
    Slashes(u8),
    Authority,
}

impl UrlScanner {
    /// Goes on with `piece`.
    pub fn push(&mut self, piece: &[u8], hosts: &mut BTreeSet<String>) {
        let mut at = 0;
        while let Some(rest) = piece.get(at..).filter(|r| !r.is_empty()) {
            match self.state {
                State::Text => match memchr::memchr(b':', rest) {
                    None => break,
                    Some(n) => {
                        if self.has_scheme_before(piece.get(..at + n).unwrap_or_default()) {
                            self.state = State::Slashes(0);
                        }
                        at += n + 1;
                    }
                },
                State::Slashes(seen) => match rest.first() {
                    // Readers take a backslash for a slash here.
                    Some(b'/' | b'\\') => {
                        at += 1;
                        self.state = if seen == 1 { State::Authority } else { State::Slashes(1) };
                        self.authority.clear();
                    }
                    _ => self.state = State::Text,
                },
                State::Authority => {
                    let room = AUTHORITY_BYTES_MAX - self.authority.len().min(AUTHORITY_BYTES_MAX);
                    let length = rest.iter().take(room).take_while(|b| is_authority(**b)).count();
                    self.authority.extend_from_slice(rest.get(..length).unwrap_or_default());
                    at += length;
                    match rest.get(length) {
                        None => {}
                        Some(b':') if length < room => {
                            at += 1;
                            self.colon(hosts);
                        }
                        Some(_) => self.conclude(hosts),
                    }
                }
            }
        }
        for b in piece.get(piece.len().saturating_sub(HISTORY)..).unwrap_or_default() {
            self.history.rotate_left(1);
            if let Some(last) = self.history.last_mut() {
                *last = *b;
            }
        }
    }

    /// The text is over.
    pub fn finish(&mut self, hosts: &mut BTreeSet<String>) {
        if self.state == State::Authority {
            self.conclude(hosts);
        }
        *self = Self::default();
    }

    fn has_scheme_before(&self, before: &[u8]) -> bool {
        let mut last = self.history;
        let fresh = before.get(before.len().saturating_sub(HISTORY)..).unwrap_or_default();
        last.rotate_left(fresh.len());
        last.iter_mut().rev().zip(fresh.iter().rev()).for_each(|(to, from)| *to = *from);
        last.eq_ignore_ascii_case(b"https") || last.get(1..).is_some_and(|l| l.eq_ignore_ascii_case(b"http"))
    }

    /// A port or a password; or, behind Japanese without a space, the next link.
    fn colon(&mut self, hosts: &mut BTreeSet<String>) {
        let text = self.authority.as_slice();
        let scheme = [5, 4].into_iter().find(|n| {
            let at = text.len().checked_sub(*n);
            let is_scheme = at
                .and_then(|at| text.get(at..))
                .is_some_and(|t| t.eq_ignore_ascii_case(b"https") || t.eq_ignore_ascii_case(b"http"));
            is_scheme
                && at
                    .and_then(|at| text.get(..at))
                    .is_some_and(|before| before.last().is_none_or(|b| *b > 127))
        });
        match scheme {
            Some(length) => {
                self.authority.truncate(self.authority.len() - length);
                self.conclude(hosts);
                self.state = State::Slashes(0);
            }
            None => self.authority.push(b':'),
        }
    }

    fn conclude(&mut self, hosts: &mut BTreeSet<String>) {
        self.state = State::Text;
        // Most links of a message lead to few hosts: one that stands there as it is needs no reading.
        let known = std::str::from_utf8(&self.authority).is_ok_and(|host| hosts.contains(host));
        if !known && hosts.len() < HOSTS_MAX {
            hosts.extend(host_of(&self.authority));
        }
        self.authority.clear();
    }
}

/// What can stand in an authority as text shows it. `&` ends it: in HTML it begins a character reference.
fn is_authority(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || b > 127
        || matches!(
            b,
            b'-' | b'.' | b'_' | b'~' | b'%' | b'@' | b'[' | b']' | b'!' | b'$' | b'*' | b'+' | b'='
        )
}

/// Without user information and port.
fn host_of(authority: &[u8]) -> Option<String> {
    let after_user = authority.rsplit(|b| *b == b'@').next()?;
    if let Some(literal) = after_user.strip_prefix(b"[") {
        let end = memchr::memchr(b']', literal)?;
        let ip: std::net::Ipv6Addr = std::str::from_utf8(literal.get(..end)?).ok()?.parse().ok()?;
        return Some(format!("[{ip}]"));
    }
    let host = after_user.split(|b| *b == b':').next()?;
    let decoded = percent_decoded(host);
    let text = std::str::from_utf8(&decoded)
        .or_else(|e| std::str::from_utf8(decoded.get(..e.valid_up_to()).unwrap_or_default()))
        .ok()?;
    let text = text.split(is_wide_punctuation).next()?;
    let text = without_following_words(text).trim_end_matches(|c: char| !c.is_alphanumeric());
    // A lone word is no host that anyone could reach; `localhost` is.
    let domain = Domain::parse(text)
        .ok()
        .filter(|d| d.as_str().contains('.') || d.as_str() == "localhost")?;
    Some(domain.as_str().to_owned())
}

/// Japanese goes on behind a link without a space. A last label of Latin letters ends where other letters begin: no top-level domain mixes them.
fn without_following_words(text: &str) -> &str {
    let label_from = text.rfind('.').map_or(0, |dot| dot + 1);
    let (front, label) = text.split_at(label_from);
    let latin = label.find(|c: char| !c.is_ascii()).unwrap_or(label.len());
    if latin >= 2 && !front.is_empty() {
        text.get(..label_from + latin).unwrap_or(text)
    } else {
        text
    }
}

fn is_wide_punctuation(c: char) -> bool {
    matches!(u32::from(c), 0x2010..=0x206f | 0x3000..=0x3004 | 0x3008..=0x3020 | 0x30fb | 0xff01..=0xff0d | 0xff0f | 0xff1a..=0xff20 | 0xff3b..=0xff40 | 0xff5b..=0xff65)
}

fn percent_decoded(host: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::mime::decode::quoted_printable_q(
        &host.iter().map(|b| if *b == b'%' { b'=' } else { *b }).collect::<Vec<_>>(),
        &mut out,
    );
    // `_` means a space only in encoded words.
    out.iter_mut().filter(|b| **b == b' ').for_each(|b| *b = b'_');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], expect: &[&str]) {
        for cut in 0..=text.len() {
            let (mut scanner, mut hosts) = (UrlScanner::default(), BTreeSet::new());
            scanner.push(text.get(..cut).unwrap(), &mut hosts);
            scanner.push(text.get(cut..).unwrap(), &mut hosts);
            scanner.finish(&mut hosts);
            assert_eq!(
                hosts.iter().map(String::as_str).collect::<Vec<_>>(),
                expect,
                "{} cut at {cut}",
                String::from_utf8_lossy(text)
            );
        }
    }

    #[test]
    fn hosts() {
        check(
            b"see http://Example.COM/a and https://b.example:8443?x",
            &["b.example", "example.com"],
        );
        check(b"<a href=\"https://user:pw@evil.example/\">", &["evil.example"]);
        check(b"http://trusted.example@evil.example", &["evil.example"]);
        check(b"http://[2001:db8::1]/ http://192.0.2.1/", &["192.0.2.1", "[2001:db8::1]"]);
        check(b"https:/one http:// http:x ftp://f.example mailto:a@b.example", &[]);
        check(b"http://example.com. (http://other.example)", &["example.com", "other.example"]);
        check(b"http://ex%61mple.com&quot;", &["example.com"]);
        check(
            "詳細はhttp://example.comをご覧ください。https://日本語.jp/と http://見附.example。".as_bytes(),
            &["example.com", "xn--nw2ao4w.example", "xn--wgv71a119e.jp"],
        );
        check(b"https://example.co.jp\x82\xf0", &["example.co.jp"]);
        check(b"\x1b$B$3\x1b(Bhttp://example.jp\x1b$B$3\x1b(B", &["example.jp"]);
        check(b"http://a_b.example/ HTTP://X.EXAMPLE", &["a_b.example", "x.example"]);
        check(b"http://word/ http://localhost:80/", &["localhost"]);
    }

    #[test]
    fn bounded() {
        let (mut scanner, mut hosts) = (UrlScanner::default(), BTreeSet::new());
        for n in 0..1_000 {
            scanner.push(format!("http://h{n}.example/ http://{}", "a".repeat(5_000)).as_bytes(), &mut hosts);
        }
        assert_eq!(hosts.len(), HOSTS_MAX);
        assert!(scanner.authority.capacity() <= 1_024);
    }
}
