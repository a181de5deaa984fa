use super::*;
use TargetKind::{Broadcast, LinkLocal, Loopback, Metadata, Multicast, OwnListener, Private, Unspecified};

fn guard(own: &[&str], allowed: &[&str]) -> Guard {
    Guard::new(
        own.iter().map(|text| text.parse().unwrap()).collect(),
        allowed.iter().map(|text| text.parse().unwrap()).collect(),
    )
}

fn check(guard: &Guard, target: &str, expect: Option<TargetKind>) {
    let target: SocketAddr = target.parse().unwrap();
    assert_eq!(guard.check(target).err().map(|forbidden| forbidden.kind), expect, "{target}");
}

#[test]
fn nothing_allowed() {
    let guard = guard(&[], &[]);
    let check = |target, expect| check(&guard, target, expect);
    check("192.0.2.1:25", None);
    check("[2001:db8::1]:25", None);
    check("0.0.0.0:25", Some(Unspecified));
    check("0.1.2.3:25", Some(Unspecified));
    check("[::]:25", Some(Unspecified));
    check("[::ffff:0.0.0.0]:25", Some(Unspecified));
    check("224.0.0.1:25", Some(Multicast));
    check("239.255.255.255:25", Some(Multicast));
    check("[ff02::1]:25", Some(Multicast));
    check("255.255.255.255:25", Some(Broadcast));
    check("127.0.0.1:25", Some(Loopback));
    check("127.255.0.9:25", Some(Loopback));
    check("[::1]:25", Some(Loopback));
    check("[::ffff:127.0.0.1]:25", Some(Loopback));
    check("[::127.0.0.1]:25", Some(Loopback));
    check("169.254.1.1:25", Some(LinkLocal));
    check("[fe80::1]:25", Some(LinkLocal));
    check("[febf::1]:25", Some(LinkLocal));
    check("10.0.0.1:25", Some(Private));
    check("172.16.0.1:25", Some(Private));
    check("172.32.0.1:25", None);
    check("192.168.255.1:25", Some(Private));
    check("100.64.0.1:25", Some(Private));
    check("100.127.255.255:25", Some(Private));
    check("100.128.0.1:25", None);
    check("[fd12::1]:25", Some(Private));
    check("[fec0::1]:25", Some(Private));
    check("[::ffff:10.0.0.1]:25", Some(Private));
    check("[64:ff9b::10.0.0.1]:25", Some(Private));
    check("[64:ff9b::7f00:1]:25", Some(Loopback));
    check("[64:ff9b::192.0.2.1]:25", None);
    check("[64:ff9b:1::192.0.2.1]:25", Some(Private));
    check("[2002:0a00:0001::1]:25", Some(Private));
    check("[2002:c000:0201::1]:25", None);
}

#[test]
fn metadata_is_never_allowed() {
    let guard = guard(&[], &["0.0.0.0/0", "::/0"]);
    let check = |target, expect| check(&guard, target, expect);
    check("169.254.169.254:80", Some(Metadata));
    check("100.100.100.200:80", Some(Metadata));
    check("[fd00:ec2::254]:80", Some(Metadata));
    check("[::ffff:169.254.169.254]:80", Some(Metadata));
    check("[64:ff9b::169.254.169.254]:80", Some(Metadata));
    check("0.0.0.0:25", Some(Unspecified));
    check("255.255.255.255:25", Some(Broadcast));
    check("[ff02::1]:25", Some(Multicast));
    check("127.0.0.1:25", None);
    check("169.254.1.1:25", None);
    check("10.0.0.1:25", None);
    check("[fd00::1]:25", None);
}

#[test]
fn allowed_rows_name_networks_and_ports() {
    let guard = guard(&[], &["127.0.0.0/8", "10.1.0.0/16:2525", "[fd00::/8]:25", "::1"]);
    let check = |target, expect| check(&guard, target, expect);
    check("127.0.0.1:1", None);
    check("[::ffff:127.0.0.1]:1", None);
    check("[64:ff9b::127.0.0.1]:1", None);
    check("[::1]:9", None);
    check("10.1.2.3:2525", None);
    check("10.1.2.3:25", Some(Private));
    check("10.2.2.3:2525", Some(Private));
    check("[fd00::1]:25", None);
    check("[fd00::1]:26", Some(Private));
    check("192.168.0.1:25", Some(Private));
}

#[test]
fn own_listeners_are_never_allowed() {
    let guard = guard(
        &["127.0.0.1:2525", "0.0.0.0:2526", "[::]:2527", "192.0.2.7:25"],
        &["127.0.0.0/8", "::1/128"],
    );
    let check = |target, expect| check(&guard, target, expect);
    check("127.0.0.1:2525", Some(OwnListener));
    check("[::ffff:127.0.0.1]:2525", Some(OwnListener));
    check("[64:ff9b::127.0.0.1]:2525", Some(OwnListener));
    check("127.0.0.2:2525", None);
    check("127.0.0.2:2526", Some(OwnListener));
    check("[::1]:2526", Some(OwnListener));
    check("127.0.0.2:2527", Some(OwnListener));
    check("192.0.2.7:25", Some(OwnListener));
    check("192.0.2.7:26", None);
    check("192.0.2.9:2526", None);
}

#[test]
fn rows_are_read_and_written() {
    let check = |text: &str, expect: Option<&str>| {
        assert_eq!(
            text.parse::<AllowedNetwork>().ok().map(|row| row.to_string()).as_deref(),
            expect,
            "{text}"
        )
    };
    check("10.0.0.0/8", Some("10.0.0.0/8"));
    check("10.1.2.3/8", Some("10.0.0.0/8"));
    check("10.1.2.3:25", Some("10.1.2.3/32:25"));
    check("10.0.0.0/8:25", Some("10.0.0.0/8:25"));
    check("[fd00::/8]:25", Some("[fd00::/8]:25"));
    check("[fd00::/8]", Some("fd00::/8"));
    check("fd00::1", Some("fd00::1/128"));
    check("10.0.0.0/8:0", None);
    check("10.0.0.0/8:65536", None);
    check("[fd00::/8]25", None);
    check("example.com", None);
    check("", None);
}

#[tokio::test]
async fn connects_where_it_may() {
    let listener = crate::listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = listener.local_addr().unwrap();
    let clock = Clock::system();
    let wait = Duration::from_secs(10);
    let refused = guard(&[], &[]).connect(target, None, wait, &clock).await;
    assert!(matches!(refused, Err(ConnectError::Forbidden(Forbidden { kind: Loopback, .. }))));
    let allowing = guard(&[], &["127.0.0.0/8"]);
    let stream = allowing
        .connect(target, Some("127.0.0.3".parse().unwrap()), wait, &clock)
        .await
        .unwrap();
    assert!(stream.nodelay().unwrap());
    assert_eq!(stream.local_addr().unwrap().ip(), "127.0.0.3".parse::<IpAddr>().unwrap());
    drop(listener);
    assert!(matches!(
        allowing.connect(target, None, wait, &clock).await,
        Err(ConnectError::Io { .. })
    ));
}
