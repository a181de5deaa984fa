use super::*;
use crate::problem::ProblemKind;
use std::path::Path;

const FULL: &str = r#"
base = "mail.example"
hostname = "MX1.mail.example"
public_url = "https://console.mail.example/"
data_dir = "/var/lib/mitsuke"
store = "postgresql://mitsuke:secret@db/mitsuke"
blobs = "/mnt/blobs"
control_socket = "/run/mitsuke.sock"
delivering_addresses = ["192.0.2.1", "2001:db8::1"]

[[listeners]]
address = "0.0.0.0:25"
role = "mx"
proxy_networks = ["10.0.0.0/8"]

[[listeners]]
address = "[::]:8443"
role = "web"
tls = true

[tls]
certificate = "tls/cert.pem"
key = "tls/key.pem"
roots = ["tls/ca.pem"]
[[tls.files]]
certificate = "/a.pem"
key = "/b.pem"

[dns]
resolvers = ["127.0.0.1:5353", "192.0.2.53"]
authoritative_port = 5300
[[dns.static]]
name = "Demo.Example."
type = "mx"
value = "10 sink.demo.example"
[[dns.static]]
name = "demo.example"
type = "ZONE"

[net]
allowed_private = ["127.0.0.0/8", "10.1.2.3:2525", "[fd00::/8]:25"]
"#;

#[test]
fn an_empty_file_is_a_node_on_loopback() {
    let node = Node::from_toml("", Path::new("/here")).unwrap();
    assert_eq!(node.base.as_str(), "mitsuke.localhost");
    assert_eq!(node.data_dir, Path::new("/here/data"));
    assert_eq!(node.blobs, Path::new("/here/data/blobs"));
    assert_eq!(node.control_socket, Path::new("/here/data/control.sock"));
    assert_eq!(node.store, StoreChoice::Embedded);
    assert_eq!(node.public_url, "http://127.0.0.1:8026");
    assert_eq!(node.dns_authoritative_port, 53);
    assert!(
        node.listeners
            .iter()
            .all(|l| l.address.ip().is_loopback() && l.address.port() > 1024)
    );
    assert_eq!(node.listeners.len(), 5);
    assert!(node.allowed_private.is_empty() && node.tls.is_empty());
}

#[test]
fn a_full_file() {
    let node = Node::from_toml(FULL, Path::new("/etc/mitsuke")).unwrap();
    assert_eq!(node.hostname.as_str(), "mx1.mail.example");
    assert_eq!(node.public_url, "https://console.mail.example");
    assert_eq!(node.store, StoreChoice::Postgres("postgresql://mitsuke:secret@db/mitsuke".into()));
    assert_eq!(node.listeners[0].proxy_networks, ["10.0.0.0/8".parse::<IpNet>().unwrap()]);
    assert!(!node.listeners[0].tls && node.listeners[1].tls);
    assert_eq!(node.tls[0].certificate, Path::new("/etc/mitsuke/tls/cert.pem"));
    assert_eq!(node.tls[1].key, Path::new("/b.pem"));
    assert_eq!(node.tls_roots, [Path::new("/etc/mitsuke/tls/ca.pem")]);
    assert_eq!(
        node.dns_resolvers,
        ["127.0.0.1:5353".parse().unwrap(), "192.0.2.53:53".parse().unwrap()]
    );
    assert_eq!(
        node.dns_static[0],
        StaticRecord {
            name: "demo.example".into(),
            kind: "MX".into(),
            value: "10 sink.demo.example".into(),
            ttl: 60
        }
    );
    let allowed: Vec<_> = node.allowed_private.iter().map(|a| (a.network.to_string(), a.port)).collect();
    assert_eq!(
        allowed,
        [
            ("127.0.0.0/8".into(), None),
            ("10.1.2.3/32".into(), Some(2525)),
            ("fd00::/8".into(), Some(25))
        ]
    );
}

