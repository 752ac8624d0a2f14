//! One request from the door to the last byte: its id, its count, its one line in the
//! log, and the headers that every answer bears.

use std::time::{Duration, Instant};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web::Data,
};
use bytes::Bytes;
use shared::{failure::Kind, ids::RequestId};
use tracing::{info, warn};

use crate::{
    answer::{Answer, Gathered, Streamed, Tagged},
    budgets::{self, Delivered, Tab},
    call::{Fate, Open, Reply, Served},
    connection::{UnderWay, Visits},
    emit::Story,
    endpoints::Endpoint,
    metrics::{Outcome, Passage},
    panics::Panicked,
    pipeline::Gateway,
    refusals,
    refused::{Dialect, Refused, is_final},
    route::Decision,
};

/// How long a client should wait when we cannot serve.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

pub struct Visit {
    pub id: RequestId,
    endpoint: Endpoint,
    dialect: Dialect,
    gateway: Data<Gateway>,
    passage: Passage,
    _under_way: Option<UnderWay>,
    began: Instant,
    /// Whether the client wants to know how the call was routed, in full.
    explains: bool,
    /// What the request log is told.
    pub story: Story,
}

impl Visit {
    pub fn begin(gateway: &Data<Gateway>, request: &HttpRequest, endpoint: Endpoint) -> Self {
        let id = RequestId::generate();
        Self {
            id,
            story: Story::begin(&gateway.meter, id, endpoint.name()),
            endpoint,
            dialect: Dialect::of(request.path()),
            gateway: gateway.clone(),
            passage: gateway.metrics.begin(endpoint),
            _under_way: request.conn_data().map(Visits::begin),
            began: Instant::now(),
            explains: request.headers().get("x-turnpike-explain").is_some_and(|it| it == "full"),
        }
    }

    /// The only way out of the data plane.
    pub fn answer(self, outcome: Result<Result<Answer, Refused>, Panicked>) -> HttpResponse {
        match outcome {
            Ok(Ok(Answer::Json(body))) => self.json(StatusCode::OK, body),
            Ok(Ok(Answer::Taken(body))) => self.json(StatusCode::ACCEPTED, body),
            Ok(Ok(Answer::Tagged(tagged))) => self.tagged(tagged),
            Ok(Ok(Answer::Opened(open))) => self.opened(*open),
            Ok(Err(refused)) => self.refuse(&refused),
            Err(panicked) => self.refuse(&panicked.into()),
        }
    }

    /// Says in a stream that it broke.
    pub fn breaks(&mut self, why: &Refused) -> String {
        self.ends(Outcome::Broken, StatusCode::OK);
        self.story.fails(why.code());
        self.record(why, "broken");
        self.dialect.error_event(why, self.id, &self.gateway.pages)
    }

    pub fn ends(&mut self, outcome: Outcome, status: StatusCode) {
        self.passage.leaves(outcome);
        self.story.ends(outcome.into(), status.as_u16());
    }

    fn json(mut self, status: StatusCode, body: Vec<u8>) -> HttpResponse {
        self.ends(Outcome::Success, status);
        self.response(status).content_type(JSON).body(body)
    }

    /// May be kept by its reader, who has to ask each time whether it still holds.
    fn tagged(mut self, Tagged { etag, body }: Tagged) -> HttpResponse {
        let status = body.as_ref().map_or(StatusCode::NOT_MODIFIED, |_| StatusCode::OK);
        self.ends(Outcome::Success, status);
        let mut response = self.response(status);
        response
            .insert_header((header::ETAG, etag))
            .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")));
        match body {
            Some(body) => response.content_type(JSON).body(body),
            None => response.finish(),
        }
    }

    fn opened(mut self, open: Open) -> HttpResponse {
        let Open { served, reply, .. } = open;
        self.story.first_byte();
        let status = match &reply {
            Reply::Whole { status, .. } => status_of(*status),
            Reply::Stream { .. } => StatusCode::OK,
        };
        let mut response = self.response(status);
        self.tell_served(&mut response, &served);
        self.tell_limits(&mut response);
        if let Some(tab) = self.story.tab() {
            tell_budgets(&mut response, tab, &served);
        }
        match reply {
            Reply::Whole { retry_after, body, memory, usage, service_tier, .. } => {
                self.ends(Outcome::of(status), status);
                self.record_passed(status, &served);
                let is_complete = true;
                let of = Delivered::default();
                let delivered = Delivered { usage, is_complete, service_tier, ..of };
                self.story.delivers(&delivered);
                if let Some(tab) = self.story.tab().filter(|_| status.is_success()) {
                    response.insert_header(("x-turnpike-cost-usd", tab.cost().exact()));
                }
                if let Some(it) = retry_after {
                    response.insert_header((header::RETRY_AFTER, it.as_bytes()));
                }
                let body = match self.decision().filter(|_| status.is_success()) {
                    Some(decision) => explained(&body, decision),
                    None => body,
                };
                response.content_type(JSON).body(Gathered::new(body, memory, self))
            }
            Reply::Stream { content_type, relay } => {
                self.story.streams();
                if let Some(decision) = self.decision() {
                    tell(&mut response, "x-turnpike-decision", &in_a_header(decision));
                }
                response.insert_header((header::CONTENT_TYPE, content_type.as_bytes()));
                response.body(Streamed::new(relay, served, self))
            }
        }
    }

