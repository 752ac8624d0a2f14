//! Sessions that keep their model, since a vendor remembers what it has read of one.
//!
//! What a session is, its caller says, and nobody keeps it: it is told apart by a hash, under
//! whoever asks, the policy and the rule. Where targets are drawn, the hash decides instead of
//! chance, on every proxy alike and without a memory; a target that comes or goes moves no session
//! but its own. Where models are compared, each proxy remembers who answered a session last: so
//! many at most, of which those are forgotten that were quiet for longest.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use shared::{
    event,
    ids::{PolicyId, UpstreamId},
    snapshot::{Digest, Key, Stick, Target},
};
use tokio::time::Instant;

use crate::catalog::Model;

/// So many are remembered at least, and twice as many at most.
const MANY: usize = 32_768;

/// A session under a rule of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    mark: u128,
    quiet: Duration,
}

/// What has become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sticks {
    /// It leads where it led before.
    Kept,
    New,
    /// It was quiet for too long.
    Expired,
    /// Too many calls fail where it led.
    LeftAlone,
    /// What it led to cannot take the call, or the policy does not lead there any more.
    NotEligible,
    /// A tier before that of its model has somebody again, or it has no model in this one.
    Tier,
    /// The caller wishes others first.
    Wished,
}

impl Sticks {
    pub const ALL: [Self; 7] = [
        Self::Kept,
        Self::New,
        Self::Expired,
        Self::LeftAlone,
        Self::NotEligible,
        Self::Tier,
        Self::Wished,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::New => "new",
            Self::Expired => "expired",
            Self::LeftAlone => "left_alone",
            Self::NotEligible => "not_eligible",
            Self::Tier => "tier",
            Self::Wished => "wished",
        }
    }

    /// Behind why a model was chosen.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Kept => "its session keeps it",
            Self::New => "a session begins with it",
            Self::Expired => "its session was quiet for too long to keep its model",
            Self::LeftAlone => "its session leaves its model, where too many calls fail",
            Self::NotEligible => "its session leaves its model, which cannot take the call",
            Self::Tier => "its session leaves its model, which is of another tier",
            Self::Wished => "its session leaves its model, for the caller wishes another first",
        }
    }
}

impl Session {
    /// What the caller calls so, under a rule.
    pub fn of(
        called: u128,
        key: &Key,
        (policy, rule): (PolicyId, Option<&str>),
        stick: Stick,
    ) -> Self {
        let whose = [key.organization.uuid(), key.project.uuid(), policy.uuid()];
        let mut text: Vec<u8> = whose.iter().flat_map(|it| *it.as_bytes()).collect();
        text.extend(called.to_be_bytes());
        text.extend(rule.unwrap_or_default().as_bytes());
        let quiet = Duration::from_secs(u64::from(stick.minutes) * 60);
        Self { mark: Digest::of(&text).mark(), quiet }
    }

    /// As it is kept with a call.
    pub fn name(self) -> String {
        name(self.mark)
    }

    /// All of `items` in the session's order: each is the first for as many sessions as its share
    /// of the weights says, and leaves the others where they are when it goes. What has no weight
    /// comes last, as it stands.
    pub fn order<T>(
        self,
        mut items: Vec<T>,
        mark: impl Fn(&T) -> u128,
        weight: impl Fn(&T) -> u16,
    ) -> Vec<T> {
        items.sort_by_cached_key(|it| Rank(self.rank(mark(it), weight(it))));
        items
    }

    /// Exponential variates, the least of which is of each as often as its weight's share.
    fn rank(self, mark: u128, weight: u16) -> f64 {
        if weight == 0 {
            return f64::INFINITY;
        }
        let mixed = [self.mark >> 64, self.mark, mark >> 64, mark]
            .into_iter()
            .fold(0_u64, |sum, part| mixed(sum ^ (part as u64)));
        // In (0, 1): the upper 53 bits, and a half.
        let chance = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -chance.ln() / f64::from(weight)
    }
}

/// A mark as it is kept.
pub fn name(mark: u128) -> String {
    format!("{mark:032x}")
}

/// What tells a target from others of its tier.
pub fn mark(target: &Target) -> u128 {
    let provider = target.provider.as_deref().unwrap_or_default();
    Digest::of(format!("{} {provider}", target.model).as_bytes()).mark()
}

struct Rank(f64);

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Spreads every bit over all of them, as SplitMix64 does.
const fn mixed(it: u64) -> u64 {
    let it = it.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

/// A model at an upstream that answered a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    upstream: UpstreamId,
    model: Box<str>,
    until: Instant,
}

impl Kept {
    /// As a call was told of it, when it was decided.
    pub fn recalled(told: &event::Kept, now: Instant) -> Self {
        let until = if told.is_over { now } else { now + Duration::from_secs(3_600) };
        Self { upstream: told.upstream, model: told.model.as_str().into(), until }
    }

    /// As it is kept with a call.
    pub fn told(&self, now: Instant) -> event::Kept {
        let (upstream, model) = (self.upstream, self.model.to_string());
        event::Kept { upstream, model, is_over: self.is_over(now) }
    }

