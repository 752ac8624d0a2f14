//! What is kept of a decision, so that the same can be decided again (`replay`).

use routing_engine::Judged;
use shared::event::{Inputs, Turn, Word};

use super::{Asked, Routing, asked::millionths, judging::Seen, sessions};

/// Of so many calls of which nobody has to know what they are like, one is looked at.
const LOOKED_AT: u64 = 8;

impl Routing<'_> {
    /// What it takes to decide the same again.
    pub(super) fn inputs(&mut self) -> Inputs {
        let looks = !self.judging.is_seen() && self.dice.below(LOOKED_AT) == 0;
        let looked_at = looks.then(|| self.looked_at()).flatten();
        let (outline, wishes, call) = (self.asked.outline(), self.wishes(), &self.call);
        let seen = || {
            let Seen { judged, tokens } = self.judging.seen();
            turn(judged, *tokens)
        };
        Inputs {
            at_ms: self.sight.now_ms,
            revision: self.sight.snapshot.revision,
            needs: call.needs.bits(),
            input: call.input,
            output_cap: call.cap,
            choices: outline.choices,
            contexts: call.contexts,
            fallbacks: outline.fallbacks.clone(),
            turns: call.needs.turns,
            spoilt_before: self.asked.body().is_some_and(|it| it.has_spoilt_calls(&call.needs)),
            wishes: wishes.written(),
            turn: self.judging.is_seen().then(seen).or(looked_at),
            metadata: self.found.metadata.get().cloned(),
            user: self.found.user.get().cloned(),
            budget_used_percent: self.found.budget_used_percent.get().copied(),
            explore_per_mille: self.explore_per_mille,
            is_nameless: !self.asked.names_a_model(),
            session: self.found.session.get().map(|it| it.map_or_else(String::new, sessions::name)),
            kept: self.kept.clone(),
            worths: self.worths.clone(),
        }
    }

    /// The turn of a call of which nobody had to know what it is like: another policy may have to.
    fn looked_at(&self) -> Option<Turn> {
        let ask = self.asked.body().filter(|it| it.form.writes() && !it.wishes.zero_retention)?;
        let (judged, tokens) = ask.judged(&self.call.needs);
        Some(turn(&judged, tokens))
    }
}

fn turn(judged: &Judged, tokens: u64) -> Turn {
    Turn {
        task: Word::Borrowed(judged.task.name()),
        language: Word::Borrowed(judged.language.code()),
        ease: millionths(judged.ease),
        tokens,
    }
}
