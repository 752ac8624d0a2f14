//! Logs, traces and metrics.
//!
//! A log line reads alone and has fields. Nothing here ever sees a prompt, a reply, a
//! secret or an e-mail address, because nobody hands it one.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use prometheus::{Encoder, Registry, TextEncoder};
use tracing_subscriber::{EnvFilter, Layer, Registry as Layers, layer::SubscriberExt};

use crate::config::{Floor, LogFormat};

/// Ends with the process: dropping it sends the traces still held.
#[must_use = "traces are sent when this is dropped"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Starts logging and, where a collector is configured, tracing.
pub fn start(service: &'static str, floor: &Floor) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&floor.log)?;
    let lines = match floor.log_format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Pretty => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
    };
    let traces = floor.otlp_endpoint.as_deref().map(|it| exporter(service, it)).transpose()?;
    let spans =
        traces.as_ref().map(|it| tracing_opentelemetry::layer().with_tracer(it.tracer("turnpike")));
    let layers = Layers::default().with(filter).with(lines).with(spans);
    tracing::subscriber::set_global_default(layers)?;
    Ok(Telemetry { traces })
}

fn exporter(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_headers([].into())
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(5))
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.take().map(|it| it.shutdown()) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter is not valid")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the trace exporter did not start")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("logging was started twice")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// What the process counts, as Prometheus reads it.
pub fn exposition(registry: &Registry) -> Vec<u8> {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        tracing::error!(%error, "the metrics could not be written");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use opentelemetry::trace::Tracer;

    use super::*;

    /// The processor of spans has a thread of its own, where no runtime of ours is.
    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_a_collector() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut heard = vec![0; 4096];
            let length = socket.read(&mut heard).unwrap();
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&heard[..length]).into_owned()
        });
        let traces = exporter("turnpike-test", &endpoint).unwrap();
        drop(traces.tracer("test").start("a span"));
        drop(Telemetry { traces: Some(traces) });
        assert!(collector.join().unwrap().starts_with("POST /v1/traces HTTP/1.1\r\n"));
    }
}
