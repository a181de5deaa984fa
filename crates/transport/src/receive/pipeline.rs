//! The pipeline: in which order is a message examined, and where would a new check go?
//!
//! In:  a transaction at its final dot. Out: a receipt after the commit, or one refusal.
//! Standards: domains-and-routing 6.2, 10.
//! Invariants: the order below is the whole order; nothing before [`commit`] promises anything, nothing after it refuses.

use super::{Accepted, Receipt, Refused, commit, decide, trace, verify};
use crate::Desk;

/// Accepted → Traced → Admitted → Verified → Decided → commit.
///
/// # Errors
/// [`Refused`]: one reply for all recipients.
pub async fn receive(accepted: Accepted<'_>, desk: &Desk) -> Result<Receipt, Refused> {
    let Accepted {
        connection,
        transaction,
        collected,
        size,
    } = accepted;
    // How often it has been handed on, and how often through here: HOPS, LOOP.
    trace::check(&collected.facts, transaction, desk)?;
    // Whose mail it is: 6.2 steps 4–6, proof of tenant. NO-DOMAIN, CLIENT-NOT-ALLOWED, TENANT-UNPROVEN.
    let admitted = decide::admit(connection, transaction, &collected.facts, size, desk).await?;
    // What DNS says of the client: reverse name, SPF. Never refuses.
    let verified = verify::run(connection, transaction, &admitted, desk).await;
    // What becomes of each recipient: limits of header and size.
    let decided = decide::run(transaction, &admitted, &collected.facts, size)?;
    // From here on we are responsible.
    commit::run(
        commit::Parts {
            connection,
            transaction,
            collected,
            admitted,
            verified,
            decided,
            size,
        },
        desk,
    )
    .await
}
