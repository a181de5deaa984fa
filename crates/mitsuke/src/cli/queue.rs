//! `mitsuke queue …`: mail that waits.

use super::Session;
use super::output::Column;
use super::query::{escaped, with_query};
use crate::say;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("cli.head.queue-id", "queue_id"),
    ("cli.head.n", "number"),
    ("cli.head.state", "state"),
    ("cli.head.sender", "sender"),
    ("cli.head.recipient", "recipient"),
    ("cli.head.size", "size"),
    ("cli.head.tries", "attempts"),
    ("cli.head.next", "due"),
    ("cli.head.reason", "reason"),
    ("cli.head.last-reply", "last_reply"),
];
const EXPLAINED: &[Column] = &[
    ("cli.head.queue-id", "entry.queue_id"),
    ("cli.head.recipient", "entry.recipient"),
    ("cli.head.state", "entry.state"),
    ("cli.head.reason", "entry.reason"),
    ("cli.head.last-reply", "entry.last_reply"),
    ("cli.head.attempts", "entry.attempts"),
    ("cli.head.next-attempt", "entry.due"),
    ("cli.head.given-up-at", "entry.expires_at"),
    ("cli.head.being-tried-now", "in_attempt"),
    ("cli.head.ahead-of-it", "position"),
    ("cli.head.paused-since", "paused_since"),
    ("cli.head.no-candidate", "no_candidate"),
];
const CANDIDATES: &[Column] = &[
    ("cli.head.candidate", "route"),
    ("cli.head.host", "host"),
    ("cli.head.port", "port"),
    ("cli.head.health", "health"),
    ("cli.head.connections", "connections"),
    ("cli.head.of", "connections_max"),
];

