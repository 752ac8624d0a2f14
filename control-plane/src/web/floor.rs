//! What surrounds every request: who asks from where, headers that keep browsers safe,
//! failures turned into answers.

use std::{sync::LazyLock, time::Instant};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, VARY},
    },
    middleware::Next,
    web::Data,
};
use prometheus::{HistogramVec, register_histogram_vec};
use shared::failure::{Classified, Kind, code};
use tracing::{Instrument, info_span};

use super::{Cookies, Failure, Visit, see_other};
use crate::platform::Platform;

static SERVED: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "turnpike_control_request_seconds",
        "Time to answer, by route and status.",
        &["route", "method", "status"],
        vec![0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]
    )
    .expect("the metric is registered once")
});

/// The content security policy of every answer: nothing but our own files, nothing inline.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'; object-src 'none'";

pub async fn around<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let started = Instant::now();
    let platform = request.app_data::<Data<Platform>>().expect("the app has its platform");
    let visit = Visit::of(&request, platform);
    let method = request.method().clone();
    request.extensions_mut().insert(visit.clone());

    // Postgres keeps no NUL in a text, so nothing of ours has one in its name.
    if request.path().contains("%00") {
        let told = tell(&Failure::from(Refused(StatusCode::NOT_FOUND)), &visit, &method);
        let mut response = request.into_response(told).map_into_right_body();
        finish(&mut response, &visit);
        return Ok(response);
    }
    // The route, not the path: some paths hold the secrets of links.
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let span = info_span!("request", request.id = %visit.request, %method, route);
    let response = next.call(request).instrument(span).await?;

    let mut response = match refusal_in(&response, &visit, &method) {
        Some(told) => response.into_response(told).map_into_right_body(),
        None => response.map_into_left_body(),
    };
    let status = response.status().as_u16().to_string();
    SERVED
        .with_label_values(&[route.as_str(), known(&method), status.as_str()])
        .observe(started.elapsed().as_secs_f64());
    finish(&mut response, &visit);
    Ok(response)
}

/// The method's name, of those that have one: a label is not for callers to invent.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The answer in place of one that is only a status; none where a handler made one.
fn refusal_in<B>(
    response: &ServiceResponse<B>,
    visit: &Visit,
    method: &Method,
) -> Option<HttpResponse> {
    match response.response().error() {
        Some(error) => Some(tell_error(error, visit, method)),
        None if is_bare(response) => {
            Some(tell(&Failure::from(Refused(response.status())), visit, method))
        }
        None => None,
    }
}

fn tell_error(error: &Error, visit: &Visit, method: &Method) -> HttpResponse {
    match error.as_error::<Failure>() {
        Some(failure) => {
            failure.log();
            tell(failure, visit, method)
        }
        None => {
            let status = error.as_response_error().status_code();
            tell(&Failure::from(Refused(status)), visit, method)
        }
    }
}

/// Whether the framework answered on its own, without a body: no such route or method.
fn is_bare<B>(response: &ServiceResponse<B>) -> bool {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    is_error && !response.headers().contains_key("content-type")
}

fn tell(failure: &Failure, visit: &Visit, method: &Method) -> HttpResponse {
    if visit.is_api {
        return failure.as_problem(visit);
    }
    let signed_out = failure.code() == code::NOT_SIGNED_IN;
    if signed_out {
        let back = if *method == Method::GET { visit.path.as_str() } else { "/orgs" };
        let next = form_urlencoded::byte_serialize(back.as_bytes()).collect::<String>();
        return see_other(&format!("/login?next={next}"));
    }
    failure.as_page(visit)
}

fn finish<B>(response: &mut ServiceResponse<B>, visit: &Visit) {
    let is_html = response
        .headers()
        .get("content-type")
        .is_some_and(|it| it.as_bytes().starts_with(b"text/html"));
    if is_html {
        if visit.is_new {
            let _ = response.response_mut().add_cookie(&visit.mark());
        }
        if visit.notice.is_some() {
            let _ = response.response_mut().add_cookie(&Cookies::gone(Cookies::NOTICE));
        }
    }
    let headers = response.headers_mut();
    let set = |headers: &mut HeaderMap, name: &'static str, value: &'static str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    if let Ok(id) = HeaderValue::from_str(&visit.request.to_string()) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    set(headers, "content-security-policy", CSP);
    set(headers, "strict-transport-security", "max-age=63072000; includeSubDomains");
    set(headers, "x-content-type-options", "nosniff");
    set(headers, "referrer-policy", "same-origin");
    set(headers, "cross-origin-opener-policy", "same-origin");
    set(headers, "cross-origin-resource-policy", "same-origin");
    set(headers, "permissions-policy", "camera=(), geolocation=(), microphone=(), payment=()");
    if !headers.contains_key(CACHE_CONTROL) {
        set(headers, "cache-control", "private, no-store");
    }
    if is_html {
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
}

/// What the framework refused before any handler ran.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.canonical_reason().unwrap_or("the request was refused"))]
struct Refused(StatusCode);

impl Classified for Refused {
    fn kind(&self) -> Kind {
        match self.0 {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Kind::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
            it if it.is_server_error() => Kind::Internal,
            _ => Kind::Invalid,
        }
    }
}
