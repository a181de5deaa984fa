use super::*;
use proptest::prelude::*;

fn sjis(text: &str) -> Vec<u8> {
    encoding_rs::SHIFT_JIS.encode(text).0.into_owned()
}

fn jis(text: &str) -> Vec<u8> {
    encoding_rs::ISO_2022_JP.encode(text).0.into_owned()
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(octets)
}

#[test]
fn fields_and_their_places() {
    let section = b"From x@y Mon Jan 1 12:00:00 2026\r\nSubject: a\r\n b\r\n\tc\r\njunk\r\nX-Empty:\r\nTo : d\nLast: e\r\n\r\nBody: no\r\n";
    let mut iterator = fields(section);
    let all: Vec<_> = iterator.by_ref().collect();
    let names: Vec<_> = all.iter().map(|f| String::from_utf8_lossy(f.name).into_owned()).collect();
    assert_eq!(names, ["Subject", "X-Empty", "To", "Last"]);
    assert!(iterator.has_junk());
    assert_eq!(all[0].unfolded().as_ref(), b"a b\tc");
    assert_eq!(&section[all[0].from..all[0].to], b"Subject: a\r\n b\r\n\tc\r\n");
    assert_eq!(&section[all[2].from..all[2].to], b"To : d\n");
    assert!(find(section, "body").is_none());
    assert!(find(section, "LAST").is_some());
}

#[test]
fn values_are_unfolded_into_one_line() {
    let check = |raw: &[u8], expect: &[u8]| assert_eq!(unfold(raw).as_ref(), expect, "{raw:?}");
    check(b" a\r\n b ", b"a b");
    check(b"a\n b", b"a b");
    check(b"a\rb\0c", b"a b c");
    check(b"", b"");
}

#[test]
fn encoded_words() {
    let check = |raw: &[u8], expect: &str| assert_eq!(decode_text(raw), expect, "{}", String::from_utf8_lossy(raw));
    check(b"plain", "plain");
    check(b"=?utf-8?B?5Lu25ZCN?= x", "件名 x");
    check(b"=?UTF-8?q?caf=C3=A9_au?= lait", "café au lait");
    check(b"=?utf-8*ja?B?5Lu25ZCN?=", "件名");
    check(b"=?utf-8?Q?a?= =?utf-8?Q?b?=\r\n =?utf-8?Q?c?= d", "abc d");
    // A character torn between two words, and words without space between them.
    check(b"=?utf-8?B?5Lu2?= =?utf-8?B?5ZA=?= =?utf-8?B?jQ==?=", "件名");
    check(b"=?utf-8?B?5Lu2?==?utf-8?B?5ZCN?=", "件名");
    check(b"[ML:=?utf-8?B?5Lu25ZCN?=]", "[ML:件名]");
    // A word broken by folding, and spaces in Q.
    check(b"=?utf-8?B?5Lu2\r\n 5ZCN?=", "件名");
    check(b"=?utf-8?Q?a b?=", "a b");
    check(b"=?utf-8?Q?=E4=BB=B6?=", "件");
    // What is none stays.
    check(b"=?utf-8?X?abc?=", "=?utf-8?X?abc?=");
    check(b"=?utf-8?B?abc", "=?utf-8?B?abc");
    check(b"a =? b", "a =? b");
    check(b"=?x-unknown?B?5Lu25ZCN?=", "件名");
    // A decoded line end is none.
    check(b"=?utf-8?Q?a=0D=0ABcc:_x?=", "a  Bcc: x");
    check(&sjis("生の件名です"), "生の件名です");
    check(&jis("生の件名です"), "生の件名です");
    check("RE: 生の件名 =?utf-8?B?5Lu25ZCN?=".as_bytes(), "RE: 生の件名 件名");
}

#[test]
fn japanese_words_as_old_programs_write_them() {
    let word = |octets: &[u8]| format!("=?ISO-2022-JP?B?{}?=", base64(octets));
    let open = |text: &str| jis(text).strip_suffix(b"\x1b(B").unwrap().to_vec();
    let check = |raw: &str, expect: &str| assert_eq!(decode_text(raw.as_bytes()), expect, "{raw}");
    check(&word(&jis("見積書の件")), "見積書の件");
    check(&word(&open("見積書の件")), "見積書の件");
    check(&format!("{} {}", word(&open("見積書")), word(&open("の件"))), "見積書の件");
    check(&format!("{} plain", word(&open("見積書"))), "見積書 plain");
    // Cut after so many octets, in the middle of a character.
    let (front, back) = (
        jis("見積書の件").get(..8).unwrap().to_vec(),
        jis("見積書の件").get(8..).unwrap().to_vec(),
    );
    check(&format!("{}\r\n {}", word(&front), word(&back)), "見積書の件");
    check(&word(b"\xb6\xc0\xb6\xc5"), "ｶﾀｶﾅ");
    check(&format!("=?Shift_JIS?B?{}?=", base64(&sjis("髙橋①㈱"))), "髙橋①㈱");
    check(&format!("=?cp932?B?{}?=", base64(&sjis("～波ダッシュ"))), "～波ダッシュ");
}

