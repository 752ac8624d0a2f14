use actix_web::{
    HttpRequest, HttpResponse, Responder, ResponseError,
    body::BoxBody,
    http::{StatusCode, header::LOCATION},
};
use askama::Template;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use shared::failure::{Classified, Kind};

use super::{Cookies, Failure};

/// A template as an answer.
pub struct Page<T>(pub T);

impl<T: Template> Page<T> {
    /// The form again, with what was typed and what is wrong with it.
    pub fn again(self) -> HttpResponse {
        self.with(StatusCode::UNPROCESSABLE_ENTITY)
    }

    pub fn with(self, status: StatusCode) -> HttpResponse {
        match self.0.render() {
            Ok(html) => {
                HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html)
            }
            Err(error) => Failure::from(PageError(error)).error_response(),
        }
    }
}

impl<T: Template> Responder for Page<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.with(StatusCode::OK)
    }
}

/// After a form was done: the page to look at now.
pub fn see_other(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

/// The same, with a line that the next page shows once.
pub fn see_other_saying(path: &str, notice: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, path))
        .cookie(Cookies::make(Cookies::NOTICE, BASE64.encode(notice), None))
        .finish()
}

#[derive(Debug, thiserror::Error)]
#[error("a page did not render")]
struct PageError(#[source] askama::Error);

impl Classified for PageError {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}
