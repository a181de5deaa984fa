//! The CSV form of a recipient list.
//!
//! In: bytes in UTF-8 (with or without mark) or CP932, header line first; `address` required, `display_name`, `aliases` and `groups`
//! (separated by `;`), `manager`, `language`, `enabled`. Out: rows, or every row that is wrong with its line.
//! Invariants: a cell that begins with `= + - @` or a tab leaves with a `'` in front (spreadsheets run such cells) and comes back without.

use super::{FILE_BYTES_MAX, ROWS_MAX};
use crate::Problem;
use crate::problem::RowProblem;
use axum::http::StatusCode;
use mail::text::{Noun, Text};
use mail::{Address, Domain};
use store::control::recipient::RecipientRow;

const COLUMNS: [&str; 7] = ["address", "display_name", "aliases", "groups", "manager", "language", "enabled"];
const CELL_LETTERS_MAX: usize = 4_096;
/// More problems than these are not told.
const PROBLEMS_MAX: usize = 1_000;

/// What a file holds.
#[derive(Debug)]
pub(super) struct Listed {
    /// Rows in their order.
    pub(super) rows: Vec<RecipientRow>,
    /// The line of the file where each row begins, from 1.
    pub(super) lines: Vec<u64>,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8], charset: Option<&str>, domain: &Domain) -> Result<Listed, Problem> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", Text::new("api.file.size")));
    }
    let text = decode(bytes, charset)?;
    if text.contains('\0') {
        return Err(Problem::malformed(Text::new("api.file.nul")));
    }
    if let Some(line) = open_quote(&text) {
        return Err(Problem::rows(vec![RowProblem {
            line,
            text: Text::new("api.file.open-quote"),
        }]));
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|e| Problem::malformed(Text::new("api.file.form").with("why", e.to_string())))?
        .clone();
    let names: Vec<String> = header.iter().map(|h| h.trim().to_ascii_lowercase()).collect();
    if let Some(unknown) = names.iter().find(|n| !COLUMNS.contains(&n.as_str())) {
        return Err(Problem::malformed(
            Text::new("api.file.column")
                .with("column", format!("{unknown:?}"))
                .with("known", COLUMNS.join(", ")),
        ));
    }
    if !names.iter().any(|n| n == "address") {
        return Err(Problem::malformed(Text::new("api.file.no-address")));
    }
    let (mut rows, mut lines, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut places = Places::new(&text);
    let mut line_at = |position: Option<&csv::Position>| places.line_at(position.map_or(0, csv::Position::byte));
    for record in reader.records() {
        if rows.len() >= ROWS_MAX {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                Text::new("api.limit").with("limit", ROWS_MAX).with("what", Noun::Rows),
            ));
        }
        match record
            .map_err(|e| (line_at(e.position()), Text::new("api.file.form").with("why", e.to_string())))
            .and_then(|r| {
                let line = line_at(r.position());
                row(&names, &r, domain).map(|row| (line, row)).map_err(|text| (line, text))
            }) {
            Ok((line, row)) => {
                lines.push(line);
                rows.push(row);
            }
            Err((line, text)) if wrong.len() < PROBLEMS_MAX => wrong.push(RowProblem { line, text }),
            Err(_) => {}
        }
    }
    if wrong.is_empty() {
        return Ok(Listed { rows, lines });
    }
    Err(Problem::rows(wrong))
}

/// The line in which a quoted cell begins that never ends: the file was cut off, and reading on would take its rest for one cell.
fn open_quote(text: &str) -> Option<u64> {
    let (mut line, mut opened, mut is_cell_start, mut is_after_quote) = (1, None, true, false);
    for octet in text.bytes() {
        if opened.is_some() && !is_after_quote {
            is_after_quote = octet == b'"';
        } else {
            match octet {
                // Two in a row stand for one; one at the start of a cell opens it.
                b'"' if is_after_quote => is_after_quote = false,
                b'"' if is_cell_start => opened = Some(line),
                _ => (opened, is_after_quote) = (None, false),
            }
            is_cell_start = opened.is_none() && matches!(octet, b',' | b'\n' | b'\r');
        }
        line += u64::from(octet == b'\n');
    }
    opened.filter(|_| !is_after_quote)
}

