//! The page `/r/<ref>`: why was my mail refused, and what can be done about it?
//!
//! In: a reference from a reply, and the reader's languages. Out: plain HTML without scripts, Japanese or English, in the tenant's colours.
//! Standards: domains-and-routing 10. Invariants: no address of the tenant is shown; a reference is good for 30 days; an unknown one tells
//! nothing; every text from outside is escaped.

use crate::Admin;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use config::TenantDocument;
use config::document::{Branding, Language};
use mail::text::{self, Lang};
use mail::{Reason, Reference, TenantId, Timestamp};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use store::tracking::{Event, Query, Scope};

/// `tenant.time_zone` when nothing is set.
const ZONE: &str = "Asia/Tokyo";
/// How long a reference is answered.
const REFERENCE_DAYS: u64 = 30;

/// What the page needs to know of a refusal.
struct Refusal {
    reason: Reason,
    at: Timestamp,
    reply: String,
    tenant: TenantId,
}

/// `GET /r/{reference}`.
pub(crate) async fn page(State(admin): State<Arc<Admin>>, Path(reference): Path<String>, headers: HeaderMap) -> Response {
    let found = match reference.parse::<Reference>() {
        Ok(reference) => match refusal(&admin, reference).await {
            Ok(found) => found,
            Err(problem) => return problem.into_response(),
        },
        Err(_) => None,
    };
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let live = admin.desk.live();
    let house = found
        .as_ref()
        .and_then(|r| live.tenants.get(&r.tenant))
        .map(|t| House::of(&t.settings))
        .unwrap_or_default();
    let lang = language(&headers).unwrap_or(house.lang);
    let style = house.style();
    let body = render(&house, lang, &style, &reference, found.as_ref());
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::VARY, "accept-language"),
    ];
    let mut response = (status, headers, body).into_response();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        style_hash(&style)
    );
    if let Ok(value) = policy.parse() {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, value);
    }
    response
}

async fn refusal(admin: &Admin, reference: Reference) -> Result<Option<Refusal>, crate::Problem> {
    let query = Query {
        reference: Some(reference),
        ..Query::default()
    };
    let scope = Scope {
        tenant: None,
        domains: None,
    };
    let page = admin.desk.store.mail.search(query, scope, None, 1).await?;
    let oldest = admin.desk.now().before(Duration::from_secs(REFERENCE_DAYS * 86_400));
    let found = page.traces.into_iter().flat_map(|t| t.records).find_map(|record| {
        let (at, tenant) = (record.at, record.tenant);
        record.events.into_iter().find_map(|event| match event {
            Event::Refused {
                reason,
                reply,
                reference: Some(r),
                ..
            } if r == reference && at >= oldest => Some(Refusal { reason, at, reply, tenant }),
            _ => None,
        })
    });
    Ok(found)
}

/// What the reader asks for.
fn language(headers: &HeaderMap) -> Option<Lang> {
    Lang::preferred(
        headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default(),
    )
}

/// Whose page it is: the tenant that refused, or with none of them the installation.
struct House {
    branding: Branding,
    lang: Lang,
    zone: String,
}

impl Default for House {
    fn default() -> Self {
        Self {
            branding: Branding::default(),
            lang: Lang::En,
            zone: "UTC".into(),
        }
    }
}

impl House {
    fn of(settings: &TenantDocument) -> Self {
        let lang = match settings.language {
            Language::Ja => Lang::Ja,
            Language::En => Lang::En,
        };
        Self {
            branding: settings.branding.clone(),
            lang,
            zone: settings.time_zone.clone().unwrap_or_else(|| ZONE.into()),
        }
    }

    fn name(&self) -> &str {
        self.branding.name.as_deref().unwrap_or("Mitsuke")
    }

    /// The colour was checked at saving; here it is looked at again, since it becomes a part of the style.
    fn style(&self) -> String {
        let colour = self
            .branding
            .colour
            .as_ref()
            .filter(|c| Branding::is_colour(c))
            .map(|c| format!("h1{{border-color:{c}}}a{{color:{c}}}"));
        format!("{STYLE}{}", colour.unwrap_or_default())
    }

    /// Date and time in the zone, with its name.
    fn time(&self, at: Timestamp) -> String {
        let zoned = jiff::Timestamp::from_millisecond(at.0).and_then(|t| t.in_tz(&self.zone));
        zoned.map_or_else(
            |_| at.to_rfc3339(),
            |z| format!("{} {}", z.strftime("%Y-%m-%d %H:%M:%S"), self.zone),
        )
    }

