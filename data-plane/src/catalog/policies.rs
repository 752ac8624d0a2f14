//! Policies made ready to be asked: their conditions read once, and not for each call.

use shared::{
    condition::Condition,
    snapshot::{self as published, Document, Rule},
};

use super::upstreams::Unusable;

#[derive(Debug)]
pub struct Policy {
    published: published::Policy,
    /// Of each rule, in their order,
    conditions: Vec<Condition>,
    /// and of the version that is tried on some calls.
    staged: Vec<Condition>,
}

impl std::ops::Deref for Policy {
    type Target = published::Policy;

    fn deref(&self) -> &published::Policy {
        &self.published
    }
}

/// A document with its conditions.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    pub version: u32,
    pub document: &'a Document,
    conditions: &'a [Condition],
}

impl<'a> Version<'a> {
    /// Each rule and when it holds.
    pub fn rules(self) -> impl Iterator<Item = (&'a Rule, &'a Condition)> {
        self.document.rules.iter().zip(self.conditions)
    }
}

impl Policy {
    /// A condition that cannot be read may be what keeps a call out of a place, so all of the
    /// policy is then unreadable.
    pub fn open(published: published::Policy) -> Result<Self, Unusable> {
        let conditions = read(&published.document)?;
        let staged = published.staged.as_ref().map(|it| read(&it.document)).transpose()?;
        Ok(Self { published, conditions, staged: staged.unwrap_or_default() })
    }

    pub fn present(&self) -> Version<'_> {
        let (version, document) = (self.version, &self.document);
        Version { version, document, conditions: &self.conditions }
    }

    pub fn staged(&self) -> Option<Version<'_>> {
        let it = self.published.staged.as_ref()?;
        let (version, document) = (it.version, &it.document);
        Some(Version { version, document, conditions: &self.staged })
    }
}

fn read(document: &Document) -> Result<Vec<Condition>, Unusable> {
    let conditions = document.rules.iter().map(|it| Condition::parse(&it.when));
    Ok(conditions.collect::<Result<_, _>>()?)
}
