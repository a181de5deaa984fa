//! Which command may come when, and what it leads to.
//!
//! In:  a command in syntax. Out: the next state; a question to policy, or a reply about order.
//! Standards: RFC 5321 §4.1.4; RFC 2920 §3.1; RFC 3030 §2; RFC 3207 §4. Deviations: none.
//! Invariants: a command out of order changes nothing; the octets behind BDAT are never read as commands.

use super::command::{Bdat, Command};
use super::machine::{Asked, Counts, Led, MailState, Server, State};
use super::path::{self, Charset, PathError};
use super::reply;
use super::{Action, HelloKind, Question, Role, Transaction, Violation};
use bytes::BytesMut;
use mail::Reply;

impl Server {
    /// Called again with the same line afterwards, when the transaction is no longer open.
    fn abandon(&mut self) -> Led {
        self.mail = MailState::None;
        Led::First(Action::Abandoned)
    }

    pub(super) fn command(&mut self, command: Command<'_>, out: &mut Vec<u8>) -> Led {
        match command {
            // RFC 5321 §4.1.4: EHLO and RSET end the transaction.
            Command::Helo(_) | Command::Ehlo(_) | Command::Rset | Command::StartTls if self.is_mail_open() => self.abandon(),
            Command::Helo(name) => self.hello(HelloKind::Helo, name, out),
            Command::Ehlo(name) => self.hello(HelloKind::Ehlo, name, out),
            Command::Mail(argument) => self.mail(argument, out),
            Command::Rcpt(argument) => self.rcpt(argument, out),
            Command::Data => self.data(out),
            Command::Bdat(bdat) => self.bdat(bdat),
            Command::Rset => {
                self.mail = MailState::None;
                self.led_idle(&reply::OK, out)
            }
            Command::Noop => self.led_idle(&reply::OK, out),
            Command::Vrfy => self.led_idle(&reply::CANNOT_VERIFY, out),
            Command::Help => self.led_idle(&reply::HELP, out),
            Command::Quit => {
                reply::BYE.write_to(out);
                self.state = State::Closed;
                self.mail = MailState::None;
                Led::To(Action::Close)
            }
            Command::StartTls if !self.settings.starttls => self.led_wrong(&reply::NOT_IMPLEMENTED, out),
            Command::StartTls if self.is_tls() => self.led_wrong(&reply::TLS_ALREADY, out),
            Command::StartTls => Led::Tls,
            Command::Auth(argument) => match self.auth(argument, out) {
                Some(action) => Led::To(action),
                None => Led::On,
            },
        }
    }

    fn hello(&mut self, kind: HelloKind, name: &str, out: &mut Vec<u8>) -> Led {
        if self.is_idling() {
            return self.led_wrong(&reply::IDLING, out);
        }
        self.mail = MailState::None;
        Led::To(self.ask(Asked::Hello(kind, name.to_owned()), Question::Hello(kind, name.to_owned())))
    }

    fn mail(&mut self, argument: &str, out: &mut Vec<u8>) -> Led {
        if self.hello.is_none() {
            return self.led_wrong(&reply::HELLO_FIRST, out);
        }
        match self.mail {
            MailState::Open(_) => return self.led_wrong(&reply::MAIL_NESTED, out),
            MailState::Chunking(..) => return self.led_wrong(&reply::CHUNKS_BEGUN, out),
            MailState::None | MailState::Refused => self.mail = MailState::Refused,
        }
        match self.settings.role {
            Role::Submission if !self.is_tls() => return self.led_violation(Violation::TlsRequired, None),
            Role::Submission if self.login.is_none() => return self.led_violation(Violation::AuthRequired, None),
            Role::Submission | Role::Mx => {}
        }
        match path::mail(argument, self.settings.size_max) {
            Ok((path, params)) => {
                let transaction = Transaction {
                    declared_size: params.size,
                    smtputf8: params.smtputf8,
                    recipients: 0,
                };
                Led::To(self.ask(Asked::Mail(transaction), Question::Mail(path, params)))
            }
            Err(PathError::Syntax(reply)) => self.led_wrong(&reply, out),
            Err(PathError::Violation(violation, about)) => self.led_violation(violation, about),
        }
    }

    fn led_violation(&mut self, violation: Violation, about: Option<String>) -> Led {
        Led::To(self.ask(Asked::Violation, Question::Violation(violation, about)))
    }

    fn rcpt(&mut self, argument: &str, out: &mut Vec<u8>) -> Led {
        let charset = match &self.mail {
            MailState::None | MailState::Refused => return self.led_out_of_order(&reply::MAIL_FIRST, out),
            // RFC 3030 §2: between chunks there is nothing but chunks.
            MailState::Chunking(..) => return self.led_wrong(&reply::CHUNKS_BEGUN, out),
            MailState::Open(transaction) if transaction.smtputf8 => Charset::Utf8,
            MailState::Open(_) => Charset::Ascii,
        };
        match path::rcpt(argument, charset, &self.settings.hostname) {
            Ok(recipient) => Led::To(self.ask(Asked::Rcpt, Question::Rcpt(recipient))),
            Err(PathError::Syntax(reply)) => self.led_wrong(&reply, out),
            Err(PathError::Violation(violation, about)) => self.led_violation(violation, about),
        }
    }

    fn data(&mut self, out: &mut Vec<u8>) -> Led {
        match &self.mail {
            MailState::None | MailState::Refused => self.led_out_of_order(&reply::MAIL_FIRST, out),
            MailState::Chunking(..) => self.led_wrong(&reply::CHUNKS_BEGUN, out),
            // RFC 2920 §3.1: a client that pipelines says DATA before it knows that all recipients were refused.
            MailState::Open(transaction) if transaction.recipients == 0 => self.led_idle(&reply::RCPT_FIRST, out),
            MailState::Open(_) => Led::To(self.ask(Asked::Data, Question::Data)),
        }
    }

    /// RFC 3030 §2: the octets of a chunk come at once, wanted or not; the reply stands behind them.
    fn bdat(&mut self, bdat: Bdat) -> Led {
        let refuse = |reply: Reply, counts| State::RefusedChunk {
            left: bdat.octets,
            reply,
            counts,
        };
        self.state = match std::mem::replace(&mut self.mail, MailState::Refused) {
            MailState::None => refuse(reply::MAIL_FIRST, Counts::Yes),
            MailState::Refused => refuse(reply::MAIL_FIRST, Counts::No),
            MailState::Open(transaction) if transaction.recipients == 0 => {
                self.mail = MailState::Open(transaction);
                refuse(reply::RCPT_FIRST, Counts::No)
            }
            MailState::Open(transaction) => {
                self.mail = MailState::Open(transaction);
                return Led::To(self.ask(Asked::FirstChunk(bdat), Question::Data));
            }
            MailState::Chunking(transaction, reader) => {
                self.mail = MailState::Open(transaction);
                State::Chunk {
                    reader,
                    octets: bdat.octets,
                    left: bdat.octets,
                    kind: bdat.chunk,
                }
            }
        };
        Led::On
    }

    /// RFC 3207 §4: nothing that was said in clear may be taken for said under TLS.
    pub(super) fn start_tls(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Action {
        if !input.is_empty() {
            input.clear();
            reply::TLS_PIPELINED.write_to(out);
            self.state = State::Closed;
            return Action::Close;
        }
        reply::READY_FOR_TLS.write_to(out);
        self.state = State::Handshake;
        Action::StartTls
    }
}
