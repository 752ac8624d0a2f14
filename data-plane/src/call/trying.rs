//! Going through the candidates until one answers.
//!
//! Each is tried once, in the plan's order. An upstream that has failed a call, whichever
//! credential it was shown and whichever model was asked for, gets it once more at most, if the
//! retries allow it: where it has another credential or serves another model of the plan at once,
//! else when all have failed, the first that may do better in a moment, after as long as it wished
//! or a random pause. So an outage of an upstream costs a call one attempt, and one more for one
//! call in five, however many models and credentials the call may go to there; and none follows
//! after the client has been given anything, nor after we have begun to leave.
//!
//! Where a policy says so, a second is asked as well when the first is silent for too long: if the
//! retries allow it, and what both may come to is covered. Who begins first answers. The other is
//! hung up on where that ends what has to be paid for, else it is heard out; it is paid for either
//! way.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::StatusCode;
use shared::{
    ids::UpstreamId,
    snapshot::{After, Hedge, Usual},
};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    Attempt, Calling, Fate,
    attempt::{Asked, Ended, Sends},
    breaker::{Pass, Verdict},
    retries::pause,
};
use crate::{
    ask::Ask,
    budgets::{Delivered, Heard, Rest, Tab},
    call::UpstreamFailure,
    catalog::Candidate,
    route::Terms,
};

/// Nobody is asked as well before that, however fast the others usually are.
const SOONEST: Duration = Duration::from_millis(*Hedge::MILLISECONDS.start() as u64);

pub(super) struct Trying<'a> {
    pub calling: &'a Arc<Calling>,
    pub sender: &'a dyn Sends,
    pub ask: &'a Ask,
    pub terms: &'a Terms,
    /// When the call has to be over.
    pub end: Instant,
    /// What each attempt may cost is covered before it is sent, and what it did cost kept.
    pub tab: &'a mut Tab,
    pub attempts: Vec<Attempt>,
    /// The upstreams that were to be asked once more after they had failed.
    again: Vec<UpstreamId>,
    /// Who was asked while another was silent.
    hedged: Option<Candidate>,
    /// The attempt under way,
    present: Option<Running<'a>>,
    /// and another beside it.
    beside: Option<Running<'a>>,
}

/// An attempt that was sent.
struct Running<'a> {
    candidate: Candidate,
    asked: Asked,
    pass: Pass<'a>,
    started: Instant,
    /// What it came to while we were busy.
    done: Option<Done>,
}

type Done = (Option<StatusCode>, Result<Ended, UpstreamFailure>);

/// Whoever waited has left. What was sent is heard out, for it has to be paid for.
impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.leaves();
    }
}

/// A candidate and what it has come to.
type Tried = (Candidate, Ended);

/// What has become of those that were asked, none of whom answered.
#[derive(Default)]
struct Told {
    tried: Option<(Tried, Fate)>,
    again: Option<(Candidate, Duration)>,
    /// Whether somebody failed after whom no other is asked.
    stops: bool,
}

impl Told {
    fn adds(&mut self, (candidate, ended): Tried, fate: Fate, terms: &Terms) {
        self.stops |= fate.failed().is_some_and(|it| !terms.falls_back_on(it));
        let pause = pause_after(&ended, fate);
        if self.again.is_none() {
            self.again = pause.map(|it| (candidate.clone(), it));
        }
        let is_less = |((_, before), it): &(Tried, Fate)| {
            it.weight() <= fate.weight() && !is_back_sooner(before, &ended)
        };
        if self.tried.as_ref().is_none_or(is_less) {
            self.tried = Some(((candidate, ended), fate));
        }
    }
}

/// Which of those that were sent came to something; nothing where the first is silent for so long
/// that a second may be asked.
type Next<'a> = Option<(Running<'a>, Done, Place)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Present,
    Beside,
}

impl Running<'_> {
    /// Whether it has come to anything.
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.done.is_none() {
            self.done = match self.asked.as_mut().poll(cx) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => return Poll::Pending,
            };
        }
        Poll::Ready(())
    }
}

