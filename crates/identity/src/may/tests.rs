use super::*;
use crate::actor::LoginMethod;
use Permission::{None as Nothing, Read, Write};
use store::control::audit::Channel;

const OURS: TenantId = TenantId(1);
const THEIRS: TenantId = TenantId(2);

fn actor(role: Role, domains: Option<&[&str]>) -> Actor {
    Actor {
        name: "test".into(),
        tenant: (!role.is_operators()).then_some(OURS),
        role,
        domains: domains.map(|list| list.iter().map(|d| d.parse().unwrap()).collect()),
        standing: Standing::Full,
        login: LoginMethod::ApiKey,
        channel: Channel::Api,
        client: None,
    }
}

/// The matrix of 1.2 as the spec prints it, for objects of domain a.example of tenant 1; the domain administrator has a.example.
#[test]
fn the_matrix() {
    let a: Domain = "a.example".parse().unwrap();
    let columns = [
        actor(Role::Operator, None),
        actor(Role::Support, None),
        actor(Role::Owner, None),
        actor(Role::TenantAdmin, None),
        actor(Role::DomainAdmin, Some(&["a.example"])),
        actor(Role::GroupAdmin, None),
        actor(Role::Auditor, None),
        actor(Role::Viewer, None),
        actor(Role::User, None),
    ];
    let rows = [
        (
            Capability::Tenants,
            [Write, Read, Nothing, Nothing, Nothing, Nothing, Nothing, Nothing, Nothing],
        ),
        (
            Capability::DomainsAddDelete,
            [Nothing, Nothing, Write, Write, Nothing, Nothing, Nothing, Nothing, Nothing],
        ),
        (
            Capability::DomainSettings,
            [Nothing, Nothing, Write, Write, Write, Nothing, Nothing, Read, Nothing],
        ),
        (
            Capability::GrantRoles,
            [Write, Nothing, Write, Write, Write, Nothing, Nothing, Nothing, Nothing],
        ),
        (
            Capability::Rules,
            [Nothing, Nothing, Write, Write, Write, Nothing, Nothing, Read, Nothing],
        ),
        (
            Capability::QuarantineList,
            [Nothing, Nothing, Write, Write, Write, Nothing, Nothing, Read, Nothing],
        ),
        (
            Capability::QuarantineContent,
            [Nothing, Nothing, Write, Write, Write, Nothing, Nothing, Nothing, Nothing],
        ),
        (
            Capability::QueueActions,
            [Write, Read, Write, Write, Write, Nothing, Nothing, Read, Nothing],
        ),
        (Capability::Tracking, [Read, Read, Read, Read, Read, Nothing, Read, Read, Nothing]),
        (Capability::Archive, [Nothing; 9]),
        (
            Capability::AuditLog,
            [Nothing, Nothing, Read, Read, Read, Nothing, Read, Nothing, Nothing],
        ),
    ];
    for (capability, expect) in rows {
        for (who, expect) in columns.iter().zip(expect) {
            assert_eq!(
                may(who, capability, Target::domain(OURS, &a)),
                expect,
                "{capability:?} {:?}",
                who.role
            );
        }
    }
}

#[test]
fn other_tenants_are_out_of_reach() {
    let a: Domain = "a.example".parse().unwrap();
    for role in Role::ALL.into_iter().filter(|r| !r.is_operators()) {
        for capability in Capability::ALL {
            for tenant in [THEIRS, TenantId::OPERATOR] {
                for domains in [None, Some(&["a.example"][..])] {
                    let who = actor(role, domains);
                    assert_eq!(
                        may(&who, capability, Target::domain(tenant, &a).with(Consent::Given)),
                        Nothing,
                        "{role:?} {capability:?}"
                    );
                    assert_eq!(may(&who, capability, Target::tenant(tenant)), Nothing, "{role:?} {capability:?}");
                }
            }
        }
    }
    // A tenant's key with an operator's role is worth nothing, and the other way round.
    let forged = Actor {
        tenant: Some(OURS),
        ..actor(Role::Operator, None)
    };
    assert_eq!(may(&forged, Capability::Tenants, Target::tenant(OURS)), Nothing);
    let forged = Actor {
        tenant: None,
        ..actor(Role::Owner, None)
    };
    assert_eq!(may(&forged, Capability::Tracking, Target::tenant(OURS)), Nothing);
}

