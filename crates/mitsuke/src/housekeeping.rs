//! What is done now and then: certificates that changed on disk, retention, orphans of the blob folder.
//!
//! In: the clock and the settings. Out: nothing that anyone waits for.
//! Invariants: a failure is told in the log and tried again the next time.

use mail::{TenantId, Timestamp};
use net::tls::Reload;
use std::sync::Arc;
use std::time::Duration;
use transport::Desk;

/// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(3);
/// How often old things are dropped.
const RETENTION_EVERY: Duration = Duration::from_secs(3_600);
/// `tracking.retention` when nothing is set, days.
const TRACKING_DAYS: u32 = 400;
/// Audit retention, days.
const AUDIT_DAYS: u64 = 7 * 366;
/// Finished jobs are kept for so long.
const JOBS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// A body so old was committed long ago, or never will be.
const ORPHAN_AGE: Duration = Duration::from_secs(2 * 3_600);

/// Runs until shutdown.
pub async fn run(desk: Arc<Desk>) {
    let mut next_retention = desk.now();
    loop {
        if desk.now() >= next_retention {
            retention(&desk).await;
            sweep(&desk).await;
            next_retention = desk.now().after(RETENTION_EVERY);
        }
        tokio::select! {
            () = desk.shutdown.requested() => return,
            () = desk.clock.sleep(CERTIFICATES_EVERY) => {}
        }
        match desk.server_tls.reload_if_changed() {
            Reload::Unchanged => {}
            Reload::Reloaded => tracing::info!("certificates reloaded"),
            Reload::Failed(error) => tracing::error!(%error, "new certificate files cannot be used; the old ones stay"),
        }
    }
}

/// Large bodies that no message names: what a crash left behind.
async fn sweep(desk: &Desk) {
    match desk.store.sweep_blobs(ORPHAN_AGE).await {
        Ok(swept) if swept.removed > 0 => tracing::info!(removed = swept.removed, "bodies without a message removed"),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "bodies without a message could not be removed"),
    }
}

async fn retention(desk: &Desk) {
    let now = desk.now();
    let days = |n: u32| Duration::from_secs(86_400 * u64::from(n));
    let live = desk.live();
    let first = |n: Option<u32>| now.before(days(n.unwrap_or(TRACKING_DAYS)));
    let mut keep: Vec<(TenantId, Timestamp)> = live
        .tenants
        .values()
        .map(|t| (t.id, first(t.settings.tracking.retention_days)))
        .collect();
    keep.push((TenantId::OPERATOR, first(live.system.tracking.retention_days)));
    let tenants: Vec<TenantId> = keep.iter().map(|(t, _)| *t).collect();
    match desk.store.mail.expire_tracking(keep, first(None)).await {
        Ok(0) => {}
        Ok(dropped) => tracing::info!(dropped, "tracking past its retention dropped"),
        Err(error) => tracing::warn!(%error, "tracking past its retention could not be dropped"),
    }
    let audit_before = now.before(Duration::from_secs(86_400 * AUDIT_DAYS));
    let outcome = desk
        .store
        .write(move |tx| {
            for tenant in tenants {
                store::control::audit::expire(tx, tenant, audit_before)?;
            }
            store::control::revision::expire(tx, now)?;
            store::control::job::expire(tx, now.before(JOBS_KEPT))
        })
        .await;
    if let Err(error) = outcome {
        tracing::warn!(%error, "old revisions and audit entries could not be dropped");
    }
}
