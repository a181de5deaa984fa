//! The node file: every setting that one node is told before it has read anything else (domains-and-routing 1.4).

use config::node::ListenerRole;
use config::{Node, ProblemKind};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use system::{DOMAIN, Plan, TENANT, World, ask, assert_checked, assert_problem, assert_refused, message};
use testkit::client::{Client, pem_pair, raw_from};
use testkit::dns::Server as DnsServer;
use testkit::peer::{Peer, Script};
use testkit::zone::Zone;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is wrong with a node file: path and kind of each problem.
fn refused(text: &str) -> Vec<(String, ProblemKind)> {
    let problems = Node::from_toml(text, Path::new("/here")).expect_err(text);
    problems
        .into_iter()
        .map(|p| (p.at.rsplit(": ").next().unwrap_or_default().to_owned(), p.kind))
        .collect()
}

/// A next hop that says "later" to everyone.
fn later(world: &World) {
    world
        .peer
        .script(|s| drop(s.recipients.insert("u@a.example".into(), "450 4.2.0 later".into())));
}

/// Base, host name and public address stand in the banner, in EHLO to next hops, in Received, in service names and in references.
/// covers: domains/1.4/base-hostname-public-url
#[tokio::test]
async fn names_of_the_node() {
    let world = World::with(Plan {
        node: "public_url = \"https://console.mitsuke.example/\"".into(),
        ..Plan::default()
    })
    .await;
    let mut client = Client::connect(world.address(ListenerRole::Mx)).await.unwrap();
    assert!(client.greeting.starts_with("220 mx.mitsuke.example ESMTP"), "{}", client.greeting);
    client.hello("client.sender.example").await.unwrap();
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], &message("names"))
        .await
        .unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    let taken = world.peer.wait(1).await;
    assert_eq!(taken[0].hello, "mx.mitsuke.example");
    assert!(String::from_utf8_lossy(&taken[0].data).contains("by mx.mitsuke.example"));
    let reply = client
        .deliver("s@sender.example", &["u@stranger.example"], &message("refused"))
        .await
        .unwrap();
    assert_refused(&reply, "554 5.7.1 <u@stranger.example>: Recipient address rejected: NO-DOMAIN.");
    assert!(reply.contains(" https://console.mitsuke.example/r/"), "{reply}");
    let below = ask(
        &world.owner,
        "POST",
        "/tenants/alpha/domains",
        json!({"name": "sub.mitsuke.example"}),
    )
    .await;
    assert_checked(below, &[("name", "forbidden")]);
    world.stop().await;

    // Without a public address, the one of the web listener: the page of a refusal is there.
    let world = World::start().await;
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@stranger.example"], &message("refused"))
        .await
        .unwrap();
    world.refusal(&world.operator, &reply).await;
    let url = reply.rsplit(' ').next().unwrap();
    let (host, path) = url.split_at(url.find("/r/").unwrap());
    let web = mitsuke::client::Api::new(mitsuke::client::Door::Url {
        url: host.to_owned(),
        key: "none".into(),
    });
    let page = web.send(hyper::Method::GET, path, "text/html", Vec::new()).await.unwrap();
    assert!(String::from_utf8_lossy(&page).contains("NO-DOMAIN"), "{url}");
    world.stop().await;

    assert_eq!(
        refused("base = \"not a name\"\nhostname = \"-\"\npublic_url = \"ftp://x\"\n"),
        [
            ("base".into(), ProblemKind::Malformed),
            ("hostname".into(), ProblemKind::Malformed),
            ("public_url".into(), ProblemKind::Malformed)
        ]
    );
    assert_eq!(Node::from_toml("", Path::new("/here")).unwrap().base.as_str(), "mitsuke.localhost");
}

/// The embedded store lies in `data_dir`, large bodies in the folder of `blobs`; what is in them is there after a restart.
/// covers: domains/1.4/data-dir-store-blobs
#[tokio::test]
async fn folders_of_the_store() {
    let world = World::with(Plan {
        node: "blobs = \"large\"".into(),
        ..Plan::default()
    })
    .await;
    keeps(world, "large").await;
}

/// One line of the node file puts the same things into PostgreSQL.
/// covers: domains/1.4/data-dir-store-blobs
#[tokio::test]
async fn store_in_postgresql() {
    let postgres = testkit::postgres::Postgres::start().unwrap();
    let world = World::with(Plan {
        node: "blobs = \"large\"".into(),
        postgres: Some(postgres.url()),
        ..Plan::default()
    })
    .await;
    keeps(world, "large").await;
    for store in ["mysql://root:geheim@db", "sqlite", ""] {
        let problems = Node::from_toml(&format!("store = \"{store}\"\n"), Path::new("/here")).unwrap_err();
        assert_eq!(problems[0].kind, ProblemKind::Malformed, "{store}");
        assert!(!problems[0].to_string().contains("geheim"), "a password is not repeated");
    }
}

