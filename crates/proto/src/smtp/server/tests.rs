//! Plays `tests/dialogue/smtp/*.dlg` against the machine: whole, octet by octet, and cut at random places.

use super::*;
use crate::sasl::ScramKeys;
use base64::Engine;
use bytes::BytesMut;
use mail::{EnhancedStatus, Notify, ReplyCode};
use proptest::prelude::*;
use std::collections::VecDeque;
use testkit::dialogue::{Dialogue, Party};

/// How the client's octets arrive.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Octets,
    Random(u64),
}

struct Session {
    settings: Settings,
    server: Option<Server>,
    cut: Cut,
    input: BytesMut,
    out: Vec<u8>,
    body: Vec<u8>,
    chunks: Vec<u8>,
    script: VecDeque<String>,
    questions: VecDeque<String>,
    messages: VecDeque<Vec<u8>>,
    events: VecDeque<String>,
    reply_lines: VecDeque<String>,
    closed: bool,
}

fn settings() -> Settings {
    Settings {
        hostname: String::from("mx.example"),
        role: Role::Mx,
        starttls: true,
        implicit_tls: false,
        auth: Vec::new(),
        size_max: 1_000_000,
        command_bytes_max: 2048,
        text_line_max: 65_536,
        errors_max: 10,
        bare_newline: BareNewline::Refuse,
    }
}

impl Session {
    fn new(settings: Settings, cut: Cut) -> Self {
        Self {
            settings,
            server: None,
            cut,
            input: BytesMut::new(),
            out: Vec::new(),
            body: Vec::new(),
            chunks: Vec::new(),
            script: VecDeque::new(),
            questions: VecDeque::new(),
            messages: VecDeque::new(),
            events: VecDeque::new(),
            reply_lines: VecDeque::new(),
            closed: false,
        }
    }

    fn server(&mut self) -> &mut Server {
        if self.server.is_none() {
            let mut server = Server::new(self.settings.clone());
            server.greet(&mut self.out);
            self.server = Some(server);
        }
        self.server.as_mut().unwrap()
    }

    fn step(&mut self) -> Action {
        self.server();
        self.server.as_mut().unwrap().poll(&mut self.input, &mut self.out, &mut self.body)
    }

    fn run(&mut self) {
        while !self.closed {
            match self.step() {
                Action::NeedInput => return,
                Action::Ask(question) => {
                    let answer = self.judge(&question);
                    self.server.as_mut().unwrap().answer(answer, &mut self.out);
                }
                Action::BodyChunk => self.chunks.append(&mut self.body),
                Action::Abandoned => self.events.push_back(String::from("abandoned")),
                Action::StartTls => {
                    assert!(self.input.is_empty());
                    self.events.push_back(String::from("starttls"));
                    self.server().tls_started();
                }
                Action::Close => {
                    self.closed = true;
                    self.events.push_back(String::from("close"));
                }
            }
        }
    }

    fn judge(&mut self, question: &Question) -> Answer {
        self.questions.push_back(words(question));
        if let Question::EndOfData { violation, .. } = question {
            self.chunks.append(&mut self.body);
            let message = std::mem::take(&mut self.chunks);
            if violation.is_none() {
                self.messages.push_back(message);
            }
        }
        if let Some(script) = self.script.pop_front() {
            let (verb, reply) = script.split_once(' ').unwrap_or((&script, ""));
            return match verb {
                "accept" => Answer::Accept,
                "accept-with" => Answer::AcceptWith(reply_from(reply)),
                "refuse" => Answer::Refuse(reply_from(reply)),
                "close" => Answer::RefuseAndClose(reply_from(reply)),
                "login" => Answer::Authenticated { login: reply.to_owned() },
                other => panic!("no such answer: {other}"),
            };
        }
        usual(question)
    }
}

