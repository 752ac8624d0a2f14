//! What is taken for a word about an answer, though nobody said one: somebody had an answer, and
//! asked the same again; or it wanted tools called as nobody can, and whoever had it went on so.
//!
//! Always holds: it is a conversation in which something was asked again, with the same key, as long
//! as before to a token, after the answer was there and within ten minutes; whoever asks the same
//! often, or much of what they ask twice, is a program that does so for its own reasons, and gives
//! no such signal. A call that goes on from a failed tool has the same key, session and turn of the
//! user's, and is longer, where no two that are alike are under way at once. One call gives one
//! signal of a kind at most. A signal counts for a quarter of what somebody says, and for nothing
//! where somebody said something.

use std::collections::{BTreeMap, HashMap};

use shared::ids::{ApiKeyId, FeedbackId, OrganizationId, ProjectId, RequestId};
use time::{Duration, OffsetDateTime};
use tracing::info;
use uuid::Uuid;

use super::{Kept, LearningError, Source, features, keep, learn::begin, store};
use crate::platform::Platform;

/// How good an answer was that was asked for again, in per mille,
const PER_MILLE: u16 = 200;
/// and how much of a label that is.
pub(super) const WEIGHT: f32 = 0.25;
/// Within so long it is asked again,
const SOON: Duration = Duration::minutes(10);
/// and not sooner than a person can: what is sent at once again is sent by a program.
const READ: Duration = Duration::seconds(2);
/// So often at most: more are a batch.
const MOST_ALIKE: usize = 3;
/// At most one of so many calls of a key, or two of few: more are a program that asks all twice.
const ONE_IN: usize = 5;
const FEW: usize = 2;
/// Calls are told of when they have ended. Those that began so long ago have, but for few.
const ENDED: Duration = Duration::minutes(5);

/// A call whose prompt was judged.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub request: RequestId,
    pub project: ProjectId,
    pub key: ApiKeyId,
    /// Who answered.
    pub model: String,
    pub task: Option<String>,
    /// What the user’s last turn is like,
    pub features: String,
    /// and how long the call is, in tokens.
    pub input: i64,
    /// How many turns the user has taken.
    pub turns: i32,
    /// Whether the answer before wanted tools called as nobody can.
    pub spoilt_before: bool,
    /// What tells its session from others, where that was asked for.
    pub session: Option<String>,
    pub started_at: OffsetDateTime,
    pub total_ms: i64,
}

impl Seen {
    fn ended_at(&self) -> OffsetDateTime {
        self.started_at + Duration::milliseconds(self.total_ms)
    }

    fn is_conversation(&self) -> bool {
        self.turns > 1 || self.session.as_ref().is_some_and(|it| !it.is_empty())
    }

    /// Whether it may go on from this answer.
    fn is_gone_on_from_by(&self, later: &Self) -> bool {
        self.input < later.input
            && (self.ended_at()..=self.started_at + SOON).contains(&later.started_at)
    }

    /// Whether the same was asked again when this was answered.
    fn is_asked_again_by(&self, later: &Self) -> bool {
        let (from, until) = (self.ended_at() + READ, self.started_at + SOON);
        self.session == later.session && (from..=until).contains(&later.started_at)
    }
}

/// Looks through the logs of those who made calls.
pub async fn notice_due(desk: &Platform) -> Result<(), LearningError> {
    let due = store::signals_due(&mut *desk.db.acquire().await?).await?;
    for (organization, since) in due {
        notice(desk, organization, since).await?;
    }
    Ok(())
}

pub(super) async fn notice(
    desk: &Platform,
    organization: OrganizationId,
    since: OffsetDateTime,
) -> Result<(), LearningError> {
    let until = OffsetDateTime::now_utc() - ENDED;
    let mut work = begin(desk, organization).await?;
    let seen = store::seen(&mut work, organization, (since - SOON, until)).await?;
    let again = asked_again(&seen, since).into_iter().map(|it| kept(it, Source::AskedAgain));
    let failed = tools_failed(&seen, since).into_iter().map(|it| kept(it, Source::ToolFailed));
    let kept: Vec<_> = again.chain(failed).collect();
    let new = keep(&mut work, organization, &kept).await?;
    store::noticed(&mut work, organization, until).await?;
    work.commit().await?;
    if new > 0 {
        info!(organization.id = %organization, "{new} answers of {organization} were no good, as it seems");
    }
    Ok(())
}

