use super::*;
use config::DomainDocument;
use config::document::TenantDocument;

fn owner(tenant: TenantState, domain: DomainState) -> Owner {
    let name = ::mail::Domain::parse("a.example").unwrap();
    let tenant = LiveTenant {
        id: TenantId(1),
        name: "a".into(),
        state: tenant,
        trial_outbound: false,
        revision: 1,
        settings: TenantDocument::default(),
        domains: std::collections::HashMap::new(),
    };
    (
        Arc::new(tenant),
        Arc::new(LiveDomain {
            name,
            state: domain,
            settings: DomainDocument::default(),
        }),
    )
}

#[test]
fn inbound_by_state_of_tenant_and_domain() {
    use DomainState as D;
    use TenantState as T;
    let check = |tenant, domain, expect: Option<Reason>| {
        let (t, d) = owner(tenant, domain);
        assert_eq!(not_in_service(&t, &d), expect, "{tenant:?} {domain:?}");
    };
    // Domains-and-routing 1.1.
    check(T::Trial, D::Active, None);
    check(T::Active, D::Active, None);
    check(T::OutboundSuspended, D::Active, None);
    check(T::Suspended, D::Active, Some(Reason::DomainDisabled));
    check(T::Closing, D::Active, Some(Reason::NoDomain));
    check(T::Deleted, D::Active, Some(Reason::NoDomain));
    // 2.4.
    check(T::Active, D::Unverified, Some(Reason::DomainUnverified));
    check(T::Active, D::Verified, None);
    check(T::Active, D::Disabled, Some(Reason::DomainDisabled));
    check(T::Active, D::Deleting, Some(Reason::NoDomain));
    // An unverified name says nothing of its claimant; a deletion wins over everything.
    check(T::Suspended, D::Unverified, Some(Reason::DomainUnverified));
    check(T::Suspended, D::Deleting, Some(Reason::NoDomain));
}

#[test]
fn place_of_a_recipient() {
    let address = Address::parse("ann@a.example").unwrap();
    assert_eq!(place(None, &address), Place::Elsewhere);
    assert_eq!(
        place(Some(&owner(TenantState::Active, DomainState::Unverified)), &address),
        Place::Registered
    );
    assert_eq!(
        place(Some(&owner(TenantState::Active, DomainState::Disabled)), &address),
        Place::Accepted
    );
    // Active, and no row leads anywhere.
    assert_eq!(
        place(Some(&owner(TenantState::Active, DomainState::Active)), &address),
        Place::Registered
    );
}

#[test]
fn postmaster_reaches_the_contacts_with_the_name_kept() {
    let recipient = Recipient {
        address: Address::parse("postmaster@a.example").unwrap(),
        notify: ::mail::Notify::Never,
        orcpt: None,
    };
    let (tenant, _) = owner(TenantState::Active, DomainState::Active);
    assert!(contacts(&tenant, &recipient).is_empty());
    let mut tenant = (*tenant).clone();
    tenant.settings.contacts.mail_flow = vec![Address::parse("it@a.example").unwrap(), Address::parse("noc@b.example").unwrap()];
    let got = contacts(&tenant, &recipient);
    assert_eq!(
        got.iter().map(|r| r.address.to_string()).collect::<Vec<_>>(),
        ["it@a.example", "noc@b.example"]
    );
    assert!(
        got.iter()
            .all(|r| r.orcpt.as_deref() == Some("rfc822;postmaster@a.example") && r.notify == ::mail::Notify::Never)
    );
}
