use super::*;
use crate::smtp::client::end_of_data;
use proptest::prelude::*;

fn limits(bare_newline: BareNewline) -> BodyLimits {
    BodyLimits {
        bare_newline,
        text_line_max: 998,
        size_max: 1_000_000,
    }
}

/// Where the data ended, what the message is, what was wrong.
type Seen = (Option<usize>, Vec<u8>, u64, Option<Violation>);

fn read(octets: &[u8], piece_bytes: usize, limits: BodyLimits) -> Seen {
    let mut reader = BodyReader::new(Framing::Dot, limits);
    let mut body = Vec::new();
    let mut before = 0;
    for piece in octets.chunks(piece_bytes.max(1)) {
        if let Some(end) = reader.read(piece, &mut body) {
            return (Some(before + end), body, reader.size(), reader.violation());
        }
        before += piece.len();
    }
    (None, body, reader.size(), reader.violation())
}

/// Every word of up to `length` letters of the alphabet.
fn words(alphabet: &[&'static [u8]], length: usize) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..length {
        last = last
            .iter()
            .flat_map(|w| alphabet.iter().map(move |a| [w.as_slice(), a].concat()))
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// RFC 5321 §2.3.8 as a sentence: every CR stands before LF, every LF behind CR.
fn has_bare_newline(octets: &[u8]) -> bool {
    octets.iter().enumerate().any(|(i, b)| match b {
        b'\r' => octets.get(i + 1) != Some(&b'\n'),
        b'\n' => i == 0 || octets[i - 1] != b'\r',
        _ => false,
    })
}

/// All combinations of CR, LF, dot, NUL and text around the end of data, cut in all ways that matter: the only end is CRLF.CRLF (or .CRLF at the
/// start), bare line ends are refused, and what is handed over holds none of them.
#[test]
fn nothing_but_crlf_dot_crlf_ends_data() {
    for word in words(&[b"\r", b"\n", b".", b"\0", b"x"], 6) {
        let text = [b"x\r\n".as_slice(), &word, b"y\r\n.\r\n"].concat();
        let end = memchr::memmem::find(&text, b"\r\n.\r\n").unwrap() + 5;
        let refused = read(&text, text.len(), limits(BareNewline::Refuse));
        let normalised = read(&text, text.len(), limits(BareNewline::Normalise));
        assert_eq!(refused.0, Some(end), "{}", text.escape_ascii());
        assert_eq!(normalised.0, Some(end), "{}", text.escape_ascii());
        assert_eq!(
            refused.3 == Some(Violation::BareNewline),
            has_bare_newline(&text[..end]),
            "{}",
            text.escape_ascii()
        );
        assert!(!has_bare_newline(&normalised.1), "{}", text.escape_ascii());
        assert_eq!(normalised.3, None);
        for piece_bytes in 1..4 {
            assert_eq!(
                read(&text, piece_bytes, limits(BareNewline::Normalise)),
                normalised,
                "{}",
                text.escape_ascii()
            );
            let cut = read(&text, piece_bytes, limits(BareNewline::Refuse));
            assert_eq!((cut.0, cut.2, cut.3), (refused.0, refused.2, refused.3), "{}", text.escape_ascii());
            assert!(cut.3.is_some() || cut.1 == refused.1, "{}", text.escape_ascii());
        }
    }
}

/// The same for chunks, which have no dots: a bare line end is found wherever the chunks are cut.
#[test]
fn chunks_find_bare_newlines_across_cuts() {
    for word in words(&[b"\r", b"\n", b".", b"x"], 6) {
        for piece_bytes in [1, 2, word.len().max(1)] {
            for bare_newline in [BareNewline::Refuse, BareNewline::Normalise] {
                let mut reader = BodyReader::new(Framing::Counted, limits(bare_newline));
                let mut body = Vec::new();
                for piece in word.chunks(piece_bytes) {
                    assert_eq!(reader.read(piece, &mut body), None);
                }
                reader.finish_chunks(&mut body);
                match bare_newline {
                    BareNewline::Refuse => assert_eq!(reader.violation().is_some(), has_bare_newline(&word), "{}", word.escape_ascii()),
                    BareNewline::Normalise => assert!(!has_bare_newline(&body)),
                }
                if !has_bare_newline(&word) {
                    let whole = if word.is_empty() || word.ends_with(b"\n") {
                        word.clone()
                    } else {
                        [&word, b"\r\n".as_slice()].concat()
                    };
                    assert_eq!(body, whole);
                    assert_eq!(reader.size(), body.len() as u64);
                }
            }
        }
    }
}

fn check_limits(text: &[u8], expect: Option<Violation>) {
    for piece_bytes in [1, 3, 1000] {
        let limits = BodyLimits {
            bare_newline: BareNewline::Refuse,
            text_line_max: 10,
            size_max: 24,
        };
        let (end, _, _, violation) = read(&[text, b".\r\n"].concat(), piece_bytes, limits);
        assert!(end.is_some());
        assert_eq!(violation, expect, "{} by {piece_bytes}", text.escape_ascii());
    }
}

#[test]
fn limits_count_line_ends_and_not_the_stuffed_dot() {
    check_limits(b"12345678\r\n", None);
    check_limits(b".12345678\r\n", None);
    check_limits(b"123456789\r\n", Some(Violation::LineTooLong));
    check_limits(b"12345678\r\n12345678\r\n12\r\n", None);
    check_limits(b"12345678\r\n12345678\r\n123\r\n", Some(Violation::TooLarge));
    check_limits(b"12345678\r\n12345678\r\n123456789\r\n", Some(Violation::TooLarge));
    check_limits(b"1\n23456789012345678901234567890\r\n", Some(Violation::BareNewline));
}

#[test]
fn after_a_violation_nothing_more_is_kept() {
    let limits = BodyLimits {
        bare_newline: BareNewline::Refuse,
        text_line_max: 100,
        size_max: 1000,
    };
    let text = b"0123456789\r\n".repeat(10_000);
    let mut reader = BodyReader::new(Framing::Dot, limits);
    let mut body = Vec::new();
    for piece in text.chunks(100) {
        assert_eq!(reader.read(piece, &mut body), None);
    }
    assert!(body.len() <= 1000, "{}", body.len());
    assert_eq!((reader.size(), reader.violation()), (120_000, Some(Violation::TooLarge)));
}

proptest! {
    #[test]
    fn what_is_stuffed_comes_back(lines in proptest::collection::vec("[.x ]{0,6}", 0..12), piece_bytes in 1_usize..20) {
        let message = lines.iter().flat_map(|l| l.bytes().chain(*b"\r\n")).collect::<Vec<u8>>();
        let mut wire = Vec::new();
        end_of_data(&message, &mut wire).unwrap();
        let (end, body, size, violation) = read(&wire, piece_bytes, limits(BareNewline::Refuse));
        prop_assert_eq!(end, Some(wire.len()));
        prop_assert_eq!(size, message.len() as u64);
        prop_assert_eq!(body, message);
        prop_assert_eq!(violation, None);
    }
}