fn kept(it: &Seen, source: Source) -> Kept {
    Kept {
        id: FeedbackId::generate(),
        project: it.project,
        request: Some(it.request),
        model: it.model.clone(),
        task: it.task.clone(),
        features: features(&it.features),
        per_mille: PER_MILLE,
        source,
        said_by: Uuid::nil(),
        at: it.ended_at(),
    }
}

/// The calls whose answers were asked for again from `since` on. They stand in the order in which
/// they began.
fn asked_again(seen: &[Seen], since: OffsetDateTime) -> Vec<&Seen> {
    let mut alike: HashMap<(ApiKeyId, &str, i64), Vec<&Seen>> = HashMap::new();
    let mut calls: BTreeMap<ApiKeyId, usize> = BTreeMap::new();
    for it in seen {
        alike.entry((it.key, &it.features, it.input)).or_default().push(it);
        *calls.entry(it.key).or_default() += 1;
    }
    let mut again: BTreeMap<ApiKeyId, Vec<&Seen>> = BTreeMap::new();
    for ((key, ..), all) in alike {
        if (2..=MOST_ALIKE).contains(&all.len()) {
            again.entry(key).or_default().extend(signals(&all));
        }
    }
    let is_people = |key: &ApiKeyId, all: &[&Seen]| {
        all.len() <= FEW.max(calls.get(key).copied().unwrap_or(0) / ONE_IN)
    };
    let mut all: Vec<_> =
        again.into_iter().filter(|(key, all)| is_people(key, all)).flat_map(|it| it.1).collect();
    // What is there already would be found again.
    all.retain(|it| it.started_at + SOON >= since);
    all.sort_by_key(|it| it.request);
    all
}

/// Of those that are alike, each that the next was asked for instead of.
fn signals<'a>(all: &[&'a Seen]) -> Vec<&'a Seen> {
    let pairs = all.iter().zip(all.iter().skip(1));
    let is_signal = |(it, later): &(&&Seen, &&Seen)| {
        it.is_conversation() && later.is_conversation() && it.is_asked_again_by(later)
    };
    pairs.filter(is_signal).map(|it| *it.0).collect()
}

