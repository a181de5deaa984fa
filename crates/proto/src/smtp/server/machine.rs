//! The session machine itself: from octets to the next action.
//!
//! In:  octets. Out: [`Action`]. Its other rooms: `order` (commands), `content` (message octets), `answer` (policy's answers), `login` (AUTH).
//! Standards: RFC 5321 §4.1.4 (order of commands), RFC 2920, RFC 3030, RFC 3207. Deviations: see [`super`].
//! Invariants: every path through a state sets the next one; a path forgotten would leave the session closed, never open.

use super::body::BodyReader;
use super::command::{Bdat, ChunkKind, Command};
use super::reply::{self, Transport};
use super::{Action, HelloKind, Question, Settings, Transaction, Violation};
use crate::smtp::limits::IDLE_COMMANDS_MAX;
use bytes::{Buf, BytesMut};
use mail::Reply;
use std::sync::Arc;

/// One session.
#[derive(Debug)]
pub struct Server {
    pub(super) settings: Arc<Settings>,
    pub(super) state: State,
    pub(super) transport: Transport,
    pub(super) hello: Option<(HelloKind, String)>,
    pub(super) login: Option<String>,
    pub(super) mail: MailState,
    errors: u32,
    pub(super) idle_commands: u32,
}

/// What the next octets are.
#[derive(Debug)]
pub(super) enum State {
    /// The greeting has not been written.
    Unopened,
    /// A command line.
    Command,
    /// The rest of a line that was too long; then this reply.
    Overlong(Reply),
    /// Nothing: policy is being asked.
    Asking(Asked),
    /// Text up to the final dot.
    Text(BodyReader),
    /// So many octets of a chunk.
    Chunk {
        reader: BodyReader,
        octets: u64,
        left: u64,
        kind: ChunkKind,
    },
    /// So many octets of a chunk that is refused; then this reply.
    RefusedChunk { left: u64, reply: Reply, counts: Counts },
    /// A response of the client within AUTH.
    Login(super::login::Step),
    /// A TLS handshake, which is not ours.
    Handshake,
    /// None any more.
    Closed,
}

/// What is being asked, with what the answer will need.
#[derive(Debug)]
pub(super) enum Asked {
    Hello(HelloKind, String),
    Mail(Transaction),
    Rcpt,
    Data,
    FirstChunk(Bdat),
    EndOfData,
    Password,
    ScramStart(Box<crate::sasl::ScramServer>),
    ScramProven,
    Violation,
    TooManyErrors,
}

/// The mail transaction.
#[derive(Debug)]
pub(super) enum MailState {
    None,
    /// MAIL or DATA was refused: what was pipelined behind it is out of order through no fault of the client.
    Refused,
    Open(Transaction),
    /// And the first chunk has come.
    Chunking(Transaction, BodyReader),
}

/// Whether a reply goes onto the count of wrong commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Yes,
    No,
}

/// What a command line led to.
pub(super) enum Led {
    /// To the next state, without an action.
    On,
    To(Action),
    /// To an action before the line is looked at again.
    First(Action),
    /// To STARTTLS, if nothing stands behind the line.
    Tls,
}

impl Server {
    /// Before the greeting. Settings may be shared: `Arc<Settings>` is taken too.
    #[must_use]
    pub fn new(settings: impl Into<Arc<Settings>>) -> Self {
        let settings = settings.into();
        let transport = if settings.implicit_tls { Transport::Tls } else { Transport::Clear };
        let mail = MailState::None;
        Self {
            settings,
            state: State::Unopened,
            transport,
            hello: None,
            login: None,
            mail,
            errors: 0,
            idle_commands: 0,
        }
    }

    /// `220 <hostname> ESMTP`. Until then [`Server::poll`] looks at nothing.
    pub fn greet(&mut self, out: &mut Vec<u8>) {
        reply::greeting(&self.settings, out);
        self.state = State::Command;
    }

    /// Instead of the greeting, or at any time (421, 554): writes the reply and closes.
    pub fn refuse(&mut self, reply: Reply, out: &mut Vec<u8>) {
        reply.write_to(out);
        self.state = State::Closed;
        self.mail = MailState::None;
    }

    /// Goes as far as `input` leads. Consumes from it; what belongs to the time after an answer stays.
    pub fn poll(&mut self, input: &mut BytesMut, out: &mut Vec<u8>, body: &mut Vec<u8>) -> Action {
        loop {
            let action = match std::mem::replace(&mut self.state, State::Closed) {
                waiting @ (State::Unopened | State::Asking(_) | State::Handshake) => {
                    self.state = waiting;
                    Some(Action::NeedInput)
                }
                State::Command => self.command_line(input, out),
                State::Overlong(reply) => self.overlong(reply, input, out),
                State::Text(reader) => self.text(reader, input, body),
                State::Chunk {
                    reader,
                    octets,
                    left,
                    kind,
                } => self.chunk(reader, Bdat { octets, chunk: kind }, left, input, (out, body)),
                State::RefusedChunk { left, reply, counts } => self.refused_chunk(left, reply, counts, input, out),
                State::Login(step) => self.login_line(step, input, out),
                State::Closed => Some(Action::Close),
            };
            if let Some(action) = action {
                return action;
            }
        }
    }

