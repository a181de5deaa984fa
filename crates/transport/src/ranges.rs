//! Shared ranges: from which networks do all customers of a provider send? (`outbound.shared_ranges`, domains-and-routing 6.1)
//!
//! In:  the providers' published SPF records, every 6 hours. Out: a revision of the operator's settings, when they changed.
//! Standards: RFC 7208 §5 (`ip4`, `ip6`, `include`, `redirect`); other mechanisms say nothing about ranges and are passed over.
//! Invariants: the last good copy stays until a whole new one was read; one that shrank by half waits for the operator, since taking it
//! over would turn away the mail of every customer in what is missing.

use crate::Desk;
use crate::settings::Settings;
use config::document::SharedRanges;
use ipnet::IpNet;
use mail::{TenantId, Timestamp};
use net::resolver::{DnsError, Resolver};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use store::control::audit::{self, AuditEntry, Change};
use store::control::revision::{self, Save};
use store::{Store, StoreError};

/// How often they are read.
const EVERY: Duration = Duration::from_secs(6 * 3_600);
/// After a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(1_800);
/// After a start, so that it does not stand in the way of mail.
const FIRST_AFTER: Duration = Duration::from_secs(60);
const MICROSOFT_365: &str = "spf.protection.outlook.com";
const GOOGLE_WORKSPACE: &str = "_spf.google.com";
/// Records read for one provider.
const RECORDS_MAX: usize = 20;
const NETWORKS_MAX: usize = 5_000;
/// Shorter ones are a mistake or a trick: they would call half of the net shared.
const SHORTEST_V4: u8 = 10;
const SHORTEST_V6: u8 = 24;

