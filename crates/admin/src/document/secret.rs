//! Secrets of next hops in settings: what is written, what stays when the mask comes back?
//!
//! In: the document before and after a change. Out: the one after, its secrets sealed.
//! Invariants: a secret stays where it was set: neither another scope nor another server gets it by the mask; what only the server makes
//! (hashes of log-ins) is never written from outside.

use crate::Problem;
use config::TenantDocument;
use config::document::{InboundServer, RouteTarget, ServerAuth};
use identity::Keys;
use mail::text::Text;
use mail::{Domain, TenantId};
use store::control::audit::MASK;

/// Seals new next-hop secrets, keeps the old one where the mask came back, and does not let anyone write what only the server makes.
pub(super) fn seal_secrets(keys: &Keys, whose: TenantId, before: &TenantDocument, after: &mut TenantDocument) -> Result<(), Problem> {
    let old = auths(before);
    let mut wrong = None;
    for (place, auth) in auths_mut(after) {
        if auth.secret == MASK {
            // Only where it was: whoever may set another server must not have it sent there.
            match old.iter().find(|(at, o)| *at == place && o.user == auth.user) {
                Some((_, o)) => auth.secret.clone_from(&o.secret),
                None => wrong = Some(Text::new("api.settings.secret-unknown").with("user", &auth.user)),
            }
        } else if !old.iter().any(|(_, o)| o.user == auth.user && o.secret == auth.secret) && keys.unseal(whose, &auth.secret).is_err() {
            // A restored revision has its secrets sealed already: sealed twice they would open nothing.
            match keys.seal(whose, &auth.secret) {
                Ok(sealed) => auth.secret = sealed,
                Err(e) => return Err(Problem::internal(&e)),
            }
        }
    }
    for credential in &mut after.relay_credentials {
        let known = before.relay_credentials.iter().find(|c| c.name == credential.name);
        match known {
            Some(known) => (credential.hash, credential.scram) = (known.hash.clone(), known.scram.clone()),
            None if credential.hash.starts_with("$argon2id$") => {}
            None => wrong = Some(Text::new("api.settings.credential").with("name", &credential.name)),
        }
    }
    if after.proof.secret_sha256.iter().any(|s| s == MASK) {
        after.proof.secret_sha256.clone_from(&before.proof.secret_sha256);
    }
    match wrong {
        Some(text) => Err(Problem::malformed(text)),
        None => Ok(()),
    }
}

/// Where a log-in to a next hop belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// `None`: the tenant's.
    domain: Option<Domain>,
    is_inbound: bool,
    host: String,
    port: u16,
}

fn of_row(domain: &Domain, row: &InboundServer) -> Place {
    Place {
        domain: Some(domain.clone()),
        is_inbound: true,
        host: row.host.to_ascii_lowercase(),
        port: row.port,
    }
}

fn of_route(domain: Option<&Domain>, host: &str, port: u16) -> Place {
    Place {
        domain: domain.cloned(),
        is_inbound: false,
        host: host.to_ascii_lowercase(),
        port,
    }
}

fn auths(document: &TenantDocument) -> Vec<(Place, &ServerAuth)> {
    let mut found = Vec::new();
    let of_domains = document
        .domains
        .iter()
        .flat_map(|(name, d)| d.outbound_routes.iter().map(move |r| (Some(name), r)));
    for (domain, route) in document.outbound_routes.iter().map(|r| (None, r)).chain(of_domains) {
        if let RouteTarget::Smarthost {
            host,
            port,
            auth: Some(auth),
            ..
        } = &route.target
        {
            found.push((of_route(domain, host, *port), auth));
        }
    }
    for (name, domain) in &document.domains {
        let rows = domain.inbound_servers.iter();
        found.extend(rows.filter_map(|row| Some((of_row(name, row), row.auth.as_ref()?))));
    }
    found
}

