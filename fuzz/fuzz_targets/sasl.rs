//! SASL messages of hostile clients and servers: nothing is proven by chance.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::sasl::{ClientExchange, Credentials, Mechanism, ScramKeys, ScramServer, read_plain, write_plain};

fuzz_target!(|data: &[u8]| {
    let Some((&split, octets)) = data.split_first() else { return };
    let (first, second) = octets.split_at(usize::from(split).min(octets.len()));
    if let Ok(plain) = read_plain(octets) {
        let again = write_plain(&plain.user, &plain.password);
        assert!(octets.ends_with(&again));
    }
    if let Ok(mut server) = ScramServer::read_first(first) {
        server.challenge(ScramKeys::decoy(server.user(), b"secret", 4096), "nonce");
        assert!(server.read_final(second).is_err());
    }
    let credentials = Credentials { user: String::from("user"), password: String::from("pencil").into() };
    // 4096 rounds at each try would make the fuzzer slow; a challenge that gets so far is tried in unit tests.
    if memchr::memmem::find(first, b"i=").is_none() {
        let mut client = ClientExchange::new(Mechanism::ScramSha256, credentials, String::from("abc"));
        assert!(client.initial_response().is_some());
        assert!(client.respond(first).is_err() && client.respond(second).is_err() && !client.is_complete());
    }
});
