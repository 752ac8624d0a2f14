//! How failures are sorted, and the published codes that name them.

use std::{error::Error, fmt};

/// Who has to act. The HTTP status, the metric label, the log level, and whether
/// the caller may read the message follow from this and from nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Invalid,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    TooLarge,
    OutOfCredit,
    RateLimited,
    Upstream,
    Unavailable,
    Internal,
}

impl Kind {
    /// Whether the message was written for the caller. Other messages stay in our logs.
    pub const fn is_for_caller(self) -> bool {
        match self {
            Self::Invalid
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::Conflict
            | Self::TooLarge
            | Self::OutOfCredit
            | Self::RateLimited => true,
            Self::Upstream | Self::Unavailable | Self::Internal => false,
        }
    }

    /// The code of a failure that has none of its own.
    pub const fn code(self) -> Code {
        match self {
            Self::Invalid => code::INVALID_REQUEST,
            Self::Unauthenticated => code::NOT_SIGNED_IN,
            Self::Forbidden => code::FORBIDDEN,
            Self::NotFound => code::NOT_FOUND,
            Self::Conflict => code::CONFLICT,
            Self::TooLarge => code::TOO_LARGE,
            Self::OutOfCredit => code::INSUFFICIENT_CREDIT,
            Self::RateLimited => code::RATE_LIMITED,
            Self::Upstream => code::UPSTREAM_ERROR,
            Self::Unavailable => code::UNAVAILABLE,
            Self::Internal => code::INTERNAL_ERROR,
        }
    }
}

/// One input and what is wrong with it, in words for whoever typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub field: &'static str,
    pub message: String,
}

pub trait Classified: Error + Send + Sync + 'static {
    fn kind(&self) -> Kind;

    fn code(&self) -> Code {
        self.kind().code()
    }

    /// The inputs at fault, where the failure is about inputs.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}

impl Classified for sqlx::Error {
    fn kind(&self) -> Kind {
        if is_away(self) { Kind::Unavailable } else { Kind::Internal }
    }
}

/// Whether the server, or what is between us and it, is not there at the moment.
fn is_away(error: &sqlx::Error) -> bool {
    let is_broken = matches!(
        error,
        sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            // Hung up on before the server spoke.
            | sqlx::Error::Protocol(_)
    );
    // Class 57: the server is going away or not there yet. 53: out of resources. 08: the
    // connection broke.
    let code = error.as_database_error().and_then(|it| it.code());
    is_broken || code.is_some_and(|it| ["57", "53", "08"].iter().any(|class| it.starts_with(class)))
}

/// A published name for a failure, with its page in the docs. It can only be one of
/// the list below, so a code without a page does not compile.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Code {
    pub name: &'static str,
    pub title: &'static str,
    pub what: &'static str,
    pub fix: &'static str,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $what:literal, $fix:literal;)*) => {
        pub mod code {
            use super::Code;
            $(pub const $name: Code = Code {
                name: $code, title: $title, what: $what, fix: $fix,
            };)*
        }
        impl Code {
            pub const ALL: &[Code] = &[$(code::$name),*];
        }
    };
}

