//! Who asks for how much, and what that is charged to.

use shared::{
    counters::Shard,
    ids::{ApiKeyId, OrganizationId, ProjectId},
    snapshot::Limits,
};

use super::gcra::CEILING;

/// What a limit is on, from the narrowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    Key,
    Project,
    Organization,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    Requests,
    Tokens,
    Concurrent,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::Key, Self::Project, Self::Organization];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Project => "project",
            Self::Organization => "organization",
        }
    }
}

impl What {
    pub const ALL: [Self; 3] = [Self::Requests, Self::Tokens, Self::Concurrent];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrent => "concurrent",
        }
    }
}

/// A call that asks to be let through.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub organization: OrganizationId,
    pub project: ProjectId,
    pub key: ApiKeyId,
    pub key_limits: &'a Limits,
    pub project_limits: &'a Limits,
    pub organization_limits: &'a Limits,
    /// What the call may come to, as far as one can tell: its input and the cap on its
    /// output.
    pub tokens: u64,
}

impl Asked<'_> {
    /// One for each level that has a limit.
    pub(super) fn charges(&self) -> Vec<Charge> {
        let limited = [
            (Level::Key, self.key_limits),
            (Level::Project, self.project_limits),
            (Level::Organization, self.organization_limits),
        ];
        let mut limited =
            limited.into_iter().filter(|(_, limits)| !limits.is_unlimited()).peekable();
        if limited.peek().is_none() {
            return Vec::new();
        }
        let shard = Shard::of(self.organization);
        let name = format!("rl:{shard}:{}:", self.organization);
        limited.map(|(level, limits)| self.charge((level, limits), (shard, &name))).collect()
    }

    /// Names begin with the organization's, which is put together once.
    fn charge(&self, (level, limits): (Level, &Limits), (shard, name): (Shard, &str)) -> Charge {
        let whose = match level {
            Level::Key => self.key.to_string(),
            Level::Project => self.project.to_string(),
            Level::Organization => "all".to_owned(),
        };
        let bucket = [name, &whose].concat();
        let calls = [&bucket, ":calls"].concat();
        let limits = Limits {
            tokens_per_minute: limits.tokens_per_minute.map(|it| it.min(CEILING)),
            ..*limits
        };
        Charge { level, limits, shard, bucket, calls, tokens: fitting(self.tokens, &limits) }
    }
}

/// What one call is charged on one level. All names of one organization have its
/// shard in braces, as its budgets have, so that they share a slot of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    pub level: Level,
    pub limits: Limits,
    pub shard: Shard,
    /// Where Redis keeps what is used of the minute, and who is under way.
    pub bucket: String,
    pub calls: String,
    pub tokens: u64,
}

impl Charge {
    /// The same on one of `proxies` proxies that do not hear of each other.
    pub fn share(mut self, proxies: u32) -> Self {
        let share_u32 = |it: u32| u32::try_from(share(it.into(), proxies)).unwrap_or(it);
        let Limits { requests_per_minute, tokens_per_minute, concurrent } = self.limits;
        self.limits = Limits {
            requests_per_minute: requests_per_minute.map(share_u32),
            tokens_per_minute: tokens_per_minute.map(|it| share(it, proxies)),
            concurrent: concurrent.map(share_u32),
        };
        self.tokens = fitting(self.tokens, &self.limits);
        self
    }

    pub fn limit(&self, what: What) -> Option<u64> {
        match what {
            What::Requests => self.limits.requests_per_minute.map(u64::from),
            What::Tokens => self.limits.tokens_per_minute,
            What::Concurrent => self.limits.concurrent.map(u64::from),
        }
    }

    pub fn has_bucket(&self) -> bool {
        self.limits.requests_per_minute.is_some() || self.limits.tokens_per_minute.is_some()
    }
}

/// Rounded down, so that the shares together are no more than the limit; but at least one,
/// since a key that works on no proxy would be a riddle.
fn share(limit: u64, proxies: u32) -> u64 {
    limit.min((limit / u64::from(proxies.max(1))).max(1))
}

/// A call that may come to more than a minute's worth waits for a whole one and takes it:
/// what it was estimated too high is given back when it is settled, and what it really
/// came to is charged in any case. Otherwise it could never be let through.
fn fitting(tokens: u64, limits: &Limits) -> u64 {
    tokens.min(limits.tokens_per_minute.unwrap_or(CEILING)).min(CEILING)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_shares_are_no_more_than_the_limit(limit in 0..u64::MAX, proxies in 0..10_000u32) {
            let each = share(limit, proxies);
            let proxies = u64::from(proxies.max(1));
            prop_assert!(each.saturating_mul(proxies) <= limit || each == 1);
            prop_assert!(each <= limit && (each > 0 || limit == 0));
        }
    }

    #[test]
    fn the_names_of_one_organization_share_a_slot() {
        let limits = Limits { requests_per_minute: Some(1), ..Limits::default() };
        let asked = Asked {
            organization: OrganizationId::generate(),
            project: ProjectId::generate(),
            key: ApiKeyId::generate(),
            key_limits: &limits,
            project_limits: &limits,
            organization_limits: &limits,
            tokens: 1,
        };
        let slot = Shard::of(asked.organization).to_string();
        let charges = asked.charges();
        assert_eq!(charges.len(), 3);
        assert!(charges.iter().all(|it| it.bucket.contains(&slot) && it.calls.contains(&slot)));
    }
}