    /// After the handshake: knowledge starts anew (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        self.transport = Transport::Tls;
        self.hello = None;
        self.login = None;
        self.mail = MailState::None;
        self.state = State::Command;
    }

    /// Whether message octets are being read (another deadline applies).
    #[must_use]
    pub fn is_in_data(&self) -> bool {
        matches!(self.state, State::Text(_) | State::Chunk { .. } | State::RefusedChunk { .. })
    }

    /// Whether the octets come over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.transport == Transport::Tls
    }

    /// What the client calls itself.
    #[must_use]
    pub fn hello_name(&self) -> Option<&str> {
        self.hello.as_ref().map(|(_, name)| name.as_str())
    }

    /// HELO or EHLO, once accepted: tells ESMTP from SMTP in Received.
    #[must_use]
    pub fn hello_kind(&self) -> Option<HelloKind> {
        self.hello.as_ref().map(|(kind, _)| *kind)
    }

    /// The login, after AUTH.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// Between an accepted MAIL and the end of data.
    #[must_use]
    pub fn transaction(&self) -> Option<&Transaction> {
        match &self.mail {
            MailState::None | MailState::Refused => None,
            MailState::Open(transaction) | MailState::Chunking(transaction, _) => Some(transaction),
        }
    }

    /// Finds the end of a line: octets with and without its line end. `None`: an action, or no line yet.
    pub(super) fn find_line(&mut self, input: &[u8]) -> Line {
        let max = self.settings.command_bytes_max;
        match memchr::memchr(b'\n', input) {
            Some(end) if end < max => match input.get(..end).and_then(|l| l.strip_suffix(b"\r")) {
                Some(line) => Line::Whole {
                    text_bytes: line.len(),
                    line_bytes: end + 1,
                },
                // STRICTER RFC 5321 §2.3.8: a bare LF ends no command either, unless the client is on the list (docs/quirk.md#smuggling).
                None if self.settings.bare_newline == super::BareNewline::Refuse => Line::BareLf { line_bytes: end + 1 },
                None => Line::Whole {
                    text_bytes: end,
                    line_bytes: end + 1,
                },
            },
            Some(_) => Line::TooLong,
            None if input.len() >= max => Line::TooLong,
            None => Line::None,
        }
    }

    fn command_line(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Option<Action> {
        self.state = State::Command;
        let (text_bytes, line_bytes) = match self.find_line(input) {
            Line::Whole { text_bytes, line_bytes } => (text_bytes, line_bytes),
            Line::BareLf { line_bytes } => {
                input.advance(line_bytes);
                return self.wrong(&reply::LINE_FORM, out);
            }
            Line::TooLong => {
                self.state = State::Overlong(reply::LINE_TOO_LONG);
                return None;
            }
            Line::None => return Some(Action::NeedInput),
        };
        let led = match Command::parse(input.get(..text_bytes).unwrap_or_default()) {
            Ok(command) => self.command(command, out),
            Err(reply) => self.wrong_syntax(&reply, out),
        };
        match led {
            Led::First(action) => return Some(action),
            Led::On | Led::To(_) | Led::Tls => input.advance(line_bytes),
        }
        match led {
            Led::On => None,
            Led::To(action) | Led::First(action) => Some(action),
            Led::Tls => Some(self.start_tls(input, out)),
        }
    }

    /// RFC 5321 §4.5.3.1.4, §4.5.3.1.9: the line is thrown away as it comes, then refused.
    fn overlong(&mut self, reply: Reply, input: &mut BytesMut, out: &mut Vec<u8>) -> Option<Action> {
        match memchr::memchr(b'\n', input) {
            Some(end) => {
                input.advance(end + 1);
                self.wrong(&reply, out)
            }
            None => {
                input.clear();
                self.state = State::Overlong(reply);
                Some(Action::NeedInput)
            }
        }
    }

    /// Writes the reply to a wrong command, or asks what to say when there were too many.
    pub(super) fn wrong(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Option<Action> {
        self.errors = self.errors.saturating_add(1);
        if self.errors > self.settings.errors_max {
            return Some(self.ask(Asked::TooManyErrors, Question::Violation(Violation::TooManyErrors, None)));
        }
        reply.write_to(out);
        self.state = State::Command;
        None
    }

    pub(super) fn ask(&mut self, asked: Asked, question: Question) -> Action {
        self.state = State::Asking(asked);
        Action::Ask(question)
    }

    fn wrong_syntax(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Led {
        // Octets of a message follow that must not be read as commands, and how many is not known.
        if *reply == reply::BDAT_FORM {
            reply.write_to(out);
            self.state = State::Closed;
            return Led::To(Action::Close);
        }
        self.led_wrong(reply, out)
    }

    pub(super) fn led_wrong(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Led {
        self.wrong(reply, out).map_or(Led::On, Led::To)
    }

    /// Out of order; not the client's fault when it was pipelined behind a MAIL that we refused.
    pub(super) fn led_out_of_order(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Led {
        if matches!(self.mail, MailState::Refused) {
            reply.write_to(out);
            return Led::On;
        }
        self.led_wrong(reply, out)
    }

    /// A command that moves no mail.
    pub(super) fn led_idle(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Led {
        if self.is_idling() {
            return self.led_wrong(&reply::IDLING, out);
        }
        reply.write_to(out);
        Led::On
    }

    pub(super) fn is_idling(&mut self) -> bool {
        self.idle_commands = self.idle_commands.saturating_add(1);
        self.idle_commands > IDLE_COMMANDS_MAX
    }

    pub(super) fn is_mail_open(&self) -> bool {
        matches!(self.mail, MailState::Open(_) | MailState::Chunking(..))
    }
}

/// What `input` starts with.
pub(super) enum Line {
    Whole { text_bytes: usize, line_bytes: usize },
    BareLf { line_bytes: usize },
    TooLong,
    None,
}