fn check(text: &str, expect: &[(&str, ProblemKind)]) {
    let got = Node::from_toml(text, Path::new("/here")).unwrap_err();
    let got: Vec<(&str, ProblemKind)> = got.iter().map(|p| (p.at.as_str(), p.kind)).collect();
    let expect: Vec<(String, ProblemKind)> = expect.iter().map(|(at, kind)| (format!("mitsuke.toml:{at}"), *kind)).collect();
    assert_eq!(
        got,
        expect.iter().map(|(at, kind)| (at.as_str(), *kind)).collect::<Vec<_>>(),
        "{text}"
    );
}

#[test]
fn problems_are_told_together_with_their_lines() {
    check(
        "base = \"a b\"\nnonsense = 1\n[[listeners]]\naddress = \"somewhere\"\nrole = \"mxx\"\n[dns]\nauthoritative_port = 99999\n",
        &[
            ("1: base", ProblemKind::Malformed),
            ("4: listeners[0].address", ProblemKind::Malformed),
            ("5: listeners[0].role", ProblemKind::Malformed),
            ("7: dns.authoritative_port", ProblemKind::OutOfRange),
            ("2: nonsense", ProblemKind::Unknown),
        ],
    );
}

#[test]
fn what_a_later_version_brings_is_refused() {
    check(
        "[dns]\nvalidating = [\"127.0.0.1\"]\n",
        &[("2: dns.validating", ProblemKind::NotAvailable)],
    );
    check(
        "[content]\norigin = \"mail.example\"\n",
        &[("2: content.origin", ProblemKind::NotAvailable)],
    );
    check(
        "[[listeners]]\naddress = \"127.0.0.1:9000\"\nrole = \"metrics\"\n",
        &[("3: listeners[0].role", ProblemKind::NotAvailable)],
    );
    check(
        "[[listeners]]\naddress = \"127.0.0.1:9000\"\nrole = \"api\"\nproxy_networks = [\"10.0.0.0/8\"]\n",
        &[("4: listeners[0].proxy_networks", ProblemKind::NotAvailable)],
    );
}

#[test]
fn contradictions() {
    let twice = "[[listeners]]\naddress = \"127.0.0.1:25\"\nrole = \"mx\"\n";
    check(&format!("{twice}{twice}"), &[("5: listeners[1].address", ProblemKind::Conflict)]);
    check(
        "[[listeners]]\naddress = \"127.0.0.1:25\"\nrole = \"mx\"\ntls = true\n",
        &[("4: listeners[0].tls", ProblemKind::Conflict)],
    );
    check(
        "[[listeners]]\nrole = \"mx\"\n",
        &[("1: listeners[0].address", ProblemKind::Missing)],
    );
    check(
        "[[listeners]]\naddress = \"127.0.0.1:25\"\n",
        &[("1: listeners[0].role", ProblemKind::Missing)],
    );
    check("[tls]\ncertificate = \"a\"\n", &[("2: tls", ProblemKind::Missing)]);
    check("listeners = []\n", &[("1: listeners", ProblemKind::OutOfRange)]);
    check(
        "[[dns.static]]\nname = \"a\"\ntype = \"A\"\nvalue = \"x\"\n",
        &[("4: dns.static[0].value", ProblemKind::Malformed)],
    );
    check(
        "[[dns.static]]\nname = \"a\"\ntype = \"CNAME\"\nvalue = \"b\"\n",
        &[("3: dns.static[0].type", ProblemKind::Malformed)],
    );
    check(
        &format!("control_socket = \"/{}\"\n", "x".repeat(120)),
        &[("1: control_socket", ProblemKind::OutOfRange)],
    );
    check("net = 1\n", &[("1: net", ProblemKind::Malformed)]);
}

#[test]
fn a_password_is_not_repeated() {
    let got = Node::from_toml("store = \"mysql://root:geheim@db\"\n", Path::new("/here")).unwrap_err();
    assert!(got.iter().all(|p| !p.to_string().contains("geheim")), "{got:?}");
}

