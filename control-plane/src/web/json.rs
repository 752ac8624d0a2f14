//! Bodies and answers of the management API, each of which describes itself.

use std::{future::Future, ops::Deref, pin::Pin};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    dev::Payload,
    http::StatusCode,
    web::{Bytes, Data, Path},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use shared::failure::{Classified, Kind, Problem};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        AllOfBuilder, ContentBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
        path::ParameterIn, request_body::RequestBodyBuilder,
    },
};

use super::Failure;
use crate::{
    access::{Describe, Sheet},
    snapshots::Told,
};

/// A body of JSON. What it does not know it refuses.
pub struct Input<T>(pub T);

impl<T> Deref for Input<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Input<T> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request.content_type() == "application/json";
        let body = Bytes::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                return Err(InputError::NotJson.into());
            }
            let body = body.await.map_err(|_| InputError::TooLarge)?;
            Self::parse(&body).map_err(Failure::from)
        })
    }
}

impl<T: DeserializeOwned> Input<T> {
    fn parse(body: &[u8]) -> Result<Self, InputError> {
        // Postgres keeps no NUL in a text; JSON spells it so and in no other way.
        if body.windows(6).any(|it| it == br"\u0000") {
            return Err(InputError::Nul);
        }
        let mut reader = serde_json::Deserializer::from_slice(body);
        let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            InputError::Wrong { path, cause: error.into_inner().to_string() }
        })?;
        reader.end().map_err(|error| InputError::Wrong {
            path: ".".to_owned(),
            cause: error.to_string(),
        })?;
        Ok(Self(value))
    }
}

/// Reads an optional field of a change so that `null`, which empties it, is told from
/// what is left out, which stays: `#[serde(default, deserialize_with = "given")]`.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

/// The query of a list.
pub struct Search<T>(pub T);

impl<T> Deref for Search<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Search<T> {
    type Error = Failure;
    type Future = std::future::Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = request.query_string();
        let parsed = if query.contains("%00") {
            Err(InputError::Nul.into())
        } else {
            serde_html_form::from_str(query)
                .map(Self)
                .map_err(|error| InputError::Query(error.to_string()).into())
        };
        std::future::ready(parsed)
    }
}

#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error("send JSON, with content-type application/json")]
    NotJson,
    #[error("the body is larger than we accept")]
    TooLarge,
    #[error("a text may not hold the character U+0000")]
    Nul,
    #[error("{cause} (at {path})")]
    Wrong { path: String, cause: String },
    #[error("the query is not valid: {0}")]
    Query(String),
}

impl Classified for InputError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotJson | Self::Nul | Self::Wrong { .. } | Self::Query(_) => Kind::Invalid,
            Self::TooLarge => Kind::TooLarge,
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Wrong { .. } => vec![Problem { field: "body", message: self.to_string() }],
            Self::NotJson | Self::TooLarge | Self::Nul | Self::Query(_) => Vec::new(),
        }
    }
}

/// 200 with what was asked for.
pub struct Json<T>(pub T);

/// 201 with what was made.
pub struct Created<T>(pub T);

/// 204: done, and nothing to say.
pub struct Deleted;

/// 200 with what it is now; 202 where something has stopped with it that not every proxy is known
/// to refuse yet. The body says which.
pub struct Stopped<T>(pub T, pub Told);

/// 204; or 202 and why, where not every proxy is known to refuse yet what has stopped with it.
pub struct Removed(pub Told);

/// How far a change has come that stops something.
#[derive(Serialize, ToSchema)]
pub struct Effect {
    /// Whether no proxy lets in any more what has stopped.
    effective: bool,
    /// What to know where that is not so.
    note: Option<String>,
}

impl From<Told> for Effect {
    fn from(told: Told) -> Self {
        Self { effective: told.is_effective(), note: told.note() }
    }
}

/// A thing with how far its change has come.
#[derive(Serialize)]
struct WithEffect<'a, T> {
    #[serde(flatten)]
    thing: &'a T,
    #[serde(flatten)]
    effect: Effect,
}

fn answer<T: Serialize>(status: StatusCode, value: &T) -> HttpResponse {
    HttpResponse::build(status).json(value)
}

impl<T: Serialize> Responder for Json<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        answer(StatusCode::OK, &self.0)
    }
}

impl<T: Serialize> Responder for Created<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        answer(StatusCode::CREATED, &self.0)
    }
}

