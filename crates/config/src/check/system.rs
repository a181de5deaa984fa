//! The operator's document.

use super::{CheckContext, Findings, Scope, limits, queue, tenant};
use crate::document::SystemDocument;
use crate::problem::{Problem, ProblemKind};
use mail::text::Text;
use mail::{Domain, Timestamp};

const NETWORKS_MAX: usize = 100_000;
const PROVIDERS_MAX: usize = 10_000;
const CLAIM_LAPSE_S_MAX: u64 = 365 * 86_400;

impl SystemDocument {
    /// Every problem of the document; none: it may be saved.
    #[must_use]
    pub fn check(&self, base: &Domain) -> Vec<Problem> {
        let mut findings = Findings::new();
        let f = &mut findings;
        let context = CheckContext {
            system: self,
            base,
            delivering_addresses: &[],
            now: Timestamp(0),
        };
        f.within("limits", |f| limits::check(f, &self.limits, Scope::System, &context));
        limits::check_exempt(f, &self.exempt, Scope::System);
        limits::check_harvest(f, &self.harvest, Scope::System, self);
        f.count("blocked_clients", self.blocked_clients.len(), NETWORKS_MAX);
        f.each("blocked_clients", &self.blocked_clients, |f, network| {
            if network.prefix_len() == 0 {
                f.tell("", ProblemKind::OutOfRange, Text::new("check.block-everyone"));
            }
        });
        f.count("normalise_newlines_of", self.normalise_newlines_of.len(), NETWORKS_MAX);
        queue::check(f, &self.queue, Scope::System);
        f.within("shared_ranges", |f| {
            for (name, spf) in [
                ("microsoft365_spf", &self.shared_ranges.microsoft365_spf),
                ("google_workspace_spf", &self.shared_ranges.google_workspace_spf),
            ] {
                if spf.as_ref().is_some_and(|s| Domain::parse(s).is_err()) {
                    f.tell(name, ProblemKind::Malformed, Text::new("check.spf-name"));
                }
            }
            f.count("microsoft365", self.shared_ranges.microsoft365.len(), NETWORKS_MAX);
            f.count("google_workspace", self.shared_ranges.google_workspace.len(), NETWORKS_MAX);
        });
        f.count("public_mailbox_providers", self.public_mailbox_providers.len(), PROVIDERS_MAX);
        f.each("next_hop_ports", &self.next_hop_ports, |f, port| {
            if *port == 0 {
                f.tell("", ProblemKind::OutOfRange, Text::new("check.port"));
            }
        });
        f.count("next_hop_ports", self.next_hop_ports.len(), 1_000);
        f.range("claim_lapse_s", self.claim_lapse_s, 1..=CLAIM_LAPSE_S_MAX);
        tenant::check_tracking(f, &self.tracking);
        findings.found
    }
}
