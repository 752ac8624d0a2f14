//! The one place a failure becomes a response.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use askama::Template;
use serde_json::json;
use shared::failure::{Classified, Code, Kind};
use tracing::{error, warn};

use super::{Frame, Problems, Visit};

#[derive(Debug)]
pub struct Failure(Box<dyn Classified>);

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// Sorts what a form handler got: done, or the problems to show beside the fields;
/// every other failure travels on.
pub fn or_problems<T, E: Classified>(
    outcome: Result<T, E>,
) -> Result<Result<T, Problems>, Failure> {
    match outcome {
        Ok(done) => Ok(Ok(done)),
        Err(error) => match error.problems() {
            list if list.is_empty() => Err(error.into()),
            list => Ok(Err(list.into())),
        },
    }
}

impl Failure {
    pub fn kind(&self) -> Kind {
        self.0.kind()
    }

    pub fn code(&self) -> Code {
        self.0.code()
    }

    /// Logs it, once, here where it stops travelling.
    pub fn log(&self) {
        let code = self.code().name;
        if self.kind().is_for_caller() {
            tracing::debug!(code, "refused: {}", self.0);
        } else if self.kind() == Kind::Unavailable {
            warn!(code, "a store is away: {}", Chain(&*self.0));
        } else {
            error!(code, "{}", Chain(&*self.0));
        }
    }

    fn message(&self) -> String {
        if self.kind().is_for_caller() { self.0.to_string() } else { self.code().what.to_owned() }
    }

    /// As the API tells it: RFC 9457, with our code and the fields at fault.
    pub fn as_problem(&self, visit: &Visit) -> HttpResponse {
        // A malformed body and a refused value are the same to a program.
        let status = match self.status_code() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        let errors: Vec<_> = self
            .0
            .problems()
            .iter()
            .map(|it| json!({ "field": it.field, "message": it.message }))
            .collect();
        let mut problem = json!({
            "type": visit.link(&format!("/docs/errors/{}", self.code().name)),
            "title": self.code().title,
            "status": status.as_u16(),
            "detail": self.message(),
            "code": self.code().name,
            "request_id": visit.request.to_string(),
        });
        if !errors.is_empty() {
            problem["errors"] = errors.into();
        }
        let mut response = HttpResponse::build(status);
        self.add_headers(&mut response);
        response.content_type("application/problem+json").body(problem.to_string())
    }

    /// As a page tells it.
    pub fn as_page(&self, visit: &Visit) -> HttpResponse {
        let status = self.status_code();
        let page = ErrorPage {
            frame: Frame::outside(visit),
            status: status.as_u16(),
            title: self.code().title,
            message: &self.message(),
            fix: self.code().fix,
            code: self.code().name,
            request_id: &visit.request.to_string(),
        };
        let html = page.render().unwrap_or_else(|_| self.code().title.to_owned());
        let mut response = HttpResponse::build(status);
        self.add_headers(&mut response);
        response.content_type("text/html; charset=utf-8").body(html)
    }

    fn add_headers(&self, response: &mut actix_web::HttpResponseBuilder) {
        match self.kind() {
            Kind::Unavailable => drop(response.insert_header(("retry-after", "5"))),
            Kind::RateLimited => drop(response.insert_header(("retry-after", "30"))),
            Kind::Unauthenticated => drop(response.insert_header(("www-authenticate", "Bearer"))),
            Kind::Invalid
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::Conflict
            | Kind::TooLarge
            | Kind::OutOfCredit
            | Kind::Upstream
            | Kind::Internal => (),
        }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    status: u16,
    title: &'a str,
    message: &'a str,
    fix: &'a str,
    code: &'a str,
    request_id: &'a str,
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        // No wildcard: a new kind must be given a status here or the build fails.
        match self.0.kind() {
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::OutOfCredit => StatusCode::PAYMENT_REQUIRED,
            Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Kind::Upstream => StatusCode::BAD_GATEWAY,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Bare: `floor` writes the body, for it knows whether a page or the API was asked.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Prints an error followed by everything that caused it.
struct Chain<'a>(&'a dyn Classified);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
