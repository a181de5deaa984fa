use super::*;
use crate::clock::ManualClock;
use mail::Timestamp;
use testkit::dns::{Server, Transport};
use testkit::zone::Zone;

const ZONE: &str = r#"
example.com            MX    20 mx2.example.com
example.com            MX    10 mx1.example.com
example.com            TXT   "v=spf1 " "-all"
example.com            NS    ns1.example.com
example.com            NS    ns2.example.com
example.com            NS    ns3.example.com
mx1.example.com        A     192.0.2.1
mx1.example.com        AAAA  2001:db8::1
v4.example.com         A     192.0.2.4
half.example.com       A     192.0.2.5
www.example.com        CNAME v4.example.com
ns1.example.com        A     127.0.0.1
ns2.example.com        A     10.9.9.9
null.example           MX    0 .
mixed.example          MX    0 .
mixed.example          MX    5 mx1.example.com
junk.example           MX    5 bad..name
address.example        A     192.0.2.9
only-text.example      TXT   hello
broken.example         FAULT servfail
refused.example        FAULT refused
silent.example         FAULT silent
cut.example            TXT   by-tcp
cut.example            FAULT truncated
1.2.0.192.in-addr.arpa PTR   mx1.example.com
lame.example           NS    ns1.example.com
lame.example           TXT   told
"#;

struct Bench {
    server: Server,
    resolver: Resolver,
    hand: ManualClock,
}

async fn bench_with(zone: Zone, rows: &[(&str, &str, &str)]) -> Bench {
    let server = Server::start(zone).await;
    let (clock, hand) = Clock::manual(Timestamp(1_800_000_000_000));
    let rows: Vec<StaticEntry> = rows
        .iter()
        .map(|(name, kind, value)| StaticEntry {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            value: (*value).to_owned(),
            ttl: None,
        })
        .collect();
    let settings = ResolverSettings {
        servers: vec![server.address()],
        authoritative_port: server.address().port(),
        static_zone: StaticZone::parse(&rows).unwrap(),
        timeout: Duration::from_millis(150),
        guard: Guard::new(Vec::new(), vec!["127.0.0.0/8".parse().unwrap()]),
    };
    Bench {
        server,
        resolver: Resolver::new(settings, clock).unwrap(),
        hand,
    }
}

