//! `queue.*`: waits and lifetimes within their ranges (domains-and-routing 11.1).

use super::{Findings, Scope};
use crate::document::QueueSettings;
use crate::problem::ProblemKind;
use mail::text::Text;

const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;
const WAITS_MAX: usize = 64;
/// Of a domain: an old server may need that long to come back, and a cut-over to become live.
const DOMAIN_FIRST_WAIT_S: u64 = 300;
const DOMAIN_WAIT_S: u64 = 60;

pub(super) fn check(f: &mut Findings, queue: &QueueSettings, scope: Scope) {
    f.within("queue", |f| {
        check_schedule(f, queue.schedule_s.as_deref(), scope);
        let shortest = if scope == Scope::System { 1 } else { HOUR_S };
        f.range("lifetime_inbound_s", queue.lifetime_inbound_s, shortest..=14 * DAY_S);
        f.range("lifetime_outbound_s", queue.lifetime_outbound_s, shortest..=14 * DAY_S);
        f.range("lifetime_null_s", queue.lifetime_null_s, shortest..=14 * DAY_S);
        f.range("hold_s", queue.hold_s, shortest..=14 * DAY_S);
        // 0: off.
        f.range(
            "delay_warning_inbound_s",
            queue.delay_warning_inbound_s.filter(|s| *s > 0),
            shortest..=14 * DAY_S,
        );
        f.range(
            "delay_warning_outbound_s",
            queue.delay_warning_outbound_s.filter(|s| *s > 0),
            shortest..=14 * DAY_S,
        );
        if scope == Scope::System {
            f.range("connect_timeout_s", queue.connect_timeout_s, 1..=600);
            f.range("greeting_timeout_s", queue.greeting_timeout_s, 1..=600);
        } else {
            f.not_here("connect_timeout_s", queue.connect_timeout_s, "check.who.operator");
            f.not_here("greeting_timeout_s", queue.greeting_timeout_s, "check.who.operator");
        }
        if scope == Scope::Domain {
            f.not_here("next_hop_concurrency", queue.next_hop_concurrency, "check.who.operator-tenant");
        } else {
            f.range("next_hop_concurrency", queue.next_hop_concurrency, 1..=100);
        }
    });
}

fn check_schedule(f: &mut Findings, schedule: Option<&[u64]>, scope: Scope) {
    let Some(waits) = schedule else { return };
    let (first, others) = match scope {
        Scope::System => (1..=DAY_S, 1..=DAY_S),
        Scope::Domain => (DOMAIN_FIRST_WAIT_S..=DAY_S, DOMAIN_WAIT_S..=DAY_S),
        Scope::Tenant => return f.not_here("schedule_s", schedule, "check.who.operator-domain"),
    };
    if waits.is_empty() || waits.len() > WAITS_MAX {
        f.tell(
            "schedule_s",
            ProblemKind::OutOfRange,
            Text::new("check.waits").with("max", WAITS_MAX),
        );
    }
    f.within("schedule_s", |f| {
        for (i, wait) in waits.iter().enumerate() {
            f.range(&format!("[{i}]"), Some(*wait), if i == 0 { first.clone() } else { others.clone() });
        }
    });
}
