//! What *connects* the product to the world around it: the clock, the resolver, TLS, listeners, guarded connections, named tasks.
//!
//! Nothing here knows what mail means; the rooms above bring the protocols.

pub mod clock;
pub mod guard;
pub mod listen;
pub mod resolver;
pub mod task;
pub mod tls;
