//! What is typed about a key, checked.

use serde::Deserialize;
use shared::snapshot::Scope;
use time::OffsetDateTime;

use crate::{
    access::Grant,
    keys::{KeyError, Mode, NewApiKey, Terms, expiry, terms},
    web::{Problems, optional},
};

/// What is typed about a key, when making one and when changing one.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeyForm {
    pub(super) name: String,
    pub(super) project: String,
    pub(super) mode: String,
    pub(super) owner: String,
    pub(super) scopes: Vec<String>,
    /// There where the form showed the scopes, so that none chosen is not every one.
    pub(super) scopes_shown: String,
    pub(super) models: String,
    pub(super) addresses: String,
    pub(super) tags: String,
    pub(super) requests_per_minute: String,
    pub(super) tokens_per_minute: String,
    pub(super) concurrent_requests: String,
    pub(super) expiry: String,
    pub(super) expires_on: String,
}

impl KeyForm {
    /// An empty form, with what is usual chosen.
    pub(super) fn usual() -> Self {
        Self {
            mode: Mode::Live.name().to_owned(),
            owner: "me".to_owned(),
            scopes: Scope::ALL.map(|it| it.name().to_owned()).to_vec(),
            expiry: "90".to_owned(),
            ..Self::default()
        }
    }

    /// The form of a key that is there.
    pub(super) fn of(terms: &Terms) -> Self {
        let lines = |items: Vec<String>| items.join("\n");
        let number = |it: Option<String>| it.unwrap_or_default();
        Self {
            name: terms.name.to_string(),
            scopes: terms.scopes.iter().map(|it| it.name().to_owned()).collect(),
            models: lines(terms.allowed_models.clone().unwrap_or_default()),
            addresses: lines(terms.allowed_addresses.iter().map(ToString::to_string).collect()),
            tags: lines(terms.tags.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            requests_per_minute: number(terms.requests_per_minute.map(|it| it.to_string())),
            tokens_per_minute: number(terms.tokens_per_minute.map(|it| it.to_string())),
            concurrent_requests: number(terms.concurrent_requests.map(|it| it.to_string())),
            expiry: "keep".to_owned(),
            ..Self::default()
        }
    }

    /// What was typed, checked. `kept` are the terms that the key has, where it is there.
    fn terms(&self, kept: Option<&Terms>, now: OffsetDateTime) -> Result<Terms, Problems> {
        let mut problems = Problems::none();
        let name = problems.take("name", self.name.parse());
        let scopes = match (kept, self.scopes_shown.as_str()) {
            (None, "") if self.scopes.is_empty() => Some(Scope::ALL.to_vec()),
            _ => problems.take("scopes", terms::scopes(self.scopes.iter().map(String::as_str))),
        };
        let allowed_models = match self.models.trim() {
            "" => Some(None),
            models => problems.take("models", terms::models(terms::words(models)).map(Some)),
        };
        let allowed_addresses =
            problems.take("addresses", terms::addresses(terms::words(&self.addresses)));
        let tags = problems.take("tags", terms::tag_lines(&self.tags));
        let requests =
            problems.take("requests_per_minute", terms::limit(&self.requests_per_minute));
        let tokens = problems.take("tokens_per_minute", terms::limit(&self.tokens_per_minute));
        let concurrent =
            problems.take("concurrent_requests", terms::limit(&self.concurrent_requests));
        let kept = kept.map(|it| it.expires_at);
        let expiry = expiry::chosen(&self.expiry, &self.expires_on, kept, now);
        let field = if self.expiry == "date" { "expires_on" } else { "expiry" };
        let expires_at = problems.take(field, expiry);
        problems.check()?;
        let all = (|| {
            Some(Terms {
                name: name?,
                scopes: scopes?,
                allowed_models: allowed_models?,
                allowed_addresses: allowed_addresses?,
                tags: tags?,
                requests_per_minute: requests?,
                tokens_per_minute: tokens?,
                concurrent_requests: concurrent?,
                expires_at: expires_at?,
            })
        })();
        all.ok_or(problems)
    }

    pub(super) fn new_key<P>(
        &self,
        grant: &Grant<P>,
        now: OffsetDateTime,
    ) -> Result<NewApiKey, KeyError> {
        let terms = self.terms(None, now);
        let mut problems = terms.as_ref().err().cloned().unwrap_or_default();
        let mode = match self.mode.as_str() {
            "" => Some(Mode::Live),
            mode => problems.take("mode", mode.parse()),
        };
        let owner = match self.owner.as_str() {
            "" | "me" => Some(Some(grant.actor.person().ok_or(KeyError::NobodysOwn)?)),
            "service" => Some(None),
            _ => problems.take("owner", Err("choose yourself or a service")),
        };
        let project = optional(&self.project).map_err(|_| KeyError::NoSuchProject);
        let project = problems.take("project", project);
        match (terms, mode, owner, project) {
            (Ok(terms), Some(mode), Some(owner), Some(project)) => {
                Ok(NewApiKey { project, mode, owner, terms })
            }
            _ => Err(problems.into()),
        }
    }

    /// What a key was made with cannot be changed afterwards.
    pub(super) fn change(&self, kept: &Terms, now: OffsetDateTime) -> Result<Terms, Problems> {
        let mut problems = Problems::none();
        for (field, typed) in
            [("project", &self.project), ("mode", &self.mode), ("owner", &self.owner)]
        {
            if !typed.is_empty() {
                problems.add(field, "this cannot be changed: create another key");
            }
        }
        problems.check()?;
        self.terms(Some(kept), now)
    }
}

pub(super) struct ScopeChoice {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) is_chosen: bool,
}

/// Every endpoint, and whether a key may be for it.
pub(super) fn scope_choices(chosen: &[String]) -> Vec<ScopeChoice> {
    let choice = |scope: Scope| ScopeChoice {
        name: scope.name(),
        about: path_of(scope),
        is_chosen: chosen.iter().any(|it| it == scope.name()),
    };
    Scope::ALL.into_iter().map(choice).collect()
}

const fn path_of(scope: Scope) -> &'static str {
    match scope {
        Scope::Chat => "/v1/chat/completions",
        Scope::Completions => "/v1/completions",
        Scope::Responses => "/v1/responses",
        Scope::Messages => "/v1/messages",
        Scope::Embeddings => "/v1/embeddings",
        Scope::Moderations => "/v1/moderations",
        Scope::Models => "/v1/models",
    }
}
