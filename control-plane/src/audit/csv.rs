//! The log for spreadsheets: RFC 4180, and nothing in it that one would run.

use serde_json::Value;

use super::log::AuditEntry;
use crate::web::Moment;

const HEADER: [&str; 12] = [
    "seq",
    "at",
    "action",
    "actor",
    "actor_name",
    "target",
    "target_name",
    "before",
    "after",
    "address",
    "request",
    "hash",
];

pub(super) fn write(entries: &[AuditEntry]) -> String {
    let mut text = String::new();
    row(&mut text, HEADER.map(str::to_owned));
    for AuditEntry { seq, at, told, hash } in entries {
        row(
            &mut text,
            [
                seq.to_string(),
                Moment::new(*at, "UTC").iso(),
                told.action.clone(),
                told.actor.clone(),
                told.actor_name.clone(),
                told.target.clone(),
                told.target_name.clone(),
                json(&told.before),
                json(&told.after),
                told.address.clone().unwrap_or_default(),
                told.request.clone(),
                hash.clone(),
            ],
        );
    }
    text
}

fn json(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

fn row<const N: usize>(text: &mut String, cells: [String; N]) {
    text.push_str(&cells.map(|it| cell(&it)).join(","));
    text.push_str("\r\n");
}

/// Quoted, and with a `'` before what a spreadsheet would take for a formula.
fn cell(value: &str) -> String {
    let guard = if value.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", value.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &str) {
        assert_eq!(cell(value), expected);
    }

    #[test]
    fn a_cell_is_text_and_never_a_formula() {
        check("plain", r#""plain""#);
        check(r#"say "hi", you"#, r#""say ""hi"", you""#);
        check("two\r\nlines", "\"two\r\nlines\"");
        check("=1+1", r#""'=1+1""#);
        check("+1", r#""'+1""#);
        check("-1", r#""'-1""#);
        check("@SUM(A1)", r#""'@SUM(A1)""#);
        check("\t=1", "\"'\t=1\"");
        check("\r=1", "\"'\r=1\"");
        check("a=1", r#""a=1""#);
    }

    #[test]
    fn a_log_without_entries_is_a_header() {
        let text = write(&[]);
        assert!(text.starts_with(r#""seq","at","action""#) && text.ends_with("\"hash\"\r\n"));
    }
}
