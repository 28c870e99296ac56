//! What a program says of itself while it runs: lines on standard error, for people or for machines.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// The variables that set what is logged, the first that is set before the configuration.
const VARIABLES: [&str; 2] = ["GOLDFLEET_LOG", "RUST_LOG"];

/// What is logged can't be told.
#[derive(Debug, thiserror::Error)]
#[error("{given_by}: {filter:?} is no log filter: write a level, such as 'info', or 'warn,goldfleet_worker=debug'")]
pub struct BadFilter {
    given_by: &'static str,
    filter: String,
    source: ParseError,
}

/// Begins to log to standard error. What is logged is what `GOLDFLEET_LOG`, else `RUST_LOG`, else `[log] level` says,
/// and `default` where none does. Where somebody else logs already, such as a test, they go on doing so.
///
/// # Errors
/// [`BadFilter`] where what is to be logged can't be told.
pub fn init(log: &Log, default: Level, env: impl Iterator<Item = (String, String)>) -> Result<(), BadFilter> {
    let variables: Vec<(String, String)> = env.filter(|(_, value)| !value.is_empty()).collect();
    let colours = io::stderr().is_terminal() && !variables.iter().any(|(name, _)| name == "NO_COLOR");
    let filter = filter(log, default, &variables)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // An error here means that there is a subscriber, which is as good.
    let _ = match log.format {
        LogFormat::Text => builder.with_ansi(colours).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    Ok(())
}

fn filter(log: &Log, default: Level, variables: &[(String, String)]) -> Result<EnvFilter, BadFilter> {
    let variable =
        |name: &'static str| variables.iter().find(|(given, _)| given == name).map(|(_, value)| (name, value.clone()));
    let (given_by, filter) = VARIABLES
        .into_iter()
        .find_map(variable)
        .or_else(|| Some(("log.level", log.level.clone()?)))
        .unwrap_or_else(|| ("default", default.to_string()));
    EnvFilter::try_new(&filter).map_err(|source| BadFilter { given_by, filter, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(level: Option<&str>, variables: &[(&str, &str)]) -> String {
        let log = Log { level: level.map(str::to_owned), ..Log::default() };
        let variables: Vec<_> = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        match filter(&log, Level::WARN, &variables) {
            Ok(filter) => filter.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_first_that_is_set_says_what_is_logged() {
        assert_eq!(chosen(None, &[]), "warn");
        assert_eq!(chosen(Some("info"), &[]), "info");
        assert_eq!(chosen(Some("info"), &[("RUST_LOG", "error")]), "error");
        assert_eq!(chosen(None, &[("RUST_LOG", "error"), ("GOLDFLEET_LOG", "debug")]), "debug");
    }

    #[test]
    fn a_bad_filter_is_named_with_where_it_comes_from() {
        insta::assert_snapshot!(chosen(None, &[("GOLDFLEET_LOG", "goldfleet=loud")]), @r#"GOLDFLEET_LOG: "goldfleet=loud" is no log filter: write a level, such as 'info', or 'warn,goldfleet_worker=debug'"#);
        insta::assert_snapshot!(chosen(Some("a=b=c"), &[]), @r#"log.level: "a=b=c" is no log filter: write a level, such as 'info', or 'warn,goldfleet_worker=debug'"#);
    }

    #[test]
    fn a_second_beginning_does_no_harm() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = Log { format, level: None };
            assert!(init(&log, Level::WARN, std::iter::empty()).is_ok());
        }
    }
}
