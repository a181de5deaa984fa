//! Arguments of MAIL and RCPT: path and parameters.
//!
//! In:  what follows `FROM:` or `TO:`. Out: address and parameters, or what is wrong.
//! Standards: RFC 5321 §4.1.2 (paths), §4.1.1.11 (parameters); RFC 1870, 3461, 4954 §5, 6152, 6531.
//! Deviations: source routes are read and forgotten (RFC 5321 §3.3, appendix C, allows it).
//! Invariants: a parameter stands at most once; nothing decoded holds a control character.

use super::{Violation, reply};
use crate::smtp::limits::{ENVID_CHARS_MAX, ORCPT_BYTES_MAX};
use crate::smtp::xtext;
use mail::{Address, BodyType, Domain, MailParams, Notify, Recipient, Reply, Ret, ReversePath};

/// What is wrong with MAIL or RCPT.
#[derive(Debug, PartialEq, Eq)]
pub enum PathError {
    /// By syntax: the reply stands.
    Syntax(Reply),
    /// By protocol: the driver writes the reply; the text is the address.
    Violation(Violation, Option<String>),
}

impl From<Reply> for PathError {
    fn from(reply: Reply) -> Self {
        Self::Syntax(reply)
    }
}

/// Whether addresses may hold UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// SMTPUTF8 was not given.
    Ascii,
    /// It was.
    Utf8,
}

/// Argument of MAIL.
///
/// # Errors
/// [`PathError`].
pub fn mail(argument: &str, size_max: u64) -> Result<(ReversePath, MailParams), PathError> {
    let (path, rest) = cut_path(argument).ok_or(reply::MAIL_FORM)?;
    let params = mail_params(rest)?;
    let charset = if params.smtputf8 { Charset::Utf8 } else { Charset::Ascii };
    check_charset(path, charset)?;
    let path = without_route(path).ok_or(reply::ADDRESS_FORM)?;
    let path = ReversePath::parse(path).map_err(|_| reply::ADDRESS_FORM)?;
    // RFC 1870 §6.1: a declared size over the limit is refused before the octets come.
    if params.size.is_some_and(|size| size > size_max) {
        return Err(PathError::Violation(Violation::TooLarge, None));
    }
    Ok((path, params))
}

/// Argument of RCPT. A bare `<postmaster>` gets `own` as its domain (RFC 5321 §4.1.1.3).
///
/// # Errors
/// [`PathError`].
pub fn rcpt(argument: &str, charset: Charset, own: &str) -> Result<Recipient, PathError> {
    let (path, rest) = cut_path(argument).ok_or(reply::RCPT_FORM)?;
    check_charset(path, charset)?;
    let path = without_route(path).ok_or(reply::ADDRESS_FORM)?;
    let address = if path.eq_ignore_ascii_case("postmaster") {
        Domain::parse(own).ok().and_then(|own| Address::new(path, own).ok())
    } else {
        Address::parse(path).ok()
    };
    let (notify, orcpt) = rcpt_params(rest)?;
    Ok(Recipient {
        address: address.ok_or(reply::ADDRESS_FORM)?,
        notify,
        orcpt,
    })
}

fn check_charset(path: &str, charset: Charset) -> Result<(), PathError> {
    match charset {
        Charset::Ascii if !path.is_ascii() => Err(PathError::Violation(Violation::Utf8Address, Some(path.to_owned()))),
        Charset::Ascii | Charset::Utf8 => Ok(()),
    }
}

/// What stands between the angle brackets, and what follows them. A quoted local part may hold `>`.
fn cut_path(argument: &str) -> Option<(&str, &str)> {
    let inner = argument.strip_prefix('<')?;
    let mut quoted = false;
    let mut escaped = false;
    for (at, octet) in inner.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let rest = inner.get(at + 1..)?;
                return (rest.is_empty() || rest.starts_with(' ')).then_some((inner.get(..at)?, rest));
            }
            _ => {}
        }
    }
    None
}

/// RFC 5321 §4.1.2: `@a,@b:` in front of the mailbox is to be accepted and ignored.
fn without_route(path: &str) -> Option<&str> {
    if !path.starts_with('@') {
        return Some(path);
    }
    let (route, mailbox) = path.split_once(':')?;
    let usable = route
        .split(',')
        .all(|hop| hop.strip_prefix('@').is_some_and(|name| Domain::parse(name).is_ok()));
    (usable && !mailbox.is_empty()).then_some(mailbox)
}