impl<T: Serialize> Responder for Stopped<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let Self(thing, told) = self;
        let status = if told.is_effective() { StatusCode::OK } else { StatusCode::ACCEPTED };
        answer(status, &WithEffect { thing: &thing, effect: told.into() })
    }
}

impl Responder for Removed {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match self.0.is_effective() {
            true => Deleted.respond_to(request),
            false => answer(StatusCode::ACCEPTED, &Effect::from(self.0)),
        }
    }
}

impl Responder for Deleted {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::NoContent().finish()
    }
}

/// Adds a type and all it is made of to the sheet, and says where it stands there.
fn schema<T: ToSchema>(sheet: &mut Sheet) -> RefOr<Schema> {
    T::schemas(&mut sheet.schemas);
    sheet.schemas.push((T::name().into_owned(), <T as PartialSchema>::schema()));
    Ref::from_schema_name(T::name()).into()
}

fn describe_answer(sheet: &mut Sheet, status: &str, about: &str, content: Option<RefOr<Schema>>) {
    let mut response = ResponseBuilder::new().description(about);
    if let Some(schema) = content {
        let content = ContentBuilder::new().schema(Some(schema)).build();
        response = response.content("application/json", content);
    }
    let operation = std::mem::take(&mut sheet.operation);
    sheet.operation = operation.response(status, response.build());
}

impl<T: ToSchema> Describe for Input<T> {
    fn describe(sheet: &mut Sheet) {
        let content = ContentBuilder::new().schema(Some(schema::<T>(sheet))).build();
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .required(Some(Required::True))
            .build();
        let operation = std::mem::take(&mut sheet.operation);
        sheet.operation = operation.request_body(Some(body));
        describe_answer(sheet, "400", "The body is not valid; `errors` names the fields.", None);
    }
}

impl<T: IntoParams> Describe for Search<T> {
    fn describe(sheet: &mut Sheet) {
        let operation = std::mem::take(&mut sheet.operation);
        sheet.operation = T::into_params(|| Some(ParameterIn::Query))
            .into_iter()
            .fold(operation, |operation, parameter| operation.parameter(parameter));
        describe_answer(sheet, "400", "The query is not valid.", None);
    }
}

impl<T: ToSchema> Describe for Json<T> {
    fn describe(sheet: &mut Sheet) {
        let schema = schema::<T>(sheet);
        describe_answer(sheet, "200", "What was asked for.", Some(schema));
    }
}

impl<T: ToSchema> Describe for Created<T> {
    fn describe(sheet: &mut Sheet) {
        let schema = schema::<T>(sheet);
        describe_answer(sheet, "201", "What was made.", Some(schema));
    }
}

impl<T: ToSchema> Describe for Stopped<T> {
    fn describe(sheet: &mut Sheet) {
        let (thing, effect) = (schema::<T>(sheet), schema::<Effect>(sheet));
        let both: RefOr<Schema> = AllOfBuilder::new().item(thing).item(effect).into();
        describe_answer(
            sheet,
            "200",
            "Done, and no proxy lets in what it stops.",
            Some(both.clone()),
        );
        describe_answer(sheet, "202", NOT_EFFECTIVE, Some(both));
    }
}

impl Describe for Removed {
    fn describe(sheet: &mut Sheet) {
        Deleted::describe(sheet);
        let effect = schema::<Effect>(sheet);
        describe_answer(sheet, "202", NOT_EFFECTIVE, Some(effect));
    }
}

const NOT_EFFECTIVE: &str =
    "Done, and kept; but not every proxy is known to refuse yet what it stops.";

impl Describe for Deleted {
    fn describe(sheet: &mut Sheet) {
        describe_answer(sheet, "204", "Done.", None);
    }
}

impl<T: Describe> Describe for Result<T, Failure> {
    fn describe(sheet: &mut Sheet) {
        T::describe(sheet);
    }
}

impl<T> Describe for Data<T> {}
impl<T> Describe for Path<T> {}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code, reason = "only parsed")]
        name: String,
    }

    #[track_caller]
    fn check(body: &str, told: &str) {
        let error = Input::<Body>::parse(body.as_bytes()).err().unwrap().to_string();
        assert!(error.contains(told), "{error}");
    }

    #[test]
    fn a_wrong_body_names_the_field() {
        check(r#"{"name": 1}"#, "(at name)");
        check(r#"{"name": "a", "role": "owner"}"#, "unknown field `role`");
        check("{}", "missing field `name`");
        check(r#"{"name": "a"} {}"#, "trailing");
        check(r#"{"name": "\u0000"}"#, "U+0000");
    }
}
