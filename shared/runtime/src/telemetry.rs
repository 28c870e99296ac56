//! Logging and tracing: lines on standard error, for people or for machines, and spans.

use std::io;
use std::time::{Duration, Instant};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use goldfleet_config::filter::{FILTER_HELP, parse_filter};
use goldfleet_config::{Log, LogFormat};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Level;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::otlp;
use crate::screen::Lines;

/// The variables that set the log filter. The first one that is set applies, and it overrides the configuration.
const FILTER_VARIABLES: [&str; 2] = ["GOLDFLEET_LOG", "RUST_LOG"];

/// The log filter is invalid.
#[derive(Debug, thiserror::Error)]
#[error("{given_by}: {filter:?} is no log filter: {FILTER_HELP}")]
pub struct InvalidFilter {
    given_by: &'static str,
    filter: String,
    source: Option<ParseError>,
}

/// Logging and tracing. Buffered spans are sent when this is dropped.
#[derive(Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // An unreachable collector was already reported.
        let _ = self.traces.take().map(|traces| traces.shutdown());
    }
}

/// How long a repeated warning is suppressed.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);

/// Suppresses repetitions of a warning about something that is retried often, which would otherwise fill the log.
#[derive(Debug, Default)]
pub struct RepeatLimiter {
    last: Option<(Instant, String)>,
}

impl RepeatLimiter {
    /// Whether to log the warning: its text differs from the last one, or enough time has passed.
    pub fn should_log(&mut self, of: &impl ToString) -> bool {
        let words = of.to_string();
        let made = self.last.as_ref().is_some_and(|(at, said)| *said == words && at.elapsed() < REPEAT_INTERVAL);
        if !made {
            self.last = Some((Instant::now(), words));
        }
        !made
    }
}

/// Starts logging to standard error, above a [drawing](crate::screen). The filter is the first that is set of
/// `GOLDFLEET_LOG`, `RUST_LOG` and `[log] level`, otherwise `default`. If the environment names a collector, spans are
/// sent there too. If a subscriber already exists, for example in a test, it is kept.
///
/// # Errors
/// [`InvalidFilter`] if the filter is invalid.
pub fn init(log: &Log, default: &str, env: impl Iterator<Item = (String, String)>) -> Result<Telemetry, InvalidFilter> {
    let variables: Vec<(String, String)> = env.filter(|(_, value)| !value.is_empty()).collect();
    let colours = supports_color(&io::stderr());
    let filter = filter(log, default, &variables)?;
    let (traces, trouble) = match otlp::tracer_provider(&variables) {
        Some(Ok(traces)) => (Some(traces), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let spans = traces.as_ref().map(|traces| {
        // Only goldfleet's own spans. Those of the client that sends spans would cause further spans without end.
        let ours = Targets::new().with_target("goldfleet", Level::INFO);
        let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer("goldfleet"));
        layer.with_location(false).with_threads(false).with_filter(ours)
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Lines);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(colours).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    // An error means that a subscriber exists, and it is kept.
    let _ = tracing_subscriber::registry().with(spans).with(lines).try_init();
    if let Some(error) = trouble {
        tracing::warn!(%error, "traces are not sent");
    }
    Ok(Telemetry { traces })
}

/// Whether output to a stream is coloured: if it is a terminal that supports colours and `NO_COLOR` is not set, or if
/// `CLICOLOR_FORCE` is set.
#[must_use]
pub fn supports_color(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

fn filter(log: &Log, default: &str, variables: &[(String, String)]) -> Result<EnvFilter, InvalidFilter> {
    let variable =
        |name: &'static str| variables.iter().find(|(given, _)| given == name).map(|(_, value)| (name, value.clone()));
    let (given_by, filter) = FILTER_VARIABLES
        .into_iter()
        .find_map(variable)
        .or_else(|| Some(("log.level", log.level.clone()?)))
        .unwrap_or_else(|| ("default", default.to_owned()));
    // Other programs use `RUST_LOG` too, so it is not checked for unknown levels.
    let read = if given_by == "RUST_LOG" { EnvFilter::try_new(&filter).map_err(Some) } else { parse_filter(&filter) };
    read.map_err(|source| InvalidFilter { given_by, filter, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(level: Option<&str>, variables: &[(&str, &str)]) -> String {
        let log = Log { level: level.map(str::to_owned), ..Log::default() };
        let variables: Vec<_> = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        match filter(&log, "warn", &variables) {
            Ok(filter) => filter.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn first_set_variable_selects_log_filter() {
        assert_eq!(chosen(None, &[]), "warn");
        assert_eq!(chosen(Some("info"), &[]), "info");
        assert_eq!(chosen(Some("info"), &[("RUST_LOG", "error")]), "error");
        assert_eq!(chosen(None, &[("RUST_LOG", "error"), ("GOLDFLEET_LOG", "debug")]), "debug");
    }

    #[test]
    fn invalid_filter_error_names_its_origin() {
        insta::assert_snapshot!(chosen(None, &[("GOLDFLEET_LOG", "goldfleet=loud")]), @r#"GOLDFLEET_LOG: "goldfleet=loud" is no log filter: write a level, such as 'info', or 'warn,goldfleet_worker=debug'"#);
        assert_eq!(chosen(Some("OFF"), &[]), "off");
        insta::assert_snapshot!(chosen(Some("wran"), &[]), @r#"log.level: "wran" is no log filter: write a level, such as 'info', or 'warn,goldfleet_worker=debug'"#);
        insta::assert_snapshot!(chosen(Some("a=b=c"), &[]), @r#"log.level: "a=b=c" is no log filter: write a level, such as 'info', or 'warn,goldfleet_worker=debug'"#);
    }

    #[test]
    fn repeated_warning_is_suppressed() {
        let mut complaint = RepeatLimiter::default();
        assert_eq!(["full", "full", "locked", "full"].map(|of| complaint.should_log(&of)), [true, false, true, true]);
    }

    #[test]
    fn init_twice_is_harmless() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = Log { format, level: None };
            assert!(init(&log, "warn", std::iter::empty()).is_ok());
        }
    }
}