/// Each `keyword[=value]` of the rest of the line.
fn parameters(rest: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    rest.split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        })
}

/// Puts a parameter's value in its place; a second one is an error.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Reply> {
    match value {
        Some(value) if place.is_none() => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(reply::PARAMETER_VALUE),
    }
}

fn mail_params(rest: &str) -> Result<MailParams, Reply> {
    let mut size = None;
    let mut body = None;
    let mut utf8 = None;
    let mut ret = None;
    let mut envid = None;
    let mut author = None;
    for (keyword, value) in parameters(rest) {
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("SIZE") {
            once(&mut size, value.and_then(size_value))?;
        } else if is("BODY") {
            once(&mut body, value.and_then(body_value))?;
        } else if is("SMTPUTF8") {
            once(&mut utf8, value.is_none().then_some(()))?;
        } else if is("RET") {
            once(&mut ret, value.and_then(ret_value))?;
        } else if is("ENVID") {
            once(
                &mut envid,
                value
                    .and_then(xtext::decode_printable)
                    .filter(|e| !e.is_empty() && e.len() <= ENVID_CHARS_MAX),
            )?;
        } else if is("AUTH") {
            // RFC 4954 §5: to be accepted; we trust no one's word on who the author is, so it ends here.
            once(&mut author, value.and_then(xtext::decode_printable))?;
        } else {
            // RFC 5321 §4.1.1.11.
            return Err(reply::PARAMETER_UNKNOWN);
        }
    }
    Ok(MailParams {
        size,
        body: body.unwrap_or_default(),
        smtputf8: utf8.is_some(),
        ret,
        envid,
    })
}

/// RFC 1870 §4: up to twenty digits; what does not fit 64 bits is over every limit.
fn size_value(value: &str) -> Option<u64> {
    let usable = (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    usable.then(|| value.parse().unwrap_or(u64::MAX))
}

/// BINARYMIME (RFC 3030 §3) is not offered, so it is an unusable value.
fn body_value(value: &str) -> Option<BodyType> {
    if value.eq_ignore_ascii_case("7BIT") {
        Some(BodyType::SevenBit)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        Some(BodyType::EightBitMime)
    } else {
        None
    }
}

fn ret_value(value: &str) -> Option<Ret> {
    if value.eq_ignore_ascii_case("FULL") {
        Some(Ret::Full)
    } else if value.eq_ignore_ascii_case("HDRS") {
        Some(Ret::Headers)
    } else {
        None
    }
}

fn rcpt_params(rest: &str) -> Result<(Notify, Option<String>), Reply> {
    let mut notify = None;
    let mut orcpt = None;
    for (keyword, value) in parameters(rest) {
        if keyword.eq_ignore_ascii_case("NOTIFY") {
            once(&mut notify, value.and_then(notify_value))?;
        } else if keyword.eq_ignore_ascii_case("ORCPT") {
            once(&mut orcpt, value.and_then(orcpt_value))?;
        } else {
            return Err(reply::PARAMETER_UNKNOWN);
        }
    }
    Ok((notify.unwrap_or(Notify::Default), orcpt))
}

/// RFC 3461 §4.1: NEVER alone, or a list of the others.
fn notify_value(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        if word.eq_ignore_ascii_case("SUCCESS") {
            success = true;
        } else if word.eq_ignore_ascii_case("FAILURE") {
            failure = true;
        } else if word.eq_ignore_ascii_case("DELAY") {
            delay = true;
        } else {
            return None;
        }
    }
    Some(Notify::When { success, failure, delay })
}

/// RFC 3461 §4.2: `type;xtext`, given as `type;address`. RFC 6533 §3: type `utf-8` has its own forms.
fn orcpt_value(value: &str) -> Option<String> {
    let (kind, encoded) = value
        .split_once(';')
        .filter(|(kind, _)| value.len() <= ORCPT_BYTES_MAX && xtext::is_address_type(kind))?;
    let address = if kind.eq_ignore_ascii_case("utf-8") {
        xtext::decode_utf8_address(encoded)
    } else {
        xtext::decode_printable(encoded)
    };
    address.filter(|a| !a.is_empty()).map(|address| format!("{kind};{address}"))
}