impl<'a> Trying<'a> {
    pub fn new(
        (calling, sender, terms): (&'a Arc<Calling>, &'a dyn Sends, &'a Terms),
        ask: &'a Ask,
        end: Instant,
        tab: &'a mut Tab,
    ) -> Self {
        Self {
            calling,
            sender,
            ask,
            terms,
            end,
            tab,
            attempts: Vec::with_capacity(1),
            again: vec![],
            hedged: None,
            present: None,
            beside: None,
        }
    }

    /// `None` when there is no candidate.
    pub async fn each(&mut self, candidates: &[Candidate]) -> Option<Tried> {
        let mut told = Told::default();
        for (at, candidate) in candidates.iter().enumerate() {
            let is_asked = self.hedged.as_ref().is_some_and(|it| it.is_same(candidate));
            if is_asked || self.has_failed(candidate) && !self.may_repeat(candidate) {
                continue;
            }
            if told.stops || !self.may_send(0) {
                break;
            }
            let rest = candidates.get(at + 1..).unwrap_or_default();
            let (before, (tried, fate)) = self.attempt(candidate, rest).await;
            if let Some((before, fate)) = before {
                told.adds(before, fate, self.terms);
            }
            if fate == Fate::NotCovered && told.tried.is_some() {
                // What the attempts before it have come to is told.
                break;
            }
            if fate.is_final() || is_ours(&tried.1) || Instant::now() >= self.end {
                return Some(tried);
            }
            told.adds(tried, fate, self.terms);
        }
        if let Some((candidate, pause)) = told.again.take()
            && self.may_send(0)
            && self.may_ask_again(&candidate, pause)
        {
            self.calling.unless_leaving(sleep(pause)).await;
            let (_, (tried, fate)) = self.attempt(&candidate, &[]).await;
            if is_ours(&tried.1) || !matches!(fate, Fate::LeftAlone | Fate::NotCovered) {
                return Some(tried);
            }
        }
        told.tried.map(|(tried, _)| tried)
    }

    /// What the candidate comes to, or whoever of `rest` was asked as well; and what the one came
    /// to that failed before the other.
    async fn attempt(
        &mut self,
        candidate: &Candidate,
        rest: &[Candidate],
    ) -> (Option<(Tried, Fate)>, (Tried, Fate)) {
        let started = Instant::now();
        if let Err(why) = self.tab.cover(candidate).await {
            let ended = Ended::Failed(why.into());
            return (None, ((candidate.clone(), ended), Fate::NotCovered));
        }
        match self.begins(candidate, started, Place::Present) {
            Ok(running) => self.present = Some(running),
            Err(why) => {
                let ended = Ended::Failed(why);
                let fate = ended.fate(None);
                self.tells(candidate, fate, None, started);
                return (None, ((candidate.clone(), ended), fate));
            }
        }
        self.hears(candidate, rest).await
    }

    /// Sends it, unless its site is left alone or it cannot be said there.
    fn begins(
        &mut self,
        candidate: &Candidate,
        started: Instant,
        place: Place,
    ) -> Result<Running<'a>, UpstreamFailure> {
        let admitted = self.calling.breakers.admit(candidate.credential.id, Instant::now());
        let pass = admitted.map_err(UpstreamFailure::LeftAlone)?;
        let request = candidate.model.upstream.speaks().request(self.ask, candidate)?;
        match place {
            Place::Present => self.tab.sends(candidate)?,
            Place::Beside => self.tab.sends_beside(candidate)?,
        }
        let asked = self.sender.send(candidate, request);
        Ok(Running { candidate: candidate.clone(), asked, pass, started, done: None })
    }

