//! What is set: the node file, and the settings documents of the operator and of each tenant. Raw → checked, all problems together.
//!
//! * [`node`]: what one node is told before it has read anything else (TOML).
//! * [`document`]: settings that live in the store as revisions (JSON), with the scopes of domains-and-routing.
//! * [`live`]: the checked settings as the mail flow sees them: swapped whole, looked up by domain.
//!
//! Opens no socket and no store. A setting is declared once, here.

pub mod check;
pub mod document;
pub mod later;
pub mod live;
pub mod node;
pub mod problem;
mod table;

pub use check::{CheckContext, Target, TargetHost, check_name, looks_like};
pub use document::{DomainDocument, SystemDocument, TenantDocument};
pub use live::{DomainState, Live, LiveDomain, LiveTenant, TenantState};
pub use node::Node;
pub use problem::{Problem, ProblemKind};
pub use table::settings_table;
