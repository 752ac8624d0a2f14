//! The user's last turn, judged when somebody has to know what it is like, and once for a call.

use std::sync::OnceLock;

use routing_engine::{Judged, Task};

use super::asked::Asked;
use crate::ask::Needs;

pub(super) struct Judging<'a> {
    asked: &'a dyn Asked,
    needs: Needs,
    /// What the call is for, where the name that it asks for says so.
    task: Option<Task>,
    seen: OnceLock<Seen>,
}

pub(super) struct Seen {
    pub judged: Judged,
    /// How many the turn will be, roughly.
    pub tokens: u64,
}

impl<'a> Judging<'a> {
    pub fn of(asked: &'a dyn Asked, needs: Needs, task: Option<Task>) -> Self {
        Self { asked, needs, task, seen: OnceLock::new() }
    }

    pub fn seen(&self) -> &Seen {
        self.seen.get_or_init(|| {
            let (judged, tokens) = self.asked.judged(&self.needs);
            let task = self.task.unwrap_or(judged.task);
            Seen { judged: Judged { task, ..judged }, tokens }
        })
    }

    pub fn is_seen(&self) -> bool {
        self.seen.get().is_some()
    }

    /// What it was taken for, if anybody had to know, and all that was found.
    pub fn ends(self) -> (Option<Task>, Option<Seen>) {
        let seen = self.seen.into_inner();
        (self.task.or(seen.as_ref().map(|it| it.judged.task)), seen)
    }
}