    async fn hears(
        &mut self,
        candidate: &Candidate,
        rest: &[Candidate],
    ) -> (Option<(Tried, Fate)>, (Tried, Fate)) {
        let (calling, mut before) = (self.calling, None);
        let mut late = self.is_late_after(candidate, rest).map(|it| Box::pin(sleep(it)));
        loop {
            let next = poll_fn(|cx| self.poll_next(&mut late, cx));
            let (ended, (status, outcome), place) = match calling.unless_leaving(next).await {
                Some(Some(ended)) => ended,
                Some(None) => {
                    self.asks_another(candidate, rest).await;
                    continue;
                }
                None => {
                    // Who is broken off by ourselves says nothing of any site.
                    let started = self.present.as_ref().map_or_else(Instant::now, |it| it.started);
                    self.leaves();
                    let ended = Ended::Failed(UpstreamFailure::Leaving);
                    let fate = ended.fate(None);
                    self.tells(candidate, fate, None, started);
                    return (before, ((candidate.clone(), ended), fate));
                }
            };
            late = None;
            if place == Place::Beside {
                self.tab.swaps();
            }
            let outcome = outcome.unwrap_or_else(Ended::Failed);
            let fate = outcome.fate(status);
            let other = self.present.take().or_else(|| self.beside.take());
            match &outcome {
                Ended::Answered(_) => (),
                Ended::Refused(_) => self.tab.hears(Heard::Nothing),
                Ended::Failed(why) => self.tab.hears(why.heard(status)),
            }
            let is_last = other.is_none() || fate.is_final() || is_ours(&outcome);
            let asked = ended.candidate.clone();
            match other {
                None => (),
                Some(slower) if is_last => {
                    self.outruns(slower);
                    if place == Place::Beside && fate == Fate::Answered {
                        calling.metrics.hedges_won.inc();
                    }
                    self.tab.has_one();
                }
                Some(other) => {
                    self.tab.swaps();
                    self.tab.has_one();
                    self.present = Some(other);
                }
            }
            self.judges(ended, &outcome, fate, status);
            let result = ((asked, outcome), fate);
            if is_last {
                return (before, result);
            }
            before = Some(result);
        }
    }

