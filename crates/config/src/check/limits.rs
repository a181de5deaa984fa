//! Chapter 9: figures within their ranges, raised no further than the operator allows.

use super::{CheckContext, Findings, Scope};
use crate::document::{Exempt, Harvest, Limits, Rate, SystemDocument};
use crate::problem::ProblemKind;
use mail::text::Text;

const MB: u64 = 1_048_576;
const CAP_BYTES: u64 = 500 * MB;
const EXEMPT_MAX: usize = 1_000;
const SYSTEM_EXEMPT_MAX: usize = 100_000;
const RATE_PER_S_MAX: u32 = 86_400;

/// The operator's figure, or the default.
fn of_system<T>(system: &SystemDocument, field: impl Fn(&Limits) -> Option<T>) -> Option<T> {
    field(&system.limits).or_else(|| field(&Limits::defaults()))
}

/// Whether `rate` is at most `factor` times `of`.
fn is_within(rate: Rate, of: Rate, factor: u32) -> bool {
    u128::from(rate.messages) * u128::from(of.per_s) <= u128::from(factor) * u128::from(of.messages) * u128::from(rate.per_s)
}

pub(super) fn check(f: &mut Findings, limits: &Limits, scope: Scope, context: &CheckContext<'_>) {
    match scope {
        Scope::System => check_system(f, limits),
        Scope::Tenant => {
            f.range("recipients_max", limits.recipients_max, 100..=10_000);
            let of = |field: fn(&Limits) -> Option<Rate>| of_system(context.system, field);
            raised(
                f,
                "rate_client_inbound",
                limits.rate_client_inbound,
                of(|l| l.rate_client_inbound),
                context,
            );
            raised(
                f,
                "rate_client_outbound",
                limits.rate_client_outbound,
                of(|l| l.rate_client_outbound),
                context,
            );
        }
        Scope::Domain => {
            let who = "check.who.operator-tenant";
            f.not_here("recipients_max", limits.recipients_max, who);
            f.not_here("rate_client_inbound", limits.rate_client_inbound, who);
            f.not_here("rate_client_outbound", limits.rate_client_outbound, who);
        }
    }
    if scope != Scope::System {
        let cap = of_system(context.system, |l| l.message_bytes_cap).unwrap_or(CAP_BYTES);
        f.range("message_bytes_max", limits.message_bytes_max, MB..=cap);
        let of = |field: fn(&Limits) -> Option<Rate>| of_system(context.system, field);
        raised(f, "rate_recipient", limits.rate_recipient, of(|l| l.rate_recipient), context);
        raised(f, "rate_sender", limits.rate_sender, of(|l| l.rate_sender), context);
        operators_alone(f, limits);
    }
}

fn check_system(f: &mut Findings, l: &Limits) {
    f.range("message_bytes_cap", l.message_bytes_cap, MB..=CAP_BYTES);
    let cap = l.message_bytes_cap.or(Limits::defaults().message_bytes_cap).unwrap_or(CAP_BYTES);
    f.range("message_bytes_max", l.message_bytes_max, MB..=cap.max(MB));
    if l.message_bytes_max.is_none() && cap < Limits::defaults().message_bytes_max.unwrap_or(0) {
        f.tell("message_bytes_max", ProblemKind::Conflict, Text::new("check.cap"));
    }
    f.range("recipients_max", l.recipients_max, 100..=10_000);
    f.range("hops_max", l.hops_max, 10..=100);
    for (name, rate) in [
        ("rate_client_inbound", l.rate_client_inbound),
        ("rate_client_outbound", l.rate_client_outbound),
        ("rate_recipient", l.rate_recipient),
        ("rate_sender", l.rate_sender),
        ("rate_trial", l.rate_trial),
        ("rate_tenant", l.rate_tenant),
    ] {
        rate_form(f, name, rate);
    }
    for (name, count) in [
        ("connections_per_address", l.connections_per_address),
        ("connections_per_network", l.connections_per_network),
        ("source_connections_per_address", l.source_connections_per_address),
        ("source_connections_per_network", l.source_connections_per_network),
        ("messages_per_connection", l.messages_per_connection),
        ("source_messages_per_connection", l.source_messages_per_connection),
    ] {
        f.range(name, count, 1..=1_000_000);
    }
    f.range("errors_max", l.errors_max, 1..=1_000);
    f.range("header_bytes_max", l.header_bytes_max, 16_384..=16 * MB);
    f.range("header_fields_max", l.header_fields_max, 100..=100_000);
    f.range("mime_parts_max", l.mime_parts_max, 10..=100_000);
    f.range("mime_depth_max", l.mime_depth_max, 5..=1_000);
    f.range("command_idle_s", l.command_idle_s, 1..=86_400);
    f.range("data_idle_s", l.data_idle_s, 1..=86_400);
    f.range("session_s", l.session_s, 1..=7 * 86_400);
    f.range("raise_factor_max", l.raise_factor_max, 1..=1_000);
}

