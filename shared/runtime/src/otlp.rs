//! Traces for a collector: one span per attempt, by OTLP over HTTP, if the environment names a collector.
//!
//! The variables are those of OpenTelemetry: `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`)
//! enables the export. `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_SERVICE_NAME` and
//! `OTEL_RESOURCE_ATTRIBUTES` have their standard meaning.

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// The variables that enable the export. One of them is sufficient.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Creates the exporter of spans. None if the environment does not enable it.
pub(crate) fn tracer_provider(variables: &[(String, String)]) -> Option<Result<SdkTracerProvider, ExporterBuildError>> {
    let set = |wanted: &str| variables.iter().any(|(name, _)| name == wanted);
    ENDPOINTS.into_iter().any(set).then(|| {
        // The HTTP client requires a crypto provider even for unencrypted connections. An error means that one is
        // already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
        let resource = Resource::builder();
        let resource = if set("OTEL_SERVICE_NAME") { resource } else { resource.with_service_name(program_name()) };
        let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
        Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
    })
}

/// The file name of this program.
fn program_name() -> String {
    let name = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "goldfleet".to_owned())
}