    fn poll_next(
        &mut self,
        late: &mut Option<Pin<Box<Sleep>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Next<'a>> {
        for (running, place) in
            [(&mut self.present, Place::Present), (&mut self.beside, Place::Beside)]
        {
            let is_done = running.as_mut().is_some_and(|it| it.poll_done(cx).is_ready());
            if is_done
                && let Some(mut ended) = running.take()
                && let Some(done) = ended.done.take()
            {
                return Poll::Ready(Some((ended, done, place)));
            }
        }
        if late.as_mut().is_some_and(|it| it.as_mut().poll(cx).is_ready()) {
            *late = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    /// For how long the candidate may be silent before another is asked as well.
    fn is_late_after(&self, candidate: &Candidate, rest: &[Candidate]) -> Option<Duration> {
        let (_, hedge) = self.terms.hedge?;
        if rest.is_empty() || self.hedged.is_some() {
            return None;
        }
        match hedge.after {
            After::Milliseconds(it) => Some(Duration::from_millis(it.into())),
            After::Usual(Usual::P95) => {
                let flow = self.calling.live.flow(&candidate.model, Instant::now());
                flow.usual(self.ask.is_streaming).map(|it| it.max(SOONEST))
            }
        }
    }

    /// Sends it to the first of `rest` that serves it elsewhere, where that is allowed and covered.
    async fn asks_another(&mut self, present: &Candidate, rest: &[Candidate]) {
        let Some((policy, _)) = self.terms.hedge else { return };
        let (calling, now) = (self.calling, Instant::now());
        let may_be = |it: &&Candidate| {
            !Arc::ptr_eq(&it.model, &present.model)
                && !self.has_failed(it)
                && !calling.breakers.rests(it.credential.id, now)
        };
        let Some(second) = rest.iter().find(may_be) else { return };
        if !self.may_send(1) || now >= self.end {
            return;
        }
        let is_granted = calling.hedges.grant(policy, || calling.retries.grant(now));
        if !is_granted || !self.is_covered_beside(second).await {
            calling.metrics.hedges_denied.inc();
            return;
        }
        let started = Instant::now();
        match self.begins(second, started, Place::Beside) {
            Ok(running) => {
                calling.metrics.hedges.inc();
                self.beside = Some(running);
                self.hedged = Some(second.clone());
            }
            // The first goes on; the second is tried in its turn.
            Err(_) => calling.metrics.hedges_denied.inc(),
        }
    }

    /// Not where the present one comes to something meanwhile, nor when we leave.
    async fn is_covered_beside(&mut self, second: &Candidate) -> bool {
        let Self { calling, tab, present, .. } = self;
        let mut cover = pin!(tab.cover_beside(second));
        let covered = poll_fn(|cx| {
            if present.as_mut().is_none_or(|it| it.poll_done(cx).is_ready()) {
                return Poll::Ready(false);
            }
            cover.as_mut().poll(cx).map(|it| it.is_ok())
        });
        calling.unless_leaving(covered).await == Some(true)
    }

    /// What an attempt that ended says of its site and its model.
    fn judges(&mut self, ended: Running<'_>, it: &Ended, fate: Fate, status: Option<StatusCode>) {
        let Running { candidate, pass, started, .. } = ended;
        // What we broke off ourselves has not probed.
        if !is_ours(it) {
            let now = Instant::now();
            pass.judge(fate.verdict(), now);
            if fate.verdict() != Verdict::Alive {
                let flow = self.calling.live.flow(&candidate.model, now);
                flow.judged(fate.verdict() == Verdict::Good, now);
            }
        }
        self.tells(&candidate, fate, status, started);
    }

    fn tells(
        &mut self,
        candidate: &Candidate,
        fate: Fate,
        status: Option<StatusCode>,
        started: Instant,
    ) {
        self.calling.metrics.attempted(fate);
        let (candidate, took) = (candidate.clone(), started.elapsed());
        self.attempts.push(Attempt { candidate, fate, status, started, took });
    }

    /// Another was faster.
    fn outruns(&mut self, slower: Running<'_>) {
        let (started, now) = (slower.started, Instant::now());
        let flow = self.calling.live.flow(&slower.candidate.model, now);
        flow.is_outrun(now - started, self.ask.is_streaming, now);
        self.tells(&slower.candidate, Fate::Outrun, None, started);
        self.parts_with(slower);
    }

    /// Hangs up where that ends what has to be paid for, else hears it out.
    fn parts_with(&mut self, slower: Running<'_>) {
        let Running { candidate, asked, done, .. } = slower;
        if done.is_none() && self.tab.stops_when_cut(&candidate) {
            drop(asked);
            self.tab.hears_beside(Heard::Answer(Delivered::default()));
        } else {
            self.tab.leaves_beside(rest_of(asked, done));
        }
    }

    fn leaves(&mut self) {
        if let Some(beside) = self.beside.take() {
            self.parts_with(beside);
        }
        if let Some(Running { asked, done, .. }) = self.present.take() {
            self.tab.leaves(rest_of(asked, done));
        }
    }

    /// Whether the policy lets it be sent once more, beside those under way.
    fn may_send(&self, under_way: usize) -> bool {
        let sent = self.attempts.iter().filter(|it| it.fate.was_sent()).count() + under_way;
        self.terms.attempts.is_none_or(|most| sent < usize::from(most))
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
        let breakers = &self.calling.breakers;
        !breakers.rests(candidate.credential.id, Instant::now())
            && self.may_ask_again(candidate, Duration::ZERO)
    }

    /// Whether an upstream may be asked once more, which it is not a second time.
    fn may_ask_again(&mut self, candidate: &Candidate, pause: Duration) -> bool {
        let (calling, now) = (self.calling, Instant::now());
        let upstream = candidate.model.upstream.id;
        if now + pause >= self.end || self.again.contains(&upstream) {
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

fn rest_of(asked: Asked, done: Option<Done>) -> Rest {
    Rest::of(async {
        let (status, ended) = match done {
            Some(done) => done,
            None => asked.await,
        };
        ended.unwrap_or_else(Ended::Failed).heard_out(status).await
    })
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

#[cfg(test)]
mod tests;