fn operators_alone(f: &mut Findings, l: &Limits) {
    let who = "check.who.operator";
    f.not_here("message_bytes_cap", l.message_bytes_cap, who);
    f.not_here("hops_max", l.hops_max, who);
    f.not_here("rate_trial", l.rate_trial, who);
    f.not_here("rate_tenant", l.rate_tenant, who);
    f.not_here("connections_per_address", l.connections_per_address, who);
    f.not_here("connections_per_network", l.connections_per_network, who);
    f.not_here("source_connections_per_address", l.source_connections_per_address, who);
    f.not_here("source_connections_per_network", l.source_connections_per_network, who);
    f.not_here("messages_per_connection", l.messages_per_connection, who);
    f.not_here("source_messages_per_connection", l.source_messages_per_connection, who);
    f.not_here("errors_max", l.errors_max, who);
    f.not_here("header_bytes_max", l.header_bytes_max, who);
    f.not_here("header_fields_max", l.header_fields_max, who);
    f.not_here("mime_parts_max", l.mime_parts_max, who);
    f.not_here("mime_depth_max", l.mime_depth_max, who);
    f.not_here("command_idle_s", l.command_idle_s, who);
    f.not_here("data_idle_s", l.data_idle_s, who);
    f.not_here("session_s", l.session_s, who);
    f.not_here("raise_factor_max", l.raise_factor_max, who);
}

fn rate_form(f: &mut Findings, name: &str, rate: Option<Rate>) {
    if let Some(rate) = rate
        && (rate.messages == 0 || rate.per_s == 0 || rate.per_s > RATE_PER_S_MAX)
    {
        f.tell(name, ProblemKind::OutOfRange, Text::new("check.rate").with("max", RATE_PER_S_MAX));
    }
}

fn raised(f: &mut Findings, name: &str, rate: Option<Rate>, of: Option<Rate>, context: &CheckContext<'_>) {
    rate_form(f, name, rate);
    let factor = of_system(context.system, |l| l.raise_factor_max).unwrap_or(1);
    if let (Some(rate), Some(of)) = (rate, of)
        && !is_within(rate, of, factor)
    {
        f.tell(
            name,
            ProblemKind::OutOfRange,
            Text::new("check.raised")
                .with("factor", factor)
                .with("messages", of.messages)
                .with("seconds", of.per_s),
        );
    }
}

pub(super) fn check_exempt(f: &mut Findings, exempt: &Exempt, scope: Scope) {
    let count = exempt.clients.len() + exempt.senders.len() + exempt.recipients.len() + exempt.sender_domains.len();
    f.within("exempt", |f| {
        let max = if scope == Scope::System { SYSTEM_EXEMPT_MAX } else { EXEMPT_MAX };
        if count > max {
            f.found.push(crate::Problem::new(
                f.path.clone(),
                ProblemKind::OutOfRange,
                Text::new("check.count-all").with("max", max).with("have", count),
            ));
        }
        for (name, list) in [("senders", &exempt.senders), ("recipients", &exempt.recipients)] {
            f.each(name, list, |f, text| match mail::Address::parse(text) {
                Ok(address) if address.key() == *text => {}
                Ok(address) => f.tell("", ProblemKind::Malformed, Text::new("check.write-as").with("form", address.key())),
                Err(e) => f.tell("", ProblemKind::Malformed, e.into()),
            });
        }
    });
}

pub(super) fn check_harvest(f: &mut Findings, harvest: &Harvest, scope: Scope, system: &SystemDocument) {
    f.within("harvest", |f| {
        let factor = of_system(system, |l| l.raise_factor_max).unwrap_or(1);
        let max = |own: Option<u32>, default: u32| match scope {
            Scope::System => 1_000_000,
            Scope::Tenant | Scope::Domain => own.unwrap_or(default).saturating_mul(factor),
        };
        f.range("session", harvest.session, 1..=max(system.harvest.session, 10).max(1));
        f.range("ip", harvest.ip, 1..=max(system.harvest.ip, 50).max(1));
    });
}

impl Limits {
    /// Takes back what goes beyond the operator's figures: they may have been lowered since this was saved.
    pub(crate) fn bound(&mut self, system: &SystemDocument) {
        let factor = of_system(system, |l| l.raise_factor_max).unwrap_or(1);
        let bound = |rate: &mut Option<Rate>, of: Option<Rate>| {
            if let (Some(own), Some(of)) = (*rate, of)
                && !is_within(own, of, factor)
            {
                *rate = Some(Rate {
                    messages: of.messages.saturating_mul(factor),
                    per_s: of.per_s,
                });
            }
        };
        bound(&mut self.rate_client_inbound, of_system(system, |l| l.rate_client_inbound));
        bound(&mut self.rate_client_outbound, of_system(system, |l| l.rate_client_outbound));
        bound(&mut self.rate_recipient, of_system(system, |l| l.rate_recipient));
        bound(&mut self.rate_sender, of_system(system, |l| l.rate_sender));
        if let Some(cap) = of_system(system, |l| l.message_bytes_cap) {
            self.message_bytes_max = self.message_bytes_max.map(|own| own.min(cap));
        }
    }
}