codes! {
    INVALID_REQUEST = "invalid_request", "The request is not valid",
        "A field is missing, unknown, or holds a value that is not accepted.",
        "Read the list of fields in the answer, correct them, and send the request again.";
    NOT_SIGNED_IN = "not_signed_in", "You are not signed in",
        "The request carried no session and no token, or one that has expired or was revoked.",
        "Sign in again, or send a current token as Authorization: Bearer.";
    WRONG_CREDENTIALS = "wrong_credentials", "The e-mail address or password is wrong",
        "No account matches that address and password.",
        "Check both, or reset the password.";
    FORBIDDEN = "forbidden", "Your role does not allow this",
        "You are a member of the organization, but your role lacks the permission.",
        "Ask a member with one of the roles named in the answer.";
    GRANT_EXCEEDS_GRANTOR = "grant_exceeds_grantor", "You cannot grant more than you hold",
        "The role, scope or date asked for is wider than your own.",
        "Choose a narrower one, or ask a member who holds it.";
    MFA_REQUIRED = "mfa_required", "A second factor is required",
        "The organization asks its members to sign in with a one-time code.",
        "Set one up under Account, Security, and sign in with it.";
    CSRF = "cross_site_request", "The form came from elsewhere or is too old",
        "The form's token did not match your session, or the browser said it came from another site.",
        "Open the page again and send the form from there.";
    NOT_FOUND = "not_found", "There is no such thing here",
        "Nothing of that name or id exists, or you may not know of it.",
        "Check the address and the organization you are in.";
    CONFLICT = "conflict", "The change does not fit the present state",
        "Something changed meanwhile, or a rule forbids the change.",
        "Load the present state and decide again.";
    NAME_TAKEN = "name_taken", "The name is taken",
        "There is already one of that name in the organization.",
        "Choose another name.";
    LAST_OWNER = "last_owner", "An organization keeps at least one owner",
        "The change would leave the organization without an owner.",
        "Make somebody else an owner first.";
    ARCHIVED = "archived", "It is archived",
        "What is archived can be read, not changed.",
        "Restore it first.";
    TOO_LARGE = "too_large", "The request is too large",
        "The body is larger than this route accepts.",
        "Send less at once.";
    INSUFFICIENT_CREDIT = "insufficient_credit", "The credit is used up",
        "The organization's balance does not cover the call.",
        "Top up, or ask a billing member to.";
    BUDGET_EXCEEDED = "budget_exceeded", "A budget has not enough left",
        "The call could cost more than is left of a hard budget that it counts against. The answer says of which, what is spent and held, and when it renews. Nothing was sent to a provider.",
        "Ask whoever the answer names to raise the budget, or wait until it renews. A lower max_tokens lets a call fit sooner.";
    MODEL_NOT_PRICED = "model_not_priced", "Nobody knows what the call would cost",
        "A hard budget has to hold, and the model has no price, or the call asks for something whose cost cannot be bounded.",
        "Use a model that has a price, leave out the search or tool that the answer speaks of, or ask an admin to price the model.";
    BUDGET_BACKEND_UNAVAILABLE = "budget_backend_unavailable", "Budgets cannot be counted at present",
        "The store that budgets are counted in does not answer, or was lost and is being counted again. Calls that no hard budget bears go on.",
        "Try again after the time in the Retry-After header.";
    METER_UNAVAILABLE = "meter_unavailable", "The call cannot be written down",
        "A proxy writes down each call before it sends it, and has no room to.",
        "Try again; another proxy may have room. The operator has to look at this one's disk.";
    RATE_LIMITED = "rate_limited", "Too many requests",
        "A limit on requests or tokens per minute, or on calls at once, was reached. The answer says which.",
        "Wait as long as the Retry-After header says, or ask an admin to raise the limit.";
    UPSTREAM_ERROR = "upstream_error", "The provider failed",
        "The model's provider answered with an error or not at all.",
        "Try again; the answer says whether the call was charged.";
    UPSTREAM_TIMEOUT = "upstream_timeout", "The provider took too long",
        "The model's provider did not answer, or stopped answering, within our limits.",
        "Try again, or ask for a shorter answer.";
    UPSTREAM_OVERLOADED = "upstream_overloaded", "The provider is failing",
        "So many calls to the model's provider have failed just now that it is left alone for a moment.",
        "Try again after the time in the Retry-After header, or name models to fall back to.";
    UNSUPPORTED_PARAMETER = "unsupported_parameter", "The model does not know this parameter",
        "No provider that may answer the call has words for the parameter.",
        "Leave the parameter named in the answer out, or use another model.";
    PROVIDER_AUTH_ERROR = "provider_auth_error", "The provider refused our credential",
        "The credential that we call the provider with is wrong, expired, or not for this model. Your key is fine.",
        "Whoever manages the provider's credential has to renew it.";
    REQUEST_TIMEOUT = "request_timeout", "The request came too slowly",
        "The body of the request did not arrive in time.",
        "Send it again over a faster connection, or send less.";
    UNAVAILABLE = "unavailable", "Something we depend on is away",
        "A store did not answer in time. Nothing was changed.",
        "Try again after the time in the Retry-After header.";
    OVERLOADED = "overloaded", "There is no room for the call",
        "The proxy has as many calls under way as it can hold, or as one organization may have.",
        "Try again after the time in the Retry-After header, or have fewer calls under way.";
    INTERNAL_ERROR = "internal_error", "We failed",
        "The fault is ours, and it is logged under the request id.",
        "Try again, and give support the request id if it stays.";
    MISSING_API_KEY = "missing_api_key", "No API key was sent",
        "The data plane needs a key with each call.",
        "Send your key as Authorization: Bearer, or as x-api-key.";
    INVALID_API_KEY = "invalid_api_key", "The API key is not valid",
        "The key is unknown, revoked, expired, or not a key of ours. Of a key that was revoked in the last thirty days the answer says when.",
        "Create a key in the dashboard and use that.";
    CONFLICTING_API_KEYS = "conflicting_api_keys", "Two different API keys were sent",
        "The request carries different keys in different headers.",
        "Send one key in one header.";
    API_KEY_IN_URL = "api_key_in_url", "The API key was in the address",
        "Addresses end up in logs and histories, so a key in one is refused.",
        "Send the key as Authorization: Bearer, and replace it: it may have been seen.";
    KEY_SCOPE = "key_scope", "The key is not for this endpoint",
        "The key's scopes do not include the endpoint called.",
        "Use another key, or ask for one with the scope.";
    ADDRESS_NOT_ALLOWED = "address_not_allowed", "The key is not for this address",
        "The key may be used from listed addresses only, and this is not one.",
        "Call from an address on the key's list, or change the list.";
    MODEL_NOT_ALLOWED = "model_not_allowed", "The key may not use this model",
        "The key's list of models does not include the one asked for.",
        "Use one of those that the answer names, or another that GET /v1/models lists.";
    MODEL_NOT_FOUND = "model_not_found", "There is no such model",
        "No model of that name is served here.",
        "Use a model that GET /v1/models lists.";
    NO_ELIGIBLE_MODEL = "no_eligible_model", "No model can take the call",
        "None of the models that the name leads to can take the call. The answer says of each why.",
        "Ask for less, name another model, or ask an admin of your organization to look at the routing policy.";
    GENERATION_NOT_FOUND = "generation_not_found", "There is no such request in the log",
        "No request of that id was made for the key's project, it has not ended yet, or it was so long ago that the log has forgotten it.",
        "Ask by what x-request-id said of an answer, with a key of the project that the call was made for. Where the answer has a Retry-After header, the call may be too new: ask again then.";
    UNKNOWN_ENDPOINT = "unknown_endpoint", "There is no such endpoint",
        "The path is not one this API has.",
        "Compare the path with the API reference.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_told_once() {
        let mut names: Vec<_> = Code::ALL.iter().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
