//! One file a noun. Each handler: who may, then what, then the audit entry with the change.

pub mod audit;
pub mod credential;
pub mod directory;
pub mod domain;
pub mod key;
pub mod proof;
pub mod queue;
pub mod recipient;
pub mod settings;
pub mod system;
pub mod tenant;
pub mod tracking;

use crate::Problem;
use mail::Timestamp;
use mail::text::Text;

/// A time of the API: RFC 3339, or a date.
pub(crate) fn time(text: &str) -> Result<Timestamp, Problem> {
    let wrong = || Problem::malformed(Text::new("api.time").with("have", format!("{text:?}")));
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(at.as_millisecond()));
    }
    let date: jiff::civil::Date = text.parse().map_err(|_| wrong())?;
    let at: jiff::Timestamp = format!("{date}T00:00:00Z").parse().map_err(|_| wrong())?;
    Ok(Timestamp(at.as_millisecond()))
}