fn usual(question: &Question) -> Answer {
    let refuse = |text: &str| Answer::Refuse(reply_from(text));
    match question {
        Question::EndOfData {
            violation: Some(violation),
            ..
        }
        | Question::Violation(violation, _) => refuse(match violation {
            Violation::BareNewline => "550 5.5.2 BARE-NEWLINE",
            Violation::LineTooLong => "550 5.6.0 MALFORMED",
            Violation::TooLarge => "552 5.3.4 SIZE",
            Violation::Utf8Address => "553 5.6.7 UTF8-ADDRESS",
            Violation::TlsRequired => "530 5.7.0 TLS-REQUIRED",
            Violation::AuthRequired => "530 5.7.0 AUTH-REQUIRED",
            Violation::AuthFailed => "535 5.7.8 AUTH-FAILED",
            Violation::TooManyErrors => "421 4.7.0 TOO-MANY-ERRORS",
        }),
        Question::AuthPlain { user, password, .. } if user == "ann" && password.as_str() == "secret" => {
            Answer::Authenticated { login: user.clone() }
        }
        Question::AuthPlain { .. } => refuse("535 5.7.8 AUTH-FAILED"),
        Question::AuthScramStart { user } => {
            // RFC 7677 §3.
            let salt = base64::engine::general_purpose::STANDARD
                .decode("W22ZaJ0SNY7soEsUEjb6gQ==")
                .unwrap();
            let keys = if user == "user" {
                ScramKeys::derive("pencil", &salt, 4096)
            } else {
                ScramKeys::decoy(user, b"key", 4096)
            };
            Answer::ScramKeys {
                keys,
                nonce: String::from("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
            }
        }
        Question::AuthScramProven { user, .. } => Answer::Authenticated { login: user.clone() },
        Question::Hello(..) | Question::Mail(..) | Question::Rcpt(_) | Question::Data | Question::EndOfData { .. } => Answer::Accept,
    }
}

fn words(question: &Question) -> String {
    match question {
        Question::Hello(kind, name) => format!("hello {kind:?} {name}"),
        Question::Mail(path, p) => {
            format!(
                "mail <{path}> size={:?} body={:?} utf8={} ret={:?} envid={:?}",
                p.size, p.body, p.smtputf8, p.ret, p.envid
            )
        }
        Question::Rcpt(r) => match r.notify {
            Notify::Default => format!("rcpt <{}> notify=default orcpt={:?}", r.address, r.orcpt),
            Notify::Never => format!("rcpt <{}> notify=never orcpt={:?}", r.address, r.orcpt),
            Notify::When { success, failure, delay } => {
                format!("rcpt <{}> notify={success},{failure},{delay} orcpt={:?}", r.address, r.orcpt)
            }
        },
        Question::Data => String::from("data"),
        Question::EndOfData { size, violation, chunking } => format!("end size={size} violation={violation:?} chunking={chunking}"),
        Question::AuthPlain { authzid, user, password } => format!("password authzid={authzid} user={user} password={}", password.as_str()),
        Question::AuthScramStart { user } => format!("scram {user}"),
        Question::AuthScramProven { authzid, user } => format!("proven authzid={authzid} user={user}"),
        Question::Violation(violation, about) => format!("violation {violation:?} {about:?}"),
    }
}

fn reply_from(text: &str) -> mail::Reply {
    let mut parts = text.splitn(3, ' ');
    let code = parts.next().unwrap().parse().unwrap();
    let enhanced = EnhancedStatus::parse(parts.next().unwrap());
    mail::Reply {
        code: ReplyCode(code),
        enhanced,
        text: parts.next().unwrap_or_default().to_owned().into(),
    }
}

impl Party for Session {
    fn option(&mut self, text: &str) {
        let (name, value) = text.split_once(' ').unwrap_or((text, ""));
        let s = &mut self.settings;
        match name {
            "submission" => s.role = Role::Submission,
            "no-starttls" => s.starttls = false,
            "implicit-tls" => s.implicit_tls = true,
            "normalise" => s.bare_newline = BareNewline::Normalise,
            "auth" => s.auth = value.split(' ').map(|m| Mechanism::parse(m).unwrap()).collect(),
            "size-max" => s.size_max = value.parse().unwrap(),
            "line-max" => s.text_line_max = value.parse().unwrap(),
            "command-max" => s.command_bytes_max = value.parse().unwrap(),
            "errors-max" => s.errors_max = value.parse().unwrap(),
            "whole" => {}
            other => panic!("no such option: {other}"),
        }
    }

    fn script(&mut self, text: &str) {
        self.script.push_back(text.to_owned());
    }

    fn send(&mut self, octets: &[u8]) {
        let mut seed = match self.cut {
            Cut::Whole | Cut::Octets => 0,
            Cut::Random(seed) => seed,
        };
        let mut rest = octets;
        while !rest.is_empty() && !self.closed {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let piece_bytes = match self.cut {
                Cut::Whole => rest.len(),
                Cut::Octets => 1,
                Cut::Random(_) => 1 + usize::try_from(seed >> 33).unwrap() % 17,
            };
            let (piece, left) = rest.split_at(piece_bytes.min(rest.len()));
            rest = left;
            self.input.extend_from_slice(piece);
            self.run();
        }
    }

    fn reply_line(&mut self) -> Option<String> {
        self.server();
        let said = std::mem::take(&mut self.out);
        assert!(said.is_empty() || said.ends_with(b"\r\n"), "replies are whole lines");
        let said = String::from_utf8(said).expect("replies are ASCII");
        self.reply_lines.extend(said.split_terminator("\r\n").map(str::to_owned));
        self.reply_lines.pop_front()
    }

    fn question(&mut self) -> Option<String> {
        self.questions.pop_front()
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front()
    }

    fn event(&mut self) -> Option<String> {
        self.events.pop_front()
    }
}

#[test]
fn dialogues() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dialogue/smtp");
    let mut played = 0;
    let mut differences = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "dlg") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let dialogue = Dialogue::parse(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|d| panic!("{name}: {d}"));
        let cuts = [Cut::Whole, Cut::Octets, Cut::Random(1), Cut::Random(2), Cut::Random(3)];
        let cuts = if dialogue.has_option("whole") { &cuts[..1] } else { &cuts[..] };
        for &cut in cuts {
            if let Err(difference) = dialogue.play(&mut Session::new(settings(), cut)) {
                differences.push(format!("{name} ({cut:?}): {difference}"));
                break;
            }
        }
        played += 1;
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    assert!(played >= 40, "only {played} dialogues found");
}

