//! Which figure holds? The lowest scope that sets one; in the end the default.

use config::document::Limits;
use config::{LiveDomain, LiveTenant, SystemDocument};
use std::sync::LazyLock;

static DEFAULTS: LazyLock<Limits> = LazyLock::new(Limits::defaults);

/// The scopes that a transaction lies in, as far as known.
#[derive(Clone, Copy, Debug)]
pub struct Scopes<'a> {
    /// The operator.
    pub system: &'a SystemDocument,
    /// The tenant.
    pub tenant: Option<&'a LiveTenant>,
    /// Its domain.
    pub domain: Option<&'a LiveDomain>,
}

impl Scopes<'_> {
    /// A figure that every scope may set.
    pub fn limit<T>(&self, field: impl Fn(&Limits) -> Option<T>) -> Option<T> {
        self.own(&field).or_else(|| field(&self.system.limits)).or_else(|| field(&DEFAULTS))
    }

    /// A figure of the tenant or domain alone: they raised or lowered it for themselves.
    pub fn own<T>(&self, field: impl Fn(&Limits) -> Option<T>) -> Option<T> {
        self.domain
            .and_then(|d| field(&d.settings.limits))
            .or_else(|| self.tenant.and_then(|t| field(&t.settings.limits)))
    }
}

/// A figure that only the operator sets.
pub fn system<T: Default>(system: &SystemDocument, field: impl Fn(&Limits) -> Option<T>) -> T {
    field(&system.limits).or_else(|| field(&DEFAULTS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_scope_wins() {
        let mut document = SystemDocument::default();
        let limit = |d: &SystemDocument| {
            Scopes {
                system: d,
                tenant: None,
                domain: None,
            }
            .limit(|l| l.recipients_max)
        };
        assert_eq!(limit(&document), Some(1_000));
        document.limits.recipients_max = Some(500);
        assert_eq!(limit(&document), Some(500));
        assert_eq!(system(&document, |l| l.errors_max), 10);
    }
}
