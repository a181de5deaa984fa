//! Pages of a list: how many, from where.
//!
//! A cursor is opaque: what it says is signed with the installation's key, so that nobody makes one up.

use crate::Problem;
use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use identity::Keys;
use mail::TenantId;
use mail::text::Text;
use serde::{Deserialize, Serialize};

/// Rows of a page when nothing is asked for.
pub const LIMIT_DEFAULT: usize = 50;
/// Rows of a page at most.
pub const LIMIT_MAX: usize = 500;

/// `?limit=&cursor=` of every list.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Rows, 1–500; default 50.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// A page.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// Rows.
    pub items: Vec<T>,
    /// Cursor of the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Paging {
    /// Rows asked for, within bounds.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }

    /// What the cursor says, if there is one.
    ///
    /// # Errors
    /// 400 when it was not made here for this list.
    pub fn position(&self, keys: &Keys, list: &str) -> Result<Option<String>, Problem> {
        let Some(cursor) = self.cursor.as_deref().filter(|c| !c.is_empty()) else {
            return Ok(None);
        };
        let wrong = || Problem::malformed(Text::new("api.cursor"));
        let bytes = keys.open_cursor(TenantId::OPERATOR, list, cursor).ok_or_else(wrong)?;
        String::from_utf8(bytes).map(Some).map_err(|_| wrong())
    }
}

/// A signed cursor for `list` that says `position`.
#[must_use]
pub fn cursor(keys: &Keys, list: &str, position: &str) -> String {
    keys.sign_cursor(TenantId::OPERATOR, list, position.as_bytes())
}

/// A page of `limit` rows from `limit + 1` that were looked up: the surplus row says that there is more.
pub fn page<T>(mut rows: Vec<T>, limit: usize, keys: &Keys, list: &str, position: impl Fn(&T) -> String) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more {
        rows.last().map(|row| cursor(keys, list, &position(row)))
    } else {
        None
    };
    Page { items: rows, next }
}

/// Base 64 with padding.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_list_and_key_only() {
        let key = Keys::from_secret(&[7; 32]);
        let paging = |cursor: &str| Paging {
            limit: None,
            cursor: Some(cursor.into()),
        };
        let made = cursor(&key, "tenants", "41");
        assert_eq!(paging(&made).position(&key, "tenants").unwrap().as_deref(), Some("41"));
        assert!(paging(&made).position(&key, "queue").is_err());
        assert!(paging(&made).position(&Keys::from_secret(&[8; 32]), "tenants").is_err());
        assert!(paging("AAAA").position(&key, "tenants").is_err());
        assert_eq!(Paging::default().position(&key, "tenants").unwrap(), None);
    }

    #[test]
    fn the_surplus_row_makes_a_next_page() {
        let key = Keys::from_secret(&[7; 32]);
        assert_eq!(page(vec![1, 2, 3], 2, &key, "x", ToString::to_string).items, [1, 2]);
        assert!(page(vec![1, 2, 3], 2, &key, "x", ToString::to_string).next.is_some());
        assert!(page(vec![1, 2], 2, &key, "x", ToString::to_string).next.is_none());
    }
}
