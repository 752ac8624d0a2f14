//! Reading the log: entries as people and programs see them, and which of them.

use std::{collections::BTreeMap, ops::Range};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::ids::{ApiTokenId, PersonId};
use time::OffsetDateTime;

use super::{
    Finding,
    chain::{Link, Walk, hex},
    store,
};
use crate::access::Work;

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub action: Option<String>,
    pub actor: Option<String>,
    pub actor_name: Option<Range<String>>,
}

impl Filter {
    /// `actor` is an id, or how the name of whoever acted begins. Empty asks for all.
    pub fn new(action: &str, actor: &str) -> Self {
        let (action, actor) = (action.trim(), actor.trim().to_lowercase());
        let is_id = actor == "system"
            || actor.parse::<PersonId>().is_ok()
            || actor.parse::<ApiTokenId>().is_ok();
        Self {
            action: (!action.is_empty()).then(|| action.to_owned()),
            actor_name: (!is_id && !actor.is_empty()).then(|| beginning_with(&actor)),
            actor: is_id.then_some(actor),
        }
    }
}

/// All texts that begin so, in the order of their bytes.
fn beginning_with(text: &str) -> Range<String> {
    text.to_owned()..format!("{text}\u{10ffff}")
}

/// One thing that was done.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(super) struct AuditEntry {
    pub seq: i64,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    #[serde(flatten)]
    pub told: Told,
    /// SHA-256 of the entry and the hash before it, in hexadecimal.
    pub hash: String,
}

/// What the entry says.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AuditDetail)]
pub(super) struct Told {
    /// What was done, like `team.created`.
    pub action: String,
    /// The id of the person or token that did it, or `system`.
    pub actor: String,
    pub actor_name: String,
    /// The id of what it was done to.
    pub target: String,
    pub target_name: String,
    /// What it was.
    pub before: Value,
    /// What it became.
    pub after: Value,
    pub address: Option<String>,
    pub request: String,
}

impl From<Link> for AuditEntry {
    fn from(link: Link) -> Self {
        // The database keeps no body that is not JSON; one of another shape says nothing.
        let told = serde_json::from_str(&link.body).unwrap_or_default();
        Self { seq: link.seq, at: link.at, told, hash: hex(&link.hash) }
    }
}

impl AuditEntry {
    /// What is different, field by field.
    pub fn changes(&self) -> Vec<Change> {
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        flatten("", &self.told.before, &mut before);
        flatten("", &self.told.after, &mut after);
        let fields: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let change = |field: &String| Change {
            field: field.clone(),
            before: before.get(field).cloned(),
            after: after.get(field).cloned(),
        };
        fields.into_iter().map(change).filter(|it| it.before != it.after).collect()
    }
}

/// One field, as it was and as it became. The field has no name where there is only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub field: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Null => return,
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, into);
            }
            return;
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let words = items.iter().map(|it| it.as_str().map_or(it.to_string(), str::to_owned));
            words.collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    into.insert(path.to_owned(), text);
}

/// Whether the newest entries fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Empty,
    Sound { first: i64, through: i64 },
    Broken(Finding),
}

/// How many entries a page view checks; `turnpike audit verify` checks them all.
const CHECKED: i64 = 200;

pub(super) async fn standing(work: &mut Work) -> Result<Standing, sqlx::Error> {
    let organization = work.organization;
    let end = store::end(work, organization).await?;
    // One more, whose hash the first one checked has to follow from.
    let newest = (i64::MAX, CHECKED + 1);
    let mut links =
        store::before(work, organization, &Filter::default(), newest.0, newest.1).await?;
    links.reverse();
    let is_whole = links.len() <= usize::try_from(CHECKED).unwrap_or(usize::MAX);
    let (mut walk, links) = match links.split_first() {
        Some((first, rest)) if !is_whole => (Walk::from_link(organization, first), rest),
        Some(_) | None => (Walk::from_the_start(organization), links.as_slice()),
    };
    links.iter().for_each(|it| walk.pass(it));
    match end {
        // Appended between the two looks.
        Some(end) if end.seq < walk.last() => (),
        Some(end) => walk.finish(&end),
        None => (),
    }
    let through = walk.last();
    Ok(match (walk.findings.into_iter().next(), links.first()) {
        (Some(finding), _) => Standing::Broken(finding),
        (None, Some(first)) => Standing::Sound { first: first.seq, through },
        (None, None) => Standing::Empty,
    })
}

#[cfg(test)]
mod unit {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(before: Value, after: Value, expected: &[(&str, Option<&str>, Option<&str>)]) {
        let told = Told { before, after, ..Told::default() };
        let entry =
            AuditEntry { seq: 1, at: OffsetDateTime::UNIX_EPOCH, told, hash: String::new() };
        let changes = entry.changes();
        let seen: Vec<_> = changes
            .iter()
            .map(|it| (it.field.as_str(), it.before.as_deref(), it.after.as_deref()))
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_change_tells_what_is_different() {
        check(json!("a"), json!("b"), &[("", Some("a"), Some("b"))]);
        check(
            json!({ "name": "a", "team": null, "tags": ["x"] }),
            json!({ "name": "a", "team": "t", "tags": ["x", "y"] }),
            &[("tags", Some("x"), Some("x, y")), ("team", None, Some("t"))],
        );
        check(Value::Null, json!({ "split": { "ENG": 1 } }), &[("split.ENG", None, Some("1"))]);
        check(Value::Null, Value::Null, &[]);
    }

    #[test]
    fn an_actor_is_an_id_or_how_a_name_begins() {
        let id = PersonId::generate().to_string();
        let by_id = Filter::new("", &id);
        assert_eq!((by_id.actor, by_id.actor_name), (Some(id), None));
        let by_name = Filter::new("", " Ann%").actor_name.unwrap();
        assert!(by_name.contains(&"ann%@x".to_owned()));
        assert!(!by_name.contains(&"anna@x".to_owned()), "a percent sign is nothing but itself");
        let all = Filter::new(" ", "");
        assert!(all.action.is_none() && all.actor.is_none() && all.actor_name.is_none());
    }
}