async fn bench() -> Bench {
    bench_with(Zone::parse(ZONE), &[]).await
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The reason in a temporary failure is text for people; tests compare its presence.
fn is_temp<T>(answer: &Result<T, DnsError>) -> bool {
    matches!(answer, Err(DnsError::Temp(_)))
}

#[tokio::test]
async fn mail_exchangers() {
    let bench = bench().await;
    let check = async |name: &str, expect: Result<MxAnswer, DnsError>| assert_eq!(bench.resolver.mx(&domain(name)).await, expect, "{name}");
    let hosts = |hosts: &[(u16, &str)]| {
        Ok(MxAnswer::Records(
            hosts.iter().map(|(preference, host)| (*preference, domain(host))).collect(),
        ))
    };
    check("example.com", hosts(&[(10, "mx1.example.com"), (20, "mx2.example.com")])).await;
    check("null.example", Ok(MxAnswer::Null)).await;
    check("mixed.example", hosts(&[(5, "mx1.example.com")])).await;
    check("address.example", Ok(MxAnswer::None)).await;
    check("absent.example", Err(DnsError::NoSuchName)).await;
    for name in ["broken.example", "refused.example", "silent.example"] {
        assert!(is_temp(&bench.resolver.mx(&domain(name)).await), "{name}");
    }
}

#[tokio::test]
async fn kinds_of_mail_domain() {
    let bench = bench().await;
    let check =
        async |name: &str, expect: MailDomain| assert_eq!(bench.resolver.has_mail_address(&domain(name)).await, Ok(expect), "{name}");
    check("example.com", MailDomain::Mx).await;
    check("null.example", MailDomain::NullMx).await;
    check("address.example", MailDomain::AddressOnly).await;
    check("only-text.example", MailDomain::Nothing).await;
    check("absent.example", MailDomain::Nothing).await;
    assert!(is_temp(&bench.resolver.has_mail_address(&domain("broken.example")).await));
}

#[tokio::test]
async fn addresses_of_both_families() {
    let bench = bench().await;
    let check =
        async |name: &str, expect: Result<&[&str], DnsError>| assert_eq!(bench.resolver.addresses(name).await, expect.map(ips), "{name}");
    check("mx1.example.com", Ok(&["192.0.2.1", "2001:db8::1"])).await;
    check("MX1.Example.COM.", Ok(&["192.0.2.1", "2001:db8::1"])).await;
    check("v4.example.com", Ok(&["192.0.2.4"])).await;
    check("www.example.com", Ok(&["192.0.2.4"])).await;
    check("only-text.example", Ok(&[])).await;
    check("absent.example", Err(DnsError::NoSuchName)).await;
    check("192.0.2.77", Ok(&["192.0.2.77"])).await;
    check("[2001:db8::77]", Ok(&["2001:db8::77"])).await;
    check("a..b", Err(DnsError::NoSuchName)).await;
    assert!(is_temp(&bench.resolver.addresses("silent.example").await));
}

#[tokio::test]
async fn texts() {
    let bench = bench().await;
    let check = async |name: &str, expect: Result<&[&str], DnsError>| {
        assert_eq!(
            bench.resolver.txt(&domain(name)).await,
            expect.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect()),
            "{name}"
        );
    };
    check("example.com", Ok(&["v=spf1 -all"])).await;
    check("address.example", Ok(&[])).await;
    check("absent.example", Err(DnsError::NoSuchName)).await;
    check("cut.example", Ok(&["by-tcp"])).await;
    let over_tcp = bench
        .server
        .asked()
        .iter()
        .any(|asked| asked.name == "cut.example" && asked.transport == Transport::Tcp);
    assert!(over_tcp, "a cut answer is asked for again over TCP");
}

#[tokio::test]
async fn text_answers_are_bounded() {
    let mut zone = Zone::new();
    for (name, count, length) in [("many.example", 101, 3), ("fits.example", 100, 3), ("wide.example", 2, 20_000)] {
        for number in 0..count {
            zone.add(name, "TXT", &format!("{number:0length$}"));
        }
    }
    // Latin-1 bytes grow when they become UTF-8; the bound is on what is kept.
    for number in 0..40_u8 {
        zone.add_record(
            "grown.example",
            60,
            testkit::zone::Record::Txt(vec![
                vec![0xe0 | (number & 1); 255],
                vec![0xff; 255],
                vec![0xfe; 255],
                vec![0xfd; 255],
            ]),
        );
    }
    zone.add_record(
        "latin.example",
        60,
        testkit::zone::Record::Txt(vec![vec![b'a', 0xe9], b"b".to_vec()]),
    );
    let bench = bench_with(zone, &[]).await;
    assert!(is_temp(&bench.resolver.txt(&domain("many.example")).await));
    assert_eq!(bench.resolver.txt(&domain("fits.example")).await.unwrap().len(), 100);
    assert_eq!(bench.resolver.txt(&domain("wide.example")).await.unwrap().len(), 2);
    assert!(is_temp(&bench.resolver.txt(&domain("grown.example")).await));
    assert_eq!(bench.resolver.txt(&domain("latin.example")).await, Ok(vec![String::from("aéb")]));
}

