//! Going through the candidates until one answers.
//!
//! Each is tried once, in the plan's order. An upstream that has failed a call, whichever
//! credential it was shown and whichever model was asked for, gets it once more at most, if the
//! retries allow it: where it has another credential or serves another model of the plan at once,
//! else when all have failed, the first that may do better in a moment, after as long as it wished
//! or a random pause. So an outage of an upstream costs a call one attempt, and one more for one
//! call in five, however many models and credentials the call may go to there; and none follows
//! after the client has been given anything, nor after we have begun to leave.

use std::{future::poll_fn, time::Duration};

use http::StatusCode;
use shared::ids::UpstreamId;
use tokio::time::{Instant, sleep};

use super::{
    Attempt, Fate,
    attempt::{Asked, Ended, Sending},
    breaker::Verdict,
    retries::pause,
};
use crate::{
    budgets::{Heard, Rest, Tab},
    call::UpstreamFailure,
    catalog::Candidate,
};

pub(super) struct Trying<'a> {
    pub sending: Sending<'a>,
    /// What each attempt may cost is covered before it is sent, and what it did cost kept.
    pub tab: &'a mut Tab,
    pub attempts: Vec<Attempt>,
    /// The upstreams that were to be asked once more after they had failed.
    again: Vec<UpstreamId>,
    /// The attempt under way.
    present: Option<Asked>,
}

/// Whoever waited has left. What was sent is heard out, for it has to be paid for.
impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.leaves();
    }
}

/// A candidate and what it has come to.
type Tried<'c> = (&'c Candidate, Ended);

impl<'a> Trying<'a> {
    pub fn new(sending: Sending<'a>, tab: &'a mut Tab) -> Self {
        Self { sending, tab, attempts: Vec::with_capacity(1), again: vec![], present: None }
    }

