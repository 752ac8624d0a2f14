//! The doors into the control plane: every route, with what it takes to pass.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, pin::Pin};

use actix_web::{
    FromRequest, Handler, HttpRequest, Resource, Responder,
    dev::Payload,
    http::Method,
    web::{self, ServiceConfig},
};
use futures::FutureExt;
use shared::failure::{Classified, Kind};
use utoipa::openapi::{
    HttpMethod, OpenApi, PathItem, Paths, RefOr, Required, Schema,
    path::{OperationBuilder, ParameterBuilder, ParameterIn},
    schema::{ObjectBuilder, Type},
};

use super::Permission;
use crate::web::Failure;

/// What it takes to pass a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Open to everybody.
    Nothing,
    /// Somebody signed in, whatever they are a member of.
    SignedIn,
    /// A member of the organization in the path, whose role has the permission.
    Permission(Permission),
    /// The platform's staff.
    Operator,
}

/// Everything a handler takes and gives says what it adds to the API's description.
pub trait Describe {
    fn describe(_: &mut Sheet) {}
}

/// One operation of the API while it is being described.
pub struct Sheet {
    pub operation: OperationBuilder,
    pub schemas: Vec<(String, RefOr<Schema>)>,
}

/// The arguments of a handler, the first of which is a proof.
pub trait Guarded: Sized + 'static {
    const NEEDS: Needs;

    /// Takes them one after the other, so that nothing of a request is read, let alone
    /// told of, before the proof is there.
    fn take(request: HttpRequest, payload: Payload) -> Taking<Self>;
}

pub type Taking<T> = Pin<Box<dyn Future<Output = Result<T, actix_web::Error>>>>;

/// A handler's arguments, taken in their order.
struct InOrder<Args>(Args);

impl<Args: Guarded> FromRequest for InOrder<Args> {
    type Error = actix_web::Error;
    type Future = Taking<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let taking = Args::take(request.clone(), payload.take());
        Box::pin(async move { Ok(Self(taking.await?)) })
    }
}

/// A proof of having passed a check.
pub trait Proof: FromRequest {
    const NEEDS: Needs;
}

/// The arguments of a handler of the API, each of which describes itself.
pub trait Api: Guarded + Describe {}
impl<T: Guarded + Describe> Api for T {}

macro_rules! arguments {
    ($($rest:ident)*) => {
        impl<P: Proof + 'static, $($rest: FromRequest + 'static),*> Guarded for (P, $($rest,)*) {
            const NEEDS: Needs = P::NEEDS;

            fn take(request: HttpRequest, mut payload: Payload) -> Taking<Self> {
                Box::pin(async move {
                    Ok((
                        P::from_request(&request, &mut payload).await.map_err(Into::into)?,
                        $($rest::from_request(&request, &mut payload).await.map_err(Into::into)?,)*
                    ))
                })
            }
        }

        impl<P: Describe, $($rest: Describe),*> Describe for (P, $($rest,)*) {
            fn describe(sheet: &mut Sheet) {
                P::describe(sheet);
                $($rest::describe(sheet);)*
            }
        }
    };
}
arguments!();
arguments!(A);
arguments!(A B);
arguments!(A B C);
arguments!(A B C D);

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    pub method: Method,
    pub path: &'static str,
    pub needs: Needs,
}