    pub fn is_of(&self, model: &Model) -> bool {
        model.upstream.id == self.upstream && model.name == *self.model
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }
}

/// Those that this proxy remembers.
#[derive(Debug)]
pub struct Sessions {
    generations: Mutex<Generations>,
    metrics: SessionMetrics,
}

/// What is asked for again is kept with the young; when these are many they are the old, and the
/// old are forgotten.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u128, Kept>,
    old: HashMap<u128, Kept>,
}

impl Sessions {
    pub fn new(metrics: SessionMetrics) -> Self {
        Self { generations: Mutex::default(), metrics }
    }

    /// Who answered it last, however long that is ago.
    pub fn kept(&self, session: Session) -> Option<Kept> {
        let all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        all.young.get(&session.mark).or_else(|| all.old.get(&session.mark)).cloned()
    }

    /// That a model has answered a session.
    pub fn keeps(&self, session: Session, model: &Model, now: Instant) {
        let (upstream, until) = (model.upstream.id, now + session.quiet);
        let kept = Kept { upstream, model: model.name.as_str().into(), until };
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if all.young.len() >= MANY && !all.young.contains_key(&session.mark) {
            all.old = std::mem::take(&mut all.young);
            all.old.retain(|_, it| !it.is_over(now));
        }
        all.young.insert(session.mark, kept);
        let count = all.young.len() + all.old.len();
        self.metrics.kept.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub fn count(&self, sticks: Sticks) {
        let counted = Sticks::ALL.iter().zip(&self.metrics.calls).find(|(it, _)| **it == sticks);
        if let Some((_, counter)) = counted {
            counter.inc();
        }
    }
}

#[derive(Clone, Debug)]
pub struct SessionMetrics {
    kept: IntGauge,
    /// In the order of [`Sticks::ALL`].
    calls: Vec<IntCounter>,
}

impl SessionMetrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let kept = IntGauge::new("turnpike_sessions", "Sessions whose model is remembered.")?;
        registry.register(Box::new(kept.clone()))?;
        let calls = IntCounterVec::new(
            Opts::new(
                "turnpike_session_calls_total",
                "Calls of sessions that are to keep their model, by whether they did.",
            ),
            &["session"],
        )?;
        let of = |it: &Sticks| calls.get_metric_with_label_values(&[it.name()]);
        let resolved = Sticks::ALL.iter().map(of).collect::<Result<_, _>>()?;
        registry.register(Box::new(calls))?;
        Ok(Self { kept, calls: resolved })
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::OrganizationId;

    use super::*;
    use crate::catalog::tests::{Fixture, snapshot};

    fn session(mark: u128) -> Session {
        Session { mark, quiet: Duration::from_secs(60) }
    }

    fn sessions() -> Sessions {
        Sessions::new(SessionMetrics::new(&Registry::new()).unwrap())
    }

    #[test]
    fn sessions_share_targets_by_weight_and_move_only_with_their_own() {
        let targets = [(1_u128, 70_u16), (2, 20), (3, 10), (4, 0)];
        let ordered = |of: &[(u128, u16)], it: u128| {
            session(it * 0x9e37_79b9).order(of.to_vec(), |it| it.0, |it| it.1)
        };
        let mut firsts = [0_u32; 4];
        for it in 0..100_000_u128 {
            let order = ordered(&targets, it);
            firsts[order[0].0 as usize - 1] += 1;
            assert_eq!(order[3].0, 4);
            // The second goes: whoever was elsewhere stays there.
            let without = ordered(&[targets[0], targets[2], targets[3]], it);
            assert!(order[0].0 == 2 || order[0] == without[0]);
        }
        for (count, share) in firsts.into_iter().zip([70_000_u32, 20_000, 10_000, 0]) {
            assert!(count.abs_diff(share) < 1_000, "{firsts:?}");
        }
    }

    #[test]
    fn a_session_is_remembered_until_it_was_quiet_for_too_long() {
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["a", "b"]);
        let snapshot = snapshot(&fixture);
        let model = |name| snapshot.serving(OrganizationId::generate(), name).next().unwrap();
        let (sessions, now) = (sessions(), Instant::now());
        assert_eq!(sessions.kept(session(1)), None);
        sessions.keeps(session(1), model("a"), now);
        let kept = sessions.kept(session(1)).unwrap();
        assert!(kept.is_of(model("a")) && !kept.is_of(model("b")));
        let ms = Duration::from_millis;
        assert!(!kept.is_over(now + ms(59_999)) && kept.is_over(now + ms(60_000)));
    }

    #[test]
    fn memory_for_sessions_is_bounded_and_the_quiet_ones_go_first() {
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["a"]);
        let snapshot = snapshot(&fixture);
        let model = snapshot.serving(OrganizationId::generate(), "a").next().unwrap();
        let (sessions, now) = (sessions(), Instant::now());
        for it in 0..5 * MANY as u128 {
            sessions.keeps(session(it), model, now);
            sessions.keeps(session(7), model, now);
        }
        assert!(sessions.metrics.kept.get() <= 2 * MANY as i64);
        assert!(sessions.kept(session(7)).is_some() && sessions.kept(session(8)).is_none());
    }
}
