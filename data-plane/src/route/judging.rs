//! The user's last turn, judged when somebody has to know what it is like, and once for a call.

use std::sync::OnceLock;

use routing_engine::{Judged, Task, Turn};

use crate::ask::{Ask, Needs};

pub(super) struct Judging<'a> {
    pub ask: &'a Ask,
    needs: Needs,
    /// What the call is for, where the name that it asks for says so.
    task: Option<Task>,
    seen: OnceLock<(Judged, u64)>,
}

impl<'a> Judging<'a> {
    pub fn of(ask: &'a Ask, needs: Needs, task: Option<Task>) -> Self {
        Self { ask, needs, task, seen: OnceLock::new() }
    }

    pub fn judged(&self) -> &Judged {
        &self.seen().0
    }

    /// How many tokens the turn will be, roughly.
    pub fn tokens(&self) -> u64 {
        self.seen().1
    }

    /// What it was taken for, if anybody had to know, and all that was found.
    pub fn ends(self) -> (Option<Task>, Option<Judged>) {
        let judged = self.seen.into_inner().map(|it| it.0);
        (self.task.or(judged.as_ref().map(|it| it.task)), judged)
    }

    fn seen(&self) -> &(Judged, u64) {
        self.seen.get_or_init(|| {
            let (text, images, wants_json) = turn(self.ask, &self.needs);
            let judged = routing_engine::router().judge(&Turn { text: &text, images, wants_json });
            let task = self.task.unwrap_or(judged.task);
            (Judged { task, ..judged }, Ask::estimated(&text))
        })
    }
}

/// What the user's last turn is like.
pub fn judged(ask: &Ask) -> Judged {
    let (text, images, wants_json) = turn(ask, &ask.needs());
    routing_engine::router().judge(&Turn { text: &text, images, wants_json })
}

fn turn(ask: &Ask, needs: &Needs) -> (String, u32, bool) {
    let (text, images) = ask.turn(needs);
    (text, images, needs.json || needs.json_schema)
}
