//! `mitsuke audit`: what people did to the server.

use super::Session;
use super::query::with_query;
use anyhow::Result;
use clap::Args;

/// The audit log, newest first.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Not before (RFC 3339 or a date).
    #[arg(long)]
    since: Option<String>,
    /// Before.
    #[arg(long)]
    until: Option<String>,
    /// Who.
    #[arg(long)]
    actor: Option<String>,
    /// What, such as domain.add.
    #[arg(long)]
    action: Option<String>,
    /// Which object.
    #[arg(long)]
    object: Option<String>,
    /// Domain.
    #[arg(long)]
    domain: Option<String>,
    /// Rows (1–500).
    #[arg(long)]
    limit: Option<usize>,
    /// From a page before.
    #[arg(long)]
    cursor: Option<String>,
}

impl Audit {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let query = [
            ("tenant", session.tenant_given().map(str::to_owned)),
            ("since", self.since),
            ("until", self.until),
            ("actor", self.actor),
            ("action", self.action),
            ("object", self.object),
            ("domain", self.domain),
            ("limit", self.limit.map(|l| l.to_string())),
            ("cursor", self.cursor),
        ];
        let page = session.api.get(&with_query("/api/v1/audit", &query)).await?;
        session.output.rows(
            &page,
            &[
                ("cli.head.time", "at"),
                ("cli.head.who", "actor"),
                ("cli.head.role", "role"),
                ("cli.head.way", "channel"),
                ("cli.head.action", "action"),
                ("cli.head.object", "object"),
                ("cli.head.result", "result"),
                ("cli.head.why", "reason"),
            ],
        )
    }
}
