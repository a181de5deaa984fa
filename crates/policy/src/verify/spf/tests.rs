use super::super::fake::{FakeDns, now, unescape};
use super::*;

const SUITE: &str = include_str!("../../../../../tests/vector/spf/rfc7208.txt");

fn query<'a>(client: &str, hello: &'a str, sender: &'a str) -> SpfQuery<'a> {
    SpfQuery {
        client: client.parse().unwrap(),
        hello,
        sender,
        receiver: "mx.receiver.example",
        now: Timestamp(1_800_000_000_000),
    }
}

/// One case of the suite.
#[derive(Default)]
struct Case<'a> {
    name: &'a str,
    host: &'a str,
    hello: String,
    sender: String,
    results: Vec<&'a str>,
    explanation: Option<String>,
}

fn cases(scenario: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for line in scenario.lines() {
        let (key, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        if key == "test" {
            cases.push(Case {
                name: value,
                ..Case::default()
            });
        }
        let Some(case) = cases.last_mut() else { continue };
        match key {
            "host" => case.host = value,
            "helo" => case.hello = unescape(value),
            "mailfrom" => case.sender = unescape(value),
            "result" => case.results = value.split(',').collect(),
            "explanation" => case.explanation = Some(unescape(value)),
            _ => {}
        }
    }
    cases
}

/// All cases of the openspf.org suite for RFC 7208.
#[test]
fn the_suite() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for scenario in SUITE.split("\nscenario ").skip(1) {
        let dns = FakeDns::parse(scenario);
        for case in cases(scenario) {
            count += 1;
            let outcome = now(check_mail_from(&dns, &query(case.host, &case.hello, &case.sender)));
            if !case.results.contains(&outcome.result.as_str()) {
                wrong.push(format!("{}: {:?} instead of {:?}", case.name, outcome, case.results));
            }
            let explanation = outcome.explanation.as_deref().unwrap_or("DEFAULT");
            // RFC 7208 §7.4 writes the nibbles of IPv6 in lower case, the suite in upper case.
            if let Some(expect) = case.explanation.filter(|expect| !expect.eq_ignore_ascii_case(explanation)) {
                wrong.push(format!("{}: explanation {explanation:?} instead of {expect:?}", case.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(count, 203);
}

#[test]
fn the_way_to_the_result_is_told() {
    let dns = FakeDns::parse(
        "zone example.com TXT \"v=spf1 ip4:198.51.100.0/24 include:inner.example -all\"
         zone inner.example TXT \"v=spf1 ~ip6:2001:db8::/32 include:deep.example ?all\"
         zone deep.example TXT \"v=spf1 a:mx.example/28 -all\"
         zone mx.example A 192.0.2.17
         zone plain.example TXT \"v=spf1\"
         zone bad.example TXT \"v=spf1 ipv4:192.0.2.1\"
         zone slow.example TIMEOUT",
    );
    let check = |client: &str, sender: &str, result: SpfResult, mechanism: Option<&str>, record: Option<&str>| {
        let outcome = now(check_mail_from(&dns, &query(client, "client.example", sender)));
        assert_eq!(
            (outcome.result, outcome.mechanism.as_deref(), outcome.record.as_deref()),
            (result, mechanism, record),
            "{client} {sender}"
        );
        assert_eq!(
            outcome.problem.is_some(),
            matches!(result, SpfResult::TempError | SpfResult::PermError),
            "{outcome:?}"
        );
    };
    let record = Some("v=spf1 ip4:198.51.100.0/24 include:inner.example -all");
    check(
        "198.51.100.7",
        "a@example.com",
        SpfResult::Pass,
        Some("ip4:198.51.100.0/24"),
        record,
    );
    check(
        "::ffff:198.51.100.7",
        "a@Example.COM",
        SpfResult::Pass,
        Some("ip4:198.51.100.0/24"),
        record,
    );
    check(
        "192.0.2.30",
        "a@example.com",
        SpfResult::Pass,
        Some("include:inner.example > include:deep.example > a:mx.example/28"),
        record,
    );
    check("192.0.2.32", "a@example.com", SpfResult::Fail, Some("-all"), record);
    check("2001:db8::1", "a@example.com", SpfResult::Fail, Some("-all"), record);
    check("192.0.2.1", "a@plain.example", SpfResult::Neutral, None, Some("v=spf1"));
    check(
        "192.0.2.1",
        "a@bad.example",
        SpfResult::PermError,
        None,
        Some("v=spf1 ipv4:192.0.2.1"),
    );
    check("192.0.2.1", "a@slow.example", SpfResult::TempError, None, None);
    check("192.0.2.1", "a@absent.example", SpfResult::None, None, None);
    check("192.0.2.1", "a@[192.0.2.1]", SpfResult::None, None, None);
}

#[test]
fn identities() {
    let dns = FakeDns::parse("zone helo.example TXT \"v=spf1 ip4:192.0.2.1 -all\"\nzone from.example TXT \"v=spf1 -all\"");
    let check = |outcome: SpfOutcome, identity: Identity, domain: &str, result: SpfResult| {
        assert_eq!(
            (outcome.identity, outcome.domain.as_str(), outcome.result),
            (identity, domain, result)
        );
    };
    let with = |hello, sender| query("192.0.2.1", hello, sender);
    check(
        now(check_hello(&dns, &with("helo.example", "a@from.example"))),
        Identity::Hello,
        "helo.example",
        SpfResult::Pass,
    );
    check(
        now(check_mail_from(&dns, &with("helo.example", "a@from.example"))),
        Identity::MailFrom,
        "from.example",
        SpfResult::Fail,
    );
    check(
        now(check_mail_from(&dns, &with("Helo.Example.", ""))),
        Identity::MailFrom,
        "helo.example",
        SpfResult::Pass,
    );
    check(
        now(check_hello(&dns, &with("[192.0.2.1]", ""))),
        Identity::Hello,
        "",
        SpfResult::None,
    );
    check(now(check_hello(&dns, &with("localhost", ""))), Identity::Hello, "", SpfResult::None);
    assert_eq!(sender_of(&ReversePath::parse("Ann@Example.com").unwrap()), "Ann@example.com");
    assert_eq!(sender_of(&ReversePath::Null), "");
}

/// RFC 7208 §4.6.4: whatever a hostile record says, the questions are few.
#[test]
fn the_number_of_questions_is_bounded() {
    let mut zone = String::from("zone wide.example TXT \"v=spf1 mx mx mx mx mx mx mx mx mx mx mx ?all\"\n");
    for number in 0..10 {
        zone.push_str(&format!(
            "zone wide.example MX {number} h{number}.example\nzone h{number}.example A 198.51.100.1\n"
        ));
    }
    zone.push_str("zone loop.example TXT \"v=spf1 include:loop.example include:loop.example include:loop.example\"\n");
    let check = |sender: &str, questions_max: usize| {
        let dns = FakeDns::parse(&zone);
        assert_eq!(
            now(check_mail_from(&dns, &query("192.0.2.1", "h.example", sender))).result,
            SpfResult::PermError,
            "{sender}"
        );
        let asked = dns.asked.lock().unwrap().len();
        assert!(asked <= questions_max, "{sender}: {asked} questions");
    };
    check("a@wide.example", 111);
    check("a@loop.example", 11);
}
