//! The description of the management API: OpenAPI 3.1.

use std::sync::LazyLock;

use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, OpenApiVersion,
        PathItem, Ref, RefOr, Response,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
        server::ServerBuilder,
    },
};

use crate::app;

/// How every failure is told, after RFC 9457.
#[derive(Serialize, ToSchema)]
struct Problem {
    /// A page about the code.
    #[serde(rename = "type")]
    type_: String,
    title: String,
    status: u16,
    /// What happened, in words for whoever asked.
    detail: String,
    /// A code of the list of errors. Programs should look at this.
    code: String,
    /// What to give support.
    request_id: String,
    /// The inputs at fault, where the failure is about inputs.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldProblem>>,
}

/// One input and what is wrong with it.
#[derive(Serialize, ToSchema)]
struct FieldProblem {
    field: String,
    message: String,
}

const ABOUT: &str = "Everything that the dashboard does, for programs. Send a token as \
    `Authorization: Bearer`. Bodies are JSON, and a field that is not known is refused. \
    Instants are RFC 3339 in UTC. What fails answers with `application/problem+json`, whose \
    `code` is one of the list of errors. An object of another organization is not there.";

/// The document, put together once.
pub fn openapi() -> &'static OpenApi {
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(describe);
    &DOCUMENT
}

/// The document as it is served.
pub(super) fn json() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        openapi().to_pretty_json().expect("a document of texts and numbers is JSON")
    });
    &TEXT
}

fn describe() -> OpenApi {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let info = InfoBuilder::new()
        .title("Turnpike management API")
        .version("1")
        .description(Some(ABOUT))
        .license(Some(license))
        .build();
    let mut components = Components::new();
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    components.schemas.insert("FieldProblem".to_owned(), FieldProblem::schema());
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of the management API, of a person or of a service."))
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(token));

    let mut document = OpenApiBuilder::new()
        .openapi(OpenApiVersion::Version31)
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .components(Some(components))
        .build();
    app::doors().describe(&mut document);
    for item in document.paths.paths.values_mut() {
        operations(item).for_each(tell_failures);
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// Every failure has the same body, so handlers do not repeat it.
fn tell_failures(operation: &mut Operation) {
    let other = Response::new("Any other failure.");
    operation.responses.responses.insert("default".to_owned(), RefOr::T(other));
    for (status, response) in &mut operation.responses.responses {
        if let (true, RefOr::T(response)) = (is_failure(status), response) {
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
            let kind = "application/problem+json".to_owned();
            response.content.entry(kind).or_insert_with(|| RefOr::T(problem.build()));
        }
    }
}

fn is_failure(status: &str) -> bool {
    status.starts_with(['4', '5']) || status == "default"
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    #[test]
    fn the_document_holds_every_door_of_the_api_and_no_other() {
        let doors: BTreeSet<_> = app::doors()
            .list
            .into_iter()
            .filter(|it| it.path.starts_with("/api/v1/"))
            .map(|it| format!("{} {}", it.method, it.path))
            .collect();
        let document = serde_json::to_value(openapi()).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        assert_eq!(described, doors);
    }

    #[test]
    fn what_the_document_names_is_in_it() {
        let document = serde_json::to_value(openapi()).unwrap();
        let text = document.to_string();
        for name in text.split("\"#/components/schemas/").skip(1) {
            let name = name.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not there");
        }
        let mut ids = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(
                    ids.insert(operation["operationId"].to_string()),
                    "{}",
                    operation["operationId"]
                );
            }
        }
    }

    #[test]
    fn the_document_we_publish_is_the_one_our_handlers_write() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        let published = std::fs::read_to_string(path).unwrap_or_default();
        let is_same = published.trim_end() == json();
        assert!(is_same, "control-plane/openapi.json is not current: run `make openapi`");
    }
}
