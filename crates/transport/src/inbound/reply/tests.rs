use super::*;

const URL: &str = "https://mail.example.net";

fn reference() -> Reference {
    Reference([0; 10])
}

fn line(refusal: &Refusal, switched: &[Reason]) -> String {
    let mut out = Vec::new();
    refusal.reply(reference(), URL, switched).write_to(&mut out);
    String::from_utf8(out).unwrap()
}

/// The table of domains-and-routing 10 as the specification prints it: reason, code, enhanced status, text.
const SPEC: &str = "\
CONN-LIMIT|421 4.7.0|Too many connections or messages:
IP-BLOCKED-SYSTEM|554 5.7.1|Client address rejected:
EARLY-TALK|554 5.5.0|Client spoke before the greeting:
SHUTDOWN|421 4.3.2|Service closing:
TIMEOUT|421 4.4.2|Timeout:
TOO-MANY-ERRORS|421 4.7.0|Too many errors:
HELO-INVALID|550 5.7.1|EHLO name rejected:
TLS-REQUIRED|530 5.7.0|Must issue STARTTLS first:
AUTH-REQUIRED|530 5.7.0|Authentication required:
AUTH-FAILED|535 5.7.8|Authentication failed:
SENDER-DOMAIN|550 5.1.8|<u@d.example>: Sender address rejected: Domain not found:
DNS-TEMP|451 4.4.3|<u@d.example>: DNS lookup failed:
UTF8-ADDRESS|553 5.6.7|<u@d.example>: needs SMTPUTF8:
SIZE|552 5.3.4|Message size exceeds limit of 42 bytes:
NO-DOMAIN|554 5.7.1|<u@d.example>: Recipient address rejected:
DOMAIN-UNVERIFIED|450 4.7.1|<u@d.example>: Recipient domain not verified yet:
DOMAIN-DISABLED|450 4.3.2|<u@d.example>: Recipient domain not in service:
NO-ROUTE|451 4.3.5|<u@d.example>: No route:
CLIENT-NOT-ALLOWED|554 5.7.1|<192.0.2.1>: Relay access denied:
SENDER-SUSPENDED|550 5.7.1|<u@d.example>: Sending suspended:
TENANT-UNPROVEN|550 5.7.1|Sender not proven for d.example:
RECIPIENT-DOMAIN|550 5.1.2|<u@d.example>: Recipient domain not found:
USER-UNKNOWN|550 5.1.1|<u@d.example>: Recipient address rejected: User unknown:
SUPPRESSED|550 5.1.1|<u@d.example>: Recipient suppressed after earlier failures:
USER-DISABLED|550 5.2.1|<u@d.example>: Recipient disabled:
MAILBOX-FULL|452 4.2.2|<u@d.example>: Mailbox full:
SEND-LIMIT|450 4.7.1|Send limit reached:
FROM-NOT-ALLOWED|550 5.7.1|header From not permitted:
TOO-MANY-RECIPIENTS|452 4.5.3|Too many recipients:
RATE-IP|450 4.7.1|Rate limit temporarily exceeded:
RATE-RECIPIENT|450 4.7.1|Rate limit temporarily exceeded:
RATE-SENDER|450 4.7.1|Rate limit temporarily exceeded:
RATE-TENANT|450 4.7.1|Rate limit temporarily exceeded:
RATE-TRIAL|450 4.7.1|Rate limit temporarily exceeded:
HARVEST|450 4.7.1|Too many unknown recipients:
IP-BLOCKED|550 5.7.1|<192.0.2.1>: Client address rejected:
IP-DNSBL|550 5.7.1|<192.0.2.1>: Listed by d.example:
IP-REPUTATION|450 4.7.1|<192.0.2.1>: Temporarily rejected:
NO-IPREV|450 4.7.25|<192.0.2.1>: Reverse DNS rejected:
GREYLIST|451 4.7.1|Greylisted, try again in 42 s:
SENDER-BLOCKED|550 5.7.1|<u@d.example>: Sender address rejected:
HOPS|554 5.4.6|Error: too many hops:
LOOP|554 5.4.6|Mail loop detected:
BARE-NEWLINE|550 5.5.2|Bare CR or LF in message:
MALFORMED|550 5.6.0|Malformed message:
SPF-FAIL|550 5.7.23|SPF check failed for d.example:
DKIM-FAIL|550 5.7.20|No passing DKIM signature for d.example:
DMARC-REJECT|550 5.7.1|Rejected by DMARC policy of d.example:
VIRUS|550 5.7.1|Malicious content:
SPAM|550 5.7.1|Classified as spam:
CONTENT|550 5.7.1|Rejected by recipient policy:
SCAN-UNAVAILABLE|451 4.3.0|Content check unavailable:
INTERNAL|451 4.3.0|Local error:
STORE-FULL|452 4.3.1|Insufficient storage:";

/// As the session refuses: each reason with what its text is about.
fn refusal(reason: Reason) -> Refusal {
    let address = Address::parse("u@d.example").unwrap();
    let domain = Domain::parse("d.example").unwrap();
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    match reason {
        Reason::IpDnsbl => Refusal::listed(client, &domain),
        Reason::ClientNotAllowed | Reason::IpBlocked | Reason::IpReputation | Reason::NoIprev => Refusal::client(reason, client),
        Reason::TenantUnproven | Reason::SpfFail | Reason::DkimFail | Reason::DmarcReject => Refusal::domain(reason, &domain),
        Reason::Size | Reason::Greylist => Refusal::number(reason, 42),
        _ => Refusal::address(reason, &address),
    }
}