#[test]
fn listed_domains_bound_every_role() {
    let (a, b): (Domain, Domain) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
    for role in [Role::DomainAdmin, Role::Viewer, Role::TenantAdmin, Role::Auditor] {
        let who = actor(role, Some(&["a.example"]));
        assert_eq!(may(&who, Capability::Tracking, Target::domain(OURS, &a)), Read, "{role:?}");
        assert_eq!(may(&who, Capability::Tracking, Target::domain(OURS, &b)), Nothing, "{role:?}");
        assert_eq!(may(&who, Capability::Tracking, Target::tenant(OURS)), Nothing, "{role:?}");
    }
    assert_eq!(
        may(
            &actor(Role::DomainAdmin, None),
            Capability::DomainSettings,
            Target::domain(OURS, &a)
        ),
        Nothing
    );
}

#[test]
fn operators_see_settings_with_consent_and_their_own_audit() {
    let operator = actor(Role::Operator, None);
    assert_eq!(
        may(&operator, Capability::DomainSettings, Target::tenant(OURS).with(Consent::Given)),
        Write
    );
    assert_eq!(may(&operator, Capability::AuditLog, Target::tenant(TenantId::OPERATOR)), Read);
    assert_eq!(may(&operator, Capability::Rules, Target::tenant(TenantId::OPERATOR)), Write);
    assert_eq!(tracking_detail(&operator), Detail::NoSubject);
    assert_eq!(tracking_detail(&actor(Role::Owner, None)), Detail::Full);
}

#[test]
fn a_suspended_tenant_reads() {
    let who = Actor {
        standing: Standing::ReadOnly,
        ..actor(Role::Owner, None)
    };
    assert_eq!(may(&who, Capability::DomainSettings, Target::tenant(OURS)), Read);
    assert!(!may_grant(&who, OURS, Role::Viewer, None));
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let list = |names: &[&str]| -> Option<Vec<Domain>> { Some(names.iter().map(|d| d.parse().unwrap()).collect()) };
    let check = |who: &Actor, tenant: TenantId, role: Role, domains: Option<Vec<Domain>>, expect: bool| {
        assert_eq!(
            may_grant(who, tenant, role, domains.as_deref()),
            expect,
            "{:?} gives {role:?} over {domains:?}",
            who.role
        );
    };
    let operator = actor(Role::Operator, None);
    check(&operator, OURS, Role::Owner, None, true);
    check(&operator, OURS, Role::TenantAdmin, None, false);
    check(&operator, TenantId::OPERATOR, Role::Support, None, true);
    check(&operator, TenantId::OPERATOR, Role::Owner, None, false);
    check(&actor(Role::Support, None), OURS, Role::Owner, None, false);
    let owner = actor(Role::Owner, None);
    for role in [
        Role::Owner,
        Role::TenantAdmin,
        Role::GroupAdmin,
        Role::Auditor,
        Role::Viewer,
        Role::User,
    ] {
        check(&owner, OURS, role, None, true);
        check(&owner, THEIRS, role, None, false);
    }
    check(&owner, OURS, Role::DomainAdmin, None, false);
    check(&owner, OURS, Role::DomainAdmin, list(&["a.example"]), true);
    check(&owner, OURS, Role::Operator, None, false);
    let admin = actor(Role::TenantAdmin, None);
    check(&admin, OURS, Role::Owner, None, false);
    check(&admin, OURS, Role::TenantAdmin, None, true);
    let domain_admin = actor(Role::DomainAdmin, Some(&["a.example", "b.example"]));
    check(&domain_admin, OURS, Role::DomainAdmin, list(&["a.example"]), true);
    check(&domain_admin, OURS, Role::DomainAdmin, list(&["a.example", "c.example"]), false);
    check(&domain_admin, OURS, Role::Viewer, list(&["b.example"]), true);
    check(&domain_admin, OURS, Role::Viewer, None, false);
    check(&domain_admin, OURS, Role::Viewer, list(&[]), false);
    check(&domain_admin, OURS, Role::TenantAdmin, list(&["a.example"]), false);
    check(&actor(Role::Viewer, None), OURS, Role::Viewer, None, false);
}