fn auths_mut(document: &mut TenantDocument) -> Vec<(Place, &mut ServerAuth)> {
    let mut found = Vec::new();
    let mut routes: Vec<_> = document.outbound_routes.iter_mut().map(|r| (None, r)).collect();
    for (name, domain) in &mut document.domains {
        routes.extend(domain.outbound_routes.iter_mut().map(|r| (Some(name), r)));
        for row in &mut domain.inbound_servers {
            let place = of_row(name, row);
            found.extend(row.auth.as_mut().map(|auth| (place, auth)));
        }
    }
    for (domain, route) in routes {
        if let RouteTarget::Smarthost {
            host,
            port,
            auth: Some(auth),
            ..
        } = &mut route.target
        {
            found.push((of_route(domain, host, *port), auth));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::masked;
    use super::*;
    use serde_json::{Value, json};

    fn tenant_document(value: Value) -> TenantDocument {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_secret_is_sealed_once() {
        let (keys, whose) = (Keys::from_secret(&[7; 32]), TenantId(1));
        let with = |secret: &str| {
            let row = json!({"host": "m.a.example", "tls": "encrypted", "auth": {"user": "u", "secret": secret}});
            tenant_document(json!({"domains": {"a.example": {"inbound_servers": [row]}}}))
        };
        let none = TenantDocument::default();
        let secret_of = |d: &TenantDocument| auths(d)[0].1.secret.clone();
        let mut first = with("hush");
        seal_secrets(&keys, whose, &none, &mut first).unwrap();
        let sealed = secret_of(&first);
        assert!(sealed != "hush" && keys.unseal(whose, &sealed).unwrap().as_str() == "hush");
        let mut restored = with(&sealed);
        seal_secrets(&keys, whose, &none, &mut restored).unwrap();
        assert_eq!(secret_of(&restored), sealed, "a revision holds it sealed");
        let mut foreign = with(&keys.seal(TenantId(2), "hush").unwrap());
        seal_secrets(&keys, whose, &none, &mut foreign).unwrap();
        let words = keys.unseal(whose, &secret_of(&foreign)).unwrap();
        assert!(identity::keys::is_sealed(&words), "another tenant's is a password like any other");
        let mut masked = with(MASK);
        assert!(seal_secrets(&keys, whose, &none, &mut masked).is_err());
        let mut masked = with(MASK);
        seal_secrets(&keys, whose, &first, &mut masked).unwrap();
        assert_eq!(secret_of(&masked), sealed);
    }

    #[test]
    fn a_masked_secret_stays_where_it_was() {
        let (keys, whose) = (Keys::from_secret(&[7; 32]), TenantId(1));
        let row = |host: &str, secret: &str| json!({"host": host, "tls": "encrypted", "auth": {"user": "apikey", "secret": secret}});
        let seal = |before: &TenantDocument, mut after: TenantDocument| seal_secrets(&keys, whose, before, &mut after).map(|()| after);
        let opened = |document: &TenantDocument| -> Vec<String> {
            let open = |(_, auth): (Place, &ServerAuth)| keys.unseal(whose, &auth.secret).unwrap().to_string();
            auths(document).into_iter().map(open).collect()
        };
        let made = json!({"domains": {"a.example": {"inbound_servers": [row("one", "first"), row("two", "second")]}, "b.example": {}}});
        let before = seal(&TenantDocument::default(), tenant_document(made)).unwrap();
        let back = serde_json::from_value(masked(&serde_json::to_value(&before).unwrap())).unwrap();
        assert_eq!(opened(&seal(&before, back).unwrap()), ["first", "second"]);
        for (domain, host) in [("b.example", "one"), ("a.example", "evil.example.net")] {
            let mut after = before.clone();
            let stolen = tenant_document(json!({"domains": {domain: {"inbound_servers": [row(host, MASK)]}}}));
            after.domains.extend(stolen.domains);
            assert!(seal(&before, after).is_err(), "{domain} {host}");
        }
    }
}
