//! Message octets: only CRLF.CRLF ends DATA, wherever the octets are cut; what is stuffed comes back unstuffed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::smtp::client::end_of_data;
use proto::smtp::server::BareNewline;
use proto::smtp::server::body::{BodyLimits, BodyReader, Framing};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, octets)) = data.split_first() else { return };
    let piece_bytes = 1 + usize::from(cut) % 31;
    for bare_newline in [BareNewline::Refuse, BareNewline::Normalise] {
        let whole = read(octets, octets.len().max(1), bare_newline);
        let pieces = read(octets, piece_bytes, bare_newline);
        assert_eq!((whole.0, whole.2), (pieces.0, pieces.2));
        assert!(whole.2 || whole.1 == pieces.1);
        let at_start = [b"\r\n", octets].concat();
        assert_eq!(whole.0, memchr::memmem::find(&at_start, b"\r\n.\r\n").map(|at| at + 3));
    }
    let mut wire = Vec::new();
    if end_of_data(octets, &mut wire).is_ok() {
        let (end, message, violated) = read(&wire, piece_bytes, BareNewline::Refuse);
        assert_eq!(end, Some(wire.len()));
        assert!(!violated);
        let expected = if octets.is_empty() || octets.ends_with(b"\n") { octets.to_vec() } else { [octets, b"\r\n"].concat() };
        assert_eq!(message, expected);
    }
});

fn read(octets: &[u8], piece_bytes: usize, bare_newline: BareNewline) -> (Option<usize>, Vec<u8>, bool) {
    let limits = BodyLimits { bare_newline, text_line_max: usize::MAX, size_max: u64::MAX };
    let mut reader = BodyReader::new(Framing::Dot, limits);
    let mut body = Vec::new();
    let mut before = 0;
    for piece in octets.chunks(piece_bytes) {
        if let Some(end) = reader.read(piece, &mut body) {
            return (Some(before + end), body, reader.violation().is_some());
        }
        before += piece.len();
    }
    (None, body, reader.violation().is_some())
}
