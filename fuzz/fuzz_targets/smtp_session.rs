//! A whole session: the same octets give the same replies and messages however they are cut, and no message holds a bare line end.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mail::Reply;
use proto::sasl::{Mechanism, ScramKeys};
use proto::smtp::server::{Action, Answer, BODY_CHUNK_BYTES, BareNewline, Question, Role, Server, Settings};
use std::sync::Arc;

/// What can be seen of a session.
#[derive(Default, PartialEq, Eq, Debug)]
struct Seen {
    said: Vec<u8>,
    messages: Vec<Vec<u8>>,
    closed: bool,
}

fuzz_target!(|data: &[u8]| {
    let Some((&[choices, refusals, cut], octets)) = data.split_first_chunk::<3>() else { return };
    let settings = Arc::new(Settings {
        hostname: String::from("mx.example"),
        role: if choices & 1 == 0 { Role::Mx } else { Role::Submission },
        starttls: true,
        implicit_tls: true,
        auth: vec![Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256],
        size_max: if choices & 2 == 0 { 1_000_000 } else { 50 },
        command_bytes_max: if choices & 4 == 0 { 2048 } else { 64 },
        text_line_max: if choices & 8 == 0 { 65_536 } else { 20 },
        errors_max: 10,
        bare_newline: if choices & 16 == 0 { BareNewline::Refuse } else { BareNewline::Normalise },
    });
    let whole = play(&settings, octets, usize::MAX, refusals);
    let pieces = play(&settings, octets, 1 + usize::from(cut) % 9, refusals);
    assert_eq!(whole, pieces);
    for message in &whole.messages {
        assert!(!has_bare_newline(message));
        assert!(message.is_empty() || message.ends_with(b"\n"));
    }
    assert!(whole.said.ends_with(b"\r\n"));
    for line in whole.said.split(|b| *b == b'\n') {
        assert!(line.len() <= 511, "RFC 5321: 512 octets a reply line");
    }
});

fn play(settings: &Arc<Settings>, octets: &[u8], piece_bytes: usize, refusals: u8) -> Seen {
    let mut seen = Seen::default();
    let mut server = Server::new(Arc::clone(settings));
    let (mut input, mut body, mut message) = (BytesMut::new(), Vec::new(), Vec::new());
    let mut asked = 0;
    server.greet(&mut seen.said);
    for piece in octets.chunks(piece_bytes.min(octets.len().max(1))) {
        input.extend_from_slice(piece);
        loop {
            match server.poll(&mut input, &mut seen.said, &mut body) {
                Action::NeedInput => break,
                Action::BodyChunk => message.append(&mut body),
                Action::Abandoned => {}
                Action::StartTls => server.tls_started(),
                Action::Close => {
                    seen.closed = true;
                    return seen;
                }
                Action::Ask(question) => {
                    asked += 1;
                    if let Question::EndOfData { size, violation, .. } = &question {
                        message.append(&mut body);
                        let message = std::mem::take(&mut message);
                        if violation.is_none() {
                            assert_eq!(*size, message.len() as u64);
                            seen.messages.push(message);
                        }
                    }
                    let refuse = refusals.rotate_left(asked) & 7 == 7;
                    server.answer(answer(&question, refuse), &mut seen.said);
                }
            }
            assert!(body.len() <= 3 * BODY_CHUNK_BYTES);
        }
        assert!(input.len() <= settings.command_bytes_max, "what is not understood yet is bounded");
    }
    seen
}

fn answer(question: &Question, refuse: bool) -> Answer {
    let no = || Answer::Refuse(Reply::new(550, 7, 1, "no"));
    match question {
        Question::Violation(..) | Question::EndOfData { violation: Some(_), .. } => no(),
        _ if refuse => no(),
        Question::AuthPlain { user, .. } | Question::AuthScramProven { user, .. } => Answer::Authenticated { login: user.clone() },
        Question::AuthScramStart { user } => {
            Answer::ScramKeys { keys: ScramKeys::decoy(user, b"secret", 4096), nonce: String::from("nonce") }
        }
        Question::Hello(..) | Question::Mail(..) | Question::Rcpt(_) | Question::Data | Question::EndOfData { .. } => Answer::Accept,
    }
}

fn has_bare_newline(octets: &[u8]) -> bool {
    octets.iter().enumerate().any(|(at, octet)| match octet {
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        _ => false,
    })
}
