//! Whether the process lives, whether it can serve, and what it has counted.

use std::{io, net::TcpListener, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, dev::Server, web::Data, web::get};
use tokio::time::timeout;

use crate::{access::Doors, platform::Platform, web::Visit};

pub fn doors(doors: &mut Doors) {
    doors.get("/healthz", alive);
    doors.get("/readyz", ready);
}

/// The process runs. Says nothing of what it depends on.
async fn alive(_: Visit) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

/// Pages can be served: the database answers, and we are not on our way out.
async fn ready(_: Visit, platform: Data<Platform>) -> HttpResponse {
    let answer = timeout(
        Duration::from_secs(1),
        sqlx::query_scalar!("SELECT 1 FROM config_revisions LIMIT 1").fetch_optional(&platform.db),
    )
    .await;
    match answer {
        Ok(Ok(_)) if !platform.is_draining() => {
            HttpResponse::Ok().content_type("text/plain").body("ready\n")
        }
        Ok(_) | Err(_) => HttpResponse::ServiceUnavailable()
            .insert_header(("retry-after", "5"))
            .content_type("text/plain")
            .body("not ready\n"),
    }
}

/// Serves the metrics, on a port of their own.
pub fn metrics(listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(|| App::new().route("/metrics", get().to(exposition)));
    Ok(server.workers(1).disable_signals().listen(listener)?.run())
}

async fn exposition() -> HttpResponse {
    let text = shared::telemetry::exposition(prometheus::default_registry());
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
}
