//! What is spoken on the wire: SMTP, SASL, PROXY. Bytes in, values out, and back.
//!
//! Pure: no socket, no clock, no file, no task. A driver reads, asks policy, waits and writes; the machines here only say what comes next.

pub mod proxy;
pub mod sasl;
pub mod smtp;
