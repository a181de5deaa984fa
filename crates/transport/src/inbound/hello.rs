//! HELO and EHLO, and what the protocol itself refuses in words of the catalogue.
//!
//! In:  the name a client gives; violations found by the machine. Out: answers.
//! Standards: RFC 5321 §4.1.1.1, §4.1.4 (a name that does not resolve is no reason to refuse, unless the operator says so).

use super::reply::Refusal;
use super::session::Session;
use ::mail::{Domain, Reason};
use net::resolver::MailDomain;
use proto::smtp::server::{Answer, HelloKind, Violation};
use std::net::IpAddr;

impl Session {
    pub(super) async fn judge_hello(&mut self, kind: HelloKind, name: String) -> Answer {
        self.forget();
        let is_checked = self.desk.live().system.helo_check == Some(true);
        if is_checked && !self.is_hello_valid(&name).await {
            return self.refusal(
                &Refusal::new(Reason::HeloInvalid).with_detail(::mail::header::printable(&name, 255)),
                None,
                None,
            );
        }
        self.connection.hello = (name.into(), kind == HelloKind::Ehlo);
        Answer::Accept
    }

    /// A literal that is the client's own, or a full name that DNS knows. DNS failing is no fault of the client.
    async fn is_hello_valid(&self, name: &str) -> bool {
        if let Some(literal) = literal(name) {
            return literal == self.connection.ip();
        }
        match Domain::parse(name) {
            Ok(domain) if domain.as_str().contains('.') => {
                !matches!(self.desk.resolver.has_mail_address(&domain).await, Ok(MailDomain::Nothing))
            }
            Ok(_) | Err(_) => false,
        }
    }

    pub(super) fn judge_violation(&mut self, violation: Violation, text: Option<&str>) -> Answer {
        let tenant = self.transaction.as_ref().and_then(|t| t.sender_tenant());
        match violation {
            Violation::TooManyErrors => {
                let reply = self.refuse(&Refusal::new(Reason::TooManyErrors), tenant, None);
                Answer::RefuseAndClose(reply)
            }
            Violation::AuthFailed => self.login_failed(text.unwrap_or_default()),
            Violation::BareNewline => self.refusal(&Refusal::new(Reason::BareNewline), tenant, None),
            Violation::LineTooLong => self.refusal(&Refusal::new(Reason::Malformed).with_detail("line too long"), tenant, None),
            Violation::TooLarge => {
                let max = crate::limits::system(&self.desk.live().system, |l| l.message_bytes_cap);
                self.refusal(&Refusal::number(Reason::Size, max), tenant, None)
            }
            Violation::Utf8Address => self.refusal(&Refusal::text(Reason::Utf8Address, text.unwrap_or_default()), tenant, None),
            Violation::TlsRequired => self.refusal(&Refusal::new(Reason::TlsRequired), tenant, None),
            Violation::AuthRequired => self.refusal(&Refusal::new(Reason::AuthRequired), tenant, None),
        }
    }
}

/// `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
fn literal(name: &str) -> Option<IpAddr> {
    let inner = name.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner.get(5..)?.parse().ok(),
        Some(_) | None => inner.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(literal(text), expect.map(|e| e.parse().unwrap()), "{text}");
        check("[192.0.2.1]", Some("192.0.2.1"));
        check("[IPv6:2001:db8::1]", Some("2001:db8::1"));
        check("[ipv6:2001:db8::1]", Some("2001:db8::1"));
        check("192.0.2.1", None);
        check("[mx.example]", None);
        check("[", None);
    }
}
