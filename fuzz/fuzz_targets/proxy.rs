//! PROXY headers: never more than the limit is waited for, and a complete header was incomplete at every shorter length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::proxy::{Parsed, V2_BYTES_MAX, parse};

fuzz_target!(|octets: &[u8]| {
    match parse(octets) {
        Ok(Parsed::Complete { consumed, .. }) => {
            assert!(consumed <= octets.len() && consumed <= V2_BYTES_MAX);
            assert_eq!(parse(&octets[..consumed]), parse(octets));
            for shorter in 0..consumed {
                assert_eq!(parse(&octets[..shorter]), Ok(Parsed::Incomplete));
            }
        }
        Ok(Parsed::Incomplete) => assert!(octets.len() < V2_BYTES_MAX),
        Err(_) => {}
    }
});
