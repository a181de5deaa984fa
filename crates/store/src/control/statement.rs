//! Where do the statements of the control plane stand? In `src/sql/control/*.sql`, each below a line `-- NAME`.
//!
//! In:  a file and a name. Out: the statement's text, cut out when the program is compiled: a wrong name does not compile.
//! Invariants: one text for both engines; [`super::statements`] gives every one, and a test prepares them all on both.

/// A named statement: `file.sql:NAME` and its text.
pub(super) type Named = (&'static str, &'static str);

/// Declares the statements of one file as constants, and their list.
macro_rules! statements {
    ($file:literal: $($name:ident),+ $(,)?) => {
        const TEXT: &str = include_str!(concat!("../sql/control/", $file));
        $(const $name: &str = super::statement::find(TEXT, stringify!($name));)+
        /// Every statement of this room.
        pub(super) const STATEMENTS: &[super::statement::Named] = &[$((concat!($file, ":", stringify!($name)), $name)),+];
    };
}
pub(super) use statements;

/// Every statement of the control plane, by file.
pub(super) const ALL: &[&[Named]] = &[
    super::api_key::STATEMENTS,
    super::audit::STATEMENTS,
    super::domain::STATEMENTS,
    super::errand::STATEMENTS,
    super::installation::STATEMENTS,
    super::job::STATEMENTS,
    super::live::STATEMENTS,
    super::pause::STATEMENTS,
    super::proof::STATEMENTS,
    super::recipient::STATEMENTS,
    super::revision::STATEMENTS,
    super::tenant::STATEMENTS,
];

/// The statement below the line `-- name`, without its semicolon.
#[expect(clippy::panic, reason = "ends the compilation, since it is only called for constants")]
pub(super) const fn find(text: &'static str, name: &str) -> &'static str {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if is_heading(bytes, at, name.as_bytes()) {
            let start = at + 3 + name.len() + 1;
            let end = statement_end(bytes, start);
            let (_, from_start) = text.split_at(start);
            let (statement, _) = from_start.split_at(end - start);
            return statement;
        }
        at = next_line(bytes, at);
    }
    panic!("no statement of this name in the file")
}

const fn next_line(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'\n' {
        at += 1;
    }
    at + 1
}

const fn is_heading(bytes: &[u8], at: usize, name: &[u8]) -> bool {
    let end = at + 3 + name.len();
    if end >= bytes.len() || bytes[at] != b'-' || bytes[at + 1] != b'-' || bytes[at + 2] != b' ' || bytes[end] != b'\n' {
        return false;
    }
    let mut i = 0;
    while i < name.len() {
        if bytes[at + 3 + i] != name[i] {
            return false;
        }
        i += 1;
    }
    true
}

const fn statement_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b';' {
        at += 1;
    }
    at
}
