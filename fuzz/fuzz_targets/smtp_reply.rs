//! Replies of a next hop: the same however they are cut, bounded, without control characters.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mail::Reply;
use proto::smtp::client::{Capabilities, ReplyError, ReplyReader};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, octets)) = data.split_first() else { return };
    let whole = read(octets, octets.len().max(1));
    assert_eq!(whole, read(octets, 1 + usize::from(cut) % 31));
    for reply in whole.iter().flatten() {
        assert!(reply.text.chars().all(|c| c == '\n' || !c.is_control()));
        let _ = Capabilities::parse(reply);
    }
});

fn read(octets: &[u8], piece_bytes: usize) -> Result<Vec<Reply>, ReplyError> {
    let mut reader = ReplyReader::new();
    let mut input = BytesMut::new();
    let mut found = Vec::new();
    for piece in octets.chunks(piece_bytes) {
        input.extend_from_slice(piece);
        while let Some(reply) = reader.read(&mut input)? {
            found.push(reply);
        }
    }
    Ok(found)
}
