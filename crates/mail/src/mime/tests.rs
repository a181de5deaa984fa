use super::*;
use base64::Engine as _;
use proptest::prelude::*;
use sha2::Digest as _;

const WATCH: &[&str] = &["X-Mitsuke-Proof", "X-MS-Exchange-CrossTenant-Id"];

fn scan_in(octets: &[u8], size: usize, limits: Limits) -> Facts {
    let mut scanner = Scanner::new(limits, WATCH);
    octets.chunks(size.max(1)).for_each(|chunk| scanner.push(chunk));
    scanner.finish()
}

/// The facts, which must be the same however the octets come.
fn scan_with(octets: &[u8], limits: Limits) -> Facts {
    let facts = scan_in(octets, usize::MAX, limits);
    for size in [1, 2, 7, 64, 1_000] {
        assert_eq!(scan_in(octets, size, limits), facts, "in pieces of {size}");
    }
    facts
}

fn scan(octets: &[u8]) -> Facts {
    scan_with(octets, Limits::default())
}

/// Lines by CRLF, octets of Latin-1 letters as they are.
fn message(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn sha256(octets: &[u8]) -> String {
    crate::BlobId(sha2::Sha256::digest(octets).into()).to_string()
}

fn base64(octets: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(octets)
}

#[test]
fn the_header_section() {
    let facts = scan(&message(
        "Received: from a by b; x\nReceived: from c by d; y\nMessage-ID: <1@a.example>\nFrom: =?utf-8?B?5bGx55Sw?= <Taro@A.example>, b@見附.example\n\
         Sender: s@a.example\nReply-To: r@a.example\nTo: x@b.example,\n y@b.example\nCc: z@c.example\nBcc: no@c.example\n\
         Subject: =?utf-8?B?5Lu2?=\n =?utf-8?B?5ZCN?=\nDate: Tue, 24 Nov 2026 05:46:04 +0900\nAuto-Submitted: Auto-Replied; x=y\n\nbody\n",
    ));
    assert_eq!(facts.message_id.as_deref(), Some("<1@a.example>"));
    assert_eq!(facts.from, ["Taro@A.example", "b@見附.example"]);
    assert_eq!(
        facts.from_domains.iter().map(crate::Domain::as_str).collect::<Vec<_>>(),
        ["a.example", "xn--nw2ao4w.example"]
    );
    assert_eq!((facts.from_fields, facts.received_count, facts.fields), (1, 2, 12));
    assert_eq!(facts.sender.as_deref(), Some("s@a.example"));
    assert_eq!(facts.reply_to, ["r@a.example"]);
    assert_eq!(facts.to, ["x@b.example", "y@b.example", "z@c.example"]);
    assert_eq!(facts.subject.as_deref(), Some("件名"));
    assert_eq!(facts.date.as_deref(), Some("Tue, 24 Nov 2026 05:46:04 +0900"));
    assert_eq!(facts.auto_submitted.as_deref(), Some("auto-replied"));
    assert!(facts.header_has_utf8 && facts.header_is_utf8 && !facts.has_eight_bit);
    assert_eq!(facts.problems, []);
    assert!(facts.header.ends_with(b"x=y\r\n"));
}

#[test]
fn raw_japanese_header_fields() {
    let text = "From: 山田 <y@a.example>\nSubject: 見積書のご送付\n\n本文です\n";
    for encoding in [encoding_rs::SHIFT_JIS, encoding_rs::EUC_JP] {
        let facts = scan(&encoding.encode(&text.replace('\n', "\r\n")).0);
        assert_eq!(facts.subject.as_deref(), Some("見積書のご送付"), "{}", encoding.name());
        assert_eq!(facts.from, ["y@a.example"]);
        assert!(facts.header_has_utf8 && !facts.header_is_utf8 && facts.has_eight_bit);
    }
    let facts = scan(&encoding_rs::ISO_2022_JP.encode(&text.replace('\n', "\r\n")).0);
    assert_eq!(facts.subject.as_deref(), Some("見積書のご送付"));
    assert!(!facts.header_has_utf8 && !facts.has_eight_bit);
}

#[test]
fn watched_fields_are_told_with_their_places() {
    let octets = message(
        "Subject: x\nX-Mitsuke-Proof: abc\n  def\nTo: a@b.example\nx-mitsuke-proof : second\nX-MS-Exchange-CrossTenant-Id:tenant\n\nX-Mitsuke-Proof: body\n",
    );
    let facts = scan(&octets);
    let got: Vec<_> = facts.watched.iter().map(|w| (w.name, w.value.as_str())).collect();
    assert_eq!(got, [(WATCH[0], "abc  def"), (WATCH[0], "second"), (WATCH[1], "tenant")]);
    let mut rest = octets.clone();
    for w in facts.watched.iter().rev() {
        rest.drain(usize::try_from(w.from).unwrap()..usize::try_from(w.to).unwrap());
    }
    assert_eq!(rest, message("Subject: x\nTo: a@b.example\n\nX-Mitsuke-Proof: body\n"));
}

#[test]
fn who_it_is_from_must_be_readable() {
    let check = |header: &str, fields: usize, readable: bool| {
        let facts = scan(&message(&format!("{header}\n\nx")));
        assert_eq!(
            (facts.from_fields, !facts.problems.contains(&Problem::FromUnreadable)),
            (fields, readable),
            "{header}"
        );
    };
    check("From: a@b.example", 1, true);
    check("From: a@b.example\nFrom: c@d.example", 2, true);
    check("From: nobody", 1, false);
    check("From: a@b.example, c@-bad-", 1, false);
    check("From:", 1, false);
    check("Subject: x", 0, true);
}

#[test]
fn attachments() {
    let pdf = b"%PDF-1.4\nx\n";
    let facts = scan(&message(&format!(
        "Content-Type: multipart/mixed; boundary=\"b\"\n\npreamble http://preamble.example/\n--b\n\n\
         see http://a.example/x\n--b\nContent-Type: application/pdf; name=\"=?utf-8?B?6KaL56mN?=.pdf\"\nContent-Transfer-Encoding: base64\n\n{}\n{}\n\
         --b\nContent-Type: text/plain\nContent-Disposition: attachment; filename*=utf-8''%E8%A6%8B.txt\nContent-Transfer-Encoding: quoted-printable\n\n\
         a=3Db=\nc  \nhttp=\n://qp.example/\n\n--b--\nepilogue http://epilogue.example/\n",
        &base64(pdf).get(..8).unwrap(),
        &base64(pdf).get(8..).unwrap()
    )));
    let got: Vec<_> = facts
        .attachments
        .iter()
        .map(|a| (a.name.as_str(), a.declared_type.as_str(), a.true_type, a.size))
        .collect();
    let text = b"a=bc\r\nhttp://qp.example/\r\n";
    assert_eq!(
        got,
        [
            ("見積.pdf", "application/pdf", "application/pdf", 11),
            ("見.txt", "text/plain", "text/plain", text.len() as u64)
        ]
    );
    assert_eq!(facts.attachments[0].sha256, sha256(pdf));
    assert_eq!(facts.attachments[1].sha256, sha256(text));
    assert_eq!(facts.url_hosts, ["a.example", "qp.example"]);
    assert_eq!((facts.parts, facts.problems.as_slice()), (3, [].as_slice()));
}

#[test]
fn names_as_programs_write_them() {
    let sjis = |text: &str| encoding_rs::SHIFT_JIS.encode(text).0.into_owned();
    let jis = |text: &str| encoding_rs::ISO_2022_JP.encode(text).0.into_owned();
    let check = |fields: &[u8], expect: &str| {
        let octets = [fields, b"\r\nContent-Type: application/octet-stream\r\n\r\nx"].concat();
        let facts = scan(&octets);
        assert_eq!(facts.attachments[0].name, expect, "{}", String::from_utf8_lossy(fields));
    };
    let disposition = |name: &[u8]| [b"Content-Disposition: attachment; filename=\"".as_slice(), name, b"\""].concat();
    check(&disposition(&sjis("表示一覧①ﾃｽﾄ.xls")), "表示一覧①ﾃｽﾄ.xls");
    check(&disposition(&jis("あいう、えお.txt")), "あいう、えお.txt");
    check(&disposition("見積.pdf".as_bytes()), "見積.pdf");
    check(
        &disposition(format!("=?ISO-2022-JP?B?{}?=", base64(&jis("添付ファイル.txt"))).as_bytes()),
        "添付ファイル.txt",
    );
    check(
        &disposition(format!("=?cp932?B?{}?= =?cp932?B?{}?=", base64(b"\x93\xfa\x96"), base64(b"\x7b.txt")).as_bytes()),
        "日本.txt",
    );
    check(
        b"Content-Disposition: attachment; filename*0*=cp932''%93%FA; filename*1*=%96%7B; filename*2=.txt",
        "日本.txt",
    );
    check(b"Content-Disposition: attachment; filename=\"a\x07b\r\n c.txt\"", "a b c.txt");
}

#[test]
fn containers_within_each_other() {
    let facts = scan(&message(
        "Content-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: multipart/alternative; boundary=outer-inner\n\n\
         --outer-inner\nContent-Type: text/html\n\n<a href='https://h.example/'>x</a>\n--outer-inner--\n--outer\n\
         Content-Type: message/rfc822\nContent-Disposition: attachment; filename=fwd.eml\n\n\
         Subject: inner\nContent-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: image/png; name=i.png\n\n\u{89}x\n--m--\n\n--outer--\n",
    ));
    let got: Vec<_> = facts.attachments.iter().map(|a| (a.name.as_str(), a.true_type)).collect();
    assert_eq!(got, [("i.png", "text/plain"), ("fwd.eml", "message/rfc822")]);
    let inner = message(
        "Subject: inner\nContent-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: image/png; name=i.png\n\n\u{89}x\n--m--\n",
    );
    assert_eq!(
        (facts.attachments[1].size, facts.attachments[1].sha256.as_str()),
        (inner.len() as u64, sha256(&inner).as_str())
    );
    assert_eq!(facts.url_hosts, ["h.example"]);
    assert_eq!((facts.subject, facts.parts, facts.has_eight_bit), (None, 4, true));
}

#[test]
fn broken_structure_hides_nothing() {
    let check = |body: &str, expect: &[&str], problems: &[Problem]| {
        let facts = scan(&message(&format!("Content-Type: multipart/mixed; boundary=b\n\n{body}")));
        assert_eq!(
            facts.attachments.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(),
            expect,
            "{body}"
        );
        assert_eq!(facts.problems, problems, "{body}");
    };
    let part = |name: &str| format!("--b\nContent-Type: a/b; name={name}\n\nx\n");
    check(&format!("{}{}--b--\n", part("one"), part("two")), &["one", "two"], &[]);
    check(&format!("{}{}", part("one"), part("two")), &["one", "two"], &[Problem::Unclosed]);
    check(&format!("{}--b--\n{}", part("one"), part("behind")), &["one", "behind"], &[]);
    check(&format!("{}--b--", part("one")), &["one"], &[]);
    check(
        &format!("{}--b -- \n--b  \nContent-Type: a/b; name=two\n\n", part("one")),
        &["one", "two"],
        &[Problem::Unclosed],
    );
    check("--b\nContent-Type: a/b; name=only-a-header\n--b--\n", &["only-a-header"], &[]);
    check(
        &format!("--b\nContent-Type: multipart/mixed\n\n--x\n{}--b--", part("one")),
        &["one"],
        &[Problem::NoBoundary],
    );
    // A container with a transfer encoding is read as it stands.
    let encoded = message(
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\nContent-Type: a/b; name=x\n\n--b--\n",
    );
    assert_eq!(scan(&encoded).problems, [Problem::EncodedContainer]);
    // No body at all.
    assert_eq!(scan(b"Subject: x\r\n").problems, [Problem::NoBody]);
    assert_eq!(scan(b"").problems, [Problem::NoBody]);
    assert_eq!(scan(b"junk line\r\nSubject: x\r\n\r\n").problems, [Problem::HeaderJunk]);
    // Bare LF, as files have it.
    assert_eq!(scan(b"Subject: x\nContent-Type: a/b; name=n\n\nxyz").attachments[0].size, 3);
}

#[test]
fn limits_hold() {
    let limits = Limits {
        header_bytes_max: 200,
        fields_max: 5,
        parts_max: 3,
        depth_max: 2,
    };
    let check = |text: &str, expect: &[Problem]| {
        let facts = scan_with(&message(text), limits);
        assert_eq!(facts.problems, expect, "{text}");
        assert_eq!(facts.is_over_limit(), !expect.is_empty());
        facts
    };
    let large = check(
        &format!("Subject: x\nX: {}\nTo: a@b.example\n\nhttp://seen.example\n", "a".repeat(300)),
        &[Problem::HeaderTooLarge],
    );
    assert_eq!(
        (large.url_hosts.as_slice(), large.to.len()),
        (["seen.example".to_owned()].as_slice(), 0)
    );
    assert_eq!(
        check("A: 1\nB: 2\nC: 3\nD: 4\nE: 5\nF: 6\n\nx", &[Problem::TooManyFields]).fields,
        5
    );
    let parts = "--b\n\n1\n".repeat(5);
    assert_eq!(
        check(
            &format!("Content-Type: multipart/mixed; boundary=b\n\n{parts}--b--\n"),
            &[Problem::TooManyParts]
        )
        .parts,
        3
    );
    let nest = |b: &str| format!("Content-Type: multipart/mixed; boundary={b}\n\n--{b}\n");
    check(
        &format!(
            "{}{}{}Content-Type: a/b; name=x\n\n--c--\n--b--\n--a--\n",
            nest("a"),
            nest("b"),
            nest("c")
        ),
        &[Problem::TooDeep, Problem::Unclosed][..1],
    );
    let part_header = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nX: {}\n\nx\n--b--\n",
        "a\n b".repeat(20_000)
    );
    check(&part_header, &[Problem::PartHeaderTooLarge]);
}

