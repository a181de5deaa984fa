//! The floors and ceilings of the protocol itself. What an operator may set lies in `config`; these never move.
//!
//! Standards: RFC 5321 §4.5.3.1, RFC 3461 §4, RFC 4954 §4.

/// RFC 5321 §4.5.3.1.4 asks for 512 with extensions on top; SMTPUTF8, DSN and AUTH add up to less than this.
pub const COMMAND_BYTES_MAX: usize = 2048;
/// RFC 5321 §4.5.3.1.6 wants 998 octets taken; we take far more before we call a message malformed.
pub const TEXT_LINE_BYTES_MAX: usize = 65_536;
/// Wrong commands in a session before it is closed.
pub const ERRORS_MAX: u32 = 10;
/// Commands that move no mail (NOOP, RSET, VRFY, HELP, EHLO) between two messages; each further one counts as wrong.
pub const IDLE_COMMANDS_MAX: u32 = 100;
/// A HELO name: RFC 5321 §4.5.3.1.2.
pub const HELLO_BYTES_MAX: usize = 255;
/// ENVID decoded: RFC 3461 §4.4.
pub const ENVID_CHARS_MAX: usize = 100;
/// ORCPT as it stands on the wire: RFC 3461 §4.2.
pub const ORCPT_BYTES_MAX: usize = 500;
/// At this much body the machine asks to be drained; memory does not grow with message size.
pub const BODY_CHUNK_BYTES: usize = 65_536;
/// Lines of one reply of a next hop; more is an endless banner.
pub const REPLY_LINES_MAX: usize = 100;
/// Octets kept of one reply line; RFC 5321 §4.5.3.1.5 says 512.
pub const REPLY_LINE_KEPT_BYTES_MAX: usize = 2048;
/// Octets read of one reply line before it counts as endless.
pub const REPLY_LINE_BYTES_MAX: usize = 65_536;
