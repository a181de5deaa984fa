//! What policy said: to the reply and the next state.
//!
//! In:  [`Answer`]. Out: octets. Standards: RFC 5321 §4.3.2 (which reply to which command).
//! Invariants: an answer that does not fit the question is a fault of ours; it closes the session with 421 and accepts nothing.

use super::body::Framing;
use super::machine::{Asked, Counts, MailState, Server, State};
use super::{Answer, reply};
use mail::Reply;

impl Server {
    /// After [`super::Action::Ask`]. Ignored when nothing was asked.
    pub fn answer(&mut self, answer: Answer, out: &mut Vec<u8>) {
        let asked = match std::mem::replace(&mut self.state, State::Closed) {
            State::Asking(asked) => asked,
            other => {
                self.state = other;
                return;
            }
        };
        match (asked, answer) {
            (Asked::TooManyErrors, Answer::Refuse(reply)) | (_, Answer::RefuseAndClose(reply)) => self.refuse(reply, out),
            (Asked::FirstChunk(bdat), Answer::Refuse(reply)) => {
                self.mail = MailState::Refused;
                self.state = State::RefusedChunk {
                    left: bdat.octets,
                    reply,
                    counts: Counts::No,
                };
            }
            (asked, Answer::Refuse(reply)) => {
                self.refused(&asked);
                self.say(&reply, out);
            }
            (Asked::ScramStart(exchange), Answer::ScramKeys { keys, nonce }) => self.scram_challenge(exchange, keys, &nonce, out),
            (Asked::Password | Asked::ScramProven, Answer::Authenticated { login }) => {
                self.login = Some(login);
                self.idle_commands = 0;
                self.say(&reply::AUTHENTICATED, out);
            }
            (asked, Answer::Accept) => self.accepted(asked, None, out),
            (asked, Answer::AcceptWith(reply)) => self.accepted(asked, Some(reply), out),
            (_, Answer::ScramKeys { .. } | Answer::Authenticated { .. }) => self.refuse(reply::LOCAL_ERROR, out),
        }
    }

    fn say(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        reply.write_to(out);
        self.state = State::Command;
    }

    fn refused(&mut self, asked: &Asked) {
        match asked {
            Asked::Mail(_) | Asked::Data | Asked::EndOfData => self.mail = MailState::Refused,
            Asked::Hello(..)
            | Asked::Rcpt
            | Asked::FirstChunk(_)
            | Asked::Password
            | Asked::ScramStart(_)
            | Asked::ScramProven
            | Asked::Violation
            | Asked::TooManyErrors => {}
        }
    }

    fn accepted(&mut self, asked: Asked, reply: Option<Reply>, out: &mut Vec<u8>) {
        match asked {
            Asked::Hello(kind, name) => {
                reply::hello(kind, &self.settings, self.transport, out);
                self.hello = Some((kind, name));
                self.state = State::Command;
            }
            Asked::Mail(transaction) => {
                self.mail = MailState::Open(transaction);
                self.say(&reply.unwrap_or(reply::MAIL_OK), out);
            }
            Asked::Rcpt => {
                if let MailState::Open(transaction) = &mut self.mail {
                    transaction.recipients = transaction.recipients.saturating_add(1);
                }
                self.say(&reply.unwrap_or(reply::RCPT_OK), out);
            }
            Asked::Data => {
                reply::START_MAIL_INPUT.write_to(out);
                self.state = State::Text(self.new_reader(Framing::Dot));
            }
            Asked::FirstChunk(bdat) => {
                let reader = self.new_reader(Framing::Counted);
                self.state = State::Chunk {
                    reader,
                    octets: bdat.octets,
                    left: bdat.octets,
                    kind: bdat.chunk,
                };
            }
            Asked::EndOfData => {
                self.mail = MailState::None;
                self.idle_commands = 0;
                self.say(&reply.unwrap_or(reply::ACCEPTED), out);
            }
            Asked::Password | Asked::ScramStart(_) | Asked::ScramProven | Asked::Violation | Asked::TooManyErrors => {
                self.refuse(reply::LOCAL_ERROR, out);
            }
        }
    }
}
