//! Traces for a collector: a span an attempt, by OTLP over HTTP, where the environment names one.
//!
//! The variables are OpenTelemetry's own: `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) turns
//! it on; `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`
//! mean what they mean everywhere.

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// The variables of which one must be set for anything to be sent.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// What sends spans, if the environment wants them sent.
pub(crate) fn tracer_provider(variables: &[(String, String)]) -> Option<Result<SdkTracerProvider, ExporterBuildError>> {
    let set = |wanted: &str| variables.iter().any(|(name, _)| name == wanted);
    ENDPOINTS.into_iter().any(set).then(|| {
        // The HTTP client wants a crypto provider even where nothing is encrypted. An error means that there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
        let resource = Resource::builder();
        let resource = if set("OTEL_SERVICE_NAME") { resource } else { resource.with_service_name(program_name()) };
        let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
        Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
    })
}

/// The name of this program's file.
fn program_name() -> String {
    let name = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "goldfleet".to_owned())
}