    /// `None` when there is no candidate.
    pub async fn each<'c>(&mut self, candidates: &'c [Candidate]) -> Option<Tried<'c>> {
        let mut told: Option<(Tried, Fate)> = None;
        let mut again = None;
        for candidate in candidates {
            if self.has_failed(candidate) && !self.may_repeat(candidate) {
                continue;
            }
            let (ended, fate) = self.attempt(candidate).await;
            if fate == Fate::NotCovered && told.is_some() {
                // What the attempts before it have come to is told.
                break;
            }
            if fate.is_final() || is_ours(&ended) || Instant::now() >= self.sending.end {
                return Some((candidate, ended));
            }
            let pause = pause_after(&ended, fate);
            again = again.or_else(|| Some((candidate, pause?)));
            let is_less = |((_, before), it): &(Tried, Fate)| {
                it.weight() <= fate.weight() && !is_back_sooner(before, &ended)
            };
            if told.as_ref().is_none_or(is_less) {
                told = Some(((candidate, ended), fate));
            }
        }
        if let Some((candidate, pause)) = again
            && self.may_ask_again(candidate, pause)
        {
            self.sending.calling.unless_leaving(sleep(pause)).await;
            let (ended, fate) = self.attempt(candidate).await;
            if is_ours(&ended) || !matches!(fate, Fate::LeftAlone | Fate::NotCovered) {
                return Some((candidate, ended));
            }
        }
        told.map(|(tried, _)| tried)
    }

    async fn attempt(&mut self, candidate: &Candidate) -> (Ended, Fate) {
        let (started, mut status) = (Instant::now(), None);
        if let Err(why) = self.tab.cover(candidate).await {
            return (Ended::Failed(why.into()), Fate::NotCovered);
        }
        let calling = self.sending.calling;
        let (ended, fate) = match calling.breakers.admit(candidate.credential.id, started) {
            Err(rest) => (Ended::Failed(UpstreamFailure::LeftAlone(rest)), Fate::LeftAlone),
            Ok(pass) => {
                let ended;
                (status, ended) = self.ask(candidate).await;
                let fate = ended.fate(status);
                // A probe that was never sent has not probed, nor one that we broke off.
                if fate != Fate::Unsaid && !is_ours(&ended) {
                    let now = Instant::now();
                    pass.judge(fate.verdict(), now);
                    if fate.verdict() != Verdict::Alive {
                        let flow = calling.live.flow(&candidate.model, now);
                        flow.judged(fate.verdict() == Verdict::Good, now);
                    }
                }
                (ended, fate)
            }
        };
        calling.metrics.attempted(fate);
        let took = started.elapsed();
        self.attempts.push(Attempt { candidate: candidate.clone(), fate, status, started, took });
        (ended, fate)
    }

    async fn ask(&mut self, candidate: &Candidate) -> (Option<StatusCode>, Ended) {
        let request = candidate.model.upstream.speaks().request(self.sending.ask, candidate);
        let request = match request {
            Ok(request) => request,
            Err(why) => return (None, Ended::Failed(why.into())),
        };
        if let Err(why) = self.tab.sends(candidate) {
            return (None, Ended::Failed(why.into()));
        }
        self.present = Some(self.sending.send(candidate, request));
        let present = &mut self.present;
        let answered = poll_fn(|cx| match present {
            Some(it) => it.as_mut().poll(cx),
            None => std::task::Poll::Pending,
        });
        let Some((status, ended)) = self.sending.calling.unless_leaving(answered).await else {
            self.leaves();
            return (None, Ended::Failed(UpstreamFailure::Leaving));
        };
        self.present = None;
        let ended = ended.unwrap_or_else(Ended::Failed);
        match &ended {
            Ended::Answered(_) => (),
            Ended::Refused(_) => self.tab.hears(Heard::Nothing),
            Ended::Failed(why) => self.tab.hears(why.heard(status)),
        }
        (status, ended)
    }

    fn leaves(&mut self) {
        if let Some(present) = self.present.take() {
            self.tab.leaves(Rest::of(async {
                let (status, ended) = present.await;
                ended.unwrap_or_else(Ended::Failed).heard_out(status).await
            }));
        }
    }

    /// Whether the candidate's upstream has failed this call, with another credential or for
    /// another model.
    fn has_failed(&self, candidate: &Candidate) -> bool {
        let upstream = candidate.model.upstream.id;
        self.attempts
            .iter()
            .any(|it| it.fate.is_the_upstreams() && it.candidate.model.upstream.id == upstream)
    }

    /// Whether an upstream that has failed may be asked with another credential or for another
    /// model.
    fn may_repeat(&mut self, candidate: &Candidate) -> bool {
        let breakers = &self.sending.calling.breakers;
        !breakers.rests(candidate.credential.id, Instant::now())
            && self.may_ask_again(candidate, Duration::ZERO)
    }

    /// Whether an upstream may be asked once more, which it is not a second time.
    fn may_ask_again(&mut self, candidate: &Candidate, pause: Duration) -> bool {
        let (calling, now) = (self.sending.calling, Instant::now());
        let upstream = candidate.model.upstream.id;
        if now + pause >= self.sending.end || self.again.contains(&upstream) {
            return false;
        }
        self.again.push(upstream);
        let is_granted = calling.retries.grant(now);
        let counter = match is_granted {
            true => &calling.metrics.retries,
            false => &calling.metrics.retries_denied,
        };
        counter.inc();
        is_granted
    }
}

/// Whether we broke it off for a reason of our own, which holds for every other attempt too.
fn is_ours(ended: &Ended) -> bool {
    use UpstreamFailure::{Leaving, NoRoom, NotWritten};
    matches!(ended, Ended::Failed(Leaving | NoRoom(_) | NotWritten(_)))
}

/// Whether both were left alone, and the first for less long: that is when to come back.
fn is_back_sooner(first: &Ended, second: &Ended) -> bool {
    use UpstreamFailure::LeftAlone;
    match (first, second) {
        (Ended::Failed(LeftAlone(first)), Ended::Failed(LeftAlone(second))) => first < second,
        (_, _) => false,
    }
}

/// How long until the same site may be asked again, if it may.
fn pause_after(ended: &Ended, fate: Fate) -> Option<Duration> {
    let wished = match ended {
        Ended::Refused(refusal) => refusal.retry_after,
        Ended::Failed(UpstreamFailure::Server { retry_after, .. }) => *retry_after,
        Ended::Answered(_) | Ended::Failed(_) => None,
    };
    if fate.may_pass() { pause(wished, fastrand::f64()) } else { None }
}
