//! Command lines: whatever is read as MAIL or RCPT must come back the same when a client writes it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::smtp::client::{self, Capabilities};
use proto::smtp::server::command::Command;
use proto::smtp::server::path::{self, Charset};

fuzz_target!(|line: &[u8]| {
    let peer = Capabilities { size: Some(None), eight_bit_mime: true, smtputf8: true, dsn: true, ..Capabilities::default() };
    match Command::parse(line) {
        Ok(Command::Mail(argument)) => {
            let Ok((path, params)) = path::mail(argument, u64::MAX) else { return };
            let mut written = Vec::new();
            client::mail(&mut written, &path, &params, params.size.unwrap_or(0), &peer);
            let (again, mut params_again) = with_argument(&written, |c| match c {
                Command::Mail(argument) => path::mail(argument, u64::MAX).ok(),
                _ => None,
            });
            params_again.size = params.size;
            assert_eq!((&again, &params_again), (&path, &params));
        }
        Ok(Command::Rcpt(argument)) => {
            let Ok(recipient) = path::rcpt(argument, Charset::Utf8, "mx.example") else { return };
            let mut written = Vec::new();
            client::rcpt(&mut written, &recipient, &peer);
            let again = with_argument(&written, |c| match c {
                Command::Rcpt(argument) => path::rcpt(argument, Charset::Utf8, "mx.example").ok(),
                _ => None,
            });
            let lower = |o: &Option<String>| o.as_deref().map(str::to_ascii_lowercase);
            assert_eq!((&again.address, again.notify, lower(&again.orcpt)), (&recipient.address, recipient.notify, lower(&recipient.orcpt)));
        }
        _ => {}
    }
});

fn with_argument<T>(written: &[u8], read: impl FnOnce(Command<'_>) -> Option<T>) -> T {
    let line = written.strip_suffix(b"\r\n").expect("a command ends with CRLF");
    assert!(!line.iter().any(u8::is_ascii_control), "a command holds no control character");
    let command = Command::parse(line).expect("what we write is a command");
    read(command).expect("what we write is understood")
}
