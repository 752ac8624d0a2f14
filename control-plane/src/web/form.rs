//! Forms, which cannot be read without having been shown by us.

use std::{future::Future, ops::Deref, pin::Pin, str::FromStr};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web::Bytes};
use serde::{Deserialize, de::DeserializeOwned};
use shared::failure::{Classified, Code, Kind, code};

use super::{Failure, Visit};

/// What a form of ours holds. Obtaining one is the check against forms of others.
pub struct Form<T>(pub T);

/// A form that is only a button.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl<T> Deref for Form<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let body = Bytes::from_request(&request, payload);
        Box::pin(async move {
            if !Visit::is_same_origin(&request) {
                return Err(FormError::OtherSite.into());
            }
            if request.content_type() != "application/x-www-form-urlencoded" {
                return Err(FormError::NotAForm.into());
            }
            let body = body.await.map_err(|_| FormError::TooLarge)?;
            let visit = request.extensions().get::<Visit>().cloned();
            let visit = visit.expect("floor puts a visit into every request");
            Self::parse(&visit, &body).map_err(Failure::from)
        })
    }
}

impl<T: DeserializeOwned> Form<T> {
    fn parse(visit: &Visit, body: &[u8]) -> Result<Self, FormError> {
        let mut token = None;
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(body) {
            // Postgres keeps no NUL in a text, and nobody types one.
            if name.contains('\0') || value.contains('\0') {
                return Err(FormError::NotAForm);
            }
            match name.as_ref() {
                "csrf" => token = Some(value.into_owned()),
                _ => drop(rest.append_pair(&name, &value)),
            }
        }
        if !token.is_some_and(|it| visit.is_form_token(&it)) {
            return Err(FormError::BadToken);
        }
        let form = serde_html_form::from_str(&rest.finish())?;
        Ok(Self(form))
    }
}

/// What was typed where nothing has to be.
pub fn optional<T: FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}

#[derive(Debug, thiserror::Error)]
enum FormError {
    #[error("the form came from another site")]
    OtherSite,
    #[error("the form is too old, or was opened before you signed in: open the page again")]
    BadToken,
    #[error("that is not a form as our pages send it")]
    NotAForm,
    #[error("the form is larger than we accept")]
    TooLarge,
    #[error("that is not a form as our pages send it: {0}")]
    Fields(#[from] serde_html_form::de::Error),
}

impl Classified for FormError {
    fn kind(&self) -> Kind {
        match self {
            Self::OtherSite | Self::BadToken => Kind::Forbidden,
            Self::NotAForm | Self::Fields(_) => Kind::Invalid,
            Self::TooLarge => Kind::TooLarge,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::OtherSite | Self::BadToken => code::CSRF,
            Self::NotAForm | Self::Fields(_) | Self::TooLarge => self.kind().code(),
        }
    }
}
