//! AUTH: the exchange between the command and its last reply.
//!
//! In:  the argument of AUTH, the response lines of the client. Out: challenges, and the questions about passwords and proofs.
//! Standards: RFC 4954, RFC 4616, RFC 5802, RFC 7677. Deviations: none.
//! Invariants: no mechanism without TLS; a `*` or a malformed response ends the exchange; a password is in memory only until it is asked about.

use super::command::auth_argument;
use super::machine::{Asked, Line, MailState, Server, State};
use super::{Action, Mechanism, Question, Violation, reply};
use crate::sasl::{SaslError, ScramKeys, ScramServer, read_plain};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use zeroize::Zeroizing;

/// Which response is awaited.
#[derive(Debug)]
pub(super) enum Step {
    Plain,
    LoginUser,
    LoginPassword {
        user: String,
    },
    ScramFirst,
    ScramFinal(Box<ScramServer>),
    /// RFC 5802 within RFC 4954: the server's signature went out as a challenge, the client answers it with nothing.
    ScramAcknowledge(Box<ScramServer>),
}

impl Server {
    /// The AUTH command.
    pub(super) fn auth(&mut self, argument: &str, out: &mut Vec<u8>) -> Option<Action> {
        if self.settings.auth.is_empty() {
            return self.wrong(&reply::NOT_IMPLEMENTED, out);
        }
        // RFC 4954 §4: after EHLO, not within a transaction, not twice.
        if self.hello.is_none() {
            return self.wrong(&reply::HELLO_FIRST, out);
        }
        if self.login.is_some() || matches!(self.mail, MailState::Open(_) | MailState::Chunking(..)) {
            return self.wrong(&reply::AUTH_NOT_NOW, out);
        }
        if !self.is_tls() {
            return Some(self.ask(Asked::Violation, Question::Violation(Violation::TlsRequired, None)));
        }
        let (mechanism, response) = match auth_argument(argument) {
            Ok(argument) => argument,
            Err(reply) => return self.wrong(&reply, out),
        };
        if !self.settings.auth.contains(&mechanism) {
            return self.wrong(&reply::AUTH_MECHANISM, out);
        }
        let (step, challenge) = match mechanism {
            Mechanism::Plain => (Step::Plain, ""),
            Mechanism::Login => (Step::LoginUser, reply::LOGIN_USERNAME),
            Mechanism::ScramSha256 => (Step::ScramFirst, ""),
        };
        match response {
            // RFC 4954 §4: `=` is an initial response of no octets.
            Some("=") => self.respond(step, &[], out),
            Some(response) => self.respond_base64(step, response.as_bytes(), out),
            None => {
                self.challenge(challenge, step, out);
                None
            }
        }
    }

    /// A response line.
    pub(super) fn login_line(&mut self, step: Step, input: &mut BytesMut, out: &mut Vec<u8>) -> Option<Action> {
        let (text_bytes, line_bytes) = match self.find_line(input) {
            Line::Whole { text_bytes, line_bytes } => (text_bytes, line_bytes),
            Line::BareLf { line_bytes } => {
                input.advance(line_bytes);
                return self.wrong(&reply::LINE_FORM, out);
            }
            Line::TooLong => {
                self.state = State::Overlong(reply::AUTH_LINE_TOO_LONG);
                return None;
            }
            Line::None => {
                self.state = State::Login(step);
                return Some(Action::NeedInput);
            }
        };
        let line = input.get(..text_bytes).unwrap_or_default();
        let action = if line == b"*" {
            self.wrong(&reply::AUTH_CANCELLED, out)
        } else {
            self.respond_base64(step, line, out)
        };
        input.advance(line_bytes);
        action
    }

    fn respond_base64(&mut self, step: Step, response: &[u8], out: &mut Vec<u8>) -> Option<Action> {
        match STANDARD.decode(response) {
            Ok(response) => self.respond(step, &Zeroizing::new(response), out),
            Err(_) => self.wrong(&reply::AUTH_RESPONSE_FORM, out),
        }
    }

    fn respond(&mut self, step: Step, response: &[u8], out: &mut Vec<u8>) -> Option<Action> {
        match self.respond_or_fail(step, response, out) {
            Ok(action) => action,
            Err(_) => self.wrong(&reply::AUTH_RESPONSE_FORM, out),
        }
    }

    fn respond_or_fail(&mut self, step: Step, response: &[u8], out: &mut Vec<u8>) -> Result<Option<Action>, SaslError> {
        match step {
            Step::Plain => {
                let message = read_plain(response)?;
                let question = Question::AuthPlain {
                    authzid: message.authzid,
                    user: message.user,
                    password: message.password,
                };
                Ok(Some(self.ask(Asked::Password, question)))
            }
            Step::LoginUser => {
                let user = text(response)?.to_owned();
                self.challenge(reply::LOGIN_PASSWORD, Step::LoginPassword { user }, out);
                Ok(None)
            }
            Step::LoginPassword { user } => {
                let password = Zeroizing::new(text(response)?.to_owned());
                Ok(Some(self.ask(
                    Asked::Password,
                    Question::AuthPlain {
                        authzid: String::new(),
                        user,
                        password,
                    },
                )))
            }
            Step::ScramFirst => {
                let exchange = Box::new(ScramServer::read_first(response)?);
                let user = exchange.user().to_owned();
                Ok(Some(self.ask(Asked::ScramStart(exchange), Question::AuthScramStart { user })))
            }
            Step::ScramFinal(exchange) => match exchange.read_final(response) {
                Ok(server_final) => {
                    self.challenge(&STANDARD.encode(server_final), Step::ScramAcknowledge(exchange), out);
                    Ok(None)
                }
                Err(SaslError::Proof) => {
                    let user = Some(exchange.user().to_owned());
                    Ok(Some(self.ask(Asked::Violation, Question::Violation(Violation::AuthFailed, user))))
                }
                Err(error) => Err(error),
            },
            Step::ScramAcknowledge(exchange) if response.is_empty() => {
                let (authzid, user) = (exchange.authzid().to_owned(), exchange.user().to_owned());
                Ok(Some(self.ask(Asked::ScramProven, Question::AuthScramProven { authzid, user })))
            }
            Step::ScramAcknowledge(_) => Err(SaslError::Form),
        }
    }

    pub(super) fn scram_challenge(&mut self, mut exchange: Box<ScramServer>, keys: ScramKeys, nonce: &str, out: &mut Vec<u8>) {
        let server_first = exchange.challenge(keys, nonce);
        self.challenge(&STANDARD.encode(server_first), Step::ScramFinal(exchange), out);
    }

    fn challenge(&mut self, text: &str, step: Step, out: &mut Vec<u8>) {
        reply::challenge(text, out);
        self.state = State::Login(step);
    }
}

fn text(response: &[u8]) -> Result<&str, SaslError> {
    if response.is_empty() || response.contains(&0) {
        return Err(SaslError::Form);
    }
    std::str::from_utf8(response).map_err(|_| SaslError::Utf8)
}
