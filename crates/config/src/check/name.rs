//! Names: may this be an accepted domain? (domains-and-routing 2.2)

use super::CheckContext;
use crate::problem::{Problem, ProblemKind};
use mail::Domain;
use mail::text::Text;
use std::net::IpAddr;

/// Names at which anybody gets a mailbox. Nobody can prove them for an organisation; the operator may list more.
const PUBLIC_MAILBOX_PROVIDERS: &[&str] = &[
    "aol.com",
    "docomo.ne.jp",
    "ezweb.ne.jp",
    "au.com",
    "gmail.com",
    "googlemail.com",
    "gmx.de",
    "gmx.net",
    "hotmail.co.jp",
    "hotmail.com",
    "i.softbank.jp",
    "icloud.com",
    "live.com",
    "live.jp",
    "mac.com",
    "mail.ru",
    "me.com",
    "msn.com",
    "outlook.com",
    "outlook.jp",
    "proton.me",
    "protonmail.com",
    "qq.com",
    "softbank.ne.jp",
    "yahoo.co.jp",
    "yahoo.com",
    "yahoo.ne.jp",
    "yandex.ru",
    "ymail.ne.jp",
    "163.com",
];

/// Checks what a person typed as the name of an accepted domain: trimmed, lower-cased, A-labels.
///
/// # Errors
/// Why it cannot be one. Whether it is taken already, the store knows.
pub fn check_name(typed: &str, context: &CheckContext<'_>) -> Result<Domain, Problem> {
    let problem = |kind, text: Text| Err(Problem::new("name", kind, text));
    let typed = typed.trim();
    if typed.contains('*') {
        return problem(ProblemKind::Malformed, Text::new("check.name.wildcard"));
    }
    let bare = typed.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() || bare.to_ascii_lowercase().starts_with("ipv6:") {
        return problem(ProblemKind::Malformed, Text::new("check.name.address"));
    }
    let name = match Domain::parse(typed) {
        Ok(name) => name,
        Err(e) => return problem(ProblemKind::Malformed, e.into()),
    };
    match refusal(&name, context) {
        Some((kind, text)) => problem(kind, text),
        None => Ok(name),
    }
}

/// Why a well-formed name cannot be an accepted domain.
pub(super) fn refusal(name: &Domain, context: &CheckContext<'_>) -> Option<(ProblemKind, Text)> {
    let text = name.as_str();
    if !text.contains('.') {
        return Some((ProblemKind::Malformed, Text::new("check.name.label")));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Some((ProblemKind::Malformed, Text::new("check.name.address")));
    }
    if text.contains('_') {
        return Some((ProblemKind::Malformed, Text::new("check.name.underscore")));
    }
    if name.is_within(context.base.as_str()) {
        return Some((ProblemKind::Forbidden, Text::new("check.name.base")));
    }
    if psl::domain_str(text).is_none() {
        return Some((ProblemKind::Forbidden, Text::new("check.name.suffix")));
    }
    if PUBLIC_MAILBOX_PROVIDERS.contains(&text) || context.system.public_mailbox_providers.contains(name) {
        return Some((ProblemKind::Forbidden, Text::new("check.name.provider")));
    }
    None
}

/// Whether two different names look alike to a person: a homograph.
#[must_use]
pub fn looks_like(a: &Domain, b: &Domain) -> bool {
    a != b && skeleton(&a.to_unicode()) == skeleton(&b.to_unicode())
}

/// Letters that look alike become the same (a small part of UTS #39, the letters that domain names are forged with).
fn skeleton(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for c in name.chars().flat_map(char::to_lowercase) {
        plain.push_str(match c {
            'а' | 'ɑ' | 'α' | 'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ạ' => "a",
            'Ь' | 'ь' | 'ƅ' => "b",
            'с' | 'ϲ' | 'ç' | 'ć' | 'č' => "c",
            'ԁ' | 'ɗ' | 'đ' => "d",
            'е' | 'ё' | 'є' | 'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ẹ' => "e",
            'ɡ' | 'ğ' | 'ģ' => "g",
            'һ' | 'հ' => "h",
            'і' | 'ї' | 'ı' | 'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ι' | 'l' | '1' | 'ӏ' | '|' | 'ĺ' | 'ł' => "i",
            'ј' => "j",
            'к' | 'κ' => "k",
            'м' => "m",
            'ո' | 'п' | 'ñ' | 'ń' => "n",
            'о' | 'ο' | 'օ' | 'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ō' | 'ø' | '0' | '〇' | 'ㅇ' => "o",
            'р' | 'ρ' => "p",
            'ԛ' => "q",
            'г' => "r",
            'ѕ' | 'ś' | 'š' | 'ş' => "s",
            'т' | 'τ' => "t",
            'υ' | 'ս' | 'ù' | 'ú' | 'û' | 'ü' | 'ū' => "u",
            'ν' | 'ѵ' => "v",
            'ԝ' | 'ѡ' | 'ω' => "w",
            'х' | 'χ' => "x",
            'у' | 'γ' | 'ý' | 'ÿ' => "y",
            'ᴢ' | 'ź' | 'ż' | 'ž' => "z",
            'ー' | '一' | '―' | '–' | '‐' => "-",
            'ニ' | '二' => "ニ",
            'カ' | '力' => "カ",
            'ロ' | '口' => "口",
            'エ' | '工' => "工",
            other => {
                plain.push(other);
                continue;
            }
        });
    }
    plain.replace("rn", "m").replace("vv", "w")
}