/// Lines of a text, asked for in ascending order.
struct Places<'t> {
    octets: &'t [u8],
    at: usize,
    line: u64,
}

impl<'t> Places<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            octets: text.as_bytes(),
            at: 0,
            line: 1,
        }
    }

    /// The line of the row behind `octet`: ends of lines that the reader has not passed yet (CRLF, empty lines) are before it.
    fn line_at(&mut self, octet: u64) -> u64 {
        let start = usize::try_from(octet).unwrap_or(usize::MAX);
        while let Some(next) = self.octets.get(self.at)
            && (self.at < start || matches!(next, b'\r' | b'\n'))
        {
            self.line += u64::from(*next == b'\n');
            self.at += 1;
        }
        self.line
    }
}

fn decode(bytes: &[u8], charset: Option<&str>) -> Result<String, Problem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let cp932 = || {
        let (text, _, broken) = encoding_rs::SHIFT_JIS.decode(bytes);
        if broken {
            Err(Problem::malformed(Text::new("api.file.charset")))
        } else {
            Ok(text.into_owned())
        }
    };
    match charset.map(str::to_ascii_lowercase).as_deref() {
        Some("utf-8" | "utf8") => std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| Problem::malformed(Text::new("api.file.utf-8"))),
        Some("cp932" | "shift_jis" | "shift-jis" | "windows-31j") => cp932(),
        Some(other) => Err(Problem::malformed(
            Text::new("api.file.charset-word").with("have", format!("{other:?}")),
        )),
        None => std::str::from_utf8(bytes).map(str::to_owned).or_else(|_| cp932()),
    }
}