#[test]
fn very_long_lines_are_read_in_pieces() {
    let data = vec![b'A'; 300_000];
    let facts = scan_in(
        &[
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            base64(&data).as_bytes(),
            b"\r\n--b--",
        ]
        .concat(),
        5_000,
        Limits::default(),
    );
    assert_eq!(
        (facts.attachments[0].size, facts.attachments[0].sha256.as_str()),
        (300_000, sha256(&data).as_str())
    );
}

#[test]
fn text_in_utf_16_is_searched_too() {
    let wide: Vec<u8> = "see https://wide.example/x".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let octets = format!(
        "Content-Type: text/plain; charset=UTF-16LE\nContent-Transfer-Encoding: base64\n\n{}\n",
        base64(&wide)
    );
    assert_eq!(scan(&message(&octets)).url_hosts, ["wide.example"]);
}

/// Text that looks like a message often enough to reach every state.
fn mail_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("\r\n"),
        Just("\n"),
        Just("\r\n\r\n"),
        Just("--b"),
        Just("--b--"),
        Just("--c"),
        Just("--"),
        Just(" "),
        Just("="),
        Just("=3D"),
        Just("=\r\n"),
        Just("Content-Type: multipart/mixed; boundary=b\r\n"),
        Just("Content-Type: multipart/digest; boundary=\"c\"\r\n"),
        Just("Content-Type: message/rfc822\r\n"),
        Just("Content-Transfer-Encoding: base64\r\n"),
        Just("Content-Transfer-Encoding: quoted-printable\r\n"),
        Just("Content-Disposition: attachment; filename=x\r\n"),
        Just("Content-Type: text/html; charset=utf-16\r\n"),
        Just("From: a@b.example\r\n"),
        Just("X-Mitsuke-Proof: x\r\n y\r\n"),
        Just("http"),
        Just("https://h.example/"),
        Just("://user@x.example:80"),
        Just("QUJD"),
        Just("=?utf-8?B?"),
        Just("?="),
        Just("日本"),
        Just("\0"),
        Just("\r"),
    ];
    let raw = proptest::collection::vec(any::<u8>(), 0..6);
    proptest::collection::vec(prop_oneof![9 => word.prop_map(|w| w.as_bytes().to_vec()), 1 => raw], 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn facts_do_not_depend_on_the_split(octets in mail_like(), sizes in proptest::collection::vec(1usize..40, 1..20)) {
        let limits = Limits { parts_max: 8, depth_max: 3, ..Limits::default() };
        let whole = scan_in(&octets, usize::MAX, limits);
        let mut scanner = Scanner::new(limits, WATCH);
        let mut rest = octets.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            scanner.push(piece);
            rest = after;
        }
        prop_assert_eq!(&scanner.finish(), &whole);
        prop_assert_eq!(whole.size, octets.len() as u64);
        for w in &whole.watched {
            let field = octets.get(usize::try_from(w.from).unwrap()..usize::try_from(w.to).unwrap()).unwrap();
            prop_assert!(field.get(..w.name.len()).unwrap().eq_ignore_ascii_case(w.name.as_bytes()));
        }
    }
}