    fn logo(&self) -> Option<String> {
        let logo = self.branding.logo.as_deref()?;
        // The first letters of base 64 tell PNG from WebP, the two that are allowed.
        let kind = if logo.starts_with("iVBOR") { "png" } else { "webp" };
        Some(format!(
            "<p><img alt=\"{}\" src=\"data:image/{kind};base64,{}\"></p>",
            escape(self.name()),
            escape(logo)
        ))
    }
}

const STYLE: &str = "body{font:16px/1.7 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1d2433;background:#fff}\
h1{font-size:1.4rem;border-bottom:3px solid #2b5c8a;padding-bottom:.5rem}dt{font-weight:600;margin-top:1rem}dd{margin:0}\
code{overflow-wrap:anywhere;background:#f0f3f7;padding:.1rem .3rem}footer{margin-top:3rem;color:#5a6475;font-size:.9rem}";

fn style_hash(style: &str) -> String {
    use sha2::{Digest, Sha256};
    crate::page::base64(&Sha256::digest(style.as_bytes()))
}

fn render(house: &House, lang: Lang, style: &str, reference: &str, refusal: Option<&Refusal>) -> String {
    let t = |key: &str| escape(&text::get(lang, key, &[]));
    let code = lang.as_str();
    let name = escape(house.name());
    let logo = house.logo().unwrap_or_default();
    let mut html = format!(
        "<!doctype html><html lang=\"{code}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title} – {name}</title><style>{style}</style></head><body><main>{logo}<h1>{title}</h1>",
        title = t("refusal.title"),
    );
    match refusal {
        None => {
            let _ = write!(html, "<p>{}</p>", t("refusal.unknown"));
        }
        Some(r) => {
            let reason = r.reason.as_str().to_ascii_lowercase();
            let _ = write!(
                html,
                "<dl><dt>{why_label}</dt><dd>{why}</dd><dt>{do_label}</dt><dd>{todo}</dd><dt>{time_label}</dt><dd>{time}</dd>\
                 <dt>{code_label}</dt><dd><code>{code}</code></dd><dt>{reply_label}</dt><dd><code>{reply}</code></dd><dt>{ref_label}</dt><dd><code>{reference}</code></dd></dl>",
                why_label = t("refusal.why"),
                why = t(&format!("reason.{reason}.why")),
                do_label = t("refusal.do"),
                todo = t(&format!("reason.{reason}.do")),
                time_label = t("refusal.time"),
                time = escape(&house.time(r.at)),
                code_label = t("refusal.code"),
                code = r.reason.as_str(),
                reply_label = t("refusal.reply"),
                reply = escape(&without_addresses(&r.reply)),
                ref_label = t("refusal.reference"),
                reference = escape(reference),
            );
        }
    }
    if let Some(link) = house.branding.support_link.as_ref().filter(|l| l.starts_with("https://")) {
        let _ = write!(
            html,
            "<p><a rel=\"noopener noreferrer\" href=\"{}\">{}</a></p>",
            escape(link),
            t("refusal.support")
        );
    }
    let _ = write!(html, "</main><footer>{name}</footer></body></html>");
    html
}

/// The reply without what stands in angle brackets: the page shows no address of the tenant.
fn without_addresses(reply: &str) -> String {
    // A quoted local part may hold brackets of its own, so the address ends at the last one before the words that follow it.
    let (head, tail) = reply.split_at(reply.rfind(">: ").map_or(0, |at| at + 1));
    let mut out = String::with_capacity(reply.len());
    if let Some((before, _)) = head.split_once('<') {
        out.push_str(before);
        out.push_str("<…>");
    }
    let mut inside = false;
    for c in tail.chars() {
        match c {
            '<' => {
                inside = true;
                out.push_str("<…>");
            }
            '>' if inside => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

/// Text as HTML text or attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hidden_and_text_is_escaped() {
        assert_eq!(without_addresses("550 5.1.1 <taro@example.com>: no <b>"), "550 5.1.1 <…>: no <…>");
        assert_eq!(
            without_addresses("554 5.7.1 <\"a<b>c\"@example.com>: Rejected: X."),
            "554 5.7.1 <…>: Rejected: X."
        );
        assert_eq!(escape("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
    }

    #[test]
    fn language_follows_the_reader() {
        let check = |asked: &str, expect: Option<Lang>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, asked.parse().unwrap());
            assert!(language(&headers) == expect, "{asked}");
        };
        check("ja,en;q=0.5", Some(Lang::Ja));
        check("en-GB,ja", Some(Lang::En));
        check("fr", None);
    }

    #[test]
    fn every_reason_has_its_words() {
        for reason in Reason::ALL {
            for part in ["why", "do"] {
                let key = format!("reason.{}.{part}", reason.as_str().to_ascii_lowercase());
                for lang in [Lang::Ja, Lang::En] {
                    assert_ne!(text::get(lang, &key, &[]), key, "{key}");
                }
            }
        }
    }
}