#[tokio::test]
async fn names_of_addresses() {
    let bench = bench_with(Zone::parse(ZONE), &[("127.0.0.9", "PTR", "client.example")]).await;
    let check = async |address: &str, expect: Result<&[&str], DnsError>| {
        let expect = expect.map(|names| names.iter().map(|name| domain(name)).collect());
        assert_eq!(bench.resolver.ptr(address.parse().unwrap()).await, expect, "{address}");
    };
    check("192.0.2.1", Ok(&["mx1.example.com"])).await;
    check("::ffff:192.0.2.1", Ok(&["mx1.example.com"])).await;
    check("192.0.2.2", Err(DnsError::NoSuchName)).await;
    check("127.0.0.1", Ok(&["localhost"])).await;
    check("::1", Ok(&["localhost"])).await;
    check("127.0.0.9", Ok(&["client.example"])).await;
    assert_eq!(
        record::reverse_name("2001:db8::1".parse().unwrap()),
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
    );
}

#[tokio::test]
async fn answers_are_kept_for_their_ttl_and_failures_are_not() {
    let bench = bench().await;
    let ask = async |name: &str| bench.resolver.mx(&domain(name)).await;
    let check = async |name: &str, advance: u64, expect_asked: usize| {
        bench.hand.advance(Duration::from_secs(advance));
        let _ = ask(name).await;
        assert_eq!(bench.server.count(name), expect_asked, "{name} after {advance} s more");
    };
    check("example.com", 0, 1).await;
    check("example.com", 59, 1).await;
    check("example.com", 1, 2).await;
    check("absent.example", 0, 1).await;
    check("absent.example", 59, 1).await;
    check("absent.example", 1, 2).await;
    let _ = ask("refused.example").await;
    let asked = bench.server.count("refused.example");
    bench.server.change(|zone| {
        zone.remove("refused.example").add("refused.example", "MX", "10 mx1.example.com");
    });
    assert!(
        matches!(ask("refused.example").await, Ok(MxAnswer::Records(_))),
        "the next question is asked again"
    );
    assert!(bench.server.count("refused.example") > asked);
}

#[tokio::test]
async fn the_static_zone_comes_first() {
    let rows = [
        ("example.com", "mx", "5 sink.example.com"),
        ("sink.example.com", "A", "127.0.0.1"),
        ("null.static.example", "MX", "0 ."),
        ("demo.example", "ZONE", ""),
        ("a.b.demo.example", "TXT", "mitsuke=abc"),
    ];
    let bench = bench_with(Zone::parse(ZONE), &rows).await;
    let resolver = &bench.resolver;
    assert_eq!(
        resolver.mx(&domain("example.com")).await,
        Ok(MxAnswer::Records(vec![(5, domain("sink.example.com"))]))
    );
    assert_eq!(
        resolver.txt(&domain("example.com")).await,
        Ok(vec![]),
        "a listed name is answered from here alone"
    );
    assert_eq!(resolver.addresses("sink.example.com").await, Ok(ips(&["127.0.0.1"])));
    assert_eq!(resolver.mx(&domain("null.static.example")).await, Ok(MxAnswer::Null));
    assert_eq!(
        resolver.txt(&domain("a.b.demo.example")).await,
        Ok(vec![String::from("mitsuke=abc")])
    );
    assert_eq!(resolver.txt(&domain("b.demo.example")).await, Ok(vec![]), "a name between exists");
    assert_eq!(resolver.txt(&domain("c.demo.example")).await, Err(DnsError::NoSuchName));
    assert!(resolver.is_static(&domain("x.demo.example")) && !resolver.is_static(&domain("mx1.example.com")));
    assert_eq!(bench.server.asked(), [], "nobody was asked");
    assert_eq!(
        resolver.addresses("v4.example.com").await,
        Ok(ips(&["192.0.2.4"])),
        "other names are"
    );
    let answers = resolver.authoritative_txt(&domain("a.b.demo.example")).await.unwrap();
    assert_eq!(
        answers,
        [AuthoritativeAnswer {
            server: String::from("static"),
            addr: None,
            answer: Ok(vec![String::from("mitsuke=abc")]),
            ttl: 60
        }]
    );
}