    /// How the call was routed, for whom that is to be told.
    fn decision(&self) -> Option<&Decision> {
        self.story.decision().filter(|_| self.explains)
    }

    /// Who was asked, why, and how long that took.
    fn tell_served(&self, response: &mut HttpResponseBuilder, served: &Served) {
        tell(response, "x-turnpike-model", &served.model.upstream_name);
        tell(response, "x-turnpike-provider", &served.model.upstream.provider);
        tell(response, "x-turnpike-requested-model", &served.asked);
        response.insert_header(("x-turnpike-attempts", served.attempts.len()));
        response.insert_header(("x-turnpike-reason", served.reason.name()));
        if let Some(policy) = served.reason.policy() {
            tell(response, "x-turnpike-policy", &policy.named());
        }
        response.insert_header(("server-timing", self.timing(served)));
    }

    /// How the caller stands with their limits.
    fn tell_limits(&self, response: &mut HttpResponseBuilder) {
        for header in self.story.standing().headers() {
            response.insert_header(header);
        }
    }

    /// How long the upstreams took, and we.
    fn timing(&self, served: &Served) -> String {
        // Who was outrun took its time beside another.
        let one_by_one = served.attempts.iter().filter(|it| it.fate != Fate::Outrun);
        let upstream: Duration = one_by_one.map(|it| it.took).sum();
        let ours = self.began.elapsed().saturating_sub(upstream);
        let (ours, upstream) = (ours.as_micros(), upstream.as_micros());
        format!(
            "gateway;dur={}.{:03}, upstream;dur={}.{:03}",
            ours / 1_000,
            ours % 1_000,
            upstream / 1_000,
            upstream % 1_000
        )
    }

    fn refuse(mut self, refused: &Refused) -> HttpResponse {
        let status = refused.status();
        self.ends(Outcome::of(status), status);
        self.story.fails(refused.code());
        self.record(refused, status.as_str());
        let mut response = self.response(status);
        response.insert_header(("x-turnpike-error-code", refused.code().name));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        self.tell_limits(&mut response);
        for header in refused.headers() {
            response.insert_header(header);
        }
        if let Refused::Call(it) = refused {
            self.tell_served(&mut response, &it.served);
            response.insert_header(("x-turnpike-cost-usd", it.cost.exact()));
        }
        let error = self.dialect.error(refused, self.id, &self.gateway.pages);
        response.content_type(JSON).body(error)
    }

    fn response(&self, status: StatusCode) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(self.id.to_string())) {
            response.insert_header((X_REQUEST_ID, id.clone())).insert_header((REQUEST_ID, id));
        }
        response
            .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        if is_final(status) {
            response.insert_header(("x-should-retry", "false"));
        }
        response
    }

    /// An upstream's own refusal, which the caller reads as it is.
    fn record_passed(&self, status: StatusCode, served: &Served) {
        if !status.is_success() {
            let (endpoint, id) = (self.endpoint.name(), self.id);
            let (status, provider) = (status.as_str(), &served.model.upstream.provider);
            warn!(request.id = %id, status, endpoint, provider, "{provider} refused {endpoint} with {status}");
        }
    }

    /// Counts each request that is not served, and logs it unless there are many. What is
    /// the caller's fault is logged by its code alone: the message may repeat what they sent.
    fn record(&self, refused: &Refused, status: &str) {
        let (code, kind, key) = (refused.code(), refused.kind(), self.story.key());
        self.gateway.metrics.refused(code);
        let alike = refusals::Kind { code: code.name, endpoint: self.endpoint, key };
        if kind != Kind::Upstream && !self.gateway.refusals.note(alike) {
            return;
        }
        let (code, endpoint, id) = (code.name, self.endpoint.name(), self.id);
        let key = key.map(tracing::field::display);
        match kind {
            // The hook has logged the panic.
            Kind::Internal => (),
            Kind::Upstream | Kind::Unavailable => {
                let error = with_causes(refused);
                warn!(request.id = %id, code, status, endpoint, key, error, "failed {endpoint}: {error}");
            }
            Kind::Invalid
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::Conflict
            | Kind::TooLarge
            | Kind::OutOfCredit
            | Kind::RateLimited => {
                info!(request.id = %id, code, status, endpoint, key, "refused {endpoint}: {code}");
            }
        }
    }
}

