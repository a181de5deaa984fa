use super::*;
use bytes::BytesMut;
use mail::{Address, BodyType, MailParams, Notify, Recipient, Reply, Ret, ReversePath};
use proptest::prelude::*;

/// Reads all replies of `octets`, cut into pieces, as text.
fn replies(octets: &[u8], piece_bytes: usize) -> Result<Vec<String>, ReplyError> {
    let mut reader = ReplyReader::new();
    let mut input = BytesMut::new();
    let mut found = Vec::new();
    for piece in octets.chunks(piece_bytes) {
        input.extend_from_slice(piece);
        while let Some(reply) = reader.read(&mut input)? {
            found.push(reply.to_string());
        }
    }
    Ok(found)
}

fn check(octets: &[u8], expect: Result<&[&str], ReplyError>) {
    for piece_bytes in [octets.len(), 1, 7] {
        let found = replies(octets, piece_bytes);
        assert_eq!(
            found.as_deref().map_err(|e| *e),
            expect
                .map(|e| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
                .as_deref()
                .map_err(|e| *e)
        );
    }
}

#[test]
fn replies_are_read() {
    check(b"220 mx.example ESMTP\r\n", Ok(&["220 mx.example ESMTP"]));
    check(b"250\r\n354 go\r\n", Ok(&["250", "354 go"]));
    check(b"550 5.1.1 no such user\r\n", Ok(&["550 5.1.1 no such user"]));
    check(b"550-5.1.1 first\r\n550 5.1.1 second\r\n", Ok(&["550 5.1.1 first\nsecond"]));
    check(b"550-5.1.1 first\r\n550 second\r\n", Ok(&["550 5.1.1 first\nsecond"]));
    check(
        b"250-mx.example\r\n250-SIZE 10\r\n250 DSN\r\n",
        Ok(&["250 mx.example\nSIZE 10\nDSN"]),
    );
    check(b"550 4.1.1 class and code differ\r\n", Ok(&["550 4.1.1 class and code differ"]));
    check(b"250 bare line feed\n", Ok(&["250 bare line feed"]));
    check(b"550 \xff\x07\r\n", Ok(&["550 \u{fffd}?"]));
    check("550 5.1.1 拒否\r\n".as_bytes(), Ok(&["550 5.1.1 拒否"]));
}

#[test]
fn an_enhanced_status_is_taken_only_when_it_fits_the_code() {
    let mut input = BytesMut::from(&b"550 4.1.1 x\r\n550 5.7.26 y\r\n"[..]);
    let mut reader = ReplyReader::new();
    assert_eq!(reader.read(&mut input).unwrap().unwrap().enhanced, None);
    assert_eq!(reader.read(&mut input).unwrap().unwrap().enhanced.unwrap().to_string(), "5.7.26");
}

#[test]
fn hostile_replies_cost_little() {
    check(b"HTTP/1.1 400 Bad Request\r\n", Err(ReplyError::Malformed));
    check(b"25\r\n", Err(ReplyError::Malformed));
    check(b"250_x\r\n", Err(ReplyError::Malformed));
    check(b"199 x\r\n", Err(ReplyError::Malformed));
    check(b"650 x\r\n", Err(ReplyError::Malformed));
    check(b"250-x\r\n550 y\r\n", Err(ReplyError::Malformed));
    check(&b"220-banner\r\n".repeat(101), Err(ReplyError::Endless));
    check(&[b"220 ".as_slice(), &[b'x'; 80_000]].concat(), Err(ReplyError::Endless));
    for piece_bytes in [1, 100, 20_000] {
        let long = [b"220 ".as_slice(), &[b'x'; 10_000], b"\r\n250 next\r\n"].concat();
        let found = replies(&long, piece_bytes).unwrap();
        assert_eq!(found[0].len(), 2048, "a long line is cut");
        assert_eq!(found[1], "250 next", "and the next reply is read");
    }
}

#[test]
fn capabilities() {
    let reply = Reply::bare(
        250,
        "mx.example greets you\nPIPELINING\nsize 1000\nSTARTTLS\n8BITMIME\nSMTPUTF8\nCHUNKING\nDSN\nENHANCEDSTATUSCODES\nAUTH LOGIN PLAIN SCRAM-SHA-256 X\nAUTH=LOGIN\nUNKNOWN x",
    );
    let found = Capabilities::parse(&reply);
    assert_eq!(found.name, "mx.example");
    assert_eq!(found.size, Some(Some(1000)));
    assert!(found.pipelining && found.starttls && found.eight_bit_mime && found.smtputf8 && found.chunking && found.dsn);
    assert!(found.enhanced_status_codes);
    use crate::sasl::Mechanism::{Login, Plain, ScramSha256};
    assert_eq!(found.auth, [ScramSha256, Plain, Login]);
    assert_eq!(Capabilities::parse(&Reply::bare(250, "mx\nSIZE")).size, Some(None));
    assert_eq!(Capabilities::parse(&Reply::bare(250, "mx\nSIZE 0")).size, Some(None));
}

#[test]
fn what_a_message_lacks() {
    let all = Capabilities {
        size: Some(Some(100)),
        eight_bit_mime: true,
        smtputf8: true,
        ..Capabilities::default()
    };
    let params = MailParams {
        smtputf8: true,
        body: BodyType::EightBitMime,
        ..MailParams::default()
    };
    assert_eq!(all.lack(&params, 100), None);
    assert_eq!(all.lack(&params, 101), Some(Lack::Size));
    assert_eq!(Capabilities::default().lack(&params, 1), Some(Lack::SmtpUtf8));
    assert_eq!(
        Capabilities {
            smtputf8: true,
            ..Capabilities::default()
        }
        .lack(&params, 1),
        Some(Lack::EightBitMime)
    );
    assert_eq!(Capabilities::default().lack(&MailParams::default(), u64::MAX), None);
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn commands_use_what_the_peer_offers() {
    let all = Capabilities {
        size: Some(None),
        eight_bit_mime: true,
        smtputf8: true,
        dsn: true,
        ..Capabilities::default()
    };
    let params = MailParams {
        size: Some(5),
        body: BodyType::EightBitMime,
        smtputf8: true,
        ret: Some(Ret::Headers),
        envid: Some(String::from("a+b c")),
    };
    let path = ReversePath::parse("a@bar.example").unwrap();
    let full = "MAIL FROM:<a@bar.example> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+20c\r\n";
    assert_eq!(written(|out| mail(out, &path, &params, 7, &all)), full);
    assert_eq!(
        written(|out| mail(out, &path, &params, 7, &Capabilities::default())),
        "MAIL FROM:<a@bar.example>\r\n"
    );
    assert_eq!(
        written(|out| mail(out, &ReversePath::Null, &MailParams::default(), 7, &all)),
        "MAIL FROM:<> SIZE=7\r\n"
    );

    let recipient = |notify, orcpt: Option<&str>| Recipient {
        address: Address::parse("b@foo.example").unwrap(),
        notify,
        orcpt: orcpt.map(str::to_owned),
    };
    let check = |recipient: &Recipient, peer: &Capabilities, expect: &str| {
        assert_eq!(
            written(|out| rcpt(out, recipient, peer)),
            format!("RCPT TO:<b@foo.example>{expect}\r\n")
        );
    };
    let some = Notify::When {
        success: true,
        failure: false,
        delay: true,
    };
    check(
        &recipient(some, Some("rfc822;b+x@foo.example")),
        &all,
        " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@foo.example",
    );
    check(&recipient(Notify::Never, None), &all, " NOTIFY=NEVER");
    check(
        &recipient(Notify::Never, Some("rfc822;b@foo.example")),
        &Capabilities::default(),
        "",
    );
    check(
        &recipient(Notify::Default, Some("utf-8;太郎@foo.example")),
        &all,
        " ORCPT=utf-8;太郎@foo.example",
    );
    let ascii = Capabilities {
        dsn: true,
        ..Capabilities::default()
    };
    check(
        &recipient(Notify::Default, Some("utf-8;太@foo.example")),
        &ascii,
        " ORCPT=utf-8;\\x{592A}@foo.example",
    );
    check(&recipient(Notify::Default, Some("bad type;x")), &ascii, "");
}

#[test]
fn other_commands() {
    use crate::sasl::Mechanism;
    assert_eq!(written(|out| ehlo(out, "mx.example\r\nQUIT")), "EHLO mx.example--QUIT\r\n");
    assert_eq!(written(|out| bdat(out, 5, Chunk::More)), "BDAT 5\r\n");
    assert_eq!(written(|out| bdat(out, 0, Chunk::Last)), "BDAT 0 LAST\r\n");
    assert_eq!(
        written(|out| auth(out, Mechanism::Plain, Some(b"\0a\0b"))),
        "AUTH PLAIN AGEAYg==\r\n"
    );
    assert_eq!(written(|out| auth(out, Mechanism::Login, None)), "AUTH LOGIN\r\n");
    assert_eq!(written(|out| auth(out, Mechanism::Plain, Some(b""))), "AUTH PLAIN =\r\n");
    assert_eq!(written(|out| auth_response(out, b"")), "\r\n");
}

#[test]
fn stuffing() {
    let check = |message: &[u8], expect: Option<&[u8]>| {
        for piece_bytes in [1, 2, message.len().max(1)] {
            let mut stuffer = Stuffer::new();
            let mut out = Vec::new();
            let result = message
                .chunks(piece_bytes)
                .try_for_each(|piece| stuffer.write(piece, &mut out))
                .and_then(|()| stuffer.finish(&mut out));
            assert_eq!(result.is_ok().then_some(out.as_slice()), expect, "{}", message.escape_ascii());
        }
    };
    check(b"", Some(b".\r\n"));
    check(b"a\r\n", Some(b"a\r\n.\r\n"));
    check(b"a", Some(b"a\r\n.\r\n"));
    check(b".\r\n", Some(b"..\r\n.\r\n"));
    check(b"a\r\n.b\r\n..\r\n", Some(b"a\r\n..b\r\n...\r\n.\r\n"));
    check(b"a.b\r\n", Some(b"a.b\r\n.\r\n"));
    check(b"a\nb\r\n", None);
    check(b"a\rb\r\n", None);
    check(b"a\r", None);
    check(b"a\r\r\n", None);
    check(b"\n", None);
}

proptest! {
    #[test]
    fn what_leaves_has_no_bare_newline_and_one_end(message in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x')], 0..30)) {
        let mut wire = Vec::new();
        if end_of_data(&message, &mut wire).is_ok() {
            let text = String::from_utf8(wire).unwrap();
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
            let with_start = format!("\r\n{text}");
            prop_assert_eq!(with_start.find("\r\n.\r\n"), Some(with_start.len() - 5));
        }
    }

    #[test]
    fn any_reply_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(replies(&octets, 300), replies(&octets, 1));
    }
}
