//! What is done to entries later: actions that waited for the end of an attempt, and the end of a pause.
//!
//! In: what the queue hands over. Out: actions. Invariants: one after the other, until shutdown.

use super::{Action, ActionError, Selection, Whose, Wish, act_on};
use crate::Desk;
use crate::queue::claim::EntryKey;
use mail::Reason;
use std::sync::Arc;
use store::spool::{EntryFilter, EntryState};
use store::tracking::Scope;
use tokio::sync::mpsc;

/// An action that waits for the end of an attempt.
#[derive(Clone, Debug)]
pub struct KeptAction {
    /// What.
    pub action: Action,
    /// Who.
    pub actor: String,
}

/// Work for [`run_kept`].
#[derive(Debug)]
pub(crate) enum Kept {
    /// An attempt has ended, now the action.
    Action(EntryKey, KeptAction),
    /// A pause of a next hop is over.
    Resume,
}

/// Does what waited for the end of an attempt, until shutdown. One task of the queue.
pub(crate) async fn run_kept(desk: Arc<Desk>, mut kept: mpsc::Receiver<Kept>) {
    loop {
        let next = tokio::select! {
            () = desk.shutdown.requested() => return,
            next = kept.recv() => next,
        };
        let result = match next {
            None => return,
            Some(Kept::Action(key, KeptAction { action, actor })) => {
                let everyone = Scope {
                    tenant: None,
                    domains: None,
                };
                let wish = Wish {
                    action,
                    actor,
                    whose: Whose::Everyones,
                };
                act_on(&desk, Selection::Entries(vec![key]), &everyone, &wish).await.map(|_| ())
            }
            Some(Kept::Resume) => resume_waiting(&desk).await,
        };
        match result {
            // Delivered, failed or discarded meanwhile: nothing is left to act on.
            Ok(()) | Err(ActionError::NotFound) => {}
            Err(error) => tracing::error!(%error, "an action on the queue failed after an attempt"),
        }
    }
}

async fn resume_waiting(desk: &Arc<Desk>) -> Result<(), ActionError> {
    let filter = EntryFilter {
        reason: Some(Reason::Paused),
        state: Some(EntryState::Queued),
        ..EntryFilter::default()
    };
    let everyone = Scope {
        tenant: None,
        domains: None,
    };
    // Each node resumes its own.
    let wish = Wish {
        action: Action::RetryNow,
        actor: "system".into(),
        whose: Whose::Ours,
    };
    act_on(desk, Selection::Filter(Box::new(filter)), &everyone, &wish)
        .await
        .map(|_| ())
}
