//! The endpoints there are, and what to say of those there are not.

use shared::{
    failure::{Classified, Code, Kind, code},
    snapshot::Scope,
};

use crate::{ask::Form, nearest::nearest};

/// Where a request went, as metrics and logs name it. A path would say too much, and
/// there are endless many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Ask(Form),
    Quote,
    Route,
    Feedback,
    Generation,
    Models,
    Model,
    Unknown,
}

impl Endpoint {
    pub const ALL: [Self; 11] = [
        Self::Ask(Form::Chat),
        Self::Ask(Form::Completions),
        Self::Ask(Form::Embeddings),
        Self::Ask(Form::Moderations),
        Self::Quote,
        Self::Route,
        Self::Feedback,
        Self::Generation,
        Self::Models,
        Self::Model,
        Self::Unknown,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ask(form) => form.scope().name(),
            Self::Quote => "quote",
            Self::Route => "route",
            Self::Feedback => "feedback",
            Self::Generation => "generation",
            Self::Models => "models",
            Self::Model => "model",
            Self::Unknown => "unknown",
        }
    }
}

pub const FEEDBACK: &str = "/v1/feedback";
pub const GENERATION: &str = "/v1/generations/{id}";
pub const MODELS: &str = "/v1/models";
pub const MODEL: &str = "/v1/models/{name:.+}";

const ALL: [(&str, &str); 9] = [
    ("POST", Form::Chat.path()),
    ("POST", Form::Completions.path()),
    ("POST", Form::Embeddings.path()),
    ("POST", Form::Moderations.path()),
    ("POST", Form::Chat.quote_path()),
    ("POST", Form::Chat.route_path()),
    ("POST", FEEDBACK),
    ("GET", GENERATION),
    ("GET", MODELS),
];

impl Form {
    pub const ALL: [Self; 4] = [Self::Chat, Self::Completions, Self::Embeddings, Self::Moderations];

    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Moderations => "/v1/moderations",
        }
    }

    /// Where it is asked what such a call would cost.
    pub const fn quote_path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/quote",
            Self::Completions => "/v1/quote/completions",
            Self::Embeddings => "/v1/quote/embeddings",
            Self::Moderations => "/v1/quote/moderations",
        }
    }

    /// Where it is asked who would answer such a call, and why.
    pub const fn route_path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/route",
            Self::Completions => "/v1/route/completions",
            Self::Embeddings => "/v1/route/embeddings",
            Self::Moderations => "/v1/route/moderations",
        }
    }

    /// As the request log calls it.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Chat, Self::Completions, Self::Embeddings, Self::Moderations];
        all.into_iter().find(|it| it.scope().name() == name)
    }

    /// What a key has to be for.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Chat => Scope::Chat,
            Self::Completions => Scope::Completions,
            Self::Embeddings => Scope::Embeddings,
            Self::Moderations => Scope::Moderations,
        }
    }
}

const GENERATIONS: &str = "/v1/generations";

/// The most of a path that an error message repeats.
const SHOWN: usize = 80;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEndpoint {
    #[error("{path} is the base URL of this API, not an endpoint. This API has {}.", all())]
    Base { path: String },
    #[error("{path} takes {allowed}.")]
    Method { path: String, allowed: &'static str },
    #[error("There is no {path} here. {}", hint(*meant))]
    Path { path: String, meant: Option<&'static str> },
}

impl NotAnEndpoint {
    pub fn new(path: &str) -> Self {
        let trimmed = path.trim_end_matches('/');
        let shown = path.chars().take(SHOWN).collect();
        if trimmed.is_empty() || trimmed == "/v1" {
            return Self::Base { path: shown };
        }
        if let Some((allowed, _)) = ALL.into_iter().find(|(_, known)| *known == path) {
            return Self::Method { path: shown, allowed };
        }
        let is_one_of = |all: &str| {
            path.strip_prefix(all).is_some_and(|it| it.starts_with('/') && it.len() > 1)
        };
        if is_one_of(MODELS) || is_one_of(GENERATIONS) {
            return Self::Method { path: shown, allowed: "GET" };
        }
        // Somebody's base URL lacks the version, or ends with a slash.
        let known = || ALL.into_iter().map(|(_, known)| known);
        let is_cut = |it: &&str| {
            it.strip_prefix("/v1") == Some(trimmed) || it.trim_end_matches("/{id}") == trimmed
        };
        let cut = known().find(is_cut);
        Self::Path { path: shown, meant: cut.or_else(|| nearest(trimmed, known())) }
    }
}

fn hint(meant: Option<&str>) -> String {
    meant.map_or_else(|| format!("This API has {}.", all()), |it| format!("Did you mean {it}?"))
}

fn all() -> String {
    ALL.map(|(method, path)| format!("{method} {path}")).join(", ")
}

impl Classified for NotAnEndpoint {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }

    fn code(&self) -> Code {
        code::UNKNOWN_ENDPOINT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, words: &str) {
        let told = NotAnEndpoint::new(path).to_string();
        assert!(told.contains(words), "{told}");
    }

    #[test]
    fn a_mistyped_path_is_understood() {
        check("/v1/embedding", "Did you mean /v1/embeddings?");
        for path in ["/v1/chat/completion", "/chat/completions", "/v1/chat/completions/"] {
            check(path, "Did you mean /v1/chat/completions?");
        }
        for path in ["/v1/v1/chat/completions", "//v1/chat/completions"] {
            check(path, "Did you mean /v1/chat/completions?");
        }
        check("/v1/model", "Did you mean /v1/models?");
        for path in ["/v1/generations", "/v1/generations/"] {
            check(path, "Did you mean /v1/generations/{id}?");
        }
    }

    #[test]
    fn the_base_url_says_what_it_is_the_base_of() {
        for path in ["/", "/v1", "/v1/"] {
            check(path, "POST /v1/chat/completions, POST /v1/completions");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_one() {
        check("/v1/chat/completions", "takes POST");
        check("/v1/models", "takes GET");
        check("/v1/models/auto", "takes GET");
        check("/v1/generations/req_1", "takes GET");
    }

    #[test]
    fn what_is_not_there_is_said_plainly() {
        check("/v1/fine_tuning/jobs", "There is no /v1/fine_tuning/jobs here. This API has");
        check(&format!("/{}", "x".repeat(10_000)), "This API has");
        assert!(NotAnEndpoint::new(&"é".repeat(10_000)).to_string().len() < 400);
    }
}
