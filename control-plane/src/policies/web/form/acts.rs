//! What buttons ask for beside saving: rules are added, moved, taken away and opened. Nothing of
//! it is kept before the form is saved.

use shared::snapshot::{Choice, Document, Rule};

use super::{Marks, PolicyForm};
use crate::policies::web::diff::written;

/// What a button asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policies::web) enum Act {
    Add,
    /// Of a rule, or of what is chosen otherwise.
    Open(Option<usize>),
    Up(usize),
    Down(usize),
    Remove(usize),
    /// Another row for a target.
    Row,
    AsText,
    AsForm,
}

impl Act {
    /// A word that no button of ours has asks for another row, which changes nothing.
    fn read(word: &str) -> Self {
        let (verb, place) = word.split_once('-').unwrap_or((word, ""));
        let place = place.parse::<usize>().ok();
        match (verb, place) {
            ("add", None) => Self::Add,
            ("open", place) => Self::Open(place),
            ("up", Some(place)) => Self::Up(place),
            ("down", Some(place)) => Self::Down(place),
            ("remove", Some(place)) => Self::Remove(place),
            ("text", None) => Self::AsText,
            ("form", None) => Self::AsForm,
            (_, _) => Self::Row,
        }
    }
}

impl PolicyForm {
    /// What the button that was pressed asks for, unless it saves.
    pub fn act(&self) -> Option<Act> {
        if self.act.is_empty() { None } else { Some(Act::read(&self.act)) }
    }

    /// The form after it; as it was, where what is open cannot be read.
    pub fn after(mut self, act: Act) -> (Self, Marks) {
        self.act = String::new();
        if act == Act::Row {
            self.focus = format!("model-{}", self.filled() + 1);
            return (self, Marks::none());
        }
        let mut marks = Marks::none();
        // What was typed into a rule that goes need not make sense.
        let document = match act {
            Act::Remove(place) if self.opened() == Some(place) => {
                marks.take("document", self.kept())
            }
            Act::Add
            | Act::Open(_)
            | Act::Up(_)
            | Act::Down(_)
            | Act::Remove(_)
            | Act::Row
            | Act::AsText
            | Act::AsForm => self.typed_document(&mut marks),
        };
        let Some(document) = document.filter(|_| marks.is_empty()) else { return (self, marks) };
        self.take(act, document);
        (self, marks)
    }

    /// The form with something else open, where what is open can be read.
    pub fn opening(self, open: Option<usize>) -> Self {
        self.after(Act::Open(open)).0
    }

    fn take(&mut self, act: Act, mut document: Document) {
        let mut open = self.opened();
        let rules = &mut document.rules;
        let focus = match act {
            Act::Add => {
                open = Some(rules.len());
                rules.push(new_rule(rules));
                "rule_name".to_owned()
            }
            Act::Open(place) => {
                open = place;
                if place.is_some() { "rule_name" } else { "strategy" }.to_owned()
            }
            Act::Up(place) if place > 0 && place < rules.len() => {
                rules.swap(place - 1, place);
                open = open.map(|it| moved(it, place, place - 1));
                if place == 1 { "down-0".to_owned() } else { format!("up-{}", place - 1) }
            }
            Act::Down(place) if place + 1 < rules.len() => {
                rules.swap(place, place + 1);
                open = open.map(|it| moved(it, place, place + 1));
                let is_last = place + 2 == rules.len();
                format!("{}-{}", if is_last { "up" } else { "down" }, place + 1)
            }
            Act::Remove(place) if place < rules.len() => {
                rules.remove(place);
                open = open.filter(|it| *it != place).map(|it| it - usize::from(it > place));
                "rules".to_owned()
            }
            Act::AsText => {
                self.show(&document, None);
                self.document = written(&document);
                self.view = "document".to_owned();
                self.focus = "document".to_owned();
                return;
            }
            Act::AsForm => {
                open = None;
                "rules".to_owned()
            }
            Act::Up(_) | Act::Down(_) | Act::Remove(_) | Act::Row => String::new(),
        };
        self.show(&document, open);
        self.focus = focus;
    }
}

/// Where a rule is after two that are beside each other changed places.
fn moved(it: usize, one: usize, other: usize) -> usize {
    if it == one {
        other
    } else if it == other {
        one
    } else {
        it
    }
}

fn new_rule(beside: &[Rule]) -> Rule {
    let is_free = |name: &String| !beside.iter().any(|it| it.name == *name);
    let name = (beside.len() + 1..).map(|it| format!("Rule {it}")).find(is_free);
    Rule { name: name.unwrap_or_default(), when: String::new(), choose: Choice::default() }
}
