//! Messages in any split: the scanner finds the same, keeps its limits, and tells true places of watched fields.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::mime::{Facts, Limits, Scanner};

const WATCH: &[&str] = &["X-Mitsuke-Proof", "Subject"];
const LIMITS: Limits = Limits {
    header_bytes_max: 2_048,
    fields_max: 20,
    parts_max: 12,
    depth_max: 4,
};

fn scan(octets: &[u8], size: usize) -> Facts {
    let mut scanner = Scanner::new(LIMITS, WATCH);
    octets.chunks(size).for_each(|chunk| scanner.push(chunk));
    scanner.finish()
}

pub fn fuzz_mime(data: &[u8]) {
    let Some((&size, octets)) = data.split_first() else { return };
    let whole = scan(octets, usize::MAX);
    assert_eq!(scan(octets, usize::from(size).max(1)), whole);
    assert!(whole.fields <= LIMITS.fields_max && whole.parts <= LIMITS.parts_max && whole.header.len() <= LIMITS.header_bytes_max);
    assert!(octets.starts_with(&whole.header));
    for w in &whole.watched {
        let field = &octets[w.from as usize..w.to as usize];
        assert!(field[..w.name.len()].eq_ignore_ascii_case(w.name.as_bytes()));
        assert!(mail::header::fields(field).count() == 1);
    }
    for a in &whole.attachments {
        assert!(!a.name.chars().any(char::is_control) && a.sha256.len() == 64);
    }
}

fuzz_target!(|data: &[u8]| fuzz_mime(data));