/// How the tightest budget stands, and whether it made the answer shorter.
fn tell_budgets(response: &mut HttpResponseBuilder, tab: &Tab, served: &Served) {
    if let Some((bearing, standing)) = tab.tightest() {
        for header in budgets::headers(&bearing.budget, standing) {
            response.insert_header(header);
        }
    }
    let last = served.attempts.last().map(|it| &it.candidate);
    if let Some(most) = last.filter(|it| it.is_clamped).and_then(|it| it.most_output) {
        response.insert_header(("x-turnpike-output-clamped", most));
    }
}

/// An answer that is an object, with how it was routed as its last member.
fn explained(body: &Bytes, decision: &Decision) -> Bytes {
    let Some(rest) = body.trim_ascii_end().strip_suffix(b"}") else { return body.clone() };
    let comma = if rest.trim_ascii_end().ends_with(b"{") { "" } else { "," };
    let told = format!("{comma}\"turnpike\":{}}}", decision.told());
    [rest, told.as_bytes()].concat().into()
}

/// The longest that a head takes which every client reads.
const LONGEST_DECISION: usize = 4_096;

/// The same in signs that heads may have, without the last candidates where there are too many.
fn in_a_header(decision: &Decision) -> String {
    let mut told = decision.told();
    loop {
        let text = ascii(&told.to_string());
        let candidates = told["candidates"].as_array_mut().filter(|it| !it.is_empty());
        match candidates.filter(|_| text.len() > LONGEST_DECISION) {
            Some(candidates) => drop(candidates.pop()),
            None => return text,
        }
    }
}

/// JSON, with every other letter spelled by its code.
fn ascii(json: &str) -> String {
    let mut units = [0; 2];
    let spelled = |it: char| match it.is_ascii() {
        true => it.to_string(),
        false => it.encode_utf16(&mut units).iter().map(|it| format!("\\u{it:04x}")).collect(),
    };
    json.chars().map(spelled).collect()
}

/// Says something in the head of an answer, or does not: what callers and admins type need
/// not fit there, and is no reason to fail.
fn tell(response: &mut HttpResponseBuilder, header: &'static str, words: &str) {
    if let Ok(value) = HeaderValue::from_bytes(words.as_bytes()) {
        response.insert_header((header, value));
    }
}

/// The two versions of the `http` crate know the same statuses.
fn status_of(status: http::StatusCode) -> StatusCode {
    StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use actix_web::{body::to_bytes, test::TestRequest};

    use super::*;
    use crate::{
        call::Calling,
        catalog::tests::Fixture,
        config::Timeouts,
        metrics::Metrics,
        receive::{Limits, Patience},
    };

    /// Nobody listens there.
    fn nowhere() -> shared::wire::Pool {
        let second = Duration::from_secs(1);
        let patience = shared::wire::Patience { connect: second, answer: second };
        let address: shared::wire::Address = "redis://127.0.0.1:1".parse().unwrap();
        address.pool(patience, 1).unwrap()
    }

    fn gateway() -> Data<Gateway> {
        let metrics = Metrics::new().unwrap();
        Data::new(Gateway {
            calling: Calling::new(Timeouts::default(), 10, &metrics.call).into(),
            catalog: Fixture::default().catalog().into(),
            last_used: crate::last_used::LastUsed::default().into(),
            refusals: refusals::Refusals::default().into(),
            meter: crate::budgets::Meter::nowhere(),
            feedback: crate::feedback::Post::new(nowhere(), "nowhere".into()),
            generations: crate::generations::Questions::new(nowhere(), "nowhere".into()),
            room: crate::admit::Room::new(10, 1_000_000),
            metrics: metrics.into(),
            proxies: crate::authenticate::TrustedProxies::default(),
            limits: Limits { bytes: 1_000, patience: Patience::default() },
            pages: crate::refused::Pages::of(&"https://dashboard".parse().unwrap()),
            draining: false.into(),
        })
    }

    #[tokio::test]
    async fn a_panic_is_answered() {
        let request = TestRequest::default().to_http_request();
        let visit = Visit::begin(&gateway(), &request, Endpoint::Ask(crate::ask::Form::Chat));
        let work = async { if true { panic!("boom") } else { Ok(Answer::Json(vec![])) } };
        let outcome = crate::panics::contained(visit.id, work).await;
        let answer = visit.answer(outcome);

        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers().get("x-turnpike-error-code").unwrap(), "internal_error");
        let body = to_bytes(answer.into_body()).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains("request_id") && !body.contains("boom"), "{body}");
    }
}