/// All that can be seen of a session.
fn trace(settings: &Settings, octets: &[u8], cut: Cut) -> (Vec<u8>, Vec<String>, Vec<Vec<u8>>, Vec<String>) {
    let mut session = Session::new(settings.clone(), cut);
    session.send(octets);
    (
        session.out,
        session.questions.into(),
        session.messages.into(),
        session.events.into(),
    )
}

fn session_octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("EHLO a\r\n"),
        Just("HELO a\r\n"),
        Just("MAIL FROM:<a@b.example>\r\n"),
        Just("MAIL FROM:<> SIZE=5 BODY=8BITMIME\r\n"),
        Just("RCPT TO:<c@d.example> NOTIFY=NEVER\r\n"),
        Just("RCPT TO:<太郎@d.example>\r\n"),
        Just("DATA\r\n"),
        Just("BDAT 7\r\n"),
        Just("BDAT 3 LAST\r\n"),
        Just("BDAT 0 LAST\r\n"),
        Just("text\r\n"),
        Just("..stuffed\r\n"),
        Just(".\r\n"),
        Just("\r\n"),
        Just("\r"),
        Just("\n"),
        Just("."),
        Just("\0"),
        Just("x"),
        Just("RSET\r\n"),
        Just("NOOP\r\n"),
        Just("nonsense of a line that is longer than the limit of fifty octets\r\n"),
        Just("AUTH PLAIN AGFubgBzZWNyZXQ=\r\n"),
        Just("AUTH LOGIN\r\n"),
        Just("AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n"),
        Just("*\r\n"),
        Just("QUIT\r\n"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

fn narrow_settings(bare_newline: BareNewline) -> Settings {
    Settings {
        implicit_tls: true,
        auth: vec![Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256],
        size_max: 40,
        text_line_max: 20,
        command_bytes_max: 60,
        errors_max: 6,
        bare_newline,
        ..settings()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn packets_do_not_matter(octets in session_octets(), seed in any::<u64>(), normalise in any::<bool>()) {
        let bare_newline = if normalise { BareNewline::Normalise } else { BareNewline::Refuse };
        let settings = narrow_settings(bare_newline);
        let whole = trace(&settings, &octets, Cut::Whole);
        prop_assert_eq!(&whole, &trace(&settings, &octets, Cut::Octets));
        prop_assert_eq!(&whole, &trace(&settings, &octets, Cut::Random(seed)));
    }

    #[test]
    fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let settings = narrow_settings(BareNewline::Refuse);
        prop_assert_eq!(trace(&settings, &octets, Cut::Whole), trace(&settings, &octets, Cut::Octets));
    }
}

#[test]
fn a_large_body_is_handed_over_in_chunks() {
    let mut session = Session::new(settings(), Cut::Whole);
    session.send(b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    let line = [b"x".repeat(76).as_slice(), b"\r\n"].concat();
    let text = line.repeat(4000);
    session.input.extend_from_slice(&text);
    session.input.extend_from_slice(b".\r\n");
    let mut chunks = 0;
    loop {
        match session.step() {
            Action::BodyChunk => {
                assert!(session.body.len() >= BODY_CHUNK_BYTES && session.body.len() <= 2 * BODY_CHUNK_BYTES);
                session.chunks.append(&mut session.body);
                chunks += 1;
            }
            Action::Ask(Question::EndOfData {
                size,
                violation: None,
                chunking: false,
            }) => {
                assert_eq!(size, text.len() as u64);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    session.chunks.append(&mut session.body);
    assert_eq!(session.chunks, text);
    assert_eq!(chunks, text.len() / BODY_CHUNK_BYTES);
}

#[test]
fn replies_of_a_pipelined_group_leave_together() {
    let mut session = Session::new(settings(), Cut::Whole);
    session.send(b"EHLO a\r\n");
    session.out.clear();
    session.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@d.example>\r\nDATA\r\n");
    assert_eq!(
        String::from_utf8_lossy(&session.out),
        "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"
    );
    let server = session.server();
    assert!(server.is_in_data());
    assert_eq!(server.transaction().map(|t| t.recipients), Some(2));
    assert_eq!((server.hello_name(), server.hello_kind()), (Some("a"), Some(HelloKind::Ehlo)));
}

#[test]
fn an_answer_that_does_not_fit_closes_and_accepts_nothing() {
    let mut session = Session::new(settings(), Cut::Whole);
    session.script.push_back(String::from("login ann"));
    session.send(b"EHLO a\r\nMAIL FROM:<a@b.example>\r\n");
    assert!(session.out.ends_with(b"421 4.3.0 Local error: INTERNAL\r\n"));
    assert!(session.closed);
}

#[test]
fn refuse_closes_at_any_time_and_an_unasked_answer_does_nothing() {
    let mut server = Server::new(settings());
    let mut out = Vec::new();
    let mut input = BytesMut::from(&b"EHLO early\r\n"[..]);
    assert!(
        matches!(server.poll(&mut input, &mut out, &mut Vec::new()), Action::NeedInput),
        "nothing is read before the greeting"
    );
    server.answer(Answer::Accept, &mut out);
    assert!(out.is_empty());
    server.refuse(reply_from("554 5.5.0 early"), &mut out);
    assert_eq!(out, b"554 5.5.0 early\r\n");
    assert!(matches!(server.poll(&mut input, &mut out, &mut Vec::new()), Action::Close));
}

/// A flood of commands that move no mail is bounded: beyond the allowance each counts as wrong. A message gives a new allowance.
#[test]
fn idle_commands_are_counted_between_messages() {
    let max = usize::try_from(crate::smtp::limits::IDLE_COMMANDS_MAX).unwrap();
    let mut session = Session::new(settings(), Cut::Whole);
    session.send(b"EHLO a\r\n");
    session.send(&b"NOOP\r\n".repeat(max - 1));
    session.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.\r\n");
    session.out.clear();
    session.send(&b"RSET\r\n".repeat(max));
    assert_eq!(session.out, b"250 2.0.0 Ok\r\n".repeat(max));
    session.out.clear();
    session.send(&b"NOOP\r\n".repeat(100));
    let said = String::from_utf8_lossy(&session.out).into_owned();
    assert_eq!(said.lines().filter(|l| l.starts_with("503 5.5.1")).count(), 10);
    assert!(said.ends_with("421 4.7.0 TOO-MANY-ERRORS\r\n") && session.closed, "{said}");
}