/// Why ranges were not read.
#[derive(Debug, thiserror::Error)]
pub enum RangesError {
    /// DNS did not answer.
    #[error("look up the SPF record of {name}")]
    Lookup {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: DnsError,
    },
    /// None, several, or not to be used.
    #[error("the SPF record of {name} is not one to read ranges from: {problem}")]
    Record {
        /// Which.
        name: String,
        /// Why.
        problem: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the ranges until shutdown.
pub async fn run(desk: Arc<Desk>, settings: Arc<Settings>) {
    let mut wait = FIRST_AFTER;
    loop {
        tokio::select! {
            () = desk.shutdown.requested() => return,
            () = desk.clock.sleep(wait) => {}
        }
        let ranges = desk.live().system.shared_ranges.clone();
        wait = EVERY;
        if ranges.refresh == Some(false) {
            continue;
        }
        match refresh(&desk.store, &desk.resolver, &ranges, desk.now()).await {
            Ok(()) => {
                if let Err(error) = settings.refresh().await {
                    tracing::warn!(%error, "new shared ranges are live with the next look at the settings");
                }
            }
            Err(error) => {
                wait = AGAIN_AFTER;
                tracing::info!(
                    error = &error as &dyn std::error::Error,
                    "shared ranges were not read; the last good ones stay"
                );
            }
        }
    }
}

/// Reads both providers' ranges and saves what changed.
///
/// # Errors
/// [`RangesError`]; then nothing was changed.
pub async fn refresh(store: &Store, resolver: &Resolver, last: &SharedRanges, now: Timestamp) -> Result<(), RangesError> {
    let providers = [
        (
            "microsoft365",
            last.microsoft365_spf.as_deref().unwrap_or(MICROSOFT_365),
            &last.microsoft365,
        ),
        (
            "google_workspace",
            last.google_workspace_spf.as_deref().unwrap_or(GOOGLE_WORKSPACE),
            &last.google_workspace,
        ),
    ];
    for (field, spf, old) in providers {
        let new: Vec<IpNet> = read(resolver, spf).await?.into_iter().collect();
        let old: Vec<IpNet> = old.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        if new == old {
            continue;
        }
        let shrank = has_shrunk(&old, &new);
        if shrank {
            tracing::error!(
                provider = field,
                old = old.len(),
                new = new.len(),
                "a provider's ranges shrank by half; they wait for the operator"
            );
        }
        store.write(move |tx| save(tx, field, &old, &new, shrank, now)).await?;
    }
    Ok(())
}

/// The networks of an SPF record and all that it includes.
///
/// # Errors
/// [`RangesError`].
pub async fn read(resolver: &Resolver, spf: &str) -> Result<BTreeSet<IpNet>, RangesError> {
    let mut networks = BTreeSet::new();
    let mut names = vec![spf.to_owned()];
    let mut at = 0;
    while let Some(name) = names.get(at).cloned() {
        at += 1;
        let bad = |problem| RangesError::Record {
            name: name.clone(),
            problem,
        };
        let texts = resolver.txt_of(&name).await.map_err(|source| RangesError::Lookup {
            name: name.clone(),
            source,
        })?;
        let is_spf = |text: &&String| text.split(' ').next().is_some_and(|v| v.eq_ignore_ascii_case("v=spf1"));
        let mut records = texts.iter().filter(is_spf);
        let record = records.next().ok_or_else(|| bad("there is none"))?;
        if records.next().is_some() {
            return Err(bad("there are several"));
        }
        for term in record.split(' ').skip(1) {
            let term = term.trim_start_matches('+').to_ascii_lowercase();
            if let Some(text) = term.strip_prefix("ip4:").or_else(|| term.strip_prefix("ip6:")) {
                networks.insert(network(text).ok_or_else(|| bad("a network cannot be read or is too large"))?);
            } else if let Some(next) = term.strip_prefix("include:").or_else(|| term.strip_prefix("redirect="))
                && !names.iter().any(|known| known == next)
            {
                names.push(next.to_owned());
            }
        }
        if names.len() > RECORDS_MAX || networks.len() > NETWORKS_MAX {
            return Err(bad("it leads to too many records or networks"));
        }
    }
    if networks.is_empty() {
        return Err(RangesError::Record {
            name: spf.to_owned(),
            problem: "it names no network",
        });
    }
    Ok(networks)
}

fn network(text: &str) -> Option<IpNet> {
    let network: IpNet = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).ok()?;
    let shortest = match network {
        IpNet::V4(_) => SHORTEST_V4,
        IpNet::V6(_) => SHORTEST_V6,
    };
    (network.prefix_len() >= shortest).then(|| network.trunc())
}

/// Whether half or more of the addresses of either family are gone.
fn has_shrunk(old: &[IpNet], new: &[IpNet]) -> bool {
    let size = |list: &[IpNet], v4: bool| -> u128 {
        let of_family = list.iter().filter(|n| matches!(n, IpNet::V4(_)) == v4);
        of_family
            .map(|n| 1_u128 << (n.max_prefix_len() - n.prefix_len()))
            .fold(0, u128::saturating_add)
    };
    [true, false]
        .into_iter()
        .any(|v4| size(old, v4) > 0 && size(new, v4) <= size(old, v4) / 2)
}

fn save(
    tx: &mut dyn store::sql::Tx,
    field: &'static str,
    old: &[IpNet],
    new: &[IpNet],
    shrank: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let texts = |list: &[IpNet]| -> Vec<String> { list.iter().map(IpNet::to_string).collect() };
    let action = if shrank { "system.shared-ranges-shrank" } else { "settings.save" };
    let mut entry = AuditEntry::system(TenantId::OPERATOR, now, action, "settings", "system");
    entry.changes = vec![Change::new(
        format!("shared_ranges.{field}"),
        Some(texts(old).join(" ")),
        Some(texts(new).join(" ")),
    )];
    if shrank {
        entry.reason = "half or more of the addresses are gone: kept as they were, to be taken over by the operator".into();
        audit::append(tx, &entry)?;
        return Ok(());
    }
    let newest = revision::newest(tx, TenantId::OPERATOR)?;
    let damaged = |e: serde_json::Error| StoreError::Data(format!("revision {} of the operator: {e}", newest.number));
    let mut document: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&newest.document).map_err(damaged)?;
    let section = document
        .entry("shared_ranges")
        .or_insert_with(|| serde_json::Value::Object(serde_json::Map::new()));
    if let Some(section) = section.as_object_mut() {
        section.insert(field.to_owned(), texts(new).into());
    }
    let text = serde_json::to_string(&document).map_err(damaged)?;
    let reason = format!("ranges of {field} as published");
    let made = Save {
        tenant: TenantId::OPERATOR,
        base: newest.number,
        document: &text,
        actor: "system",
        reason: &reason,
        at: now,
    };
    entry.revision = Some(revision::save(tx, &made)?);
    audit::append(tx, &entry)?;
    Ok(())
}

#[cfg(test)]
mod tests;