async fn keeps(mut world: World, blobs: &str) {
    later(&world);
    let mut sent = message("large");
    for n in 0..6_000 {
        sent.extend_from_slice(format!("line {n} of a message that is larger than 256 KB, for sure\r\n").as_bytes());
    }
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &sent)
        .await
        .unwrap();
    world.events(&reply, "deferred").await;
    let files = |folder: &Path| -> usize {
        let mut count = 0;
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path())
                } else {
                    count += 1
                }
            }
        }
        count
    };
    assert!(
        files(&world.folder.path().join(blobs)) >= 1,
        "the large body lies in the folder of `blobs`"
    );
    world.restart().await;
    world.peer.script(|s| s.recipients.clear());
    world.pass(Duration::from_secs(340)).await;
    let taken = world.peer.wait(1).await;
    assert!(taken[0].data.ends_with(&sent), "the same bytes after the restart");
    world.stop().await;
}

async fn read_line(stream: &mut tokio::net::TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// Each role does its own: mx takes strangers' mail, submission wants STARTTLS and a login, submissions speaks TLS at once, api a key, web
/// the public pages; a balancer of `proxy_networks` must say for whom it calls.
/// covers: domains/1.4/listeners
#[tokio::test]
async fn roles_of_listeners() {
    let balanced = "[[listeners]]\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\nproxy_networks = [\"127.0.0.8/32\"]\n";
    let world = World::with(Plan {
        edit: Some(Box::new(move |text| text.replace("[dns]", &format!("{balanced}\n[dns]")))),
        ..Plan::default()
    })
    .await;
    let mx = world.client().await;
    assert!(mx.greeting.contains("STARTTLS") && !mx.greeting.contains("AUTH"), "{}", mx.greeting);
    drop(mx);

    let mut submission = Client::connect(world.address(ListenerRole::Submission)).await.unwrap();
    let hello = submission.hello("client.example").await.unwrap();
    assert!(hello.contains("STARTTLS") && !hello.contains("AUTH"), "no log-in in clear: {hello}");
    assert_refused(
        &submission.say("MAIL FROM:<u@a.example>").await.unwrap(),
        "530 5.7.0 Must issue STARTTLS first: TLS-REQUIRED.",
    );
    let mut submission = submission.starttls(None).await.unwrap();
    assert!(submission.greeting.contains("AUTH PLAIN LOGIN"), "{}", submission.greeting);
    assert_refused(
        &submission.say("MAIL FROM:<u@a.example>").await.unwrap(),
        "530 5.7.0 Authentication required: AUTH-REQUIRED.",
    );

    let mut submissions = Client::connect_tls(world.address(ListenerRole::Submissions), None).await.unwrap();
    let hello = submissions.hello("client.example").await.unwrap();
    assert!(hello.contains("AUTH PLAIN LOGIN") && !hello.contains("STARTTLS"), "{hello}");

    let url = |role| format!("http://{}", world.address(role));
    let nobody = |role| {
        mitsuke::client::Api::new(mitsuke::client::Door::Url {
            url: url(role),
            key: "nonsense".into(),
        })
    };
    assert_problem(
        ask(&nobody(ListenerRole::Api), "GET", "/tenants", json!(null)).await,
        401,
        "unauthorized",
    );
    assert_problem(
        ask(&nobody(ListenerRole::Web), "GET", "/tenants", json!(null)).await,
        404,
        "not-found",
    );

    let door = world
        .server()
        .listeners
        .iter()
        .rfind(|(role, _)| *role == ListenerRole::Mx)
        .unwrap()
        .1;
    let mut call = raw_from("127.0.0.8".parse().unwrap(), door).await.unwrap();
    call.write_all(b"PROXY TCP4 127.0.3.77 127.0.0.1 40000 25\r\n").await.unwrap();
    assert!(read_line(&mut call).await.starts_with("220 "));
    call.write_all(b"HELO client.example\r\n").await.unwrap();
    read_line(&mut call).await;
    call.write_all(b"MAIL FROM:<s@sender.example>\r\n").await.unwrap();
    read_line(&mut call).await;
    call.write_all(b"RCPT TO:<u@nobody.example>\r\n").await.unwrap();
    let reply = read_line(&mut call).await.trim_end().to_owned();
    assert_refused(&reply, "554 5.7.1 <u@nobody.example>: Recipient address rejected: NO-DOMAIN.");
    world.refusal(&world.operator, &reply).await;
    let found = ask(&world.operator, "GET", "/tracking?client=127.0.3.77", json!(null))
        .await
        .unwrap();
    assert_eq!(found["items"][0]["events"][0]["client"], "127.0.3.77", "{found}");
    let mut silent = raw_from("127.0.0.8".parse().unwrap(), door).await.unwrap();
    silent.write_all(b"EHLO client.example\r\n").await.unwrap();
    assert!(
        !read_line(&mut silent).await.starts_with("220"),
        "a balancer without its header gets no session"
    );
    let mut direct = raw_from("127.0.0.9".parse().unwrap(), door).await.unwrap();
    assert!(read_line(&mut direct).await.starts_with("220 "), "others call as themselves");
    direct.write_all(b"PROXY TCP4 127.0.3.77 127.0.0.1 40000 25\r\n").await.unwrap();
    assert!(
        read_line(&mut direct).await.starts_with("500 "),
        "and cannot say that they are someone else"
    );
    world.stop().await;

    assert_eq!(
        refused("[[listeners]]\naddress = \"127.0.0.1:1\"\nrole = \"metrics\"\n"),
        [("listeners[0].role".into(), ProblemKind::NotAvailable)]
    );
    assert_eq!(
        refused("[[listeners]]\naddress = \"127.0.0.1:1\"\nrole = \"imap\"\n"),
        [("listeners[0].role".into(), ProblemKind::Malformed)]
    );
    let proxied = "[[listeners]]\naddress = \"127.0.0.1:1\"\nrole = \"api\"\nproxy_networks = [\"10.0.0.0/8\"]\n";
    assert_eq!(
        refused(proxied),
        [("listeners[0].proxy_networks".into(), ProblemKind::NotAvailable)]
    );
}

/// Connections to next hops come from the addresses listed, in turn; a route's own pool goes before them.
/// covers: domains/1.4/delivering-addresses
#[tokio::test]
async fn addresses_that_deliver() {
    let world = World::with(Plan {
        node: "delivering_addresses = [\"127.0.4.1\", \"127.0.4.2\", \"2001:db8::1\"]".into(),
        ..Plan::default()
    })
    .await;
    world
        .set_domain(json!({"inbound_servers": [{"host": "127.0.0.1", "port": world.peer.address.port(), "per_connection_max": 1}]}))
        .await
        .unwrap();
    for n in 0..4 {
        let reply = world
            .client()
            .await
            .deliver("s@sender.example", &["u@a.example"], &message(&format!("from {n}")))
            .await
            .unwrap();
        world.events(&reply, "delivered").await;
    }
    let from: std::collections::BTreeSet<String> = world.peer.wait(4).await.iter().map(|t| t.client.unwrap().to_string()).collect();
    assert_eq!(from.into_iter().collect::<Vec<_>>(), ["127.0.4.1", "127.0.4.2"]);
    assert_eq!(
        refused("delivering_addresses = [\"mail.example\"]\n"),
        [("delivering_addresses[0]".into(), ProblemKind::Malformed)]
    );
    world.stop().await;
}

/// Certificates come from files, are chosen by name, and new files are shown within seconds without a restart; without files one is made.
/// covers: domains/1.4/tls-certificate-tls-key
#[tokio::test]
async fn certificates_from_files() {
    let files = tempfile::tempdir().unwrap();
    let write = |names: &[&str]| {
        let (certificate, key) = pem_pair(names);
        std::fs::write(files.path().join("mx.key"), key).unwrap();
        std::fs::write(files.path().join("mx.crt"), &certificate).unwrap();
    };
    write(&["mx.mitsuke.example"]);
    let folder = files.path().display().to_string();
    let tls = format!("[tls]\ncertificate = \"{folder}/mx.crt\"\nkey = \"{folder}/mx.key\"\n");
    let world = World::with(Plan {
        node: tls,
        ..Plan::default()
    })
    .await;
    let shown = async || {
        let client = world.client().await.starttls(None).await.unwrap();
        client.server_certificate.unwrap()
    };
    let first = shown().await;
    assert_eq!(shown().await, first);
    write(&["renewed.mitsuke.example"]);
    world.pass(Duration::from_secs(10)).await;
    let mut second = Vec::new();
    world
        .soon("the new certificate is shown", async || {
            second = shown().await;
            second != first
        })
        .await;
    assert!(String::from_utf8_lossy(&second).contains("renewed.mitsuke.example"));
    // A broken file leaves the old one in force.
    std::fs::write(files.path().join("mx.crt"), "no certificate").unwrap();
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(shown().await, second);
    world.stop().await;

    let world = World::start().await;
    let made = world.client().await.starttls(None).await.unwrap().server_certificate.unwrap();
    assert!(
        String::from_utf8_lossy(&made).contains("mx.mitsuke.example"),
        "self-signed on the first run"
    );
    world.stop().await;
    assert_eq!(refused("[tls]\ncertificate = \"a\"\n"), [("tls".into(), ProblemKind::Missing)]);
}

/// The listed resolvers are asked, the next when one does not answer; without an answer mail waits instead of being refused.
/// covers: domains/1.4/dns-resolvers
#[tokio::test]
async fn resolvers() {
    let world = World::with(Plan {
        edit: Some(Box::new(|text| text.replace("resolvers = [", "resolvers = [\"127.0.0.1:1\", "))),
        ..Plan::default()
    })
    .await;
    assert!(world.dns.count("sender.example") == 0);
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message("second resolver"))
        .await
        .unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(world.dns.count("sender.example") > 0, "the second of the list was asked");
    world.dns.change(|zone| {
        zone.add("broken.example", "FAULT", "servfail");
    });
    let reply = world
        .client()
        .await
        .deliver("s@broken.example", &["u@a.example"], &message("no answer"))
        .await
        .unwrap();
    assert_refused(&reply, "451 4.4.3 <s@broken.example>: DNS lookup failed: DNS-TEMP.");
    world.stop().await;
    assert_eq!(
        refused("[dns]\nresolvers = [\"localhost\"]\n"),
        [("dns.resolvers[0]".into(), ProblemKind::Malformed)]
    );
}

