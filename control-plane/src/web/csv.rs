//! Tables for spreadsheets: RFC 4180, and nothing in them that one would run.

use actix_web::HttpResponse;

/// Appends a row.
pub fn row<const N: usize>(text: &mut String, cells: [String; N]) {
    text.push_str(&cells.map(|it| cell(&it)).join(","));
    text.push_str("\r\n");
}

/// Quoted, and with a `'` before what a spreadsheet would take for a formula.
fn cell(value: &str) -> String {
    let guard = if value.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", value.replace('"', "\"\""))
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Text(String),
    /// Of our own making, which may begin with a minus.
    Number(String),
    Nothing,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        if text.is_empty() { Self::Nothing } else { Self::Text(text.to_owned()) }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// Appends a row in which numbers are numbers and nothing is nothing.
pub fn typed_row(text: &mut String, cells: &[Cell]) {
    let written = cells.iter().map(|it| match it {
        Cell::Text(value) => cell(value),
        Cell::Number(value) => value.clone(),
        Cell::Nothing => String::new(),
    });
    text.push_str(&written.collect::<Vec<_>>().join(","));
    text.push_str("\r\n");
}

/// A table as a file to keep. The name holds nothing that anybody typed.
pub fn file(name: &str, text: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}.csv\"")))
        .body(text)
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
}