fn row(names: &[String], record: &csv::StringRecord, domain: &Domain) -> Result<RecipientRow, Text> {
    if record.len() != names.len() {
        return Err(Text::new("api.row.cells").with("have", record.len()).with("expected", names.len()));
    }
    let cell = |name: &str| {
        let raw = names
            .iter()
            .position(|n| n == name)
            .and_then(|i| record.get(i))
            .unwrap_or_default()
            .trim();
        raw.strip_prefix('\'')
            .filter(|rest| rest.starts_with(['=', '+', '-', '@', '\t']))
            .unwrap_or(raw)
    };
    if record.iter().any(|c| c.chars().count() > CELL_LETTERS_MAX) {
        return Err(Text::new("api.row.cell").with("max", CELL_LETTERS_MAX));
    }
    let local = local_part(cell("address"), domain)?;
    let list = |name: &str| {
        cell(name)
            .split(';')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let aliases = list("aliases").iter().map(|a| local_part(a, domain)).collect::<Result<_, _>>()?;
    let some = |name: &str| Some(cell(name)).filter(|c| !c.is_empty()).map(str::to_owned);
    let language = some("language").map(|l| l.to_ascii_lowercase());
    if language.as_deref().is_some_and(|l| l != "ja" && l != "en") {
        return Err(Text::new("api.row.language"));
    }
    let enabled = match cell("enabled").to_ascii_lowercase().as_str() {
        "" | "1" | "true" | "yes" | "on" => true,
        "0" | "false" | "no" | "off" => false,
        other => return Err(Text::new("api.row.enabled").with("have", format!("{other:?}"))),
    };
    let mut made = RecipientRow::new(local);
    (made.display_name, made.aliases, made.groups) = (cell("display_name").to_owned(), aliases, list("groups"));
    (made.manager, made.language, made.enabled) = (some("manager"), language, enabled);
    Ok(made)
}

fn local_part(text: &str, domain: &Domain) -> Result<String, Text> {
    let address = Address::parse(text).map_err(|e| Text::new("check.about").with("what", format!("{text:?}")).with("why", e))?;
    if address.domain() != Some(domain) {
        return Err(Text::new("api.row.other-domain")
            .with("address", format!("{text:?}"))
            .with("domain", domain.as_str()));
    }
    Ok(address.local_key())
}

/// The whole list, with a byte order mark, for spreadsheets.
pub(super) fn write(domain: &Domain, rows: &[RecipientRow]) -> Vec<u8> {
    let mut out = Vec::from(*b"\xef\xbb\xbf");
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(&mut out);
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    lines.extend(rows.iter().map(|r| {
        let address = |local: &String| format!("{local}@{domain}");
        let aliases = r.aliases.iter().map(address).collect::<Vec<_>>().join(";");
        [
            address(&r.local),
            r.display_name.clone(),
            aliases,
            r.groups.join(";"),
            r.manager.clone().unwrap_or_default(),
            r.language.clone().unwrap_or_default(),
            r.enabled.to_string(),
        ]
        .map(|cell| {
            if cell.starts_with(['=', '+', '-', '@', '\t']) {
                format!("'{cell}")
            } else {
                cell
            }
        })
    }));
    for line in lines {
        // Writing to memory does not fail.
        drop(writer.write_record(line));
    }
    drop(writer.flush());
    drop(writer);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> Domain {
        Domain::parse("example.com").unwrap()
    }

    #[test]
    fn utf8_and_cp932_are_read_and_the_list_round_trips() {
        let text = "address,display_name,aliases,enabled\r\nTaro@example.com,山田太郎,yamada@example.com;t.yamada@example.com,\r\nhanako@example.com,=SUM(A1),,no\r\n";
        let (cp932, _, _) = encoding_rs::SHIFT_JIS.encode(text);
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            cp932.into_owned(),
        ] {
            let Listed { rows, lines } = read(&bytes, None, &domain()).unwrap();
            assert_eq!((rows.len(), lines), (2, vec![2, 3]));
            assert_eq!((rows[0].local.as_str(), rows[0].display_name.as_str()), ("taro", "山田太郎"));
            assert_eq!(rows[0].aliases, ["yamada", "t.yamada"]);
            assert!(rows[0].enabled && !rows[1].enabled);
            let again = write(&domain(), &rows);
            assert!(String::from_utf8_lossy(&again).contains("'=SUM(A1)"));
            assert_eq!(read(&again, None, &domain()).unwrap().rows, rows);
        }
    }

    #[test]
    fn wrong_rows_are_told_with_their_lines() {
        let text = "address,enabled\ntaro@example.com,maybe\nx@other.example,\nnoaddress,\ngood@example.com,\n";
        let problem = read(text.as_bytes(), None, &domain()).unwrap_err();
        assert_eq!(problem.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 3, 4]);
        let windows = "address,display_name\r\n\r\na@example.com,\"two\r\nlines\"\r\nx@other.example,\r\n\r\ny@other.example,\r\n";
        let problem = read(windows.as_bytes(), None, &domain()).unwrap_err();
        assert_eq!(
            problem.rows.iter().map(|r| r.line).collect::<Vec<_>>(),
            [5, 7],
            "CRLF, empty lines, a cell of two lines"
        );
        for (bad, word) in [
            ("mail,name\n", "unknown column"),
            ("display_name\nx\n", "address"),
            ("address\na\0b@example.com\n", "NUL"),
        ] {
            assert!(
                read(bad.as_bytes(), None, &domain()).unwrap_err().detail.to_string().contains(word),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_file_cut_off_in_a_cell_is_not_a_list() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(open_quote(text), expect, "{text:?}");
        check("address,name\na@b,\"x", Some(2));
        check("address,name\r\na@b,\"x\"\"\r\nc@d,y\r\n", Some(2));
        check("address,name\na@b,\"x\"\n\"", Some(3));
        check("address,name\na@b,\"x\"", None);
        check("address,name\na@b,\"x \"\"y\"\"\"\n", None);
        check("address,name\na@b,5\" pipe\n", None);
        check("address,name\na@b,\"\"\n", None);
        check("", None);
        let problem = read(b"address,display_name\ntaro@example.com,\"x", None, &domain()).unwrap_err();
        assert_eq!(problem.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [2]);
    }
}