/// The AD bit of a resolver is not looked at yet: a list of validating resolvers is refused.
/// refuses: domains/1.4/dns-validating
#[test]
fn validating_resolvers() {
    assert_eq!(
        refused("[dns]\nvalidating = [\"127.0.0.1\"]\n"),
        [("dns.validating".into(), ProblemKind::NotAvailable)]
    );
}

/// Authoritative servers are asked at their own port: the token that only they know proves the domain.
/// covers: domains/1.4/dns-authoritative-port
#[tokio::test]
async fn port_of_authoritative_servers() {
    let authoritative = DnsServer::start(Zone::new()).await;
    let port = authoritative.address().port();
    let edit = move |text: String| {
        let lines: Vec<String> = text
            .lines()
            .map(|l| {
                if l.starts_with("authoritative_port") {
                    format!("authoritative_port = {port}")
                } else {
                    l.to_owned()
                }
            })
            .collect();
        lines.join("\n")
    };
    let world = World::with(Plan {
        with_domain: false,
        edit: Some(Box::new(edit)),
        ..Plan::default()
    })
    .await;
    let owner = world.tenant(TENANT).await;
    let made = ask(&owner, "POST", "/tenants/alpha/domains", json!({"name": DOMAIN}))
        .await
        .unwrap();
    let token = made["txt_record"].as_str().unwrap().to_owned();
    world.dns.change(|zone| {
        zone.remove(DOMAIN)
            .add(DOMAIN, "NS", "ns.example.")
            .add(DOMAIN, "TXT", &format!("\"{token}\""));
    });
    let checked = ask(&owner, "POST", "/tenants/alpha/domains/a.example/check", json!({}))
        .await
        .unwrap();
    assert_eq!(
        checked["state"], "unverified",
        "what only the resolver says proves nothing: {}",
        checked["report"]
    );
    authoritative.change(|zone| {
        zone.add(DOMAIN, "TXT", &format!("\"{token}\""));
    });
    world.clock.advance(Duration::from_secs(11));
    let checked = ask(&owner, "POST", "/tenants/alpha/domains/a.example/check", json!({}))
        .await
        .unwrap();
    assert_eq!(
        (checked["state"].as_str(), checked["verified_by"].as_str()),
        (Some("verified"), Some("txt")),
        "{}",
        checked["report"]
    );
    assert!(authoritative.count(DOMAIN) > 0);
    world.stop().await;
    assert_eq!(Node::from_toml("", Path::new("/here")).unwrap().dns_authoritative_port, 53);
    assert_eq!(
        refused("[dns]\nauthoritative_port = 0\n"),
        [("dns.authoritative_port".into(), ProblemKind::OutOfRange)]
    );
}