/// Mail that waits.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List entries.
    List {
        #[command(flatten)]
        filter: Filter,
        /// Rows (1–500).
        #[arg(long)]
        limit: Option<usize>,
        /// From a page before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Count entries.
    Count {
        #[command(flatten)]
        filter: Filter,
    },
    /// Why does an entry wait?
    Show {
        /// Queue id.
        queue_id: String,
        /// Number of the recipient.
        #[arg(default_value_t = 0)]
        number: u32,
    },
    /// Due at once; where a pause is in force it waits for its end, and held mail must be released first.
    Retry(#[command(flatten)] Selection),
    /// Not tried until released.
    Hold(#[command(flatten)] Selection),
    /// End a hold.
    Release(#[command(flatten)] Selection),
    /// Give up now, with a notification to the sender.
    Bounce(#[command(flatten)] Selection),
    /// To a chosen next hop.
    Reroute {
        /// `host:port`.
        #[arg(long)]
        to: String,
        #[command(flatten)]
        selection: Selection,
    },
    /// Change when it is given up.
    Lifetime {
        /// Hours from acceptance (1–336).
        #[arg(long)]
        hours: u64,
        #[command(flatten)]
        selection: Selection,
    },
    /// Remove without telling anyone.
    Discard(#[command(flatten)] Selection),
    /// No attempts to a domain or next hop.
    Pause {
        #[command(flatten)]
        target: Target,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Attempts go on.
    Resume {
        #[command(flatten)]
        target: Target,
    },
    /// What is paused.
    Pauses,
}

/// Which entries.
#[derive(Debug, Default, Args)]
pub(crate) struct Filter {
    /// Recipient domain.
    #[arg(long)]
    domain: Option<String>,
    /// Reverse path, or `*@domain`.
    #[arg(long)]
    sender: Option<String>,
    /// Reason code.
    #[arg(long)]
    reason: Option<String>,
    /// Host of the next hop.
    #[arg(long)]
    next_hop: Option<String>,
    /// queued or held.
    #[arg(long)]
    state: Option<String>,
    /// In the queue for at least so many minutes.
    #[arg(long)]
    older_than: Option<u64>,
}

/// Entries by name, or by filter with `--all`.
#[derive(Debug, Default, Args)]
pub(crate) struct Selection {
    /// Queue ids, each with `/n` for one recipient.
    entries: Vec<String>,
    /// All that match the filter.
    #[arg(long)]
    all: bool,
    /// Only count.
    #[arg(long)]
    dry_run: bool,
    /// Why (required to discard).
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    filter: Filter,
}

/// What is paused.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Target {
    /// Recipient domain.
    #[arg(long)]
    domain: Option<String>,
    /// Host name of a next hop.
    #[arg(long)]
    next_hop: Option<String>,
}

impl Filter {
    fn query(self, tenant: Option<&str>) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("tenant", tenant.map(str::to_owned)),
            ("domain", self.domain),
            ("sender", self.sender),
            ("reason", self.reason),
            ("next_hop", self.next_hop),
            ("state", self.state),
            ("older_than_s", self.older_than.map(|m| (60 * m).to_string())),
        ]
    }

    fn json(self, tenant: Option<&str>) -> Value {
        json!({"tenant": tenant, "domain": self.domain, "sender": self.sender, "reason": self.reason, "next_hop": self.next_hop, "state": self.state, "older_than_s": self.older_than.map(|m| 60 * m)})
    }
}

impl Selection {
    fn order(self, action: &str, tenant: Option<&str>) -> Result<Value> {
        let mut order = json!({"action": action, "dry_run": self.dry_run, "text": self.text});
        if self.all {
            if !self.entries.is_empty() {
                bail!("{}", say::text("cli.error.ids-and-all", &[]));
            }
            order["filter"] = self.filter.json(tenant);
            return Ok(order);
        }
        if self.entries.is_empty() {
            bail!("{}", say::text("cli.error.which-entries", &[]));
        }
        let entries = self.entries.iter().map(|e| match e.split_once('/') {
            Some((id, n)) => {
                let number: u32 = n.parse().with_context(|| say::text("cli.error.entry", &[("entry", e)]))?;
                Ok(json!({"queue_id": id, "number": number}))
            }
            None => Ok(json!({"queue_id": e})),
        });
        order["entries"] = entries.collect::<Result<Vec<_>>>()?.into();
        Ok(order)
    }
}

impl QueueCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let tenant = session.tenant_given();
        let order = match self {
            Self::List { filter, limit, cursor } => {
                let mut query = filter.query(tenant);
                query.extend([("limit", limit.map(|l| l.to_string())), ("cursor", cursor)]);
                return session
                    .output
                    .rows(&session.api.get(&with_query("/api/v1/queue", &query)).await?, COLUMNS);
            }
            Self::Count { filter } => {
                let told = session.api.get(&with_query("/api/v1/queue/count", &filter.query(tenant))).await?;
                return session.output.fields(&told, &[("cli.head.entries", "count")]);
            }
            Self::Show { queue_id, number } => return explain(session, &queue_id, number).await,
            Self::Pause { target, reason } => return pause(session, target, &reason).await,
            Self::Resume { target } => return resume(session, target).await,
            Self::Pauses => {
                let path = format!("/api/v1/tenants/{}/pauses", escaped(&session.tenant().await?));
                return session.output.rows(
                    &session.api.get(&path).await?,
                    &[
                        ("cli.head.kind", "kind"),
                        ("cli.head.which", "subject"),
                        ("cli.head.since", "since"),
                        ("cli.head.by", "actor"),
                        ("cli.head.why", "reason"),
                    ],
                );
            }
            Self::Retry(s) => s.order("retry", tenant)?,
            Self::Hold(s) => s.order("hold", tenant)?,
            Self::Release(s) => s.order("release", tenant)?,
            Self::Bounce(s) => s.order("bounce", tenant)?,
            Self::Discard(s) => s.order("discard", tenant)?,
            Self::Reroute { to, selection } => {
                let mut order = selection.order("reroute", tenant)?;
                order["next_hop"] = to.into();
                order
            }
            Self::Lifetime { hours, selection } => {
                let mut order = selection.order("lifetime", tenant)?;
                order["lifetime_s"] = (3600 * hours).into();
                order
            }
        };
        let told = session.api.post("/api/v1/queue/actions", &order).await?;
        shown(session, &told, order["action"] == "retry")
    }
}

/// What was done; with the way out where a retry does not apply.
fn shown(session: &Session, told: &Value, is_retry: bool) -> Result<()> {
    session.output.fields(
        told,
        &[
            ("cli.head.about", "matched"),
            ("cli.head.done", "done"),
            ("cli.head.after-the-attempt-under-way", "after_attempt"),
            ("cli.head.in-other-hands", "busy"),
            ("cli.head.does-not-apply", "not_applicable"),
        ],
    )?;
    match way_out(told, is_retry) {
        Some(text) if !session.output.is_json() => session.output.done(&Value::Null, &text),
        _ => Ok(()),
    }
}

/// A retry applies to what is queued; the rest is held.
fn way_out(told: &Value, is_retry: bool) -> Option<String> {
    let is_some_held = told["not_applicable"].as_u64() > Some(0);
    (is_retry && is_some_held).then(|| say::text("cli.done.held-not-retried", &[]))
}

async fn explain(session: &Session, queue_id: &str, number: u32) -> Result<()> {
    let told = session.api.get(&format!("/api/v1/queue/{}/{number}", escaped(queue_id))).await?;
    session.output.fields(&told, EXPLAINED)?;
    if session.output.is_json() {
        return Ok(());
    }
    session.output.rows(told.get("candidates").unwrap_or(&Value::Null), CANDIDATES)
}

async fn pause(session: &Session, target: Target, reason: &str) -> Result<()> {
    let path = format!("/api/v1/tenants/{}/pauses", escaped(&session.tenant().await?));
    let (kind, subject) = split(target);
    session
        .api
        .post(&path, &json!({"kind": kind, "subject": subject, "reason": reason}))
        .await?;
    session
        .output
        .done(&Value::Null, &say::text("cli.done.paused", &[("name", &subject)]))
}

async fn resume(session: &Session, target: Target) -> Result<()> {
    let (kind, subject) = split(target);
    let path = format!(
        "/api/v1/tenants/{}/pauses/{kind}/{}",
        escaped(&session.tenant().await?),
        escaped(&subject)
    );
    session.api.json(Method::DELETE, &path, None).await?;
    session
        .output
        .done(&Value::Null, &say::text("cli.done.resumed", &[("name", &subject)]))
}

fn split(target: Target) -> (&'static str, String) {
    match (target.domain, target.next_hop) {
        (Some(domain), _) => ("domain", domain),
        (None, hop) => ("next-hop", hop.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_of_held_mail_tells_the_way_out() {
        for (not_applicable, is_retry, is_told) in [(0, true, false), (1, true, true), (1, false, false)] {
            let told = json!({"matched": 1, "not_applicable": not_applicable});
            assert_eq!(
                way_out(&told, is_retry).is_some_and(|t| t.contains("queue release")),
                is_told,
                "{told}"
            );
        }
    }

    #[test]
    fn entries_are_queue_ids_with_or_without_a_number() {
        let of = |entries: &[&str]| Selection {
            entries: entries.iter().map(|e| (*e).to_owned()).collect(),
            ..Selection::default()
        };
        let order = of(&["a", "b/2"]).order("retry", None).unwrap();
        assert_eq!(order["entries"], json!([{"queue_id": "a"}, {"queue_id": "b", "number": 2}]));
        for (entries, all, told) in [
            (&["a/x"][..], false, "a/x: an entry is"),
            (&[], false, "which entries?"),
            (&["a"], true, "not both"),
        ] {
            let selection = Selection { all, ..of(entries) };
            let error = selection.order("retry", None).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
