//! MAIL FROM: may a transaction begin, and which way will it go?
//!
//! In:  reverse path and parameters. Out: an open transaction, or a refusal.
//! Standards: RFC 5321 §4.1.1.2; domains-and-routing 6.2 (steps 0–3), 9, 10 (stage MAIL).
//! Order: messages per connection, free space, way (admission), transport security of the sender's tenant, sender domain.
//! A refusal that belongs to recipients (`SENDER-SUSPENDED`, `CLIENT-NOT-ALLOWED`) is given at RCPT, as the catalogue says.

use super::peer;
use super::reply::Refusal;
use super::session::Session;
use super::sources::SourceIndex;
use super::transaction::{Traces, Transaction};
use ::mail::{Address, Domain, MailParams, Reason, ReversePath};
use config::{DomainState, Live};
use net::resolver::{DnsError, MailDomain};
use policy::admission::{Course, Reverse, Undecided, course};
use proto::smtp::server::Answer;
use std::sync::Arc;

impl Session {
    pub(super) async fn judge_mail(&mut self, reverse_path: ReversePath, params: MailParams) -> Answer {
        self.forget();
        if self.messages >= self.limits.messages_max {
            let refusal = Refusal::new(Reason::ConnLimit).with_detail(format!("messages per connection {}", self.limits.messages_max));
            return Answer::RefuseAndClose(self.refuse(&refusal, None, None));
        }
        let live = self.desk.live();
        if !self.has_room(params.size.unwrap_or(0)) {
            return self.refusal(&Refusal::new(Reason::StoreFull), None, None);
        }
        let mut transaction = self.open(live, reverse_path, params);
        if let Some(refusal) = self.tls_refusal(&transaction) {
            let tenant = transaction.sender_tenant();
            self.transaction = Some(transaction);
            let answer = self.refusal(&refusal, tenant, None);
            self.forget();
            return answer;
        }
        match self.sender_refusal(&transaction).await {
            SenderDomain::Good => {}
            SenderDomain::Missing => transaction.sender_missing = true,
            SenderDomain::Refused(refusal) => {
                // A refused sender counts as a message of this connection: otherwise one session could ask DNS for ever.
                self.messages += 1;
                let tenant = transaction.sender_tenant();
                self.transaction = Some(transaction);
                let answer = self.refusal(&refusal, tenant, None);
                self.forget();
                return answer;
            }
        }
        self.messages += 1;
        self.transaction = Some(transaction);
        Answer::Accept
    }

    fn open(&self, live: Arc<Live>, reverse_path: ReversePath, params: MailParams) -> Box<Transaction> {
        let index: Arc<SourceIndex> = self.desk.inbound.sources.of(&live);
        let login = self.connection.login.as_ref().map(|l| l.tenant);
        let client = index.client(self.connection.ip(), self.connection.certificate.as_ref(), login);
        let mut transaction = Box::new(Transaction {
            live,
            index,
            client,
            reverse_path,
            params,
            course: Course::Inbound {
                otherwise: Reason::NoDomain,
            },
            sender_missing: false,
            recipients: Vec::new(),
            traces: Traces::default(),
        });
        transaction.course = course(
            &transaction.client,
            reverse_of(&transaction.reverse_path),
            &self.judge_of(&transaction),
        );
        transaction
    }

    /// `tls.peer_inbound` of the tenant that sends. That of tenants that receive is asked at RCPT.
    fn tls_refusal(&self, transaction: &Transaction) -> Option<Refusal> {
        let Course::Outbound { tenant, .. } = &transaction.course else {
            return None;
        };
        let tenant = transaction.live.tenants.get(tenant)?;
        let sender = transaction.reverse_path.domain();
        let domain = sender.and_then(|d| tenant.domains.get(d)).map(|d| &**d);
        let level = peer::level(tenant, domain, self.connection.ip(), sender);
        (!peer::is_met(level, tenant, &self.connection)).then(|| Refusal::new(Reason::TlsRequired))
    }

    /// Inbound: null, or a domain with MX or an address. Outbound, 6.2 has answered for it.
    async fn sender_refusal(&self, transaction: &Transaction) -> SenderDomain {
        let is_checked = match &transaction.course {
            Course::Inbound { .. } | Course::Undecided(Undecided::Foreign { .. }) => true,
            Course::Outbound { .. } | Course::Refused { .. } | Course::Undecided(Undecided::Null | Undecided::Shared { .. }) => false,
        };
        let ReversePath::Address(address) = &transaction.reverse_path else {
            return SenderDomain::Good;
        };
        if !is_checked {
            return SenderDomain::Good;
        }
        let Some(domain) = address.domain() else {
            return SenderDomain::Refused(Refusal::address(Reason::SenderDomain, address));
        };
        if is_registered(&transaction.live, domain) {
            return SenderDomain::Good;
        }
        match self.desk.resolver.has_mail_address(domain).await {
            Ok(MailDomain::Mx | MailDomain::AddressOnly | MailDomain::NullMx) => SenderDomain::Good,
            Ok(MailDomain::Nothing) if is_allowed_somewhere(&transaction.live, domain) => SenderDomain::Missing,
            Ok(MailDomain::Nothing) | Err(DnsError::NoSuchName) => SenderDomain::Refused(Refusal::address(Reason::SenderDomain, address)),
            Err(error @ DnsError::Temp(_)) => {
                SenderDomain::Refused(Refusal::address(Reason::DnsTemp, address).with_detail(error.to_string()))
            }
        }
    }
}

/// What DNS says of the reverse path's domain.
enum SenderDomain {
    Good,
    /// Neither MX nor address, but on some allow list: each recipient's tenant decides.
    Missing,
    Refused(Refusal),
}

/// MAIL FROM as admission sees it.
pub(crate) fn reverse_of(path: &ReversePath) -> Reverse<'_> {
    match path {
        ReversePath::Null => Reverse::Null,
        ReversePath::Address(address) => address.domain().map_or(Reverse::Literal, Reverse::Domain),
    }
}

/// A proven domain of this installation has its records (2.2).
fn is_registered(live: &Live, domain: &Domain) -> bool {
    live.domains.get(domain).is_some_and(|(_, d)| match d.state {
        DomainState::Active | DomainState::Verified => true,
        DomainState::Unverified | DomainState::Disabled | DomainState::Deleting => false,
    })
}

fn is_allowed_somewhere(live: &Live, domain: &Domain) -> bool {
    live.system.exempt.sender_domains.contains(domain) || live.tenants.values().any(|t| t.settings.exempt.sender_domains.contains(domain))
}

/// Whether this tenant, or the operator for all, takes mail from a domain without records.
pub(super) fn is_sender_allowed(live: &Live, tenant: &config::LiveTenant, address: &Address) -> bool {
    address
        .domain()
        .is_some_and(|d| live.system.exempt.sender_domains.contains(d) || tenant.settings.exempt.sender_domains.contains(d))
}