/// The static zone answers before any resolver; below a ZONE what is not listed does not exist.
/// covers: domains/1.4/dns-static
#[tokio::test]
async fn static_zone() {
    let record =
        |name: &str, kind: &str, value: &str| format!("[[dns.static]]\nname = \"{name}\"\ntype = \"{kind}\"\nvalue = \"{value}\"\n");
    let zone = [
        record("demo.example", "ZONE", ""),
        record("demo.example", "MX", "10 sink.demo.example"),
        record("sink.demo.example", "A", "127.0.0.1"),
    ]
    .concat();
    let world = World::with(Plan {
        node: zone,
        ..Plan::default()
    })
    .await;
    world
        .set_domain(json!({"inbound_servers": [{"host": "sink.demo.example", "port": world.peer.address.port()}]}))
        .await
        .unwrap();
    let reply = world
        .client()
        .await
        .deliver("s@demo.example", &["u@a.example"], &message("static"))
        .await
        .unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    world.peer.wait(1).await;
    let reply = world
        .client()
        .await
        .deliver("s@other.demo.example", &["u@a.example"], &message("static"))
        .await
        .unwrap();
    assert_refused(
        &reply,
        "550 5.1.8 <s@other.demo.example>: Sender address rejected: Domain not found: SENDER-DOMAIN.",
    );
    let asked: Vec<String> = world
        .dns
        .asked()
        .into_iter()
        .map(|a| a.name)
        .filter(|n| n.ends_with("demo.example"))
        .collect();
    assert!(asked.is_empty(), "no resolver was asked: {asked:?}");
    world.stop().await;
    assert_eq!(
        refused(&record("x.example", "CNAME", "y.example")),
        [("dns.static[0].type".into(), ProblemKind::Malformed)]
    );
    assert_eq!(
        refused(&record("x.example", "A", "::1")),
        [("dns.static[0].value".into(), ProblemKind::Malformed)]
    );
}

