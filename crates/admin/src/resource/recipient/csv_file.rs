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

/// Reads a file.
pub(super) fn read(bytes: &[u8], charset: Option<&str>, domain: &Domain) -> Result<Vec<RecipientRow>, Problem> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", Text::new("api.file.size")));
    }
    let text = decode(bytes, charset)?;
    if text.contains('\0') {
        return Err(Problem::malformed(Text::new("api.file.nul")));
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
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for record in reader.records() {
        if rows.len() >= ROWS_MAX {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                Text::new("api.limit").with("limit", ROWS_MAX).with("what", Noun::Rows),
            ));
        }
        match record
            .map_err(|e| {
                (
                    e.position().map_or(0, csv::Position::line),
                    Text::new("api.file.form").with("why", e.to_string()),
                )
            })
            .and_then(|r| {
                let line = r.position().map_or(0, csv::Position::line);
                row(&names, &r, domain).map_err(|text| (line, text))
            }) {
            Ok(row) => rows.push(row),
            Err((line, text)) if wrong.len() < PROBLEMS_MAX => wrong.push(RowProblem { line, text }),
            Err(_) => {}
        }
    }
    if wrong.is_empty() {
        return Ok(rows);
    }
    Err(Problem::rows(wrong))
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
            let rows = read(&bytes, None, &domain()).unwrap();
            assert_eq!(rows.len(), 2);
            assert_eq!((rows[0].local.as_str(), rows[0].display_name.as_str()), ("taro", "山田太郎"));
            assert_eq!(rows[0].aliases, ["yamada", "t.yamada"]);
            assert!(rows[0].enabled && !rows[1].enabled);
            let again = write(&domain(), &rows);
            assert!(String::from_utf8_lossy(&again).contains("'=SUM(A1)"));
            assert_eq!(read(&again, None, &domain()).unwrap(), rows);
        }
    }

    #[test]
    fn wrong_rows_are_told_with_their_lines() {
        let text = "address,enabled\ntaro@example.com,maybe\nx@other.example,\nnoaddress,\ngood@example.com,\n";
        let problem = read(text.as_bytes(), None, &domain()).unwrap_err();
        assert_eq!(problem.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 3, 4]);
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
}
