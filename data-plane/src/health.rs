//! Whether the process lives, whether it can serve, and what it has counted.

use actix_web::{
    HttpResponse,
    http::header,
    web::{Data, ServiceConfig, get},
};
use serde_json::json;
use time::OffsetDateTime;

use crate::pipeline::Gateway;

pub fn routes(config: &mut ServiceConfig) {
    config.route("/healthz", get().to(healthz)).route("/readyz", get().to(readyz));
}

/// On a port that is not for the public.
pub fn private_routes(config: &mut ServiceConfig) {
    routes(config);
    config.route("/metrics", get().to(metrics));
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).body("alive\n")
}

/// Asks no store: that Redis is away is no reason to send callers elsewhere, where it
/// is away too. That our own disk is full is one.
async fn readyz(gateway: Data<Gateway>) -> HttpResponse {
    let is_ready = gateway.is_ready();
    let revision = gateway.catalog.present().as_ref().map(|it| it.revision);
    let mut response =
        if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((header::CACHE_CONTROL, "no-store")).json(json!({
        "ready": is_ready,
        "revision": revision,
        "limits": gateway.meter.limiter.state().name(),
        "journal": if gateway.meter.journal_is_full() { "full" } else { "open" },
    }))
}

async fn metrics(gateway: Data<Gateway>) -> HttpResponse {
    let present = gateway.catalog.present();
    let text = gateway.metrics.exposition(present.as_deref(), OffsetDateTime::now_utc());
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
}
