//! Values: how do the control plane's values and texts look to PostgreSQL?
//!
//! In:  [`Value`]s for whatever type a parameter has; columns of the types that our statements give; texts with `?1`.
//! Out: the wire form; [`Value`]s; texts with `$1`.
//! Invariants: a number that does not fit is an error, never another number; NUL in text, which PostgreSQL does not keep, becomes U+FFFD.

use bytes::{BufMut, BytesMut};
use postgres_types::{FromSql, IsNull, ToSql, Type};
use std::error::Error;

use super::batch::plain;
use crate::StoreError;
use crate::sql::Value;

/// A value on its way in.
#[derive(Debug)]
pub(super) struct Param<'a>(pub(super) &'a Value);

type Boxed = Box<dyn Error + Sync + Send>;

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Int(n) => put_int(*n, ty, out)?,
            Value::Text(text) if is_text(ty) => out.put_slice(plain(text).as_bytes()),
            Value::Bytes(bytes) if *ty == Type::BYTEA => out.put_slice(bytes),
            other => return Err(format!("{other:?} does not fit a parameter of type {ty}").into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres_types::to_sql_checked!();
}

fn put_int(n: i64, ty: &Type, out: &mut BytesMut) -> Result<(), Boxed> {
    match *ty {
        Type::INT8 => out.put_i64(n),
        Type::INT4 => out.put_i32(i32::try_from(n)?),
        Type::INT2 => out.put_i16(i16::try_from(n)?),
        Type::BOOL => out.put_u8(u8::from(n != 0)),
        ref text if is_text(text) => out.put_slice(n.to_string().as_bytes()),
        ref other => return Err(format!("a number does not fit a parameter of type {other}").into()),
    }
    Ok(())
}

fn is_text(ty: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN].contains(ty)
}

/// A value on its way out.
struct Column(Value);

impl<'a> FromSql<'a> for Column {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        let value = match *ty {
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Int(i64::from(i32::from_sql(ty, raw)?)),
            Type::INT2 => Value::Int(i64::from(i16::from_sql(ty, raw)?)),
            Type::BOOL => Value::Int(i64::from(bool::from_sql(ty, raw)?)),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::NUMERIC => Value::Int(whole_numeric(raw)?),
            ref text if is_text(text) => Value::Text(std::str::from_utf8(raw)?.to_owned()),
            ref other => return Err(format!("columns of type {other} are not read").into()),
        };
        Ok(Self(value))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Boxed> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// SUM over BIGINT is NUMERIC: counts of groups of four digits, weight of the first, sign, scale, then the groups, 16 bits each.
fn whole_numeric(raw: &[u8]) -> Result<i64, Boxed> {
    let words: Vec<u16> = raw
        .chunks_exact(2)
        .map(|c| c.iter().fold(0, |n, b| n << 8 | u16::from(*b)))
        .collect();
    let [_, weight, sign, _, groups @ ..] = words.as_slice() else {
        return Err("a number is damaged".into());
    };
    let weight = i16::from_be_bytes(weight.to_be_bytes());
    let mut n: i128 = 0;
    for at in 0..=weight.max(-1) {
        let group = usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
        n = n
            .checked_mul(10_000)
            .and_then(|n| n.checked_add(i128::from(group)))
            .ok_or("a number is too large")?;
    }
    Ok(i64::try_from(if *sign == 0x4000 { -n } else { n })?)
}

/// Column `i` of `row`.
pub(super) fn value_of(row: &tokio_postgres::Row, i: usize) -> Result<Value, StoreError> {
    row.try_get::<_, Column>(i)
        .map(|c| c.0)
        .map_err(|e| StoreError::Data(format!("column {i}: {e}")))
}

/// `?1` becomes `$1`, outside of quotes and comments.
pub(super) fn dollars(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quote: Option<char> = None;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(end) => {
                if c == end {
                    quote = None;
                }
                out.push(c);
            }
            None => match c {
                '\'' | '"' => {
                    quote = Some(c);
                    out.push(c);
                }
                '-' if chars.peek() == Some(&'-') => {
                    quote = Some('\n');
                    out.push(c);
                }
                '?' if chars.peek().is_some_and(char::is_ascii_digit) => out.push('$'),
                other => out.push(other),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_dollars_outside_of_quotes() {
        let check = |sql: &str, expect: &str| assert_eq!(dollars(sql), expect, "{sql}");
        check("SELECT ?1, ?12", "SELECT $1, $12");
        check("SELECT '?1', \"?2\", ?3 -- ?4\n, ?5", "SELECT '?1', \"?2\", $3 -- ?4\n, $5");
        check("SELECT 'it''s ?1' || ?2", "SELECT 'it''s ?1' || $2");
    }

    #[test]
    fn whole_numerics_are_read() {
        let check = |words: &[u16], expect: Option<i64>| {
            let raw: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            assert_eq!(whole_numeric(&raw).ok(), expect, "{words:?}");
        };
        check(&[0, 0, 0, 0], Some(0));
        check(&[1, 0, 0, 0, 7], Some(7));
        check(&[2, 1, 0, 0, 12, 34], Some(120_034));
        check(&[1, 1, 0x4000, 0, 5], Some(-50_000));
        check(&[1, 9, 0, 0, 5], None);
        check(&[1], None);
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let check =
            |value: Value, ty: Type, ok: bool| assert_eq!(Param(&value).to_sql(&ty, &mut BytesMut::new()).is_ok(), ok, "{value:?} {ty}");
        check(Value::Int(70_000), Type::INT2, false);
        check(Value::Int(7), Type::INT2, true);
        check(Value::Text("x".into()), Type::INT8, false);
        check(Value::Bytes(vec![0]), Type::TEXT, false);
        check(Value::Text("a\0b".into()), Type::TEXT, true);
    }
}
