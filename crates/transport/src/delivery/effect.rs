//! What does a reply of the next hop mean for the message? The effects table, as one function.
//!
//! In: where in the dialogue, and the reply (or that the connection was lost). Out: an [`Effect`].
//! Standards: domains-and-routing 4.2 and 11.1; RFC 5321 §4.2.1, §4.3.2, §4.5.3.1.10.
//! Invariants: nothing is Failed but by a 5yz to MAIL, RCPT or DATA; nothing that the host may have taken goes to another host at once.

use mail::{Class, Reply};

/// Where in the dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Name look-up, connect.
    Connect,
    /// Greeting.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS and handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, before its 354.
    Data,
    /// After the final dot.
    FinalDot,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Go on; after the final dot: delivered.
    Proceed,
    /// Next candidate at once, for the recipients concerned.
    Next,
    /// Failed, DSN; no further candidate, for the recipients concerned.
    Fail,
    /// Deferred without trying another candidate: the host may have taken it.
    Defer,
}

/// The effect of a reply.
#[must_use]
pub fn after_reply(stage: Stage, reply: &Reply) -> Effect {
    match stage {
        // 4yz or 5yz in greeting or EHLO (and what we add to them, STARTTLS and AUTH): the host is of no use, the message may be.
        Stage::Connect | Stage::Greeting | Stage::Hello | Stage::StartTls | Stage::Auth => match reply.code.0 {
            200..=299 => Effect::Proceed,
            _ => Effect::Next,
        },
        Stage::Mail | Stage::Rcpt | Stage::FinalDot => match (reply.code.0, reply.class()) {
            (200..=299, _) => Effect::Proceed,
            // RFC 5321 §4.5.3.1.10: 552 to RCPT means "too many recipients" and counts as 452.
            (552, _) if stage == Stage::Rcpt => Effect::Next,
            (_, Class::Permanent) => Effect::Fail,
            (_, Class::Transient | Class::Success) => Effect::Next,
        },
        Stage::Data => match (reply.code.0, reply.class()) {
            (300..=399, _) => Effect::Proceed,
            (_, Class::Permanent) => Effect::Fail,
            // A 2yz to DATA is no promise of anything.
            (_, Class::Transient | Class::Success) => Effect::Next,
        },
    }
}

/// The effect of a lost connection or a passed deadline.
#[must_use]
pub fn after_loss(stage: Stage) -> Effect {
    match stage {
        Stage::FinalDot => Effect::Defer,
        Stage::Connect | Stage::Greeting | Stage::Hello | Stage::StartTls | Stage::Auth | Stage::Mail | Stage::Rcpt | Stage::Data => {
            Effect::Next
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies() {
        let check = |stage, code, expect| assert_eq!(after_reply(stage, &Reply::bare(code, "")), expect, "{stage:?} {code}");
        for stage in [Stage::Greeting, Stage::Hello, Stage::StartTls, Stage::Auth] {
            for (code, expect) in [
                (220, Effect::Proceed),
                (421, Effect::Next),
                (454, Effect::Next),
                (554, Effect::Next),
                (354, Effect::Next),
            ] {
                check(stage, code, expect);
            }
        }
        for stage in [Stage::Mail, Stage::Rcpt, Stage::FinalDot] {
            for (code, expect) in [
                (250, Effect::Proceed),
                (421, Effect::Next),
                (451, Effect::Next),
                (550, Effect::Fail),
                (354, Effect::Next),
            ] {
                check(stage, code, expect);
            }
        }
        check(Stage::Rcpt, 251, Effect::Proceed);
        check(Stage::Rcpt, 552, Effect::Next);
        check(Stage::Mail, 552, Effect::Fail);
        for (code, expect) in [
            (354, Effect::Proceed),
            (250, Effect::Next),
            (451, Effect::Next),
            (554, Effect::Fail),
        ] {
            check(Stage::Data, code, expect);
        }
    }

    #[test]
    fn losses() {
        for stage in [
            Stage::Connect,
            Stage::Greeting,
            Stage::Hello,
            Stage::StartTls,
            Stage::Auth,
            Stage::Mail,
            Stage::Rcpt,
            Stage::Data,
        ] {
            assert_eq!(after_loss(stage), Effect::Next, "{stage:?}");
        }
        assert_eq!(after_loss(Stage::FinalDot), Effect::Defer);
    }
}