/// The calls whose answers wanted tools called as nobody can, as those that go on from them say,
/// from `since` on. They stand in the order in which they began.
fn tools_failed(seen: &[Seen], since: OffsetDateTime) -> Vec<&Seen> {
    let mut turns: HashMap<_, Vec<&Seen>> = HashMap::new();
    for it in seen {
        let turn = (it.key, it.session.as_deref(), it.features.as_str(), it.turns);
        turns.entry(turn).or_default().push(it);
    }
    // Where several are under way that are alike, nobody knows who goes on from whom.
    let each_from_the_last = |all: &&Vec<&Seen>| {
        all.iter().zip(all.iter().skip(1)).all(|(it, later)| it.is_gone_on_from_by(later))
    };
    let one_after_the_other = turns.values().filter(each_from_the_last);
    let failed = one_after_the_other.flat_map(|all| {
        let pairs = all.iter().zip(all.iter().skip(1));
        pairs.filter(|(_, later)| later.spoilt_before).map(|it| *it.0)
    });
    let mut failed: Vec<_> = failed.filter(|it| it.started_at + SOON >= since).collect();
    failed.sort_by_key(|it| it.request);
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls of one key, by when they began in seconds, what they are about, and how many turns.
    struct Log(Vec<Seen>, ApiKeyId);

    impl Log {
        fn new() -> Self {
            Self(Vec::new(), ApiKeyId::generate())
        }

        fn call(mut self, second: i64, about: &str, turns: i32) -> Self {
            self.0.push(Seen {
                request: RequestId::generate(),
                project: ProjectId::generate(),
                key: self.1,
                model: second.to_string(),
                task: None,
                features: about.to_owned(),
                input: 700,
                turns,
                spoilt_before: false,
                session: None,
                started_at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(second),
                total_ms: 4_000,
            });
            self
        }

        fn last(mut self, change: impl FnOnce(&mut Seen)) -> Self {
            self.0.last_mut().map(change);
            self
        }

        #[track_caller]
        fn check(&self, expected: &[&str]) {
            let found = asked_again(&self.0, OffsetDateTime::UNIX_EPOCH);
            let found: Vec<_> = found.into_iter().map(|it| it.model.as_str()).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_asked_again_in_a_conversation_was_not_good() {
        Log::new().call(0, "a", 3).call(60, "a", 3).check(&["0"]);
        Log::new().call(0, "a", 3).call(60, "a", 3).call(200, "a", 3).check(&["0", "60"]);
        let named = |it: &mut Seen| it.session = Some("s".into());
        Log::new().call(0, "a", 1).last(named).call(9, "a", 1).last(named).check(&["0"]);
    }

    #[test]
    fn what_has_another_reason_is_no_signal() {
        let log = || Log::new().call(0, "a", 3);
        log().call(60, "b", 3).check(&[]);
        // The conversation went on, and an agent has called a tool.
        log().call(60, "a", 3).last(|it| it.input += 40).check(&[]);
        log().call(60, "a", 3).last(|it| it.session = Some("s".into())).check(&[]);
        log().call(60, "a", 3).last(|it| it.key = ApiKeyId::generate()).check(&[]);
        // Too late, before the answer was there, and sooner than anybody reads.
        log().call(601, "a", 3).check(&[]);
        log().call(3, "a", 3).check(&[]);
        log().call(5, "a", 3).check(&[]);
        // One question without a conversation.
        Log::new().call(0, "a", 1).call(60, "a", 1).check(&[]);
    }

    #[test]
    fn a_batch_gives_no_signal() {
        let often = (0..4).fold(Log::new(), |log, it| log.call(it * 60, "a", 3));
        often.check(&[]);
        // A program that asks all twice.
        let names = ["a", "b", "c", "d"];
        let log =
            names.iter().enumerate().fold(Log::new(), |log, (at, it)| log.call(at as i64, it, 3));
        let twice =
            names.iter().enumerate().fold(log, |log, (at, it)| log.call(90 + at as i64, it, 3));
        twice.check(&[]);
        // People of a program that has many.
        let many: Vec<_> = (0..40).map(|it| format!("other {it}")).collect();
        let log = many.iter().fold(Log::new(), |log, it| log.call(1, it, 3));
        log.call(2, "a", 3)
            .call(2, "b", 2)
            .call(2, "c", 2)
            .call(60, "a", 3)
            .call(70, "b", 2)
            .call(80, "c", 2)
            .check(&["2", "2", "2"]);
    }

    #[test]
    fn whoever_goes_on_says_that_tools_failed() {
        let failed = |log: &Log| -> Vec<String> {
            let found = tools_failed(&log.0, OffsetDateTime::UNIX_EPOCH);
            found.into_iter().map(|it| it.model.clone()).collect()
        };
        let spoilt = |it: &mut Seen| (it.spoilt_before, it.input) = (true, it.input + 40);
        let log = || Log::new().call(0, "a", 1);
        assert_eq!(failed(&log().call(4, "a", 1).last(spoilt)), ["0"]);
        // The one before it, whatever there was before.
        let two = log().call(4, "a", 1).last(|it| it.input += 20).call(9, "a", 1).last(spoilt);
        assert_eq!(failed(&two), ["4"]);
        // Another's, or nobody's.
        let none: [Log; 7] = [
            log().call(4, "a", 1).last(|it| it.input += 40),
            log().call(4, "b", 1).last(spoilt),
            log().call(4, "a", 2).last(spoilt),
            log().call(3, "a", 1).last(spoilt),
            log().call(601, "a", 1).last(spoilt),
            log().call(4, "a", 1).last(spoilt).last(|it| it.session = Some("s".into())),
            // Two that are alike, under way at once.
            log().call(1, "a", 1).call(6, "a", 1).last(spoilt),
        ];
        for it in &none {
            assert!(failed(it).is_empty());
        }
    }

    #[test]
    fn what_was_found_before_is_not_looked_for_again() {
        let log = Log::new().call(0, "a", 3).call(60, "a", 3);
        let since = OffsetDateTime::UNIX_EPOCH + Duration::minutes(11);
        assert!(asked_again(&log.0, since).is_empty());
    }
}
