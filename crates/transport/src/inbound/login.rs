//! AUTH on submission listeners: which relay credential is this?
//!
//! In:  what the client claims and proves. Out: a login for the rest of the session, or one and the same refusal for every cause.
//! Standards: RFC 4954, RFC 4616, RFC 5802 and 7677; domains-and-routing 6.1, 10 (`AUTH-FAILED`).
//! Invariants: nobody acts for another; secrets reach neither log nor tracking.

use super::reply::Refusal;
use super::session::Session;
use super::sources::Login;
use identity::relay::{LoginRefusal, RelayLogin, ScramProof};
use mail::{Reason, Reference, header};
use proto::sasl::{ScramKeys, nonce};
use proto::smtp::server::Answer;

/// Characters of a login that tracking is told.
const LOGIN_CHARS_MAX: usize = 128;

impl Session {
    pub(super) async fn judge_plain(&mut self, authzid: &str, user: &str, password: &str) -> Answer {
        if !is_self(authzid, user) {
            return self.login_failed(user);
        }
        let live = self.desk.live();
        let (client, now) = (self.connection.ip(), self.desk.now());
        let outcome = self.desk.relay.with_secret(&live, user, password, client, now).await;
        self.logged_in(outcome, user)
    }

    pub(super) fn judge_scram_start(&mut self, user: &str) -> Answer {
        let live = self.desk.live();
        match self.desk.relay.begin_scram(&live, user, self.connection.ip(), self.desk.now()) {
            Ok(question) => {
                let keys = ScramKeys {
                    salt: question.keys.salt.clone(),
                    iterations: question.keys.iterations,
                    stored_key: question.keys.stored_key,
                    server_key: question.keys.server_key,
                };
                let Ok(nonce) = nonce() else {
                    return self.internal("no random bytes for a nonce");
                };
                self.scram = Some(Box::new(question));
                Answer::ScramKeys { keys, nonce }
            }
            Err(refusal) => self.logged_in(Err(refusal), user),
        }
    }

    pub(super) fn judge_scram_proven(&mut self, authzid: &str, user: &str) -> Answer {
        let Some(question) = self.scram.take().filter(|_| is_self(authzid, user)) else {
            return self.login_failed(user);
        };
        let outcome = self
            .desk
            .relay
            .finish_scram(*question, ScramProof::Right, self.connection.ip(), self.desk.now());
        self.logged_in(outcome, user)
    }

    fn logged_in(&mut self, outcome: Result<RelayLogin, LoginRefusal>, user: &str) -> Answer {
        match outcome {
            Ok(found) => {
                let login = found.login.clone();
                let (client, at, now) = (self.connection.ip(), self.desk.now(), self.desk.clock.monotonic());
                self.desk
                    .inbound
                    .sightings
                    .credential(found.tenant.id, &found.credential.name, client, at, now);
                self.connection.login = Some(Login {
                    tenant: found.tenant.id,
                    credential: found.credential.name,
                    name: found.login,
                });
                Answer::Authenticated { login }
            }
            Err(LoginRefusal::Wrong | LoginRefusal::Locked(_)) => self.login_failed(user),
            Err(LoginRefusal::Busy(error)) => {
                tracing::warn!(%error, "log-in could not be checked");
                self.refusal(
                    &Refusal::new(Reason::Internal).with_detail("log-in could not be checked"),
                    None,
                    None,
                )
            }
        }
    }

    /// The answer to a wrong secret, an unknown name, a lock, an expired credential.
    pub(super) fn login_failed(&mut self, user: &str) -> Answer {
        if let Some(question) = self.scram.take() {
            // Counts as a failure for lock-out; the door answers "wrong" to it in any case. Lock-out counts a wrong secret once, however
            // often a device repeats it; what was tried here is not known, so each try counts as another.
            let tried = Reference::random().to_string();
            let _ = self.desk.relay.finish_scram(
                *question,
                ScramProof::Wrong(tried.as_bytes()),
                self.connection.ip(),
                self.desk.now(),
            );
        }
        let detail = format!("login {}", header::printable(user, LOGIN_CHARS_MAX));
        self.refusal(&Refusal::new(Reason::AuthFailed).with_detail(detail), None, None)
    }
}

/// RFC 4616 §2: an authorization identity other than one's own asks to act for another.
fn is_self(authzid: &str, user: &str) -> bool {
    authzid.is_empty() || authzid.eq_ignore_ascii_case(user)
}
