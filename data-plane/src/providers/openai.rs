//! OpenAI chat completions, and everybody who speaks them.
//!
//! The request's headers are written here and nowhere else: of the client's own, none
//! goes to an upstream.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use http_body_util::Full;

use crate::{catalog::Model, chat::Chat};

pub type Request = http::Request<Full<Bytes>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPT: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("turnpike/", env!("CARGO_PKG_VERSION")));

pub fn request(chat: &Chat, model: &Model) -> Request {
    let mut request = Request::new(Full::new(chat.body_for(&model.upstream_name)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = model.upstream.chat.clone();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::ACCEPT, ACCEPT);
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::AUTHORIZATION, model.upstream.authorization.clone());
    request
}