#[test]
fn parameters() {
    let check = |raw: &[u8], name: &str, expect: Option<&str>| {
        assert_eq!(
            Parameterized::parse(raw).text(name).as_deref(),
            expect,
            "{}",
            String::from_utf8_lossy(raw)
        );
    };
    check(b"text/plain; charset=utf-8", "charset", Some("utf-8"));
    check(b" Text/Plain ; CHARSET = \"utf-8\" (comment) ; x=y", "charset", Some("utf-8"));
    check(b"a/b; (c;d=e) name=\"a;b\\\"c\"", "name", Some("a;b\"c"));
    check(b"a/b; name=two words.txt; x=1", "name", Some("two words.txt"));
    check(b"a/b; name", "name", Some(""));
    check(b"a/b", "name", None);
    check(b"a/b name=\"x y.txt\"", "name", Some("x y.txt"));
    check(b"a/b  name=x; charset=utf-8", "charset", Some("utf-8"));
    // RFC 2231 §3 and §4.
    check(b"a; filename*=utf-8''%E8%A6%8B%E7%A9%8D.pdf", "filename", Some("見積.pdf"));
    check(
        b"a; filename*0*=utf-8'ja'%E8%A6%8B;\r\n filename*1*=%E7%A9%8D; filename*2=.pdf",
        "filename",
        Some("見積.pdf"),
    );
    check(b"a; filename*1=b; filename*0=a", "filename", Some("ab"));
    check(b"a; filename=plain.txt; filename*=utf-8''%E8%A6%8B.txt", "filename", Some("見.txt"));
    check(b"a; filename*=%41%zz", "filename", Some("A%zz"));
    check(b"a; filename*=iso-2022-jp''%1B$B8+@Q%1B(B.txt", "filename", Some("見積.txt"));
    // A character torn between two segments.
    check(b"a; f*0*=utf-8''%E8%A6; f*1*=%8B", "f", Some("見"));
    // Mixed with RFC 2047, against the rules of both.
    check(b"a; filename=\"=?utf-8?B?6KaL56mN?=.pdf\"", "filename", Some("見積.pdf"));
    check(
        b"a; filename*0=\"=?utf-8?B?6KaL\"; filename*1=\"56mN?=.pdf\"",
        "filename",
        Some("見積.pdf"),
    );
    check(b"a; filename*=\"=?utf-8?B?6KaL?=\"", "filename", Some("見"));
    // Raw octets: the second octet of these characters in Shift_JIS is a backslash; in ISO-2022-JP there are quotes among the halves.
    check(
        &[b"a; name=\"".as_slice(), &sjis("表示ソ能.xls"), b"\""].concat(),
        "name",
        Some("表示ソ能.xls"),
    );
    check(
        &[b"a; name=\"".as_slice(), &jis("あいうえお"), b".txt\"; x=y"].concat(),
        "name",
        Some("あいうえお.txt"),
    );
    check("a; name=見積.pdf".as_bytes(), "name", Some("見積.pdf"));
    assert_eq!(Parameterized::parse(b" MultiPart/Mixed ; boundary=x").value, "multipart/mixed");
}

#[test]
fn addresses() {
    let check = |raw: &[u8], expect: &[(&str, &str)]| {
        let got = mailboxes(raw);
        let got: Vec<_> = got.iter().map(|m| (m.name.as_str(), m.address.as_str())).collect();
        assert_eq!(got, expect, "{}", String::from_utf8_lossy(raw));
    };
    check(b"a@b.example", &[("", "a@b.example")]);
    check(
        b"Ann <a@b.example>, \"Bob, B.\" <b@c.example>",
        &[("Ann", "a@b.example"), ("Bob, B.", "b@c.example")],
    );
    check(b"a@b.example (Ann (x) A.)", &[("Ann (x) A.", "a@b.example")]);
    check(b"\"say \\\"hi\\\"\" <a@b.example>", &[("say \"hi\"", "a@b.example")]);
    check(
        b"team: a@b.example, Bob <b@b.example>; , c@c.example",
        &[("", "a@b.example"), ("Bob", "b@b.example"), ("", "c@c.example")],
    );
    check(b"undisclosed-recipients:;", &[]);
    check(b"<@relay.example:a@b.example>", &[("", "a@b.example")]);
    check(b"a @ b . example", &[("", "a@b.example")]);
    check(b"\"a b\"@c.example", &[("", "\"a b\"@c.example")]);
    check(b"<>", &[]);
    check(b"<a@b.example", &[("", "a@b.example")]);
    check(b"x@x.example <a@b.example>", &[("x@x.example", "a@b.example")]);
    check(b"=?utf-8?B?5bGx55Sw?= <y@b.example>", &[("山田", "y@b.example")]);
    check(b"\"=?utf-8?B?5bGx55Sw?=\" <y@b.example>", &[("山田", "y@b.example")]);
    check(
        &[&jis("あいう、えお"), b" <y@b.example>, z@b.example".as_slice()].concat(),
        &[("あいう、えお", "y@b.example"), ("", "z@b.example")],
    );
    check(
        &[b"\"".as_slice(), &sjis("表示ソ"), b"\" <y@b.example>"].concat(),
        &[("表示ソ", "y@b.example")],
    );
    check("山田 <太郎@例え.example>".as_bytes(), &[("山田", "太郎@例え.example")]);
    check(b"a@b.example; c@d.example", &[("", "a@b.example"), ("", "c@d.example")]);
    assert_eq!(mailboxes(&b"a@b.example,".repeat(5_000)).len(), 1_000);
}

proptest! {
    #[test]
    fn no_input_panics(octets in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"=?;:<>()\"\\@,\x1b$B*'%\r\n ".to_vec())], 0..400)) {
        let all: Vec<_> = fields(&octets).collect();
        for pair in all.windows(2) {
            prop_assert!(pair[0].to <= pair[1].from);
        }
        let _ = (decode_text(&octets), decode_phrase(&octets), mailboxes(&octets));
        let value = Parameterized::parse(&octets);
        let _ = (value.text("name"), value.text("filename"));
        prop_assert!(!unfold(&octets).iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    }

    #[test]
    fn file_names_round_trip(name in "[ぁ-んァ-ン一-乙a-z .;']{1,30}") {
        let encoded: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
        let value = format!("attachment; filename*=utf-8''{encoded}");
        prop_assert_eq!(Parameterized::parse(value.as_bytes()).text("filename"), Some(name));
    }
}