/// Collects the routes, then opens them.
#[derive(Default)]
pub struct Doors {
    pub list: Vec<Door>,
    resources: BTreeMap<&'static str, Resource>,
    paths: Paths,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Doors {
    /// A page.
    pub fn get<F, Args>(&mut self, path: &'static str, handler: F)
    where
        F: Handler<Args>,
        Args: Guarded,
        F::Output: Responder + 'static,
    {
        self.add(Method::GET, path, handler);
    }

    /// A form.
    pub fn post<F, Args>(&mut self, path: &'static str, handler: F)
    where
        F: Handler<Args>,
        Args: Guarded,
        F::Output: Responder + 'static,
    {
        self.add(Method::POST, path, handler);
    }

    /// An operation of the management API, under `/api/v1`.
    pub fn api<F, Args>(
        &mut self,
        method: Method,
        path: &'static str,
        summary: &'static str,
        handler: F,
    ) where
        F: Handler<Args>,
        Args: Api,
        F::Output: Responder + Describe + 'static,
    {
        assert!(path.starts_with("/api/v1/"), "{path} is not under /api/v1");
        let mut sheet = Sheet {
            operation: OperationBuilder::new()
                .summary(Some(summary))
                .operation_id(Some(operation_id(&method, path)))
                .tag(tag(path)),
            schemas: Vec::new(),
        };
        for name in parameters(path) {
            sheet.operation = sheet.operation.parameter(
                ParameterBuilder::new()
                    .name(name)
                    .parameter_in(ParameterIn::Path)
                    .required(Required::True)
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
            );
        }
        Args::describe(&mut sheet);
        F::Output::describe(&mut sheet);
        self.schemas.extend(sheet.schemas);
        let item = PathItem::new(described_method(&method), sheet.operation.build());
        self.paths.paths.entry(path.to_owned()).or_default().merge_operations(item);
        self.add(method, path, handler);
    }

    fn add<F, Args>(&mut self, method: Method, path: &'static str, handler: F)
    where
        F: Handler<Args>,
        Args: Guarded,
        F::Output: Responder + 'static,
    {
        self.list.push(Door { method: method.clone(), path, needs: Args::NEEDS });
        let resource = self.resources.remove(path).unwrap_or_else(|| web::resource(path));
        let handle = move |InOrder(arguments): InOrder<Args>| contained(handler.call(arguments));
        let resource = resource.route(web::method(method).to(handle));
        self.resources.insert(path, resource);
    }

    /// Serves them. A path with words is tried before one with a place for any word.
    pub fn open(self, app: &mut ServiceConfig) {
        let mut resources: Vec<_> = self.resources.into_iter().collect();
        resources.sort_by_key(|(path, _)| (path.matches('{').count(), *path));
        for (_, resource) in resources {
            app.service(resource);
        }
    }

    /// Adds what is known of the API's operations to its description.
    pub fn describe(&self, api: &mut OpenApi) {
        api.paths.merge(self.paths.clone());
        let components = api.components.get_or_insert_default();
        components.schemas.extend(self.schemas.clone());
    }
}

/// A handler that panics fails its own request and nothing else.
async fn contained<T>(answering: impl Future<Output = T>) -> Result<T, Failure> {
    AssertUnwindSafe(answering).catch_unwind().await.map_err(|_| Panicked.into())
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked")]
struct Panicked;

impl Classified for Panicked {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

fn described_method(method: &Method) -> HttpMethod {
    match method.as_str() {
        "GET" => HttpMethod::Get,
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        other => panic!("the API has no {other} operations"),
    }
}

/// The names in braces.
pub fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|it| it.split_once('}')).map(|(name, _)| name)
}

/// `get_orgs_org_keys` for `GET /api/v1/orgs/{org}/keys`.
fn operation_id(method: &Method, path: &str) -> String {
    let words =
        path.trim_start_matches("/api/v1/").replace(['/', '-'], "_").replace(['{', '}'], "");
    format!("{}_{words}", method.as_str().to_lowercase())
}

/// What the operation is about: the first word after the organization, or the
/// organization itself where that is a verb or there is none. A provider's credentials and models
/// are things of their own, or one page would have to tell of all three.
fn tag(path: &str) -> &str {
    let after_organization = path.strip_prefix("/api/v1/orgs/{org}/");
    let mut words = after_organization.into_iter().flat_map(|it| it.split('/'));
    match (words.next(), words.nth(1)) {
        (Some("providers"), Some(part @ ("credentials" | "models"))) => part,
        (None | Some("archive" | "restore"), _) => "organization",
        (Some(first), _) => first,
    }
}