/// Loopback and private targets need a line of the node file, for a network and, if wanted, one port; some targets no line opens.
/// covers: domains/1.4/net-allowed-private
#[tokio::test]
async fn private_networks() {
    let open = Peer::start(Script::default()).await;
    let port = open.address.port();
    let edit = move |text: String| {
        let (before, _) = text.split_once("allowed_private = ").unwrap();
        let dns_port = before
            .split("authoritative_port = ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned();
        format!("{before}allowed_private = [\"127.0.0.1:{port}\", \"127.0.0.1:{dns_port}\", \"10.0.0.0/8:2525\", \"169.254.0.0/16\"]\n")
    };
    let world = World::with(Plan {
        with_domain: false,
        edit: Some(Box::new(edit)),
        ..Plan::default()
    })
    .await;
    let owner = world.tenant(TENANT).await;
    world.domain(TENANT, &owner, DOMAIN, open.address).await;
    let save = async |host: &str, port: u16| {
        let row = json!({"settings": {"inbound_servers": [{"host": host, "port": port}]}});
        ask(&owner, "PATCH", "/tenants/alpha/domains/a.example", row).await
    };
    let own_port = world.address(ListenerRole::Mx).port();
    for (host, port) in [
        ("127.0.0.1", if port == 2525 { 2526 } else { 2525 }),
        ("127.0.0.2", port),
        ("10.1.2.3", 25),
        ("192.168.1.1", 25),
        ("[::1]", 25),
        ("0.0.0.0", 25),
        ("224.0.0.1", 25),
        ("169.254.169.254", 25),
        ("127.0.0.1", own_port),
    ] {
        let host = host.trim_matches(['[', ']']);
        assert_checked(save(host, port).await, &[("inbound_servers[0].host", "forbidden")]);
    }
    save("10.1.2.3", 2525).await.unwrap();
    save("127.0.0.1", port).await.unwrap();
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message("allowed"))
        .await
        .unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    open.wait(1).await;
    world.stop().await;
    assert!(Node::from_toml("", Path::new("/here")).unwrap().allowed_private.is_empty());
    assert_eq!(
        refused("[net]\nallowed_private = [\"somewhere\"]\n"),
        [("net.allowed_private[0]".into(), ProblemKind::Malformed)]
    );
}

/// Mail HTML is not served yet: a host name for it is refused.
/// refuses: domains/1.4/content-origin
#[test]
fn origin_of_mail_html() {
    assert_eq!(
        refused("[content]\norigin = \"mail.example\"\n"),
        [("content.origin".into(), ProblemKind::NotAvailable)]
    );
}
