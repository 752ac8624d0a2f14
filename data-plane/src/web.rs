//! Routes, and from HTTP to the pipeline and back.

use actix_web::{
    HttpRequest, HttpResponse,
    body::MessageBody,
    dev,
    web::{self, Data, Path, Payload, ServiceConfig},
};

use crate::{
    ask::Form,
    authenticate::Knock,
    egress::Client,
    endpoints::{self, Endpoint, NotAnEndpoint},
    panics::contained,
    pipeline::{self, Gateway},
    receive::{Sending, Unread, discard},
    refused::Refused,
    visit::Visit,
};

pub fn routes(config: &mut ServiceConfig) {
    let endpoint = |path, route: actix_web::Route| {
        web::resource(path).route(route).default_service(web::to(unknown))
    };
    for form in Form::ALL {
        let ask =
            move |request, payload, gateway, client| ask(form, request, payload, gateway, client);
        config.service(endpoint(form.path(), web::post().to(ask)));
        let quote = move |request, payload, gateway| quote(form, request, payload, gateway);
        config.service(endpoint(form.quote_path(), web::post().to(quote)));
        let decide = move |request, payload, gateway| decide(form, request, payload, gateway);
        config.service(endpoint(form.route_path(), web::post().to(decide)));
    }
    config
        .service(endpoint(endpoints::FEEDBACK, web::post().to(feedback)))
        .service(endpoint(endpoints::GENERATION, web::get().to(generation)))
        .service(endpoint(endpoints::MODELS, web::get().to(models)))
        .service(endpoint(endpoints::MODEL, web::get().to(model)))
        .configure(crate::health::routes)
        .default_service(web::to(unknown));
}

async fn ask(
    form: Form,
    request: HttpRequest,
    payload: Payload,
    gateway: Data<Gateway>,
    client: Data<Client>,
) -> HttpResponse {
    let mut visit = Visit::begin(&gateway, &request, Endpoint::Ask(form));
    let mut payload = payload.into_inner();
    let sending = Sending { headers: request.headers(), payload: &mut payload };
    let id = visit.id;
    let work = pipeline::ask(&gateway, &client, knock(&request), form, sending, &mut visit.story);
    let outcome = contained(id, work).await;
    let is_about_body = matches!(outcome, Ok(Err(Refused::Body(_))));
    let response = visit.answer(outcome);
    if response.status().is_success() {
        return response;
    }
    if is_about_body { unread(response, payload) } else { rid(&request, response, payload).await }
}

async fn quote(
    form: Form,
    request: HttpRequest,
    payload: Payload,
    gateway: Data<Gateway>,
) -> HttpResponse {
    let visit = Visit::begin(&gateway, &request, Endpoint::Quote);
    let mut payload = payload.into_inner();
    let sending = Sending { headers: request.headers(), payload: &mut payload };
    let work = pipeline::quote(&gateway, knock(&request), form, sending);
    let outcome = contained(visit.id, work).await;
    told(visit.answer(outcome), payload)
}

async fn decide(
    form: Form,
    request: HttpRequest,
    payload: Payload,
    gateway: Data<Gateway>,
) -> HttpResponse {
    let visit = Visit::begin(&gateway, &request, Endpoint::Route);
    let mut payload = payload.into_inner();
    let sending = Sending { headers: request.headers(), payload: &mut payload };
    let work = pipeline::decide(&gateway, knock(&request), form, sending);
    let outcome = contained(visit.id, work).await;
    told(visit.answer(outcome), payload)
}

async fn feedback(request: HttpRequest, payload: Payload, gateway: Data<Gateway>) -> HttpResponse {
    let visit = Visit::begin(&gateway, &request, Endpoint::Feedback);
    let mut payload = payload.into_inner();
    let sending = Sending { headers: request.headers(), payload: &mut payload };
    let work = pipeline::feedback(&gateway, knock(&request), sending);
    let outcome = contained(visit.id, work).await;
    told(visit.answer(outcome), payload)
}

/// An answer to a question about a call. What of the body was not read stays so.
fn told(response: HttpResponse, payload: dev::Payload) -> HttpResponse {
    if response.status().is_success() { response } else { unread(response, payload) }
}

async fn models(request: HttpRequest, payload: Payload, gateway: Data<Gateway>) -> HttpResponse {
    let visit = Visit::begin(&gateway, &request, Endpoint::Models);
    let work = async { pipeline::models(&gateway, knock(&request)) };
    let outcome = contained(visit.id, work).await;
    rid(&request, visit.answer(outcome), payload.into_inner()).await
}

async fn model(
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
    gateway: Data<Gateway>,
) -> HttpResponse {
    let visit = Visit::begin(&gateway, &request, Endpoint::Model);
    let work = async { pipeline::model(&gateway, knock(&request), &name) };
    let outcome = contained(visit.id, work).await;
    rid(&request, visit.answer(outcome), payload.into_inner()).await
}

async fn generation(
    request: HttpRequest,
    payload: Payload,
    id: Path<String>,
    gateway: Data<Gateway>,
) -> HttpResponse {
    let visit = Visit::begin(&gateway, &request, Endpoint::Generation);
    let work = pipeline::generation(&gateway, knock(&request), &id);
    let outcome = contained(visit.id, work).await;
    rid(&request, visit.answer(outcome), payload.into_inner()).await
}

async fn unknown(request: HttpRequest, payload: Payload, gateway: Data<Gateway>) -> HttpResponse {
    let visit = Visit::begin(&gateway, &request, Endpoint::Unknown);
    let response = visit.answer(Ok(Err(NotAnEndpoint::new(request.path()).into())));
    rid(&request, response, payload.into_inner()).await
}

/// Takes the rest of a request's body away, so that its connection can serve the next one,
/// or has it closed with the answer.
async fn rid(
    request: &HttpRequest,
    response: HttpResponse,
    mut payload: dev::Payload,
) -> HttpResponse {
    let is_gone = discard(request.headers(), &mut payload).await;
    if is_gone { response } else { unread(response, payload) }
}

fn unread(response: HttpResponse, payload: dev::Payload) -> HttpResponse {
    response.map_body(|_, answer| Unread { answer, payload }.boxed())
}

fn knock(request: &HttpRequest) -> Knock<'_> {
    let peer = request.peer_addr().map(|it| it.ip());
    Knock { headers: request.headers(), query: request.query_string(), peer }
}