#[test]
fn static_rows_report_all_problems() {
    let row = |name: &str, kind: &str, value: &str| StaticEntry {
        name: name.to_owned(),
        kind: kind.to_owned(),
        value: value.to_owned(),
        ttl: None,
    };
    let rows = [
        row("a..b", "A", "192.0.2.1"),
        row("ok.example", "A", "192.0.2.1"),
        row("a.example", "A", "2001:db8::1"),
        row("a.example", "MX", "mx.example"),
        row("a.example", "SRV", "x"),
    ];
    let problems = StaticZone::parse(&rows).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.row).collect::<Vec<_>>(), [1, 3, 4, 5]);
}

#[tokio::test]
async fn authoritative_servers_are_asked_directly() {
    let bench = bench().await;
    // Fills the cache, which must not be what answers.
    assert_eq!(
        bench.resolver.txt(&domain("example.com")).await,
        Ok(vec![String::from("v=spf1 -all")])
    );
    bench.server.change(|zone| {
        zone.add_with_ttl("example.com", 30, "TXT", "mitsuke=new");
    });
    let answers = bench.resolver.authoritative_txt(&domain("example.com")).await.unwrap();
    let port = bench.server.address().port();
    let servers: Vec<_> = answers
        .iter()
        .map(|answer| (answer.server.as_str(), answer.addr.map(|addr| addr.to_string())))
        .collect();
    let expect = [
        ("ns1.example.com", Some(format!("127.0.0.1:{port}"))),
        ("ns2.example.com", Some(format!("10.9.9.9:{port}"))),
        ("ns3.example.com", None),
    ];
    assert_eq!(servers, expect);
    assert_eq!(
        (&answers[0].answer, answers[0].ttl),
        (&Ok(vec![String::from("v=spf1 -all"), String::from("mitsuke=new")]), 30)
    );
    assert!(
        is_temp(&answers[1].answer),
        "a private address is not asked: {:?}",
        answers[1].answer
    );
    assert!(is_temp(&answers[2].answer), "a server without address: {:?}", answers[2].answer);
    let exchangers = bench.resolver.authoritative_mx(&domain("example.com")).await.unwrap();
    assert_eq!(
        exchangers[0].answer,
        Ok(vec![(10, domain("mx1.example.com")), (20, domain("mx2.example.com"))])
    );
}

#[tokio::test]
async fn authoritative_answers_are_judged() {
    let bench = bench().await;
    let ask = async |name: &str| {
        bench
            .resolver
            .authoritative_txt(&domain(name))
            .await
            .map(|mut answers| answers.remove(0).answer)
    };
    assert_eq!(
        ask("absent.example.com").await,
        Ok(Err(DnsError::NoSuchName)),
        "asked at the servers of the zone above"
    );
    assert_eq!(ask("v4.example.com").await, Ok(Ok(vec![])));
    assert_eq!(ask("lame.example").await, Ok(Ok(vec![String::from("told")])));
    bench.server.change(|zone| {
        zone.add("cut.example.com", "TXT", "by-tcp")
            .add("cut.example.com", "FAULT", "truncated");
        zone.add("silent.example.com", "FAULT", "silent");
    });
    assert_eq!(ask("cut.example.com").await, Ok(Ok(vec![String::from("by-tcp")])));
    let failure = ask("silent.example.com").await;
    assert!(is_temp(&failure), "finding its zone fails first: {failure:?}");
    let failure = ask("nowhere.test").await;
    assert!(is_temp(&failure), "nobody to ask: {failure:?}");
}

#[tokio::test]
async fn an_answer_of_a_server_that_is_not_authoritative_does_not_count() {
    let zone = "lame.example NS ns.lame.example\nns.lame.example A 127.0.0.1\ntext.lame.example TXT told\ntext.lame.example FAULT not-authoritative";
    let bench = bench_with(Zone::parse(zone), &[]).await;
    let answers = bench.resolver.authoritative_txt(&domain("text.lame.example")).await.unwrap();
    assert!(is_temp(&answers[0].answer), "{answers:?}");
}
