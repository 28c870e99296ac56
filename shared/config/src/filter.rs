//! The log filter.

use std::str::FromStr as _;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// A hint about the format of filters, for messages.
pub const FILTER_HELP: &str = "write a level, such as 'info', or 'warn,goldfleet_worker=debug'";

/// Parses a filter that is meant for goldfleet only.
///
/// # Errors
/// The parse error, or None if the filter contains a bare word that is not a level. Such a word would be the name of a
/// module: everything of that module would be logged and nothing else.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, Option<ParseError>> {
    let misspelt = |word: &str| {
        !word.contains(['=', '[', ':', '_']) && Level::from_str(word).is_err() && !word.eq_ignore_ascii_case("off")
    };
    if filter.split(',').map(str::trim).any(|word| !word.is_empty() && misspelt(word)) {
        return Err(None);
    }
    EnvFilter::try_new(filter).map_err(Some)
}
