//! `mitsuke queue …`: mail that waits.

use super::Session;
use super::output::Column;
use super::query::{escaped, with_query};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("queue id", "queue_id"),
    ("n", "number"),
    ("state", "state"),
    ("sender", "sender"),
    ("recipient", "recipient"),
    ("size", "size"),
    ("tries", "attempts"),
    ("next", "due"),
    ("reason", "reason"),
    ("last reply", "last_reply"),
];
const EXPLAINED: &[Column] = &[
    ("queue id", "entry.queue_id"),
    ("recipient", "entry.recipient"),
    ("state", "entry.state"),
    ("reason", "entry.reason"),
    ("last reply", "entry.last_reply"),
    ("attempts", "entry.attempts"),
    ("next attempt", "entry.due"),
    ("given up at", "entry.expires_at"),
    ("being tried now", "in_attempt"),
    ("ahead of it", "position"),
    ("paused since", "paused_since"),
    ("no candidate", "no_candidate"),
];
const CANDIDATES: &[Column] = &[
    ("candidate", "route"),
    ("host", "host"),
    ("port", "port"),
    ("health", "health"),
    ("connections", "connections"),
    ("of", "connections_max"),
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
    /// Due at once.
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
                bail!("give queue ids, or --all with a filter, not both");
            }
            order["filter"] = self.filter.json(tenant);
            return Ok(order);
        }
        if self.entries.is_empty() {
            bail!("which entries? give queue ids, or --all with a filter (and --dry-run to count first)");
        }
        let entries = self.entries.iter().map(|e| match e.split_once('/') {
            Some((id, n)) => Ok(json!({"queue_id": id, "number": n.parse::<u32>()?})),
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
                return session.output.fields(&told, &[("entries", "count")]);
            }
            Self::Show { queue_id, number } => return explain(session, &queue_id, number).await,
            Self::Pause { target, reason } => return pause(session, target, &reason).await,
            Self::Resume { target } => return resume(session, target).await,
            Self::Pauses => {
                let path = format!("/api/v1/tenants/{}/pauses", escaped(&session.tenant().await?));
                return session.output.rows(
                    &session.api.get(&path).await?,
                    &[
                        ("kind", "kind"),
                        ("which", "subject"),
                        ("since", "since"),
                        ("by", "actor"),
                        ("why", "reason"),
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
        session.output.fields(
            &told,
            &[
                ("about", "matched"),
                ("done", "done"),
                ("after the attempt under way", "after_attempt"),
                ("in the hands of another action", "busy"),
                ("does not apply", "not_applicable"),
            ],
        )
    }
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
        .done(&Value::Null, &format!("{subject}: paused; mail waits until `mitsuke queue resume`"))
}

async fn resume(session: &Session, target: Target) -> Result<()> {
    let (kind, subject) = split(target);
    let path = format!(
        "/api/v1/tenants/{}/pauses/{kind}/{}",
        escaped(&session.tenant().await?),
        escaped(&subject)
    );
    session.api.json(Method::DELETE, &path, None).await?;
    session.output.done(&Value::Null, &format!("{subject}: goes on"))
}

fn split(target: Target) -> (&'static str, String) {
    match (target.domain, target.next_hop) {
        (Some(domain), _) => ("domain", domain),
        (None, hop) => ("next-hop", hop.unwrap_or_default()),
    }
}
