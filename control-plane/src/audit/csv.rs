//! The log for spreadsheets.

use serde_json::Value;

use super::log::AuditEntry;
use crate::web::{Moment, csv::row};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_entries_is_a_header() {
        let text = write(&[]);
        assert!(text.starts_with(r#""seq","at","action""#) && text.ends_with("\"hash\"\r\n"));
    }
}