#[test]
fn broken_toml_is_told_not_panicked_over() {
    for text in ["base = ", "[[listeners]\n", "a = \"x", "= 1", "[tls]\n[tls]\n", "base = \"\u{0}\""] {
        let got = Node::from_toml(text, Path::new("/here")).unwrap_err();
        assert!(
            got.iter().any(|p| p.at.contains("syntax") || p.at.contains("base")),
            "{text:?}: {got:?}"
        );
    }
    assert_eq!(
        Node::load(Path::new("/nowhere/mitsuke.toml")).unwrap_err()[0].kind,
        ProblemKind::Missing
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,300}") {
        drop(Node::from_toml(&text, Path::new("/here")));
    }

    #[test]
    fn no_cut_or_changed_file_makes_it_panic(at in 0..FULL.len(), with in proptest::prelude::any::<char>()) {
        let text: String = FULL.char_indices().map(|(i, c)| if i == at { with } else { c }).collect();
        drop(Node::from_toml(&text, Path::new("/here")));
        drop(Node::from_toml(FULL.get(..at).unwrap_or(""), Path::new("/here")));
    }
}

#[test]
fn problems_of_the_node_file_speak_both_languages() {
    use mail::text::Lang;
    let text =
        "base = \"a b\"\nlisteners = 1\ndelivering_addresses = [\"x\"]\nhostnam = \"x\"\ntls = {certificate = \"a\"}\nstore = \"x\"\n";
    let found = Node::from_toml(text, Path::new("/here")).unwrap_err();
    let told: Vec<_> = found.iter().map(|p| p.fixed(Lang::Ja).to_string()).collect();
    for expect in [
        "mitsuke.toml:1: base: ドメイン名を指定してください（指定された値: \"a b\"）。",
        "mitsuke.toml:2: listeners: セクション [[listeners]] の並びで指定してください。",
        "mitsuke.toml:3: delivering_addresses[0]: IP アドレスを指定してください。",
        "mitsuke.toml:4: hostnam: この設定は存在しません。綴りを確認してください。",
        "mitsuke.toml:5: tls: certificate と key は両方を指定してください。",
        "mitsuke.toml:6: store: embedded、または postgresql:// で始まるアドレスを指定してください。",
    ] {
        assert!(told.iter().any(|t| t == expect), "{expect}\n{told:#?}");
    }
    assert_eq!(found[0].text.to_string(), "a domain name, not \"a b\"");
    let none = Node::load(Path::new("/nowhere/mitsuke.toml")).unwrap_err();
    assert_eq!(none[0].text.to_string(), "cannot be read: no such file or folder");
    assert_eq!(
        none[0].text.render(Lang::Ja),
        "読み取れません: ファイルまたはフォルダーがありません。"
    );
}

/// The API carries keys: on the network it speaks TLS.
#[test]
fn the_api_is_not_in_clear_on_the_network() {
    let listener = |address: &str, role: &str, more: &str| format!("[[listeners]]\naddress = \"{address}\"\nrole = \"{role}\"\n{more}");
    for open in ["0.0.0.0:8443", "[::]:8443", "192.0.2.1:8443"] {
        check(&listener(open, "api", ""), &[("2: listeners[0].address", ProblemKind::Conflict)]);
        check(
            &listener(open, "api", "tls = false\n"),
            &[("2: listeners[0].address", ProblemKind::Conflict)],
        );
    }
    for fine in [
        listener("127.0.0.1:8443", "api", ""),
        listener("[::1]:8443", "api", ""),
        listener("0.0.0.0:8443", "api", "tls = true\n"),
        listener("0.0.0.0:8080", "web", ""),
    ] {
        assert!(Node::from_toml(&fine, Path::new("/here")).is_ok(), "{fine}");
    }
}
