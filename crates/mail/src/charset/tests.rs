use super::*;
use proptest::prelude::*;

fn sjis(text: &str) -> Vec<u8> {
    SHIFT_JIS.encode(text).0.into_owned()
}

fn euc(text: &str) -> Vec<u8> {
    EUC_JP.encode(text).0.into_owned()
}

fn jis(text: &str) -> Vec<u8> {
    encoding_rs::ISO_2022_JP.encode(text).0.into_owned()
}

#[test]
fn labels() {
    let check = |label: &str, expect: Option<Charset>| assert_eq!(Charset::for_label(label), expect, "{label}");
    for label in [
        "ISO-2022-JP",
        "iso-2022-jp-ms",
        "cp50220",
        "CP50221",
        "csISO2022JP",
        "iso-2022-jp-1",
        "\"ISO-2022-JP\"",
    ] {
        check(label, Some(Charset::Iso2022Jp));
    }
    for label in ["Shift_JIS", "cp932", "MS932", "windows-31j", "x-sjis", "sjis", "CP943C"] {
        check(label, Some(Charset::Table(SHIFT_JIS)));
    }
    for label in ["EUC-JP", "eucJP-win", "cp51932", "x-euc-jp"] {
        check(label, Some(Charset::Table(EUC_JP)));
    }
    check("utf8", Some(Charset::Table(UTF_8)));
    check("us-ascii", Some(Charset::Table(WINDOWS_1252)));
    check("iso-2022-kr", None);
    check("x-unknown", None);
    check(&"a".repeat(100_000), None);
}

#[test]
fn iso_2022_jp_as_it_comes() {
    let check = |octets: &[u8], expect: &str| assert_eq!(Charset::Iso2022Jp.decode(octets), expect, "{octets:x?}");
    check(&jis("件名テスト ok"), "件名テスト ok");
    check(b"\x1b$B7oL>", "件名");
    check(b"\x1b$B7oL>\r\nplain", "件名\r\nplain");
    check(b"\x1b$@7oL>\x1b(J ok\x1b(B", "件名 ok");
    check(b"\x1b(I6@\x1b(B", "ｶﾀ");
    check(b"\xb6\xc0 x", "ｶﾀ x");
    check(b"\x0e6@\x0fx", "ｶﾀx");
    check(b"\x1b$B7oL", "件\u{fffd}");
    check(b"\x1b$B7oL\x1b(Bx", "件\u{fffd}x");
    check(b"\x1b$B-!\x1b(B", "①");
    check(b"\x1b$(D0!\x1b(B", "丂");
    check(b"\x1b", "\u{1b}");
    check(b"a\x1b(Zb", "a\u{1b}(Zb");
}

#[test]
fn raw_octets_are_guessed() {
    let check = |octets: &[u8], expect: &str| assert_eq!(decode_raw(octets), expect, "{octets:x?}");
    for text in [
        "見積書のご送付について",
        "請求書",
        "ご確認ください",
        "会議の件",
        "①㈱テスト～",
        "カタカナ",
    ] {
        check(text.as_bytes(), text);
        check(&sjis(text), text);
        check(&euc(text), text);
        check(&jis(text), text);
    }
    check(&sjis("ﾃｽﾄ のｶﾅ"), "ﾃｽﾄ のｶﾅ");
    check(b"plain", "plain");
    check(b"caf\xe9 au lait", "café au lait");
    check(b"Gr\xfc\xdfe aus M\xfcnchen", "Grüße aus München");
    check("日本語の長い件名".as_bytes().get(..20).unwrap(), "日本語の長い\u{fffd}");
}

#[test]
fn labelled_text() {
    assert_eq!(decode(Some("cp932"), &sjis("髙﨑～①")), "髙﨑～①");
    assert_eq!(decode(Some("nonsense"), &sjis("見積書のご送付")), "見積書のご送付");
    assert_eq!(decode(None, b"x"), "x");
}

proptest! {
    #[test]
    fn nothing_panics_and_sizes_stay_bounded(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        for charset in [Charset::Iso2022Jp, guess(&octets), Charset::Table(SHIFT_JIS), Charset::Table(EUC_JP)] {
            prop_assert!(charset.decode(&octets).len() <= 3 * octets.len() + 8);
        }
    }

    #[test]
    fn ascii_survives_iso_2022_jp(text in "[ -~]{0,80}") {
        prop_assert_eq!(Charset::Iso2022Jp.decode(text.as_bytes()), text.as_str());
    }

    #[test]
    fn japanese_round_trips(text in "[ぁ-んァ-ン亜唖娃阿哀愛挨逢葵茜悪握旭葦見積請求]{1,40}") {
        let octets = jis(&text);
        prop_assert_eq!(Charset::Iso2022Jp.decode(&octets), text);
    }
}
