use super::*;
use mail::TenantId;

const T0: Timestamp = Timestamp(1_800_000_000_000);
const LAPSE: Duration = Duration::from_secs(30 * 86_400);

fn claim(state: DomainState) -> DomainClaim {
    DomainClaim {
        tenant: TenantId(1),
        name: "a.example".parse().unwrap(),
        state,
        token: "x".repeat(32),
        token_made_at: T0,
        claimed_at: T0,
        lapses_at: (state == DomainState::Unverified).then(|| T0.after(LAPSE)),
        verified_by: None,
        verified_reason: None,
        verified_at: None,
        resume_state: None,
        purge_at: (state == DomainState::Deleting).then(|| T0.after(DAY)),
        checked_at: None,
        asked_at: None,
        due_at: T0,
        report: "{}".into(),
    }
}

fn report(proof: Option<VerifiedBy>, address: Option<Address>, at: Timestamp) -> Report {
    Report {
        proof,
        address,
        is_certain: true,
        ownership_at: Some(at),
        name_servers: vec!["ns1.example".into()],
        ..Report::default()
    }
}

#[test]
fn every_minute_then_every_ten_then_hourly() {
    let check = |age: Duration, expect: Duration| {
        let now = T0.after(age);
        assert_eq!(next_look(T0, now).since(now), expect, "{age:?}");
    };
    check(Duration::ZERO, MINUTE);
    check(59 * MINUTE, MINUTE);
    check(HOUR, 10 * MINUTE);
    check(23 * HOUR, 10 * MINUTE);
    check(DAY, HOUR);
    check(20 * DAY, HOUR);
}

#[test]
fn a_claim_is_proven_or_lapses() {
    let c = claim(DomainState::Unverified);
    let check =
        |report: Option<Report>, at: Timestamp, steps: &[Step]| assert_eq!(judge(&c, None, report.as_ref(), at).steps, steps, "{report:?}");
    check(Some(report(None, None, T0)), T0, &[]);
    check(Some(report(Some(VerifiedBy::Txt), None, T0)), T0, &[Step::Verify(VerifiedBy::Txt)]);
    check(
        Some(report(Some(VerifiedBy::Mx), Some(Address::Present), T0)),
        T0,
        &[Step::Verify(VerifiedBy::Mx), Step::Activate],
    );
    check(
        Some(report(Some(VerifiedBy::Txt), Some(Address::NullMx), T0)),
        T0,
        &[Step::Verify(VerifiedBy::Txt)],
    );
    let end = T0.after(LAPSE);
    check(Some(report(None, None, end)), end, &[Step::Lapse]);
    // Proven in the last moment is proven.
    check(
        Some(report(Some(VerifiedBy::Txt), None, end)),
        end,
        &[Step::Verify(VerifiedBy::Txt)],
    );
}

#[test]
fn the_lapse_is_told_once_and_never_slept_over() {
    let mut c = claim(DomainState::Unverified);
    let notice = T0.after(LAPSE).before(LAPSE_NOTICE);
    c.checked_at = Some(notice.before(HOUR));
    assert_eq!(judge(&c, None, None, notice).steps, [Step::WarnOfLapse]);
    c.checked_at = Some(notice);
    assert_eq!(judge(&c, None, None, notice.after(HOUR)).steps, []);
    let late = T0.after(LAPSE).before(MINUTE);
    assert_eq!(judge(&c, None, None, late).next, T0.after(LAPSE));
    // Too short a claim for a notice (an operator trying it out) gets none.
    c.lapses_at = Some(T0.after(HOUR));
    c.checked_at = None;
    assert_eq!(judge(&c, None, None, T0.after(MINUTE)).steps, []);
}

#[test]
fn a_proven_name_follows_its_address_but_no_dns_failure() {
    let check = |state, address, steps: &[Step]| {
        let got = judge(&claim(state), None, Some(&report(Some(VerifiedBy::Txt), address, T0)), T0);
        assert_eq!(got.steps, steps, "{state:?} {address:?}");
        assert_eq!(got.next, T0.after(HOUR));
    };
    check(DomainState::Verified, Some(Address::Present), &[Step::Activate]);
    check(DomainState::Verified, Some(Address::Absent), &[]);
    check(DomainState::Verified, None, &[]);
    check(DomainState::Active, Some(Address::Present), &[]);
    check(DomainState::Active, Some(Address::Absent), &[Step::Deactivate]);
    check(DomainState::Active, Some(Address::NullMx), &[Step::Deactivate]);
    check(DomainState::Active, None, &[]);
}

#[test]
fn lost_proofs_and_new_name_servers_alert_once() {
    let c = claim(DomainState::Active);
    let had = report(Some(VerifiedBy::Txt), Some(Address::Present), T0.before(DAY));
    let lost = report(None, Some(Address::Present), T0);
    assert_eq!(judge(&c, Some(&had), Some(&lost), T0).steps, [Step::AlertProofLost]);
    assert_eq!(judge(&c, Some(&lost), Some(&lost), T0.after(HOUR)).steps, []);
    let unsure = Report {
        is_certain: false,
        ..lost.clone()
    };
    assert_eq!(judge(&c, Some(&had), Some(&unsure), T0).steps, []);
    let moved = Report {
        name_servers: vec!["ns2.example".into()],
        ..report(Some(VerifiedBy::Txt), Some(Address::Present), T0)
    };
    let alert = Step::AlertNameServers {
        before: vec!["ns1.example".into()],
        after: vec!["ns2.example".into()],
    };
    assert_eq!(judge(&c, Some(&had), Some(&moved), T0).steps, [alert]);
}

#[test]
fn a_grace_ends_at_its_time() {
    let c = claim(DomainState::Deleting);
    assert_eq!(
        judge(&c, None, None, T0),
        Judgement {
            steps: Vec::new(),
            next: T0.after(DAY)
        }
    );
    assert_eq!(judge(&c, None, None, T0.after(DAY)).steps, [Step::Purge]);
}
