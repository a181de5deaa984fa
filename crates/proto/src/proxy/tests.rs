use super::*;

fn v2(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    header.extend([version_command, family]);
    header.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    header.extend(block);
    header
}

fn check(input: &[u8], expect: Result<Option<(&str, &str)>, ProxyError>) {
    let got = parse(input).map(|parsed| match parsed {
        Parsed::Complete {
            header: Header::Proxied { source, destination },
            consumed,
        } => {
            assert_eq!(consumed, input.len());
            Some((source.to_string(), destination.to_string()))
        }
        Parsed::Complete {
            header: Header::Local,
            consumed,
        } => {
            assert_eq!(consumed, input.len());
            None
        }
        Parsed::Incomplete => Some((String::from("incomplete"), String::new())),
    });
    let expect = expect.map(|e| e.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(got, expect, "{:?}", String::from_utf8_lossy(input));
    // What is complete is incomplete at every shorter length, and never an error there.
    if got.is_ok() {
        for end in 0..input.len() {
            assert_eq!(parse(&input[..end]), Ok(Parsed::Incomplete), "{end}");
        }
    }
}

#[test]
fn version_1() {
    check(
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4321 25\r\n",
        Ok(Some(("192.0.2.1:4321", "198.51.100.2:25"))),
    );
    check(
        b"PROXY TCP6 2001:db8::1 2001:db8::2 4321 25\r\n",
        Ok(Some(("[2001:db8::1]:4321", "[2001:db8::2]:25"))),
    );
    check(b"PROXY UNKNOWN\r\n", Ok(None));
    check(b"PROXY UNKNOWN ffff:f...f 1 65535 65535\r\n", Ok(None));
    check(b"PROXY TCP4 192.0.2.1 2001:db8::2 4321 25\r\n", Err(ProxyError::Address));
    check(b"PROXY TCP4 192.0.2.1 198.51.100.2 70000 25\r\n", Err(ProxyError::Address));
    check(b"PROXY TCP4 192.0.2.1 198.51.100.2 +25 25\r\n", Err(ProxyError::Address));
    check(b"PROXY UDP4 192.0.2.1 198.51.100.2 1 25\r\n", Err(ProxyError::Address));
    check(b"PROXY TCP4 192.0.2.1 198.51.100.2 1 25 more\r\n", Err(ProxyError::Address));
    check(b"EHLO client.example\r\n", Err(ProxyError::Signature));
    check(&[b"PROXY ".as_slice(), &[b'x'; 200]].concat(), Err(ProxyError::TooLong));
}

#[test]
fn version_2() {
    let four = [192, 0, 2, 1, 198, 51, 100, 2, 0x10, 0xe1, 0, 25];
    check(&v2(0x21, 0x11, &four), Ok(Some(("192.0.2.1:4321", "198.51.100.2:25"))));
    let with_tlv = [&four[..], &[4, 0, 3, 1, 2, 3]].concat();
    check(&v2(0x21, 0x11, &with_tlv), Ok(Some(("192.0.2.1:4321", "198.51.100.2:25"))));
    let mut six = [0_u8; 36];
    six[15] = 1;
    six[31] = 2;
    six[35] = 25;
    check(&v2(0x21, 0x21, &six), Ok(Some(("[::1]:0", "[::2]:25"))));
    check(&v2(0x20, 0, &[]), Ok(None));
    check(&v2(0x20, 0x11, &four), Ok(None));
    check(&v2(0x21, 0, &[]), Ok(None));
    check(&v2(0x21, 0x11, &four[..11]), Err(ProxyError::Address));
    check(&v2(0x21, 0x31, &[0; 216]), Err(ProxyError::Address));
    check(&v2(0x11, 0x11, &four), Err(ProxyError::Version));
    check(&v2(0x22, 0x11, &four), Err(ProxyError::Version));
    check(&v2(0x21, 0x11, &[0; 521]), Err(ProxyError::TooLong));
    check(b"\r\n\r\n\0\r\nQUIX", Err(ProxyError::Signature));
}

#[test]
fn empty_input_is_incomplete() {
    assert_eq!(parse(b""), Ok(Parsed::Incomplete));
}
