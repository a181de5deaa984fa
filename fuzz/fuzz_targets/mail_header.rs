//! Header sections, encoded words, parameters, address lists, charsets and trace fields: nothing panics, nothing adds a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::header::{Parameterized, decode_phrase, decode_text, fields, mailboxes, unfold};
use mail::trace::{StampKey, passes};

pub fn fuzz_header(data: &[u8]) {
    let mut end = 0;
    for field in fields(data) {
        assert!(field.from >= end && field.to > field.from && field.to <= data.len());
        end = field.to;
        assert!(!unfold(field.raw).iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    }
    assert_eq!(passes(data, &StampKey::new(b"a key that no input knows")).own, 0);
    for line in [decode_text(data), decode_phrase(data)] {
        assert!(!line.contains(['\r', '\n', '\0']));
    }
    assert!(
        mailboxes(data)
            .iter()
            .all(|m| m.address.contains('@') && !m.address.chars().any(char::is_control))
    );
    let value = Parameterized::parse(data);
    for name in ["name", "filename", "charset", "boundary"] {
        let _ = value.text(name);
    }
    let _ = mail::charset::Charset::Iso2022Jp.decode(data);
    let _ = mail::charset::decode_raw(data);
}

fuzz_target!(|data: &[u8]| fuzz_header(data));