#[test]
fn every_row_of_the_specification() {
    for row in SPEC.lines() {
        let mut cells = row.split('|');
        let (reason, code, text) = (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap());
        let expect = format!("{code} {text} {reason}. ref=0000000000000000 {URL}/r/0000000000000000\r\n");
        assert_eq!(line(&refusal(reason.parse().unwrap()), &[]), expect);
    }
}

#[test]
fn table_and_specification_name_the_same_reasons() {
    let of_spec: Vec<Reason> = SPEC.lines().map(|l| l.split('|').next().unwrap().parse().unwrap()).collect();
    let of_table: Vec<Reason> = CATALOGUE.iter().filter(|r| r.form == Form::Usual).map(|r| r.reason).collect();
    assert_eq!(of_table, of_spec);
    // Everything up to STORE-FULL is of the catalogue; ACCEPTED and SYNTAX have replies without a reference.
    let last = Reason::ALL.iter().position(|r| *r == Reason::StoreFull).unwrap();
    let expected: Vec<Reason> = Reason::ALL[..=last]
        .iter()
        .copied()
        .filter(|r| !matches!(r, Reason::Accepted | Reason::Syntax))
        .collect();
    assert_eq!(of_table, expected);
}

#[test]
fn other_replies_of_a_reason() {
    let check = |reason: Reason, form: Form, start: &str| {
        let text = line(&refusal(reason).with_form(form), &[]);
        assert!(text.starts_with(start), "{text}");
    };
    check(
        Reason::RecipientDomain,
        Form::NullMx,
        "556 5.1.10 <u@d.example>: Recipient domain not found: RECIPIENT-DOMAIN. ref=",
    );
    check(
        Reason::MailboxFull,
        Form::Permanent,
        "552 5.2.2 <u@d.example>: Mailbox full: MAILBOX-FULL. ref=",
    );
    check(Reason::SendLimit, Form::Permanent, "550 5.7.1 Send limit reached: SEND-LIMIT. ref=");
    check(
        Reason::Harvest,
        Form::Closing,
        "421 4.7.1 Too many unknown recipients: HARVEST. ref=",
    );
}

#[test]
fn tenants_switch_what_is_marked_and_nothing_else() {
    for row in CATALOGUE {
        let start = line(&refusal(row.reason).with_form(row.form), Reason::ALL);
        let expect = match (row.switchable, row.code) {
            (true, 550) => format!("450 4.{}.{} ", row.subject, row.detail),
            (true, 450) => format!("550 5.{}.{} ", row.subject, row.detail),
            (_, code) => format!("{code} {}.{}.{} ", code / 100, row.subject, row.detail),
        };
        assert!(start.starts_with(&expect), "{start} / {expect}");
    }
    let marked: Vec<&str> = CATALOGUE.iter().filter(|r| r.switchable).map(|r| r.reason.as_str()).collect();
    assert_eq!(
        marked,
        [
            "IP-BLOCKED",
            "IP-DNSBL",
            "IP-REPUTATION",
            "NO-IPREV",
            "SENDER-BLOCKED",
            "SPF-FAIL",
            "DKIM-FAIL",
            "SPAM",
            "CONTENT"
        ]
    );
}

#[test]
fn hostile_text_is_escaped_and_cut() {
    let check = |text: &str, start: &str| {
        let got = line(&Refusal::text(Reason::UserUnknown, text), &[]);
        assert!(got.starts_with(start), "{got}");
        assert!(got.is_ascii() && got.len() <= 512 && got.matches("\r\n").count() == 1, "{got}");
        assert!(
            got.ends_with("USER-UNKNOWN. ref=0000000000000000 https://mail.example.net/r/0000000000000000\r\n"),
            "{got}"
        );
    };
    check("見@d.example", "550 5.1.1 <\\u{898b}@d.example>: Recipient");
    check("a\r\n250 ok@d.example", "550 5.1.1 <a\\u{d}\\u{a}250 ok@d.example>: Recipient");
    check("a\\b@d.example", "550 5.1.1 <a\\u{5c}b@d.example>: Recipient");
    check(&"見".repeat(2_000), "550 5.1.1 <\\u{898b}");
    check(&"x".repeat(2_000), &format!("550 5.1.1 <{}>: Recipient", "x".repeat(254)));
}

#[test]
fn a_long_public_url_cuts_the_address_never_the_reference() {
    let url = format!("https://{}.example", "a".repeat(180));
    let mut out = Vec::new();
    Refusal::text(Reason::UserUnknown, &"x".repeat(400))
        .reply(reference(), &url, &[])
        .write_to(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.len() <= 512 && text.ends_with(&format!("{url}/r/0000000000000000\r\n")),
        "{text}"
    );
    assert!(
        text.contains("x>: Recipient address rejected: User unknown: USER-UNKNOWN."),
        "{text}"
    );
}

#[test]
fn without_a_subject_the_text_still_reads() {
    assert!(line(&Refusal::new(Reason::NoDomain), &[]).starts_with("554 5.7.1 Recipient address rejected: NO-DOMAIN. ref="));
}

#[test]
fn accepted_names_one_id_per_tenant() {
    let mut out = Vec::new();
    accepted([QueueId::from_i64(1), QueueId::from_i64(2)].into_iter()).write_to(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "250 2.0.0 Accepted, queue id 0000000000001,0000000000002\r\n"
    );
}
