//! What is known of a call, and what conditions call it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use cel::{
    common::{
        types::{CelBool, CelDouble, CelInt, CelMap, CelMapKey, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use time::OffsetDateTime;

use crate::ids::{ApiKeyId, OrganizationId, ProjectId};

/// What is known of a call. Each is asked for only where a condition says its name, so what takes
/// a while to find out can wait until then.
pub trait Facts: Send + Sync {
    /// What the caller asked for: the policy's name, or one that leads to it.
    fn model(&self) -> &str;
    /// As the request log calls it, such as `chat`.
    fn endpoint(&self) -> &str;
    fn is_stream(&self) -> bool;
    /// Whether it brings tools.
    fn has_tools(&self) -> bool;
    fn has_images(&self) -> bool;
    /// At most.
    fn input_tokens(&self) -> u64;
    fn max_output_tokens(&self) -> u64;
    fn key(&self) -> ApiKeyId;
    fn project(&self) -> ProjectId;
    fn organization(&self) -> OrganizationId;
    /// What the caller said in `x-turnpike-tags`.
    fn tags(&self) -> &BTreeMap<String, String>;
    /// What the body's `metadata` says.
    fn metadata(&self) -> &BTreeMap<String, String>;
    /// Whom the call is for, as the body's `user` says; empty where it does not.
    fn user(&self) -> &str;
    /// What the user's last turn is for; empty where nobody knows.
    fn task(&self) -> &str;
    /// Of the user's last turn, by its two letters; empty where nobody knows.
    fn language(&self) -> &str;
    /// From 0 to 1.
    fn complexity(&self) -> f64;
    /// Of the budget of the call's that is used up most; 0 without any.
    fn budget_used_percent(&self) -> u64;
    fn now(&self) -> OffsetDateTime;
}

/// What there is one of. What `tags` and `metadata` have is whatever callers say.
const NAMES: [&str; 18] = [
    "request.model",
    "request.endpoint",
    "request.stream",
    "request.tools",
    "request.images",
    "request.input_tokens",
    "request.max_output_tokens",
    "key.id",
    "project.id",
    "organization.id",
    "user",
    "task",
    "language",
    "complexity",
    "budget.used_percent",
    "now.hour",
    "now.weekday",
    "now.day",
];

const MAPS: [&str; 2] = ["tags", "metadata"];

/// Whether conditions may ask for it.
pub fn is_name(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn is_map(name: &str) -> bool {
    MAPS.contains(&name)
}

/// The facts, as the interpreter asks for them: a whole name at once, `tags.team` too.
pub(super) struct Names<'a>(pub &'a dyn Facts);

impl VariableResolver for Names<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let it = self.0;
        // What a caller did not say is empty, rather than an error: most calls have no tags, and
        // to be asked for one is nothing that is wrong with them.
        let said = |words: &'b BTreeMap<String, String>, name: &str| {
            Some(text(words.get(name).map_or("", String::as_str)))
        };
        if let Some(name) = name.strip_prefix("tags.") {
            return said(it.tags(), name);
        }
        if let Some(name) = name.strip_prefix("metadata.") {
            return said(it.metadata(), name);
        }
        let now = || it.now().to_offset(time::UtcOffset::UTC);
        Some(match name {
            "tags" => map(it.tags()),
            "metadata" => map(it.metadata()),
            "request.model" => text(it.model()),
            "request.endpoint" => text(it.endpoint()),
            "request.stream" => yes(it.is_stream()),
            "request.tools" => yes(it.has_tools()),
            "request.images" => yes(it.has_images()),
            "request.input_tokens" => number(it.input_tokens()),
            "request.max_output_tokens" => number(it.max_output_tokens()),
            "key.id" => text(it.key().to_string()),
            "project.id" => text(it.project().to_string()),
            "organization.id" => text(it.organization().to_string()),
            "user" => text(it.user()),
            "task" => text(it.task()),
            "language" => text(it.language()),
            "complexity" => CowVal::owned(CelDouble::from(it.complexity())),
            "budget.used_percent" => number(it.budget_used_percent()),
            "now.hour" => number(now().hour().into()),
            "now.weekday" => number(now().weekday().number_from_monday().into()),
            "now.day" => number(now().day().into()),
            _ => return None,
        })
    }
}

fn text<'b>(text: impl Into<Cow<'b, str>>) -> CowVal<'b, 'b> {
    CowVal::owned(CelString::from(text.into()))
}

fn yes<'b>(it: bool) -> CowVal<'b, 'b> {
    CowVal::owned(CelBool::from(it))
}

fn number<'b>(it: u64) -> CowVal<'b, 'b> {
    CowVal::owned(CelInt::from(i64::try_from(it).unwrap_or(i64::MAX)))
}

fn map(words: &BTreeMap<String, String>) -> CowVal<'_, '_> {
    let entry = |(name, value)| {
        let (name, value): (&String, &String) = (name, value);
        let value: Box<dyn Val + '_> = Box::new(CelString::from(value.as_str()));
        (CelMapKey::from(name.as_str()), value)
    };
    CowVal::owned(CelMap::from(words.iter().map(entry).collect::<HashMap<_, _>>()))
}

/// A call to try conditions on when they are read. No number in it is 0.
pub(super) struct Sample;

static NO_WORDS: BTreeMap<String, String> = BTreeMap::new();

impl Facts for Sample {
    fn model(&self) -> &str {
        "auto"
    }
    fn endpoint(&self) -> &str {
        "chat"
    }
    fn is_stream(&self) -> bool {
        true
    }
    fn has_tools(&self) -> bool {
        true
    }
    fn has_images(&self) -> bool {
        true
    }
    fn input_tokens(&self) -> u64 {
        1000
    }
    fn max_output_tokens(&self) -> u64 {
        1000
    }
    fn key(&self) -> ApiKeyId {
        ApiKeyId::from_uuid(uuid::Uuid::nil())
    }
    fn project(&self) -> ProjectId {
        ProjectId::from_uuid(uuid::Uuid::nil())
    }
    fn organization(&self) -> OrganizationId {
        OrganizationId::from_uuid(uuid::Uuid::nil())
    }
    fn tags(&self) -> &BTreeMap<String, String> {
        &NO_WORDS
    }
    fn metadata(&self) -> &BTreeMap<String, String> {
        &NO_WORDS
    }
    fn user(&self) -> &str {
        "somebody"
    }
    fn task(&self) -> &str {
        "code"
    }
    fn language(&self) -> &str {
        "en"
    }
    fn complexity(&self) -> f64 {
        0.5
    }
    fn budget_used_percent(&self) -> u64 {
        50
    }
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }
}
