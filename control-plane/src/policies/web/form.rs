//! A document as a form: its rules in their order, what is chosen where none of them decides, and
//! one of these open to be changed. Or as the text of all of it.
//!
//! All of the document travels with the form, and what is open is read over its place there. So
//! what is not open is never lost, nor is what a field shows and nobody changed: it stays as it
//! was, however it was written.

mod acts;
mod choice;
mod marks;
mod rows;
#[cfg(test)]
mod tests;

use serde::Deserialize;
use shared::snapshot::{Document, Strategy};

pub(super) use self::{
    acts::Act,
    choice::{FALLBACKS, GOALS, HEDGES, STRATEGIES},
    marks::Marks,
    rows::Row,
};
use crate::policies::{Draft, PolicyName};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyForm {
    pub name: String,
    pub note: String,
    /// The version that was looked at; empty for a new policy.
    pub seen: String,
    /// `document` where its text is what was typed.
    pub view: String,
    /// All of it, as JSON, as it was before what is open was changed.
    pub document: String,
    /// The place of the rule that is open; empty where it is what is chosen otherwise.
    pub open: String,
    /// What the button that was pressed asks for; empty where it saves.
    #[serde(rename = "do")]
    act: String,
    pub rule_name: String,
    pub when: String,
    pub strategy: String,
    pub goal: String,
    pub goal_value: String,
    pub models: String,
    pub not_models: String,
    pub providers: String,
    pub not_providers: String,
    pub regions: String,
    pub quantizations: String,
    pub zero_retention: bool,
    pub no_training: bool,
    pub most_input_price: String,
    pub most_output_price: String,
    pub least_context: String,
    pub capability: Vec<String>,
    pub fallback: String,
    pub failed: Vec<String>,
    pub attempts: String,
    pub first_byte_seconds: String,
    pub total_seconds: String,
    pub stick_minutes: String,
    pub hedge: String,
    pub hedge_milliseconds: String,
    pub hedge_percent: String,
    tier: Vec<String>,
    model: Vec<String>,
    provider: Vec<String>,
    weight: Vec<String>,
    /// Where whoever pressed a button goes on.
    #[serde(skip)]
    focus: String,
}

impl PolicyForm {
    pub fn leading_to(model: &str) -> Self {
        Self {
            tier: vec!["1".to_owned()],
            model: vec![model.to_owned()],
            provider: vec![String::new()],
            weight: vec!["1".to_owned()],
            strategy: Strategy::Weighted.name().to_owned(),
            ..Self::default()
        }
    }

    /// `version` is the one that is in force.
    pub fn of(name: &str, document: &Document, version: i32) -> Self {
        let mut form = Self { name: name.to_owned(), seen: version.to_string(), ..Self::default() };
        form.show(document, None);
        form
    }

    pub fn is_text(&self) -> bool {
        self.view == "document"
    }

    pub fn seen(&self) -> Option<i32> {
        self.seen.parse().ok()
    }

    pub fn is_focused(&self, on: &str) -> bool {
        self.focus == on
    }

    /// The rule that is open.
    pub fn opened(&self) -> Option<usize> {
        self.open.parse().ok()
    }

    /// Takes all of a document, with a rule of it open, or what is chosen otherwise.
    fn show(&mut self, document: &Document, open: Option<usize>) {
        self.document = serde_json::to_string(document).unwrap_or_default();
        self.view = String::new();
        let rule = open.and_then(|it| document.rules.get(it).map(|rule| (it, rule)));
        self.open = rule.map(|(it, _)| it.to_string()).unwrap_or_default();
        (self.rule_name, self.when) =
            rule.map(|(_, it)| (it.name.clone(), it.when.clone())).unwrap_or_default();
        self.show_choice(rule.map_or(&document.otherwise, |(_, it)| &it.choose));
    }

    /// The document as it was before what is open was changed.
    pub fn kept(&self) -> Result<Document, String> {
        match self.document.trim() {
            "" if !self.is_text() => Ok(Document::default()),
            text => read(text),
        }
    }

    /// What was typed, as far as it can be read. Where it leads is checked later.
    pub fn draft(&self) -> Result<Draft, Marks> {
        let mut marks = Marks::none();
        let name = marks.take("name", self.name.parse::<PolicyName>());
        if self.note.chars().count() > 200 || self.note.chars().any(char::is_control) {
            marks.add("note", "a note has at most 200 printable characters");
        }
        let document = self.typed_document(&mut marks);
        let note = self.note.trim().to_owned();
        match (name, document) {
            (Some(name), Some(document)) if marks.is_empty() => Ok(Draft { name, document, note }),
            (_, _) => Err(marks),
        }
    }

    /// The document with what is open as it was typed.
    fn typed_document(&self, marks: &mut Marks) -> Option<Document> {
        let mut document = marks.take("document", self.kept())?;
        if self.is_text() {
            return Some(document);
        }
        if self.open.is_empty() {
            document.otherwise = self.choice(&document.otherwise, marks);
            return Some(document);
        }
        let Some(rule) = self.opened().and_then(|it| document.rules.get_mut(it)) else {
            marks.add("document", "the rule that was open is not there: open the page again");
            return None;
        };
        if self.rule_name.trim() != rule.name.trim() {
            rule.name = self.rule_name.trim().to_owned();
        }
        // Browsers end lines in their own way.
        let when = self.when.replace("\r\n", "\n");
        if when.trim() != rule.when.trim() {
            rule.when = when.trim().to_owned();
        }
        rule.choose = self.choice(&rule.choose, marks);
        Some(document)
    }
}

/// A document of the text that somebody wrote, or where it is none.
fn read(text: &str) -> Result<Document, String> {
    let mut text = serde_json::Deserializer::from_str(text);
    let document = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let (path, why) = (error.path().to_string(), error.inner().to_string());
        if path == "." { why } else { format!("{path}: {why}") }
    })?;
    text.end().map_err(|error| error.to_string())?;
    Ok(document)
}
